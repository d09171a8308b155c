"""All logs and log files that are known, and which file on disk each log file claims by its inode.

A file on disk that is not known yet is a candidate: it may be a log file that moved, or a new one.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from operator import attrgetter
from posixpath import basename, dirname, exists
from resource import RLIMIT_NOFILE, getrlimit

from sidecar.batch import ReadBatch, Rotated, Rotation
from sidecar.config.sources import Source
from sidecar.read.content import ENOUGH, Content, open_content
from sidecar.read.fingerprint import BEGINNING, TAIL, Match
from sidecar.read.log import NO_INODE, Log, LogFile
from sidecar.read.names import COMPRESSED, live_names, plain_name
from sidecar.read.scan import Inode, KnownLog, Sighting, is_glob
from sidecar.rows import FINISHED, LEFT_ALONE, FileRow, FileState

_ByStart = dict[tuple[str, bytes], list[LogFile]]
# Files by all that is known of how they begin, and by each part of that.
_Beginnings = tuple[_ByStart, _ByStart]
# Many hosts begin all their logs with the same hundred bytes.
_CUTS = (TAIL, 128, 160, 192, BEGINNING)
# More handles than this bring nothing: what is quiet is looked at by name just as well.
_MOST_OPEN = 1000


def _cuts(begins: bytes) -> list[int]:
    """Return the lengths by which this beginning is held against others."""
    return [cut for cut in _CUTS if cut <= len(begins)]


class Candidate:
    """A file that a look at wall clock `now` sighted; opened at most once, when it must be.

    First open, then look: the path may change meanwhile.
    """

    def __init__(
        self,
        sighting: Sighting,
        batch: ReadBatch,
        now: float,
        *,
        stranger: bool = False,
        since: float | None = None,
    ) -> None:
        self.sighting = sighting
        self.batch = batch
        self.now = now
        self.stranger = stranger  # nobody asked for it: that it cannot be read is no trouble
        self.since = since  # before that, it was no part of a log that is followed
        self.unreadable = False  # it is there, but cannot be read at present
        self._content: Content | None = None
        self._tried = False

    @property
    def is_half_done(self) -> bool:
        """Tell whether a rotated file beside it is being compressed to this, or was to be.

        So it seems unless the two begin differently.
        """
        path = self.sighting.path
        rotated = path.endswith(COMPRESSED) and live_names(basename(path))
        return bool(rotated) and exists(plain_name(path)) and self._begins_like(plain_name(path))

    def _begins_like(self, path: str) -> bool:
        try:
            content = self.content()
            begins = b"" if content is None else content.read_at(0, BEGINNING)
            plain = open_content(path)
            try:
                return plain.read_at(0, len(begins)) == begins
            finally:
                plain.close()
        except OSError:
            return True
        finally:
            self.close()

    def content(self) -> Content | None:
        """Return the open file, or None: gone or replaced since, or `unreadable`.

        Whoever asked for it closes it, or hands it over.
        """
        if not self._tried:
            self._tried = True
            self._content = self._open()
        return self._content

    def release(self) -> None:
        """Hand the open file over: it is somebody else's to close."""
        self._content = None

    def close(self) -> None:
        if self._content is not None:
            self._content.close()
        self._content, self._tried = None, False

    def failed(self, error: OSError) -> None:
        """Note that looking into the file failed."""
        if self.stranger:
            return
        self.unreadable = True
        self.batch.problems.append(self.batch.cannot("read", self.sighting.path, error))

    def _open(self) -> Content | None:
        try:
            content = open_content(self.sighting.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.failed(error)
            return None
        stat = content.stat()
        if (stat.st_dev, stat.st_ino) != self.sighting.inode:
            content.close()
            return None
        return content


class LogFiles:
    """Finds log files by log and by inode; only here do they change inodes."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.logs: dict[str, Log] = {}
        self._numbers = count()
        self._sources = _by_path(sources)
        self._held: dict[LogFile, None] = {}
        self._beginnings: _Beginnings | None = None
        self._by_inode: dict[Inode, LogFile] = {}
        self.removed: list[int] = []  # ids of log files dropped since this was last emptied
        self._wait_for(sources)

    def retarget(self, sources: Sequence[Source], seen: Iterable[Sighting]) -> None:
        """Change the sources; `seen` are the files that they name now.

        A log belongs to the source that names it now, and stays with its own while nothing of it
        is in sight. The files of a log that no source names are let go of.
        """
        self._sources = _by_path(sources)
        owners = {sighting.log: sighting.source for sighting in seen if sighting.source}
        for log in self.logs.values():
            log.source = owners.get(log.path, log.source)
            if log.source in self._sources:
                self._pin(log)
            else:
                for file in log.files:
                    file.detach()
                    file.sighted = file.at_live = False
        self._wait_for(sources)

    def new_of(self, sources: Iterable[str], seen: Sequence[Sighting]) -> list[Sighting]:
        """Return the files, rotated ones too, of logs of new `sources` that were never read."""
        new = set(sources).difference(self._sources)
        logs = {one.log for one in seen if one.source in new}
        logs -= {log.path for log in self.logs.values() if log.files}
        return [one for one in seen if one.log in logs]

    def _wait_for(self, sources: Sequence[Source]) -> None:
        """Make known the logs that sources name without a glob, there or not."""
        for source in sources:
            if not is_glob(source.path):
                self.log(source.path, source.path)

    def restore(self, rows: Iterable[FileRow], key: bytes) -> None:
        """Take up the log files of stored rows, which come in the order of their ids."""
        for row in rows:
            log = self.log(row.log, row.source)
            log.files.append(LogFile.restored(row, log, key))
            self.claim(log.files[-1])

    def log(self, path: str, source: str) -> Log:
        """Return the log of that path, a new one if need be."""
        if path not in self.logs:
            self.logs[path] = Log(path, source, self._held, next(self._numbers))
            self._pin(self.logs[path])
        return self.logs[path]

    def _pin(self, log: Log) -> None:
        """Have the lines of `log` read as its source says."""
        if (source := self._sources.get(log.source)) is not None:
            log.format, log.prefix, log.key = source.format, source.prefix, source.key
            log.zone = source.timezone

    def known_logs(self) -> list[KnownLog]:
        sources = self._sources
        return [log.known(configured=log.source in sources) for log in self.logs.values()]

    def every(self) -> list[LogFile]:
        return [file for log in self.logs.values() for file in log.files]

    def open_logs(self) -> list[Log]:
        """Return the logs of which a file is open, in the order in which they became known."""
        return sorted(set(map(attrgetter("log"), self._held)), key=attrgetter("number"))

    def opened(self) -> list[LogFile]:
        """Return the open files, of each log the oldest first, in whatever order they were opened.

        A line in pieces is put together in this order.
        """
        return [file for log in self.open_logs() for file in log.files if file.content]

    @property
    def has_room(self) -> bool:
        """Tell whether one more file may be held open."""
        return len(self._held) < _most_open()

    def spare(self, file: LogFile) -> None:
        """Close a file that was just opened if too many are open; it is opened again in turn."""
        if not self.has_room and file.sighted:
            file.park()

    def make_room(self) -> None:
        """Close the files that were quiet for longest, if too many are open."""
        if self.has_room:
            return
        opened, most = self.opened(), _most_open()
        quiet = [f for f in opened if f.sighted and not f.behind and not f.has_more()]
        quiet.sort(key=lambda file: file.still.seconds, reverse=True)
        waiting = sum(1 for file in self.every() if file.parked and file.behind)
        for file in quiet[: max(waiting, len(opened) - most * 3 // 4)]:
            file.park()

    def start_look(self) -> None:
        """Forget how files begin: some may have gone, others may have come."""
        self._beginnings = None

    def beginning(self, begins: bytes, folder: str) -> list[LogFile]:
        """Return the log files in `folder` that may begin with these bytes, at least TAIL of them.

        Where a file is known to be shorter, it is held against as many as it has.
        """
        if self._beginnings is None:
            self._beginnings = self._by_beginning()
        whole, parts = self._beginnings
        *shorter, cut = _cuts(begins)
        found = [*whole.get((folder, b""), ()), *parts.get((folder, begins[:cut]), ())]
        for one in shorter:
            found += whole.get((folder, begins[:one]), ())
        return found

    def _by_beginning(self) -> "_Beginnings":
        found: _Beginnings = ({}, {})
        for file in self.every():
            if file.position or file.original:
                self._enter(file, *found)
        return found

    def add_beginning(self, file: LogFile) -> None:
        """Let a new file be known by how it begins, also in this look."""
        if self._beginnings is not None:
            self._enter(file, *self._beginnings)

    def _enter(self, file: LogFile, whole: _ByStart, parts: _ByStart) -> None:
        folder, first = dirname(file.log.path), self._first(file)
        cuts = _cuts(first) if first else [0]
        whole.setdefault((folder, first[: cuts[-1]]), []).append(file)
        for cut in cuts:
            parts.setdefault((folder, first[:cut]), []).append(file)

    def _first(self, file: LogFile) -> bytes:
        """Return how a file begins, empty if that cannot be known."""
        if len(file.first) < min(BEGINNING, max(file.size, 1)):
            with self.lent(file) as content:
                known = content is not None and file.compare(content).match is Match.SAME
                first = content.read_at(0, BEGINNING) if content and known else b""
                file.first = first if len(first) >= TAIL else b""
        return file.first

    def holds(self, file: LogFile) -> bool | None:
        """Tell whether a file where it was still holds what was read of it; None: it is not there.

        Whoever emptied it may have copied it before. Raises OSError.
        """
        with self.lent(file) as content:
            return None if content is None else file.compare(content).match is Match.SAME

    def unpacks(self, file: LogFile) -> bool:
        """Tell whether a file is compressed and still read: how much it holds shows at its end."""
        with self.lent(file) as content:
            return content is not None and content.compressed and file.state not in FINISHED

    @contextmanager
    def lent(self, file: LogFile) -> Iterator[Content | None]:
        """Yield the content of a file, opened for the moment if it is closed."""
        content = file.content or _opened(file)
        try:
            yield content
        finally:
            if content is not None and content is not file.content:
                content.close()

    def at(self, inode: Inode) -> LogFile | None:
        known = self._by_inode.get(inode)
        return known if known and known.inode == inode else None

    def claim(self, file: LogFile) -> None:
        if file.inode != NO_INODE:
            self._by_inode[file.inode] = file

    def give_up_inode(self, file: LogFile) -> None:
        """Take its inode from a log file: another file has it now."""
        self._unclaim(file)
        file.inode = NO_INODE
        file.sighted = file.at_live = False

    def close_truncated(self, file: LogFile) -> None:
        """Close a file that no longer holds what was read of it."""
        file.detach()
        file.lost_to_truncation = file.end_seen = True
        self.give_up_inode(file)

    def remove(self, file: LogFile) -> None:
        """Drop a log file whose row is to be deleted."""
        file.log.files.remove(file)
        file.log.forget_places()
        self._unclaim(file)
        self.removed.append(file.id)
        self._beginnings = None

    def move_in(self, known: LogFile, candidate: Candidate) -> bool:
        """Let `known` be the candidate if that holds what was read of it; open it to read on.

        Raises OSError when the candidate cannot be read.
        """
        content, seen = candidate.content(), candidate.sighting
        if content is None:
            return False
        evidence = known.compare(content)
        if evidence.match is not Match.SAME:
            return False
        was_active, moved = known.state is FileState.ACTIVE, known.inode != seen.inode
        if moved and known.state is FileState.COPY and _holds_more(known, content):
            return False
        self._unclaim(known)
        known.sight(seen, candidate.now)
        if known.state in FINISHED and not _goes_on(known, content, moved=moved):
            known.settle_in(seen)
        else:
            known.attach(content, evidence, seen.inode, candidate.now)
            candidate.release()
        self.claim(known)
        if was_active and not known.at_live:
            truncated = known.lost_to_truncation
            how = Rotation.COPYTRUNCATE if truncated else Rotation.RENAME
            candidate.batch.events.append(Rotated(how))
        elif was_active and moved:
            candidate.batch.events.append(Rotated(Rotation.REPLACE))
        known.lost_to_truncation = False
        return True

    def forget_logs(self) -> list[str]:
        """Drop the logs without files, but those that a source names; return their paths."""
        empty = [path for path, log in self.logs.items() if not log.files]
        forgotten = [path for path in empty if path not in self._sources]
        for path in forgotten:
            del self.logs[path]
        return forgotten

    def _unclaim(self, file: LogFile) -> None:
        if self._by_inode.get(file.inode) is file:
            del self._by_inode[file.inode]


def _by_path(sources: Sequence[Source]) -> dict[str, Source]:
    """Return the source of each path; the first of one path wins."""
    return {source.path: source for source in reversed(sources)}


def _opened(file: LogFile) -> Content | None:
    """Open a file where it was seen last, if it is still that."""
    try:
        content = open_content(file.place)
    except OSError:
        return None
    stat = content.stat()
    if (stat.st_dev, stat.st_ino) == file.inode:
        return content
    content.close()
    return None


def _most_open() -> int:
    """Return how many files may be held open: others need handles as well."""
    soft, _ = getrlimit(RLIMIT_NOFILE)
    return max(4, min(_MOST_OPEN, soft // 2))


def _holds_more(copy: LogFile, content: Content) -> bool:
    """Tell whether `content` goes on beyond a copy of which all is known; raises OSError."""
    return copy.position < ENOUGH and bool(content.read_at(copy.position, 1))


def _goes_on(known: LogFile, content: Content, *, moved: bool) -> bool:
    """Tell whether a file that is done with holds more now.

    What was left alone goes on only where it grew under its own inode: of a compressed one not
    all is known.
    """
    if known.open_from < known.position:
        return True  # its unfinished pieces are needed once more
    if known.state in LEFT_ALONE and (moved or content.compressed):
        return False
    return bool(content.read_at(known.position, 1))
