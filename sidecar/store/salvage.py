"""What to do with a state file that was ours and is damaged: keep it, out of the way."""

import os
from datetime import UTC, datetime
from pathlib import Path

from sidecar.store.fault import StoreError
from sidecar.store.lock import OwnerLock
from sidecar.store.schema import APPLICATION_ID

# The database file format (sqlite.org/fileformat.html): the magic string, and at offset 68 the
# application id, big-endian.
_MAGIC = b"SQLite format 3\0"
_ID_AT = 68
# SQLite's own companions; they belong to the file and are worthless to another.
_COMPANIONS = ("-wal", "-shm")


def is_ours(path: str) -> bool:
    """Tell whether the header of the file says that a sidecar made it."""
    try:
        with Path(path).open("rb") as file:
            header = file.read(_ID_AT + 4)
    except OSError:
        return False
    return header.startswith(_MAGIC) and header[_ID_AT:] == APPLICATION_ID.to_bytes(4, "big")


def set_aside(path: str, now: float) -> str:
    """Rename the state file and its companions to `<path>.damaged-<time>`; return that name.

    Raises StoreError when another sidecar has the file or it cannot be renamed.
    """
    path = str(Path(path).resolve())
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = f"{path}.damaged-{stamp}"
    try:
        lock = OwnerLock.take(path)
        try:
            for end in ("", *_COMPANIONS):
                if os.path.lexists(path + end):
                    Path(path + end).rename(aside + end)
        finally:
            lock.release()
    except OSError as error:
        raise StoreError(
            f"the state file {path} is damaged and cannot be set aside: {error.strerror};"
            " move it away to start with empty counters and alerts"
        ) from error
    return aside
