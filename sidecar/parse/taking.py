"""Events out of structured lines whose fields have other names: JSON objects and logfmt pairs."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from sidecar.matchers import compile_re2
from sidecar.parse.asked import Asked, all_seconds_of
from sidecar.parse.event import (
    LONGEST_LABEL,
    OWN_PREFIX,
    OWN_PROVIDER,
    STANDARD_FIELDS,
    UNKNOWN_PROVIDER,
    Triple,
    as_text,
    field_value,
    is_missing,
)
from sidecar.parse.instants import instant
from sidecar.parse.objects import NOT_JSON, Unreadable
from sidecar.parse.prefix import Prefix
from sidecar.parse.record import CLOSED
from sidecar.parse.values import read_fields
from sidecar.syntax.faults import Wrong
from sidecar.syntax.table import Placed, Reading, Table, Value, key, table
from sidecar.syntax.tree import ListNode, Node, plain_of
from sidecar.syntax.values import FIELD, is_field, string

_LIKE = "=~"
_STEP = re.compile(r"[^.\s]+(?:\.[^.\s]+)*")
_PATH = f"^(?:{_STEP.pattern})$"
_LEAST = 3  # characters; what is no longer stands in every other line
_SCALAR = {"type": ["string", "number", "boolean"]}


def _text_like(node: Node) -> str:
    text = plain_of(node, "a text, a number or true or false").text
    if text.startswith(_LIKE):
        compile_re2(text.removeprefix(_LIKE).strip())
    return text


def _texts(node: Node, reading: Reading) -> tuple[str, ...]:
    if not isinstance(node, ListNode):
        return (_text_like(node),)
    found = []
    for item in node.items:
        with reading.reporting(item):
            found.append(_text_like(item))
    if not node.items:
        raise Wrong("an empty list lets nothing through", "name the values that count")
    return tuple(found)


def _path(text: str) -> str:
    if not _STEP.fullmatch(text):
        raise Wrong(f"`{text}` is not a path", "a name of the record, or names with dots between")
    return text


Texts = Annotated[
    tuple[str, ...],
    Placed(_texts, {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR, "minItems": 1}]}, ()),
]
Path = Annotated[str, Value(_path, "a path", string(_PATH))]


@table
class Taking(Table):
    """Which structured lines are events, and where in them the event's fields stand."""

    where: Mapping[str, Texts] = key(
        "What the line must say: a path, and its value, a list of values, or RE2 behind `=~` that "
        "matches the whole value.",
        schema={"propertyNames": string(_PATH)},
        default={},
    )
    take: Mapping[str, Path] = key(
        "A field of the event, and the path of its value: a name, or names with dots between them "
        "that lead into objects.",
        schema={"propertyNames": FIELD},
        default={},
    )

    def check(self, reading: Reading) -> "Taking":
        for path, place in reading.places(self, "where").items():
            if not _STEP.fullmatch(path):
                reading.faults.error(place, f"`{path}` is not a path")
        for name, place in reading.places(self, "take").items():
            if not is_field(name):
                reading.faults.error(place, f"`{name}` is not a field name")
            elif name.startswith(OWN_PREFIX):
                hint = f"choose a name that does not begin with `{OWN_PREFIX}`"
                message = f"`{name}` is a field that only the sidecar sets"
                reading.faults.error(place, message, hint)
        return self


class Taken(NamedTuple):
    """Events of some of many lines: their numbers, labels, instants, and all fields in columns.

    UNSET stands in a column where an event has no such field.
    """

    numbers: list[int]
    triples: list[Triple]
    times: list[float]
    fields: dict[str, list[Any]]


class Taker:
    """A `Taking` ready to run, with what its pattern sets and maps besides."""

    def __init__(
        self,
        taking: Taking,
        fixed: Mapping[str, str],
        record_fields: Sequence[str],
        tables: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._tests = [(path, _test(texts)) for path, texts in taking.where.items()]
        self._take = [*taking.take.items()]
        self._fixed = fixed
        self._record_fields = record_fields
        self._tables = tables
        self._paths = {*taking.where, *taking.take.values(), *record_fields}
        self._asked = Asked(self._paths)
        # A name that begins so is never asked for, and one with dots leads nowhere among these.
        own = any(path.startswith(OWN_PREFIX) for path in self._paths)
        self.takes_many = not own and not any("." in name for name in record_fields)

    def take(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the fields of the event that a record is; those that become labels as texts.

        None where it is none.
        """
        if not all(test(as_text(field_value(record, path))) for path, test in self._tests):
            return None
        fields: dict[str, Any] = {**self._fixed}
        for name, path in self._take:
            value = field_value(record, path)
            if not is_missing(value):
                is_label = name in STANDARD_FIELDS and isinstance(value, int | float)
                fields[name] = as_text(value) if is_label else value
        for name in self._record_fields:
            if not is_missing(value := record.get(name)):
                fields[name] = value
        return mapped(fields, self._tables)

    def take_objects(self, objects: Mapping[int, bytes]) -> Taken:
        """Do the same with JSON objects by the numbers of their lines, field by field.

        Left out is what is no event, or none with an ordinary time and labels.
        """
        try:
            columns = self._asked.fields_of([*objects.values()])
        except NOT_JSON:
            objects = {number: one for number, one in objects.items() if self._is_object(one)}
            columns = self._asked.fields_of([*objects.values()])
        return self._take_all(columns, [*objects])

    def take_records(self, records: Mapping[int, Mapping[str, Any]]) -> Taken:
        """Do the same with records."""
        columns: dict[str, list[Any] | None] = {
            path: [field_value(one, path) for one in records.values()] for path in self._paths
        }
        return self._take_all(columns, [*records])

    def _is_object(self, source: bytes) -> bool:
        try:
            self._asked.fields_of([source])
        except NOT_JSON:
            return False
        return True

    def _take_all(self, columns: Mapping[str, list[Any] | None], lines: list[int]) -> Taken:
        nothing = [None] * len(lines)
        numbers = list(range(len(lines)))
        for path, test in self._tests:
            texts = _as_texts(columns[path] or nothing)
            good = {text for text in set(texts) if test(text)}
            numbers = [n for n in numbers if texts[n] in good]
        mine = {path: column and _only(column, numbers) for path, column in columns.items()}
        fields = {name: [value] * len(numbers) for name, value in self._fixed.items()}
        for name, path in self._take:
            if (column := mine[path]) is not None:
                column = _labels(column) if name in STANDARD_FIELDS else column
                fields[name] = _over(fields.get(name) or nothing, column)
        for name in self._record_fields:
            if (column := mine[name]) is not None:
                fields[name] = _over(fields.get(name) or nothing, column)
        for name, to in self._tables.items():
            values: Sequence[Any] = fields.get(name) or nothing[: len(numbers)]
            fields[name] = [to.get(as_text(value), value) for value in values]
        return _ordinary([lines[n] for n in numbers], fields)


def together(parts: Sequence[Taken]) -> Taken:
    """Return the events of several patterns in the order of their lines."""
    if len(parts) == 1:
        return parts[0]
    order = sorted((number, part, row) for part, one in enumerate(parts)
                   for row, number in enumerate(one.numbers))  # fmt: skip
    names = {name for one in parts for name in one.fields}
    unset = [[msgspec.UNSET] * len(one.numbers) for one in parts]
    columns = {name: [one.fields.get(name, unset[n]) for n, one in enumerate(parts)]
               for name in names}  # fmt: skip
    return Taken(
        [number for number, _, _ in order],
        [parts[part].triples[row] for _, part, row in order],
        [parts[part].times[row] for _, part, row in order],
        {name: [column[part][row] for _, part, row in order] for name, column in columns.items()},
    )


def _only(values: list[Any], numbers: Sequence[int]) -> list[Any]:
    return values if len(numbers) == len(values) else [values[n] for n in numbers]


def _over(before: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Return `values`, and those of before where one is missing."""
    if None not in values and "" not in values:
        return list(values)
    both = zip(values, before, strict=False)
    return [old if is_missing(value) else value for value, old in both]


def _as_texts(values: Sequence[Any]) -> Sequence[str]:
    return values if set(map(type, values)) == {str} else list(map(as_text, values))


def _labels(values: list[Any]) -> list[Any]:
    if set(map(type, values)) == {str}:
        return values
    return [as_text(value) if isinstance(value, int | float) else value for value in values]


def _ordinary(numbers: list[int], fields: dict[str, list[Any]]) -> Taken:
    """Return those with labels and a time of their own."""
    nothing = [None] * len(numbers)
    provider, event_type, status = STANDARD_FIELDS
    named = [UNKNOWN_PROVIDER if is_missing(v) else v for v in fields.get(provider) or nothing]
    fields[provider] = named
    each = zip(named, fields.get(event_type) or nothing, fields.get(status) or nothing, strict=True)
    triples: list[Any] = list(each)
    instants = _instants(fields.get("timestamp") or nothing)
    fit = _fitting(triples)
    good = [n for n, at in enumerate(instants) if at is not None and triples[n] in fit]
    if len(good) < len(numbers):
        fields = {name: [values[n] for n in good] for name, values in fields.items()}
    return Taken(
        [numbers[n] for n in good],
        [triples[n] for n in good],
        [at for at in map(instants.__getitem__, good) if at is not None],
        {name: _unset_for_none(values) for name, values in fields.items()},
    )


def _fitting(triples: Sequence[tuple[Any, ...]]) -> Collection[tuple[Any, ...]]:
    """Return those that are labels of an event."""
    try:
        distinct: Iterable[tuple[Any, ...]] = set(triples)
    except TypeError:  # some field is a list or an object
        distinct = triples
    fit = [one for one in distinct if _are_labels(one)]
    return fit if distinct is triples else set(fit)


def _are_labels(triple: tuple[Any, ...]) -> bool:
    fit = all(type(one) is str and 0 < len(one) <= LONGEST_LABEL for one in triple)
    return fit and triple[0] != OWN_PROVIDER


def _instants(values: Sequence[Any]) -> Sequence[float | None]:
    try:
        return all_seconds_of(msgspec.convert(values, list[datetime]))
    except msgspec.ValidationError:
        return list(map(instant, values))


def _unset_for_none(values: list[Any]) -> list[Any]:
    if None not in values:
        return values
    return [msgspec.UNSET if value is None else value for value in values]


def _test(texts: Sequence[str]) -> Callable[[str], bool]:
    exact = {text for text in texts if not text.startswith(_LIKE)}
    like = [
        compile_re2(text.removeprefix(_LIKE).strip(), dot_nl=True)
        for text in texts
        if text not in exact
    ]
    return lambda text: text in exact or any(regex.fullmatch(text) for regex in like)


def literals(
    taking: Taking, name: str, in_regex: Callable[[str], str], plain: Callable[[str], str]
) -> list[str]:
    """Return texts of which a line that is taken has at least one; none where that is not sure.

    `name` is how the line writes a field's name in place of `{}`.
    `in_regex` gives the text that all matches of a regex have, `plain` the longest part of a text
    that is written in one way only; both give an empty one without any.
    """
    best: list[str] = []
    for path, texts in taking.where.items():
        said = [
            in_regex(text.removeprefix(_LIKE).strip()) if text.startswith(_LIKE) else plain(text)
            for text in texts
        ]
        if not all(said) and not _test(texts)(""):
            said = [_written(path.rpartition(".")[2], name)]  # it stands in the line, at least
        if all(said) and min(map(len, said)) > min(map(len, best), default=0):
            best = said
    return best


def _written(field: str, name: str) -> str:
    written = name.format(field)
    return written if field.isascii() and field.isidentifier() and len(written) > _LEAST else ""


# --- what a structured line holds, and what stands before that in it


Held = tuple[dict[str, Any], str]


def read_json(text: str, prefix: Prefix) -> Held | None:
    """Return the object that a line is, behind nothing but a logger's furniture."""
    start = text.find("{")
    if start < 0 or not prefix.fits(text[:start]):
        return None
    try:
        fields, end = read_fields(text, start)
    except Unreadable:
        return None
    return (fields, text[:start]) if CLOSED.match(text, end) else None


_FIRST_PAIR = re.compile(r"(?<!\S)[^\s=\"'{}\[\]]+=")
_PAIR = re.compile(r'\s*([^\s="]+)=("(?:[^"\\]|\\.)*+"|[^\s"]*+)(?=\s|\Z)')


def read_logfmt(text: str, prefix: Prefix) -> Held | None:
    """Return the pairs that a line is, behind nothing but furniture; none has the same key twice.

    Where a value holds what a stranger typed, and was not quoted, a key may come again: then
    nobody can tell which one the host wrote.
    """
    first = _FIRST_PAIR.search(text)
    if first is None or not prefix.fits(text[: first.start()]):
        return None
    at, end = first.start(), len(text.rstrip())
    fields: dict[str, Any] = {}
    while at < end:
        pair = _PAIR.match(text, at)
        if pair is None or pair[1] in fields:
            return None
        fields[pair[1]] = _unquoted(pair[2])
        at = pair.end()
    return fields, text[: first.start()]


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return msgspec.json.decode(text, type=str)
    except msgspec.DecodeError:
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


READERS: Mapping[str, Callable[[str, Prefix], Held | None]] = {
    "json": read_json,
    "logfmt": read_logfmt,
}


def mapped(fields: dict[str, Any], tables: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Put other texts in place of those that `tables` name, field by field; return `fields`."""
    for name, table_ in tables.items():
        text = as_text(fields.get(name))
        if text in table_:
            fields[name] = table_[text]
    return fields


def names_of(takings: Iterable[Taking | None]) -> set[str]:
    return {name for one in takings if one is not None for name in one.take}
