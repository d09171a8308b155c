"""What would have been told: messages as their receivers would have read them, alert by alert."""

from collections.abc import Iterator
from typing import Any

import msgspec

from sidecar.config.model import Config
from sidecar.notify.message import MAX_NOTICES
from sidecar.notify.model import Notification
from sidecar.notify.redact import Redactor
from sidecar.notify.render import Renderer
from sidecar.rows import OutboxRow
from sidecar.simulate.simulation import Moment


class Told(msgspec.Struct, frozen=True):
    """One alert in one message, as `replay --format json` shows it.

    `state` is the notice's: firing, resolved, fired and resolved, escalated.
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
    """A message as one destination gets it. `subject` is empty for Slack; `fault` of a template."""

    integration: str
    destination: str
    subject: str
    text: str
    fault: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One thing said to one receiver at one instant: a copy for each of its destinations."""

    at: float
    receiver: str
    reason: str
    group: str
    late: bool
    told: tuple[Told, ...]
    copies: tuple[Copy, ...]


class Press:
    """Turns the outbox of a simulated step into messages, rendered as the daemon renders them."""

    def __init__(self, config: Config) -> None:
        self._receivers = config.receivers
        self._renderer = Renderer(config.templates, Redactor(config.redact))

    def messages(self, moment: Moment) -> Iterator[Message]:
        """Yield a message for each receiver and group that was told something at `moment`."""
        together: dict[tuple[str, str], list[Notification]] = {}
        for row in moment.step.outbox:
            together.setdefault((row.receiver, row.group_id), []).append(_notification(row))
        for notifications in together.values():
            yield self._message(notifications)

    def annotations(self, notification: Notification) -> list[dict[str, str]]:
        """Return the rendered annotations of each notice."""
        notices = self._renderer.view(notification)["notices"]
        return [notice["annotations"] for notice in notices]

    def _message(self, notifications: list[Notification]) -> Message:
        first = notifications[0]
        return Message(
            at=first.at,
            receiver=first.receiver,
            reason=first.reason.value,
            group=first.group,
            late=first.late,
            told=tuple(self._told(notifications)),
            copies=tuple(self._copy(one) for one in notifications),
        )

    def _told(self, notifications: list[Notification]) -> Iterator[Told]:
        """Yield each alert once: destinations differ only in whether they hear of ends."""
        fullest = max(notifications, key=lambda one: len(one.notices))
        for notice, annotations in zip(fullest.notices, self.annotations(fullest), strict=True):
            yield Told(
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

    def _copy(self, whole: Notification) -> Copy:
        one = _as_sent(whole)
        receiver = self._receivers[one.receiver]
        if one.integration == "slack":
            slack = self._renderer.slack(one, receiver.slack_configs[one.index])
            return Copy("slack", one.destination, "", slack_text(slack.payload), slack.fault)
        if one.integration != "email":
            return Copy(one.integration, one.destination, "", "")
        mail = self._renderer.mail(one, receiver.email_configs[one.index])
        return Copy("email", one.destination, mail.subject, mail.text, mail.fault)


def slack_text(payload: dict[str, Any]) -> str:
    """Return what a reader sees of a Slack payload: header, body and footer, line by line."""
    attached = [block for one in payload.get("attachments", ()) for block in one["blocks"]]
    lines: list[str] = []
    for block in (*payload.get("blocks", ()), *attached):
        if "text" in block:
            lines.append(block["text"]["text"])
        lines += [element["text"] for element in block.get("elements", ())]
    return "\n".join(lines) if lines else str(payload.get("text", ""))


def _as_sent(whole: Notification) -> Notification:
    """Return a notification with no more alerts listed than the daemon lists."""
    rest = max(0, len(whole.notices) - MAX_NOTICES)
    listed = whole.notices[:MAX_NOTICES]
    return msgspec.structs.replace(whole, notices=listed, more=whole.more + rest)


def _notification(row: OutboxRow) -> Notification:
    return msgspec.json.decode(row.payload, type=Notification)
