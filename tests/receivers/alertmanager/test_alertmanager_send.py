"""Alerts to the members of a cluster: one that takes them is enough, and each is asked."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from sidecar.receivers.alertmanager import AlertmanagerConfig
from sidecar.receivers.alertmanager.send import send
from sidecar.receivers.base import Failed, FailureKind, Sent, Verdict
from sidecar.secret import Secret
from support.notify import notification
from support.sinks import Answer, SlackSink

TOLD = notification(integration="alertmanager")
STARTED = "2026-11-02T08:00:00.000Z"
FIRING = {"labels": {"alertname": "A"}, "annotations": {}, "startsAt": STARTED}
ENDED = {**FIRING, "endsAt": "2026-11-02T08:01:30.000Z"}
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def members() -> Iterator[tuple[SlackSink, SlackSink]]:
    with ExitStack() as stack:
        yield stack.enter_context(SlackSink()), stack.enter_context(SlackSink())


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def cluster(*members: SlackSink | str, **changes: Any) -> AlertmanagerConfig:
    urls = (m if isinstance(m, str) else f"http://127.0.0.1:{m.port}" for m in members)
    return AlertmanagerConfig(urls=tuple(urls), name="am", **changes)


async def test_every_member_is_sent_all(
    members: tuple[SlackSink, SlackSink], client: httpx.AsyncClient
) -> None:
    assert await send(client, cluster(*members), [FIRING, ENDED], TOLD) == Sent()
    for member in members:
        (request,) = member.requests
        assert request.path == "/api/v2/alerts"
        firing, ended = json.loads(request.body)
        assert ended == ENDED
        assert {**firing, "endsAt": None} == {**FIRING, "endsAt": None}
        ahead = datetime.fromisoformat(firing["endsAt"]).timestamp() - time.time()
        assert 230 < ahead <= 240


async def test_one_member_that_takes_it_is_enough(
    members: tuple[SlackSink, SlackSink], client: httpx.AsyncClient
) -> None:
    members[0].answers.append(Answer(503))
    assert await send(client, cluster(*members, NOBODY), [FIRING], TOLD) == Sent()
    assert len(members[1].requests) == 1


async def test_when_none_takes_it_the_failure_is_the_one_that_passes_and_names_each(
    members: tuple[SlackSink, SlackSink], client: httpx.AsyncClient
) -> None:
    members[0].answers.append(Answer(400))
    members[1].answers.append(Answer(503, {"Retry-After": "9"}))
    outcome = await send(client, cluster(*members, NOBODY), [FIRING], TOLD)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.verdict) == (FailureKind.SERVER_ERROR, Verdict.RETRY)
    assert outcome.retry_after == 9.0
    assert outcome.detail == (
        "127.0.0.1: HTTP 400; 127.0.0.1: HTTP 503; 127.0.0.1: connection refused"
    )


async def test_credentials_are_a_bearer_token_read_again_when_refused(
    members: tuple[SlackSink, SlackSink], client: httpx.AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("new")
    members[0].answers.append(Answer(401))
    settings = cluster(members[0], credentials=Secret("old", file.read_text))
    assert await send(client, settings, [FIRING], TOLD) == Sent()
    assert [request.headers["authorization"] for request in members[0].requests] == [
        "Bearer old",
        "Bearer new",
    ]
