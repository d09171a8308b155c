"""Events in columns: for those who look at a few fields of many events, and at few events whole."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from sidecar.parse.asked import fields_of
from sidecar.parse.event import (
    LONGEST_LABEL,
    STANDARD_FIELDS,
    Event,
    Rows,
    Triple,
    as_text,
    bounded,
    drop_own,
)

_triple_of = attrgetter("provider", "event_type", "status")


class Columns:
    """Events in the order of the log: `column` gives a field of all, `event` makes one whole."""

    def __init__(
        self,
        triples: Sequence[Triple],
        times: Sequence[float],
        fields: dict[str, Sequence[Any]],
        later: Callable[[int], Callable[[], Event]],
    ) -> None:
        """`later` returns what makes the event of a number, and holds no other one until then."""
        self.triples = triples
        self.times = times
        self.later = later
        self._fields = fields
        self._made: dict[int, Event] = {}
        self._labels: dict[str, Sequence[str]] = {}
        self._keys: dict[tuple[str, ...], Sequence[tuple[str, ...]]] = {}

    @classmethod
    def of(cls, events: Sequence[Event]) -> "Columns":
        triples = list(map(_triple_of, events))

        def later(number: int) -> Callable[[], Event]:
            event = events[number]
            return lambda: event

        return cls(triples, [event.at for event in events], {}, later)

    @classmethod
    def of_rows(cls, rows: Rows, source: Callable[[int], bytes]) -> "Columns":
        """`source` gives the object that begins at a place."""
        triples = list(map(rows.triples.__getitem__, rows.which))

        def later(number: int) -> Callable[[], Event]:
            whole = rows.whole.get(number)
            if whole is not None:
                return lambda: whole
            read = source(rows.places[number])
            asked = {name: column[number] for name, column in rows.fields.items()}
            return partial(_made_of, triples[number], rows.times[number], read, asked)

        return cls(triples, rows.times, {**rows.fields}, later)

    def __len__(self) -> int:
        return len(self.triples)

    def event(self, number: int) -> Event:
        found = self._made.get(number)
        if found is None:
            found = self._made[number] = self.later(number)()
        return found

    def number_of(self, event: Event) -> int | None:
        """Return the number of an event that `event` has made."""
        return next((number for number, one in self._made.items() if one is event), None)

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


def _made_of(triple: Triple, at: float, source: bytes, asked: dict[str, Any]) -> Event:
    try:
        fields = fields_of(source)
        drop_own(fields)
    except Exception:  # noqa: BLE001 - it was read once already; what was asked for is known
        fields = asked
    return Event(*triple, at, fields)


def with_events(rows: Rows, events: Sequence[tuple[int, Event]]) -> Rows:
    """Return rows with other events among them, each of which stands behind its place."""
    if not events:
        return rows
    begin = len(rows.which)
    table = {triple: n for n, triple in enumerate(rows.triples)}
    which = rows.which + [table.setdefault(e.triple, len(table)) for _, e in events]
    times = rows.times + [event.at for _, event in events]
    places = rows.places + [place for place, _ in events]
    fields = {n: some + [e.get(n) for _, e in events] for n, some in rows.fields.items()}
    order = sorted(range(len(places)), key=places.__getitem__)
    return Rows(
        triples=list(table),
        which=[which[n] for n in order],
        times=[times[n] for n in order],
        places=[places[n] for n in order],
        fields={name: [column[n] for n in order] for name, column in fields.items()},
        whole={at: events[n - begin][1] for at, n in enumerate(order) if n >= begin},
    )


def _plain(values: Sequence[Any]) -> bool:
    """Return whether these are texts that are labels as they stand, as nearly always."""
    try:
        return "".join(values).isascii() and max(map(len, values), default=0) <= LONGEST_LABEL
    except TypeError:
        return False
