"""Reads Python reprs, and anything JSON-like, without evaluating: an exact, bounded reader.

The host logs an f-string of a dict, so its events are reprs. `sidecar.parse.quick` takes the
ordinary ones; this reader takes all the rest.
"""

import re
from typing import Any

from sidecar.parse.event import RejectReason
from sidecar.parse.literals import CONSTANTS, NUMBER, STRING, number_of, text_of
from sidecar.parse.reprcalls import CALLS

MAX_DEPTH = 32  # of nested objects; what lies deeper is kept as text, for consumers recurse
_MAX_VALUES = 100_000  # a tenth of a second's work, then the line is TOO_LONG

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[+-]?[A-Za-z_][\w.]*")
_ARGUMENT = re.compile(r"\s*([A-Za-z_]\w*)=")
_ENUM = re.compile(r"<[\w.|]+: ")
_ANGLE = re.compile(r"[<>]")
_TURN = re.compile(r"""['"()\[\]{},:]""")
# The ordinary entry of a dict in one match (1 us instead of 5): simple key, simple value.
_ENTRY = re.compile(
    r"""\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*:\s*
        (?:'([^'\\]*)'|"([^"\\]*)"|(-?\d{1,15})|([A-Za-z]+))\s*([,}])""",
    re.VERBOSE | re.ASCII,
)


class Unreadable(Exception):  # noqa: N818 - it names what the text is
    """A text that claims to be an event and is none; `reason` says why."""

    def __init__(self, reason: RejectReason) -> None:
        super().__init__(reason)
        self.reason = reason


def read_object(text: str, start: int = 0) -> tuple[dict[str, Any], int]:
    """Read the object at `start`; return its fields and where it ends. Raises Unreadable.

    Takes Python literals, JSON, and what hosts print between them: `Decimal`, `UUID`,
    `datetime`, `date`, `timedelta` (seconds) and an enum's `<Name.member: value>` give their
    plain value, any other call or object its text. Tuples and sets become lists, keys become
    texts, integers beyond 64 bits floats; `nan` stays a float, which is a sample to nobody.
    """
    reader = _Reader(text, start)
    value = reader.value(1)
    if not isinstance(value, dict):
        raise Unreadable(RejectReason.NOT_AN_OBJECT)
    return value, reader.at


class _Reader:
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
            self.at = found.end()
            return text_of(found)
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
            if self.peek() == ":":
                self.at += 1
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
        self.at += 1
        values: list[Any] = []
        named: dict[str, Any] = {}
        try:
            while self.peek() != ")":
                keyword = _ARGUMENT.match(self.text, self.at)
                if keyword is None:
                    values.append(self.value(depth + 1))
                else:
                    self.at = keyword.end()
                    named[keyword[1]] = self.value(depth + 1)
                self.separator(")")
            self.at += 1
            return CALLS[name](values, named)
        except (ValueError, TypeError, OverflowError):
            return self.source(start, self.at)
        except Unreadable as wrong:
            _raise_unless_malformed(wrong)
            return self.source(start)

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
