"""Events out of structured lines whose fields have other names: JSON objects and logfmt pairs."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from sidecar.matchers import compile_re2
from sidecar.parse.event import OWN_PREFIX, STANDARD_FIELDS, as_text, field_value, is_missing
from sidecar.parse.objects import Unreadable
from sidecar.parse.prefix import Prefix
from sidecar.parse.record import CLOSED, read_fields
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


class Taker:
    """A `Taking` ready to run."""

    def __init__(self, taking: Taking) -> None:
        self._tests = [(path, _test(texts)) for path, texts in taking.where.items()]
        self._take = [*taking.take.items()]

    def takes(self, record: Mapping[str, Any]) -> bool:
        return all(test(as_text(field_value(record, path))) for path, test in self._tests)

    def fields(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that the record has, those that become labels as texts."""
        fields: dict[str, Any] = {}
        for name, path in self._take:
            value = field_value(record, path)
            if not is_missing(value):
                is_label = name in STANDARD_FIELDS and isinstance(value, int | float)
                fields[name] = as_text(value) if is_label else value
        return fields


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
