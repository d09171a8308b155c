"""What a rule makes of an event, as far as its fields alone say: worked out once for alike events.

Events of one triple (provider, event type, status) concern a few rules, which look at a few of
their fields; events with equal values there come to the same.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise, repeat
from typing import Any, NamedTuple, TypeVar

from sidecar.parse.columns import Columns
from sidecar.parse.event import STANDARD_FIELDS, Event, Kind, Triple, as_text
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

    def of(
        self, columns: Columns, newest_only: Collection[CompiledRule] = ()
    ) -> dict[CompiledRule, tuple[list[int], list[Verdict]]]:
        """Return for each rule that is concerned which events concern it, and what they are to it.

        In the order of the events; to a rule of `newest_only` a triple's newest one stands for all.
        """
        found: dict[CompiledRule, tuple[list[int], list[Verdict]]] = {}
        for kind in columns.kinds:
            for verdicts, mine in self._of_triple(kind.triple).of(columns, kind):
                for verdict in verdicts:
                    all_, each = found.setdefault(verdict.compiled, ([], []))
                    if verdict.compiled in newest_only:
                        all_.append(max(mine, key=columns.times.__getitem__))
                        each.append(verdict)
                        continue
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
        rules = list(index.rules_of(triple))
        names = {name for compiled in rules for name in compiled.looks_at}
        self._fields = {name: _Field(name, rules) for name in sorted(names - set(STANDARD_FIELDS))}
        self._known: dict[tuple[Any, ...], Verdicts] = {}

    def of(self, columns: Columns, kind: Kind) -> Iterator[tuple[Verdicts, list[int]]]:
        """Yield the verdicts there are, each with the places of the events that come to it."""
        values = [columns.values(kind, name) for name in self._fields]
        told = [
            repeat(None) if column is None else field.of(column)
            for column, field in zip(values, self._fields.values(), strict=True)
        ]
        if all(column is None for column in values):
            yield self._verdicts((None,) * len(values), [None] * len(values)), kind.numbers
            return
        rows = zip(*told, strict=False)
        for row, some in places_of(rows, range(len(kind.numbers))).items():
            first = [None if column is None else column[some[0]] for column in values]
            yield self._verdicts(row, first), [kind.numbers[n] for n in some]

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
            whole = compiled.absent or compiled.pairs
            if whole or _is_remembered(compiled, event, resolves=resolves):
                yield Verdict(compiled, resolves, (), NEVER)
            elif resolves:
                yield Verdict(compiled, resolves, None, NEVER)
            else:
                samples = _samples(compiled, event)
                cost = compiled.guard.cost(samples) if samples else NEVER
                yield Verdict(compiled, resolves, samples, cost)


def _is_remembered(compiled: CompiledRule, event: Event, *, resolves: bool) -> bool:
    """Return whether a key remembers more of `event` than its samples."""
    rule = compiled.rule
    if rule.dedup_by and event.text(rule.dedup_by) and not resolves:
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


class _Field:
    """What some rules can tell of the values of one field; others are the same to them.

    Of one that a matcher tests that is whether it passes, so that ids, of which each is another,
    come to the same.
    """

    def __init__(self, name: str, rules: Sequence[CompiledRule]) -> None:
        matchers = dict.fromkeys(m for one in rules for m in one.matchers if m.name == name)
        self._matchers = list(matchers)
        self._measured = any(name in one.measures for one in rules)
        self._ordered = any(name == one.rule.order_by for one in rules)
        self._known: dict[tuple[type, Any], Any] = {}

    def of(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return for each value what is equal only where nothing tells it from another."""
        if values.count(None) == len(values):
            return values
        return list(map(self._of_one, values))

    def _of_one(self, value: Any) -> Any:
        if value is None:
            return None
        kind = type(value)
        if kind not in _EXACT:
            return self._told(value)
        found = self._known.get((kind, value))
        if found is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            found = self._known[kind, value] = self._told(value)
        return found

    def _told(self, value: Any) -> Any:
        text = as_text(value)
        passes = tuple([matcher.matches(text) for matcher in self._matchers])
        place = place_in_order(value) is not None if self._ordered else None
        exactly = (type(value), repr(value)) if self._measured else None
        return passes, bool(text), place, exactly


_EXACT = {str, int, bool}  # equal only where they are the same, if of one type
