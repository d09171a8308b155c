"""One entry of a rule file's `rules:` and whether its parts make sense together."""

from collections.abc import Iterable, Mapping

import msgspec

from sidecar.config.doubts import warn_of_doubts
from sidecar.config.faults import did_you_mean
from sidecar.config.reader import Reader
from sidecar.config.templates import check_annotation
from sidecar.config.values import check_field, check_label, read_matchers
from sidecar.matchers import Matcher
from sidecar.rules.condition import parse_condition, parse_instant
from sidecar.rules.rule import Condition, Escalation, Function, Rule, label_name

TIERS = ("critical", "error", "warning", "info")
_ALERTNAME = "alertname"
_HINTS = {
    "expr": "write `match`, `condition` and `within`; there is no PromQL here",
    "group_by": "write `by`",
    "window": "write `within`",
    "severity": "write `labels: {severity: …}`",
}
_NOTHING = Condition((), "")


class Group(msgspec.Struct, frozen=True):
    """What the rules of one group share."""

    name: str
    labels: Mapping[str, str]


def read_rule(reader: Reader, group: Group) -> Rule:
    """Read one rule; each fault is reported and its value replaced by the default."""
    reader.require("alert", "condition")
    by = _by(reader)
    by_labels = tuple(map(label_name, by))
    labels = {**group.labels, **read_labels(reader, reserved=by_labels)}
    escalations = [_Step(step, by_labels) for step in reader.tables("escalate")]
    known = {
        _ALERTNAME,
        *by_labels,
        *labels,
        *(name for step in escalations for name in step.labels),
    }
    rule = Rule(
        name=_name(reader),
        group=group.name,
        match=read_matchers(reader, "match"),
        by=by,
        condition=reader.parsed("condition", "a condition", parse_condition, _NOTHING),
        within=reader.duration("within", None, positive=True),
        for_=reader.duration("for", 0.0),
        keep_firing_for=reader.duration("keep_firing_for", 0.0),
        hold=reader.duration("hold", None, positive=True),
        resolve=_resolve(reader),
        dedup_by=_dedup_by(reader),
        labels=labels,
        annotations=_annotations(reader, known),
        escalate=tuple(step.read(known) for step in escalations),
        place=f"{reader.place.file}:{reader.place.line}",
    )
    _check_windows(reader, rule)
    _check_severity(reader, rule)
    warn_of_doubts(reader, rule)
    reader.close(_HINTS)
    return rule


def read_labels(reader: Reader, reserved: Iterable[str] = ()) -> dict[str, str]:
    """Read `labels:`, plain texts. `reserved` are names the rule's `by` already sets."""
    labels: dict[str, str] = {}
    for name, scalar in reader.texts_by_name("labels").items():
        place = scalar.place
        if name in reserved:
            message = f"label `{name}` is already set by the rule's `by`"
            reader.faults.error(place, message, "remove it here or there")
        elif check_label(name, place, reader.faults, (_ALERTNAME,)):
            labels[name] = scalar.text
        if "{{" in scalar.text or "{%" in scalar.text:
            hint = "put the template into an annotation"
            reader.faults.error(place, "a label is plain text, never a template", hint)
    return labels


def _name(reader: Reader) -> str:
    scalar = reader.scalar("alert")
    if scalar is None:
        return ""
    if not scalar.text or not scalar.text.isprintable():
        reader.faults.error(scalar.place, "an alert's name is one line of text")
    return scalar.text


def _by(reader: Reader) -> tuple[str, ...]:
    """Read the fields that tell alerts apart; each becomes a label, its dots underscores."""
    fields: dict[str, str] = {}  # label -> field
    for scalar in reader.scalars("by"):
        label = label_name(scalar.text)
        if scalar.text in fields.values():
            reader.faults.error(scalar.place, f"`{scalar.text}` stands twice in `by`")
        elif label in fields:
            message = f"`{scalar.text}` and `{fields[label]}` would be the same label `{label}`"
            reader.faults.error(scalar.place, message)
        elif check_label(label, scalar.place, reader.faults, (_ALERTNAME,)):
            check_field(scalar, reader.faults)
            fields[label] = scalar.text
    return tuple(fields.values())


def _resolve(reader: Reader) -> tuple[Matcher, ...] | None:
    inner = reader.table("resolve")
    if inner is None:
        return None
    inner.require("match")
    matchers = read_matchers(inner, "match")
    if inner.has("match") and not inner.items("match"):
        hint = "name the event that ends the alert"
        inner.faults.error(inner.place_of("match"), "an empty `match` ends it at every event", hint)
    inner.close()
    return matchers


def _dedup_by(reader: Reader) -> str | None:
    scalar = reader.scalar("dedup_by")
    if scalar is None:
        return None
    check_field(scalar, reader.faults)
    return scalar.text


def _annotations(reader: Reader, labels: Iterable[str]) -> dict[str, str]:
    annotations: dict[str, str] = {}
    for name, scalar in reader.texts_by_name("annotations").items():
        check_label(name, scalar.place, reader.faults)
        check_annotation(scalar, labels, reader.faults)
        annotations[name] = scalar.text
    return annotations


class _Step:
    """An escalation step; its labels are read before the annotations of the whole rule."""

    def __init__(self, reader: Reader, by: tuple[str, ...]) -> None:
        self._reader = reader
        self.labels = read_labels(reader, reserved=by)

    def read(self, known: Iterable[str]) -> Escalation:
        reader = self._reader
        at_field, offset = reader.parsed("at", "an instant", parse_instant, ("", 0.0))
        step = Escalation(
            at_field=at_field,
            offset=offset,
            after=reader.duration("after", None),
            labels=self.labels,
            annotations=_annotations(reader, known),
        )
        if not reader.has("at") and not reader.has("after"):
            hint = "write at: current_period_end + 3d, or after: 3d"
            reader.faults.error(reader.place, "the step does not say when", hint)
        if not reader.has("labels") and not reader.has("annotations"):
            hint = "write for example labels: {severity: critical}"
            reader.faults.error(reader.place, "the step changes nothing", hint)
        reader.close()
        return step


def _check_windows(reader: Reader, rule: Rule) -> None:
    """`within` belongs to everything counted in a window, `hold` to the state of `last()`."""
    functions = {
        aggregate.function
        for part in rule.condition.comparisons
        for aggregate in (part.left, part.divisor)
        if aggregate is not None
    }
    if not functions:
        return
    windowed = sorted(functions - {Function.LAST})
    if windowed and not reader.has("within"):
        message = f"{windowed[0]}() needs a window, and `within` is missing"
        reader.faults.error(reader.place_of("condition"), message, "write for example within: 1h")
    if not windowed and reader.has("within"):
        message = "last() is a state, which has no window"
        hint = "remove `within`; `hold` says when an unconfirmed state is dropped"
        reader.faults.error(reader.key_place("within"), message, hint)
    if Function.LAST not in functions and reader.has("hold"):
        message = "`hold` belongs to last() only"
        hint = "`within` bounds what is counted, `keep_firing_for` delays the end"
        reader.faults.error(reader.key_place("hold"), message, hint)


def _check_severity(reader: Reader, rule: Rule) -> None:
    """Warn where an alert would take the warning tier by accident."""
    severity = rule.labels.get("severity")
    if severity is None:
        message = "the alert has no `severity` label and takes the warning tier"
        hint = "write labels: {severity: critical}, or error, warning, info"
        reader.faults.warning(reader.place, message, hint)
    elif severity not in TIERS:
        hint = did_you_mean(severity, TIERS)
        if hint:
            message = f"severity `{severity}` is no tier and takes the warning tier"
            reader.faults.warning(reader.place, message, hint)
