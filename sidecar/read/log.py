"""One log: its generations oldest first, read in that order."""

from collections.abc import Container, Generator, Iterator

from sidecar.batch import ReadBatch
from sidecar.parse.event import Chunk, LogFormat
from sidecar.read.generation import FINISHED, Generation, State
from sidecar.read.listing import errno_name
from sidecar.read.scan import Age, Place, Sighting

# A writer may hold a rotated file a little longer (logrotate's delaycompress is made for it).
QUIET_SECONDS = 30.0
# A file without a name and without a successor may be all that a running writer has (`rm` under
# its hands), or what a deleted container left behind; the space of those must come free.
ABANDONED_SECONDS = 3600.0
# How long an unfinished compressed file may keep younger files waiting, in polls.
PATIENCE_POLLS = 20


class Log:
    """The files that were, one after another, what `path` names."""

    def __init__(self, path: str, source: str, line_format: LogFormat) -> None:
        self.path = path
        self.source = source
        self.format = line_format
        self.generations: list[Generation] = []
        self._history: dict[Place, Sighting] = {}  # rotated files that are not ours to read
        self._missed: set[Place] = set()  # those of them that the last look did not find
        self._back: set[Place] = set()  # and this one did
        # Of what age the youngest of them was at the first look; None: there was no such look.
        self.history_age: Age | None = None

    @property
    def opened(self) -> list[Generation]:
        return [g for g in self.generations if g.content is not None]

    @property
    def unplaced(self) -> list[Generation]:
        """Return the generations that have bytes to read, but no file was found to hold them."""
        return [
            g
            for g in self.generations
            if g.content is None and not g.sighted and g.state not in FINISHED
        ]

    @property
    def live(self) -> Generation | None:
        """Return the generation at the log's path now."""
        return next(
            (g for g in reversed(self.generations) if g.sighted and g.path == self.path), None
        )

    @property
    def newest_rotated(self) -> Generation | None:
        """Return the youngest generation read from that is not at the log's path any more."""
        return next((g for g in reversed(self.generations) if g.offset and not g.at_live), None)

    def leave_alone(self, seen: Sighting) -> None:
        """Note that a rotated file is history from before the first start, or a copy."""
        self._history[seen.place] = seen

    def leaves_alone(self, seen: Sighting) -> bool:
        """Tell whether that was noted of this file, and not of one whose inode it got."""
        noted = self._history.get(seen.place)
        if noted is None:
            return False
        untouched = (noted.size, noted.mtime_ns) == (seen.size, seen.mtime_ns)
        growing = noted.path == seen.path and noted.size <= seen.size
        if untouched or (growing and seen.place not in self._back):
            return True
        del self._history[seen.place]
        return False

    def keep_history(self, places: Container[Place]) -> None:
        """Forget what was noted of files that two looks did not find: their inodes go to others.

        One look may miss a file that is being renamed.
        """
        gone = {place for place in self._history if place not in places}
        for place in gone & self._missed:
            del self._history[place]
        self._back, self._missed = self._missed - gone, gone

    @property
    def read_up_to(self) -> Age | None:
        """Return the age of the youngest rotated file that is dealt with; None if unknown."""
        newest = self.newest_rotated
        return newest.age if newest else self.history_age

    @property
    def behind(self) -> bool:
        return any(g.behind for g in self.opened)

    def insert(self, new: Generation) -> None:
        """Put a rotated generation found late into its place before the younger ones."""
        index = len(self.generations)
        while index and self.generations[index - 1].at_live:
            index -= 1
        self.generations.insert(index, new)

    def sort(self) -> None:
        """Bring restored generations into the order of their files; the live one is youngest."""
        self.generations.sort(key=lambda g: (g.at_live, g.mtime_ns))

    def read(self, batch: ReadBatch, budget: int, max_line: int) -> Generator[Chunk, None, int]:
        """Read generations in turn until `budget` is used; return the bytes passed."""
        used = 0
        for generation in self.opened:
            used += yield from self._read(generation, batch, budget - used, max_line)
            if generation.behind or self._holds_back(generation):
                break
        return used

    def _holds_back(self, generation: Generation) -> bool:
        content = generation.content
        unfinished = content is not None and not generation.problem and not content.complete
        return unfinished and generation.still.looks < PATIENCE_POLLS

    def _read(
        self, generation: Generation, batch: ReadBatch, budget: int, max_line: int
    ) -> Generator[Chunk, None, int]:
        used = 0
        while generation.has_news():
            if used >= budget:
                generation.behind = True
                return used
            passed = yield from self._take(generation, batch, budget - used, max_line)
            if not passed:
                break
            used += passed
        generation.behind = False
        return used

    def _take(
        self,
        generation: Generation,
        batch: ReadBatch,
        budget: int,
        max_line: int,
        *,
        final: bool = False,
    ) -> Generator[Chunk, None, int]:
        """Read one block; return the bytes passed, 0 at the end or on an error."""
        try:
            framed, passed = generation.read(budget, max_line, final=final)
        except OSError as error:
            batch.count("scan_errors", errno_name(error))
            generation.problem = f"cannot read {generation.path}: {error.strerror}; trying again"
            return 0
        generation.problem = ""
        if framed:
            batch.count("overlong_lines", self.path, framed.overlong)
        if framed and framed.data:
            yield Chunk(generation.id, self.path, self.format, framed.data, framed.start)
        return passed

    def retire(self, batch: ReadBatch, max_line: int) -> Iterator[Chunk]:
        """Finish rotated files that are read to their end and quiet: last line, then close."""
        for generation in self.opened:
            if self._is_done(generation):
                while (yield from self._take(generation, batch, max_line, max_line, final=True)):
                    pass
                if self._may_close(generation) and generation.content is not None:
                    batch.count("bytes_lost", self.path, generation.content.unreadable)
                    generation.state = State.DRAINED
                    generation.close()
                    batch.count("files", "closed")

    def _is_done(self, generation: Generation) -> bool:
        content = generation.content
        if content is None or generation.at_live or generation.behind or generation.cut:
            return False
        if generation.problem or generation.state is State.ACTIVE:
            return False
        quiet = generation.still.seconds >= QUIET_SECONDS
        return quiet or (content.compressed and content.complete)

    def _may_close(self, generation: Generation) -> bool:
        # Without a successor the writer may still be at this file, wherever it went: the handle
        # is then the only way to it, unless its name is in sight.
        abandoned = generation.still.seconds >= ABANDONED_SECONDS
        return generation.sighted or generation is not self.generations[-1] or abandoned
