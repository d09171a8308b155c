"""`input_lines` and `input_events` of a test, and the times that tests are written in."""

from typing import Any

from sidecar.config.faults import Faults
from sidecar.config.nodes import Kind, Listing, Node, Scalar, Table
from sidecar.config.reader import Reader, parse_scalar, plain_scalar, read_table, text_scalar
from sidecar.durations import parse_duration
from sidecar.parse.times import instant
from sidecar.simulate.cases import EventInput, LineInput, When

_NEEDED = ("event_type", "status")
_LABELS = (*_NEEDED, "webhook_provider")


def read_when(reader: Reader, key: str) -> When | None:
    """Read an offset such as `5m`, or an absolute time."""
    node = reader.node(key)
    return None if node is None else _when(node, reader.faults)


def _when(node: Node, faults: Faults) -> When | None:
    scalar = plain_scalar(node, faults, "a time")
    return None if scalar is None else parse_scalar(scalar, "a time", parse_when, faults)


def parse_when(text: str) -> When:
    """Return the time that `text` stands for. Raises ValueError."""
    try:
        return When(parse_duration(text))
    except ValueError:
        at = instant(text)
    if at is None:
        raise ValueError(
            f"{text!r} is not a time; write an offset from the start such as 5m, "
            "or for example 2026-11-02T08:00:00Z"
        )
    return When(at, absolute=True)


def read_inputs(reader: Reader) -> tuple[LineInput | EventInput, ...]:
    """Read both lists of a test; each is in its own order."""
    lines = (_line(node, reader.faults) for node in reader.items("input_lines"))
    events = (_event(node, reader.faults) for node in reader.items("input_events"))
    return tuple(one for one in (*lines, *events) if one is not None)


def _line(node: Node, faults: Faults) -> LineInput | None:
    """Read a line: a text, or `at` and `line`."""
    if not isinstance(node, Table):
        scalar = text_scalar(node, faults)
        return None if scalar is None else LineInput(scalar.text)
    reader = Reader(node, faults)
    reader.require("line")
    when = read_when(reader, "at")
    line = LineInput(reader.text("line", ""), when)
    reader.close()
    return line


def _event(node: Node, faults: Faults) -> EventInput | None:
    """Read an event: `at`, and any fields, which may be nested."""
    reader = read_table(node, faults)
    if reader is None or not isinstance(node, Table):
        return None
    reader.require(*_NEEDED)
    whole = reader.has("event_type") and reader.has("status")
    for name in _LABELS:
        whole = (not reader.has(name) or bool(reader.text(name, ""))) and whole
    when = _when(node.values["at"], faults) if reader.has("at") else None
    fields = {name: _value(value, faults) for name, value in node.values.items() if name != "at"}
    return EventInput(fields, when) if whole else None


def _value(node: Node, faults: Faults) -> Any:
    """Return what a field holds, as the host would have logged it."""
    if isinstance(node, Listing):
        return [_value(item, faults) for item in node.items]
    if isinstance(node, Table):
        return {name: _value(value, faults) for name, value in node.values.items()}
    return _plain(node, faults)


def _plain(scalar: Scalar, faults: Faults) -> Any:
    match scalar.kind:
        case Kind.TEXT:
            return scalar.text
        case Kind.NULL:
            return None
        case Kind.FLAG:
            return scalar.text == "true"
        case Kind.NUMBER:
            return parse_scalar(scalar, "a number", _number, faults)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
