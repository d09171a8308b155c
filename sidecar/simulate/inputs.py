"""The inputs of a test case as events in the order of their times."""

from collections.abc import Iterator

import msgspec

from sidecar.parse.event import UNKNOWN_PROVIDER, Chunk, Event, LogFormat, RejectReason
from sidecar.parse.parser import Parser
from sidecar.parse.pattern import Pattern
from sidecar.parse.times import instant
from sidecar.simulate.cases import DEFAULT_START, Case, EventInput, LineInput, When

# The time of reading that the parser is given, so that an event without any time shows it: the
# year 33658, later than any time a log can state.
_NO_TIME = 1e12
_LOG = "input_lines"


class Inputs(msgspec.Struct, frozen=True):
    """When the test starts, its events in order, and why lines with the marker were no events."""

    start: float
    events: list[Event]
    rejects: list[RejectReason]


class _Undated(msgspec.Struct, frozen=True):
    """An event, and when it is for want of a time of its own."""

    event: Event
    when: When

    @property
    def dated(self) -> bool:
        return self.event.at != _NO_TIME


def read_inputs(case: Case, patterns: tuple[Pattern, ...]) -> Inputs:
    """Return what the case's lines and events are to the daemon's own parser.

    A line's own time wins. Without one, and without `at`, the place in its list times `interval`
    is the offset from the start. The start is the case's, else the earliest time of an input.
    """
    reader = _Reader(patterns)
    found = [*reader.lines(case), *_events(case)]
    start = case.start
    if start is None:
        known = [one.event.at for one in found if one.dated]
        known += [one.when.seconds for one in found if not one.dated and one.when.absolute]
        start = min(known, default=DEFAULT_START)
    events = [
        one.event if one.dated else msgspec.structs.replace(one.event, at=one.when.at(start))
        for one in found
    ]
    events.sort(key=lambda event: event.at)
    return Inputs(start, events, reader.rejects)


class _Reader:
    """Parses the lines of one case as one log."""

    def __init__(self, patterns: tuple[Pattern, ...]) -> None:
        self.rejects: list[RejectReason] = []
        self._parser = Parser(patterns)

    def lines(self, case: Case) -> Iterator[_Undated]:
        position = 0
        given = (one for one in case.inputs if isinstance(one, LineInput))
        for place, one in enumerate(given):
            data = one.line.encode() + b"\n"
            chunk = Chunk(1, _LOG, LogFormat.AUTO, data, position)
            position += len(data)
            parsed = self._parser.parse(chunk, now=_NO_TIME, wanted=lambda _: True)
            self.rejects += [reject.reason for reject in parsed.rejects]
            for event in parsed.events:
                yield _Undated(event, one.when or When(place * case.interval))


def _events(case: Case) -> Iterator[_Undated]:
    given = (one for one in case.inputs if isinstance(one, EventInput))
    for place, one in enumerate(given):
        fields = {"webhook_provider": UNKNOWN_PROVIDER, **one.fields}
        stated = instant(fields.get("timestamp"))
        at = _NO_TIME if one.when is not None or stated is None else stated
        event = Event(
            fields["webhook_provider"], fields["event_type"], fields["status"], at, fields
        )
        yield _Undated(event, one.when or When(place * case.interval))
