"""Which of the files that nobody knows are read: new log files are, copies and history are not.

What is not read is remembered by its content like what was read, so that it is known again under
any name, at any time and however it was compressed. It is said once, with its path and size.
"""

from collections.abc import Container, Iterable, Iterator, Sequence

from sidecar.batch import Left, LeftAlone, LogStatus, ReadBatch, Rotation
from sidecar.config.sources import Source
from sidecar.parse.event import MAX_LINE
from sidecar.read.content import Content
from sidecar.read.copies import Copies, begins_as, is_beginning
from sidecar.read.files import Candidate, LogFiles
from sidecar.read.fingerprint import Match, begins_like
from sidecar.read.log import Log, LogFile
from sidecar.read.names import Known, age, is_history, is_older, oldest_first
from sidecar.read.scan import Inode, Sighting
from sidecar.rows import FINISHED, LEFT_ALONE, FileState

# In looks: a worker deletes what another compressed, and then compresses to that name itself.
_RECENT = 8


class NewLogFiles:
    """Makes new log files: numbers them and puts them at their first position.

    Files that exist at the very first start begin at their end unless their source says
    otherwise; every other file is read from its beginning.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        key: bytes,
        next_id: int,
        first_start: bool,
        since: float | None,
    ) -> None:
        self._from_end = {s.path for s in sources if not s.from_beginning} if first_start else set()
        self._key = key
        self._next_id = next_id
        self._deferred: dict[Inode, int] = {}
        self._since = since
        self._looks_first = first_start

    def first_run(self, now: float) -> float | None:
        """Return when the very first run began, None if unknown and in its very first look."""
        if self._looks_first:
            self._looks_first, self._since = False, now
            return None
        return self._since

    def number(self) -> int:
        """Return an id that no log file had before."""
        self._next_id += 1
        return self._next_id - 1

    def defer(self, sighting: Sighting) -> None:
        """Remember the size of a file that was there at the first start but not readable."""
        self._deferred[sighting.inode] = sighting.size

    def to_read(self, sighting: Sighting) -> int:
        """Return how many bytes of a file that cannot be opened yet are to be read once it can."""
        from_end = sighting.source in self._from_end
        return max(0, sighting.size - (self._deferred.get(sighting.inode, 0) if from_end else 0))

    def pass_over(self, sources: Iterable[str], seen: Iterable[Sighting]) -> None:
        """Let files that are there begin at their end, as these sources of theirs say."""
        self._from_end.update(sources)
        for sighting in seen:
            self.defer(sighting)

    def make(
        self, log: Log, candidate: Candidate, content: Content, *, existed: bool, at: int | None
    ) -> LogFile:
        """Return a log file that reads `content`, from `at` if that is given.

        `existed`: at the first look of all.
        """
        new, seen = self.unread(log, candidate), candidate.sighting
        size = self._deferred.pop(seen.inode, seen.size if existed else None)
        size = size if at is None else at
        from_end = size is not None and (at is not None or log.source in self._from_end)
        if from_end and content.compressed and at is None:
            new.leave_alone(content, FileState.IGNORED)
        else:
            start = _line_start(content, size or 0, new) if from_end else 0
            new.start_at(start, content, seen.inode, candidate.now)
            candidate.release()
        return new

    def unread(self, log: Log, candidate: Candidate) -> LogFile:
        """Return a log file that is where the candidate is, of which nothing is known."""
        new = LogFile(self.number(), log, candidate.sighting.path, self._key)
        new.sight(candidate.sighting, candidate.now)
        return new


def _line_start(content: Content, size: int, new: LogFile) -> int:
    """Return the beginning of the line that `size` lies in, looking back MAX_LINE bytes."""
    back = min(size, MAX_LINE)
    newline = content.read_at(size - back, back).rfind(b"\n")
    if newline >= 0:
        return size - back + newline + 1
    new.skip = back < size
    return size if new.skip else 0


def _is_newer(log: Log, seen: Sighting) -> bool:
    """Tell whether a file's name says that it is newer than one of `log` that was read."""
    read = (f for f in log.files if f.position and f.state not in LEFT_ALONE)
    ages = [age(log.path, f.path) for f in read if f.sighted and not f.at_live]
    return any(is_older(one, age(log.path, seen.path)) for one in ages)


def _is_written_over(log: Log, seen: Sighting, replaced: Container[str]) -> bool:
    """Tell whether what is new was last seen under just this name, and is gone: so this is new."""
    read = (f for f in log.files if f.state is not FileState.IGNORED and not f.sighted)
    return seen.path in replaced or any(f.path == seen.path and f.missed < _RECENT for f in read)


class Adoption:
    """Decides whether a candidate is read as a new log file, or is a copy or old history."""

    def __init__(self, log_files: LogFiles, new: NewLogFiles, copies: Copies) -> None:
        self._log_files = log_files
        self._copies = copies
        self._new = new
        # Of files not taken up yet: whether they are old.
        self._history: dict[tuple[Inode, str], bool] = {}
        # Since when files wait that could never be opened, by the wall clock.
        self._unopened: dict[tuple[Inode, str], float] = {}

    def adopt(
        self, candidates: list[Candidate], batch: ReadBatch, now: float, *, first: bool
    ) -> None:
        """Take up what is to be read, rotated files oldest first, then live ones.

        `first`: this is the first look of this run.
        """
        self._batch, self._now, self._first = batch, now, first
        live = [c for c in candidates if c.sighting.is_live and not c.is_half_done]
        self._live = {c.sighting.path: c for c in live}
        since = self._new.first_run(now)
        for candidate in live:
            self._log_files.log(candidate.sighting.path, candidate.sighting.source)
        for candidate in (*self._rotated(candidates, since), *live):
            try:
                if candidate.sighting.is_live:
                    self._adopt_live(candidate)
                else:
                    self._adopt_rotated(candidate)
            except OSError as error:
                candidate.failed(error)
            candidate.close()
        if candidates or self._unopened:
            self._say_what_waits([c.sighting for c in candidates if c.unreadable])

    def _say_what_waits(self, unreadable: Sequence[Sighting]) -> None:
        """Report the files that nobody could ever open, with what is to be read of them."""
        waits = {_key(s): (s, self._new.to_read(s)) for s in unreadable if s.log}
        self._unopened = {k: self._unopened.get(k, self._now) for k, (_, n) in waits.items() if n}
        self._batch.logs += [
            LogStatus(
                seen.log, seen.path, seen.size - size, seen.size, size, FileState.ACTIVE.value,
                "", self._now - self._unopened[key], held=False,
            )
            for key, (seen, size) in waits.items() if size
        ]  # fmt: skip

    def _rotated(self, candidates: list[Candidate], since: float | None) -> list[Candidate]:
        """Return the candidates that are rotated files of a log, oldest first."""
        by_log: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            seen = candidate.sighting
            if not seen.log or seen.is_live or not seen.size or candidate.is_half_done:
                continue  # an empty file may become a copy
            if seen.source:
                self._log_files.log(seen.log, seen.source)
            if seen.log in self._log_files.logs:
                by_log.setdefault(seen.log, []).append(candidate)
        there = {_key(c.sighting) for many in by_log.values() for c in many}
        waited = [key for key, old in self._history.items() if not old]
        self._waited, self._replaced = {inode for inode, _ in waited}, {path for _, path in waited}
        self._history = {key: old for key, old in self._history.items() if key in there}
        found = []
        for path, many in by_log.items():
            self._judge(self._log_files.logs[path], many, since)
            of = {_key(c.sighting): c for c in many}
            found += [of[_key(s)] for s in oldest_first((c.sighting for c in many), path)]
        return found

    def _judge(self, log: Log, rotated: list[Candidate], since: float | None) -> None:
        """Decide which of the unknown files of `log` are old, before any of them is known.

        `since` is when the first run began, None in its first look: all there is then is old.
        """
        new = [c for c in rotated if _key(c.sighting) not in self._history]
        unplaced = log.unplaced
        files = [f for f in log.files if f.position or f.content or f in unplaced]
        files = [f for f in files if new and f.state is not FileState.COPY]
        known = [] if since is None else [self._known(file, rotated) for file in files]
        for candidate in new:
            seen = candidate.sighting
            old = since is None or (
                seen.inode not in self._waited  # it was found to be new, whatever its name is now
                and not _is_written_over(log, seen, self._replaced)
                and is_history(seen, log.path, known, int((candidate.since or since) * 1e9))
            )
            self._history[_key(seen)] = old

    def _known(self, file: LogFile, rotated: list[Candidate]) -> Known:
        """Return how old a known file is by its name, or if that does not say, by its copies'."""
        live = file.log.path
        paths = [file.path] if file.sighted and not file.at_live else []
        if file.position and not file.at_live and not any(age(live, path) for path in paths):
            paths += self._holding(file, rotated)
        gone = file.is_out_of_sight and file.state in FINISHED
        read = file.position and file.state is not FileState.IGNORED and not file.at_live
        # The look that found it may have listed its folder just before the rotation.
        newest = file.at_live and file.looks > 1
        return Known(
            [one for path in paths if (one := age(live, path))],
            begun=file.position > 0,
            newest=newest,
            found=bool(paths) or file.at_live or gone,
            written_ns=file.written_ns if read else None,
        )

    def _holding(self, file: LogFile, rotated: list[Candidate]) -> Iterator[str]:
        """Yield the paths of rotated files that hold all that was read of a file."""
        for copy in file.log.files:
            if copy.state is FileState.COPY and copy.sighted:
                with self._log_files.lent(copy) as content:
                    if content is not None and _is_in(file, content):
                        yield copy.path
        yield from (c.sighting.path for c in rotated if _is(file, c))

    def _adopt_live(self, candidate: Candidate) -> None:
        log = self._log_files.log(candidate.sighting.path, candidate.sighting.source)
        before = log.newest
        if before and before.content and not before.sighted:
            if before.position and self._goes_on(before, before.content, candidate):
                return
            how = Rotation.REPLACE if before.is_unlinked() else Rotation.RENAME
            before.leave_live_path(how, self._batch, self._now)
        self._start(log, candidate)

    def _goes_on(self, before: LogFile, held: Content, candidate: Candidate) -> bool:
        """Let the log go on in a file that holds what was read of the one before.

        So it is after a folder was moved to another disk, or was mounted anew. What the file
        before holds beyond that is read as well.
        """
        content, size = candidate.content(), candidate.sighting.size
        if content is None:
            return False
        old = held.stat().st_size
        if not held.compressed and not begins_like(held.read_at, old, content.read_at):
            copied = size if begins_like(content.read_at, size, held.read_at) else 0
            if not copied:
                same = before.match(content) is Match.SAME
                copied = before.position if same else before.marks.shared(content.read_at)
            if not copied:
                return False
            before.leave_live_path(Rotation.REPLACE, self._batch, self._now)
            self._start(before.log, candidate, at=copied)
            return True
        return self._log_files.move_in(before, candidate)

    def _adopt_rotated(self, candidate: Candidate) -> None:
        seen = candidate.sighting
        log = self._log_files.logs[seen.log]
        # It may be one not begun: so says its time, which compressing keeps, or its beginning.
        unbegun = [file for file in log.unplaced if not file.position]
        history = self._history[_key(seen)] and all(f.mtime_ns != seen.mtime_ns for f in unbegun)
        candidate.stranger = history and not seen.source
        content = candidate.content()
        if content is None:
            return
        like, rest = self._copies.original_of(log, seen, content) or (None, 0)
        if like and like.state is FileState.IGNORED and _is_newer(log, seen):
            like = None  # what was taken for history is a copy of this
        if like is not None:
            # Once the original is truncated, the copy is all there is of what was not begun.
            if like.position and rest:
                if like.log is not log or like.at_live or like.state in LEFT_ALONE:
                    self._start(log, candidate, at=rest)
                else:
                    self._move(like, candidate)
            elif like.position and not self._log_files.unpacks(like):
                self._leave_alone(log, candidate, content, FileState.COPY, like.path)
        elif self._is_of_new(log, seen, content) or self._copies.is_undecided(log, content):
            return
        elif history and not seen.source and not any(begins_as(f, content) for f in unbegun):
            self._leave_alone(log, candidate, content, FileState.IGNORED)
        else:
            self._start(log, candidate)

    def _move(self, known: LogFile, candidate: Candidate) -> None:
        """Let a file go on in a longer copy, and leave alone where it was read so far."""
        seen = Sighting(
            known.path, known.inode, known.size, known.mtime_ns, known.log.path, source=""
        )
        left = None
        with self._log_files.lent(known) as content:
            if content is not None and known.sighted:
                left = self._new.unread(known.log, Candidate(seen, self._batch, self._now))
                left.leave_alone(content, FileState.COPY)
        if self._log_files.move_in(known, candidate) and left is not None:
            self._take(known.log, left, live=False)
            self._batch.events.append(_left_alone(left, known.path))

    def _is_of_new(self, log: Log, seen: Sighting, content: Content) -> bool:
        """Tell whether a file is a copy of what is at the log's path, unknown as that still is."""
        live = self._live.get(log.path)
        other = None if live is None else live.content()
        if live is None or other is None:
            return False
        if is_beginning(content, seen.size, other):
            return True
        size = live.sighting.size
        if not content.compressed or not begins_like(other.read_at, size, content.read_at):
            return False
        # What holds more than that does by now is no copy of it.
        return not (content.complete and content.read_at(other.stat().st_size, 1))

    def _start(self, log: Log, candidate: Candidate, *, at: int | None = None) -> None:
        """Make the candidate a new log file of `log`, to be read from `at` if that is given."""
        content = candidate.content()
        if content is None:
            if candidate.unreadable and self._first:
                self._new.defer(candidate.sighting)
            return
        new = self._new.make(log, candidate, content, existed=self._first, at=at)
        self._take(log, new, live=candidate.sighting.is_live)
        self._log_files.spare(new)

    def leave_copy(self, of: LogFile, candidate: Candidate) -> None:
        """Leave a file alone that is a copy of what was read of another; raises OSError."""
        content = candidate.content()
        if content is not None and self._log_files.at(candidate.sighting.inode) is None:
            self._leave_alone(of.log, candidate, content, FileState.COPY, of.path)

    def _leave_alone(
        self, log: Log, candidate: Candidate, content: Content, state: FileState, like: str = ""
    ) -> None:
        """Remember a file by its content, so that it is known wherever it goes, and say so."""
        new = self._new.unread(log, candidate)
        new.leave_alone(content, state)
        self._take(log, new, live=False)
        candidate.batch.events.append(_left_alone(new, like))

    def _take(self, log: Log, new: LogFile, *, live: bool) -> None:
        if live:
            log.files.append(new)
        else:
            log.insert(new)
        log.forget_places()
        self._log_files.claim(new)
        if new.position:
            self._log_files.add_beginning(new)
        self._history.pop((new.inode, new.path), None)  # another may come to be there


def _key(seen: Sighting) -> tuple[Inode, str]:
    return seen.inode, seen.path


def _is(file: LogFile, candidate: Candidate) -> bool:
    """Tell whether a candidate holds what was read of a file."""
    try:
        content = candidate.content()
        return content is not None and _is_in(file, content)
    finally:
        candidate.close()


def _is_in(file: LogFile, content: Content) -> bool:
    try:
        return file.match(content) is Match.SAME
    except OSError:
        return False


def _left_alone(file: LogFile, like: str) -> LeftAlone:
    why = Left.COPY if file.state is FileState.COPY else Left.HISTORY
    return LeftAlone(file.log.path, file.path, file.size, why, like)
