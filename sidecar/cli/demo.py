"""`sidecar demo`: everything at once on this machine, never leaving loopback.

Slack and the mail server are real servers on loopback that keep nothing; what they are told is
shown in the terminal.
"""

import asyncio
import email
import email.policy
import html
import json
import logging
import os
import random
import re
import signal
import socket
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import click
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sidecar.cli import rules_folder
from sidecar.cli.output import paint, say
from sidecar.clock import SystemClock
from sidecar.config.load import load_config
from sidecar.core import Step
from sidecar.daemon.app import Daemon
from sidecar.daemon.lines import configure_log
from sidecar.redact import Redactor, RedactPolicy
from sidecar.rows import SeriesRow
from sidecar.web.server import serve

# What is still under way when the story ends: a group_wait, a group_interval, a poll.
SECONDS = 26.0
AFTERMATH_SECONDS = 4.0
_CONFIG = """\
sources: [{{path: "{folder}/host.log", start_at: beginning}}]
pattern_files: ["{rules}/*.patterns.yaml"]
rule_files: ["{rules}/*.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:{port}"}}
global:
  slack_app_token: xoxb-demo
  slack_app_url: http://127.0.0.1:{slack_port}/api/chat.postMessage
  smtp_smarthost: 127.0.0.1:{smtp_port}
  smtp_from: sidecar@demo.invalid
  smtp_require_tls: false
# The tiers of sidecar.yaml with intervals of seconds, so that half a minute shows them all.
route:
  receiver: warning
  group_by: [alertname]
  group_wait: 1s
  group_interval: 3s
  repeat_interval: 1h
  cooldown: 5s
  routes:
    - {{matchers: ['severity="critical"'], receiver: critical, group_by: [alertname, org_id], group_wait: 0s}}
    - {{matchers: ['severity="error"'], receiver: error, group_wait: 0s}}
    - {{matchers: ['severity="info"'], receiver: info}}
receivers:
  - name: critical
    slack_configs: [{{channel: "#critical-alerts"}}]
    email_configs: [{{to: oncall@demo.invalid}}]
  - name: error
    slack_configs: [{{channel: "#critical-alerts"}}]
  - name: warning
    slack_configs: [{{channel: "#warnings"}}]
    email_configs: [{{to: team@demo.invalid}}]
  - name: info
    slack_configs: [{{channel: "#notifications"}}]
"""  # noqa: E501 - a route a line


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


@click.command()
@click.option("--seconds", default=SECONDS, show_default=True, help="How long the host lives.")
@click.option("--port", default=9787, show_default=True, help="Where /metrics listens.")
def demo(seconds: float, port: int) -> None:
    """Show the whole job: a pretend host, local Slack and mail sinks, and the daemon."""
    # Loopback only, whatever proxy this machine is told to use.
    os.environ["NO_PROXY"] = "*"
    # The screen tells the story; our own log speaks up only when something is wrong.
    configure_log(redact=Redactor(RedactPolicy()).text, level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="sidecar-demo-") as folder:
        try:
            asyncio.run(_demo(Path(folder), seconds, port if _free(port) else 0))
        except* BrokenPipeError:  # the reader of our output went away: `sidecar demo | head`
            sys.exit(0)


async def _demo(folder: Path, seconds: float, port: int) -> None:
    screen, stop, served = Screen(say), asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    slack_port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    smtp, smtp_port = await MailSink(screen.mail).start()
    async with smtp, asyncio.TaskGroup() as group:
        slack = slack_sink(screen.slack)
        group.create_task(serve(slack, ("127.0.0.1", 0), served, slack_port.set_result))
        text = _CONFIG.format(
            folder=folder,
            rules=rules_folder(),
            port=port,
            slack_port=await slack_port,
            smtp_port=smtp_port,
        )
        (folder / "sidecar.yaml").write_text(text, encoding="utf-8")
        (folder / "host.log").touch()
        started = time.time()
        url = await _daemon(group, folder, screen, stop, served)
        await _host(folder / "host.log", screen, stop, seconds)
        stop.set()
        await served.wait()
    screen.summary(time.time() - started, url)


async def _daemon(
    group: asyncio.TaskGroup,
    folder: Path,
    screen: Screen,
    stop: asyncio.Event,
    served: asyncio.Event,
) -> str:
    """Start the daemon; return the address of its /metrics once it listens."""
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    config = load_config(str(folder / "sidecar.yaml"), {})
    daemon = Daemon(
        config, clock=SystemClock(), on_step=screen.step, on_listen=listening.set_result
    )

    async def run() -> None:
        try:
            await daemon.run(stop)
        finally:
            served.set()

    group.create_task(run())
    url = f"http://127.0.0.1:{await listening}/metrics"
    say(paint(f"  metrics at {url}; Ctrl-C ends it early", bold=True))
    return url


async def _host(path: Path, screen: Screen, stop: asyncio.Event, seconds: float) -> None:
    """Write the story to `path` as time goes by, then wait for its last messages."""
    clock = SystemClock()
    started = clock.now()
    with path.open("ab", buffering=0) as log:
        for after, line in Host(started).lines():
            wait = started + after - clock.now()
            if after > seconds or (wait > 0 and await clock.wait(stop, wait)):
                break
            screen.line(line)
            log.write(line)
    await clock.wait(stop, AFTERMATH_SECONDS)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


# --- a pretend AgentOps host: what it logs in half a minute of an eventful day
#
# The lines are built the way the real host builds them: text facts by logging calls, metrics as an
# f-string of a dict (so Python reprs, not JSON).

DUNNING = "5b1e2a90-7c1d-4f0e-9a51-3f6f0c7c9e11"
GRACE_OVER = "c7e0a4d2-0b83-4c1c-8f7a-1d2b6e5f9a22"
PAST_DUE = "2f9d6c3b-91aa-4d57-b0de-6a8c4e7d1b33"
CANCELED = "9a3c5e7f-2d41-4b68-a6f9-8b7d0c1e2f44"


@dataclass(frozen=True, slots=True)
class LogLine:
    """At `after` seconds from the start the host logs `text`, stamped by `Host.stamp`."""

    after: float
    level: str
    text: str
    metric: dict[str, Any] | None = None


class Host:
    """Turns the story into log lines; `started` is the wall clock at its beginning."""

    def __init__(self, started: float, seed: int = 7) -> None:
        self._started = started
        self._random = random.Random(seed)  # noqa: S311 - a story, not a secret

    def lines(self) -> Iterator[tuple[float, bytes]]:
        """Yield (seconds after the start, whole line with its newline) in order."""
        for line in sorted([*_story(), *self._traffic()], key=lambda m: m.after):
            yield line.after, self._line(line)

    def _line(self, line: LogLine) -> bytes:
        at = datetime.fromtimestamp(self._started + line.after, UTC).replace(tzinfo=None)
        if not line.level:
            return f"{line.text}\n".encode()
        text = line.text
        if line.metric is not None:
            record = {
                "metric_type": "WEBHOOK_METRIC",
                "webhook_provider": "stripe",
                **line.metric,
            }
            record = _with_timestamp(record, at.isoformat())
            text = f"WEBHOOK_METRIC: {record}"
        return f"{at:%Y-%m-%d %H:%M:%S} - {line.level} - {text}\n".encode()

    def _traffic(self) -> Iterator[LogLine]:
        """Yield the everyday: invoices that go through, access lines, a slow query."""
        after = 0.3
        while after < SECONDS:
            event = f"evt_{self._random.randrange(16**12):012x}"
            kind = self._random.choice(["invoice.created", "checkout.session.completed"])
            yield _metric(after, kind, "received", event_id=event)
            if kind == "invoice.created":
                costs = {"tokens": self._random.randrange(900), "spans": Decimal("1.50")}
                yield _metric(after + 0.02, kind, "usage_charges_added", usage_costs=costs)
            yield _metric(after + 0.05, kind, "processed", event_id=event)
            access = '"POST /v4/stripe-webhook HTTP/1.1" 200 OK'
            yield LogLine(after + 0.06, "", f"INFO:     10.0.31.224:0 - {access}")
            if self._random.random() < 0.2:  # noqa: PLR2004 - one in five
                yield LogLine(
                    after + 0.1, "WARNING", f"slow database, {self._random.randrange(900)} ms"
                )
            after += self._random.uniform(0.4, 1.2)


def _with_timestamp(record: dict[str, Any], stamp: str) -> dict[str, Any]:
    """Put `timestamp` right after `status`, where the host has it."""
    at = list(record).index("status") + 1
    items = list(record.items())
    return dict([*items[:at], ("timestamp", stamp), *items[at:]])


def _metric(after: float, event_type: str, status: str, **extra: Any) -> LogLine:
    return LogLine(after, "INFO", "", {"event_type": event_type, "status": status, **extra})


def _story() -> Iterator[LogLine]:
    yield from _dunning()
    yield from _subscriptions()
    yield from _errors()


def _dunning() -> Iterator[LogLine]:
    """Four failed attempts of one organisation, then it pays."""
    facts = {"org_id": DUNNING, "subscription_id": "sub_1dunning", "org_name": "Zoë & O'Brien"}
    for after, attempt in ((1.0, 1), (2.5, 2), (4.0, 3), (8.0, 4)):
        yield LogLine(after, "WARNING", f"Org {DUNNING} has failed payment, attempt #{attempt}")
        failed = {**facts, "attempt_count": attempt}
        yield _metric(after + 0.01, "invoice.payment_failed", "payment_failure", **failed)
        if attempt >= 3:  # noqa: PLR2004 - the host's own threshold
            yield _metric(
                after + 0.02,
                "invoice.payment_failed",
                "critical_payment_failure",
                **failed,
                severity="critical",
            )
    yield _metric(19.0, "invoice.payment_succeeded", "billing_period_paid", **facts)


def _subscriptions() -> Iterator[LogLine]:
    """States come as plain text only: one past its grace, one that recovers, one that ends."""
    updated = "Subscription updated for org {}: status={}, seat_quantity=4, is_legacy=False"
    yield LogLine(3.0, "INFO", updated.format(GRACE_OVER, "unpaid"))
    yield LogLine(
        5.5,
        "WARNING",
        f"Org {GRACE_OVER} subscription is unpaid and past 3-day grace period. Demoting to free.",
    )
    yield LogLine(3.5, "INFO", updated.format(PAST_DUE, "past_due"))
    yield LogLine(
        3.6,
        "WARNING",
        f"Org {PAST_DUE} subscription is past_due. 2 days left in grace period.",
    )
    yield LogLine(15.0, "INFO", updated.format(PAST_DUE, "active"))
    yield LogLine(16.0, "INFO", updated.format(CANCELED, "canceled"))
    yield LogLine(
        16.1,
        "INFO",
        f"Removed all licenses for org {CANCELED} due to subscription cancellation",
    )


def _errors() -> Iterator[LogLine]:
    """An exception with a key in its text, a failed license sync, a forger at the door."""
    error = "api_key=sk_live_NotARealKey0123456789 refused"
    yield LogLine(4.5, "ERROR", f"Error processing webhook invoice.created: {error}")
    yield LogLine(4.51, "", "Traceback (most recent call last):")
    yield LogLine(4.52, "", f"ConnectionError: {error}")
    yield _metric(
        4.53,
        "invoice.created",
        "processing_error",
        error=error,
        error_type="ConnectionError",
        event_id="evt_demo_error",
    )
    yield _metric(
        10.0,
        "subscription.updated",
        "license_sync_failure",
        org_id=PAST_DUE,
        seat_quantity=7,
        error="can't lock row",
        error_type="OperationalError",
    )
    for attempt in range(5):
        yield _metric(
            12.5 + attempt / 4, "unknown", "invalid_signature", error="No signatures found"
        )
