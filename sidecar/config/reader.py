"""Typed access to the tree: a method gives the value asked for, or reports and gives a default."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from sidecar.config.faults import Faults, Place, did_you_mean
from sidecar.config.nodes import Kind, Listing, Node, Scalar, Table
from sidecar.durations import parse_duration

T = TypeVar("T")
D = TypeVar("D")

# Keys that a later version brings. Taking them in silence would promise what nobody does.
LATER = frozenset(
    {
        "directory",
        "heartbeat",
        "inhibit_rules",
        "time_intervals",
        "mute_time_intervals",
        "active_time_intervals",
        "webhook_configs",
        "alertmanager_configs",
    }
)


class Reader:
    """One table, read key by key; `close` reports the keys that nobody asked for."""

    def __init__(self, table: Table, faults: Faults) -> None:
        self.place = table.place
        self.faults = faults
        self._table = table
        self._asked: set[str] = set()

    def has(self, key: str) -> bool:
        return key in self._table.values

    def keys(self) -> list[str]:
        return list(self._table.values)

    def place_of(self, key: str) -> Place:
        """Return where the value of `key` stands, or the table itself if it has no such key."""
        node = self._table.values.get(key)
        return node.place if node is not None else self.place

    def key_place(self, key: str) -> Place:
        return self._table.places.get(key, self.place)

    def require(self, *keys: str) -> None:
        """Report each of `keys` that is not there."""
        for key in keys:
            self._asked.add(key)
            if not self.has(key):
                self.faults.error(self.place, f"`{key}` is missing")

    def node(self, key: str) -> Node | None:
        """Return the value of `key`; a key without a value is reported and taken as absent."""
        self._asked.add(key)
        node = self._table.values.get(key)
        if isinstance(node, Scalar) and node.kind is Kind.NULL and not node.faulty:
            self.faults.error(
                self.key_place(key),
                f"`{key}` has no value",
                "give it one or remove the key; a value that begins with # needs quotes",
            )
            return None
        return node

    def scalar(self, key: str) -> Scalar | None:
        """Return the text scalar behind `key`."""
        node = self.node(key)
        return None if node is None else text_scalar(node, self.faults)

    def text(self, key: str, default: D) -> str | D:
        scalar = self.scalar(key)
        return default if scalar is None else scalar.text

    def parsed(self, key: str, what: str, parse: Callable[[str], T], default: D) -> T | D:
        """Return `parse` of the text; its ValueError is reported, in its words unless secret."""
        scalar = self.scalar(key)
        if scalar is None:
            return default
        value = parse_scalar(scalar, what, parse, self.faults)
        return default if value is None else value

    def duration(self, key: str, default: D, *, positive: bool = False) -> float | D:
        """Return seconds. A bare 0 is a duration, too; `positive` refuses it."""
        node = self.node(key)
        if node is None:
            return default
        scalar = plain_scalar(node, self.faults, "a duration")
        if scalar is None:
            return default
        seconds = parse_scalar(scalar, "a duration", parse_duration, self.faults)
        if seconds is None:
            return default
        if positive and seconds == 0:
            self.faults.error(scalar.place, f"`{key}` must be more than 0")
            return default
        return seconds

    def number(self, key: str, default: float, *, above: float = 0.0) -> float:
        """Return a number greater than `above`."""
        node = self.node(key)
        value = None if node is None else read_number(node, self.faults)
        if node is None or value is None:
            return default
        if value <= above:
            self.faults.error(node.place, f"`{key}` must be more than {above:g}")
            return default
        return value

    def whole(self, key: str, default: int, *, least: int = 0) -> int:
        """Return a whole number not below `least`."""
        node = self.node(key)
        value = None if node is None else read_number(node, self.faults)
        if node is None or value is None:
            return default
        if not value.is_integer() or value < least:
            self.faults.error(node.place, f"`{key}` must be a whole number from {least} up")
            return default
        return int(value)

    def flag(self, key: str, default: D) -> bool | D:
        node = self.node(key)
        scalar = None if node is None else plain_scalar(node, self.faults, "true or false")
        if scalar is None:
            return default
        if scalar.text not in ("true", "false") or not (
            scalar.kind is Kind.FLAG or scalar.expanded
        ):
            self.faults.error(scalar.place, "expected true or false", "without quotes")
            return default
        return scalar.text == "true"

    def choice(self, key: str, choices: Iterable[str], default: D) -> str | D:
        scalar = self.scalar(key)
        known = tuple(choices)
        if scalar is None or scalar.text in known:
            return default if scalar is None else scalar.text
        either = " or ".join((", ".join(known[:-1]), known[-1]))
        self.faults.error(
            scalar.place, f"`{key}` must be {either}", did_you_mean(scalar.written, known)
        )
        return default

    def items(self, key: str) -> tuple[Node, ...]:
        """Return the nodes of a list, none when the key is absent."""
        node = self.node(key)
        if node is None or (isinstance(node, Scalar) and node.faulty):
            return ()
        if isinstance(node, Listing):
            return node.items
        self.faults.error(node.place, f"expected a list, found {_found(node)}")
        return ()

    def scalars(self, key: str) -> tuple[Scalar, ...]:
        """Return the text scalars of a list."""
        found = (text_scalar(item, self.faults) for item in self.items(key))
        return tuple(scalar for scalar in found if scalar is not None)

    def table(self, key: str) -> "Reader | None":
        node = self.node(key)
        return None if node is None else read_table(node, self.faults)

    def tables(self, key: str) -> list["Reader"]:
        """Return a reader for each table of a list."""
        found = (read_table(item, self.faults) for item in self.items(key))
        return [reader for reader in found if reader is not None]

    def texts_by_name(self, key: str) -> Mapping[str, Scalar]:
        """Return a table of texts, such as `labels`."""
        reader = self.table(key)
        if reader is None:
            return {}
        found = {name: reader.scalar(name) for name in reader.keys()}  # noqa: SIM118 - a method of ours
        return {name: scalar for name, scalar in found.items() if scalar is not None}

    def close(self, hints: Mapping[str, str] | None = None) -> None:
        """Report each key that was never asked for; `hints` knows what to say about some."""
        for key, place in self._table.places.items():
            if key in self._asked:
                continue
            if key in LATER:
                self.faults.error(
                    place, f"`{key}` is not supported yet by this version", "remove it"
                )
                continue
            known = "known here: " + ", ".join(sorted(self._asked))
            hint = (hints or {}).get(key) or did_you_mean(key, self._asked, known)
            self.faults.error(place, f"unknown key `{key}`", hint)


def read_table(node: Node, faults: Faults) -> Reader | None:
    if isinstance(node, Table):
        return Reader(node, faults)
    if not (isinstance(node, Scalar) and node.faulty):
        faults.error(node.place, f"expected keys with values, found {_found(node)}")
    return None


def plain_scalar(node: Node, faults: Faults, what: str) -> Scalar | None:
    """Return a scalar of any kind, or None (reported) for lists, tables and nothing."""
    if isinstance(node, Scalar) and node.kind is not Kind.NULL:
        return None if node.faulty else node
    if not (isinstance(node, Scalar) and node.faulty):
        faults.error(node.place, f"expected {what}, found {_found(node)}")
    return None


def text_scalar(node: Node, faults: Faults) -> Scalar | None:
    """Return a scalar that is text, or None (reported)."""
    scalar = plain_scalar(node, faults, "text")
    if scalar is not None and scalar.kind is not Kind.TEXT:
        faults.error(scalar.place, f"expected text, found {scalar.kind}", "quote it")
        return None
    return scalar


def read_number(node: Node, faults: Faults) -> float | None:
    scalar = plain_scalar(node, faults, "a number")
    if scalar is None:
        return None
    if scalar.kind is not Kind.NUMBER and not scalar.expanded:
        faults.error(scalar.place, f"expected a number, found {scalar.kind}")
        return None
    return parse_scalar(scalar, "a number", _finite, faults)


def parse_scalar(scalar: Scalar, what: str, parse: Callable[[str], T], faults: Faults) -> T | None:
    """Return `parse` of the scalar's text, or None when it raises ValueError (reported).

    What a variable held is not repeated: it may be a secret that landed in the wrong place.
    """
    try:
        return parse(scalar.text)
    except ValueError as wrong:
        message = f"with its variables expanded, this is not {what}"
        message = message if scalar.expanded else str(wrong)
        offset = getattr(wrong, "offset", None)  # a parser that knows the very character
        faults.error(scalar.place if offset is None else scalar.at(offset), message)
        return None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def _found(node: Node) -> str:
    if isinstance(node, Listing):
        return "a list"
    return "keys with values" if isinstance(node, Table) else str(node.kind)
