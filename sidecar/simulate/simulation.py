"""The clock of a simulation: it stands still between events and stops at every deadline."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

import msgspec

from sidecar.config.settings import Config
from sidecar.core import NOTHING_STORED, Core, Step
from sidecar.parse.columns import Columns
from sidecar.parse.event import Event, Triple
from sidecar.rules.alert import Alert
from sidecar.rules.engine import Engine

# Events judged at once, at most.
_MOST = 4096
_NEVER = float("inf")
_BY_TIME = attrgetter("at")


class Moment(msgspec.Struct, frozen=True):
    """What the core did at the simulated instant `at`."""

    at: float
    step: Step


class Simulation:
    """A fresh core, nothing stored, whose clock is moved by events and by `until` alone.

    Events come in the order in which they are to be seen; one that is older than the clock is
    late, as it would be to the daemon. Between two events the clock stops at each deadline of
    rules and groups, so that whatever time brings about happens at its own instant. Events of
    one instant are judged together.

    Of a history nearly all instants change nothing that anybody is told. An engine that runs ahead
    finds those that do; what lies between two of them is judged at once.
    """

    def __init__(self, config: Config) -> None:
        self.now = 0.0
        self.core = Core(config)
        self._ahead = Core(config).engine

    def start(self, start: float) -> None:
        """Set the clock to `start`, in seconds since the epoch; to be called once, first."""
        self.now = start
        self.core.restore(NOTHING_STORED, start)
        self.core.pass_time(start)
        self._ahead.restore((), (), (), now=start)

    def run(self, events: Iterable[Event], until: float | None = None) -> Iterator[Moment]:
        """Take `events`, then let time pass up to and including `until`.

        Yields each moment in which something was decided.
        """
        block: list[Event] = []
        for event in events:
            reached = block[-1].at if block else self.now
            if event.at < reached or (len(block) >= _MOST and event.at > reached):
                yield from self._take(block)
                block = []
            if event.at < self.now:
                yield from self._take_late(event)
            else:
                block.append(event)
        yield from self._take(block)
        yield from self._tell()
        if until is not None:
            yield from self._advance(until)
            self.now = max(self.now, until)

    def _take(self, block: Sequence[Event]) -> Iterator[Moment]:
        """Take events that rise in time, none before the clock."""
        stops, place = deque(_instants(self._ahead, block)), 0
        engine = self.core.engine
        while place < len(block):
            stop = min(self._due(), stops[0] if stops else _NEVER)
            for number, reached in _judge(engine, block, place, stop):
                place, self.now = number, max(self.now, reached)
                if engine.eventful:  # who is told may be due earlier now
                    break
            else:
                if stop > block[-1].at:
                    return
                self.now = max(self.now, stop)
                yield from self._tell()
                while stops and stops[0] <= stop:
                    stops.popleft()
                end = bisect_right(block, stop, place, key=_BY_TIME)
                if end > place:
                    _observe(engine, block[place:end], stop)
                    place = end
            yield from self._tell()

    def _take_late(self, event: Event) -> Iterator[Moment]:
        for engine in (self._ahead, self.core.engine):
            _observe(engine, [event], self.now)
        if self.core.engine.eventful:
            yield from self._tell()

    def alerts(self) -> list[Alert]:
        """Return every alert that is pending or firing now."""
        return list(self.core.engine.alerts())

    def _due(self) -> float:
        """Return when the notifier wants to be woken; only settling changes that."""
        due = self.core.notifier.next_deadline()
        return _NEVER if due is None else due

    def _advance(self, to: float) -> Iterator[Moment]:
        """Let every deadline up to and including `to` happen at its own instant."""
        while (due := self.core.next_deadline()) is not None and due <= to:
            self.now = max(self.now, due)
            yield from self._tell()

    def _tell(self) -> Iterator[Moment]:
        step = self.core.pass_time(self.now)
        if step.transitions or step.decisions or step.outbox:
            yield Moment(self.now, step)


def _instants(engine: Engine, block: Sequence[Event]) -> list[float]:
    """Let the engine ahead take `block`; return when something happens in it, in order."""
    found: set[float] = set()
    place = 0
    for number, last in _judge(engine, block, 0, _NEVER):
        events, place = block[place:number], number
        if engine.eventful:
            times = {transition.at for transition in engine.drain().transitions}
            # What bears another time happens at that of some event.
            first = events[0].at if events else last
            strange = any(not first <= at <= last for at in times)
            found |= times | ({event.at for event in events} if strange else set())
    if block:
        engine.tick(block[-1].at, now=block[-1].at, complete=True)
        found.update(transition.at for transition in engine.drain().transitions)
    return sorted(found)


def _judge(
    engine: Engine, block: Sequence[Event], place: int, stop: float
) -> Iterator[tuple[int, float]]:
    """Let an engine take the events from `place` on that are before `stop`.

    As many at once as hide no silence. Yields after each what comes next, and the time reached.
    """
    while place < len(block) and (at := block[place].at) < stop:
        silent = engine.next_silence()
        if silent <= at:
            engine.tick(silent, now=silent, complete=True)
            yield place, silent
            continue
        upto = min(stop, silent, at + engine.least_silence)
        end = bisect_left(block, upto, place, key=_BY_TIME)
        end = max(end, bisect_right(block, at, place, key=_BY_TIME))
        _observe(engine, block[place:end], at)
        place = end
        yield place, block[place - 1].at


def _observe(engine: Engine, events: Sequence[Event], read_at: float) -> None:
    whole = []
    tallies: dict[Triple, list[float]] = {}
    for event in events:
        if engine.wants(event.triple):
            whole.append(event)
        else:  # as the daemon, which only counts such
            tallies.setdefault(event.triple, []).append(event.at)
    for triple, times in tallies.items():
        engine.observe_tally(triple, len(times), max(times))
    if whole:
        engine.observe_all(Columns.of(whole), read_at=read_at)
