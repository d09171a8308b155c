"""Which file on disk is which log file, and which of the unknown files are to be read.

In order: files whose inode is known (verified by content unless held open), then log files that
are out of sight looked for by content among the candidates, then the candidates that are left:
new log files, copies, or old history. A log file is given up only when everything that could be
it was looked at.
"""

from collections.abc import Sequence
from posixpath import dirname

from sidecar.batch import BytesLost, ReadBatch, Rotated, Rotation, Truncated
from sidecar.config.sources import Source
from sidecar.parse.event import MAX_LINE
from sidecar.read.content import Content
from sidecar.read.files import Candidate, LogFiles
from sidecar.read.fingerprint import Match, begins_like
from sidecar.read.log import FINISHED, FileState, Log, LogFile
from sidecar.read.scan import OLDEST, Inode, Look, Sighting

_DIFFERENT_KEPT = 10_000
# A file that is renamed while the directory is listed may be missed, and again in the next look.
_PATIENCE_LOOKS = 8


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

    def make(self, log: Log, candidate: Candidate, content: Content, *, existed: bool) -> LogFile:
        """Return a log file that reads `content`; `existed` at the first look of all."""
        seen, now = candidate.sighting, candidate.now
        new = LogFile(self.number(), log, seen.path, self._key)
        new.sight(seen, now)
        size = self._deferred.pop(seen.inode, seen.size if existed else None)
        from_end = size is not None and log.source in self._from_end
        start = _line_start(content, size or 0, new) if from_end else 0
        new.start_at(start, content, seen.inode, now)
        if from_end and content.compressed:
            new.detach()
            new.state = FileState.IGNORED
        return new


def _line_start(content: Content, size: int, new: LogFile) -> int:
    """Return the beginning of the line that `size` lies in, looking back MAX_LINE bytes."""
    if content.compressed:
        return 0
    back = min(size, MAX_LINE)
    newline = content.read_at(size - back, back).rfind(b"\n")
    if newline >= 0:
        return size - back + newline + 1
    new.skip = back < size
    return size if new.skip else 0


class Adoption:
    """Decides whether a candidate is read as a new log file, or is a copy or old history."""

    def __init__(self, log_files: LogFiles, new: NewLogFiles) -> None:
        self._log_files = log_files
        self._new = new

    def adopt(
        self, candidates: list[Candidate], batch: ReadBatch, now: float, *, first: bool
    ) -> None:
        """Take up what is to be read, rotated files oldest first, then live ones.

        `first`: this is the first look of this run.
        """
        self._batch, self._now, self._first = batch, now, first
        rotated = [c for c in candidates if c.sighting.log and not c.sighting.is_live]
        live = [c for c in candidates if c.sighting.is_live]
        self._meet(live)
        for candidate in (*sorted(rotated, key=lambda c: c.sighting.age), *live):
            try:
                if candidate.sighting.is_live:
                    self._adopt_live(candidate)
                else:
                    self._adopt_rotated(candidate)
            except OSError as error:
                candidate.failed(error)
        for log in self._log_files.logs.values() if first else ():
            if log.history_age is None:
                beside = (c.sighting for c in rotated if c.sighting.log == log.path)
                log.history_age = max((seen.age for seen in beside), default=(0, OLDEST))

    def _meet(self, live: list[Candidate]) -> None:
        """Make the logs of `live` files known, and say which files beside them are history.

        Of a log of which nothing was read yet, that is what was last written before there was
        anybody to see it: a younger file was born and rotated between two looks.
        """
        since = self._new.first_run(self._now)
        for candidate in live:
            self._log_files.log(candidate.sighting.path, candidate.sighting.source)
        if since is None:
            return
        for log in self._log_files.logs.values():
            if log.history_age is None and not any(file.position for file in log.files):
                log.history_age = (int(since * 1e9), OLDEST)

    def _adopt_live(self, candidate: Candidate) -> None:
        log = self._log_files.log(candidate.sighting.path, candidate.sighting.source)
        before = log.files[-1] if log.files else None
        if before and before.content and not before.sighted:
            unlinked = before.is_unlinked()
            if unlinked and before.position and self._log_files.move_in(before, candidate):
                return
            before.leave_live_path(
                Rotation.REPLACE if unlinked else Rotation.RENAME, self._batch, self._now
            )
        self._start(log, candidate)

    def _adopt_rotated(self, candidate: Candidate) -> None:
        seen = candidate.sighting
        log = self._log_files.logs.get(seen.log)
        if log is None and seen.source:
            log = self._log_files.log(seen.log, seen.source)
        if log is None or log.leaves_alone(seen):
            return
        if self._is_unread(log, candidate):
            self._start(log, candidate)
        elif self._first and seen.size and not candidate.unreadable:
            log.leave_alone(seen)

    def _is_unread(self, log: Log, candidate: Candidate) -> bool:
        """Tell whether a rotated file holds lines nobody read: no copy, and not old history.

        A file that no glob matches is only read when it is younger than the youngest log file
        known to be rotated: then it was the live file in between, and we did not look.
        """
        seen, before = candidate.sighting, log.read_up_to
        missed = before is not None and seen.age > before
        # A file not begun cannot be known by content, but compressing it keeps its time.
        missed |= any(not f.position and f.mtime_ns == seen.mtime_ns for f in log.unplaced)
        if seen.size == 0 or not (seen.source or missed):
            return False  # an empty file may become a copy
        if candidate.is_half_done:
            return False
        content = candidate.content()
        return content is not None and not _is_copy(log, candidate, content)

    def _start(self, log: Log, candidate: Candidate) -> None:
        """Make the candidate a new log file of `log`."""
        content = candidate.content()
        if content is None:
            if candidate.unreadable and self._first:
                self._new.defer(candidate.sighting)
            return
        new = self._new.make(log, candidate, content, existed=self._first)
        candidate.release()
        if candidate.sighting.is_live:
            log.files.append(new)
        else:
            log.insert(new)
        self._log_files.claim(new)


def _is_copy(log: Log, candidate: Candidate, content: Content) -> bool:
    """Tell whether the file is a copy of a known log file, or may yet turn out to be one."""
    for known in log.files:
        match = known.match(content)
        if match is Match.SAME or known.marks.are_in(content.read_at):
            _note_copy(candidate, known)
            return True
        if match is Match.SHORTER and not content.complete:
            return True  # too little of it is written yet to tell
    live = log.live
    if live is None or live.content is None or content.compressed:
        return False
    copied = begins_like(content.read_at, candidate.sighting.size, live.content.read_at)
    if copied:
        _note_copy(candidate, live)
    return copied


def _note_copy(candidate: Candidate, known: LogFile) -> None:
    """Leave the copy alone, unless nothing is read yet of what it is a copy of.

    Once the original is truncated, the copy is all there is, and only its content says whose.
    """
    if known.position:
        known.log.leave_alone(candidate.sighting)


class Recogniser:
    """Brings the log files up to date with one look after another."""

    def __init__(self, log_files: LogFiles, adoption: Adoption) -> None:
        self._log_files = log_files
        self._adoption = adoption
        # (id, position, inode, size, mtime) compared and found different: saves opening.
        self._different: set[tuple[int, int, Inode, int, int]] = set()
        self._looks = 0

    def recognise(self, look: Look, now: float) -> None:
        """Bring the logs up to date with `look`, opening what is to be read."""
        self._look, self._batch, self._now = look, look.batch, now
        self._looks += 1
        candidates = self._sight_known()
        if self._looks == 1:
            for log in self._log_files.logs.values():
                log.sort()
        uncertain = self._search(candidates)
        self._adoption.adopt(candidates, self._batch, now, first=self._looks == 1)
        for file in self._log_files.every():
            if file not in uncertain and not self._may_be_hidden(file):
                self._update_state(file)
        for candidate in candidates:
            candidate.close()

    # -- files with a known inode

    def _sight_known(self) -> list[Candidate]:
        """Sight the known log files; return the files that are not known."""
        for file in self._log_files.every():
            file.sighted = False
        candidates = []
        inodes = self._look.by_inode()
        for log in self._log_files.logs.values() if not self._look.hidden else ():
            log.keep_history(inodes)
        for inode, sightings in inodes.items():
            known = self._log_files.at(inode)
            candidate = Candidate(_best(sightings, known), self._batch, self._now)
            if known is None or not self._is_still(known, candidate):
                candidates.append(candidate)
        for file in self._log_files.every():
            if not file.sighted and not self._may_be_hidden(file):
                file.at_live, file.doubted = False, True
                file.missed += 1
        return candidates

    def _is_still(self, known: LogFile, candidate: Candidate) -> bool:
        """Tell whether the file where `known` was is still that; open it if there is need."""
        seen = candidate.sighting
        moved = known.path != seen.path
        known.sight(seen, self._now)
        if known.content is not None or not _wants_opening(known, seen):
            return True
        if self._is_reopened(known, candidate, moved=moved):
            return True
        known.lost_to_truncation = seen.path == known.log.path
        self._log_files.give_up_inode(known)
        return False

    def _is_reopened(self, known: LogFile, candidate: Candidate, *, moved: bool) -> bool:
        content = candidate.content()
        if content is None:
            return True  # gone since, or not readable now: no reason to think it another
        if known.state is FileState.IGNORED:
            return False  # nothing of it was read by which to know it
        try:
            if moved and not known.position and _is_other(known, candidate, content):
                return False
            return self._log_files.move_in(known, candidate)
        except OSError as error:
            candidate.failed(error)
            candidate.close()
            return True

    # -- log files that are not where they were

    def _search(self, candidates: list[Candidate]) -> set[LogFile]:
        """Look for them by content; return those that may be in a file that could not be read."""
        uncertain: set[LogFile] = set()
        for log in self._log_files.logs.values():
            for file in log.unplaced if candidates else ():
                related = (c for c in candidates if self._look.is_related(log.path, c.sighting))
                near = [c for c in related if not c.is_half_done]
                near.sort(key=lambda c: c.sighting.mtime_ns, reverse=True)
                for candidate in near if file.position else ():
                    if self._is_in(file, candidate, uncertain):
                        candidates.remove(candidate)
                        break
        return uncertain

    def _is_in(self, file: LogFile, candidate: Candidate, uncertain: set[LogFile]) -> bool:
        seen = candidate.sighting
        compared = (file.id, file.position, seen.inode, seen.size, seen.mtime_ns)
        if compared in self._different:
            return False
        content = candidate.content()
        try:
            if content and self._log_files.move_in(file, candidate):
                return True
            if content and file.marks.are_in(content.read_at):
                self._finish_in(file, candidate)
                return True
            undecided = candidate.unreadable if content is None else not content.complete
        except OSError as error:
            candidate.failed(error)
            undecided = True
        if undecided:
            uncertain.add(file)
        elif content is not None:
            if len(self._different) >= _DIFFERENT_KEPT:
                self._different.clear()
            self._different.add(compared)
        return False

    def _finish_in(self, file: LogFile, candidate: Candidate) -> None:
        """All of the copy was read before: there is nothing left of `file`."""
        self._batch.events.append(Rotated(Rotation.COPYTRUNCATE))
        file.state, file.lost_to_truncation = FileState.DRAINED, False
        self._log_files.give_up_inode(file)
        file.log.leave_alone(candidate.sighting)
        candidate.close()

    # -- what is left

    def _update_state(self, file: LogFile) -> None:
        """Bring the state of a log file up to date with where it is now."""
        if file.content is None:
            if not file.sighted and file.state not in (*FINISHED, FileState.LOST):
                self._miss(file)
        elif file.sighted and file.at_live:
            file.state = FileState.ACTIVE
        elif not file.sighted and file.is_unlinked():
            file.leave_live_path(Rotation.DELETE, self._batch, self._now)
        elif file.sighted or file is not file.log.files[-1]:
            file.leave_live_path(Rotation.RENAME, self._batch, self._now)

    def _miss(self, file: LogFile) -> None:
        """Count what was unread of a file that is nowhere, once another has taken its place."""
        log = file.log
        if log.live is None or file.missed < _PATIENCE_LOOKS:
            file.state = FileState.MISSING
            return
        if file.lost_to_truncation:
            self._batch.events.append(Truncated())
            file.lost_to_truncation = False
        lost = 0 if _is_found_again(file) else file.unread or int(file.path.endswith(".gz"))
        if lost:
            self._batch.events.append(BytesLost(log.path, lost))
        file.state = FileState.LOST if lost else FileState.DRAINED
        self._log_files.give_up_inode(file)

    def _may_be_hidden(self, file: LogFile) -> bool:
        """Tell whether the file may be where this look could not look."""
        hidden = self._look.hidden
        paths = (file.path, file.log.path)
        return bool(hidden) and not hidden.isdisjoint({*paths, *map(dirname, paths)})


def _best(sightings: list[Sighting], known: LogFile | None) -> Sighting:
    """Return the path by which to know a file that has several: hard links, symlinks."""
    log = known.log.path if known else ""
    return min(sightings, key=lambda s: (s.path != log, not s.is_live, not s.source, s.path))


def _wants_opening(known: LogFile, seen: Sighting) -> bool:
    if known.state is FileState.IGNORED:
        return not seen.path.endswith(".gz")  # its inode has gone to another file
    unfinished = known.state is not FileState.DRAINED or known.open_from < known.position
    changed = (seen.size, seen.mtime_ns) != (known.size, known.mtime_ns)
    return unfinished or changed or known.doubted or seen.path == known.log.path


def _is_other(unbegun: LogFile, candidate: Candidate, content: Content) -> bool:
    """Tell whether a moved file is not the one that was never begun.

    Of that only the inode is known, and inodes are used again: by a copy of another file.
    """
    seen = candidate.sighting
    if (seen.size, seen.mtime_ns) == (unbegun.size, unbegun.mtime_ns):
        return False
    return (
        seen.is_live
        or content.compressed
        or any(f.match(content) is Match.SAME for f in unbegun.log.files if f.position)
    )


def _is_found_again(old: LogFile) -> bool:
    """Tell whether a file not begun was taken up under another name, as if it were new."""
    return not old.position and any(f.id > old.id and not f.at_live for f in old.log.files)
