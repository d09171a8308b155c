"""The values of parsing, and how their fields are read everywhere.

A `Chunk` goes in; what comes out is `Parsed`: events, tallies, rejects and foreign lines. A field
is read as a text or a number in one way for all consumers (as an instant: `instants`), and a text
becomes fit to be a label and to be stored.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from sidecar.matchers import COMPARE

# (webhook_provider, event_type, status): the three labels of webhook_events_total.
Triple = tuple[str, str, str]


class Fields(msgspec.Struct, frozen=True, array_like=True):
    """Events are wanted as rows of the fields `names`.

    With `needs`, only where they may hold one of these fields; else they are tallied.
    """

    names: tuple[str, ...]
    needs: tuple[str, ...] = ()


# Whether somebody wants the events of a triple: whole, as rows, or not at all.
Wanted = bool | Fields

UNKNOWN_PROVIDER = "unknown"
# Of events about the sidecar itself. No line of a log can claim it: that is the mark of ours.
OWN_PROVIDER = "sidecar"
# Fields whose names begin so are the sidecar's to set; a line that brings one loses it.
OWN_PREFIX = "sidecar_"
SOURCE, HOST = "sidecar_source", "sidecar_host"  # those that it does set
MAX_LINE = 1 << 20  # bytes; a longer line is skipped
STANDARD_FIELDS = ("webhook_provider", "event_type", "status")
# A longer text is no name of anything, and would be kept, stored and scraped for ever. A key keeps
# its head and a digest of the whole; a label of a metric counts under `__other__`; an event whose
# standard field is longer is none.
LONGEST_LABEL = 256
IS_NULL = "is_null"
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

    `file` is the id of the log file, `log` the path its log is known by (partial lines of
    Docker and CRI are joined per log, across rotation), `start` the position of `data[0]` in
    decompressed bytes. `data` ends with a newline unless the file ended for good without one.
    `prefix` is what may stand before an event, as RE2; None: a logger's furniture. `key`: only
    lines with an HMAC under it are read; empty: all are. `host`: the name of the
    machine that reads. `zone`: the IANA time zone of stamps that state none; empty: UTC. `before`:
    what stands in front of `data` in its file, if a line of it needs that (`repeats`).
    """

    file: int
    log: str
    format: LogFormat
    data: bytes
    start: int
    prefix: str | None = None
    key: bytes = b""
    host: str = ""
    zone: str = ""
    before: bytes = b""


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
        """Return a field's value; None where it is missing.

        The three standard fields are what the parser made of them. Any other name is that of a
        field or leads, its dots as steps, into nested objects.
        """
        if name == "status":
            return self.status
        if name == "event_type":
            return self.event_type
        if name == "webhook_provider":
            return self.provider
        return field_value(self.fields, name)

    def text(self, name: str) -> str:
        """Return a field as text: missing and null are empty, true and false lower case."""
        value = self.get(name)
        return value if type(value) is str else as_text(value)

    def number(self, name: str) -> float | None:
        """Return a field as a finite number, or None when it is not one (booleans are not)."""
        return as_number(self.get(name))


class Tally(msgspec.Struct):
    """How many events of one triple passed that nobody wanted whole, and the newest event time."""

    count: int = 0
    last_at: float = 0.0


class Clock(msgspec.Struct, array_like=True):
    """How many events lie nearest to one quarter hour off the clock, how many of them just there.

    That is within EXACT seconds.
    """

    events: int = 0
    exact: int = 0

    def add(self, events: int, exact: int) -> None:
        self.events += events
        self.exact += exact


class Late(msgspec.Struct):
    """By how many `seconds` the newest event of a log is behind the clock; ahead of it: negative.

    None where one has no time of its own. `zone` is its source's, `clocks` as in `Parsed`.
    """

    seconds: float | None
    zone: str = ""
    clocks: dict[int, Clock] = msgspec.field(default_factory=dict)


EXACT = 5.0  # seconds; so late a line is read at most, and so far off is a clock that is set


class RejectReason(StrEnum):
    """Why a line with the marker is no event. A closed set: it is a metric label."""

    NO_OBJECT = "no_object"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    BAD_FIELD = "bad_field"
    OWN_PROVIDER = "own_provider"  # it says that it is about the sidecar
    TOO_DEEP = "too_deep"
    TOO_LONG = "too_long"
    POISON = "poison"  # reading it raises, or ended the process three times


class Reject(msgspec.Struct, frozen=True):
    """A line that carries the marker and is no event. `sample` is its head, not yet redacted.

    `field` is the name of the one that is missing or cannot be read, where that is the reason.
    """

    reason: RejectReason
    position: int
    sample: str
    field: str = ""

    @property
    def words(self) -> str:
        """The reason as people are told it, with the field that it is about."""
        return f"{self.reason.value}: {self.field}" if self.field else self.reason.value


class ForeignReason(StrEnum):
    """Where a marker stands that the host did not write as its message. A metric label."""

    BEFORE = "before"  # behind text that no logger puts in front of a message
    AFTER = "after"  # with more text behind the object
    FIELD = "field"  # in a field of a record that is not its message
    UNSIGNED = "unsigned"  # without the HMAC that its source asks for


class Foreign(msgspec.Struct, frozen=True):
    """A line with the marker where a stranger may have written it; never an event.

    `sample` is its head, not yet redacted.
    """

    reason: ForeignReason
    position: int
    sample: str


class ObscureReason(StrEnum):
    """Why a line is neither event, nor reject, nor foreign, and may have to be. A metric label."""

    MENTIONED = "mentioned"  # nothing stands in it that could be an event
    OTHER_FORM = "other_form"  # something does, in no form that is known
    UTF16 = "utf16"  # its file is not in UTF-8
    REPEATED = "repeated"  # it says that a line came again which is not at hand

    @property
    def words(self) -> str:
        """The reason as people are told it."""
        return _OBSCURE[self]


_OBSCURE = {
    ObscureReason.MENTIONED: "the marker is only mentioned, and no pattern matches",
    ObscureReason.OTHER_FORM: "the marker stands in a form that is not known",
    ObscureReason.UTF16: "the log is in UTF-16: let its writer use UTF-8",
    ObscureReason.REPEATED: "it says that another line came again, and that is not at hand",
}


class Obscure(msgspec.Struct, frozen=True):
    """A line of which nothing was understood: it has the marker, or says that another came again.

    `sample` is its head, as it is.
    """

    reason: ObscureReason
    position: int
    sample: str


class Kind(msgspec.Struct):
    """Events of one triple: their numbers among all, rising, and the fields asked for, by name.

    Values as `Event.get` gives them; None instead of a list says that no event has one.
    """

    triple: Triple
    numbers: list[int]
    fields: dict[str, list[Any] | None]


class Rows(msgspec.Struct):
    """Events in the order of the log, field by field, for a reader that needs few of them whole.

    The time of each, the place where its object begins, and the `kinds` they are of. `whole`: those
    that were read singly, by their number among all. `own`: the fields that the sidecar sets, alike
    in all. `taken`: what stands at a place may be a line of which a pattern takes the event.
    """

    times: list[float] = []
    places: list[int] = []
    kinds: list[Kind] = []
    whole: dict[int, Event] = {}
    own: dict[str, str] = {}
    taken: bool = False


class Parsed(msgspec.Struct):
    """What one chunk held.

    `rows` hold its events where only some of their fields were asked for, else `events` do. These
    stand in the order of the log, `places` are where their lines stand: positions in the file or,
    if `unwrapped`, as if its lines had no container's wrapping. `tallies` count the events of
    triples that the caller did not want whole. `future` events lay over five seconds ahead and took
    the time of reading, the furthest `ahead` seconds; `bad_times` events had a stamp that could not
    be read and took another time; `undated` ones had none that can be read. `clocks` are
    those of the others, by the quarter hours they are behind, where the newest is near one.
    `own_fields` were dropped, since only the sidecar may set them. `open_from` is where this log's
    oldest unfinished line (Docker, CRI pieces) of this chunk's file begins, None when every line is
    finished. `spread` are the objects that were printed over several lines, as one line, by their
    places.

    Each of `lines` is one of `event_lines`, or in `rejects`, `foreign` or `obscure`, or one of
    `pieces` of a line that ends in another, or `ignored`.
    """

    rows: Rows | None = None
    events: list[Event] = msgspec.field(default_factory=list)
    places: list[int] = msgspec.field(default_factory=list)
    unwrapped: bool = False
    tallies: dict[Triple, Tally] = msgspec.field(default_factory=dict)
    rejects: list[Reject] = msgspec.field(default_factory=list)
    foreign: list[Foreign] = msgspec.field(default_factory=list)
    obscure: list[Obscure] = msgspec.field(default_factory=list)
    lines: int = 0
    event_lines: int = 0
    pieces: int = 0
    future: int = 0
    ahead: float = 0.0
    bad_times: int = 0
    undated: int = 0
    own_fields: int = 0
    last_at: float | None = None
    clocks: dict[int, Clock] = msgspec.field(default_factory=dict)
    open_from: int | None = None
    spread: dict[int, bytes] = msgspec.field(default_factory=dict)

    @property
    def ignored(self) -> int:
        """How many lines said nothing that is looked for."""
        told = self.event_lines + self.pieces
        told += len(self.rejects) + len(self.foreign) + len(self.obscure)
        return self.lines - told

    def late(self, now: float, zone: str = "") -> Late | None:
        """Return by how much the events are off the clock `now`; None without any.

        `zone` is that of their source.
        """
        if self.last_at is None:
            return None
        seconds = -self.ahead if self.ahead else now - self.last_at
        return Late(None if self.undated else seconds, zone, self.clocks)


def drop_own(fields: dict[str, Any]) -> int:
    """Take out the fields that only the sidecar may set; return how many there were."""
    ours = [name for name in fields if name.startswith(OWN_PREFIX)]
    for name in ours:
        del fields[name]
    return len(ours)


def field_value(fields: Mapping[str, Any], name: str) -> Any:
    """Return `fields[name]`, or the value that a dotted `name` leads to, or None.

    `field.is_null` is whether a field that is there is null; None where it is not there.
    """
    if name in fields:
        return fields[name]
    if " " in name:
        return compared(name, lambda side: field_value(fields, side))
    value: Any = fields
    for part in name.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            return value is None if part == IS_NULL and value is not fields else None
    return value


def compared(name: str, get: Callable[[str], Any]) -> bool | None:
    """Return what `amount > limit` comes to, `get` giving fields; None where one is no number."""
    one, sign, other = name.split(" ")
    left, right = as_number(get(one)), as_number(get(other) if other[0].isidentifier() else other)
    return None if left is None or right is None else COMPARE[sign](left, right)


def is_missing(value: Any) -> bool:
    """Return whether a field holds nothing: it is not there, null or the empty text."""
    return value is None or value == ""


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


def bounded(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return `text` fit to be stored: valid UTF-8, and cut with a digest when too long."""
    raw = text.encode("utf-8", "replace")
    if len(text) <= longest:
        return raw.decode()
    digest = hashlib.sha256(raw).hexdigest()[:16]
    return f"{text[: longest - 20].encode('utf-8', 'replace').decode()}...{digest}"
