"""A host that rotates in single steps, and a reader that looks, dies or waits between any two.

The host writes numbered lines and rotates by size, by rename or each third time by copytruncate;
it shifts the older files one by one and compresses the last but one. Each rename, each part of a
copy or of a compressed file, each truncation is a step of its own. Between steps the reader looks
with any budget, dies before its commit or after it, or waits until rotated files count as quiet.
No line is ever out of all files, so each counts exactly once; of a host that wrote before the very
first look, each line written after it.

`make examples` runs more of them than the suite has time for.
"""

import gzip
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings

from support.read import Reader

_LOOKS = 60
# The reader's own limits: files known by their first kilobyte, compressed ones by 256 KiB.
_SIZES = ((600, 20), (1500, 100), (4000, 100), (300_000, 9000))  # of a file, of a line


class Host:
    """Writes and rotates; each element of `steps` is one change to the disk."""

    def __init__(self, log: Path, pick: Random) -> None:
        self.log = log
        self.size, self._width = pick.choice(_SIZES)
        self.lines: list[str] = []
        self.begun = 0  # lines, with those of which only a part is written
        self.steps = self._steps()
        self._pick = pick
        self._begins = pick.choice(
            ("", '{"all": "lines begin alike, for longer than any tail is", ')
        )

    @property
    def amid_a_line(self) -> bool:
        return self.begun > len(self.lines)

    def finish(self) -> None:
        while self.amid_a_line:
            next(self.steps)

    def _steps(self) -> Iterator[None]:
        turn = self._pick.randrange(3)
        while True:
            with self.log.open("ab", buffering=0) as file:
                yield
                while file.tell() < self.size:
                    yield from self._write(file.fileno())
            turn += 1
            yield from self._shift()
            yield from self._rename() if turn % 3 else self._copytruncate()
            yield from self._compress()

    def _write(self, fd: int) -> Iterator[None]:
        """Write a few lines in two parts."""
        new = [self._line(self.begun + n) for n in range(self._pick.choice((1, 3, 8)))]
        block = "".join(new).encode()
        cut = self._pick.randrange(len(block))
        os.write(fd, block[:cut])
        self.begun += len(new)
        yield
        os.write(fd, block[cut:])
        self.lines += [line.rstrip("\n") for line in new]
        yield

    def _line(self, number: int) -> str:
        return f"{self._begins}{number} ".ljust(self._width, "x") + " end\n"

    def _name(self, ending: str) -> Path:
        return self.log.with_name(self.log.name + ending)

    def _shift(self) -> Iterator[None]:
        for age in range(_LOOKS, 0, -1):
            for ending in ("", ".gz"):
                old = self._name(f".{age}{ending}")
                if old.exists():
                    old.rename(self._name(f".{age + 1}{ending}"))
                    yield

    def _rename(self) -> Iterator[None]:
        self.log.rename(self._name(".1"))
        yield

    def _copytruncate(self) -> Iterator[None]:
        yield from self._in_parts(self._name(".1"), self.log.read_bytes())
        os.truncate(self.log, 0)
        yield

    def _compress(self) -> Iterator[None]:
        plain = self._name(".2")
        if plain.exists():
            yield from self._in_parts(self._name(".2.gz"), gzip.compress(plain.read_bytes(), 1))
            plain.unlink()
            yield

    def _in_parts(self, path: Path, data: bytes) -> Iterator[None]:
        with path.open("wb", buffering=0) as file:
            yield
            while at := file.tell() - len(data):
                part = self._pick.choice((-at, self._pick.randint(1, -at)))
                file.write(data[len(data) + at :][:part])
                yield


class Olddir(Host):
    """Rotates into a folder below, by names with counters."""

    def _name(self, ending: str) -> Path:
        folder = self.log.parent / "old"
        folder.mkdir(exist_ok=True)
        return folder / (self.log.name + ending)


def look(reader: Reader, what: str, budget: int) -> None:
    if what == "look":
        reader.poll(budget=budget)
    elif what == "die":
        reader.follower.poll(reader.now, budget)
        reader.restart()
    elif what == "die between looks":
        reader.restart()
    else:
        for _ in range(3):
            reader.poll(seconds=20, budget=budget)


def go_on(host: Host, reader: Reader, pick: Random) -> None:
    """Let both go on for a while, in turn."""
    size = host.size
    budgets = pick.choice(
        ((1 << 20,), (1 << 20, size // 8, size // 3), (size // 8,), (size // 30,))
    )
    for _ in range(_LOOKS):
        for _ in range(pick.choice((0, 1, 1, 1, 2, 3, 5, 9, 20))):
            next(host.steps)
        what = pick.choice(("look", "look", "look", "look", "die", "die between looks", "wait"))
        # A line that nobody finishes for half a minute is a line if its file was rotated.
        if what == "wait" and host.amid_a_line:
            what = "look"
        look(reader, what, pick.choice(budgets))


def play(folder: Path, pattern: str, seed: int, kind: type[Host] = Host) -> None:
    """Let one host and one reader go on, and hold what was read against what was written."""
    pick = Random(f"{seed} {pattern}")
    host = kind(folder / "soak.log", pick)
    before = pick.choice((0, 0, 0, pick.randrange(60)))
    for _ in range(before):
        next(host.steps)
    reader = Reader(folder / pattern, from_beginning=not before)
    reader.poll()
    first = host.begun if before else 0
    go_on(host, reader, pick)
    host.finish()
    while reader.poll().chunks:
        pass
    reader.settle()
    reader.follower.close()
    read = Counter(reader.lines)
    assert not [line for line, times in read.items() if times > 1], f"twice, seed {seed}"
    assert not set(host.lines[first:]) - set(read), f"missing, seed {seed}"
    assert set(read) <= set(host.lines), f"nobody wrote this, seed {seed}"


@pytest.mark.hypothesis  # `make examples` runs these
@pytest.mark.parametrize("pattern", ["soak.log", "soak*"])
@pytest.mark.parametrize("part", range(4))
def test_each_line_counts_exactly_once(tmp_path: Path, pattern: str, part: int) -> None:
    for seed in range(part, settings().max_examples, 4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        play(folder, pattern, seed)


@pytest.mark.parametrize("seed", [117, 218, 249, 367, 427, 574, 1196])
def test_what_once_was_taken_for_history_of_a_log_not_begun(tmp_path: Path, seed: int) -> None:
    play(tmp_path, "soak.log", seed)


@pytest.mark.hypothesis
def test_each_line_counts_exactly_once_from_a_folder_below(tmp_path: Path) -> None:
    seeds = range(100, 100 + settings().max_examples // 10)
    for seed in (7, 14, 24, 37, *seeds):  # the first four were overlooked once
        folder = tmp_path / str(seed)
        folder.mkdir(exist_ok=True)
        play(folder, "soak.log", seed, Olddir)
