"""A log on disk with a writer and the things logrotate does, and a reader that can be restarted."""

import gzip
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sidecar.batch import BytesLost, EndUnseen, LeftAlone, LogEvent, ReadBatch
from sidecar.config.sources import Source
from sidecar.read.follower import Follower
from sidecar.read.names import COMPRESSED

if TYPE_CHECKING:
    from sidecar.parse.event import Chunk
    from sidecar.rows import FileRow

KEY = b"k" * 32
_T = TypeVar("_T")


def nobody() -> None:
    """Wake nobody: nothing but the poll finds out."""


class Reader:
    """Polls a follower and keeps what a state file would: rows and the lines that count."""

    def __init__(self, *patterns: Path | str, from_beginning: bool = True) -> None:
        self.sources = [Source(path=str(p), from_beginning=from_beginning) for p in patterns]
        self.rows: dict[int, FileRow] = {}
        self.chunks: list[Chunk] = []
        self.events: list[LogEvent] = []
        self.began = self.now = 1_700_000_000.0
        self.last = ReadBatch()
        self.follower = self._follower(first_start=True)

    def __del__(self) -> None:
        self.follower.close()

    @property
    def bytes_lost(self) -> int:
        return sum(event.amount for event in self.events if isinstance(event, BytesLost))

    @property
    def left_alone(self) -> list[tuple[str, str]]:
        """Return name and reason of each file that was left alone."""
        alone = [event for event in self.events if isinstance(event, LeftAlone)]
        return [(Path(event.path).name, event.why.value) for event in alone]

    @property
    def ends_unseen(self) -> list[str]:
        return [Path(e.path).name for e in self.events if isinstance(e, EndUnseen)]

    @property
    def lines(self) -> list[str]:
        return [
            line.decode("utf-8", "replace") for c in self.chunks for line in c.data.splitlines()
        ]

    def poll(self, *, seconds: float = 0.25, budget: int = 1 << 20) -> ReadBatch:
        """Poll once and commit."""
        return self.poll_with(nobody, seconds=seconds, budget=budget)[0]

    def poll_with(
        self, between: Callable[[], _T], *, seconds: float = 0.25, budget: int = 1 << 20
    ) -> tuple[ReadBatch, _T]:
        """Do the same, and something between the look at the disk and what is read."""
        self.now += seconds
        batch = self.last = self.follower.look(self.now)
        done = between()
        batch.chunks = list(self.follower.read(batch, self.now, budget))
        self.chunks += batch.chunks
        self.rows |= {row.id: row for row in batch.rows}
        for gone in batch.gone:
            del self.rows[int(gone.key[0])]
        self.events += batch.events
        return batch, done

    def settle(self) -> None:
        """Poll until rotated files are quiet, finished and closed, and lost ones given up."""
        for _ in range(8):
            self.poll(seconds=20)

    def crash_in_poll(self) -> None:
        """Read without committing, then start again: what was read is read again."""
        self.follower.poll(self.now)
        self.restart()

    def restart(self) -> None:
        self.follower.close()
        self.follower = self._follower(first_start=False)

    def _follower(self, *, first_start: bool) -> Follower:
        return Follower(
            self.sources,
            list(self.rows.values()),
            hash_key=KEY,
            first_start=first_start,
            since=None if first_start else self.began,
            next_id=max(self.rows, default=0) + 1,
        )


class Writer:
    """Writes numbered lines; keeps its file open until told, or opens it for each line.

    `woken` is called after each change to the disk, as a watchdog would call it.
    """

    def __init__(self, path: Path, *, keeps_open: bool = True) -> None:
        self.path = path
        self.written: list[str] = []
        self.woken: Callable[[], object] = nobody
        self._keeps_open = keeps_open
        self._fd: int | None = None

    def __del__(self) -> None:
        self.reopen()

    def write(self, lines: int = 1) -> list[str]:
        new = [f"line {len(self.written) + n} of {self.path.name}" for n in range(lines)]
        for line in new:
            self.raw(line.encode() + b"\n")
        self.written += new
        return new

    def raw(self, data: bytes) -> None:
        if self._fd is None:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(self._fd, data)
        self.woken()
        if not self._keeps_open:
            self.reopen()

    def reopen(self) -> None:
        """Close the file; the next line opens whatever is at the path then (logrotate's signal)."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def rename(log: Path, *, keep: int = 9, woken: Callable[[], object] = nobody) -> None:
    """Move `log` to `.1`, what was there to `.2`, and so on."""
    shift(log, keep, woken)
    log.rename(log.with_name(f"{log.name}.1"))
    woken()


def shift(log: Path, keep: int, woken: Callable[[], object]) -> None:
    for number in range(keep, 0, -1):
        for ending in ("", *COMPRESSED):
            old = log.with_name(f"{log.name}.{number}{ending}")
            if old.exists():
                old.rename(log.with_name(f"{log.name}.{number + 1}{ending}"))
                woken()


def copytruncate(log: Path, *, keep: int = 9, woken: Callable[[], object] = nobody) -> None:
    shift(log, keep, woken)
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    woken()
    os.truncate(log, 0)
    woken()


def compress(path: Path, *, woken: Callable[[], object] = nobody) -> Path:
    """Do as gzip does: a new file with the same time of writing, then the old one goes."""
    stat = path.stat()
    zipped = path.with_name(path.name + ".gz")
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    woken()
    os.utime(zipped, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    path.unlink()
    woken()
    return zipped


def as_bytes(lines: Iterable[str]) -> bytes:
    return b"".join(line.encode() + b"\n" for line in lines)
