"""What lies on disk: the logs that the sources name and the rotated files beside them.

Nothing is opened here. What cannot be looked at is said to be hidden, and is never "gone".

A rotated file belongs to a log by its name: logrotate's `app.log.1`, `app.log.1.gz` and
`app.log-20240131`, its `dateext` with `extension` and Java's `app-2024-01-31.log`, kubelet's
`0.log.20240131-120000.gz`, Python's `app.log.2024-01-31_12`, and `app.log.old`.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import translate
from functools import lru_cache
from posixpath import basename, exists, islink, join, realpath, split
from stat import S_ISREG

import msgspec

from sidecar.batch import ReadBatch
from sidecar.config.sources import Source

_SUFFIX = re.compile(r"(.+?)[._-](\d[\dTZ:._+-]*|old|prev|last|bak)(?:\.gz)?", re.DOTALL)
_DATE = r"(?:19|20)\d\d[-_.]?[01]\d[\dTZ:._+-]*"
_DATED_STEM = re.compile(rf"(.+?)[._-]({_DATE})(\.[A-Za-z]+)(?:\.\d+)?(?:\.gz)?", re.DOTALL)
_COUNTER_DIGITS = 4
OLDEST = (-(10**_COUNTER_DIGITS), "")
_BESIDE = (".swp", ".tmp", ".lock", ".pid", "~")


@lru_cache(maxsize=16_384)
def live_names(name: str) -> tuple[str, ...]:
    """Return the names of logs that a file called `name` may be a rotated form of."""
    found = []
    if match := _SUFFIX.fullmatch(name):
        found.append(match[1])
    if match := _DATED_STEM.fullmatch(name):
        found.append(match[1] + match[3])
    return tuple(found)


def stem(live: str) -> str:
    """Return what every rotated form of `live` begins with."""
    head, _, _ = live.rpartition(".")
    return head or live


def may_be_moved(live: str, name: str) -> bool:
    """Tell whether `name` lies so near to `live` that its content is worth comparing."""
    return name != live and name.startswith(stem(live)) and not name.endswith(_BESIDE)


def age_rank(name: str) -> tuple[int, str]:
    """Return a sort key for files last written in the same instant: older names first.

    A counter grows with age (`.2` is older than `.1`), a date grows with youth, and a name
    without either is the youngest.
    """
    name = name.removesuffix(".gz")
    match = _SUFFIX.fullmatch(name) or _DATED_STEM.fullmatch(name)
    if match is None:
        return (1, "")
    if match[2].isdigit() and len(match[2]) < _COUNTER_DIGITS:
        return (-int(match[2]), "")
    return (0, match[2])


_MAGIC = re.compile(r"[*?\[]")
_GONE = (FileNotFoundError, NotADirectoryError)
# A listing is trusted while its directory's mtime stands still, but only when that mtime was
# already this old: two changes within the clock's grain leave the same mtime (git's racy index).
_SETTLED_NS = 2_000_000_000


def is_glob(path: str) -> bool:
    """Tell whether `path` may match more than the file of that name."""
    return _MAGIC.search(path) is not None


class FileType(msgspec.Struct, frozen=True):
    """What a name in a directory stands for, links followed, and whether it is a link."""

    is_directory: bool
    is_link: bool


class _DirectoryListing(msgspec.Struct, frozen=True):
    mtime_ns: int
    settled: bool
    entries: dict[str, FileType]


class Lister:
    """Lists directories, each at most once a round and only when it may have changed."""

    def __init__(self) -> None:
        self._kept: dict[str, _DirectoryListing] = {}
        self._round: dict[str, _DirectoryListing] = {}
        self.missing: set[str] = set()
        self.hidden: dict[str, OSError] = {}

    def start_round(self) -> None:
        """Start a round: what was missing or unreadable in the last is looked at anew."""
        self._kept, self._round = self._round, {}
        self.missing = set()
        self.hidden = {}

    def directories(self) -> frozenset[str]:
        """Return the directories listed in this round."""
        return frozenset(self._round)

    def entries(self, directory: str) -> dict[str, FileType]:
        """Return name -> type; empty when missing or unreadable, which is then noted."""
        if directory in self.missing or directory in self.hidden:
            return {}
        if directory not in self._round:
            try:
                self._round[directory] = self._list(directory)
            except _GONE:
                self.missing.add(directory)
                return {}
            except OSError as error:
                self.hidden[directory] = error
                return {}
        return self._round[directory].entries

    def _list(self, directory: str) -> _DirectoryListing:
        mtime = os.stat(directory).st_mtime_ns  # noqa: PTH116 - a Path for each poll costs more than the call
        kept = self._kept.get(directory)
        if kept and kept.settled and kept.mtime_ns == mtime:
            return kept
        settled = time.time_ns() - mtime > _SETTLED_NS
        with os.scandir(directory) as found:
            entries = {e.name: FileType(_is_directory(e), e.is_symlink()) for e in found}
        return _DirectoryListing(mtime, settled, entries)


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
        for name, type_ in lister.entries(directory).items():
            if type_.is_directory and not type_.is_link and not name.startswith("."):
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
        type_ = entries.get(part)
        if (type_ and not type_.is_directory) or directory in lister.hidden:
            yield join(directory, part)
        return
    for name, type_ in entries.items():
        if not type_.is_directory and _matches(part, name):
            yield join(directory, name)


def _directories(directory: str, part: str | re.Pattern[str], lister: Lister) -> list[str]:
    if isinstance(part, str):
        return [part]
    found = lister.entries(directory).items()
    return [name for name, type_ in found if type_.is_directory and _matches(part, name)]


def _matches(part: re.Pattern[str], name: str) -> bool:
    hidden = name.startswith(".") and not part.pattern.lstrip("(?s:").startswith("\\.")
    return not hidden and part.match(name) is not None


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


Inode = tuple[int, int]  # device and inode number
Age = tuple[int, tuple[int, str]]  # time of last writing, then what the name says


class Sighting(msgspec.Struct, frozen=True):
    """A regular file on disk now.

    `log` is the log it belongs to by its name, empty when only its content could tell. It is that
    log itself when `path` equals it, else a rotated form of it. `source` is empty for a file that
    no glob matches.
    """

    path: str
    inode: Inode
    size: int
    mtime_ns: int
    log: str
    source: str

    @property
    def age(self) -> Age:
        return (self.mtime_ns, age_rank(basename(self.path)))

    @property
    def is_live(self) -> bool:
        return self.path == self.log


class Look(msgspec.Struct):
    """All that one scan saw. `anchors` says where each log's rotated files lie: directory, name.

    `hidden` are the directories and paths that could not be looked at. What is missing or hidden
    is among the problems of `batch`.
    """

    batch: ReadBatch
    sightings: list[Sighting] = msgspec.field(default_factory=list)
    anchors: dict[str, tuple[str, str]] = msgspec.field(default_factory=dict)
    hidden: set[str] = msgspec.field(default_factory=set)

    def by_inode(self) -> dict[Inode, list[Sighting]]:
        found: dict[Inode, list[Sighting]] = {}
        for sighting in self.sightings:
            found.setdefault(sighting.inode, []).append(sighting)
        return found

    def is_related(self, log: str, sighting: Sighting) -> bool:
        """Tell whether a file lies and is named so that it may hold what `log` once held."""
        if log in (sighting.path, sighting.log):
            return True
        directory, name = self.anchors.get(log, split(log))
        beside, other = split(sighting.path)
        return beside == directory and may_be_moved(name, other)


class Scanner:
    """Looks at the disk for a fixed list of sources, the first source that matches a path wins."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._globs = [Glob(source.path) for source in sources]
        self._lister = Lister()
        self._targets: dict[str, str] = {}  # log that is a symlink -> what it last led to

    def directories(self) -> frozenset[str]:
        """Return the directories in which anything of interest may happen."""
        return self._lister.directories()

    def look(self, batch: ReadBatch, logs: Iterable[tuple[str, str]] = ()) -> Look:
        """Return what is there; `logs` are known (log, source) whose rotated files matter too."""
        look = Look(batch)
        self._lister.start_round()
        matched = self._matched(look)
        known = dict(logs) | matched
        owners = {path: _owner_of(path, known) for path in matched}
        for log, source in known.items():
            if owners.get(log, log) == log and source:
                look.anchors[log] = split(self._target(log))
        # Rotated files first: if a rotation slips in between, the live path shows the new file.
        for path, log in self._beside(look, matched).items():
            self._sight(look, path, log, "")
        for path, source in matched.items():
            self._sight(look, path, owners[path], source)
        for directory, error in self._lister.hidden.items():
            look.hidden.add(directory)
            look.batch.problems.append(look.batch.cannot("list", directory, error))
        look.batch.problems += _leading_nowhere(look, matched)
        return look

    def _matched(self, look: Look) -> dict[str, str]:
        matched: dict[str, str] = {}
        for glob in self._globs:
            before = len(matched)
            matched |= {
                p: glob.pattern for p in sorted(glob.paths(self._lister)) if p not in matched
            }
            if glob.root in self._lister.missing:
                look.batch.problems.append(f"waiting for {glob.root}: no such directory")
            elif len(matched) == before and glob.root not in self._lister.hidden:
                look.batch.problems.append(f"waiting for {glob.pattern}: no such file yet")
        return matched

    def _target(self, log: str) -> str:
        """Return the file that `log` stands for: rotation happens there, not beside the link."""
        directory, name = split(log)
        type_ = self._lister.entries(directory).get(name)
        if type_ is None:
            return self._targets.get(log, log)
        if not type_.is_link:
            self._targets.pop(log, None)
            return log
        self._targets[log] = realpath(log)
        return self._targets[log]

    def _beside(self, look: Look, matched: dict[str, str]) -> dict[str, str]:
        """Return path -> log (empty when the name does not tell) of files beside the logs."""
        by_directory: dict[str, dict[str, str]] = {}
        for log, (directory, name) in look.anchors.items():
            by_directory.setdefault(directory, {})[name] = log
        found = {}
        for directory, names in by_directory.items():
            stems = tuple({stem(name) for name in names})
            for name, type_ in self._lister.entries(directory).items():
                path = join(directory, name)
                near = name.startswith(stems) and not type_.is_directory and name not in names
                if near and path not in matched:
                    found[path] = next((names[n] for n in live_names(name) if n in names), "")
        return found

    def _sight(self, look: Look, path: str, log: str, source: str) -> None:
        try:
            stat = os.stat(path)  # noqa: PTH116 - a Path for each poll costs more than the call
        except _GONE:
            return
        except OSError as error:
            look.hidden.add(path)
            problem = look.batch.cannot("look at", path, error)
            if source:
                look.batch.problems.append(problem)
            return
        if S_ISREG(stat.st_mode):
            inode = (stat.st_dev, stat.st_ino)
            look.sightings.append(
                Sighting(path, inode, stat.st_size, stat.st_mtime_ns, log, source)
            )


def _leading_nowhere(look: Look, matched: dict[str, str]) -> Iterator[str]:
    """Yield a sentence for each source of which all there is are links to what is not there.

    So it is where `/var/log/containers` is mounted without the folders that its links lead to. A
    single such link beside others is that of a container which is no more.
    """
    for source in {*matched.values()} - {sighting.source for sighting in look.sightings}:
        mine = (path for path, other in matched.items() if other == source)
        lost = [path for path in mine if path not in look.hidden and islink(path)]
        if lost and not any(map(exists, lost)):
            end = realpath(lost[0])
            yield f"{lost[0]} leads to {end}, which is not there: mount its folder as well"


def _owner_of(path: str, known: dict[str, str]) -> str:
    """Return the known log that `path` is a rotated form of, or `path` itself."""
    directory, name = split(path)
    logs = (join(directory, live) for live in live_names(name))
    return next((log for log in logs if log in known), path)
