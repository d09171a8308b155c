"""Runs the cases of rule tests and says where what was expected is not what was got."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from sidecar.config.settings import Config
from sidecar.notify.model import Notification
from sidecar.parse.columns import Columns
from sidecar.parse.event import (
    UNKNOWN_PROVIDER,
    Chunk,
    Event,
    ForeignReason,
    LogFormat,
    Parsed,
    RejectReason,
)
from sidecar.parse.instants import instant, is_bad_instant
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern
from sidecar.rules.alert import Alert, AlertState
from sidecar.ruletest.cases import (
    DEFAULT_START,
    AlertTest,
    Case,
    EventInput,
    ExpectedAlert,
    ExpectedMessage,
    ExpectedNotice,
    LineInput,
    NotificationTest,
    When,
)
from sidecar.simulate.messages import Message, MessageRenderer, ToldAlert
from sidecar.simulate.simulation import Simulation

# The time of reading that the parser is given, so that an event without any time shows it: the
# year 33658, later than any time a log can state.
_NO_TIME = 1e12
# In so many seconds behind the start lies what has a stamp without a year.
_NEARLY_A_YEAR = 363 * 86_400.0
_LOG = "input_lines"


class Inputs(msgspec.Struct, frozen=True):
    """When the test starts, its events in order, and why lines with the marker were no events.

    `bad_times` events had a stamp that could not be read.
    """

    start: float
    events: list[Event]
    rejects: list[RejectReason | ForeignReason]
    bad_times: int


class _Undated(msgspec.Struct, frozen=True):
    """An event, and when it is for want of a time of its own."""

    event: Event
    when: When

    @property
    def dated(self) -> bool:
        return self.event.at != _NO_TIME


def read_inputs(case: Case, patterns: tuple[Pattern, ...]) -> Inputs:
    """Return what the case's lines and events are to the daemon's own parser.

    A line's own time wins. Without one, and without `at`, the place in its list times `interval`
    is the offset from the start. The start is the case's, else the earliest time of an input.
    """
    near = (DEFAULT_START if case.start is None else case.start) + _NEARLY_A_YEAR
    reader = _LineParser(patterns, near)
    found = [*reader.lines(case), *_events(case, near)]
    start = case.start
    if start is None:
        known = [one.event.at for one in found if one.dated]
        known += [one.when.seconds for one in found if not one.dated and one.when.absolute]
        start = min(known, default=DEFAULT_START)
    events = [
        one.event if one.dated else msgspec.structs.replace(one.event, at=one.when.at(start))
        for one in found
    ]
    events.sort(key=lambda event: event.at)
    given = [one.fields for one in case.inputs if isinstance(one, EventInput)]
    bad_times = sum(is_bad_instant(fields.get("timestamp"), near) for fields in given)
    return Inputs(start, events, reader.rejects, reader.bad_times + bad_times)


class _LineParser:
    """Parses the lines of one case as one log."""

    def __init__(self, patterns: tuple[Pattern, ...], near: float) -> None:
        self.rejects: list[RejectReason | ForeignReason] = []
        self.bad_times = 0
        self._parser = Parser(patterns, near=near)

    def lines(self, case: Case) -> Iterator[_Undated]:
        position, when = 0, When(0.0)
        given = (one for one in case.inputs if isinstance(one, LineInput))
        for place, one in enumerate(given):
            data = one.line.encode() + b"\n"
            chunk = Chunk(1, _LOG, LogFormat.AUTO, data, position)
            position += len(data)
            parsed = self._parser.parse(chunk, now=_NO_TIME, wanted=lambda _: True)
            self._note(parsed)
            when = one.when or When(place * case.interval)
            yield from (_Undated(event, when) for event in parsed.events)
        for _, parsed in self._parser.end_open(_NO_TIME, lambda _: True, age=0.0):
            self._note(parsed)
            yield from (_Undated(event, when) for event in parsed.events)

    def _note(self, parsed: Parsed) -> None:
        self.rejects += [reject.reason for reject in parsed.rejects]
        self.bad_times += parsed.bad_times
        self.rejects += [foreign.reason for foreign in parsed.foreign]


def _events(case: Case, near: float) -> Iterator[_Undated]:
    given = (one for one in case.inputs if isinstance(one, EventInput))
    for place, one in enumerate(given):
        fields = {"webhook_provider": UNKNOWN_PROVIDER, **one.fields}
        stated = instant(fields.get("timestamp"), near)
        at = _NO_TIME if one.when is not None or stated is None else stated
        event = Event(
            fields["webhook_provider"], fields["event_type"], fields["status"], at, fields
        )
        yield _Undated(event, one.when or When(place * case.interval))


Sides = tuple[tuple[str, ...], tuple[str, ...]]
_ALERTNAME = "alertname"
_W = TypeVar("_W", ExpectedAlert, ExpectedNotice)


class Shown(msgspec.Struct, frozen=True):
    """An alert as it stands at an instant, its annotations rendered."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    state: AlertState


_G = TypeVar("_G", Shown, ToldAlert)


def alert_sides(expected: Sequence[ExpectedAlert], got: Sequence[Shown]) -> Sides:
    """Return both sides; of the annotations only those that are expected are shown."""
    pairs, surplus = _paired(expected, got)
    left, right = [_headline(len(expected), "alert")], [_headline(len(got), "alert")]
    for want, found in pairs:
        left += _alert_lines(want.state, want.labels, want.annotations)
        if found is not None:
            texts = {name: found.annotations.get(name, "(missing)") for name in want.annotations}
            right += _alert_lines(found.state, found.labels, texts)
    for extra in surplus:
        right += _alert_lines(extra.state, extra.labels, {})
    return tuple(left), tuple(right)


def message_sides(expected: Sequence[ExpectedMessage], got: Sequence[Message]) -> Sides:
    """Return both sides, message by message in their order, in what is expected of each."""
    left, right = [_headline(len(expected), "message")], [_headline(len(got), "message")]
    for place in range(max(len(expected), len(got))):
        want = expected[place] if place < len(expected) else None
        found = got[place] if place < len(got) else None
        if want is not None:
            left += _wanted_lines(want, place)
        if found is not None:
            right += _found_lines(found, want or _ANYTHING, place)
    return tuple(left), tuple(right)


_ANYTHING = ExpectedMessage(alerts=())


def _wanted_lines(want: ExpectedMessage, place: int) -> list[str]:
    lines = [f"message {place + 1}"]
    if want.reason is not None:
        lines.append(f"  reason: {want.reason.value}")
    if want.late is not None:
        lines.append(f"  late: {_flag(want.late)}")
    for notice in want.alerts or ():
        lines += _notice_lines(notice.labels, notice.status)
    if want.mail_subject is not None:
        lines.append(f"  mail_subject: {want.mail_subject}")
    for kind, text in want.texts.items():
        if isinstance(text, str):
            lines += [f"  {kind}_text:", *_indented(text)]
        else:
            lines += [f"  {kind}_text contains: {part}" for part in text]
    return lines


def _found_lines(found: Message, want: ExpectedMessage, place: int) -> list[str]:
    """Return the lines of a message that answer to those of `want`."""
    lines = [f"message {place + 1}"]
    if want.reason is not None or want is _ANYTHING:
        lines.append(f"  reason: {found.reason}")
    if want.late is not None:
        lines.append(f"  late: {_flag(found.late)}")
    if want.alerts is not None:
        lines += _told_lines(want.alerts, found.told)
    lines += _subject_lines(found, want)
    return lines + [line for kind in want.texts for line in _text_lines(found, kind, want)]


def _told_lines(wanted: Sequence[ExpectedNotice], told: Sequence[ToldAlert]) -> list[str]:
    lines: list[str] = []
    pairs, surplus = _paired(wanted, told)
    for want, found in pairs:
        if found is not None:
            labels = {name: found.labels.get(name, "(missing)") for name in want.labels}
            lines += _notice_lines(labels, found.state if want.status is not None else None)
    for extra in surplus:
        lines += _notice_lines(extra.labels, extra.state)
    return lines


def _text_lines(found: Message, kind: str, want: ExpectedMessage) -> list[str]:
    texts = [copy.text for copy in found.copies if copy.integration == kind]
    wanted, none = want.texts[kind], f"(no {kind} message)"
    if isinstance(wanted, str):
        text = next((t for t in texts if t == wanted), texts[0] if texts else none)
        return [f"  {kind}_text:", *_indented(text)]
    there = [part for part in wanted if any(part in text for text in texts)]
    lines = [f"  {kind}_text contains: {part}" for part in there]
    if len(there) < len(wanted):
        lines += [f"  {kind}_text:", *_indented(texts[0] if texts else none)]
    return lines


def _subject_lines(found: Message, want: ExpectedMessage) -> list[str]:
    if want.mail_subject is None:
        return []
    subjects = [copy.subject for copy in found.copies if copy.subject]
    if want.mail_subject in subjects:
        return [f"  mail_subject: {want.mail_subject}"]
    return [f"  mail_subject: {subjects[0] if subjects else '(no mail)'}"]


def _paired(wanted: Sequence[_W], got: Sequence[_G]) -> tuple[list[tuple[_W, _G | None]], list[_G]]:
    """Give each wanted one the most alike of those got that are left."""
    left = list(got)
    pairs: list[tuple[_W, _G | None]] = []
    for want in wanted:
        best = max(left, key=lambda one: _likeness(want.labels, one.labels), default=None)
        if best is not None:
            left.remove(best)
        pairs.append((want, best))
    return pairs, left


def _likeness(wanted: Mapping[str, str], got: Mapping[str, str]) -> int:
    return sum(got.get(name) == text for name, text in wanted.items())


def _headline(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}" if count else f"no {word}"


def _alert_lines(
    state: AlertState, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> list[str]:
    named = [f"  {name}: {text}" for name, text in sorted(labels.items()) if name != _ALERTNAME]
    texts = [f"  annotation {name}: {text}" for name, text in sorted(annotations.items())]
    return [state.value, *named, *texts]


def _notice_lines(labels: Mapping[str, str], status: str | None) -> list[str]:
    lines = ["  alert" if status is None else f"  alert {status}"]
    return lines + [f"    {name}: {text}" for name, text in sorted(labels.items())]


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]


def _flag(value: bool) -> str:  # noqa: FBT001 - a value to show
    return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that is not met: what was asked at which instant, and both sides."""

    place: str
    asked: str
    at: float
    expected: tuple[str, ...]
    got: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one case went: `events` came of its inputs, `rejects` of lines that carry the marker
    and are no events. `bad_instants`: what of its inputs should have been a time and was none.
    """

    case: Case
    events: int
    rejects: tuple[RejectReason | ForeignReason, ...]
    bad_instants: tuple[str, ...]
    failures: tuple[Failure, ...]


def judge(case: Case, config: Config, renderer: MessageRenderer) -> CaseResult:
    """Run `case` on a core of its own; each of its expectations is looked at."""
    inputs = read_inputs(case, config.patterns)
    run = _Run(config, renderer, inputs.start, inputs.events)
    tests: list[AlertTest | NotificationTest] = [*case.alert_tests, *case.notification_tests]
    tests.sort(key=lambda test: test.when.at(inputs.start))
    failures: list[Failure] = []
    for test in tests:
        at = test.when.at(inputs.start)
        run.go_to(at)
        if isinstance(test, AlertTest):
            asked, sides = f"alert {test.alertname}", run.alerts(test)
        else:
            asked, sides = f"receiver {test.receiver}", run.messages(test)
        if sides[0] != sides[1]:
            failures.append(Failure(test.place, asked, at, *sides))
    bad = tuple(_bad_instants(inputs, run))
    return CaseResult(case, len(inputs.events), tuple(inputs.rejects), bad, tuple(failures))


def _bad_instants(inputs: Inputs, run: "_Run") -> Iterator[str]:
    if inputs.bad_times:
        yield f"the time of {inputs.bad_times} of {len(inputs.events)} events cannot be read"
    yield from run.bad_instants()


class _Run:
    """One simulation, stopped at each instant that a test asks about."""

    def __init__(
        self, config: Config, renderer: MessageRenderer, start: float, events: list[Event]
    ) -> None:
        self._simulation = Simulation(config)
        self._simulation.start(start)
        self._renderer = renderer
        self._rules = config.rules
        self._events = events
        self._seen = 0
        self._untold: list[Message] = []

    def go_to(self, at: float) -> None:
        first = self._seen
        while self._seen < len(self._events) and self._events[self._seen].at <= at:
            self._seen += 1
        for moment in self._simulation.run([Columns.of(self._events[first : self._seen])], at):
            self._untold += self._renderer.messages(moment)

    def bad_instants(self) -> Iterator[str]:
        """Say which rules met no instant where they ask for one."""
        found = self._simulation.core.engine.bad_instants
        for rule in (rule for rule in self._rules if rule.name in found):
            asked = (*rule.until, *(step.at for step in rule.escalate))
            names = dict.fromkeys(f"`{name}`" for one in asked for name in one.fields)
            times = f"in {found[rule.name]} events" if found[rule.name] > 1 else "in an event"
            yield f"alert {rule.name}: {' or '.join(names)} is no instant {times}"

    def alerts(self, test: AlertTest) -> Sides:
        """Hold the alerts of one name; those that are pending only where a test names that."""
        states = {AlertState.FIRING, *(one.state for one in test.expected)}
        found = [
            self._shown(alert)
            for alert in self._simulation.alerts()
            if alert.name == test.alertname and alert.state in states
        ]
        return alert_sides(test.expected, found)

    def messages(self, test: NotificationTest) -> Sides:
        """Hold what the receiver was told since the last test that asked about it."""
        found = [one for one in self._untold if one.receiver == test.receiver]
        self._untold = [one for one in self._untold if one.receiver != test.receiver]
        return message_sides(test.expected, found)

    def _shown(self, alert: Alert) -> Shown:
        notification = Notification.about([alert], self._simulation.now)
        labels = self._simulation.core.redactor.fields(alert.labels)
        return Shown(labels, self._renderer.annotations(notification)[0], alert.state)
