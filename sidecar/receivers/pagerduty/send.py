"""Posts events to PagerDuty, one by one, and reads its answers."""

import json
from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from typing import Any

import httpx

from sidecar.notify.model import Notification
from sidecar.receivers.base import (
    Failed,
    FailureKind,
    Outcome,
    Sent,
    Verdict,
    scrub,
    with_new_secret,
)
from sidecar.receivers.http import judged, post
from sidecar.receivers.pagerduty import Events, PagerdutyConfig

# Of what was accepted of messages that are not accepted whole.
_MOST_REMEMBERED = 10_000
Accepted = set[bytes]


async def send(
    accepted: Accepted,
    client: httpx.AsyncClient,
    config: PagerdutyConfig,
    events: Events,
    told: Notification,
    /,
) -> Outcome:
    """Post each event that is not among `accepted`; the first that fails ends the attempt.

    So the next attempt goes on where this one ended, and a rate limit is no endless start anew.
    After a restart all are sent again: the same `dedup_key` is the same incident.
    """
    del told  # all of it is in the events
    marks: Accepted = set()
    for event in events:
        mark = _mark(config, event)
        if mark not in accepted:
            outcome = await with_new_secret(
                partial(_post, client, config, event), config.routing_key
            )
            if isinstance(outcome, Failed):
                return outcome
            accepted.add(mark)
        marks.add(mark)
    accepted -= marks
    if len(accepted) > _MOST_REMEMBERED:
        accepted.clear()
    return Sent(events[0]["dedup_key"] if events else "")


def _mark(config: PagerdutyConfig, event: Mapping[str, Any]) -> bytes:
    text = json.dumps([config.service, event])
    return blake2b(text.encode(), digest_size=16).digest()


async def _post(
    client: httpx.AsyncClient, config: PagerdutyConfig, event: Mapping[str, Any]
) -> Outcome:
    key = config.routing_key.reveal() if config.routing_key else ""
    body = json.dumps({**event, "routing_key": key}).encode()
    judge = partial(classify, secret=key)
    return await post(client, config.url, body, by=config.http_config, judge=judge)


def classify(status: int, headers: Mapping[str, str], body: bytes, *, secret: str = "") -> Outcome:
    """Return what an answer means; what PagerDuty says is wrong with an event is shown."""
    outcome = judged(status, headers, body)
    if status != httpx.codes.BAD_REQUEST or not (wrong := _errors(body)):
        return outcome
    # A key that is none is refused like an event that is none.
    kind = FailureKind.AUTH if "routing_key" in wrong else FailureKind.PAYLOAD
    return Failed(kind, Verdict.PARK, f"HTTP 400 {scrub(wrong, [secret])}")


def _errors(body: bytes) -> str:
    """Return the errors that an answer lists, nothing where it lists none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    errors = answer.get("errors") if isinstance(answer, dict) else None
    return ", ".join(map(str, errors)) if isinstance(errors, list) else ""
