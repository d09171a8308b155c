"""A mail server on loopback, which replies as it is told."""
# ruff: noqa: N802 - aiosmtpd finds commands and hooks by these names

import asyncio
import email.policy
import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from enum import Enum
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from support.arrivals import Arrivals, server_tls


class Hangup(Enum):
    """What becomes of a session in place of a reply."""

    DROP = "closed"
    HANG = "kept open, silent, until the sink closes"


Reply = str | Hangup


@dataclass(frozen=True)
class Mail:
    """A mail as it was accepted; `login` is the user, None where nobody logged in."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    tls: bool
    login: str | None

    @property
    def message(self) -> EmailMessage:
        return BytesParser(EmailMessage, policy=email.policy.default).parsebytes(self.raw)

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        return self._part("plain")

    @property
    def html(self) -> str:
        return self._part("html")

    def __str__(self) -> str:
        """Return all that a person can read in it: headers, text and HTML, decoded."""
        headers = "\n".join(f"{name}: {value}" for name, value in self.message.items())
        return f"{headers}\n\n{self.text}\n{self.html}"

    def _part(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        return str(part.get_content()).replace("\r\n", "\n") if part is not None else ""


class SmtpSink:
    """Takes mail. `starttls` offers it, `implicit_tls` begins with it, `login` demands it.

    `reply("RCPT", "450 4.2.1 busy")` answers the next RCPT so. The verbs are CONNECT, EHLO,
    HELO, STARTTLS, AUTH, MAIL, RCPT, DATA (before the mail), END (after its final dot) and QUIT.
    `said` lists those a client used.
    """

    def __init__(
        self,
        *,
        starttls: bool = False,
        implicit_tls: bool = False,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.starttls, self.implicit_tls, self.login = starttls, implicit_tls, login
        self.mechanisms: tuple[str, ...] = ("LOGIN", "PLAIN") if login else ()
        self.port = 0
        self.said: list[str] = []
        self._scripts: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self._arrivals: Arrivals[Mail] = Arrivals()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def messages(self) -> list[Mail]:
        return self._arrivals.items

    def reply(self, verb: str, *replies: Reply) -> None:
        """Answer the next uses of `verb` so, each once."""
        self._scripts[verb] += replies

    def forget(self, verb: str) -> None:
        """Answer `verb` as a server in order does from now on."""
        self._scripts[verb].clear()

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Mail]:
        """Return the mails once there are `count`; fail after `timeout` seconds."""
        self._arrivals.wait_for(count, timeout)
        return self.messages

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def scripted(self, verb: str) -> Reply | None:
        self.said.append(verb)
        script = self._scripts[verb]
        return script.popleft() if script else None

    def accept(self, envelope: Envelope, session: Session) -> None:
        raw = envelope.original_content
        assert isinstance(raw, bytes)
        login = str(session.auth_data) if session.authenticated else None
        tls = self.implicit_tls or session.ssl is not None
        sender = envelope.mail_from or ""
        self._arrivals.add(Mail(sender, tuple(envelope.rcpt_tos), raw, tls, login))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        sessions: set[_SmtpSession] = set()
        server = await self._loop.create_server(
            lambda: _SmtpSession(self, sessions),
            "127.0.0.1",
            0,
            ssl=server_tls() if self.implicit_tls else None,
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        await asyncio.sleep(0)  # one turn: cancelled before, a connection just accepted would leak
        for session in list(sessions):
            session.hang_up()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _SmtpSession(SMTP):
    """One session; before each step it asks the sink's script."""

    def __init__(self, sink: SmtpSink, sessions: set["_SmtpSession"]) -> None:
        self._sink, self._sessions = sink, sessions
        super().__init__(
            self,
            hostname="sink.test",
            loop=asyncio.get_running_loop(),
            tls_context=server_tls() if sink.starttls else None,
            authenticator=self._check_login,
            auth_require_tls=False,
            auth_exclude_mechanism={"LOGIN", "PLAIN"} - set(sink.mechanisms),
        )

    def connection_made(self, transport: Any) -> None:
        self._sessions.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._sessions.discard(self)
        super().connection_lost(error)

    def hang_up(self) -> None:
        for transport in (self.transport, self._original_transport):
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()

    async def _handle_client(self) -> None:
        if not await self._scripted("CONNECT"):
            await super()._handle_client()

    async def smtp_EHLO(self, arg: str) -> None:
        if not await self._scripted("EHLO"):
            await super().smtp_EHLO(arg)

    async def smtp_HELO(self, hostname: str) -> None:
        if not await self._scripted("HELO"):
            await super().smtp_HELO(hostname)

    async def smtp_STARTTLS(self, arg: str) -> None:
        if not await self._scripted("STARTTLS"):
            await super().smtp_STARTTLS(arg)

    async def smtp_AUTH(self, arg: str) -> None:
        if not await self._scripted("AUTH"):
            await super().smtp_AUTH(arg)

    async def smtp_MAIL(self, arg: str) -> None:
        if await self._scripted("MAIL"):
            return
        assert self.session is not None
        if self._sink.login and not self.session.authenticated:
            await self.push("530 5.7.0 Authentication required")
        else:
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str) -> None:
        if not await self._scripted("RCPT"):
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:
        if not await self._scripted("DATA"):
            await super().smtp_DATA(arg)

    async def smtp_QUIT(self, arg: str) -> None:
        if not await self._scripted("QUIT"):
            await super().smtp_QUIT(arg)

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take the mail unless the script has an answer; this is aiosmtpd's hook."""
        match self._sink.scripted("END"):
            case None:
                self._sink.accept(envelope, session)
                return "250 2.0.0 Ok: queued as SINK"
            case str(reply):
                return reply
            case how:
                await self._hang(how)
                return "421 never said"

    async def _scripted(self, verb: str) -> bool:
        match self._sink.scripted(verb):
            case None:
                return False
            case str(reply):
                await self.push(reply)
            case how:
                await self._hang(how)
        return True

    async def _hang(self, how: Hangup) -> None:
        if how is Hangup.DROP:
            self.hang_up()
        # Until the connection or the sink is gone: both cancel this task.
        await asyncio.Event().wait()

    def _check_login(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: LoginPassword
    ) -> AuthResult:
        given = (data.login.decode(), data.password.decode())
        right = given == self._sink.login
        return AuthResult(success=right, handled=right, auth_data=given[0] if right else None)
