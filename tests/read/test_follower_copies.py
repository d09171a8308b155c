"""Copies beside the log, and the log itself as a copy: what two files share counts once."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.batch import Left, LeftAlone
from sidecar.config.sources import Source
from sidecar.read.content import open_content
from sidecar.read.copies import Copies
from sidecar.read.files import LogFiles
from sidecar.read.log import LogFile
from sidecar.read.scan import Sighting
from support.read import KEY, Reader, Writer, as_bytes, compress, copytruncate, rename

DOWN = pytest.mark.parametrize("down", [False, True], ids=["running", "down"])


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "logs" / "app.log")


@pytest.fixture
def reader(writer: Writer) -> Reader:
    writer.path.parent.mkdir()
    made = Reader(writer.path.with_name("*.log"))
    writer.write(6)
    made.poll()
    return made


@DOWN
def test_a_copy_under_the_same_glob_counts_nothing(
    reader: Reader, writer: Writer, *, down: bool
) -> None:
    if down:
        reader.restart()
    incident = writer.path.with_name("incident.log")
    shutil.copyfile(writer.path, incident)
    reader.poll()
    writer.write(2)
    reader.restart()
    reader.poll()
    assert reader.lines == writer.written
    alone = LeftAlone(
        str(incident), str(incident), incident.stat().st_size, Left.COPY, str(writer.path)
    )
    assert [one for one in reader.events if isinstance(one, LeftAlone)] == [alone]


@pytest.mark.parametrize("parts", [2, 5])
def test_a_copy_that_is_seen_while_it_is_made(reader: Reader, writer: Writer, parts: int) -> None:
    writer.write(50)
    reader.poll()
    whole = writer.path.read_bytes()
    with writer.path.with_name("incident.log").open("wb") as copy:
        reader.poll()
        for part in range(parts):
            begin, end = (len(whole) * n // parts for n in (part, part + 1))
            copy.write(whole[begin:end])
            copy.flush()
            reader.poll()
    reader.settle()
    assert reader.lines == writer.written


def test_what_a_copy_has_beyond_its_original_is_read(reader: Reader, writer: Writer) -> None:
    other = writer.path.with_name("other.log")
    shutil.copyfile(writer.path, other)
    reader.poll()
    with other.open("ab") as more:
        more.write(b"a line of its own\n")
    reader.poll()
    writer.write(1)
    reader.poll()
    assert sorted(reader.lines) == sorted([*writer.written, "a line of its own"])


@DOWN
def test_an_old_file_unpacked_under_a_name_of_its_own(
    tmp_path: Path, writer: Writer, *, down: bool
) -> None:
    writer.path.parent.mkdir()
    old = writer.path.with_name("app.log.3.gz")
    text = b"".join(b"line %d of long ago\n" % number for number in range(30))
    old.write_bytes(gzip.compress(text))
    writer.write(1)
    reader = Reader(tmp_path / "logs" / "*.log", from_beginning=False)
    reader.poll()
    if down:
        reader.restart()
    writer.path.with_name("old-app.log").write_bytes(text)
    writer.write(1)
    reader.poll()
    assert reader.lines == writer.written[1:]


def test_a_log_that_begins_as_another_line_by_line_goes_on_by_itself(
    reader: Reader, writer: Writer
) -> None:
    begin = writer.path.read_bytes()
    other = writer.path.with_name("b.log")
    other.write_bytes(begin[: len(begin) // 6 * 4])
    reader.poll()
    with other.open("ab") as more:
        more.write(b"b alone\n")
    reader.poll()
    assert reader.lines == [*writer.written, "b alone"]


def test_a_copy_in_another_folder_is_a_log_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.log").write_bytes(b"the same line in both of these folders " * 3)
        with (tmp_path / name / "app.log").open("ab") as log:
            log.write(b"\n")
    reader = Reader(tmp_path / "*" / "app.log")
    reader.poll()
    assert len(reader.lines) == 2


def move_to_another_disk(writer: Writer) -> Path:
    """Copy the folder, then put the copy in its place: all inodes are others."""
    folder = writer.path.parent
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    return copy


@DOWN
@pytest.mark.parametrize("late", [False, True], ids=["in time", "written to meanwhile"])
def test_a_log_folder_moved_to_a_new_disk(
    reader: Reader, writer: Writer, *, down: bool, late: bool
) -> None:
    for _ in range(3):
        rename(writer.path)
        writer.reopen()
        writer.write(80)
        reader.poll()
    folder = writer.path.parent
    copy = move_to_another_disk(writer)
    if late and not down:
        writer.write(3)
        reader.poll()
    if down:
        reader.restart()
    folder.rename(folder.with_name("old disk"))
    copy.rename(folder)
    if late and not down:
        writer.write(2)  # the host still has the old file open
    writer.reopen()
    writer.write(4)
    reader.poll()
    reader.settle()
    reader.restart()
    reader.settle()
    assert reader.lines == writer.written
    assert not reader.bytes_lost


def test_a_folder_that_is_mounted_anew(reader: Reader, writer: Writer) -> None:
    """The old file is not unlinked: it is under the new mount."""
    folder = writer.path.parent
    copy = move_to_another_disk(writer)
    folder.rename(folder.with_name("under the mount"))
    copy.rename(folder)
    reader.poll()
    writer.reopen()
    writer.write(3)
    reader.poll()
    assert reader.lines == writer.written


def test_the_same_lines_again_after_a_rotation_out_of_sight_count_again(tmp_path: Path) -> None:
    """A file moved away, and a new one that begins otherwise."""
    log = tmp_path / "app.log"
    log.write_bytes(b"the first file begins with this line, which is long enough to tell\n")
    reader = Reader(log)
    reader.poll()
    log.rename(tmp_path / "moved")
    log.write_bytes(b"the second file begins with this line, which is long enough to tell\n")
    reader.poll()
    assert len(reader.lines) == 2


def test_a_copy_is_known_after_its_original_is_gone(reader: Reader, writer: Writer) -> None:
    copy = writer.path.with_name("incident.log")
    shutil.copyfile(writer.path, copy)
    reader.poll()
    writer.path.unlink()
    reader.restart()
    for _ in range(20):
        reader.poll(seconds=86_400)
    os.utime(copy)
    reader.poll()
    assert reader.lines == writer.written


@DOWN
def test_a_copytruncate_half_seen_counts_once_what_was_read_before_the_truncation(
    tmp_path: Path, *, down: bool
) -> None:
    log, copy = tmp_path / "app.log", tmp_path / "app.log.1"
    writer, reader = Writer(log), Reader(log)
    writer.write(100)
    whole = log.read_bytes()
    reader.poll(budget=len(whole) // 10)
    copy.write_bytes(whole[: len(whole) // 5])
    for _ in range(7):
        reader.poll(budget=len(whole) // 10)  # and is not done when the log is truncated
    if down:
        reader.restart()
    copy.write_bytes(whole)
    os.truncate(log, 0)
    writer.write(120)
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


def test_a_copy_half_seen_of_a_log_that_appeared_meanwhile(tmp_path: Path) -> None:
    log, copy = tmp_path / "app.log", tmp_path / "app.log.1"
    writer, reader = Writer(log), Reader(log)
    reader.poll()
    writer.write(100)
    whole = log.read_bytes()
    copy.write_bytes(whole[: len(whole) // 3])
    reader.poll()
    copy.write_bytes(whole)
    os.truncate(log, 0)
    reader.settle()
    assert reader.lines == writer.written


def test_a_file_missed_by_a_look_that_found_the_one_before_only_as_a_copy(
    tmp_path: Path,
) -> None:
    """Between two looks two rotations may pass; what is held open has its place by its copy."""
    log = tmp_path / "app.log"
    writer, reader = Writer(log), Reader(log)
    for _ in range(3):
        writer.write(20)
        if not reader.lines:
            reader.poll()
        rename(log)
        writer.reopen()
    compress(log.with_name("app.log.3"))
    missed = log.with_name("app.log.2").rename(tmp_path / "renamed just now")
    writer.write(20)
    reader.poll()
    compress(missed.rename(log.with_name("app.log.2")))
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


def test_a_few_bytes_of_a_copy_say_nothing_of_what_is_at_its_place_next(tmp_path: Path) -> None:
    """Its inode may be another's by then; all lines of a host begin alike."""
    writer = Writer(tmp_path / "app.log")
    writer.write(200)
    reader = Reader(tmp_path / "app*")
    reader.poll()
    copy = writer.path.with_name("app.log.1")
    copy.write_bytes(writer.path.read_bytes()[:3])
    reader.poll()
    copy.write_bytes(b"line of its own\n" * 2)
    reader.settle()
    assert reader.lines == [*writer.written, *["line of its own"] * 2]
    assert not reader.bytes_lost


def cookbook(log: Path, number: int) -> None:
    """Compress as Python's logging cookbook does, under a date."""
    log.with_name(f"app.log.2026-11-28_10-00-{number:02}.gz").write_bytes(
        gzip.compress(log.read_bytes())
    )
    log.unlink()


@pytest.mark.parametrize("rotations", [1, 2, 3])
def test_rotations_by_the_cookbook_of_a_file_that_was_seen_empty(
    tmp_path: Path, rotations: int
) -> None:
    """What it held is read from it; its copy is none; what came after it is no history."""
    log = tmp_path / "app.log"
    writer, reader = Writer(log), Reader(log)
    log.touch()
    reader.poll()
    for number in range(rotations):
        writer.write(20)
        writer.reopen()
        cookbook(log, number)
    writer.write(5)
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


def test_a_compressed_copy_of_a_file_as_new_as_itself(tmp_path: Path) -> None:
    """The look falls between the cookbook's compressing and its removing."""
    log = tmp_path / "app.log"
    writer, reader = Writer(log), Reader(log)
    writer.write(20)
    reader.poll()
    writer.reopen()
    cookbook(log, 0)
    writer.write(20)
    copy = log.with_name("app.log.2026-11-28_10-00-01.gz")
    copy.write_bytes(gzip.compress(log.read_bytes()))
    reader.poll()
    log.unlink()
    writer.reopen()
    writer.write(5)
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


@pytest.fixture
def new(writer: Writer) -> Reader:
    """Return a reader that is down since before there was any log."""
    writer.path.parent.mkdir()
    made = Reader(writer.path.with_name("*.log"))
    made.poll()
    made.restart()
    writer.write(6)
    return made


@pytest.mark.parametrize("more", [0, 4])
def test_a_copy_of_a_log_that_was_never_read_counts_nothing(
    new: Reader, writer: Writer, more: int
) -> None:
    shutil.copyfile(writer.path, writer.path.with_name("incident.log"))
    writer.write(more)
    new.settle()
    assert sorted(new.lines) == sorted(writer.written)
    assert [name for name, _ in new.left_alone] == ["incident.log"]


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("more", [0, 4])
def test_a_copy_among_the_generations_of_a_log_that_was_never_read_counts_nothing(
    new: Reader, writer: Writer, more: int, *, zipped: bool
) -> None:
    copy = writer.path.with_name("app.log.7")
    shutil.copyfile(writer.path, copy)
    if zipped:
        compress(copy)
    writer.write(more)
    new.settle()
    assert sorted(new.lines) == sorted(writer.written)


def test_what_a_generation_holds_beyond_an_older_copy_of_it_is_read(
    new: Reader, writer: Writer
) -> None:
    shutil.copyfile(writer.path, writer.path.with_name("app.log.7"))
    writer.write(4)
    rename(writer.path)
    writer.reopen()
    writer.write(1)
    new.settle()
    assert sorted(new.lines) == sorted(writer.written)


def test_a_generation_that_is_new_by_its_name_is_read_though_its_copy_looks_old(
    reader: Reader, writer: Writer
) -> None:
    reader.restart()
    rename(writer.path)
    writer.reopen()
    writer.write(3)
    shutil.copyfile(writer.path, writer.path.with_name("app.log.bak"))
    rename(writer.path)
    writer.reopen()
    for name in ("app.log.1", "app.log.2"):  # their times are those of compressing
        zipped = compress(writer.path.with_name(name))
        os.utime(zipped)
    writer.write(1)
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


def test_what_a_truncated_log_held_beyond_an_older_copy_of_it_is_read(
    reader: Reader, writer: Writer
) -> None:
    """Both copies begin as what was read; the older one looks newer, being compressed since."""
    shutil.copyfile(writer.path, writer.path.with_name("app.log.7"))
    reader.poll()
    reader.restart()
    writer.write(4)
    shutil.copyfile(writer.path, writer.path.with_name("app.log.1"))
    writer.reopen()
    os.truncate(writer.path, 0)
    os.utime(compress(writer.path.with_name("app.log.7")))
    writer.write(3)
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


@pytest.mark.parametrize("lines", [1, 10])
def test_a_copy_of_the_beginning_of_a_rotated_file_found_with_it_counts_nothing(
    reader: Reader, writer: Writer, lines: int
) -> None:
    """Nothing of either was read: the file was begun, copied, written on and rotated."""
    reader.restart()
    rename(writer.path)
    writer.reopen()
    writer.write(lines)
    copy = Path(shutil.copyfile(writer.path, writer.path.with_name("app.log.bak")))
    writer.write(3)
    rename(writer.path)
    writer.reopen()
    writer.write(1)
    os.utime(copy, (later := copy.stat().st_mtime + 60, later))
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


@pytest.mark.parametrize("zipped", [False, True])
def test_what_a_truncated_log_held_beyond_a_copy_that_is_read_for_it_is_read_too(
    reader: Reader, writer: Writer, *, zipped: bool
) -> None:
    reader.restart()
    writer.write(10)
    shutil.copyfile(writer.path, writer.path.with_name("app.log.7"))
    writer.write(10)
    copytruncate(writer.path)
    copy = writer.path.with_name("app.log.8")
    os.utime(compress(copy) if zipped else copy, (later := 2e9, later))
    writer.reopen()
    writer.write(3)
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)


@pytest.mark.parametrize("budget", [50, 1 << 20])
@pytest.mark.parametrize("zipped", [False, True])
def test_what_a_generation_holds_beyond_copies_of_two_lengths_is_read(
    writer: Writer, budget: int, *, zipped: bool
) -> None:
    writer.path.parent.mkdir()
    reader = Reader(writer.path.with_name("*.log"))
    reader.poll()
    writer.raw(b"a new log\n")  # too little to be known by: that may count twice
    shutil.copyfile(writer.path, writer.path.with_name("app.log.bak"))
    writer.write(9)
    shutil.copyfile(writer.path, writer.path.with_name("old-app.log"))
    writer.write(10)
    rename(writer.path)
    if zipped:
        compress(writer.path.with_name("app.log.1"))
    writer.reopen()
    writer.write(3)
    for _ in range(20):
        reader.poll(budget=budget)
    assert sorted(line for line in reader.lines if "new" not in line) == sorted(writer.written)


@pytest.mark.parametrize("ending", [".1", ".1.gz"])
def test_a_copy_of_what_is_unpacked_over_several_looks_is_held_against_all_of_it(
    reader: Reader, writer: Writer, ending: str
) -> None:
    reader.restart()
    writer.write(10)
    shutil.copyfile(writer.path, writer.path.with_name("app.log.7"))
    writer.write(10)
    copytruncate(writer.path)
    os.utime(compress(writer.path.with_name("app.log.8")), (later := 2e9, later))
    if ending.endswith(".gz"):
        compress(writer.path.with_name("app.log.1"))
    writer.reopen()
    writer.write(3)
    for _ in range(20):
        reader.poll(budget=100)
    assert sorted(reader.lines) == sorted(writer.written)


def test_what_a_compressed_generation_holds_beyond_a_long_copy_of_it_is_read(
    writer: Writer,
) -> None:
    """Of what is compressed only the first 256 KiB are held against what is known."""
    writer.path.parent.mkdir()
    reader = Reader(writer.path)
    reader.poll()
    lines = [f"{number} ".ljust(9_000, "x") for number in range(40)]
    writer.raw(as_bytes(lines[:30]))
    shutil.copyfile(writer.path, writer.path.with_name("app.log.bak"))
    writer.raw(as_bytes(lines[30:]))
    rename(writer.path)
    compress(writer.path.with_name("app.log.1"))
    for _ in range(9):
        reader.poll(seconds=20)
    assert reader.lines == lines


def test_a_few_bytes_of_a_copy_say_nothing_of_what_begins_with_them(
    reader: Reader, writer: Writer
) -> None:
    """All lines of a log begin alike: so do its files."""
    begun = writer.path.with_name("app.log.1")
    begun.write_bytes(writer.path.read_bytes()[:5])
    reader.poll()
    begun.unlink()
    for _ in range(2):
        writer.write(4)
        rename(writer.path)
        writer.reopen()
    writer.write(1)
    compress(writer.path.with_name("app.log.1"))
    reader.restart()
    for _ in range(20):
        reader.poll(seconds=20)
    assert reader.lines == writer.written


def test_what_is_away_goes_on_in_the_copy_of_it_that_holds_most(
    reader: Reader, writer: Writer
) -> None:
    writer.write(20)
    shutil.copyfile(writer.path, writer.path.with_name("app.log.bak"))
    writer.write(20)
    reader.poll(budget=50)
    rename(writer.path)
    reader.poll(budget=50)
    compress(writer.path.with_name("app.log.1"))
    reader.poll(budget=50)
    reader.restart()
    for _ in range(20):
        reader.poll(seconds=20)
    assert reader.lines == writer.written


@pytest.mark.parametrize("again", [9, 14])
def test_a_copy_that_is_made_anew_longer_after_it_was_read_counts_nothing(
    writer: Writer, again: int
) -> None:
    """What was rotated goes on where the copy ended, and the copy is one from then on."""
    writer.path.parent.mkdir()
    reader = Reader(writer.path)
    reader.poll()
    writer.write(5)
    shutil.copyfile(writer.path, copy := writer.path.with_name("app.log.bak"))
    writer.write(10)
    rename(writer.path)
    reader.poll()
    reader.poll()
    copy.write_bytes(as_bytes(writer.written[:again]))
    reader.poll()
    copy.unlink()
    shutil.copyfile(writer.path.with_name("app.log.1"), copy)
    reader.settle()
    assert reader.lines == writer.written


def test_a_compressed_copy_of_how_a_closed_file_begins_counts_nothing(
    reader: Reader, writer: Writer
) -> None:
    """Two workers compress one file to two names, one of them when it holds more."""
    begins = writer.written + writer.write(4)
    zipped = gzip.compress(as_bytes(begins))
    writer.write(9)
    rename(writer.path)
    compress(writer.path.with_name("app.log.1"))
    writer.reopen()
    writer.write(2)
    reader.restart()
    reader.poll()
    reader.settle()
    writer.path.with_name("app.log.0.gz").write_bytes(zipped)
    reader.settle()
    assert reader.lines == writer.written


def test_a_copy_made_slowly_in_a_folder_below_of_a_closed_file_counts_nothing(
    reader: Reader, writer: Writer
) -> None:
    (below := writer.path.with_name("old")).mkdir()
    writer.path.rename(below / "app.log.2")
    reader.poll()
    writer.reopen()
    writer.write(9)
    reader.poll()
    moved = writer.path.rename(writer.path.with_name("app.log.tmp"))
    reader.settle()
    whole = moved.read_bytes()
    (copy := below / "app.log.1").write_bytes(whole[:-30])
    reader.settle()
    copy.write_bytes(whole)
    moved.unlink()
    writer.reopen()
    writer.write(2)
    reader.settle()
    assert reader.lines == writer.written


def test_a_few_bytes_of_a_copy_say_nothing_of_what_is_copied_over_it(
    reader: Reader, writer: Writer
) -> None:
    """One file is copied again and again to the same place, and all logs begin alike."""
    copy = writer.path.with_name("app.log.bak")
    copy.write_bytes(writer.path.read_bytes()[:5])
    writer.write(20)
    reader.poll()
    assert reader.left_alone == [("app.log.bak", "copy")]
    rename(writer.path)
    reader.settle()
    reader.restart()
    writer.path.with_name("app.log.1").unlink()
    writer.reopen()
    writer.write(6)
    shutil.copyfile(writer.path, copy)
    writer.write(60)
    copytruncate(writer.path)
    reader.settle()
    assert reader.lines == writer.written


def far_behind_with_a_few_bytes_copied(reader: Reader, writer: Writer) -> Path:
    """Leave a log not begun behind one half read; return a copy of how both begin."""
    copy = writer.path.with_name("app.log.bak")
    copy.write_bytes(writer.path.read_bytes()[:5])
    writer.write(40)
    reader.poll(budget=50)
    rename(writer.path)
    writer.reopen()
    writer.write(6)
    reader.poll(budget=50)
    return copy


@pytest.mark.parametrize("rotate", [copytruncate, rename])
def test_a_log_not_begun_is_read_though_a_copy_of_how_it_begins_was_left_alone(
    reader: Reader, writer: Writer, rotate: Callable[[Path], None]
) -> None:
    copy = far_behind_with_a_few_bytes_copied(reader, writer)
    shutil.copyfile(writer.path, copy)
    reader.poll(budget=50)
    reader.restart()
    writer.write(5)
    rotate(writer.path)
    compress(writer.path.with_name("app.log.1"))
    writer.reopen()
    writer.write(1)
    for _ in range(20):
        reader.poll(seconds=20)
    assert sorted(reader.lines) == sorted(writer.written)


@DOWN
def test_a_copy_of_a_log_not_begun_is_all_there_is_of_it_once_that_is_truncated(
    reader: Reader, writer: Writer, *, down: bool
) -> None:
    copy = far_behind_with_a_few_bytes_copied(reader, writer)
    if down:
        reader.restart()
    shutil.copyfile(writer.path, copy)
    reader.poll(budget=50)
    os.truncate(writer.path, 0)
    reader.poll(budget=50)
    writer.write(1)
    for _ in range(20):
        reader.poll(seconds=20)
    assert sorted(reader.lines) == sorted(writer.written)


def test_a_copy_that_grew_from_a_few_bytes_of_another_is_one_of_a_log_just_found(
    reader: Reader, writer: Writer
) -> None:
    copy = writer.path.with_name("app.log.bak")
    copy.write_bytes(writer.path.read_bytes()[:5])
    writer.write(20)
    reader.poll()
    reader.restart()
    rename(writer.path)
    writer.reopen()
    writer.write(9)
    copy.write_bytes(writer.path.read_bytes()[:-30])
    reader.poll()
    reader.settle()
    assert reader.lines == writer.written


def test_a_copy_is_all_there_is_of_what_is_truncated_while_they_are_compared(
    tmp_path: Path,
) -> None:
    """The look had seen both whole; what the copy holds beyond the position is no new file's."""
    log = tmp_path / "app.log"
    log.write_bytes(as_bytes(f"line {number} of five" for number in range(5)))
    files = LogFiles([Source(path=str(log))])
    known = LogFile(1, files.log(str(log), str(log)), str(log), KEY)
    stat = log.stat()
    known.log.files.append(known)
    known.start_at(0, open_content(str(log)), (stat.st_dev, stat.st_ino), 1.0)
    known.read(1 << 16)
    with log.open("ab") as file:
        file.write(as_bytes(f"line {number} of more" for number in range(5)))
    copy = tmp_path / "app.log.1"
    copy.write_bytes(log.read_bytes())
    content, stat = open_content(str(copy)), copy.stat()
    seen = Sighting(
        str(copy), (stat.st_dev, stat.st_ino), stat.st_size, stat.st_mtime_ns, str(log), ""
    )
    copies = Copies(files)
    assert copies.original_of(known.log, seen, content) == (known, 0)
    log.write_bytes(b"")
    assert copies.original_of(known.log, seen, content) == (known, 0)
    log.write_bytes(as_bytes(f"line {number} of what came then" for number in range(9)))
    assert copies.original_of(known.log, seen, content) == (known, 0)
    content.close()
    known.detach()
