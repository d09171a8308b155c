"""Any number of logs, merged in the order of event time; each is opened when its time comes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge

from sidecar.config.model import Config
from sidecar.parse.event import Chunk, Event, Triple
from sidecar.parse.parser import Parser
from sidecar.simulate.simulation import Item, Passed
from sidecar.simulate.stream import BY_TIME, Reading, Stream

# Events held back for sorting, over all logs together, and at least by each that is open.
BUFFER_EVENTS = 10_000
LEAST_BUFFER = 500
_NEVER = float("inf")
_NOTHING: Triple = ("", "", "")


@dataclass(frozen=True, slots=True)
class Log:
    """One log file. `chunks` opens it and yields its whole lines from the beginning."""

    name: str
    chunks: Callable[[], Iterator[Chunk]]


class History:
    """Reads logs in the order of event time. `reading` counts what came by.

    `wants` says which triples some rule needs whole, `clock` is the wall clock, see `Stream`.
    Nothing after `until` comes out.
    """

    def __init__(
        self,
        config: Config,
        wants: Callable[[Triple], bool],
        *,
        clock: float,
        until: float | None = None,
    ) -> None:
        self.reading = Reading()
        self._config = config
        self._wants = wants
        self._clock = clock
        self._until = _NEVER if until is None else until

    def items(self, logs: Sequence[Log]) -> Iterator[Item]:
        """Yield what `logs` hold; what one log says at one instant stays in its order."""
        size = max(LEAST_BUFFER, BUFFER_EVENTS // max(1, len(logs)))
        if len(logs) == 1:
            return self._stream(logs[0], size)
        merged = merge(*(self._opened_late(log, size) for log in logs), key=BY_TIME)
        return (item for item in merged if isinstance(item, Event) or item.count)

    def _opened_late(self, log: Log, size: int) -> Iterator[Item]:
        """Yield a stand-in at the log's first time, and open the log when that is asked for."""
        first = self._first_at(log)
        if first is not None:
            yield Passed(_NOTHING, 0, first)
        yield from self._stream(log, size)

    def _first_at(self, log: Log) -> float | None:
        """Return the earliest time in the first chunk of `log` that has any."""
        parser = Parser(self._config.patterns)
        for chunk in log.chunks():
            events = parser.parse(chunk, now=self._clock, wanted=lambda _: True).events
            times = [event.at for event in events if event.at < self._clock]
            if times:
                return min(times)
        return None

    def _stream(self, log: Log, size: int) -> Iterator[Item]:
        stream = Stream(
            Parser(self._config.patterns),
            self._config.rules,
            self._wants,
            clock=self._clock,
            until=self._until,
            size=size,
            reading=self.reading,
        )
        return stream.items(log.chunks())
