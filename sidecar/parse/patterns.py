"""Patterns (`*.patterns.yaml`): lines that are no WEBHOOK_METRIC record and state a fact."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, NamedTuple

from ahocorasick_rs import BytesAhoCorasick

from sidecar.matchers import compile_re2
from sidecar.parse.asked import fields_of
from sidecar.parse.event import OWN_PREFIX, OWN_PROVIDER, UNKNOWN_PROVIDER
from sidecar.parse.objects import MARKER_BYTES, Unreadable
from sidecar.parse.prefix import Prefix
from sidecar.parse.record import Record, message_field
from sidecar.parse.sentences import Before, Fits, Sentence, Stated, composed, without_tail
from sidecar.parse.taking import (
    READERS,
    Held,
    Taken,
    Taker,
    Taking,
    literals,
    names_of,
    read_logfmt,
    together,
)
from sidecar.parse.values import read_fields
from sidecar.syntax.table import Nested, Reading, Schema, Table, key, table
from sidecar.syntax.values import FIELD, Field, Flag, Re2, Text, is_field

NEEDED = ("event_type", "status")


FORMS = ("regex", "json", "logfmt")


def _gives(name: str) -> dict[str, Any]:
    """Say that `name` is a fixed field, a named group or taken; or in a record with the marker."""
    ways = [_has("fields", {"required": [name]}), _has("marker", {"const": True})]
    ways.append(_has("record_fields", {"contains": {"const": name}}))
    ways.append(_has("regex", {"pattern": rf"\(\?P<{name}>"}))
    taken = {"required": ["take"], "properties": {"take": {"required": [name]}}}
    return {"anyOf": [*ways, _has("json", taken), _has("logfmt", taken)]}


def _has(key: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"required": [key], "properties": {key: value}}


_ASKED = {"required": ["where"], "properties": {"where": {"minProperties": 1}}}
_MARKER = _has("marker", {"const": True})
_WHERE = {
    "if": _MARKER,
    "then": {"required": ["json"]},
    "else": {"properties": {"json": _ASKED, "logfmt": _ASKED}},
}
MaybeTaking = Annotated[Taking | None, Nested(lambda: Taking)]


@table
class Pattern(Table):
    """An RE2 `regex` for a line's message; its named groups and `fields` make the event's fields.

    Or what is asked of a structured line, `json` or `logfmt`, and what is taken out of it.

    A regex matches from the first character of the line, or of what stands behind a logger's
    furniture (see `sidecar.parse.prefix`): what a line quotes is nobody's fact.

    `fields` are fixed; a named group of the same name wins. `{name}` in one is the text of a named
    group, which is then no field itself; without that text the field is left out. The result needs
    `event_type` and `status`, from either side.
    """

    hints: ClassVar[dict[str, str]] = {"field": "write `fields`"}
    schema: ClassVar[Schema] = {
        "allOf": [*(_gives(name) for name in NEEDED), _WHERE],
        "oneOf": [{"required": [form]} for form in FORMS],
    }

    name: Text = key("The pattern's name, unique across all files.")
    regex: Re2 = key(
        "RE2, for lines that are no WEBHOOK_METRIC record, from the first character or from what "
        "stands behind the logger's stamp, level and name; named groups become fields.",
        default="",
    )
    json: MaybeTaking = key("For lines that are a JSON object.", default=None)
    logfmt: MaybeTaking = key("For lines of `key=value` pairs.", default=None)
    marker: Flag = key(
        "With `json`: for WEBHOOK_METRIC records whose fields have other names; what is taken "
        "comes beside what they have.",
        default=False,
    )
    fields: Mapping[str, Text] = key(
        "Fixed fields; a named group wins over one. `{name}` is replaced by the text of a named "
        "group.",
        schema={"propertyNames": FIELD},
        default={},
    )
    record_fields: tuple[Field, ...] = key(
        "Fields taken from the structured record around the message, where there is one; they win.",
        schema={"uniqueItems": True},
        default=(),
    )
    map: Mapping[str, Mapping[str, Text]] = key(
        "What to put in place of a field's value, by field and value; other values stay.",
        schema={"propertyNames": FIELD},
        default={},
    )

    @property
    def taking(self) -> Taking | None:
        return self.json or self.logfmt

    def check(self, reading: Reading) -> "Pattern":
        for name, text in self.fields.items():
            place = reading.places(self, "fields")[name]
            if not is_field(name):
                reading.faults.error(place, f"`{name}` is not a field name")
            elif name == "webhook_provider" and text == OWN_PROVIDER:
                hint = "name the provider whose webhooks the line is about"
                reading.faults.error(place, f"the provider `{text}` is the sidecar's own", hint)
        for name, place in reading.places(self, "map").items():
            if not is_field(name):
                reading.faults.error(place, f"`{name}` is not a field name")
            elif not self.marker and name not in self._given():
                hint = "take it, or take the table away"
                reading.faults.error(place, f"the pattern gives no `{name}` to map", hint)
        self._check_own(reading)
        self._check_form(reading)
        if self.regex and not self.taking:
            self._check_regex(reading)
        return self

    def _given(self) -> set[str]:
        """Return the names of the fields that the event may have."""
        groups = compile_re2(self.regex).groupindex if self.regex else {}
        taken = self.taking.take if self.taking else {}
        return {*self.fields, *self.record_fields, *groups, *taken}

    def _check_form(self, reading: Reading) -> None:
        written = [form for form in FORMS if form in reading.node(self).values]
        if not written:
            hint = "write `regex`, `json` or `logfmt`"
            reading.error(self, "", "the pattern says nothing of the line", hint)
        for form in written[1:]:
            reading.error_at_key(self, form, f"`{form}` stands beside `{written[0]}`", "keep one")
        if self.marker and self.json is None:
            reading.error(self, "marker", "`marker` goes with `json`")
        taking = self.taking
        if taking is None or len(written) > 1:
            return
        form = written[0]
        if not reading.places(taking, "where") and not self.marker:
            reading.error_at_key(self, form, "`where` is empty: every line would be an event")
        given = {*reading.places(taking, "take"), *self.record_fields}
        given.update(name for name, text in self.fields.items() if text)
        for name in () if self.marker else NEEDED:
            if name not in given:
                hint = f"take it: `take: {{{name}: …}}`, or set it under `fields`"
                reading.error_at_key(self, form, f"the pattern gives no `{name}`", hint)

    def _check_regex(self, reading: Reading) -> None:
        regex = compile_re2(self.regex)
        if regex.search("") is not None:
            hint = "name some text that the line must hold"
            reading.error(self, "regex", "the pattern matches every line", hint)
        for name, groups in composed(self.fields).items():
            for group in (one for one in groups if one not in regex.groupindex):
                place = reading.places(self, "fields")[name]
                hint = f"name a group (?P<{group}>…)"
                reading.faults.error(place, f"the pattern has no group `{group}`", hint)
        for name in NEEDED:
            if not self.fields.get(name) and name not in regex.groupindex:
                hint = f"name a group (?P<{name}>…), or set it under `fields`"
                reading.error(self, "regex", f"the pattern gives no `{name}`", hint)

    def _check_own(self, reading: Reading) -> None:
        named = {
            "fields": self.fields,
            "record_fields": self.record_fields,
            "map": self.map,
            "regex": compile_re2(self.regex).groupindex if self.regex else (),
        }
        for where, names in named.items():
            for name in (one for one in names if one.startswith(OWN_PREFIX)):
                message = f"`{name}` is a field that only the sidecar sets"
                hint = f"choose a name that does not begin with `{OWN_PREFIX}`"
                reading.error(self, where, message, hint)


@table
class PatternFile(Table):
    patterns: tuple[Pattern, ...] = key("Tried in order; the first that matches makes the event.")


_LEAST_LITERAL = 4  # shorter ones stand in every other line and save nothing
_ESCAPABLE = "\"\\/<>&'"  # JSON encoders may write these, and all beyond ASCII, otherwise
_NUMBER = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?|-?inf|nan", re.ASCII)
_OTHERWISE = re.compile(rf"[{re.escape(_ESCAPABLE)}]|[^ -~]")
_TOKEN = re.compile(
    r"""(?P<group>\((?:\?P?<\w+>|\?:|(?!\?)))|(?P<close>\))
      |(?P<set>\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\])
      |(?P<times>(?:[?*]|\{\d+(?:,\d*)?\})\??)|(?P<plus>\+\??)
      |\\(?P<escaped>[^\w\s])|(?P<class>\\(?:[dDsSwWbB]|[pP](?:\w|\{\^?\w+\})))
      |(?P<any>[.^$])|(?P<or>\|)|(?P<plain>[^\\()\[\]{}|])""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)


class _Compiled(NamedTuple):
    """A pattern ready to run, as one of sentences or of structured lines."""

    pattern: Pattern
    sentence: Sentence | None
    taker: Taker | None


def _compiled(pattern: Pattern) -> _Compiled:
    sets = pattern.fields, pattern.record_fields, pattern.map
    if pattern.taking is not None:
        return _Compiled(pattern, None, Taker(pattern.taking, *sets))
    return _Compiled(pattern, Sentence(pattern.regex, *sets), None)


def _literals(pattern: Pattern) -> Sequence[str]:
    """Return texts of which each line that matches has one; an empty one says that none is sure."""
    if pattern.taking is None:
        return [required_literal(pattern.regex)]
    name = '"{}"' if pattern.json is not None else "{}="
    return literals(pattern.taking, name, required_literal, plain_literal) or [""]


def _objects(lines: Sequence[bytes], prefix: Prefix) -> dict[int, bytes]:
    """Return what may be an object of those lines that are one, behind nothing but furniture."""
    found = {}
    for number, line in enumerate(lines):
        start = line.find(b"{")
        if start == 0 or (start > 0 and prefix.fits_bytes(line[:start])):
            found[number] = line[start:]
    return found


def _pairs(lines: Sequence[bytes], prefix: Prefix) -> dict[int, Mapping[str, Any]]:
    records = ((number, read_logfmt(line.decode(), prefix)) for number, line in enumerate(lines))
    return {number: record[0] for number, record in records if record is not None}


def _is_bare(line: bytes) -> bool:
    """Return whether a line is one part, no record, and without colours."""
    return not line.startswith(b"{") and b"\r" not in line and b"\x1b" not in line


def _message(line: bytes) -> bytes:
    return line if b" " < line[-1:] < b"\x7f" else without_tail(line.decode()).encode()


class TextPatterns:
    """All patterns of a configuration; the first that matches a line makes its event.

    A line is held only against those of whose literal texts it has one, which are found together.
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        """Raises ValueError with RE2's reason when a regex cannot be compiled."""
        self._patterns = list(map(_compiled, patterns))
        self._takers = [
            (one.pattern, one.taker)
            for one in self._patterns
            if one.taker is not None and not one.pattern.marker
        ]
        self._by_literal: dict[bytes, list[int]] = {}
        for number, pattern in enumerate(patterns):
            for literal in () if pattern.marker else _literals(pattern):
                self._by_literal.setdefault(literal.encode(), []).append(number)
        self._always = self._by_literal.get(b"", [])
        self.literals = sorted(literal for literal in self._by_literal if literal)
        self._find = BytesAhoCorasick(self.literals).find_matches_as_indexes
        self.every_line = bool(self._always)
        # The fields that patterns set by themselves, whatever names a line holds.
        self.given = {name for one in patterns for name in one.fields}
        sentences = [one.sentence for one in self._patterns if one.sentence is not None]
        self.given.update(name for one in sentences for name in one.groups)
        self.given |= names_of(one.taking for one in patterns)
        self._of_records = [one for one in self._patterns if one.pattern.marker]

    @property
    def renames(self) -> bool:
        """Whether some pattern takes fields of WEBHOOK_METRIC records: each is looked at then."""
        return bool(self._of_records)

    def renamed(self, record: Record) -> Record:
        """Return a WEBHOOK_METRIC record with what the first pattern takes that is for it."""
        for one in self._of_records:
            if one.taker and (fields := one.taker.take(record.fields)) is not None:
                return Record({**record.fields, **fields}, record.before, record.outer)
        return record

    def find_record(self, text: str, prefix: Prefix) -> Record | None:
        """Return the record that the first matching pattern makes of `text`.

        Patterns of structured lines are asked before those of sentences. Of these, in a structured
        record the message itself is looked at before the whole line, so that the record's own time
        is known.
        """
        if self._takers and (record := self._taken_of(text, prefix)) is not None:
            return record
        if text.startswith("{"):
            record = self._in_message(text, prefix)
            if record is not None:
                return record
        return self._record(text, prefix.fits_bytes)

    @property
    def takes_many(self) -> bool:
        """Whether there are patterns of structured lines, and all can take many at once."""
        return bool(self._takers) and all(taker.takes_many for _, taker in self._takers)

    def fields_at(self, prefix: Prefix, line: bytes) -> dict[str, Any]:
        """Return the fields of a line that begins with a record's object, or of which one is taken.

        Raises one of NOT_JSON.
        """
        record = None
        if self._takers and MARKER_BYTES not in line:
            record = self._taken_of(line.decode().removesuffix("\r"), prefix)
        if record is None:
            return fields_of(line)
        record.fields.setdefault("webhook_provider", UNKNOWN_PROVIDER)
        return record.fields

    def take_all(self, lines: Sequence[bytes], prefix: Prefix) -> Taken | None:
        """Return the events that patterns of structured lines take of many, which are text.

        None where there are none. Every other line is to be read by itself.
        """
        objects = _objects(lines, prefix)
        pairs = _pairs(lines, prefix) if any(one.logfmt for one, _ in self._takers) else {}
        parts: list[Taken] = []
        for pattern, taker in self._takers:
            found = (
                taker.take_records(pairs) if pattern.json is None else taker.take_objects(objects)
            )
            for number in found.numbers:
                objects.pop(number, None)
                pairs.pop(number, None)
            parts.append(found)
        parts = [one for one in parts if one.numbers]
        return together(parts) if parts else None

    def state_all(self, lines: Sequence[bytes], prefix: Prefix) -> tuple[list[Stated], list[int]]:
        """Return what sentences state of many lines, which are text and do not have the marker.

        And the numbers of the lines that are to be read singly. All others say nothing.
        """
        odd = [number for number, line in enumerate(lines) if not _is_bare(line)]
        left = {number: _message(line) for number, line in enumerate(lines)}
        found: list[Stated] = []
        before = Before(prefix)
        for number in odd:
            del left[number]
        for which, tried in self._tried_of(left):
            mine = {number: left[number] for number in tried if number in left}
            sentence = self._patterns[which].sentence
            misfits = [*mine]
            if sentence is not None:
                stated, misfits = sentence.records(mine, before)
                found.append(stated)
                for number in stated.numbers:
                    del left[number]
            for number in misfits:
                del left[number]
            odd += misfits
        return found, odd

    def _tried_of(self, lines: Mapping[int, bytes]) -> list[tuple[int, Iterable[int]]]:
        """Return the numbers of patterns, in the order in which they are asked, each with those of
        the lines that it may match.
        """
        numbers = [*lines]
        ends = list(accumulate(len(line) + 1 for line in lines.values()))
        tried: dict[int, dict[int, None]] = {which: dict.fromkeys(lines) for which in self._always}
        for literal, begin, _ in self._find(b"\n".join(lines.values()), overlapping=True):
            number = numbers[bisect_right(ends, begin)]
            for which in self._by_literal[self.literals[literal]]:
                tried.setdefault(which, {})[number] = None
        of_sentences = {which: one.taker is None for which, one in enumerate(self._patterns)}
        return sorted(tried.items(), key=lambda one: (of_sentences[one[0]], one[0]))

    def _taken_of(self, text: str, prefix: Prefix) -> Record | None:
        held: dict[str, Held | None] = {}
        for one in map(self._patterns.__getitem__, self._tried(text.encode())):
            if one.taker is None:
                continue
            form = "logfmt" if one.pattern.json is None else "json"
            if form not in held:
                held[form] = READERS[form](text, prefix)
            found = held[form]
            if found is not None and (fields := one.taker.take(found[0])) is not None:
                return Record(fields, found[1], found[0])
        return None

    def _in_message(self, text: str, prefix: Prefix) -> Record | None:
        try:
            outer, _end = read_fields(text)
        except Unreadable:
            return None
        name = message_field(outer)
        message = outer.get(name)
        if not isinstance(message, str):
            return None
        fits = prefix.fits_bytes if name == "log" else prefix.fits_message_bytes
        return self._record(message, fits, outer)

    def _record(
        self, text: str, fits: Fits, outer: Mapping[str, Any] = MappingProxyType({})
    ) -> Record | None:
        text = without_tail(text)
        for one in map(self._patterns.__getitem__, self._tried(text.encode())):
            record = one.sentence and one.sentence.record(text, fits, outer)
            if record:
                return record
        return None

    def _tried(self, raw: bytes) -> Sequence[int]:
        """Return the numbers of the patterns that may match, in order."""
        found = self._find(raw, overlapping=True)
        if len(found) == 1 and not self._always:
            return self._by_literal[self.literals[found[0][0]]]
        numbers = {n for which, _, _ in found for n in self._by_literal[self.literals[which]]}
        return sorted(numbers.union(self._always))


@lru_cache(maxsize=1024)  # more than anybody has patterns
def required_literal(regex: str) -> str:
    r"""Return the longest text every match of `regex` contains, or an empty one when none is sure.

    Only what stands outside of groups counts, and anything but the plainest syntax (flags,
    alternatives at the top, `\Q`, `\x`) gives that: a wrong answer would lose events.
    """
    runs = [""]
    depth = at = 0
    while at < len(regex):
        token = _TOKEN.match(regex, at)
        if token is None or (token["or"] and depth == 0):
            return ""
        at = token.end()
        depth += bool(token["group"]) - bool(token["close"])
        letter = token["plain"] or token["escaped"]
        if depth or token["close"] or not letter:
            if token["times"] and depth == 0:
                runs[-1] = runs[-1][:-1]
            runs.append("")
        elif letter in _ESCAPABLE or not letter.isascii():
            runs.append("")
        else:
            runs[-1] += letter
    return _longest(runs)


def plain_literal(text: str) -> str:
    """Return the longest part of `text` that JSON and logfmt write in one way only.

    A number or an object may be written in others.
    """
    if _NUMBER.fullmatch(text) or text.startswith(("{", "[")):
        return ""
    return _longest(_OTHERWISE.split(text))


def _longest(runs: Sequence[str]) -> str:
    longest = max(runs, key=len)
    return longest if len(longest) >= _LEAST_LITERAL else ""
