"""Debian's logrotate with each of its options, and Python's handlers, against the reader."""

import gzip
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.read import Reader, Writer, nobody

DOWN = pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
OPTIONS = [
    "create", "nocreate", "copytruncate", "copy", "renamecopy\nolddir old", "olddir old",
    "compress", "compress\ndelaycompress", "compress\ncompresscmd /usr/bin/xz\ncompressext .xz",
    "compress\ncompresscmd /usr/bin/bzip2\nuncompresscmd /usr/bin/bunzip2\ncompressext .bz2",
    "dateext\ndateformat -%Y%m%d-%s", "dateext\ndateformat -%Y%m%d-%s\ncompress",
    "dateext\ndateformat -%Y%m%d-%s\nextension .log", "extension .log", "start 0", "start 7",
    "copytruncate\ncompress", "olddir old\ncompress", "shred",
    "compress\ncompresscmd /usr/bin/zstd\ncompressoptions -q --rm\ncompressext .zst",
    "addextension .bak", "addextension .bak\ncompress", "addextension .zzz",
    "maxage 1", "minage 0\nifempty",
    "dateext\ndateyesterday\ndateformat -%Y%m%d-%s", "dateext\ndateformat .%s\ncompress",
    "olddir new\ncreateolddir 755", "sharedscripts\npostrotate\n/bin/true\nendscript",
    "nosharedscripts\nprerotate\n/bin/true\nendscript\ncompress", "copy\ncompress",
    "copytruncate\nolddir old\ncompress\ndelaycompress", "create 600\nallowhardlink",
]  # fmt: skip
LOGROTATE = shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin")

pytestmark = pytest.mark.skipif(
    LOGROTATE is None and not os.environ.get("CI"), reason="install Debian's logrotate"
)


def logrotate(folder: Path, options: str, *, logs: str = "app.log") -> None:
    config = folder.with_name("logrotate.conf")
    user = "su root root\n" if os.geteuid() == 0 else ""
    config.write_text(f"{folder}/{logs} {{\nrotate 20\nmissingok\n{user}{options}\n}}\n")
    config.chmod(0o644)
    state = folder.with_name("logrotate.state")
    done = subprocess.run(
        [str(LOGROTATE), "-f", "-s", str(state), str(config)],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@DOWN
@pytest.mark.parametrize("options", OPTIONS, ids=lambda text: text.replace("\n", " "))
def test_logrotate(tmp_path: Path, options: str, *, down: bool) -> None:
    folder = tmp_path / "logs"
    (folder / "old").mkdir(parents=True)
    folder.chmod(0o755)
    writer = Writer(folder / "app.log", keeps_open="truncate" in options or options == "copy")
    reader = Reader(folder / "app.log")
    writer.write(5)
    reader.poll()
    for turn in range(4):
        writer.write(6)
        logrotate(folder, options.replace("%s", f"%s{turn}"))
        writer.write(4)
        if not down:
            reader.poll()
        elif turn % 2:
            reader.restart()
            reader.poll()
    reader.settle()
    assert sorted(reader.lines) == sorted(writer.written)
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


HANDLERS = {
    "concurrent-log-handler": """
from concurrent_log_handler import ConcurrentRotatingFileHandler
handler = ConcurrentRotatingFileHandler(path, maxBytes=2000, backupCount=50)
""",
    "concurrent-log-handler, gzip": """
from concurrent_log_handler import ConcurrentRotatingFileHandler
handler = ConcurrentRotatingFileHandler(path, maxBytes=2000, backupCount=50, use_gzip=True)
""",
    "RotatingFileHandler": """
from logging.handlers import RotatingFileHandler
handler = RotatingFileHandler(path, maxBytes=900, backupCount=200, delay=True)
""",
    "TimedRotatingFileHandler, gzip": """
import gzip, os, shutil
from logging.handlers import TimedRotatingFileHandler
def rotator(source, dest):
    with open(source, "rb") as plain, gzip.open(dest, "wb") as zipped:
        shutil.copyfileobj(plain, zipped)
    os.remove(source)
class Handler(TimedRotatingFileHandler):
    emitted = int(sys.argv[3]) * 60
    def shouldRollover(self, record):
        self.emitted += 1
        self.rolloverAt = 1_790_000_000 + self.emitted  # as if a second had gone by
        return self.emitted % 20 == 0
handler = Handler(path, when="S", backupCount=200)
handler.rotator, handler.namer = rotator, lambda name: name + ".gz"
""",
}
WORKER = """
import logging, sys
path = sys.argv[1]
{handler}
for number in range(60):
    handler.emit(logging.LogRecord("host", 20, "", 0, f"{{number}} of {{sys.argv[2]}}", None, None))
handler.close()
"""


def run_workers(
    log: Path, handler: str, turn: int, count: int, between: Callable[[], object]
) -> list[str]:
    """Let processes write and rotate at once, and `between` run meanwhile; return their lines."""
    names = [f"worker {turn} {number}" for number in range(count)]
    script = WORKER.format(handler=HANDLERS[handler])
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(log), name, str(turn)], stderr=subprocess.DEVNULL
        )
        for name in names
    ]
    while any(worker.poll() is None for worker in workers):
        between()
    assert not any(worker.returncode for worker in workers)
    return [f"{number} of {name}" for name in names for number in range(60)]


ORDERLY = [("TimedRotatingFileHandler, gzip", 1), ("RotatingFileHandler", 1)] + [
    (name, 3) for name in HANDLERS if name.startswith("concurrent")
]


@DOWN
@pytest.mark.parametrize(("handler", "workers"), ORDERLY)
def test_handlers_that_lose_nothing(
    tmp_path: Path, handler: str, workers: int, *, down: bool
) -> None:
    log, written = tmp_path / "app.log", []
    reader = Reader(log)
    reader.poll()
    log.touch()
    for turn in range(2):
        written += run_workers(log, handler, turn, workers, nobody if down else reader.poll)
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
    log, written = tmp_path / "app.log", []
    reader = Reader(log)
    reader.poll()
    log.touch()
    for turn in range(2):
        written += run_workers(log, handler, turn, 3, nobody if down else reader.poll)
        if down:
            reader.restart()
            reader.poll()
    reader.settle()
    read = Counter(reader.lines)
    assert {line for line, times in read.items() if times > 1} == set()
    assert read.keys() <= {*written}
    assert {*on_disk(tmp_path)} <= read.keys()


def on_disk(folder: Path) -> Iterator[str]:
    for path in folder.glob("app.log*"):
        data = path.read_bytes()
        yield from (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()
