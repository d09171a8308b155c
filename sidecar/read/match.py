"""Where reading of a file begins that was never read before.

Takes up files that no generation is known for, and leaves copies and old history alone.

Joins what a scan saw with what is known: which file is which generation of which log.

In order: files whose device and inode are known (verified by content unless held open), then
generations that lost their file looked for by content among the unknown files, then what is left
taken up as new. A generation is given up only when everything that could be it was looked at.
"""

from collections.abc import Sequence
from posixpath import dirname

from sidecar.batch import ReadBatch
from sidecar.config.settings import Source
from sidecar.read.content import Content
from sidecar.read.files import Candidate, LogFiles
from sidecar.read.fingerprint import Match, begins_like
from sidecar.read.log import FINISHED, FileState, Log, LogFile
from sidecar.read.scan import OLDEST, Look, Place, Sighting


class Origin:
    """Makes new generations: numbers them and places them at their first position.

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
        max_line: int,
    ) -> None:
        self._from_end = {s.path for s in sources if not s.from_beginning} if first_start else set()
        self._key = key
        self._next_id = next_id
        self._max_line = max_line
        self._deferred: dict[Place, int] = {}
        self._since = since
        self._looks_first = first_start

    def begun(self, now: float) -> float | None:
        """Return when the very first run began, None if unknown and in its very first look."""
        if self._looks_first:
            self._looks_first, self._since = False, now
            return None
        return self._since

    def number(self) -> int:
        """Return an id that no generation had before."""
        self._next_id += 1
        return self._next_id - 1

    def defer(self, sighting: Sighting) -> None:
        """Remember the size of a file that was there at the first start but not readable."""
        self._deferred[sighting.place] = sighting.size

    def generation(
        self, log: Log, seen: Sighting, content: Content, now: float, *, existed: bool
    ) -> LogFile:
        """Return a new generation reading `content`; `existed` at the first look of all."""
        new = LogFile(self.number(), log.source, log.path, seen.path, self._key)
        new.sight(seen, now)
        size = self._deferred.pop(seen.place, seen.size if existed else None)
        from_end = size is not None and log.source in self._from_end
        start = self._line_start(content, size or 0, new) if from_end else 0
        new.begin(content, seen.place, start, now)
        if from_end and content.compressed:
            new.detach()
            new.state = FileState.IGNORED
        return new

    def _line_start(self, content: Content, size: int, new: LogFile) -> int:
        """Return the beginning of the line that `size` lies in, looking back `max_line` bytes."""
        if content.compressed:
            return 0
        back = min(size, self._max_line)
        newline = content.read_at(size - back, back).rfind(b"\n")
        if newline >= 0:
            return size - back + newline + 1
        new.skip = back < size
        return size if new.skip else 0


class Adoption:
    """Decides about the unknown files of one look after another."""

    def __init__(self, roster: LogFiles, origin: Origin) -> None:
        self._roster = roster
        self._origin = origin

    def adopt(self, unknown: list[Candidate], batch: ReadBatch, now: float, *, first: bool) -> None:
        """Take up what is to be read of `unknown`, rotated files oldest first, then live ones."""
        self._batch, self._now, self._first = batch, now, first
        rotated = [p for p in unknown if p.sighting.log and not p.sighting.is_live]
        live = [p for p in unknown if p.sighting.is_live]
        self._meet(live)
        for probe in (*sorted(rotated, key=lambda p: p.sighting.age), *live):
            try:
                if probe.sighting.is_live:
                    self._live(probe)
                else:
                    self._rotated(probe)
            except OSError as error:
                probe.failed(error)
        for log in self._roster.logs.values() if first else ():
            if log.history_age is None:
                beside = (p.sighting for p in rotated if p.sighting.log == log.path)
                log.history_age = max((seen.age for seen in beside), default=(0, OLDEST))

    def _meet(self, live: list[Candidate]) -> None:
        """Make the logs of `live` files known, and say which files beside them are history.

        Of a log that was never seen before, that is what was last written before there was
        anybody to see it: a younger file was born and rotated between two looks.
        """
        since = self._origin.begun(self._now)
        for probe in live:
            log = self._roster.log(probe.sighting.path, probe.sighting.source)
            if since is not None and not log.generations and log.history_age is None:
                log.history_age = (int(since * 1e9), OLDEST)

    def _live(self, probe: Candidate) -> None:
        log = self._roster.log(probe.sighting.path, probe.sighting.source)
        before = log.generations[-1] if log.generations else None
        if before and before.content and not before.sighted:
            unlinked = before.is_unlinked()
            if (
                unlinked
                and before.offset
                and self._roster.move_in(before, probe, self._batch, self._now)
            ):
                return
            before.retire_from_live("replace" if unlinked else "rename", self._batch, self._now)
        self._begin(log, probe)

    def _rotated(self, probe: Candidate) -> None:
        seen = probe.sighting
        log = self._roster.logs.get(seen.log)
        if log is None and seen.source:
            log = self._roster.log(seen.log, seen.source)
        if log is None or log.leaves_alone(seen):
            return
        if self._is_unread(log, probe):
            self._begin(log, probe)
        elif self._first and seen.size and not probe.blind:
            log.leave_alone(seen)

    def _is_unread(self, log: Log, probe: Candidate) -> bool:
        """Tell whether a rotated file holds lines nobody read: no copy, and not old history.

        A file that no glob matches is only read when it is younger than the youngest generation
        known to be rotated: then it was the live file in between, and we did not look.
        """
        seen, before = probe.sighting, log.read_up_to
        missed = before is not None and seen.age > before
        # A file not begun cannot be known by content, but compressing it keeps its time.
        missed |= any(not g.offset and g.mtime_ns == seen.mtime_ns for g in log.unplaced)
        if seen.size == 0 or not (seen.source or missed):
            return False  # an empty file may become a copy
        if probe.is_half_done:
            return False
        content = probe.content()
        return content is not None and not _is_copy(log, probe, content)

    def _begin(self, log: Log, probe: Candidate) -> None:
        """Make the probed file a new generation of `log`."""
        content = probe.content()
        if content is None:
            if probe.blind and self._first:
                self._origin.defer(probe.sighting)
            return
        new = self._origin.generation(log, probe.sighting, content, self._now, existed=self._first)
        probe.release()
        if probe.sighting.is_live:
            log.generations.append(new)
        else:
            log.insert(new)
        self._roster.claim(new)
        self._batch.count("files", "opened")


def _is_copy(log: Log, probe: Candidate, content: Content) -> bool:
    """Tell whether the file is a copy of a known generation, or may yet turn out to be one."""
    for known in log.generations:
        likeness = known.likeness(content)
        if likeness is Match.SAME or known.marks.are_in(content.read_at):
            _note_copy(log, probe, known)
            return True
        if likeness is Match.SHORTER and not content.complete:
            return True  # too little of it is written yet to tell
    live = log.live
    if live is None or live.content is None or content.compressed:
        return False
    copied = begins_like(content.read_at, probe.sighting.size, live.content.read_at)
    if copied:
        _note_copy(log, probe, live)
    return copied


def _note_copy(log: Log, probe: Candidate, known: LogFile) -> None:
    """Leave the copy alone, unless nothing is read yet of what it is a copy of.

    Once the original is truncated, the copy is all there is, and only its content says whose.
    """
    if known.offset:
        log.leave_alone(probe.sighting)


_UNLIKE_KEPT = 10_000
# A file that is renamed while the directory is listed may be missed, and again in the next look.
_PATIENCE_LOOKS = 8


class Recogniser:
    """Brings the roster up to date with one look after another."""

    def __init__(self, roster: LogFiles, adoption: Adoption) -> None:
        self._roster = roster
        self._adoption = adoption
        # (generation, offset, place, size, mtime) compared and found different: saves opening.
        self._unlike: set[tuple[int, int, Place, int, int]] = set()
        self._looks = 0

    def recognise(self, look: Look, batch: ReadBatch, now: float) -> None:
        """Bring the logs up to date with `look`, opening what is to be read."""
        self._look, self._batch, self._now = look, batch, now
        self._looks += 1
        unknown = self._place()
        if self._looks == 1:
            for log in self._roster.logs.values():
                log.sort()
        uncertain = self._search(unknown)
        self._adoption.adopt(unknown, batch, now, first=self._looks == 1)
        for log in self._roster.logs.values():
            self._settle(log, uncertain)
        for probe in unknown:
            probe.close()

    # -- files with a known inode

    def _place(self) -> list[Candidate]:
        """Sight the known generations; return the files that are not known."""
        for generation in self._roster.generations():
            generation.sighted = False
        unknown = []
        places = self._look.by_place()
        for log in self._roster.logs.values() if not self._look.blind else ():
            log.keep_history(places)
        for place, sightings in places.items():
            known = self._roster.at(place)
            probe = Candidate(_best(sightings, known), self._batch)
            if known is None or not self._is_still(known, probe):
                unknown.append(probe)
        for generation in self._roster.generations():
            if not generation.sighted and not _is_blind(self._look, generation):
                generation.at_live, generation.doubted = False, True
                generation.missed += 1
        return unknown

    def _is_still(self, known: LogFile, probe: Candidate) -> bool:
        """Tell whether the file where `known` was is still that; open it if there is need."""
        moved = known.path != probe.sighting.path
        known.sight(probe.sighting, self._now)
        if known.content is not None:
            return True
        if not _wants_opening(known, probe.sighting):
            return True
        if not self._reopened(known, probe, moved=moved):
            known.cut_off = probe.sighting.path == known.log
            self._roster.displace(known)
            return False
        return True

    def _reopened(self, known: LogFile, probe: Candidate, *, moved: bool) -> bool:
        content = probe.content()
        if content is None:
            return True  # gone since, or not readable now: no reason to think it another
        if known.state is FileState.IGNORED:
            return False  # nothing of it was read by which to know it
        try:
            if moved and not known.offset and self._is_other(known, probe, content):
                return False
            return self._roster.move_in(known, probe, self._batch, self._now)
        except OSError as error:
            probe.failed(error)
            probe.close()
            return True

    def _is_other(self, unbegun: LogFile, probe: Candidate, content: Content) -> bool:
        """Tell whether a moved file is not the one that was never begun.

        Of that only the inode is known, and inodes are used again: by a copy of another file.
        """
        seen = probe.sighting
        if (seen.size, seen.mtime_ns) == (unbegun.size, unbegun.mtime_ns):
            return False
        others = self._roster.logs[unbegun.log].generations
        return (
            seen.is_live
            or content.compressed
            or any(known.likeness(content) is Match.SAME for known in others if known.offset)
        )

    # -- generations whose file is not where it was

    def _search(self, unknown: list[Candidate]) -> set[LogFile]:
        """Look for them by content; return those that may be in a file that could not be read."""
        uncertain: set[LogFile] = set()
        for log in self._roster.logs.values():
            for generation in log.unplaced if unknown else ():
                related = (p for p in unknown if self._look.is_related(log.path, p.sighting))
                near = [p for p in related if not p.is_half_done]
                near.sort(key=lambda p: p.sighting.mtime_ns, reverse=True)
                for probe in near if generation.offset else ():
                    if self._is_in(generation, probe, uncertain):
                        unknown.remove(probe)
                        break
        return uncertain

    def _is_in(
        self,
        generation: LogFile,
        probe: Candidate,
        uncertain: set[LogFile],
    ) -> bool:
        seen = probe.sighting
        unlike = (generation.id, generation.offset, seen.place, seen.size, seen.mtime_ns)
        if unlike in self._unlike:
            return False
        content = probe.content()
        try:
            if content and self._roster.move_in(generation, probe, self._batch, self._now):
                return True
            if content and generation.marks.are_in(content.read_at):
                self._finish_in(generation, probe)
                return True
            undecided = probe.blind if content is None else not content.complete
        except OSError as error:
            probe.failed(error)
            undecided = True
        if undecided:
            uncertain.add(generation)
        elif content is not None:
            self._remember_unlike(unlike)
        return False

    def _remember_unlike(self, unlike: tuple[int, int, Place, int, int]) -> None:
        if len(self._unlike) >= _UNLIKE_KEPT:
            self._unlike.clear()
        self._unlike.add(unlike)

    def _finish_in(self, generation: LogFile, probe: Candidate) -> None:
        """All of the copy was read before: there is nothing left of `generation`."""
        self._batch.count("rotations", "copytruncate")
        generation.state, generation.cut_off = FileState.DRAINED, False
        self._roster.displace(generation)
        self._roster.logs[generation.log].leave_alone(probe.sighting)
        probe.close()

    # -- what is left

    def _settle(self, log: Log, uncertain: set[LogFile]) -> None:
        for generation in log.generations:
            if generation in uncertain or _is_blind(self._look, generation):
                continue
            if generation.content is not None:
                self._follow(log, generation)
            elif not generation.sighted and generation.state not in (*FINISHED, FileState.LOST):
                self._give_up(log, generation)

    def _follow(self, log: Log, generation: LogFile) -> None:
        """Bring the state of an open generation up to date with where its file is now."""
        if generation.sighted and generation.at_live:
            generation.state = FileState.ACTIVE
        elif generation.sighted:
            generation.retire_from_live("rename", self._batch, self._now)
        elif generation.is_unlinked():
            generation.retire_from_live("delete", self._batch, self._now)
        elif generation is not log.generations[-1]:
            generation.retire_from_live("rename", self._batch, self._now)

    def _give_up(self, log: Log, old: LogFile) -> None:
        """Count what was unread of a file that is nowhere, once another has taken its place."""
        if log.live is None or old.missed < _PATIENCE_LOOKS:
            old.state = FileState.MISSING
            return
        if old.cut_off:
            self._batch.count("truncations", log.path)
            old.cut_off = False
        lost = 0 if _is_found_again(log, old) else old.unread or int(old.path.endswith(".gz"))
        self._batch.count("bytes_lost", log.path, lost)
        old.state = FileState.LOST if lost else FileState.DRAINED
        self._roster.displace(old)


def _best(sightings: list[Sighting], known: LogFile | None) -> Sighting:
    """Return the path by which to know a file that has several: hard links, symlinks."""
    log = known.log if known else ""
    return min(sightings, key=lambda s: (s.path != log, not s.is_live, not s.source, s.path))


def _wants_opening(known: LogFile, seen: Sighting) -> bool:
    if known.state is FileState.IGNORED:
        return not seen.path.endswith(".gz")  # its inode has gone to another file
    unfinished = known.state is not FileState.DRAINED or known.open_from < known.offset
    changed = (seen.size, seen.mtime_ns) != (known.size, known.mtime_ns)
    return unfinished or changed or known.doubted or seen.path == known.log


def _is_blind(look: Look, generation: LogFile) -> bool:
    """Tell whether the generation's file may be where this look could not look."""
    if not look.blind:
        return False
    paths = (generation.path, generation.log)
    return not look.blind.isdisjoint({*paths, *map(dirname, paths)})


def _is_found_again(log: Log, old: LogFile) -> bool:
    """Tell whether a file not begun was taken up under another name, as if it were new."""
    return not old.offset and any(g.id > old.id and not g.at_live for g in log.generations)
