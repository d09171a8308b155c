"""Every way a log is rotated, running and down: each line once, in the order it was written."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from sidecar.batch import Truncated
from sidecar.read.waker import Waker
from support.read import Reader, Writer, as_bytes, compress, copytruncate, rename

Rotation = Callable[[Writer], None]


def by_rename(writer: Writer) -> None:
    rename(writer.path, woken=writer.woken)
    writer.reopen()


def by_rename_late_reopen(writer: Writer) -> None:
    rename(writer.path, woken=writer.woken)
    writer.write(2)  # a writer that keeps its file open still writes to the old one
    writer.reopen()


def by_date(writer: Writer) -> None:
    shutil.move(writer.path, writer.path.with_name(f"{writer.path.name}-{_next_day(writer)}"))
    writer.woken()
    writer.reopen()


def by_dated_stem(writer: Writer) -> None:
    shutil.move(writer.path, writer.path.with_name(f"app-{_next_day(writer)}.log"))
    writer.woken()
    writer.reopen()


def by_rename_and_gzip(writer: Writer) -> None:
    rename(writer.path, woken=writer.woken)
    writer.reopen()
    compress(writer.path.with_name("app.log.1"), woken=writer.woken)


def by_copytruncate(writer: Writer) -> None:
    copytruncate(writer.path, woken=writer.woken)


def by_two_renames(writer: Writer) -> None:
    by_rename(writer)
    writer.write(3)
    by_rename(writer)


def by_three_renames_and_gzip(writer: Writer) -> None:
    by_rename(writer)
    writer.write(3)
    by_rename(writer)
    writer.write(2)
    by_rename(writer)
    compress(writer.path.with_name("app.log.3"), woken=writer.woken)
    compress(writer.path.with_name("app.log.2"), woken=writer.woken)


def by_two_copytruncates(writer: Writer) -> None:
    by_copytruncate(writer)
    writer.write(3)
    by_copytruncate(writer)


def by_failed_rename(writer: Writer) -> None:
    moved = writer.path.with_name("app.log.1")
    writer.path.rename(moved)
    writer.woken()
    moved.rename(writer.path)
    writer.woken()


def _next_day(writer: Writer) -> str:
    return f"202401{10 + len(list(writer.path.parent.iterdir()))}"


ROTATIONS: list[Rotation] = [
    by_rename,
    by_rename_late_reopen,
    by_date,
    by_dated_stem,
    by_rename_and_gzip,
    by_copytruncate,
    by_two_renames,
    by_three_renames_and_gzip,
    by_two_copytruncates,
    by_failed_rename,
]


@pytest.fixture(params=[True, False], ids=["keeps-open", "reopens"])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Writer:
    return Writer(tmp_path / "app.log", keeps_open=request.param)


@pytest.fixture(params=["app.log", "*.log", "app*"], ids=["path", "glob", "wide-glob"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Reader:
    return Reader(tmp_path / request.param)


@pytest.fixture(params=[False, True], ids=["poll", "watchdog"])
def woken(request: pytest.FixtureRequest, writer: Writer, reader: Reader) -> None:
    """Let each single change wake the reader at once, or none."""
    if request.param:
        writer.woken = reader.poll


@pytest.mark.usefixtures("woken")
@pytest.mark.parametrize("rotate", ROTATIONS)
def test_running(writer: Writer, reader: Reader, rotate: Rotation) -> None:
    writer.write(3)
    reader.poll()
    for _ in range(3):
        writer.write(2)
        rotate(writer)
        writer.write(3)
        reader.poll()
    reader.settle()
    assert reader.lines == writer.written
    assert reader.last.caught_up


@pytest.mark.parametrize("rotate", ROTATIONS)
def test_running_with_a_real_watchdog_and_no_poll_of_its_own(
    tmp_path: Path, rotate: Rotation
) -> None:
    writer, reader = Writer(tmp_path / "app.log"), Reader(tmp_path / "*.log")
    bell = Event()
    waker = Waker(reader.follower.directories(), bell.set)
    waker.start()

    def woken() -> None:
        assert bell.wait(10)
        bell.clear()
        reader.poll()

    writer.woken = woken
    writer.write(2)
    rotate(writer)
    writer.write(2)
    waker.stop()
    assert reader.lines == writer.written


@pytest.mark.parametrize("rotate", ROTATIONS)
def test_down(writer: Writer, reader: Reader, rotate: Rotation) -> None:
    writer.write(3)
    reader.poll()
    for _ in range(3):
        writer.write(2)
        rotate(writer)
        writer.write(3)
        reader.restart()
        reader.poll()
    reader.settle()
    assert reader.lines == writer.written
    assert not reader.bytes_lost


@pytest.mark.parametrize("rotate", ROTATIONS)
def test_killed_between_reading_and_the_commit(
    writer: Writer, reader: Reader, rotate: Rotation
) -> None:
    writer.write(3)
    reader.poll()
    for _ in range(3):
        writer.write(2)
        rotate(writer)
        writer.write(3)
        reader.crash_in_poll()
        reader.poll()
    reader.settle()
    assert reader.lines == writer.written


@pytest.mark.usefixtures("woken")
@pytest.mark.parametrize("rotate", ROTATIONS)
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "down"])
def test_a_little_at_a_time(
    writer: Writer, reader: Reader, rotate: Rotation, *, restarts: bool
) -> None:
    writer.write(3)
    reader.poll(budget=1)
    for _ in range(2):
        rotate(writer)
        writer.write(2)
        if restarts:
            reader.restart()
        reader.poll(budget=1)
    while not (reader.poll(budget=1).caught_up and not reader.last.chunks):
        pass
    reader.settle()
    assert reader.lines == writer.written


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
@pytest.mark.parametrize("lines", [1, 3, 7], ids=["smaller", "equal", "larger"])
def test_truncated_and_written_anew(
    writer: Writer, reader: Reader, lines: int, *, down: bool
) -> None:
    before = writer.write(3)
    reader.poll()
    if down:
        reader.restart()
    os.truncate(writer.path, 0)
    after = writer.write(lines)
    reader.poll()
    assert reader.lines == before + after
    reader.settle()
    assert reader.events.count(Truncated()) == 1


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
@pytest.mark.parametrize("lines", [1, 3, 7], ids=["smaller", "equal", "larger"])
def test_deleted_and_created_anew(
    writer: Writer, reader: Reader, lines: int, *, down: bool
) -> None:
    before = writer.write(3)
    reader.poll()
    if down:
        reader.restart()
        reader.follower.close()
    writer.reopen()
    writer.path.unlink()
    after = writer.write(lines)
    reader.poll()
    assert reader.lines == before + after


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
@pytest.mark.parametrize("lines", [1, 3, 7], ids=["smaller", "equal", "larger"])
def test_replaced_by_another_file(
    writer: Writer, reader: Reader, lines: int, *, down: bool
) -> None:
    before = writer.write(3)
    reader.poll()
    if down:
        reader.restart()
    after = [f"new {n}" for n in range(lines)]
    fresh = writer.path.with_name("fresh.tmp")
    fresh.write_bytes(as_bytes(after))
    fresh.rename(writer.path)
    reader.poll()
    assert reader.lines == before + after


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_replaced_by_a_copy_that_goes_on(writer: Writer, reader: Reader, *, down: bool) -> None:
    before = writer.write(3)
    reader.poll()
    if down:
        reader.restart()
    fresh = writer.path.with_name("fresh.tmp")
    fresh.write_bytes(as_bytes([*before, "one more"]))
    fresh.rename(writer.path)
    reader.poll()
    assert reader.lines == [*before, "one more"]


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("rotations", [1, 2, 3, 10])
@pytest.mark.parametrize("reader", ["app.log", "*.log"], indirect=True)
def test_down_from_the_first_line_on(
    tmp_path: Path, reader: Reader, rotations: int, *, compressed: bool
) -> None:
    """It was seen empty, and never again before it was rotated: all of it was written since."""
    log = tmp_path / "app.log"
    log.touch()
    reader.poll()
    for number in range(rotations):
        log.write_text(f"line {number}\n")
        rename(log, keep=rotations)
        second = log.with_name("app.log.2")
        if compressed and second.exists():
            compress(second)
        log.touch()  # may have the inode of what was compressed
    reader.restart()
    reader.settle()
    assert sorted(reader.lines) == sorted(f"line {number}" for number in range(rotations))
    assert not reader.bytes_lost


@contextmanager
def half_copied(log: Path, size: int) -> Iterator[None]:
    """Copy `size` bytes of what there is now before the block runs, and the rest after it."""
    whole = log.read_bytes()
    with log.with_name(f"{log.name}.1").open("wb") as copy:
        copy.write(whole[:size])
        copy.flush()
        yield
        copy.write(whole[size:])


@pytest.mark.parametrize("restarted", ["never", "amid the copy", "before the truncation"])
@pytest.mark.parametrize("unread", [0, 2], ids=["all read", "lines unread"])
@pytest.mark.parametrize("size", [10, 1500, 4096, 15_000])
def test_a_copy_seen_half_made_that_is_whole_and_its_original_empty_at_the_next_look(
    tmp_path: Path, size: int, unread: int, restarted: str
) -> None:
    """What a kill between the two looks forgets is that the file was ever read further."""
    writer = Writer(tmp_path / "app.log")
    writer.write(3)
    reader = Reader(writer.path)
    reader.poll()
    writer.write(1000)
    reader.poll()
    writer.write(unread)
    with half_copied(writer.path, size):
        if restarted == "amid the copy":
            reader.restart()
        reader.poll(budget=0 if unread else 1 << 20)
        if restarted == "before the truncation":
            reader.restart()
    os.truncate(writer.path, 0)
    writer.write(1)
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)
    assert reader.bytes_lost == 0


@pytest.mark.parametrize("restarted", ["never", "amid the copy", "before the truncation"])
@pytest.mark.parametrize("size", [10, 1500, 4096, 15_000])
def test_a_copy_seen_half_made_that_ends_before_what_was_read(
    tmp_path: Path, size: int, restarted: str
) -> None:
    """What is written after the copy has come to the end is in no file once that is emptied."""
    writer = Writer(tmp_path / "app.log")
    writer.write(1000)
    reader = Reader(writer.path)
    reader.poll()
    with half_copied(writer.path, size):
        reader.poll()
        writer.write(5)
        if restarted == "amid the copy":
            reader.restart()
        reader.poll()
        if restarted == "before the truncation":
            reader.restart()
    os.truncate(writer.path, 0)
    writer.write(1)
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)
    assert reader.bytes_lost == 0


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "killed"])
@pytest.mark.parametrize("lines", [2, 30, 1000])
def test_a_whole_copy_made_and_lines_written_behind_it_between_a_look_and_its_read(
    tmp_path: Path, lines: int, *, restarts: bool
) -> None:
    """Were they read, a start would know the copy by nothing. No file holds them afterwards."""
    writer = Writer(tmp_path / "app.log")
    writer.write(lines)
    reader = Reader(writer.path)
    reader.poll()
    writer.write(1)

    def copied() -> list[str]:
        writer.path.with_name("app.log.1").write_bytes(writer.path.read_bytes())
        return writer.write(5)

    _, lost = reader.poll_with(copied)
    if restarts:
        reader.restart()
    os.truncate(writer.path, 0)
    writer.write(1)
    reader.settle()
    assert sorted([*reader.lines, *lost]) == sorted(writer.written)


@pytest.mark.parametrize("looks", [0, 1, 3])
@pytest.mark.parametrize("unfinished", [b"", b"line"])
@pytest.mark.parametrize("lines", [0, 3, 30])
def test_a_log_not_begun_that_is_copied_and_truncated_between_a_look_and_its_read(
    tmp_path: Path, lines: int, unfinished: bytes, looks: int
) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    reader.poll()
    writer.raw(unfinished)
    for _ in range(looks):
        reader.poll()
    writer.raw(b" that was unfinished\n")
    writer.write(11)

    def rotated() -> list[str]:
        copytruncate(writer.path)
        return writer.write(lines)

    reader.poll_with(rotated)
    reader.settle()
    assert reader.lines == [f"{unfinished.decode()} that was unfinished", *writer.written]
    assert reader.bytes_lost == 0


def test_a_copy_that_goes_on_by_itself_after_it_was_seen_half_made(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    writer.write(1000)
    reader = Reader(writer.path)
    reader.poll()
    whole = writer.path.read_bytes()
    with writer.path.with_name("app.log.1").open("wb") as copy:
        copy.write(whole[:4096])
        copy.flush()
        reader.poll()
        copy.write(whole[4096:] + b"a line of its own\n")
    reader.settle()
    assert reader.lines == [*writer.written, "a line of its own"]


def test_a_file_that_had_to_wait_is_read_before_what_was_rotated_after_it(
    writer: Writer, reader: Reader
) -> None:
    """It waits while it is being compressed, and meanwhile the log is rotated once more."""
    writer.write(3)
    reader.poll()
    rename(writer.path)
    writer.reopen()
    writer.write(30)
    rename(writer.path)
    writer.reopen()
    writer.raw(b"line ")
    zipped = compress(writer.path.with_name("app.log.1"))
    whole = zipped.read_bytes()
    zipped.write_bytes(whole[: len(whole) // 2])
    reader.poll()
    zipped.write_bytes(whole)
    writer.raw(b"begun before\n")
    rename(writer.path)
    reader.poll()
    assert reader.lines == [*writer.written, "line begun before"]
