"""The rules' semantics once more, slow and obvious: every sample is kept, every instant tried."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sidecar.matchers import all_match
from sidecar.parse.event import Event, as_number, as_text
from sidecar.parse.instants import instant
from sidecar.rules.condition import (
    Aggregate,
    And,
    Comparison,
    Instant,
    Not,
    Or,
    Part,
    is_absence,
    test_of,
    worked_out,
)
from sidecar.rules.identity import signature
from sidecar.rules.quantile import bin_of, value_of
from sidecar.rules.rule import Escalation, Rule

Told = tuple[str, float, dict[str, str], float, bool]  # kind, at, labels, since, stale
FAR = math.inf
DAY = 86_400.0


class Model(NamedTuple):
    """A function of conditions: what it makes of its field, and of all samples inside.

    `value` is given the samples by event time, then arrival. `coarse`: where samples leave the
    window by the 60th. `lasts`: there is no window, only `hold`.
    """

    sample: Callable[[Any], Any]
    value: Callable[[list[Any]], Any]
    coarse: Literal["never", "in ratios", "always"]
    lasts: bool = False
    over: Callable[[list[tuple[float, Any, bool]], Aggregate, Rule], Any] | None = None


def changes(all_: list[tuple[float, Any, bool]], _: Aggregate, __: Rule) -> float:
    """Count the samples inside that differ from the newest that had come before them."""
    found, newest = 0, (-FAR, None)
    for at, value, inside in all_:
        if at >= newest[0]:
            found += inside and newest[1] is not None and newest[1] != value
            newest = (at, value)
    return float(found)


def news(all_: list[tuple[float, Any, bool]], _: Aggregate, rule: Rule) -> float:
    """Count the samples inside whose value had not come, or too long before."""
    found, known = 0, dict[Any, float]()
    for at, value, inside in all_:
        before = known.get(value, -FAR)
        found += inside and before + rule.remember <= at
        known[value] = max(before, at)
    return float(found)


def percentile(all_: list[tuple[float, Any, bool]], aggregate: Aggregate, _: Rule) -> float | None:
    """Return what stands for the value at the rank, by the bins that its sketch has."""
    values = sorted(value for _, value, inside in all_ if inside)
    return (
        value_of(bin_of(values[int(aggregate.number / 100 * (len(values) - 1))]))
        if values
        else None
    )


MODELS: Mapping[str, Model] = {
    "count": Model(lambda _: True, lambda all_: float(len(all_)), "in ratios"),
    "sum": Model(as_number, lambda all_: float(sum(all_)), "always"),
    "min": Model(as_number, lambda all_: min(all_, default=None), "in ratios"),
    "max": Model(as_number, lambda all_: max(all_, default=None), "in ratios"),
    "avg": Model(as_number, lambda all_: sum(all_) / len(all_) if all_ else None, "always"),
    "distinct": Model(as_text, lambda all_: float(len(set(all_))), "never"),
    "changed": Model(as_text, len, "never", over=changes),
    "new": Model(as_text, len, "never", over=news),
    "percentile": Model(as_number, len, "always", over=percentile),
    "last": Model(lambda raw: raw, lambda all_: all_[-1] if all_ else None, "never", lasts=True),
}


def earlier(at: float, other: float) -> bool:
    """Of one second, arrival decides."""
    return at < other and math.floor(at) < math.floor(other)


@dataclass
class Open:
    since: float
    phase: str = "pending"
    fired_at: float = 0.0
    turned: float = 0.0
    events: list[Event] = field(default_factory=list)
    reached: list[int] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    ended: list[Event] = field(default_factory=list)  # of `events`, by an end of the same


@dataclass
class Known:
    samples: list[Event] = field(default_factory=list)  # in order of arrival
    history: list[Event] = field(default_factory=list)  # the same, with what an end dropped
    ids: dict[str, float] = field(default_factory=dict)
    clock: float = -FAR
    cursor: float = -FAR
    floor: float = -FAR
    order: float | None = None
    alert: Open | None = None


class Reference:
    """One rule; `told` is every transition so far."""

    def __init__(
        self,
        rule: Rule,
        stale_after: float,
        start: float = 0.0,
        models: Mapping[str, Model] = MODELS,
    ) -> None:
        self.models = models
        self.keys: dict[tuple[str, ...], Known] = {}
        self.told: list[Told] = []
        self.stale = False
        self.stale_after = stale_after
        self.load(rule)
        self.since = start

    def load(self, rule: Rule) -> None:
        self.rule = rule
        self.absent = is_absence(rule.condition)
        self.latching = rule.resolve is not None and not self.absent
        self.offset = max(aggregate.offset for aggregate, _ in self._aggregates())
        self.span = max((rule.within or 0) + self.offset, rule.hold or 0) or 30 * DAY

    # From outside.

    def reload(self, rule: Rule, now: float) -> None:
        self.stale = False
        before = self.rule
        if signature(rule) == signature(before):
            for known in self.keys.values():
                if known.alert and rule.escalate != before.escalate:
                    known.alert.reached.clear()
        else:
            for known in self.keys.values():
                if known.alert and known.alert.phase != "pending":
                    self._tell("closed", known, now)
            self.keys.clear()
            self.since = now
        self.load(rule)

    def observe(self, event: Event, read_at: float) -> None:
        self.stale = read_at - event.at > self.stale_after
        rule = self.rule
        matches = all_match(rule.match, event.text)
        resolves = rule.resolve is not None and all_match(rule.resolve, event.text)
        if not matches and not resolves:
            return
        key = tuple(event.text(name) for name in rule.by)
        gives = any(self._gives(a, event) for a, _ in self._aggregates())
        if key not in self.keys and not gives and not resolves:
            return
        known = self.keys.setdefault(key, Known())
        t = max(known.clock, event.at)
        self._advance(key, known, t)
        forgotten = not resolves and earlier(event.at, known.floor)
        old = forgotten or self._overtaken(known, event)
        if old or (not resolves and self._duplicate(known, event, t)):
            pass
        elif resolves:
            self._resolve(key, known, event, t)
        else:
            known.clock = t
            known.samples.append(event)
            known.history.append(event)
            if known.alert:
                known.alert.events.append(event)
            self._judge(key, known, t, event)
        known.cursor = known.clock
        self._drop_if_gone(key, known, known.clock)

    def tick(self, t: float, now: float, *, complete: bool = True) -> None:
        if self.offset and not complete:  # else what is there is judged even where more is to come
            return
        self.stale = now - t > self.stale_after
        while True:
            due = [
                (d, key)
                for key, known in self.keys.items()
                for d in self._instants(known)
                if d <= t
            ]
            if not due:
                return
            d, key = min(due)
            known = self.keys[key]
            self._judge(key, known, self._now(known, d), None)
            known.cursor = d
            self._drop_if_gone(key, known, d)

    # Time.

    def _advance(self, key: tuple[str, ...], known: Known, t: float) -> None:
        while due := [d for d in self._instants(known) if d <= t]:
            self._judge(key, known, self._now(known, min(due)), None)
            known.cursor = min(due)

    def _now(self, known: Known, due: float) -> float:
        """Steps that a reload put into the past happen at the key's own time."""
        return max(due, known.clock) if known.alert else due

    def _instants(self, known: Known) -> Iterator[float]:
        yield from (instant for instant in self._all_instants(known) if instant > known.cursor)
        if known.alert and known.alert.phase != "pending":
            yield from (due for due, _ in self._steps(known.alert))

    def _all_instants(self, known: Known) -> Iterator[float]:
        for sample in known.samples:
            for aggregate, part in self._aggregates():
                yield self._enters(aggregate, sample)
                yield self._leaves(aggregate, part, sample)
        yield known.floor + self.span
        for at in known.ids.values():
            yield at + self.span
        if known.order is not None:
            yield known.clock + self.span
        if 0 < (memory := self._memory()) < FAR:
            yield known.clock + memory
        alert = known.alert
        if alert and alert.phase == "pending":
            yield self._fires_at(alert)
        elif alert and alert.phase in ("clearing", "lapsing"):
            yield alert.turned + self.rule.keep_firing_for

    def _leaves(self, aggregate: Aggregate, part: Comparison, sample: Event) -> float:
        if self._model(aggregate).lasts:
            return sample.at + (FAR if self.rule.hold is None else self.rule.hold)
        within = self.rule.within or 0.0
        if self._coarse(aggregate, part):
            return (sample.at // (within / 60) + 60) * (within / 60)
        return sample.at + aggregate.offset + within

    def _enters(self, aggregate: Aggregate, sample: Event) -> float:
        return sample.at + aggregate.offset

    def _inside(self, aggregate: Aggregate, part: Comparison, sample: Event, t: float) -> bool:
        return self._enters(aggregate, sample) <= t < self._leaves(aggregate, part, sample)

    def _coarse(self, aggregate: Aggregate, part: Comparison) -> bool:
        coarse = self._model(aggregate).coarse
        if any(one.offset for one in part.aggregates):
            return coarse == "always" and aggregate.function.fold is None
        return coarse == "always" or (coarse == "in ratios" and part.alone is None)

    def _model(self, aggregate: Aggregate) -> Model:
        return self.models[aggregate.function.name]

    def _drop_if_gone(self, key: tuple[str, ...], known: Known, t: float) -> None:
        leaving = [
            self._leaves(aggregate, part, sample)
            for sample in known.samples
            for aggregate, part in self._aggregates()
            if self._gives(aggregate, sample)
        ]
        ordered = [] if known.order is None else [known.clock + self.span]
        ids = [at + self.span for at in known.ids.values()]
        over = known.clock + self._memory()
        gone = max([known.floor + self.span, *ids, *ordered, *leaving, over])
        if known.alert is None and gone <= t:
            del self.keys[key]

    def _memory(self) -> float:
        """Return how long a key is known after its newest event at least."""
        return max(a.function.memory(self.rule.remember) for a, _ in self._aggregates())

    # The condition.

    def _aggregates(self) -> list[tuple[Aggregate, Comparison]]:
        parts = self.rule.condition.comparisons
        return [(aggregate, part) for part in parts for aggregate in part.aggregates]

    def _gives(self, aggregate: Aggregate, event: Event) -> bool:
        return self._sample(aggregate, event) is not None

    def _sample(self, aggregate: Aggregate, event: Event) -> Any:
        if not all_match(aggregate.match, event.text):
            return None
        raw = event.get(aggregate.field) if aggregate.field else True
        return None if raw is None else self._model(aggregate).sample(raw)

    def value(self, aggregate: Aggregate, part: Comparison, known: Known, t: float) -> Any:
        model = self._model(aggregate)
        if model.over is not None:
            within = {id(s) for s in known.samples if self._inside(aggregate, part, s, t)}
            given = ((s, self._sample(aggregate, s)) for s in known.history)
            kept = [(s.at, value, id(s) in within) for s, value in given if value is not None]
            return model.over(kept, aggregate, self.rule)
        inside = [s for s in known.samples if self._inside(aggregate, part, s, t)]
        samples = [self._sample(aggregate, s) for s in sorted(inside, key=lambda s: s.at)]
        return self._model(aggregate).value([one for one in samples if one is not None])

    def holds(self, known: Known, t: float) -> bool:
        alive = any(
            self._gives(a, s) and self._leaves(a, part, s) > t
            for a, part in self._aggregates()
            for s in known.samples
        )
        return alive and self._true(self.rule.condition.whole, known, t)

    def _true(self, part: Part, known: Known, t: float) -> bool:
        if isinstance(part, Or):
            return any(self._true(one, known, t) for one in part.parts)
        if isinstance(part, And):
            return all(self._true(one, known, t) for one in part.parts)
        if isinstance(part, Not):
            return not self._true(part.part, known, t)
        values = iter([self.value(one, part, known, t) for one in part.aggregates])
        left = next(values) if part.alone is not None else worked_out(part.left, values)
        right = None if part.right is None else worked_out(part.right, values)
        return test_of(part)(left, right)

    # The alert.

    def _judge(self, key: tuple[str, ...], known: Known, t: float, event: Event | None) -> None:
        rule, alert = self.rule, known.alert
        if self.holds(known, t):
            if alert is None:
                alert = known.alert = Open(since=t, events=[event] if event else [])
                alert.labels = self._labels(key, alert)
                known.clock = max(known.clock, t)
            elif alert.phase not in ("pending", "firing"):
                alert.phase = "firing"
                known.clock = max(known.clock, t)
        elif alert is not None:
            self._turned_false(known, alert, t, event)
        alert = known.alert
        if alert is None:
            return
        if alert.phase == "pending" and self._fires_at(alert) <= t:
            alert.phase, alert.fired_at = "firing", t
            self._tell("fired", known, t)
        if alert.phase in ("clearing", "lapsing") and alert.turned + rule.keep_firing_for <= t:
            kind = "resolved" if alert.phase == "clearing" else "expired"
            self._tell(kind, known, t)
            known.alert = None
        elif alert.phase != "pending":
            self._escalate(key, known, alert, t)

    def _turned_false(self, known: Known, alert: Open, t: float, event: Event | None) -> None:
        rule = self.rule
        if alert.phase == "pending":
            known.alert = None
        elif alert.phase in ("clearing", "lapsing"):
            return
        elif event is not None:
            if self.latching:
                if alert.phase == "latched":
                    return
                alert.phase = "latched"
            else:
                alert.phase, alert.turned = self._ending("clearing"), t
        else:
            dropped = rule.hold is not None and any(
                self._model(a).lasts and self.value(a, part, known, t) is None
                for a, part in self._aggregates()
            )
            left = any(
                self._leaves(a, part, s) > t and self._gives(a, s)
                for a, part in self._aggregates()
                for s in known.samples
            )
            if alert.phase == "latched" and left and not dropped:
                return
            alert.phase, alert.turned = self._ending("lapsing"), t
        known.clock = max(known.clock, t)

    def _ending(self, unless_said: str) -> str:
        return {None: unless_said, "resolved": "clearing", "unseen": "lapsing"}[self.rule.ends]

    def _is_of_another(self, known: Known, event: Event) -> bool:
        alert = known.alert
        if alert is None or not self.rule.same or self.absent:
            return False
        left = [one for one in alert.events if one not in alert.ended]
        same = [one for one in left if self._agree(one, event)]
        if len(same) == len(left):
            return False
        alert.ended += same
        return True

    def _agree(self, one: Event, other: Event) -> bool:
        pairs = [(one.text(name), other.text(name)) for name in self.rule.same]
        return all(mine == theirs or not mine or not theirs for mine, theirs in pairs)

    def _resolve(self, key: tuple[str, ...], known: Known, event: Event, t: float) -> None:
        if self._is_of_another(known, event):
            return
        late = earlier(event.at, known.clock)
        known.clock = t
        known.floor = max(known.floor, event.at)
        known.samples = [s for s in known.samples if not self._forgotten(s, event.at)]
        if late and (known.alert is None or self.holds(known, t)):
            self._judge(key, known, t, event)
        elif known.alert is not None:
            if known.alert.phase != "pending":
                self._tell("resolved", known, t)
            known.alert = None

    def _forgotten(self, sample: Event, until: float) -> bool:
        if not any(self._coarse(a, part) for a, part in self._aggregates()):
            return math.floor(sample.at) <= math.floor(until)
        width = (self.rule.within or 0.0) / 60
        return sample.at // width * width < math.floor(until) + 1

    def _steps(self, alert: Open) -> Iterator[tuple[float, int]]:
        for place, step in enumerate(self.rule.escalate):
            due = self._due(step, alert)
            if place not in alert.reached and due is not None:
                yield due, place

    def _due(self, step: Escalation, alert: Open) -> float | None:
        named = self._named(step.at, alert)
        if named is not None or step.after is None:
            return named
        return alert.fired_at + step.after

    def _named(self, one: Instant, alert: Open) -> float | None:
        newest: tuple[float, float] | None = None
        for event in alert.events:
            stated = event.at if one.field == "event_time" else instant(event.get(one.field))
            days = as_number(event.get(one.days)) if one.days else 0.0
            if stated is None or days is None:
                continue
            if newest is None or event.at >= newest[0]:
                newest = (event.at, stated + days * DAY)
        return None if newest is None else newest[1] + one.offset

    def _fires_at(self, alert: Open) -> float:
        known = [self._named(one, alert) for one in self.rule.until]
        return next((at for at in known if at is not None), alert.since + self.rule.for_)

    def _escalate(self, key: tuple[str, ...], known: Known, alert: Open, t: float) -> None:
        for due, place in sorted(self._steps(alert)):
            if due <= t:
                before = alert.labels
                alert.reached.append(place)
                alert.labels = self._labels(key, alert)
                known.clock = max(known.clock, t)
                if alert.labels != before:
                    self._tell("escalated", known, t)

    def _labels(self, key: tuple[str, ...], alert: Open) -> dict[str, str]:
        labels = {"alertname": self.rule.name, **dict(zip(self.rule.by, key, strict=True))}
        labels.update(self.rule.labels)
        for place, step in enumerate(self.rule.escalate):
            if place in alert.reached:
                labels.update(step.labels)
        return labels

    def _tell(self, kind: str, known: Known, t: float) -> None:
        alert = known.alert
        assert alert is not None
        known.clock = max(known.clock, t)
        self.told.append((kind, t, alert.labels, alert.since, self.stale))

    def _overtaken(self, known: Known, event: Event) -> bool:
        value = event.get(self.rule.order_by) if self.rule.order_by else None
        place = as_number(value) if as_number(value) is not None else instant(value)
        if place is None:
            return False
        if known.order is not None and place < known.order:
            return True
        known.order = place
        return False

    def _duplicate(self, known: Known, event: Event, t: float) -> bool:
        name = self.rule.dedup_by
        text = event.text(name) if name else ""
        if not text:
            return False
        if known.ids.get(text, -FAR) + self.span > t:
            return True
        known.ids[text] = event.at
        return False
