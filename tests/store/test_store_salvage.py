"""A damaged state file: whose it was, and where it goes."""

import sqlite3
from pathlib import Path

import pytest

from sidecar.store.schema import StoreError
from sidecar.store.sqlite import is_ours, set_aside
from sidecar.store.store import Store

NOW = 1_793_788_200.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    Store.open(str(tmp_path / "state.db")).close()
    return tmp_path / "state.db"


def test_a_sidecars_file_is_ours_even_where_the_rest_is_damaged(state: Path) -> None:
    state.write_bytes(state.read_bytes()[:4096] + b"\xa5" * 4096)
    assert is_ours(str(state))


@pytest.mark.parametrize("content", [b"", b"text\n" * 100, b"SQLite format 3\0" + b"\0" * 84])
def test_anything_else_is_not(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.db").write_bytes(content)
    assert not is_ours(str(tmp_path / "x.db"))


def test_another_programs_database_is_not(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("CREATE TABLE t (a)")
    db.close()
    assert not is_ours(str(tmp_path / "x.db"))


def test_a_missing_file_is_not(tmp_path: Path) -> None:
    assert not is_ours(str(tmp_path / "none.db"))


def test_it_is_renamed_with_its_companions_and_dated(state: Path) -> None:
    before = state.read_bytes()
    Path(f"{state}-wal").write_bytes(b"wal")
    aside = Path(set_aside(str(state), NOW))
    assert aside.name == "state.db.damaged-20261104T103000Z"
    assert aside.read_bytes() == before
    assert Path(f"{aside}-wal").read_bytes() == b"wal"
    assert not state.exists()
    assert not Path(f"{state}-wal").exists()


def test_a_new_one_can_be_opened_in_its_place(state: Path) -> None:
    set_aside(str(state), NOW)
    Store.open(str(state)).close()
    assert is_ours(str(state))


def test_one_that_another_sidecar_uses_is_left_alone(state: Path) -> None:
    owner = Store.open(str(state))
    with pytest.raises(StoreError, match="in use by another sidecar"):
        set_aside(str(state), NOW)
    owner.close()
    assert state.exists()
