"""Directories and globs: which paths there are. Tells "not there" from "could not look"."""

import os
import re
import time
from collections.abc import Iterator
from errno import errorcode
from fnmatch import translate
from posixpath import join

import msgspec

_MAGIC = re.compile(r"[*?\[]")
_GONE = (FileNotFoundError, NotADirectoryError)
# A listing is trusted while its directory's mtime stands still, but only when that mtime was
# already this old: two changes within the clock's grain leave the same mtime (git's racy index).
_SETTLED_NS = 2_000_000_000


def is_glob(path: str) -> bool:
    """Tell whether `path` may match more than the file of that name."""
    return _MAGIC.search(path) is not None


class Kind(msgspec.Struct, frozen=True):
    is_directory: bool
    is_link: bool


class _Listing(msgspec.Struct, frozen=True):
    mtime_ns: int
    settled: bool
    entries: dict[str, Kind]


class Lister:
    """Lists directories, each at most once a round and only when it may have changed."""

    def __init__(self) -> None:
        self._kept: dict[str, _Listing] = {}
        self._round: dict[str, _Listing] = {}
        self.missing: set[str] = set()
        self.blind: dict[str, OSError] = {}

    def begin(self) -> None:
        """Start a round: forget what was found missing or unreadable in the last."""
        self._kept, self._round = self._round, {}
        self.missing = set()
        self.blind = {}

    def directories(self) -> frozenset[str]:
        """Return the directories listed in this round."""
        return frozenset(self._round)

    def entries(self, directory: str) -> dict[str, Kind]:
        """Return name -> kind; empty when missing or unreadable, which is then noted."""
        if directory in self.missing or directory in self.blind:
            return {}
        if directory not in self._round:
            try:
                self._round[directory] = self._list(directory)
            except _GONE:
                self.missing.add(directory)
                return {}
            except OSError as error:
                self.blind[directory] = error
                return {}
        return self._round[directory].entries

    def _list(self, directory: str) -> _Listing:
        mtime = os.stat(directory).st_mtime_ns  # noqa: PTH116 - a Path for each poll costs more than the call
        kept = self._kept.get(directory)
        if kept and kept.settled and kept.mtime_ns == mtime:
            return kept
        settled = time.time_ns() - mtime > _SETTLED_NS
        with os.scandir(directory) as found:
            entries = {e.name: Kind(_is_directory(e), e.is_symlink()) for e in found}
        return _Listing(mtime, settled, entries)


class Glob:
    """An absolute path with `*`, `?`, `[...]` and `**` (any number of directories)."""

    def __init__(self, pattern: str) -> None:
        parts = [part for part in pattern.split("/") if part]
        fixed = 0
        while fixed < len(parts) - 1 and not _MAGIC.search(parts[fixed]):
            fixed += 1
        self.root = "/" + "/".join(parts[:fixed])
        self.pattern = pattern
        if parts and parts[-1] == "**":
            parts.append("*")
        self._parts = tuple(_compiled(part) for part in parts[fixed:])

    def paths(self, lister: Lister) -> Iterator[str]:
        """Return the matching paths that are no directories, in no particular order."""
        return self._below(self.root, 0, lister)

    def _below(self, directory: str, depth: int, lister: Lister) -> Iterator[str]:
        part, last = self._parts[depth], depth == len(self._parts) - 1
        if part is None:
            yield from self._anywhere(directory, depth, lister)
        elif last:
            yield from _files(directory, part, lister)
        else:
            for name in _directories(directory, part, lister):
                yield from self._below(join(directory, name), depth + 1, lister)

    def _anywhere(self, directory: str, depth: int, lister: Lister) -> Iterator[str]:
        yield from self._below(directory, depth + 1, lister)
        for name, kind in lister.entries(directory).items():
            if kind.is_directory and not kind.is_link and not name.startswith("."):
                yield from self._anywhere(join(directory, name), depth, lister)


_Part = str | re.Pattern[str] | None


def _compiled(part: str) -> _Part:
    if part == "**":
        return None
    return re.compile(translate(part)) if _MAGIC.search(part) else part


def _files(directory: str, part: str | re.Pattern[str], lister: Lister) -> Iterator[str]:
    entries = lister.entries(directory)
    if isinstance(part, str):
        # A directory that may be entered but not listed still has the file we know by name.
        kind = entries.get(part)
        if (kind and not kind.is_directory) or directory in lister.blind:
            yield join(directory, part)
        return
    for name, kind in entries.items():
        if not kind.is_directory and _matches(part, name):
            yield join(directory, name)


def _directories(directory: str, part: str | re.Pattern[str], lister: Lister) -> list[str]:
    if isinstance(part, str):
        return [part]
    found = lister.entries(directory).items()
    return [name for name, kind in found if kind.is_directory and _matches(part, name)]


def _matches(part: re.Pattern[str], name: str) -> bool:
    hidden = name.startswith(".") and not part.pattern.lstrip("(?s:").startswith("\\.")
    return not hidden and part.match(name) is not None


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def errno_name(error: OSError) -> str:
    """Return the symbolic name of an error, for a label: EACCES, EMFILE, EIO."""
    return errorcode.get(error.errno or 0, "unknown")
