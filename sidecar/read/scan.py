"""One look at the disk: the logs that the sources name and the rotated files beside them.

Nothing is opened here. What could not be looked at is said to be so, and is never "gone".
"""

import os
from collections.abc import Iterable, Sequence
from posixpath import basename, join, realpath, split
from stat import S_ISREG

import msgspec

from sidecar.config.model import Source
from sidecar.read.listing import Glob, Lister, errno_name
from sidecar.read.names import age_rank, live_names, may_be_moved, stem

Place = tuple[int, int]  # device and inode
Age = tuple[int, tuple[int, str]]  # time of last writing, then what the name says


class Sighting(msgspec.Struct, frozen=True):
    """A regular file on disk now.

    `log` is the log it belongs to by its name, empty when only its content could tell. It is that
    log itself when `path` equals it, else a rotated form of it. `source` is empty for a file that
    no glob matches.
    """

    path: str
    place: Place
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
    """All that one scan saw. `anchors` says where each log's rotated files lie: directory, name."""

    sightings: list[Sighting] = msgspec.field(default_factory=list)
    anchors: dict[str, tuple[str, str]] = msgspec.field(default_factory=dict)
    problems: list[str] = msgspec.field(default_factory=list)
    errors: list[str] = msgspec.field(default_factory=list)  # errno names
    blind: set[str] = msgspec.field(default_factory=set)  # directories and paths not looked at

    def by_place(self) -> dict[Place, list[Sighting]]:
        found: dict[Place, list[Sighting]] = {}
        for sighting in self.sightings:
            found.setdefault(sighting.place, []).append(sighting)
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

    def look(self, logs: Iterable[tuple[str, str]] = ()) -> Look:
        """Return what is there; `logs` are known (log, source) whose rotated files matter too."""
        look = Look()
        self._lister.begin()
        matched = self._matched(look)
        known = dict(logs) | matched
        owners = {path: owner_of(path, known) for path in matched}
        for log, source in known.items():
            if owners.get(log, log) == log and source:
                look.anchors[log] = split(self._target(log))
        # Rotated files first: if a rotation slips in between, the live path shows the new file.
        for path, log in self._beside(look, matched).items():
            self._sight(look, path, log, "")
        for path, source in matched.items():
            self._sight(look, path, owners[path], source)
        self._report(look)
        return look

    def _matched(self, look: Look) -> dict[str, str]:
        matched: dict[str, str] = {}
        for glob in self._globs:
            before = len(matched)
            matched |= {
                p: glob.pattern for p in sorted(glob.paths(self._lister)) if p not in matched
            }
            if glob.root in self._lister.missing:
                look.problems.append(f"waiting for {glob.root}: no such directory")
            elif len(matched) == before and glob.root not in self._lister.blind:
                look.problems.append(f"waiting for {glob.pattern}: no such file yet")
        return matched

    def _target(self, log: str) -> str:
        """Return the file that `log` stands for: rotation happens there, not beside the link."""
        directory, name = split(log)
        kind = self._lister.entries(directory).get(name)
        if kind is None:
            return self._targets.get(log, log)
        if not kind.is_link:
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
            for name, kind in self._lister.entries(directory).items():
                path = join(directory, name)
                near = name.startswith(stems) and not kind.is_directory and name not in names
                if near and path not in matched:
                    found[path] = next((names[n] for n in live_names(name) if n in names), "")
        return found

    def _sight(self, look: Look, path: str, log: str, source: str) -> None:
        try:
            stat = os.stat(path)  # noqa: PTH116 - a Path for each poll costs more than the call
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            look.blind.add(path)
            look.errors.append(errno_name(error))
            if source:
                look.problems.append(f"cannot look at {path}: {error.strerror}; trying again")
            return
        if S_ISREG(stat.st_mode):
            place = (stat.st_dev, stat.st_ino)
            look.sightings.append(
                Sighting(path, place, stat.st_size, stat.st_mtime_ns, log, source)
            )

    def _report(self, look: Look) -> None:
        for directory, error in self._lister.blind.items():
            look.blind.add(directory)
            look.errors.append(errno_name(error))
            look.problems.append(f"cannot list {directory}: {error.strerror}; trying again")


def owner_of(path: str, known: dict[str, str]) -> str:
    """Return the known log that `path` is a rotated form of, or `path` itself."""
    directory, name = split(path)
    candidates = (join(directory, live) for live in live_names(name))
    return next((c for c in candidates if c in known), path)
