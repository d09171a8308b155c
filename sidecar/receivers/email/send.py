"""Hands a mail to the mail server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiosmtplib

from sidecar.notify.model import Notification
from sidecar.receivers.base import (
    Failed,
    FailureKind,
    Outcome,
    Send,
    Sent,
    Verdict,
    scrub,
    with_new_secret,
)
from sidecar.receivers.email.config import EmailConfig, mailbox_parts
from sidecar.receivers.email.message import MailText, build
from sidecar.receivers.email.reply import SmtpPhase, failure

IMPLICIT_TLS_PORT = 465
# RFC 5321 section 4.5.3.2 asks for minutes of patience. A relay that needs them for an alert is as
# good as down, and a second copy folds with the first by its Message-ID.
COMMAND_TIMEOUT = 20.0
TOTAL_TIMEOUT = 90.0
_QUIT_TIMEOUT = 2.0


@asynccontextmanager
async def connected() -> AsyncIterator[Send[EmailConfig, MailText]]:
    """Give a sender; each mail has a session of its own."""
    yield build_and_send


async def build_and_send(config: EmailConfig, mail: MailText, told: Notification, /) -> Outcome:
    try:
        message = build(config, mail, told)
    except ValueError:
        detail = "not an address that SMTP can carry"
        return Failed(FailureKind.DESTINATION, Verdict.DEAD, detail)
    return await send(config, message, told.destination)


async def send(
    config: EmailConfig,
    message: bytes,
    to: str,
    *,
    timeout: float = COMMAND_TIMEOUT,  # noqa: ASYNC109 - per command, the client's own
) -> Outcome:
    """Hand the mail to the smarthost for `to`.

    When the login is refused and the password's file has a new one, once more. Never raises for
    what the other side does, and nothing it returns holds a credential or an address.
    """
    return await with_new_secret(
        lambda: _attempt(config, message, to, timeout), config.auth_password
    )


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

    async def deliver(self, message: bytes, to: str) -> str:
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
        await client.mail(mailbox_parts(config.from_)[1])
        self.phase = SmtpPhase.RECIPIENT
        await client.rcpt(mailbox_parts(to)[1])
        self.phase = SmtpPhase.DATA
        return (await client.data(message)).message

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
    message: bytes,
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
