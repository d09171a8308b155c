"""What a mail says, and the mail as bytes: every header is written here, and by no library.

A header holds what a log said. A library that takes such a text for a header may decode the
encoded words in it (CVE-2024-6923), so none is asked: a value is either plain words or our own
encoded words (RFC 2047), folded at blanks (RFC 5322, 2.2.3), and looked at once more as written.
"""

import hashlib
import quopri
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

from sidecar.notify.model import OWNER, Notification
from sidecar.receivers.base import Rendered
from sidecar.receivers.email.config import HEADER, EmailConfig, is_reserved
from sidecar.render.renderer import Rendering, plain_body, plain_title
from sidecar.render.sandbox import escape_html
from sidecar.render.words import one_line, shorten
from sidecar.syntax.values import mailbox_parts

# Stands for a value that is empty, or would be more than one header; the mail goes out anyway.
FALLBACK = "Alert (the text of this header could not be written)"
# RFC 2047, section 2: lines with encoded words have at most 76 characters.
MAX_LINE = 76
# An encoded word may have 75 with the 12 around its text; the first stands behind a header's name.
_MAX_CODED = 50
_MAX_ID = 100
_SENDER = "Webhook alerts"  # the name of a sender that is given none
_MAX_SUBJECT = 200
# What a customer is told where the templates fail; the fault is in the log.
_TO_OWNER = "Please look at your billing"
_WORDS_TO_OWNER = """\
Hello,

something about your organisation's billing needs you. Please sign in and look at your billing page.
"""

# `=?` begins what a reader's program would decode, so no plain text may hold it.
_PLAIN = re.compile(r"(?!.*=\?)[!-~]{1,75}( [!-~]{1,75})*")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9]{1,75}( [A-Za-z0-9]{1,75})*")
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
# What stands for itself in an encoded word, also in a display name (RFC 2047, section 5).
_ITSELF = re.compile(r"[A-Za-z0-9!*+/-]")
_ONE_HEADER = re.compile(r"[!-9;-~]+:( [!-~][ -~]*)?(\r\n [!-~][ -~]*)*")
_MAX_OCTETS = 998  # RFC 5322, 2.1.1


@dataclass(frozen=True, slots=True)
class MailText:
    """A mail's subject, bodies and own headers; `html` is None where there is only text.

    `important`: something critical fires.
    """

    subject: str
    text: str
    html: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    important: bool = False


def render(config: EmailConfig, rendering: Rendering, *, plain: bool) -> Rendered[MailText]:
    """Return the mail by the config's templates or the shipped ones, as plain text if asked.

    Plain is also what stands in where a template fails. The owner of an organisation gets other
    words, also then.
    """
    view, owner = rendering.view, OWNER in config.to
    name, zone = "owner" if owner else "mail", config.timezone
    subject = rendering.fill(config.subject, f"{name}.subject.j2")
    text = None if plain else rendering.fill(config.text, f"{name}.text.j2", zone=zone)
    html = None if plain else rendering.fill(config.html, f"{name}.html.j2", escape_html, zone=zone)
    headers = {name: rendering.fill(own, f"header {name}") for name, own in config.headers.items()}
    line = shorten(
        one_line(subject or "") or (_TO_OWNER if owner else plain_title(view)), _MAX_SUBJECT
    )
    failed = subject is None or text is None or html is None or None in headers.values()
    if failed and owner:
        text, html = _WORDS_TO_OWNER, None
    elif failed:
        notes = "".join(f"\n\nTemplate fault: {fault}" for fault in rendering.faults)
        text, html = plain_body(view).rstrip() + notes, None
    filled = {name: own or "" for name, own in headers.items()}
    important = not owner and (view["status"], view["severity"]) == ("firing", "critical")
    mail = MailText(line, (text or "").strip() + "\n", html, filled, important)
    return Rendered(mail, mail.text, mail.subject)


def build(config: EmailConfig, mail: MailText, notification: Notification) -> bytes:
    """Return the mail for the notification's destination, the same bytes at every attempt.

    The Message-ID comes from the notification's id, so that a mailbox can fold a mail that
    arrives twice. All mails of one thread answer one id that no mail has: the first may never
    have arrived (RFC 5322, 3.6.4, allows for that). Auto-Submitted keeps out-of-office answers
    away (RFC 3834), List-Id lets people filter (RFC 2919), Importance (RFC 2156) is what phones
    sort by. The mail's own headers win over ours, but for those that hold the mail together.
    Raises ValueError when sender or destination is not one mailbox.
    """
    domain = mailbox_parts(config.from_)[1].rpartition("@")[2]
    thread = f"<{_id(notification.thread)}@{domain}>"
    owner = OWNER in config.to
    ours = {
        "From": _mailbox_words(config.from_, "" if owner else _SENDER),
        "To": _mailbox_words(notification.destination),
        "Subject": _words(mail.subject),
        "Date": [format_datetime(datetime.fromtimestamp(notification.at, UTC))],
        "Message-ID": [f"<{_id(notification.id)}@{domain}>"],
        **({"In-Reply-To": [thread], "References": [thread]} if notification.thread else {}),
        "Auto-Submitted": ["auto-generated"],
        **({} if owner else {"List-Id": [_list_id(notification.receiver, domain)]}),
        **({"Importance": ["high"]} if mail.important else {}),
    }
    fields = {name.lower(): (name, words) for name, words in (ours | _custom(mail)).items()}
    head = [header(name, words) for name, words in fields.values()]
    lines = [*head, header("MIME-Version", ["1.0"]), *_body(mail, notification)]
    return "\r\n".join(lines).encode("ascii")


def header(name: str, words: list[str]) -> str:
    """Return one header, folded between words; with FALLBACK where it would be more than one."""
    lines = [f"{name}:"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) <= MAX_LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(f" {word}")
    text = "\r\n".join(lines)
    short = all(len(line) <= _MAX_OCTETS for line in text.split("\r\n"))
    return text if words and short and _ONE_HEADER.fullmatch(text) else f"{name}: {FALLBACK}"


def _mailbox_words(text: str, unnamed: str = "") -> list[str]:
    name, address = mailbox_parts(text)
    name = name or unnamed
    return [*_words(name, _PLAIN_NAME), f"<{address}>"] if name else [address]


def _words(text: str, plain: re.Pattern[str] = _PLAIN) -> list[str]:
    """Return the words of a header's value: of `plain` text its own, else encoded ones."""
    line = _printable(text)
    return line.split(" ") if plain.fullmatch(line) else _encoded(line)


def _encoded(text: str) -> list[str]:
    """Return `text` as encoded words, each of whole characters (RFC 2047, section 5)."""
    words: list[str] = []
    for letter in text:
        code = "_" if letter == " " else _quoted(letter)
        if not words or len(words[-1]) + len(code) > _MAX_CODED:
            words.append("")
        words[-1] += code
    return [f"=?utf-8?q?{word}?=" for word in words]


def _quoted(letter: str) -> str:
    if _ITSELF.fullmatch(letter):
        return letter
    return "".join(f"={byte:02X}" for byte in letter.encode())


def _custom(mail: MailText) -> dict[str, list[str]]:
    """Return the mail's own headers but for names that no header has, and those we answer for."""
    return {
        name: _words(value)
        for name, value in mail.headers.items()
        if HEADER.fullmatch(name) and not is_reserved(name)
    }


def _printable(text: str) -> str:
    """Return `text` with a blank for what cannot be printed, and single blanks."""
    return " ".join("".join(c if c.isprintable() else " " for c in _unicode(text)).split())


def _unicode(text: str) -> str:
    """Return `text` without lone surrogates, which no encoding takes."""
    return text.encode("utf-8", "replace").decode()


def _id(text: str) -> str:
    """Return `text` where it may stand in a Message-ID as it is (dot-atom), else its hash."""
    return text if len(text) <= _MAX_ID and _PLAIN_ID.fullmatch(text) else _hash(text)


def _hash(text: str) -> str:
    return hashlib.sha256(_unicode(text).encode()).hexdigest()[:32]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63] or "alerts"


def _list_id(receiver: str, domain: str) -> str:
    return f"<{_slug(receiver)}.webhook-alerts.{domain}>"


def _body(mail: MailText, notification: Notification) -> list[str]:
    """Return the lines from the Content-Type on: the text alone, or text and HTML to choose from.

    `=_` cannot stand in quoted-printable text, so the boundary does not either (RFC 2045, 6.7).
    """
    text = _part("text/plain", mail.text)
    if not mail.html:
        return text
    boundary = f"=_{_hash(notification.id)}"
    kind = f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"'
    html = _part("text/html", mail.html)
    return [kind, "", f"--{boundary}", *text, f"--{boundary}", *html, f"--{boundary}--", ""]


def _part(kind: str, text: str) -> list[str]:
    lines = re.split(r"\r\n|\r|\n", _unicode(text).removesuffix("\n"))
    coded = quopri.encodestring("\n".join([*lines, ""]).encode()).decode()
    return [
        f'Content-Type: {kind}; charset="utf-8"',
        "Content-Transfer-Encoding: quoted-printable",
        "",
        coded.replace("\n", "\r\n"),
    ]
