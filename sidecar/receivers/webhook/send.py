"""Signs by the Standard Webhooks scheme (standardwebhooks.com, version 1) and posts."""

import base64
import hashlib
import hmac
import json
import time

import httpx

from sidecar.notify.model import Notification
from sidecar.receivers.base import Failed, FailureKind, Outcome, Verdict, with_new_secret
from sidecar.receivers.http import post
from sidecar.receivers.webhook import Payload, WebhookConfig, secret_bytes


async def send(
    client: httpx.AsyncClient, config: WebhookConfig, payload: Payload, told: Notification, /
) -> Outcome:
    """Post once; when it is not let in and a file has a new URL or secret, again.

    The id is the message's own at every attempt, the timestamp the attempt's: what takes the
    message twice can tell, and a signature that was overheard is soon of no use.
    """
    body = json.dumps(payload, separators=(",", ":")).encode()

    async def attempt() -> Outcome:
        try:
            headers = signed(config, told.id, body)
        except ValueError:  # a file that holds something else by now
            detail = "the signing secret cannot be used as it is written"
            return Failed(FailureKind.AUTH, Verdict.PARK, detail)
        url = config.url.reveal() if config.url else ""
        return await post(client, url, body, by=config.http_config, headers=headers)

    return await with_new_secret(attempt, config.url, config.signing_secret)


def signed(config: WebhookConfig, id_: str, body: bytes) -> dict[str, str]:
    """Return the headers that name and date a post, and sign it where there is a secret."""
    headers = {"webhook-id": f"msg_{id_}", "webhook-timestamp": str(int(time.time()))}
    if config.signing_secret is not None:
        key = secret_bytes(config.signing_secret.reveal())
        text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(key, text, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers
