"""What no rule sees: what came regularly and is gone, and what no rule and no metric names.

A rule whose field or status the log no longer shows is blind, and silent about it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from sidecar.matchers import Matcher, all_match
from sidecar.parse.columns import Columns
from sidecar.parse.event import STANDARD_FIELDS, Tally, Triple
from sidecar.rules.index import Gates, texts_of
from sidecar.rules.rule import Rule

HOUR = 3_600.0
# What came so often, and for so long, came regularly.
LEAST_TIMES = 20
LEAST_SECONDS = 24 * HOUR
# It is gone after so long, so many events of its provider, and several times as many as ever lay
# between two of its own.
GONE_SECONDS = HOUR
GONE_EVENTS = 100
GONE_GAPS = 5
# After so long nobody expects it any more.
GIVEN_UP_SECONDS = 7 * 24 * HOUR
_MOST = 5_000
_FIELD = ": no "  # and a field, in words

# A kind of event and a field that rules read of it; no field: the kind itself.
_Subject = tuple[Triple, str]


class _Seen(msgspec.Struct):
    """When it came first and last, as which event of its provider, and the longest gap in those."""

    first: float
    last: float
    total: int
    times: int = 1
    gap: int = 0


class _Half(NamedTuple):
    """What a rule reads of the events it matches, or of those that resolve it."""

    rule: str
    of_kind: list[Matcher]
    reads: tuple[str, ...]


class Drift:
    """What the rules read of which events, and when that last came. Times are those of events."""

    def __init__(self, rules: Sequence[Rule], matches: Iterable[Sequence[Matcher]] = ()) -> None:
        """`matches` are those of metrics, which take events as well."""
        halves = (half for rule in rules if not rule.about_us for half in _halves(rule))
        self._halves = Gates((half, [half.of_kind]) for half in halves)
        self._matches = list(filter(None, map(_of_kind, matches)))
        self._reads: dict[Triple, dict[str, list[str]]] = {}
        self._seen: dict[_Subject, _Seen] = {}
        self._totals: dict[str, int] = {}
        self._newest: dict[str, float] = {}

    def take_over(self, before: "Drift") -> None:
        """Go on with what another one saw, by other rules."""
        self._seen = before._seen  # noqa: SLF001 - its own kind
        self._totals, self._newest = before._totals, before._newest  # noqa: SLF001 - same

    def recall(self, what: str, at: float) -> None:
        """Take it that this, in the words of `gone`, was gone at `at`: a start knows no more."""
        kind, _, name = what.partition(_FIELD)
        provider, event_type, status = [*kind.split(" ", 2), "", ""][:3]
        self._newest[provider] = max(at, self._newest.get(provider, at))
        last = at - GONE_SECONDS
        gone = _Seen(last - LEAST_SECONDS, last, -GONE_EVENTS, LEAST_TIMES)
        self._seen[(provider, event_type, status), name] = gone

    def note(self, columns: Columns, tallies: Mapping[Triple, Tally]) -> None:
        """Note events that came together."""
        for triple, tally in tallies.items():
            self._note(triple, tally.count, tally.last_at, ())
        for kind in columns.kinds:
            there = []
            for name in self.reads(kind.triple):
                values = columns.values(kind, name) if name else None
                if values is not None and any(value is not None for value in values):
                    there.append(name)
            self._note(kind.triple, len(kind.numbers), columns.times[kind.numbers[-1]], there)

    def _note(self, triple: Triple, count: int, at: float, fields: Collection[str]) -> None:
        before = self._totals.get(triple[0], 0)
        if not before and len(self._totals) >= _MOST:
            return  # who invents providers is not listened to
        self._totals[triple[0]] = before + count
        self._newest[triple[0]] = max(at, self._newest.get(triple[0], at))
        if self.reads(triple):
            for name in ("", *fields):
                self._see((triple, name), before, count, at)

    def _see(self, subject: _Subject, before: int, count: int, at: float) -> None:
        seen = self._seen.get(subject)
        if seen is None:
            if len(self._seen) < _MOST:
                self._seen[subject] = _Seen(at, at, before + count)
            return
        seen.gap = max(seen.gap, before - seen.total)
        seen.total, seen.last, seen.times = before + count, max(seen.last, at), seen.times + 1

    def gone(self) -> dict[str, dict[str, str]]:
        """Return what came regularly and is gone, in words, with the rules that miss it."""
        found: dict[str, dict[str, str]] = {}
        for (triple, name), seen in list(self._seen.items()):
            readers = self.reads(triple).get(name)
            if readers is None or self._silence(triple, seen) > GIVEN_UP_SECONDS:
                del self._seen[triple, name]
            elif self._is_gone(triple, seen) and (not name or not self._kind_gone(triple)):
                what = " ".join(triple) + (_FIELD + name if name else "")
                found[what] = {"rules": ", ".join(readers)}
        return found

    def _kind_gone(self, triple: Triple) -> bool:
        kind = self._seen.get((triple, ""))
        return kind is not None and self._is_gone(triple, kind)

    def _silence(self, triple: Triple, seen: _Seen) -> float:
        return self._newest.get(triple[0], seen.last) - seen.last

    def _is_gone(self, triple: Triple, seen: _Seen) -> bool:
        regular = seen.times >= LEAST_TIMES and seen.last - seen.first >= LEAST_SECONDS
        missed = self._totals.get(triple[0], 0) - seen.total
        long = self._silence(triple, seen) >= GONE_SECONDS
        return regular and long and missed >= max(GONE_EVENTS, GONE_GAPS * seen.gap)

    def reads(self, triple: Triple) -> dict[str, list[str]]:
        """Return what rules that name this kind of event read of it, each with their names."""
        known = self._reads.get(triple)
        if known is None:
            if len(self._reads) >= _MOST:
                self._reads.clear()
            known = self._reads[triple] = {}
            text = texts_of(dict(zip(STANDARD_FIELDS, triple, strict=True)))
            for half in self._halves.of(text):
                for name in half.reads if all_match(half.of_kind, text) else ():
                    rules = known.setdefault(name, [])
                    if half.rule not in rules:
                        rules.append(half.rule)
        return known

    def looks_at(self, triple: Triple) -> frozenset[str]:
        """Return the fields of this kind of event that are watched."""
        return frozenset(self.reads(triple)).difference(("",))

    def is_unread(self, triple: Triple) -> bool:
        """Return whether no rule and no metric names this kind of event."""
        text = texts_of(dict(zip(STANDARD_FIELDS, triple, strict=True)))
        return not self.reads(triple) and not any(all_match(one, text) for one in self._matches)


def _of_kind(match: Sequence[Matcher]) -> list[Matcher]:
    """Return what `match` says of the kind of event; nothing, if it names no type and no status."""
    mine = [one for one in match if one.name in STANDARD_FIELDS]
    return mine if any(one.name != STANDARD_FIELDS[0] for one in mine) else []


def _halves(rule: Rule) -> Iterator[_Half]:
    if mine := _of_kind(rule.match):
        yield _Half(rule.name, mine, ("", *_fields(rule)))
    if mine := _of_kind(rule.resolve or ()):
        yield _Half(rule.name, mine, ("", *_plain([*rule.by, *_needed(rule.resolve or ())])))


def _fields(rule: Rule) -> Iterator[str]:
    """Yield the fields of the rule's own events without which it says something else, each once."""
    aggregates = [one for part in rule.condition.comparisons for one in part.aggregates]
    return _plain([*rule.by, *(one.field for one in aggregates), *_needed(rule.match)])


def _needed(match: Sequence[Matcher]) -> list[str]:
    """Return the fields without which no event passes."""
    return [m.name for m in match if m.op in ("=", "=~") and not m.matches("")]


def _plain(names: Iterable[str]) -> Iterator[str]:
    return (n for n in dict.fromkeys(names) if n and n not in STANDARD_FIELDS and _is_plain(n))


def _is_plain(name: str) -> bool:
    return name.isidentifier() and not name.startswith("sidecar_")
