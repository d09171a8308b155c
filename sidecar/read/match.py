"""Which file on disk is which log file.

In order: files whose inode is known (verified by content unless held open), then log files that
are out of sight looked for by content among the files that are left, then in all the folders
around; what nobody knows goes to `adopt`. A log file is given up only when everything that could
be it was looked at.
"""

from posixpath import basename, dirname

from msgspec.structs import replace

from sidecar.batch import BytesLost, EndUnseen, Rotated, Rotation, Truncated
from sidecar.read.adopt import Adoption
from sidecar.read.content import ENOUGH, Content
from sidecar.read.copies import Copies, is_beginning
from sidecar.read.files import Candidate, LogFiles
from sidecar.read.fingerprint import HEAD, TAIL, Match
from sidecar.read.log import Log, LogFile
from sidecar.read.names import COMPRESSED, Rank, age, shape
from sidecar.read.scan import Inode, Look, Sighting
from sidecar.rows import FINISHED, GIVEN_UP, LEFT_ALONE, FileState

_DIFFERENT_KEPT = 10_000
# A file that is renamed while the directory is listed may be missed, and again in the next look.
_PATIENCE_LOOKS = 8
_MOST_AROUND = 10_000
# By so much a file's time may be behind the clock when it is written.
_GRAIN_SECONDS = 1.0


class Recogniser:
    """Brings the log files up to date with one look after another."""

    def __init__(self, log_files: LogFiles, copies: Copies, adoption: Adoption) -> None:
        self._log_files = log_files
        self._copies = copies
        self._adoption = adoption
        # (id, position, inode, size, mtime) compared and found different: saves opening.
        self._different: set[tuple[int, int, Inode, int, int]] = set()
        self._looks = 0
        self._beginning: list[str] = []  # logs with something to read, and nothing read yet
        self._looked_at = 0.0  # by the wall clock, the last time

    def recognise(self, look: Look, now: float) -> None:
        """Bring the logs up to date with `look`, opening what is to be read."""
        self._look, self._batch, self._now = look, look.batch, now
        self._looks += 1
        self._looked_at = self._looked_at or now
        self._log_files.start_look()
        self._seen = {seen.inode: seen for seen in look.sightings}
        candidates = self._sight_known()
        if self._looks == 1:
            for log in self._log_files.logs.values():
                log.sort()
        uncertain = self._search(candidates)
        if candidates:
            self._name_like(candidates)
        if candidates or self._beginning:
            self._look_below(candidates)
        self._adoption.adopt(candidates, self._batch, now, first=self._looks == 1)
        self._looked_at = now
        for file in self._log_files.every():
            if file.content is None and file.sighted:
                continue  # closed where it was: nothing to say
            if file not in uncertain and not self._may_be_hidden(file):
                self._update_state(file)
        self._copies.drop_copies(self._batch)

    # -- files with a known inode

    def _sight_known(self) -> list[Candidate]:
        """Sight the known log files; return the files that are not known."""
        for file in self._log_files.every():
            file.sighted = False
            file.looks += 1
        candidates, copies = [], []
        for inode, sightings in self._look.by_inode().items():
            known = self._log_files.at(inode)
            seen = sightings[0] if len(sightings) == 1 else _best(sightings, known)
            if known is not None and known.state is FileState.COPY:
                copies.append((known, seen))
            elif known is None or not self._is_still(known, seen):
                candidates.append(Candidate(seen, self._batch, self._now))
        for copy, seen in copies:  # last: what they are depends on what is there of the others
            if not self._is_still(copy, seen):
                candidates.append(Candidate(seen, self._batch, self._now))
        for file in self._log_files.every():
            if not file.sighted and not self._may_be_hidden(file):
                file.at_live, file.doubted = False, True
                file.missed += 1
        return candidates

    def _is_still(self, known: LogFile, seen: Sighting) -> bool:
        """Tell whether the file where `known` was is still that; open it if there is need."""
        before, moved = known.path, known.path != seen.path
        known.sight(seen, self._now)
        if known.content is not None or not _wants_opening(known, seen):
            return True
        if known.parked and not self._log_files.has_room:
            known.size, known.behind = seen.size, True
            return True
        candidate = Candidate(seen, self._batch, self._now)
        try:
            if self._is_reopened(known, candidate, moved=moved):
                return True
        finally:
            candidate.close()
        known.lost_to_truncation = seen.path == known.log.path and known.state not in LEFT_ALONE
        self._log_files.give_up_inode(known)
        known.path = before
        return False

    def _is_reopened(self, known: LogFile, candidate: Candidate, *, moved: bool) -> bool:
        content = candidate.content()
        if content is None:
            known.size = candidate.sighting.size if candidate.unreadable else known.size
            return True  # gone since, or not readable now: no reason to think it another
        try:
            if known.state in LEFT_ALONE and not known.position:
                # Of the version before, which knew it by its inode.
                known.leave_alone(content, known.state)
                return True
            if known.state is FileState.COPY:
                yet = self._is_copy_yet(known, candidate, content)
                if yet:
                    return True
                if yet is False or known.position < TAIL:
                    self._log_files.remove(known)  # so few bytes say nothing: it is another
                    return False
            if not known.position and self._is_other(known, candidate, content, moved=moved):
                return False
            return self._log_files.move_in(known, candidate)
        except OSError as error:
            candidate.failed(error)
            return True

    def _is_copy_yet(self, known: LogFile, candidate: Candidate, content: Content) -> bool | None:
        """Tell whether a copy that has changed is one still, because it was being made.

        So it is too where its original holds less by now, having been truncated: what was not
        read of that is looked for in the copy next. None: what it holds beyond is to be read.
        False: it is one of what is not begun, and may soon be all there is of that.
        """
        if known.compare(content).match is not Match.SAME:
            return None
        size = candidate.sighting.size
        twin = self._copies.like(content, size, known, dirname(known.log.path))
        if twin is None:
            # What was read of the original goes beyond it: it was read while the copy was made.
            # An original that still holds all of that would have been found to begin alike.
            shorter = (f for f in known.log.files if f.match(content) is Match.SHORTER)
            # All that begins like a few bytes is longer; what is over a head begins like one.
            sure = known.position >= TAIL or bool(content.read_at(HEAD, 1))
            beyond = sure and not all(map(self._log_files.holds, shorter))
            if beyond and content.complete:
                known.leave_alone(content, FileState.COPY)
            return beyond or None
        original, rest = twin
        if not original.position:
            return False
        over = original.state in (*FINISHED, *GIVEN_UP)
        if rest and (over or self._log_files.holds(original)):
            known.pass_over(content, rest)
            return None
        known.leave_alone(content, FileState.COPY)
        return True

    def _is_other(
        self, unbegun: LogFile, candidate: Candidate, content: Content, *, moved: bool
    ) -> bool:
        """Tell whether a file is not the one that was never begun; raises OSError.

        Of that only inode and size are known, and inodes are used again: by a copy of another
        file, which is empty at first.
        """
        seen = candidate.sighting
        if (seen.size, seen.mtime_ns) == (unbegun.size, unbegun.mtime_ns):
            return False
        if seen.is_live or (content.compressed and moved):
            return moved
        if not content.compressed and seen.size < max(1, unbegun.size):
            return True
        others = (file for file in unbegun.log.files if file is not unbegun)
        return any(self._is_copy(seen, content, file) for file in others)

    def _is_copy(self, seen: Sighting, content: Content, of: LogFile) -> bool:
        if of.position and of.match(content) is Match.SAME:
            return True
        with self._log_files.lent(of) as other:
            return other is not None and is_beginning(content, seen.size, other)

    # -- log files that are not where they were

    def _search(self, candidates: list[Candidate]) -> set[LogFile]:
        """Look for them by content; return those that may be in a file that could not be read."""
        uncertain: set[LogFile] = set()
        away = [f for f in self._log_files.every() if f.position and f.is_out_of_sight]
        for file in away:
            if self._is_near(file, candidates, uncertain):
                continue
            if file.state not in FINISHED and _is_time_to_look_around(file):
                self._look_around(file, candidates)
        self._beginning = []
        for file in self._log_files.opened():
            if file.missed and _is_time_to_look_around(file):
                self._look_around(file, candidates)
            if file.at_live and file.size and not file.position:
                self._beginning.append(file.log.path)
        return uncertain

    def _name_like(self, candidates: list[Candidate]) -> None:
        """Give files whose names do not say whose they are to the log of one that is named alike.

        Its file was found by content under such a name just now: after two rotations there are two.
        """
        nameless = [c for c in candidates if not c.sighting.log and _series(c.sighting.path)[1]]
        rotated = (f for f in self._log_files.every() if nameless and f.sighted and not f.at_live)
        owners = {_series(file.path): file.log.path for file in rotated}
        for candidate in nameless:
            if owner := owners.get(_series(candidate.sighting.path)):
                candidate.sighting = replace(candidate.sighting, log=owner)

    def _is_near(self, file: LogFile, candidates: list[Candidate], uncertain: set[LogFile]) -> bool:
        """Look for a file where its log lies; what is left alone there may be a copy of it."""
        log = file.log
        near = [c for c in candidates if self._look.is_related(log.path, c.sighting)]
        near = [c for c in near if not c.is_half_done]
        near.sort(key=lambda c: _likely(log.path, c.sighting))
        for candidate in near:
            if self._is_in(file, candidate, uncertain):
                candidates.remove(candidate)
                return True
        for copy in self._copies_near(log) if file.state not in FINISHED else ():
            candidate = Candidate(self._seen[copy.inode], self._batch, self._now)
            if self._is_in(file, candidate, uncertain):
                if file.state is not FileState.DRAINED:
                    self._log_files.remove(copy)
                return True
        return False

    def _copies_near(self, log: Log) -> list[LogFile]:
        """Return the copies where a log lies, those first that hold most.

        By the names there, they may be another log's. Of one that is compressed no more than
        ENOUGH is known.
        """
        copies = (f for f in self._log_files.every() if f.state is FileState.COPY and f.sighted)
        near = (f for f in copies if self._look.is_related(log.path, self._seen[f.inode]))
        return sorted(near, key=lambda f: (f.position != ENOUGH, -f.position))

    def _look_around(self, file: LogFile, candidates: list[Candidate]) -> None:
        """Look for a file in the folder where it was last, where its log lies, and right below."""
        log = file.log
        if self._may_be_hidden(file) or log.path not in self._look.anchors:
            return
        folders = {dirname(file.place), dirname(log.path)}
        folders |= {where for where, _ in self._look.anchors[log.path]}
        met = {candidate.sighting.inode for candidate in candidates}
        logs = {basename(log.path): log.path}
        for seen in self._look.around(folders, logs, _MOST_AROUND):
            if seen.inode == file.inode and file.content is not None:
                file.sight(seen, self._now)
            elif seen.inode in met or self._log_files.at(seen.inode) not in (None, file):
                continue
            elif (file.content or not self._is_stranger(file, seen)) and seen.log:
                candidates.append(Candidate(seen, self._batch, self._now))

    def _look_below(self, candidates: list[Candidate]) -> None:
        """Look for rotated files of logs that were never read, in the folders right below."""
        new = (c.sighting.log for c in candidates if c.sighting.is_live and c.sighting.size)
        by_folder: dict[str, dict[str, str]] = {}
        for log in {*self._beginning, *new}:
            if not any(file.position for file in self._files_of(log)):
                for directory, name in self._look.anchors.get(log, ()):
                    by_folder.setdefault(directory, {})[name] = log
        met = {candidate.sighting.inode for candidate in candidates}
        for directory, logs in by_folder.items():
            for seen in self._look.around([directory], logs, _MOST_AROUND):
                if seen.log and seen.inode not in met and not self._is_known(seen):
                    met.add(seen.inode)
                    followed = (file.followed_since for file in self._files_of(seen.log))
                    since = min(followed, default=self._looked_at) - _GRAIN_SECONDS
                    candidates.append(Candidate(seen, self._batch, self._now, since=since))

    def _is_known(self, seen: Sighting) -> bool:
        known = self._log_files.at(seen.inode)
        return known is not None and (known.sighted or self._is_still(known, seen))

    def _files_of(self, log: str) -> list[LogFile]:
        known = self._log_files.logs.get(log)
        return known.files if known else []

    def _is_stranger(self, file: LogFile, seen: Sighting) -> bool:
        """Tell whether a file that nobody asked for is one that is looked for."""
        stranger = Candidate(seen, self._batch, self._now, stranger=True)
        return not file.sighted and self._is_in(file, stranger, set())

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
        finally:
            candidate.close()
        if undecided:
            uncertain.add(file)
        elif content is not None:
            if len(self._different) >= _DIFFERENT_KEPT:
                self._different.clear()
            self._different.add(compared)
        return False

    def _finish_in(self, file: LogFile, candidate: Candidate) -> None:
        """All of the copy was read before: there is nothing left of `file`."""
        if file.state not in FINISHED:
            self._batch.events.append(Rotated(Rotation.COPYTRUNCATE))
        file.state, file.lost_to_truncation = FileState.DRAINED, False
        self._log_files.give_up_inode(file)
        self._adoption.leave_copy(file, candidate)

    # -- what is left

    def _update_state(self, file: LogFile) -> None:
        """Bring the state of a log file up to date with where it is now."""
        if file.content is None:
            if not file.sighted and file.state not in (*FINISHED, *GIVEN_UP):
                self._miss(file)
        elif file.sighted and file.at_live:
            file.state = FileState.ACTIVE
        elif not file.sighted and file.is_unlinked():
            file.leave_live_path(Rotation.DELETE, self._batch, self._now)
        elif file.sighted or file is not file.log.files[-1]:
            file.leave_live_path(Rotation.RENAME, self._batch, self._now)

    def _miss(self, file: LogFile) -> None:
        """Say what is gone of a file that is nowhere, once it has been looked for long enough.

        Where another has taken its place, so it is of any; else of one that was begun, if the
        place can be seen.
        """
        log = file.log
        over = log.live is not None or (file.position and log.path in self._look.anchors)
        if not over or file.missed < _PATIENCE_LOOKS or self._is_folder_gone(log):
            file.state = FileState.MISSING
            return
        if file.lost_to_truncation:
            self._batch.events.append(Truncated())
        lost = 0 if _is_found_again(file) else file.unread or int(file.path.endswith(COMPRESSED))
        if lost:
            self._batch.events.append(BytesLost(log.path, lost))
            file.state = FileState.LOST
        elif file.position and not file.end_seen:
            self._batch.events.append(EndUnseen(log.path, file.path, file.position))
            file.state = FileState.UNSEEN
        else:
            file.state = FileState.DRAINED
        file.lost_to_truncation = False
        if log.live is not None:
            self._log_files.give_up_inode(file)

    def _is_folder_gone(self, log: Log) -> bool:
        return log.live is None and dirname(log.path) in self._look.missing

    def _may_be_hidden(self, file: LogFile) -> bool:
        """Tell whether the file may be where this look could not look."""
        if not (hidden := self._look.hidden):
            return False
        paths = (file.path, file.log.path)
        return not hidden.isdisjoint({*paths, *map(dirname, paths)})


def _is_time_to_look_around(file: LogFile) -> bool:
    """Tell so at once when it is out of sight, and then ever more seldom: a rotation takes time."""
    return file.missed.bit_count() == 1


def _best(sightings: list[Sighting], known: LogFile | None) -> Sighting:
    """Return the path by which to know a file that has several: hard links, symlinks."""
    log = known.log.path if known else ""
    return min(sightings, key=lambda s: (s.path != log, not s.is_live, not s.source, s.path))


def _likely(log: str, seen: Sighting) -> tuple[bool, bool, Rank, int]:
    """Return by what files are tried in turn of which several may hold what was read of one.

    From where that is found on, names tell what is newer: so the oldest of its copies is it.
    """
    said = age(log, seen.path)
    return seen.log != log, said is None, said or ("", ()), -seen.mtime_ns


def _series(path: str) -> tuple[str, str]:
    return dirname(path), shape(basename(path))


def _wants_opening(known: LogFile, seen: Sighting) -> bool:
    changed = (seen.size, seen.mtime_ns) != (known.size, known.mtime_ns)
    if changed or known.doubted:
        return True
    if known.state in LEFT_ALONE:
        return not known.position
    if known.parked:
        return known.behind
    unfinished = known.state is not FileState.DRAINED or known.open_from < known.position
    return unfinished or seen.path == known.log.path


def _is_found_again(old: LogFile) -> bool:
    """Tell whether a file not begun was taken up under another name, as if it were new."""
    return not old.position and any(
        f.id > old.id and not f.at_live and f.state not in LEFT_ALONE for f in old.log.files
    )
