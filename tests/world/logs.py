"""The folder of the host's logs: what the host, people and programs do to the files in it."""

import asyncio
import bz2
import gzip
import lzma
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from world.loop import BEGINNING, SimulatedLoop
from world.product import FOLDER

# From so many bytes on two logs that begin alike are known for copies: docs/reading.md.
KNOWN_FROM = 64
_GENERATION = re.compile(r"app\.log\.(\d+)(|\.gz|\.xz|\.bz2)")
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress,
}  # fmt: skip
_DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress, ".xz": lzma.decompress, ".bz2": bz2.decompress,
}  # fmt: skip


class Logs:
    """Changes the files; `changed` is called after each change that a watcher would see."""

    def __init__(self, loop: SimulatedLoop, changed: Callable[[], None]) -> None:
        self._loop = loop
        self._changed = changed
        self._changes = 0
        self._folder = FOLDER / "logs"
        self._live = self._folder / "app.log"

    def log(self, line: str) -> None:
        new = not self._live.exists()
        with self._live.open("a") as file:
            file.write(line)
        self._stamp(self._live)
        if new:
            self._stamp_folder()
        self._changed()

    def rotate(self) -> None:
        self._shift()
        if self._live.exists():
            self._live.rename(self._live.with_name("app.log.1"))
        self._begin_anew()

    def copytruncate(self) -> None:
        self._shift()
        if self._live.exists():
            self._write(self._live.with_name("app.log.1"), self._live.read_bytes())
        self._begin_anew()

    def touch(self, which: int, lie: float) -> None:
        """Let a file's time say something else, as `touch`, `cp` and clocks do."""
        if files := self._files():
            self._stamp(files[which % len(files)], lie)
            self._changed()

    def copy(self, which: int, name: str) -> None:
        """Copy a file as it is now, by `cp` or `zcat`, to a name beside it.

        A log of the glob is no copy to anybody while it holds less than KNOWN_FROM bytes.
        """
        files, new = self._files(), self._folder / name
        if files and (old := files[which % len(files)]) != new:
            data = _DECOMPRESSORS.get(old.suffix, bytes)(old.read_bytes())
            if new.suffix == ".log" and len(data) < KNOWN_FROM:
                return
            self._write(new, data)
            self._changed()

    async def compress(self, which: int, ending: str) -> None:
        """Compress a rotated file, its time not kept: first a part of the new one is there."""
        rotated = [p for p in self._files() if (g := _GENERATION.fullmatch(p.name)) and not g[2]]
        if not rotated:
            return
        old = rotated[which % len(rotated)]
        whole = COMPRESSORS[ending](old.read_bytes())
        for part in (whole[: len(whole) // 2], whole):
            self._write(old.with_name(old.name + ending), part)
            self._changed()
            await asyncio.sleep(1.0)
        old.unlink()
        self._stamp_folder()
        self._changed()

    def _files(self) -> list[Path]:
        return sorted(self._folder.iterdir())

    def _shift(self) -> None:
        """Give each rotated file the next number, the oldest first, as logrotate does."""
        found = filter(None, (_GENERATION.fullmatch(path.name) for path in self._files()))
        for one in sorted(found, key=lambda one: -int(one[1])):
            shutil.move(self._folder / one[0], self._folder / f"app.log.{int(one[1]) + 1}{one[2]}")

    def _begin_anew(self) -> None:
        self._write(self._live, f"{self._loop.time()} the host has begun a new log\n".encode())
        self._changed()

    def _write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        self._stamp(path)
        self._stamp_folder()

    def _stamp(self, path: Path, lie: float = 0.0) -> None:
        stamp = int((BEGINNING + self._loop.time() + lie) * 1e9)
        os.utime(path, ns=(stamp, stamp))

    def _stamp_folder(self) -> None:
        """Let the folder have changed long ago: of one that just has, a reader cannot be sure."""
        self._changes += 1
        os.utime(self._folder, (self._changes, self._changes))
