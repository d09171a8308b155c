"""Joins what a scan saw with what is known: which file is which generation of which log.

In order: files whose device and inode are known (verified by content unless held open), then
generations that lost their file looked for by content among the unknown files, then what is left
taken up as new. A generation is given up only when everything that could be it was looked at.
"""

from posixpath import dirname

from sidecar.batch import ReadBatch
from sidecar.read.adopt import Adoption
from sidecar.read.content import Content
from sidecar.read.generation import FINISHED, Generation, State
from sidecar.read.identity import Likeness
from sidecar.read.log import Log
from sidecar.read.probe import Probe
from sidecar.read.roster import Roster
from sidecar.read.scan import Look, Place, Sighting

_UNLIKE_KEPT = 10_000
# A file that is renamed while the directory is listed may be missed, and again in the next look.
_PATIENCE_LOOKS = 8


class Recogniser:
    """Brings the roster up to date with one look after another."""

    def __init__(self, roster: Roster, adoption: Adoption) -> None:
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

    def _place(self) -> list[Probe]:
        """Sight the known generations; return the files that are not known."""
        for generation in self._roster.generations():
            generation.sighted = False
        unknown = []
        places = self._look.by_place()
        for log in self._roster.logs.values() if not self._look.blind else ():
            log.keep_history(places)
        for place, sightings in places.items():
            known = self._roster.at(place)
            probe = Probe(_best(sightings, known), self._batch)
            if known is None or not self._is_still(known, probe):
                unknown.append(probe)
        for generation in self._roster.generations():
            if not generation.sighted and not _is_blind(self._look, generation):
                generation.at_live, generation.doubted = False, True
                generation.missed += 1
        return unknown

    def _is_still(self, known: Generation, probe: Probe) -> bool:
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

    def _reopened(self, known: Generation, probe: Probe, *, moved: bool) -> bool:
        content = probe.content()
        if content is None:
            return True  # gone since, or not readable now: no reason to think it another
        if known.state is State.IGNORED:
            return False  # nothing of it was read by which to know it
        try:
            if moved and not known.offset and self._is_other(known, probe, content):
                return False
            return self._roster.move_in(known, probe, self._batch, self._now)
        except OSError as error:
            probe.failed(error)
            probe.close()
            return True

    def _is_other(self, unbegun: Generation, probe: Probe, content: Content) -> bool:
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
            or any(known.likeness(content) is Likeness.SAME for known in others if known.offset)
        )

    # -- generations whose file is not where it was

    def _search(self, unknown: list[Probe]) -> set[Generation]:
        """Look for them by content; return those that may be in a file that could not be read."""
        uncertain: set[Generation] = set()
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
        generation: Generation,
        probe: Probe,
        uncertain: set[Generation],
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

    def _finish_in(self, generation: Generation, probe: Probe) -> None:
        """All of the copy was read before: there is nothing left of `generation`."""
        self._batch.count("rotations", "copytruncate")
        generation.state, generation.cut_off = State.DRAINED, False
        self._roster.displace(generation)
        self._roster.logs[generation.log].leave_alone(probe.sighting)
        probe.close()

    # -- what is left

    def _settle(self, log: Log, uncertain: set[Generation]) -> None:
        for generation in log.generations:
            if generation in uncertain or _is_blind(self._look, generation):
                continue
            if generation.content is not None:
                self._follow(log, generation)
            elif not generation.sighted and generation.state not in (*FINISHED, State.LOST):
                self._give_up(log, generation)

    def _follow(self, log: Log, generation: Generation) -> None:
        """Bring the state of an open generation up to date with where its file is now."""
        if generation.sighted and generation.at_live:
            generation.state = State.ACTIVE
        elif generation.sighted:
            generation.retire_from_live("rename", self._batch, self._now)
        elif generation.is_unlinked():
            generation.retire_from_live("delete", self._batch, self._now)
        elif generation is not log.generations[-1]:
            generation.retire_from_live("rename", self._batch, self._now)

    def _give_up(self, log: Log, old: Generation) -> None:
        """Count what was unread of a file that is nowhere, once another has taken its place."""
        if log.live is None or old.missed < _PATIENCE_LOOKS:
            old.state = State.MISSING
            return
        if old.cut_off:
            self._batch.count("truncations", log.path)
            old.cut_off = False
        lost = 0 if _is_found_again(log, old) else old.unread or int(old.path.endswith(".gz"))
        self._batch.count("bytes_lost", log.path, lost)
        old.state = State.LOST if lost else State.DRAINED
        self._roster.displace(old)


def _best(sightings: list[Sighting], known: Generation | None) -> Sighting:
    """Return the path by which to know a file that has several: hard links, symlinks."""
    log = known.log if known else ""
    return min(sightings, key=lambda s: (s.path != log, not s.is_live, not s.source, s.path))


def _wants_opening(known: Generation, seen: Sighting) -> bool:
    if known.state is State.IGNORED:
        return not seen.path.endswith(".gz")  # its inode has gone to another file
    unfinished = known.state is not State.DRAINED or known.open_from < known.offset
    changed = (seen.size, seen.mtime_ns) != (known.size, known.mtime_ns)
    return unfinished or changed or known.doubted or seen.path == known.log


def _is_blind(look: Look, generation: Generation) -> bool:
    """Tell whether the generation's file may be where this look could not look."""
    if not look.blind:
        return False
    paths = (generation.path, generation.log)
    return not look.blind.isdisjoint({*paths, *map(dirname, paths)})


def _is_found_again(log: Log, old: Generation) -> bool:
    """Tell whether a file not begun was taken up under another name, as if it were new."""
    return not old.offset and any(g.id > old.id and not g.at_live for g in log.generations)
