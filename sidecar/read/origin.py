"""Where reading of a file begins that was never read before."""

from collections.abc import Sequence

from sidecar.config.model import Source
from sidecar.read.content import Content
from sidecar.read.generation import Generation, State
from sidecar.read.log import Log
from sidecar.read.scan import Place, Sighting


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
    ) -> Generation:
        """Return a new generation reading `content`; `existed` at the first look of all."""
        new = Generation(self.number(), log.source, log.path, seen.path, self._key)
        new.sight(seen, now)
        size = self._deferred.pop(seen.place, seen.size if existed else None)
        from_end = size is not None and log.source in self._from_end
        start = self._line_start(content, size or 0, new) if from_end else 0
        new.begin(content, seen.place, start, now)
        if from_end and content.compressed:
            new.detach()
            new.state = State.IGNORED
        return new

    def _line_start(self, content: Content, size: int, new: Generation) -> int:
        """Return the beginning of the line that `size` lies in, looking back `max_line` bytes."""
        if content.compressed:
            return 0
        back = min(size, self._max_line)
        newline = content.read_at(size - back, back).rfind(b"\n")
        if newline >= 0:
            return size - back + newline + 1
        new.skip = back < size
        return size if new.skip else 0
