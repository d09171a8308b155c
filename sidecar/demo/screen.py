"""What the demonstration shows in the terminal, and the local Slack and mail server it shows it of.

Both are real servers on loopback that keep nothing.
"""

import asyncio
import email
import email.policy
import html
import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sidecar.cli.output import paint
from sidecar.core import Step
from sidecar.rows import SeriesRow


def slack_sink(received: Callable[[dict[str, Any]], None]) -> Starlette:
    """Return an app that answers as Slack's API does; edits and reactions are not shown."""
    count = 0

    async def post(request: Request) -> JSONResponse:
        nonlocal count
        posted = request.headers.get("content-type", "").startswith("application/json")
        payload = await request.json() if posted else {}  # what reads sends a form
        if request.path_params["method"] == "chat.postMessage":
            count += 1
            received(payload)
        stamp = payload.get("ts", f"{count}.000100")
        return JSONResponse({"ok": True, "ts": stamp, "channel": payload.get("channel", "")})

    return Starlette(routes=[Route("/api/{method}", post, methods=["POST"])])


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


WIDTH = 100
# Counters of events that nobody has to look at would drown the others.
_EVERYDAY_LINES = ("'received'", "'processed'", "'usage_charges_added'", "INFO:  ", "slow ")
_EVERYDAY = ('"status":"received"', '"status":"processed"', '"status":"usage_charges_added"')


class Screen:
    """Prints log lines, counters, Slack messages and mails; counts them for the summary."""

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say
        self._seen: dict[tuple[str, str], str] = {}
        self.counts: Counter[str] = Counter()

    def line(self, line: bytes) -> None:
        """Show a log line: whole where it matters to a rule, cut where it is everyday."""
        self.counts["lines"] += 1
        text = line.decode().rstrip("\n")
        everyday = any(word in text for word in _EVERYDAY_LINES)
        shown = text[: WIDTH - 1] + "…" if everyday and len(text) > WIDTH else text
        self._say(paint(f"  log   {shown}", dim=everyday))

    def step(self, step: Step) -> None:
        self.counts["events"] += step.events
        for transition in step.transitions:
            self.counts[f"alerts {transition.kind}"] += 1
        for row in step.series:
            before = self._seen.get((row.name, row.labels), "0")
            self._seen[row.name, row.labels] = row.value
            everyday = any(word in row.labels.replace(" ", "") for word in _EVERYDAY)
            if row.value not in {before, "0", "0.0"} and not everyday:
                self._say(paint(f"  count {_series(row)}", "cyan"))

    def slack(self, payload: dict[str, Any]) -> None:
        self.counts["Slack messages"] += 1
        where = ", in the thread of its message" if "thread_ts" in payload else ""
        title = f"Slack {payload.get('channel', '')}{where}"
        self._box(title, "\n".join(_texts(payload)), colour="magenta")

    def mail(self, message: EmailMessage, recipients: list[str]) -> None:
        self.counts["mails"] += 1
        part = message.get_body(("plain",))
        body = part.get_content() if part is not None else ""
        title = f"mail to {', '.join(recipients)}: {str(message['Subject']).strip()}"
        self._box(title, body, colour="blue")

    def summary(self, seconds: float, metrics_url: str) -> None:
        """Say what happened; `seconds` is how long it took."""
        self._say()
        self._say(paint(f"  {seconds:.0f} seconds, {metrics_url}", bold=True))
        for name, count in self.counts.items():
            self._say(f"  {count:5d} {name}")

    def _box(self, title: str, body: str, *, colour: str) -> None:
        self._say(paint(f"  ┌─ {title}", colour, bold=True))
        for line in body.strip().splitlines():
            for part in textwrap.wrap(line, WIDTH) or [""]:
                self._say(paint("  │ ", colour), part)
        self._say(paint("  └─", colour))


def _series(row: SeriesRow) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in json.loads(row.labels).items())
    return f"{row.name}{{{labels}}} {row.value}"


_DATE = re.compile(r"<!date\^[^|<>]*\|([^<>]*)>")


def _texts(value: Any) -> Iterator[str]:
    """Yield what a reader sees of a Slack payload's blocks, however they are nested."""
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        text = value.get("text")
        if isinstance(text, str) and value.get("type") in {"mrkdwn", "plain_text"}:
            yield html.unescape(_DATE.sub(r"\1", text))
        for name in ("blocks", "text", "elements", "attachments"):
            if isinstance(value.get(name), dict | list):
                yield from _texts(value[name])
