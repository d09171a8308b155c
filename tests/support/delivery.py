"""The worker's surroundings in memory: a clock that a test moves, an outbox, a plain renderer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from sidecar.deliver.sender import Sender
from sidecar.deliver.worker import Attempt, Worker
from sidecar.notify.model import EmailConfig, Notification, Rate, Receiver, SlackConfig
from sidecar.render.renderer import MailText, SlackText
from sidecar.rows import OutboxRow
from sidecar.secret import Secret

FAST = Rate(per_second=1000.0, burst=1000)
URL = "http://slack.test/hook"


class ManualClock:
    """Stands still until a test moves it."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._waits: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        until = self._now + seconds
        passed = asyncio.Event()
        self._waits.append((until, passed))
        waits = [asyncio.ensure_future(e.wait()) for e in (event, passed)]
        if seconds <= 0:
            passed.set()
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            self._waits.remove((until, passed))
        return event.is_set()

    async def advance(self, seconds: float) -> None:
        """Go on by so many seconds, waking whoever waits in between at its own time."""
        end = self._now + seconds
        await settle()
        while due := [
            until for until, passed in self._waits if until <= end and not passed.is_set()
        ]:
            self._now = max(self._now, min(due))
            for until, passed in self._waits:
                if until <= self._now:
                    passed.set()
            await settle()
        self._now = end
        await settle()


async def settle() -> None:
    """Let all tasks go on until only the clock or a socket can wake them."""
    for _ in range(60):
        await asyncio.sleep(0)


class MemoryOutbox:
    """The outbox table as a dictionary, with what was written, in order."""

    def __init__(self, *rows: OutboxRow) -> None:
        self.rows = {row.id: row for row in rows}
        self.saves: list[list[OutboxRow]] = []
        self.looks = 0

    async def due(self, now: float, limit: int) -> list[OutboxRow]:
        self.looks += 1
        rows = [
            r
            for r in self.rows.values()
            if not r.outcome and r.claimed_at is None and r.next_at <= now
        ]
        return sorted(rows, key=lambda row: (row.next_at, row.created))[:limit]

    async def save(self, rows: Sequence[OutboxRow]) -> None:
        self.saves.append(list(rows))
        for row in rows:
            self.rows[row.id] = row

    def of(self, outcome: str) -> list[str]:
        return [row.id for row in self.rows.values() if row.outcome == outcome]

    def claimed(self) -> list[str]:
        return [r.id for r in self.rows.values() if r.claimed_at is not None and not r.outcome]


class PlainRenderer:
    """Says no more than which notification it is; `fails` the next so many times for an id."""

    def __init__(self) -> None:
        self.fails: dict[str, int] = {}

    def prepare(self) -> None:
        pass

    def slack(self, notification: Notification, config: SlackConfig) -> SlackText:
        del config
        if self.fails.get(notification.id):
            self.fails[notification.id] -= 1
            raise ZeroDivisionError(notification.id)
        return SlackText({"text": notification.id, "blocks": []}, None)

    def slack_plain(self, notification: Notification, config: SlackConfig) -> SlackText:
        del config
        return SlackText({"text": f"plain {notification.id}"}, "a fault")

    def mail(self, notification: Notification, config: EmailConfig) -> MailText:
        del config
        return MailText(f"subject {notification.id}", notification.id, None, None)


class FakeSlack:
    """Slack within the process: scripted answers, then `ok`; `texts` is what it was told."""

    def __init__(self, clock: ManualClock) -> None:
        self.answers: list[httpx.Response | Exception] = []
        self.texts: list[str] = []
        self.paths: list[str] = []
        self.at: list[float] = []
        self.hold: asyncio.Event | None = None
        self._clock = clock

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.texts.append(msgspec.json.decode(request.content)["text"])
        self.paths.append(request.url.path)
        self.at.append(self._clock.now())
        if self.hold is not None:
            await self.hold.wait()
        answer = self.answers.pop(0) if self.answers else httpx.Response(200, text="ok")
        if isinstance(answer, Exception):
            raise answer
        return answer


def team(rate: Rate = FAST, **changes: Any) -> Receiver:
    slack = [
        SlackConfig(channel=f"#{name}", api_url=Secret(f"{URL}/{name}"), rate=rate)
        for name in ("alerts", "other")
    ]
    return Receiver(name="team", slack_configs=tuple(slack), **{"quick_retries": 0, **changes})


class Bench:
    """A worker with everything around it."""

    def __init__(
        self,
        *stored: OutboxRow,
        receivers: Mapping[str, Receiver] | None = None,
        jitter: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.clock = ManualClock()
        self.slack = FakeSlack(self.clock)
        self.outbox = MemoryOutbox(*stored)
        self.attempts: list[Attempt] = []
        self.attempted = asyncio.Event()
        self.stop = asyncio.Event()
        self.renderer = PlainRenderer()
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self.slack))
        self.worker = Worker(
            {"team": team()} if receivers is None else receivers,
            self.renderer,
            self.outbox,
            clock=self.clock,
            report=self._report,
            jitter=jitter,
        )

    def offer(self, *rows: OutboxRow) -> None:
        """Do what a step does: write the rows, claimed, then offer them."""
        for row in rows:
            self.outbox.rows[row.id] = row
        self.worker.offer(rows)

    async def attempts_are(self, count: int) -> list[Attempt]:
        """Return the attempts once there are `count`; over a socket that takes real time."""
        async with asyncio.timeout(10):
            while len(self.attempts) < count:
                self.attempted.clear()
                await self.attempted.wait()
        await settle()
        return self.attempts

    def _report(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        self.attempted.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bench"]:
        """Run the worker for the length of the block; raises what ended it."""
        async with self.client, asyncio.TaskGroup() as tasks:
            tasks.create_task(self.worker.run(Sender(self.client), self.stop))
            await settle()
            yield self
            self.stop.set()
