"""Slack and a mail server, as they answer on a bad day; what they accept, a person reads."""

import asyncio
import base64
import quopri
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import httpx

from world.loop import SimulatedLoop

Accept = Callable[[str, str, bool], None]  # who, what was written, whether the sender will know


class Fate(NamedTuple):
    """What happens to a request: its answer, or how the connection ends; and who reads it.

    `accepted`: the message reaches its readers though the answer does not say so.
    """

    name: str
    status: int = 200
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    accepted: bool = False
    seconds: float = 0.1
    breaks: str = ""


def _said(word: str, *, accepted: bool = False) -> Fate:
    return Fate(word, 200, f'{{"ok":false,"error":"{word}"}}', accepted=accepted)


def _later(value: str) -> Fate:
    return Fate(
        f"429 {value}", 429, '{"ok":false,"error":"ratelimited"}', (("retry-after", value),)
    )


_PAGE = "<html><body>Proxy error</body></html>"
FATES = {
    fate.name: fate
    for fate in (
        Fate("ok"),
        Fate("slow", seconds=4.0),
        Fate("500", 500, "oops"),
        Fate("502", 502, _PAGE),
        Fate("403 page", 403, _PAGE),
        Fate("404 page", 404, _PAGE),
        Fate("403 empty", 403, ""),
        Fate("302", 302, "", (("location", "http://portal.test/"),)),
        Fate("301", 301, "", (("location", "http://portal.test/"),)),
        _later("30"), _later("0"), _later("7200"), _later("31536000"), _later("soon"),
        _later("Mon, 02 Nov 2026 12:00:00 GMT"),
        Fate("429", 429, ""),
        Fate("200 {}", 200, "{}"),
        Fate("200 []", 200, "[]"),
        Fate("204", 204, ""),
        Fate("200 cut", 200, '{"ok":false'),
        Fate("200 filter", 200, "Access denied by web filter"),
        Fate("200 maintenance", 503, '{"status":"maintenance"}'),
        _said("invalid_auth"), _said("account_inactive"), _said("accesslimited"),
        _said("org_login_required"), _said("channel_not_found"), _said("a_word_of_tomorrow"),
        _said("internal_error", accepted=True), _said("fatal_error"),
        _said("invalid_blocks"),
        Fate("refused", breaks="connect"),
        Fate("reset before", breaks="read"),
        Fate("reset after", breaks="read", accepted=True),
        Fate("silent", breaks="silence"),
        Fate("silent after", breaks="silence", accepted=True),
    )
}  # fmt: skip


@dataclass
class Weather:
    """Which fates a server deals out now: each request draws one of them."""

    chance: random.Random
    fates: tuple[str, ...] = ("ok",)

    def draw(self) -> str:
        return self.chance.choice(self.fates)


def _answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """Return an answer that is still to be read, as one is that comes over a network."""
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(text.encode()))


class Slack(httpx.AsyncBaseTransport):
    """Slack's API and webhooks behind the real client."""

    def __init__(self, weather: Weather, accept: Accept) -> None:
        self.weather = weather
        self.token = "token-1"
        self.channels = {"#team": "#team", "#pager": "#pager"}  # name today -> who reads it
        self.alive = True
        self._accept = accept

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read().decode()
        fate = FATES[self.weather.draw()]
        if fate.breaks == "connect":
            await asyncio.sleep(fate.seconds)
            raise httpx.ConnectError("refused", request=request)
        await asyncio.sleep(fate.seconds / 2)
        refusal = self._refusal(request, body)
        by_webhook = "chat.postMessage" not in request.url.path
        plain_ok = not fate.breaks and (fate.status, fate.body) == (200, "")
        if self.alive and refusal is None and (plain_ok or fate.accepted):
            self._accept(self._reader(request, body), body, plain_ok)
        await asyncio.sleep(fate.seconds / 2)
        if fate.breaks == "silence":
            await asyncio.sleep(10.0)
            raise httpx.ReadTimeout("silent", request=request)
        if fate.breaks:
            raise httpx.ReadError("reset", request=request)
        if not plain_ok:
            return _answer(fate.status, fate.body, dict(fate.headers))
        if refusal is not None:
            return _answer(404 if by_webhook else 200, refusal)
        return _answer(200, "ok" if by_webhook else '{"ok":true,"ts":"1.2"}')

    def _refusal(self, request: httpx.Request, body: str) -> str | None:
        if "chat.postMessage" not in request.url.path:
            return None
        if request.headers["authorization"] != f"Bearer {self.token}":
            return '{"ok":false,"error":"invalid_auth"}'
        if channel_of(body) not in self.channels:
            return '{"ok":false,"error":"channel_not_found"}'
        return None

    def _reader(self, request: httpx.Request, body: str) -> str:
        if "chat.postMessage" not in request.url.path:
            return "#" + request.url.path.rsplit("/", 1)[-1]
        return self.channels[channel_of(body)]


def channel_of(body: str) -> str:
    """Return the channel that a body for Slack's API names."""
    import json  # noqa: PLC0415

    return str(json.loads(body)["channel"])


# Where an SMTP session breaks off, and how: an answer, a closed connection, silence.
SMTP_STEPS = ("greeting", "ehlo", "auth", "mail", "rcpt", "data", "dot")
SMTP_FATES = (
    "ok", "refused",
    *(f"{step} {how}" for step in SMTP_STEPS for how in ("421", "451", "550", "close", "silence")),
    "auth 535", "rcpt 552", "dot silence after", "dot close after",
)  # fmt: skip


class Mail:
    """A mail server behind the real SMTP client, on the simulated loop."""

    def __init__(self, loop: SimulatedLoop, weather: Weather, accept: Accept) -> None:
        self.weather = weather
        self.alive = True
        self._loop = loop
        self._accept = accept

    async def connect(self, protocol: asyncio.BaseProtocol, host: str, port: int) -> "_Session":
        del host, port
        await asyncio.sleep(0.01)
        fate = self.weather.draw()
        if fate == "refused":
            raise ConnectionRefusedError(111, "Connection refused")
        return _Session(self._loop, self, protocol, fate)

    def accepted(self, to: str, data: bytes, *, clear: bool) -> None:
        if self.alive:
            head, _, body = data.partition(b"\r\n\r\n")
            decode = base64.b64decode if b"base64" in head else quopri.decodestring
            self._accept(to, decode(body).decode(), clear)


class _Session(asyncio.Transport):
    """One connection as the client's transport; what it writes is answered by the script."""

    def __init__(
        self, loop: SimulatedLoop, server: Mail, protocol: asyncio.BaseProtocol, fate: str
    ) -> None:
        super().__init__()
        self._loop, self._server, self._protocol, self._fate = loop, server, protocol, fate
        self._closed = False
        self._data: bytearray | None = None
        self._to = ""
        protocol.connection_made(self)
        self._answer("greeting", "220 mail.test ESMTP")

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._data is not None:
            self._data += data
            if self._data.endswith(b"\r\n.\r\n") or bytes(self._data) == b".\r\n":
                self._dot()
            return
        verb, _, rest = bytes(data).decode().strip().partition(" ")
        match verb.upper():
            case "EHLO":
                self._answer("ehlo", "250-mail.test\r\n250 AUTH PLAIN")
            case "AUTH":
                self._answer("auth", "235 welcome")
            case "MAIL":
                self._answer("mail", "250 ok")
            case "RCPT":
                self._to = rest.partition("<")[2].partition(">")[0]
                self._answer("rcpt", "250 ok")
            case "DATA":
                self._answer("data", "354 go on")
            case "QUIT":
                self._say("221 bye")
            case _:
                self._say("250 ok")

    def _dot(self) -> None:
        data, self._data = bytes(self._data or b"")[:-5], None
        step, _, how = self._fate.partition(" ")
        if step != "dot" or how.endswith("after"):
            self._server.accepted(self._to, data.replace(b"\r\n..", b"\r\n."), clear=step != "dot")
        self._answer("dot", "250 queued")

    def _answer(self, at: str, usual: str) -> None:
        step, _, how = self._fate.partition(" ")
        if step != at:
            if at == "data":
                self._data = bytearray()
            self._say(usual)
        elif how.startswith("close"):
            self._loop.call_later(0.01, self.close)
        elif not how.startswith("silence"):
            self._say(f"{how} not now")
            if how == "421":
                self._loop.call_later(0.02, self.close)

    def _say(self, text: str) -> None:
        self._loop.call_later(0.01, self._receive, f"{text}\r\n".encode())

    def _receive(self, data: bytes) -> None:
        if not self._closed and isinstance(self._protocol, asyncio.Protocol):
            self._protocol.data_received(data)
        elif not self._closed:
            self._protocol.data_received(data)  # type: ignore[attr-defined]  # aiosmtplib's is a BaseProtocol
