"""Routes, receivers and the notification: frozen values that config makes and delivery reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from sidecar.matchers import Matcher
from sidecar.rules.alert import Alert
from sidecar.secret import Secret

SLACK_POST_URL = "https://slack.com/api/chat.postMessage"


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket: `burst` messages at once, then `per_second`."""

    per_second: float = 1.0
    burst: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackConfig:
    """Slack by incoming webhook (`api_url`) or by bot token (`app_token`, `chat.postMessage`).

    `title` and `text` are templates; None takes the shipped ones.
    """

    channel: str
    api_url: Secret | None = None
    app_token: Secret | None = None
    app_url: str = SLACK_POST_URL
    send_resolved: bool = True
    title: str | None = None
    text: str | None = None
    rate: Rate = Rate()


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailConfig:
    """Mail through SMTP. `to` holds one mailbox each; `html`, `text`, `subject` are templates."""

    to: tuple[str, ...]
    from_: str
    smarthost: tuple[str, int]
    hello: str = "localhost"
    auth_username: str = ""
    auth_password: Secret | None = None
    require_tls: bool = True
    tls_insecure_skip_verify: bool = False
    tls_ca_file: str = ""
    send_resolved: bool = True
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    rate: Rate = Rate(per_second=5.0, burst=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A named destination: any number of Slack channels and mail addresses.

    Delivery is tried for `max_age` seconds; the first `quick_retries` come within seconds.
    """

    name: str
    slack_configs: tuple[SlackConfig, ...] = ()
    email_configs: tuple[EmailConfig, ...] = ()
    max_age: float = 6 * 3600.0
    quick_retries: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A node of Alertmanager's tree; values not written are inherited by the time it is built.

    `group_by` `("...",)` means every label, no grouping. `cooldown`: the least gap between
    messages about one alert at one severity. `group_limit`: so many waiting alerts end
    `group_wait` early (0: never). `id` is its place in the tree, as in Alertmanager's group keys.
    """

    id: str
    receiver: str
    matchers: tuple[Matcher, ...] = ()
    group_by: tuple[str, ...] = ()
    group_wait: float = 30.0
    group_interval: float = 300.0
    repeat_interval: float = 4 * 3600.0
    cooldown: float = 600.0
    group_limit: int = 0
    continue_: bool = False
    routes: tuple["Route", ...] = ()


class Reason(StrEnum):
    """Why a group is told now, or is not. Reaches template, metric and log."""

    FIRST = "first notification"
    NEW_ALERTS = "new alerts in group"
    SOME_RESOLVED = "some alerts resolved"
    ALL_RESOLVED = "all alerts resolved"
    FIRED_AND_RESOLVED = "fired and resolved"
    ESCALATED = "alerts escalated"
    REPEAT = "repeat interval elapsed"
    LATE_DIGEST = "late digest"
    RULE_CHANGED = "rule changed"
    # and why not
    NOTHING_NEW = "nothing new"
    COOLDOWN = "cooldown"
    RESOLVED_NOT_SENT = "resolved not sent"


class NoticeStatus(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"
    FIRED_AND_RESOLVED = "fired and resolved"
    ESCALATED = "escalated"  # moved on to another audience, told here for the last time


class Notice(msgspec.Struct, frozen=True):
    """One alert inside a notification, as told; `annotations` are templates, `event` redacted."""

    status: NoticeStatus
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float | str | None
    since: float
    ended_at: float | None
    event: dict[str, Any]
    episode: int
    held: int = 0  # repeats held back since it was last told
    late_by: float = 0.0
    escalated_to: str = ""  # the severity it has elsewhere, once it left this audience

    @classmethod
    def of(cls, alert: Alert) -> "Notice":
        """Return what there is to tell of `alert` while it fires."""
        return cls(
            status=NoticeStatus.FIRING,
            labels=alert.labels,
            annotations=alert.annotations,
            value=alert.value,
            since=alert.since,
            ended_at=None,
            event=alert.event,
            episode=alert.episode,
        )


class Notification(msgspec.Struct, frozen=True):
    """What one destination is to be told: the redacted snapshot, stored, and rendered at send.

    `id` is stable over attempts and restarts. `integration` is "slack" or "email", `index` its
    place in the receiver's list of that kind, `destination` the channel or mailbox. `more` alerts
    are told by it too but not listed; `still_firing` of the group were told before and go on.
    """

    id: str
    receiver: str
    integration: str
    index: int
    destination: str
    reason: Reason
    group: str
    group_labels: dict[str, str]
    notices: list[Notice]
    at: float
    late: bool = False
    more: int = 0
    still_firing: int = 0

    @classmethod
    def about(cls, alerts: Iterable[Alert], at: float) -> "Notification":
        """Return how `alerts` stand at `at`, to be shown and not sent."""
        return cls(
            id="", receiver="", integration="", index=0, destination="", reason=Reason.REPEAT,
            group="", group_labels={}, notices=[Notice.of(alert) for alert in alerts], at=at,
        )  # fmt: skip

    @property
    def status(self) -> str:
        """Say `firing` while any alert in it fires, else `resolved`."""
        open_ = any(n.status is NoticeStatus.FIRING for n in self.notices)
        return "firing" if open_ else "resolved"

    @property
    def severity(self) -> str:
        """The most severe label among its alerts; an unknown one ranks as warning."""
        ranks = [severity_rank(n.labels.get("severity", "")) for n in self.notices]
        return SEVERITIES[max(ranks, default=1)]


def severity_rank(severity: str) -> int:
    """Return 0 for info up to 3 for critical; what is none of the four ranks as warning."""
    return _RANK.get(severity, 1)


SEVERITIES = ("info", "warning", "error", "critical")
_RANK = {name: rank for rank, name in enumerate(SEVERITIES)}
