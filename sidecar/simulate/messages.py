"""Messages as their receivers would have read them, and what two replays tell otherwise.

`sample` makes one to look at without any log, with stand-ins for what logs say.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec
from jinja2 import nodes

from sidecar.config.settings import Config
from sidecar.notify.group import Destination, destinations, match_routes
from sidecar.notify.model import Notice, NoticeStatus, Notification, Reason
from sidecar.redact import Redactor
from sidecar.render.check import parse_template
from sidecar.render.renderer import Renderer, Rendering
from sidecar.rows import OutboxRow
from sidecar.rules.rule import Rule, label_name
from sidecar.simulate.simulation import Moment


class ToldAlert(msgspec.Struct, frozen=True):
    """One alert in one message, as `replay --format json` shows it.

    `state` is the notice's: firing, resolved, unseen, escalated, fired and resolved (or unseen).
    """

    at: float
    alert: str
    labels: dict[str, str]
    state: str
    severity: str
    receiver: str
    reason: str
    late: bool
    annotations: dict[str, str] = {}


class Copy(msgspec.Struct, frozen=True):
    """A message as one destination gets it. `subject` is empty where its kind has none.

    `payload` is what its kind sends; nothing where only the words count.
    """

    integration: str
    destination: str
    subject: str
    text: str
    fault: str | None = None
    payload: Any = None


class Message(msgspec.Struct, frozen=True):
    """One thing said to one receiver at one instant: a copy for each of its destinations."""

    at: float
    receiver: str
    reason: str
    group: str
    late: bool
    told: tuple[ToldAlert, ...]
    copies: tuple[Copy, ...]


class MessageRenderer:
    """Turns the outbox of a simulated step into messages, rendered as the daemon renders them."""

    def __init__(self, config: Config) -> None:
        self._receivers = config.receivers
        self._kinds = {kind.name: kind for kind in config.kinds}
        self._renderer = Renderer(config.templates, Redactor(config.redact), config.origin)

    def messages(self, moment: Moment) -> Iterator[Message]:
        """Yield a message for each receiver and group that was told something at `moment`."""
        together: dict[tuple[str, str], list[Notification]] = {}
        for row in moment.step.outbox:
            one = _notification(row)
            together.setdefault((one.receiver, one.group), []).append(one)
        for notifications in together.values():
            yield self._message(notifications)

    def copies(self, notifications: Iterable[Notification]) -> list[Copy]:
        """Return what the destination of each gets."""
        return [self._copy(self._renderer.rendering(one)) for one in notifications]

    def annotations(self, notification: Notification) -> list[dict[str, str]]:
        """Return the rendered annotations of each notice."""
        return _annotations(self._renderer.rendering(notification))

    def _message(self, notifications: list[Notification]) -> Message:
        first = notifications[0]
        renderings = [self._renderer.rendering(one) for one in notifications]
        return Message(
            at=first.at,
            receiver=first.receiver,
            reason=first.reason.value,
            group=first.group,
            late=first.late,
            told=tuple(_told_alerts(renderings)),
            copies=tuple([self._copy(one) for one in renderings]),
        )

    def _copy(self, rendering: Rendering) -> Copy:
        one = rendering.notification
        kind = self._kinds[one.integration]
        config = self._receivers[one.receiver].configs[kind.name][one.index]
        made = kind.render(config, rendering, plain=False)
        return Copy(
            kind.name, one.destination, made.subject, made.text, rendering.fault, made.payload
        )


def _annotations(rendering: Rendering) -> list[dict[str, str]]:
    return [notice["annotations"] for notice in rendering.view["notices"]]


def _told_alerts(renderings: Sequence[Rendering]) -> Iterator[ToldAlert]:
    """Yield each alert once: destinations differ only in whether they hear of ends."""
    rendering = max(renderings, key=lambda one: len(one.notification.notices))
    fullest = rendering.notification
    for notice, annotations in zip(fullest.notices, _annotations(rendering), strict=True):
        yield ToldAlert(
            at=fullest.at,
            alert=notice.labels.get("alertname", ""),
            labels=notice.labels,
            state=notice.status.value,
            severity=notice.labels.get("severity", ""),
            receiver=fullest.receiver,
            reason=fullest.reason.value,
            late=fullest.late or notice.late_by > 0,
            annotations=annotations,
        )


def _notification(row: OutboxRow) -> Notification:
    return msgspec.json.decode(row.payload, type=Notification)


# What makes two notices the same piece of news: who is told of which alert's which state.
_Subject = tuple[str, str, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Change:
    """`before` None: added. `after` None: removed. Else changed, in what `fields` name."""

    before: ToldAlert | None
    after: ToldAlert | None
    fields: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    @property
    def told(self) -> ToldAlert:
        """Return the newer of the two."""
        told = self.after or self.before
        if told is None:
            raise ValueError("a change has two sides, and one of them is there")
        return told


def condensed(message: Message) -> Message:
    """Return `message` with its texts as digests: all that comparing needs of a long history."""
    copies = tuple(
        Copy(copy.integration, copy.destination, _digest(copy.subject), _digest(copy.text))
        for copy in message.copies
    )
    return msgspec.structs.replace(message, copies=copies)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def difference(before: Sequence[Message], after: Sequence[Message]) -> list[Change]:
    """Return what `after` tells otherwise than `before`, in the order of time.

    Notices about one alert, state and receiver are held against each other: first those that are
    equal in everything, then those told for the same reason, then the rest, in their order, with
    what is nearest in time. One that only comes at another time is changed. Where all is equal but
    the rendered message is not, `text` has changed.
    """
    then, now = _by_subject(before), _by_subject(after)
    changes: list[Change] = []
    for subject in then.keys() | now.keys():
        changes += _pair(then.get(subject, []), now.get(subject, []))
    return sorted(changes, key=lambda change: (change.told.at, change.told.alert, str(change.told)))


@dataclass(frozen=True, slots=True)
class _ToldText:
    """A notice with the text of the message that it stands in."""

    told: ToldAlert
    text: tuple[tuple[str, str, str], ...]


def whole(messages: Sequence[Message], changes: Iterable[Change]) -> list[Message]:
    """Return the messages of one side of which nothing is on the other side."""
    news = {id(change.told) for change in changes if change.kind != "changed"}
    return [one for one in messages if one.told and all(id(told) in news for told in one.told)]


def _by_subject(messages: Iterable[Message]) -> dict[_Subject, list[_ToldText]]:
    found: dict[_Subject, list[_ToldText]] = {}
    for message in messages:
        text = tuple((copy.destination, copy.subject, copy.text) for copy in message.copies)
        for told in message.told:
            # Severity may change over an alert's life, and by an edit of its rule.
            named = (pair for pair in sorted(told.labels.items()) if pair[0] != "severity")
            subject = (told.receiver, told.alert, told.state, tuple(named))
            found.setdefault(subject, []).append(_ToldText(told, text))
    return found


def _pair(before: list[_ToldText], after: list[_ToldText]) -> Iterator[Change]:
    left, right = list(before), list(after)
    for line in before:
        same = next((other for other in right if other.told == line.told), None)
        if same is None:
            continue
        left.remove(line)
        right.remove(same)
        if same.text != line.text:
            yield Change(line.told, same.told, ("text",))
    reasons = dict.fromkeys(line.told.reason for line in left)
    pairs = [pair for reason in reasons for pair in _nearest(*_for_reason(reason, left, right))]
    for old, new in pairs:
        left.remove(old)
        right.remove(new)
    pairs += _nearest(left, right)
    yield from (Change(old.told, new.told, _fields(old.told, new.told)) for old, new in pairs)
    paired = {id(line) for pair in pairs for line in pair}
    yield from (Change(line.told, None) for line in left if id(line) not in paired)
    yield from (Change(None, line.told) for line in right if id(line) not in paired)


def _for_reason(reason: str, *sides: Sequence[_ToldText]) -> list[list[_ToldText]]:
    """Return what of each side was told for that reason."""
    return [[line for line in lines if line.told.reason == reason] for lines in sides]


def _nearest(
    left: list[_ToldText], right: list[_ToldText]
) -> Iterator[tuple[_ToldText, _ToldText]]:
    """Yield as many pairs as there can be, in their order, each with what is nearest in time."""
    few, many = (left, right) if len(left) < len(right) else (right, left)
    first = 0
    for number, one in enumerate(few):
        end = len(many) - len(few) + number + 1  # behind it as many are left as need one
        at = bisect_left(many, one.told.at, first, end, key=lambda other: other.told.at)
        places = range(max(first, at - 1), min(at + 1, end))
        place = min(places, key=lambda place: abs(many[place].told.at - one.told.at))
        yield (one, many[place]) if few is left else (many[place], one)
        first = place + 1


def _fields(old: ToldAlert, new: ToldAlert) -> tuple[str, ...]:
    names = ("at", "severity", "reason", "late", "annotations")
    return tuple(name for name in names if getattr(old, name) != getattr(new, name))


# --- one without a log

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
