"""Rotators as they are: Debian's logrotate, Python's handlers, and what kubelet does.

A story goes on by a turn, with a rotation or several, each time that it is asked for the lines
that were written in it; whoever reads the log must have counted each of them once.
"""

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from support.read import Writer, nobody

LOGROTATE = shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin")
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
# Those, and by how many processes at once, that delete nothing which somebody else wrote.
ORDERLY = [("TimedRotatingFileHandler, gzip", 1), ("RotatingFileHandler", 1)] + [
    (name, 3) for name in HANDLERS if name.startswith("concurrent")
]
_WORKER = """
import logging, sys
path = sys.argv[1]
{handler}
for number in range(60):
    handler.emit(logging.LogRecord("host", 20, "", 0, f"{{number}} of {{sys.argv[2]}}", None, None))
handler.close()
"""
Story = Iterator[list[str]]


def logrotate(
    folder: Path,
    options: str,
    *,
    logs: str = "app.log",
    between: Callable[[], object] = nobody,
) -> None:
    """Let it rotate once, and `between` run meanwhile."""
    config = folder.with_name(f"{folder.name}.conf")
    user = "su root root\n" if os.geteuid() == 0 else ""
    config.write_text(f"{folder}/{logs} {{\nrotate 20\nmissingok\n{user}{options}\n}}\n")
    config.chmod(0o644)
    state = folder.with_name(f"{folder.name}.state")
    command = [str(LOGROTATE), "-f", "-s", str(state), str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as rotation:
        while rotation.poll() is None:
            between()
        assert rotation.returncode == 0, rotation.communicate()


def by_logrotate(log: Path, options: str, between: Callable[[], object] = nobody) -> Story:
    """Tell of four rotations by logrotate; in the first turn nothing is rotated."""
    (log.parent / "old").mkdir(parents=True, exist_ok=True)
    log.parent.chmod(0o755)
    writer = Writer(log, keeps_open="truncate" in options or options == "copy")
    yield writer.write(5)
    for turn in range(4):
        before = writer.write(6)
        logrotate(log.parent, options.replace("%s", f"%s{turn}"), logs=log.name, between=between)
        yield before + writer.write(4)


def by_handler(
    log: Path, handler: str, workers: int, between: Callable[[], object] = nobody
) -> Story:
    """Tell of workers that write and rotate at once, with `between` meanwhile."""
    log.touch()
    for turn in range(2):
        yield run_workers(log, handler, turn, workers, between)


def run_workers(
    log: Path, handler: str, turn: int, count: int, between: Callable[[], object] = nobody
) -> list[str]:
    """Let processes write and rotate at once, and `between` run meanwhile; return their lines."""
    names = [f"worker {turn} {number} {log.stem}" for number in range(count)]
    script = _WORKER.format(handler=HANDLERS[handler])
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


def gzip_anew(path: Path) -> Path:
    """Compress as kubelet, a cron job and Python's recipe do: the time is that of compressing."""
    zipped = path.with_name(path.name + ".gz")
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return zipped


class Kubelet:
    """Rotates as kubelet does: what was rotated before is compressed first, its time not kept."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._hour = 10

    def rotate(self) -> None:
        log = self._writer.path
        for older in log.parent.glob(f"{log.name}.*"):
            if older.suffix != ".gz":
                gzip_anew(older)
        log.rename(log.with_name(f"{log.name}.20260131-{self._hour}0000"))
        self._hour += 1
        self._writer.reopen()


def by_kubelet(log: Path) -> Story:
    """Tell of four rotations of a container's log."""
    writer = Writer(log)
    rotator = Kubelet(writer)
    for turn in range(4):
        lines = [f"{number} of turn {turn} of {log.name}" for number in range(9)]
        for number, line in enumerate(lines):
            writer.raw(f"2026-01-31T10:00:00.5Z stdout F {line}\n".encode())
            if number == 4:
                rotator.rotate()
        yield lines


def stories(*, every: bool) -> Mapping[str, Callable[[Path], Story]]:
    """Return stories by name: of each kind of rotator one, or those of `every` option."""
    few = ("create", "copytruncate\ncompress", "olddir old\ncompress")
    told: dict[str, Callable[[Path], Story]] = {"kubelet": by_kubelet}
    for options in OPTIONS if every else few:
        told[options.replace("\n", " ")] = partial(by_logrotate, options=options)
    for handler, workers in ORDERLY if every else ORDERLY[:3]:
        told[handler] = partial(by_handler, handler=handler, workers=workers)
    return told
