"""What waits in the log counts as if it was in the tables, whenever the process ends."""

import random
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, strategies as st

from sidecar.rows import AlertRow, AuditRow, CooldownRow, Delta, Gone, MemberRow, Row, ToldRow
from sidecar.store import store as log
from sidecar.store.schema import StoreUnavailable
from sidecar.store.sqlite import SqliteFile
from sidecar.store.store import Store
from support.rows import ROW_TYPES, example
from world.disk import Disk, FaultyConnection, Killed


def db_of(store: Store) -> sqlite3.Connection:
    assert isinstance(store.database, SqliteFile)
    return store.database.db


def told(group: str, change: int = 1) -> ToldRow:
    return ToldRow(receiver="r", group_id=group, change=change, at=1.0, reference="")


def gone(group: str) -> Gone:
    return Gone(ToldRow, ("r", group))


def tables(path: str, row: type[Row]) -> int:
    with closing(sqlite3.connect(path)) as db:
        return len(db.execute(f"SELECT 1 FROM {row.table}").fetchall())  # noqa: S608 - ours


def fold(store: Store) -> None:
    while store.fold():
        pass


@pytest.mark.parametrize("row", ROW_TYPES, ids=lambda row: row.table)
def test_the_key_of_a_row_is_its_first_values(row: type[Row]) -> None:
    assert row.__struct_fields__[: len(row.key)] == row.key


@pytest.mark.parametrize("row", log.LOGGED, ids=lambda row: row.table)
def test_what_is_logged_comes_back_before_and_after_it_is_folded(
    store: Store, path: str, row: type[Row]
) -> None:
    written = [example(row, number) for number in (1, 2)]
    store.commit(Delta(rows=[*written]))
    assert (tables(path, row), store.load(row)) == (0, written)
    fold(store)
    assert (tables(path, row), store.load(row)) == (2, written)


_KEYS = ["a", "b", "ü", "\ud800"]
_DELTAS = st.lists(
    st.one_of(
        st.none(),  # fold a piece
        st.tuples(
            st.lists(st.sampled_from(_KEYS)),
            st.lists(st.tuples(st.sampled_from(_KEYS), st.integers(0, 9))),
        ),
    ),
    max_size=12,
)


@given(_DELTAS)
def test_whenever_it_is_folded_all_is_as_if_it_was_written_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    deltas: list[tuple[list[str], list[tuple[str, int]]] | None],
) -> None:
    path = str(tmp_path_factory.mktemp("log") / "state.db")
    store, expected = Store.open(path), dict[str, ToldRow]()
    for delta in deltas:
        if delta is None:
            store.fold()
            continue
        keys, rows = delta[0], [told(group, change) for group, change in delta[1]]
        store.commit(Delta(gone=[gone(key) for key in keys], rows=[*rows]))
        expected = {key: row for key, row in expected.items() if key not in keys}
        expected.update((row.group_id, row) for row in rows)
    in_order = [expected[key] for key in _KEYS if key in expected]
    assert store.load(ToldRow) == in_order
    store.close()
    again = Store.open(path)
    assert again.load(ToldRow) == in_order
    again.close()


@pytest.mark.parametrize("size", [0, log._SMALL_BYTES, 40 * log._SMALL_BYTES])
def test_what_is_packed_in_a_small_window_or_a_large_one_is_read_alike(size: int) -> None:
    row = msgspec.structs.replace(example(MemberRow), packed=random.Random(7).randbytes(size))
    packed = log.pack(Delta(rows=[row]))
    assert log.Held([packed]).over(MemberRow, []) == [row]


def test_a_log_over_its_bound_is_folded_by_the_commits_that_come(store: Store, path: str) -> None:
    chance = random.Random(1)
    packed = chance.randbytes(log.PIECE_BYTES)
    commits = log.MOST_BYTES // log.PIECE_BYTES + 4
    for number in range(commits):
        row = msgspec.structs.replace(example(MemberRow), group_id=str(number), packed=packed)
        store.commit(Delta(rows=[row]))
    with closing(sqlite3.connect(path)) as db:
        ((held,),) = db.execute("SELECT sum(length(packed)) FROM log")
    assert held <= log.MOST_BYTES + 2 * log.PIECE_BYTES
    assert tables(path, MemberRow) >= 1
    assert len(store.load(MemberRow)) == commits


def test_a_storm_writes_a_few_pages_a_step(store: Store, path: str) -> None:
    """In the tables each of these rows is at least a page of 1,024 bytes."""
    chance = random.Random(1)
    wal, steps, each = Path(f"{path}-wal"), 20, 50
    store.commit(Delta(rows=[told("a")]))
    before = wal.stat().st_size
    for _ in range(steps):
        keys = [f'["org_{chance.getrandbits(64):016x}"]' for _ in range(each)]
        alerts = [msgspec.structs.replace(example(AlertRow), by_key=key) for key in keys]
        members = [msgspec.structs.replace(example(MemberRow), by_key=key) for key in keys]
        store.commit(Delta(rows=[*alerts, *members]))
    assert wal.stat().st_size - before < steps * 12_000


@pytest.mark.parametrize("statement", range(1, 12))
def test_a_process_killed_while_it_folds_loses_nothing(path: str, statement: int) -> None:
    store = Store.open(path)
    store.commit(Delta(rows=[told("a"), told("b")]))
    store.commit(Delta(rows=[told("c")], gone=[gone("a")]))
    disk = Disk(killed=lambda: None)
    disk.kill_in = statement
    assert isinstance(store.database, SqliteFile)
    db = store.database.db
    store.database.db = FaultyConnection(db, disk, db.close)  # type: ignore[assignment]
    try:
        fold(store)
    except Killed:
        pass
    else:
        assert statement > 9  # the last ones: all was done by then
    db.close()
    store.database.lock.release()
    again = Store.open(path)
    assert again.load(ToldRow) == [told("b"), told("c")]
    fold(again)
    assert again.load(ToldRow) == [told("b"), told("c")]
    again.close()


def test_what_cannot_be_folded_for_now_waits(store: Store) -> None:
    store.commit(Delta(rows=[told(str(n)) for n in range(500)]))
    pages = db_of(store).execute("PRAGMA page_count").fetchone()[0]
    db_of(store).execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable):
        store.fold()
    assert len(store.load(ToldRow)) == 500
    db_of(store).execute(f"PRAGMA max_page_count = {pages + 200}")
    fold(store)
    assert len(store.load(ToldRow)) == 500


def test_a_damaged_row_of_the_log_is_counted_and_the_others_are_kept(path: str) -> None:
    store = Store.open(path)
    for group in ("a", "b", "c"):
        store.commit(Delta(rows=[told(group)]))
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE log SET packed = substr(packed, 1, length(packed) - 3) WHERE seq = 2")
    again = Store.open(path)
    assert again.damaged_rows == 1
    assert again.load(ToldRow) == [told("a"), told("c")]
    fold(again)
    assert (again.damaged_rows, len(again.load(ToldRow))) == (0, 2)
    again.close()


def test_a_row_logged_before_a_column_came_gets_its_default() -> None:
    before = msgspec.structs.astuple(example(AlertRow))[:-1]
    packed = zlib.compress(msgspec.msgpack.encode({"alerts": [[], [before]]}))
    (row,) = log.Held([packed]).over(AlertRow, [])
    assert row == msgspec.structs.replace(example(AlertRow), evidence="")


def test_the_record_of_decisions_is_read_over_tables_and_log(store: Store) -> None:
    rows = [
        AuditRow(seq=n, at=float(at), kind="k", subject="{}", detail="")
        for n, at in enumerate((10, 5, 20, 30), 1)
    ]
    store.commit(Delta(rows=[*rows[:2]]))
    fold(store)
    store.commit(Delta(rows=[*rows[2:]]))
    assert store.audit(10.0) == [rows[0], rows[2], rows[3]]


def test_a_purge_takes_out_what_only_waits_in_the_log(store: Store, path: str) -> None:
    row = msgspec.structs.replace(example(CooldownRow), until=100.0)
    store.commit(Delta(rows=[row]))
    store.purge(100.0)
    assert store.load(CooldownRow) == []
    assert tables(path, CooldownRow) == 0
