"""Events to PagerDuty over a real socket: each accepted once, in whatever pieces it goes."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from sidecar.notify.model import Notification
from sidecar.receivers.base import Failed, FailureKind, Sent, Verdict
from sidecar.receivers.pagerduty import Events, PagerdutyConfig, render
from sidecar.receivers.pagerduty.send import classify, send
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.secret import Secret
from support.notify import notice, notification
from support.sinks import Answer, SlackSink

KEY = "0123456789abcdef0123456789abcdef"
TOLD = notification(*(notice(org=f"org_{n}", labels={
    "alertname": "PaymentFailing", "org_id": f"org_{n}", "severity": "error"}) for n in range(5)),
    integration="pagerduty")  # fmt: skip


@pytest.fixture
def sink() -> Iterator[SlackSink]:
    with SlackSink() as sink:
        yield sink


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def config(sink: SlackSink, key: Secret | None = None) -> PagerdutyConfig:
    return PagerdutyConfig(service="billing", routing_key=key or Secret(KEY), url=sink.url)


def events(told: Notification = TOLD) -> Events:
    rendering = Renderer({}, Redactor()).rendering(told)
    return render(PagerdutyConfig(service="billing"), rendering, plain=False).payload


def orgs(sink: SlackSink) -> list[str]:
    return [request.json["payload"]["custom_details"]["org_id"] for request in sink.requests]


async def test_a_message_of_five_is_five_events(sink: SlackSink, client: httpx.AsyncClient) -> None:
    outcome = await send(set(), client, config(sink), events(), TOLD)
    assert outcome == Sent(events()[0]["dedup_key"])
    assert orgs(sink) == [f"org_{n}" for n in range(5)]
    assert {request.json["routing_key"] for request in sink.requests} == {KEY}
    assert len({request.json["dedup_key"] for request in sink.requests}) == 5


async def test_the_next_attempt_goes_on_where_a_rate_limit_ended_one(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    accepted: set[bytes] = set()
    later = Answer(429, {"Retry-After": "7"}, "")
    sink.answers += [Answer(202), Answer(202), later, Answer(202), later]
    for _ in range(2):
        outcome = await send(accepted, client, config(sink), events(), TOLD)
        assert isinstance(outcome, Failed)
        assert (outcome.kind, outcome.retry_after) == (FailureKind.RATE_LIMITED, 7.0)
    assert isinstance(await send(accepted, client, config(sink), events(), TOLD), Sent)
    taken = [
        org for org, number in zip(orgs(sink), range(10), strict=False) if number not in (2, 4)
    ]
    assert taken == [f"org_{n}" for n in range(5)]
    assert accepted == set()  # a repeat, later, is sent


async def test_after_a_restart_it_begins_anew_with_the_same_keys(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    sink.answers += [Answer(202), Answer(500)]
    assert isinstance(await send(set(), client, config(sink), events(), TOLD), Failed)
    assert isinstance(await send(set(), client, config(sink), events(), TOLD), Sent)
    keys = [request.json["dedup_key"] for request in sink.requests]
    assert len(keys) == 7
    assert len(set(keys)) == 5


async def test_a_message_about_nothing_is_sent() -> None:
    async with httpx.AsyncClient() as client:
        settings = PagerdutyConfig(service="billing", url="http://nobody.invalid")
        assert await send(set(), client, settings, [], TOLD) == Sent()


async def test_a_key_whose_file_was_changed_is_taken_when_the_old_one_is_refused(
    sink: SlackSink, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("new-key")
    sink.answers.append(Answer(400, {}, '{"errors": ["\'routing_key\' is invalid"]}'))
    settings = config(sink, Secret(KEY, file.read_text))
    assert isinstance(await send(set(), client, settings, events()[:1], TOLD), Sent)
    assert [request.json["routing_key"] for request in sink.requests] == [KEY, "new-key"]


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        (b"", FailureKind.PAYLOAD, "HTTP 400"),
        (b"[]", FailureKind.PAYLOAD, "HTTP 400"),
        (b'{"errors": "x"}', FailureKind.PAYLOAD, "HTTP 400"),
        (b'{"errors": ["Length of \'summary\' is 0", "b"]}', FailureKind.PAYLOAD,
         "HTTP 400 Length of 'summary' is 0, b"),
        (f"{{\"errors\": [\"'routing_key' {KEY} is none\"]}}".encode(), FailureKind.AUTH,
         "HTTP 400 'routing_key' *** is none"),
    ],
)  # fmt: skip
def test_what_pagerduty_says_is_wrong_is_shown_without_the_key(
    body: bytes, kind: FailureKind, detail: str
) -> None:
    assert classify(400, {}, body, secret=KEY) == Failed(kind, Verdict.PARK, detail)
