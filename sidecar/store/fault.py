"""How the state file can fail its owner: for good, or for now."""

import sqlite3

_FOR_NOW = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
    }
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class StoreError(Exception):
    """The state file cannot be used; the message says what, where and what to do."""


class StoreDamagedError(StoreError):
    """The state file is there and is no sound database."""


class StoreUnavailable(Exception):  # noqa: N818 - a state of the disk, which may pass
    """The transaction was not written, nothing of it; the same one may be tried again."""


def of_transaction(path: str, error: sqlite3.Error) -> Exception | None:
    """Return what a failed transaction on `path` means; None when it is a mistake of ours."""
    code = _primary(error)
    if code in _FOR_NOW:
        return StoreUnavailable(f"cannot write the state file {path}: {error}")
    if code in _DAMAGED:
        return damaged(path, str(error))
    return None


def of_opening(path: str, error: sqlite3.Error) -> Exception | None:
    """Return what failed while `path` was opened, as a sentence for the operator; None as above."""
    code = _primary(error)
    if code in _DAMAGED:
        return damaged(path, str(error))
    if code in _FOR_NOW:
        return StoreError(
            f"cannot open the state file {path}: {error};"
            " give it a disk with free space that this user may write to"
        )
    return None


def damaged(path: str, why: str) -> StoreDamagedError:
    return StoreDamagedError(
        f"the state file {path} is damaged or not a SQLite database ({why});"
        " restore a copy, or move it away to start with empty counters and alerts"
    )


def _primary(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code: the low byte of an extended one."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
