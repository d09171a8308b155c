"""Finds the WEBHOOK_METRIC record in one line, whatever form the line has."""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from sidecar.parse.event import ForeignReason, ObscureReason, RejectReason, is_missing
from sidecar.parse.instants import instant, stamp_in
from sidecar.parse.objects import (
    MARKER,
    MAX_DEPTH,
    NOT_JSON,
    Unreadable,
    bounded_int,
    read_list,
    read_object,
    read_whole,
)
from sidecar.parse.prefix import COLOUR, Prefix

_MESSAGES = ("event", "message", "msg")
_MESSAGE_FIELDS = (*_MESSAGES, "log")
# Of structured records: ours, zap's, ECS', Python's loggers', monolog's and nginx's.
_STAMP_FIELDS = (
    "timestamp", "time", "ts", "@timestamp", "asctime", "datetime", "time_iso8601", "time_local"
)  # fmt: skip
STAMP_NAMES = frozenset(_STAMP_FIELDS)
_MAX_LEVELS = 4  # of records inside records' messages
_COLOUR = rf"(?:{COLOUR.pattern})*"
# The marker and a colon: a claim that an event follows. Consoles may colour either.
_CLAIM = re.compile(rf"{MARKER}{_COLOUR}\s*:(?:\s|{COLOUR.pattern})*")
# An object that says of itself that it is one; backslashes where it is quoted JSON.
_KEYED = re.compile(
    rf"""(?:metric_type|{"|".join(_MESSAGE_FIELDS)})\\*["']\s*:\s*\\*["']{MARKER}\b""", re.ASCII
)
_OBJECT_OR_TEXT = re.compile(r"""[{"']""")
_VALUES = re.compile(r"""[{"'=]""")  # whatever comes with values
_OBJECTS = ('{"', "{'")
_OBJECT_START = re.compile(r"""\[?\{\s*["'}]""")
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
_MOST_RECORDS = 100  # of one line
_MOST_STARTS = 16
Fits = Callable[[str], bool]
_OTHER_VALUE = re.compile(r"""[\[("'\d+-]""")


class Record(msgspec.Struct, frozen=True):
    """An event's `fields`, and where its time may stand if they do not hold it.

    `outer` is the structured record around it, `before` what its line has before it.
    """

    fields: dict[str, Any]
    before: str = ""
    outer: Mapping[str, Any] = {}

    def surrounding_instant(self, near: float) -> tuple[float | None, bool]:
        """Return the time of the record around it, else of the stamp before it in its line.

        And whether there is none although something looks like one. `near` as in `instant`.
        """
        unreadable = False
        for source in (self.outer, self.fields):
            for name in _STAMP_FIELDS if not STAMP_NAMES.isdisjoint(source) else ():
                value = source.get(name)
                at = instant(value, near)
                if at is not None:
                    return at, False
                unreadable |= not is_missing(value)
        at, looks_like_one = stamp_in(self.before, near)
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
    return _Reading(prefix).line(text, {}, 1)


def _only_mentions(text: str) -> bool:
    """Return whether nothing in `text` can be an object, a pair in quotes or a claim."""
    return _OBJECT_OR_TEXT.search(text) is None and _CLAIM.search(text) is None


def mention(text: str) -> ObscureReason:
    """Return why a line with the marker says nothing that `find_records` understands."""
    behind = text.partition(MARKER)[2]
    return ObscureReason.OTHER_FORM if _VALUES.search(behind) else ObscureReason.MENTIONED


def read_fields(text: str, start: int = 0) -> tuple[dict[str, Any], int]:
    """Read the JSON or repr object at `start`; return it and where it ends. Raises Unreadable."""
    end = text.rfind("}") + 1
    try:
        fields = read_whole(text[start:end].encode())
    except NOT_JSON:
        return read_object(text, start)
    if not isinstance(fields, dict):
        raise Unreadable(RejectReason.NOT_AN_OBJECT)
    return bounded(fields), end


class _Reading:
    """Reads one line; `prefix` says what may stand before an event in it."""

    def __init__(self, prefix: Prefix) -> None:
        self._prefix = prefix

    def line(self, text: str, outer: Mapping[str, Any], level: int) -> list[Record]:
        """Return the records of a whole line, or of several whose newlines were lost."""
        records: list[Record] = []
        for _ in range(_MOST_RECORDS):
            found, end = self._text(text, self._prefix.fits, outer, level)
            if found and CLOSED.match(text, end):
                return records + found
            if not found and not records:
                return []
            if not found or text[end].isspace():
                raise Unreadable(ForeignReason.AFTER)
            records += found
            text = text[end:]
        raise Unreadable(RejectReason.TOO_LONG)

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
        claim = _CLAIM.search(text)
        if claim is not None and fits(text[: claim.start()]):
            fields, end = _claimed(text, claim.end())
            return [Record(fields, text[: claim.start()], outer)], end
        for start in _object_starts(text, fits):
            objects = self._at_object(text, start, outer, level)
            if objects is None:
                continue
            if not fits(text[:start]) and any(record.outer is outer for record in objects[0]):
                break  # the object itself is the event
            return objects
        found = self._among_pairs(text, fits, outer, level)
        if not found and _is_claim(text):
            inside = _OBJECT_START.match(text) is not None
            raise Unreadable(ForeignReason.FIELD if inside else ForeignReason.BEFORE)
        return found, len(text)

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
            value, end = _read_value(text, start)
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
        name = message_field(fields)
        message = fields.get(name)
        if message == MARKER:
            del fields[name]
            return [Record(fields, before, outer)]
        if isinstance(message, dict):
            return self._in_fields(message, before, fields, level + 1)
        if not isinstance(message, str) or MARKER not in message:
            return []
        if name == "log":  # a line as it was written
            return self.line(message, fields, level + 1)
        return self._message(message, fields, level + 1)

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


def _stamps_among_pairs(text: str) -> dict[str, str]:
    found = ((pair[1], pair[2]) for pair in _PAIR.finditer(text))
    return {name: value.strip("\"'") for name, value in found if name in _STAMP_FIELDS}


def _object_starts(text: str, fits: Fits) -> Iterator[int]:
    """Yield where an object may begin: in front of it stands nothing, or what may."""
    for found in islice(_OBJECT_START.finditer(text), _MOST_STARTS):
        if not found.start() or fits(text[: found.start()]):
            yield found.start()


def _is_claim(text: str) -> bool:
    return _CLAIM.search(text) is not None or _KEYED.search(text) is not None


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


def _claimed(text: str, start: int) -> tuple[dict[str, Any], int]:
    following = text[start : start + 1]
    if following == "{":
        return read_fields(text, start)
    odd = _OTHER_VALUE.match(following)
    raise Unreadable(RejectReason.NO_OBJECT if odd is None else RejectReason.NOT_AN_OBJECT)


def _read_value(text: str, start: int) -> tuple[Any, int]:
    if text[start] == "{":
        return read_fields(text, start)
    end = text.rfind("]") + 1
    try:
        return bounded(read_whole(text[start:end].encode())), end
    except NOT_JSON:
        return read_list(text, start)


def bounded(value: Any, depth: int = 1) -> Any:
    """Hold decoded JSON to the exact reader's limits, in place; return it."""
    for key, item in value.items() if type(value) is dict else enumerate(value):
        kind = type(item)
        if kind is int:
            value[key] = bounded_int(item)
        elif kind is dict or kind is list:
            value[key] = bounded(item, depth + 1) if depth < MAX_DEPTH else _as_text(item)
    return value


def _as_text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (RecursionError, OverflowError):
        return "…"
