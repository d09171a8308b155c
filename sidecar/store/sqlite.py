"""A SQLite file with one owner, written one whole transaction at a time."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sidecar.store import schema as fault
from sidecar.store.schema import (
    APPLICATION_ID,
    R,
    RowTable,
    Statement,
    StoreError,
    StoreUnavailable,
    Values,
    migrate,
    storable,
    table_of,
)

_BUSY_SECONDS = 1.0
# Of a new file. A message changes a dozen small rows, each on a page of its own that is written
# whole: with SQLite's usual 4,096 a storm writes twice as much.
_PAGE_BYTES = 1024
# WAL and FULL: after COMMIT returns, a power cut loses nothing (sqlite.org/wal.html). The WAL
# file is moved into the database every 16 MiB, not every 1,000 pages, which at full speed
# is many times a second. No temporary files: the root file system may be read-only.
_WAL_BYTES = 16_777_216
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {_WAL_BYTES}",
    "PRAGMA temp_store = MEMORY",
)


class SqliteFile:
    """The file `path`, opened or created; sole owner until `close` or the process's end.

    Raises StoreError, a sentence for the operator, when it cannot be used; StoreDamagedError when
    it is no sound database.
    """

    attend_seconds = 60.0
    patience: float | None = None
    is_alone = True

    def __init__(self, path: str) -> None:
        self.place = str(Path(path).resolve())
        if was_emptied(self.place):  # SQLite would delete the write-ahead log, and begin anew
            raise fault.damaged(self.place, "it is empty, and its write-ahead log is there")
        self.lock = _own(self.place)
        try:
            self.db = _connect(self.place)
        except BaseException:
            self.lock.release()
            raise

    def table(self, row: type[R]) -> RowTable[R]:
        return table_of(row)

    def find(self, query: str, values: Values = ()) -> list[tuple[Any, ...]]:
        with self._failures():
            return self.db.execute(query, values).fetchall()

    def write(self, statements: Sequence[Statement]) -> None:
        self.begin(statements)()

    def begin(self, statements: Sequence[Statement]) -> Callable[[], None]:
        with self._undone():
            if self.db.in_transaction:  # the disk refused to undo the last one
                self.db.execute("ROLLBACK")
            self.db.execute("BEGIN IMMEDIATE")
            for statement, rows in statements:
                self._execute(statement, rows)
        return self._seal

    def _seal(self) -> None:
        with self._undone():
            self.db.execute("COMMIT")

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Undo the transaction where anything goes wrong."""
        with self._failures():
            try:
                yield
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite has rolled back by itself on some errors
                    self.db.execute("ROLLBACK")
                raise

    def _execute(self, statement: str, rows: Sequence[Values]) -> None:
        try:
            self.db.executemany(statement, rows)
        except (UnicodeEncodeError, OverflowError):
            # Rare, so the usual row pays nothing for it; upserts and deletions may be repeated.
            self.db.executemany(statement, [storable(v) for v in rows])

    def purging(self) -> Sequence[Statement]:
        return ()

    def attend(self) -> bool:
        """Write the file anew if it was deleted in use; return whether it was.

        What is written into a deleted file is gone with the process. Raises StoreError where
        another file is in its place by now, which the next start will take; StoreUnavailable.
        """
        try:
            if self.lock.is_on(self.place):
                return False
            if os.path.lexists(self.place):
                raise StoreError(
                    f"the state file {self.place} was replaced while it was in use;"
                    " stop the sidecar before its state file is put in place"
                )
            self._write_anew()
        except OSError as error:
            raise StoreUnavailable(f"cannot write the state file anew: {error}") from error
        return True

    def _write_anew(self) -> None:
        new = f"{self.place}.new"
        Path(new).parent.mkdir(0o700, parents=True, exist_ok=True)
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with self._failures():
            self.db.execute("VACUUM INTO ?", (new,))
        for end in _COMPANIONS:
            Path(self.place + end).unlink(missing_ok=True)
        Path(new).rename(self.place)
        old, lock = self.db, self.lock
        self.lock = _own(self.place)
        self.db = _connect(self.place)
        old.close()
        lock.release()

    def close(self) -> None:
        self.db.close()
        self.lock.release()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            meaning = fault.of_transaction(self.place, error)
            if meaning is None:
                raise
            raise meaning from error


class OwnerLock:
    """Keeps a second sidecar off a state file: a lock on the file itself, held until `release`.

    The kernel lets go of it however the process ends. SQLite's own locks are of another kind; but
    to close a handle of the file lets go of those, so this one is closed last.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def acquire(cls, path: str) -> "OwnerLock":
        """Lock the state file `path`, which is made if there is none, readable by this user alone.

        Raises StoreError when another process has it, OSError.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.fchmod(fd, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(fd)
            os.close(fd)
            raise StoreError(
                f"the state file {path} is in use by another sidecar (process {owner});"
                " stop that one, or give this one its own state.path"
            ) from None
        except OSError:
            os.close(fd)
            raise
        return cls(fd)

    def is_on(self, path: str) -> bool:
        """Tell whether what is at `path` now is the file that is locked. Raises OSError."""
        with suppress(FileNotFoundError):
            return os.path.samestat(Path(path).stat(), os.fstat(self._fd))
        return False

    def release(self) -> None:
        os.close(self._fd)


def _owner(fd: int) -> str:
    """Return the number of the process that has a lock on a file, as Linux lists it."""
    inode = f":{os.fstat(fd).st_ino}"
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5].endswith(inode):
                return words[4]
    return "unknown"


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


def is_empty(path: str) -> bool:
    """Tell whether there is a file that holds nothing."""
    return Path(path).is_file() and not Path(path).stat().st_size


def was_emptied(path: str) -> bool:
    """Tell whether a file that holds nothing was in use: SQLite's companions lie beside it."""
    place = Path(path).resolve()
    return is_empty(path) and any(os.path.lexists(f"{place}{end}") for end in _COMPANIONS)


def set_aside(path: str, now: float) -> str:
    """Rename the state file and its companions to `<path>.damaged-<time>`; return that name.

    Raises StoreError when another sidecar has the file or it cannot be renamed.
    """
    path = str(Path(path).resolve())
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = f"{path}.damaged-{stamp}"
    try:
        lock = OwnerLock.acquire(path)
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


def _own(path: str) -> OwnerLock:
    """Lock the file. Raises StoreError."""
    try:
        return OwnerLock.acquire(path)
    except OSError as error:
        raise StoreError(
            f"cannot write the state file {path}: {error.strerror};"
            f" {Path(path).parent} must be a folder that this user may write to"
        ) from error


def _connect(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        _check(db, path)
        migrate(db, path)
        for pragma in _PRAGMAS:
            db.execute(pragma)
        page_bytes = db.execute("PRAGMA page_size").fetchone()[0]
        db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_BYTES // page_bytes}")
    except sqlite3.Error as error:
        db.close()
        meaning = fault.of_opening(path, error)
        if meaning is None:
            raise
        raise meaning from error
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, path: str) -> None:
    found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found != "ok":
        raise fault.damaged(path, found.splitlines()[-1])


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
