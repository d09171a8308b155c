"""Building blocks of the schemas, and the shapes of values from the loader's own patterns."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.config.mail import _HEADER, OURS
from sidecar.config.values import _FIELD, _LABEL, _MAILBOX, _METRIC
from sidecar.durations import _SHAPE as _DURATION
from sidecar.matchers import _SHAPE as _MATCHER

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{"}


def _whole(pattern: re.Pattern[str]) -> str:
    """Return a pattern of ours as ECMA has it: anchored, no named groups, no layout."""
    text = pattern.pattern
    if pattern.flags & re.VERBOSE:
        text = re.sub(r"\s+", "", text)
    return f"^(?:{re.sub(r'[?]P<[a-z]+>', '', text)})$"


def _any_case(word: str) -> str:
    return "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word)


def document(title: str, schema: Schema, own: Mapping[str, Schema] | None = None) -> Schema:
    """Return a whole schema file: `schema` with its dialect and the shapes it refers to.

    `own` are shapes that only this file has.
    """
    shapes = {**SHAPES, **(own or {})}
    used: set[str] = set()
    new = _referred(schema)
    while new:
        used |= new
        new = {name for shape in new for name in _referred(shapes[shape])} - used
    found = {name: shapes[name] for name in sorted(used)}
    return {"$schema": DIALECT, "title": title, **schema, "$defs": found}


def _referred(schema: Any) -> set[str]:
    """Return the names of the shapes that a schema names itself."""
    if isinstance(schema, list):
        return {name for item in schema for name in _referred(item)}
    if not isinstance(schema, dict):
        return set()
    found = {name for value in schema.values() for name in _referred(value)}
    if isinstance(target := schema.get("$ref"), str):
        found.add(target.removeprefix("#/$defs/"))
    return found


def ref(shape: str, description: str = "") -> Schema:
    """Return a reference to one of SHAPES."""
    return {**_described(description), "$ref": f"#/$defs/{shape}"}


def table(
    properties: Mapping[str, Schema],
    description: str = "",
    *,
    required: Iterable[str] = (),
    **more: Any,
) -> Schema:
    """Return a table that has no other keys than these."""
    out: Schema = {**_described(description), "type": "object", "properties": dict(properties)}
    if needed := list(required):
        out["required"] = needed
    return {**out, "additionalProperties": False, **more}


def texts_by_name(
    description: str, *, names: str = "label", values: Schema | None = None
) -> Schema:
    return {
        "description": description,
        "type": "object",
        "propertyNames": ref(names),
        "additionalProperties": values or {"type": "string"},
    }


def listing(items: Schema, description: str = "", *, least: int = 0, **more: Any) -> Schema:
    out: Schema = {**_described(description), "type": "array", "items": items}
    return {**out, **({"minItems": least} if least else {}), **more}


def text(description: str = "", **more: Any) -> Schema:
    return {**_described(description), "type": "string", **more}


def choice(values: Iterable[str], description: str, default: str | None = None) -> Schema:
    out: Schema = {"description": description, "enum": [str(value) for value in values]}
    return out if default is None else {**out, "default": default}


def number(description: str, *, above: float = 0, **more: Any) -> Schema:
    return {"description": description, "type": "number", "exclusiveMinimum": above, **more}


def whole(description: str, *, least: int = 0, **more: Any) -> Schema:
    return {"description": description, "type": "integer", "minimum": least, **more}


def flag(description: str, *, default: bool | None = None) -> Schema:
    out: Schema = {"description": description, "type": "boolean"}
    return out if default is None else {**out, "default": default}


def or_variable(schema: Schema) -> Schema:
    """Let the value come from the environment as well, which only `sidecar.yaml` may ask for."""
    described = _described(schema.get("description", ""))
    rest = {key: value for key, value in schema.items() if key != "description"}
    return {**described, "anyOf": [rest, _VARIABLE]}


def not_both(*keys: str) -> Schema:
    return {"not": {"required": list(keys)}}


def _described(description: str) -> Schema:
    return {"description": description} if description else {}


SHAPES: dict[str, Schema] = {
    "duration": {
        "description": "A time span: 90s, 1h30m, 3d; 0 needs no unit.",
        "anyOf": [
            {"type": "string", "minLength": 1, "pattern": _whole(_DURATION) + "|^0$"},
            {"const": 0},
        ],
    },
    "positive_duration": {
        "description": "A time span greater than 0: 90s, 1h30m, 3d.",
        "type": "string",
        "allOf": [{"pattern": _whole(_DURATION)}, {"pattern": "[1-9]"}],
    },
    "matcher": {
        "description": 'A test of a field or label: status="failed", !=, =~ or !~ (RE2, anchored).',
        "type": "string",
        "pattern": _whole(_MATCHER),
    },
    "label": {
        "description": "A label's name: letters, digits and underscores, no digit first.",
        "type": "string",
        "pattern": _whole(_LABEL),
        "not": {"pattern": "^__"},
    },
    "field": {
        "description": "A field of the event; dots lead into nested objects.",
        "type": "string",
        "pattern": _whole(_FIELD),
    },
    "metric_name": {"type": "string", "pattern": _whole(_METRIC)},
    "template": {"description": "Jinja2 source.", "type": "string"},
    "url": {"type": "string", "pattern": r"^https?://[^\s]+$|\$\{"},
    "mailbox": {
        "description": "One mailbox: a@example.com or Name <a@example.com>.",
        "type": "string",
        "pattern": _whole(_MAILBOX) + r"|\$\{",
    },
    "when": {
        "description": "An offset from the start (5m), or an absolute time (2026-11-02T08:00:00Z).",
        "anyOf": [{"type": "string", "minLength": 1}, {"type": "number"}],
    },
    "environment": {"type": "string"},
    "header": {
        "description": "A header that the sidecar does not set itself.",
        "type": "string",
        "pattern": _whole(_HEADER),
        "not": {"pattern": f"^(?:{'|'.join(map(_any_case, sorted(OURS)))})$"},
    },
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
}
