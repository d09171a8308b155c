"""A rule made ready to run: what to take from an event, what to remember, what to test."""

import hashlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from sidecar.matchers import all_match
from sidecar.parse.event import (
    LONGEST_LABEL,
    STANDARD_FIELDS,
    Event,
    as_number,
    as_text,
    bounded,
    field_of,
    label_of,
    text_of,
)
from sidecar.rules.condition import (
    MAX_DISTINCT,
    MAX_TEXT,
    bounds,
    is_absence,
    needs_event,
    value_test,
)
from sidecar.rules.rule import Aggregate, Comparison, Function, Key, Rule
from sidecar.rules.windows import Buckets, Counts, Distinct, Extremes, Last, Window

# How long a key remembers its last `resolve` and its event ids under a rule without a span.
DEFAULT_SPAN = 30 * 86_400.0
_LARGEST_INT = 2**63 - 1

Windows = tuple[Window, ...]
Samples = list[tuple[int, Any]]


class CompiledRule:
    """One rule ready to run. `span`: for how long a late event can still matter to a key."""

    __slots__ = (
        "_aggregates",
        "_state_place",
        "_windows",
        "absent",
        "annotations",
        "by",
        "by_labels",
        "holds",
        "ids",
        "instants",
        "keeps_bare_keys",
        "key_of",
        "latching",
        "not_numbers",
        "order",
        "overflow",
        "rule",
        "since",
        "span",
        "states",
        "steps_digest",
        "tallied",
        "true_when_empty",
        "wakes",
    )

    def __init__(self, rule: Rule, order: int) -> None:
        self.rule = rule
        self.order = order
        self.by = rule.by
        self.key_of = _key_of(rule.by)
        self.by_labels = rule.by_labels
        self.annotations = dict(rule.annotations)
        self.since = 0.0
        self.absent = is_absence(rule.condition)
        # An absence is over when an event comes, so nothing is left for `resolve` to hold open.
        self.latching = rule.resolve is not None and not self.absent
        # Whether a key that was resolved can be remembered as a mere floor; ids need a state.
        self.keeps_bare_keys = self.latching and rule.dedup_by is None
        self.span = max(rule.within or 0.0, rule.hold or 0.0) or DEFAULT_SPAN
        parts = rule.condition.comparisons
        # Whether every comparison is true of some windows at `t`; an empty one makes it false.
        self._aggregates, self.holds = _compile(parts)
        self._windows = [_window(rule, part, side) for part in parts for side in _sides(part)]
        functions = [aggregate.function for aggregate in self._aggregates]
        self._state_place = functions.index(Function.LAST) if Function.LAST in functions else None
        self.states = named_states(rule)  # the states that the rule names, of its first last()
        # A quiet key must wake where passing time alone can make the condition true, and where
        # its state is dropped.
        self.wakes = rule.hold is not None or not all(needs_event(part) for part in parts)
        self.true_when_empty = self.holds(self.fresh(), 0.0)
        self.instants = tuple({step.at_field for step in rule.escalate if step.at_field})
        self.steps_digest = hashlib.sha256(repr(rule.escalate).encode()).hexdigest()[:16]
        self.tallied = self.absent and _lives_on_tallies(rule)
        self.not_numbers = 0  # values that were no number where one was needed
        self.overflow = 0  # events of keys beyond the cap
        self.ids = 0  # event ids that its keys remember

    def samples(self, event: Event) -> Samples:
        """Return what `event` gives to which window."""
        out: Samples = []
        for place, aggregate in enumerate(self._aggregates):
            if aggregate.match and not all_match(aggregate.match, lambda n: text_of(event, n)):
                continue
            value = self._sample(aggregate, event)
            if value is not None:
                out.append((place, value))
        return out

    def _sample(self, aggregate: Aggregate, event: Event) -> Any:
        function = aggregate.function
        if function is Function.COUNT:
            return 1.0
        raw = field_of(event, aggregate.field)
        if raw is None:
            return None
        if function is Function.LAST:
            return _storable(raw)
        if function is Function.DISTINCT:
            return as_text(raw)
        number = as_number(raw)
        if number is None:
            self.not_numbers += 1
        return number

    def fresh(self) -> Windows:
        """Return empty windows for a new key."""
        return tuple([make() for make in self._windows])

    def value(self, windows: Windows, t: float) -> float | str | None:
        """Return the value to show: of the first comparison."""
        first = windows[0].shown(t)
        if self.rule.condition.comparisons[0].divisor is None:
            return first
        below = windows[1].shown(t)
        if not isinstance(first, float) or not isinstance(below, float) or not below:
            return None
        return first / below

    def state(self, windows: Windows | None, t: float) -> str | None:
        """Return the state that the first `last()` sees at `t`; None without one."""
        if windows is None or self._state_place is None:
            return None
        value = windows[self._state_place].judged(t)
        return None if value is None else as_text(value)

    def unconfirmed(self, windows: Windows, t: float) -> bool:
        """Return whether a `last()` state has been dropped by `hold` at `t`."""
        return self.rule.hold is not None and any(
            isinstance(window, Last) and window.judged(t) is None for window in windows
        )


def _key_of(by: tuple[str, ...]) -> Callable[[Event], Key]:
    """Return what finds an event's key. Nearly all are one plain text at the top of the event."""
    if len(by) != 1 or by[0] in STANDARD_FIELDS:
        return lambda event: tuple([label_of(event, name) for name in by])
    (name,) = by

    def key_of(event: Event) -> Key:
        text = event.fields.get(name)
        if type(text) is str and len(text) <= LONGEST_LABEL and text.isascii():
            return (text,)
        return (label_of(event, name),)

    return key_of


def _sides(part: Comparison) -> tuple[Aggregate, ...]:
    return (part.left,) if part.divisor is None else (part.left, part.divisor)


Test = Callable[[Windows, float], bool]


def _compile(parts: tuple[Comparison, ...]) -> tuple[tuple[Aggregate, ...], Test]:
    aggregates: list[Aggregate] = []
    tests: list[Test] = []
    for part in parts:
        make = _plain_test if part.divisor is None else _ratio_test
        tests.append(make(len(aggregates), value_test(part)))
        aggregates += _sides(part)
    if len(tests) == 1:
        return tuple(aggregates), tests[0]
    return tuple(aggregates), lambda windows, t: all(test(windows, t) for test in tests)


def _plain_test(place: int, passes: Callable[[Any], bool]) -> Test:
    def test(windows: Windows, t: float) -> bool:
        value = windows[place].judged(t)
        return value is not None and passes(value)

    return test


def _ratio_test(place: int, passes: Callable[[Any], bool]) -> Test:
    def test(windows: Windows, t: float) -> bool:
        above, below = windows[place].judged(t), windows[place + 1].judged(t)
        return above is not None and bool(below) and passes(above / below)

    return test


def _window(rule: Rule, part: Comparison, aggregate: Aggregate) -> Callable[[], Window]:
    """Return what makes the windows of an aggregate, a new one for each key."""
    function = aggregate.function
    if function is Function.LAST:
        return partial(Last, rule.hold)
    if rule.within is None:
        raise ValueError(f"{rule.name}: {function}() needs `within`")
    against = bounds(part)
    if function is Function.DISTINCT:
        need = MAX_DISTINCT + 1 if part.divisor else _enough(against)
        return partial(Distinct, rule.within, need)
    if part.divisor or function in (Function.SUM, Function.AVG):
        return partial(Buckets, rule.within, function)
    if function is Function.COUNT:
        return partial(Counts, rule.within, _enough(against))
    return partial(Extremes, rule.within, against, 1 if function is Function.MAX else -1)


def _enough(against: tuple[float, ...]) -> int:
    """Return the least count that lies above every bound."""
    return max(1, math.floor(against[-1]) + 1)


def named_states(rule: Rule) -> tuple[str, ...]:
    """Return the states of a `last()` rule that its `match` and condition name one by one."""
    state = next((p for p in rule.condition.comparisons if p.left.function is Function.LAST), None)
    if state is None:
        return ()
    mine = [m for m in (*rule.match, *state.left.match) if m.name == state.left.field]
    listed = [*(text for m in mine for text in m.named_values()), *state.values]
    return tuple(t for t in dict.fromkeys(listed) if all(m.matches(t) for m in mine))


def _storable(raw: Any) -> Any:
    """Return a state as a plain value that MessagePack can hold; long texts are cut."""
    if isinstance(raw, bool | float):
        return raw
    if isinstance(raw, int):
        return raw if abs(raw) <= _LARGEST_INT else str(raw)[:MAX_TEXT]
    return bounded(as_text(raw), MAX_TEXT + 20)


def _lives_on_tallies(rule: Rule) -> bool:
    """Return whether the newest event time is all the rule needs: one place, `count() < 1`."""
    parts = rule.condition.comparisons
    matchers = [*rule.match, *(m for part in parts for m in part.left.match)]
    return (
        not rule.by
        and rule.resolve is None
        and rule.dedup_by is None
        and not any(step.at_field for step in rule.escalate)
        and all(m.name in STANDARD_FIELDS for m in matchers)
        and all(value_test(part)(0) and not value_test(part)(1) for part in parts)
    )
