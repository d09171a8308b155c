"""The log in front of the tables: what a step changes of many keys, as one compressed row.

In a storm each step touches some rows of each of thousands of keys, and in the tables each of them
is a page of its own. A row of the log is one piece at the end of a table. It is folded into the
tables later, the oldest first, and what changed often meanwhile is written there once. Until then
it counts as if it was there.
"""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Protocol

import msgspec

from sidecar.rows import (
    AlertRow,
    AuditRow,
    CooldownRow,
    Delta,
    GroupRow,
    LogRow,
    MemberRow,
    Row,
    RuleStateRow,
    ToldRow,
)
from sidecar.store.schema import R, RowTable, Statement, Values, storable, table_of, text

# Those of which a step changes as many as there are alerts that begin or end in it.
LOGGED = (RuleStateRow, AlertRow, GroupRow, MemberRow, ToldRow, CooldownRow, AuditRow)
# With more waiting, compressed, each commit folds a piece: a start has to take it all up.
MOST_BYTES = 4_194_304
PIECE_BYTES = 524_288
_LEVEL = 1  # of zlib: the text is so much alike that more effort saves little
# Of a small text: as much of it as zlib looks back at, and a tenth of the memory to set up first.
_SMALL_BYTES = 4096
_SMALL_WINDOW, _SMALL_MEMORY = 12, 5
_BY_TABLE: dict[str, type[Row]] = {row.table: row for row in LOGGED}
# By table the keys that go, and the values of the rows that come.
_Parts = dict[str, tuple[list[Values], list[Values]]]


def split(delta: Delta) -> tuple[Delta, Delta]:
    """Return what of `delta` goes into the tables at once, and what is logged."""
    direct, logged = Delta(), Delta()
    for gone in delta.gone:
        (logged if gone.row in LOGGED else direct).gone.append(gone)
    for row in delta.rows:
        (logged if type(row) in LOGGED else direct).rows.append(row)
    return direct, logged


def pack(delta: Delta) -> bytes:
    """Return what is stored of the logged part of a delta."""
    parts: defaultdict[str, tuple[list[Values], list[Values]]] = defaultdict(lambda: ([], []))
    for gone in delta.gone:
        parts[gone.row.table][0].append(gone.key)
    for row in delta.rows:
        parts[row.table][1].append(msgspec.structs.astuple(row))
    try:
        packed = msgspec.msgpack.encode(parts)
    except (UnicodeEncodeError, OverflowError):  # rare, as in the tables
        plain = {name: [[*map(storable, v)] for v in pair] for name, pair in parts.items()}
        packed = msgspec.msgpack.encode(plain)
    if len(packed) > _SMALL_BYTES:
        return zlib.compress(packed, _LEVEL)
    small = zlib.compressobj(_LEVEL, zlib.DEFLATED, _SMALL_WINDOW, _SMALL_MEMORY)
    return small.compress(packed) + small.flush()


class Held:
    """What rows of the log come to. `damaged`: of so many nothing is known any more."""

    def __init__(self, packed: Iterable[bytes] = ()) -> None:
        # By key the values of the row as it is now, or None where it is deleted.
        self._tables: defaultdict[type[Row], dict[Values, Values | None]] = defaultdict(dict)
        self.damaged = 0
        for one in packed:
            try:
                parts = msgspec.msgpack.decode(zlib.decompress(one), type=_Parts)
            except (zlib.error, msgspec.MsgspecError):
                self.damaged += 1
            else:
                self._take(parts)

    def _take(self, parts: _Parts) -> None:
        for name, (gone, came) in parts.items():
            row = _BY_TABLE[name]
            changes, columns = self._tables[row], len(row.key)  # a key comes first
            changes.update((tuple(map(text, values)), None) for values in gone)
            changes.update((tuple(map(text, values[:columns])), values) for values in came)

    def statements(self, database: "_Database") -> list[Statement]:
        """Return what writes it into the tables."""
        found: list[Statement] = []
        for row, changes in self._tables.items():
            gone = [key for key, one in changes.items() if one is None]
            came = [_complete(row, one) for one in changes.values() if one is not None]
            found += [database.table(row).deletes(gone), database.table(row).upserts(came)]
        return found

    def over(self, row: type[R], stored: list[R]) -> list[R]:
        """Return the rows of a table in the order of their keys, given those stored in it."""
        changes = self._tables.get(row)
        if not changes:
            return stored
        key = _key_of(row)
        came = (_complete(row, one) for one in changes.values() if one is not None)
        rows = {key(one): one for one in stored if key(one) not in changes}
        rows.update((key(one), one) for one in table_of(row).rows(came))
        return [rows[one] for one in sorted(rows)]


def _key_of(row: type[Row]) -> Callable[[Any], Values]:
    found = attrgetter(*row.key)
    return found if len(row.key) > 1 else lambda one: (found(one),)


def _complete(row: type[Row], values: Values) -> Values:
    """Return `values` with the defaults of columns that came with a later version."""
    missing = len(row.__struct_fields__) - len(values)
    return (*values, *row.__struct_defaults__[-missing:]) if missing else values


class _Database(Protocol):
    """See `store.Database`."""

    def find(self, query: str, /) -> list[Values]: ...
    def table(self, row: type[R], /) -> RowTable[R]: ...


class Log:
    """The log of an open state: what a commit adds to it and takes out of it, and what it holds."""

    def __init__(self, database: _Database) -> None:
        self._database = database
        self._held: Held | None = None  # until the log changes
        kept = database.table(LogRow).source
        query = f"SELECT coalesce(sum(length(packed)), 0), coalesce(max(seq), 0) FROM {kept}"  # noqa: S608 - ours
        ((size, self._last),) = database.find(query)
        self._bytes = int(size)

    @property
    def damaged(self) -> int:
        return self._all().damaged

    def over(self, row: type[R], stored: list[R]) -> list[R]:
        """Return the rows of a table, given those stored in it."""
        return self._all().over(row, stored)

    def adding(self, logged: Delta) -> tuple[list[Statement], Callable[[], None]]:
        """Return the statements that add this, and fold a piece of too much; and what is to be
        called once they are written.
        """
        size, statements = self._piece() if self._bytes > MOST_BYTES else (0, [])
        added = [(self._last + 1, pack(logged))] if logged else []

        def written() -> None:
            self._bytes += sum(len(packed) for _, packed in added) - size
            self._last += len(added)
            self._held = None

        # An upsert: a commit that was made and reported as failed is made again.
        return [*statements, self._database.table(LogRow).upserts(added)], written

    @contextmanager
    def folding(self) -> Iterator[list[Statement]]:
        """Yield the statements that move a piece into the tables, none where nothing waits."""
        size, statements = self._piece()
        yield statements
        self._bytes -= size
        self._held = None

    def _piece(self) -> tuple[int, list[Statement]]:
        taken: list[LogRow] = []
        size = 0
        for row in self._rows():
            taken.append(row)
            size += len(row.packed)
            if size >= PIECE_BYTES:
                break
        if not taken:
            return 0, []
        done = self._database.table(LogRow).deletes([(row.seq,) for row in taken])
        return size, [*Held(row.packed for row in taken).statements(self._database), done]

    def _all(self) -> Held:
        if self._held is None:
            self._held = Held(row.packed for row in self._rows())
        return self._held

    def _rows(self) -> list[LogRow]:
        table = self._database.table(LogRow)
        return table.rows(self._database.find(f"{table.select} ORDER BY seq"))
