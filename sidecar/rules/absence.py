"""Absence: too few events in the window. Judged only on ticks, never by an event's own time.

Observation starts at the rule's load, the key's first event or the latest `resolve`, whichever is
last, and the alert fires `within` after that at the earliest: for `count() < 1` that is `within`
after the last event. It ends when enough events have come. A key that stays silent for 30 days
more is forgotten, and nobody is told: it is gone for good.
"""

from sidecar.parse.event import Event
from sidecar.rules.journal import Journal
from sidecar.rules.keystate import KeyState
from sidecar.rules.program import DEFAULT_SPAN, Program, Samples
from sidecar.rules.rule import Key
from sidecar.rules.states import Happening, Phase
from sidecar.rules.window import NEVER


class AbsentKey(KeyState):
    """A key whose silence is the alert. Here `floor` is where observation starts."""

    __slots__ = ("over",)

    def __init__(self, program: Program, key: Key, journal: Journal, start: float) -> None:
        super().__init__(program, key, journal)
        self.floor = start
        self.windows = program.fresh()
        self.over = False  # resolved: forget the key

    def take(self, event: Event, samples: Samples) -> None:
        """Process an event: it can end an alert, never make one."""
        if not self._seen_before(event):
            self.count(event.at, samples, event)

    def count(self, at: float, samples: Samples, event: Event | None = None) -> None:
        """Count events at `at`, with or without the event itself."""
        self.clock = max(self.clock, at)
        self._add(at, samples)
        if event is not None:
            self._touch(event)
        if self.alert is not None and not self.holds(self.clock):
            self.settle(self.clock, event)

    def resolve(self, event: Event) -> None:
        """End the alert; a key that is named by fields is forgotten until it is seen again."""
        if self._seen_before(event):
            return
        if self.alert is not None:
            self.alert.touch(event, self.program)
        self.end(event.at)

    def end(self, t: float) -> None:
        super().end(t)
        self.over = bool(self.program.by)

    def advance(self, t: float) -> None:
        """Do nothing: only a tick that saw every source to its end may judge."""

    def settle(self, t: float, event: Event | None = None) -> None:
        if self._forgotten_at() > t:
            super().settle(t, event)
            return
        self.happen(Happening.RUNS_OUT, t)
        self.happen(Happening.KEEP_OVER, t)
        self.over = True

    def _forgotten_at(self) -> float:
        """Return when a key that fires and stays silent is given up."""
        alert = self.alert
        if alert is None or alert.phase is not Phase.FIRING or not self.program.by:
            return NEVER
        return (alert.fired_at or self.clock) + max(DEFAULT_SPAN, self.program.span)

    def holds(self, t: float) -> bool:
        windows = self.windows or ()
        return self._opens_at() <= t and self.program.holds(windows, t)

    def _opens_at(self) -> float:
        return self.floor + self.program.span

    def due_after(self, t: float) -> float:
        if self.alert is not None:
            return min(self.alert_due(self.alert), self._forgotten_at())
        # What was not judged while it lasted is history: a gap that is read later is no absence.
        due = max(self._opens_at(), t)
        while due < NEVER and not self.holds(due):
            due = min((w.changes_after(due) for w in self.windows or ()), default=NEVER)
        return due

    def is_gone(self, t: float) -> bool:  # noqa: ARG002 - it is over at any time
        return self.over and self.alert is None
