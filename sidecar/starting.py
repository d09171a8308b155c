"""From the state file to a core and a reader that go on where the last run stopped."""

import secrets
from dataclasses import dataclass

import structlog

from sidecar.config.model import Config
from sidecar.core import Core
from sidecar.read.follower import Follower
from sidecar.rows import Delta, FileRow, MetaRow, OutboxRow
from sidecar.store.fault import StoreDamagedError
from sidecar.store.salvage import is_ours, set_aside
from sidecar.store.store import Store

# What the state file remembers of an older one that was damaged: when it was, and its name now.
DAMAGED = "state_damaged"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins with.

    `interrupted`: messages whose attempt the end of the last run cut off. `damaged`: when a
    damaged state file was set aside, and where it lies, if one ever was.
    """

    core: Core
    follower: Follower
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
    if "hash_key" not in meta:
        meta["hash_key"] = secrets.token_hex(32)
        if aside:
            meta[DAMAGED] = f"{now} {aside}"
        rows = [MetaRow(name=name, value=value) for name, value in meta.items()]
        store.commit(Delta(rows=[*rows]))
    core = Core(config, shadow=shadow)
    core.restore(store, now)
    if first_start := "first_start" not in meta:
        # Together with the first positions: a crash before them is followed by a first start.
        core.once.append(MetaRow(name="first_start", value=str(now)))
    files = store.load(FileRow)
    follower = Follower(
        config.sources,
        files,
        hash_key=bytes.fromhex(meta["hash_key"]),
        first_start=first_start,
        since=float(meta["first_start"]) if not first_start else None,
        next_id=max((row.id for row in files), default=0) + 1,
    )
    at, _, where = meta.get(DAMAGED, "").partition(" ")
    return Start(core, follower, store.release_claims(), (float(at), where) if at else None)
