"""Absence once more, slow and obvious, beside the reference of all other rules."""

import math
from collections.abc import Iterator, Mapping

from sidecar.matchers import all_match
from sidecar.parse.event import Event
from sidecar.rules.rule import Rule
from support.rules_reference import DAY, FAR, MODELS, Known, Model, Reference


class AbsenceReference(Reference):
    """One rule that asks for few events. `floor` of a key is where its observation starts."""

    def __init__(
        self,
        rule: Rule,
        stale_after: float,
        start: float = 0.0,
        models: Mapping[str, Model] = MODELS,
    ) -> None:
        super().__init__(rule, stale_after, start, models)
        self._watch_all()

    def reload(self, rule: Rule, now: float) -> None:
        super().reload(rule, now)
        self._watch_all()

    def _watch_all(self) -> None:
        if not self.rule.by and () not in self.keys:
            self.keys[()] = Known(floor=self.since)

    def observe(self, event: Event, read_at: float) -> None:
        self.stale = read_at - event.at > self.stale_after
        rule = self.rule
        resolves = rule.resolve is not None and all_match(rule.resolve, event.text)
        if not resolves and not all_match(rule.match, event.text):
            return
        key = tuple(event.text(name) for name in rule.by)
        gives = any(self._gives(a, event) for a, _ in self._aggregates())
        if key not in self.keys:
            if resolves or not gives:
                return
            self.keys[key] = Known(floor=max(self.since, event.at))
        known = self.keys[key]
        t = max(known.clock, event.at)
        if not resolves and self._duplicate(known, event, t):
            return
        known.clock = known.cursor = t
        if resolves:
            self._end(key, known, t)
            return
        known.samples.append(event)
        if known.alert:
            known.alert.events.append(event)
            if not self.holds(known, t):
                self._judge(key, known, t, event)

    def _end(self, key: tuple[str, ...], known: Known, t: float) -> None:
        if known.alert and known.alert.phase != "pending":
            self._tell("resolved", known, t)
        if key:
            del self.keys[key]
            return
        known.alert, known.floor = None, max(known.floor, t)
        known.samples = [s for s in known.samples if math.floor(s.at) > math.floor(t)]

    def tick(self, t: float, now: float, *, complete: bool = True) -> None:
        self.stale = now - t > self.stale_after
        while complete:
            due = [(d, key) for key, known in self.keys.items() if (d := self._due_of(known)) <= t]
            if not due:
                return
            d, key = min(due)
            known = self.keys[key]
            if self._given_up_at(known) <= self._now(known, d):
                self._tell("expired", known, self._now(known, d))
                del self.keys[key]
            elif known.alert is None and not self.holds(known, d):
                del self.keys[key]
            else:
                self._judge(key, known, self._now(known, d), None)
                known.cursor = d

    def _due_of(self, known: Known) -> float:
        """Return when silence is next judged, or what the open alert waits for."""
        alert = known.alert
        if alert is None:
            turns = [d for d in self._turns(known) if self.holds(known, d)]
            return min(turns, default=self._gone_at(known) if self._fades() else FAR)
        waits = [due for due in self._leavings(known) if due > known.cursor]
        if alert.phase == "pending":
            return min([*waits, alert.since + self.rule.for_])
        waits += [due for due, _ in self._steps(alert)]
        if alert.phase in ("clearing", "lapsing"):
            waits.append(alert.turned + self.rule.keep_firing_for)
        return min([*waits, self._given_up_at(known)])

    def _fades(self) -> bool:
        """Nothing is left to judge where nothing is left that could be little."""
        return bool(self.rule.by) and not self._true(self.rule.condition.whole, Known(), FAR)

    def _gone_at(self, known: Known) -> float:
        giving = [
            self._leaves(aggregate, part, sample)
            for sample in known.samples
            for aggregate, part in self._aggregates()
            if self._gives(aggregate, sample)
        ]
        return max(
            [known.floor + self.span, *(at + self.span for at in known.ids.values()), *giving]
        )

    def _leavings(self, known: Known) -> Iterator[float]:
        for sample in known.samples:
            for aggregate, part in self._aggregates():
                yield self._leaves(aggregate, part, sample)

    def _turns(self, known: Known) -> Iterator[float]:
        opens = max(known.floor + self.span, known.clock)
        yield opens
        yield from (max(opens, due) for due in self._leavings(known))

    def _given_up_at(self, known: Known) -> float:
        alert = known.alert
        if alert is None or alert.phase != "firing" or not self.rule.by:
            return FAR
        return alert.fired_at + max(30 * DAY, self.span)

    def holds(self, known: Known, t: float) -> bool:
        opens = known.floor + self.span
        return opens <= t and self._true(self.rule.condition.whole, known, t)
