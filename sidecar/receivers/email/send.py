"""Mail: the message with its headers, and its way through SMTP."""

import asyncio
import hashlib
import re
from contextlib import suppress
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses

import aiosmtplib

from sidecar.notify.model import EmailConfig, Notification
from sidecar.receivers.base import Failed, FailureKind, Outcome, Sent, scrub
from sidecar.receivers.email.reply import SmtpPhase, failure
from sidecar.render.renderer import MailText
from sidecar.secret import Secret

IMPLICIT_TLS_PORT = 465
# RFC 5321 section 4.5.3.2 asks for minutes of patience. A relay that needs them for an alert is as
# good as down, and a second copy folds with the first by its Message-ID.
COMMAND_TIMEOUT = 20.0
TOTAL_TIMEOUT = 90.0
_QUIT_TIMEOUT = 2.0
# ASCII on the wire, so that no relay needs 8BITMIME; no line longer than RFC 5322 allows.
_POLICY = SMTP.clone(cte_type="7bit")
_HEADER_NAME = re.compile(r"[!-9;-~]+")
_OURS = frozenset({"message-id", "mime-version", "bcc"})
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def build(config: EmailConfig, mail: MailText, notification: Notification) -> EmailMessage:
    """Return the mail for the notification's destination, the same bytes at every attempt.

    The Message-ID comes from the notification's id, so that a mailbox can fold a mail that
    arrives twice. Auto-Submitted keeps out-of-office answers away (RFC 3834), List-Id lets people
    filter (RFC 2919). `headers` of the config win over ours. Raises ValueError when sender or
    destination is not one mailbox.
    """
    sender = mailbox(config.from_)
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    message["To"] = mailbox(notification.destination)
    message["Subject"] = _one_line(mail.subject)
    message["Date"] = format_datetime(datetime.fromtimestamp(notification.at, UTC))
    message["Message-ID"] = f"<{_id(notification.id)}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["List-Id"] = f"<{_slug(notification.receiver)}.webhook-alerts.{sender.domain}>"
    _set_custom(message, config)
    message.set_content(_unicode(mail.text))
    if mail.html:
        message.add_alternative(_unicode(mail.html), subtype="html")
    return message


def mailbox(text: str) -> Address:
    """Return the one mailbox `text` names, bare or as `Name <address>`. Raises ValueError."""
    found = [pair for pair in getaddresses([text]) if any(pair)]
    name, address = found[0] if len(found) == 1 else ("", "")
    # What the parser leaves out must not have been there, a line break and more after it say.
    whole = text.strip() == address or text.strip().endswith(f"<{address}>")
    if address.isascii() and whole and text.isprintable():
        with suppress(ValueError, MessageError, IndexError):
            made = Address(display_name=name, addr_spec=address)
            if made.username and made.domain:
                return made
    raise ValueError("not exactly one mail address in ASCII")


async def send(
    config: EmailConfig,
    message: EmailMessage,
    to: str,
    *,
    timeout: float = COMMAND_TIMEOUT,  # noqa: ASYNC109 - per command, the client's own
) -> Outcome:
    """Hand the mail to the smarthost for `to`.

    When the login is refused and the password's file has a new one, once more. Never raises for
    what the other side does, and nothing it returns holds a credential or an address.
    """
    outcome = await _attempt(config, message, to, timeout)
    if _is_refused_login(outcome) and _refreshed(config.auth_password):
        outcome = await _attempt(config, message, to, timeout)
    return outcome


class _Dialogue:
    """One SMTP session; `phase` says how far it came."""

    def __init__(self, config: EmailConfig, timeout: float) -> None:
        self.phase = SmtpPhase.CONNECT
        self._transport: asyncio.BaseTransport | None = None
        self._config = config
        host, port = config.smarthost
        self._implicit_tls = port == IMPLICIT_TLS_PORT
        self._client = aiosmtplib.SMTP(
            hostname=host,
            port=port,
            local_hostname=config.hello,
            timeout=timeout,
            use_tls=self._implicit_tls,
            start_tls=False,
            validate_certs=not config.tls_config.insecure_skip_verify,
            cert_bundle=config.tls_config.ca_file or None,
        )

    async def deliver(self, message: EmailMessage, to: str) -> str:
        """Return the server's words of acceptance. Raises what aiosmtplib raises."""
        client, config = self._client, self._config
        await client.connect()
        self._transport = client.transport
        self.phase = SmtpPhase.HELLO
        await client.ehlo()
        if config.require_tls and not self._implicit_tls:
            self.phase = SmtpPhase.TLS
            await client.starttls()
            self._transport = client.transport
        if config.auth_username:
            self.phase = SmtpPhase.LOGIN
            password = config.auth_password.reveal() if config.auth_password else ""
            await client.login(config.auth_username, password)
        self.phase = SmtpPhase.SENDER
        await client.mail(mailbox(config.from_).addr_spec)
        self.phase = SmtpPhase.RECIPIENT
        await client.rcpt(mailbox(to).addr_spec)
        self.phase = SmtpPhase.DATA
        return (await client.data(message.as_bytes())).message

    async def end(self) -> None:
        """Part politely; what was accepted stays so, whatever comes of it."""
        with suppress(aiosmtplib.SMTPException, OSError):
            await self._client.quit(timeout=_QUIT_TIMEOUT)

    def close(self) -> None:
        """Let go at once: a TLS connection's polite end waits for the peer, be it silent."""
        self._client.close()
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()


async def _attempt(
    config: EmailConfig,
    message: EmailMessage,
    to: str,
    timeout: float,  # noqa: ASYNC109 - as above
) -> Outcome:
    password = config.auth_password.reveal() if config.auth_password else ""
    secrets = (password, config.auth_username, to)
    try:
        dialogue = _Dialogue(config, timeout)
    except ValueError as error:
        return failure(SmtpPhase.HELLO, error, secrets)
    try:
        async with asyncio.timeout(TOTAL_TIMEOUT):
            reply = await dialogue.deliver(message, to)
        await dialogue.end()
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        return failure(dialogue.phase, error, secrets)
    finally:
        dialogue.close()
    return Sent(scrub(reply, secrets))


def _is_refused_login(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and outcome.kind is FailureKind.AUTH


def _refreshed(secret: Secret | None) -> bool:
    try:
        return secret is not None and secret.refresh()
    except OSError:
        return False


def _set_custom(message: EmailMessage, config: EmailConfig) -> None:
    for name, value in config.headers.items():
        ours = name.lower() in _OURS or name.lower().startswith("content-")
        if _HEADER_NAME.fullmatch(name) and not ours:
            del message[name]
            message[name] = _one_line(value)


def _one_line(text: str) -> str:
    """Return `text` without line breaks and control characters, which would end a header."""
    return " ".join("".join(c if c.isprintable() else " " for c in _unicode(text)).split())


def _unicode(text: str) -> str:
    """Return `text` without lone surrogates, which no encoding takes."""
    return text.encode("utf-8", "replace").decode()


def _id(text: str) -> str:
    """Return `text` where it may stand in a Message-ID as it is (dot-atom), else its hash."""
    return text if _PLAIN_ID.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()[:32]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "alerts"
