"""What an outbox row asks for: who is told, what, and by which configuration.

The token bucket that keeps a destination's messages within its rate.

The queue of one destination: in order, one at a time, closed for a while when it must be.

What the worker needs of others: a table, a renderer, and somebody who sends.

The worker that drains the outbox: a lane for every destination, all lanes at once.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from sidecar.clock import Clock
from sidecar.deliver.retry import (
    Decision,
    Repair,
    RetryAt,
    decide,
    expire,
    is_outage,
    pause,
    settle,
)
from sidecar.notify.model import EmailConfig, Notification, Rate, Receiver, SlackConfig
from sidecar.receivers.base import Failed, FailureKind, Outcome, Verdict, unexpected
from sidecar.render.renderer import MailText, SlackText
from sidecar.rows import OutboxRow


@dataclass(frozen=True, slots=True)
class Delivery:
    """An outbox row, understood."""

    receiver: Receiver
    config: SlackConfig | EmailConfig
    notification: Notification

    @property
    def rate(self) -> Rate:
        return self.config.rate


def order_of(row: OutboxRow, receivers: Mapping[str, Receiver]) -> Delivery | Failed:
    """Return what `row` asks for, or why nothing can be sent for it.

    The configuration may have changed since the row was written: a place in a list that now
    belongs to another destination is never used.
    """
    try:
        notification = msgspec.json.decode(row.payload, type=Notification)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Failed(FailureKind.OTHER, Verdict.DEAD, "the stored message cannot be read")
    receiver = receivers.get(row.receiver)
    config = None if receiver is None else _config(receiver, notification)
    if receiver is None or config is None:
        return Failed(FailureKind.DESTINATION, Verdict.DEAD, "no longer configured")
    return Delivery(receiver, config, notification)


def _config(receiver: Receiver, notification: Notification) -> SlackConfig | EmailConfig | None:
    """Return the configuration at the notification's index, else the first for its destination."""
    configs: tuple[SlackConfig | EmailConfig, ...] = receiver.email_configs
    if notification.integration == "slack":
        configs = receiver.slack_configs
    candidates = (*configs[notification.index :], *configs)
    return next((c for c in candidates if _serves(c, notification.destination)), None)


def _serves(config: SlackConfig | EmailConfig, destination: str) -> bool:
    if isinstance(config, SlackConfig):
        return config.channel == destination
    return destination in config.to


class Bucket:
    """Starts full; time is an argument, so it never waits itself."""

    __slots__ = ("_at", "_spent")

    def __init__(self) -> None:
        self._spent = 0.0
        self._at = 0.0

    def take(self, now: float, rate: Rate) -> float:
        """Take a token and return 0.0, or return the seconds until one is there."""
        self._refill(now, rate)
        missing = self._spent + 1.0 - max(1, rate.burst)
        # Waking a rounding error too early must not cost another wait.
        if missing > _ROUNDING:
            return missing / rate.per_second
        self._spent += 1.0
        return 0.0

    def full(self, now: float, rate: Rate) -> bool:
        """Say whether forgetting this bucket at `now` would change nothing."""
        self._refill(now, rate)
        return self._spent == 0.0

    def _refill(self, now: float, rate: Rate) -> None:
        # A clock set back gives nothing and takes nothing.
        elapsed = max(0.0, now - self._at)
        self._at = now
        self._spent = max(0.0, self._spent - elapsed * rate.per_second)


_ROUNDING = 1e-6


# What a lane holds in memory; the rest waits in the outbox table.
LANE_LIMIT = 50
# Puts a row that failed twice just behind its neighbours, so that it cannot block them for ever
# if the fault is its own after all.
_BEHIND = 0.001


class SendQueue:
    """Claimed rows for one destination.

    While it is closed every newcomer is sent back to the outbox, due at the one instant
    `opens_at`: from there they come again in the order they were made.
    """

    def __init__(self, rate: Rate) -> None:
        self.rows: deque[OutboxRow] = deque()
        self.bucket = Bucket()
        self.rate = rate
        self.failures = 0
        self.opens_at = 0.0

    def admit(self, row: OutboxRow, now: float) -> OutboxRow | None:
        """Take the row in and return None, or return it as it must go back to the outbox."""
        if now >= self.opens_at and len(self.rows) >= LANE_LIMIT:
            self.opens_at = now + len(self.rows) / self.rate.per_second
        if now < self.opens_at:
            return _freed(row, self.opens_at)
        self.rows.append(row)
        return None

    def close(self, failed: OutboxRow, until: float) -> list[OutboxRow]:
        """Empty the lane until that instant; return all rows as they must go back.

        The failed row keeps its place at first, and later lets the others go before it.
        """
        self.opens_at = max(self.opens_at, until)
        behind = _BEHIND if failed.attempt > 1 else 0.0
        rows = [_freed(row, self.opens_at) for row in self.rows]
        self.rows.clear()
        return [failed if failed.outcome else _freed(failed, self.opens_at + behind), *rows]

    def idle(self, now: float) -> bool:
        """Say whether forgetting this lane at `now` would change nothing."""
        return not self.rows and now >= self.opens_at and self.bucket.full(now, self.rate)


def freed(rows: Iterable[OutboxRow]) -> list[OutboxRow]:
    """Return rows without their claim, due as they were."""
    return [_freed(row, row.next_at) for row in rows]


def _freed(row: OutboxRow, due: float) -> OutboxRow:
    return msgspec.structs.replace(row, claimed_at=None, next_at=max(row.next_at, due))


class Outbox(Protocol):
    """The outbox table, as the worker sees it."""

    async def due(self, now: float, limit: int) -> list[OutboxRow]:
        """Return unclaimed rows due by `now`, by (next_at, created); none when it cannot look."""
        ...

    async def save(self, rows: Sequence[OutboxRow]) -> None:
        """Return once the rows are on disk; a full or busy disk is waited for in here.

        Until an outcome is on disk its lane sends nothing more, so that a crash repeats one
        message at most.
        """
        ...


class Renderer(Protocol):
    """Makes messages from notifications; never fails, plain text goes out instead."""

    def prepare(self) -> None: ...
    def slack(self, notification: Notification, config: SlackConfig, /) -> SlackText: ...
    def slack_plain(self, notification: Notification, config: SlackConfig, /) -> SlackText: ...
    def mail(self, notification: Notification, config: EmailConfig, /) -> MailText: ...


class Sender(Protocol):
    """Renders and sends: `sidecar.deliver.sender`, which needs much that takes time to import."""

    async def send(
        self, order: Delivery, renderer: Renderer, /, *, plain: bool
    ) -> tuple[Outcome, str | None]:
        """Make one attempt; return how it ended and the template's fault, if it had one."""
        ...


# The outbox table is the truth; what retries, or was left by an earlier run, is found by looking.
LOOK_EVERY = 5.0
STOP_GRACE = 10.0
# Rows in memory over all lanes, and how many are fetched at a time.
CAPACITY = 1000
FETCH = 200
# Attempts under way at once, apart for each kind: a silent mail server never holds up Slack.
_SLOTS = {"slack": 16, "email": 8}
_MANY_LANES = 256

_LaneKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at delivery, for the log and the metrics.

    `row` is the row before it, `settled` after it. `notification` is None when the stored message
    could not be read. `fault` is what went wrong in a template.
    """

    row: OutboxRow
    settled: OutboxRow
    notification: Notification | None
    outcome: Outcome
    decision: Decision
    started: float
    ended: float
    fault: str | None = None


class Worker:
    """Sends what is due. A row it holds in memory is claimed in the table, and only such a row.

    `report` is called after each attempt; `jitter` returns a number in [0, 1).
    """

    def __init__(
        self,
        receivers: Mapping[str, Receiver],
        renderer: Renderer,
        outbox: Outbox,
        *,
        clock: Clock,
        report: Callable[[Attempt], None],
        jitter: Callable[[], float],
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._receivers = receivers
        self._renderer = renderer
        self._outbox = outbox
        self._clock = clock
        self._report = report
        self._jitter = jitter
        self._look_every = look_every
        self._lanes: dict[_LaneKey, SendQueue] = {}
        self._tasks: dict[_LaneKey, asyncio.Task[None]] = {}
        self._offered: list[OutboxRow] = []
        self._sending: dict[str, OutboxRow] = {}
        self._slots = {kind: asyncio.Semaphore(slots) for kind, slots in _SLOTS.items()}
        self._looks: list[float] = []
        self._looked_at = 0.0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def reconfigure(self, receivers: Mapping[str, Receiver], renderer: Renderer) -> None:
        """Send from now on as these say; attempts under way end as they began."""
        self._receivers = receivers
        self._renderer = renderer

    def offer(self, rows: Sequence[OutboxRow]) -> None:
        """Take rows that were just written, claimed; they are sent at once."""
        self._offered += rows
        self._wake.set()

    def pending(self) -> int:
        """Return how many rows are in memory; those that wait in the table are not counted."""
        return sum(1 for _ in self._held())

    def oldest(self) -> float | None:
        """Return when the oldest row in memory was made."""
        return min((row.created for row in self._held()), default=None)

    def prepare(self) -> None:
        """Do what the first message should not have to wait for; before `run`."""
        self._renderer.prepare()

    async def run(self, sender: Sender, stop: asyncio.Event) -> None:
        """Send through `sender` until `stop` is set; then end what is under way, and free the rest.

        Attempts that take longer than STOP_GRACE are cut off; their rows stay claimed, which
        marks them as ambiguous at the next start.
        """
        self._sender = sender
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wake_on(stop))
            while not stop.is_set():
                self._wake.clear()
                await self._admit(self._take_offered(), tasks, stop)
                await self._look(tasks, stop)
                await self._clock.wait(self._wake, self._until_look())
            await self._finish()

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _look(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Fetch what is due, when it is time to look, and claim it."""
        if self._until_look() > 0 or self._offered:
            return
        self._looked_at = now = self._clock.now()
        while self._looks and self._looks[0] <= now:
            heapq.heappop(self._looks)
        self._forget_idle_lanes(now)
        room = min(FETCH, CAPACITY - self.pending())
        found = await self._outbox.due(now, room) if room > 0 else []
        if not found:
            return
        if len(found) == room:
            self._look_at(now)
        claimed = [msgspec.structs.replace(row, claimed_at=now) for row in found]
        await self._outbox.save(claimed)
        await self._admit(claimed, tasks, stop)

    async def _admit(
        self, rows: Iterable[OutboxRow], tasks: asyncio.TaskGroup, stop: asyncio.Event
    ) -> None:
        """Put claimed rows into their lanes and set these going; free those with no place."""
        now = self._clock.now()
        room = CAPACITY - self.pending()
        back: list[OutboxRow] = []
        for row in rows:
            key = (row.integration, row.destination)
            refused = self._lane(key, row).admit(row, now) if room > 0 else row
            if refused is None:
                room -= 1
                self._start(key, tasks, stop)
            else:
                back.append(refused)
        if back:
            await self._give_back(freed(back))

    async def _give_back(self, rows: Sequence[OutboxRow]) -> None:
        await self._outbox.save(rows)
        for at in {row.next_at for row in rows}:
            self._look_at(at)

    def _lane(self, key: _LaneKey, row: OutboxRow) -> SendQueue:
        if key not in self._lanes:
            order = order_of(row, self._receivers)
            self._lanes[key] = SendQueue(order.rate if isinstance(order, Delivery) else Rate())
        return self._lanes[key]

    def _start(self, key: _LaneKey, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        running = self._tasks.get(key)
        if running is None or running.done():
            self._tasks[key] = task = tasks.create_task(self._serve(self._lanes[key], stop))
            task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: _LaneKey, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not self._tasks:
            self._idle.set()

    async def _serve(self, lane: SendQueue, stop: asyncio.Event) -> None:
        """Send a lane's rows in order and at its rate, until it is empty."""
        while lane.rows and not stop.is_set():
            order = order_of(lane.rows[0], self._receivers)
            if isinstance(order, Delivery):
                lane.rate = order.rate
                wait = lane.bucket.take(self._clock.now(), lane.rate)
                if wait > 0:
                    await self._clock.wait(stop, wait)
                    continue
            row = lane.rows.popleft()
            self._sending[row.id] = row
            await self._attempt(lane, row, order)
            del self._sending[row.id]

    async def _attempt(self, lane: SendQueue, row: OutboxRow, order: Delivery | Failed) -> None:
        started = self._clock.now()
        outcome, fault = await self._outcome(row, order, started)
        ended = self._clock.now()
        receiver = self._receivers.get(row.receiver) or Receiver(name=row.receiver)
        jitter = self._jitter()
        decision = decide(row, outcome, now=ended, receiver=receiver, jitter=jitter)
        settled = settle(row, outcome, decision, now=ended)
        notification = order.notification if isinstance(order, Delivery) else None
        self._report(Attempt(row, settled, notification, outcome, decision, started, ended, fault))
        if isinstance(outcome, Failed) and is_outage(outcome):
            lane.failures += 1
            seconds = pause(
                outcome, lane.failures, quick_retries=receiver.quick_retries, jitter=jitter
            )
            await self._give_back(lane.close(settled, ended + seconds))
            return
        lane.failures = 0
        await self._outbox.save([settled])
        if isinstance(decision, Repair):
            lane.rows.appendleft(settled)
        elif isinstance(decision, RetryAt):
            self._look_at(decision.at)

    async def _outcome(
        self, row: OutboxRow, order: Delivery | Failed, now: float
    ) -> tuple[Outcome, str | None]:
        """Send, unless the row is past its time or nobody is there to send it to.

        Whatever rendering or sending raises is the failure of this attempt alone.
        """
        if (expired := expire(row, now)) is not None:
            return expired, None
        if isinstance(order, Failed):
            return order, None
        async with self._slots[row.integration]:
            try:
                return await self._sender.send(order, self._renderer, plain=row.plain)
            except Exception as error:  # noqa: BLE001 - see above
                return unexpected(error), None

    async def _finish(self) -> None:
        """Wait a while for the attempts under way, cut off the rest, free what was not begun."""
        self._idle.clear()
        if self._tasks:
            await self._clock.wait(self._idle, STOP_GRACE)
        for task in self._tasks.values():
            task.cancel()
        rest = [*self._take_offered(), *(r for lane in self._lanes.values() for r in lane.rows)]
        self._lanes.clear()
        if rest:
            await self._outbox.save(freed(rest))

    def _take_offered(self) -> list[OutboxRow]:
        offered, self._offered = self._offered, []
        return offered

    def _look_at(self, at: float) -> None:
        """See to it that the table is looked into at that instant."""
        if len(self._looks) < CAPACITY and at not in self._looks:
            heapq.heappush(self._looks, at)
            self._wake.set()

    def _until_look(self) -> float:
        now = self._clock.now()
        if now < self._looked_at:  # the clock was set back
            return 0.0
        at = min([self._looked_at + self._look_every, *self._looks[:1]])
        return max(0.0, at - now)

    def _forget_idle_lanes(self, now: float) -> None:
        if len(self._lanes) > _MANY_LANES:
            idle = [k for k, lane in self._lanes.items() if k not in self._tasks and lane.idle(now)]
            for key in idle:
                del self._lanes[key]

    def _held(self) -> Iterable[OutboxRow]:
        yield from self._offered
        yield from self._sending.values()
        for lane in self._lanes.values():
            yield from lane.rows
