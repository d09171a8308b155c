"""Pattern files: `patterns:`, each an RE2 regex that turns a plain line into an event."""

from collections.abc import Iterable

from sidecar.config.faults import Faults, Names
from sidecar.config.nodes import Scalar
from sidecar.config.reader import Reader, parse_scalar
from sidecar.config.rulefiles import open_table
from sidecar.config.values import is_field
from sidecar.matchers import compile_re2
from sidecar.parse.pattern import Pattern

_NEEDED = ("event_type", "status")


def read_pattern_files(paths: Iterable[str], faults: Faults) -> list[Pattern]:
    """Read every file in order; faults of all of them go to `faults`."""
    patterns: list[Pattern] = []
    names = Names("pattern")
    for path in paths:
        reader = open_table(path, faults)
        if reader is None:
            continue
        reader.require("patterns")
        for entry in reader.tables("patterns"):
            pattern = _pattern(entry)
            if pattern.name and names.claim(pattern.name, entry.place_of("name"), faults):
                patterns.append(pattern)
        reader.close()
    return patterns


def _pattern(reader: Reader) -> Pattern:
    reader.require("name", "regex")
    fields: dict[str, str] = {}
    for name, scalar in reader.texts_by_name("fields").items():
        fields[name] = scalar.text
        if not is_field(name):
            reader.faults.error(scalar.place, f"`{name}` is not a field name")
    regex = reader.scalar("regex")
    if regex is not None:
        _check_regex(regex, fields, reader)
    reader.close({"field": "write `fields`"})
    text = "" if regex is None else regex.text
    return Pattern(name=reader.text("name", ""), regex=text, fields=fields)


def _check_regex(scalar: Scalar, fields: dict[str, str], reader: Reader) -> None:
    regex = parse_scalar(scalar, "an RE2 pattern", compile_re2, reader.faults)
    if regex is None:
        return
    if regex.search("") is not None:
        hint = "name some text that the line must hold"
        reader.faults.error(scalar.place, "the pattern matches every line", hint)
    for name in _NEEDED:
        if not fields.get(name) and name not in regex.groupindex:
            hint = f"name a group (?P<{name}>…), or set it under `fields`"
            reader.faults.error(scalar.place, f"the pattern gives no `{name}`", hint)
