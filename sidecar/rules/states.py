"""The life of an alert as one table: in which phase, on which happening, what comes of it."""

from enum import StrEnum

from sidecar.rules.alert import AlertState, TransitionKind


class Phase(StrEnum):
    """Where an alert is. All but the first two are `firing` to the outside."""

    INACTIVE = "inactive"  # no alert
    PENDING = "pending"  # the condition holds, `for` is running
    FIRING = "firing"
    LATCHED = "latched"  # an event made the condition false, but only `resolve` may end it
    CLEARING = "clearing"  # the condition is false, `keep_firing_for` is running
    LAPSING = "lapsing"  # the same after the window ran out or a state went unconfirmed


class Happening(StrEnum):
    """What can happen to an alert at an instant of rule time."""

    HOLDS = "condition holds"
    CLEARS = "condition false"
    DOUBTED = "condition false by an event, under a rule with resolve"
    RUNS_OUT = "window ran out under a rule with resolve, or hold passed"
    FOR_OVER = "held for long enough"
    KEEP_OVER = "false for long enough"
    STEP = "escalation instant reached"
    RESOLVE = "resolve event, or a person"
    CLOSE = "rule changed or gone"


P, H, T = Phase, Happening, TransitionKind

# A pair that is not here changes nothing.
TABLE: dict[tuple[Phase, Happening], tuple[Phase, TransitionKind | None]] = {
    (P.INACTIVE, H.HOLDS): (P.PENDING, None),
    (P.PENDING, H.CLEARS): (P.INACTIVE, None),
    (P.PENDING, H.DOUBTED): (P.INACTIVE, None),
    (P.PENDING, H.RUNS_OUT): (P.INACTIVE, None),
    (P.PENDING, H.RESOLVE): (P.INACTIVE, None),
    (P.PENDING, H.CLOSE): (P.INACTIVE, None),
    (P.PENDING, H.FOR_OVER): (P.FIRING, T.FIRED),
    (P.FIRING, H.CLEARS): (P.CLEARING, None),
    (P.FIRING, H.DOUBTED): (P.LATCHED, None),
    (P.FIRING, H.RUNS_OUT): (P.LAPSING, None),
    (P.FIRING, H.STEP): (P.FIRING, T.ESCALATED),
    (P.FIRING, H.RESOLVE): (P.INACTIVE, T.RESOLVED),
    (P.FIRING, H.CLOSE): (P.INACTIVE, T.CLOSED),
    (P.LATCHED, H.HOLDS): (P.FIRING, None),
    (P.LATCHED, H.RUNS_OUT): (P.LAPSING, None),
    (P.LATCHED, H.STEP): (P.LATCHED, T.ESCALATED),
    (P.LATCHED, H.RESOLVE): (P.INACTIVE, T.RESOLVED),
    (P.LATCHED, H.CLOSE): (P.INACTIVE, T.CLOSED),
    (P.CLEARING, H.HOLDS): (P.FIRING, None),
    (P.CLEARING, H.KEEP_OVER): (P.INACTIVE, T.RESOLVED),
    (P.CLEARING, H.STEP): (P.CLEARING, T.ESCALATED),
    (P.CLEARING, H.RESOLVE): (P.INACTIVE, T.RESOLVED),
    (P.CLEARING, H.CLOSE): (P.INACTIVE, T.CLOSED),
    (P.LAPSING, H.HOLDS): (P.FIRING, None),
    (P.LAPSING, H.KEEP_OVER): (P.INACTIVE, T.EXPIRED),
    (P.LAPSING, H.STEP): (P.LAPSING, T.ESCALATED),
    (P.LAPSING, H.RESOLVE): (P.INACTIVE, T.RESOLVED),
    (P.LAPSING, H.CLOSE): (P.INACTIVE, T.CLOSED),
}

ENDING = frozenset({P.CLEARING, P.LAPSING})


def outside(phase: Phase) -> AlertState:
    """Return how an open alert's phase looks to everybody else."""
    return AlertState.PENDING if phase is Phase.PENDING else AlertState.FIRING
