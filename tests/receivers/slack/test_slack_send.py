"""Posting to Slack over a real socket: what arrives, how each trouble ends, what never leaks."""

import logging
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from sidecar.receivers.base import Failed, FailureKind, Outcome, Sent, Verdict
from sidecar.receivers.slack.config import SlackConfig
from sidecar.receivers.slack.send import send
from sidecar.secret import Secret
from support.sinks import CERTIFICATE, Answer, Ending, SlackSink

TOKEN = "xoxb-0123456789-sEcReTtOkEn42"
SECRET_PATH = "sEcReTpAtH0123456789"
SHORT = httpx.Timeout(0.1)
PAYLOAD = {"text": "Zahlung fehlgeschlagen: 3 € \U0001f514"}


@pytest.fixture
def sink() -> Iterator[SlackSink]:
    with SlackSink() as sink:
        yield sink


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def webhook(sink: SlackSink) -> SlackConfig:
    return SlackConfig(channel="#ops", api_url=Secret(f"{sink.url}/{SECRET_PATH}"))


def bot(sink: SlackSink, token: Secret | None = None) -> SlackConfig:
    return SlackConfig(channel="#ops", app_token=token or Secret(TOKEN), app_url=sink.url)


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed)
    return outcome


async def test_a_webhook_gets_the_payload(sink: SlackSink, client: httpx.AsyncClient) -> None:
    assert await send(client, webhook(sink), PAYLOAD) == Sent()
    request = sink.requests[0]
    assert request.json == PAYLOAD
    assert request.path.endswith(SECRET_PATH)
    assert "authorization" not in request.headers


async def test_the_api_gets_payload_channel_and_token(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    outcome = await send(client, bot(sink), PAYLOAD)
    assert outcome == Sent("C0/1700000000.000001")
    request = sink.requests[0]
    assert request.json == {**PAYLOAD, "channel": "#ops"}
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json; charset=utf-8"


async def test_http_200_with_ok_false_is_a_failure(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    sink.answers.append(Answer(200, {}, '{"ok": false, "error": "not_in_channel"}'))
    assert failed(await send(client, bot(sink), PAYLOAD)).verdict is Verdict.PARK


async def test_a_redirect_is_not_followed(sink: SlackSink, client: httpx.AsyncClient) -> None:
    sink.answers.append(Answer(307, {"Location": f"{sink.url}/elsewhere"}, ""))
    assert failed(await send(client, webhook(sink), PAYLOAD)).detail == "HTTP 307"
    assert len(sink.requests) == 1


async def test_not_even_by_a_client_that_follows(sink: SlackSink) -> None:
    sink.answers.append(Answer(307, {"Location": f"{sink.url}/elsewhere"}, ""))
    async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as client:
        await send(client, webhook(sink), PAYLOAD)
    assert len(sink.requests) == 1


async def test_the_wish_to_wait_comes_from_the_header(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    sink.answers.append(Answer(429, {"Retry-After": "12"}, ""))
    assert failed(await send(client, webhook(sink), PAYLOAD)).retry_after == 12.0


async def test_silence_after_the_body_is_ambiguous(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    sink.answers.append(Answer(ending=Ending.HANG))
    outcome = failed(await send(client, webhook(sink), PAYLOAD, timeout=SHORT))
    assert (outcome.kind, outcome.verdict) == (FailureKind.TIMEOUT, Verdict.RETRY)
    assert outcome.ambiguous


@pytest.mark.parametrize("ending", [Ending.DROP, Ending.CUT])
async def test_a_connection_lost_after_the_body_is_ambiguous(
    sink: SlackSink, client: httpx.AsyncClient, ending: Ending
) -> None:
    sink.answers.append(Answer(ending=ending))
    outcome = failed(await send(client, webhook(sink), PAYLOAD))
    assert (outcome.kind, outcome.verdict) == (FailureKind.CONNECTION_LOST, Verdict.RETRY)
    assert outcome.ambiguous


async def test_nobody_there_is_known_to_be_unsent(client: httpx.AsyncClient) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/{SECRET_PATH}"
        outcome = await send(client, SlackConfig(channel="#ops", api_url=Secret(url)), PAYLOAD)
    assert outcome == Failed(FailureKind.CONNECT, Verdict.RETRY, "connection refused")


async def test_an_unknown_host_is_said_to_be_unknown(client: httpx.AsyncClient) -> None:
    url = Secret(f"http://nowhere.invalid/{SECRET_PATH}")
    outcome = await send(client, SlackConfig(channel="#ops", api_url=url), PAYLOAD)
    assert failed(outcome).detail == "host name not found"


async def test_an_untrusted_certificate_is_a_matter_of_tls(client: httpx.AsyncClient) -> None:
    with SlackSink(tls=True) as sink:
        outcome = failed(await send(client, webhook(sink), PAYLOAD))
    assert (outcome.kind, outcome.verdict) == (FailureKind.TLS, Verdict.RETRY)
    assert outcome.detail == "certificate not trusted: self-signed certificate"


async def test_a_trusted_certificate_is_fine() -> None:
    with SlackSink(tls=True) as sink:
        context = httpx.create_ssl_context(trust_env=False)
        context.load_verify_locations(CERTIFICATE)
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            assert await send(client, webhook(sink), PAYLOAD) == Sent()


async def test_an_answer_without_end_is_not_read_to_its_end(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    sink.answers.append(Answer(500, {}, "x" * 10_000_000))
    assert failed(await send(client, webhook(sink), PAYLOAD)).detail == "HTTP 500"


REVOKED = Answer(200, {}, '{"ok": false, "error": "token_revoked"}')


async def test_a_refused_token_is_read_again_and_tried_once_more(
    sink: SlackSink, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("xoxb-new")
    sink.answers.append(REVOKED)
    token = Secret("xoxb-old", file.read_text)
    assert isinstance(await send(client, bot(sink, token), PAYLOAD), Sent)
    assert [r.headers["authorization"] for r in sink.requests] == [
        "Bearer xoxb-old",
        "Bearer xoxb-new",
    ]


async def test_a_refused_webhook_url_is_read_again_too(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    sink.answers.append(Answer(404, {}, "no_service"))
    url = Secret(f"{sink.url}/old", lambda: f"{sink.url}/new")
    assert await send(client, SlackConfig(channel="#ops", api_url=url), PAYLOAD) == Sent()
    assert sink.requests[1].path.endswith("/new")


async def test_a_token_refused_twice_is_not_tried_a_third_time(
    sink: SlackSink, client: httpx.AsyncClient
) -> None:
    sink.answers += [REVOKED, REVOKED]
    outcome = failed(await send(client, bot(sink, Secret("old", lambda: "new")), PAYLOAD))
    assert (outcome.kind, len(sink.requests)) == (FailureKind.AUTH, 2)


@pytest.mark.parametrize("change", ["unchanged", "unreadable"])
async def test_a_refused_token_without_a_new_one_is_not_tried_again(
    sink: SlackSink, client: httpx.AsyncClient, change: str, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    if change == "unchanged":
        file.write_text(TOKEN)
    sink.answers.append(REVOKED)
    outcome = failed(await send(client, bot(sink, Secret(TOKEN, file.read_text)), PAYLOAD))
    assert (outcome.detail, len(sink.requests)) == ("HTTP 200 token_revoked", 1)


@pytest.mark.parametrize(
    ("url", "token"),
    [
        (None, f"{TOKEN}\n"),
        (None, f"{TOKEN}ü"),
        ("", TOKEN),
        ("no url", TOKEN),
        ("ftp://127.0.0.1/x", TOKEN),
        (f"http://127.0.0.1:99999/{TOKEN}", TOKEN),
        (f"http://127.0.0.1:1/\n{TOKEN}", TOKEN),
    ],
    ids=["line break", "not ASCII", "empty", "words", "ftp", "no port", "line break in the URL"],
)
async def test_settings_that_cannot_be_used_are_parked_and_not_shown(
    sink: SlackSink, client: httpx.AsyncClient, url: str | None, token: str
) -> None:
    url = sink.url if url is None else url
    config = SlackConfig(channel="#ops", app_token=Secret(token), app_url=url)
    outcome = failed(await send(client, config, PAYLOAD))
    assert (outcome.kind, outcome.verdict) == (FailureKind.AUTH, Verdict.PARK)
    assert outcome.detail == "the URL or token cannot be used as it is written"


ECHO = f"POST {SECRET_PATH} with Bearer {TOKEN} was not for us"
TROUBLES = {
    "echoed": Answer(404, {}, ECHO),
    "echoed in JSON": Answer(200, {}, f'{{"ok": false, "error": "{ECHO}"}}'),
    "echoed in a page": Answer(502, {}, f"<html>{ECHO}</html>"),
    "redirected": Answer(302, {"Location": f"/{SECRET_PATH}"}, ""),
    "refused": Answer(403, {}, "invalid_token"),
    "limited": Answer(429, {"Retry-After": "1"}, ECHO),
    "dropped": Answer(ending=Ending.DROP),
    "cut": Answer(ending=Ending.CUT),
    "silent": Answer(ending=Ending.HANG),
}


@pytest.fixture(params=[webhook, bot], ids=["webhook", "bot"])
def config(request: pytest.FixtureRequest, sink: SlackSink) -> SlackConfig:
    made: SlackConfig = request.param(sink)
    return made


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_no_failure_shows_the_url_or_the_token(
    sink: SlackSink,
    client: httpx.AsyncClient,
    trouble: Answer,
    config: SlackConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "httpx")  # as the daemon sets it: INFO shows whole URLs
    sink.answers.append(trouble)
    outcome = failed(await send(client, config, PAYLOAD, timeout=SHORT))
    everything = f"{outcome!r} {config!r} {caplog.text}"
    assert SECRET_PATH not in everything
    assert TOKEN not in everything
