"""The values that travel out of parsing: chunk in; events, tallies and rejects out."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec

# (webhook_provider, event_type, status): the three labels of webhook_events_total.
Triple = tuple[str, str, str]

UNKNOWN_PROVIDER = "unknown"
STANDARD_FIELDS = ("webhook_provider", "event_type", "status")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_MOST_DIGITS = 400  # no float needs more; float() slows down with the square of them


class LogFormat(StrEnum):
    """How a source wraps its lines; AUTO recognises each line by itself."""

    AUTO = "auto"
    PLAIN = "plain"
    DOCKER = "docker"
    CRI = "cri"


class Chunk(msgspec.Struct, frozen=True):
    """Whole lines of one file, as the reader hands them on.

    `file` is the generation id of the file, `log` the path its log is known by (partial lines of
    Docker and CRI are joined per log, across rotation), `start` the position of `data[0]` in
    decompressed bytes. `data` ends with a newline unless the file ended for good without one.
    """

    file: int
    log: str
    format: LogFormat
    data: bytes
    start: int


class Event(msgspec.Struct, frozen=True):
    """One WEBHOOK_METRIC record: `at` its event time, `fields` all it logged, as it logged it."""

    provider: str
    event_type: str
    status: str
    at: float
    fields: dict[str, Any]

    @property
    def triple(self) -> Triple:
        return (self.provider, self.event_type, self.status)

    def get(self, name: str) -> Any:
        """Return the raw value of a field, following dots into nested objects; None if missing."""
        return field_value(self.fields, name)

    def text(self, name: str) -> str:
        """Return a field as label text: missing and null are empty, true and false lower case."""
        return as_text(field_value(self.fields, name))

    def number(self, name: str) -> float | None:
        """Return a field as a finite number, or None when it is not one (booleans are not)."""
        return as_number(field_value(self.fields, name))


_triple_of = attrgetter("provider", "event_type", "status")
# Neighbours of one triple: what they mean is looked up once for all of them.
Run = tuple[Triple, list[Event]]


def runs_of(events: Iterable[Event]) -> list[Run]:
    """Return `events` in their order, as runs."""
    return [(triple, list(run)) for triple, run in groupby(events, _triple_of)]


class Tally(msgspec.Struct):
    """How many events of one triple passed that nobody wanted whole, and the newest event time."""

    count: int = 0
    last_at: float = 0.0


class RejectReason(StrEnum):
    """Why a line with the marker is no event. A closed set: it is a metric label."""

    NO_OBJECT = "no_object"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    BAD_FIELD = "bad_field"
    TOO_DEEP = "too_deep"
    TOO_LONG = "too_long"
    POISON = "poison"  # it ended the process three times: passed over without being read


class Reject(msgspec.Struct, frozen=True):
    """A line that carries the marker and is no event. `sample` is its head, not yet redacted."""

    reason: RejectReason
    position: int
    sample: str


class Parsed(msgspec.Struct):
    """What one chunk held.

    `events` stand in the order of the log; `tallies` count the events of triples that the caller
    did not want whole. `future` events lay over ten minutes ahead and took the time of reading.
    `open_from` is the position where this log's oldest unfinished line (Docker, CRI pieces) of
    this chunk's file begins, None when every line is finished.
    """

    events: list[Event] = msgspec.field(default_factory=list)
    tallies: dict[Triple, Tally] = msgspec.field(default_factory=dict)
    rejects: list[Reject] = msgspec.field(default_factory=list)
    lines: int = 0
    future: int = 0
    last_at: float | None = None
    open_from: int | None = None


def field_value(fields: Mapping[str, Any], name: str) -> Any:
    """Return `fields[name]`, or the value that a dotted `name` leads to, or None."""
    if name in fields:
        return fields[name]
    value: Any = fields
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))


def as_number(value: Any) -> float | None:
    """Return a finite number, also from a text that is a plain decimal; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        number = float(value) if abs(value) < 1e300 else math.inf  # noqa: PLR2004 - beyond it, int to float overflows
        return number if math.isfinite(number) else None
    if isinstance(value, str) and len(value) <= _MOST_DIGITS and _NUMBER.fullmatch(value.strip()):
        number = float(value)
        return number if math.isfinite(number) else None
    return None
