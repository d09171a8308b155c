"""What lies on disk: the logs that the sources name and the rotated files beside them.

Nothing is opened here. What cannot be looked at is said to be hidden, and is never "gone". Rotated
files are told by their names, as `sidecar.read.names` says, where a log lies and where its files
were last.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from posixpath import basename, exists, islink, join, realpath, split
from stat import S_ISREG

import msgspec

from sidecar.batch import ReadBatch
from sidecar.config.sources import Source
from sidecar.read.names import live_names, may_be_moved, shape, stem

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

    def start_round(self) -> bool:
        """Start a round; return whether each directory is as it was in the last.

        Otherwise what was missing or unreadable in the last is looked at anew.
        """
        if self._round and not self.missing and not self.hidden and self._is_as_before():
            return True
        self._kept, self._round = self._round, {}
        self.missing = set()
        self.hidden = {}
        return False

    def _is_as_before(self) -> bool:
        try:
            return all(
                listing.settled and listing.mtime_ns == os.stat(directory).st_mtime_ns  # noqa: PTH116
                for directory, listing in self._round.items()
            )
        except OSError:
            return False

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
    def is_live(self) -> bool:
        return self.path == self.log


# The most that one look adds: an hour's jump of the clock must not make a busy file seem quiet.
_LONGEST_STEP = 15.0


class Stillness:
    """For how many looks and seconds a file is unchanged, by a clock that may jump."""

    def __init__(self) -> None:
        self.looks = 0
        self.seconds = 0.0
        self._looked_at = 0.0

    def restart(self, now: float) -> None:
        """Count anew from wall clock `now`."""
        self.looks, self.seconds, self._looked_at = 0, 0.0, now

    def look(self, now: float, *, changed: bool) -> None:
        """Take one look at wall clock `now`."""
        if changed:
            self.restart(now)
            return
        self.looks += 1
        self.seconds += min(max(0.0, now - self._looked_at), _LONGEST_STEP)
        self._looked_at = now


class KnownLog(msgspec.Struct, frozen=True):
    """A log whose rotated files matter too; `places` are other paths at which its files were.

    `source` is empty when it is no longer configured.
    """

    path: str
    source: str
    places: tuple[str, ...] = ()


class Look(msgspec.Struct):
    """All that one scan saw.

    `anchors` says where each log's rotated files may lie: directories, and the name of its files
    there. `hidden` are the directories and paths that could not be looked at, `missing` those that
    are not there; both are among the problems of `batch`. `around` looks into further folders.
    """

    batch: ReadBatch
    around: Callable[[Iterable[str], Mapping[str, str], int], list[Sighting]]
    missing: set[str]
    sightings: list[Sighting] = msgspec.field(default_factory=list)
    anchors: dict[str, set[tuple[str, str]]] = msgspec.field(default_factory=dict)
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
        beside, other = split(sighting.path)
        anchors = self.anchors.get(log) or {split(log)}
        return any(beside == where and may_be_moved(name, other) for where, name in anchors)


class _Plan(msgspec.Struct):
    """What there is to look at while no directory changes."""

    logs: Sequence[KnownLog]
    matched: dict[str, str] = msgspec.field(default_factory=dict)  # path -> source
    owners: dict[str, str] = msgspec.field(default_factory=dict)  # path -> log
    beside: dict[str, str] = msgspec.field(default_factory=dict)  # path -> log, or empty
    anchors: dict[str, set[tuple[str, str]]] = msgspec.field(default_factory=dict)
    targets: dict[str, str] = msgspec.field(default_factory=dict)  # log that is a link -> its end
    problems: list[str] = msgspec.field(default_factory=list)


class Scanner:
    """Looks at the disk for a fixed list of sources, the first source that matches a path wins."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._globs = [Glob(source.path) for source in sources]
        self._lister = Lister()
        self._plan: _Plan | None = None
        self._targets: dict[str, str] = {}  # log that is a symlink -> what it last led to

    def directories(self) -> frozenset[str]:
        """Return the directories in which anything of interest may happen."""
        return self._lister.directories()

    def look(self, batch: ReadBatch, logs: Sequence[KnownLog] = ()) -> Look:
        """Return what is there; `logs` are known ones, whose rotated files matter too."""
        plan = self._planned(logs)
        look = Look(batch, self.around, self._lister.missing, anchors=plan.anchors)
        # Rotated files first: if a rotation slips in between, the live path shows the new file.
        for path, log in plan.beside.items():
            self._sight(look, path, log, "")
        for path, source in plan.matched.items():
            self._sight(look, path, plan.owners[path], source)
        batch.problems += plan.problems
        for directory, error in self._lister.hidden.items():
            look.hidden.add(directory)
            batch.problems.append(batch.cannot("list", directory, error))
        batch.problems += _leading_nowhere(look, plan.matched)
        return look

    def around(
        self, directories: Iterable[str], logs: Mapping[str, str], most: int
    ) -> list[Sighting]:
        """Return up to `most` files in `directories` and in the ones directly in these.

        They belong to one of `logs`, which are given by name, if their own name says so, and none
        of that name lies beside them. What cannot be looked at is passed over.
        """
        found: dict[str, str] = {}
        for directory in directories:
            entries = self._lister.entries(directory)
            inner = [join(directory, d) for d, t in entries.items() if t.is_directory]
            for folder in (directory, *inner):
                there = self._lister.entries(folder)
                mine = {n: log for n, log in logs.items() if folder == directory or n not in there}
                for other, type_ in there.items():
                    if not type_.is_directory and len(found) < most:
                        owners = (mine[name] for name in live_names(other) if name in mine)
                        found[join(folder, other)] = next(owners, "")
        look = Look(ReadBatch(), self.around, set())
        for path, owner in found.items():
            self._sight(look, path, owner, "")
        return look.sightings

    def _planned(self, logs: Sequence[KnownLog]) -> _Plan:
        """Return the plan of the last look if nothing has changed since, else a new one."""
        plan, same = self._plan, self._lister.start_round()
        if plan is None or not same or plan.logs != logs or self._turned(plan):
            plan = self._plan = self._new_plan(logs)
        return plan

    def _turned(self, plan: _Plan) -> bool:
        """Tell whether a link leads elsewhere now, which may happen in a directory not listed."""
        return any(realpath(log) != target for log, target in plan.targets.items())

    def _new_plan(self, logs: Sequence[KnownLog]) -> _Plan:
        plan = _Plan(logs)
        self._match(plan)
        known = {log.path: log.source for log in logs} | plan.matched
        plan.owners = {path: _owner_of(path, known) for path in plan.matched}
        for log, source in known.items():
            if plan.owners.get(log, log) == log and source:
                plan.anchors[log] = {split(self._target(log, plan))}
        series: dict[tuple[str, str], str] = {}
        for one in logs:
            for place in one.places if one.path in plan.anchors else ():
                if place not in plan.matched:
                    plan.beside[place] = one.path
                self._add_place(plan.anchors[one.path], series, one.path, place)
        self._find_beside(plan, series)
        return plan

    def _add_place(
        self,
        anchors: set[tuple[str, str]],
        series: dict[tuple[str, str], str],
        log: str,
        place: str,
    ) -> None:
        """Look for rotated files of `log` where one of its files was last, under `place`."""
        directory, name = split(place)
        anchors.add((directory, basename(log)))
        if basename(log) not in live_names(name):
            # A name that does not say whose it is: its like are of the same series.
            anchors.add((directory, name))
            if common := shape(name):
                series.setdefault((directory, common), log)

    def _match(self, plan: _Plan) -> None:
        matched = plan.matched
        for glob in self._globs:
            before = len(matched)
            for path in sorted(glob.paths(self._lister)):
                matched.setdefault(path, glob.pattern)
            if glob.root in self._lister.missing:
                plan.problems.append(f"waiting for {glob.root}: no such directory")
            elif len(matched) == before and glob.root not in self._lister.hidden:
                plan.problems.append(f"waiting for {glob.pattern}: no such file yet")

    def _target(self, log: str, plan: _Plan) -> str:
        """Return the file that `log` stands for: rotation happens there, not beside the link."""
        directory, name = split(log)
        type_ = self._lister.entries(directory).get(name)
        if type_ is None:
            return self._targets.get(log, log)
        if not type_.is_link:
            self._targets.pop(log, None)
            return log
        self._targets[log] = plan.targets[log] = realpath(log)
        return self._targets[log]

    def _find_beside(self, plan: _Plan, series: dict[tuple[str, str], str]) -> None:
        """Find the files beside the logs, each with its log, empty when the name does not tell."""
        by_directory: dict[str, dict[str, str]] = {}
        for log, anchors in plan.anchors.items():
            for directory, name in anchors:
                by_directory.setdefault(directory, {}).setdefault(name, log)
        for directory, names in by_directory.items():
            stems = {stem(name) for name in names}
            lengths = sorted({len(one) for one in stems})
            for name, type_ in self._lister.entries(directory).items():
                path = join(directory, name)
                if type_.is_directory or path in plan.matched or path in plan.anchors:
                    continue
                owner = next((names[n] for n in live_names(name) if n in names), "")
                owner = owner or series.get((directory, shape(name)), "")
                near = name not in names and any(name[:length] in stems for length in lengths)
                if owner or near:
                    plan.beside.setdefault(path, owner)

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
