"""The literals that Python reprs and JSON share: texts with their escapes, numbers, constants."""

import re
from collections.abc import Mapping
from typing import Any

STRING = re.compile(
    r"""([bB]?)(?:'([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)")""", re.DOTALL
)
NUMBER = re.compile(
    r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?=[\s,:}\])>]|\Z)",
    re.ASCII,
)
_NAN, _INFINITY = float("nan"), float("inf")
CONSTANTS: Mapping[str, Any] = {
    **dict.fromkeys(("None", "null"), None),
    **dict.fromkeys(("True", "true"), True),
    **dict.fromkeys(("False", "false"), False),
    **dict.fromkeys(("nan", "-nan", "NaN"), _NAN),
    **dict.fromkeys(("inf", "Infinity"), _INFINITY),
    **dict.fromkeys(("-inf", "-Infinity"), -_INFINITY),
}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
# A slash: JSON may write \/
_ESCAPED = dict(zip("nrtbfva\\'\"/", "\n\r\t\b\f\v\a\\'\"/", strict=True))
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LAST_CODE_POINT = 0x10FFFF
_LEAST_INT, _MOST_INT = -(2**63), 2**64 - 1
_MOST_DIGITS = 400  # no float needs more; int() and float() slow down with the square of them


def text_of(found: re.Match[str]) -> str:
    """Return the text a match of STRING stands for; bytes are read as UTF-8.

    The result can be stored: a lone surrogate becomes the replacement character.
    """
    raw = found[2] if found[3] is None else found[3]
    text = _ESCAPE.sub(_unescaped, raw) if "\\" in raw else raw
    if found[1]:
        return text.encode("latin-1", "replace").decode("utf-8", "replace")
    if _SURROGATE.search(text):  # JSON writes characters beyond 16 bits as a pair
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def number_of(text: str) -> int | float | str:
    """Return the number a match of NUMBER stands for; one of endless digits stays text."""
    if len(text) > _MOST_DIGITS:
        return text
    return bounded_int(int(text)) if text.lstrip("+-").isdigit() else float(text)


def bounded_int(number: int) -> int | float:
    """Return `number`, as a float when it leaves 64 bits: nothing downstream stores more."""
    if _LEAST_INT <= number <= _MOST_INT:
        return number
    try:
        return float(number)
    except OverflowError:
        return _INFINITY if number > 0 else -_INFINITY


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code:
        point = int(code, 16)
        return chr(point) if point <= _LAST_CODE_POINT else "\N{REPLACEMENT CHARACTER}"
    return _ESCAPED.get(found[4], found[0])
