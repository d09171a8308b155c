"""One table: what a server does on a bad day, over real sockets, and what becomes of the message.

A message that failed waits; none is given up, whatever the other side says.
"""

import gzip
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from sidecar.deliver.retry import Done, Repair, RetryAt, next_step
from sidecar.notify.model import Receiver
from sidecar.receivers import http
from sidecar.receivers.alertmanager import AlertmanagerConfig
from sidecar.receivers.alertmanager.send import send as alertmanager_send
from sidecar.receivers.base import Outcome, Sent, Verdict
from sidecar.receivers.email import send as email
from sidecar.receivers.email.config import EmailConfig, TlsConfig
from sidecar.receivers.email.message import build
from sidecar.receivers.pagerduty import PagerdutyConfig
from sidecar.receivers.pagerduty.send import send as pagerduty_send
from sidecar.receivers.slack.config import SlackConfig
from sidecar.receivers.slack.send import send as post
from sidecar.receivers.webhook import WebhookConfig
from sidecar.receivers.webhook.send import send as webhook_send
from sidecar.secret import Secret
from support.rows import MAIL, notification, outbox_row
from support.sinks import CERTIFICATE, Answer, Ending, Hangup, SlackSink, SmtpSink

NOW = 1000.0
TO = "oncall@example.com"
BOMB = gzip.compress(bytes(32 << 20))
PAGE = "<html><body>Bad gateway</body></html>"
RETRY, PARK, REPAIR = Verdict.RETRY, Verdict.PARK, Verdict.REPAIR


def said(error: str) -> Answer:
    return Answer(200, {}, f'{{"ok": false, "error": "{error}"}}')


def later(asked: str) -> Answer:
    headers = {"Retry-After": asked, "Date": "Mon, 02 Nov 2026 12:00:00 GMT"}
    return Answer(429, headers, '{"ok": false, "error": "ratelimited"}')


def what_follows(outcome: Outcome) -> tuple[str, str, bool, float | str]:
    """Return kind, verdict, whether it may have arrived, and when it is tried again."""
    row = outbox_row(expires_at=NOW + 86_400.0)
    step = next_step(
        row, outcome, now=NOW, receiver=Receiver(name="team", quick_retries=1), jitter=0.0
    )
    if isinstance(outcome, Sent):
        assert step == Done()
        return ("sent", "", False, "")
    match step:
        case RetryAt(at):
            return (outcome.kind.value, outcome.verdict.value, outcome.ambiguous, at - NOW)
        case Repair():
            return (outcome.kind.value, outcome.verdict.value, outcome.ambiguous, "as plain text")
        case _:
            pytest.fail(f"given up: {step}")


SURE, DOUBT = False, True
# How the server behaves: failure, verdict, may it have arrived, seconds to the next attempt.
SLACK = {
    "429 with seconds": (later("30"), "rate_limited", RETRY, SURE, 30.0),
    "429 with a date": (later("Mon, 02 Nov 2026 12:01:00 GMT"), "rate_limited", RETRY, SURE, 60.0),
    "429 with 0": (later("0"), "rate_limited", RETRY, SURE, 4.0),
    "429 with a year": (later("31536000"), "rate_limited", RETRY, SURE, 900.0),
    "429 with rubbish": (later("soon"), "rate_limited", RETRY, SURE, 4.0),
    "429 with nothing": (Answer(429, {}, ""), "rate_limited", RETRY, SURE, 4.0),
    "500": (Answer(500, {}, "oops"), "server_error", RETRY, SURE, 2.0),
    "502 with a page": (Answer(502, {}, PAGE), "server_error", RETRY, SURE, 2.0),
    "500 with a gzip bomb": (
        Answer(500, {"Content-Encoding": "gzip"}, BOMB), "server_error", RETRY, SURE, 2.0,
    ),
    "200 with a gzip bomb": (
        Answer(200, {"Content-Encoding": "gzip"}, BOMB), "other", RETRY, DOUBT, 2.0,
    ),
    "503 that asks for a minute": (
        Answer(503, {"Retry-After": "60"}, ""), "server_error", RETRY, SURE, 60.0,
    ),
    "504": (Answer(504, {}, PAGE), "server_error", RETRY, DOUBT, 2.0),
    "403 with a page": (Answer(403, {}, PAGE), "auth", RETRY, SURE, 2.0),
    "404 with a page": (Answer(404, {}, PAGE), "destination", RETRY, SURE, 2.0),
    "403 of Slack's": (Answer(403, {}, "invalid_token"), "auth", PARK, SURE, 4.0),
    "404 of Slack's": (Answer(404, {}, "no_service"), "auth", PARK, SURE, 4.0),
    "ok:false, try again": (said("internal_error"), "server_error", RETRY, DOUBT, 2.0),
    "ok:false, rate": (said("ratelimited"), "rate_limited", RETRY, SURE, 4.0),
    "ok:false, payload": (said("invalid_blocks"), "payload", REPAIR, SURE, "as plain text"),
    "ok:false, credential": (said("token_revoked"), "auth", PARK, SURE, 4.0),
    "ok:false, destination": (said("channel_not_found"), "destination", PARK, SURE, 4.0),
    "ok:false, a word of tomorrow": (said("word_of_tomorrow"), "other", PARK, SURE, 4.0),
    "200 {}": (Answer(200, {}, "{}"), "other", RETRY, DOUBT, 2.0),
    "200 with nothing": (Answer(200, {}, ""), "other", RETRY, DOUBT, 2.0),
    "200 with a page": (Answer(200, {}, PAGE), "other", RETRY, DOUBT, 2.0),
    "503 of maintenance": (
        Answer(503, {}, '{"status": "maintenance"}'), "server_error", RETRY, SURE, 2.0,
    ),
    "200 []": (Answer(200, {}, "[]"), "other", RETRY, DOUBT, 2.0),
    "200 cut": (Answer(200, {}, '{"ok":false'), "other", RETRY, DOUBT, 2.0),
    "200 with a filter's words": (
        Answer(200, {}, "Access denied by web filter"), "other", RETRY, DOUBT, 2.0,
    ),
    "closed after the body": (Answer(ending=Ending.DROP), "connection_lost", RETRY, DOUBT, 2.0),
    "closed in the answer": (Answer(ending=Ending.CUT), "connection_lost", RETRY, DOUBT, 2.0),
    "silence": (Answer(ending=Ending.HANG), "timeout", RETRY, DOUBT, 2.0),
    "redirect": (Answer(302, {"Location": "/elsewhere"}, ""), "other", RETRY, SURE, 2.0),
    "moved for good": (Answer(301, {"Location": "/elsewhere"}, ""), "other", RETRY, SURE, 2.0),
}  # fmt: skip


# What says all it has to say by its status: told means a 2xx of its own.
PLAIN_HTTP = {
    "204": (Answer(204, {}, ""), "sent", "", SURE, ""),
    "200 with a page": (Answer(200, {}, PAGE), "other", RETRY, DOUBT, 2.0),
    "400": (Answer(400, {}, "bad"), "payload", PARK, SURE, 4.0),
    "401": (Answer(401, {}, "no"), "auth", PARK, SURE, 4.0),
    "403 with a page": (Answer(403, {}, PAGE), "auth", RETRY, SURE, 2.0),
    "404": (Answer(404, {}, "no such hook"), "destination", PARK, SURE, 4.0),
    "404 with a page": (Answer(404, {}, PAGE), "destination", RETRY, SURE, 2.0),
    "408": (Answer(408, {}, ""), "timeout", RETRY, SURE, 2.0),
    "410": (Answer(410, {}, ""), "destination", PARK, SURE, 4.0),
    "418": (Answer(418, {}, "short and stout"), "other", PARK, SURE, 4.0),
    "429 with seconds": (later("30"), "rate_limited", RETRY, SURE, 30.0),
    "500": (Answer(500, {}, "oops"), "server_error", RETRY, SURE, 2.0),
    "503 that asks for a minute": (
        Answer(503, {"Retry-After": "60"}, ""), "server_error", RETRY, SURE, 60.0,
    ),
    "504": (Answer(504, {}, PAGE), "server_error", RETRY, DOUBT, 2.0),
    "closed after the body": (Answer(ending=Ending.DROP), "connection_lost", RETRY, DOUBT, 2.0),
    "closed in the answer": (Answer(ending=Ending.CUT), "connection_lost", RETRY, DOUBT, 2.0),
    "silence": (Answer(ending=Ending.HANG), "timeout", RETRY, DOUBT, 2.0),
    "redirect": (Answer(302, {"Location": "/elsewhere"}, ""), "other", RETRY, SURE, 2.0),
}  # fmt: skip


def webhook(url: str) -> SlackConfig:
    return SlackConfig(channel="#ops", api_url=Secret(url))


@pytest.mark.parametrize("fault", SLACK)
async def test_slack(fault: str) -> None:
    answer, *expected = SLACK[fault]
    with SlackSink() as sink:
        sink.answers.append(answer)
        async with httpx.AsyncClient(trust_env=False) as client:
            patience = httpx.Timeout(0.2 if answer.ending is Ending.HANG else 10.0)
            outcome = await post(client, webhook(sink.url), {"text": "alert"}, timeout=patience)
    assert what_follows(outcome) == tuple(expected)


async def to_a_webhook(client: httpx.AsyncClient, url: str) -> Outcome:
    told = notification(integration="webhook")
    return await webhook_send(client, WebhookConfig(name="hook", url=Secret(url)), {}, told)


async def to_pagerduty(client: httpx.AsyncClient, url: str) -> Outcome:
    entry = PagerdutyConfig(service="billing", routing_key=Secret("key"), url=url)
    event = {"event_action": "trigger", "dedup_key": "1"}
    return await pagerduty_send(set(), client, entry, [event], notification())


async def to_an_alertmanager(client: httpx.AsyncClient, url: str) -> Outcome:
    return await alertmanager_send(client, AlertmanagerConfig(urls=(url,)), [], notification())


async def by_the_bare_post(client: httpx.AsyncClient, url: str) -> Outcome:
    return await http.post(client, url, b"{}", timeout=httpx.Timeout(0.2))


# Silence is waited for by the bare post alone, which can be told for how long.
PAIRS = [
    (post, fault)
    for fault, (answer, *_) in PLAIN_HTTP.items()
    for post in (
        [by_the_bare_post]
        if answer.ending is Ending.HANG
        else [to_a_webhook, to_pagerduty, to_an_alertmanager]
    )
]


@pytest.mark.parametrize(("post", "fault"), PAIRS, ids=[f"{p.__name__}: {f}" for p, f in PAIRS])
async def test_a_receiver_behind_a_url(
    post: Callable[[httpx.AsyncClient, str], Awaitable[Outcome]], fault: str
) -> None:
    answer, *expected = PLAIN_HTTP[fault]
    with SlackSink() as sink:
        sink.answers.append(answer)
        async with httpx.AsyncClient(trust_env=False) as client:
            outcome = await post(client, sink.url)
        assert len(sink.requests) == 1  # no redirect is followed
    assert what_follows(outcome) == tuple(expected)


async def test_a_slow_answer_is_waited_for() -> None:
    with SlackSink() as sink:
        sink.answers.append(Answer(ending=Ending.DRIP))
        async with httpx.AsyncClient(trust_env=False) as client:
            outcome = await post(client, webhook(sink.url), {"text": "alert"})
    assert what_follows(outcome) == ("sent", "", False, "")


async def test_a_reset_before_the_body_shows_as_one_of_two_failures() -> None:
    with SlackSink() as sink:
        sink.answers.append(Answer(ending=Ending.RESET))
        async with httpx.AsyncClient(trust_env=False) as client:
            outcome = await post(client, webhook(sink.url), {"text": "alert"})
    kind, verdict, _, seconds = what_follows(outcome)
    assert kind in ("connect", "connection_lost")  # it may come while we connect, or after
    assert (verdict, seconds) == ("retry", 2.0)


async def test_a_certificate_that_is_not_trusted() -> None:
    with SlackSink(tls=True) as sink:
        async with httpx.AsyncClient(trust_env=False) as client:
            outcome = await post(client, webhook(sink.url), {"text": "alert"})
    assert what_follows(outcome) == ("tls", "retry", False, 2.0)


LATER, NEVER = "451 4.3.0 later", "550 5.7.1 no"
STEPS = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END")
MAILS: dict[str, tuple[Any, ...]] = {
    "421 at once": (("CONNECT", "421 4.3.2 closing"), "server_error", RETRY, SURE, 2.0),
    **{
        f"4yz at {step}": ((step, LATER), "server_error", RETRY, SURE, 2.0)
        for step in STEPS
    },
    "4yz at QUIT, the mail is taken": (("QUIT", LATER), "sent", "", SURE, ""),
    "550 at CONNECT": (("CONNECT", NEVER), "connect", RETRY, SURE, 2.0),
    "550 at MAIL": (("MAIL", NEVER), "other", PARK, SURE, 4.0),
    "550 at RCPT, or greylisting": (("RCPT", NEVER), "destination", PARK, SURE, 4.0),
    "552 at RCPT": (("RCPT", "552 5.5.3 too many"), "server_error", RETRY, SURE, 2.0),
    "550 after the final dot": (("END", NEVER), "payload", PARK, SURE, 4.0),
    "closed at RCPT": (("RCPT", Hangup.DROP), "connection_lost", RETRY, SURE, 2.0),
    "closed after the final dot": (("END", Hangup.DROP), "connection_lost", RETRY, DOUBT, 2.0),
    "silence at RCPT": (("RCPT", Hangup.HANG), "timeout", RETRY, SURE, 2.0),
    "silence after the final dot": (("END", Hangup.HANG), "timeout", RETRY, DOUBT, 2.0),
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[SmtpSink]:
    with SmtpSink() as sink:
        yield sink


def mailer(server: SmtpSink, **changes: Any) -> EmailConfig:
    plain = EmailConfig(
        to=(TO,), from_="alerts@example.com", smarthost=(("127.0.0.1", server.port),),
        require_tls=False,
    )  # fmt: skip
    return replace(plain, **changes)


async def mailed(config: EmailConfig, to: str = TO, patience: float = 10.0) -> Outcome:
    told = notification("n-1", integration="email", destination=to)
    return await email.send(config, build(config, MAIL, told), to, timeout=patience)


@pytest.mark.parametrize("fault", MAILS)
async def test_mail(fault: str, server: SmtpSink) -> None:
    (verb, reply), *expected = MAILS[fault]
    server.reply(verb, reply)
    patience = 0.3 if reply is Hangup.HANG else 10.0
    outcome = await mailed(mailer(server), patience=patience)
    assert what_follows(outcome) == tuple(expected)


async def test_mail_without_the_login_that_is_configured(server: SmtpSink) -> None:
    config = mailer(server, auth_username="sidecar", auth_password=Secret("secret"))
    assert what_follows(await mailed(config)) == ("auth", "park", False, 4.0)


async def test_4yz_at_the_login() -> None:
    with SmtpSink(login=("sidecar", "secret")) as server:
        server.reply("AUTH", *["454 4.7.0 later"] * 2)  # it knows two ways
        config = mailer(server, auth_username="sidecar", auth_password=Secret("secret"))
        assert what_follows(await mailed(config)) == ("server_error", "retry", False, 2.0)


async def test_4yz_at_starttls() -> None:
    with SmtpSink(starttls=True) as server:
        server.reply("STARTTLS", "454 4.7.0 later")
        config = mailer(server, require_tls=True)
        assert what_follows(await mailed(config)) == ("server_error", "retry", False, 2.0)


async def test_mail_without_the_starttls_that_is_configured(server: SmtpSink) -> None:
    outcome = what_follows(await mailed(mailer(server, require_tls=True)))
    assert outcome == ("tls", "retry", False, 2.0)


async def test_a_server_that_knows_no_ehlo_takes_mail_but_no_login(server: SmtpSink) -> None:
    server.reply("EHLO", *["502 5.5.1 not implemented"] * 2)
    assert what_follows(await mailed(mailer(server)))[0] == "sent"
    config = mailer(server, auth_username="sidecar", auth_password=Secret("secret"))
    assert what_follows(await mailed(config)) == ("auth", "park", False, 4.0)


async def test_a_server_that_begins_with_tls_and_one_that_does_not(server: SmtpSink) -> None:
    unasked = mailer(server, force_implicit_tls=True)
    assert what_follows(await mailed(unasked)) == ("tls", "retry", False, 2.0)
    with SmtpSink(implicit_tls=True) as secure:
        tls = TlsConfig(ca_file=str(CERTIFICATE))
        asked = mailer(secure, force_implicit_tls=True, tls_config=tls)
        assert what_follows(await mailed(asked))[0] == "sent"
        asked = mailer(secure, force_implicit_tls=True)
        assert what_follows(await mailed(asked)) == ("tls", "retry", False, 2.0)


async def test_a_login_that_is_refused() -> None:
    with SmtpSink(login=("sidecar", "another")) as server:
        config = mailer(server, auth_username="sidecar", auth_password=Secret("secret"))
        assert what_follows(await mailed(config)) == ("auth", "park", False, 4.0)


async def test_one_of_three_that_is_refused_holds_up_no_other(server: SmtpSink) -> None:
    server.reply("RCPT", NEVER)
    names = ("a@example.com", "b@example.com", "c@example.com")
    outcomes = [what_follows(await mailed(mailer(server), name)) for name in names]
    assert [kind for kind, *_ in outcomes] == ["destination", "sent", "sent"]
