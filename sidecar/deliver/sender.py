"""One attempt: an order becomes a rendered message, handed to Slack or the mail server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import assert_never

import anyio
import httpx

from sidecar.deliver.worker import Delivery, Renderer
from sidecar.notify.model import EmailConfig, Notification, SlackConfig
from sidecar.receivers.base import Failed, FailureKind, Outcome, Verdict
from sidecar.receivers.email.message import build
from sidecar.receivers.email.send import send as send_mail
from sidecar.receivers.slack import send as slack


@asynccontextmanager
async def connected() -> AsyncIterator["Sender"]:
    """Give a sender whose connections are kept until the end of the block."""
    # On a thread: to read the certificates takes 40 ms.
    async with await asyncio.to_thread(_client) as client:
        yield Sender(client)


def _client() -> httpx.AsyncClient:
    # anyio loads its parts when httpx first connects: the first alert would wait 50 ms for them.
    anyio.run(_try_connecting)
    return httpx.AsyncClient(timeout=slack.TIMEOUT, follow_redirects=False)


async def _try_connecting() -> None:
    with suppress(OSError):
        await anyio.connect_tcp("127.0.0.1", 0)  # no port: fails at once and reaches nobody


class Sender:
    """Renders and sends; holds no state of its own."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(
        self, order: Delivery, renderer: Renderer, *, plain: bool
    ) -> tuple[Outcome, str | None]:
        """Make one attempt; return how it ended and the template's fault, if it had one."""
        notification = order.notification
        match order.config:
            case SlackConfig() as config:
                render = renderer.slack_plain if plain else renderer.slack
                text = render(notification, config)
                return await slack.send(self._client, config, text.payload), text.fault
            case EmailConfig() as config:
                return await _mail(notification, config, renderer)
            case _:
                assert_never(order.config)


async def _mail(
    notification: Notification, config: EmailConfig, renderer: Renderer
) -> tuple[Outcome, str | None]:
    text = renderer.mail(notification, config)
    try:
        message = build(config, text, notification)
    except ValueError as error:
        return Failed(FailureKind.DESTINATION, Verdict.DEAD, str(error)), text.fault
    return await send_mail(config, message, notification.destination), text.fault
