"""Debian's logrotate with each of its options, and Python's handlers, against the reader."""

import gzip
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.read import Reader, Writer, nobody
from support.rotators import LOGROTATE, OPTIONS, ORDERLY, by_handler, by_logrotate, logrotate

DOWN = pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
pytestmark = pytest.mark.skipif(
    LOGROTATE is None and not os.environ.get("CI"), reason="install Debian's logrotate"
)


@DOWN
@pytest.mark.parametrize("options", OPTIONS, ids=lambda text: text.replace("\n", " "))
def test_logrotate(tmp_path: Path, options: str, *, down: bool) -> None:
    log = tmp_path / "logs" / "app.log"
    log.parent.mkdir()
    reader = Reader(log)

    written = []
    for turn, lines in enumerate(by_logrotate(log, options)):
        written += lines
        if down and not turn % 2:
            reader.restart()
        if not down or not turn % 2:
            reader.poll()
    reader.settle()
    assert sorted(reader.lines) == sorted(written)
    assert not reader.bytes_lost
    assert not reader.ends_unseen


def test_logrotate_of_two_logs_with_one_script(tmp_path: Path) -> None:
    """`sharedscripts`: both are renamed before either's writer hears of it."""
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o755)
    writers = [Writer(folder / name) for name in ("app.log", "web.log")]
    reader = Reader(folder / "*.log")
    options = "sharedscripts\ncompress\ndelaycompress\npostrotate\n/bin/true\nendscript"
    for _ in range(4):
        for writer in writers:
            writer.write(3)
        reader.poll()
        logrotate(folder, options, logs="*.log")
        for writer in writers:
            writer.write(2)  # into the renamed file
        reader.poll()
        for writer in writers:
            writer.reopen()
    reader.settle()
    assert sorted(reader.lines) == sorted(line for one in writers for line in one.written)
    assert not reader.bytes_lost


@DOWN
@pytest.mark.parametrize(("handler", "workers"), ORDERLY)
def test_handlers_that_lose_nothing(
    tmp_path: Path, handler: str, workers: int, *, down: bool
) -> None:
    log = tmp_path / "app.log"
    reader = Reader(log)
    reader.poll()

    written = []
    for lines in by_handler(log, handler, workers, nobody if down else reader.poll):
        written += lines
        if down:
            reader.restart()
            reader.poll()
    reader.settle()
    assert sorted(reader.lines) == sorted(written)
    assert not reader.bytes_lost


@DOWN
@pytest.mark.parametrize("handler", ["RotatingFileHandler", "TimedRotatingFileHandler, gzip"])
def test_workers_that_rotate_over_each_other(tmp_path: Path, handler: str, *, down: bool) -> None:
    """Such workers delete each other's lines: what is on disk at the end is read once.

    And each line before, unless its loss is said.
    """
    log = tmp_path / "app.log"
    reader = Reader(log)
    reader.poll()

    written = []
    for lines in by_handler(log, handler, 3, nobody if down else reader.poll):
        written += lines
        if down:
            reader.restart()
            reader.poll()
    reader.settle()
    read = Counter(reader.lines)
    assert {line for line, times in read.items() if times > 1} == set()
    assert read.keys() <= {*written}
    said = {name for name, why in reader.left_alone if why == "history"}
    assert {*on_disk(tmp_path, said)} <= read.keys()


def on_disk(folder: Path, said: set[str]) -> Iterator[str]:
    """Yield the lines in files that are whole, but those that are said to be left alone.

    Two workers may spoil what both compress to.
    """
    for path in (p for p in folder.glob("app.log*") if p.name not in said):
        data = path.read_bytes()
        try:
            data = gzip.decompress(data) if path.suffix == ".gz" else data
        except (OSError, EOFError, zlib.error):
            continue
        yield from data.decode().splitlines()
