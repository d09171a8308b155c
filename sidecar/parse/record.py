"""Finds the WEBHOOK_METRIC record in one line, whatever form the line has."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sidecar.parse.event import RejectReason, instant, leading_instant
from sidecar.parse.objects import (
    MARKER,
    MAX_DEPTH,
    NOT_JSON,
    Unreadable,
    bounded_int,
    read_object,
    read_whole,
)

MESSAGE_FIELDS = ("event", "message", "msg", "log")
_STAMP_FIELDS = ("timestamp", "time", "ts")
_MAX_LEVELS = 4  # of records inside records' messages
_COLOUR = r"(?:\x1b\[[0-9;]*m)*"
# The marker and a colon: a claim that an event follows. Consoles may colour either.
_CLAIM = re.compile(rf"{MARKER}{_COLOUR}\s*:\s*{_COLOUR}")
# An object that says of itself that it is one; backslashes where it is quoted JSON.
_KEYED = re.compile(
    rf"""(?:metric_type|{"|".join(MESSAGE_FIELDS)})\\*["']\s*:\s*\\*["']{MARKER}\b""", re.ASCII
)
_OBJECT_START = re.compile(r"""\{\s*["'}]""")
_OTHER_VALUE = re.compile(r"""[\[("'\d+-]""")


@dataclass(frozen=True, slots=True)
class Record:
    """An event's `fields`, and where its time may stand if they do not hold it.

    `outer` is the structured record around it, `text` the plain line.
    """

    fields: dict[str, Any]
    text: str = ""
    outer: Mapping[str, Any] = field(default_factory=dict)

    def stated_instant(self) -> float | None:
        """Return the event's own `timestamp`, or None."""
        return instant(self.fields.get("timestamp"))

    def surrounding_instant(self) -> float | None:
        """Return the time of the record around it, else the stamp the line begins with."""
        for source in (self.outer, self.fields):
            for name in _STAMP_FIELDS:
                at = instant(source.get(name))
                if at is not None:
                    return at
        return leading_instant(self.text)


def find_record(text: str) -> Record | None:
    """Return the record in `text`, or None where the marker is merely mentioned.

    A line claims to be an event by the marker and a colon, or by an object whose `metric_type`,
    `event`, `message`, `msg` or `log` is the marker; then a record that cannot be read raises
    Unreadable. What follows a complete object on its line (a colour reset, a carriage return, a
    trailing remark) is ignored, so one line is at most one event.
    """
    return _in_text(text, {}, 1)


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


def _in_text(text: str, outer: Mapping[str, Any], level: int) -> Record | None:
    if level > _MAX_LEVELS:
        raise Unreadable(RejectReason.TOO_DEEP)
    marker = text.find(MARKER)
    if marker < 0:
        return None
    text = text.lstrip("\ufeff\0 \t")
    if _OBJECT_START.match(text):
        return _at_object(text, 0, outer, level)
    claim = _CLAIM.search(text)
    if claim is None:
        before = text.find("{", 0, text.find(MARKER))
        return None if before < 0 else _at_object(text, before, outer, level)
    try:
        return Record(_claimed(text, claim.end()), text, outer)
    except Unreadable:
        # Or the claim stands in the message of an object behind some prefix.
        record = _behind_prefix(text, claim.start(), outer, level)
        if record is None:
            raise
        return record


def _claimed(text: str, start: int) -> dict[str, Any]:
    following = text[start : start + 1]
    if following == "{":
        return read_fields(text, start)[0]
    odd = _OTHER_VALUE.match(following)
    raise Unreadable(RejectReason.NO_OBJECT if odd is None else RejectReason.NOT_AN_OBJECT)


def _behind_prefix(text: str, marker: int, outer: Mapping[str, Any], level: int) -> Record | None:
    before = text.find("{", 0, marker)
    if before < 0:
        return None
    try:
        return _at_object(text, before, outer, level)
    except Unreadable:
        return None


def _at_object(text: str, start: int, outer: Mapping[str, Any], level: int) -> Record | None:
    try:
        fields, end = read_fields(text, start)
    except Unreadable:
        if _CLAIM.search(text) or _KEYED.search(text):
            raise
        return None
    if text.find(MARKER, start, end) < 0:
        return _in_text(text[end:], outer, level + 1)
    return _in_fields(fields, text[:start], outer, level)


def _in_fields(
    fields: dict[str, Any], prefix: str, outer: Mapping[str, Any], level: int
) -> Record | None:
    if fields.get("metric_type") == MARKER:
        return Record(fields, prefix, outer)
    for name in MESSAGE_FIELDS:
        message = fields.get(name)
        if message == MARKER:
            del fields[name]
            return Record(fields, prefix, outer)
        record = None
        if isinstance(message, str) and MARKER in message:
            record = _in_text(message, fields, level + 1)
        elif isinstance(message, dict):
            record = _in_fields(message, prefix, fields, level + 1)
        if record is not None:
            return record
    return None


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
