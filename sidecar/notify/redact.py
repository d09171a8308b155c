"""Redaction: what leaves the process or is stored goes through here first."""

import math
from collections.abc import Mapping
from typing import Any

import re2

from sidecar.matchers import compile_re2
from sidecar.notify.secret_shapes import REDACTED, SHAPES, Shape, is_secret_name, plain_name
from sidecar.syntax.table import Table, key, table
from sidecar.syntax.types import Cut, Re2, Text

TRUNCATED = "...[truncated]"
MAX_DEPTH = 16
_MAX_BITS = 4096
_MAX_NAMES = 4096
_NO_CARD = 10**11  # card numbers have 13 digits and more
_MAX_INTEGER = 2**63  # MessagePack and SQLite hold no more


@table
class RedactPolicy(Table):
    """What to hide beyond what always is: exact `keys`, RE2 `patterns`; and `max_length`."""

    keys: tuple[Text, ...] = key("Names of fields to hide, at any depth.", default=())
    patterns: tuple[Re2, ...] = key("RE2 patterns to hide anywhere in a text.", default=())
    max_length: Cut = key("A value longer than this is cut.", default=1000)


class Redactor:
    """Hides secrets in values and texts, masks mail addresses, cuts what is long.

    Time is linear in the text: every pattern is RE2. Doing it twice changes nothing.
    Raises ValueError when a pattern of the policy is not RE2.
    """

    def __init__(self, policy: RedactPolicy | None = None) -> None:
        policy = policy or RedactPolicy()
        self._max_length = policy.max_length
        self._keys = frozenset(plain_name(key) for key in policy.keys)
        self._own = tuple(Shape(compile_re2(pattern)) for pattern in policy.patterns)
        self._names: dict[str, tuple[str, bool]] = {}  # name -> as shown, whether of a secret

    def fields(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of `mapping`, redacted at any depth, of JSON's types only.

        The value of a secret's name is hidden whole, except null and booleans. Deeper than 16
        levels it is cut off.
        """
        return self._mapping(mapping, 1)

    def text(self, text: str) -> str:
        """Return `text` without secrets, with mail addresses masked, cut at `max_length`."""
        return self._cut(self.secrets(text))

    def secrets(self, text: str) -> str:
        """Return `text` redacted in full length: for a text that its user has a bound for."""
        text = _unicode(text)
        for shape in self._own:
            text = shape.hide(text)
        if not _ANY_SHAPE.Match(text):
            return text
        for shape in SHAPES:
            text = shape.hide(text)
        return text

    def _cut(self, text: str) -> str:
        if len(text) <= self._max_length:
            return text
        return text[: self._max_length] + TRUNCATED

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            return {TRUNCATED: len(mapping)}
        out: dict[str, Any] = {}
        for written, value in mapping.items():
            name, secret = self._name(str(written))
            hide = secret and value is not None and not isinstance(value, bool)
            out[name] = REDACTED if hide else self._value(value, depth)
        return out

    def _name(self, name: str) -> tuple[str, bool]:
        """Return a key as shown, and whether it names a secret. The same few come all the time."""
        found = self._names.get(name)
        if found is None:
            if len(self._names) >= _MAX_NAMES:
                self._names.clear()
            plain = plain_name(name)
            found = self.text(name), plain in self._keys or is_secret_name(plain)
            self._names[name] = found
        return found

    def _value(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float):
            return self._number(value)
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1)
        if isinstance(value, list | tuple | set | frozenset):
            return self._items(list(value), depth + 1)
        if isinstance(value, bytes):
            return self.text(value.decode(errors="replace"))
        return self.text(str(value))

    def _items(self, items: list[Any], depth: int) -> list[Any]:
        return [TRUNCATED] if depth > MAX_DEPTH else [self._value(item, depth) for item in items]

    def _number(self, number: float) -> Any:
        """Return a number, or its text if that is a card number's, or JSON could not hold it."""
        if abs(number) < _NO_CARD and not self._own:
            return number
        text = _digits(number)
        hidden = self.text(text)
        if hidden != text:
            return hidden
        if isinstance(number, int):
            return number if abs(number) < _MAX_INTEGER else text
        return number if math.isfinite(number) else text


def _digits(number: float) -> str:
    if isinstance(number, float):
        return f"{number:.15g}"
    # Python refuses to write out a number of more digits than 4300.
    return str(number) if number.bit_length() < _MAX_BITS else f"{number.bit_length()} bits"


def _unicode(text: str) -> str:
    """Return `text` with lone surrogates replaced: neither RE2 nor JSON takes them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def _any_shape() -> re2.Set:
    shapes = re2.Set.SearchSet()
    for shape in SHAPES:
        shapes.Add(shape.regex.pattern)
    shapes.Compile()
    return shapes


# Most texts hold nothing of interest, and one scan for all shapes at once says so.
_ANY_SHAPE = _any_shape()
