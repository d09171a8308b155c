"""What a rule makes of an event, as far as its fields alone say: worked out once for alike events.

Events of one triple (provider, event type, status) concern a few rules, which look at a few of
their fields; events with equal values there come to the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from sidecar.parse.columns import Columns
from sidecar.parse.event import STANDARD_FIELDS, Event, Triple
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.guard import Samples
from sidecar.rules.index import Index
from sidecar.rules.keystate import place_in_order
from sidecar.rules.windows import NEVER

H = TypeVar("H")
# Values come from the log: remember only so many of them at a time.
_MOST = 10_000


class Verdict(NamedTuple):
    """`samples` cost so much of the key's room; None: it resolves, and nothing else is to be known.

    Whatever has no `samples` that may wait costs more than any key can bear.
    """

    compiled: CompiledRule
    resolves: bool
    samples: Samples | None
    cost: float


Verdicts = tuple[Verdict, ...]


class Judge:
    """From events to verdicts."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._known: dict[Triple, _OfTriple] = {}

    def of(self, columns: Columns) -> dict[CompiledRule, tuple[list[int], list[Verdict]]]:
        """Return for each rule that is concerned which events concern it, and what they are to it.

        In the order of the events.
        """
        found: dict[CompiledRule, tuple[list[int], list[Verdict]]] = {}
        for triple, some in places_of(columns.triples, range(len(columns))).items():
            for verdicts, mine in self._of_triple(triple).of(columns, some):
                for verdict in verdicts:
                    all_, each = found.setdefault(verdict.compiled, ([], []))
                    all_ += mine
                    each += [verdict] * len(mine)
        for compiled, (some, each) in found.items():
            if any(a > b for a, b in pairwise(some)):
                order = sorted(range(len(some)), key=some.__getitem__)
                found[compiled] = [some[n] for n in order], [each[n] for n in order]
        return found

    def _of_triple(self, triple: Triple) -> "_OfTriple":
        known = self._known.get(triple)
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[triple] = _OfTriple(triple, self._index)
        return known


class _OfTriple:
    """Verdicts of one triple's events by the values of the fields that its rules look at."""

    def __init__(self, triple: Triple, index: Index) -> None:
        self._triple = triple
        self._index = index
        names = {name for compiled in index.rules_of(triple) for name in compiled.looks_at}
        self._fields = sorted(names - set(STANDARD_FIELDS))
        self._known: dict[tuple[Any, ...], Verdicts] = {}

    def of(self, columns: Columns, places: list[int]) -> Iterator[tuple[Verdicts, list[int]]]:
        """Yield the verdicts there are, each with the places of the events that come to it."""
        if not self._fields:
            yield self._verdicts((), ()), places
            return
        values = [columns.column(name) for name in self._fields]
        if len(places) < len(columns):
            values = [[column[place] for place in places] for column in values]
        rows = zip(*map(_told_apart, values), strict=True)
        for row, some in places_of(rows, places).items():
            yield (
                self._verdicts(row, [columns.column(name)[some[0]] for name in self._fields]),
                some,
            )

    def _verdicts(self, row: tuple[Any, ...], values: Sequence[Any]) -> Verdicts:
        known = self._known.get(row)
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            fields = dict(zip(self._fields, values, strict=True))
            known = self._known[row] = tuple(self._judged(Event(*self._triple, 0.0, fields)))
        return known

    def _judged(self, event: Event) -> Iterator[Verdict]:
        for compiled, _, resolves in self._index.concerned(event):
            if compiled.absent or _is_remembered(compiled, event):
                yield Verdict(compiled, resolves, (), NEVER)
            elif resolves:
                yield Verdict(compiled, resolves, None, NEVER)
            else:
                samples = _samples(compiled, event)
                cost = compiled.guard.cost(samples) if samples else NEVER
                yield Verdict(compiled, resolves, samples, cost)


def _is_remembered(compiled: CompiledRule, event: Event) -> bool:
    """Return whether a key remembers more of `event` than its samples."""
    rule = compiled.rule
    if rule.dedup_by and event.text(rule.dedup_by):
        return True
    return rule.order_by is not None and place_in_order(event.get(rule.order_by)) is not None


def _samples(compiled: CompiledRule, event: Event) -> Samples:
    """Return the samples; none where one is no number, which each such event has to count."""
    before = compiled.not_numbers
    samples = compiled.samples(event)
    if compiled.not_numbers == before:
        return samples
    compiled.not_numbers = before
    return ()


def places_of(values: Iterable[H], places: Iterable[int]) -> dict[H, list[int]]:
    """Return at which of `places` each value stands: mostly all are equal."""
    values, places = list(values), list(places)
    if len(set(values)) == 1:
        return {values[0]: places}
    found: dict[H, list[int]] = {}
    for value, place in zip(values, places, strict=True):
        found.setdefault(value, []).append(place)
    return found


def _told_apart(values: Sequence[Any]) -> Sequence[Any]:
    """Return what is equal only where the values are the same: 1, 1.0 and true are not."""
    if set(map(type, values)) <= {str, int, type(None)}:
        return values
    return [value if type(value) is str else (type(value), repr(value)) for value in values]
