"""How steps follow one another: on a clock that waits for nothing, with real files and rows."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import pytest

from sidecar.batch import ReadBatch
from sidecar.config.load import load_config
from sidecar.core import Core, Step
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.daemon.pacing import POLL_SECONDS, RETRY_COMMIT_SECONDS, SPACING_SECONDS, Beside
from sidecar.daemon.restoring import open_store, restore
from sidecar.daemon.steps import ReadSteps
from sidecar.rows import Delta, FileRow, MetaRow
from sidecar.store.schema import StoreUnavailable
from support.daemon import RULES
from support.setup import configure

if TYPE_CHECKING:
    from sidecar.store.sqlite import SqliteFile

_T = TypeVar("_T")


class Time:
    """A wall clock that stands at what was waited for; stops the pump after so many waits."""

    def __init__(self, waits: int) -> None:
        self.stop = asyncio.Event()
        self.waited: list[float] = []
        self._at = 1_793_606_400.0
        self._left = waits

    def now(self) -> float:
        return self._at

    def monotonic(self) -> float:
        return self._at

    def busy(self) -> float:
        return self._at

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        self._left -= 1
        if not self._left:
            self.stop.set()
        if event.is_set():
            return True
        self.waited.append(seconds)
        self._at += seconds
        return False


class Early(Future[_T]):
    """A call beside what goes on that is over at once."""

    def __init__(self, call: Callable[[], _T]) -> None:
        super().__init__()
        _work(self, call)


class Late(Future[_T]):
    """One that is made no sooner than somebody waits for it."""

    def __init__(self, call: Callable[[], _T]) -> None:
        super().__init__()
        self._call = call

    def result(self, timeout: float | None = None) -> _T:
        if not self.done():
            _work(self, self._call)
        return super().result(timeout)


def _work(future: Future[_T], call: Callable[[], _T]) -> None:
    try:
        future.set_result(call())
    except StoreUnavailable as failure:
        future.set_exception(failure)


class Bench:
    """A pump with everything real around it but time, threads and the durability of `fails`."""

    def __init__(
        self,
        folder: Path,
        waits: int,
        *,
        fails: int = 0,
        time: Time | None = None,
        beside: Beside = Early,
    ) -> None:
        path = configure(folder, logs="*.log", rules=RULES / "billing.rules.yaml")
        self.config = config = load_config(str(path), {})
        self.time = time or Time(waits)
        self.store, _ = open_store(config, self.time.now())
        start = restore(config, self.store, self.time.now(), shadow=False, aside="")
        self.core = start.core
        self.follower = start.follower
        self.in_threads = 0
        self.written: list[Delta] = []
        self.failures = 0
        self.published: list[Step] = []
        self.fails = fails
        self.broken: list[object] = []
        self.pump = Pump(
            steps=ReadSteps(
                follower=self.follower, core=self.core, store=self.store, ledger=start.ledger,
                clock=self.time, beside=beside,
            ),
            clock=self.time, broken=self.broken.extend,
            in_thread=self.in_thread, publish=self.publish, watched=lambda: False,
            commit_failed=self.commit_failed,
        )  # fmt: skip
        self.file = cast("SqliteFile", self.store.database)
        self._begin = self.store.begin
        self.store.begin = self.maybe_begin  # type: ignore[method-assign]  # a disk that fills

    def reloaded(self, before: Core) -> Core:
        """Return the core that a reload of the same configuration makes."""
        core = Core(self.config)
        core.restore(self.store, self.time.now())
        core.take_over(before)
        return core

    async def in_thread(self, call: Callable[[], _T], /) -> _T:
        self.in_threads += 1
        await asyncio.sleep(0)  # whoever waits has its turn
        return call()

    def maybe_begin(self, delta: Delta) -> Callable[[], None]:
        self.written.append(delta)
        seal = self._begin(delta)

        def maybe_seal() -> None:
            if self.fails and _positions(delta.rows):
                self.fails -= 1
                self.file.db.execute("ROLLBACK")
                raise StoreUnavailable("no space left")
            seal()

        return maybe_seal

    def commit_failed(self, failure: StoreUnavailable) -> None:
        assert str(failure) == "no space left"
        self.failures += 1

    def publish(self, batch: ReadBatch, step: Step, took: float) -> None:
        del batch, took
        self.published.append(step)

    def offset(self) -> int:
        """Return how far the log is read, as the state file says to another process."""
        with closing(sqlite3.connect(self.config.state_path)) as db:
            ((found,),) = db.execute("SELECT coalesce(max(offset), 0) FROM files")
        return int(found)

    async def run(self) -> None:
        await self.pump.run(self.time.stop)
        self.follower.close()
        self.store.close()
        assert not self.broken


def _positions(rows: Iterable[object]) -> list[FileRow]:
    return [row for row in rows if isinstance(row, FileRow)]


async def test_polls_that_find_nothing_are_not_spaced_or_the_next_line_would_wait(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, waits=9)
    await bench.run()
    assert set(bench.time.waited) == {POLL_SECONDS}


async def test_steps_that_somebody_asks_for_are_spaced(tmp_path: Path) -> None:
    bench = Bench(tmp_path, waits=9)
    publish = bench.publish

    def publish_and_wake(batch: ReadBatch, step: Step, took: float) -> None:
        publish(batch, step, took)
        bench.pump.wake()

    bench.pump._publish = publish_and_wake
    await bench.run()
    assert set(bench.time.waited) == {SPACING_SECONDS}


async def test_steps_that_are_due_one_right_after_another_are_spaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, waits=9)
    monkeypatch.setattr(bench.core, "next_deadline", lambda: bench.time.now() + 0.001)
    await bench.run()
    assert bench.time.waited.count(SPACING_SECONDS) >= 3


async def test_a_step_changes_threads_once(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("noise\n")
    bench = Bench(tmp_path, waits=9)
    await bench.run()
    beginning_and_end = 3
    assert bench.in_threads == len(bench.published) + beginning_and_end


async def test_a_failed_commit_is_repeated_as_it_is_before_anything_else_is_read(
    tmp_path: Path,
) -> None:
    log = tmp_path / "app.log"
    log.write_text("noise\n")
    bench = Bench(tmp_path, waits=9, fails=2)
    await bench.run()
    moved = [delta for delta in bench.written if _positions(delta.rows)]
    assert [delta is moved[0] for delta in moved] == [True, True, True]
    assert bench.failures == 2
    assert bench.time.waited[:2] == [RETRY_COMMIT_SECONDS] * 2
    assert [step.bytes for step in bench.published if step.bytes] == [log.stat().st_size]


async def test_a_request_is_answered_once_the_step_after_it_is_published(tmp_path: Path) -> None:
    bench = Bench(tmp_path, waits=9)
    running = asyncio.create_task(bench.run())
    seen: list[int] = []
    answer = await bench.pump.between_steps(
        lambda core: (core is bench.core, len(bench.published)),
        then=lambda _answer: seen.append(len(bench.published)),
    )
    assert answer == (True, seen[0])
    assert len(bench.published) > seen[0]
    await running


async def test_what_a_request_raises_is_its_own_failure(tmp_path: Path) -> None:
    bench = Bench(tmp_path, waits=9)

    def fails(core: Core) -> None:
        raise KeyError(core)

    wrong, right, _ = await asyncio.gather(
        bench.pump.between_steps(fails),
        bench.pump.between_steps(lambda core: core is bench.core),
        bench.run(),
        return_exceptions=True,
    )
    assert isinstance(wrong, KeyError)
    assert right is True


async def test_a_step_that_fails_ends_the_run_whoever_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it decided is nowhere but in memory: to go on would be to lose it."""
    bench = Bench(tmp_path, waits=9)
    running = asyncio.create_task(bench.run())
    with pytest.raises(PumpStopped):
        await bench.pump.between_steps(
            lambda core: monkeypatch.setattr(core, "finish", lambda _read, _now: 1 / 0)
        )
    with pytest.raises(ZeroDivisionError):
        await running
    with pytest.raises(PumpStopped):
        await bench.pump.between_steps(lambda core: core)


async def test_what_goes_with_the_first_step_does_so_also_after_a_reload_before_it(
    tmp_path: Path,
) -> None:
    """The disk may be full at the start; without this row the next start would be a first one."""
    bench = Bench(tmp_path, 2)
    installed: list[Core] = []
    reload = asyncio.create_task(bench.pump.exchange(bench.reloaded, installed.append))
    await asyncio.sleep(0)  # so that it is asked for first
    await bench.run()
    await reload
    rows = [row for delta in bench.written for row in delta.rows if isinstance(row, MetaRow)]
    assert installed
    assert "first_start" in {row.name for row in rows}


async def test_after_the_last_step_there_are_no_more_requests(tmp_path: Path) -> None:
    bench = Bench(tmp_path, waits=1)
    await bench.run()
    with pytest.raises(PumpStopped):
        await bench.pump.between_steps(lambda core: core)


# More than a first step reads, and than the one after it.
_MUCH = "noise\n" * 60_000


@pytest.mark.parametrize("beside", [Early, Late])
async def test_while_there_is_much_to_read_each_step_is_published_once_it_is_committed(
    tmp_path: Path, beside: Beside
) -> None:
    log = tmp_path / "app.log"
    log.write_text(_MUCH)
    bench = Bench(tmp_path, waits=9, beside=beside)
    committed: list[int] = []
    publish = bench.publish

    def publish_committed(batch: ReadBatch, step: Step, took: float) -> None:
        publish(batch, step, took)
        committed.append(sum(one.bytes for one in bench.published) <= bench.offset())

    bench.pump._publish = publish_committed
    await bench.run()
    assert [step.bytes > 0 for step in bench.published].count(True) > 3
    assert all(committed)
    assert sum(step.bytes for step in bench.published) == log.stat().st_size


@pytest.mark.parametrize("beside", [Early, Late])
async def test_a_commit_that_fails_beside_is_repeated_before_that_of_the_step_after_it(
    tmp_path: Path, beside: Beside
) -> None:
    log = tmp_path / "app.log"
    log.write_text(_MUCH)
    bench = Bench(tmp_path, waits=9, fails=2, beside=beside)
    await bench.run()
    positions = [row.offset for delta in bench.written for row in _positions(delta.rows)]
    assert positions[:3] == [positions[0]] * 3
    assert positions[3:] == sorted(set(positions[3:]))
    assert bench.failures == 3  # the step that was judged meanwhile could not be written either
    assert sum(step.bytes for step in bench.published) == log.stat().st_size


@pytest.mark.parametrize("beside", [Early, Late])
async def test_who_looks_at_the_state_finds_all_that_was_judged(
    tmp_path: Path, beside: Beside
) -> None:
    (tmp_path / "app.log").write_text(_MUCH)
    bench = Bench(tmp_path, waits=9, beside=beside)
    judged, asked = [0], list[asyncio.Task[tuple[int, int, bool]]]()
    bench.pump.tell_lines(lambda chunk, _now: judged.append(chunk.start + len(chunk.data)))
    publish = bench.publish

    def look() -> tuple[int, int, bool]:
        return bench.offset(), judged[-1], bench.pump.in_doubt

    def publish_and_ask(batch: ReadBatch, step: Step, took: float) -> None:
        publish(batch, step, took)
        if batch.lagging:
            asked.append(asyncio.create_task(bench.pump.in_thread(look)))

    bench.pump._publish = publish_and_ask
    await bench.run()
    found = [await one for one in asked]
    assert len({offset for offset, _, _ in found}) > 3
    assert [offset for offset, _, _ in found] == [judged for _, judged, _ in found]
    assert not any(doubt for _, _, doubt in found)


@pytest.mark.parametrize("fails", [0, 1])
async def test_a_reload_waits_for_what_was_judged_to_be_written(tmp_path: Path, fails: int) -> None:
    """The new core knows what is written; the rest of what the old one judged would be lost."""
    log = tmp_path / "app.log"
    log.write_text(_MUCH)
    bench = Bench(tmp_path, waits=9, beside=Late)
    judged, found = [0], list[tuple[int, int]]()
    bench.pump.tell_lines(lambda chunk, _now: judged.append(chunk.start + len(chunk.data)))
    reloads: list[asyncio.Task[None]] = []
    publish = bench.publish

    def build(before: Core) -> Core:
        found.append((bench.offset(), judged[-1]))
        return bench.reloaded(before)

    def publish_and_reload(batch: ReadBatch, step: Step, took: float) -> None:
        publish(batch, step, took)
        if not reloads:
            bench.fails = fails  # that of the step which is judged, and not yet written
            reloads.append(asyncio.create_task(bench.pump.exchange(build, lambda _core: None)))

    bench.pump._publish = publish_and_reload
    await bench.run()
    await reloads[0]
    assert bool(bench.failures) == bool(fails)
    ((written, wanted),) = found
    assert written == wanted
    assert sum(step.bytes for step in bench.published) == log.stat().st_size


async def test_while_it_is_held_nothing_is_read(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("noise\n")
    bench = Bench(tmp_path, waits=9)
    bench.pump.hold(held=True)
    publish, seen = bench.publish, list[int]()

    def publish_and_let_go(batch: ReadBatch, step: Step, took: float) -> None:
        publish(batch, step, took)
        seen.append(step.bytes)
        if len(seen) == 3:
            bench.pump.hold(held=False)

    bench.pump._publish = publish_and_let_go
    await bench.run()
    assert seen[:3] == [0, 0, 0]
    assert sum(seen) == log.stat().st_size
