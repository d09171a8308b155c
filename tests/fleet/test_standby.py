"""A member whose clock is hours away from the database's, and who stands by meanwhile."""

import asyncio
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from sidecar.config.load import load_config
from sidecar.daemon.app import Daemon
from sidecar.rows import BeatRow, Delta
from sidecar.secret import Secret
from sidecar.store.postgresql import PostgreSql
from sidecar.store.store import Store
from support.live import JumpingClock
from support.postgresql import PostgreSql as Server
from support.setup import configure, write_rule

pytestmark = pytest.mark.process
HOURS = 3 * 3600.0


class Attentive(JumpingClock):
    """A clock by which one look at the database follows the other at once; it counts them."""

    looks = 0

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        if seconds == PostgreSql.attend_seconds:
            self.looks += 1
            seconds = 0.01
        return await super().wait(event, seconds)

    async def looked(self, times: int) -> None:
        """Return after so many more looks."""
        until = self.looks + times + 1
        async with asyncio.timeout(30):
            while self.looks < until:
                await super().wait(asyncio.Event(), 0.01)


def member(folder: Path, url: str) -> Path:
    """Return the configuration of a host that judges nothing, in a fleet with another one."""
    with closing(Store(PostgreSql(Secret(url), "b"))) as other:
        other.commit(Delta(rows=[BeatRow("b", 0, None, caught_up=True)]))
    (folder / "url").write_text(url)
    write_rule(folder)
    path = configure(folder)
    database = "{postgresql: {url_file: url}, host: a, judge: false}"
    path.write_text(path.read_text().replace("{path: state.db}", database))
    return path


def read_to(url: str) -> float:
    """Return how far the host has read, as the others see it."""
    with psycopg.connect(url) as asking:
        ((reached,),) = asking.execute("SELECT reached FROM beats WHERE host = 'a'").fetchall()
    return float(reached)


async def test_a_clock_that_is_hours_off_is_told_of_once_until_it_is_right_again(
    tmp_path: Path, server: Server
) -> None:
    url, clock, stop = server.fresh(), Attentive(), asyncio.Event()
    config = load_config(str(member(tmp_path, url)), {})

    def told() -> list[int]:
        return [one["ahead_seconds"] for one in logs if one["event"] == "clock_off"]

    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            group.create_task(Daemon(config, clock=clock).run(stop))
            try:
                await clock.looked(5)
                assert told() == []
                clock.jump(HOURS)
                await clock.looked(5)
                assert len(told()) == 1
                clock.jump(-2 * HOURS)
                await clock.looked(5)
                assert len(told()) == 1
                clock.jump(HOURS)
                await clock.looked(5)
                clock.jump(-HOURS)
                async with asyncio.timeout(30):
                    while abs(read_to(url) - time.time()) > 60:  # corrected, in the database
                        await clock.looked(1)
            finally:
                stop.set()
    assert told() == pytest.approx([HOURS, -HOURS], abs=5)
