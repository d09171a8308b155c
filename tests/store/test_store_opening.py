"""A state file that cannot be used is refused in one sentence: what, where, what to do."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sidecar.rows import Delta, MetaRow
from sidecar.store.schema import VERSION, StoreDamagedError, StoreError, StoreUnavailable
from sidecar.store.store import Store

NOBODY = 65534
ROW = MetaRow(name="a", value="b")


def opened(path: Path) -> None:
    Store.open(str(path)).close()


def filled(path: Path) -> Path:
    store = Store.open(str(path))
    store.commit(Delta(rows=[MetaRow(name=f"k{n}", value="x" * 500) for n in range(200)]))
    store.close()
    return path


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be a user whom permissions stop; root is not."""
    user = os.geteuid()
    if user != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def text_file(path: Path) -> None:
    path.write_text("WEBHOOK_METRIC: not a database, by far\n" * 100)


def overwritten_pages(path: Path) -> None:
    filled(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)


def cut_short(path: Path) -> None:
    filled(path)
    os.truncate(path, 4096 * 3)


@pytest.mark.parametrize("damage", [text_file, overwritten_pages, cut_short])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "state.db"
    damage(path)
    with pytest.raises(StoreDamagedError, match="restore a copy, or move it away") as caught:
        opened(path)
    assert str(path) in str(caught.value)


def newer_version(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()


def another_programs_file(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    db.close()


def folder_in_its_place(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (newer_version, f"has schema version {VERSION + 1}, this sidecar knows up to {VERSION}"),
        (another_programs_file, "is another program's SQLite file"),
        (folder_in_its_place, "Is a directory"),
    ],
)
def test_a_file_that_is_not_ours_to_use_is_refused(
    tmp_path: Path, make: Callable[[Path], None], sentence: str
) -> None:
    path = tmp_path / "state.db"
    make(path)
    with pytest.raises(StoreError, match=sentence) as caught:
        opened(path)
    assert str(path) in str(caught.value)


def test_another_programs_file_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    another_programs_file(path)
    before = path.read_bytes()
    with pytest.raises(StoreError):
        opened(path)
    assert path.read_bytes() == before


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "state.db"
    with pytest.raises(StoreError, match="No such file or directory") as caught:
        opened(path)
    assert f"{path.parent} must be a folder that this user may write to" in str(caught.value)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """Give a folder that anybody may read; pytest's own are closed to other users than root."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def test_a_folder_that_may_not_be_written_to_is_named(read_only: Path) -> None:
    with unprivileged(), pytest.raises(StoreError, match="Permission denied") as caught:
        opened(read_only / "state.db")
    assert f"{read_only} must be a folder that this user may write to" in str(caught.value)


def test_a_second_sidecar_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    first = Store.open(str(path))
    with pytest.raises(StoreError, match=f"in use by another sidecar \\(process {os.getpid()}\\)"):
        opened(path)
    first.close()


def test_a_second_sidecar_that_comes_by_a_link_is_refused(tmp_path: Path) -> None:
    path, link = tmp_path / "state.db", tmp_path / "link.db"
    link.symlink_to(path)
    first = Store.open(str(path))
    with pytest.raises(StoreError, match="in use by another sidecar"):
        opened(link)
    first.close()


def test_a_refused_sidecar_does_not_disturb_the_first(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    first = Store.open(str(path))
    with pytest.raises(StoreError):
        opened(path)
    first.commit(Delta(rows=[ROW]))
    with pytest.raises(StoreError, match="in use"):
        opened(path)
    assert first.load(MetaRow) == [ROW]
    first.close()


HOLDER = """
import os, signal, sys
from sidecar.store.store import Store
Store.open(sys.argv[1])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_lock_of_a_killed_sidecar_is_gone_with_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    child = subprocess.run([sys.executable, "-c", HOLDER, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    opened(path)


def test_a_closed_store_can_be_opened_again(tmp_path: Path) -> None:
    opened(tmp_path / "state.db")
    opened(tmp_path / "state.db")


@pytest.mark.parametrize("make", [text_file, newer_version])
def test_a_refused_file_is_not_kept_locked(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "state.db"
    make(path)
    with pytest.raises(StoreError):
        opened(path)
    path.unlink()
    opened(path)


def rows_of(path: Path) -> list[MetaRow]:
    store = Store.open(str(path))
    try:
        return store.load(MetaRow)
    finally:
        store.close()


def test_a_file_deleted_in_use_is_written_anew_with_all_that_was_in_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = Store.open(str(path))
    store.commit(Delta(rows=[ROW]))
    assert not store.database.attend()
    for name in ("state.db", "state.db-wal"):
        (tmp_path / name).unlink()
    later = MetaRow(name="later", value="1")
    store.commit(Delta(rows=[later]))
    assert store.database.attend()
    with pytest.raises(StoreError, match="in use by another sidecar"):
        Store.open(str(path))
    last = MetaRow(name="last", value="1")
    store.commit(Delta(rows=[last]))
    store.close()
    assert {ROW, later, last} <= set(rows_of(path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.db"]


def test_a_file_replaced_in_use_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = Store.open(str(path))
    path.rename(tmp_path / "away.db")
    filled(path)
    with pytest.raises(StoreError, match="was replaced while it was in use"):
        store.database.attend()
    store.close()


def test_where_it_cannot_be_written_anew_that_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    store = Store.open(str(folder / "state.db"))
    store.commit(Delta(rows=[ROW]))
    shutil.rmtree(folder)
    folder.write_text("in the way")
    with pytest.raises(StoreUnavailable, match="anew"):
        store.database.attend()
    folder.unlink()
    assert store.database.attend()
    store.close()
    assert ROW in rows_of(folder / "state.db")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_only_its_owner_may_read_the_file_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store.open(str(tmp_path / "state.db"))
        store.commit(Delta(rows=[ROW]))
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(before)
    names = ("state.db", "state.db-wal", "state.db-shm")
    assert modes == dict.fromkeys(names, 0o600)


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = filled(tmp_path / "state.db")
    path.chmod(0o644)
    opened(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_empty_file_becomes_a_state_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch()
    opened(path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == VERSION
    db.close()
