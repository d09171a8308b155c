"""Decodes JSON and ordinary Python reprs with msgspec; other texts raise and are read by `repr`."""

import re
from typing import Any

import msgspec

MARKER = "WEBHOOK_METRIC"
MARKER_BYTES = MARKER.encode()
# What msgspec raises on a text that is not JSON, not UTF-8, or nested beyond the stack.
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Quotes become JSON's; what would need care becomes a control character, which JSON forbids.
QUOTES = bytes.maketrans(b"'\"\\", b'"\0\0')
_WORDS = (b"None", b"True", b"False", b'("')
_BARE_NUMBER = re.compile(rb'\x01"(0|-?[1-9]\d{0,14}|-?\d{1,15}\.\d{1,15})"\x01')


_decode_any = msgspec.json.Decoder().decode


def read_whole(source: bytes) -> Any:
    """Decode the JSON object `source`, or the ordinary repr of a dict. Raises one of NOT_JSON.

    Without double quotes and backslashes every single quote in a repr is a delimiter, so that
    JSON is one translation away. Where there are such characters, and wherever else the result
    is not JSON (`nan`, tuples, other calls), the decoder raises.
    """
    if source[1:2] != b"'":
        return _decode_any(source)
    plain = source.translate(QUOTES)
    try:
        return _decode_any(plain)
    except NOT_JSON:
        if not any(word in plain for word in _WORDS):
            raise
        return _decode_any(_with_json_words(plain))


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
