"""What a test file says: inputs with times, and what is expected when."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.config.model import Config
from sidecar.notify.model import NoticeStatus, Reason
from sidecar.rules.alert import AlertState

# Where a test's clock starts when neither the test nor its inputs say when they are: 2026-01-01.
DEFAULT_START = 1_767_225_600.0
DEFAULT_INTERVAL = 60.0


@dataclass(frozen=True, slots=True)
class When:
    """An instant: `seconds` after the start of the test or, if `absolute`, since the epoch."""

    seconds: float
    absolute: bool = False

    def at(self, start: float) -> float:
        return self.seconds if self.absolute else start + self.seconds


@dataclass(frozen=True, slots=True)
class LineInput:
    """A log line; `when` stands in where the line has no time of its own."""

    line: str
    when: When | None = None


@dataclass(frozen=True, slots=True)
class EventInput:
    """An event by its fields; without `when` their `timestamp` says when."""

    fields: Mapping[str, Any]
    when: When | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedAlert:
    """Labels are compared whole (alertname aside), annotations as far as they are written."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    state: AlertState = AlertState.FIRING


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertTest:
    """Which alerts of one name are open at `when`. `place` is `file:line:column`."""

    place: str
    when: When
    alertname: str
    expected: tuple[ExpectedAlert, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedNotice:
    """One alert in a message: the labels that are written, and its status."""

    labels: Mapping[str, str]
    status: NoticeStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedMessage:
    """One message, in what is written of it; None and empty are not compared."""

    reason: Reason | None = None
    late: bool | None = None
    alerts: tuple[ExpectedNotice, ...] | None = None
    slack_contains: tuple[str, ...] = ()
    slack_equals: str | None = None
    mail_subject: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationTest:
    """What `receiver` was told up to `when` and after the notification test before, in order."""

    place: str
    when: When
    receiver: str
    expected: tuple[ExpectedMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One entry of `tests`. Inputs without any time come `interval` seconds after each other."""

    place: str
    name: str
    start: float | None = None
    interval: float = DEFAULT_INTERVAL
    inputs: tuple[LineInput | EventInput, ...] = ()
    alert_tests: tuple[AlertTest, ...] = ()
    notification_tests: tuple[NotificationTest, ...] = ()


@dataclass(frozen=True, slots=True)
class Suite:
    """One test file: its cases, and the configuration that they are about."""

    path: str
    config: Config
    cases: tuple[Case, ...]
