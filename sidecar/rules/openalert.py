"""The record of one alert that is pending or firing, and its escalation steps."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from sidecar.parse.event import Event
from sidecar.rules.alert import Alert, AlertState
from sidecar.rules.instant import field_of, instant_of
from sidecar.rules.program import Program
from sidecar.rules.rule import Escalation, Key
from sidecar.rules.states import Phase, outside

Redact = Callable[[Mapping[str, Any]], dict[str, Any]]


class OpenAlert(msgspec.Struct):
    """One alert from pending to its end; mutable, private to the rules.

    `turned`: when the condition became false while it fires. `instants`: per field that a step
    looks at, the newest event time that carried it and the instant it named. `reached`: the places
    of the steps behind it. `event` holds the fields as logged until `seal` redacts them.
    """

    phase: Phase
    since: float
    labels: dict[str, str]
    annotations: dict[str, str]
    fired_at: float | None = None
    episode: int = 0
    change: int = 0
    turned: float | None = None
    value: float | str | None = None
    event: dict[str, Any] = {}
    sealed: bool = True
    instants: dict[str, tuple[float, float]] = {}
    reached: list[int] = []
    steps: str = ""

    def touch(self, event: Event, program: Program) -> None:
        """Remember `event` as the last one that concerned this alert, and the instants in it."""
        self.event, self.sealed = event.fields, False
        for name in program.instants:
            instant = instant_of(field_of(event, name))
            known = self.instants.get(name)
            if instant is not None and (known is None or event.at >= known[0]):
                self.instants[name] = (event.at, instant)

    def seal(self, redact: Redact) -> dict[str, Any]:
        """Return the last event, redacted; done once per event however often it is asked for."""
        if not self.sealed:
            self.event, self.sealed = redact(self.event), True
        return self.event

    def dress(self, program: Program, key: Key) -> None:
        """Make labels and annotations anew: the rule's, then each reached step's in list order."""
        self.labels = {
            "alertname": program.rule.name,
            **dict(zip(program.by_labels, key, strict=True)),
            **program.rule.labels,
        }
        # Shared by all alerts of the rule until a step changes them: keys may be many.
        self.annotations = program.annotations
        for place, step in enumerate(program.rule.escalate):
            if place in self.reached:
                self.labels.update(step.labels)
                self.annotations = {**self.annotations, **step.annotations}

    def steps_ahead(self, program: Program) -> Iterator[tuple[float, int]]:
        """Yield (due, place) of each step not yet reached whose instant is known."""
        if self.phase is Phase.PENDING or self.fired_at is None:
            return
        for place, step in enumerate(program.rule.escalate):
            if place not in self.reached:
                due = self._due(step, self.fired_at)
                if due is not None:
                    yield due, place

    def _due(self, step: Escalation, fired_at: float) -> float | None:
        known = self.instants.get(step.at_field)
        if known is not None:
            return known[1] + step.offset
        return None if step.after is None else fired_at + step.after

    def snapshot(self, name: str, key: Key, redact: Redact, ended_at: float | None = None) -> Alert:
        return Alert(
            name=name,
            key=key,
            episode=self.episode,
            change=self.change,
            state=outside(self.phase) if ended_at is None else AlertState.RESOLVED,
            labels=dict(self.labels),
            annotations=dict(self.annotations),
            value=self.value,
            since=self.since,
            fired_at=self.fired_at,
            ended_at=ended_at,
            event=self.seal(redact),
        )
