"""Other sources without a restart: what is still named is read on, and nothing twice."""

import os
from pathlib import Path

import pytest

from sidecar.config.sources import Source
from sidecar.parse.event import LogFormat
from support.read import Reader, Writer


def source(
    path: Path | str, line_format: LogFormat = LogFormat.AUTO, prefix: str | None = None
) -> Source:
    return Source(path=str(path), format=line_format, prefix=prefix)


@pytest.fixture
def log(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "a.log")


def reader(log: Writer) -> Reader:
    made = Reader(log.path)
    log.write(3)
    made.poll()
    return made


def test_a_file_that_another_source_names_now_is_read_on(tmp_path: Path, log: Writer) -> None:
    read = reader(log)
    read.follower.retarget([source(tmp_path / "*.log")])
    log.write(2)
    read.poll()
    assert read.lines == log.written


def test_its_rows_name_the_new_source_and_a_restart_goes_on(tmp_path: Path, log: Writer) -> None:
    read = reader(log)
    read.sources = [source(tmp_path / "*.log")]
    read.follower.retarget(read.sources)
    log.write(2)
    read.poll()
    assert {row.source for row in read.rows.values()} == {str(tmp_path / "*.log")}
    read.restart()
    log.write(1)
    read.poll()
    assert read.lines == log.written


def test_a_deleted_file_that_is_still_written_to_stays_open(tmp_path: Path, log: Writer) -> None:
    """A new reader could not open it again: only the handle leads to it."""
    read = reader(log)
    log.path.unlink()
    log.write(2)
    read.follower.retarget([source(log.path), source(tmp_path / "b.log")])
    read.poll()
    assert read.lines == log.written


def test_a_rotation_in_between_loses_nothing(tmp_path: Path, log: Writer) -> None:
    read = reader(log)
    log.write(2)
    log.path.rename(tmp_path / "a.log.1")
    log.write(1)
    log.reopen()
    log.write(2)
    read.follower.retarget([source(tmp_path / "*.log")])
    read.poll()
    read.settle()
    assert sorted(read.lines) == sorted(log.written)


def test_a_file_that_nobody_names_is_let_go_and_not_read(tmp_path: Path, log: Writer) -> None:
    read = reader(log)
    read.follower.retarget([source(tmp_path / "b.log")])
    log.write(2)
    batch = read.poll()
    assert len(read.lines) == 3
    assert batch.logs == []
    assert str(log.path) not in batch.lagging


def test_named_again_it_is_read_on_from_where_it_was(tmp_path: Path, log: Writer) -> None:
    read = reader(log)
    read.follower.retarget([source(tmp_path / "b.log")])
    log.write(2)
    read.poll()
    read.follower.retarget([source(log.path)])
    log.write(1)
    read.poll()
    assert read.lines == log.written


def test_the_files_of_a_new_source_are_read_from_their_beginning(
    tmp_path: Path, log: Writer
) -> None:
    other = Writer(tmp_path / "b.log")
    other.write(2)
    read = Reader(log.path, from_beginning=False)
    read.poll()
    log.write(1)
    read.follower.retarget([source(log.path), source(other.path)])
    read.poll()
    assert sorted(read.lines) == log.written + other.written


def test_a_new_format_and_prefix_hold_for_the_lines_to_come(log: Writer) -> None:
    read = reader(log)
    read.follower.retarget([source(log.path, LogFormat.DOCKER, "x ")])
    log.write(1)
    read.poll()
    assert [chunk.format for chunk in read.chunks] == [LogFormat.AUTO, LogFormat.DOCKER]
    assert [chunk.prefix for chunk in read.chunks] == [None, "x "]


def test_directories_to_watch_follow(tmp_path: Path, log: Writer) -> None:
    read = reader(log)
    (tmp_path / "more").mkdir()
    read.follower.retarget([source(tmp_path / "more" / "*.log")])
    assert read.follower.directories() == {str(tmp_path / "more")}


def test_stdin_keeps_its_reader(tmp_path: Path) -> None:
    """What a second reader of the pipe would take, the first would miss."""
    read = Reader(tmp_path / "a.log")
    out, into = os.pipe()
    read.follower._stdin_fd = out
    for sources in ([source("-")], [source("-"), source(tmp_path / "b.log")], [source("-")]):
        read.follower.retarget(sources)
    pipe = read.follower._pipe
    os.write(into, b"one\n")
    os.close(into)
    assert pipe is not None
    pipe._thread.join()
    read.poll()
    os.close(out)
    assert read.lines == ["one"]


def test_a_source_that_a_reload_adds_begins_where_it_says(tmp_path: Path, log: Writer) -> None:
    """Not written, it begins at the beginning; a log that was read before goes on either way."""
    read = reader(log)
    files = {name: Writer(tmp_path / f"{name}.log") for name in ("end", "first", "unsaid")}
    for number, writer in enumerate(files.values()):
        writer.write(2 + number)
    old = Writer(tmp_path / "end.log.1")
    old.write(4)
    said = {"end": False, "first": True, "unsaid": None}
    added = [Source(path=str(files[n].path), from_beginning=said[n]) for n in files]
    read.follower.retarget([Source(path=str(log.path), from_beginning=False), *added])
    before = len(files["end"].written)
    for writer in (log, *files.values()):
        writer.write(1)
    read.poll()
    expected = [*log.written, *files["end"].written[before:], *files["first"].written]
    assert sorted(read.lines) == sorted([*expected, *files["unsaid"].written])
    files["end"].path.rename(tmp_path / "end.log.2")
    new = Writer(tmp_path / "end.log")
    new.write(2)
    read.poll()
    assert read.lines[-2:] == new.written
