"""Debian's logrotate with each of its options, and Python's handlers, against the reader."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.read import Reader, Writer

DOWN = pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
OPTIONS = [
    "create", "nocreate", "copytruncate", "copy", "renamecopy\nolddir old", "olddir old",
    "compress", "compress\ndelaycompress", "compress\ncompresscmd /usr/bin/xz\ncompressext .xz",
    "compress\ncompresscmd /usr/bin/bzip2\nuncompresscmd /usr/bin/bunzip2\ncompressext .bz2",
    "dateext\ndateformat -%Y%m%d-%s", "dateext\ndateformat -%Y%m%d-%s\ncompress",
    "dateext\ndateformat -%Y%m%d-%s\nextension .log", "extension .log", "start 0", "start 7",
    "copytruncate\ncompress", "olddir old\ncompress", "shred",
]  # fmt: skip
LOGROTATE = shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin")

pytestmark = pytest.mark.skipif(
    LOGROTATE is None and not os.environ.get("CI"), reason="install Debian's logrotate"
)


def logrotate(folder: Path, options: str) -> None:
    config = folder.with_name("logrotate.conf")
    config.write_text(
        f"{folder}/app.log {{\nrotate 20\nmissingok\nsu root root\n{options}\n}}\n"
        if os.geteuid() == 0
        else f"{folder}/app.log {{\nrotate 20\nmissingok\n{options}\n}}\n"
    )
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


WORKER = """
import logging, sys
from concurrent_log_handler import ConcurrentRotatingFileHandler
handler = ConcurrentRotatingFileHandler(
    sys.argv[1], maxBytes=2000, backupCount=50, use_gzip=sys.argv[3] == "gzip"
)
for number in range(60):
    handler.emit(logging.LogRecord("host", 20, "", 0, f"{number} of {sys.argv[2]}", None, None))
handler.close()
"""


@DOWN
@pytest.mark.parametrize("compress", ["plain", "gzip"])
def test_concurrent_log_handler_in_worker_processes(
    tmp_path: Path, compress: str, *, down: bool
) -> None:
    log = tmp_path / "app.log"
    reader = Reader(log)
    reader.poll()
    log.touch()
    written = []
    for turn in range(2):
        names = [f"worker {turn} {number}" for number in range(3)]
        workers = [
            subprocess.Popen([sys.executable, "-c", WORKER, str(log), name, compress])
            for name in names
        ]
        while any(worker.poll() is None for worker in workers):
            if not down:
                reader.poll()
        assert not any(worker.returncode for worker in workers)
        written += [f"{number} of {name}" for name in names for number in range(60)]
        if down:
            reader.restart()
            reader.poll()
    reader.settle()
    assert sorted(reader.lines) == sorted(written)
    assert not reader.bytes_lost
