"""How long what could be read has waited, also in an older file or one that cannot be opened."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from support.read import Reader, Writer, compress, rename


def waiting(reader: Reader) -> float:
    return max((status.waiting for status in reader.last.logs), default=0.0)


def test_nothing_waits_in_a_log_that_is_read_to_its_end(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    for _ in range(3):
        writer.write(3)
        reader.poll(seconds=100)
        writer.raw(b"begun, ")
    reader.poll(seconds=1000)
    assert waiting(reader) == 0


def test_lines_that_are_not_come_to_wait(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.write(9)
    reader.poll(budget=1)
    reader.poll(seconds=50, budget=1)
    assert waiting(reader) == 50
    while reader.last.lagging:
        reader.poll(seconds=1)
    assert waiting(reader) == 0


def test_a_steady_writer_who_is_kept_up_with_lets_nothing_wait_long(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.write(10)
    for _ in range(100):
        writer.write(2)
        reader.poll(seconds=10, budget=40)
    assert waiting(reader) < 100


def test_younger_files_wait_while_an_older_one_is_still_being_compressed(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "app.log")
    reader = Reader(writer.path)
    writer.write(2)
    reader.poll()
    writer.write(5000)
    rename(writer.path)
    writer.reopen()
    zipped = compress(tmp_path / "app.log.1")
    whole = zipped.read_bytes()
    writer.write(3)
    reader.restart()
    zipped.write_bytes(whole[: len(whole) // 2])
    reader.poll()
    zipped.write_bytes(whole[: len(whole) // 2 + 9])
    reader.poll(seconds=60)
    assert reader.last.lagging == {str(writer.path)}
    assert waiting(reader) == 60


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that anybody may look into, unlike pytest's."""
    with TemporaryDirectory(prefix="sidecar-lag-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="run as root to give up and regain permission")
def test_a_file_that_may_not_be_opened_lets_its_lines_wait(open_folder: Path) -> None:
    writer = Writer(open_folder / "app.log")
    reader = Reader(open_folder / "*.log")
    writer.write(2)
    reader.poll()
    reader.restart()
    writer.write(2)
    writer.path.chmod(0)
    os.seteuid(65534)
    try:
        reader.poll()
        reader.poll(seconds=400)
    finally:
        os.seteuid(0)
    (status,) = reader.last.logs
    assert (status.lag_bytes, status.waiting, status.held) == (36, 400, False)
