"""A rule made ready to run: what it takes from an event, which windows a key has, what it tests."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, cast

from sidecar.matchers import Matcher, all_match
from sidecar.parse.event import (
    LONGEST_LABEL,
    STANDARD_FIELDS,
    Event,
    as_text,
    bounded,
)
from sidecar.redact import Labels, LabelsOf, Redactor
from sidecar.rules.aggregates import Asked, Drift, Shows, in_any_order
from sidecar.rules.condition import (
    Aggregate,
    And,
    Comparison,
    Instant,
    Not,
    Or,
    Part,
    bounds,
    ends_by_one,
    is_absence,
    test_of,
    time_can_turn,
    value_test,
    worked_out,
)
from sidecar.rules.guard import Guard, NoGuard, Samples, Windows, guard_of
from sidecar.rules.quantile import Percentile
from sidecar.rules.rule import Key, Rule
from sidecar.rules.shifted import Shifted
from sidecar.rules.windows import BUCKETS, LONG_AGO, Buckets, Window

# How long a key remembers its last `resolve` and its event ids under a rule without a span.
DEFAULT_SPAN = 30 * 86_400.0

_MOST_KNOWN = 16_384  # keys of a rule


class CompiledRule:
    """One rule ready to run. `span`: for how long a late event can still matter to a key."""

    __slots__ = (
        "_listed",
        "_shown",
        "_state_places",
        "_windows",
        "absent",
        "aggregates",
        "annotations",
        "any_order",
        "bad_instants",
        "by",
        "by_labels",
        "coarse",
        "forgotten",
        "gone_at",
        "guard",
        "holds",
        "ids",
        "instants",
        "keeps_bare_keys",
        "key_of",
        "labels",
        "last_match",
        "latching",
        "matchers",
        "measures",
        "memory",
        "not_numbers",
        "offset",
        "order",
        "overflow",
        "pairs",
        "remembers",
        "rising",
        "room_ends",
        "rule",
        "seconds",
        "since",
        "span",
        "states",
        "step_instants",
        "steps_digest",
        "tallied",
        "tells",
        "true_when_empty",
        "upholds",
        "waits_for_all",
        "wakes",
    )

    def __init__(self, rule: Rule, order: int, labels: LabelsOf | None = None) -> None:
        self.rule = rule
        self.labels = labels = labels or Redactor().labels
        self.order = order
        self.by = rule.by
        self.key_of = _key_of(rule.by, labels)
        self.by_labels = rule.by_labels
        self.annotations = dict(rule.annotations)
        self.since, self.last_match = 0.0, LONG_AGO  # the newest event that it matched
        self.seconds = 0.0  # of judging it
        self.absent = is_absence(rule.condition)
        self.pairs = rule.expect is not None
        # An absence is over when an event comes, so nothing is left for `resolve` to hold open.
        # The other half of a pair ends it, and nothing of it is remembered.
        self.latching = rule.resolve is not None and not self.absent and not self.pairs
        # Whether a key that was resolved can be remembered as a mere floor; the latest place in an
        # order needs a state.
        self.keeps_bare_keys = self.latching and rule.order_by is None
        parts = rule.condition.comparisons
        self.aggregates = [one for part in parts for one in part.aggregates]
        # How far back the windows reach: what time alone makes of a rule that looks back so far is
        # known only once every log is read to its end, as with an absence.
        self.offset = max((one.offset for one in self.aggregates), default=0.0)
        self.waits_for_all = self.absent or self.offset > 0
        self.span = max((rule.within or 0.0) + self.offset, rule.hold or 0.0) or DEFAULT_SPAN
        self.memory: float = max(one.function.memory(rule.remember) for one in self.aggregates)
        self._listed = frozenset(text for part in parts for text in part.named)
        self._windows = [_window(rule, part, one) for part in parts for one in part.aggregates]
        # Whether the condition is true of some windows at `t`; an empty one makes it false.
        self.holds, self._shown = _compile(rule.condition.whole, count())
        shown = [aggregate.function.shows for aggregate in self.aggregates]
        self._state_places = [i for i, one in enumerate(shown) if one is Shows.STATE]
        self.states = named_states(rule)  # the states that the rule names, of its first last()
        # A quiet key must wake where passing time alone can make the condition true, and where
        # its state is dropped.
        self.wakes = rule.hold is not None or time_can_turn(rule.condition.whole)
        self.true_when_empty = self.holds(self.fresh(), 0.0)
        self.matchers = _matchers(rule)
        self.measures = frozenset(one.field for one in self.aggregates if one.field)
        self.instants, self.step_instants = _instants(rule)
        # Whether an event says more of an alert, or of a key, than its samples.
        self.tells = bool(rule.same or rule.collect or rule.dedup_by)
        self.steps_digest = hashlib.sha256(repr(rule.escalate).encode()).hexdigest()[:16]
        self._weigh_samples()
        # Values that were no number or no instant where the rule asks for one; events of keys
        # beyond the cap, and keys that gave way to others; event ids that its keys remember.
        self.not_numbers = self.bad_instants = self.overflow = self.forgotten = self.ids = 0

    def _weigh_samples(self) -> None:
        """Set what says which samples can change no verdict, so that they may wait."""
        rule = self.rule
        # What a key is in is counted key by key, and of some a key remembers more than the window
        # holds: then no sample waits before the key has a state.
        self.remembers = bool(self._state_places) or self.memory > LONG_AGO
        self.guard: Guard = guard_of(rule.condition.whole, count()) or NoGuard()
        # Whether time alone can end what room a key has.
        self.room_ends = rule.hold is not None or self.guard.ends
        # Samples leave by the bucket: earlier than after the whole window, by less than its width.
        windows = self.fresh()
        self.coarse = any(isinstance(one, Buckets | Percentile | Shifted) for one in windows)
        # Whether it makes no difference which of two samples came first.
        functions = [one.function for one in self.aggregates]
        self.any_order = all(map(in_any_order, windows, functions))
        self.gone_at = _gone_at(self) if self.coarse else None
        # A sample of another place only makes the condition less true, until it leaves the window.
        self.rising = frozenset(_rising(rule.condition.whole, count()))
        if self.true_when_empty or self.remembers:
            self.rising = frozenset(range(len(self.aggregates)))
        # Whether a sample can only uphold what holds, and no event moves a deadline of the alert.
        self.upholds = not self.step_instants and _only_rises(rule.condition.whole)
        self.tallied = self.absent and _lives_on_tallies(rule)

    def samples(self, event: Event) -> Samples:
        """Return what `event` gives to which window."""
        out: list[tuple[int, Any]] = []
        for place, aggregate in enumerate(self.aggregates):
            if aggregate.match and not all_match(aggregate.match, event.text):
                continue
            raw = event.get(aggregate.field) if aggregate.field else 1
            if raw is None:
                continue
            value = aggregate.function.sample(raw)
            if type(value) is str:
                if value not in self._listed:  # what the rule spells out stays
                    value = self.labels(aggregate.field)[value]
            elif aggregate.function.shows is Shows.STATE:
                value = _kept_number(self.labels(aggregate.field), value)
            if value is None:
                self.not_numbers += 1
            else:
                out.append((place, value))
        return out

    @property
    def counted(self) -> list[tuple[int, str]]:
        """The places of aggregates that only count a field's texts, and the fields."""
        each = enumerate(self.aggregates)
        return [(n, a.field) for n, a in each if a.field and a.function.counts_texts]

    def kept_texts(self, name: str, texts: Sequence[str]) -> list[str]:
        """Return a field's texts as `samples` keeps them."""
        kept = self.labels(name).of_all(texts)
        if not self._listed:
            return kept
        return [t if t in self._listed else k for t, k in zip(texts, kept, strict=True)]

    @property
    def shifted_bytes(self) -> int:
        """What the windows of a key that look back take at most, in bytes; 0 without any."""
        kept = (one for one in self.fresh() if isinstance(one, Shifted))
        return sum(one.most_bytes for one in kept)

    def kept(self, key: Key) -> Key:
        """Return a key given by hand, or by an earlier version's rows, as events make it."""
        return tuple([kept_text(self.labels, n, t) for n, t in zip(self.by, key, strict=True)])

    def is_unredacted(self, key: Key) -> bool:
        return self.kept(key) != key

    def fresh(self) -> Windows:
        """Return empty windows for a new key."""
        return tuple([make() for make in self._windows])

    def value(self, windows: Windows, t: float) -> float | str | None:
        """Return the value to show: of the first comparison, and of `or` of the one that holds."""
        return self._shown(windows, t)

    def state(self, windows: Windows | None, t: float) -> str | None:
        """Return the state that the first `last()` sees at `t`; None without one."""
        if windows is None or not self._state_places:
            return None
        value = windows[self._state_places[0]].judged(t)
        return None if value is None else as_text(value)

    @property
    def counts_states(self) -> bool:
        """Whether keys are counted by the state that the first `last()` sees."""
        return bool(self._state_places)

    def leaves(self, state: str | None, samples: Samples) -> bool:
        """Return whether samples leave a key in the `state` as which it is counted."""
        places = self._state_places[:1]
        return all(as_text(value) == state for place, value in samples if place in places)

    def unconfirmed(self, windows: Windows, t: float) -> bool:
        """Return whether a state has been dropped by `hold` at `t`."""
        return self.rule.hold is not None and any(
            windows[place].judged(t) is None for place in self._state_places
        )


def kept_text(labels: LabelsOf, name: str, text: str) -> str:
    """Return a field's text as it is kept: redacted, then cut with a digest when too long."""
    kept = labels(name)[text]
    return kept if len(kept) <= LONGEST_LABEL else bounded(kept)


def _kept_number(known: Labels, value: float) -> float | str:
    """Return a state that is a number as it is remembered; a card's is no number any more."""
    text = as_text(value)
    kept = known[text]
    return value if kept == text else kept


def _key_of(by: tuple[str, ...], labels: LabelsOf) -> Callable[[Event], Key]:
    """Return what finds an event's key. Nearly all are one plain text at the top of the event."""
    if len(by) != 1 or by[0] in STANDARD_FIELDS:
        return lambda event: tuple([kept_text(labels, name, event.text(name)) for name in by])
    (name,) = by
    known = _KnownKeys(labels, name)

    def key_of(event: Event) -> Key:
        text = event.fields.get(name)
        return known[text if type(text) is str else event.text(name)]

    return key_of


def _matchers(rule: Rule) -> tuple[Matcher, ...]:
    """Return every test of an event's fields: those of `match`, `resolve` and the condition."""
    aggregates = [one for part in rule.condition.comparisons for one in part.aggregates]
    inside = [matcher for one in aggregates for matcher in one.match]
    return (*rule.match, *(rule.resolve or ()), *inside)


def _instants(rule: Rule) -> tuple[tuple[Instant, ...], tuple[Instant, ...]]:
    """Return what of an event's instants matters, each once, and what does once an alert fires.

    Offsets are added when an instant is met.
    """
    steps = {step.at.name: step.at for step in rule.escalate if step.at.field}
    every = {one.name: one for one in rule.until} | steps
    return tuple(every.values()), tuple(steps.values())


class _KnownKeys(dict[str, Key]):
    """Keys by the text of their one field, for those that come again."""

    def __init__(self, labels: LabelsOf, name: str) -> None:
        super().__init__()
        self._labels = labels
        self._name = name

    def __missing__(self, text: str) -> Key:
        key = (kept_text(self._labels, self._name, text),)
        if len(text) <= LONGEST_LABEL:
            if len(self) >= _MOST_KNOWN:
                self.clear()
            self[text] = key
        return key


Test = Callable[[Windows, float], bool]
Shown = Callable[[Windows, float], float | str | None]


def _compile(part: Part, places: Iterator[int]) -> tuple[Test, Shown]:
    """Return the test of windows that `part` stands for, and what of them is shown.

    `places` gives those of its aggregates among the windows.
    """
    match part:
        case Comparison() if part.alone is not None:
            return _plain(next(places), value_test(part))
        case Comparison():
            return _reckoned(part, [next(places) for _ in part.aggregates])
        case Not():
            test, shown = _compile(part.part, places)
            return lambda windows, t: not test(windows, t), shown
        case And():
            tests, shows = zip(*[_compile(one, places) for one in part.parts], strict=True)
            return lambda windows, t: all(test(windows, t) for test in tests), shows[0]
        case Or():
            return _any([_compile(one, places) for one in part.parts])


def _only_rises(part: Part) -> bool:
    """Return whether no sample can turn `part` false; what time can, has a deadline."""
    match part:
        case Comparison():
            drift = None if part.function is None else part.function.drift
            more = part.op in (">", ">=") and drift is Drift.FALLS
            return more or (part.op in ("<", "<=") and drift is Drift.RISES)
        case And() | Or():
            return all(map(_only_rises, part.parts))
        case Not():
            return False


def _rising(part: Part, places: Iterator[int], *, holds: bool = True) -> Iterator[int]:
    """Yield the places whose samples could bring `part` to come to `holds`."""
    match part:
        case Comparison():
            mine = [next(places) for _ in part.aggregates]
            whole = [one.function.shows is Shows.HOW_MANY for one in part.aggregates]
            more = part.op in ((">", ">=") if holds else ("<", "<="))
            less = part.op in (("<", "<=") if holds else (">", ">="))
            if part.alone is not None:
                yield from () if less and not more and whole[0] else mine
            elif part.ratio and all(whole) and holds and more and (part.number or 0) > 0:
                yield mine[0]
            else:
                yield from mine
        case Not():
            yield from _rising(part.part, places, holds=not holds)
        case And() | Or():
            for one in part.parts:
                yield from _rising(one, places, holds=holds)


def _gone_at(compiled: CompiledRule) -> Callable[[float], float] | None:
    """Return what says, by its time, when a sample leaves all windows; None: only they know."""
    if not all(isinstance(one, Buckets | Percentile) for one in compiled.fresh()):
        return None
    width = (compiled.rule.within or 0.0) / BUCKETS
    return lambda at: (int(at // width) + BUCKETS) * width


def _any(compiled: list[tuple[Test, Shown]]) -> tuple[Test, Shown]:
    def test(windows: Windows, t: float) -> bool:
        return any(test(windows, t) for test, _ in compiled)

    def shown(windows: Windows, t: float) -> float | str | None:
        holding = (shown for test, shown in compiled if test(windows, t))
        return next(holding, compiled[0][1])(windows, t)

    return test, shown


def _plain(place: int, passes: Callable[[Any], bool]) -> tuple[Test, Shown]:
    def test(windows: Windows, t: float) -> bool:
        value = windows[place].judged(t)
        return value is not None and passes(value)

    return test, lambda windows, t: windows[place].shown(t)


def _reckoned(part: Comparison, places: Sequence[int]) -> tuple[Test, Shown]:
    right, passes = part.right, test_of(part)

    def test(windows: Windows, t: float) -> bool:
        values = iter([windows[place].judged(t) for place in places])
        value = worked_out(part.left, values)
        return passes(value, None if right is None else worked_out(right, values))

    def shown(windows: Windows, t: float) -> float | str | None:
        values = [windows[place].shown(t) for place in places]
        value = worked_out(part.left, iter(cast("list[float | None]", values)))
        return value if value is None or math.isfinite(value) else f"{value:+}".title()

    return test, shown


def _window(rule: Rule, part: Comparison, one: Aggregate) -> Callable[[], Window]:
    """Return what makes the windows of an aggregate, a new one for each key."""
    function, within = one.function, rule.within or 0.0
    if rule.within is None and function.shows is not Shows.STATE:
        raise ValueError(f"{rule.name}: {function}() needs `within`")
    if function.fold is not None and any(other.offset for other in part.aggregates):
        return partial(Shifted, within, one.offset, function.fold)
    if function.fold is not None and part.alone is None:
        return partial(Buckets, within, function.fold)
    asked = Asked(within, rule.hold, bounds(part), part.alone is None, rule.remember, one.number)
    return function.window(asked)


def named_states(rule: Rule) -> tuple[str, ...]:
    """Return the states of a `last()` rule that its `match` and condition name one by one."""
    parts = rule.condition.comparisons
    found = next(((part, part.state) for part in parts if part.state is not None), None)
    if found is None:
        return ()
    part, state = found
    mine = [m for m in (*rule.match, *state.match) if m.name == state.field]
    listed = [*(text for m in mine for text in m.named_values()), *part.named]
    return tuple(t for t in dict.fromkeys(listed) if all(m.matches(t) for m in mine))


def _lives_on_tallies(rule: Rule) -> bool:
    """Return whether the newest event time is all the rule needs: one place, `count() < 1`."""
    parts = rule.condition.comparisons
    aggregates = [one for part in parts for one in part.aggregates]
    matchers = [*rule.match, *(m for one in aggregates for m in one.match)]
    return (
        not rule.by
        and rule.resolve is None
        and rule.dedup_by is None
        and not rule.collect
        and not rule.until
        and not any(step.at.field for step in rule.escalate)
        and not any(one.field for one in aggregates)
        and all(m.name in STANDARD_FIELDS for m in matchers)
        and ends_by_one(rule.condition)
    )
