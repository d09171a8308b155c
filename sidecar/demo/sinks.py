"""Local stand-ins for Slack and a mail server: real sockets on loopback, nothing kept."""

import asyncio
import email
import email.policy
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


def slack_sink(received: Callable[[dict[str, Any]], None]) -> Starlette:
    """Return an app that answers `POST /api/chat.postMessage` as Slack does."""
    count = 0

    async def post(request: Request) -> JSONResponse:
        nonlocal count
        count += 1
        payload = await request.json()
        received(payload)
        stamp = f"{count}.000100"
        return JSONResponse({"ok": True, "ts": stamp, "channel": payload.get("channel", "")})

    return Starlette(routes=[Route("/api/chat.postMessage", post, methods=["POST"])])


class MailSink:
    """A mail server that takes every message (RFC 5321, the commands a client needs)."""

    def __init__(self, received: Callable[[EmailMessage, list[str]], None]) -> None:
        self._received = received

    async def start(self) -> tuple[asyncio.Server, int]:
        """Listen on a free loopback port; return the server and the port."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        return server, int(server.sockets[0].getsockname()[1])

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipients: list[str] = []
        await _say(writer, "220 demo ESMTP")
        while line := await reader.readline():
            words = line.decode("utf-8", "replace").strip()
            match words[:4].upper():
                case "RCPT":
                    recipients.append(words.partition(":")[2].split(" ")[0].strip("<>"))
                    await _say(writer, "250 OK")
                case "DATA":
                    await _say(writer, "354 go on")
                    self._received(await _message(reader), recipients)
                    recipients = []
                    await _say(writer, "250 OK")
                case "QUIT":
                    await _say(writer, "221 bye")
                    break
                case _:
                    await _say(writer, "250 OK")
        writer.close()


async def _say(writer: asyncio.StreamWriter, words: str) -> None:
    writer.write(f"{words}\r\n".encode())
    await writer.drain()


async def _message(reader: asyncio.StreamReader) -> EmailMessage:
    """Read up to the lone dot, taking doubled dots back (RFC 5321, section 4.5.2)."""
    lines = []
    while (line := await reader.readline()) not in (b".\r\n", b""):
        lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
    return email.message_from_bytes(b"".join(lines), policy=email.policy.default)
