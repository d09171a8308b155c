"""What is known of the state: its rows, written one whole transaction at a time, by a log."""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Protocol

import msgspec

from sidecar.deliver.retry import ASKED_TO_WAIT, LONGEST_WAIT, interrupted
from sidecar.deliver.waiting import Head, Waiting
from sidecar.rows import (
    STATE_ROWS,
    AlertRow,
    AuditRow,
    CooldownRow,
    Delta,
    GroupRow,
    LogRow,
    MemberRow,
    OutboxRow,
    ReceivedRow,
    Row,
    RuleStateRow,
    SeriesRow,
    ToldRow,
)
from sidecar.store.schema import R, RowTable, Statement, Values, storable, table_of, text
from sidecar.store.sqlite import SqliteFile

_KEEP_ENDED = 7 * 86_400.0
KEEP_AUDIT = 200_000  # entries of some 300 bytes
KEEP_RECEIVED = 30 * 86_400.0  # for so long Stripe lists events


@dataclass(frozen=True, slots=True)
class OutboxBacklog:
    """How many messages are not yet sent or dead, and when the oldest was made."""

    pending: int
    oldest: float | None


class Database(Protocol):
    """Where the rows are. All of it raises StoreError where it can no longer be used.

    `place` names it in a sentence; `attend` is to be called every `attend_seconds`. Who does not
    answer within `patience` seconds is taken for away; None: it always answers. `is_alone`: what is
    judged is written by who reads.
    """

    attend_seconds: float
    patience: float | None

    @property
    def is_alone(self) -> bool: ...

    @property
    def place(self) -> str: ...

    def find(self, query: str, values: Values = (), /) -> list[tuple[Any, ...]]:
        """Return what a query with `?` for each value finds. Raises StoreUnavailable."""

    def write(self, statements: Sequence[Statement], /) -> None:
        """Write all statements in one durable transaction.

        Raises StoreUnavailable when nothing of it was written and the same may be tried again.
        """

    def begin(self, statements: Sequence[Statement], /) -> Callable[[], None]:
        """Do the same but for what takes long and needs no care; return what does that.

        Both raise as `write`. The second is called on whatever thread, before anything else is.
        """

    def table(self, row: type[R], /) -> RowTable[R]:
        """Return how rows of this type are found and written."""

    def purging(self) -> Sequence[Statement]:
        """Return what deletes that is kept for nobody, beside what every state has of that."""

    def attend(self) -> bool:
        """See to it that it is still there; return whether it had to be written anew."""

    def close(self) -> None: ...


class Store:
    """The state, used from any thread, by one at a time.

    store = Store.open("/var/lib/sidecar/state.db")
    core.restore(store, now)
    store.commit(step.delta)
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._waiting: Waiting | None = None

    @cached_property
    def _log(self) -> "Log":
        return Log(self.database)

    @classmethod
    def open(cls, path: str) -> "Store":
        """Open or create the state file `path`. Raises as SqliteFile."""
        return cls(SqliteFile(path))

    def load(self, row: type[R]) -> list[R]:
        """Return all rows of a table. Raises StoreError, StoreUnavailable."""
        return self._log.over(row, self._find(row, f"ORDER BY {self.database.table(row).order}"))

    @property
    def damaged_rows(self) -> int:
        """How many rows of the log cannot be read: what those steps changed of keys is lost."""
        return self._log.damaged

    def everything(self) -> list[Row]:
        """Return all rows of all tables, as if nothing waited in the log. Raises as `load`."""
        return [row for kind in STATE_ROWS if kind is not LogRow for row in self.load(kind)]

    def commit(self, delta: Delta) -> None:
        """Write the whole of `delta` in one durable transaction: deletions, then rows.

        Raises StoreUnavailable when nothing of it was written and the same may be tried again
        (disk full, locked, I/O), StoreDamagedError.
        """
        if delta:
            self.begin(delta)()
            self.committed(delta)

    def begin(self, delta: Delta) -> Callable[[], None]:
        """Begin to commit `delta`, which is not empty; return what makes it durable.

        That is called once, on whatever thread, and before anything else is asked of the store;
        then `committed` is. Both raise as `commit`.
        """
        direct, logged = split(delta)
        gone = _by_type((gone.row, gone.key) for gone in direct.gone)
        deletions = [self.database.table(row).deletes(keys) for row, keys in gone.items()]
        more, added = self._log.adding(logged)
        seal = self.database.begin([*deletions, *self._upserts(direct.rows), *more])

        def sealed() -> None:
            seal()
            added()

        return sealed

    def committed(self, delta: Delta) -> None:
        """Know that `delta` is written."""
        if self._waiting is not None:
            self._waiting.note(row for row in delta.rows if isinstance(row, OutboxRow))

    @property
    def queue(self) -> Waiting:
        """The messages that have not ended, and which of them is next."""
        if self._waiting is None:
            self._waiting = Waiting(map(Head.of, self.waiting()))
        return self._waiting

    @property
    def nothing_waits(self) -> bool:
        """Whether every message has ended, as far as is known without asking; from any thread."""
        return self._waiting is not None and not self._waiting.pending

    def message(self, id_: str) -> OutboxRow:
        """Return a message of `queue` with all that it says."""
        (row,) = self._find(OutboxRow, "WHERE id = ?", (id_,))
        return row

    def pauses(self, now: float) -> dict[tuple[str, str], float]:
        """Return for how many seconds from `now` a destination asked to be left alone."""
        found = self.database.find(
            "SELECT integration, destination, max(next_at) - ? FROM outbox WHERE outcome = ''"
            " AND detail LIKE ? AND next_at > ? AND next_at <= ?"
            " GROUP BY integration, destination",
            (now, f"%{ASKED_TO_WAIT}%", now, now + LONGEST_WAIT),
        )
        return {(kind, name): seconds for kind, name, seconds in found}

    def save_outbox(self, rows: Sequence[OutboxRow]) -> None:
        """Write messages in a transaction of their own. Raises as `commit`."""
        if rows:
            self.database.write(self._upserts(rows))
            if self._waiting is not None:
                self._waiting.note(rows)

    def hurry(self, now: float) -> None:
        """Let no message wait longer than until `now`. Raises as `commit`."""
        later = "UPDATE outbox SET next_at = ? WHERE outcome = '' AND next_at > ?"
        self.database.write([(later, [(now, now)])])
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
        stored = self._find(AuditRow, "WHERE at >= ? ORDER BY seq", (since,))
        return [row for row in self._log.over(AuditRow, stored) if row.at >= since]

    def messages(self, ids: Sequence[str]) -> list[OutboxRow]:
        """Return those of these messages that are still known."""
        marks = ", ".join("?" * len(ids))
        return self._find(OutboxRow, f"WHERE id IN ({marks})", tuple(ids)) if ids else []

    def fold(self) -> bool:
        """Move a piece of what waits in the log into the tables; return whether there was any.

        Raises as `commit`.
        """
        with self._log.folding() as statements:
            self.database.write(statements)
        return bool(statements)

    def purge(self, now: float) -> None:
        """Delete what nobody asks for any more.

        Messages that ended over 7 days ago, cooldowns that are over, ids that are 30 days old, and
        of the record of decisions what is as old, or has KEEP_AUDIT entries behind it.
        """
        while self.fold():  # or it comes back out of the log
            pass
        old = now - KEEP_RECEIVED
        self.database.write(
            [
                ("DELETE FROM outbox WHERE outcome <> '' AND created < ?", [(now - _KEEP_ENDED,)]),
                ("DELETE FROM cooldowns WHERE until <= ?", [(now,)]),
                ("DELETE FROM received WHERE at < ?", [(old,)]),
                *self.database.purging(),
                (
                    "DELETE FROM audit WHERE at < ? OR seq <= (SELECT max(seq) FROM audit) - ?",
                    [(old, KEEP_AUDIT)],
                ),
            ]
        )

    def close(self) -> None:
        self.database.close()

    def _find(self, row: type[R], where: str, values: Values = ()) -> list[R]:
        table = self.database.table(row)
        return table.rows(self.database.find(f"{table.select} {where}", values))

    def _upserts(self, rows: Iterable[Row]) -> list[Statement]:
        found = _by_type((type(row), msgspec.structs.astuple(row)) for row in rows)
        return [self.database.table(row).upserts(values) for row, values in found.items()]


def _by_type(pairs: Iterable[tuple[type[Row], Values]]) -> dict[type[Row], list[Values]]:
    grouped: defaultdict[type[Row], list[Values]] = defaultdict(list)
    for row, values in pairs:
        grouped[row].append(values)
    return grouped


# --- the log in front of the tables
#
# What a step changes of many keys is one compressed row. In a storm each step touches some rows of
# each of thousands of keys, and in the tables each of them is a page of its own. A row of the log
# is one piece at the end of a table. It is folded into the tables later, the oldest first, and what
# changed often meanwhile is written there once. Until then it counts as if it was there.

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

    def statements(self, database: Database) -> list[Statement]:
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


class Log:
    """The log of an open state: what a commit adds to it and takes out of it, and what it holds."""

    def __init__(self, database: Database) -> None:
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
