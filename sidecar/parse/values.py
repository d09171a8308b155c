"""What stands behind the marker: an object, or what hosts print of one.

A dict's repr or JSON; the same in a call (`OrderedDict(…)`, `Metric(status='ok')`), in quotation
marks (`"{…}"`, `b'{…}'`), behind a name (`metric={…}`) or an object's head (`<Event at 0x7f> JSON:
{…}`); a list of such; `key=value` pairs up to the end.
"""

import re
from typing import Any

import msgspec

from sidecar.parse.event import RejectReason
from sidecar.parse.objects import (
    MAX_DEPTH,
    NOT_JSON,
    STRING,
    Unreadable,
    bounded_int,
    number_of,
    read_call,
    read_list,
    read_object,
    read_whole,
    text_of,
)

_OTHER_VALUE = re.compile(r"""[\[("'\d+-]""")
_LIST = re.compile(r"\[\s*(?:\{|[A-Za-z_][\w.]*\()")
# `f"{metric=}"`, and how Stripe's library prints its objects.
_BEFORE_OBJECT = re.compile(r"(?:[A-Za-z_]\w*\s*=|<[^<>\n]{1,200} at 0x[0-9a-f]+> JSON:)\s*(?=\{)")
_CALL = re.compile(r"[A-Za-z_][\w.]*\(")
_FIRST_PAIR = re.compile(r"[A-Za-z_@][\w.@-]*=")
PAIR = re.compile(
    r"""\s*([A-Za-z_@][\w.@-]*)=(?:([bB]?(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'))|([^\s"']*+))(?=\s|\Z)""",
    re.DOTALL,
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)


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


def read_value(text: str, start: int) -> tuple[Any, int]:
    """Read the object or the list at `start`; return it and where it ends. Raises Unreadable."""
    if text[start] == "{":
        return read_fields(text, start)
    end = text.rfind("]") + 1
    try:
        return bounded(read_whole(text[start:end].encode())), end
    except NOT_JSON:
        return read_list(text, start)


def read_claimed(text: str, start: int) -> tuple[list[dict[str, Any]], int]:
    """Read what stands behind a marker; return its objects and where it ends. Raises Unreadable."""
    behind = _BEFORE_OBJECT.match(text, start)
    start = start if behind is None else behind.end()
    first = text[start : start + 1]
    if first == "{":
        fields, end = read_fields(text, start)
        return [fields], end
    if _LIST.match(text, start):
        value, end = read_value(text, start)
        if value and all(isinstance(item, dict) for item in value):
            return value, end
        raise Unreadable(RejectReason.NOT_AN_OBJECT)
    if (quoted := STRING.match(text, start)) is not None:
        return [_read_quoted(text_of(quoted))], quoted.end()
    if _CALL.match(text, start):
        called = read_call(text, start)
        if called is not None:
            return [called[0]], called[1]
    if _FIRST_PAIR.match(text, start) and (pairs := read_pairs(text, start)):
        return [pairs], len(text)
    odd = _OTHER_VALUE.match(first)
    raise Unreadable(RejectReason.NO_OBJECT if odd is None else RejectReason.NOT_AN_OBJECT)


def _read_quoted(inner: str) -> dict[str, Any]:
    inner = inner.strip()
    if not inner.startswith("{"):
        raise Unreadable(RejectReason.NOT_AN_OBJECT)
    fields, end = read_fields(inner)
    if end != len(inner):
        raise Unreadable(RejectReason.MALFORMED)
    return fields


def read_pairs(text: str, start: int) -> dict[str, Any] | None:
    """Return the pairs that `text` is from `start` on; None where it is more, or a key comes twice.

    A value without quotes may be what a stranger typed, with pairs of its own: then nobody can tell
    which of two the host wrote.
    """
    at, end = start, len(text.rstrip())
    fields: dict[str, Any] = {}
    while at < end:
        pair = PAIR.match(text, at)
        if pair is None or pair[1] in fields:
            return None
        quoted = None if pair[2] is None else STRING.fullmatch(pair[2])
        fields[pair[1]] = _plain(pair[3]) if quoted is None else text_of(quoted)
        at = pair.end()
    return fields


def _plain(text: str) -> Any:
    return number_of(text) if _NUMBER.fullmatch(text) else text


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
