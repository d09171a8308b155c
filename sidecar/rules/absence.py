"""A key whose silence is the alert: too few events in the window."""

from sidecar.parse.event import Event
from sidecar.rules.alert import Phase, Trigger
from sidecar.rules.compiled import DEFAULT_SPAN, CompiledRule
from sidecar.rules.condition import ends_by_one
from sidecar.rules.guard import Samples
from sidecar.rules.keystate import KeyState
from sidecar.rules.rule import Key
from sidecar.rules.transitions import TransitionLog
from sidecar.rules.windows import NEVER


def silence_of(compiled: CompiledRule) -> float:
    """Return for how many seconds events may be judged at once, and no lack of them is missed."""
    if not compiled.absent and not compiled.pairs:
        return NEVER
    condition = compiled.rule.condition
    one_ends_it = compiled.pairs or ends_by_one(condition)
    return (compiled.rule.within or compiled.span) if one_ends_it else 0.0


class AbsentKey(KeyState):
    """The state of one such key.

    It is judged on ticks only, never by an event's own time. `floor` is where observation starts:
    at the rule's load, the key's first event or the latest `resolve`, whichever is last. The alert
    fires `within` after that at the earliest, and ends when enough events have come. A key that
    stays silent for 30 days more is dropped, no longer seen: it is gone for good.
    """

    __slots__ = ("over",)

    def __init__(
        self, compiled: CompiledRule, key: Key, transition_log: TransitionLog, start: float
    ) -> None:
        super().__init__(compiled, key, transition_log)
        self.floor = start
        self.windows = compiled.fresh()
        self.over = False  # resolved: forget the key

    def observe(self, event: Event, samples: Samples) -> None:
        """Process an event: it can end an alert, never make one."""
        if not self._seen_before(event):
            self.count(event.at, samples, event)

    def count(self, at: float, samples: Samples, event: Event | None = None) -> None:
        """Count events at `at`, with or without the event itself."""
        self.clock = max(self.clock, at)
        self._add(at, samples)
        if event is not None:
            self._note_event(event)
        if self.alert is not None and not self.holds(self.clock):
            self.judge(self.clock, event, by_event=True)

    def resolve(self, event: Event) -> None:
        """End the alert; a key that is named by fields is forgotten until it is seen again."""
        if self.alert is not None:
            self.alert.note_end(event, self.compiled, self.transition_log.redact)
        self.end(event.at)

    def end(self, t: float) -> None:
        super().end(t)
        self.over = bool(self.compiled.by)

    def advance(self, t: float) -> None:
        """Do nothing: only a tick that saw every source to its end may judge."""

    def judge(self, t: float, event: Event | None = None, *, by_event: bool = False) -> None:
        if self._forgotten_at() > t:
            super().judge(t, event, by_event=by_event)
            return
        self.trigger(Trigger.RUNS_OUT, t)
        self.trigger(Trigger.KEEP_OVER, t)
        self.over = True

    def _forgotten_at(self) -> float:
        """Return when a key that fires and stays silent is given up."""
        alert = self.alert
        if alert is None or alert.phase is not Phase.FIRING or not self.compiled.by:
            return NEVER
        return (alert.fired_at or self.clock) + max(DEFAULT_SPAN, self.compiled.span)

    def holds(self, t: float) -> bool:
        windows = self.windows or ()
        return self._opens_at() <= t and self.compiled.holds(windows, t)

    def _opens_at(self) -> float:
        return self.floor + self.compiled.span

    def due_after(self, t: float) -> float:
        if self.alert is not None:
            changes = min((w.changes_after(t) for w in self.windows or ()), default=NEVER)
            return min(self.alert_due(self.alert), self._forgotten_at(), changes)
        # What was not judged while it lasted is history: a gap that is read later is no absence.
        due = max(self._opens_at(), t)
        while due < NEVER and not self.holds(due):
            due = min((w.changes_after(due) for w in self.windows or ()), default=NEVER)
        if due == NEVER and self._fades() and (gone := self.gone_at()) > t:
            return gone
        return due

    def due_after_event(self) -> float:
        """Return the same; a key of which nothing is left waits for a tick to let it go.

        More events of this very instant may be to come.
        """
        due = super().due_after_event()
        empty = due == NEVER and self.alert is None and not self.over
        return self.clock if empty and self._fades() else due

    def _fades(self) -> bool:
        """Return whether nothing is left to judge once the last sample has left."""
        return bool(self.compiled.by) and not self.compiled.true_when_empty

    def is_gone(self, t: float) -> bool:
        if self.alert is not None:
            return False
        return self.over or (self.due == NEVER and self._fades() and self.gone_at() <= t)
