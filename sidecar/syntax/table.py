"""Tables of a YAML file, declared as dataclasses.

A field of a `Table` is a key: its type says how the value is read and what an editor is told of
it, its default what holds when it is not written. A fault is reported and replaced by a stand-in,
so that all of them come at once.
"""

import dataclasses
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Annotated, Any, ClassVar, Self, TypeVar, cast, get_args, get_origin

from sidecar.secret import Secret, wrapped
from sidecar.syntax.faults import Faults, Off, Place, Reported, Wrong, nearest
from sidecar.syntax.files import Files, absolute
from sidecar.syntax.tree import (
    ListNode,
    MapNode,
    Node,
    Scalar,
    ScalarKind,
    compose,
    expand,
    is_blank,
    plain_of,
    refused,
    text_of,
)

T = TypeVar("T", bound="Table")
Schema = dict[str, Any]
NO_SECRET = Secret("http://stand-in.invalid")
VARIABLE: Schema = {"type": "string", "pattern": r"\$\{"}
_NOWHERE = MapNode(Place(""), {}, {})


@dataclasses.dataclass(frozen=True)
class KeyInfo:
    """What a field says beside its type and default."""

    doc: str
    name: str  # in the file, if that is another
    global_: str  # the key of `global` that it falls back on
    needed: bool  # from one of the two
    schema: Schema  # what its JSON Schema says more


def key(
    doc: str,
    name: str = "",
    *,
    default: Any = dataclasses.MISSING,
    global_: str = "",
    needed: bool = False,
    compare: bool = True,
    schema: Schema | None = None,
) -> Any:
    """Declare a field that is a key. Without `default` it must be written."""
    said = {"key": KeyInfo(doc, name, global_, needed, schema or {})}
    if default == {}:
        return dataclasses.field(default_factory=dict, compare=compare, metadata=said)
    return dataclasses.field(default=default, compare=compare, metadata=said)


@typing.dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(key, dataclasses.field)
)
def table(kind: type[T]) -> type[T]:
    """Make a frozen dataclass of a table's declaration."""
    return dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(kind)


class Reading:
    """What the tables of one or more files share while they are read."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.files = Files(self.faults)
        self.globals: dict[str, Any] = {}
        self.off: list[Node] = []
        self.environ: Mapping[str, str] = {}
        self.empty_globals: dict[str, Place] = {}  # those whose variables expand to nothing
        self._nodes: dict[int, tuple[object, MapNode]] = {}

    def read(self, kind: type[T], path: str, environ: Mapping[str, str] | None = None) -> T | None:
        """Return the table that the file at `path` is, or None when it is none (reported)."""
        node = self.tree(path, environ)
        return None if node is None else self.table(kind, node)

    def tree(self, path: str, environ: Mapping[str, str] | None = None) -> Node | None:
        """Return a file as a tree, its variables expanded from `environ` if there is one."""
        text, self.environ = self.files.text(path), environ or self.environ
        expanded = None if environ is None else lambda text: expand(text, environ)
        return None if text is None else compose(text, path, self.faults, expanded)

    def table(self, kind: type[T], node: Node) -> T | None:
        """Return the table that `node` is, or None when it is none (reported)."""
        with self.reporting(node):
            return _read_table(kind, node, self)
        return None

    def made(self, table: T, node: MapNode) -> T:
        """Remember where a table stands; of a copy, too."""
        self._nodes[id(table)] = (table, node)
        return table

    def node(self, table: object) -> MapNode:
        return self._nodes.get(id(table), (None, _NOWHERE))[1]

    def place(self, table: object, key: str = "") -> Place:
        node = self.node(table)
        return node.values[key].place if key in node.values else node.place

    def places(self, table: object, key: str) -> dict[str, Place]:
        """Return where each value stands of the table that `key` holds."""
        inner = self.node(table).values.get(key)
        values = inner.values if isinstance(inner, MapNode) else {}
        return {name: value.place for name, value in values.items()}

    def error(self, table: object, key: str, message: str, hint: str = "") -> None:
        """Report at the value of `key`, or at the table."""
        self.faults.error(self.place(table, key), message, hint)

    def error_at_key(self, table: object, key: str, message: str, hint: str = "") -> None:
        node = self.node(table)
        self.faults.error(node.places.get(key, node.place), message, hint)

    @contextmanager
    def reporting(self, node: Node, key: str = "") -> Iterator[None]:
        """Report at `node` what the block finds wrong with it."""
        try:
            yield
        except Off:
            self.off.append(node)
        except Reported:
            pass
        except ValueError as wrong:
            offset, line = getattr(wrong, "offset", None), getattr(wrong, "line", None)
            place = node.place
            if isinstance(node, Scalar):  # a parser may know the very line or character
                place = place if line is None else node.at_line(line, getattr(wrong, "column", 1))
                place = place if offset is None else node.at(offset)
            self.faults.error(place, str(wrong).replace("{key}", key), getattr(wrong, "hint", ""))


class Table:
    """Base of the dataclasses that are tables of a file."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]
    hints: ClassVar[dict[str, str]] = {}
    one_of: ClassVar[tuple[str, ...]] = ()  # keys of which `global` gives none if one is written
    schema: ClassVar[Schema] = {}  # what its JSON Schema says beside its keys

    @classmethod
    def prepare(cls, values: dict[str, Node], reading: Reading) -> None:
        """Change what is read, key by key, before it is read."""

    @classmethod
    def meant(cls, name: str, known: Iterable[str]) -> str:
        """Return a hint on a key `name` that is none of the `known` ones."""
        return cls.hints.get(name) or nearest(name, known)

    def check(self, reading: Reading) -> Self:
        """Report what is wrong between keys; return the table, or what is to stand for it."""
        return self


# --- shapes: how a value is read, and what an editor is told of it


@dataclasses.dataclass(frozen=True)
class Value:
    """One scalar; `parse` gets its text and may raise."""

    parse: Callable[[Any], Any]
    what: str
    said: Schema
    kind: ScalarKind = ScalarKind.TEXT
    stand_in: Any = ""

    def read(self, node: Node, reading: Reading, base: Any) -> Any:
        scalar = text_of(node) if self.kind is ScalarKind.TEXT else plain_of(node, self.what)
        if (
            self.kind is ScalarKind.NUMBER
            and scalar.kind is not ScalarKind.NUMBER
            and not scalar.expanded
        ):
            raise Wrong(f"expected a number, found {scalar.kind}")
        try:
            return self.parse(scalar.text)
        except ValueError as wrong:
            # What a variable held is not repeated: it may be a secret in the wrong place.
            if not scalar.expanded or "{key}" in str(wrong):
                raise
            raise Wrong(f"with its variables expanded, this is not {self.what}") from None

    def schema(self, defs: Schema) -> Schema:
        return dict(self.said)


@dataclasses.dataclass(frozen=True)
class Placed:
    """One value of which more is asked than its text; `parse` reports or raises."""

    parse: Callable[[Node, Reading], Any]
    said: Schema
    stand_in: Any = ""

    def read(self, node: Node, reading: Reading, base: Any) -> Any:
        return self.parse(node, reading)

    def schema(self, defs: Schema) -> Schema:
        return dict(self.said)


@dataclasses.dataclass(frozen=True)
class SecretValue:
    """A secret; its key has a twin that ends in `_file`."""

    said: Schema
    parse: Callable[[str], object] | None = None
    stand_in: Any = NO_SECRET

    def read(self, node: Node, reading: Reading, base: Any) -> Secret | None:
        """Return the secret, or None where its variables expand to nothing, as if not written."""
        scalar = text_of(node)
        if not scalar.text:
            if not scalar.expanded:
                raise Wrong("`{key}` is empty", "remove the key")
            return None
        return self._checked(Secret(scalar.text), node, reading)

    def read_twin(self, node: Node, reading: Reading) -> Secret | None:
        scalar = text_of(node)
        if scalar.expanded and not scalar.text:
            return None
        path = absolute(scalar.place.file, scalar.text)
        return self._checked(reading.files.secret(path, scalar.place) or NO_SECRET, node, reading)

    def _checked(self, secret: Secret, node: Node, reading: Reading) -> Secret:
        if doubt := wrapped(secret.reveal()):
            reading.faults.warning(node.place, *doubt)
        if self.parse is not None:
            self.parse(secret.reveal())
        elif not secret.reveal().isprintable():
            raise Wrong("the secret holds line breaks or control characters")
        return secret

    def schema(self, defs: Schema) -> Schema:
        return dict(self.said)


@dataclasses.dataclass(frozen=True)
class ListOf:
    item: "Shape"
    stand_in: Any = ()

    def read(self, node: Node, reading: Reading, base: Any) -> tuple[Any, ...]:
        if not isinstance(node, ListNode):
            raise refused(node, "a list")
        found = []
        for item in node.items:
            with reading.reporting(item):
                found.append(self.item.read(item, reading, None))
        return tuple(found)

    def schema(self, defs: Schema) -> Schema:
        return {"type": "array", "items": self.item.schema(defs)}


@dataclasses.dataclass(frozen=True)
class MapOf:
    """A table of names that the user chooses, such as labels."""

    value: "Shape"

    @property
    def stand_in(self) -> dict[str, Any]:
        return {}

    def read(self, node: Node, reading: Reading, base: Any) -> dict[str, Any]:
        if not isinstance(node, MapNode):
            raise refused(node, "keys with values")
        found = {}
        for name, value in node.values.items():
            with reading.reporting(value):
                if not _empty(name, value, node, reading.faults):
                    found[name] = self.value.read(value, reading, None)
        return found

    def schema(self, defs: Schema) -> Schema:
        return {"type": "object", "additionalProperties": self.value.schema(defs)}


@dataclasses.dataclass(frozen=True)
class Nested:
    """A table; `then` makes of it what the field holds, `bare` of a text in its place."""

    table: Callable[[], type[Table]]
    then: Callable[[Any], Any] = lambda made: made
    bare: Callable[[str], Any] | None = None

    @property
    def stand_in(self) -> Any:
        return self.then(
            self.table()(**{d.field: d.stand_in for d in declared(self.table()).values()})
        )

    def read(self, node: Node, reading: Reading, base: Any) -> Any:
        if self.bare is not None and not isinstance(node, MapNode):
            return self.bare(text_of(node).text)
        base = base if isinstance(base, Table) else None  # what an unwritten key falls back on
        return self.then(_read_table(self.table(), node, reading, base))

    def schema(self, defs: Schema) -> Schema:
        whole = _table_schema(self.table(), defs)
        return whole if self.bare is None else {"anyOf": [{"type": "string"}, whole]}


class Shape(typing.Protocol):
    """How a value is read, and what an editor is told of it."""

    @property
    def stand_in(self) -> Any: ...
    def read(self, node: Node, reading: Reading, base: Any) -> Any: ...
    def schema(self, defs: Schema) -> Schema: ...


def _shape(hint: Any) -> Shape:
    for mark in getattr(hint, "__metadata__", ()):
        if hasattr(mark, "read"):
            return cast("Shape", mark)
    kind = hint.__origin__ if get_origin(hint) is Annotated else hint
    if get_origin(kind) is tuple:
        return ListOf(_shape(get_args(kind)[0]))
    if get_origin(kind) is not None:
        return MapOf(_shape(get_args(kind)[1]))
    return Nested(lambda: kind)


@dataclasses.dataclass(frozen=True)
class Declared:
    """A field that is a key, taken apart."""

    field: str
    name: str
    key: KeyInfo
    hint: Any
    shape: Shape
    default: Any
    required: bool

    @property
    def stand_in(self) -> Any:
        return self.shape.stand_in if self.required else self.default

    @property
    def twin(self) -> str:
        return f"{self.name}_file" if isinstance(self.shape, SecretValue) else ""


def declared(kind: type[Table]) -> "dict[str, Declared]":
    """Return the keys of a table by their names in the file."""
    return _declared(cast("Any", kind))


@cache
def _declared(kind: Any) -> dict[str, Declared]:
    found = {}
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if (key := field.metadata.get("key")) is None:
            continue
        made, hint = field.default_factory, hints[field.name]
        default = field.default if made is dataclasses.MISSING else made()
        name = key.name or field.name
        found[name] = Declared(
            field.name, name, key, hint, _shape(hint), default, default is dataclasses.MISSING
        )
    return found


# --- reading


def _read_table(kind: type[T], node: Node, reading: Reading, base: Any = None) -> T:
    """Return a table, read; what it does not say is taken from `base`."""
    if not isinstance(node, MapNode):
        raise refused(node, "keys with values")
    _report_unknown(kind, node, reading.faults)
    values = {n: v for n, v in node.values.items() if not _empty(n, v, node, reading.faults)}
    kind.prepare(values, reading)
    own = [key for key in kind.one_of if key in values or f"{key}_file" in values]
    fields: dict[str, Any] = {}
    for name, one in declared(kind).items():
        default = one.default if base is None else getattr(base, one.field)
        value = _written(one, values, node, reading)
        if value is None and name not in values and one.required:
            if name not in node.values:
                reading.faults.error(node.place, f"`{name}` is missing")
            value = one.stand_in
        elif (
            value is None
            and one.key.global_ in reading.globals
            and not (name in kind.one_of and own)
        ):
            value = reading.globals[one.key.global_]
        elif one.key.needed and name not in node.values:
            hint = f"set it here, or `{one.key.global_}` in `global`"
            reading.faults.error(node.place, f"`{name}` is missing", hint)
        fields[one.field] = default if value is None else value
    return reading.made(reading.made(kind(**fields), node).check(reading), node)


def _written(one: Declared, values: Mapping[str, Node], node: MapNode, reading: Reading) -> Any:
    """Return the value of a key as it is written, None if it is not, a stand-in if faulty."""
    given, twin = values.get(one.name), values.get(one.twin)
    if given is not None and twin is not None:
        given, twin = (None if is_blank(node) else node for node in (given, twin))
    if given is not None and twin is not None:
        message = f"both `{one.name}` and `{one.twin}` are set"
        reading.faults.error(node.places[one.twin], message, "keep one of them")
        return one.shape.stand_in
    if twin is not None and isinstance(one.shape, SecretValue):
        with reading.reporting(twin, one.twin):
            return one.shape.read_twin(twin, reading)
        return one.shape.stand_in
    if given is None:
        return None
    with reading.reporting(given, one.name):
        return one.shape.read(given, reading, one.default)
    return one.shape.stand_in if one.required or one.twin else None


def _report_unknown(kind: type[Table], node: MapNode, faults: Faults) -> None:
    keys = declared(kind)
    known = {*keys, *(one.twin for one in keys.values() if one.twin)}
    for name in {name for name in node.values if not name.startswith("x-")} - known:
        faults.error(node.places[name], f"unknown key `{name}`", kind.meant(name, known))


def _empty(name: str, value: Node, node: MapNode, faults: Faults) -> bool:
    """Tell whether a key has no value (reported)."""
    if not isinstance(value, Scalar) or value.kind is not ScalarKind.NULL or value.faulty:
        return False
    hint = "give it one or remove the key; a value that begins with # needs quotes"
    faults.error(node.places[name], f"`{name}` has no value", hint)
    return True


# --- JSON Schema


def document(kind: type[Table], title: str) -> Schema:
    """Return the whole JSON Schema (2020-12) of a file."""
    defs: Schema = {}
    root = defs[_table_schema(kind, defs)["$ref"].removeprefix("#/$defs/")]
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": title, **root, "$defs": defs}


def _table_schema(kind: type[Table], defs: Schema) -> Schema:
    if kind.__name__ in defs:
        return {"$ref": f"#/$defs/{kind.__name__}"}
    out: Schema = {"type": "object", "properties": {}, "patternProperties": {"^x-": {}}}
    out["additionalProperties"] = False
    defs[kind.__name__] = out
    twins = []
    for name, one in declared(kind).items():
        said = {"description": one.key.doc, **one.shape.schema(defs)}
        said = {
            k: v for k, v in said.items() if "anyOf" not in one.key.schema or k == "description"
        }
        if isinstance(one.default, bool | int | float | str):
            said["default"] = one.default
        out["properties"][name] = said | one.key.schema
        if one.twin:
            about = f"A file that holds `{name}`."
            out["properties"][one.twin] = {"description": about, "type": "string"}
            pair = [name, one.twin]  # a variable may be empty, which is as good as not written
            fixed = {key: {"not": VARIABLE} for key in pair}
            twins.append({"not": {"required": pair, "properties": fixed}})
    if required := [name for name, one in declared(kind).items() if one.required]:
        out["required"] = required
    more = dict(kind.schema)
    if both := [*twins, *more.pop("allOf", ())]:
        out["allOf"] = both
    out.update(more)
    return {"$ref": f"#/$defs/{kind.__name__}"}
