"""Logs as one history: every event of any number of files, in the order of their times.

A log is nearly in order: a line may be written a moment after a younger one. Its events pass a
buffer of bounded size that sorts them; one that lies further back than the buffer reaches comes
out late, as it would have reached the daemon.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from operator import attrgetter

import msgspec

from sidecar.parse.event import Chunk, Event, RejectReason, Triple
from sidecar.parse.parser import Parser
from sidecar.parse.pattern import Pattern

# Events held back for sorting, over all logs together, and at least by each that is open.
BUFFER_EVENTS = 10_000
LEAST_BUFFER = 500
_BY_TIME = attrgetter("at")
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Log:
    """One log file. `chunks` opens it and yields its whole lines from the beginning."""

    name: str
    chunks: Callable[[], Iterator[Chunk]]


class Reading(msgspec.Struct):
    """What was read so far. `future` events were dated far ahead of the wall clock."""

    lines: int = 0
    events: int = 0
    future: int = 0
    rejects: dict[RejectReason, int] = msgspec.field(default_factory=dict)


class History:
    """Reads logs in the order of event time. `reading` counts what came by.

    `clock` is the wall clock: an event far ahead of it, or without any time, takes the time its
    log had reached. Nothing after `until` comes out.
    """

    def __init__(
        self, patterns: Sequence[Pattern], *, clock: float, until: float | None = None
    ) -> None:
        self.reading = Reading()
        self._patterns = patterns
        self._clock = clock
        self._until = _NEVER if until is None else until

    def events(self, logs: Sequence[Log]) -> Iterator[Event]:
        """Yield what `logs` hold; what one log says at one instant stays in its order."""
        size = max(LEAST_BUFFER, BUFFER_EVENTS // max(1, len(logs)))
        if len(logs) == 1:
            return self._sorted(logs[0], size)
        merged = merge(*(self._opened_late(log, size) for log in logs), key=_BY_TIME)
        return (event for event in merged if event.event_type)

    def _opened_late(self, log: Log, size: int) -> Iterator[Event]:
        """Yield a stand-in at the log's first time, and open the log when that is asked for."""
        parser = Parser(self._patterns)
        for chunk in log.chunks():
            found = parser.parse(chunk, now=self._clock, wanted=_whole).events
            if times := [event.at for event in found if event.at < self._clock]:
                yield msgspec.structs.replace(_OPENING, at=min(times))
                break
        yield from self._sorted(log, size)

    def _sorted(self, log: Log, size: int) -> Iterator[Event]:
        held: list[Event] = []
        beyond = 0  # events after `until` since the last one before it
        for events in self._parsed(log):
            inside = [event for event in events if event.at <= self._until]
            beyond = 0 if inside else beyond + len(events)
            self.reading.events += len(inside)
            held += inside
            if len(held) > 2 * size:  # sorted seldom, so that it costs little
                held.sort(key=_BY_TIME)
                yield from held[:-size]
                del held[:-size]
            if beyond > size:
                break
        held.sort(key=_BY_TIME)
        yield from held

    def _parsed(self, log: Log) -> Iterator[list[Event]]:
        """Yield the events of each chunk, dated."""
        parser, reading = Parser(self._patterns), self.reading
        reached: float | None = None
        for chunk in log.chunks():
            parsed = parser.parse(chunk, now=self._clock, wanted=_whole)
            reading.lines += parsed.lines
            reading.future += parsed.future
            for reject in parsed.rejects:
                reading.rejects[reject.reason] = reading.rejects.get(reject.reason, 0) + 1
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
