"""What a step writes is in the state file whole after a restart, or not at all."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.rows import Delta, Gone, MetaRow
from sidecar.store.schema import StoreUnavailable
from sidecar.store.sqlite import SqliteFile
from sidecar.store.store import Store
from world.disk import Disk, FaultyConnection


def meta(name: str, value: str = "v") -> MetaRow:
    return MetaRow(name=name, value=value)


def db_of(store: Store) -> sqlite3.Connection:
    assert isinstance(store.database, SqliteFile)
    return store.database.db


def fill_the_disk(store: Store, spare_pages: int = 0) -> None:
    pages = db_of(store).execute("PRAGMA page_count").fetchone()[0]
    db_of(store).execute(f"PRAGMA max_page_count = {pages + spare_pages}")


def test_an_empty_delta_writes_nothing(store: Store, path: str) -> None:
    store.commit(Delta(rows=[meta("a")]))
    log = Path(path + "-wal")
    before = log.stat().st_size
    store.commit(Delta())
    assert log.stat().st_size == before


def test_a_full_disk_leaves_nothing_of_the_delta(store: Store) -> None:
    store.commit(Delta(rows=[meta("a", "old")]))
    fill_the_disk(store)
    big = [meta(f"k{n}", "x" * 4000) for n in range(10)]
    with pytest.raises(StoreUnavailable):
        store.commit(Delta(rows=[meta("a", "new"), *big], gone=[Gone(MetaRow, ("a",))]))
    assert store.load(MetaRow) == [meta("a", "old")]


def test_the_same_delta_goes_through_once_the_disk_has_room(store: Store) -> None:
    fill_the_disk(store)
    delta = Delta(rows=[meta(f"k{n}", "x" * 4000) for n in range(10)])
    with pytest.raises(StoreUnavailable):
        store.commit(delta)
    fill_the_disk(store, spare_pages=100)
    store.commit(delta)
    assert len(store.load(MetaRow)) == 10


def test_a_full_disk_is_named_with_the_file(store: Store, path: str) -> None:
    fill_the_disk(store)
    with pytest.raises(StoreUnavailable, match="full") as caught:
        store.commit(Delta(rows=[meta("k", "x" * 9000)]))
    assert path in str(caught.value)


def test_a_file_that_somebody_else_writes_to_is_waited_for(store: Store, path: str) -> None:
    db_of(store).execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.commit(Delta(rows=[meta("a")]))
    other.execute("ROLLBACK")
    other.close()
    store.commit(Delta(rows=[meta("a")]))
    assert store.load(MetaRow) == [meta("a")]


def test_a_row_of_an_unknown_table_is_no_passing_trouble(store: Store) -> None:
    db_of(store).execute("DROP TABLE meta")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        store.commit(Delta(rows=[meta("a")]))


KILLED = """
import os, signal, sys
from sidecar.rows import Delta, MetaRow
from sidecar.store.store import Store
store = Store.open(sys.argv[1])
store.commit(Delta(rows=[MetaRow(name="a", value="kept")]))
db = store.database.db
db.execute("BEGIN IMMEDIATE")
lost = [MetaRow(name=name, value="lost") for name in "ab"]
for statement, rows in store._upserts(lost):
    db.executemany(statement, rows)
if sys.argv[2] == "after":
    db.execute("COMMIT")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("moment", "found"),
    [("inside", {"a": "kept"}), ("after", {"a": "lost", "b": "lost"})],
    ids=["killed inside the transaction", "killed after it"],
)
def test_a_killed_process_leaves_whole_transactions(
    path: str, moment: str, found: dict[str, str]
) -> None:
    child = subprocess.run([sys.executable, "-c", KILLED, path, moment], check=False)
    assert child.returncode == -signal.SIGKILL
    store = Store.open(path)
    assert {row.name: row.value for row in store.load(MetaRow)} == found
    store.close()


def test_commits_are_synced_to_the_disk_before_they_return(store: Store) -> None:
    full = 2
    assert db_of(store).execute("PRAGMA synchronous").fetchone()[0] == full
    assert db_of(store).execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_commit_that_fails_and_cannot_be_undone_is_made_again(tmp_path: Path) -> None:
    file = SqliteFile(str(tmp_path / "state.db"))
    disk = Disk(killed=lambda: None)
    file.db = FaultyConnection(file.db, disk, file.db.close)  # type: ignore[assignment]
    store = Store(file)
    first, second = (Delta(rows=[MetaRow(name=name, value="x")]) for name in ("first", "second"))
    seal = store.begin(first)
    disk.failing = 2  # COMMIT, and the ROLLBACK after it
    with pytest.raises(StoreUnavailable):
        seal()
    store.commit(second)
    store.commit(first)
    assert {row.name for row in store.load(MetaRow)} >= {"first", "second"}
    store.close()
