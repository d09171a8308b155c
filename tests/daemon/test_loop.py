"""How steps follow one another: on a clock that waits for nothing, with real files and rows."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

from sidecar.batch import ReadBatch
from sidecar.config.load import load_config
from sidecar.core import Core, Step
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.daemon.pacing import POLL_SECONDS, RETRY_COMMIT_SECONDS, SPACING_SECONDS
from sidecar.daemon.restoring import open_store, restore
from sidecar.rows import Delta, FileRow, MetaRow
from sidecar.store.schema import StoreUnavailable
from support.daemon import RULES
from support.setup import configure

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

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        self._left -= 1
        if not self._left:
            self.stop.set()
        if event.is_set():
            return True
        self.waited.append(seconds)
        self._at += seconds
        return False


class Bench:
    """A pump with everything real around it but time, threads and the durability of `fails`."""

    def __init__(
        self, folder: Path, waits: int, *, fails: int = 0, time: Time | None = None
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
        self._fails = fails
        self.broken: list[object] = []
        self.pump = Pump(
            follower=self.follower, core=self.core, store=self.store, clock=self.time,
            ledger=start.ledger, broken=self.broken.extend,
            in_thread=self.in_thread, publish=self.publish, watched=lambda: False,
            commit_failed=self.commit_failed,
        )  # fmt: skip
        self.commit = self.store.commit
        self.store.commit = self.maybe_commit  # type: ignore[method-assign]  # a disk that fills

    def reloaded(self, before: Core) -> Core:
        """Return the core that a reload of the same configuration makes."""
        core = Core(self.config)
        core.restore(self.store, self.time.now())
        core.take_over(before)
        return core

    async def in_thread(self, call: Callable[[], _T], /) -> _T:
        self.in_threads += 1
        return call()

    def maybe_commit(self, delta: Delta) -> None:
        self.written.append(delta)
        if self._fails and _positions(delta.rows):
            self._fails -= 1
            raise StoreUnavailable("no space left")
        self.commit(delta)

    def commit_failed(self, failure: StoreUnavailable) -> None:
        assert str(failure) == "no space left"
        self.failures += 1

    def publish(self, batch: ReadBatch, step: Step, took: float) -> None:
        del batch, took
        self.published.append(step)

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
