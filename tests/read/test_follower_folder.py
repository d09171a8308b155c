"""What people and programs do in the folder of a log, in any order, while it is read or not.

A program is a text, its steps apart by blanks: `write` a line, `rotate` by rename, `copytruncate`;
`copy:2:app.log.bak` is `cp` or `zcat` of the third file by name, `touch:0:-3600` a time that lies
by so many seconds, `zip:1:.gz` compresses the second rotated file, its time not kept, `drop`
deletes the oldest; `stop` and `start` the reader, which looks after each step otherwise.
"""

import bz2
import gzip
import itertools
import lzma
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from support.read import Reader

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress,
}  # fmt: skip
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress, ".xz": lzma.decompress, ".bz2": bz2.decompress,
}  # fmt: skip
ROTATED = re.compile(r"app\.log\.(\d+)(|\.gz|\.xz|\.bz2)")


class Folder:
    """The folder of `app.log`, and a reader that is at work or not."""

    def __init__(self, path: Path, pattern: str) -> None:
        self.path = path
        self.log = path / "app.log"
        self.reader = Reader(path / pattern)
        self.written: list[str] = []
        self.dropped: set[str] = set()  # before they were read, and nothing else held them
        self._up = True
        self._numbers = itertools.count()

    def run(self, program: str) -> None:
        for step in program.split():
            what, *values = step.split(":")
            self.reader.now += 100
            getattr(self, f"do_{what}")(*values)
            self._look()
        if not self._up:
            self.do_start()
        self.reader.settle()
        self.reader.follower.close()

    def do_write(self) -> None:
        with self.log.open("ab") as file:
            file.write(self._line())
        self._stamp(self.log)

    def do_rotate(self) -> None:
        self._shift()
        if self.log.exists():
            self.log.rename(self.path / "app.log.1")
        self._put(self.log, self._line())

    def do_copytruncate(self) -> None:
        self._shift()
        if self.log.exists():
            self._put(self.path / "app.log.1", self.log.read_bytes())
        self._put(self.log, self._line())

    def do_copy(self, which: str, name: str) -> None:
        old, new = self._nth(self._files(), which), self.path / name
        if old is not None and not new.exists():
            self._put(new, UNPACK.get(old.suffix, bytes)(old.read_bytes()))

    def do_touch(self, which: str, lie: str) -> None:
        if file := self._nth(self._files(), which):
            self._stamp(file, float(lie))

    def do_zip(self, which: str, ending: str) -> None:
        plain = self._nth([p for p in self._rotated() if p.suffix not in PACK], which)
        if plain is None:
            return
        whole = PACK[ending](plain.read_bytes())
        for part in (whole[: len(whole) // 2], whole):
            self._put(plain.with_name(plain.name + ending), part)
            self._look()
        plain.unlink()

    def do_drop(self) -> None:
        if rotated := self._rotated():
            *others, oldest = rotated
            others += self.path.glob("*.log")
            held = {line for other in others for line in self._lines(other)}
            self.dropped |= {*self._lines(oldest)} - held - {*self.reader.lines}
            oldest.unlink()

    def do_stop(self) -> None:
        self._up = False

    def do_start(self) -> None:
        self._up = True
        self.reader.restart()

    def faults(self) -> dict[str, list[str]]:
        read = Counter(self.reader.lines)
        lost = {*self.written} - read.keys() - self.dropped
        twice = {line for line, times in read.items() if times > 1}
        return {what: sorted(found) for what, found in (("lost", lost), ("twice", twice)) if found}

    def _look(self) -> None:
        if self._up:
            self.reader.poll()

    def _line(self) -> bytes:
        """Return a line by which a file is known for a copy: docs/reading.md."""
        line = f"{next(self._numbers):06} {'is a line of more than 64 bytes ':.<70}"
        self.written.append(line)
        return line.encode() + b"\n"

    def _lines(self, path: Path) -> list[str]:
        return UNPACK.get(path.suffix, bytes)(path.read_bytes()).decode().splitlines()

    def _files(self) -> list[Path]:
        return sorted(self.path.iterdir())

    def _rotated(self) -> list[Path]:
        """Return the files with a number, the youngest first."""
        found = [(int(m[1]), p) for p in self._files() if (m := ROTATED.fullmatch(p.name))]
        return [path for _, path in sorted(found)]

    @staticmethod
    def _nth(files: list[Path], which: str) -> Path | None:
        return files[int(which) % len(files)] if files else None

    def _shift(self) -> None:
        for path in reversed(self._rotated()):
            if match := ROTATED.fullmatch(path.name):
                path.rename(self.path / f"app.log.{int(match[1]) + 1}{match[2]}")

    def _put(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        self._stamp(path)

    def _stamp(self, path: Path, lie: float = 0.0) -> None:
        stamp = int((self.reader.now + lie) * 1e9)
        os.utime(path, ns=(stamp, stamp))


@pytest.mark.parametrize(
    "program",
    [
        # The only copy that looks young stands in a name that says no age.
        "write stop copytruncate rotate copy:2:app.log.bak",
        "write stop copytruncate copytruncate copy:5:app.log.bak",
        "write stop rotate copy:3:app.log.bak touch:2:-30000000",
        "write stop rotate rotate rotate copy:3:app.log.bak drop",
        "write stop rotate rotate rotate rotate copy:4:app.log.2 copy:4:app.log.bak",
        # One compressed copy is the older file, the other what it became.
        "write copy:1:app.log.3 stop write zip:5:.gz copytruncate zip:4:.gz",
        # A compressed file stands beside another of its name.
        "write stop rotate rotate zip:2:.gz rotate copytruncate copy:0:app.log.3",
        "write stop write rotate zip:0:.xz rotate copy:3:app.log.2",
        # A file of a new log is a copy of one that goes on, and seems older.
        "write copy:0:old-app.log stop rotate touch:0:3600 copy:3:copy-of-app.log",
        "write stop rotate copy:0:app.log.bak write copy:0:copy-of-app.log copytruncate",
        # A copy of what was taken up in the same look from where an older copy of it ends.
        "write stop copy:5:app.log.7 write copytruncate copy:1:incident.log",
        # So short that, compressed, it has less than 64 bytes.
        "write stop rotate copytruncate copy:4:incident.log zip:2:.gz",
    ],
)
def test_copies_under_any_name(tmp_path: Path, program: str) -> None:
    folder = Folder(tmp_path, "*.log")
    folder.run(program)
    assert folder.faults() == {}


COPIES = ("incident.log", "app.log.bak", "app.log.7", "app.log.3", "app.log.orig", "app.log.1.copy")
STEPS = ("write", "write", "write", "rotate", "rotate", "copytruncate", "copy", "copy", "touch",
         "zip", "stop", "start")  # fmt: skip


def drawn(seed: int) -> str:
    chance = random.Random(seed)
    values: dict[str, Callable[[], object]] = {
        "copy": lambda: chance.choice(COPIES),
        "touch": lambda: chance.choice((60, 3600, 86_400, 30_000_000)) * chance.choice((1, -1)),
        "zip": lambda: chance.choice((*PACK,)),
    }
    steps = ["write"]
    for _ in range(chance.randrange(3, 12)):
        step = chance.choice(STEPS)
        steps.append(f"{step}:{chance.randrange(6)}:{values[step]()}" if step in values else step)
    return " ".join(steps)


@pytest.mark.parametrize("pattern", ["app.log", "*.log", "app*"])
def test_a_hundred_folders(tmp_path: Path, pattern: str) -> None:
    wrong = {}
    for seed in range(100):
        folder = Folder(tmp_path / str(seed), pattern)
        folder.path.mkdir()
        folder.run(drawn(seed))
        if faults := folder.faults():
            wrong[drawn(seed)] = faults
    assert wrong == {}
