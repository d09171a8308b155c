"""Events out of sentences: lines, or messages of records, that a pattern's regex matches."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.matchers import compile_re2, spans_in
from sidecar.parse.event import is_missing
from sidecar.parse.instants import stamp_end
from sidecar.parse.prefix import COLOUR, Prefix
from sidecar.parse.record import Record
from sidecar.parse.taking import mapped

_GROUP_IN = re.compile(r"\{(\w+)\}")
_TAIL = re.compile(rf"(?:[\s\0]|{COLOUR.pattern})+\Z")  # no part of any message
_ESCAPE = "\x1b"  # begins a colour code
_LONGEST_TAIL = 100  # characters; searched at each of them
_MOST_MATCHES = 20  # tried in one line
Fits = Callable[[bytes], bool]


def composed(fields: Mapping[str, str]) -> dict[str, list[str]]:
    """Return which fixed fields are put together, and of which groups."""
    found = {name: _GROUP_IN.findall(text) for name, text in fields.items()}
    return {name: groups for name, groups in found.items() if groups}


def without_tail(text: str) -> str:
    """Return `text` without what may stand behind a message: blanks and colour codes."""
    if text[-1:].isalnum() and _ESCAPE not in text:
        return text
    return text[:-_LONGEST_TAIL] + _TAIL.sub("", text[-_LONGEST_TAIL:])


class Stated(NamedTuple):
    """Events of many lines, by the lines' numbers: what stands before each, and its fields."""

    numbers: list[int]
    befores: list[str]
    fields: list[dict[str, Any]]


class Before:
    """What stands before messages in their lines, each looked at once."""

    def __init__(self, prefix: Prefix) -> None:
        self._prefix = prefix
        self._known: dict[bytes, str | None] = {}

    def text_of(self, raw: bytes) -> str | None:
        """Return `raw` as text; None where no message may follow it."""
        if raw in self._known:
            return self._known[raw]
        text = raw.decode() if self._prefix.fits_bytes(raw) else None
        self._known[raw] = text
        return text


class Sentence:
    """The regex of a pattern ready to run, with what the pattern sets and maps besides."""

    def __init__(
        self,
        regex: str,
        fixed: Mapping[str, str],
        record_fields: Sequence[str],
        tables: Mapping[str, Mapping[str, str]],
    ) -> None:
        """Raises ValueError with RE2's reason when the regex cannot be compiled."""
        self._regex = compile_re2(regex)
        self.groups = dict(self._regex.groupindex)
        together = composed(fixed)
        used = {group for groups in together.values() for group in groups}
        self._plain = [(name, group) for name, group in self.groups.items() if name not in used]
        self._together = {name: self._pieces(fixed[name]) for name in together}
        self._fixed = {name: text for name, text in fixed.items() if name not in used - {*together}}
        self._record_fields = record_fields
        self._tables = tables

    def record(self, text: str, fits: Fits, outer: Mapping[str, Any]) -> Record | None:
        """Return what a text without a tail states, in the structured record `outer`, if at all."""
        raw = text.encode()
        spans = self._match(raw, fits)
        if spans is None:
            return None
        fields = self._fields(raw, spans)
        for name in self._record_fields:
            if not is_missing(value := outer.get(name)):
                fields[name] = value
        start = len(raw[: spans[0][0]].decode())
        return Record(mapped(fields, self._tables), text[: stamp_end(text, start)], outer)

    def records(self, lines: Mapping[int, bytes], before: Before) -> tuple[Stated, list[int]]:
        """Do the same with lines that are no records and have no tail, by their numbers.

        And the numbers of those that need a closer look: a match in them stands where none may.
        """
        found, odd = Stated([], [], []), []
        for number, raw in lines.items():
            spans = spans_in(self._regex, raw)
            if spans is None:
                continue
            start = spans[0][0]
            text = before.text_of(raw[:start])
            if text is None:
                odd.append(number)
                continue
            if not raw[start : start + 1].islower():  # as no stamp begins
                line = raw.decode()
                text = line[: stamp_end(line, len(text))]
            found.numbers.append(number)
            found.befores.append(text)
            found.fields.append(mapped(self._fields(raw, spans), self._tables))
        return found, odd

    def _match(self, raw: bytes, fits: Fits) -> Sequence[tuple[int, int]] | None:
        """Return the spans of the first match before which stands nothing but what may."""
        at = 0
        for _ in range(_MOST_MATCHES):
            spans = spans_in(self._regex, raw, at)
            if spans is None or fits(raw[: spans[0][0]]):
                return spans
            at = spans[0][0] + 1
        return None

    def _fields(self, raw: bytes, spans: Sequence[tuple[int, int]]) -> dict[str, Any]:
        fields: dict[str, Any] = {**self._fixed}
        for name, group in self._plain:
            begin, end = spans[group]
            if begin < end:
                fields[name] = raw[begin:end].decode()
        for name, pieces in self._together.items():
            spanned = [spans[one] for one in pieces if isinstance(one, int)]
            if any(begin < 0 for begin, _ in spanned):
                del fields[name]
                continue
            parts = [raw[slice(*spans[one])] if isinstance(one, int) else one for one in pieces]
            fields[name] = b"".join(parts).decode()
        return fields

    def _pieces(self, fixed: str) -> list[bytes | int]:
        """Return a fixed text in pieces: what is written, and the numbers of groups."""
        texts = _GROUP_IN.split(fixed)  # a text, a group's name, a text ...
        return [self.groups[one] if n % 2 else one.encode() for n, one in enumerate(texts)]
