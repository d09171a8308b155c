"""The tables of the state file, version by version, rows as SQL, and what a failure means."""

import sqlite3
from collections.abc import Callable, Iterable
from functools import cache
from itertools import starmap
from typing import Any, Generic, TypeVar

import msgspec

from sidecar.rows import OutboxRow, Row

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


class StoreUsedError(StoreError):
    """Another process has it."""


class StoreMoved(Exception):  # noqa: N818 - a state of the database
    """The state is not what this process left: it has to begin anew from what is there now.

    Somebody else wrote, or what was written last is lost with the server that had it.
    """


class StoreShared(StoreMoved):
    """Another host has come where this one was alone: from now on one judges for all."""


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


# "SdcR" in the file's header: tells ours from any other SQLite file (sqlite.org, application_id).
APPLICATION_ID = 0x53646352

# A script per version, never edited once released: version N is what scripts 1..N made.
# Columns stand in the order of the structs in `sidecar.rows`; a test holds the two together.
# WITHOUT ROWID spares the second b-tree where rows are small; `outbox` and `audit` keep their
# rowid because it is their order of arrival.
MIGRATIONS = (
    """
    CREATE TABLE meta (
        name TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (name)
    ) WITHOUT ROWID;

    CREATE TABLE files (
        id INTEGER NOT NULL, source TEXT NOT NULL, log TEXT NOT NULL, path TEXT NOT NULL,
        dev INTEGER NOT NULL, ino INTEGER NOT NULL,
        head_len INTEGER NOT NULL, head_hash BLOB NOT NULL,
        tail_len INTEGER NOT NULL, tail_hash BLOB NOT NULL,
        offset INTEGER NOT NULL, open_from INTEGER NOT NULL, skip INTEGER NOT NULL,
        state TEXT NOT NULL, last_seen REAL NOT NULL,
        size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        PRIMARY KEY (id)
    ) WITHOUT ROWID;

    CREATE TABLE series (
        name TEXT NOT NULL, labels TEXT NOT NULL, value TEXT NOT NULL, created REAL NOT NULL,
        PRIMARY KEY (name, labels)
    ) WITHOUT ROWID;

    CREATE TABLE rules (
        rule TEXT NOT NULL, signature TEXT NOT NULL, since REAL NOT NULL,
        PRIMARY KEY (rule)
    ) WITHOUT ROWID;

    CREATE TABLE rule_state (
        rule TEXT NOT NULL, by_key TEXT NOT NULL, packed BLOB NOT NULL,
        PRIMARY KEY (rule, by_key)
    ) WITHOUT ROWID;

    CREATE TABLE alerts (
        rule TEXT NOT NULL, by_key TEXT NOT NULL, episode INTEGER NOT NULL, state TEXT NOT NULL,
        severity TEXT NOT NULL, since REAL NOT NULL, deadline REAL, change INTEGER NOT NULL,
        packed BLOB NOT NULL,
        PRIMARY KEY (rule, by_key)
    ) WITHOUT ROWID;

    CREATE TABLE groups (
        id TEXT NOT NULL, receiver TEXT NOT NULL, labels TEXT NOT NULL, created REAL NOT NULL,
        next_flush REAL, repeat_interval REAL NOT NULL,
        PRIMARY KEY (id)
    ) WITHOUT ROWID;

    CREATE TABLE members (
        group_id TEXT NOT NULL, rule TEXT NOT NULL, by_key TEXT NOT NULL,
        change INTEGER NOT NULL, packed BLOB NOT NULL,
        PRIMARY KEY (group_id, rule, by_key)
    ) WITHOUT ROWID;

    CREATE TABLE told (
        receiver TEXT NOT NULL, group_id TEXT NOT NULL, change INTEGER NOT NULL, at REAL NOT NULL,
        reference TEXT NOT NULL,
        PRIMARY KEY (receiver, group_id)
    ) WITHOUT ROWID;

    CREATE TABLE cooldowns (
        receiver TEXT NOT NULL, rule TEXT NOT NULL, by_key TEXT NOT NULL, severity TEXT NOT NULL,
        at REAL NOT NULL, until REAL NOT NULL,
        PRIMARY KEY (receiver, rule, by_key, severity)
    ) WITHOUT ROWID;

    CREATE TABLE outbox (
        id TEXT NOT NULL, receiver TEXT NOT NULL, integration TEXT NOT NULL,
        destination TEXT NOT NULL, group_id TEXT NOT NULL, created REAL NOT NULL,
        attempt INTEGER NOT NULL, claimed_at REAL, next_at REAL NOT NULL,
        expires_at REAL NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL,
        reference TEXT NOT NULL, payload TEXT NOT NULL, plain INTEGER NOT NULL,
        PRIMARY KEY (id)
    );
    CREATE INDEX outbox_open ON outbox (next_at, created) WHERE outcome = '';
    CREATE INDEX outbox_ended ON outbox (created) WHERE outcome <> '';

    CREATE TABLE silences (
        id TEXT NOT NULL, matchers TEXT NOT NULL, starts_at REAL NOT NULL, ends_at REAL NOT NULL,
        created_by TEXT NOT NULL, comment TEXT NOT NULL, created REAL NOT NULL,
        PRIMARY KEY (id)
    ) WITHOUT ROWID;

    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    CREATE INDEX audit_at ON audit (at);
    """,
    # Large rows, so with a rowid: they go to pages of their own.
    """
    CREATE TABLE floors (
        seq INTEGER NOT NULL, packed BLOB NOT NULL,
        PRIMARY KEY (seq)
    );
    """,
    # The first message of each destination is looked for without its payload, among any number.
    """
    ALTER TABLE groups ADD COLUMN sending TEXT NOT NULL DEFAULT '';
    DROP INDEX outbox_open;
    CREATE INDEX outbox_queue ON outbox (integration, destination, claimed_at, next_at, created)
        WHERE outcome = '';
    """,
    """
    ALTER TABLE alerts ADD COLUMN evidence TEXT NOT NULL DEFAULT '';
    """,
    # `floors` stays for what an earlier version left there; the first step takes it over.
    """
    CREATE TABLE journal (
        seq INTEGER NOT NULL, packed BLOB NOT NULL,
        PRIMARY KEY (seq)
    );
    """,
    """
    ALTER TABLE series ADD COLUMN touched REAL NOT NULL DEFAULT 0;
    """,
    """
    CREATE TABLE received (
        source TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL, told TEXT NOT NULL,
        PRIMARY KEY (source, id)
    ) WITHOUT ROWID;
    CREATE INDEX received_at ON received (at);
    """,
    # Which message is next is known in memory; the index is for the start.
    """
    ALTER TABLE outbox ADD COLUMN topic TEXT NOT NULL DEFAULT '';
    DROP INDEX outbox_queue;
    CREATE INDEX outbox_open ON outbox (outcome) WHERE outcome = '';
    """,
    # What a step changes of many keys, before it is in the tables: see `store.store`.
    """
    CREATE TABLE log (
        seq INTEGER NOT NULL, packed BLOB NOT NULL,
        PRIMARY KEY (seq)
    );
    """,
)
VERSION = len(MIGRATIONS)


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Bring the file to VERSION, each step whole or not at all.

    Raises StoreError for a file of a newer sidecar or of another program, sqlite3.Error.
    """
    version = _number(db, "user_version")
    _refuse_foreign(db, path, version)
    for step, script in enumerate(MIGRATIONS[version:], start=version + 1):
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {step};"
        db.executescript(f"BEGIN IMMEDIATE; {script} {marks} COMMIT;")


def _refuse_foreign(db: sqlite3.Connection, path: str, version: int) -> None:
    owner = _number(db, "application_id")
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and (owner or tables):
        raise StoreError(
            f"{path} is another program's SQLite file;"
            " let state.path name a file of the sidecar's own"
        )
    if version > VERSION:
        raise StoreError(
            f"the state file {path} has schema version {version}, this sidecar knows up to"
            f" {VERSION}; run the newer sidecar, or give this one its own state.path"
        )


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])


R = TypeVar("R", bound=Row)
SqlValue = str | int | float | bytes | None
Values = tuple[Any, ...]
Statement = tuple[str, list[Values]]  # with a `?` for each value, and the values each time


class RowTable(Generic[R]):
    """The statements for one row type, made from its fields and annotations.

    Values are bound in the order of the fields. `source`: what to select from, if not the table.
    """

    def __init__(self, row: type[R], source: str = "") -> None:
        fields = msgspec.structs.fields(row)
        self._row = row
        self.source = source or row.table
        self._columns = tuple(f.encode_name for f in fields)
        self._restore = {
            f.encode_name: (f.type, _RESTORE[f.type]) for f in fields if f.type in _RESTORE
        }
        self._kinds = [(at, f.type) for at, f in enumerate(fields) if f.type in _RESTORE]
        columns = ", ".join(map(quoted, self._columns))
        where = " AND ".join(f"{quoted(name)} = ?" for name in row.key)
        marks = ", ".join("?" * len(fields))
        others = [quoted(name) for name in self._columns if name not in row.key]
        updates = ", ".join(f"{name} = excluded.{name}" for name in others)
        # The outbox is a queue.
        self.order = "rowid" if row is OutboxRow else ", ".join(map(quoted, row.key))
        self.select = f"SELECT {columns} FROM {self.source}"  # noqa: S608 - names of our own structs
        self.delete = f"DELETE FROM {row.table} WHERE {where}"  # noqa: S608 - same
        # An upsert, not REPLACE: that would change the rowid, the outbox's order of arrival.
        self.upsert = (
            f"INSERT INTO {row.table} ({columns}) VALUES ({marks})"  # noqa: S608 - same
            f" ON CONFLICT ({', '.join(map(quoted, row.key))}) DO UPDATE SET {updates}"
        )

    def deletes(self, keys: list[Values]) -> Statement:
        return self.delete, keys

    def upserts(self, rows: list[Values]) -> Statement:
        return self.upsert, rows

    def rows(self, found: Iterable[tuple[Any, ...]]) -> list[R]:
        """Return the structs of what `select` found.

        A start reads a hundred thousand: where all values are of their fields' types, as nearly
        always, they go into the structs as they stand, in half the time.
        """
        rows = list(found)
        if all({type(row[at]) for row in rows} <= {kind} for at, kind in self._kinds):
            return list(starmap(self._row, rows))
        return [self._struct(row) for row in rows]

    def _struct(self, values: tuple[Any, ...]) -> R:
        fields = dict(zip(self._columns, values, strict=True))
        for name, (kind, restore) in self._restore.items():
            value = fields[name]
            if type(value) is not kind:
                fields[name] = restore(value)
        return self._row(**fields)


def quoted(name: str) -> str:
    """Return a column's name as it is no word of SQL, which `offset` is in PostgreSQL."""
    return f'"{name}"'


@cache
def table_of(row: type[R]) -> RowTable[R]:
    return RowTable(row)


def storable(values: tuple[Any, ...]) -> tuple[SqlValue, ...]:
    """Return `values` with those that SQLite refuses as the bytes of their text.

    Those are strings with lone surrogates (a file name that is no UTF-8) and integers beyond 63
    bits (inodes of some FUSE file systems). Blobs keep their exact value in any column.
    """
    return tuple(_storable(value) for value in values)


def _storable(value: Any) -> SqlValue:
    if isinstance(value, str) and not _is_unicode(value):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value).encode()
    return value  # type: ignore[no-any-return] # a row's fields are nothing else


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text(value: Any) -> Any:
    """Return what `storable` made the bytes of its text as that text, anything else as it is."""
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


_RESTORE: dict[Any, Callable[[Any], Any]] = {str: text, int: int, bool: bool}
