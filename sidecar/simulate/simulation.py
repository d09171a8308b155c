"""The clock of a simulation: it stands still between events and stops at every deadline."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

import msgspec

from sidecar.config.settings import Config
from sidecar.core import NOTHING_STORED, Core, Step
from sidecar.parse.columns import Columns, joined
from sidecar.parse.event import Fields, Triple
from sidecar.rules.alert import Alert
from sidecar.rules.engine import Engine

_NEVER = float("inf")


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
        self._wanted: dict[Triple, Fields] = {}

    def start(self, start: float) -> None:
        """Set the clock to `start`, in seconds since the epoch; to be called once, first."""
        self.now = start
        self.core.restore(NOTHING_STORED, start)
        self.core.pass_time(start)
        self._ahead.restore((), (), (), now=start)

    def wanted(self, triple: Triple) -> Fields:
        """Return which fields of a triple's events rules look at: what `run` needs of them."""
        found = self._wanted.get(triple)
        if found is None:
            found = Fields(tuple(sorted(self.core.engine.looks_at(triple))))
            self._wanted[triple] = found
        return found

    def run(self, events: Iterable[Columns], until: float | None = None) -> Iterator[Moment]:
        """Take `events`, then let time pass up to and including `until`.

        Yields each moment in which something was decided.
        """
        for block in _whole_instants(events):
            late = bisect_left(block.times, self.now)
            for number in range(late):
                yield from self._take_late(block.between(number, number + 1))
            if late < len(block):
                yield from self._take(block.between(late, len(block)))
        yield from self._tell()
        if until is not None:
            yield from self._advance(until)
            self.now = max(self.now, until)

    def _take(self, block: Columns) -> Iterator[Moment]:
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
                if stop > block.times[-1]:
                    return
                self.now = max(self.now, stop)
                if (due := self.core.next_deadline()) is not None and due <= stop:
                    yield from self._tell()
                while stops and stops[0] <= stop:
                    stops.popleft()
                end = bisect_right(block.times, stop, place)
                if end == place:
                    continue
                _observe(engine, block.between(place, end), stop)
                place = end
            yield from self._tell()

    def _take_late(self, event: Columns) -> Iterator[Moment]:
        for engine in (self._ahead, self.core.engine):
            _observe(engine, event, self.now)
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


def _whole_instants(events: Iterable[Columns]) -> Iterator[Columns]:
    """Yield the events in blocks that do not fall in time, one instant's in one block."""
    held: list[Columns] = []  # of one instant, of which the next block may have more
    for block in chain.from_iterable(map(_rising, events)):
        times = block.times
        same = bisect_right(times, held[0].times[0]) if held and times[0] == held[0].times[0] else 0
        if same:
            held.append(block.between(0, same))
        if same == len(block):
            continue
        if held:
            yield joined(held)
        last = bisect_left(times, times[-1])
        held = [block.between(last, len(block))]
        if last > same:
            yield block.between(same, last)
    if held:
        yield joined(held)


def _rising(events: Columns) -> Iterator[Columns]:
    """Yield the events in as few blocks as do not fall in time."""
    falls = [n for n, (at, after) in enumerate(pairwise(events.times), 1) if after < at]
    for begin, end in pairwise([0, *falls, len(events)] if len(events) else []):
        yield events.between(begin, end)


def _instants(engine: Engine, block: Columns) -> list[float]:
    """Let the engine ahead take `block`; return when something happens in it, in order."""
    found: set[float] = set()
    place = 0
    for number, last in _judge(engine, block, 0, _NEVER):
        own, place = block.times[place:number], number
        if engine.eventful:
            times = {transition.at for transition in engine.drain(stored=False).transitions}
            # What bears another time happens at that of some event.
            first = own[0] if own else last
            strange = any(not first <= at <= last for at in times)
            found.update(times, own if strange else ())
    end = block.times[-1]
    engine.tick(end, now=end, complete=True)
    found.update(transition.at for transition in engine.drain(stored=False).transitions)
    return sorted(found)


def _judge(engine: Engine, block: Columns, place: int, stop: float) -> Iterator[tuple[int, float]]:
    """Let an engine take the events from `place` on that are before `stop`.

    As many at once as hide no silence. Yields after each what comes next, and the time reached.
    """
    times = block.times
    while place < len(block) and (at := times[place]) < stop:
        silent = engine.next_silence()
        if silent <= at:
            engine.tick(silent, now=silent, complete=True)
            yield place, silent
            continue
        upto = min(stop, silent, at + engine.least_silence)
        end = max(bisect_left(times, upto, place), bisect_right(times, at, place))
        _observe(engine, block.between(place, end), at)
        place = end
        yield place, times[place - 1]


def _observe(engine: Engine, events: Columns, read_at: float) -> None:
    whole = []
    for kind in events.kinds:
        if engine.wants(kind.triple):
            whole.append(kind)
        else:  # as the daemon, which only counts such
            newest = events.times[kind.numbers[-1]]
            engine.observe_tally(kind.triple, len(kind.numbers), newest)
    if whole:
        engine.observe_all(events.of_kinds(whole), read_at=read_at)
