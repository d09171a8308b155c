"""What a run begins with: the state file opened, and all that it holds taken up."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog
from msgspec.structs import replace

from sidecar.batch import Heard
from sidecar.clock import Clock, stopwatch
from sidecar.config.settings import Config
from sidecar.core import HASH_KEY, Core, Stored
from sidecar.daemon.pacing import RETRY_COMMIT_SECONDS
from sidecar.daemon.selfwatch import Problem, kind_of
from sidecar.daemon.telemetry import Telemetry
from sidecar.parse.event import HOST, as_number
from sidecar.read.follower import Follower
from sidecar.rows import BeatRow, Delta, FileRow, MetaRow, OutboxRow, Row
from sidecar.rules.alert import Alert
from sidecar.store.invariants import Ledger
from sidecar.store.pgtables import of_reading
from sidecar.store.schema import StoreDamagedError, StoreUnavailable
from sidecar.store.sqlite import is_empty, is_ours, set_aside, was_emptied
from sidecar.store.store import Store

JUDGES = "judge"  # the MetaRow that names the host that judges
# What the state file remembers of an older one that was damaged: when it was, and its name now.
DAMAGED = "state_damaged"
_R = TypeVar("_R", bound=Row)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins with.

    `ledger` knows what is stored. `alerts`: those open, of a fleet those about this member.
    `interrupted`: messages whose attempt the end of the last run cut off. `damaged`: when a damaged
    state file was set aside, and where it lies, if one ever was.
    """

    core: Core
    follower: Follower
    ledger: Ledger
    alerts: list[Alert]
    interrupted: list[OutboxRow]
    damaged: tuple[float, str] | None


def open_store(config: Config, now: float) -> tuple[Store, str]:
    """Open the state file; return also where a damaged one was put, empty if there was none.

    Only a file that was ours is set aside; anything else is the operator's to look at. A database
    is connected to by whoever asks it first. Raises StoreError.
    """
    if config.state_url is not None:
        from sidecar.store.postgresql import PostgreSql  # noqa: PLC0415 - an extra, and late

        def secret() -> str:
            return _secret_of(config.state_path) if is_ours(config.state_path) else ""

        return Store(PostgreSql(config.state_url, config.host, secret=secret)), ""
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
    """Take up what the state file holds at wall clock `now`, or what this host has in the database.

    `aside` is where a damaged one was put just now: the new one remembers it.
    """
    if config.state_url is not None:
        from sidecar.daemon.judging import takes_all  # noqa: PLC0415 - an extra, and late

        takes_all(config, store)  # before anything is loaded
        if is_ours(config.state_path):
            _move_in(config, store)
    meta = {row.name: row.value for row in store.load(MetaRow)}
    if HASH_KEY not in meta:
        meta[HASH_KEY] = secrets.token_hex(32)
        if aside:
            meta[DAMAGED] = f"{now} {aside}"
        rows = [MetaRow(name=name, value=value) for name, value in meta.items()]
        store.commit(Delta(rows=[*rows]))
    ledger = Ledger()
    core = core_of(config, store, ledger, now, shadow=shadow)
    say_damaged(core, store)
    ours = ("", config.host) if config.host else ()
    alerts = [a for a in core.engine.alerts() if not ours or a.event.get(HOST, "") in ours]
    if not store.database.is_alone:
        from sidecar.daemon.judging import alerts_about  # noqa: PLC0415 - same

        alerts = alerts_about(config, now)
    _recall(core, alerts)
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
    return Start(core, follower, ledger, alerts, freed, (float(at), where) if at else None)


def core_of(config: Config, store: Store, ledger: Ledger, now: float, *, shadow: bool) -> Core:
    """Return a core that has taken up what is stored: one that judges, if this host is alone."""
    if config.state_url is None:
        core = Core(config, shadow=shadow, stopwatch=stopwatch)
        core.restore(Noted(store, ledger), now)
        return core
    from sidecar.fleet.courier import Alone, Courier  # noqa: PLC0415 - not needed with a file

    host, alone = config.host, store.database.is_alone
    before = next((row for row in store.load(BeatRow) if row.host == host), None)
    reading = partial(Courier, host=host, before=before)
    engine = partial(Alone, host=host) if alone else reading
    core = Core(config, shadow=shadow, stopwatch=stopwatch, engine=engine)
    core.restore(Noted(store, ledger, shared_secret(store)), now)
    if alone:
        core.once.append(MetaRow(name=JUDGES, value=host))
    if alone and before is not None:  # it hands nothing over: nobody is to wait for it
        core.once.append(replace(before, here=False))
    return core


def other_host(config: Config, store: Store) -> str:
    """Return the name of another host that is here, if there is one. Raises StoreUnavailable."""
    query = "SELECT host FROM beats WHERE here AND host <> ? LIMIT 1"
    found = store.database.find(query, (config.host,))
    return str(found[0][0]) if found else ""


def shared_secret(store: Store) -> str:
    """Return by what all hosts digest texts, in hex."""
    return str(store.database.find("SELECT secret FROM sidecar_state")[0][0])


def clock_of(store: Store) -> float:
    """Return what time it is for the database. Raises StoreUnavailable."""
    return float(store.database.find("SELECT extract(epoch FROM clock_timestamp())")[0][0])


def say_damaged(core: Core, store: Store) -> None:
    """Log what of the stored rows of rules and alerts cannot be read."""
    if core.engine.damaged_rows:
        _log.error(
            "journal_rows_damaged", rows=core.engine.damaged_rows, lost="what waited in them"
        )
    if store.damaged_rows:
        _log.error(
            "log_rows_damaged", rows=store.damaged_rows, lost="what those steps changed of alerts"
        )


def _secret_of(path: str) -> str:
    with closing(Store.open(path)) as file:
        found = {row.name: row.value for row in file.load(MetaRow)}
    return found.get(HASH_KEY, "")


def _move_in(config: Config, store: Store) -> None:
    """Write what a state file holds into the database at the first start, and leave it as it is.

    What this host has read always; what is judged only where nothing is yet.
    """
    if any(row.name == HASH_KEY for row in store.load(MetaRow)):
        return
    path = config.state_path
    with closing(Store.open(path)) as file:
        rows = file.everything()
    mine, judged = list[Row](), list[Row]()
    for row in rows:
        (mine if _is_of_reading(row, config) else judged).append(row)
    moved = _moves_in(config, store, judged)
    store.commit(Delta(rows=mine))
    left = {} if moved else {"left": "alerts, since others are judged already"}
    _log.info("state_moved_in", path=path, rows=len(rows), to=store.database.place, **left)


def _moves_in(config: Config, store: Store, rows: list[Row]) -> bool:
    """Write what is judged where nothing is yet; return whether it was so."""
    from sidecar.daemon.judging import database_of  # noqa: PLC0415 - an extra, and late

    with ExitStack() as stack:
        judge = store
        if not store.database.is_alone:
            database = stack.enter_context(closing(database_of(config)))
            if not database.taken():
                return False
            judge = Store(database)
        if judge.load(MetaRow):
            return False
        judge.commit(Delta(rows=rows))
    return True


def _is_of_reading(row: Row, config: Config) -> bool:
    """Tell whether a row says how far logs are read and what is counted, and not what is judged."""
    return of_reading(type(row), str(getattr(row, "name", "")), config.state_metrics)


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


def _recall(core: Core, alerts: Iterable[Alert]) -> None:
    """Let what open alerts say of logs stay true until something else is read: no row has it."""
    for alert in alerts:
        kind, said = kind_of(alert), alert.event
        if kind is Problem.NO_EVENTS:
            heard = core.heard.setdefault(str(said.get("log", "")), Heard())
            heard.told = int(as_number(said.get("lines")) or 1)
        elif kind is Problem.DRIFT:
            core.drift.recall(str(said.get("what", "")), alert.since)


class Noted:
    """The stored rows, of which a ledger takes note while a core takes them up.

    `secret`, if any, stands in the place of the one by which the rows say that texts are digested.
    """

    def __init__(self, store: Stored, ledger: Ledger, secret: str = "") -> None:
        self._store = store
        self._ledger = ledger
        self._secret = secret

    def load(self, row: type[_R], /) -> list[_R]:
        rows = self._store.load(row)
        if row is MetaRow and self._secret:
            rows.append(row(name=HASH_KEY, value=self._secret))  # the last one of a name counts
        self._ledger.learn(Delta(rows=[*rows]))
        return rows
