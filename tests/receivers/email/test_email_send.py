"""Mail through a real SMTP server: what arrives, how each trouble ends, what never leaks."""

import asyncio
import base64
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.notify.model import Notification
from sidecar.receivers import shipped_templates
from sidecar.receivers.base import Failed, FailureKind, Outcome, Sent, Verdict
from sidecar.receivers.email import send as email
from sidecar.receivers.email.config import EmailConfig, TlsConfig
from sidecar.receivers.email.message import FALLBACK, MailText, build, render
from sidecar.receivers.email.send import send
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.secret import Secret
from support.notify import notice, notification as alert
from support.rows import MAIL, notification
from support.sinks import CERTIFICATE, Hangup, SmtpSink

TO = "oncall@example.com"
USER, PASSWORD = "sidecar-user", "hunter2-sEcReT"
SHORT = 0.1
TOLD = alert(integration="email", destination=TO)


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with SmtpSink() as sink:
        yield sink


@pytest.fixture
def starttls() -> Iterator[SmtpSink]:
    with SmtpSink(starttls=True, login=(USER, PASSWORD)) as sink:
        yield sink


def config(port: int, **changes: Any) -> EmailConfig:
    values = {"require_tls": False, "smarthost": (("127.0.0.1", port),), **changes}
    return EmailConfig(to=(TO,), from_="Alerts <alerts@example.com>", **values)


def secure(sink: SmtpSink, password: Secret | None = None, **changes: Any) -> EmailConfig:
    tls = {"ca_file": str(CERTIFICATE), **changes}
    return config(
        sink.port,
        require_tls=True,
        tls_config=TlsConfig(**tls),
        auth_username=USER,
        auth_password=password or Secret(PASSWORD),
    )


def mail(config: EmailConfig) -> bytes:
    return build(config, MAIL, notification("n-1", integration="email", destination=TO))


def mail_of(config: EmailConfig, told: Notification = TOLD) -> MailText:
    rendering = Renderer(shipped_templates(), Redactor()).rendering(told)
    return render(config, rendering, plain=False).payload


async def sent(config: EmailConfig, patience: float = 5.0) -> Outcome:
    return await send(config, mail(config), TO, timeout=patience)


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed)
    return outcome


async def test_a_mail_arrives_as_it_was_built(sink: SmtpSink) -> None:
    outcome = await sent(config(sink.port))
    assert outcome == Sent("2.0.0 Ok: queued as SINK")
    (arrived,) = sink.messages
    assert (arrived.sender, arrived.recipients) == ("alerts@example.com", (TO,))
    assert (arrived.subject, arrived.html) == (MAIL.subject, f"{MAIL.html}\n")
    assert arrived.text.splitlines() == MAIL.text.splitlines()
    assert arrived.message["Message-ID"] == "<n-1@example.com>"


async def test_the_session_ends_politely(sink: SmtpSink) -> None:
    await sent(config(sink.port))
    assert sink.said == ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END", "QUIT"]


async def test_starttls_comes_before_login_and_login_before_the_mail(starttls: SmtpSink) -> None:
    assert isinstance(await sent(secure(starttls)), Sent)
    assert (starttls.messages[0].tls, starttls.messages[0].login) == (True, USER)
    assert starttls.said[:6] == ["CONNECT", "EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"]


async def test_any_port_can_begin_with_tls() -> None:
    with SmtpSink(implicit_tls=True, login=(USER, PASSWORD)) as sink:
        settings = replace(secure(sink), force_implicit_tls=True)
        assert isinstance(await sent(settings), Sent)
    assert (sink.messages[0].tls, sink.said[:2]) == (True, ["CONNECT", "EHLO"])


def test_port_465_begins_with_tls_unless_it_is_said_not_to() -> None:
    assert [config(25).begins_with_tls(port) for port in (465, 587, 2465)] == [True, False, False]
    assert not config(25, force_implicit_tls=False).begins_with_tls(465)


async def test_a_server_that_knows_no_ehlo_is_told_helo(sink: SmtpSink) -> None:
    sink.reply("EHLO", "502 5.5.1 command not implemented")
    assert isinstance(await sent(config(sink.port)), Sent)
    assert sink.said[:4] == ["CONNECT", "EHLO", "HELO", "MAIL"]


async def test_a_server_that_offers_nothing_after_helo_gets_no_login_in_the_clear(
    starttls: SmtpSink,
) -> None:
    starttls.reply("EHLO", "502 5.5.1 command not implemented")
    assert failed(await sent(secure(starttls))).kind is FailureKind.TLS
    assert "AUTH" not in starttls.said


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        ("CONNECT", "421 4.3.2 shutting down"), ("EHLO", Hangup.DROP), ("EHLO", Hangup.HANG),
        ("RCPT", "451 4.3.0 later"), ("END", "452 4.3.1 disk full"),
    ],
)  # fmt: skip
async def test_where_one_server_is_out_of_order_the_next_is_tried(
    sink: SmtpSink, verb: str, reply: str | Hangup
) -> None:
    sink.reply(verb, reply, reply)
    with SmtpSink() as other:
        both = config(0, smarthost=(("127.0.0.1", sink.port), ("127.0.0.1", other.port)))
        assert isinstance(await sent(both, patience=0.5), Sent)
        assert (len(sink.messages), len(other.messages)) == (0, 1)


async def test_a_server_out_of_order_is_asked_last_for_a_while(sink: SmtpSink) -> None:
    sink.reply("CONNECT", "421 4.3.2 shutting down")
    servers = email.Servers()
    with SmtpSink() as other:
        both = config(0, smarthost=(("127.0.0.1", sink.port), ("127.0.0.1", other.port)))
        for _ in range(2):
            assert isinstance(await send(both, mail(both), TO, servers=servers), Sent)
        assert (sink.said, len(other.messages)) == (["CONNECT"], 2)
    order = servers.in_order(both.smarthost, asyncio.get_running_loop().time() + 301)
    assert order == list(both.smarthost)


@pytest.mark.parametrize(("verb", "reply"), [("RCPT", "550 5.1.1 unknown"), ("END", Hangup.DROP)])
async def test_what_a_server_refuses_for_good_or_may_have_taken_is_handed_to_no_other(
    sink: SmtpSink, verb: str, reply: str | Hangup
) -> None:
    sink.reply(verb, reply)
    with SmtpSink() as other:
        both = config(0, smarthost=(("127.0.0.1", sink.port), ("127.0.0.1", other.port)))
        failed(await sent(both))
        assert other.said == []


async def test_of_servers_that_are_all_out_of_order_each_says_why(sink: SmtpSink) -> None:
    sink.reply("CONNECT", "421 4.3.2 shutting down")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = unused.getsockname()[1]
        both = config(0, smarthost=(("127.0.0.1", sink.port), ("127.0.0.1", nobody)))
        outcome = failed(await sent(both))
    assert outcome.detail == (
        f"127.0.0.1:{sink.port}: SMTP 421 4.3.2 shutting down (connecting); "
        f"127.0.0.1:{nobody}: connection refused (connecting)"
    )


async def test_login_works_where_only_login_is_offered(starttls: SmtpSink) -> None:
    starttls.mechanisms = ("LOGIN",)
    assert isinstance(await sent(secure(starttls)), Sent)


async def test_a_server_without_starttls_gets_nothing_and_is_tried_again(sink: SmtpSink) -> None:
    outcome = failed(await sent(config(sink.port, require_tls=True)))
    assert (outcome.kind, outcome.verdict) == (FailureKind.TLS, Verdict.RETRY)
    assert outcome.detail == "the server does not offer STARTTLS, which require_tls asks for"
    assert "MAIL" not in sink.said


async def test_a_refused_starttls_gets_nothing_and_is_tried_again(starttls: SmtpSink) -> None:
    starttls.reply("STARTTLS", "501 5.5.1 not today")
    outcome = failed(await sent(secure(starttls)))
    assert (outcome.kind, outcome.verdict) == (FailureKind.TLS, Verdict.RETRY)
    assert "AUTH" not in starttls.said


async def test_an_untrusted_certificate_gets_nothing(starttls: SmtpSink) -> None:
    outcome = failed(await sent(secure(starttls, ca_file="")))
    assert (outcome.kind, outcome.verdict) == (FailureKind.TLS, Verdict.RETRY)
    assert outcome.detail == "certificate not trusted: self-signed certificate (STARTTLS)"
    assert "AUTH" not in starttls.said


async def test_an_untrusted_certificate_passes_when_told_not_to_look(starttls: SmtpSink) -> None:
    outcome = await sent(secure(starttls, ca_file="", insecure_skip_verify=True))
    assert isinstance(outcome, Sent)


async def test_a_missing_ca_file_is_a_matter_of_tls(starttls: SmtpSink, tmp_path: Path) -> None:
    outcome = failed(await sent(secure(starttls, ca_file=str(tmp_path / "missing"))))
    assert (outcome.kind, outcome.detail) == (
        FailureKind.TLS,
        "no such file or directory (STARTTLS)",
    )


@pytest.mark.parametrize(
    ("verb", "reply", "kind", "verdict"),
    [
        ("CONNECT", "421 4.3.2 shutting down", "server_error", "retry"),
        ("CONNECT", "554 no service for you", "connect", "retry"),
        ("EHLO", "421 4.3.2 shutting down", "server_error", "retry"),
        ("MAIL", "451 4.3.0 later", "server_error", "retry"),
        ("MAIL", "530 5.7.0 login first", "auth", "park"),
        ("MAIL", "553 5.1.8 no such sender", "other", "park"),
        ("RCPT", "450 4.2.1 busy", "server_error", "retry"),
        ("RCPT", "552 5.5.3 too many", "server_error", "retry"),
        ("RCPT", "550 5.1.1 unknown", "destination", "park"),
        ("DATA", "452 4.3.1 disk full", "server_error", "retry"),
        ("END", "451 4.3.0 later", "server_error", "retry"),
        ("END", "554 5.7.1 looks like spam", "payload", "park"),
        ("END", "552 5.3.4 too big", "payload", "park"),
    ],
)
async def test_a_refusal(sink: SmtpSink, verb: str, reply: str, kind: str, verdict: str) -> None:
    sink.reply(verb, reply)
    outcome = failed(await sent(config(sink.port)))
    assert (outcome.kind, outcome.verdict) == (FailureKind(kind), Verdict(verdict))
    assert not outcome.ambiguous


@pytest.mark.parametrize("hangup", Hangup)
@pytest.mark.parametrize(
    ("verb", "ambiguous"),
    [("CONNECT", False), ("EHLO", False), ("MAIL", False), ("RCPT", False), ("END", True)],
)
async def test_a_session_cut_or_silent(
    sink: SmtpSink,
    verb: str,
    hangup: Hangup,
    ambiguous: bool,  # noqa: FBT001 - a table
) -> None:
    sink.reply(verb, hangup)
    outcome = failed(await sent(config(sink.port), patience=SHORT))
    assert outcome.verdict is Verdict.RETRY
    assert outcome.ambiguous == ambiguous


@pytest.mark.parametrize("hangup", Hangup)
async def test_what_was_accepted_stays_so_however_the_session_ends(
    sink: SmtpSink, hangup: Hangup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(email, "_QUIT_TIMEOUT", SHORT)
    sink.reply("QUIT", hangup)
    assert isinstance(await sent(config(sink.port)), Sent)


async def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = failed(await sent(config(unused.getsockname()[1])))
    assert outcome == Failed(FailureKind.CONNECT, Verdict.RETRY, "connection refused (connecting)")


async def test_a_refused_login_is_parked(starttls: SmtpSink) -> None:
    outcome = failed(await sent(secure(starttls, Secret("wrong"))))
    assert (outcome.kind, outcome.verdict) == (FailureKind.AUTH, Verdict.PARK)


async def test_a_server_without_login_is_parked_where_one_is_configured(sink: SmtpSink) -> None:
    wants_login = config(sink.port, auth_username=USER, auth_password=Secret(PASSWORD))
    outcome = failed(await sent(wants_login))
    assert outcome.detail == "the server offers no way of login that we know"
    assert (outcome.kind, outcome.verdict) == (FailureKind.AUTH, Verdict.PARK)


async def test_a_refused_password_is_read_again_and_tried_once_more(starttls: SmtpSink) -> None:
    assert isinstance(await sent(secure(starttls, Secret("old", lambda: PASSWORD))), Sent)


async def test_a_password_refused_twice_is_not_tried_a_third_time(starttls: SmtpSink) -> None:
    outcome = await sent(secure(starttls, Secret("old", lambda: "also old")))
    assert failed(outcome).kind is FailureKind.AUTH
    assert starttls.said.count("CONNECT") == 2


@pytest.mark.parametrize(
    ("to", "kind"), [("a@b>\r\nDATA", "destination"), ("müller@example.com", "destination")]
)
async def test_a_recipient_that_smtp_cannot_carry_is_parked(
    sink: SmtpSink, to: str, kind: str
) -> None:
    settings = config(sink.port)
    outcome = failed(await send(settings, mail(settings), to))
    assert (outcome.kind, outcome.verdict) == (FailureKind(kind), Verdict.PARK)
    assert "DATA" not in sink.said


async def test_a_name_that_cannot_greet_is_parked(sink: SmtpSink) -> None:
    outcome = failed(await sent(config(sink.port, hello="two words")))
    assert (outcome.kind, outcome.verdict) == (FailureKind.OTHER, Verdict.PARK)


ENCODED = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
ECHO = f"no {PASSWORD} of {USER} for {TO} ({ENCODED})"


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "END"])
@pytest.mark.parametrize(
    "reply", [f"450 {ECHO}", f"550 {ECHO}", *Hangup], ids=["4yz", "5yz", "cut", "silent"]
)
async def test_no_failure_shows_a_credential_or_an_address(
    starttls: SmtpSink,
    verb: str,
    reply: str | Hangup,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "asyncio")
    starttls.reply(verb, reply, reply)
    settings = secure(starttls)
    outcome = failed(await sent(settings, patience=SHORT))
    everything = f"{outcome!r} {settings.auth_password!r} {caplog.text}"
    for secret in (PASSWORD, ENCODED, TO):
        assert secret not in everything


# What Python 3.11.7 and 3.12.1 make headers and a body of (CVE-2024-6923), what later ones put
# raw into a subject, and what no Python could encode; each with the subject as it must arrive.
HOSTILE = {
    "=?utf-8?q?=0D=0AReply-To:_x=40evil.example=0D=0AContent-Type:_text/html"
    "=0D=0A=0D=0A<h1>All_clear</h1>?=": (
        b"Subject: =?utf-8?q?=5BFIRING=3A1=5D_PaymentFailing_=3D=3Futf-8=3Fq=3F?=\r\n"
        b" =?utf-8?q?=3D0D=3D0AReply-To=3A=5Fx=3D40evil=2Eexample=3D0D?=\r\n"
        b" =?utf-8?q?=3D0AContent-Type=3A=5Ftext/html=3D0D=3D0A=3D0D=3D?=\r\n"
        b" =?utf-8?q?0A=3Ch1=3EAll=5Fclear=3C/h1=3E=3F=3D_=28critical?=\r\n"
        b" =?utf-8?q?=29?="
    ),
    "=?utf-8?q?a=00b=1B[31mc?=\x00\x1b": (
        b"Subject: =?utf-8?q?=5BFIRING=3A1=5D_PaymentFailing_=3D=3Futf-8=3Fq=3F?=\r\n"
        b" =?utf-8?q?a=3D00b=3D1B=5B31mc=3F=3D_=28critical=29?="
    ),
    "=?raw_unicode_escape?q?=5CuD800?=": (
        b"Subject: =?utf-8?q?=5BFIRING=3A1=5D_PaymentFailing_=3D=3Fraw=5Funicod?=\r\n"
        b" =?utf-8?q?e=5Fescape=3Fq=3F=3D5CuD800=3F=3D_=28critical=29?="
    ),
}


@pytest.mark.parametrize(("org", "subject"), HOSTILE.items(), ids=["CRLF", "controls", "codec"])
async def test_what_a_log_says_stays_in_the_subject(
    sink: SmtpSink, org: str, subject: bytes
) -> None:
    settings = config(sink.port)
    told = alert(notice(org=org), integration="email", destination=TO)
    mail = build(settings, mail_of(settings, told), told)
    assert isinstance(await send(settings, mail, TO), Sent)
    head, _, body = sink.messages[0].raw.partition(b"\r\n\r\n")
    assert head == (
        b"From: Alerts <alerts@example.com>\r\n"
        b"To: oncall@example.com\r\n" + subject + b"\r\n"
        b"Date: Mon, 02 Nov 2026 09:05:00 +0000\r\n"
        b"Message-ID: <m1@example.com>\r\n"
        b"Auto-Submitted: auto-generated\r\n"
        b"List-Id: <critical.webhook-alerts.example.com>\r\n"
        b"Importance: high\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: multipart/alternative;\r\n"
        b' boundary="=_ca0df2c95aa144c1d0ff2ff3c8f967fd"'
    )
    assert body.startswith(b"--=_ca0df2c95aa144c1d0ff2ff3c8f967fd\r\nContent-Type: text/plain;")


@pytest.mark.parametrize("org", HOSTILE, ids=["CRLF", "controls", "codec"])
async def test_what_a_header_of_the_config_says_stays_in_it(sink: SmtpSink, org: str) -> None:
    settings = config(sink.port, headers={"X-Team": "{{ notices[0].labels.org_id }}"})
    told = alert(notice(org=org), integration="email", destination=TO)
    mail = build(settings, mail_of(settings, told), told)
    assert isinstance(await send(settings, mail, TO), Sent)
    head = sink.messages[0].raw.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] != b" "]
    assert names == [
        b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted", b"List-Id",
        b"Importance", b"X-Team", b"MIME-Version", b"Content-Type",
    ]  # fmt: skip


async def test_a_header_is_a_template(sink: SmtpSink) -> None:
    headers = {"X-Team": "{{ severity | upper }} for {{ who }}", "X-Plain": "billing"}
    settings = config(sink.port, headers=headers)
    mail = mail_of(settings)
    assert isinstance(await send(settings, build(settings, mail, TOLD), TO), Sent)
    assert b"X-Team: CRITICAL for org_7f3a\r\nX-Plain: billing\r\n" in sink.messages[0].raw


async def test_a_header_that_fails_costs_no_mail(sink: SmtpSink) -> None:
    settings = config(sink.port, headers={"X-Team": "{{ nope }}"})
    mail = mail_of(settings)
    assert isinstance(await send(settings, build(settings, mail, TOLD), TO), Sent)
    assert f"X-Team: {FALLBACK}\r\n".encode() in sink.messages[0].raw
    assert "Template fault: header X-Team: 'nope' is undefined" in mail.text
