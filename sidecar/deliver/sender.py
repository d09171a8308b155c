"""One attempt: an outbox row becomes a rendered message, handed to Slack or the mail server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, assert_never

import httpx
import msgspec

from sidecar.deliver import email, slack
from sidecar.notify.model import EmailConfig, Notification, Rate, Receiver, SlackConfig
from sidecar.notify.outcome import Failed, FailureKind, Outcome, Verdict
from sidecar.notify.render import MailText, SlackText
from sidecar.rows import OutboxRow


class Renderer(Protocol):
    """Makes messages from notifications; never fails, plain text goes out instead."""

    def slack(self, notification: Notification, config: SlackConfig, /) -> SlackText: ...
    def slack_plain(self, notification: Notification, config: SlackConfig, /) -> SlackText: ...
    def mail(self, notification: Notification, config: EmailConfig, /) -> MailText: ...


@dataclass(frozen=True, slots=True)
class Order:
    """What an outbox row asks for: who is told, what, and by which configuration."""

    receiver: Receiver
    config: SlackConfig | EmailConfig
    notification: Notification

    @property
    def rate(self) -> Rate:
        return self.config.rate


def order_of(row: OutboxRow, receivers: Mapping[str, Receiver]) -> Order | Failed:
    """Return what `row` asks for, or why nothing can be sent for it.

    The configuration may have changed since the row was written: a place in a list that now
    belongs to another destination is never used.
    """
    try:
        notification = msgspec.json.decode(row.payload, type=Notification)
    except (msgspec.MsgspecError, ValueError):
        return _dead(FailureKind.OTHER, "the stored message cannot be read")
    receiver = receivers.get(row.receiver)
    config = None if receiver is None else _config(receiver, notification)
    if receiver is None or config is None:
        return _dead(FailureKind.DESTINATION, "no longer configured")
    return Order(receiver, config, notification)


class Sender:
    """Renders and sends; holds no state of its own."""

    def __init__(self, client: httpx.AsyncClient, renderer: Renderer) -> None:
        self._client = client
        self._renderer = renderer

    async def send(self, order: Order, *, plain: bool) -> tuple[Outcome, str | None]:
        """Make one attempt; return how it ended and the template's fault, if it had one."""
        match order.config:
            case SlackConfig() as config:
                return await self._slack(order.notification, config, plain=plain)
            case EmailConfig() as config:
                return await self._mail(order.notification, config)
            case _:
                assert_never(order.config)

    async def _slack(
        self, notification: Notification, config: SlackConfig, *, plain: bool
    ) -> tuple[Outcome, str | None]:
        render = self._renderer.slack_plain if plain else self._renderer.slack
        text = render(notification, config)
        return await slack.send(self._client, config, text.payload), text.fault

    async def _mail(
        self, notification: Notification, config: EmailConfig
    ) -> tuple[Outcome, str | None]:
        text = self._renderer.mail(notification, config)
        try:
            message = email.build(config, text, notification)
        except ValueError as error:
            return _dead(FailureKind.DESTINATION, str(error)), text.fault
        return await email.send(config, message, notification.destination), text.fault


def _config(receiver: Receiver, notification: Notification) -> SlackConfig | EmailConfig | None:
    """Return the configuration at the notification's index, else the first for its destination."""
    configs: tuple[SlackConfig | EmailConfig, ...] = receiver.email_configs
    if notification.integration == "slack":
        configs = receiver.slack_configs
    candidates = (*configs[notification.index :], *configs)
    return next((c for c in candidates if _serves(c, notification.destination)), None)


def _serves(config: SlackConfig | EmailConfig, destination: str) -> bool:
    if isinstance(config, SlackConfig):
        return config.channel == destination
    return destination in config.to


def _dead(kind: FailureKind, detail: str) -> Failed:
    return Failed(kind, Verdict.DEAD, detail)
