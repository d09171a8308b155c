"""Runs test cases and says where what was expected is not what was got."""

from dataclasses import dataclass

from sidecar.config.model import Config
from sidecar.notify.model import Notification
from sidecar.parse.event import Event, RejectReason
from sidecar.rules.alert import Alert, AlertState
from sidecar.simulate.cases import AlertTest, Case, NotificationTest
from sidecar.simulate.expectation import Shown, Sides, alert_sides, message_sides
from sidecar.simulate.inputs import read_inputs
from sidecar.simulate.simulation import Simulation
from sidecar.simulate.told import Message, Press


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that is not met: what was asked at which instant, and both sides."""

    place: str
    asked: str
    at: float
    expected: tuple[str, ...]
    got: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one case went: `checks` expectations were looked at. `events` came of its inputs,
    `rejects` of lines that carry the marker and are no events.
    """

    case: Case
    checks: int
    events: int
    rejects: tuple[RejectReason, ...]
    failures: tuple[Failure, ...]


def judge(case: Case, config: Config) -> Verdict:
    """Run `case` on a core of its own; each of its expectations is looked at."""
    inputs = read_inputs(case, config.patterns)
    run = _Run(config, inputs.start, inputs.events)
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
    return Verdict(case, len(tests), len(inputs.events), tuple(inputs.rejects), tuple(failures))


class _Run:
    """One simulation, stopped at each instant that a test asks about."""

    def __init__(self, config: Config, start: float, events: list[Event]) -> None:
        self._simulation = Simulation(config)
        self._simulation.begin(start)
        self._press = Press(config)
        self._events = events
        self._seen = 0
        self._untold: list[Message] = []

    def go_to(self, at: float) -> None:
        first = self._seen
        while self._seen < len(self._events) and self._events[self._seen].at <= at:
            self._seen += 1
        for moment in self._simulation.run(self._events[first : self._seen], at):
            self._untold += self._press.messages(moment)

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
        return Shown(labels, self._press.annotations(notification)[0], alert.state)
