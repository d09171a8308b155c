"""Rows as tables of PostgreSQL, and their values as it holds them.

Each row has an owner: the host that wrote it, or the judge, whose name is empty. A host sees its
own rows; what is of all hosts is the judge's. A host that is alone sees both.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from sidecar.rows import (
    FLEET_ROWS,
    STATE_ROWS,
    BatchRow,
    BeatRow,
    FileRow,
    JudgedRow,
    MetaRow,
    ReceivedRow,
    Row,
    SeriesRow,
)
from sidecar.store.schema import VERSION, R, RowTable, Statement, Values, quoted

JUDGE = ""
LAYOUT = VERSION + 2  # the rows of that version, each with its owner
_OF_ALL = (ReceivedRow, *FLEET_ROWS)
# Keys may be longer than an index takes, so a table's key is a hash of its row's.
_KEY = "row_key"
_KINDS = {
    int: "BIGINT",
    float: "DOUBLE PRECISION",
    float | None: "DOUBLE PRECISION",
    str: 'TEXT COLLATE "C"',
    bytes: "BYTEA",
    bool: "BOOLEAN",
}
_BEYOND_63_BITS = {(FileRow, "dev"), (FileRow, "ino")}  # of some FUSE file systems
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS outbox_id ON outbox USING hash (id)",
    "CREATE INDEX IF NOT EXISTS outbox_open ON outbox (rowid) WHERE outcome = ''",
    "CREATE INDEX IF NOT EXISTS outbox_ended ON outbox (created) WHERE outcome <> ''",
    "CREATE INDEX IF NOT EXISTS audit_at ON audit (at)",
    "CREATE INDEX IF NOT EXISTS received_id ON received USING hash (id)",
    "CREATE INDEX IF NOT EXISTS received_at ON received (at)",
    "CREATE INDEX IF NOT EXISTS batches_step ON batches (host, step)",
)
# What a host remembers of its own reading; every other fact is the judge's.
_OF_READING = ("hash_key", "first_start", "running", "state_damaged")
_SPOKE = "spoke:"  # and a log


class Owner(NamedTuple):
    """Whose rows are seen and written: the host's, or the judge's if its name is empty.

    `states`: of a host that is alone the names of the series that it judges, else None.
    """

    host: str
    states: frozenset[str] | None = None


def of_reading(row: type[Row], name: str, states: Collection[str]) -> bool:
    """Tell whether rows of this name say what a host has read and counted, not what is judged.

    `states`: the names of series that count what is judged.
    """
    if row is SeriesRow:
        return name not in states
    if row is MetaRow:
        return name in _OF_READING or name.startswith(_SPOKE)
    return row is FileRow


def making() -> Iterator[str]:
    """Yield what makes the tables, and adds the columns that an older version had not."""
    yield (
        "CREATE TABLE IF NOT EXISTS sidecar_state (one BOOLEAN PRIMARY KEY, version INT NOT NULL,"
        " secret TEXT NOT NULL)"
    )
    yield (
        "CREATE TABLE IF NOT EXISTS sidecar_guard (name TEXT PRIMARY KEY, step BIGINT NOT NULL,"
        " writer TEXT NOT NULL, at TIMESTAMPTZ NOT NULL)"
    )
    for row in (*STATE_ROWS, *FLEET_ROWS):
        yield (
            f'CREATE TABLE IF NOT EXISTS {row.table} (owner TEXT COLLATE "C" NOT NULL,'
            f" {_KEY} BYTEA NOT NULL, PRIMARY KEY (owner, {_KEY}))"
        )
        for field in msgspec.structs.fields(row):
            yield f"ALTER TABLE {row.table} ADD COLUMN IF NOT EXISTS {_column(row, field)}"
    yield "ALTER TABLE outbox ADD COLUMN IF NOT EXISTS rowid BIGINT GENERATED ALWAYS AS IDENTITY"
    yield from _INDEXES


def sharing(host: str) -> Iterator[str]:
    """Yield what makes the tables of a sidecar that was alone those of `host` and the judge."""
    yield "ALTER TABLE sidecar_state DROP COLUMN step, DROP COLUMN writer"
    yield (
        "ALTER TABLE sidecar_state ADD COLUMN secret TEXT NOT NULL DEFAULT '';"
        " UPDATE sidecar_state SET secret = coalesce("
        "(SELECT value FROM meta WHERE name = 'hash_key'), '')"
    )
    for row in STATE_ROWS:
        yield (
            f'ALTER TABLE IF EXISTS {row.table} ADD COLUMN owner TEXT COLLATE "C" NOT NULL'
            f" DEFAULT '', DROP CONSTRAINT {row.table}_pkey, ADD PRIMARY KEY (owner, {_KEY})"
        )
    for row in (FileRow, SeriesRow):
        yield f"UPDATE {row.table} SET owner = {_literal(host)}"  # noqa: S608 - checked
    facts = _is_of_reading(MetaRow, ())
    yield f"UPDATE {MetaRow.table} SET owner = {_literal(host)} WHERE {facts}"  # noqa: S608 - ours


def purging() -> list[Statement]:
    """Return what deletes all that a host had which has not written for 30 days."""
    gone = "(SELECT name FROM sidecar_guard WHERE name <> '' AND at < now() - interval '30 days')"
    tables = [
        *((row.table, "owner") for row in (FileRow, SeriesRow, MetaRow)),
        *((row.table, "host") for row in (BatchRow, BeatRow, JudgedRow)),
        ("sidecar_guard", "name"),
    ]
    return [(f"DELETE FROM {table} WHERE {owner} IN {gone}", [()]) for table, owner in tables]  # noqa: S608 - ours


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _column(row: type[Row], field: msgspec.structs.FieldInfo) -> str:
    name = field.encode_name
    kind = "NUMERIC" if (row, name) in _BEYOND_63_BITS else _KINDS[field.type]
    null = "" if field.type == float | None else " NOT NULL"
    default = "" if field.required else f" DEFAULT {field.default!r}"
    return f"{quoted(name)} {kind}{null}{default}"


def _is_of_reading(row: type[Row], states: Collection[str]) -> str:
    """Return `of_reading` as SQL says it."""
    if row is SeriesRow:
        return f"name <> ALL (ARRAY[{', '.join(map(_literal, sorted(states)))}]::text[])"
    if row is MetaRow:
        names = ", ".join(map(_literal, _OF_READING))
        return f"(name IN ({names}) OR starts_with(name, {_literal(_SPOKE)}))"
    return str(row is FileRow)


class _Table(RowTable[R]):
    def __init__(self, row: type[R], owner: Owner) -> None:
        self._owner = owner
        owned = f"(SELECT * FROM {row.table} WHERE {self._owned(row)})"  # noqa: S608 - names of our own
        super().__init__(row, f"{owned} AS {row.table}")
        names = [field.encode_name for field in msgspec.structs.fields(row)]
        self._key_of = itemgetter(*map(names.index, row.key))
        columns = ", ".join(map(quoted, names))
        marks = ", ".join("?" * (len(names) + 2))
        updates = ", ".join(f"{quoted(n)} = excluded.{quoted(n)}" for n in names)
        self.delete = f"DELETE FROM {row.table} WHERE {_KEY} = ? AND owner = ?"  # noqa: S608 - same
        # Another host that told of the same meanwhile has counted it: see `counts_once`.
        new = f" WHERE {row.table}.told <> excluded.told" if row is ReceivedRow else ""
        self.upsert = (
            f"INSERT INTO {row.table} ({columns}, {_KEY}, owner) VALUES ({marks})"  # noqa: S608 - same
            f" ON CONFLICT (owner, {_KEY}) DO UPDATE SET {updates}{new}"
        )

    def _owned(self, row: type[Row]) -> str:
        host, states = self._owner
        mine, judged = (f"owner = {_literal(name)}" for name in (host, JUDGE))
        if states is None:
            return judged if row in _OF_ALL else mine
        reading = _is_of_reading(row, states)
        return f"{mine} AND {reading} OR {judged} AND NOT {reading}"

    def _owner_of(self, key: Values) -> str:
        host, states = self._owner
        if states is None:
            return JUDGE if self._row in _OF_ALL else host
        return host if of_reading(self._row, str(key[0]), states) else JUDGE

    def deletes(self, keys: list[Values]) -> Statement:
        return self.delete, [(_hashed(key), self._owner_of(key)) for key in keys]

    def upserts(self, rows: list[Values]) -> Statement:
        keys = self._keys(rows)
        owned = ((_hashed(key), self._owner_of(key)) for key in keys)
        return self.upsert, [(*row, *more) for row, more in zip(rows, owned, strict=True)]

    def _keys(self, rows: Sequence[Values]) -> Iterator[Values]:
        for row in rows:
            key = self._key_of(row)
            yield key if type(key) is tuple else (key,)


@cache
def table_of(row: type[R], owner: Owner) -> RowTable[R]:
    return _Table(row, owner)


def counts_once(query: str) -> bool:
    """Tell whether a statement writes what only one host may: each of its rows has to be new."""
    return query == table_of(ReceivedRow, Owner(JUDGE)).upsert


def _hashed(key: Values) -> bytes:
    texts = [str(value) for value in key]
    said = "".join(f"{len(text)}:{text}" for text in texts)
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@cache
def marked(query: str) -> bytes:
    return query.replace("?", "%s").encode()


# Begins what PostgreSQL takes as no text, a NUL in it or half a surrogate, in hex.
_HEX = "\x02"


def stored(values: Values) -> Values:
    return tuple(_storable(value) if isinstance(value, str) else value for value in values)


def _storable(text: str) -> str:
    with suppress(UnicodeEncodeError):
        if text.encode() and "\0" not in text and not text.startswith(_HEX):
            return str(text)
    return f"{_HEX}{text.encode('utf-8', 'surrogatepass').hex()}" if text else ""


def loaded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row as it was written; nearly all of them are."""
    if not any(type(value) is str and value.startswith(_HEX) for value in row):
        return row
    return tuple(_text(value) if isinstance(value, str) else value for value in row)


def _text(value: str) -> str:
    if not value.startswith(_HEX):
        return value
    return bytes.fromhex(value[1:]).decode("utf-8", "surrogatepass")
