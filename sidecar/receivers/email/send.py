"""Hands a mail to the mail server, and says what the end of its session means."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from functools import partial

import aiosmtplib

from sidecar.notify.model import OWNER, Notification
from sidecar.receivers.base import (
    Failed,
    FailureKind,
    Outcome,
    Send,
    Sent,
    Verdict,
    is_tls,
    network_reason,
    scrub,
    with_new_secret,
)
from sidecar.receivers.email.config import EmailConfig
from sidecar.receivers.email.message import MailText, build
from sidecar.syntax.values import mailbox_parts

# RFC 5321 section 4.5.3.2 asks for minutes of patience. A relay that needs them for an alert is as
# good as down, and a second copy folds with the first by its Message-ID.
COMMAND_TIMEOUT = 20.0
TOTAL_TIMEOUT = 90.0
_QUIT_TIMEOUT = 2.0
# A server that was out of order is asked after the others for so long.
LAST_SECONDS = 300.0

Server = tuple[str, int]


class Servers:
    """The mail servers in the order in which they are asked: those out of order of late last."""

    def __init__(self) -> None:
        self._last_until: dict[Server, float] = {}

    def in_order(self, servers: Iterable[Server], now: float) -> list[Server]:
        """Return `servers` as they are to be asked at `now`, a clock that never jumps."""
        return sorted(servers, key=lambda server: self._last_until.get(server, now) > now)

    def failed(self, server: Server, now: float) -> None:
        self._last_until[server] = now + LAST_SECONDS


@asynccontextmanager
async def connected() -> AsyncIterator[Send[EmailConfig, MailText]]:
    """Give a sender; each mail has a session of its own."""
    yield partial(build_and_send, Servers())


async def build_and_send(
    servers: Servers, config: EmailConfig, mail: MailText, told: Notification, /
) -> Outcome:
    try:
        message = build(config, mail, told)
    except ValueError:
        detail = "not an address that SMTP can carry"
        return Failed(FailureKind.DESTINATION, Verdict.DEAD, detail)
    outcome = await send(config, message, told.destination, servers=servers)
    if isinstance(outcome, Failed) and outcome.kind is FailureKind.DESTINATION:
        # Nobody here mends a customer's mailbox: the team is told instead.
        return replace(outcome, verdict=Verdict.DEAD) if OWNER in config.to else outcome
    return outcome


async def send(
    config: EmailConfig,
    message: bytes,
    to: str,
    *,
    servers: Servers | None = None,
    timeout: float = COMMAND_TIMEOUT,  # noqa: ASYNC109 - per command, the client's own
) -> Outcome:
    """Hand the mail for `to` to the first of the smarthosts that is in order.

    What the mail, the login or the mailbox is refused for is refused by all; nor is a mail handed
    to another that may have been accepted. When the login is refused and the password's file has a
    new one, once more. Never raises for what the other side does, and nothing it returns holds a
    credential or an address.
    """
    now, servers = asyncio.get_running_loop().time, servers or Servers()
    failures: list[tuple[Server, Failed]] = []
    for server in servers.in_order(config.smarthost, now()):
        outcome = await with_new_secret(
            partial(_attempt, config, server, message, to, timeout), config.auth_password
        )
        if not isinstance(outcome, Failed) or not _is_out_of_order(outcome):
            return outcome
        servers.failed(server, now())
        failures.append((server, outcome))
    return _together(failures)


def _is_out_of_order(failed: Failed) -> bool:
    return failed.verdict is Verdict.RETRY and not failed.ambiguous


def _together(failures: list[tuple[Server, Failed]]) -> Failed:
    """Return what it means that no server took the mail; each one's reason is told."""
    _, last = failures[-1]
    if len(failures) == 1:
        return last
    told = "; ".join(f"{host}:{port}: {one.detail}" for (host, port), one in failures)
    return replace(last, detail=told)


class _Dialogue:
    """One SMTP session; `phase` says how far it came."""

    def __init__(self, config: EmailConfig, server: Server, timeout: float) -> None:
        self.phase = SmtpPhase.CONNECT
        self._transport: asyncio.BaseTransport | None = None
        self._config = config
        host, port = server
        self._implicit_tls = config.begins_with_tls(port)
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
        await self._greet()
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

    async def _greet(self) -> None:
        """Say EHLO, or HELO to a server that knows no other (RFC 5321 section 3.2)."""
        try:
            await self._client.ehlo()
        except aiosmtplib.SMTPHeloError as refused:
            if refused.code // 100 != 5 or not self._client.is_connected:  # noqa: PLR2004 - 5yz
                raise
            await self._client.helo()

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
    server: Server,
    message: bytes,
    to: str,
    timeout: float,  # noqa: ASYNC109 - as above
) -> Outcome:
    password = config.auth_password.reveal() if config.auth_password else ""
    secrets = (password, config.auth_username, to)
    try:
        dialogue = _Dialogue(config, server, timeout)
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


# --- what reply codes and broken connections mean

_CREDENTIALS = frozenset({530, 534, 535, 538})
_EXCEEDED_STORAGE = 552


class SmtpPhase(StrEnum):
    """How far a session came; the value is shown to people."""

    CONNECT = "connecting"
    HELLO = "greeting"
    TLS = "STARTTLS"
    LOGIN = "login"
    SENDER = "sender"
    RECIPIENT = "recipient"
    DATA = "data"


# What a 5yz reply refuses, by phase. A refused connection or STARTTLS says nothing about the mail
# and may be over once a person has looked, so these are tried again.
_REFUSED = {
    SmtpPhase.CONNECT: (FailureKind.CONNECT, Verdict.RETRY),
    SmtpPhase.HELLO: (FailureKind.OTHER, Verdict.PARK),
    SmtpPhase.TLS: (FailureKind.TLS, Verdict.RETRY),
    SmtpPhase.LOGIN: (FailureKind.AUTH, Verdict.PARK),
    SmtpPhase.SENDER: (FailureKind.OTHER, Verdict.PARK),
    SmtpPhase.RECIPIENT: (FailureKind.DESTINATION, Verdict.PARK),
    SmtpPhase.DATA: (FailureKind.PAYLOAD, Verdict.PARK),
}


def classify(phase: SmtpPhase, code: int) -> tuple[FailureKind, Verdict]:
    """Return what a reply code refuses in a phase.

    4yz may be tried again, 5yz only once somebody mended something, or a server its mind (RFC 5321
    section 4.2.1; some greylist with 550); 552 to a recipient stands for 452
    (section 4.5.3.1.10); 530, 534, 535 and 538 are about credentials (RFC 4954 section 6).
    """
    if code // 100 != 5 or (phase is SmtpPhase.RECIPIENT and code == _EXCEEDED_STORAGE):  # noqa: PLR2004 - 5yz
        return (FailureKind.SERVER_ERROR, Verdict.RETRY)
    if code in _CREDENTIALS:
        return (FailureKind.AUTH, Verdict.PARK)
    return _REFUSED[phase]


def failure(phase: SmtpPhase, error: Exception, secrets: Iterable[str]) -> Failed:
    """Return what `error` in `phase` means; `secrets` never get into the detail.

    A connection lost or silent in the data phase leaves open whether the mail was accepted.
    """
    ambiguous = phase is SmtpPhase.DATA
    match error:
        case aiosmtplib.SMTPResponseException():
            kind, verdict = classify(phase, error.code)
            return Failed(kind, verdict, f"SMTP {error.code} {_said(error, secrets)} ({phase})")
        case TimeoutError():
            detail = f"no answer in time ({phase})"
            return Failed(FailureKind.TIMEOUT, Verdict.RETRY, detail, ambiguous=ambiguous)
        case OSError():
            kind = _of_connection(phase, error)
            detail = f"{network_reason(error)} ({phase})"
            return Failed(kind, Verdict.RETRY, detail, ambiguous=ambiguous)
        case aiosmtplib.SMTPException() if phase is SmtpPhase.TLS:
            # Never in the clear, and never given up: the offer may have been taken out on the way.
            detail = "the server does not offer STARTTLS, which require_tls asks for"
            return Failed(FailureKind.TLS, Verdict.RETRY, detail)
        case aiosmtplib.SMTPException() if phase is SmtpPhase.LOGIN:
            detail = "the server offers no way of login that we know"
            return Failed(FailureKind.AUTH, Verdict.PARK, detail)
        case ValueError() if phase is SmtpPhase.RECIPIENT:
            detail = "not an address that SMTP can carry"
            return Failed(FailureKind.DESTINATION, Verdict.PARK, detail)
        case _:
            detail = f"the settings cannot be used as they are written ({phase})"
            return Failed(FailureKind.OTHER, Verdict.PARK, detail)


def _of_connection(phase: SmtpPhase, error: OSError) -> FailureKind:
    if is_tls(error) or isinstance(error, FileNotFoundError | PermissionError):
        return FailureKind.TLS  # the certificate, or the file of `tls_ca_file`
    return FailureKind.CONNECT if phase is SmtpPhase.CONNECT else FailureKind.CONNECTION_LOST


def _said(error: aiosmtplib.SMTPResponseException, secrets: Iterable[str]) -> str:
    return scrub(str(error.message), secrets)
