"""Finds the WEBHOOK_METRIC record in one line, whatever form the line has."""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from sidecar.parse.event import ForeignReason, ObscureReason, RejectReason, is_missing
from sidecar.parse.instants import instant, stamp_in, stamp_places
from sidecar.parse.objects import MARKER, Unreadable
from sidecar.parse.prefix import COLOUR, Prefix
from sidecar.parse.values import is_tear, read_claimed, read_fields, read_pairs, read_value

_MESSAGES = ("event", "message", "msg", "@m")
_MESSAGE_FIELDS = (*_MESSAGES, "log")
# Of structured records: ours, zap's, ECS', Python's loggers', monolog's, nginx's, CLEF's,
# OpenTelemetry's and journald's.
_STAMP_FIELDS = (
    "timestamp", "time", "ts", "@timestamp", "asctime", "datetime", "time_iso8601", "time_local",
    "@t", "timeUnixNano", "__REALTIME_TIMESTAMP",
)  # fmt: skip
STAMP_NAMES = frozenset(_STAMP_FIELDS)
_MAX_LEVELS = 4  # of records inside records' messages
_COLOUR = rf"(?:{COLOUR.pattern})*"
# The marker and a colon: a claim that an event follows. Consoles may colour either.
_CLAIM = re.compile(rf"{MARKER}{_COLOUR}\s*:(?:\s|{COLOUR.pattern})*")
# The same without a colon, where an object, pairs or the like follow directly.
_LOOSE = re.compile(
    rf"""(?:\[{MARKER}\]|\({MARKER}\)|<{MARKER}>|"{MARKER}"|{MARKER})
        (?:\s|[|=>:,;~#/*!.\u2013\u2014\u2192\u2026-])*
        (?:(?=(?P<object>\[?\s*\{{|[bB]?["']\s*\{{))
          |(?<![\w\])>"])(?=[A-Za-z_][\w.]*\(|[A-Za-z_@][\w.@-]*=|<\w))""",
    re.VERBOSE,
)
# An object that says of itself that it is one; backslashes where it is quoted JSON.
_KEYED = re.compile(
    rf"""(?:metric_type|{"|".join(_MESSAGE_FIELDS)})\\*["']\s*:\s*\\*["']{MARKER}\b""", re.ASCII
)
_VALUES = re.compile(r"""[{"'=]""")  # whatever comes with values
_OBJECTS = ('{"', "{'")
_OBJECT_START = re.compile(r"""\{\s*["'}]|\[\s*\{\s*["'}]""")
# PHP's monolog puts its empty context and extra behind each message.
CLOSED = re.compile(rf"(?:[\s\0]|\[\]|{COLOUR.pattern})*+\Z")
# key=value with the message in quotes, and what may stand behind it.
_MESSAGE_PAIR = re.compile(
    r"""(?<!\S)(?:event|message|msg)=("(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')(?!\S)"""
)
_PAIRS = re.compile(
    r"""(?:\s+(?!(?:event|message|msg)=)[\w.@-]+=
        (?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|[^\s"']*+))*+\s*""",
    re.VERBOSE,
)
_PAIR = re.compile(r"""(?<!\S)([\w.@-]+)=("(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|[^\s"']*+)""")
_ESCAPED = re.compile(r"""\\(["'\\])""")
_FIRST_PAIR = re.compile(r"(?<!\S)[A-Za-z_@][\w.@-]*=")
# What loggers themselves write among pairs, in front of the message.
_LOGGERS_PAIRS = frozenset(
    (*_STAMP_FIELDS, "level", "lvl", "severity", "logger", "caller", "source", "module", "pid")
)
# Where a host puts the record itself beside a message in words. What a stranger sends has others.
_METRICS = ("metric", "metrics", "webhook_metric")
_MOST_NESTED = 4  # levels of objects in which the fields of a record called by the marker may be
_MOST_RECORDS = 100  # of one line
_MOST_STARTS = 16
Fits = Callable[[str], bool]


class Record(msgspec.Struct, frozen=True):
    """An event's `fields`, and where its time may stand if they do not hold it.

    `outer` is the structured record around it, `before` what its line has before it.
    """

    fields: dict[str, Any]
    before: str = ""
    outer: Mapping[str, Any] = {}

    def surrounding_instant(
        self, near: float, zone: ZoneInfo | None = None
    ) -> tuple[float | None, bool]:
        """Return the time of the record around it, else of the stamp before it in its line.

        And whether there is none although something looks like one. `near` as in `instant`.
        """
        unreadable = False
        for source in (self.outer, self.fields):
            for name in _STAMP_FIELDS if not STAMP_NAMES.isdisjoint(source) else ():
                value = source.get(name)
                at = instant(value, near, zone)
                if at is not None:
                    return at, False
                unreadable |= not is_missing(value)
        at, looks_like_one = stamp_in(self.before, near, zone)
        return at, looks_like_one or (unreadable and at is None)


def find_records(text: str, prefix: Prefix) -> list[Record]:
    """Return the events that `text`, a line, states; none where it merely mentions the marker.

    A line claims to hold an event by the marker and a colon, or by an object whose `metric_type`,
    `event`, `message`, `msg` or `log` is the marker. The object ends the line. Where the newline
    behind one was lost, the next line directly follows it: all of them count, or none.

    Raises Unreadable: with a RejectReason where the claim stands where the host writes and cannot
    be read, with a ForeignReason where it stands anywhere else.
    """
    if MARKER not in text or _only_mentions(text):
        return []
    if "\x1b" in text and not prefix.is_pinned:
        text = COLOUR.sub("", text)
    return _Reading(prefix).line(text, {}, 1)


def _only_mentions(text: str) -> bool:
    """Return whether nothing in `text` can be an object, a pair or a claim."""
    return _VALUES.search(text) is None and _CLAIM.search(text) is None


def mention(text: str) -> ObscureReason:
    """Return why a line with the marker says nothing that `find_records` understands."""
    behind = text.partition(MARKER)[2]
    return ObscureReason.OTHER_FORM if _VALUES.search(behind) else ObscureReason.MENTIONED


class _Reading:
    """Reads one line; `prefix` says what may stand before an event in it."""

    def __init__(self, prefix: Prefix) -> None:
        self._prefix = prefix

    def line(self, text: str, outer: Mapping[str, Any], level: int) -> list[Record]:
        """Return the records of a whole line, or of several whose newlines were lost."""
        records: list[Record] = []
        for _ in range(_MOST_RECORDS):
            try:
                found, end = self._text(text, self._prefix.fits, outer, level)
                if not found:
                    end = _other_end(text, records) if records else 0
            except Unreadable as torn:
                found, end = [], 0
                if torn.reason in (ForeignReason.BEFORE, ForeignReason.FIELD):
                    end = _other_end(text, records)
                if not end:
                    torn.records = self._beside(torn, records, text, outer, level)
                    raise
            if end and (found or records) and CLOSED.match(text, end):
                return records + found
            if not end and not records:
                return []
            if not end or text[end : end + 1].isspace():
                raise Unreadable(ForeignReason.AFTER)
            records += found
            text = text[end:]
        raise Unreadable(RejectReason.TOO_LONG if records else ForeignReason.BEFORE)

    def _message(self, text: str, outer: Mapping[str, Any], level: int) -> list[Record]:
        """Return the record that is the whole of a record's message field."""
        found, end = self._text(text, self._prefix.fits_message, outer, level)
        if found and not CLOSED.match(text, end):
            raise Unreadable(ForeignReason.AFTER)
        return found

    def _text(
        self, text: str, fits: Fits, outer: Mapping[str, Any], level: int
    ) -> tuple[list[Record], int]:
        """Return the records that `text` begins with, and where they end."""
        if level > _MAX_LEVELS:
            raise Unreadable(RejectReason.TOO_DEEP)
        if MARKER not in text:
            return [], 0
        if text.startswith(_OBJECTS) and fits("") and (whole := self._whole(text, outer, level)):
            return whole
        if (claimed := self._claimed(text, fits, outer)) is not None:
            return claimed
        for start in _object_starts(text, fits):
            objects = self._at_object(text, start, outer, level)
            if objects is None:
                continue
            if not fits(text[:start]) and any(record.outer is outer for record in objects[0]):
                break  # the object itself is the event
            return objects
        found = self._among_pairs(text, fits, outer, level) or self._of_pairs(text, fits, outer)
        if not found and _is_claim(text):
            inside = _OBJECT_START.match(text) is not None
            raise Unreadable(ForeignReason.FIELD if inside else ForeignReason.BEFORE)
        return found, len(text)

    def _claimed(
        self, text: str, fits: Fits, outer: Mapping[str, Any]
    ) -> tuple[list[Record], int] | None:
        """Return what stands behind a marker that the host wrote; None where there is none."""
        claim = _CLAIM.search(text)
        loose = None if claim is not None else _LOOSE.search(text)
        found = claim or loose
        if found is None or not fits(text[: found.start()]):
            return None
        try:
            objects, end = read_claimed(text, found.end())
        except Unreadable as wrong:
            if loose is not None and wrong.reason in _NO_OBJECT:
                return None  # it is no claim at all
            raise
        return [Record(fields, text[: found.start()], outer) for fields in objects], end

    def _beside(
        self,
        torn: Unreadable,
        records: list[Record],
        text: str,
        outer: Mapping[str, Any],
        level: int,
    ) -> list[Record]:
        """Return the records in a line beside a torn one that the host wrote as well.

        Those before it count where they begin the line: else what follows may be the end of a line
        that quotes them. One behind it ends the line, and cannot be a value of the torn one.
        """
        if torn.reason not in _TORN:
            return []
        first = records if records and not records[0].before else []
        return [*first, *self._behind(text, outer, level)]

    def _behind(self, text: str, outer: Mapping[str, Any], level: int) -> list[Record]:
        begun = _CLAIM.search(text)
        start = text.find("{", 0 if begun is None else begun.end())
        for at in _starts_again(text, start) if start >= 0 else ():
            if not is_tear(text, start, at):
                continue
            try:
                found, end = self._text(text[at:], self._prefix.fits, outer, level)
            except Unreadable:
                continue
            if found and CLOSED.match(text, at + end):
                return found
        return []

    def _whole(
        self, text: str, outer: Mapping[str, Any], level: int
    ) -> tuple[list[Record], int] | None:
        """Do what `_text` does for a text that begins with an object, in most cases."""
        try:
            return self._at_object(text, 0, outer, level)
        except Unreadable:  # or it may be a logger's: `{'id': 4} WEBHOOK_METRIC: …`
            return None

    def _at_object(
        self, text: str, start: int, outer: Mapping[str, Any], level: int
    ) -> tuple[list[Record], int] | None:
        """Return the records of the object or the list of objects at `start`; None without any."""
        try:
            value, end = read_value(text, start)
        except Unreadable:
            if _is_claim(text):
                raise
            return None
        found: list[Record] = []
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict):
                found += self._in_fields(item, text[:start], outer, level)
        return (found, end) if found else None

    def _in_fields(
        self, fields: dict[str, Any], before: str, outer: Mapping[str, Any], level: int
    ) -> list[Record]:
        if fields.get("metric_type") == MARKER:
            return [Record(fields, before, outer)]
        inside = self._enveloped(fields, before, level)
        if inside is not None:
            return inside
        name = message_field(fields)
        message = fields.get(name)
        if message == MARKER:
            del fields[name]
            return [_of_named(fields, before, outer)]
        if isinstance(message, dict):
            return self._in_fields(message, before, fields, level + 1)
        if not isinstance(message, str) or MARKER not in message:
            return [Record(one, before, fields) for one in _metrics_of(fields)]
        if name == "log":  # a line as it was written
            return self.line(message, fields, level + 1)
        return self._message(message, fields, level + 1)

    def _enveloped(self, fields: dict[str, Any], before: str, level: int) -> list[Record] | None:
        """Return the records of what a collector has wrapped; None where none has.

        These are Google's, journald's, loguru's, Rust's tracing and OpenTelemetry's.
        """
        if any(isinstance(fields.get(name), str) and fields[name] for name in _MESSAGES):
            return None
        inner = _inner(fields)
        if isinstance(inner, dict):
            return self._in_fields(inner, before, fields, level + 1)
        if isinstance(inner, list):  # OpenTelemetry's log records
            return [record for one in inner for record in self._in_fields(one, before, {}, level)]
        if not isinstance(inner, str):
            return None
        if MARKER not in inner:
            return []
        read = self._message if "body" in fields else self.line
        return read(inner, fields, level + 1)

    def _of_pairs(self, text: str, fits: Fits, outer: Mapping[str, Any]) -> list[Record]:
        """Return the record that is `level=info msg=WEBHOOK_METRIC status=ok` and its kin.

        In front of the marker stands only what loggers write: any other value may hold a stranger's
        words, and a pair among them.
        """
        first = _FIRST_PAIR.search(text)
        if first is None:
            return []
        before = text[: first.start()]
        if not fits(before) or not self._prefix.fits_pairs(before):
            return []
        pairs = read_pairs(text, first.start())
        return [] if pairs is None else _of_pairs(pairs, before, outer)

    def _among_pairs(
        self, text: str, fits: Fits, outer: Mapping[str, Any], level: int
    ) -> list[Record]:
        """Return the record in the message of `level=info event="WEBHOOK_METRIC: {…}"`."""
        messages = list(islice(_MESSAGE_PAIR.finditer(text), 2))
        if len(messages) != 1:
            return []
        message = messages[0]
        before = text[: message.start()]
        if not fits(before) or not self._prefix.fits_pairs(before):
            return []
        if not _PAIRS.fullmatch(text, message.end()):
            return []
        inner = _ESCAPED.sub(r"\1", message[1][1:-1])
        return self._message(inner, {**_stamps_among_pairs(text), **outer}, level + 1)


def _other_end(text: str, records: list[Record]) -> int:
    """Return where an object of something else ends that another writer wrote first in `text`.

    0 where `text` does not begin with one, or stands behind words. Raises Unreadable.
    """
    if (records and records[0].before) or not text.startswith(_OBJECTS):
        return 0
    end = read_value(text, 0)[1]
    return 0 if MARKER in text[:end] else end


def _stamps_among_pairs(text: str) -> dict[str, str]:
    found = ((pair[1], pair[2]) for pair in _PAIR.finditer(text))
    return {name: value.strip("\"'") for name, value in found if name in _STAMP_FIELDS}


def _object_starts(text: str, fits: Fits) -> Iterator[int]:
    """Yield where an object may begin: in front of it stands nothing, or what may."""
    for found in islice(_OBJECT_START.finditer(text), _MOST_STARTS):
        if not found.start() or fits(text[: found.start()]):
            yield found.start()


def _is_claim(text: str) -> bool:
    if _CLAIM.search(text) is not None or _KEYED.search(text) is not None:
        return True
    loose = _LOOSE.search(text)
    return loose is not None and loose["object"] is not None


def message_field(fields: Mapping[str, Any]) -> str:
    """Return the name of the one field that is the message; empty where several could be.

    A host that logs `event="contact form", message=…` hands on what somebody typed, and so does
    one that logs what was raised.
    """
    if fields.get("err") or fields.get("stack"):  # of pino, bunyan and winston
        return ""
    found = ""
    for name in _MESSAGES:
        text = fields.get(name)
        if text and isinstance(text, str):
            if found:
                return next((name for name in _MESSAGES if fields.get(name) == MARKER), "")
            found = name
    objects = (name for name in _MESSAGE_FIELDS if isinstance(fields.get(name), dict))
    return found or next(objects, "log")


_NO_OBJECT = (RejectReason.NO_OBJECT, RejectReason.NOT_AN_OBJECT)
_TORN = (RejectReason.TRUNCATED, RejectReason.MALFORMED)
_AGAIN = re.compile(r"""\{["']""")


def _starts_again(text: str, start: int) -> Iterator[int]:
    """Yield where in a line a further record may begin, behind the torn one from `start` on."""
    objects = (found.start() for found in _AGAIN.finditer(text, start + 1))
    yield from islice(objects, _MOST_STARTS)
    for claim in islice(_CLAIM.finditer(text, start + 1), _MOST_STARTS):
        quote = max(text.rfind(one, start, claim.start()) for one in "\"'}]") + 1
        yield quote
        yield from (quote + at for at in stamp_places(text[quote : claim.start()]))


def _of_named(fields: dict[str, Any], before: str, outer: Mapping[str, Any]) -> Record:
    """Return a record called by the marker; its fields may be in an object inside of it."""
    if "event_type" in fields:
        return Record(fields, before, outer)
    found = [one for one in _nested(fields, _MOST_NESTED) if "event_type" in one]
    if len(found) != 1:
        return Record(fields, before, outer)
    return Record(found[0], before, {**outer, **fields})


def _nested(fields: Mapping[str, Any], levels: int) -> Iterator[dict[str, Any]]:
    for value in fields.values() if levels else ():
        if isinstance(value, dict):
            yield value
            if "event_type" not in value:
                yield from _nested(value, levels - 1)


def _metrics_of(fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in _METRICS:
        value = fields.get(name)
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, dict) and one.get("metric_type") == MARKER:
                yield one


def _inner(fields: Mapping[str, Any]) -> Any:
    """Return the record, the message or the records that a collector has wrapped, else None."""
    record, body = fields.get("record"), fields.get("body")
    if isinstance(record, dict) and "text" in fields and "message" in record:  # loguru's serialize
        time = record.get("time")
        return {**record, "time": time.get("timestamp") if isinstance(time, dict) else time}
    traced = fields.get("fields")
    if isinstance(traced, dict) and "message" in traced and "level" in fields:  # Rust's tracing
        return traced
    if "resourceLogs" in fields:
        return list(_log_records(fields))
    if body is not None and not _SEVERITIES.isdisjoint(fields):  # OpenTelemetry's
        return body.get("stringValue", body) if isinstance(body, dict) else body
    named = (fields.get(name) for name in ("jsonPayload", "textPayload", "MESSAGE"))
    return next((value for value in named if isinstance(value, dict | str)), None)


_SEVERITIES = frozenset(
    ("severity_text", "severity_number", "severityText", "severityNumber", "SeverityText")
)


def _log_records(fields: Any) -> Iterator[dict[str, Any]]:
    """Yield the log records of OpenTelemetry's file exporter, each of them made sure to be one."""
    found = [fields]
    for name in ("resourceLogs", "scopeLogs", "logRecords"):
        lists = (one.get(name) for one in found if isinstance(one, dict))
        found = [item for some in lists if isinstance(some, list) for item in some]
    for one in found:
        if isinstance(one, dict):
            yield {"severityText": "", **one}


def _of_pairs(pairs: dict[str, Any], before: str, outer: Mapping[str, Any]) -> list[Record]:
    messages = [name for name in _MESSAGES if name in pairs]
    keys = [name for name in pairs if name not in _LOGGERS_PAIRS]
    if len(messages) > 1 or not keys:
        return []
    lead = keys[0]
    named = bool(messages) and pairs[messages[0]] == MARKER
    keyed = lead == "metric_type" and pairs[lead] == MARKER
    if (named and lead == messages[0]) or (keyed and (named or not messages)):
        fields = {name: value for name, value in pairs.items() if name not in messages}
        return [Record(fields, before, outer)]
    beside = keys[1] if messages and lead == messages[0] and len(keys) > 1 else lead
    value = pairs[beside]
    if beside not in _METRICS or not isinstance(value, str) or not value.startswith("{"):
        return []
    metric, end = read_fields(value)
    whole = metric.get("metric_type") == MARKER and end == len(value)
    return [Record(metric, before, {**outer, **pairs})] if whole else []
