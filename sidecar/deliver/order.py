"""What an outbox row asks for: who is told, what, and by which configuration."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from sidecar.notify.model import EmailConfig, Notification, Rate, Receiver, SlackConfig
from sidecar.notify.outcome import Failed, FailureKind, Verdict
from sidecar.rows import OutboxRow


@dataclass(frozen=True, slots=True)
class Order:
    """An outbox row, understood."""

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
        return Failed(FailureKind.OTHER, Verdict.DEAD, "the stored message cannot be read")
    receiver = receivers.get(row.receiver)
    config = None if receiver is None else _config(receiver, notification)
    if receiver is None or config is None:
        return Failed(FailureKind.DESTINATION, Verdict.DEAD, "no longer configured")
    return Order(receiver, config, notification)


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
