"""What a rule makes of an event, as far as its fields alone say: worked out once for alike events.

Events of one triple (provider, event type, status) concern a few rules, which look at a few of
their fields; events with equal values there come to the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from operator import itemgetter
from typing import Any, NamedTuple, Self

from sidecar.parse.columns import Columns
from sidecar.parse.event import Event, Kind, Triple, as_text
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.guard import Samples
from sidecar.rules.index import Index
from sidecar.rules.keystate import place_in_order
from sidecar.rules.rule import Key
from sidecar.rules.windows import LONG_AGO, NEVER

# Values come from the log: remember only so many of them at a time.
_MOST = 10_000
_MOST_VARIED, _MOST_TEXTS = 100, 1_000
_OF_A_BYTE = 256


class Verdict(NamedTuple):
    """`samples` cost so much of the key's room; None: it resolves, and nothing else is to be known.

    Whatever has no `samples` that may wait costs more than any key can bear. `lowers`: they make
    the condition less true, if anything. `named`: the event has an id to be remembered.
    """

    compiled: CompiledRule
    resolves: bool
    samples: Samples | None
    cost: float
    lowers: bool = False
    named: bool = False


# A small number for each of many: bytes, or a list where there are more than a byte can tell.
Codes = Sequence[int]


def coded(numbers: Iterable[int], of: int) -> Codes:
    """Return numbers below `of` as codes."""
    return bytes(numbers) if of <= _OF_A_BYTE else list(numbers)


def recoded(codes: Codes, to: Sequence[int], of: int) -> Codes:
    """Return `to[code]`, a number below `of`, for each code."""
    if isinstance(codes, bytes) and of <= _OF_A_BYTE:
        return codes.translate(bytes(to).ljust(_OF_A_BYTE))
    return coded([to[code] for code in codes], of)


class Run(NamedTuple):
    """Events that concern one rule, in their order: their places among all, keys and times.

    `codes`: which of the different `verdicts` each has.
    """

    places: Sequence[int]
    keys: Sequence[Key]
    times: Sequence[float]
    codes: Codes
    verdicts: Sequence[Verdict]

    @property
    def alone(self) -> Verdict | None:
        """The verdict, where all come to the same."""
        return self.verdicts[0] if len(self.verdicts) == 1 else None

    def each(self) -> Iterator[Verdict]:
        """Yield the verdict of each event."""
        return map(self.verdicts.__getitem__, self.codes)

    def last_match(self) -> float:
        """Return the time of the newest that the rule matches, and that ends nothing."""
        ends = {verdict.resolves for verdict in self.verdicts}
        if len(ends) == 1:
            return LONG_AGO if True in ends else max(self.times)
        matched = zip(self.times, self.each(), strict=True)
        return max((at for at, verdict in matched if not verdict.resolves), default=LONG_AGO)

    def only(self, numbers: Sequence[int]) -> "Run":
        """Return those of the events."""
        return Run(
            [self.places[n] for n in numbers],
            [self.keys[n] for n in numbers],
            [self.times[n] for n in numbers],
            coded([self.codes[n] for n in numbers], len(self.verdicts)),
            self.verdicts,
        )


class Waited(NamedTuple):
    """Events that came to wait: their keys and times, and which of the `samples` each has."""

    keys: Sequence[Key]
    times: Sequence[float]
    codes: Codes
    samples: Sequence[Samples | None]

    @classmethod
    def alike(cls, keys: Sequence[Key], times: Sequence[float], samples: Samples | None) -> Self:
        """Return such with the same samples."""
        return cls(keys, times, bytes(len(keys)), (samples,))


class Judge:
    """From events to verdicts."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._known: dict[Triple, _OfTriple] = {}
        self._verdicts: dict[tuple[int, str], Verdict] = {}
        self._block = _Block(())

    def of(self, columns: Columns) -> dict[CompiledRule, list[Run]]:
        """Return for each rule that is concerned which events concern it, and what they are to it.

        Those of one triple are one run.
        """
        self._block = _Block(columns.times)
        found: dict[CompiledRule, list[Run]] = {}
        for kind in columns.kinds:
            for compiled, some, codes, verdicts in self._of_triple(kind.triple).of(columns, kind):
                places, keys = kind.numbers, _keys(columns, kind, compiled)
                if some is not None:
                    places, keys = [places[n] for n in some], [keys[n] for n in some]
                run = Run(places, keys, self._block.times_of(places), codes, verdicts)
                found.setdefault(compiled, []).append(run)
        return found

    def together(self, runs: Sequence[Run]) -> Run:
        """Return events of several kinds in their order; `runs` are of the last block."""
        if len(runs) == 1:
            return runs[0]
        numbers: dict[int, int] = {}
        verdicts, codes = list[Verdict](), list[Codes]()
        for run in runs:
            for one in run.verdicts:
                if numbers.setdefault(id(one), len(verdicts)) == len(verdicts):
                    verdicts.append(one)
        for run in runs:
            to = [numbers[id(one)] for one in run.verdicts]
            codes.append(recoded(run.codes, to, len(verdicts)))
        places, keys, times, _, _ = zip(*runs, strict=True)
        of, merged = len(verdicts), self._block.merged
        return Run(
            merged(places, places),
            merged(keys, places),
            merged(times, places),
            bytes(sum(map(len, codes))) if of == 1 else coded(merged(codes, places), of),
            verdicts,
        )

    def _of_triple(self, triple: Triple) -> "_OfTriple":
        known = self._known.get(triple)
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[triple] = _OfTriple(triple, self._index, self._same)
        return known

    def _same(self, verdict: Verdict) -> Verdict:
        """Return one object for verdicts that say the same."""
        if len(self._verdicts) >= _MOST:
            self._verdicts.clear()
        compiled, *rest = verdict
        return self._verdicts.setdefault((compiled.order, repr(rest)), verdict)


class _Block:
    """What rules share of a block of events: the times of some, and kinds in one order."""

    def __init__(self, times: Sequence[float]) -> None:
        self._times = times
        self._of_places: dict[int, tuple[Any, Sequence[float]]] = {}
        self._orders: dict[tuple[int, ...], tuple[Any, Callable[[Any], Any]]] = {}
        self._merged: dict[tuple[int, ...], tuple[Any, Any, Sequence[Any]]] = {}

    def times_of(self, places: Sequence[int]) -> Sequence[float]:
        """Return the times of the events at these places."""
        if len(places) == len(self._times):
            return self._times
        known = self._of_places.get(id(places))
        if known is None:
            times = [self._times[place] for place in places]
            known = self._of_places[id(places)] = places, times
        return known[1]

    def merged(self, columns: Sequence[Sequence[Any]], places: Sequence[Any]) -> Sequence[Any]:
        """Return several columns as one, in the order of the places of their events."""
        # Of the places too: short codes of other events may be the same object.
        alike = tuple(map(id, (*columns, *places)))
        known = self._merged.get(alike)
        if known is None:
            every = list(chain.from_iterable(columns))
            known = self._merged[alike] = columns, places, self._order_of(places)(every)
        return known[2]

    def _order_of(self, places: Sequence[Sequence[int]]) -> Callable[[Any], Any]:
        alike = tuple(map(id, places))
        known = self._orders.get(alike)
        if known is None:
            every = list(chain.from_iterable(places))
            order = sorted(range(len(every)), key=every.__getitem__)
            known = self._orders[alike] = places, itemgetter(*order)
        return known[1]


def _keys(columns: Columns, kind: Kind, compiled: CompiledRule) -> Sequence[Key]:
    """Return the keys of a kind's events; as logged, where of most there is nothing to be kept."""
    if compiled.pairs:
        return _texts(columns, kind, compiled)
    return columns.keys(kind, compiled.by, compiled.labels)


def _texts(columns: Columns, kind: Kind, compiled: CompiledRule) -> list[Key]:
    """Return ids as logged: of most there is nothing to be kept."""
    values = columns.values(kind, compiled.by[0])
    if values is None:
        return [("",)] * len(kind.numbers)
    return [(value if type(value) is str else as_text(value),) for value in values]


# A rule, which events concern it (None: all), and which of some verdicts each has.
Concerned = tuple[CompiledRule, list[int] | None, Codes, Sequence[Verdict]]


class _OfTriple:
    """Verdicts of one triple's events by the values of the fields that its rules look at."""

    def __init__(self, triple: Triple, index: Index, same: Callable[[Verdict], Verdict]) -> None:
        self._triple = triple
        self._index = index
        self._same = same
        rules = list(index.rules_of(triple))
        self._fields = [_Field(name, rules) for name in sorted(index.looks_at(triple))]
        self._known: dict[tuple[Any, ...], dict[CompiledRule, Verdict]] = {}
        counted = {field.name for field in self._fields if field.is_counted}
        places = {one: [p for p in one.counted if p[1] in counted] for one in rules}
        self._counted = {one: found for one, found in places.items() if found}
        self._with_text: dict[int, _WithTexts] = {}

    def of(self, columns: Columns, kind: Kind) -> Iterator[Concerned]:
        """Yield each rule that some events of `kind` concern, and what they are to it."""
        values = [columns.values(kind, field.name) for field in self._fields]
        told = [
            None if column is None else field.of(column)
            for column, field in zip(values, self._fields, strict=True)
        ]
        varied = [one for one in told if type(one) is list]
        alike = tuple([None if type(one) is list else one for one in told])
        rows: Sequence[Any] = list(zip(*varied, strict=True)) if varied else [()]
        numbers = {row: number for number, row in enumerate(dict.fromkeys(rows))}
        found = [self._of_row((alike, row), rows, values) for row in numbers]
        codes = coded(map(numbers.__getitem__, rows), len(found)) if varied else None
        for compiled in {one: None for each in found for one in each}:
            yield self._concerned(columns, kind, compiled, codes, found)

    def _concerned(
        self,
        columns: Columns,
        kind: Kind,
        compiled: CompiledRule,
        codes: Codes | None,
        found: Sequence[Mapping[CompiledRule, Verdict]],
    ) -> Concerned:
        """Return which events concern a rule; `codes`: which of `found` each has, None: the one."""
        codes = bytes(len(kind.numbers)) if codes is None else codes
        some = None
        if not all(compiled in each for each in found):
            some = [n for n, code in enumerate(codes) if compiled in found[code]]
            codes = coded([codes[n] for n in some], len(found))
        known = {id(each[compiled]): each[compiled] for each in found if compiled in each}
        verdicts = list(known.values())
        if compiled in self._counted:
            each_one = [found[code][compiled] for code in codes]
            numbers = range(len(kind.numbers)) if some is None else some
            verdicts = self._each_with_its_text(columns, kind, numbers, each_one)
            return compiled, some, range(len(verdicts)), verdicts
        numbering = {one: number for number, one in enumerate(known)}
        to = [numbering.get(id(each.get(compiled)), 0) for each in found]
        return compiled, some, recoded(codes, to, len(verdicts)), verdicts

    def _each_with_its_text(
        self, columns: Columns, kind: Kind, numbers: Sequence[int], verdicts: Sequence[Verdict]
    ) -> list[Verdict]:
        """Return what was found for alike events with the texts of each that are only counted."""
        compiled = verdicts[0].compiled
        texts = [_counted(columns, kind, name, compiled) for _, name in self._counted[compiled]]
        rows: Sequence[Any] = texts[0] if len(texts) == 1 else list(zip(*texts, strict=True))
        rows = rows if len(numbers) == len(rows) else [rows[number] for number in numbers]
        known = {id(one): self._texts_of(one) for one in verdicts}
        if len(known) == 1:
            return list(map(known[id(verdicts[0])].__getitem__, rows))
        return [known[id(one)][row] for one, row in zip(verdicts, rows, strict=True)]

    def _texts_of(self, verdict: Verdict) -> "_WithTexts":
        known = self._with_text.get(id(verdict))
        if known is None or known.verdict is not verdict:
            if len(self._with_text) >= _MOST_VARIED:
                self._with_text.clear()
            places = [place for place, _ in self._counted[verdict.compiled]]
            known = self._with_text[id(verdict)] = _WithTexts(verdict, places)
        return known

    def _of_row(
        self,
        place: tuple[Any, tuple[Any, ...]],
        rows: Sequence[tuple[Any, ...]],
        values: Sequence[Sequence[Any] | None],
    ) -> dict[CompiledRule, Verdict]:
        known = self._known.get(place)
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            at = rows.index(place[1])
            fields = {
                field.name: None if column is None else column[at]
                for field, column in zip(self._fields, values, strict=True)
            }
            event = Event(*self._triple, 0.0, fields)
            known = self._known[place] = {v.compiled: self._same(v) for v in self._judged(event)}
        return known

    def _judged(self, event: Event) -> Iterator[Verdict]:
        for compiled, _, resolves in self._index.concerned(event):
            whole = compiled.absent or compiled.pairs
            if whole or _has_place(compiled, event):
                yield Verdict(compiled, resolves, (), NEVER)
            elif resolves:
                yield Verdict(compiled, resolves, None, NEVER)
            else:
                yield _matching(compiled, event)


def _counted(columns: Columns, kind: Kind, name: str, compiled: CompiledRule) -> list[str]:
    """Return a field's texts in the events of a kind, fit to be kept; empty where there is none."""
    values = columns.values(kind, name) or [""] * len(kind.numbers)
    texts = ["" if v is None else v if type(v) is str else as_text(v) for v in values]
    return compiled.kept_texts(name, texts)


class _WithTexts(dict[Any, Verdict]):
    """A verdict by the texts that stand at `places`, if it has samples there; of one, that text."""

    def __init__(self, verdict: Verdict, places: Sequence[int]) -> None:
        super().__init__()
        self.verdict = verdict
        self._places = places

    def __missing__(self, row: Any) -> Verdict:
        compiled, resolves, before, cost, lowers, named = self.verdict
        if not before:
            return self.verdict
        texts = dict(zip(self._places, (row,) if type(row) is str else row, strict=True))
        samples = [(place, texts.get(place, value)) for place, value in before]
        if len(self) >= _MOST_TEXTS:
            self.clear()
        found = self[row] = Verdict(compiled, resolves, samples, cost, lowers, named)
        return found


def _has_place(compiled: CompiledRule, event: Event) -> bool:
    """Return whether a key remembers where `event` stands in an order."""
    name = compiled.rule.order_by
    return name is not None and place_in_order(event.get(name)) is not None


def _matching(compiled: CompiledRule, event: Event) -> Verdict:
    """Return what an event is that the rule matches; what is no number, each one has to count."""
    before = compiled.not_numbers
    samples = compiled.samples(event)
    if compiled.not_numbers > before:
        compiled.not_numbers = before
        return Verdict(compiled, resolves=False, samples=(), cost=NEVER)
    lowers = all(place not in compiled.rising for place, _ in samples)
    named = compiled.rule.dedup_by is not None and event.text(compiled.rule.dedup_by) != ""
    cost = compiled.guard.cost(samples)
    return Verdict(compiled, resolves=False, samples=samples, cost=cost, lowers=lowers, named=named)


class _Field:
    """What some rules can tell of the values of one field; others are the same to them.

    Of one that a matcher tests that is whether it passes, so that ids, of which each is another,
    come to the same.
    """

    def __init__(self, name: str, rules: Sequence[CompiledRule]) -> None:
        self.name = name
        matchers = dict.fromkeys(m for one in rules for m in one.matchers if m.name == name)
        self._matchers = list(matchers)
        self._measured = any(name in one.measures for one in rules)
        self._ordered = any(name == one.rule.order_by for one in rules)
        # Whether all that counts is whether there is a text.
        self._any_text = not (self._measured or self._ordered or any(m.value for m in matchers))
        # Whether the texts themselves change nothing but what a window keeps.
        mine = [one for compiled in rules for one in compiled.aggregates if one.field == name]
        counts = all(one.function.counts_texts for one in mine)
        self.is_counted = self._measured and counts and not (self._ordered or self._matchers)
        self._known: dict[tuple[type, Any], int] = {}
        self._numbers: dict[Any, int] = {}
        self._next = count()

    def of(self, values: Sequence[Any]) -> Any:
        """Return for each value a number that is equal only where nothing tells it from another.

        Where all come to the same, that instead of a list.
        """
        kinds = set(map(type, values))
        if (self._any_text or self.is_counted) and kinds == {str} and "" not in values:
            return self._told("-")
        if self.is_counted and kinds <= {str, type(None)}:
            values = [value and "-" for value in values]
        if len(kinds - {type(None)}) == 1 and kinds <= _EXACT:
            of_one = {value: self._of_one(value) for value in set(values)}
            told = list(map(of_one.__getitem__, values))
        else:
            told = list(map(self._of_one, values))
        return told if told.count(told[0]) < len(told) else told[0]

    def _of_one(self, value: Any) -> int | None:
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

    def _told(self, value: Any) -> int:
        text = as_text(value)
        passes = tuple([matcher.matches(text) for matcher in self._matchers])
        place = place_in_order(value) is not None if self._ordered else None
        exactly = (type(value), repr(value)) if self._measured else None
        told = passes, bool(text), place, exactly
        if told not in self._numbers:
            if len(self._numbers) >= _MOST:
                self._numbers.clear()  # numbers are never given again
            self._numbers[told] = next(self._next)
        return self._numbers[told]


_EXACT = {str, int, bool, type(None)}  # equal only where they are the same, if of one type
