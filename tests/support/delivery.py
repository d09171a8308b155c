"""The worker's surroundings in memory: a clock that a test moves, an outbox, a plain renderer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import msgspec

from sidecar.deliver.waiting import Destination, Road, addressee
from sidecar.deliver.worker import Attempt, Worker, connected
from sidecar.directory.lookup import Lookup
from sidecar.notify.model import Notification, Rate, Receiver
from sidecar.receivers.base import Rendered
from sidecar.receivers.email import EMAIL
from sidecar.receivers.email.config import EmailConfig
from sidecar.receivers.email.message import MailText
from sidecar.receivers.slack import SLACK, send as slack
from sidecar.receivers.slack.config import SlackConfig
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer, Rendering
from sidecar.rows import OutboxRow
from sidecar.secret import Secret

FAST = Rate(per_second=1000.0, burst=1000)
URL = "http://slack.test/hook"


class ManualClock:
    """Stands still until a test moves it."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self.offset = 0.0  # of the wall clock, which a test may set
        self._waits: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self._now + self.offset

    def monotonic(self) -> float:
        return self._now

    def busy(self) -> float:
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
        self.hold: asyncio.Event | None = None  # looks wait for it
        self.fallen: list[tuple[str, str]] = []
        self.asked: dict[Destination, float] = {}
        self.stands: list[Notification] = []

    async def claim(self, now: float, road: Road) -> list[OutboxRow]:
        self.looks += 1
        if self.hold is not None:
            await self.hold.wait()
        rows = []
        for row in self.rows.values():
            due = not row.outcome and row.claimed_at is None and row.next_at <= now
            if due and road.is_open(lane := road.lane(addressee(row))):
                rows.append(msgspec.structs.replace(row, claimed_at=now))
                road = road.without(lane)
        if rows:
            await self.save(rows)
        return rows

    async def standing(self, to: Destination, now: float) -> list[Notification]:
        del now
        return [one for one in self.stands if (one.integration, one.destination) == to]

    async def fall_back(self, row: OutboxRow, reason: str) -> None:
        self.fallen.append((row.id, reason))

    async def pauses(self, now: float) -> Mapping[Destination, float]:
        del now
        return self.asked

    async def save(self, rows: Sequence[OutboxRow]) -> None:
        self.saves.append(list(rows))
        for row in rows:
            self.rows[row.id] = row

    def of(self, outcome: str) -> list[str]:
        return [row.id for row in self.rows.values() if row.outcome == outcome]

    def claimed(self) -> list[str]:
        return [r.id for r in self.rows.values() if r.claimed_at is not None and not r.outcome]


class PlainWords:
    """Says no more than which notification it is; `fails` the next so many times for an id."""

    def __init__(self) -> None:
        self.fails: dict[str, int] = {}

    def slack(
        self, _: SlackConfig, rendering: Rendering, /, *, plain: bool
    ) -> Rendered[dict[str, Any]]:
        name = rendering.notification.id
        if self.fails.get(name):
            self.fails[name] -= 1
            raise ZeroDivisionError(name)
        if plain:
            rendering.faults.append("a fault")
        payload = {"text": f"plain {name}"} if plain else {"text": name, "blocks": []}
        return Rendered(payload, name)

    def mail(self, _: EmailConfig, rendering: Rendering, /, *, plain: bool) -> Rendered[MailText]:
        del plain
        name = rendering.notification.id
        return Rendered(MailText(f"subject {name}", name, None), name)


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


def team(
    rate: Rate = FAST, channels: Iterable[str] = ("alerts", "other"), **changes: Any
) -> Receiver:
    configs = [
        SlackConfig(channel=f"#{name}", api_url=Secret(f"{URL}/{name}"), rate=rate)
        for name in channels
    ]
    return Receiver(
        name="team", configs={"slack": tuple(configs)}, **{"quick_retries": 0, **changes}
    )


class Bench:
    """A worker with everything around it."""

    def __init__(
        self,
        *stored: OutboxRow,
        receivers: Mapping[str, Receiver] | None = None,
        jitter: Callable[[], float] = lambda: 0.0,
        **limits: Any,
    ) -> None:
        self.clock = ManualClock()
        self.slack = FakeSlack(self.clock)
        self.outbox = MemoryOutbox(*stored)
        self.attempts: list[Attempt] = []
        self.attempted = asyncio.Event()
        self.stop = asyncio.Event()
        self.words = PlainWords()
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self.slack))
        self.worker = Worker(
            {"team": team()} if receivers is None else receivers,
            Renderer({}, Redactor()),
            self.outbox,
            kinds=(replace(SLACK, render=self.words.slack), replace(EMAIL, render=self.words.mail)),
            clock=self.clock,
            report=self._report,
            jitter=jitter,
            find_owner=Lookup(None, self.clock.monotonic),
            **limits,
        )
        self.worker._started = 0.0  # it has run for long

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
        mail = {EMAIL.name: EMAIL.connect()}
        async with self.client, connected(mail) as senders, asyncio.TaskGroup() as tasks:
            whole = {**senders, SLACK.name: partial(slack.send, self.client)}
            tasks.create_task(self.worker.run(whole, self.stop))
            await settle()
            yield self
            self.stop.set()
