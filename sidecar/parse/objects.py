"""Reads objects: JSON, Python reprs and what lies between, without evaluating anything.

A host that logs an f-string of a dict writes reprs. The ordinary ones are one translation away
from JSON and are decoded in C (`read_whole`); all others are read by an exact reader
(`read_object`) that is bounded in depth and size. Of calls in a repr, such as `Decimal('1.50')`
or `UUID('…')`, the plain value is kept where it is known, else the text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from sidecar.parse.event import ForeignReason, RejectReason

STRING = re.compile(
    r"""([bBuU]?)(?:'([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)")""", re.DOTALL
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
_LONGEST_FLOAT = 20  # as Python writes one without an exponent: -0.12345678901234567
_MOST_DIGITS = 400  # no float needs more; int() and float() slow down with the square of them


def text_of(found: re.Match[str]) -> str:
    """Return the text a match of STRING stands for; bytes are read as UTF-8.

    The result can be stored: a lone surrogate becomes the replacement character.
    """
    raw = found[2] if found[3] is None else found[3]
    text = _ESCAPE.sub(_unescaped, raw) if "\\" in raw else raw
    if found[1] and found[1] in "bB":
        return text.encode("latin-1", "replace").decode("utf-8", "replace")
    if _SURROGATE.search(text):  # JSON writes characters beyond 16 bits as a pair
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def number_of(text: str) -> int | float | str:
    """Return the number a match of NUMBER stands for; one that no float or integer holds is text.

    An id keeps its digits so, and reads as the same number where one is asked for.
    """
    if len(text) > _MOST_DIGITS:
        return text
    return bounded_int(int(text)) if text.lstrip("+-").isdigit() else fraction(text)


def fraction(text: str) -> float | str:
    """Return a number with a point or exponent; as text where its float would say less or other.

    So `1e5` stays what it is, and so do more digits than a float can have.
    """
    number = float(text)
    same = len(text) <= _LONGEST_FLOAT and "e" not in text and "E" not in text
    return number if same or repr(number) == text else text


def bounded_int(number: int) -> int | float | str:
    """Return `number`, as text when it leaves 64 bits: nothing downstream stores more."""
    if _LEAST_INT <= number <= _MOST_INT:
        return number
    try:
        return str(number)
    except ValueError:  # more digits than Python writes
        return _INFINITY if number > 0 else -_INFINITY


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code:
        point = int(code, 16)
        return chr(point) if point <= _LAST_CODE_POINT else "\N{REPLACEMENT CHARACTER}"
    return _ESCAPED.get(found[4], found[0])


_OFFSET = re.compile(r"[+-]\d\d:\d\d(?::\d\d)?")
_UTC = re.compile(r"(?i)\butc\b|tzutc\(\)")

# Takes positional and named arguments; raises ValueError, TypeError or OverflowError where they
# make no sense: the call is then kept as its text.
Call = Callable[[Sequence[Any], Mapping[str, Any]], Any]


def _decimal(values: Sequence[Any], _named: Mapping[str, Any]) -> int | float | str:
    (text,) = values
    if isinstance(text, str) and len(text) > _MOST_DIGITS:
        raise ValueError(text)
    try:
        number = Decimal(text)
    except InvalidOperation as wrong:
        raise ValueError(text) from wrong
    whole = isinstance(text, int) or text.lstrip("-").isdecimal()
    return bounded_int(int(number)) if whole else fraction(str(text))


def _text(values: Sequence[Any], _named: Mapping[str, Any]) -> str:
    (text,) = values
    return str(text)


def _items(values: Sequence[Any], _named: Mapping[str, Any]) -> list[Any]:
    items = values[0] if values else []
    if items == {}:  # `{}` inside: an empty dict, as in frozenset({})
        return []
    if not isinstance(items, list):
        raise TypeError(items)
    return items


def _date(values: Sequence[Any], _named: Mapping[str, Any]) -> str:
    return date(*values).isoformat()


def _datetime(values: Sequence[Any], named: Mapping[str, Any]) -> str:
    zone = _zone(named["tzinfo"]) if "tzinfo" in named else None
    return datetime(*values[:7]).replace(tzinfo=zone).isoformat()  # noqa: DTZ001 - as logged


def _timedelta(values: Sequence[Any], named: Mapping[str, Any]) -> float:
    return timedelta(*values, **named).total_seconds()


def _timezone(values: Sequence[Any], _named: Mapping[str, Any]) -> str:
    return str(timezone(timedelta(seconds=values[0])))


def _zone(text: Any) -> timezone | None:
    """Read a zone's text; a named zone's offset is unknown here, so the datetime stays text."""
    if text is None:
        return None
    offset = _OFFSET.search(str(text))
    if offset is not None:
        return datetime.fromisoformat(f"2000-01-01T00:00{offset[0]}").tzinfo  # type: ignore[return-value]
    if _UTC.search(str(text)):
        return UTC
    raise ValueError(text)


CALLS: Mapping[str, Call] = {
    **dict.fromkeys(("Decimal", "decimal.Decimal"), _decimal),
    **dict.fromkeys(("UUID", "uuid.UUID"), _text),
    **dict.fromkeys(("set", "frozenset"), _items),
    **dict.fromkeys(("date", "datetime.date"), _date),
    **dict.fromkeys(("datetime", "datetime.datetime"), _datetime),
    **dict.fromkeys(("timedelta", "datetime.timedelta"), _timedelta),
    **dict.fromkeys(("timezone", "datetime.timezone"), _timezone),
}


MARKER = "WEBHOOK_METRIC"
MARKER_BYTES = MARKER.encode()
# What msgspec raises on a text that is not JSON, not UTF-8, or nested beyond the stack.
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

MAX_DEPTH = 32  # of nested objects; what lies deeper is kept as text, for consumers recurse
_MAX_VALUES = 100_000  # a tenth of a second's work, then the line is TOO_LONG

_MORE = re.compile(rf"\s+{STRING.pattern}", re.DOTALL)
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[+-]?[A-Za-z_][\w.]*")
_ARGUMENT = re.compile(r"\s*([A-Za-z_]\w*)=")
_ENUM = re.compile(r"<[\w.|]+: ")
_ANGLE = re.compile(r"[<>]")
_TURN = re.compile(r"""['"()\[\]{},:]""")
# The ordinary entry of a dict in one match, which is much cheaper: simple key, simple value.
_ENTRY = re.compile(
    r"""\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*:\s*
        (?:'([^'\\]*)'|"([^"\\]*)"|(-?\d{1,15})|([A-Za-z]+))\s*([,}])""",
    re.VERBOSE | re.ASCII,
)


class Unreadable(Exception):  # noqa: N818 - it names what the text is
    """A text that claims to be an event and is none; `reason` says why, `field` of what field."""

    def __init__(self, reason: RejectReason | ForeignReason, field: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.records: list[Any] = []  # that its line holds beside it


def read_object(text: str, start: int = 0) -> tuple[dict[str, Any], int]:
    """Read the object at `start`; return its fields and where it ends. Raises Unreadable.

    Takes Python literals, JSON, and what hosts print between them: `Decimal`, `UUID`,
    `datetime`, `date`, `timedelta` (seconds) and an enum's `<Name.member: value>` give their
    plain value, any other call or object its text. Tuples and sets become lists, keys become
    texts, and so do numbers that lose something as one; `nan` stays a float, a sample to nobody.
    """
    reader = _ReprReader(text, start)
    value = reader.value(1)
    if not isinstance(value, dict):
        raise Unreadable(RejectReason.NOT_AN_OBJECT)
    return value, reader.at


def read_call(text: str, start: int) -> tuple[dict[str, Any], int] | None:
    """Read `OrderedDict({…})`, `Metric(status='ok')` and their kin at `start`: the dict in it.

    None where there is none in it: other calls mean nothing. Raises Unreadable.
    """
    reader = _ReprReader(text, start)
    fields = reader.dict_call()
    return None if fields is None else (fields, reader.at)


def read_list(text: str, start: int) -> tuple[Any, int]:
    """Read the list at `start`, whose items are read as by `read_object`. Raises Unreadable."""
    reader = _ReprReader(text, start)
    return reader.value(1), reader.at


class _ReprReader:
    """A cursor over `text`; every method reads at `at` and moves it past what it read."""

    __slots__ = ("at", "left", "text")

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at
        self.left = _MAX_VALUES

    def value(self, depth: int) -> Any:
        self.spend()
        first = self.peek()
        if first == "<":
            return self.angle(depth)
        if first in "{[(":
            if depth > MAX_DEPTH:
                return self.source(self.at)
            return self.braces(depth) if first == "{" else self.sequence(depth, first)
        return self.scalar(depth, first)

    def scalar(self, depth: int, first: str) -> Any:
        found = STRING.match(self.text, self.at)
        if found is not None:
            text = ""
            while found is not None:  # `pprint` breaks a long text into several
                text, self.at = text + text_of(found), found.end()
                found = _MORE.match(self.text, self.at)
            return text
        if first in "'\"":
            raise Unreadable(RejectReason.TRUNCATED)
        found = NUMBER.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
            return number_of(found[0])
        return self.word(depth)

    def braces(self, depth: int) -> dict[str, Any] | list[Any]:
        """Read a dict, or a set as a list."""
        self.at += 1
        fields: dict[str, Any] = {}
        items: list[Any] = []
        while self.entries(fields) and self.peek() != "}":
            item = self.value(depth + 1)
            colon = self.peek()
            if colon == ":" or self.text.startswith("=>", self.at):  # Ruby's
                self.at += len(colon) if colon == ":" else 2
                fields[item if isinstance(item, str) else str(item)] = self.value(depth + 1)
            else:
                items.append(item)
            self.separator("}")
        self.at += 1
        if fields and items:
            raise Unreadable(RejectReason.MALFORMED)
        return items or fields

    def entries(self, fields: dict[str, Any]) -> bool:
        """Read ordinary entries of a dict as far as they go; False when its end is reached."""
        while (entry := _ENTRY.match(self.text, self.at)) is not None:
            key, key2, text, text2, number, word, after = entry.groups()
            if word is not None and word not in CONSTANTS:
                return True
            self.spend()
            value = text if text is not None else text2
            if value is None:
                value = CONSTANTS[word] if number is None else int(number)
            fields[key2 if key is None else key] = value
            self.at = entry.end()
            if after == "}":
                self.at -= 1
                return False
        return True

    def sequence(self, depth: int, bracket: str) -> Any:
        """Read a list, a tuple as a list, or the value inside mere parentheses."""
        self.at += 1
        close = "]" if bracket == "[" else ")"
        items: list[Any] = []
        comma = False
        while self.peek() != close:
            items.append(self.value(depth + 1))
            comma = self.separator(close)
        self.at += 1
        return items[0] if bracket == "(" and len(items) == 1 and not comma else items

    def angle(self, depth: int) -> Any:
        """Read `<Name.member: value>` as its value, any other `<…>` as its text."""
        start = self.at
        found = _ENUM.match(self.text, start)
        if found is not None and depth <= MAX_DEPTH:
            self.at = found.end()
            try:
                value = self.value(depth + 1)
                if self.peek() == ">":
                    self.at += 1
                    return value
            except Unreadable as wrong:
                _raise_unless_malformed(wrong)
        nesting = 0
        for bracket in _ANGLE.finditer(self.text, start):
            self.spend()
            nesting += 1 if bracket[0] == "<" else -1
            if nesting == 0:
                self.at = bracket.end()
                return self.text[start : self.at]
        raise Unreadable(RejectReason.TRUNCATED)

    def word(self, depth: int) -> Any:
        start = self.at
        found = _WORD.match(self.text, start)
        if found is None:
            return self.source(start)
        if not self.text.startswith("(", found.end()):
            if found[0] in CONSTANTS:
                self.at = found.end()
                return CONSTANTS[found[0]]
        elif found[0] in CALLS and depth <= MAX_DEPTH:
            self.at = found.end()
            return self.call(depth, start, found[0])
        return self.source(start)

    def call(self, depth: int, start: int, name: str) -> Any:
        """Read a call whose plain value is known; its text when the arguments make no sense."""
        try:
            values, named = self.arguments(depth)
            return CALLS[name](values, named)
        except (ValueError, TypeError, OverflowError):
            return self.source(start, self.at)
        except Unreadable as wrong:
            _raise_unless_malformed(wrong)
            return self.source(start)

    def dict_call(self) -> dict[str, Any] | None:
        """Read a call whose last argument is a dict or pairs, or whose arguments are all named."""
        self.at = self.text.index("(", self.at)
        values, named = self.arguments(1)
        last = values[-1] if values else None
        if isinstance(last, list) and all(isinstance(one, list) and len(one) == 2 for one in last):  # noqa: PLR2004 - pairs
            last = {one[0] if isinstance(one[0], str) else str(one[0]): one[1] for one in last}
        if isinstance(last, dict):
            return {**last, **named}
        return None if values else named or None

    def arguments(self, depth: int) -> tuple[list[Any], dict[str, Any]]:
        """Read the arguments of a call, from its bracket on: the unnamed, and the named."""
        self.at += 1
        values: list[Any] = []
        named: dict[str, Any] = {}
        while self.peek() != ")":
            keyword = _ARGUMENT.match(self.text, self.at)
            if keyword is None:
                values.append(self.value(depth + 1))
            else:
                self.at = keyword.end()
                named[keyword[1]] = self.value(depth + 1)
            self.separator(")")
        self.at += 1
        return values, named

    def source(self, start: int, known: int = 0) -> str:
        """Take the text from `start` up to the next delimiter outside of brackets and quotes.

        What lies before `known` was read as a whole already.
        """
        nesting = 0
        at = max(start, known)
        while (turn := _TURN.search(self.text, at)) is not None:
            self.spend()
            at = turn.end()
            if turn[0] in "([{":
                nesting += 1
            elif turn[0] in "'\"":
                string = STRING.match(self.text, turn.start())
                if string is None:
                    raise Unreadable(RejectReason.TRUNCATED)
                at = string.end()
            elif nesting == 0:
                return self.cut(start, turn.start())
            elif turn[0] in ")]}":
                nesting -= 1
        raise Unreadable(RejectReason.TRUNCATED)

    def cut(self, start: int, end: int) -> str:
        text = self.text[start:end].strip()
        if not text:
            raise Unreadable(RejectReason.MALFORMED)
        self.at = end
        return text

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unreadable(RejectReason.TOO_LONG)

    def peek(self) -> str:
        """Skip blanks and return the next character, which stays. Raises Unreadable at the end."""
        found = _SPACE.match(self.text, self.at)
        self.at = self.at if found is None else found.end()
        if self.at >= len(self.text):
            raise Unreadable(RejectReason.TRUNCATED)
        return self.text[self.at]

    def separator(self, close: str) -> bool:
        """Step over a comma and return True, or stay before `close` and return False."""
        following = self.peek()
        if following == ",":
            self.at += 1
            return True
        if following != close:
            raise Unreadable(RejectReason.MALFORMED)
        return False


def _raise_unless_malformed(wrong: Unreadable) -> None:
    """A value in an unknown shape is kept as text; an unfinished or endless one is no value."""
    if wrong.reason is not RejectReason.MALFORMED:
        raise wrong
