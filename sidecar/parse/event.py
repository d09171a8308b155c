"""The values of parsing, and how their fields are read everywhere.

A `Chunk` goes in; what comes out is `Parsed`: events, tallies, rejects and foreign lines. A field
is read as a text, a number or an instant in one way for all consumers: ISO 8601 texts and epoch
numbers become seconds since the epoch, and a text becomes fit to be a label and to be stored.
"""

import hashlib
import json
import math
import re
from calendar import month_abbr
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
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
    machine that reads.
    """

    file: int
    log: str
    format: LogFormat
    data: bytes
    start: int
    prefix: str | None = None
    key: bytes = b""
    host: str = ""


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
    in all.
    """

    times: list[float] = []
    places: list[int] = []
    kinds: list[Kind] = []
    whole: dict[int, Event] = {}
    own: dict[str, str] = {}


class Parsed(msgspec.Struct):
    """What one chunk held.

    `rows` hold its events where only some of their fields were asked for, else `events` do. These
    stand in the order of the log, `places` are where their lines stand: positions in the
    file or, if `unwrapped`, as if its lines had no container's wrapping. `tallies` count the events
    of triples that the caller did not want whole. `future` events lay over ten minutes
    ahead and took the time of reading; `bad_times` events had a stamp that could not be read and
    took another time. `own_fields` were dropped, since only the sidecar may set them. `open_from`
    is where this log's oldest unfinished line (Docker, CRI pieces) of this chunk's file begins,
    None when every line is finished.
    """

    rows: Rows | None = None
    events: list[Event] = msgspec.field(default_factory=list)
    places: list[int] = msgspec.field(default_factory=list)
    unwrapped: bool = False
    tallies: dict[Triple, Tally] = msgspec.field(default_factory=dict)
    rejects: list[Reject] = msgspec.field(default_factory=list)
    foreign: list[Foreign] = msgspec.field(default_factory=list)
    lines: int = 0
    future: int = 0
    bad_times: int = 0
    own_fields: int = 0
    last_at: float | None = None
    open_from: int | None = None


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


def is_bad_instant(value: Any, near: float | None = None) -> bool:
    """Return whether a field holds something, and no instant; `near` as in `instant`."""
    return not is_missing(value) and instant(value, near) is None


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


_ISO = re.compile(
    r"""(?P<day>\d{4}(?P<sign>[-/])\d\d(?P=sign)\d\d|\d{8}(?=[Tt]))
        (?:[Tt\ ](?P<clock>\d\d(?::?\d\d){1,2}))?(?:[.,](?P<fraction>\d{1,18}))?
        \s?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?""",
    re.VERBOSE | re.ASCII,
)
_MONTHS = {name: number for number, name in enumerate(month_abbr) if name}
# The common log format of web servers, then RFC 3164 (syslog) and C's asctime().
_NAMED = (
    re.compile(
        r"""(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4})[:\s](?P<clock>\d\d:\d\d:\d\d)
            (?:\.(?P<fraction>\d{1,18}))?(?:\s(?P<zone>[+-]\d{4}))?""",
        re.VERBOSE | re.ASCII,
    ),
    re.compile(
        r"""(?:[A-Z][a-z]{2}\s)?(?P<month>[A-Z][a-z]{2})\s+(?P<day>\d\d?)\s
            (?P<clock>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,18}))?(?:\s(?P<year>\d{4}))?(?P<zone>Z)?""",
        re.VERBOSE | re.ASCII,
    ),
)
# A stamp in a line: what `instant` reads as one, with a clock in it; a number only where a line
# begins with it.
_STAMP = (
    r"(?:(?<![\w.:/-])(?:"
    r"(?:\d{4}([-/])\d\d\1\d\d[T ]\d\d:\d\d(?::\d\d)?|\d{8}T\d{6})(?:[.,]\d{1,18})?"
    r"(?:\s?(?:Z\b|UTC\b|[+-]\d\d:?\d\d\b))?"
    r"|\d\d/[A-Z][a-z]{2}/\d{4}[:\s]\d\d:\d\d:\d\d(?:\.\d{1,18})?(?:\s[+-]\d{4}\b)?"
    r"|(?:[A-Z][a-z]{2}\s)?[A-Z][a-z]{2}\s[\s\d]\d\s\d\d:\d\d:\d\d(?:\.\d{1,18})?(?:\s\d{4}\b)?)"
    r"|(?:\A|(?<=\A[\[(]))1\d{9}(?:\.\d{1,9}|\d{3})?(?=[\s\])]))"
)
_STAMPS = re.compile(_STAMP, re.ASCII)
_ZONE = re.compile(r"(?:Z|UTC|[+-]\d\d:?\d\d)\Z", re.ASCII)
_OPENING = re.compile(rf"[\[(]?{_STAMP}", re.ASCII)
# Whatever else a logger may mean by a time: `22.11.2026`, `2026-11-22`, `2:02:16 AM`.
_LIKE_A_STAMP = re.compile(
    r"(?<![\d:])\d?\d:\d\d:\d\d(?![\d:])"
    r"|(?<![\d.])(?:\d{4}([-/.])\d\d\1\d\d|\d\d([-/.])\d\d\2\d{4})(?![\d.])",
    re.ASCII,
)
# Epoch numbers by magnitude, so that no unit needs to be configured: below the first bound they
# are too small to be an instant (a duration, a counter), then seconds (up to the year 5138),
# milliseconds, microseconds, nanoseconds.
_TOO_SMALL = 1e8
_MOST_SECONDS = 4096  # remembered
_MICROSECONDS = 6  # digits
_DAY = 86_400.0  # a host's clock may be ahead by its time zone
_LEAP_YEARS = 9  # from one to the next 29th of February, around 2100
_UNITS = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (1e20, 1_000_000_000))


def instant(value: Any, near: float | None = None) -> float | None:
    """Return the instant `value` states, or None when it states none.

    A text is one of these, or a decimal number:

    - ISO 8601 (RFC 3339 and its common spellings: space or T, dot or comma before the fraction,
      nanoseconds, `Z`, `UTC`, `+02:00`, `+0200`, `20261102T080116Z`; a date alone is its
      midnight); also with slashes, as Go's logger and nginx write it: `2026/11/02 08:01:16`
    - the common log format of web servers: `02/Nov/2026:08:01:16 +0000`; Python's own ones write it
      with a blank and without a zone
    - RFC 3164, as syslog writes it: `Nov  2 08:01:16`. It has no year: that is the latest one in
      which it lies at most a day after `near`, in epoch seconds; without `near` it is no instant
    - the same with weekday and year, as C's asctime() writes it: `Mon Nov  2 08:01:16 2026`

    No zone means UTC; fractions are rounded to microseconds. Numbers are epoch seconds; 1e11 and
    more can only be milliseconds, 1e14 microseconds, 1e17 nanoseconds. Numbers below 1e8 (March
    1973), so also 0 and negative ones, and anything else are no instants.
    """
    if isinstance(value, str):
        # Neighbouring lines share their second, so that only the fraction is read anew.
        base = _SECONDS[value[:20]]
        digits = value[20:]
        if base is not None and len(digits) == _MICROSECONDS and digits.isdecimal():
            return base + int(digits) / 1_000_000
        return _of_text(value, near)
    number = as_number(value)
    return None if number is None else _of_number(number)


def stamp_in(text: str, near: float) -> tuple[float | None, bool]:
    """Return the instant of the last stamp in `text`, a logger's, that can be read.

    And whether there is none although something looks like one. `near` as in `instant`. The last
    is the nearest to the message: before it may stand another logger's, or what a stranger calls
    himself in an access line.
    """
    if plain := _PLAIN_STAMP.match(text):  # nearly every logger's
        at = _PLAIN_SECONDS[plain[1]]
        if at is not None:
            return at, False
    found = stamps_in(text, near)
    return (found[-1][0], False) if found else (None, _LIKE_A_STAMP.search(text) is not None)


def stamps_in(text: str, near: float) -> list[tuple[float, bool]]:
    """Return the instants of the stamps in `text`, each with whether it states a zone."""
    found = ((instant(stamp[0], near), stamp[0]) for stamp in _STAMPS.finditer(text))
    return [(at, _ZONE.search(text) is not None) for at, text in found if at is not None]


def without_stamps(text: str) -> str:
    return _STAMPS.sub("", text)


def stamp_end(text: str, start: int) -> int:
    """Return where a stamp at `start` ends; `start` without one."""
    found = _OPENING.match(text, start)
    return start if found is None else found.end()


class _Seconds(dict[str, float | None]):
    """Texts of this form to the instant of their second, in UTC; None for other texts."""

    def __init__(self, form: re.Pattern[str]) -> None:
        super().__init__()
        self._form = form

    def __missing__(self, text: str) -> float | None:
        if len(self) >= _MOST_SECONDS:
            self.clear()
        base = _seconds(text[:19] + "+00:00") if self._form.fullmatch(text) else None
        self[text] = base
        return base


_SECONDS = _Seconds(re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.", re.ASCII))
_PLAIN_SECONDS = _Seconds(re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII))
# A line's one stamp at its beginning, with neither fraction nor zone.
_PLAIN_STAMP = re.compile(r"(\d{4}-\d\d-\d\d [\d:]{8})(?![.,]|\s?(?:Z|UTC|[+-]\d))\D*\Z", re.ASCII)


def _of_text(text: str, near: float | None) -> float | None:
    text = text.strip()
    found = _ISO.fullmatch(text)
    if found is not None:
        return _at(found, found["day"].replace("/", "-"))
    for form in _NAMED:
        if (found := form.fullmatch(text)) is not None:
            return _of_named(found, near)
    number = as_number(text)
    return None if number is None else _of_number(number)


def _of_named(found: re.Match[str], near: float | None) -> float | None:
    month = _MONTHS.get(found["month"])
    if month is None or not (found["year"] or near):
        return None
    day = f"-{month:02}-{int(found['day']):02}"
    if found["year"]:
        return _at(found, found["year"] + day)
    latest = (near or 0.0) + _DAY
    year = datetime.fromtimestamp(latest, UTC).year
    instants = (_at(found, f"{year - back}{day}") for back in range(_LEAP_YEARS))
    return next((at for at in instants if at is not None and at <= latest), None)


def _at(found: re.Match[str], day: str) -> float | None:
    zone = found["zone"] or "Z"
    offset = zone if zone[0] in "+-" else "+00:00"
    base = _seconds(f"{day}T{found['clock'] or '00:00'}{offset}")
    return None if base is None else base + _microseconds(found["fraction"] or "") / 1e6


def _microseconds(fraction: str) -> int:
    """Return the digits behind the dot as whole microseconds, a half rounded up.

    A float of today's instants cannot hold more, and the decoder of `sidecar.parse.asked` does
    the same.
    """
    return int(fraction[:6].ljust(6, "0")) + (fraction[6:7] >= "5")


def _seconds(iso: str) -> float | None:
    try:
        seconds = datetime.fromisoformat(iso).timestamp()
    except (ValueError, OverflowError):  # the 30th of February, hour 25, year 0, second 60
        return None
    return seconds if seconds >= 0 else None  # no log was written before 1970


def _of_number(number: float) -> float | None:
    if number < _TOO_SMALL:
        return None
    return next((number / unit for bound, unit in _UNITS if number < bound), None)
