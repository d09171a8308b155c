"""What the rules hand on: alerts as immutable snapshots, and the transitions between states."""

from enum import StrEnum
from typing import Any

import msgspec

from sidecar.rules.rule import Key


class AlertState(StrEnum):
    """States of an alert. `inactive` is the absence of a row."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Alert(msgspec.Struct, frozen=True):
    """One rule and one label set at one moment.

    Identity is (`name`, `key`), `key` being the raw values of the rule's `by`. `episode` counts
    its firings, `change` is the number of the transition that made this snapshot (unique and
    rising over all alerts). `labels` hold alertname, the `by` fields and the rule's labels with
    every reached escalation laid over. `annotations` are still templates. `event` is the last
    event that touched it, already redacted. Instants in rule time: `since` the
    condition became true, `fired_at`, `ended_at`.
    """

    name: str
    key: Key
    episode: int
    change: int
    state: AlertState
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float | str | None
    since: float
    fired_at: float | None = None
    ended_at: float | None = None
    event: dict[str, Any] = {}

    @property
    def severity(self) -> str:
        return self.labels.get("severity", "")


class TransitionKind(StrEnum):
    """What happened. EXPIRED (a window ran out under a rule with `resolve`) is told to nobody;
    CLOSED means the rule changed or went away.
    """

    FIRED = "fired"
    ESCALATED = "escalated"
    RESOLVED = "resolved"
    EXPIRED = "expired"
    CLOSED = "closed"


class Transition(msgspec.Struct, frozen=True):
    """A change of an alert's state at rule time `at`.

    `stale`: caused by an event older than `stale_after` when read; it is told in a digest.
    `late_by`: seconds between when an escalation was due and when it could be told, 0 if on time.
    `before`: the labels it had until an ESCALATED transition.
    """

    kind: TransitionKind
    alert: Alert
    at: float
    stale: bool = False
    late_by: float = 0.0
    before: dict[str, str] = {}
