"""Any service that takes Alertmanager's webhooks, by a signed POST.

`config` has the keys, `message` makes Alertmanager's JSON, `send` signs and posts it.
"""

from contextlib import AbstractAsyncContextManager

from sidecar.receivers.base import Kind, Send
from sidecar.receivers.webhook.config import WebhookConfig
from sidecar.receivers.webhook.message import Payload, render


def _connect() -> AbstractAsyncContextManager[Send[WebhookConfig, Payload]]:
    from sidecar.receivers.webhook.send import connected  # noqa: PLC0415 - httpx, only to send

    return connected()


WEBHOOK = Kind(
    name="webhook",
    section="webhook_configs",
    doc="URLs that take Alertmanager's webhooks.",
    config=WebhookConfig,
    at_once=16,
    render=render,
    connect=_connect,
)
