"""YAML text as a tree in which each value knows its place, and nothing is guessed.

PyYAML's own constructors keep the last of two equal keys and read `no`, `12:30:00` and `0777` as
something else than what stands there (`trap`), so the tree is built from its nodes instead. In the
values of `sidecar.yaml`, `${NAME}` and `${NAME:-default}` are expanded.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec
import yaml

from sidecar.syntax.faults import Faults, Place, Reported, Wrong

_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
_ORDINARY_NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d+)?")

Trap = tuple[str, str]


def trap(text: str, tag: str) -> Trap | None:
    """Return message and hint when the plain scalar `text` is a trap, else None.

    `tag` is what YAML 1.1 takes it for (`bool`, `int`, `float`, `str`, …). The message does not
    show the text unless it is one of YAML's own words: it could be somebody's password.
    """
    if tag == "bool":
        return _word(text)
    if tag in ("int", "float") and _SEXAGESIMAL.fullmatch(text):
        return "unquoted, this is a number in base 60 to YAML", "quote it"
    if tag in ("int", "float", "str") and _EXPONENT.fullmatch(text):
        return "unquoted, this is a number or a text, depending on the reader", _PLAIN_NUMBER
    if tag in ("int", "float") and not _ORDINARY_NUMBER.fullmatch(text):
        return "unquoted, this is a number in a notation that few would guess", _PLAIN_NUMBER
    return None


_PLAIN_NUMBER = "write it as a plain number, or quote it"


def _word(text: str) -> Trap | None:
    if text in ("true", "false"):
        return None
    meant = "true" if text.lower() in ("yes", "on", "true", "y") else "false"
    return f"unquoted `{text}` is {meant} to YAML", f'write {meant}, or quote it: "{text}"'


_MARK = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-[^}]*)?\}|(?P<open>\{))"
)


_ENVIRONMENT = "environment variable"


class ExpansionError(ValueError):
    """A `${…}` that cannot be expanded. `offset`: where in the text; `hint`: what would help."""

    def __init__(self, message: str, offset: int, hint: str, *, unset: bool = False) -> None:
        super().__init__(message)
        self.offset = offset
        self.hint = hint
        self.unset = unset


def expand(text: str, environ: Mapping[str, str], what: str = _ENVIRONMENT) -> str:
    """Return `text` with its variables replaced once: what a value holds is not expanded again.

    `$$` is a dollar, and a dollar before anything but `{` stays (regular expressions end in it).
    As in a shell, `:-` also stands in for a variable that is set but empty. Raises
    ExpansionError, which calls a variable `what` and never quotes a value.
    """

    def replace(mark: re.Match[str]) -> str:
        if mark["dollar"]:
            return "$"
        if mark["open"]:
            hint = "write ${NAME} or ${NAME:-default}; $${ is a plain ${"
            raise ExpansionError("`${` does not begin a variable", mark.start(), hint)
        return _value_of(mark, environ, what)

    return _MARK.sub(replace, text)


def _value_of(mark: re.Match[str], environ: Mapping[str, str], what: str) -> str:
    name, fallback = mark["name"], mark["fallback"]
    value = environ.get(name)
    if fallback is not None:
        return value or fallback.removeprefix(":-")
    if value is None:
        hint = f"set it, or give a default: ${{{name}:-…}}"
        message = f"{what} {name} is not set"
        raise ExpansionError(message, mark.start(), hint, unset=what == _ENVIRONMENT)
    return value


_BARE = re.compile(r"\$[A-Za-z_]\w*")  # how a shell would have it
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 40  # libyaml's composer recurses in C and would overflow the stack
_MAX_NODES = 200_000  # after aliases, which could name each other into billions
_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"  # of YAML 1.1, as Compose has it
Expand = Callable[[str], str]


class ScalarKind(StrEnum):
    """What a scalar is to YAML 1.1; quoted ones are always text."""

    TEXT = "text"
    NUMBER = "a number"
    FLAG = "true or false"
    NULL = "nothing"


_KINDS = {
    f"{_TAG}str": ScalarKind.TEXT,
    f"{_TAG}timestamp": ScalarKind.TEXT,
    f"{_TAG}value": ScalarKind.TEXT,
    f"{_TAG}merge": ScalarKind.TEXT,
    f"{_TAG}int": ScalarKind.NUMBER,
    f"{_TAG}float": ScalarKind.NUMBER,
    f"{_TAG}bool": ScalarKind.FLAG,
    f"{_TAG}null": ScalarKind.NULL,
}


class Scalar(msgspec.Struct, frozen=True):
    """One value. `text` is expanded, `written` as in the file.

    `start` is where the first character of the text stands, when the text stands in the file
    letter by letter on one line; `indent` is how far the lines of a block (`|`) are indented.
    `faulty`: already reported, so that nobody reports it again.
    """

    place: Place
    text: str
    written: str
    kind: ScalarKind = ScalarKind.TEXT
    start: Place | None = None
    indent: int | None = None
    faulty: bool = False

    @property
    def expanded(self) -> bool:
        """Whether it holds a variable's value, which may be secret and is never shown."""
        return self.text != self.written or "${" in self.written

    def at(self, offset: int) -> Place:
        """Return the place of the text's character `offset`, or of the scalar if unknown."""
        if self.start is None or self.expanded:
            return self.place
        return Place(self.start.file, self.start.line, self.start.column + offset)

    def part(self, text: str) -> "Scalar":
        """Return a scalar of one part of the text, at the same place."""
        return Scalar(self.place, text, self.written if self.expanded else text)

    def at_line(self, line: int, column: int = 1) -> Place:
        """Return the place of the text's `line` and `column`, from 1, or of the scalar."""
        if self.indent is None or self.expanded:
            return self.at(column - 1) if line == 1 else self.place
        return Place(self.place.file, self.place.line + line, self.indent + column)


class ListNode(msgspec.Struct, frozen=True):
    place: Place
    items: tuple["Node", ...]


class MapNode(msgspec.Struct, frozen=True):
    """A mapping; keys are unique. `places` holds where each key stands."""

    place: Place
    values: dict[str, "Node"]
    places: dict[str, Place]


Node = Scalar | ListNode | MapNode


def refused(node: Node, what: str) -> ValueError:
    """Return the error that `node` is something else than `what`."""
    if isinstance(node, Scalar) and node.faulty:
        return Reported()
    found = "a list" if isinstance(node, ListNode) else "keys with values"
    return Wrong(f"expected {what}, found {node.kind if isinstance(node, Scalar) else found}")


def is_blank(node: Node | None) -> bool:
    """Return whether variables are all that is written, and expand to nothing."""
    if isinstance(node, ListNode):
        return bool(node.items) and all(map(is_blank, node.items))
    return isinstance(node, Scalar) and node.expanded and not node.text.strip(" ,")


def given(values: dict[str, Node], keys: Iterable[str], *, stand_in: bool) -> list[str]:
    """Return which of `keys`, and of those that name a file with the value, are in `values`.

    With `stand_in` texts that all expand to nothing become one, as of a variable that is not set.
    """
    names = [name for key in keys for name in (key, f"{key}_file") if name in values]
    nodes = [node for name in names if isinstance(node := values[name], Scalar) and is_blank(node)]
    if not stand_in or not nodes or len(nodes) < len(names):
        return names
    for name in names[1:]:
        del values[name]
    values[names[0]] = msgspec.structs.replace(nodes[0], text=nodes[0].written, faulty=True)
    return names[:1]


def plain_of(node: Node, what: str) -> Scalar:
    if isinstance(node, Scalar) and node.kind is not ScalarKind.NULL and not node.faulty:
        return node
    raise refused(node, what)


def text_of(node: Node) -> Scalar:
    scalar = plain_of(node, "text")
    if scalar.kind is not ScalarKind.TEXT:
        raise Wrong(f"expected text, found {scalar.kind}", "quote it")
    return scalar


def compose(text: str, file: str, faults: Faults, expand: Expand | None = None) -> Node | None:
    """Return the tree of one YAML document, or None when it is no YAML or empty (reported).

    `expand` is applied to each scalar that is a value; it may raise ExpansionError.
    """
    try:
        if _too_deep(text):
            faults.error(Place(file), f"nested more than {_MAX_DEPTH} levels deep")
            return None
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as wrong:
        _report_syntax(wrong, text, file, faults)
        return None
    if root is None:
        faults.error(Place(file), "the file is empty")
        return None
    return _Builder(text, file, faults, expand).root(root)


def _too_deep(text: str) -> bool:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            return True
    return False


def _report_syntax(wrong: yaml.YAMLError, text: str, file: str, faults: Faults) -> None:
    mark = getattr(wrong, "problem_mark", None) or getattr(wrong, "context_mark", None)
    if mark is None:  # yaml.reader.ReaderError: it knows a position only
        before = text.encode()[: getattr(wrong, "position", 0)].decode(errors="replace")
        place = Place(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        faults.error(place, "a control character that YAML does not allow")
        return
    place = Place(file, mark.line + 1, mark.column + 1)
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        faults.error(place, "a tab in the indentation", "YAML wants spaces")
        return
    if "another document" in (getattr(wrong, "problem", None) or ""):
        faults.error(place, "a second document begins here", "a file holds one")
        return
    # PyYAML's own text shows the lines around, and an alias's name: either could be a secret.
    problem = (getattr(wrong, "problem", None) or "syntax error").split("alias '")[0]
    begun = getattr(wrong, "context_mark", None)
    hint = f"what does not end was begun on line {begun.line + 1}" if begun else ""
    faults.error(place, f"not YAML: {problem}", hint if begun and begun.line < mark.line else "")


class _Builder:
    """Turns PyYAML's nodes into ours, each once, however often an alias names it."""

    def __init__(self, text: str, file: str, faults: Faults, expand: Expand | None) -> None:
        self._text = text
        self._file = file
        self._faults = faults
        self._expand = expand
        self._built: dict[int, tuple[Node, int]] = {}
        self._open: set[int] = set()

    def root(self, node: yaml.Node) -> Node | None:
        built, size = self._build(node)
        if size > _MAX_NODES:
            self._faults.error(Place(self._file), f"aliases make more than {_MAX_NODES:,} values")
            return None
        return built

    def _build(self, node: yaml.Node) -> tuple[Node, int]:
        if id(node) in self._open:
            self._faults.error(self._place(node), "an alias stands inside its own anchor")
            return Scalar(self._place(node), "", "", faulty=True), 1
        if id(node) not in self._built:
            self._open.add(id(node))
            self._built[id(node)] = self._new(node)
            self._open.discard(id(node))
        return self._built[id(node)]

    def _new(self, node: yaml.Node) -> tuple[Node, int]:
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._table(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            items = [self._build(item) for item in node.value]
            size = 1 + sum(size for _, size in items)
            return ListNode(self._place(node), tuple(item for item, _ in items)), size
        if isinstance(node, yaml.ScalarNode) and node.tag in _KINDS:
            return self._scalar(node), 1
        self._faults.error(self._place(node), "YAML tags (`!…`) have no meaning here", "remove it")
        return Scalar(self._place(node), "", "", faulty=True), 1

    def _table(self, node: yaml.MappingNode) -> tuple[Node, int]:
        table = MapNode(self._place(node), {}, {})
        size = 1
        for name, key_place, value in self._entries(node):
            if name in table.places:
                first = table.places[name].line
                self._faults.error(key_place, f"`{name}` stands twice", f"first on line {first}")
                continue
            table.places[name] = key_place
            table.values[name], value_size = self._build(value)
            size += value_size
        merged = table.values.pop(_MERGE, None) if self._merges(node) else None
        if merged is not None:
            self._merge(table, merged, table.places.pop(_MERGE))
        return table, size

    def _merges(self, node: yaml.MappingNode) -> bool:
        return any(key.tag == f"{_TAG}merge" for key, _ in node.value)

    def _merge(self, table: MapNode, merged: Node, place: Place) -> None:
        """Give a table the keys of `<<` that it has not itself; of several the first counts."""
        for one in merged.items if isinstance(merged, ListNode) else (merged,):
            if not isinstance(one, MapNode):
                self._faults.error(place, "`<<` takes keys with values, or a list of them")
                return
            for name in one.values.keys() - table.values.keys():
                table.values[name], table.places[name] = one.values[name], one.places[name]

    def _entries(self, node: yaml.MappingNode) -> Iterator[tuple[str, Place, yaml.Node]]:
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._faults.error(self._place(key), "a key must be plain text")
                continue
            if self._trapped(key):
                continue
            yield key.value, self._place(key), value

    def _scalar(self, node: yaml.ScalarNode) -> Scalar:
        place = self._place(node)
        faulty = self._trapped(node)
        start = self._start(node)
        text = node.value
        if self._expand is not None and "$" in text:
            if _BARE.fullmatch(text):
                message = f"`{text}` is plain text; variables are written `${{{text[1:]}}}`"
                self._faults.warning(place, message, f"for the text itself write `${text}`")
            try:
                text = self._expand(text)
            except ExpansionError as wrong:
                faulty = True
                where = (
                    Place(start.file, start.line, start.column + wrong.offset) if start else place
                )
                report = self._faults.missing if wrong.unset else self._faults.error
                report(where, str(wrong), wrong.hint)
        indent = self._indent(node) if node.style == "|" else None
        return Scalar(place, text, node.value, _KINDS[node.tag], start, indent, faulty)

    def _trapped(self, node: yaml.ScalarNode) -> bool:
        found = None if node.style else trap(node.value, node.tag.removeprefix(_TAG))
        if found is not None:
            self._faults.error(self._place(node), *found)
        return found is not None

    def _start(self, node: yaml.ScalarNode) -> Place | None:
        mark, quote = node.start_mark, node.style in ("'", '"')
        if not self._text.startswith(node.value, mark.index + quote) or "\n" in node.value:
            return None
        return Place(self._file, mark.line + 1, mark.column + 1 + quote)

    def _indent(self, node: yaml.ScalarNode) -> int:
        """Return how many blanks stand before each line of a block and do not belong to it."""
        begin = self._text.find("\n", node.start_mark.index) + 1
        lines = zip(self._text[begin:].splitlines(), node.value.splitlines(), strict=False)
        return next((len(line) - len(text) for line, text in lines if text.strip()), 0)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)
