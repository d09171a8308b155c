"""Which rotated files are history: their times lie, so their names and their content say it."""

import gzip
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest

from sidecar.batch import Left, LeftAlone
from support.read import Reader, Writer, as_bytes, copytruncate, nobody, rename, shift
from support.rotators import Kubelet, gzip_anew

YESTERDAY = time.time() - 86_400


def fill(path: Path, name: str, lines: int = 10) -> Path:
    """Write lines of their own, as of yesterday."""
    path.write_bytes(as_bytes(f"line {n:06} of {name}, written long ago" for n in range(lines)))
    os.utime(path, (YESTERDAY, YESTERDAY))
    return path


@pytest.fixture
def kubelet(tmp_path: Path) -> tuple[Writer, Kubelet]:
    writer = Writer(tmp_path / "0.log")
    fill(tmp_path / "0.log.20260131-080000", "eight")
    fill(tmp_path / "0.log.20260131-090000", "nine", 50)
    writer.write(2)
    return writer, Kubelet(writer)


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_kubelet_first_install_and_first_rotation(
    tmp_path: Path, kubelet: tuple[Writer, Kubelet], *, down: bool
) -> None:
    writer, rotator = kubelet
    reader = Reader(tmp_path / "*.log", from_beginning=False)
    reader.poll()
    for _ in range(3):
        if down:
            reader.follower.close()
        writer.write(2)
        rotator.rotate()
        writer.write(2)
        if down:
            reader.restart()
        reader.poll()
    reader.settle()
    assert reader.lines == writer.written[2:]
    assert not reader.bytes_lost
    assert not reader.ends_unseen


def test_kubelet_down_over_two_rotations(tmp_path: Path, kubelet: tuple[Writer, Kubelet]) -> None:
    writer, rotator = kubelet
    reader = Reader(tmp_path / "*.log", from_beginning=False)
    reader.poll()
    for _ in range(2):
        writer.write(5)
        rotator.rotate()
    writer.write(5)
    reader.restart()
    reader.poll()
    assert reader.lines == writer.written[2:]


def test_what_is_left_alone_is_said_with_path_and_bytes(
    tmp_path: Path, kubelet: tuple[Writer, Kubelet]
) -> None:
    writer, _ = kubelet
    reader = Reader(tmp_path / "*.log", from_beginning=False)
    reader.poll()
    log, old = str(writer.path), tmp_path / "0.log.20260131-090000"
    assert LeftAlone(log, str(old), old.stat().st_size, Left.HISTORY) in reader.events
    assert sorted(reader.left_alone) == [
        ("0.log.20260131-080000", "history"),
        ("0.log.20260131-090000", "history"),
    ]
    reader.restart()
    reader.poll()
    assert len(reader.left_alone) == 2  # it is said once


class Rotation:
    """A log of three rotated files from yesterday, and a reader that came today."""

    def __init__(self, directory: Path, pattern: str) -> None:
        self.log = directory / "app.log"
        for number in (1, 2, 3):
            fill(directory / f"app.log.{number}", f"generation {number}")
        self.writer = Writer(self.log)
        self.writer.write(1)
        self.writer.written.clear()
        self.reader = Reader(directory / pattern, from_beginning=False)
        self.reader.poll()
        self.writer.write(3)
        self.reader.poll()

    def old(self, number: int) -> Path:
        return self.log.with_name(f"app.log.{number}")


def touched(rotation: Rotation) -> None:
    for number in (1, 2, 3):
        os.utime(rotation.old(number))


def gzipped_by_cron(rotation: Rotation) -> None:
    gzip_anew(rotation.old(2))


def copied_without_its_time(rotation: Rotation) -> None:
    shutil.copyfile(rotation.old(2), rotation.old(9))
    rotation.old(2).unlink()
    rotation.old(9).rename(rotation.old(2))


def copied_to_the_next_number(rotation: Rotation) -> None:
    shutil.copyfile(rotation.old(3), rotation.old(4))


def unpacked(rotation: Rotation) -> None:
    zipped = gzip_anew(rotation.old(2))
    rotation.old(2).write_bytes(gzip.decompress(zipped.read_bytes()))


def unpacked_slowly(rotation: Rotation) -> None:
    zipped = gzip_anew(rotation.old(2))
    rotation.reader.poll()
    whole = gzip.decompress(zipped.read_bytes())
    for part in (100, 300, len(whole)):
        rotation.old(2).write_bytes(whole[:part])
        rotation.reader.poll()


def brought_back_from_an_archive(rotation: Rotation) -> None:
    fill(rotation.old(9), "generation 9, long forgotten")
    os.utime(rotation.old(9))


LIES: list[Callable[[Rotation], None]] = [
    touched,
    gzipped_by_cron,
    copied_without_its_time,
    copied_to_the_next_number,
    unpacked,
    unpacked_slowly,
    brought_back_from_an_archive,
]


@pytest.mark.parametrize("pattern", ["app.log", "*.log"])
@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
@pytest.mark.parametrize("lie", LIES)
def test_history_stays_history(
    tmp_path: Path, lie: Callable[[Rotation], None], pattern: str, *, down: bool
) -> None:
    rotation = Rotation(tmp_path, pattern)
    reader, writer = rotation.reader, rotation.writer
    if down:
        reader.restart()
    lie(rotation)
    reader.poll()
    assert reader.lines == writer.written
    rename(rotation.log)
    writer.reopen()
    writer.write(2)
    if down:
        reader.restart()
    reader.poll()
    reader.settle()
    assert reader.lines == writer.written
    assert not reader.bytes_lost


@pytest.mark.parametrize("lie", [touched, copied_without_its_time, gzipped_by_cron])
def test_what_was_written_while_down_is_read_whatever_its_time(
    tmp_path: Path, lie: Callable[[Rotation], None]
) -> None:
    """The older generation was written last, or so it seems."""
    rotation = Rotation(tmp_path, "*.log")
    reader, writer = rotation.reader, rotation.writer
    for _ in range(3):
        writer.write(4)
        rename(rotation.log)
        writer.reopen()
    writer.write(1)
    lie(rotation)
    reader.restart()
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)
    assert not reader.bytes_lost


def test_a_clock_set_back_while_down(tmp_path: Path) -> None:
    rotation = Rotation(tmp_path, "*.log")
    reader, writer = rotation.reader, rotation.writer
    for hours in (1, 2, 3):
        writer.write(4)
        then = time.time() - hours * 3600
        os.utime(rotation.log, (then, then))
        rename(rotation.log)
        writer.reopen()
    writer.write(1)
    reader.restart()
    reader.poll()
    assert reader.lines == writer.written


def test_rows_of_the_version_before_know_no_history_and_read_none(tmp_path: Path) -> None:
    """They have no rows of history, and of compressed history rows without a fingerprint."""
    rotation = Rotation(tmp_path, "*.log")
    reader, writer = rotation.reader, rotation.writer
    reader.rows = {n: row for n, row in reader.rows.items() if row.state != "ignored"}
    for number in (1, 2, 3):
        os.utime(rotation.old(number))
    reader.events.clear()
    reader.restart()
    writer.write(2)
    reader.poll()
    assert reader.lines == writer.written
    assert len(reader.left_alone) == 3


def gzip_rotator(source: str, dest: str) -> None:
    """Compress as Python's logging cookbook does."""
    with Path(source).open("rb") as plain, gzip.open(dest, "wb") as zipped:
        shutil.copyfileobj(plain, zipped)
    Path(source).unlink()


class Worker:
    """A process of the host with a RotatingFileHandler of its own on the common log."""

    def __init__(self, log: Path, name: str, *, zipped: bool) -> None:
        self.handler = RotatingFileHandler(log, maxBytes=400, backupCount=30, delay=True)
        if zipped:
            self.handler.rotator = gzip_rotator
            self.handler.namer = lambda named: named + ".gz"
        self._name = name
        self.written: list[str] = []

    def write(self, lines: int) -> None:
        for _ in range(lines):
            text = f"line {len(self.written):04} of worker {self._name}"
            self.handler.emit(LogRecord("host", 20, "", 0, text, None, None))
            self.written.append(text)


# Workers that compress each other's open file lose lines by themselves.
@pytest.mark.parametrize(
    ("workers", "zipped"), [(1, False), (3, False), (1, True)], ids=["one", "three", "cookbook"]
)
@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_rotating_file_handlers(tmp_path: Path, workers: int, *, down: bool, zipped: bool) -> None:
    log = tmp_path / "app.log"
    every = [Worker(log, str(number), zipped=zipped) for number in range(workers)]
    reader = Reader(log)
    for turn in range(12):
        every[turn % workers].write(7)
        if not down:
            reader.poll()
        elif turn % 6 == 5:
            reader.restart()
            reader.poll()
    for worker in every:
        worker.handler.close()
    reader.settle()
    assert sorted(reader.lines) == sorted(line for worker in every for line in worker.written)
    assert not reader.bytes_lost


def test_a_file_born_and_rotated_while_its_folder_was_listed(tmp_path: Path) -> None:
    """The look that finds the next one lists the folder before it, and does not find this one."""
    log, aside = tmp_path / "app.log", tmp_path / ".app"
    reader = Reader(log)
    written = as_lines(log, "first")
    reader.poll()
    log.rename(tmp_path / "app.log-20260131")
    written += as_lines(log, "second")
    log.rename(aside)
    written += as_lines(log, "third")
    reader.poll()
    aside.rename(tmp_path / "app.log.1")
    reader.settle()
    assert sorted(reader.lines) == sorted(written)
    assert reader.left_alone == []


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("budget", [1 << 20, 40], ids=["read", "half read"])
def test_a_rotated_file_that_another_worker_compresses_over(
    tmp_path: Path, budget: int, *, in_place: bool
) -> None:
    log, zipped = tmp_path / "app.log", tmp_path / "app.log.2026-09-21_14-13-39.gz"
    reader = Reader(log)
    written = as_lines(log, "first")
    reader.poll()
    for number in range(3):  # what comes here after the first is of another worker
        content = "".join(f"{number} {n} {n**9}\n" for n in range(30 if number else 300))
        beside = zipped.with_name(".new")  # with an inode of its own
        beside.write_bytes(gzip.compress(content.encode()))
        zipped.write_bytes(beside.read_bytes()) if in_place else beside.rename(zipped)
        written += content.splitlines()
        reader.poll(budget=budget)
        if budget > 40:
            reader.settle()
    reader.settle()
    read = reader.lines
    assert len(read) == len({*read})
    assert {*written} - {*read} == set() or reader.bytes_lost
    assert {*gzip.decompress(zipped.read_bytes()).decode().splitlines()} <= {*read}


def test_a_worker_compresses_what_is_being_read_over_an_empty_file_of_another(
    tmp_path: Path,
) -> None:
    log, zipped = tmp_path / "app.log", tmp_path / "app.log.2026-09-21_14-13-39.gz"
    reader = Reader(log)
    first = as_lines(log, "first")
    reader.poll()
    zipped.write_bytes(gzip.compress(b""))
    reader.settle()
    content = log.read_bytes() + b"second\n" * 2
    log.write_bytes(content)
    zipped.write_bytes(gzip.compress(content))
    log.unlink()
    third = as_lines(log, "third")
    reader.settle()
    assert sorted(reader.lines) == sorted([*first, "second", "second", *third])


def as_lines(path: Path, what: str) -> list[str]:
    lines = [f"{what} {number} {'that is of some length':.<60}" for number in range(3)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return lines


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
@pytest.mark.parametrize("turns", ["", "written", "renamed", "both"])
def test_a_file_seen_empty_that_is_written_copied_and_emptied_before_the_next_look(
    tmp_path: Path, turns: str, *, down: bool
) -> None:
    """Its inode is known and nothing in it: so nobody knows that its copy is older."""
    log = tmp_path / "app.log"
    writer, reader = Writer(log), Reader(log)
    log.touch()
    for _ in range(3):
        reader.poll()
    writer.write(20)
    copytruncate(log)
    if turns in ("written", "both"):
        writer.write(5)
    if turns in ("renamed", "both"):
        rename(log)
        writer.reopen()
        writer.write(3)
    if down:
        reader.restart()
    reader.poll()
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)
    assert not reader.left_alone


def test_what_was_found_new_stays_so_under_an_older_name(tmp_path: Path) -> None:
    """It waits, as it may be a copy of the log, until a line of that says that it is none."""
    log = tmp_path / "app.log"
    reader = Reader(log)
    reader.poll()
    tmp_path.joinpath("app.log.2.gz").write_bytes(gzip.compress(b"all alike: the first line\n" * 3))
    tmp_path.joinpath("app.log.1").write_bytes(b"all alike: the second line\n" * 3)
    log.write_bytes(b"all alike")
    reader.poll()
    shift(log, 9, nobody)
    log.write_bytes(b"all alike: the third line\n" * 3)
    reader.poll()
    reader.settle()
    assert Counter(reader.lines) == {
        f"all alike: the {n} line": 3 for n in ("first", "second", "third")
    }
    assert not reader.left_alone
