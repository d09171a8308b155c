"""What a run begins with: the state file opened, and all that it holds taken up."""

import secrets
from dataclasses import dataclass
from typing import TypeVar

import structlog

from sidecar.batch import Heard
from sidecar.clock import stopwatch
from sidecar.config.settings import Config
from sidecar.core import HASH_KEY, Core
from sidecar.daemon.selfwatch import Problem, kind_of
from sidecar.parse.event import as_number
from sidecar.read.follower import Follower
from sidecar.rows import Delta, FileRow, MetaRow, OutboxRow, Row
from sidecar.store.invariants import Ledger
from sidecar.store.schema import StoreDamagedError
from sidecar.store.sqlite import is_ours, set_aside
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


def open_store(path: str, now: float) -> tuple[Store, str]:
    """Open the state file; return also where a damaged one was put, empty if there was none.

    Only a file that was ours is set aside; anything else is the operator's to look at. Raises
    StoreError.
    """
    try:
        return Store.open(path), ""
    except StoreDamagedError as damaged:
        if not is_ours(path):
            raise
        aside = set_aside(path, now)
        _log.error("state_file_damaged", error=str(damaged), set_aside=aside, starts="anew")
        return Store.open(path), aside


def restore(config: Config, store: Store, now: float, *, shadow: bool, aside: str) -> Start:
    """Take up what the state file holds at wall clock `now`.

    `aside` is where a damaged one was put just now: the new one remembers it.
    """
    meta = {row.name: row.value for row in store.load(MetaRow)}
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
