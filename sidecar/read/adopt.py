"""Takes up files that no generation is known for, and leaves copies and old history alone."""

from sidecar.batch import ReadBatch
from sidecar.read.content import Content
from sidecar.read.generation import Generation
from sidecar.read.identity import Likeness, begins_like
from sidecar.read.log import Log
from sidecar.read.names import OLDEST
from sidecar.read.origin import Origin
from sidecar.read.probe import Probe
from sidecar.read.roster import Roster


class Adoption:
    """Decides about the unknown files of one look after another."""

    def __init__(self, roster: Roster, origin: Origin) -> None:
        self._roster = roster
        self._origin = origin

    def adopt(self, unknown: list[Probe], batch: ReadBatch, now: float, *, first: bool) -> None:
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

    def _meet(self, live: list[Probe]) -> None:
        """Make the logs of `live` files known, and say which files beside them are history.

        Of a log that was never seen before, that is what was last written before there was
        anybody to see it: a younger file was born and rotated between two looks.
        """
        since = self._origin.begun(self._now)
        for probe in live:
            log = self._roster.log(probe.sighting.path, probe.sighting.source)
            if since is not None and not log.generations and log.history_age is None:
                log.history_age = (int(since * 1e9), OLDEST)

    def _live(self, probe: Probe) -> None:
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

    def _rotated(self, probe: Probe) -> None:
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

    def _is_unread(self, log: Log, probe: Probe) -> bool:
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

    def _begin(self, log: Log, probe: Probe) -> None:
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


def _is_copy(log: Log, probe: Probe, content: Content) -> bool:
    """Tell whether the file is a copy of a known generation, or may yet turn out to be one."""
    for known in log.generations:
        likeness = known.likeness(content)
        if likeness is Likeness.SAME or known.marks.are_in(content.read_at):
            _note_copy(log, probe, known)
            return True
        if likeness is Likeness.SHORTER and not content.complete:
            return True  # too little of it is written yet to tell
    live = log.live
    if live is None or live.content is None or content.compressed:
        return False
    copied = begins_like(content.read_at, probe.sighting.size, live.content.read_at)
    if copied:
        _note_copy(log, probe, live)
    return copied


def _note_copy(log: Log, probe: Probe, known: Generation) -> None:
    """Leave the copy alone, unless nothing is read yet of what it is a copy of.

    Once the original is truncated, the copy is all there is, and only its content says whose.
    """
    if known.offset:
        log.leave_alone(probe.sighting)
