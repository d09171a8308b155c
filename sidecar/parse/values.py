"""What stands behind the marker: an object, or what hosts print of one.

A dict's repr or JSON; the same in a call (`OrderedDict(…)`, `Metric(status='ok')`), in quotation
marks (`"{…}"`, `b'{…}'`), behind a name (`metric={…}`) or an object's head (`<Event at 0x7f> JSON:
{…}`); a list of such; `key=value` pairs up to the end.
"""

import re
from operator import itemgetter
from typing import Any

import msgspec

from sidecar.parse.event import RejectReason
from sidecar.parse.objects import (
    MAX_DEPTH,
    NOT_JSON,
    STRING,
    Unreadable,
    bounded_int,
    fraction,
    number_of,
    read_call,
    read_list,
    read_object,
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
_ANY_QUOTE = re.compile(r"""["']""")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)

# Quotes become JSON's; what needs care becomes a control character, which JSON forbids.
QUOTES = bytes.maketrans(b"'\"\\", b'"\0\0')
_TEXT = re.compile(rb"""'([^']*)'|"([^"]*)\"""")
_QUOTE = re.compile(rb"""['"]""")
# Between texts, for each of which a NUL stands.
_WORDS = (
    (b"None", b"null"), (b"True", b"true"), (b"False", b"false"),
    (b" UUID(\0)", b" \0"), (b" Decimal(\0)", b" \1\0\1"),
)  # fmt: skip
_BARE_NUMBER = re.compile(rb'\x01"(0|-?[1-9]\d{0,14}|-?\d{1,15}\.\d{1,15})"\x01')
_decode_any = msgspec.json.Decoder(float_hook=fraction).decode


def read_whole(source: bytes) -> Any:
    """Decode the JSON object `source`, or the ordinary repr of a dict. Raises one of NOT_JSON.

    Without double quotes and backslashes every single quote in a repr is a delimiter, so that
    JSON is one translation away. With backslashes, and wherever else the result is not JSON
    (`nan`, tuples, other calls), the decoder raises.
    """
    if source[1:2] != b"'":
        return _decode_any(source)
    try:
        return _decode_any(source.translate(QUOTES))
    except NOT_JSON:
        return _decode_any(as_json(source))


def as_json(source: bytes) -> bytes:
    """Write an ordinary repr as JSON: None, True, False, UUID('…') and Decimal('…') as well.

    Every part between the texts is structure; in it, a NUL stands for each text. A text that
    shall lose its quotes is marked by the control character 1 on both sides; where one is left,
    the result is no JSON and the exact reader decides, as it does of escapes.
    """
    if b"\\" in source or b"\1" in source:
        return source  # which is no JSON
    parts = source.split(b"'") if b'"' not in source else _texts_between(source)
    structure = b"\0".join(parts[::2])
    for word, written in _WORDS:
        if word in structure:
            structure = structure.replace(word, written)
    between = structure.split(b"\0")
    if len(parts) % 2 == 0 or len(between) != len(parts[::2]):
        return source  # a text is not closed, or it has a NUL of its own
    parts[::2] = between
    joined = b'"'.join(parts)
    return _BARE_NUMBER.sub(itemgetter(1), joined) if b"\1" in structure else joined


def _texts_between(source: bytes) -> list[bytes]:
    """Return the parts of a repr: structure, a text as JSON has it in its quotes, structure …"""
    parts = _TEXT.split(source)
    if any(_QUOTE.search(between) for between in parts[::3]):
        return []  # a quote is left over
    either = zip(parts[1::3], parts[2::3], strict=True)
    texts = [double or (single or b"").replace(b'"', rb"\"") for single, double in either]
    flat = [b""] * (2 * len(texts) + 1)
    flat[::2], flat[1::2] = parts[::3], texts
    return flat


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


def is_tear(text: str, start: int, at: int) -> bool:
    """Return whether what begins at `at` cannot be a value, or in one, of the object at `start`.

    In a string its own quotation mark is escaped, so that a bare one is another writer's; outside
    of strings a value stands behind a colon, a comma or a bracket.
    """
    place = start
    while (quote := _ANY_QUOTE.search(text, place, at)) is not None:
        string = STRING.match(text, quote.start())
        if string is None or string.end() > at:
            following = _ANY_QUOTE.search(text, at)
            return following is not None and following[0] == quote[0]
        place = string.end()
    return not text[place:at].strip() and text[at - 1] in "\"'"
