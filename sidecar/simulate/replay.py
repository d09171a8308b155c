"""Replays a history: logs read in the order of event time, driven through the core, added up.

A log is nearly in order: a line may be written a moment after a younger one. Its events, in
columns as the daemon judges them, pass a buffer of bounded size that sorts them; one that lies
further back than the buffer reaches comes out late, as it would have reached the daemon.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import msgspec

from sidecar.config.settings import Config
from sidecar.parse.columns import Columns, joined
from sidecar.parse.event import (
    Chunk,
    ForeignReason,
    ObscureReason,
    Parsed,
    Triple,
    Wanted,
)
from sidecar.parse.parser import Parser
from sidecar.rules.alert import TransitionKind
from sidecar.simulate.messages import Message, MessageRenderer
from sidecar.simulate.simulation import Moment, Simulation

# Events held back for sorting, over all logs together, and at least by each that is open.
BUFFER_EVENTS = 10_000
LEAST_BUFFER = 500
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


def _whole(_triple: Triple) -> bool:
    return True


class History:
    """Reads logs in the order of event time. `counts` counts what came by.

    `first` and `last` are the earliest and the latest time that an event states.

    `clock` is the wall clock: an event far ahead of it, or without any time, takes the time its
    log had reached. Nothing after `until` comes out. `wanted`: which fields somebody looks at.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: float,
        until: float | None = None,
        wanted: Callable[[Triple], Wanted] = _whole,
    ) -> None:
        self.counts = ReadCounts()
        self.first: float | None = None
        self.last: float | None = None
        self._patterns = config.patterns
        self._pinned = config.pinned
        self._clock = clock
        self._until = _NEVER if until is None else until
        self._wanted = wanted

    def columns(self, logs: Sequence[ReplayedLog]) -> Iterator[Columns]:
        """Yield what `logs` hold; what one log says at one instant stays in its order."""
        size = max(LEAST_BUFFER, BUFFER_EVENTS // max(1, len(logs)))
        if len(logs) == 1:
            return self._sorted(logs[0], size)
        return _merged([_Opened(self._first_time(log), self._sorted(log, size)) for log in logs])

    def _first_time(self, log: ReplayedLog) -> float:
        """Return the first time that a log states; long ago where it states none."""
        parser = Parser(self._patterns)
        for chunk in self._chunks(log):
            found = parser.parse(chunk, now=self._clock, wanted=_whole).events
            if times := [event.at for event in found if event.at < self._clock]:
                return min(times)
        return -_NEVER

    def _sorted(self, log: ReplayedLog, size: int) -> Iterator[Columns]:
        held: list[Columns] = []
        limit = 2 * size  # sorted seldom, so that it costs little
        beyond = 0  # events after `until` since the last one before it
        for events in self._parsed(log):
            inside = sum(at <= self._until for at in events.times)
            beyond = 0 if inside else beyond + len(events)
            self.counts.events += inside
            held.append(joined([events]))
            if sum(map(len, held)) > limit:
                sooner, held = _cut(held, size)
                yield self._inside(joined(sooner))
                limit = 2 * max(size, sum(map(len, held)))
            if beyond > size:
                break
        yield self._inside(joined(held))

    def _inside(self, events: Columns) -> Columns:
        return events.between(0, bisect_right(events.times, self._until))

    def _chunks(self, log: ReplayedLog) -> Iterator[Chunk]:
        pinned = self._pinned(log.name)
        return (msgspec.structs.replace(chunk, **pinned) for chunk in log.chunks())

    def _read(self, parser: Parser, log: ReplayedLog) -> Iterator[tuple[Chunk, Parsed]]:
        for chunk in self._chunks(log):
            yield chunk, parser.parse(chunk, now=self._clock, wanted=self._wanted)
        yield from parser.end_open(self._clock, self._wanted, age=0.0)

    def _parsed(self, log: ReplayedLog) -> Iterator[Columns]:
        """Yield the events of each chunk, dated."""
        parser = Parser(self._patterns)
        reached: float | None = None
        for chunk, parsed in self._read(parser, log):
            events = parser.columns_of(chunk, parsed)
            known = [at for at in events.times if at < self._clock]
            self._count(parsed)
            if known:
                self.first = min(known) if self.first is None else min(self.first, *known)
                self.last = max(known) if self.last is None else max(self.last, *known)
            if len(known) < len(events):
                before = next(iter(known), self._clock) if reached is None else reached
                events = events.at_times(_dated(events.times, before, self._clock))
            known += () if reached is None else (reached,)
            reached = max(known, default=None)
            yield events

    def _count(self, parsed: Parsed) -> None:
        counts = self.counts
        counts.lines += parsed.lines
        counts.future += parsed.future
        counts.bad_times += parsed.bad_times
        counts.undated += parsed.undated
        for reject in parsed.rejects:
            counts.rejects[reject.words] = counts.rejects.get(reject.words, 0) + 1
        for line in parsed.foreign:
            counts.foreign[line.reason] = counts.foreign.get(line.reason, 0) + 1
            counts.foreign_samples.setdefault(line.reason, line.sample)
        for one in parsed.obscure:
            counts.obscure[one.reason] = counts.obscure.get(one.reason, 0) + 1
            counts.obscure_samples.setdefault(one.reason, one.sample)


def _cut(held: Sequence[Columns], size: int) -> tuple[list[Columns], list[Columns]]:
    """Return the events before some instant, and from it on: the newest `size`, or some more."""
    at = sorted(chain.from_iterable(part.times for part in held))[-size]
    ends = [bisect_left(part.times, at) for part in held]
    both = list(zip(held, ends, strict=True))
    later = [part.between(end, len(part)) for part, end in both if end < len(part)]
    return [part.between(0, end) for part, end in both], later


def _dated(times: Sequence[float], reached: float, clock: float) -> list[float]:
    """Return the times, those that are none as the latest before; `reached`: before all."""
    dated = []
    for at in times:
        reached = max(reached, at) if at < clock else reached
        dated.append(at if at < clock else reached)
    return dated


class _Opened:
    """A log among others, opened when its time has come.

    No event but `block` holds is older than `bound`, unless it comes late.
    """

    def __init__(self, first: float, blocks: Iterator[Columns]) -> None:
        self.bound = first
        self.block = Columns.of([])
        self._blocks = blocks

    def read(self) -> None:
        """Hold the next block."""
        found = next(self._blocks, None)
        self.block = Columns.of([]) if found is None else found
        self.bound = _NEVER if found is None else max(found.times, default=self.bound)

    def take(self, end: int) -> Columns:
        """Return the first events of `block`, which it holds no longer."""
        taken, self.block = self.block.between(0, end), self.block.between(end, len(self.block))
        if end and not len(self.block):
            self.bound = -_NEVER
        return taken


def _merged(logs: Sequence[_Opened]) -> Iterator[Columns]:
    """Yield the events of all logs in the order of time; at one instant in that of `logs`."""
    while (bound := min(log.bound for log in logs)) < _NEVER:
        first = next(number for number, log in enumerate(logs) if log.bound == bound)
        if not len(logs[first].block):
            logs[first].read()
            continue
        ends = [
            (bisect_right if number <= first else bisect_left)(log.block.times, bound)
            for number, log in enumerate(logs)
        ]
        yield joined([log.take(end) for log, end in zip(logs, ends, strict=True) if end])


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
        history = History(
            self.config, clock=self._clock, until=self._until, wanted=simulation.wanted
        )
        self.counts = history.counts
        blocks = filter(len, history.columns(logs))
        first = next(blocks, None)
        if first is None:
            return
        self.first_at = self.last_at = first.times[0]
        simulation.start(self.first_at)
        for moment in simulation.run(chain((first,), blocks), self._until):
            if self._since is not None and moment.at < self._since:
                continue
            messages = list(self._renderer.messages(moment))
            self.summary.add(moment, messages)
            yield from messages
        self.last_at = simulation.now
        self.still_due = simulation.core.notifier.unsent_due()
