"""The worker that empties the outbox: it fills a queue for each destination and serves them all."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from sidecar.clock import Clock
from sidecar.deliver.queue import SendQueue, freed
from sidecar.deliver.retry import (
    NextStep,
    Repair,
    RetryAt,
    expire,
    is_outage,
    next_step,
    pause,
    row_after,
)
from sidecar.notify.model import Notification, Rate, Receiver, ReceiverConfig
from sidecar.receivers.base import (
    AnyKind,
    Failed,
    FailureKind,
    Outcome,
    Send,
    Verdict,
    unexpected,
)
from sidecar.render.renderer import Renderer
from sidecar.rows import OutboxRow

# For each kind of receiver, by its name: what opens its connections, and what sends through them.
Connections = Mapping[str, AbstractAsyncContextManager[Send[Any, Any]]]
Senders = Mapping[str, Send[Any, Any]]


def connections(kinds: Iterable[AnyKind]) -> Connections:
    """Import what sends to these kinds, which takes time; `connected` opens what is returned."""
    return {kind.name: kind.connect() for kind in kinds}


@asynccontextmanager
async def connected(connections: Connections) -> AsyncIterator[Senders]:
    """Give the senders of these connections, which are kept until the end of the block."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(one) for name, one in connections.items()}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an outbox row asks for."""

    receiver: Receiver
    kind: AnyKind
    config: ReceiverConfig
    notification: Notification


def delivery_of(
    row: OutboxRow, receivers: Mapping[str, Receiver], kinds: Mapping[str, AnyKind]
) -> Delivery | Failed:
    """Return what `row` asks for, or why nothing can be sent for it.

    The configuration may have changed since the row was written: a place in a section that now
    belongs to another destination is never used.
    """
    try:
        told = msgspec.json.decode(row.payload, type=Notification)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Failed(FailureKind.OTHER, Verdict.DEAD, "the stored message cannot be read")
    kind = kinds.get(told.integration)
    if kind is None:
        detail = "this version has no receivers of its kind"
        return Failed(FailureKind.DESTINATION, Verdict.DEAD, detail)
    receiver = receivers.get(row.receiver) or Receiver(name=row.receiver)
    configs = receiver.configs.get(kind.name, ())
    for config in (*configs[told.index :], *configs):
        if told.destination in config.destinations():
            return Delivery(receiver, kind, config, told)
    return Failed(FailureKind.DESTINATION, Verdict.DEAD, "no longer configured")


class Outbox(Protocol):
    """The outbox table, as the worker sees it."""

    async def due(self, now: float, limit: int) -> list[OutboxRow]:
        """Return unclaimed rows due by `now`, by (next_at, created); none when it cannot look."""
        ...

    async def save(self, rows: Sequence[OutboxRow]) -> None:
        """Return once the rows are on disk; a full or busy disk is waited for in here.

        Until an outcome is on disk its queue sends nothing more, so that a crash repeats one
        message at most.
        """
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at delivery, for the log and the metrics.

    `row` is the row before it, `after` what became of it, `step` what follows. `notification` is
    None when the stored message could not be read. `fault` is what went wrong in a template.
    """

    row: OutboxRow
    after: OutboxRow
    notification: Notification | None
    outcome: Outcome
    step: NextStep
    started: float
    ended: float
    fault: str | None = None


# The outbox table is the truth; what retries, or was left by an earlier run, is found by looking.
LOOK_EVERY = 5.0
STOP_GRACE = 10.0
# Rows in memory over all queues, and how many are fetched at a time.
CAPACITY = 1000
FETCH = 200
_MANY_QUEUES = 256

_Destination = tuple[str, str]  # the kind's name, and whom


class Worker:
    """Sends what is due. A row it holds in memory is claimed in the table, and only such a row.

    `report` is called after each attempt; `jitter` returns a number in [0, 1).

        worker = Worker(receivers, renderer, outbox, kinds=KINDS, ...)
        async with connected(connections(KINDS)) as senders:
            await worker.run(senders, stop)
    """

    def __init__(
        self,
        receivers: Mapping[str, Receiver],
        renderer: Renderer,
        outbox: Outbox,
        *,
        kinds: Iterable[AnyKind],
        clock: Clock,
        report: Callable[[Attempt], None],
        jitter: Callable[[], float],
        look_every: float = LOOK_EVERY,
        capacity: int = CAPACITY,
    ) -> None:
        self._receivers = receivers
        self._renderer = renderer
        self._outbox = outbox
        self._kinds = {kind.name: kind for kind in kinds}
        self._clock = clock
        self._report = report
        self._jitter = jitter
        self._look_every = look_every
        self._capacity = capacity
        self._queues: dict[_Destination, SendQueue] = {}
        self._tasks: dict[_Destination, asyncio.Task[None]] = {}
        self._offered: list[OutboxRow] = []
        self._sending: dict[str, OutboxRow] = {}
        # Apart for each kind: a silent mail server never holds up another kind.
        self._slots = {k.name: asyncio.Semaphore(k.at_once) for k in self._kinds.values()}
        self._looks: list[float] = []
        self._looked_at = 0.0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def reconfigure(self, receivers: Mapping[str, Receiver], renderer: Renderer) -> None:
        """Send from now on as these say; attempts under way end as they are."""
        self._receivers = receivers
        self._renderer = renderer

    def offer(self, rows: Sequence[OutboxRow]) -> None:
        """Accept rows that were just written, claimed; they are sent at once."""
        self._offered += rows
        self._wake.set()

    def pending(self) -> int:
        """Return how many rows are in memory; those that wait in the table are not counted."""
        return sum(1 for _ in self._held())

    def oldest(self) -> float | None:
        """Return when the oldest row in memory was made."""
        return min((row.created for row in self._held()), default=None)

    def prepare(self) -> None:
        """Render a message about nothing for each kind in use, before `run`.

        It compiles the templates, for which the first message would have to wait.
        """
        nothing = Notification.about((), self._clock.now())
        used = {name: c[0] for r in self._receivers.values() for name, c in r.configs.items() if c}
        for name, config in used.items():
            with suppress(Exception):  # told when it is needed
                self._kinds[name].render(config, self._renderer.rendering(nothing), plain=False)

    async def run(self, senders: Senders, stop: asyncio.Event) -> None:
        """Send through `senders` until `stop` is set; then end what is under way, free the rest.

        Attempts that take longer than STOP_GRACE are cut off; their rows stay claimed, which
        marks them as ambiguous at the next start.
        """
        self._senders = senders
        self._stop = stop
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._wake_on_stop())
            while not stop.is_set():
                self._wake.clear()
                offered, self._offered = self._offered, []
                await self._enqueue(offered)
                await self._look()
                await self._clock.wait(self._wake, self._until_look())
            await self._finish()

    async def _wake_on_stop(self) -> None:
        await self._stop.wait()
        self._wake.set()

    # Filling the queues

    async def _look(self) -> None:
        """Fetch what is due, when it is time to look, and claim it."""
        if self._until_look() > 0 or self._offered:
            return
        self._looked_at = now = self._clock.now()
        while self._looks and self._looks[0] <= now:
            heapq.heappop(self._looks)
        self._drop_idle_queues(now)
        room = min(FETCH, self._capacity - self.pending())
        found = await self._outbox.due(now, room) if room > 0 else []
        if not found:
            return
        if len(found) == room:
            self._look_at(now)
        claimed = [msgspec.structs.replace(row, claimed_at=now) for row in found]
        await self._outbox.save(claimed)
        await self._enqueue(claimed)

    async def _enqueue(self, rows: Iterable[OutboxRow]) -> None:
        """Put claimed rows into their queues and serve these; free those with no place."""
        now = self._clock.now()
        room = self._capacity - self.pending()
        back: list[OutboxRow] = []
        for row in rows:
            key = (row.integration, row.destination)
            refused = self._queue(key, row).add(row, now) if room > 0 else row
            if refused is None:
                room -= 1
                self._serve_soon(key)
            else:
                back.append(refused)
        if back:
            await self._give_back(freed(back))

    async def _give_back(self, rows: Sequence[OutboxRow]) -> None:
        await self._outbox.save(rows)
        for at in {row.next_at for row in rows}:
            self._look_at(at)

    def _queue(self, key: _Destination, row: OutboxRow) -> SendQueue:
        if key not in self._queues:
            delivery = self._delivery(row)
            rate = delivery.config.rate if isinstance(delivery, Delivery) else Rate()
            self._queues[key] = SendQueue(rate)
        return self._queues[key]

    def _serve_soon(self, key: _Destination) -> None:
        running = self._tasks.get(key)
        if running is None or running.done():
            self._tasks[key] = task = self._group.create_task(self._serve(self._queues[key]))
            task.add_done_callback(lambda done: self._served(key, done))

    def _served(self, key: _Destination, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not self._tasks:
            self._idle.set()

    def _look_at(self, at: float) -> None:
        """See to it that the table is looked into at that instant."""
        if len(self._looks) < self._capacity and at not in self._looks:
            heapq.heappush(self._looks, at)
            self._wake.set()

    def _until_look(self) -> float:
        now = self._clock.now()
        if now < self._looked_at:  # the clock was set back
            return 0.0
        at = min([self._looked_at + self._look_every, *self._looks[:1]])
        return max(0.0, at - now)

    def _drop_idle_queues(self, now: float) -> None:
        if len(self._queues) > _MANY_QUEUES:
            queues = self._queues.items()
            for key in [k for k, queue in queues if k not in self._tasks and queue.idle(now)]:
                del self._queues[key]

    # Serving a queue

    async def _serve(self, queue: SendQueue) -> None:
        """Send a queue's rows in order and at its rate, until it is empty."""
        while queue.rows and not self._stop.is_set():
            delivery = self._delivery(queue.rows[0])
            if isinstance(delivery, Delivery):
                queue.rate = delivery.config.rate
                wait = queue.bucket.spend(self._clock.now(), queue.rate)
                if wait > 0:
                    await self._clock.wait(self._stop, wait)
                    continue
            row = queue.rows.popleft()
            self._sending[row.id] = row
            await self._attempt(queue, row, delivery)
            del self._sending[row.id]

    async def _attempt(self, queue: SendQueue, row: OutboxRow, delivery: Delivery | Failed) -> None:
        """Make one attempt, report it, and put the row where it belongs after it."""
        started = self._clock.now()
        outcome, fault = await self._outcome(row, delivery, started)
        ended = self._clock.now()
        receiver = self._receivers.get(row.receiver) or Receiver(name=row.receiver)
        jitter = self._jitter()
        step = next_step(row, outcome, now=ended, receiver=receiver, jitter=jitter)
        after = row_after(row, outcome, step, now=ended)
        told = delivery.notification if isinstance(delivery, Delivery) else None
        self._report(Attempt(row, after, told, outcome, step, started, ended, fault))
        if isinstance(outcome, Failed) and is_outage(outcome):
            queue.failures += 1
            seconds = pause(
                outcome, queue.failures, quick_retries=receiver.quick_retries, jitter=jitter
            )
            await self._give_back(queue.close(after, ended + seconds))
            return
        queue.failures = 0
        await self._outbox.save([after])
        if isinstance(step, Repair):
            queue.rows.appendleft(after)
        elif isinstance(step, RetryAt):
            self._look_at(step.at)

    async def _outcome(
        self, row: OutboxRow, delivery: Delivery | Failed, now: float
    ) -> tuple[Outcome, str | None]:
        """Render and send, unless the row is past its time or nobody is there to send it to.

        Return also the template's fault, if it had one. Whatever rendering or sending raises is
        the failure of this attempt alone.
        """
        if (expired := expire(row, now)) is not None:
            return expired, None
        if isinstance(delivery, Failed):
            return delivery, None
        kind, config, told = delivery.kind, delivery.config, delivery.notification
        async with self._slots[kind.name]:
            try:
                rendering = self._renderer.rendering(told)
                rendered = kind.render(config, rendering, plain=row.plain)
                sent = await self._senders[kind.name](config, rendered.payload, told)
            except Exception as error:  # noqa: BLE001 - see above
                return unexpected(error), None
        return sent, rendering.fault

    def _delivery(self, row: OutboxRow) -> Delivery | Failed:
        try:
            return delivery_of(row, self._receivers, self._kinds)
        except Exception as error:  # noqa: BLE001 - the row's failure and no other's
            return unexpected(error)

    # Stopping

    async def _finish(self) -> None:
        """Wait a while for the attempts under way, cut off the rest, free what was not sent."""
        self._idle.clear()
        if self._tasks:
            await self._clock.wait(self._idle, STOP_GRACE)
        for task in self._tasks.values():
            task.cancel()
        rest = [*self._offered, *(row for queue in self._queues.values() for row in queue.rows)]
        self._offered = []
        self._queues.clear()
        if rest:
            await self._outbox.save(freed(rest))

    def _held(self) -> Iterable[OutboxRow]:
        yield from self._offered
        yield from self._sending.values()
        for queue in self._queues.values():
            yield from queue.rows
