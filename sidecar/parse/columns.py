"""Events in columns: for those who look at a few fields of many events, and at few events whole."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from itertools import accumulate, chain, islice, repeat
from operator import itemgetter, le
from types import MappingProxyType
from typing import Any, TypeVar

from msgspec.structs import replace

from sidecar.parse.asked import fields_of
from sidecar.parse.event import (
    HOST,
    LONGEST_LABEL,
    SOURCE,
    STANDARD_FIELDS,
    Chunk,
    Event,
    Kind,
    Parsed,
    Rows,
    Triple,
    as_text,
    bounded,
    drop_own,
)
from sidecar.redact import Labels
from sidecar.secret import printable

T = TypeVar("T")


class _Places:
    """Finds an event's kind, and its place among those, by its number."""

    __slots__ = ("_count", "_kinds", "_where")

    def __init__(self, kinds: Sequence[Kind], count: int) -> None:
        self._kinds = kinds
        self._count = count
        self._where: list[tuple[Kind, int]] | None = None

    def __call__(self, number: int) -> tuple[Kind, int]:
        if self._where is None:
            self._where = [(self._kinds[0], 0)] * self._count
            for kind in self._kinds:
                for place, event in enumerate(kind.numbers):
                    self._where[event] = (kind, place)
        return self._where[number]


class Columns:
    """Events in the order of the log: `values` gives a field of a kind, `event` makes one whole."""

    def __init__(
        self,
        kinds: Sequence[Kind],
        times: Sequence[float],
        later: Callable[[int], Callable[[], Event]],
        own: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`later` returns what makes the event of a number, and holds no other one until then.

        `own`: the fields that are alike in all.
        """
        self.kinds = kinds
        self.times = times
        self.later = later
        self.own = own
        self._made: dict[int, Event] = {}
        self.place_of = _Places(kinds, len(times))
        self._columns: dict[str, Sequence[Any]] = {}
        self._keys: dict[tuple[Triple, tuple[str, ...]], Sequence[tuple[str, ...]]] = {}

    @classmethod
    def of(cls, events: Sequence[Event]) -> "Columns":
        def later(number: int) -> Callable[[], Event]:
            event = events[number]
            return lambda: event

        return cls(list(_kinds_of(events).values()), [event.at for event in events], later)

    @classmethod
    def of_rows(
        cls,
        rows: Rows,
        source: Callable[[int], bytes],
        fields: Callable[[bytes], dict[str, Any]] = fields_of,
    ) -> "Columns":
        """`source` gives the object that begins at a place, `fields` what that one says."""
        # Not the columns': who knows those as well holds its block until garbage is collected.
        place_of = _Places(rows.kinds, len(rows.times))

        def later(number: int) -> Callable[[], Event]:
            whole = rows.whole.get(number)
            if whole is not None:
                return lambda: whole
            kind, place = place_of(number)
            named = kind.fields.items()
            asked = {name: column[place] for name, column in named if column is not None}
            read = partial(fields, source(rows.places[number]))
            return partial(_made_of, kind.triple, rows.times[number], read, asked, rows.own)

        columns = cls(rows.kinds, rows.times, later, rows.own)
        columns.place_of = place_of
        return columns

    def __len__(self) -> int:
        return len(self.times)

    def between(self, begin: int, end: int) -> "Columns":
        """Return the events with these numbers, `begin` as the first and none from `end` on."""
        if begin <= 0 and end >= len(self):
            return self
        kinds = []
        for kind in self.kinds:
            some = slice(bisect_left(kind.numbers, begin), bisect_left(kind.numbers, end))
            if some.start < some.stop:
                fields = {name: column and column[some] for name, column in kind.fields.items()}
                kinds.append(Kind(kind.triple, [n - begin for n in kind.numbers[some]], fields))
        later = self.later
        return Columns(kinds, self.times[begin:end], lambda n: later(n + begin), self.own)

    def of_kinds(self, kinds: Sequence[Kind]) -> "Columns":
        """Return the events of some of its kinds, with the numbers that they have here."""
        return Columns(kinds, self.times, self.later, self.own)

    def at_times(self, times: Sequence[float]) -> "Columns":
        """Return the events with other times."""

        def later(number: int) -> Callable[[], Event]:
            made = self.later(number)
            return lambda: replace(made(), at=times[number])

        return Columns(self.kinds, times, later, self.own)

    @cached_property
    def triples(self) -> Sequence[Triple]:
        """The triple of each event."""
        found: list[Triple] = [("", "", "")] * len(self)
        for kind in self.kinds:
            for number in kind.numbers:
                found[number] = kind.triple
        return found

    def event(self, number: int) -> Event:
        found = self._made.get(number)
        if found is None:
            found = self._made[number] = self.later(number)()
        return found

    def number_of(self, event: Event) -> int | None:
        """Return the number of an event that `event` has made."""
        made = reversed(self._made.items())  # mostly the last one
        return next((number for number, one in made if one is event), None)

    def values(self, kind: Kind, name: str) -> Sequence[Any] | None:
        """Return a field's values in the events of a kind, as `Event.get` gives them.

        None where no event has one.
        """
        if name in self.own:
            return [self.own[name]] * len(kind.numbers)
        if name not in kind.fields:
            if name in STANDARD_FIELDS:
                label = kind.triple[STANDARD_FIELDS.index(name)]
                return [label] * len(kind.numbers)
            kind.fields[name] = [self.event(number).get(name) for number in kind.numbers]
        return kind.fields[name]

    def column(self, name: str) -> Sequence[Any]:
        """Return the values of a field in all events."""
        found = self._columns.get(name)
        if found is None:
            column: list[Any] = [None] * len(self)
            for kind in self.kinds:
                for number, value in zip(kind.numbers, self.values(kind, name) or (), strict=False):
                    column[number] = value
            found = self._columns[name] = column
        return found

    def text(self, number: int, name: str) -> str:
        """Return a field of one event as text, as `Event.text` gives it."""
        kind, place = self.place_of(number)
        column = self.values(kind, name)
        value = None if column is None else column[place]
        return value if type(value) is str else as_text(value)

    def texts(self, number: int, names: Sequence[str]) -> list[str]:
        """Return some fields of one event as texts."""
        kind, place = self.place_of(number)
        found = []
        for name in names:
            column = kind.fields[name] if name in kind.fields else self.values(kind, name)
            value = None if column is None else column[place]
            found.append(value if type(value) is str else as_text(value))
        return found

    def keys(
        self, kind: Kind, by: tuple[str, ...], kept: Callable[[str], Labels]
    ) -> Sequence[tuple[str, ...]]:
        """Return these fields of the events of a kind as labels: the keys of rules.

        `kept` gives what becomes of a field's texts, by its name.
        """
        found = self._keys.get((kind.triple, by))
        if found is None:
            labels = [self._labels_of(kind, name, kept(name)) for name in by]
            if all(isinstance(one, str) for one in labels):
                found = [tuple(labels)] * len(kind.numbers)  # type: ignore[arg-type]  # texts
            else:
                each = [repeat(one) if isinstance(one, str) else one for one in labels]
                found = list(zip(*each, strict=False))
            self._keys[kind.triple, by] = found
        return found

    def _labels_of(self, kind: Kind, name: str, kept: Labels) -> Sequence[str]:
        """Return a field's label in each event of a kind; a text that is the one of all."""
        values = self.values(kind, name)
        if values is None:
            return kept[""]
        if name in STANDARD_FIELDS:
            return bounded(kept[values[0]])
        if _plain(values):
            return kept.of_all(values)
        return [bounded(kept[as_text(value)]) for value in values]


def joined(parts: Sequence[Columns]) -> Columns:
    """Return the events of all, in the order of time; those of one instant in that of `parts`."""
    if len(parts) == 1 and _rises(parts[0].times):
        return parts[0]
    times = list(chain.from_iterable(part.times for part in parts))
    begins = [0, *accumulate(map(len, parts))]
    of_triple: dict[Triple, list[tuple[int, Kind]]] = {}
    for which, part in enumerate(parts):
        for kind in part.kinds:
            of_triple.setdefault(kind.triple, []).append((which, kind))
    own = parts[0].own if parts else {}
    alike = all(part.own == own for part in parts)
    kinds = [_kind_of(parts, begins, some, with_own=not alike) for some in of_triple.values()]
    order: Sequence[int] = range(len(times))
    if not _rises(times):
        order = sorted(order, key=times.__getitem__)
        times = [times[number] for number in order]
        kinds = _renumbered(kinds, order)

    def later(number: int) -> Callable[[], Event]:
        place = order[number]
        which = bisect_right(begins, place) - 1
        return parts[which].later(place - begins[which])

    return Columns(kinds, times, later, own if alike else {})


def _rises(times: Sequence[float]) -> bool:
    return all(map(le, times, islice(times, 1, None)))


def _kind_of(
    parts: Sequence[Columns],
    begins: Sequence[int],
    some: Sequence[tuple[int, Kind]],
    *,
    with_own: bool,
) -> Kind:
    """Return the events of one triple in all parts, numbered through."""
    names = {name for _, kind in some for name in kind.fields}
    if with_own:
        names.update(*(parts[which].own for which, _ in some))
    numbers = [begins[which] + number for which, kind in some for number in kind.numbers]
    fields: dict[str, list[Any] | None] = {}
    for name in names:
        column: list[Any] = []
        for which, kind in some:
            column += parts[which].values(kind, name) or [None] * len(kind.numbers)
        fields[name] = column
    return Kind(some[0][1].triple, numbers, fields)


def _renumbered(kinds: Sequence[Kind], order: Sequence[int]) -> list[Kind]:
    """Return the kinds of the events that stand in another order."""
    numbers = [0] * len(order)
    for number, before in enumerate(order):
        numbers[before] = number
    found = []
    for kind in kinds:
        mine = [numbers[before] for before in kind.numbers]
        fields = {n: column and _ordered(mine, column) for n, column in kind.fields.items()}
        found.append(Kind(kind.triple, sorted(mine), fields))
    return found


def _made_of(
    triple: Triple,
    at: float,
    read: Callable[[], dict[str, Any]],
    asked: dict[str, Any],
    own: Mapping[str, str],
) -> Event:
    try:
        fields = read()
        drop_own(fields)
    except Exception:  # noqa: BLE001 - it was read once already; what was asked for is known
        fields = asked
    return Event(*triple, at, {**fields, **own})


def set_own(parsed: Parsed, chunk: Chunk) -> None:
    """Set what only the sidecar may: the log that an event was read from, and the host's name."""
    said = {SOURCE: printable(chunk.log), HOST: chunk.host}
    own = {name: text for name, text in said.items() if text}
    whole = parsed.events
    if parsed.rows is not None:
        parsed.rows.own = own
        whole = [*parsed.rows.whole.values()]
    for event in whole if own else ():
        event.fields.update(own)


def _kinds_of(events: Sequence[Event]) -> dict[Triple, Kind]:
    kinds: dict[Triple, Kind] = {}
    for number, event in enumerate(events):
        triple = event.triple
        kind = kinds.get(triple)
        if kind is None:
            kind = kinds[triple] = Kind(triple, [], {})
        kind.numbers.append(number)
    return kinds


def with_events(
    rows: Rows, events: Sequence[tuple[int, Event]], names: Mapping[Triple, Sequence[str]]
) -> Rows:
    """Return rows with other events among them, each of which stands behind its place.

    Both are in the order of their places; `names` are the fields asked for.
    """
    if not events:
        return rows
    places = [place for place, _ in events]
    moved = [number + bisect_left(places, place) for number, place in enumerate(rows.places)]
    numbers = [number + bisect_right(rows.places, place) for number, place in enumerate(places)]
    kinds = {
        kind.triple: Kind(kind.triple, [moved[n] for n in kind.numbers], kind.fields)
        for kind in rows.kinds
    }
    whole = [event for _, event in events]
    for triple, more in _kinds_of(whole).items():
        mine = [whole[n] for n in more.numbers]
        more.fields = {name: _column(name, mine) for name in names.get(triple, ())}
        more.numbers = [numbers[n] for n in more.numbers]
        known = kinds.get(triple)
        kinds[triple] = more if known is None else _merged(known, more)
    order = [*moved, *numbers]
    return Rows(
        times=_ordered(order, rows.times + [event.at for event in whole]),
        places=_ordered(order, rows.places + places),
        kinds=list(kinds.values()),
        whole=dict(zip(numbers, whole, strict=True)),
        own=rows.own,
        taken=rows.taken,
    )


def _ordered(order: Sequence[int], values: Sequence[T]) -> list[T]:
    """Return `values` in the order in which their numbers rise."""
    return [value for _, value in sorted(zip(order, values, strict=True), key=itemgetter(0))]


def _merged(one: Kind, other: Kind) -> Kind:
    """Return the events of two kinds as one; both have the same triple and fields."""
    order = one.numbers + other.numbers
    fields: dict[str, list[Any] | None] = {}
    for name, mine in one.fields.items():
        others = other.fields[name]
        both = (mine or [None] * len(one.numbers)) + (others or [None] * len(other.numbers))
        fields[name] = None if mine is None and others is None else _ordered(order, both)
    return Kind(one.triple, sorted(order), fields)


def _column(name: str, events: Sequence[Event]) -> list[Any] | None:
    if "." in name:
        column = [event.get(name) for event in events]
    else:
        column = [event.fields.get(name) for event in events]
    return None if column.count(None) == len(column) else column


def _plain(values: Sequence[Any]) -> bool:
    """Return whether these are texts that are labels as they stand, as nearly always."""
    try:
        return "".join(values).isascii() and max(map(len, values), default=0) <= LONGEST_LABEL
    except TypeError:
        return False
