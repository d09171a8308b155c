"""What is posted to a webhook, as its receiver checks it with the standard's own library."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from sidecar.receivers.base import Failed, FailureKind, Sent, Verdict
from sidecar.receivers.webhook import WebhookConfig
from sidecar.receivers.webhook.send import send
from sidecar.secret import Secret
from support.notify import notification
from support.sinks import Answer, SlackSink

SECRET = "whsec_" + "c2VjcmV0IG9mIGEgc2lkZWNhciwgMzIgYnl0ZXMuLi4="
TOLD = notification(integration="webhook")
PAYLOAD = {"version": "4", "alerts": [{"labels": {"name": "Müller"}}]}


@pytest.fixture
def sink() -> Iterator[SlackSink]:
    with SlackSink() as sink:
        yield sink


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def config(sink: SlackSink, **changes: Any) -> WebhookConfig:
    return WebhookConfig(name="hooks", url=Secret(sink.url), **changes)


async def test_its_receiver_can_verify_it(sink: SlackSink, client: httpx.AsyncClient) -> None:
    signing = config(sink, signing_secret=Secret(SECRET))
    assert await send(client, signing, PAYLOAD, TOLD) == Sent()
    (request,) = sink.requests
    assert request.headers["webhook-id"] == "msg_m1"
    assert Webhook(SECRET).verify(request.body, request.headers) == PAYLOAD
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body + b" ", request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body, {**request.headers, "webhook-id": "msg_m2"})


async def test_without_a_secret_it_is_named_and_not_signed(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    assert await send(client, config(sink), PAYLOAD, TOLD) == Sent()
    (request,) = sink.requests
    assert request.headers["webhook-id"] == "msg_m1"
    assert "webhook-signature" not in request.headers


async def test_every_attempt_has_the_messages_id(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    sink.answers.append(Answer(503))
    assert isinstance(await send(client, config(sink), PAYLOAD, TOLD), Failed)
    assert isinstance(await send(client, config(sink), PAYLOAD, TOLD), Sent)
    assert [request.headers["webhook-id"] for request in sink.requests] == ["msg_m1", "msg_m1"]


async def test_a_secret_whose_file_was_changed_is_taken_when_the_old_one_is_refused(
    sink: SlackSink, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    new = SECRET.replace("c2Vj", "TmV3")
    file.write_text(new)
    sink.answers.append(Answer(401, {}, "bad signature"))
    signing = config(sink, signing_secret=Secret(SECRET, file.read_text))
    assert isinstance(await send(client, signing, PAYLOAD, TOLD), Sent)
    Webhook(new).verify(sink.requests[1].body, sink.requests[1].headers)


async def test_a_file_that_holds_no_secret_any_more_parks(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    sink.answers.append(Answer(403))
    signing = config(sink, signing_secret=Secret(SECRET, lambda: "gone"))
    outcome = await send(client, signing, PAYLOAD, TOLD)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.verdict) == (FailureKind.AUTH, Verdict.PARK)
    assert "gone" not in outcome.detail


@pytest.mark.parametrize("body", ["", "ok", "{}", "<p>taken</p>", '{"ok": false}'])
async def test_any_answer_of_its_own_with_2xx_accepts(
    sink: SlackSink, client: httpx.AsyncClient, body: str
) -> None:
    sink.answers.append(Answer(202, {"Content-Type": "text/html"}, body))
    assert await send(client, config(sink), PAYLOAD, TOLD) == Sent()
