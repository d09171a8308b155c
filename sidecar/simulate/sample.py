"""A message to look at without any log: an alert of one rule, with stand-ins for what logs say."""

from collections.abc import Iterator
from typing import Any

from jinja2 import nodes

from sidecar.config.settings import Config
from sidecar.notify.group import Destination, destinations, match_routes
from sidecar.notify.model import Notice, NoticeStatus, Notification, Reason
from sidecar.render.check import parse_template
from sidecar.rules.rule import Rule, label_name

_FOR = 600.0  # seconds that it fires


def sample_rule(config: Config, receiver: str) -> Rule | None:
    """Return the first rule of which `receiver` is told, at once or after an escalation."""
    for rule in config.rules:
        for labels in _over_its_life(rule):
            if receiver in [route.receiver for route in match_routes(config.route, labels)]:
                return rule
    return None


def sample(config: Config, receiver: str, rule: Rule, at: float) -> list[Notification]:
    """Return what each destination of `receiver` is told of an alert of `rule` at `at`."""
    reached = [
        labels
        for labels in _over_its_life(rule)
        if receiver in [route.receiver for route in match_routes(config.route, labels)]
    ]
    notice = _notice(rule, (reached or list(_over_its_life(rule)))[0], at)
    found = destinations(config.receivers[receiver])
    return [_told(receiver, to, notice, at) for to in found if to.name]


def _over_its_life(rule: Rule) -> Iterator[dict[str, str]]:
    """Yield the labels of an alert of `rule`, and those after each of its escalations."""
    labels = {"alertname": rule.name, **{label_name(one): f"{one}-1" for one in rule.by}}
    labels |= rule.labels
    yield labels
    for step in rule.escalate:
        labels = {**labels, **step.labels}
        yield labels


def _notice(rule: Rule, labels: dict[str, str], at: float) -> Notice:
    first = rule.condition.comparisons[0] if rule.condition.comparisons else None
    named = None if first is None else next(iter(first.named), "")
    value = named if first is None or first.number is None else first.number
    return Notice(
        status=NoticeStatus.FIRING,
        labels=labels,
        annotations=dict(rule.annotations),
        value=value,
        since=at - _FOR,
        ended_at=None,
        event=_event(rule),
        episode=1,
        collected={label_name(one): [f"{one}-1", f"{one}-2"] for one in rule.collect},
        times=1,
        rule=rule.facts,
    )


def _event(rule: Rule) -> dict[str, Any]:
    """Return the fields that the rule's templates ask for, each with its name as its value."""
    event: dict[str, Any] = {}
    for source in (*rule.annotations.values(), *(link.url for link in rule.links)):
        tree, _ = parse_template(source)
        for path in filter(None, map(_path, tree.find_all(nodes.Getattr))):
            _put(event, path)
    known = {matcher.name: matcher.named_values() for matcher in rule.match}
    return event | {name: values[0] for name, values in known.items() if values and name in event}


def _path(node: nodes.Node) -> list[str]:
    """Return `["data", "id"]` of `event.data.id`, nothing of what does not begin with `event`."""
    path: list[str] = []
    while isinstance(node, nodes.Getattr):
        path.insert(0, node.attr)
        node = node.node
    return path if isinstance(node, nodes.Name) and node.name == "event" else []


def _put(event: dict[str, Any], path: list[str]) -> None:
    *tables, last = path
    for name in tables:
        if not isinstance(event.get(name), dict):
            event[name] = {}
        event = event[name]
    event.setdefault(last, last)


def _told(receiver: str, to: Destination, notice: Notice, at: float) -> Notification:
    return Notification(
        id="sample",
        receiver=receiver,
        integration=to.integration,
        index=to.index,
        destination=to.name,
        reason=Reason.FIRST,
        group="sample",
        group_labels={"alertname": notice.labels["alertname"]},
        notices=[notice],
        at=at,
    )
