"""A drill: events made up so that one rule's alert fires, and the messages that follow.

All of it happens in a core of its own, on a simulated clock: nothing of it is counted, kept or
held against what really happens. Pure: time is an argument.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import msgspec

from sidecar.config.settings import Config
from sidecar.matchers import Matcher
from sidecar.notify.audit import HELD
from sidecar.notify.message import notification_of
from sidecar.notify.model import OWNER, Notification
from sidecar.parse.columns import Columns
from sidecar.parse.event import SOURCE, Chunk, Event, LogFormat
from sidecar.parse.parser import Parser
from sidecar.rows import AuditRow
from sidecar.rules.aggregates import Shows
from sidecar.rules.alert import Alert, TransitionKind
from sidecar.rules.condition import Aggregate, Comparison, alternatives, bounds, value_test
from sidecar.rules.rule import Rule
from sidecar.simulate.simulation import Simulation

MARK = "drill"  # the text of each field that is made up, and a label of each alert
TITLE = "DRILL"
SUMMARY = "This is a drill: nothing is wrong, and nothing is to be done."
_OWNERS_ALONE = (
    "a drill of {name} would tell organisations' owners alone, and none of them is drilled;"
    " drill an alert of which your team is told as well"
)
_MOST_EVENTS = 2000
_SPAN = 60.0
_MUCH = 10
Fields = dict[str, Any]


class Undrillable(ValueError):  # noqa: N818 - a state of the rule, not an error of ours
    """No events are known that make the alert fire; says why."""


@dataclass(frozen=True, slots=True)
class Made:
    """Events that are said to make an alert fire: the first `span` seconds ago, all else now."""

    events: tuple[Fields, ...]
    span: float


def made_up(rule: Rule) -> Iterator[Made]:
    """Yield attempts at events that make an alert of `rule` fire; the plainest first."""
    if (pair := rule.expect) is not None:
        first, then = _fields(pair.first), _fields(pair.then)
        if first is not None:
            other = () if then is None else (then | {pair.by: f"{MARK}-2"},)  # which it has to see
            yield Made((*other, first | {pair.by: MARK}), pair.within + _SPAN)
        return
    base = _fields(rule.match)
    if base is None:
        return
    base |= {name: MARK for name in rule.by if name not in base}
    for way in alternatives(rule.condition.whole):
        events = [one for part, holds in way for one in _of(part, holds=holds, base=base)]
        if len(events) <= _MOST_EVENTS:
            waits = rule.for_ if events else (rule.within or 0.0)
            yield Made(tuple(events), waits + _SPAN)


def _of(part: Comparison, *, holds: bool, base: Fields) -> Iterator[Fields]:
    """Yield events by which a comparison comes to `holds`, as far as anybody can tell."""
    one = part.alone
    if one is None:  # reckoned with: much of the first, and as little of the rest as there can be
        first, *rest = part.aggregates
        few = rest if part.ratio else []
        yield from (fields for other in few for fields in _many(other, 1, base))
        yield from _many(first, _MUCH, base)
        return
    test = value_test(part)
    if one.function.shows is Shows.HOW_MANY:
        most = int(max(bounds(part), default=0.0)) + 2
        wanted = next((n for n in range(most + 1) if test(float(n)) is holds), 0)
        yield from _many(one, wanted, base)
        return
    near = (step for bound in bounds(part) for step in (bound, bound + 1, bound - 1))
    texts = (*part.named, MARK) if one.function.shows is Shows.STATE else ()
    fields = _fields(one.match, base)
    passing = (value for value in (*texts, *near) if test(value) is holds)
    for value in islice(passing, 0 if fields is None else 1):
        yield (fields or {}) | {one.field: value}


def _many(one: Aggregate, wanted: int, base: Fields) -> Iterator[Fields]:
    """Yield so many events that an aggregate counts, its field another one in each."""
    fields = _fields(one.match, base)
    for number in range(0 if fields is None else wanted):
        yield (fields or {}) | ({one.field: number} if one.field else {})


def _fields(matchers: Iterable[Matcher], base: Mapping[str, Any] | None = None) -> Fields | None:
    """Return fields that pass all of these, on top of `base`; None where none are known."""
    found: Fields = dict(base or {})
    by_name: dict[str, list[Matcher]] = {}
    for matcher in matchers:
        by_name.setdefault(matcher.name, []).append(matcher)
    for name, mine in by_name.items():
        if " " in name:
            found |= _compared(name)
        elif name.endswith(".is_null"):
            field = name.removesuffix(".is_null")
            null = all(matcher.matches("true") for matcher in mine)
            found[field] = None if null else found.get(field, MARK)
        else:
            known = found.get(name)
            texts = [*([known] if isinstance(known, str) else []), *_texts(mine)]
            fitting = [text for text in texts if all(one.matches(text) for one in mine)]
            if not fitting:
                return None
            found[name] = fitting[0]
    return found


def _texts(matchers: Sequence[Matcher]) -> Iterator[str]:
    """Yield texts of which one may pass: those named, what patterns look like, and any other."""
    for matcher in matchers:
        yield from matcher.named_values()
        if matcher.op == "=~":
            for part in matcher.value.split("|"):
                yield part.replace("\\.", ".").replace(".*", MARK).replace(".+", MARK).strip("()?")
    yield from (MARK, "", "1", "true")


def _compared(name: str) -> Fields:
    """Return fields by which one is to another as a test such as `amount > limit` says."""
    left, op, right = name.split(" ")
    less, more = {">": (2, 1), ">=": (1, 1), "<": (1, 2), "<=": (1, 1)}.get(op, (1, 1))
    try:
        return {left: float(right) + less - more}
    except ValueError:
        return {left: less, right: more}


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, and what came of it."""

    stage: str
    said: str
    ok: bool = True


class Drill:
    """One alert made to fire, and ended; the messages are what the real routes make of it."""

    def __init__(self, config: Config, alert: str, now: float) -> None:
        self._rule = next(rule for rule in config.rules if rule.name == alert)
        # Without the others, and the sources that some pairs ask for.
        self._config = replace(config, rules=(self._rule,), sources=(), webhooks=(), apis=())
        self._now = now
        self._alert: Alert | None = None
        self._owners = False
        self.stages: list[Stage] = []
        self.held_back = ""  # why nobody is told now

    def _read(self, made: Made) -> list[Event]:
        """Return the events of `made` as they are read from a log, or handed in."""
        start = self._now - made.span
        parser, events = Parser(self._config.patterns), []
        for place, fields in enumerate(made.events):
            event = _event(fields, start + min(place, _SPAN / 2) * 0.01)
            if self._rule.about_us or SOURCE in fields:  # no log says such
                events.append(event)
                continue
            line = json.dumps({"metric_type": "WEBHOOK_METRIC", **event.fields}).encode() + b"\n"
            chunk = Chunk(1, MARK, LogFormat.AUTO, line, 0)
            events += parser.parse(chunk, now=event.at, wanted=lambda _: True).events
        return events

    def fire(self) -> list[Notification]:
        """Return the messages about the alert that fires; raises Undrillable.

        There is none where a `time_interval` mutes it for an hour and more: `held_back` says so.
        """
        attempts = list(made_up(self._rule))
        for made in attempts:
            events = self._read(made)
            self._simulation = Simulation(self._config)
            self._simulation.start(self._now - made.span - 1.0)
            messages = self._told(events)
            if self._alert is not None:
                self.stages += [Stage("event", _said(events)), *self._judged(len(events))]
                if self._owners and not messages:
                    raise Undrillable(_OWNERS_ALONE.format(name=self._rule.name))
                return messages
        why = "no events are known that do" if attempts else "its tests exclude each other"
        raise Undrillable(f"a drill cannot make {self._rule.name} fire: {why}")

    def _judged(self, events: int) -> list[Stage]:
        alert = self._alert
        labels = " ".join(f"{k}={v}" for k, v in alert.labels.items()) if alert else ""
        return [Stage("parse", f"{events} read"), Stage("judge", f"fires: {labels}")]

    def _told(self, events: Sequence[Event]) -> list[Notification]:
        """Run until the alert's first messages are made, for an hour beyond now at most."""
        messages: list[Notification] = []
        held: list[str] = []
        for moment in self._simulation.run([Columns.of(events)], until=self._now + 3600.0):
            for change in moment.step.transitions:
                if change.kind is TransitionKind.FIRED and change.alert.name == self._rule.name:
                    self._alert = change.alert
            entries = (row for row in moment.step.delta.rows if isinstance(row, AuditRow))
            held += [row.detail for row in entries if row.kind == HELD]
            self._owners |= any(row.destination == OWNER for row in moment.step.outbox)
            # Whom a mute holds back now is not told in the hour before it is over either.
            messages += [one for one in self._mine(moment.step.outbox) if not _is_held(one, held)]
            if messages:
                break
        self.held_back = held[0] if held and not messages else ""
        return messages

    def end(self) -> list[Notification]:
        """Return the messages about the alert's end."""
        if self._alert is None:
            return []
        self._simulation.core.end(self._alert.name, self._alert.key, self._simulation.now)
        moments = self._simulation.run([], until=self._simulation.now + 86_400.0)
        for moment in moments:
            if found := self._mine(moment.step.outbox):
                return found
        return []

    def _mine(self, rows: Iterable[Any]) -> list[Notification]:
        found = filter(None, map(notification_of, rows))
        about = (one for one in found if any(said.name == self._rule.name for said in one.said))
        return [marked(one, self._now) for one in about if one.destination != OWNER]


def _event(fields: Fields, at: float) -> Event:
    whole = {
        "webhook_provider": MARK, "event_type": MARK, "status": MARK, **fields,
        "timestamp": at, MARK: True,
    }  # fmt: skip
    provider, event_type, status = (
        str(whole[name]) for name in ("webhook_provider", "event_type", "status")
    )
    return Event(provider, event_type, status, at=at, fields=whole)


def _is_held(told: Notification, held: Iterable[str]) -> bool:
    return any(one.endswith(f", for {told.receiver} {told.destination}") for one in held)


def _said(events: Sequence[Event]) -> str:
    if not events:
        return "none comes"
    first = events[0]
    return f"{len(events)} of {first.event_type} {first.status}"


def marked(told: Notification, now: float) -> Notification:
    """Return a message that says it is a drill, under names that no real alert has."""
    notices = [
        msgspec.structs.replace(
            notice,
            labels={**notice.labels, "alertname": _title(notice.labels["alertname"]), MARK: "true"},
            annotations={**notice.annotations, "summary": SUMMARY},
        )
        for notice in told.notices
    ]
    said = [msgspec.structs.replace(one, name=_title(one.name)) for one in told.said]
    return msgspec.structs.replace(
        told, id=f"{MARK}-{told.id}", thread=f"{MARK}-{told.thread}", notices=notices, said=said,
        names=list(map(_title, told.names)), at=now,
    )  # fmt: skip


def _title(name: str) -> str:
    return f"{TITLE} {name}"
