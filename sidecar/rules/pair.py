"""One id of a rule with `expect`: a half that waits for the other one, or the alert that it missed.

An id of which both halves came is forgotten, so that only open pairs take memory. Halves belong
together that are `within` apart, in any order; one whose other half comes later than that, and
before anybody was told, is paired as well. That a half is missing is judged like any absence:
only once every log is read to its end.
"""

import json
from collections.abc import Container, Sequence
from typing import Any, NamedTuple

from sidecar.parse.event import Event
from sidecar.rules.alert import OpenAlert, Trigger
from sidecar.rules.compiled import DEFAULT_SPAN, CompiledRule
from sidecar.rules.guard import Samples
from sidecar.rules.keystate import KeyState
from sidecar.rules.rule import Key
from sidecar.rules.transitions import TransitionLog
from sidecar.rules.verdict import Run
from sidecar.rules.windows import NEVER


class Half(NamedTuple):
    """What came at `at`: the event of `first`, or None for one of `then`, which only waits."""

    at: float
    event: Event | None


def unpaired(run: Run, known: Container[Key], span: float) -> Run:
    """Return what of `run` has to be looked at one by one: all but pairs that are whole within it.

    `known`: ids of which a half, or an alert, is there already; `span`: how far the halves of a
    pair may be apart, in seconds. Where a log is caught up with, nearly all are whole.
    """
    numbers: dict[Key, list[int]] = {}
    for number, key in enumerate(run.keys):
        numbers.setdefault(key, []).append(number)
    left = [
        number
        for key, some in numbers.items()
        if key[0] and (key in known or not _is_whole(run, some, span))
        for number in some
    ]
    return run.only(sorted(left))


def _is_whole(run: Run, numbers: Sequence[int], span: float) -> bool:
    """Return whether these are one half each, as `PairKey` takes them."""
    first = [run.times[number] for number in numbers if not run.verdicts[number].resolves]
    then = [run.times[number] for number in numbers if run.verdicts[number].resolves]
    return len(first) == len(then) == 1 and then[0] >= first[0] - span


class PairKey(KeyState):
    """A key is the id; without one nothing is kept. The alert ends with the other half, by hand, or
    30 days after it fired, as no longer seen.
    """

    __slots__ = ("half",)

    def __init__(self, compiled: CompiledRule, key: Key, transition_log: TransitionLog) -> None:
        super().__init__(compiled, key, transition_log)
        self.half: Half | None = None

    @property
    def waits_for_all(self) -> bool:
        return self.alert is not None or (self.half is not None and self.half.event is not None)

    def observe(self, event: Event, samples: Samples) -> None:
        """Take an event of `first`: of several the earliest begins the pair."""
        del samples
        half = self._take(event)
        if not self.key[0]:
            return
        if self.alert is not None:
            self._keep(event, self.alert, upholds=True)
        elif half is None or (half.event is not None and event.at < half.at):
            self.half = Half(event.at, event)
        elif half.event is None:
            apart = event.at > half.at + self.compiled.span
            self.half = Half(event.at, event) if apart else None
            self.scheduled = NEVER  # it waits among the absences now

    def resolve(self, event: Event) -> None:
        """Take an event of `then`; one from long before `first` is another one's."""
        half = self._take(event)
        if not self.key[0]:
            return
        if self.alert is not None:
            if event.at >= self.alert.since - self.compiled.span:
                self.alert.note_end(event, self.compiled, self.transition_log.redact)
                self.trigger(Trigger.RESOLVE, self.clock)
        elif half is None or half.event is None:
            self.half = Half(max(event.at, half.at if half else event.at), None)
        elif event.at >= half.at - self.compiled.span:
            self.half = None

    def _take(self, event: Event) -> Half | None:
        self.changed = True
        self.clock = max(self.clock, event.at)
        return self.half

    def advance(self, t: float) -> None:
        """Do nothing: only a tick may judge."""

    def meet_deadline(self, t: float) -> None:
        half, alert = self.half, self.alert
        if alert is not None and self._forgotten_at(alert) <= t:
            self.trigger(Trigger.RUNS_OUT, t)
            self.trigger(Trigger.KEEP_OVER, t)
        elif alert is not None:
            self._escalate(alert, t)
        elif half is not None and half.at + self.compiled.span <= t:
            self.half, self.changed = None, True
            if half.event is not None and self.compiled.since < NEVER:
                self._fire(half.at, t, half.event)
        self.due = self.due_after(t)

    def _fire(self, since: float, t: float, event: Event) -> None:
        self.trigger(Trigger.HOLDS, since, event)
        self.trigger(Trigger.FOR_OVER, t)
        if self.alert is not None:
            self._escalate(self.alert, t)

    def due_after(self, t: float) -> float:
        del t
        if self.alert is not None:
            return min(self.alert_due(self.alert), self._forgotten_at(self.alert))
        return NEVER if self.half is None else self.half.at + self.compiled.span

    def _forgotten_at(self, alert: OpenAlert) -> float:
        return (alert.fired_at or self.clock) + max(DEFAULT_SPAN, self.compiled.span)

    def is_gone(self, t: float) -> bool:
        del t
        return self.alert is None and self.half is None

    def pack(self) -> list[Any] | None:
        """Return the half that waits, its event redacted and as JSON, which has large integers."""
        if self.half is None:
            return None
        at, event = self.half
        if event is None:
            return [at]
        fields = json.dumps(self.transition_log.redact(event.fields), default=str)
        return [at, *event.triple, fields]

    def load(self, packed: list[Any]) -> None:
        """Take up what `pack` returned. Raises ValueError where it is damaged."""
        if len(packed) == 1:
            self.half = Half(float(packed[0]), None)
        elif packed:
            at, provider, event_type, status, fields = packed
            event = Event(provider, event_type, status, float(at), json.loads(fields))
            self.half = Half(event.at, event)
