"""Rule files (`metrics:`, `groups:`) and pattern files, and what is unique across all of them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar

from sidecar.config.lint import contradiction, warn_of_doubts
from sidecar.measure.series import EVENTS_TOTAL, Metric, events_metric, names_of
from sidecar.parse.patterns import Pattern, PatternFile
from sidecar.render.check import check_annotation
from sidecar.rules.aggregates import Function, Shows
from sidecar.rules.condition import is_absence
from sidecar.rules.rule import (
    _LABELS,
    EXPECT_SAYS,
    WINDOWED,
    Escalation,
    Rule,
    label_name,
)
from sidecar.syntax.faults import Names, did_you_mean
from sidecar.syntax.table import Placed, Reading, Table, key, table
from sidecar.syntax.tree import ListNode, MapNode, Node, Scalar, compose, expand, plain_of
from sidecar.syntax.values import LABEL, MaybePositive, Text, check_label


def read_pattern_files(paths: Iterable[str], reading: Reading) -> tuple[Pattern, ...]:
    """Return the patterns of all files, in order."""
    names = Names("pattern", reading.faults)
    return tuple(
        pattern
        for path in paths
        if (file := reading.read(PatternFile, path))
        for pattern in file.patterns
        if names.claim(pattern.name, reading.place(pattern, "name"))
    )


TIERS = ("critical", "error", "warning", "info")
_ALERTNAME = "alertname"


@table
class RuleGroup(Table):
    name: Text = key("The group's name, once per file.")
    labels: Mapping[str, Text] = key(
        "Added to every rule of the group.", schema=_LABELS, default={}
    )
    rules_: tuple[Rule, ...] = key("The rules.", "rules", default=())

    def check(self, reading: Reading) -> "RuleGroup":
        if "rules" not in reading.node(self).values:
            reading.error(self, "", "`rules` is missing")
        labels = _labels(self, (), reading)
        whole = [_check_rule(rule, self.name, labels, reading) for rule in self.rules_]
        return replace(self, rules_=tuple(whole))


@table
class Defaults(Table):
    """What the rules of a file have that do not say it themselves."""

    labels: Mapping[str, Text] = key(
        "Labels of every rule; a group's and a rule's own ones come over them.",
        schema=_LABELS,
        default={},
    )
    annotations: Mapping[str, Text] = key(
        "Annotations of every rule; its own ones come over them.",
        schema={"propertyNames": LABEL},
        default={},
    )
    within: MaybePositive = key("The window of every rule that has one.", default=None)


AVar = Annotated[
    str,
    Placed(
        lambda node, _: plain_of(node, "a text").text, {"type": ["string", "number", "boolean"]}
    ),
]


@table
class RuleFile(Table):
    hints: ClassVar[dict[str, str]] = {
        "rules": "rules stand in a group: groups: [{name: …, rules: […]}]"
    }

    vars_: Mapping[str, AVar] = key(
        "Texts that values of this file name by ${name}; $$ is a plain dollar then.",
        "vars",
        schema={"propertyNames": {"pattern": r"^[A-Za-z_]\w*$"}},
        default={},
    )
    defaults: Defaults = key(
        "What the rules of this file have that do not say it themselves.", default=Defaults()
    )
    metrics: tuple[Metric, ...] = key(
        "Series made from events, beside webhook_events_total.", default=()
    )
    groups: tuple[RuleGroup, ...] = key("Alerting rules, in groups that share labels.", default=())

    @classmethod
    def prepare(cls, values: dict[str, Node], reading: Reading) -> None:
        """Let groups and rules have what `defaults` says and they do not."""
        del reading
        defaults = values.get("defaults")
        if not isinstance(defaults, MapNode):
            return
        for group in _maps(values.get("groups")):
            _fall_back(group, defaults, "labels")
            for rule in _maps(group.values.get("rules")):
                _fall_back(rule, defaults, "annotations")
                condition = rule.values.get("condition")
                if isinstance(condition, Scalar) and re.search(WINDOWED, condition.text):
                    _fall_back(rule, defaults, "within")

    def check(self, reading: Reading) -> "RuleFile":
        for name in self.vars_:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                place = reading.places(self, "vars")[name]
                hint = "letters, digits and _, as in ${grace}"
                reading.faults.error(place, f"`{name}` is no name that a value could have", hint)
        names = Names("group", reading.faults)
        for group in self.groups:
            names.claim(group.name, reading.place(group, "name"))
        return self


def _maps(node: Node | None) -> Iterator[MapNode]:
    for one in node.items if isinstance(node, ListNode) else ():
        if isinstance(one, MapNode):
            yield one


def _fall_back(node: MapNode, defaults: MapNode, name: str) -> None:
    """Let a key that is not there be that of `defaults`; of a table each that is not there."""
    given, own = defaults.values.get(name), node.values.get(name)
    if given is not None and own is None:
        node.values[name], node.places[name] = given, defaults.places[name]
    elif isinstance(given, MapNode) and isinstance(own, MapNode):
        values, places = {**given.values, **own.values}, {**given.places, **own.places}
        node.values[name] = MapNode(own.place, values, places)


def _rule_file(path: str, reading: Reading) -> RuleFile | None:
    """Return a rule file with its own variables expanded, or None when it is none (reported)."""
    bare = Reading().tree(path)  # whatever is wrong is reported by the second look
    named = bare.values.get("vars") if isinstance(bare, MapNode) else None
    texts = named.values if isinstance(named, MapNode) else {}
    given = {name: one.written for name, one in texts.items() if isinstance(one, Scalar)}
    expanded = None if named is None else partial(expand, environ=given, what="variable")
    text = reading.files.text(path)
    node = None if text is None else compose(text, path, reading.faults, expanded)
    return None if node is None else reading.table(RuleFile, node)


def read_rule_files(
    paths: Iterable[str], reading: Reading
) -> tuple[tuple[Rule, ...], tuple[Metric, ...]]:
    """Return the rules and metrics of all files, in order."""
    files = [file for path in paths if (file := _rule_file(path, reading))]
    metrics = tuple(_metrics(files, reading))
    alerts = Names("alert", reading.faults)
    rules = tuple(
        rule
        for file in files
        for group in file.groups
        for rule in group.rules_
        if alerts.claim(rule.name, reading.place(rule, "alert"))
    )
    with_state = {rule.name: bool(_split(_functions(rule))[1]) for rule in rules}
    for metric in (metric for file in files for metric in file.metrics if metric.states_of):
        alert = metric.states_of or ""
        if alert not in alerts.places:
            hint = did_you_mean(
                alert, [name for name, has_state in with_state.items() if has_state]
            )
            reading.error(metric, "states_of", f"there is no alert `{alert}`", hint)
        elif not with_state.get(alert, True):
            hint = "name a rule whose condition has last()"
            reading.error(metric, "states_of", f"alert `{alert}` is no state", hint)
    return rules, metrics


def _metrics(files: Iterable[RuleFile], reading: Reading) -> Iterator[Metric]:
    names = Names("metric", reading.faults)
    owners = dict.fromkeys(names_of(events_metric(1)), EVENTS_TOTAL)
    for metric in (metric for file in files for metric in file.metrics):
        if excluded := contradiction(metric.match):
            place = reading.place(metric, "match")
            reading.faults.warning(place, f"no event can match: {excluded}")
        if not names.claim(metric.name, reading.place(metric, "name")):
            continue
        own = names_of(metric)
        if metric.name != EVENTS_TOTAL and (clash := own & owners.keys()):
            other = owners[min(clash)]
            message = f"`{metric.name}` and `{other}` would be one OpenMetrics family"
            reading.error(metric, "name", message, "give one of them another name")
        owners |= dict.fromkeys(own, metric.name)
        yield metric


def _texts(made: object, key: str, reading: Reading) -> dict[str, Scalar]:
    node = reading.node(made).values.get(key)
    found = node.values if isinstance(node, MapNode) else {}
    return {k: v for k, v in found.items() if isinstance(v, Scalar)}


def _labels(
    made: "Rule | Escalation | RuleGroup", by: tuple[str, ...], reading: Reading
) -> dict[str, str]:
    """Return the labels that may stand; `by` are names the rule's `by` already sets."""
    labels: dict[str, str] = {}
    for name, scalar in _texts(made, "labels", reading).items():
        if name not in made.labels:
            continue
        if name in by:
            message = f"label `{name}` is already set by the rule's `by`"
            reading.faults.error(scalar.place, message, "remove it here or there")
        else:
            with reading.reporting(scalar):
                labels[check_label(name, (_ALERTNAME,))] = scalar.text
        if "{{" in scalar.text or "{%" in scalar.text:
            hint = "put the template into an annotation"
            reading.faults.error(scalar.place, "a label is plain text, never a template", hint)
    return labels


def _annotations(
    made: "Rule | Escalation", known: set[str], collected: set[str], reading: Reading
) -> None:
    for name, scalar in _texts(made, "annotations", reading).items():
        if name in made.annotations:
            with reading.reporting(scalar):
                check_label(name)
            check_annotation(scalar, known, collected, reading.faults)


def _links(rule: Rule, known: set[str], collected: set[str], reading: Reading) -> None:
    for link in rule.links:
        node = reading.node(link).values.get("url")
        if isinstance(node, Scalar):
            check_annotation(node, known, collected, reading.faults)
            if not node.text.startswith(("http://", "https://", "/")):
                message = "a link begins with https://, http:// or /"
                reading.faults.error(node.place, message, "a value cannot be its beginning")


def _check_rule(rule: Rule, group: str, shared: dict[str, str], reading: Reading) -> Rule:
    """Report what is wrong between a rule's keys, and return it with its group's labels."""
    node = reading.node(rule)
    _check_expect(rule, reading)
    by = _check_by(rule, reading)
    labels = {**shared, **_labels(rule, by, reading)}
    steps = [(step, _labels(step, by, reading)) for step in rule.escalate]
    known = {_ALERTNAME, *by, *labels, *(name for _, own in steps for name in own)}
    both: list[Rule | Escalation] = [rule, *rule.escalate]
    for one in both:
        _annotations(one, known, set(map(label_name, rule.collect)), reading)
    _links(rule, known, set(map(label_name, rule.collect)), reading)
    place = f"{node.place.file}:{node.place.line}"
    whole = replace(rule.judged, group=group, labels=labels, place=place)
    reading.made(whole, node)
    if rule.expect is None:
        _check_windows(whole, reading)
    if rule.same and (rule.resolve is None or is_absence(rule.condition)):
        message = "`same` says what an event of `resolve` ends, and here it ends nothing"
        reading.error_at_key(rule, "same", message, "remove it, or write `resolve`")
    _check_severity(whole, reading)
    warn_of_doubts(reading, whole)
    return whole


def _check_expect(rule: Rule, reading: Reading) -> None:
    """Report what stands beside `expect` that it says itself, or that neither it nor one stands."""
    written = reading.node(rule).values
    if "expect" not in written:
        if "condition" not in written:
            reading.error(rule, "", "`condition` is missing")
        return
    for name in EXPECT_SAYS:
        if name in written:
            message = f"`{name}` does not go with `expect`"
            reading.error_at_key(rule, name, message, "remove it; `expect` says all of that")


def _check_by(rule: Rule, reading: Reading) -> tuple[str, ...]:
    if rule.expect is not None:
        return (label_name(rule.expect.by),)
    fields: dict[str, str] = {}  # label -> field
    node = reading.node(rule).values.get("by")
    for scalar in getattr(node, "items", ()):
        name = getattr(scalar, "text", "")
        label = label_name(name)
        if name in fields.values():
            reading.faults.error(scalar.place, f"`{name}` stands twice in `by`")
        elif label in fields:
            message = f"`{name}` and `{fields[label]}` would be the same label `{label}`"
            reading.faults.error(scalar.place, message)
        fields.setdefault(label, name)
    return tuple(fields)


def _functions(rule: Rule) -> set[Function]:
    return {
        aggregate.function for part in rule.condition.comparisons for aggregate in part.aggregates
    }


def _split(functions: Iterable[Function]) -> tuple[list[str], list[str]]:
    """Return the names of functions that have a window, and of those that are states."""
    windowed = sorted(str(one) for one in functions if one.shows is not Shows.STATE)
    return windowed, sorted(str(one) for one in functions if one.shows is Shows.STATE)


def _check_windows(rule: Rule, reading: Reading) -> None:
    """`within` belongs to everything counted in a window, `hold` to states."""
    written = reading.node(rule).values
    windowed, states = _split(_functions(rule))
    if not windowed and not states:
        return
    if windowed and "within" not in written:
        message = f"{windowed[0]}() needs a window, and `within` is missing"
        reading.error(rule, "condition", message, "write for example within: 1h")
    if not windowed and "within" in written:
        message = f"{states[0]}() is a state, which has no window"
        hint = "remove `within`; `hold` says when an unconfirmed state is dropped"
        reading.error_at_key(rule, "within", message, hint)
    if not states and "hold" in written:
        message = "`hold` belongs to last() only"
        hint = "`within` bounds what is counted, `keep_firing_for` delays the end"
        reading.error_at_key(rule, "hold", message, hint)


def _check_severity(rule: Rule, reading: Reading) -> None:
    """Warn where an alert would take the warning tier by accident."""
    severity = rule.labels.get("severity")
    place = reading.place(rule)
    if severity is None:
        message = "the alert has no `severity` label and takes the warning tier"
        hint = "write labels: {severity: critical}, or error, warning, info"
        reading.faults.warning(place, message, hint)
    elif severity not in TIERS and (hint := did_you_mean(severity, TIERS)):
        message = f"severity `{severity}` is no tier and takes the warning tier"
        reading.faults.warning(place, message, hint)
