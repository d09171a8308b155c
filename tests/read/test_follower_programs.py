"""Random programs of a writer, a rotator, a crashing reader; each line counts exactly once.

What is promised: a line counts once, never twice, through any number of renames, compressions,
copytruncates, restarts and crashes in any order, as long as some file still holds it when the
reader looks. What cannot be: a line that no file holds any more. That is a line not yet read when
its file was truncated in place without a copy, or deleted before the reader had it open; and
under copytruncate the lines written between the copy and the truncation (here nobody writes
then, though the reader may look). A truncated file that is at once written anew with the very
same bytes up to the old position cannot be told from one that was never touched, nor can a file
deleted and created so; log lines carry times, so lines here differ. A line that its writer
begins, leaves for half a minute in a file that was rotated meanwhile, and then finishes, is two.

Half of the programs look at the disk after each single change, as if a watchdog had woken the
reader, the others only where the program says so. `make examples` runs more of them than
the suite has time for.
"""

import gzip
import itertools
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from support.read import Reader, compress, copytruncate, nobody, rename

STEPS = (
    "write", "write", "write many", "begin a line", "rename", "rename, reopen", "copytruncate",
    "truncate", "delete", "recreate", "rename back", "gzip", "half gzip", "hide", "clock forward",
    "clock back", "touch", "gzip anew", "poll", "poll", "poll a little", "wait", "restart", "crash",
)  # fmt: skip


class World:
    """A log, its writer and its reader, and what the reader must have read in the end."""

    def __init__(self, directory: Path, pattern: str) -> None:
        self.log = directory / "app.log"
        self.reader = Reader(directory / pattern)
        self.woken = nobody
        self.expected: list[str] = []
        self.may_be_lost: set[str] = set()
        self._numbers = itertools.count()
        self._fd: int | None = None
        self._begun = ""
        self._inside: dict[int, list[str]] = {}  # inode -> lines in it
        self.do_write()
        self.do_poll()

    def run(self, step: str) -> None:
        getattr(self, "do_" + step.replace(", ", "_").replace(" ", "_"))()

    def do_write(self, lines: int = 1) -> None:
        for _ in range(lines):
            number = f"{next(self._numbers)}"
            self._append(f"{number} end\n")
            self._line(self._begun + f"{number} end")
            self._begun = ""

    def do_write_many(self) -> None:
        self.do_write(40)

    def do_begin_a_line(self) -> None:
        if not self._begun:
            self._begun = f"{next(self._numbers)} begins "
            self._append(self._begun)

    def do_rename(self) -> None:
        if self.log.exists():
            rename(self.log, woken=self.woken)

    def do_rename_reopen(self) -> None:
        self.do_rename()
        self._reopen()

    def do_copytruncate(self) -> None:
        if self.log.exists() and self._writes_to_the_log():
            self._break_off()
            copytruncate(self.log, woken=self.woken)
            self._inside[self.log.with_name("app.log.1").stat().st_ino] = self._inside.pop(
                self.log.stat().st_ino, []
            )

    def do_truncate(self) -> None:
        if self.log.exists() and self._writes_to_the_log():
            self._break_off()
            self._lose(self.log)
            os.truncate(self.log, 0)

    def do_delete(self) -> None:
        if self.log.exists() and self._writes_to_the_log():
            self._reopen()
            self._lose(self.log)
            self.log.unlink()

    def do_gzip(self) -> None:
        plain = [p for p in self.log.parent.glob("app.log.?") if p.stat().st_size]
        for path in sorted(plain)[-1:]:
            if self._fd is not None and os.fstat(self._fd).st_ino == path.stat().st_ino:
                self._reopen()
            lines = self._inside.pop(path.stat().st_ino, [])
            self._inside[compress(path, woken=self.woken).stat().st_ino] = lines

    def do_touch(self) -> None:
        """Let every rotated file seem to be written just now."""
        for path in self.log.parent.glob("app.log.*"):
            os.utime(path)

    def do_gzip_anew(self) -> None:
        """Compress as kubelet and Python's recipe do: the time is not kept."""
        self.do_gzip()
        self.do_touch()

    def do_recreate(self) -> None:
        """Create anew at once, as a rule with the inode that has just come free."""
        self.do_delete()
        self.do_write()

    def do_rename_back(self) -> None:
        """Undo the last rename, as kubelet does when the writer does not take the new file."""
        moved = self.log.with_name("app.log.1")
        if self._fd is None or self.log.exists() or not moved.exists():
            return
        if os.fstat(self._fd).st_ino == moved.stat().st_ino:
            moved.rename(self.log)

    def do_half_gzip(self) -> None:
        """Begin to compress, look, and finish: a compressed file is not there all at once."""
        zipped = self.log.with_name("app.log.1.gz")
        if zipped.with_suffix("").exists() and not zipped.exists():
            zipped.write_bytes(gzip.compress(zipped.with_suffix("").read_bytes())[:20])
            self.do_poll()
            zipped.unlink()

    def do_hide(self) -> None:
        """Look while rotated files begun before are not to be found, as amid their renaming."""
        read = set(self.reader.lines)
        rotated = [
            path
            for path in self.log.parent.glob("app.log.*")
            if read.intersection(self._inside.get(path.stat().st_ino, ()))
        ]
        for path in rotated:
            path.rename(path.with_name(f".{path.name}"))
        self.do_poll()
        for path in rotated:
            path.with_name(f".{path.name}").rename(path)

    def do_clock_forward(self) -> None:
        """Two of these and a rotated file seems quiet: what it ends in is then a line."""
        if not self._writes_to_the_log():
            self._reopen()
        self.reader.now += 3600

    def do_clock_back(self) -> None:
        self.reader.now -= 3600

    def do_poll(self) -> None:
        self.reader.poll()

    def do_poll_a_little(self) -> None:
        self.reader.poll(budget=20)

    def do_wait(self) -> None:
        if not self._writes_to_the_log():
            self._reopen()
        self.reader.settle()

    def do_restart(self) -> None:
        self.reader.restart()

    def do_crash(self) -> None:
        self.reader.crash_in_poll()

    def finish(self) -> None:
        self._reopen()
        while self.reader.poll().chunks:
            pass
        # The log's last line may have no newline: it counts when the log is rotated.
        self.do_rename_reopen()
        self.do_write()
        self.reader.settle()
        self.reader.settle()

    def close(self) -> None:
        self.reader.follower.close()
        if self._fd is not None:
            os.close(self._fd)

    def _append(self, text: str) -> None:
        if self._fd is None:
            self._fd = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(self._fd, text.encode())

    def _line(self, line: str) -> None:
        self.expected.append(line)
        if self._fd is not None:
            self._inside.setdefault(os.fstat(self._fd).st_ino, []).append(line)

    def _break_off(self) -> None:
        """The line begun is never finished: what there is of it is a line."""
        if self._begun:
            self._line(self._begun)
            self._begun = ""

    def _reopen(self) -> None:
        self._break_off()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _writes_to_the_log(self) -> bool:
        if self._fd is None or not self.log.exists():
            return self._fd is None
        return os.fstat(self._fd).st_ino == self.log.stat().st_ino

    def _lose(self, path: Path) -> None:
        read = set(self.reader.lines)
        inside = self._inside.pop(path.stat().st_ino, [])
        self.may_be_lost |= {line for line in inside if line not in read}


@pytest.mark.parametrize("pattern", ["app.log", "app*"])
@given(steps=st.lists(st.sampled_from(STEPS), max_size=30), woken=st.booleans())
def test_each_line_counts_exactly_once(pattern: str, steps: list[str], *, woken: bool) -> None:
    directory = Path(tempfile.mkdtemp(prefix="sidecar-read-"))
    world = World(directory, pattern)
    if woken:
        world.woken = world.do_poll
    try:
        for step in steps:
            world.run(step)
            if woken:
                world.do_poll()
        world.finish()
        read = world.reader.lines
        assert len(read) == len(set(read)), "a line counted twice"
        assert set(read) <= set(world.expected), "a line that nobody wrote"
        assert set(world.expected) - set(read) <= world.may_be_lost, "a line is missing"
    finally:
        world.close()
        shutil.rmtree(directory)
