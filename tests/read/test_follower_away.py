"""Files that went out of sight while nobody looked: found by their content, or said to be gone."""

import bz2
import gzip
import lzma
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from sidecar.batch import EndUnseen
from support.read import Reader, Writer, rename

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.compress,
}


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "app.log")


def begun(writer: Writer, pattern: str = "*.log") -> Reader:
    reader = Reader(writer.path.with_name(pattern))
    writer.write(4)
    reader.poll()
    return reader


def to_olddir(writer: Writer, *, compress: str = "") -> None:
    """Rotate as logrotate does with `olddir`, which may be below the log's folder."""
    old = writer.path.parent / "old"
    old.mkdir(exist_ok=True)
    for number in range(8, 0, -1):
        for ending in ("", compress):
            this = old / f"app.log.{number}{ending}"
            if this.exists():
                this.rename(old / f"app.log.{number + 1}{ending}")
    shutil.move(writer.path, old / "app.log.1")
    if compress:
        plain = old / "app.log.1"
        (old / f"app.log.1{compress}").write_bytes(COMPRESSORS[compress](plain.read_bytes()))
        plain.unlink()
    writer.reopen()


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
@pytest.mark.parametrize("rotations", [1, 2, 3])
@pytest.mark.parametrize("compress", ["", *COMPRESSORS])
def test_olddir(writer: Writer, rotations: int, compress: str, *, down: bool) -> None:
    reader = begun(writer)
    for _ in range(2):
        for _ in range(rotations):
            writer.write(3)
            to_olddir(writer, compress=compress)
            if not down:
                reader.poll()
        writer.write(2)
        reader.restart()
        reader.poll()
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)
    assert not reader.ends_unseen


@pytest.mark.parametrize("rotations", [1, 3])
def test_copies_in_olddir_of_what_is_deleted_lead_to_what_else_is_there(
    writer: Writer, rotations: int
) -> None:
    """So logrotate does by `renamecopy`: of a file that came and went between two looks."""
    reader = begun(writer)
    for _ in range(rotations):
        writer.write(3)
        shutil.copyfile(writer.path, kept := writer.path.with_name("app.log.tmp"))
        writer.path.unlink()
        kept.rename(writer.path)
        to_olddir(writer)
    writer.write(2)
    reader.poll()
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


@pytest.mark.parametrize("since", ["before the look", "after it"])
def test_a_log_that_was_rotated_to_olddir_before_it_was_ever_seen(
    writer: Writer, since: str
) -> None:
    """What of it was there when it was looked for is not read, and that is said."""
    reader = Reader(writer.path)
    reader.now = time.time()
    reader.poll()
    old = writer.write(3)
    to_olddir(writer)
    if since == "before the look":
        os.utime(writer.path.parent / "old" / "app.log.1", (day := reader.now - 86_400, day))
    new = writer.write(2)
    reader.poll()
    reader.settle()
    if since == "before the look":
        assert reader.lines == new
        assert reader.left_alone == [("app.log.1", "history")]
    else:
        assert reader.lines == old + new


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_log_that_was_seen_empty_and_rotated_to_olddir_before_the_next_look(
    writer: Writer, *, truncated: bool, restarts: bool
) -> None:
    reader = Reader(writer.path)
    writer.raw(b"")
    reader.poll()
    writer.write(3)
    if truncated:
        (old := writer.path.parent / "old").mkdir()
        shutil.copyfile(writer.path, old / "app.log.1")
        os.truncate(writer.path, 0)
    else:
        to_olddir(writer)
    writer.write(2)
    if restarts:
        reader.restart()
    reader.poll()
    reader.settle()
    assert reader.lines == writer.written


def test_what_lies_beside_another_log_of_that_name_is_no_part_of_this_one(
    writer: Writer,
) -> None:
    reader = Reader(writer.path)
    reader.poll()
    other = Writer(writer.path.parent / "other" / "app.log")
    other.path.parent.mkdir()
    for _ in range(3):
        other.write(3)
        rename(other.path)
        other.reopen()
        other.write(3)
        writer.write(2)
        reader.poll()
        writer.path.unlink()
        writer.reopen()
        reader.settle()
    assert reader.lines == writer.written
    assert not reader.left_alone


def test_two_rotations_to_olddir_between_two_looks(writer: Writer) -> None:
    reader = begun(writer)
    for _ in range(2):
        writer.write(3)
        to_olddir(writer)
    writer.write(2)
    reader.poll()
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


@pytest.mark.parametrize("ending", COMPRESSORS)
@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_any_compressor_beside_the_log(writer: Writer, ending: str, *, down: bool) -> None:
    reader = begun(writer)
    for _ in range(3):
        writer.write(3)
        rename(writer.path)
        writer.reopen()
        for plain in writer.path.parent.glob("app.log.?"):
            to = plain.with_name(plain.name + ending)
            to.write_bytes(COMPRESSORS[ending](plain.read_bytes()))
            plain.unlink()
        if down:
            reader.restart()
            reader.poll()
    writer.write(1)
    reader.poll()
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


def test_a_link_that_was_pointed_elsewhere_while_down(tmp_path: Path) -> None:
    current, release = tmp_path / "current.log", tmp_path / "release"
    reader = Reader(current)
    written = []
    for number in range(4):
        folder = release / str(number)
        folder.mkdir(parents=True)
        (folder / "out.log").write_text(f"begun in {number}\n")
        current.unlink(missing_ok=True)
        current.symlink_to(folder / "out.log")
        reader.poll()
        with (folder / "out.log").open("a") as more:
            more.write(f"ended in {number}\n")
        reader.restart()
        written += [f"begun in {number}", f"ended in {number}"]
    reader.poll()
    assert sorted(reader.lines) == sorted(written)
    assert not reader.ends_unseen


def test_a_folder_that_is_a_link_pointed_elsewhere_while_down(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "current" / "app.log")
    for number in range(3):
        release = tmp_path / f"release-{number}"
        release.mkdir()
        (release / "app.log").write_text(f"begun in {number}\n")
        (tmp_path / "current").unlink(missing_ok=True)
        (tmp_path / "current").symlink_to(release)
        reader.poll()
        with (release / "app.log").open("a") as more:
            more.write(f"ended in {number}\n")
        reader.restart()
    reader.poll()
    assert sorted(reader.lines) == [f"{w} in {n}" for w in ("begun", "ended") for n in range(3)]
    assert not reader.ends_unseen


@pytest.mark.parametrize("name", ["saved-%d", "web.%d.txt", "%d"])
def test_unknown_names_over_two_rotations(writer: Writer, name: str) -> None:
    reader = begun(writer)
    for number in range(2):
        writer.write(3)
        writer.path.rename(writer.path.with_name(name % number))
        writer.reopen()
    writer.write(2)
    reader.restart()
    reader.poll()
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)
    assert not reader.ends_unseen


def test_a_file_whose_end_nobody_saw_is_said_to_be_gone(writer: Writer) -> None:
    reader = begun(writer)
    reader.restart()
    size = writer.path.stat().st_size
    writer.write(3)
    writer.path.unlink()
    writer.reopen()
    new = writer.write(2)
    reader.settle()
    assert reader.lines[-2:] == new
    assert EndUnseen(str(writer.path), str(writer.path), size) in reader.events
    assert not reader.bytes_lost
    assert {row.state for row in reader.rows.values()} == {"active", "end unseen"}
    reader.restart()
    reader.settle()
    assert len(reader.ends_unseen) == 1  # it is said once


def test_one_without_a_successor_too_once_its_folder_is_seen(writer: Writer) -> None:
    reader = begun(writer)
    writer.path.with_name("other.log").write_text("another log\n")
    reader.poll()
    reader.restart()
    writer.path.unlink()
    reader.settle()
    assert reader.ends_unseen == ["app.log"]


def test_one_whose_folder_is_not_there_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    writer = Writer(folder / "app.log")
    reader = begun(writer)
    reader.restart()
    folder.rename(tmp_path / "unmounted")
    reader.settle()
    assert not reader.ends_unseen
    (tmp_path / "unmounted").rename(folder)
    writer.write(2)
    reader.poll()
    assert reader.lines == writer.written


def test_put_back_under_any_name_it_is_read_on(tmp_path: Path, writer: Writer) -> None:
    reader = begun(writer)
    writer.write(3)
    writer.path.rename(tmp_path.with_name(f"{tmp_path.name}-elsewhere"))
    writer.reopen()
    writer.write(2)
    reader.restart()
    reader.settle()
    assert reader.ends_unseen == ["app.log"]
    tmp_path.with_name(f"{tmp_path.name}-elsewhere").rename(tmp_path / "app.log.found")
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


def test_one_that_was_held_open_has_no_unseen_end(writer: Writer) -> None:
    reader = begun(writer)
    writer.write(3)
    writer.path.unlink()
    writer.reopen()
    writer.write(2)
    reader.settle()
    assert reader.lines == writer.written
    assert not reader.ends_unseen
