"""The quick path: events in the two ordinary forms, JSON and plain reprs, decoded in C.

Most events are only counted, so of most lines only the labels and the time are decoded: a third
of the work of the whole object. Whatever is unusual about a line raises or returns None here and
sends it to `sidecar.parse.record`, which knows all forms and decides the same about these.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from sidecar.parse.event import UNKNOWN_PROVIDER

T = TypeVar("T")
MARKER = "WEBHOOK_METRIC"
MARKER_BYTES = MARKER.encode()
# What msgspec raises on a text that is not JSON, not UTF-8, or nested beyond the stack.
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_AFTER = len(MARKER_BYTES)
_OBJECT = _AFTER + len(": ")
# Quotes become JSON's; what would need care becomes a control character, which JSON forbids.
QUOTES = bytes.maketrans(b"'\"\\", b'"\0\0')
_WORDS = (b"None", b"True", b"False", b'("')
_BARE_NUMBER = re.compile(rb'\x01"(0|-?[1-9]\d{0,14}|-?\d{1,15}\.\d{1,15})"\x01')


class Head(msgspec.Struct, gc=False):
    """What an object says about itself; what it leaves out is empty."""

    event_type: str = ""
    status: str = ""
    webhook_provider: str = UNKNOWN_PROVIDER
    timestamp: str | float | None = None
    metric_type: str = ""


_HEADS = msgspec.json.Decoder(Head)
_decode_head = _HEADS.decode
_decode_any = msgspec.json.Decoder().decode


def event_source(line: bytes, marker: int) -> bytes | None:
    """Return the object that `line`, with its first marker at `marker`, seems to be or to carry."""
    if line[0] == ord("{"):
        return line
    # A brace before the marker may open a record that holds it.
    if line[marker + _AFTER : marker + _OBJECT + 1] == b": {" and b"{" not in line[:marker]:
        return line[marker + _OBJECT :]
    return None


def read_head(source: bytes, line: bytes) -> Head | None:
    """Return the head of the event `source` found in `line`; None means: look closer."""
    try:
        head = decode_quickly(_decode_head, source)
    except NOT_JSON:
        return None
    # After the marker any object is an event; alone on its line it has to say so.
    return head if source is not line or head.metric_type == MARKER else None


def read_heads(data: bytes) -> tuple[Sequence[bytes], Sequence[Head]] | None:
    """Return all lines of `data` and their heads, where every line is one JSON object, else None.

    Only where the first line is an event, so that other chunks are not decoded in vain.

    One decoder call for the whole chunk takes half the time of one per line. That no line holds
    a second object and no object a newline follows from the braces around every newline (JSON
    has no `}` before a `{` but with a comma between) and from the equal count.
    """
    first = data[: data.find(b"\n")]
    if data[:1] != b"{" or data[-2:] != b"}\n" or read_head(first, first) is None:
        return None
    count = data.count(b"\n")
    if data.count(b"}\n{") != count - 1:
        return None
    try:
        heads = _HEADS.decode_lines(data)
    except NOT_JSON:
        return None
    return (data[:-1].split(b"\n"), heads) if len(heads) == count else None


def read_whole(source: bytes) -> Any:
    """Decode the whole of `source`. Raises one of NOT_JSON."""
    return decode_quickly(_decode_any, source)


def decode_quickly(decode: Callable[[bytes], T], source: bytes) -> T:
    """Decode the JSON object `source`, or the ordinary repr of a dict.

    Without double quotes and backslashes every single quote in a repr is a delimiter, so that
    JSON is one translation away. Where there are such characters, and wherever else the result
    is not JSON (`nan`, tuples, calls), the decoder raises one of NOT_JSON.
    """
    if source[1:2] != b"'":
        return decode(source)
    plain = source.translate(QUOTES)
    try:
        return decode(plain)
    except NOT_JSON:
        return decode_with_words(decode, plain)


def decode_with_words(decode: Callable[[bytes], T], plain: bytes) -> T:
    """Decode a repr with JSON's quotes whose words are still Python's. Raises one of NOT_JSON."""
    if not any(word in plain for word in _WORDS):
        raise msgspec.DecodeError
    return decode(_with_json_words(plain))


def _with_json_words(plain: bytes) -> bytes:
    """Write None, True, False, UUID('…') and Decimal('…') as JSON does.

    Every other part between the quotes is structure; in it, a NUL stands for each text. A
    text that shall lose its quotes is marked by the control character 1 on both sides; where
    one is left, or was there before, the result is no JSON and the exact reader decides.
    """
    parts = plain.split(b'"')
    structure = b"\0".join(parts[::2])
    structure = structure.replace(b"None", b"null").replace(b"True", b"true")
    structure = structure.replace(b"False", b"false")
    if b"(\0)" in structure and b"\1" not in plain:
        structure = structure.replace(b" UUID(\0)", b" \0")
        structure = structure.replace(b" Decimal(\0)", b" \1\0\1")
    replaced = structure.split(b"\0")
    if len(replaced) != len(parts[::2]):
        return plain  # it has a NUL of its own and is no JSON
    parts[::2] = replaced
    joined = b'"'.join(parts)
    return _BARE_NUMBER.sub(rb"\1", joined) if b"\1" in joined else joined
