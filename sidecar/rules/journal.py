"""What a step brings about: transitions with their numbers, and how many alerts are open."""

from sidecar.rules.alert import Transition, TransitionKind
from sidecar.rules.openalert import OpenAlert, Redact
from sidecar.rules.program import Program
from sidecar.rules.rule import Key
from sidecar.rules.states import outside

# An escalation told within this of its instant is on time.
_ON_TIME = 60.0
_ENDED = frozenset({TransitionKind.RESOLVED, TransitionKind.EXPIRED, TransitionKind.CLOSED})


class Journal:
    """Collects transitions between two drains and numbers them.

    `now` (wall clock) and `stale` belong to the step under way.
    """

    def __init__(self, redact: Redact) -> None:
        self.redact = redact
        self.now = 0.0
        self.stale = False
        self.last_change = 0
        self.transitions: list[Transition] = []
        self.gauge: dict[tuple[str, str, str], int] = {}

    def begin(self, *, now: float, stale: bool) -> None:
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
        if kind is TransitionKind.FIRED:
            # Change numbers never repeat and rise: the first one of a firing names its episode.
            alert.episode, alert.fired_at = alert.change, at
        late = 0.0 if due is None else self.now - due
        self.transitions.append(
            Transition(
                kind=kind,
                alert=alert.snapshot(name, key, self.redact, at if kind in _ENDED else None),
                at=at,
                stale=self.stale,
                late_by=late if late > _ON_TIME else 0.0,
                before=before or {},
            )
        )

    def enlist(self, program: Program) -> None:
        """Let the rule's severities exist in the gauge at 0."""
        steps = [step.labels.get("severity") for step in program.rule.escalate]
        for severity in (program.rule.severity, *filter(None, steps)):
            for state in ("pending", "firing"):
                self.gauge.setdefault((program.rule.name, severity, state), 0)

    def gauge_add(self, alert: OpenAlert | None, by: int) -> None:
        """Count an open alert in (`by` 1) or out (-1)."""
        if alert is None:
            return
        labels = alert.labels
        series = (labels["alertname"], labels.get("severity", ""), outside(alert.phase).value)
        self.gauge[series] = self.gauge.get(series, 0) + by

    def take_transitions(self) -> list[Transition]:
        out, self.transitions = self.transitions, []
        return out
