"""The real daemon in a child process that kills itself at a named boundary of its step.

The boundaries are put around the daemon's own ports by the classes here; the product knows
nothing of them.
"""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NamedTuple, TypeVar

from sidecar import core
from sidecar.batch import ReadBatch
from sidecar.clock import SystemClock
from sidecar.config.load import load_config
from sidecar.core import Step
from sidecar.daemon import app, restoring as starting
from sidecar.daemon.lines import configure_log
from sidecar.parse.event import Chunk, Parsed, Triple, Wanted
from sidecar.parse.parser import Parser
from sidecar.read.follower import Follower
from sidecar.redact import Redactor
from sidecar.rows import Delta, OutboxRow, Row, SeriesRow
from sidecar.store.sqlite import SqliteFile
from sidecar.store.store import Database, Store
from support.forks import FORKS
from support.sinks import SlackSink

_R = TypeVar("_R", bound=Row)


class Boundary(StrEnum):
    """Where a child may die, in the order of one step."""

    BEFORE_READING = "before reading"
    BEFORE_TRANSACTION = "before the transaction"
    TRANSACTION_BEGUN = "transaction begun"
    BEFORE_COMMIT = "inside the transaction, before COMMIT"


class Fuse:
    """Kills the process when `boundary` is reached."""

    boundary: Boundary | None = None

    @classmethod
    def at(cls, boundary: Boundary) -> None:
        if boundary is cls.boundary:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingFollower(Follower):
    last = ReadBatch()

    def look(self, now: float) -> ReadBatch:
        Fuse.at(Boundary.BEFORE_READING)
        DyingFollower.last = super().look(now)
        return self.last


class DyingStore(Store):
    """Boundaries are at statements of a real transaction: SQLite tells when one begins."""

    def __init__(self, file: Database) -> None:
        super().__init__(file)
        self._statements: dict[str, Boundary] = {}
        assert isinstance(file, SqliteFile)
        file.db.set_trace_callback(self._begins)

    def commit(self, delta: Delta) -> None:
        Fuse.at(Boundary.BEFORE_TRANSACTION)
        self._statements = {
            "INSERT INTO files": Boundary.TRANSACTION_BEGUN,
            "COMMIT": Boundary.BEFORE_COMMIT,
        }
        super().commit(delta)

    def _begins(self, statement: str) -> None:
        for beginning, boundary in self._statements.items():
            if statement.startswith(beginning):
                Fuse.at(boundary)


class DyingParser(Parser):
    """Ends the process at a line that holds `deadly`, as a fault in C code would."""

    deadly = b""

    def parse(
        self,
        chunk: Chunk,
        *,
        now: float,
        wanted: Callable[[Triple], Wanted],
        alone: Parsed | None = None,
    ) -> Parsed:
        if self.deadly and self.deadly in chunk.data:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().parse(chunk, now=now, wanted=wanted, alone=alone)


class Life(NamedTuple):
    """How a child lives: until killed if not `ends`, else until all is read and sent or it dies."""

    config: Path
    ends: bool = True
    boundary: Boundary | None = None
    deadly: bytes = b""


def start(config: Path) -> ForkServerProcess:
    """Start the daemon; it runs until it is killed."""
    process = FORKS.Process(target=_live, args=(Life(config, ends=False),))
    process.start()
    return process


def run(life: Life) -> int:
    """Run the daemon to its end; return its exit code, negative for a signal."""
    process = FORKS.Process(target=_live, args=(life,))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "it does not come to an end"
    code = process.exitcode
    process.close()
    return code


def counted(state: Path) -> Counter[str]:
    """Return webhook_events_total by status as the state file has it."""
    found: Counter[str] = Counter()
    for row in stored(state, SeriesRow):
        if row.name == "webhook_events_total":
            found[json.loads(row.labels)["status"]] += int(float(row.value))
    return +found


def messages(state: Path) -> Counter[tuple[str, str]]:
    """Return how many messages were decided, by integration and organisation."""
    rows = stored(state, OutboxRow)
    return Counter((row.integration, told(row.payload)) for row in rows)


def in_doubt(state: Path) -> set[str]:
    """Return the organisations of messages of which nobody knows whether they arrived."""
    rows = stored(state, OutboxRow)
    return {told(row.payload) for row in rows if row.claimed_at is not None and not row.outcome}


def posted(slack: SlackSink) -> Counter[str]:
    """Return how often each organisation was told of; a request that broke off tells nobody."""
    whole = (r for r in slack.requests if len(r.body) == int(r.headers["content-length"]))
    return Counter(told(request.body.decode()) for request in whole)


def told(text: str) -> str:
    """Return the organisation that a message or a payload is about."""
    found = re.search(r"org_\d+", text)
    assert found is not None, text
    return found[0]


def stored(state: Path, row: type[_R]) -> list[_R]:
    """Return the rows of one table of the state file, while no daemon has it."""
    store = Store.open(str(state))
    try:
        return store.load(row)
    finally:
        store.close()


def _live(life: Life) -> None:
    os.environ["NO_PROXY"] = "*"
    log = os.open(f"{life.config}.said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    Fuse.boundary, DyingParser.deadly = life.boundary, life.deadly
    vars(starting).update(Store=DyingStore, Follower=DyingFollower)
    vars(core).update(Parser=DyingParser)
    config = load_config(str(life.config), os.environ)
    configure_log(redact=Redactor(config.redact).text)
    daemon = app.Daemon(config, clock=SystemClock(), on_step=_note_end)
    asyncio.run(_until_done(daemon) if life.ends else daemon.run(asyncio.Event()))


class _Reading:
    ended = False


def _note_end(_step: Step) -> None:
    """Note, after the commit, whether the step just done was the last for now."""
    _Reading.ended = DyingFollower.last.caught_up


async def _until_done(daemon: app.Daemon) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(daemon.run(stop))
        while not (_Reading.ended and daemon.telemetry.backlog.pending == 0):
            await daemon.clock.wait(stop, 0.01)
        stop.set()
