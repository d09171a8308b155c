"""What the provider tells goes into the step's transaction, each event once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daemon.test_loop import Bench, Time
from sidecar.daemon.inbox import Inbox
from sidecar.provider.facts import Arrival, Told, Unavailable
from sidecar.rows import Delta, ReceivedRow, SeriesRow
from sidecar.store.schema import StoreUnavailable
from sidecar.store.store import KEEP_RECEIVED

if TYPE_CHECKING:
    from sidecar.core import Core


class Yielding(Time):
    """Lets the others work wherever something waits."""

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        await asyncio.sleep(0)
        return await super().wait(event, seconds)


def arrival(number: int = 1, opened: str = "") -> Arrival:
    fields = {"org_id": f"org_{number}"}
    told = Told(f"evt_{number}", "stripe", "invoice.paid", "paid", 1_793_606_000.0, fields)
    return Arrival("stripe_webhook stripe", told, opened)


def counted(bench: Bench) -> float:
    """Return how many events are counted on disk."""
    rows = [row for row in bench.store.load(SeriesRow) if row.name == "webhook_events_total"]
    return sum(float(row.value) for row in rows if "invoice.paid" in row.labels)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Bench, Inbox]]:
    bench = Bench(folder, 0, time=Yielding(10_000))
    pump = asyncio.create_task(bench.pump.run(bench.time.stop))
    try:
        yield bench, Inbox(bench.pump, bench.store, bench.time)
    finally:
        bench.time.stop.set()
        bench.pump.wake()
        await pump
        bench.follower.close()
        bench.store.close()
        assert not bench.broken


async def together(*calls: Awaitable[int]) -> list[int]:
    return list(await asyncio.gather(*calls))


async def test_an_event_counts_once_however_often_it_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as (bench, inbox):
        assert await together(inbox.take([arrival()]), inbox.take([arrival()] * 2)) == [1, 0]
        assert await inbox.take([arrival()]) == 0
        assert counted(bench) == 1
        assert bench.published[-1].events == 0
    async with running(tmp_path) as (bench, inbox):
        assert await together(inbox.take([arrival(), arrival(2)])) == [1]
        assert counted(bench) == 2


async def test_a_reload_that_is_asked_for_at_the_same_time_leaves_no_event_behind(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (bench, inbox):
        installed: list[Core] = []
        taking = asyncio.create_task(inbox.take([arrival()]))
        await asyncio.sleep(0)  # so that it is asked for first
        await bench.pump.exchange(bench.reloaded, installed.append)
        assert await taking == 1
        assert installed
        assert counted(bench) == 1


async def test_what_could_not_be_looked_up_is_taken_when_it_is_told_again(tmp_path: Path) -> None:
    async with running(tmp_path) as (bench, inbox):
        look = bench.store.received

        def locked(source: str, id_: str) -> ReceivedRow | None:
            if id_ == "evt_2":
                raise StoreUnavailable("locked")
            return look(source, id_)

        bench.store.received = locked  # type: ignore[method-assign]  # a disk that is away
        with pytest.raises(Unavailable):
            await inbox.take([arrival(1), arrival(2)])
        bench.store.received = look  # type: ignore[method-assign]  # and back
        assert await inbox.take([arrival(1), arrival(2)]) == 2
        assert counted(bench) == 2


async def test_nothing_is_taken_while_the_state_file_cannot_be_written(tmp_path: Path) -> None:
    async with running(tmp_path) as (bench, inbox):
        begin, tried = bench.store.begin, asyncio.Event()
        await inbox.open("none")

        def full(delta: Delta) -> Callable[[], None]:
            assert delta
            tried.set()
            raise StoreUnavailable("no space left")

        bench.store.begin = full  # type: ignore[method-assign]  # the disk is, for a moment
        first = asyncio.create_task(inbox.take([arrival(1)]))
        await tried.wait()
        with pytest.raises(Unavailable):
            await inbox.take([arrival(2)])
        bench.store.begin = begin  # type: ignore[method-assign]  # and back
        assert await first == 1
        assert await inbox.take([arrival(2)]) == 1
        assert counted(bench) == 2


async def test_what_is_open_is_known_until_its_end_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, inbox):
        source = arrival().source
        assert await inbox.take([arrival(1, "a"), arrival(2, "b")]) == 2
        assert await inbox.open(source) == {"evt_1": "a", "evt_2": "b"}
        assert await inbox.take([arrival(1, "a"), arrival(2)]) == 1
        assert await inbox.open(source) == {"evt_1": "a"}


async def test_an_id_is_forgotten_after_thirty_days(tmp_path: Path) -> None:
    async with running(tmp_path) as (bench, inbox):
        await inbox.take([arrival()])
        now = bench.time.now()
        bench.store.purge(now + KEEP_RECEIVED - 60)
        assert bench.store.received(arrival().source, "evt_1") is not None
        bench.store.purge(now + KEEP_RECEIVED + 60)
        assert bench.store.received(arrival().source, "evt_1") is None
