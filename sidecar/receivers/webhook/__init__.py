"""Any service that takes Alertmanager's webhooks, by a POST that `send` signs.

It is sent Alertmanager's JSON, version 4, so that what takes that takes ours. Its form is that of
Alertmanager's template.Data and webhook.Message (notify/webhook/webhook.go).
"""

import base64
import binascii
import json
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from sidecar.notify.model import Rate, ReceiverConfig
from sidecar.receivers.base import Kind, Rendered, Send, rfc3339
from sidecar.receivers.proxy import HttpConfig
from sidecar.render.renderer import Rendering
from sidecar.secret import Secret
from sidecar.syntax.faults import Wrong
from sidecar.syntax.table import Reading, SecretValue, key, table
from sidecar.syntax.values import Flag, SecretUrl, Text, string_or_variable

PREFIX = "whsec_"
# Standard Webhooks, "Signature scheme": 24 to 64 bytes of randomness.
_LEAST_BYTES, _MOST_BYTES = 24, 64


def secret_bytes(text: str) -> bytes:
    """Return the key that a `whsec_…` secret holds. The ValueError never quotes it."""
    hint = 'openssl rand -base64 32 | sed "s/^/whsec_/" makes one'
    try:
        found = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not text.startswith(PREFIX) or not _LEAST_BYTES <= len(found) <= _MOST_BYTES:
        raise Wrong(f"a signing secret is {PREFIX} and 24 to 64 bytes in base64", hint)
    return found


SigningSecret = Annotated[
    Secret | None, SecretValue(string_or_variable(f"^{PREFIX}"), secret_bytes)
]


@table
class WebhookConfig(ReceiverConfig):
    """A URL that is posted Alertmanager's JSON, version 4.

    `url` counts as a secret, as in Alertmanager: many hold one. `name` is what is shown for it.
    """

    asks: ClassVar[tuple[tuple[str, ...], ...]] = (("url",),)

    url: SecretUrl = key("Where to post; counts as a secret.", default=None)
    name: Text = key(
        "What it is called in messages, logs and metrics; the URL's host if not written.",
        default="",
    )
    signing_secret: SigningSecret = key(
        "`whsec_…`: signs each post by the Standard Webhooks scheme.", default=None
    )
    http_config: HttpConfig = key(
        "The proxy to go through.", global_="http_config", default=HttpConfig()
    )
    send_resolved: Flag = key("Also tell when alerts end.", default=True)
    rate: Rate = key(
        "What the other side takes; the rest waits.", default=Rate(per_second=5.0, burst=20)
    )

    def destinations(self) -> tuple[str, ...]:
        return (self.name,)

    def account(self) -> tuple[str, str]:
        return (urlsplit(self.url.reveal()).netloc if self.url else "", "")

    @classmethod
    def check_together(cls, configs: Iterable[Self], reading: Reading) -> None:
        urls: dict[str, str] = {}
        for config in configs:
            url = config.url.reveal() if config.url else ""
            if urls.setdefault(config.name, url) != url:
                message = f"two URLs are called `{config.name}`"
                reading.error(config, "name", message, "give each a `name` of its own")

    def check(self, reading: Reading) -> "WebhookConfig":
        if self.url is None:
            reading.error(self, "", "`url` is missing")
            return self
        # The host is no secret; whatever else stands in the URL may be one.
        return replace(self, name=self.name or urlsplit(self.url.reveal()).hostname or "webhook")


Payload = dict[str, Any]
NEVER = "0001-01-01T00:00:00Z"  # Go's zero time: when what still fires ends


def render(config: WebhookConfig, rendering: Rendering, *, plain: bool) -> Rendered[Payload]:
    """Return the message; it has no plainer form."""
    del config, plain
    view = rendering.view
    marks = rendering.notification.fingerprints()
    url = view["external_url"]
    alerts = [_alert(*pair, url) for pair in zip(view["notices"], marks, strict=True)]
    payload = {
        "version": "4",
        "groupKey": view["group"],
        "truncatedAlerts": view["more"],
        "status": "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved",
        "receiver": view["receiver"],
        "groupLabels": view["group_labels"],
        "commonLabels": _common(alert["labels"] for alert in alerts),
        "commonAnnotations": _common(alert["annotations"] for alert in alerts),
        "externalURL": url,
        "alerts": alerts,
    }
    return Rendered(payload, json.dumps(payload, indent=2, ensure_ascii=False))


def _alert(notice: dict[str, Any], fingerprint: str, url: str) -> dict[str, Any]:
    ended = notice["ended_at"]
    return {
        "status": "firing" if notice["open"] else "resolved",
        "labels": notice["labels"],
        "annotations": notice["annotations"],
        "startsAt": rfc3339(notice["since"]),
        "endsAt": NEVER if ended is None else rfc3339(ended),
        "generatorURL": url,
        "fingerprint": fingerprint,
    }


def _common(tables: Iterable[dict[str, str]]) -> dict[str, str]:
    """Return what is the same in all of them."""
    each = list(tables)
    shared = set.intersection(*(set(table.items()) for table in each)) if each else set()
    return dict(sorted(shared))


def _connect() -> AbstractAsyncContextManager[Send[WebhookConfig, Payload]]:
    from sidecar.receivers.http import sending  # noqa: PLC0415 - httpx, only to send
    from sidecar.receivers.webhook.send import send  # noqa: PLC0415 - the same

    return sending(send)


WEBHOOK = Kind(
    name="webhook",
    section="webhook_configs",
    doc="URLs that take Alertmanager's webhooks.",
    config=WebhookConfig,
    at_once=16,
    render=render,
    connect=_connect,
)
