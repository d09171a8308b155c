"""Events in columns: for those who look at a few fields of many events, and at few events whole."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from sidecar.parse.event import LONGEST_LABEL, STANDARD_FIELDS, Event, Triple, as_text, bounded

_triple_of = attrgetter("provider", "event_type", "status")


class Columns:
    """Events in the order of the log. `event` makes one whole, `column` gives a field of all."""

    def __init__(
        self,
        triples: Sequence[Triple],
        times: Sequence[float],
        fields: dict[str, Sequence[Any]],
        event: Callable[[int], Event],
    ) -> None:
        self.triples = triples
        self.times = times
        self.event = event
        self._fields = fields
        self._labels: dict[str, Sequence[str]] = {}
        self._keys: dict[tuple[str, ...], Sequence[tuple[str, ...]]] = {}

    @classmethod
    def of(cls, events: Sequence[Event]) -> "Columns":
        triples = list(map(_triple_of, events))
        return cls(triples, [event.at for event in events], {}, events.__getitem__)

    def __len__(self) -> int:
        return len(self.triples)

    def later(self, place: int) -> Callable[[], Event]:
        """Return what gives an event when it is asked for, and keeps no other one until then."""
        event = self.event(place)
        return lambda: event

    def column(self, name: str) -> Sequence[Any]:
        """Return the values of a field, as `Event.get` gives them."""
        found = self._fields.get(name)
        if found is None:
            if name in STANDARD_FIELDS:
                place = STANDARD_FIELDS.index(name)
                found = [triple[place] for triple in self.triples]
            else:
                found = [event.get(name) for event in map(self.event, range(len(self)))]
            self._fields[name] = found
        return found

    def labels(self, name: str, kept: Mapping[str, str]) -> Sequence[str]:
        """Return the values of a field as texts of labels; `kept` says what becomes of a text."""
        found = self._labels.get(name)
        if found is None:
            values = self.column(name)
            if _plain(values):
                found = list(map(kept.__getitem__, values))
            else:
                found = [bounded(kept[as_text(value)]) for value in values]
            self._labels[name] = found
        return found

    def keys(
        self, by: tuple[str, ...], kept: Callable[[str], Mapping[str, str]]
    ) -> Sequence[tuple[str, ...]]:
        """Return what tells one alert of a rule from another: these fields as labels.

        `kept` gives what becomes of a field's texts, by its name.
        """
        if not by:
            return [()] * len(self)
        found = self._keys.get(by)
        if found is None:
            found = self._keys[by] = list(
                zip(*(self.labels(name, kept(name)) for name in by), strict=True)
            )
        return found


def _plain(values: Sequence[Any]) -> bool:
    """Return whether these are texts that are labels as they stand, as nearly always."""
    try:
        return "".join(values).isascii() and max(map(len, values), default=0) <= LONGEST_LABEL
    except TypeError:
        return False
