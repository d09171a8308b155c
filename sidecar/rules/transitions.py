"""The transitions of one step, in order and numbered, and how many alerts are open."""

from collections.abc import Mapping

import msgspec

from sidecar.parse.event import Event
from sidecar.rules.alert import (
    Alert,
    Ended,
    LineOf,
    OpenAlert,
    Redact,
    Transition,
    TransitionKind,
    outside,
)
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.rule import Facts, Key

# An escalation told within this of its instant is on time.
_ON_TIME = 60.0
_ENDED = frozenset({TransitionKind.RESOLVED, TransitionKind.EXPIRED, TransitionKind.CLOSED})


def no_line(_: Event) -> None:
    """Stand in for a LineOf where events come from no log."""


class TransitionLog:
    """Collects transitions between two drains and numbers them.

    `now` (wall clock) and `stale` belong to the step under way, `line_of` to the chunk.
    """

    def __init__(self, redact: Redact) -> None:
        self.redact = redact
        self.facts: dict[str, Facts] = {}
        self.person: str | None = None  # who is ending an alert by hand
        self.line_of: LineOf = no_line
        self.now = 0.0
        self.stale = False
        self.last_change = 0
        self.transitions: list[Transition] = []
        self.place = (0, 0)  # of the event under way and of its rule: what is told stands in order
        self._written: list[tuple[tuple[int, int], OpenAlert]] = []  # beside each since `begin`
        self._before = 0
        self.open_alerts: dict[tuple[str, str, str], int] = {}

    def start_step(self, *, now: float, stale: bool) -> None:
        self.now = now
        self.stale = stale

    def write(
        self,
        kind: TransitionKind,
        name: str,
        key: Key,
        alert: OpenAlert,
        at: float,
        *,
        before: dict[str, str] | None = None,
        due: float | None = None,
    ) -> None:
        """Record a transition of `alert` at rule time `at`; `due`: when it should have come."""
        self.last_change += 1
        alert.change = self.last_change
        self._written.append((self.place, alert))
        if kind is TransitionKind.FIRED:
            # Change numbers never repeat and rise: the first one of a firing names its episode.
            alert.episode, alert.fired_at = alert.change, at
        late = 0.0 if due is None else self.now - due
        snapshot = self.snapshot(
            name, key, alert, at if kind in _ENDED else None, unseen=kind is TransitionKind.EXPIRED
        )
        if kind in _ENDED:
            ended = self._ended(kind, alert)
            snapshot = msgspec.structs.replace(
                snapshot, ended=ended, ended_person=self.person or ""
            )
        self.transitions.append(
            Transition(
                kind=kind,
                alert=snapshot,
                at=at,
                stale=self.stale,
                late_by=late if late > _ON_TIME else 0.0,
                before=before or {},
            )
        )

    def snapshot(
        self,
        name: str,
        key: Key,
        alert: OpenAlert,
        ended_at: float | None = None,
        *,
        unseen: bool = False,
    ) -> Alert:
        """Return an open alert as the others see it."""
        found = alert.snapshot(name, key, self.redact, ended_at, unseen=unseen)
        return msgspec.structs.replace(found, rule=self.facts.get(name, Facts()))

    def begin(self) -> None:
        """Begin to take what rules make of the same events, one rule after another."""
        self._before = len(self.transitions)
        self._written = []

    def put_in_order(self) -> None:
        """Order what was taken by event and rule, and number it anew."""
        places = [place for place, _ in self._written]
        order = sorted(range(len(places)), key=places.__getitem__)
        if order != list(range(len(places))):
            some = [self.transitions[self._before + n] for n in order]
            first = self.last_change - len(some) + 1
            numbers = {one.alert.change: first + n for n, one in enumerate(some)}
            self.transitions[self._before :] = [_renumbered(one, numbers) for one in some]
            for alert in {id(alert): alert for _, alert in self._written}.values():
                alert.change = numbers[alert.change]
                alert.episode = numbers.get(alert.episode, alert.episode)
        self._written = []

    def _ended(self, kind: TransitionKind, alert: OpenAlert) -> Ended:
        if kind is TransitionKind.RESOLVED:
            if self.person is not None:
                return Ended.BY_HAND
            return Ended.EVENT if alert.ended_by is not None else Ended.CLEARED
        return Ended.UNSEEN if kind is TransitionKind.EXPIRED else Ended.CLOSED

    def enlist(self, compiled: CompiledRule) -> None:
        """Let the rule's severities exist in the gauge at 0, and its facts be known."""
        self.facts[compiled.rule.name] = compiled.rule.facts
        steps = [step.labels.get("severity") for step in compiled.rule.escalate]
        for severity in (compiled.rule.severity, *filter(None, steps)):
            for state in ("pending", "firing"):
                self.open_alerts.setdefault((compiled.rule.name, severity, state), 0)

    def count_open(self, alert: OpenAlert | None, by: int) -> None:
        """Count an open alert in (`by` 1) or out (-1)."""
        if alert is None:
            return
        labels = alert.labels
        series = (labels["alertname"], labels.get("severity", ""), outside(alert.phase).value)
        self.open_alerts[series] = self.open_alerts.get(series, 0) + by

    def drain(self) -> list[Transition]:
        out, self.transitions = self.transitions, []
        return out


def _renumbered(one: Transition, numbers: Mapping[int, int]) -> Transition:
    alert = one.alert
    change, episode = numbers[alert.change], numbers.get(alert.episode, alert.episode)
    return msgspec.structs.replace(
        one, alert=msgspec.structs.replace(alert, change=change, episode=episode)
    )
