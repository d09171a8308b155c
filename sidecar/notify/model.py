"""Routes, receivers and the notification: frozen values that config makes and delivery reads."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, ClassVar

import msgspec

from sidecar.rules.alert import Alert
from sidecar.syntax.faults import Wrong
from sidecar.syntax.table import Reading, Schema, Table, declared, key, table, text_of
from sidecar.syntax.tree import ListNode, MapNode, Node, Scalar, ScalarKind
from sidecar.syntax.values import (  # fmt: skip
    MAILBOXES,
    Above0,
    Channel,
    Count,
    Count1,
    Duration,
    Flag,
    GroupLabel,
    HostPort,
    Mailbox,
    Named,
    OneMatcher,
    Positive,
    ReadableFile,
    SecretText,
    SecretUrl,
    Template,
    TemplateText,
    Text,
    Url,
    anchored,
    split_mailboxes,
)

SLACK_POST_URL = "https://slack.com/api/chat.postMessage"


_RESOLVED = "Also tell when alerts end."
_RATE = "What the other side takes; the rest is told in a digest."
_TEMPLATE = "Jinja2 source."


@table
class Rate(Table):
    """A token bucket: `burst` messages at once, then `per_second`."""

    per_second: Above0 = key("Messages a second.", default=1.0)
    burst: Count1 = key("Messages at once.", default=5)


@table
class SlackConfig(Table):
    """Slack by incoming webhook (`api_url`) or by bot token (`app_token`, `chat.postMessage`).

    `title` and `text` are templates; None takes the shipped ones.
    """

    one_of: ClassVar[tuple[str, ...]] = ("api_url", "app_token")
    schema: ClassVar[Schema] = {"allOf": [{"not": {"required": ["api_url", "app_token"]}}]}

    channel: Channel = key("#name or ID; an incoming webhook posts where it was made for.")
    api_url: SecretUrl = key("An incoming webhook.", global_="slack_api_url", default=None)
    app_token: SecretText = key("A bot token.", global_="slack_app_token", default=None)
    app_url: Url = key(
        "Slack's chat.postMessage, or a stand-in.", global_="slack_app_url", default=SLACK_POST_URL
    )
    send_resolved: Flag = key(_RESOLVED, default=True)
    title: Template = key(_TEMPLATE, default=None)
    text: Template = key(_TEMPLATE, default=None)
    rate: Rate = key(_RATE, default=Rate())

    def check(self, reading: Reading) -> "SlackConfig":
        ways = [k for k in reading.node(self).values if k.startswith(("api_url", "app_token"))]
        if self.api_url and self.app_token:
            place = next((k for k in ways if k.startswith("app_token")), "")
            message = "both an incoming webhook and a bot token are set"
            reading.error_at_key(self, place, message, "keep `api_url` or `app_token`")
        if not self.api_url and not self.app_token:
            message = "neither an incoming webhook nor a bot token is set"
            hint = (
                "set `api_url` or `app_token` here, "
                "or `slack_api_url` or `slack_app_token` in `global`"
            )
            reading.error(self, "", message, hint)
        return self


# RFC 5322, 2.2: printable ASCII without the colon; we keep to what is in use.
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,74}")
_OURS = frozenset(
    [
        "from",
        "to",
        "cc",
        "bcc",
        "date",
        "message-id",
        "in-reply-to",
        "references",
        "auto-submitted",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
    ]
)


def _check_header(name: str, scalar: Scalar) -> None:
    if not _HEADER.fullmatch(name):
        raise Wrong(f"`{name}` is not a header name")
    if name.lower() in _OURS:
        raise Wrong(f"header `{name}` is set by the sidecar", "remove it")
    if "\n" in scalar.text or "\r" in scalar.text:
        raise Wrong("a header cannot hold a line break")


def _any_case(word: str) -> str:
    return "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word)


_HEADER_NAMES = {
    "propertyNames": {
        "type": "string",
        "pattern": anchored(_HEADER),
        "not": {"pattern": f"^(?:{'|'.join(map(_any_case, sorted(_OURS)))})$"},
    }
}


@table
class TlsConfig(Table):
    """How the mail server proves who it is."""

    ca_file: ReadableFile = key("Certificates to trust.", default="")
    insecure_skip_verify: Flag = key("Trust any certificate.", default=False)


@table
class EmailConfig(Table):
    """Mail through SMTP. `to` holds one mailbox each; `html`, `text`, `subject` are templates."""

    to: tuple[Mailbox, ...] = key("Mailboxes, in one text with commas or a list.", schema=MAILBOXES)
    from_: Mailbox = key("The sender's.", "from", global_="smtp_from", needed=True, default="")
    smarthost: HostPort = key(
        "The mail server, host:port.", global_="smtp_smarthost", needed=True, default=("", 0)
    )
    hello: Text = key(
        "The name we greet the mail server with.", global_="smtp_hello", default="localhost"
    )
    auth_username: Text = key("Login; empty: none.", global_="smtp_auth_username", default="")
    auth_password: SecretText = key(
        "Password of the login.", global_="smtp_auth_password", default=None
    )
    require_tls: Flag = key(
        "STARTTLS, or no mail at all.", global_="smtp_require_tls", default=True
    )
    tls_config: TlsConfig = key("How the mail server proves who it is.", default=TlsConfig())
    send_resolved: Flag = key(_RESOLVED, default=True)
    subject: Template = key(_TEMPLATE, default=None)
    text: Template = key(_TEMPLATE, default=None)
    html: Template = key(_TEMPLATE, default=None)
    headers: Mapping[str, TemplateText] = key(
        "Added to each mail.", schema=_HEADER_NAMES, default={}
    )
    rate: Rate = key(_RATE, default=Rate(per_second=5.0, burst=20))

    @classmethod
    def prepare(cls, values: dict[str, Node], reading: Reading) -> None:
        to, headers = values.get("to"), values.get("headers")
        if isinstance(to, Scalar) and to.kind is ScalarKind.TEXT and not to.faulty:
            parts = tuple(map(to.part, split_mailboxes(to.text)))
            values["to"] = to = ListNode(to.place, parts)
        if isinstance(to, ListNode) and not to.items:
            reading.faults.error(to.place, "`to` is empty", "name at least one mail address")
        if not isinstance(headers, MapNode):
            return
        for name, scalar in headers.values.items():
            with reading.reporting(scalar):
                _check_header(name, text_of(scalar))
            if name.lower() == "subject":
                rest = {key: value for key, value in headers.values.items() if key != name}
                values["headers"] = MapNode(headers.place, rest, headers.places)
                if values.setdefault("subject", scalar) is not scalar:
                    reading.faults.error(scalar.place, "the subject is set twice", "keep `subject`")

    def check(self, reading: Reading) -> "EmailConfig":
        there, gone = "auth_username", "auth_password"
        if bool(self.auth_username) != (self.auth_password is not None):
            if not self.auth_username:
                there, gone = gone, there
            message = f"`{there}` is set, but `{gone}` is not"
            hint = f"set `{gone}` here, or `smtp_{gone}` in `global`"
            reading.error(self, "", message, hint)
        return replace(self, to=tuple(dict.fromkeys(self.to)))


@table
class Receiver(Table):
    """A named destination: any number of Slack channels and mail addresses.

    Delivery is tried for `max_age` seconds; the first `quick_retries` come within seconds.
    """

    name: Named = key("The receiver's name.")
    slack_configs: tuple[SlackConfig, ...] = key("Slack channels.", default=())
    email_configs: tuple[EmailConfig, ...] = key("Mailboxes.", default=())
    max_age: Positive = key("How long delivery is tried.", default=6 * 3600.0)
    quick_retries: Count = key("Tries before a failure counts.", default=1)


EVERY_LABEL = "..."


@table
class Route(Table):
    """A node of Alertmanager's tree; values not written are inherited by the time it is built.

    `group_by` `("...",)` means every label, no grouping. `cooldown`: the least gap between
    messages about one alert at one severity. `group_limit`: so many waiting alerts end
    `group_wait` early (0: never). `id` is its place in the tree, as in Alertmanager's group keys.
    """

    hints: ClassVar[dict[str, str]] = {
        "match": "write `matchers`, as Alertmanager does since 0.22",
        "match_re": "write `matchers`, as Alertmanager does since 0.22",
    }

    id: str = ""
    receiver: Text = key("Who is told.", default="")
    matchers: tuple[OneMatcher, ...] = key("Tests of labels, all of which must hold.", default=())
    group_by: tuple[GroupLabel, ...] = key(
        "Alerts equal in these are told together; ['...']: by all.",
        schema={"uniqueItems": True},
        default=(),
    )
    group_wait: Duration = key("How long a new group waits for others.", default=30.0)
    group_interval: Positive = key(
        "Least time between two messages about a changed group.", default=300.0
    )
    repeat_interval: Positive = key(
        "When to say again that an alert still fires.", default=4 * 3600.0
    )
    cooldown: Duration = key(
        "Least time between messages about one alert at one severity.", default=600.0
    )
    group_limit: Count = key("Alerts that end `group_wait` at once; 0: none.", default=0)
    continue_: Flag = key("Go on to the next route as well.", "continue", default=False)
    routes: tuple["Route", ...] = key("Tried in order.", default=())

    def check(self, reading: Reading) -> "Route":
        seen: set[str] = set()
        node = reading.node(self).values.get("group_by")
        for label in node.items if isinstance(node, ListNode) else ():
            if isinstance(label, Scalar) and label.text in seen:
                message = f"`{label.written}` stands twice in `group_by`"
                reading.faults.error(label.place, message)
            seen.add(getattr(label, "text", ""))
        if EVERY_LABEL in seen and len(seen) > 1:
            message = "'...' already groups by every label"
            reading.error(self, "group_by", message, "write ['...'] alone")
        return self

    def below(self, parent: "Route | None", reading: Reading, index: int = 0) -> "Route":
        """Return the route with what it does not say taken from its parent, down the tree."""
        node = reading.node(self)
        found: dict[str, Any] = {"id": "{}"}
        if parent is not None:
            braced = "{" + ",".join(sorted(map(str, self.matchers))) + "}"
            found = {
                one.field: getattr(parent, one.field)
                for name, one in declared(Route).items()
                if name not in node.values and name not in ("matchers", "continue", "routes")
            }
            found["id"] = f"{parent.id}/{braced}/{index}"
        whole = replace(self, **found)
        children: list[Route] = []
        taken = 0
        for number, child in enumerate(self.routes):
            inner = reading.node(child)
            if taken:
                message = "no alert comes here: the route before it takes every one"
                reading.faults.warning(inner.place, message, f"see line {taken}")
            children.append(child.below(whole, reading, number))
            if "matchers" not in inner.values and not child.continue_:
                taken = taken or inner.place.line
        return replace(whole, routes=tuple(children))


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
    """How an alert stands in a message; a message lists them in this order."""

    FIRING = "firing"
    ESCALATED = "escalated"  # moved on to another audience, told here for the last time
    FIRED_AND_RESOLVED = "fired and resolved"
    RESOLVED = "resolved"


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
    place in the receiver's list of that kind, `destination` the channel or mailbox.

    `notices` are the alerts that it tells, what fires first. `more` alerts have found no room:
    they are told by the group's next message. `counts` has both, by status; `names` holds the
    alert names of those of the first status in `counts`. `still_firing` of the group were told
    before and go on. Written before there were counts, `more` alerts count as told by it.
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
    counts: dict[NoticeStatus, int] = {}
    names: list[str] = []

    @classmethod
    def about(cls, alerts: Iterable[Alert], at: float) -> "Notification":
        """Return how `alerts` stand at `at`, to be shown and not sent."""
        return cls(
            id="", receiver="", integration="", index=0, destination="", reason=Reason.REPEAT,
            group="", group_labels={}, notices=[Notice.of(alert) for alert in alerts], at=at,
        )  # fmt: skip

    @property
    def by_status(self) -> dict[NoticeStatus, int]:
        """How many alerts of each status it is about, in the order of NoticeStatus, none with 0."""
        counts = self.counts or Counter(notice.status for notice in self.notices)
        return {status: counts[status] for status in NoticeStatus if counts.get(status)}


def severity_rank(severity: str) -> int:
    """Return 0 for info up to 3 for critical; what is none of the four ranks as warning."""
    return _RANK.get(severity, 1)


SEVERITIES = ("info", "warning", "error", "critical")
_RANK = {name: rank for rank, name in enumerate(SEVERITIES)}
