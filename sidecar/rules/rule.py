"""What a rule file says: the rule, its condition and its escalation steps, all frozen."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from sidecar.matchers import Matcher

Key = tuple[str, ...]

# The provider of events about the sidecar itself: only rules that name it ever see them.
OWN_PROVIDER = "sidecar"
Comparator = Literal[">", ">=", "<", "<=", "==", "!=", "in"]


def label_name(field_name: str) -> str:
    """Return the label that a field of `by` becomes, `usage_costs_model` of `usage_costs.model`."""
    return field_name.replace(".", "_")


class Function(StrEnum):
    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    AVG = "avg"
    DISTINCT = "distinct"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`function(field)` over the window, of the events that also meet `match`."""

    function: Function
    field: str = ""
    match: tuple[Matcher, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`left` (divided by `divisor`, if any) held against a number, a text, or a list.

    A list (`in`) is in `values` as text and, when all of it was written as numbers, in `numbers`.
    """

    left: Aggregate
    divisor: Aggregate | None = None
    op: Comparator
    number: float | None = None
    values: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """Comparisons that must all hold; `text` is what the user wrote."""

    comparisons: tuple[Comparison, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """A step of `escalate`: the absolute instant `at_field + offset` taken from the event, or
    `after` seconds from firing where no event carried the field. Reached, it lays its labels and
    annotations over the alert's.
    """

    at_field: str = ""
    offset: float = 0.0
    after: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alerting rule. Durations in seconds; `match` and `resolve` are all-of lists of matchers.

    `resolve` None: the alert ends when the condition turns false. `hold` belongs to `last()`
    conditions: a state nobody confirms for so long is dropped. `place` is `file:line`.
    """

    name: str
    group: str
    match: tuple[Matcher, ...]
    by: tuple[str, ...]
    condition: Condition
    within: float | None = None
    for_: float = 0.0
    keep_firing_for: float = 0.0
    hold: float | None = None
    resolve: tuple[Matcher, ...] | None = None
    dedup_by: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    escalate: tuple[Escalation, ...] = ()
    place: str = ""

    @property
    def severity(self) -> str:
        return self.labels.get("severity", "")

    @property
    def by_labels(self) -> tuple[str, ...]:
        """The label that each field of `by` becomes: dots are no part of a label's name."""
        return tuple(label_name(field) for field in self.by)

    @property
    def about_us(self) -> bool:
        """Whether the rule is about the sidecar itself: it names our own provider."""
        own = (m for m in self.match if m.name == "webhook_provider")
        return any(OWN_PROVIDER in matcher.named_values() for matcher in own)

    @property
    def signature(self) -> str:
        """Digest of what stored windows depend on; state survives a reload while it is equal."""
        parts = (
            [str(m) for m in self.match],
            list(self.by),
            self.condition.text,
            self.within,
            None if self.resolve is None else [str(m) for m in self.resolve],
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
