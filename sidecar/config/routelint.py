"""Routes held against rules and receivers: what no alert can pass, reach, or be told by."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from sidecar.directory.lookup import Directory
from sidecar.matchers import Matcher
from sidecar.notify.group import mails_owner
from sidecar.notify.model import EVERY_LABEL, ORG, OWNER, SEVERITIES, Receiver, Route
from sidecar.receivers.base import AnyKind
from sidecar.rules.rule import Rule, label_name
from sidecar.syntax.faults import Names, Place, did_you_mean
from sidecar.syntax.table import Reading
from sidecar.syntax.tree import ListNode, Scalar

# An alert's labels as they can be; None stands for any text: what an event says.
Labels = Mapping[str, str | None]


def labels_of(rule: Rule) -> Iterator[Labels]:
    """Yield the labels that a rule's alerts can have: at first, and with the steps they reach."""
    base: dict[str, str | None] = {
        "alertname": rule.name, **dict.fromkeys(map(label_name, rule.by)), **rule.labels,
    }  # fmt: skip
    yield base
    laid = base
    for step in rule.escalate:
        laid = {**laid, **step.labels}
        yield {**base, **step.labels}
        yield laid


def _may(matchers: Iterable[Matcher], labels: Labels) -> bool:
    """Return whether labels like these can pass."""
    return all((v := labels.get(m.name, "")) is None or m.matches(v) for m in matchers)


def _must(matchers: Iterable[Matcher], labels: Labels) -> bool:
    """Return whether all labels like these pass."""
    return all((v := labels.get(m.name, "")) is not None and m.matches(v) for m in matchers)


class _Reach:
    """Which routes the alerts of all rules can come to."""

    def __init__(self, root: Route, labels: Sequence[Labels]) -> None:
        self.reached: set[int] = set()
        self.only_root: list[Labels] = []
        for one in labels:
            if self._walk(root, one) == {id(root)}:
                self.only_root.append(one)

    def _walk(self, route: Route, labels: Labels) -> set[int]:
        """Return the routes that can take an alert that has come to this one."""
        self.reached.add(id(route))
        found: set[int] = set()
        for child in route.routes:
            if _may(child.matchers, labels):
                found |= self._walk(child, labels)
                if _must(child.matchers, labels) and not child.continue_:
                    return found
        return found or {id(route)}


def warn_of_routes(reading: Reading, written: Route, root: Route, rules: Sequence[Rule]) -> None:
    """Warn of what cannot be meant in the tree; `root` is `written` with what routes inherit."""
    labels = [one for rule in rules for one in labels_of(rule)]
    _warn_of_intervals(reading, written, root, inherited=False)
    if not labels:
        return
    reach = _Reach(written, labels)
    _warn_below(reading, written, labels, reach)
    _warn_of_severities(reading, written, reach)


def check_owners(
    reading: Reading,
    receivers: Sequence[Receiver],
    directory: Directory | None,
    written: Route,
    root: Route,
) -> None:
    """Report where a mail to an organisation's owner would be about more than one of these.

    And where nobody would be told in his place. `root` is `written` with what routes inherit.
    """
    owners = {one.name for one in receivers if mails_owner(one)}
    if directory is not None and not owners:
        message = f"nobody is mailed by the directory: no `to` is '{OWNER}'"
        reading.faults.warning(reading.node(directory).place, message)
    for receiver in receivers:
        if receiver.name in owners and not receiver.fallback:
            message = "an organisation's owner may be unknown, and is mailed once a day at most"
            hint = "name who is told instead: `fallback: RECEIVER`"
            reading.error(receiver, "", message, hint)
        elif receiver.fallback in owners:
            message = f"the fallback `{receiver.fallback}` mails owners, who are told by a route"
            reading.error(receiver, "fallback", message, "name another receiver")
    _check_grouping(reading, written, root, owners)


def _check_grouping(reading: Reading, written: Route, whole: Route, owners: set[str]) -> None:
    step = whole.escalate_unacked
    mine = {whole.receiver, step.receiver if step else ""} & owners
    if mine and not {ORG, EVERY_LABEL} & set(whole.group_by):
        message = f"receiver `{mine.pop()}` mails the owner of one organisation"
        key = "group_by" if "group_by" in reading.node(written).values else "receiver"
        reading.error(written, key, message, f"its route's `group_by` needs `{ORG}`")
    for child, built in zip(written.routes, whole.routes, strict=True):
        _check_grouping(reading, child, built, owners)


def _warn_below(reading: Reading, route: Route, labels: Sequence[Labels], reach: _Reach) -> None:
    """Warn of a route and those below it; `labels` are those that can come to its parent."""
    known = {name for one in labels for name in one}
    for name, place in zip(route.group_by, _places(reading, route, "group_by"), strict=False):
        if name != EVERY_LABEL and name not in known:
            message = f"no rule has a label `{name}`: it groups nothing"
            reading.faults.warning(place, message, did_you_mean(name, known))
    for child in route.routes:
        if _warn_of_matchers(reading, child, labels):
            continue
        mine = [one for one in labels if _may(child.matchers, one)]
        place = reading.node(child).place
        if not mine:
            message = "no rule has alerts that pass all of these matchers"
            reading.faults.warning(place, message)
        elif id(child) not in reach.reached and id(route) in reach.reached:
            if not _is_behind_all(route, child):  # which is said anyhow
                hint = "put it in front, or give those `continue: true`"
                message = "no alert comes here: routes before it take all that pass its matchers"
                reading.faults.warning(place, message, hint)
        else:
            _warn_below(reading, child, mine, reach)


def _is_behind_all(parent: Route, route: Route) -> bool:
    before = parent.routes[: next(i for i, one in enumerate(parent.routes) if one is route)]
    return any(not one.matchers and not one.continue_ for one in before)


def _warn_of_matchers(reading: Reading, route: Route, labels: Sequence[Labels]) -> bool:
    """Warn of each matcher that no alert can pass by itself; return whether there is one."""
    known = {name for one in labels for name in one}
    found = False
    for matcher, place in zip(route.matchers, _places(reading, route, "matchers"), strict=False):
        if matcher.name not in known:
            message = f"no rule has a label `{matcher.name}`"
            reading.faults.warning(place, message, did_you_mean(matcher.name, known))
            found = True
        elif not any(_may([matcher], one) for one in labels):
            values = {one.get(matcher.name) or "" for one in labels} - {""}
            message = f"no rule has alerts that pass `{matcher}`"
            otherwise = f"there are {', '.join(sorted(values))}" if values else ""
            hint = did_you_mean(matcher.value, values, otherwise)
            reading.faults.warning(place, message, hint)
            found = True
    return found


def _places(reading: Reading, route: Route, key: str) -> list[Place]:
    node = reading.node(route).values.get(key)
    return [item.place for item in node.items] if isinstance(node, ListNode) else []


def _warn_of_severities(reading: Reading, root: Route, reach: _Reach) -> None:
    """Warn of severities that only reach the default, where others have routes.

    The usual tiers below critical may well be meant to.
    """
    if not any(m.name == "severity" for route in _all(root) for m in route.matchers):
        return
    usual = ("", *SEVERITIES[:-1])
    for severity in dict.fromkeys(one.get("severity", "") for one in reach.only_root):
        if severity is not None and severity not in usual:
            names = {
                one["alertname"] or "" for one in reach.only_root if one.get("severity") == severity
            }
            message = f"no route takes severity `{severity}` of {', '.join(sorted(names))}"
            hint = f"they are told by the default, receiver `{root.receiver}`"
            reading.faults.warning(reading.node(root).place, message, hint)


def _all(route: Route) -> Iterator[Route]:
    yield route
    for child in route.routes:
        yield from _all(child)


def _warn_of_intervals(reading: Reading, written: Route, whole: Route, *, inherited: bool) -> None:
    """Warn of a repeat that something else of the route holds up, where one of them is written."""
    node = reading.node(written).values
    for name in ("group_interval", "cooldown"):
        longer = getattr(whole, name)
        if whole.repeat_interval < longer and (
            {name, "repeat_interval"} & node.keys() or not inherited
        ):
            message = (
                f"`repeat_interval` is below `{name}`: nothing is repeated before that is over"
            )
            key = "repeat_interval" if "repeat_interval" in node else name
            reading.faults.warning(reading.place(written, key), message)
    for child, built in zip(written.routes, whole.routes, strict=True):
        _warn_of_intervals(reading, child, built, inherited=True)


def check_receivers(
    receivers: Sequence[Receiver], kinds: Iterable[AnyKind], root: Route, reading: Reading
) -> None:
    """Report receivers that are named twice, not declared or in vain, and what is amiss between."""
    names = Names("receiver", reading.faults)
    for receiver in receivers:
        names.claim(receiver.name, reading.place(receiver, "name"))
    for kind in kinds:
        entries = (e for one in receivers for e in one.configs.get(kind.name, ()))
        kind.config.check_together(entries, reading)
    known = set(names.places)
    nexts = _check_fallbacks(receivers, known, reading)
    used = [*_check_routed(root, known, reading)]
    used += [name for one in used for name in _following(one, nexts)]
    if used and None not in used:
        for name in known - set(used):
            message = f"no route leads to receiver `{name}`"
            reading.faults.warning(names.places[name], message)


def _check_routed(route: Route, known: set[str], reading: Reading) -> Iterator[str | None]:
    node = reading.node(route).values.get("receiver")
    if node is not None:
        yield route.receiver or None
    if isinstance(node, Scalar) and route.receiver and route.receiver not in known:
        yield None
        reading.faults.error(node.place, *_unknown(node.written, known))
    if route.escalate_unacked is not None:
        yield _next_of(route, known, reading)
    for child in route.routes:
        yield from _check_routed(child, known, reading)


def _next_of(route: Route, known: set[str], reading: Reading) -> str | None:
    """Return who is told of what nobody acknowledges, None where that is not known."""
    step = route.escalate_unacked
    if step is None:
        return None
    if step.receiver in known:
        return step.receiver
    reading.error(step, "receiver", *_unknown(step.receiver, known))
    return None


def _check_fallbacks(
    receivers: Sequence[Receiver], known: set[str], reading: Reading
) -> dict[str, str]:
    """Return the fallback of each receiver that has one; report those that lead nowhere."""
    nexts = {one.name: one.fallback for one in receivers if one.fallback}
    circle: set[str] = set()
    for receiver in (one for one in receivers if one.name in nexts):
        name, fallback = receiver.name, receiver.fallback
        way = _following(name, nexts)
        if fallback not in known:
            reading.error(receiver, "fallback", *_unknown(fallback, known))
        elif name in way and name not in circle:
            circle.update(way)
            through = ", ".join(f"`{one}`" for one in way)
            message = f"the fallback of `{name}` leads back to it"
            hint = f"by {through}" if len(way) > 1 else "name another receiver"
            reading.error(receiver, "fallback", message, hint)
    return nexts


def _unknown(name: str, known: Collection[str]) -> tuple[str, str]:
    """Return message and hint on a receiver that nobody declares."""
    otherwise = "known receivers: " + (", ".join(sorted(known)) or "none")
    return f"unknown receiver `{name}`", did_you_mean(name, known, otherwise)


def _following(name: str | None, nexts: Mapping[str, str]) -> list[str]:
    """Return who is told in the place of whom, one after the other, each once."""
    found: list[str] = []
    following = nexts.get(name or "")
    while following and following not in found:
        found.append(following)
        following = nexts.get(following)
    return found
