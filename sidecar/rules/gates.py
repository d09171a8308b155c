"""Finding the few of many items whose matchers a record can pass, without asking each of them.

An item is found by one matcher of its own, the gate: `field="text"` by a look-up of the text,
`field=~"…"` by one RE2 set for all patterns on that field. Only items with neither are always
found. What is found may still fail its other matchers; what is not found would have failed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar, cast

import re2

from sidecar.matchers import Matcher

T = TypeVar("T")
TextOf = Callable[[str], str]
# Two alternatives, such as match and resolve: passing one of them is enough to be found.
Alternatives = Iterable[Sequence[Matcher]]

_SET_MEMORY = 64 << 20


class Gates(Generic[T]):
    """Items behind their gates; `of` gives the candidates of one record in their own order."""

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
    options.max_mem = _SET_MEMORY
    together = re2.Set.FullMatchSet(options)
    try:
        for pattern in ("(?s).*", *patterns):
            together.Add(pattern)
        together.Compile()
    except re2.error:
        return lambda _text: []
    return cast("Callable[[str], list[int]]", together.Match)


def texts_of(values: Mapping[str, str]) -> TextOf:
    """Return a look-up in which a missing name is the empty text."""
    return lambda name: values.get(name, "")
