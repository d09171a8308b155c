"""Posts to the pager."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx

from sidecar.notify.model import Notification
from sidecar.receivers.base import (
    Failed,
    FailureKind,
    Outcome,
    Send,
    Sent,
    Verdict,
    network_reason,
)
from support.pager.config import PagerConfig
from support.pager.message import Event

_ANSWERS = {
    400: (FailureKind.PAYLOAD, Verdict.REPAIR),
    403: (FailureKind.AUTH, Verdict.PARK),
    429: (FailureKind.RATE_LIMITED, Verdict.RETRY),
}


@asynccontextmanager
async def connected() -> AsyncIterator[Send[PagerConfig, Event]]:
    async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
        yield partial(send, client)


async def send(
    client: httpx.AsyncClient, config: PagerConfig, event: Event, told: Notification, /
) -> Outcome:
    key = config.routing_key.reveal() if config.routing_key else ""
    try:
        answer = await client.post(config.url, json={**event, "routing_key": key})
    except httpx.HTTPError as error:
        return Failed(FailureKind.CONNECT, Verdict.RETRY, network_reason(error))
    if answer.is_success:
        return Sent(told.group)
    kind, verdict = _ANSWERS.get(answer.status_code, (FailureKind.SERVER_ERROR, Verdict.RETRY))
    return Failed(kind, verdict, f"HTTP {answer.status_code}")
