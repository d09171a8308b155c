"""What a rule file says: the rule, its condition and its escalation steps, all frozen."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from sidecar.durations import write_duration
from sidecar.matchers import Matcher
from sidecar.parse.event import HOST, OWN_PROVIDER
from sidecar.rules.aggregates import FUNCTIONS, Shows
from sidecar.rules.condition import And, Condition, Instant, parse_instant
from sidecar.rules.grammar import parse_condition
from sidecar.syntax.faults import Wrong
from sidecar.syntax.table import Nested, Reading, Schema, Table, Value, key, table
from sidecar.syntax.tree import ListNode
from sidecar.syntax.values import (  # fmt: skip
    FIELD,
    LABEL,
    Duration,
    Field,
    Flag,
    MaybeDuration,
    MaybeField,
    MaybePositive,
    OneTest,
    Positive,
    Text,
    check_label,
    choice,
    shaped_field,
    string,
)

Key = tuple[str, ...]

# The provider of events about the sidecar itself: only rules that name it ever see them.


def label_name(field_name: str) -> str:
    """Return the label that a field of `by` becomes, `usage_costs_model` of `usage_costs.model`."""
    return field_name.replace(".", "_")


def _either(functions: Iterable[object]) -> str:
    return "|".join(map(str, functions))


def _alert_name(text: str) -> str:
    if not text or not text.isprintable():
        raise Wrong("an alert's name is one line of text")
    return text


def _by_field(text: str) -> str:
    check_label(label_name(text), ("alertname",))
    return shaped_field(text)


_WINDOWED = [f for f in FUNCTIONS.values() if f.shows is not Shows.STATE]
# Finds what needs a window in a condition.
WINDOWED = rf"\b({_either(_WINDOWED)})\s*\("
_STATES = [f for f in FUNCTIONS.values() if f.shows is Shows.STATE]
AlertName = Annotated[str, Value(_alert_name, "a name", string(r"^[^\r\n]+$"))]
ACondition = Annotated[
    Condition,
    Value(
        parse_condition,
        "a condition",
        string(
            rf"^[\s(]*(not[\s(]+)*([\d.]+[\s*+/(-]+)*({_either(FUNCTIONS.values())})\s*"
            r"\(.*\).*(>=|<=|==|!=|=~|!~|>|<|in\s*\[)"
        ),
        stand_in=Condition(And(()), ""),
    ),
]
AnInstant = Annotated[
    Instant,
    Value(
        parse_instant,
        "an instant",
        string(
            r"^\s*[A-Za-z_][A-Za-z0-9_.]*\s*(\+\s*[A-Za-z_][A-Za-z0-9_.]*\s+days\s*)?"
            r"([+-]\s*\w+)?\s*$"
        ),
    ),
]
ByField = Annotated[
    str,
    Value(_by_field, "a field", {"allOf": [FIELD, {"not": {"pattern": r"^(__|alertname$)"}}]}),
]
# Of our own events those that only whoever judges sees: of several hosts they are of all.
SEEN_BY_JUDGE = frozenset(
    f"sidecar.{what}"
    for what in (
        "host_silent", "outbox_stuck", "drill_failed", "stripe_silent", "template_failed",
        "destination_dead",
    )
)  # fmt: skip
_ANNOTATIONS = (
    "Jinja2 templates over value, labels, event and ended_by; summary, description and runbook_url "
    "are shown in messages."
)
_PLAIN = {"type": "string", "not": {"pattern": r"\{\{|\{%"}}
_LABELS = {
    "propertyNames": {"allOf": [LABEL, {"not": {"enum": ["alertname"]}}]},
    "additionalProperties": _PLAIN,
}


@table
class Escalation(Table):
    """A step of `escalate`: the absolute instant `at` (a field and an offset) taken from the event,
    or `after` seconds from firing where no event carried the field. Reached, it lays its labels
    and annotations over the alert's.
    """

    schema: ClassVar[Schema] = {
        "allOf": [
            {"anyOf": [{"required": ["at"]}, {"required": ["after"]}]},
            {"anyOf": [{"required": ["labels"]}, {"required": ["annotations"]}]},
        ]
    }

    at: AnInstant = key(
        "An absolute instant taken from the event: field, field + 3d or field + other_field days; "
        "event_time is the event's own.",
        default=Instant(""),
    )
    after: MaybeDuration = key(
        "From firing; used where no event carried the field of `at`.", default=None
    )
    labels: Mapping[str, Text] = key("Laid over the rule's labels.", schema=_LABELS, default={})
    annotations: Mapping[str, Text] = key(_ANNOTATIONS, schema={"propertyNames": LABEL}, default={})

    def check(self, reading: Reading) -> "Escalation":
        written = reading.node(self).values
        if "at" not in written and "after" not in written:
            hint = "write at: current_period_end + 3d, or after: 3d"
            reading.error(self, "", "the step does not say when", hint)
        if "labels" not in written and "annotations" not in written:
            hint = "write for example labels: {severity: critical}"
            reading.error(self, "", "the step changes nothing", hint)
        return self


@table
class Resolve(Table):
    match: tuple[OneTest, ...] = key(
        "Tests of the event that ends the alert.", schema={"minItems": 1}
    )

    def check(self, reading: Reading) -> "Resolve":
        node = reading.node(self).values.get("match")
        if isinstance(node, ListNode) and not node.items:
            message = "an empty `match` ends it at every event"
            reading.error(self, "match", message, "name the event that ends the alert")
        return self


ResolveMatch = Annotated[
    tuple[Matcher, ...] | None, Nested(lambda: Resolve, lambda made: made.match)
]


@table
class Link(Table):
    """A link in messages; in `url` each value of the template is encoded for its place there."""

    text: Text = key("What the link is called.")
    url: Text = key(
        "A Jinja2 template like an annotation's; it begins with http://, https:// or, relative to "
        "`external_url`, with /.",
        schema={"pattern": "^(https?://|/)"},
    )


@table
class Expect(Table):
    """A pair of events that share an id: where one of `first` comes, one of `then` belongs to it.

    They may be `within` seconds apart, whichever comes first.
    """

    first: tuple[OneTest, ...] = key(
        "Tests of the event that waits for another one.", schema={"minItems": 1}
    )
    then: tuple[OneTest, ...] = key("Tests of the event that is expected.", schema={"minItems": 1})
    by: ByField = key("The field in which both name the same id; the label of the alert.")
    within: Positive = key("How far apart they may be, in event time, whichever comes first.")
    once_seen: Flag = key(
        "Judge from the first event of `then` on that names an id: a log that never did says "
        "nothing of what is missing.",
        default=False,
    )

    def check(self, reading: Reading) -> "Expect":
        for name in ("first", "then"):
            node = reading.node(self).values.get(name)
            if isinstance(node, ListNode) and not node.items:
                reading.error(self, name, f"an empty `{name}` is every event", "name the event")
        return self


MaybeExpect = Annotated[Expect | None, Nested(lambda: Expect)]


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a rule says of all its alerts, for messages: when it fires and what ends it, in words.

    `links` are pairs of a text and a template of a URL. `news`: an alert is an event to hear of,
    and nothing that goes on. `by`: the labels that tell one alert from another.
    """

    condition: str = ""
    ends: str = ""
    news: bool = False
    links: tuple[tuple[str, str], ...] = ()
    by: tuple[str, ...] = ()


class End(StrEnum):
    """What is said of an alert that ends without an event of `resolve`."""

    RESOLVED = "resolved"
    UNSEEN = "unseen"


MaybeEnd = Annotated[End | None, choice(End, End)]


# Keys that a rule with `expect` has no use for.
EXPECT_SAYS = (
    "match", "by", "condition", "within", "for", "until", "keep_firing_for", "hold", "resolve",
    "same", "ends", "dedup_by", "order_by",
)  # fmt: skip


@table
class Rule(Table):
    """One alerting rule. Durations in seconds; `match` and `resolve` are all-of lists of matchers.

    `resolve` None: the alert ends when the condition turns false. `hold` belongs to `last()`
    conditions: a state nobody confirms for so long is dropped. `place` is `file:line`.
    """

    schema: ClassVar[Schema] = {
        "allOf": [
            {
                "if": {"required": ["within", "condition"]},
                "then": {"properties": {"condition": string(WINDOWED)}},
            },
            {
                "if": {"required": ["expect"]},
                "then": {"not": {"anyOf": [{"required": [name]} for name in EXPECT_SAYS]}},
                "else": {"required": ["condition"]},
            },
            {"if": {"required": ["same"]}, "then": {"required": ["resolve"]}},
            {
                "if": {"required": ["hold", "condition"]},
                "then": {"properties": {"condition": string(rf"\b{_either(_STATES)}\s*\(")}},
            },
        ]
    }
    hints: ClassVar[dict[str, str]] = {
        "expr": "write `match`, `condition` and `within`; there is no PromQL here",
        "group_by": "write `by`",
        "window": "write `within`",
        "severity": "write `labels: {severity: …}`",
    }

    name: AlertName = key("The alert's name, unique across all files.", "alert")
    group: str = ""
    match: tuple[OneTest, ...] = key(
        "Tests that an event must pass, all of them. Empty: every event.", default=()
    )
    by: tuple[ByField, ...] = key(
        "Fields that tell one alert of this rule from another; each becomes a label, its dots "
        "underscores. A missing field is the empty label.",
        schema={"uniqueItems": True},
        default=(),
    )
    condition: ACondition = key(
        f"When it fires: {', '.join(f.usage for f in _WINDOWED)} over `within`, or "
        f"{', '.join(f.usage for f in _STATES)}; compared by > >= < <= == != =~ !~ or in [a, b]; "
        "reckoned with by + - * / and `offset 1d`; joined by `and`, `or`, `not` and parentheses.",
        default=Condition(And(()), ""),
    )
    expect: MaybeExpect = key(
        "In place of `match`, `by`, `condition` and `within`: it fires where an event of `first` "
        "has no event of `then` with the same id.",
        default=None,
    )
    within: MaybePositive = key("The window, in event time. Not for last().", default=None)
    for_: Duration = key(
        "How long the condition must hold before the alert fires.", "for", default=0.0
    )
    until: tuple[AnInstant, ...] = key(
        "Instants taken from the event, as in `escalate`: it fires at the first of them that an "
        "event has named, and by `for` where none has.",
        schema={"minItems": 1},
        default=(),
    )
    keep_firing_for: Duration = key("How long it must be false before the alert ends.", default=0.0)
    hold: MaybePositive = key(
        "For last(): a state unconfirmed for so long is dropped.", default=None
    )
    remember: Positive = key(
        "For new(): how long a value that was seen is known.", default=90 * 86_400.0
    )
    resolve: ResolveMatch = key(
        "Events that end the alert and forget what led to it.", default=None
    )
    same: tuple[Field, ...] = key(
        "An event of `resolve` that names another value of these fields than the events of the "
        "alert did ends nothing; one that names none could be about any of them.",
        schema={"uniqueItems": True},
        default=(),
    )
    ends: MaybeEnd = key(
        "How it ends without `resolve`'s event: resolved, or unseen (no longer seen). Default: "
        "resolved where an event made the condition false, unseen where only time did.",
        default=None,
    )
    dedup_by: MaybeField = key(
        "Events with a value of this field seen before are ignored.", default=None
    )
    order_by: MaybeField = key(
        "An event whose value of this field (a number or an instant) is less than one seen before "
        "is ignored: an older state that is delivered late.",
        default=None,
    )
    collect: tuple[Field, ...] = key(
        "Fields whose values, at most 100 different ones of each, are kept with the alert while it "
        "is open, for templates and `sidecar alerts --ids`.",
        schema={"uniqueItems": True},
        default=(),
    )
    labels: Mapping[str, Text] = key(
        "Labels of the alert, to route by; `severity` chooses the tier.", schema=_LABELS, default={}
    )
    annotations: Mapping[str, Text] = key(_ANNOTATIONS, schema={"propertyNames": LABEL}, default={})
    escalate: tuple[Escalation, ...] = key("Steps that raise the alert while it fires.", default=())
    links: tuple[Link, ...] = key("Where to look: links in messages.", default=())
    news: Flag = key(
        "The alert is an event to hear of, and nothing that goes on: messages call it news and "
        "not firing, and do not say that it is no longer seen.",
        default=False,
    )
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
    def in_fleet(self) -> "Rule":
        """The rule where several hosts have one judge: what one says of itself is of that host."""
        types = {name for m in self.match if m.name == "event_type" for name in m.named_values()}
        alone = not self.about_us or self.expect is not None or HOST in self.by
        if alone or (types and types <= SEEN_BY_JUDGE):
            return self
        return replace(self, by=(*self.by, HOST))

    @property
    def facts(self) -> Facts:
        """What messages say of the rule."""
        within = "" if self.within is None else f" within {write_duration(self.within)}"
        return Facts(
            condition=f"{' '.join(self.condition.text.split())}{within}",
            ends=self._ends(),
            news=self.news,
            links=tuple((link.text, link.url) for link in self.links),
            by=self.by_labels,
        )

    @property
    def judged(self) -> "Rule":
        """The rule as all look at it: `expect` said by `match`, `by`, `within` and `resolve`."""
        if self.expect is None:
            return self
        missing = f"no event with {', '.join(map(str, self.expect.then))}"
        return replace(
            self,
            match=self.expect.first,
            by=(self.expect.by,),
            condition=Condition(parse_condition("count() >= 1").whole, missing),
            within=self.expect.within,
            resolve=self.expect.then,
        )

    def _ends(self) -> str:
        if self.resolve:
            return f"an event with {', '.join(map(str, self.resolve))}"
        if self.hold is not None:
            held = write_duration(self.hold)
            return f"another state, or {held} without news of it"
        return "" if self.news else "its condition being false"
