"""Finds the few rules that an event may concern, without asking each of them.

What a rule asks of the three standard fields is worked out once per triple. Of its other matchers
one is the gate: `field="text"` is found by a look-up of the text, `field=~"…"` by one RE2 set for
all patterns on that field. A rule with neither is always found. What is found may still fail its
other matchers; what is not found would have failed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Generic, TypeVar, cast

import re2

from sidecar.matchers import Matcher, all_match
from sidecar.parse.event import OWN_PROVIDER, STANDARD_FIELDS, Event, Triple
from sidecar.rules.compiled import CompiledRule

T = TypeVar("T")
TextOf = Callable[[str], str]
# Two alternatives, such as match and resolve: passing one of them is enough to be found.
Alternatives = Iterable[Sequence[Matcher]]

_SET_MEMORY = 64 << 20


class Gates(Generic[T]):
    """Items behind their gates; `of` gives the rules of one record in their own order."""

    def __init__(self, items: Iterable[tuple[T, Alternatives]]) -> None:
        self._items: list[T] = []
        self._equal: dict[str, dict[str, list[int]]] = {}
        self._like: dict[str, PatternSet] = {}
        always: list[int] = []
        for place, (item, alternatives) in enumerate(items):
            self._items.append(item)
            gates = [_gate(matchers) for matchers in alternatives]
            if None in gates:
                always.append(place)
                continue
            for gate in filter(None, gates):
                self._put(gate, place)
        self._always = always
        self._always_items = [self._items[place] for place in always]

    def _put(self, gate: Matcher, place: int) -> None:
        if gate.op == "=":
            self._equal.setdefault(gate.name, {}).setdefault(gate.value, []).append(place)
        else:
            self._like.setdefault(gate.name, PatternSet()).add(gate.value, place)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def of(self, text: TextOf) -> Sequence[T]:
        """Return the items that may accept the record whose fields `text` gives."""
        found: list[int] = []
        for name, by_text in self._equal.items():
            found += by_text.get(text(name), ())
        for name, patterns in self._like.items():
            found += patterns.matching(text(name))
        if not found:
            return self._always_items
        return [self._items[place] for place in sorted({*self._always, *found})]


def _gate(matchers: Sequence[Matcher]) -> Matcher | None:
    equal = [m for m in matchers if m.op == "="]
    like = [m for m in matchers if m.op == "=~"]
    return next(iter(equal or like), None)


class PatternSet:
    """Patterns of which one pass over a text says which match it whole."""

    def __init__(self) -> None:
        self._patterns: list[str] = []
        self._places: list[int] = []
        self._match: Callable[[str], list[int]] | None = None

    def add(self, pattern: str, place: int) -> None:
        self._patterns.append(pattern)
        self._places.append(place)
        self._match = None

    def matching(self, text: str) -> Sequence[int]:
        """Return the places of the patterns that match; of all of them where RE2 gives up.

        RE2 says nothing when a set outgrows its memory. The pattern in front matches every text:
        where even that one is missing, the answer is worth nothing.
        """
        if self._match is None:
            self._match = _compiled(self._patterns)
        found = self._match(text)
        if found == [0]:
            return ()
        if 0 not in found:
            return self._places
        return [self._places[index - 1] for index in found if index]


def _compiled(patterns: Sequence[str]) -> Callable[[str], list[int]]:
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True  # as a matcher that stands alone
    options.max_mem = _SET_MEMORY
    together = re2.Set.FullMatchSet(options)
    try:
        for pattern in (".*", *patterns):
            together.Add(pattern)
        together.Compile()
    except re2.error:
        return lambda _text: []
    return cast("Callable[[str], list[int]]", together.Match)


def texts_of(values: Mapping[str, str]) -> TextOf:
    """Return a look-up in which a missing name is the empty text."""
    return lambda name: values.get(name, "")


# Triples come from the log: remember only so many of them at a time.
_MOST_TRIPLES = 10_000

# What is left to test on the event itself; None: the triple already says no.
Rest = tuple[Matcher, ...] | None
# A rule, and whether an event matches it, and whether it resolves it.
Concern = tuple[CompiledRule, bool, bool]


class RuleOfTriple:
    """A rule that events of one triple may concern, as match, as resolve, or both."""

    __slots__ = ("compiled", "match", "resolve")

    def __init__(self, compiled: CompiledRule, match: Rest, resolve: Rest) -> None:
        self.compiled = compiled
        self.match = match
        self.resolve = resolve

    def looks_at(self, texts: dict[str, str]) -> Iterator[str]:
        """Yield the fields that say what an event with these standard ones is to the rule."""
        rule, own = self.compiled.rule, [*(self.match or ()), *(self.resolve or ())]
        if self.match is not None:
            for aggregate in self.compiled.aggregates:
                rest = _rest(aggregate.match, texts)
                if rest is not None:
                    own += rest
                    yield aggregate.field
            yield rule.dedup_by or ""
            yield from (*rule.same, *rule.collect)
        yield rule.order_by or ""
        yield from (matcher.name for matcher in own)


class RulesOfTriple:
    """The rules of one triple, behind gates of the fields that are not standard.

    `decided`: what they come to where the triple alone decides, so for most; else None.
    """

    __slots__ = ("any_whole", "decided", "gates", "looks_at")

    def __init__(self, rules: Sequence[RuleOfTriple], texts: dict[str, str]) -> None:
        names = chain.from_iterable(rule.looks_at(texts) for rule in rules)
        self.looks_at = frozenset(names).difference(("", *STANDARD_FIELDS))
        self.gates = Gates((e, [m for m in (e.match, e.resolve) if m is not None]) for e in rules)
        self.any_whole = any(not rule.compiled.tallied for rule in rules)
        self.decided: list[Concern] | None = None
        if not any(rule.match or rule.resolve for rule in rules):
            self.decided = [(e.compiled, e.match is not None, e.resolve is not None) for e in rules]


class Index:
    """From triple and event to rules."""

    def __init__(self, compiled_rules: Sequence[CompiledRule]) -> None:
        self._compiled_rules = Gates((p, list(_standard_parts(p))) for p in compiled_rules)
        self._known: dict[Triple, RulesOfTriple] = {}

    def wants(self, triple: Triple) -> bool:
        """Return whether some rule needs this triple's events whole."""
        return self._rules_of(triple).any_whole

    def concerned(self, event: Event) -> Iterable[Concern]:
        """Return each rule that `event` matches or resolves, with which of the two it does."""
        known = self._rules_of(event.triple)
        return _tested(known, event) if known.decided is None else known.decided

    def rules_of(self, triple: Triple) -> Iterator[CompiledRule]:
        """Yield the rules that events of `triple` may concern."""
        return (rule.compiled for rule in self._rules_of(triple).gates)

    def looks_at(self, triple: Triple) -> frozenset[str]:
        """Return the fields that say what events of `triple` are to rules, but no standard ones."""
        return self._rules_of(triple).looks_at

    def tallied(self, triple: Triple) -> Iterator[CompiledRule]:
        """Yield the rules that live on tallies and that this triple matches."""
        for rule in self._rules_of(triple).gates:
            if rule.compiled.tallied and not rule.match:
                yield rule.compiled

    def _rules_of(self, triple: Triple) -> RulesOfTriple:
        known = self._known.get(triple)
        if known is None:
            if len(self._known) >= _MOST_TRIPLES:
                self._known.clear()
            texts = dict(zip(STANDARD_FIELDS, triple, strict=True))
            rules = list(self._each_rule_of(triple, texts))
            known = self._known[triple] = RulesOfTriple(rules, texts)
        return known

    def _each_rule_of(self, triple: Triple, texts: dict[str, str]) -> Iterator[RuleOfTriple]:
        ours = triple[0] == OWN_PROVIDER
        for compiled in self._compiled_rules.of(texts_of(texts)):
            if ours and not compiled.rule.about_us:
                continue  # what befalls the sidecar is no webhook
            match = _rest(compiled.rule.match, texts)
            resolve = _rest(compiled.rule.resolve, texts)
            if match is not None or resolve is not None:
                yield RuleOfTriple(compiled, match, resolve)


def _tested(rules: RulesOfTriple, event: Event) -> Iterator[Concern]:
    for rule in rules.gates.of(event.text):
        matches = rule.match is not None and all_match(rule.match, event.text)
        resolves = rule.resolve is not None and all_match(rule.resolve, event.text)
        if matches or resolves:
            yield rule.compiled, matches, resolves


def _standard_parts(compiled: CompiledRule) -> Iterator[list[Matcher]]:
    for matchers in (compiled.rule.match, compiled.rule.resolve):
        if matchers is not None:
            yield [m for m in matchers if m.name in STANDARD_FIELDS]


def _rest(matchers: tuple[Matcher, ...] | None, texts: dict[str, str]) -> Rest:
    if matchers is None:
        return None
    if not all(m.matches(texts[m.name]) for m in matchers if m.name in texts):
        return None
    return tuple(m for m in matchers if m.name not in texts)
