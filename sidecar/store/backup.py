"""A copy of the state file, whole at one instant, taken while the daemon writes."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sidecar.store.schema import StoreError
from sidecar.store.store import is_ours


def backup(source: str, target: str) -> int:
    """Copy the state file to `target`, replacing what is there; return the bytes written.

    SQLite's online backup takes all pages of one moment, those that are still in the write-ahead
    log too, and begins anew where the daemon wrote meanwhile. The copy is one file, checked, and
    readable by its owner alone. Raises StoreError with a sentence; what `target` held stays then.
    """
    if not is_ours(source):
        raise StoreError(f"{source} is not a state file of the sidecar, or cannot be read")
    if Path(target).exists() and Path(source).samefile(target):
        raise StoreError(f"{target} is the state file itself; name another file")
    part = f"{target}.part"
    try:
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        _copy(source, part)
        os.replace(part, target)  # noqa: PTH105 - texts, as given
    except (OSError, sqlite3.Error) as wrong:
        Path(part).unlink(missing_ok=True)
        raise StoreError(f"{source} cannot be copied to {target}: {wrong}") from wrong
    return Path(target).stat().st_size


def _copy(source: str, part: str) -> None:
    uri = f"{Path(source).absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True)) as ours, closing(sqlite3.connect(part)) as copy:
        ours.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged: {found}")
