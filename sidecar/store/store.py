"""The state file: one SQLite file with one owner, written one whole transaction at a time."""

import fcntl
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from sidecar.deliver.retry import ASKED_TO_WAIT, LONGEST_WAIT, interrupted
from sidecar.deliver.waiting import Head, Waiting
from sidecar.rows import AuditRow, Delta, OutboxRow, ReceivedRow, Row, SeriesRow
from sidecar.store import schema as fault
from sidecar.store.schema import (
    APPLICATION_ID,
    R,
    StoreError,
    StoreUnavailable,
    migrate,
    storable,
    table_of,
)

_KEEP_ENDED = 7 * 86_400.0
KEEP_AUDIT = 200_000  # entries of some 300 bytes
KEEP_RECEIVED = 30 * 86_400.0  # for so long Stripe lists events
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


@dataclass(frozen=True, slots=True)
class OutboxBacklog:
    """How many messages are not yet sent or dead, and when the oldest was made."""

    pending: int
    oldest: float | None


class Store:
    """The state file, used from any thread, by one at a time.

    store = Store.open("/var/lib/sidecar/state.db")
    core.restore(store, now)
    store.commit(step.delta)
    """

    def __init__(self, db: sqlite3.Connection, path: str, lock: "OwnerLock") -> None:
        self._db = db
        self._path = path
        self._lock = lock
        self._waiting: Waiting | None = None

    @classmethod
    def open(cls, path: str) -> "Store":
        """Open or create the state file `path`, sole owner until `close` or the process's end.

        Raises StoreError, a sentence for the operator, when it cannot be used; StoreDamagedError
        when it is no sound database.
        """
        path = str(Path(path).resolve())
        lock = _own(path)
        try:
            return cls(_connect(path), path, lock)
        except BaseException:
            lock.release()
            raise

    def load(self, row: type[R]) -> list[R]:
        """Return all rows of a table. Raises StoreError, StoreUnavailable."""
        return self._find(row, "")

    def commit(self, delta: Delta) -> None:
        """Write the whole of `delta` in one durable transaction: deletions, then rows.

        Raises StoreUnavailable when nothing of it was written and the same may be tried again
        (disk full, locked, I/O), StoreDamagedError.
        """
        if not delta:
            return
        with self._transaction():
            for row, keys in _by_type((gone.row, gone.key) for gone in delta.gone).items():
                self._write(table_of(row).delete, keys)
            self._upsert(delta.rows)
        if self._waiting is not None:
            self._waiting.note(row for row in delta.rows if isinstance(row, OutboxRow))

    @property
    def queue(self) -> Waiting:
        """The messages that have not ended, and which of them is next."""
        if self._waiting is None:
            self._waiting = Waiting(map(Head.of, self.waiting()))
        return self._waiting

    def message(self, id_: str) -> OutboxRow:
        """Return a message of `queue` with all that it says."""
        (row,) = self._find(OutboxRow, "WHERE id = ?", (id_,))
        return row

    def pauses(self, now: float) -> dict[tuple[str, str], float]:
        """Return for how many seconds from `now` a destination asked to be left alone."""
        with self._failures():
            found = self._db.execute(
                "SELECT integration, destination, max(next_at) - ? FROM outbox WHERE outcome = ''"
                " AND detail LIKE ? AND next_at > ? AND next_at <= ?"
                " GROUP BY integration, destination",
                (now, f"%{ASKED_TO_WAIT}%", now, now + LONGEST_WAIT),
            )
            return {(kind, name): seconds for kind, name, seconds in found}

    def save_outbox(self, rows: Sequence[OutboxRow]) -> None:
        """Write messages in a transaction of their own. Raises as `commit`."""
        if rows:
            with self._transaction():
                self._upsert(rows)
            if self._waiting is not None:
                self._waiting.note(rows)

    def hurry(self, now: float) -> None:
        """Let no message wait longer than until `now`. Raises as `commit`."""
        with self._transaction():
            self._db.execute(
                "UPDATE outbox SET next_at = ? WHERE outcome = '' AND next_at > ?", (now, now)
            )
        self.queue.hurry(now)

    def release_claims(self) -> list[OutboxRow]:
        """Free the messages whose attempt a crash cut off, and return them as they now stand.

        For the start, before anything is sent: nobody knows whether those attempts arrived.
        """
        claimed = self._find(OutboxRow, "WHERE outcome = '' AND claimed_at IS NOT NULL")
        freed = [interrupted(row) for row in claimed]
        self.save_outbox(freed)
        return freed

    def waiting(self) -> list[OutboxRow]:
        """Return the messages that have not ended, in the order of their arrival."""
        return self._find(OutboxRow, "WHERE outcome = '' ORDER BY rowid")

    def latest_messages(self, most: int) -> list[OutboxRow]:
        """Return the messages made last, the latest first, whatever became of them."""
        return self._find(OutboxRow, "ORDER BY created DESC, rowid DESC LIMIT ?", (most,))

    def latest_series(self, name: str, most: int) -> list[SeriesRow]:
        """Return the series of a metric that counted last, the latest first; none at 0."""
        where = "WHERE name = ? AND value <> '0' ORDER BY touched DESC LIMIT ?"
        return self._find(SeriesRow, where, (name, most))

    def deadlines(self) -> dict[tuple[str, str], float]:
        """Return when time alone will next change an open alert, by rule and key (JSON)."""
        query = (
            "SELECT rule, by_key, deadline FROM alerts"
            " WHERE deadline IS NOT NULL AND state IN ('pending', 'firing')"
        )
        with self._failures():
            return {(rule, key): at for rule, key, at in self._db.execute(query)}

    def backlog(self) -> OutboxBacklog:
        """Return what is pending in the outbox."""
        return OutboxBacklog(self.queue.pending, self.queue.oldest)

    def received(self, source: str, id_: str) -> ReceivedRow | None:
        """Return what is remembered of an event that a provider told of."""
        found = self._find(ReceivedRow, "WHERE source = ? AND id = ?", (source, id_))
        return found[0] if found else None

    def open_events(self, source: str) -> list[ReceivedRow]:
        """Return the events of `source` whose end was not told yet."""
        return self._find(ReceivedRow, "WHERE source = ? AND told <> ''", (source,))

    def audit(self, since: float) -> list[AuditRow]:
        """Return what happened to alerts since then, in order."""
        return self._find(AuditRow, "WHERE at >= ? ORDER BY seq", (since,))

    def messages(self, ids: Sequence[str]) -> list[OutboxRow]:
        """Return those of these messages that are still known."""
        marks = ", ".join("?" * len(ids))
        return self._find(OutboxRow, f"WHERE id IN ({marks})", tuple(ids))

    def purge(self, now: float) -> None:
        """Delete what nobody asks for any more.

        Messages that ended over 7 days ago, cooldowns that are over, ids that are 30 days old, and
        of the record of decisions what is as old, or has KEEP_AUDIT entries behind it.
        """
        with self._transaction():
            self._db.execute(
                "DELETE FROM outbox WHERE outcome <> '' AND created < ?", (now - _KEEP_ENDED,)
            )
            self._db.execute("DELETE FROM cooldowns WHERE until <= ?", (now,))
            self._db.execute("DELETE FROM received WHERE at < ?", (now - KEEP_RECEIVED,))
            self._db.execute(
                "DELETE FROM audit WHERE at < ? OR seq <= (SELECT max(seq) FROM audit) - ?",
                (now - KEEP_RECEIVED, KEEP_AUDIT),
            )

    def mend(self) -> bool:
        """Write the state file anew if it was deleted in use; return whether it was.

        What is written into a deleted file is gone with the process. Raises StoreError where
        another file is in its place by now, which the next start will take; StoreUnavailable.
        """
        try:
            if self._lock.is_on(self._path):
                return False
            if os.path.lexists(self._path):
                raise StoreError(
                    f"the state file {self._path} was replaced while it was in use;"
                    " stop the sidecar before its state file is put in place"
                )
            self._write_anew()
        except OSError as error:
            raise StoreUnavailable(f"cannot write the state file anew: {error}") from error
        return True

    def _write_anew(self) -> None:
        new = f"{self._path}.new"
        Path(new).parent.mkdir(0o700, parents=True, exist_ok=True)
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with self._failures():
            self._db.execute("VACUUM INTO ?", (new,))
        for end in _COMPANIONS:
            Path(self._path + end).unlink(missing_ok=True)
        Path(new).rename(self._path)
        old, lock = self._db, self._lock
        self._lock = _own(self._path)
        self._db = _connect(self._path)
        old.close()
        lock.release()

    def close(self) -> None:
        self._db.close()
        self._lock.release()

    def _find(self, row: type[R], where: str, values: tuple[float | str, ...] = ()) -> list[R]:
        table = table_of(row)
        with self._failures():
            return table.rows(self._db.execute(f"{table.select} {where}", values))

    def _upsert(self, rows: Iterable[Row]) -> None:
        pairs = ((type(row), msgspec.structs.astuple(row)) for row in rows)
        for row, values in _by_type(pairs).items():
            self._write(table_of(row).upsert, values)

    def _write(self, statement: str, values: list[tuple[Any, ...]]) -> None:
        try:
            self._db.executemany(statement, values)
        except (UnicodeEncodeError, OverflowError):
            # Rare, so the usual row pays nothing for it; upserts and deletions may be repeated.
            self._db.executemany(statement, [storable(v) for v in values])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._failures():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite has rolled back by itself on some errors
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            meaning = fault.of_transaction(self._path, error)
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


def _by_type(
    pairs: Iterable[tuple[type[Row], tuple[Any, ...]]],
) -> dict[type[Row], list[tuple[Any, ...]]]:
    grouped: defaultdict[type[Row], list[tuple[Any, ...]]] = defaultdict(list)
    for row, values in pairs:
        grouped[row].append(values)
    return grouped


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
