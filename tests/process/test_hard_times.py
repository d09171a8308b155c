"""A disk that is full and a clock that jumps, with the daemon in this process."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import pytest

from sidecar.config.load import load_config
from sidecar.daemon.app import Daemon
from sidecar.daemon.seat import PURGE_SECONDS
from support.crash import counted, messages, told
from support.live import JumpingClock
from support.setup import append, configure, record, slack_to, write_rule
from support.sinks import SlackSink


@dataclass
class Life:
    """A running daemon, its clock and the log it reads."""

    daemon: Daemon
    log: Path
    clock: JumpingClock
    client: httpx.AsyncClient
    port: int

    def write(self, status: str, *organisations: int) -> None:
        """Append a line for each organisation, with the time the clock shows."""
        at = datetime.fromtimestamp(self.clock.now(), UTC).replace(tzinfo=None).isoformat()
        append(self.log, *(record(status, f"org_{n}", timestamp=at) for n in organisations))

    async def samples(self) -> dict[str, float]:
        text = (await self.client.get(f"http://127.0.0.1:{self.port}/metrics")).text
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (li.rsplit(" ", 1) for li in lines)}

    async def until(self, holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """Return the samples of /metrics once they hold; each look gives the daemon its turn."""
        async with asyncio.timeout(30):
            while not holds(samples := await self.samples()):
                pass
        return samples


def events(samples: dict[str, float]) -> float:
    return sum(v for name, v in samples.items() if name.startswith("webhook_events_total{"))


def are_counted(expected: int, samples: dict[str, float]) -> bool:
    return events(samples) == expected


def are_told(slack: SlackSink, expected: int, _samples: dict[str, float]) -> bool:
    return len(slack.requests) == expected


class Hasty(JumpingClock):
    """A clock whose hours are over at once."""

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        return await super().wait(event, 0.05 if seconds >= PURGE_SECONDS else seconds)


@asynccontextmanager
async def living(
    folder: Path, slack: SlackSink, clock: JumpingClock | None = None
) -> AsyncIterator[Life]:
    write_rule(folder)
    config = load_config(str(configure(folder, slack_to(slack.url))), {})
    clock, stop = clock or JumpingClock(), asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.TaskGroup() as group:
        daemon = Daemon(config, clock=clock, on_listen=port.set_result)
        group.create_task(daemon.run(stop))
        try:
            yield Life(daemon, folder / "app.log", clock, client, await port)
        finally:
            stop.set()


@pytest.mark.parametrize("jumps", [(3600.0, -3600.0), (-3600.0, 3600.0)], ids=["on", "back"])
async def test_an_hours_jump_of_the_clock_and_back(
    tmp_path: Path, jumps: tuple[float, float]
) -> None:
    with SlackSink() as slack:
        async with living(tmp_path, slack) as life:
            life.write("failed", 1, 2, 3)
            await life.until(partial(are_counted, 3))
            for turn, jump in enumerate(jumps, 1):
                life.clock.jump(jump)
                life.write("failed", turn)
                rotated = life.log.with_name(f"app.log.{3 - turn}")
                life.log.rename(rotated)
                life.write("fine", 4)
                await life.until(partial(are_counted, 3 + 2 * turn))
                await life.until(partial(are_told, slack, turn))
        posted = sorted(told(request.body.decode()) for request in slack.requests)
    assert posted == ["org_1", "org_2"]
    assert counted(tmp_path / "state.db") == {"failed": 5, "fine": 2}


def used_up(daemon: Daemon, *, full: bool) -> None:
    """Let SQLite find no page more on the disk, or as many as it likes."""
    db: sqlite3.Connection = daemon._store.database.db  # type: ignore[attr-defined]
    db.execute(f"PRAGMA max_page_count = {1 if full else 1 << 30}")


async def test_a_full_disk_is_waited_for_with_metrics_up_and_nothing_lost(tmp_path: Path) -> None:
    few, many = range(10), range(300)  # so many that they need pages of their own
    with SlackSink() as slack:
        async with living(tmp_path, slack) as life:
            life.write("failed", *few)
            await life.until(partial(are_counted, len(few)))
            await life.daemon._thread(lambda: used_up(life.daemon, full=True))
            life.write("failed", *many)
            full = await life.until(lambda samples: samples["sidecar_commit_failures_total"] >= 2)
            assert events(full) == len(few)
            assert not slack.requests
            await life.daemon._thread(lambda: used_up(life.daemon, full=False))
            await life.until(partial(are_counted, len(few) + len(many)))
            await life.until(partial(are_told, slack, len(few)))
    assert counted(tmp_path / "state.db") == {"failed": len(few) + len(many)}
    assert set(messages(tmp_path / "state.db").values()) == {1}


async def test_a_database_locked_by_another_is_waited_for(tmp_path: Path) -> None:
    with SlackSink() as slack:
        async with living(tmp_path, slack) as life:
            await life.until(partial(are_counted, 0))
            other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            life.write("fine", 1)
            await life.until(lambda samples: samples["sidecar_commit_failures_total"] >= 1)
            other.execute("ROLLBACK")
            other.close()
            await life.until(partial(are_counted, 1))


async def test_what_could_only_not_be_tidied_up_stops_nothing(tmp_path: Path) -> None:
    with SlackSink() as slack:
        async with living(tmp_path, slack, Hasty()) as life:
            await life.until(partial(are_counted, 0))
            other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            await life.until(lambda samples: samples["sidecar_commit_failures_total"] >= 1)
            await life.until(lambda _: life.daemon._trouble() == "")
            other.close()
            await life.until(lambda _: life.daemon.telemetry._commit_failing_since is None)
