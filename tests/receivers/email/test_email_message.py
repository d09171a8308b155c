"""The mail that is handed over: headers, parts, and what cannot get into them."""

import email.policy
from dataclasses import replace
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import msgspec
import pytest

from sidecar.notify.model import EmailConfig
from sidecar.receivers.email.send import build, mailbox
from sidecar.render.renderer import MailText
from support.rows import MAIL, notification


def config(**changes: Any) -> EmailConfig:
    values = {"to": ("ops@example.com",), "from_": "Alerts <alerts@example.com>", **changes}
    return EmailConfig(smarthost=("127.0.0.1", 25), **values)


def built(
    text: MailText = MAIL, to: str = "ops@example.com", **changes: Any
) -> tuple[EmailMessage, bytes]:
    """Return a mail as its reader's program sees it, and its bytes."""
    notice = notification("n-42", integration="email", destination=to, at=1_700_000_000.0)
    raw = build(config(**changes), text, notice).as_bytes()
    return BytesParser(EmailMessage, policy=email.policy.default).parsebytes(raw), raw


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("From", "Alerts <alerts@example.com>"),
        ("To", "ops@example.com"),
        ("Subject", "3 Zahlungen fehlgeschlagen: Müller"),
        ("Date", "Tue, 14 Nov 2023 22:13:20 +0000"),
        ("Message-ID", "<n-42@example.com>"),
        ("Auto-Submitted", "auto-generated"),
        ("List-Id", "<team.webhook-alerts.example.com>"),
        ("MIME-Version", "1.0"),
    ],
)
def test_the_header(name: str, value: str) -> None:
    assert built()[0][name] == value


def test_text_and_html_are_alternatives() -> None:
    message, _ = built()
    assert message.get_content_type() == "multipart/alternative"
    assert part(message, "plain").rstrip("\n") == MAIL.text.rstrip("\n")
    assert part(message, "html") == "<p>Kunde Müller: 3 €</p>\n"


def test_without_html_the_text_stands_alone() -> None:
    message, _ = built(replace(MAIL, html=None))
    assert message.get_content_type() == "text/plain"


def test_the_bytes_are_ascii_in_short_lines() -> None:
    _, raw = built()
    assert raw.isascii()
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998


def headers(raw: bytes) -> list[bytes]:
    return [line.split(b":")[0] for line in raw.split(b"\r\n\r\n")[0].split(b"\r\n")]


EVIL = "x\r\nBcc: all@example.com\n\n<script>\x00\x1b"


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (replace(MAIL, subject=EVIL), {}),
        (MAIL, {"headers": {"X-Team": EVIL}}),
        (MAIL, {"headers": {"X-Team\r\nBcc": "all@example.com"}}),
        (MAIL, {"headers": {"Bcc": "all@example.com"}}),
    ],
    ids=["subject", "header", "header name", "Bcc"],
)
def test_nobody_gets_in_through_a_header(text: MailText, changes: dict[str, Any]) -> None:
    message, raw = built(text, **changes)
    assert b"Bcc" not in headers(raw)
    assert message["Bcc"] is None


def test_line_breaks_in_a_subject_become_spaces() -> None:
    message, _ = built(replace(MAIL, subject="one\r\ntwo\tthree"))
    assert message["Subject"] == "one two three"


def test_lone_surrogates_are_replaced() -> None:
    message, _ = built(replace(MAIL, subject="a\ud800b", text="c\udcffd", html=None))
    assert message["Subject"] == "a?b"
    assert part(message, "plain") == "c?d\n"


def test_own_headers_are_added_and_win() -> None:
    message, raw = built(headers={"X-Team": "Zahlungen", "subject": "Mine", "List-Id": "<a.b>"})
    assert (message["X-Team"], message["Subject"], message["List-Id"]) == (
        "Zahlungen",
        "Mine",
        "<a.b>",
    )
    assert headers(raw).count(b"subject") + headers(raw).count(b"Subject") == 1


@pytest.mark.parametrize("name", ["Message-ID", "Content-Type", "MIME-Version"])
def test_what_holds_the_mail_together_is_not_for_changing(name: str) -> None:
    assert built(headers={name: "text/evil"})[0][name] != "text/evil"


def test_the_same_notification_is_the_same_mail_at_every_attempt() -> None:
    text = replace(MAIL, html=None)
    assert built(text)[1] == built(text)[1]


def test_an_id_that_cannot_stand_in_a_header_is_hashed() -> None:
    notice = msgspec.structs.replace(
        notification(integration="email", destination="a@b.c"), id="{a='b'} <x>"
    )
    found = str(build(config(), MAIL, notice)["Message-ID"])
    assert len(found) == len("<@example.com>") + 32
    assert found.removeprefix("<").removesuffix("@example.com>").isalnum()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ops@example.com", "ops@example.com"),
        (" Ops Team <ops@example.com> ", "ops@example.com"),
        ('"Ops, Team" <ops+x@sub.example.com>', "ops+x@sub.example.com"),
    ],
)
def test_one_mailbox_is_understood(text: str, address: str) -> None:
    assert mailbox(text).addr_spec == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ops",
        "@example.com",
        "ops@",
        "a@b.c, d@e.f",
        "a@b@c",
        "a b@c.d e",
        "a@b.c\r\nDATA",
        "a@b.c> DATA",
        "Team <a@b.c>\r\nX: <a@b.c>",
        "<a@b.c",
        "müller@example.com",
    ],
)
def test_anything_but_one_mailbox_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not exactly one mail address"):
        mailbox(text)
