"""Replays a history: logs read in the order of event time, driven through the core, added up.

A log is nearly in order: a line may be written a moment after a younger one. Its events pass a
buffer of bounded size that sorts them; one that lies further back than the buffer reaches comes
out late, as it would have reached the daemon.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import chain
from operator import attrgetter

import msgspec

from sidecar.config.settings import Config
from sidecar.parse.event import Chunk, Event, ForeignReason, ObscureReason, Triple
from sidecar.parse.parser import Parser
from sidecar.rules.alert import TransitionKind
from sidecar.simulate.messages import Message, MessageRenderer
from sidecar.simulate.simulation import Moment, Simulation

# Events held back for sorting, over all logs together, and at least by each that is open.
BUFFER_EVENTS = 10_000
LEAST_BUFFER = 500
_BY_TIME = attrgetter("at")
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class ReplayedLog:
    """One log file. `chunks` opens it and yields its whole lines from the beginning."""

    name: str
    chunks: Callable[[], Iterator[Chunk]]


class ReadCounts(msgspec.Struct):
    """What was read so far. `future` events were dated far ahead of the wall clock, `bad_times`
    had a stamp that could not be read, and `undated` had no time at all.
    """

    lines: int = 0
    events: int = 0
    future: int = 0
    bad_times: int = 0
    undated: int = 0
    rejects: dict[str, int] = msgspec.field(default_factory=dict)
    foreign: dict[ForeignReason, int] = msgspec.field(default_factory=dict)
    obscure: dict[ObscureReason, int] = msgspec.field(default_factory=dict)
    # The first line of each, not redacted.
    foreign_samples: dict[ForeignReason, str] = msgspec.field(default_factory=dict)
    obscure_samples: dict[ObscureReason, str] = msgspec.field(default_factory=dict)


class History:
    """Reads logs in the order of event time. `counts` counts what came by.

    `first` and `last` are the earliest and the latest time that an event states.

    `clock` is the wall clock: an event far ahead of it, or without any time, takes the time its
    log had reached. Nothing after `until` comes out.
    """

    def __init__(self, config: Config, *, clock: float, until: float | None = None) -> None:
        self.counts = ReadCounts()
        self.first: float | None = None
        self.last: float | None = None
        self._patterns = config.patterns
        self._pinned = config.pinned
        self._clock = clock
        self._until = _NEVER if until is None else until

    def events(self, logs: Sequence[ReplayedLog]) -> Iterator[Event]:
        """Yield what `logs` hold; what one log says at one instant stays in its order."""
        size = max(LEAST_BUFFER, BUFFER_EVENTS // max(1, len(logs)))
        if len(logs) == 1:
            return self._sorted(logs[0], size)
        merged = merge(*(self._opened_late(log, size) for log in logs), key=_BY_TIME)
        return (event for event in merged if event.event_type)

    def _opened_late(self, log: ReplayedLog, size: int) -> Iterator[Event]:
        """Yield a stand-in at the log's first time, and open the log when that is asked for."""
        parser = Parser(self._patterns)
        for chunk in self._chunks(log):
            found = parser.parse(chunk, now=self._clock, wanted=_whole).events
            if times := [event.at for event in found if event.at < self._clock]:
                yield msgspec.structs.replace(_OPENING, at=min(times))
                break
        yield from self._sorted(log, size)

    def _sorted(self, log: ReplayedLog, size: int) -> Iterator[Event]:
        held: list[Event] = []
        beyond = 0  # events after `until` since the last one before it
        for events in self._parsed(log):
            inside = [event for event in events if event.at <= self._until]
            beyond = 0 if inside else beyond + len(events)
            self.counts.events += len(inside)
            held += inside
            if len(held) > 2 * size:  # sorted seldom, so that it costs little
                held.sort(key=_BY_TIME)
                yield from held[:-size]
                del held[:-size]
            if beyond > size:
                break
        held.sort(key=_BY_TIME)
        yield from held

    def _chunks(self, log: ReplayedLog) -> Iterator[Chunk]:
        pinned = self._pinned(log.name)
        return (msgspec.structs.replace(chunk, **pinned) for chunk in log.chunks())

    def _parsed(self, log: ReplayedLog) -> Iterator[list[Event]]:
        """Yield the events of each chunk, dated."""
        parser, counts = Parser(self._patterns), self.counts
        reached: float | None = None
        for chunk in self._chunks(log):
            parsed = parser.parse(chunk, now=self._clock, wanted=_whole)
            counts.lines += parsed.lines
            counts.future += parsed.future
            counts.bad_times += parsed.bad_times
            for reject in parsed.rejects:
                counts.rejects[reject.words] = counts.rejects.get(reject.words, 0) + 1
            for line in parsed.foreign:
                counts.foreign[line.reason] = counts.foreign.get(line.reason, 0) + 1
                counts.foreign_samples.setdefault(line.reason, line.sample)
            for one in parsed.obscure:
                counts.obscure[one.reason] = counts.obscure.get(one.reason, 0) + 1
                counts.obscure_samples.setdefault(one.reason, one.sample)
            times = [event.at for event in parsed.events if event.at < self._clock]
            counts.undated += parsed.undated
            if times:
                self.first = min(times) if self.first is None else min(self.first, *times)
                self.last = max(times) if self.last is None else max(self.last, *times)
            events = []
            for event in parsed.events:
                if event.at < self._clock:
                    reached = event.at if reached is None else max(reached, event.at)
                    events.append(event)
                else:
                    reached = (
                        _first_time(parsed.events, self._clock) if reached is None else reached
                    )
                    events.append(msgspec.structs.replace(event, at=reached))
            yield events


_OPENING = Event("", "", "", 0.0, {})


def _first_time(events: Sequence[Event], clock: float) -> float:
    return next((event.at for event in events if event.at < clock), clock)


def _whole(_triple: Triple) -> bool:
    return True


BURST_SECONDS = 60.0


class Summary:
    """Adds up moments and their messages.

    `alerts`: firings by severity, an escalated one again at its new severity. `messages`: by
    receiver, `copies` by (receiver, destination). `suppressed`: alerts not told, by reason.
    `burst`: the most messages to all receivers within one minute, and `burst_at` when it began.
    """

    def __init__(self) -> None:
        self.alerts: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self.copies: Counter[tuple[str, str]] = Counter()
        self.suppressed: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.burst = 0
        self.burst_at = 0.0
        self._recent: deque[float] = deque()

    def add(self, moment: Moment, messages: list[Message]) -> None:
        for transition in moment.step.transitions:
            if transition.kind in (TransitionKind.FIRED, TransitionKind.ESCALATED):
                self.alerts[transition.alert.severity or "none"] += 1
        for decision in moment.step.decisions:
            if not decision.told:
                self.suppressed[decision.reason.value] += decision.alerts
        for message in messages:
            self._add(message)

    def _add(self, message: Message) -> None:
        self.messages[message.receiver] += 1
        for copy in message.copies:
            self.copies[message.receiver, copy.destination] += 1
            if copy.fault is not None:
                self.faults[copy.fault] += 1
        recent = self._recent
        recent.append(message.at)
        while recent[0] <= message.at - BURST_SECONDS:
            recent.popleft()
        if len(recent) > self.burst:
            self.burst, self.burst_at = len(recent), recent[0]


class Replay:
    """What `config` would have told of the history in `logs`; nothing is sent or kept.

    `clock` is the wall clock, against which impossible times are recognised. What lies before
    `since` is read and judged, because windows and alerts reach back, but not shown. After the
    last event time stands still, unless `until` lets it run on; later events are left out.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: float,
        since: float | None = None,
        until: float | None = None,
    ) -> None:
        self.summary = Summary()
        self.counts = ReadCounts()
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.still_due: list[float] = []  # when messages would go out after the end
        self.config = config
        self._clock = clock
        self._since = since
        self._until = until
        self._renderer = MessageRenderer(config)

    def messages(self, logs: Sequence[ReplayedLog]) -> Iterator[Message]:
        """Yield each message in the order of time; `summary` and `counts` follow along."""
        simulation = Simulation(self.config)
        history = History(self.config, clock=self._clock, until=self._until)
        self.counts = history.counts
        events = history.events(logs)
        first = next(events, None)
        if first is None:
            return
        self.first_at = self.last_at = first.at
        simulation.start(first.at)
        for moment in simulation.run(chain((first,), events), self._until):
            if self._since is not None and moment.at < self._since:
                continue
            messages = list(self._renderer.messages(moment))
            self.summary.add(moment, messages)
            yield from messages
        self.last_at = simulation.now
        self.still_due = simulation.core.notifier.unsent_due()
