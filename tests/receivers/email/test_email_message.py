"""The mail that is handed over: headers, parts, and what cannot get into them."""

import email.header
import email.policy
import re
from dataclasses import replace
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, strategies as st

from sidecar.receivers.email.config import EmailConfig
from sidecar.receivers.email.message import FALLBACK, MailText, build, header
from sidecar.syntax.values import mailbox_parts
from support.rows import MAIL, notification


def config(**changes: Any) -> EmailConfig:
    values = {"to": ("ops@example.com",), "from_": "Alerts <alerts@example.com>", **changes}
    return EmailConfig(smarthost=(("127.0.0.1", 25),), **values)


def built(
    text: MailText = MAIL, to: str = "ops@example.com", **changes: Any
) -> tuple[EmailMessage, bytes]:
    """Return a mail as its reader's program sees it, and its bytes."""
    notice = notification("n-42", integration="email", destination=to, at=1_700_000_000.0)
    text = replace(text, headers=changes.pop("headers", {}))
    raw = build(config(**changes), text, notice)
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


def test_mails_of_one_thread_answer_an_id_that_no_mail_has() -> None:
    told = [notification(name, destination="ops@example.com", thread="t-1") for name in "ab"]
    first, second = (dict(told_apart(build(config(), MAIL, one))) for one in told)
    assert first["References"] == second["References"] == "<t-1@example.com>"
    assert first["In-Reply-To"] == second["In-Reply-To"] == "<t-1@example.com>"
    assert len({first["Message-ID"], second["Message-ID"], first["References"]}) == 3


def test_what_was_written_before_there_were_threads_stands_alone() -> None:
    assert not {"References", "In-Reply-To"} & dict(told_apart(built()[1])).keys()


@pytest.mark.parametrize("important", [True, False])
def test_a_phone_is_told_what_is_critical(*, important: bool) -> None:
    message, _ = built(replace(MAIL, important=important))
    assert message["Importance"] == ("high" if important else None)


@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        ("alerts@example.com", "Webhook alerts <alerts@example.com>"),
        ("[prod] Alerts <alerts@example.com>", '"[prod] Alerts" <alerts@example.com>'),
    ],
)
def test_a_sender_has_a_name(sender: str, shown: str) -> None:
    assert built(from_=sender)[0]["From"] == shown


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
    assert built()[1] == built()[1]


def test_an_id_that_cannot_stand_in_a_header_is_hashed() -> None:
    notice = msgspec.structs.replace(
        notification(integration="email", destination="a@b.c"), id="{a='b'} <x>"
    )
    raw = build(config(), MAIL, notice)
    found = str(
        BytesParser(EmailMessage, policy=email.policy.default).parsebytes(raw)["Message-ID"]
    )
    assert len(found) == len("<@example.com>") + 32
    assert found.removeprefix("<").removesuffix("@example.com>").isalnum()


OURS = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "List-Id", "X-Log"]
MIME = ["MIME-Version", "Content-Type"]
# Pieces that a header parser, a fold or an encoder may stumble over, among any other text.
PIECES = st.sampled_from(
    [
        *("=?utf-8?q?=0D=0ABcc:_x?=", "=?", "?=", "=\r\n", "\r\n\r\n", "\r", "\n ", "\x00", "\x1b"),
        *("\ud800", "\u2028", "Bcc: a@b.c", ":", "_", "=", '"', "\\", "<", ">", ",", " "),
        *("ü", "🔔", "a" * 80, "ü" * 80),
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=12).map("".join)


def told_apart(raw: bytes) -> list[tuple[str, str]]:
    """Return name and unfolded value of each header, by RFC 5322 alone and no library."""
    block = raw.split(b"\r\n\r\n")[0].decode("ascii")
    lines = re.sub(r"\r\n(?=[ \t])", "", block).split("\r\n")
    return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def as_read(value: str) -> str:
    return str(email.header.make_header(email.header.decode_header(value)))


def seen(text: str) -> str:
    """Return what of a text can be seen: no controls, no blanks, `?` for half a character."""
    whole = text.encode("utf-8", "replace").decode()
    return "".join(c for c in whole if c.isprintable() and c != " ")


@given(TEXTS, TEXTS, TEXTS, TEXTS)
@example("", "", "", "")
@example("\x00", "\ud800", "=?", "a" * 2000)
def test_whatever_a_value_holds_the_headers_are_ours(
    subject: str, custom: str, name: str, receiver: str
) -> None:
    notice = msgspec.structs.replace(
        notification(subject, integration="email", receiver=receiver, at=1_700_000_000.0),
        destination="ops@example.com",
    )
    mail = MailText(subject, name, custom or None, {"X-Log": custom})
    raw = build(config(), mail, notice)
    found = told_apart(raw)
    assert raw.isascii()
    assert [name for name, _ in found] == OURS + MIME + ["Content-Transfer-Encoding"][
        bool(custom) :
    ]
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    for name_, text in (("Subject", subject), ("X-Log", custom)):
        assert seen(as_read(dict(found)[name_])) == (seen(text) or seen(FALLBACK))


@given(TEXTS.filter(lambda text: mailbox_or_none(f"{text} <ops@example.com>") is not None))
@example("=?utf-8?q?=0D=0AReply-To:_x=40evil.example?=")
@example("ü" * 200)
@example('""')
@example("\x00")
def test_whatever_a_display_name_holds_the_address_is_ours(name: str) -> None:
    _, raw = built(to=f"{name} <ops@example.com>", headers={"X-Log": "x"})
    assert [name for name, _ in told_apart(raw)] == OURS + MIME
    shown, _, address = dict(told_apart(raw))["To"].rpartition(" ")
    assert address.removeprefix("<").removesuffix(">") == "ops@example.com"
    assert seen(as_read(shown)) == seen(name.strip().strip('"'))


def mailbox_or_none(text: str) -> tuple[str, str] | None:
    try:
        return mailbox_parts(text)
    except ValueError:
        return None


@pytest.mark.parametrize(
    "words", [[], [""], ["a\r\nBcc: b"], ["a\r\n\r\n<h1>"], ["a", "\n"], ["ü"], ["a" * 999]]
)
def test_a_value_that_would_not_be_one_header_is_replaced(words: list[str]) -> None:
    assert header("Subject", words) == f"Subject: {FALLBACK}"


def test_a_long_value_is_folded_at_blanks() -> None:
    raw = built(headers={"X-Log": "word " * 40})[1].split(b"\r\n\r\n")[0]
    assert max(len(line) for line in raw.split(b"\r\n")) <= 76
    assert dict(told_apart(raw))["X-Log"] == " ".join(["word"] * 40)
