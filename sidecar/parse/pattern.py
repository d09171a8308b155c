"""Patterns: plain text lines that state a fact become events (`*.patterns.yaml`)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from sidecar.config.values import is_field
from sidecar.matchers import compile_re2
from sidecar.syntax.table import Reading, Schema, Table, key, table
from sidecar.syntax.types import FIELD, Re2, Text

NEEDED = ("event_type", "status")


def _gives(name: str) -> dict[str, Any]:
    """Say that `name` is a fixed field or a named group."""
    fixed = {"required": ["fields"], "properties": {"fields": {"required": [name]}}}
    return {"anyOf": [fixed, {"properties": {"regex": {"pattern": rf"\(\?P<{name}>"}}}]}


@table
class Pattern(Table):
    """An RE2 `regex` searched in each line; its named groups and `fields` make the event's fields.

    `fields` are fixed; a named group of the same name wins. The result needs `event_type` and
    `status`, from either side.
    """

    hints: ClassVar[dict[str, str]] = {"field": "write `fields`"}
    schema: ClassVar[Schema] = {"allOf": [_gives(name) for name in NEEDED]}

    name: Text = key("The pattern's name, unique across all files.")
    regex: Re2 = key(
        "RE2, searched in each line that is no WEBHOOK_METRIC record; named groups become fields."
    )
    fields: Mapping[str, Text] = key(
        "Fixed fields; a named group wins over one.", schema={"propertyNames": FIELD}, default={}
    )

    def check(self, reading: Reading) -> "Pattern":
        for name in self.fields:
            if not is_field(name):
                place = reading.places(self, "fields")[name]
                reading.faults.error(place, f"`{name}` is not a field name")
        if not self.regex:
            return self
        regex = compile_re2(self.regex)
        if regex.search("") is not None:
            hint = "name some text that the line must hold"
            reading.error(self, "regex", "the pattern matches every line", hint)
        for name in NEEDED:
            if not self.fields.get(name) and name not in regex.groupindex:
                hint = f"name a group (?P<{name}>…), or set it under `fields`"
                reading.error(self, "regex", f"the pattern gives no `{name}`", hint)
        return self


@table
class PatternFile(Table):
    patterns: tuple[Pattern, ...] = key("Tried in order; the first that matches makes the event.")
