"""A copy of the state file while it is written, and a start on it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sidecar.rows import Delta, MetaRow
from sidecar.store.schema import StoreError
from sidecar.store.sqlite import backup
from sidecar.store.store import Store


def test_the_copy_holds_what_was_committed_up_to_it(tmp_path: Path) -> None:
    state, copy = str(tmp_path / "state.db"), str(tmp_path / "copy.db")
    store = Store.open(state)
    for value in ("before", "after"):
        store.commit(Delta(rows=[MetaRow(name="seen", value=value)]))
        if value == "before":  # in the write-ahead log as yet
            assert backup(state, copy) == Path(copy).stat().st_size
    store.close()
    restored = Store.open(copy)
    assert restored.load(MetaRow) == [MetaRow(name="seen", value="before")]
    restored.close()


def test_the_copy_is_one_file_for_its_owner_alone(tmp_path: Path) -> None:
    state, copy = str(tmp_path / "state.db"), tmp_path / "copy.db"
    with closing(Store.open(state)):
        backup(state, str(copy))
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


@pytest.mark.parametrize("target", ["state.db", "missing/copy.db"])
def test_what_cannot_be_is_one_sentence_and_changes_nothing(tmp_path: Path, target: str) -> None:
    state = tmp_path / "state.db"
    Store.open(str(state)).close()
    before = state.read_bytes()
    with pytest.raises(StoreError, match=target):
        backup(str(state), str(tmp_path / target))
    assert state.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_only_a_state_file_is_copied(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_text("no database")
    with pytest.raises(StoreError, match="not a state file"):
        backup(str(other), str(tmp_path / "copy.db"))
