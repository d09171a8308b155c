"""Posts alerts to every member of a cluster; one that takes them is enough."""

import asyncio
import json
import time
from urllib.parse import urlsplit

import httpx

from sidecar.notify.model import Notification
from sidecar.receivers.alertmanager import VALID_FOR, AlertmanagerConfig, Alerts
from sidecar.receivers.base import (
    Failed,
    Outcome,
    Sent,
    Verdict,
    rfc3339,
    scrub,
    with_new_secret,
)
from sidecar.receivers.http import post

_PATH = "/api/v2/alerts"


async def send(
    client: httpx.AsyncClient, config: AlertmanagerConfig, alerts: Alerts, told: Notification, /
) -> Outcome:
    """Post to all members at once: accepted if one of them accepts.

    A member that missed it hears by the next round of what still fires; of an end, because what
    is not sent again ends there by itself.
    """
    del told  # all of it is in the alerts
    until = {"endsAt": rfc3339(time.time() + VALID_FOR * config.keep_alive)}
    body = json.dumps([until | alert for alert in alerts]).encode()
    posts = (_post(client, config, url, body) for url in config.urls)
    return _together(config.urls, await asyncio.gather(*posts))


async def _post(
    client: httpx.AsyncClient, config: AlertmanagerConfig, url: str, body: bytes
) -> Outcome:
    async def attempt() -> Outcome:
        secret = config.credentials
        headers = {"Authorization": f"Bearer {secret.reveal()}"} if secret else {}
        address = url.rstrip("/") + _PATH
        return await post(client, address, body, by=config.http_config, headers=headers)

    return await with_new_secret(attempt, config.credentials)


def _together(urls: tuple[str, ...], outcomes: list[Outcome]) -> Outcome:
    """Return what the members' answers come to; of failures the one that passes by itself."""
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    if len(failures) < len(outcomes):
        return Sent()
    told = (
        f"{urlsplit(url).hostname}: {one.detail}" for url, one in zip(urls, failures, strict=True)
    )
    first = min(failures, key=lambda failed: failed.verdict is not Verdict.RETRY)
    return Failed(
        first.kind,
        first.verdict,
        scrub("; ".join(told)),
        retry_after=min((f.retry_after for f in failures if f.retry_after), default=None),
        ambiguous=any(failed.ambiguous for failed in failures),
    )
