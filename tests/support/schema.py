"""A JSON Schema validator for the keywords that our schemas use, and YAML files as plain values."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from sidecar.syntax.faults import Faults
from sidecar.syntax.tree import ListNode, Node, Scalar, ScalarKind, compose

Schema = dict[str, Any]
_ANNOTATIONS = {"$schema", "$defs", "title", "description", "default"}


def problems(schema: Schema, value: Any) -> list[str]:
    """Return what the schema finds wrong with a value, a sentence for each; raises on a keyword
    that this module does not know, so that no part of a schema goes untested."""
    return list(_problems(schema, value, schema["$defs"], "$"))


def _problems(schema: Any, value: Any, defs: Schema, at: str) -> Iterator[str]:
    if isinstance(schema, bool):
        if not schema:
            yield f"{at}: not allowed"
        return
    for keyword, wanted in schema.items():
        if keyword in _ANNOTATIONS or keyword in ("then", "else"):
            continue
        if keyword == "if":
            then = not any(_problems(wanted, value, defs, at))
            yield from _problems(schema.get("then" if then else "else", True), value, defs, at)
        elif keyword in _NESTED:
            yield from _NESTED[keyword](wanted, value, defs, at, schema)
        elif not _SIMPLE[keyword](wanted, value):
            yield f"{at}: {keyword} {wanted!r} does not hold"


def _is(kind: str, value: Any) -> bool:
    if kind in ("number", "integer"):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (kind == "number" or float(value).is_integer())
    return isinstance(value, _TYPES[kind])


def _distinct(items: Any) -> bool:
    return not any(one == other for one, other in pairwise(sorted(map(repr, items))))


_TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool}
# Each holds of every value that is not of the kind it speaks of.
_SIMPLE: dict[str, Callable[[Any, Any], bool]] = {
    "type": _is,
    "const": lambda wanted, value: value == wanted,
    "enum": lambda wanted, value: value in wanted,
    "pattern": lambda wanted, v: not isinstance(v, str) or bool(re.search(wanted, v)),
    "minLength": lambda wanted, v: not isinstance(v, str) or len(v) >= wanted,
    "minimum": lambda wanted, v: not _is("number", v) or v >= wanted,
    "exclusiveMinimum": lambda wanted, v: not _is("number", v) or v > wanted,
    "minItems": lambda wanted, v: not isinstance(v, list) or len(v) >= wanted,
    "uniqueItems": lambda wanted, v: not isinstance(v, list) or not wanted or _distinct(v),
    "required": lambda wanted, v: not isinstance(v, dict) or set(wanted) <= v.keys(),
}


def _ref(wanted: str, value: Any, defs: Schema, at: str, _: Schema) -> Iterator[str]:
    yield from _problems(defs[wanted.removeprefix("#/$defs/")], value, defs, at)


def _all(wanted: list[Any], value: Any, defs: Schema, at: str, _: Schema) -> Iterator[str]:
    for one in wanted:
        yield from _problems(one, value, defs, at)


def _any(wanted: list[Any], value: Any, defs: Schema, at: str, _: Schema) -> Iterator[str]:
    found = [list(_problems(one, value, defs, at)) for one in wanted]
    if all(found):
        yield f"{at}: none of these: {found}"


def _not(wanted: Any, value: Any, defs: Schema, at: str, _: Schema) -> Iterator[str]:
    if not any(_problems(wanted, value, defs, at)):
        yield f"{at}: must not be {wanted!r}"


def _items(wanted: Any, value: Any, defs: Schema, at: str, _: Schema) -> Iterator[str]:
    for place, item in enumerate(value if isinstance(value, list) else ()):
        yield from _problems(wanted, item, defs, f"{at}[{place}]")


def _properties(wanted: Schema, value: Any, defs: Schema, at: str, _: Schema) -> Iterator[str]:
    for name in wanted.keys() & (value if isinstance(value, dict) else {}):
        yield from _problems(wanted[name], value[name], defs, f"{at}.{name}")


def _additional(wanted: Any, value: Any, defs: Schema, at: str, own: Schema) -> Iterator[str]:
    for name in value if isinstance(value, dict) else ():
        if name not in own.get("properties", ()):
            yield from _problems(wanted, value[name], defs, f"{at}.{name}")


def _names(wanted: Any, value: Any, defs: Schema, at: str, _: Schema) -> Iterator[str]:
    for name in value if isinstance(value, dict) else ():
        yield from _problems(wanted, name, defs, f"{at} {name!r}")


_NESTED: dict[str, Callable[[Any, Any, Schema, str, Schema], Iterator[str]]] = {
    "$ref": _ref,
    "allOf": _all,
    "anyOf": _any,
    "not": _not,
    "items": _items,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
}


def yaml_value(text: str) -> Any:
    """Return what an editor reads from a YAML text; raises ValueError where it is none."""
    faults = Faults()
    root = compose(text, "file", faults)
    if root is None or any("alias" in f.message or "twice" in f.message for f in faults.errors):
        raise ValueError("not YAML as editors know it")
    return _value(root)


def _value(node: Node) -> Any:
    if isinstance(node, ListNode):
        return [_value(item) for item in node.items]
    if not isinstance(node, Scalar):
        return {name: _value(value) for name, value in node.values.items()}
    if node.kind is ScalarKind.NUMBER:
        number = float(node.text.replace("_", "")) if ":" not in node.text else node.text
        return int(number) if isinstance(number, float) and number.is_integer() else number
    known = {
        ScalarKind.TEXT: node.text,
        ScalarKind.FLAG: node.text == "true",
        ScalarKind.NULL: None,
    }
    return known[node.kind]
