"""What the worker needs of others: a table, a renderer, and somebody who sends."""

from collections.abc import Sequence
from typing import Protocol

from sidecar.deliver.order import Order
from sidecar.notify.model import EmailConfig, Notification, SlackConfig
from sidecar.notify.outcome import Outcome
from sidecar.notify.render import MailText, SlackText
from sidecar.rows import OutboxRow


class Outbox(Protocol):
    """The outbox table, as the worker sees it."""

    async def due(self, now: float, limit: int) -> list[OutboxRow]:
        """Return unclaimed rows due by `now`, by (next_at, created); none when it cannot look."""
        ...

    async def save(self, rows: Sequence[OutboxRow]) -> None:
        """Return once the rows are on disk; a full or busy disk is waited for in here.

        Until an outcome is on disk its lane sends nothing more, so that a crash repeats one
        message at most.
        """
        ...


class Renderer(Protocol):
    """Makes messages from notifications; never fails, plain text goes out instead."""

    def prepare(self) -> None: ...
    def slack(self, notification: Notification, config: SlackConfig, /) -> SlackText: ...
    def slack_plain(self, notification: Notification, config: SlackConfig, /) -> SlackText: ...
    def mail(self, notification: Notification, config: EmailConfig, /) -> MailText: ...


class Sender(Protocol):
    """Renders and sends: `sidecar.deliver.sender`, which needs much that takes time to import."""

    async def send(
        self, order: Order, renderer: Renderer, /, *, plain: bool
    ) -> tuple[Outcome, str | None]:
        """Make one attempt; return how it ended and the template's fault, if it had one."""
        ...
