"""What a run begins with: the state file opened, and all that it holds taken up."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from sidecar.batch import Heard
from sidecar.clock import Clock, stopwatch
from sidecar.config.settings import Config
from sidecar.core import HASH_KEY, Core
from sidecar.daemon.pacing import RETRY_COMMIT_SECONDS
from sidecar.daemon.selfwatch import Problem, kind_of
from sidecar.daemon.telemetry import Telemetry
from sidecar.parse.event import as_number
from sidecar.read.follower import Follower
from sidecar.rows import Delta, FileRow, MetaRow, OutboxRow, Row
from sidecar.store.invariants import Ledger
from sidecar.store.schema import StoreDamagedError, StoreUnavailable
from sidecar.store.sqlite import is_empty, is_ours, set_aside, was_emptied
from sidecar.store.store import Store

# What the state file remembers of an older one that was damaged: when it was, and its name now.
DAMAGED = "state_damaged"
_R = TypeVar("_R", bound=Row)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins with.

    `ledger` knows what is stored. `interrupted`: messages whose attempt the end of the last run cut
    off. `damaged`: when a damaged state file was set aside, and where it lies, if one ever was.
    """

    core: Core
    follower: Follower
    ledger: Ledger
    interrupted: list[OutboxRow]
    damaged: tuple[float, str] | None


def open_store(config: Config, now: float) -> tuple[Store, str]:
    """Open the state file; return also where a damaged one was put, empty if there was none.

    Only a file that was ours is set aside; anything else is the operator's to look at. A database
    is connected to by whoever asks it first. Raises StoreError.
    """
    if config.state_url is not None:
        from sidecar.store.postgresql import PostgreSql  # noqa: PLC0415 - an extra, and late

        return Store(PostgreSql(config.state_url)), ""
    path = config.state_path
    empty = is_empty(path)
    try:
        store = Store.open(path)
    except StoreDamagedError as damaged:
        if not (is_ours(path) or was_emptied(path)):
            raise
        aside = set_aside(path, now)
        _log.error("state_file_damaged", error=str(damaged), set_aside=aside, starts="anew")
        return Store.open(path), aside
    if empty:
        _log.warning("state_file_empty", path=path, taken_for="a first start")
    return store, ""


def restore(config: Config, store: Store, now: float, *, shadow: bool, aside: str) -> Start:
    """Take up what the state file holds at wall clock `now`.

    `aside` is where a damaged one was put just now: the new one remembers it.
    """
    meta = {row.name: row.value for row in store.load(MetaRow)}
    if not meta and config.state_url is not None and is_ours(config.state_path):
        moved = _move_in(config.state_path, store)
        meta = {row.name: row.value for row in moved}
    if HASH_KEY not in meta:
        meta[HASH_KEY] = secrets.token_hex(32)
        if aside:
            meta[DAMAGED] = f"{now} {aside}"
        rows = [MetaRow(name=name, value=value) for name, value in meta.items()]
        store.commit(Delta(rows=[*rows]))
    core = Core(config, shadow=shadow, stopwatch=stopwatch)
    ledger = Ledger()
    core.restore(_Noted(store, ledger), now)
    _recall(core)
    if core.engine.damaged_rows:
        _log.error(
            "journal_rows_damaged", rows=core.engine.damaged_rows, lost="what waited in them"
        )
    if store.damaged_rows:
        _log.error(
            "log_rows_damaged", rows=store.damaged_rows, lost="what those steps changed of alerts"
        )
    if first_start := "first_start" not in meta:
        # Together with the first positions: a crash before them is followed by a first start.
        core.once.append(MetaRow(name="first_start", value=str(now)))
    files = store.load(FileRow)
    follower = Follower(
        config.sources,
        files,
        hash_key=bytes.fromhex(meta[HASH_KEY]),
        first_start=first_start,
        since=float(meta["first_start"]) if not first_start else None,
        next_id=max((row.id for row in files), default=0) + 1,
    )
    at, _, where = meta.get(DAMAGED, "").partition(" ")
    freed = store.release_claims()
    ledger.learn(Delta(rows=[*store.waiting()]))
    return Start(core, follower, ledger, freed, (float(at), where) if at else None)


def _move_in(path: str, store: Store) -> list[MetaRow]:
    """Write what a state file holds into a store that is empty, and leave the file as it is."""
    file = Store.open(path)
    try:
        rows = file.everything()
    finally:
        file.close()
    store.commit(Delta(rows=rows))
    _log.info("state_moved_in", path=path, rows=len(rows), to=store.database.place)
    return [row for row in rows if isinstance(row, MetaRow)]


async def once_there(
    restored: Callable[[], Awaitable[Core]],
    config: Config,
    telemetry: Telemetry,
    clock: Clock,
    stop: asyncio.Event,
) -> Core | None:
    """Return what `restored` does; None if `stop` comes first.

    A database that cannot be used is waited for, and whoever asks is told so meanwhile. Raises
    what `restored` raises; for a state file that cannot be used too.
    """
    try:
        return await restored()
    except StoreUnavailable as failure:
        if config.state_url is None:
            raise
        telemetry.commit_failed(failure)
    there = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for serving in _waiting(config, telemetry, there):
            group.create_task(serving)
        core = await _tried_again(restored, telemetry, clock, stop)
        there.set()
    return core


async def _tried_again(
    restored: Callable[[], Awaitable[Core]], telemetry: Telemetry, clock: Clock, stop: asyncio.Event
) -> Core | None:
    while not await clock.wait(stop, RETRY_COMMIT_SECONDS):
        try:
            core = await restored()
        except StoreUnavailable as failure:
            telemetry.commit_failed(failure)
        else:
            telemetry.written()
            return core
    return None


def _waiting(
    config: Config, telemetry: Telemetry, there: asyncio.Event
) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield what answers until the state is there: no series, one at 0 would read as a restart."""
    from sidecar.web.server import WebState, build_app, serve  # noqa: PLC0415 - late, as in app

    http = config.http
    state = WebState(
        exposition=lambda _openmetrics: "",
        registry=telemetry.metrics.registry,
        ready=lambda: (False, "the database of the state cannot be used"),
        loopback=False,
        metrics_token=lambda: http.metrics_token,
    )
    tls = None if http.tls_server_config is None else http.tls_server_config.context
    for address in filter(None, {http.listen, http.metrics_listen}):
        yield serve(build_app(state), address, there, tls=lambda: tls)


def _recall(core: Core) -> None:
    """Let what open alerts say of logs stay true until something else is read: no row has it."""
    for alert in core.engine.alerts():
        kind, said = kind_of(alert), alert.event
        if kind is Problem.NO_EVENTS:
            heard = core.heard.setdefault(str(said.get("log", "")), Heard())
            heard.told = int(as_number(said.get("lines")) or 1)
        elif kind is Problem.DRIFT:
            core.drift.recall(str(said.get("what", "")), alert.since)


class _Noted:
    """The stored rows, of which a ledger takes note while a core takes them up."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    def load(self, row: type[_R], /) -> list[_R]:
        rows = self._store.load(row)
        self._ledger.learn(Delta(rows=[*rows]))
        return rows
