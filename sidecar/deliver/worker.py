"""The worker that empties the outbox: what is due, to all destinations at once."""

import asyncio
import heapq
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from sidecar.clock import Clock
from sidecar.deliver.retry import (
    NextStep,
    RetryAt,
    expire,
    is_out_of_reach,
    is_outage,
    next_step,
    queue_pause,
    row_after,
)
from sidecar.deliver.waiting import Destination, Lane, Road, SendQueue, addressee, lanes
from sidecar.notify.model import OWNER, Notification, Receiver, ReceiverConfig
from sidecar.receivers.base import (
    AnyKind,
    Failed,
    FailureKind,
    Outcome,
    Send,
    Sent,
    Verdict,
    unexpected,
)
from sidecar.render.renderer import Renderer
from sidecar.rows import OutboxRow

# For each kind of receiver, by its name: what opens its connections, and what sends through them.
Connections = Mapping[str, AbstractAsyncContextManager[Send[Any, Any]]]
Senders = Mapping[str, Send[Any, Any]]
# Returns the address of the owner whom a message is for, or why there is none.
FindOwner = Callable[[Notification], Awaitable[str | Failed]]


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
    return delivery_to(told, receivers, kinds)


def delivery_to(
    told: Notification, receivers: Mapping[str, Receiver], kinds: Mapping[str, AnyKind]
) -> Delivery | Failed:
    """Return how `told` is to be delivered, or why it cannot be."""
    kind = kinds.get(told.integration)
    if kind is None:
        detail = "this version has no receivers of its kind"
        return Failed(FailureKind.DESTINATION, Verdict.DEAD, detail)
    receiver = receivers.get(told.receiver) or Receiver(name=told.receiver)
    configs = receiver.configs.get(kind.name, ())
    for config in (*configs[told.index :], *configs):
        if told.destination in config.destinations():
            return Delivery(receiver, kind, config, told)
    return Failed(FailureKind.DESTINATION, Verdict.DEAD, "no longer configured")


class Outbox(Protocol):
    """The outbox table, as the worker sees it."""

    async def claim(self, now: float, road: Road) -> list[OutboxRow]:
        """Claim for each lane that is open the next row due by `now`; return these.

        None when it cannot look or write.
        """
        ...

    async def save(self, rows: Sequence[OutboxRow]) -> None:
        """Return once the rows are on disk; a full or busy disk is waited for in here.

        Until an outcome is on disk its queue sends nothing more, so that a crash repeats one
        message at most.
        """
        ...

    async def fall_back(self, row: OutboxRow, reason: str) -> None:
        """Let others be told what waits for the destination of `row`, which cannot be."""
        ...

    async def standing(self, to: Destination, now: float) -> list[Notification]:
        """Return what a destination was told that fires, and that still does."""
        ...

    async def pauses(self, now: float) -> Mapping[Destination, float]:
        """Return for how many seconds from `now` destinations asked to be left alone."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at delivery, for the log and the metrics.

    `row` is the row before it, `after` what became of it, `step` what follows. `notification` is
    None when the stored message could not be read. `fault` is what went wrong in a template,
    `fell_back` says that others are told instead.
    """

    row: OutboxRow
    after: OutboxRow
    notification: Notification | None
    outcome: Outcome
    step: NextStep
    started: float
    ended: float
    fault: str | None = None
    fell_back: bool = False


# The outbox table is the truth; what retries, or was left by an earlier run, is found by looking.
LOOK_EVERY = 5.0
STOP_GRACE = 4.0
_MANY_QUEUES = 256
_MANY_LOOKS = 1000  # then those of every LOOK_EVERY have to do
_MANY_ENDS = 1000  # of messages that fail, the last ones: the others go by the wall clock again


class Worker:
    """Sends what is due, one message at a time to each destination.

    A row is claimed in the table while an attempt is under way, and only then: after a crash no
    other is in doubt. `report` is called after each attempt, `again` each time that a
    destination was sent again what fires; `jitter` returns a number in [0, 1). `find_owner` is
    asked for each message to the owner of an organisation.

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
        again: Callable[[Destination, Outcome], None] = lambda *_: None,
        find_owner: FindOwner,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._receivers = receivers
        self._renderer = renderer
        self._outbox = outbox
        self._kinds = {kind.name: kind for kind in kinds}
        self._clock = clock
        self._report = report
        self._jitter = jitter
        self._again = again
        self._find_owner = find_owner
        self._look_every = look_every
        self._started = clock.monotonic()
        self._lanes = lanes(receivers.values())
        self._queues: dict[Lane, SendQueue] = {}
        self._tasks: dict[Lane, asyncio.Task[None]] = {}
        self._alive_at: dict[Lane, float] = {}  # when what fires is to be sent again
        self._offered: list[OutboxRow] = []
        self._behind: list[OutboxRow] = []  # offered while another was under way
        self._looks: list[float] = [0.0]
        self._looked_at = 0.0
        self._ends_at: dict[str, float] = {}  # when each row that was tried here expires
        self.senders: Senders = {}  # none before it runs
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def reconfigure(self, receivers: Mapping[str, Receiver], renderer: Renderer) -> None:
        """Send from now on as these say, and at once; attempts under way end as they are."""
        self._receivers = receivers
        self._lanes = lanes(receivers.values())
        self._renderer = renderer
        for queue in self._queues.values():
            queue.opens_at = 0.0
        self._look_in(0.0)

    @property
    def age(self) -> float | None:
        """The seconds since it last looked for what there is to send, None before it runs."""
        return self._clock.monotonic() - self._looked_at if self._looked_at else None

    def offer(self, rows: Sequence[OutboxRow]) -> None:
        """Accept rows that were just written; those that are claimed are sent at once.

        One that was decided on while another was under way to the same lane may have been said by
        that: it is looked at anew once the other has ended.
        """
        for row in rows:
            behind = row.claimed_at is not None and self._lane(row) in self._tasks
            (self._behind if behind else self._offered).append(row)
        self._wake.set()

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
        """Send through `senders` until `stop` is set; then end what is under way.

        Attempts that take longer than STOP_GRACE are cut off; their rows stay claimed, which
        marks them as ambiguous at the next start.
        """
        self.senders = senders
        self._stop = stop
        pauses = await self._outbox.pauses(self._clock.now())
        for lane in set(self._lanes.values()):
            if seconds := pauses.get((lane.kind, lane.name)):
                self._queue(lane).opens_at = self._clock.monotonic() + seconds
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._wake_on_stop())
            while not stop.is_set():
                self._wake.clear()
                await self._send_offered()
                await self._look()
                await self._clock.wait(self._wake, self._until_look())
            await self._finish()

    async def _wake_on_stop(self) -> None:
        await self._stop.wait()
        self._wake.set()

    # Finding what is to be sent

    async def _send_offered(self) -> None:
        """Send what was just claimed; give back what has to wait, for the next look to find."""
        offered, self._offered = self._offered, []
        back, self._behind = self._behind, []
        for row in offered:
            if row.claimed_at is None:
                self._look_in(0.0)
            elif self._seconds(lane := self._lane(row)) or self._road().room(lane) <= 0:
                back.append(row)
            else:
                self._start(row)
        if back:
            await self._outbox.save([msgspec.structs.replace(r, claimed_at=None) for r in back])
            self._look_in(min(self._seconds(self._lane(row)) for row in back))

    async def _look(self) -> None:
        """Claim what is due, when it is time to look, and send it."""
        if self._until_look() > 0:
            return
        now = self._looked_at = self._clock.monotonic()
        while self._looks and self._looks[0] <= now:
            heapq.heappop(self._looks)
        self._drop_idle_queues(now)
        self._keep_alive(now)
        waits = {lane: seconds for lane in self._queues if (seconds := self._seconds(lane))}
        for row in await self._outbox.claim(self._clock.now(), self._road(waits)):
            self._start(row)
        if waits and (soonest := min(waits.values())) < self._until_look():
            self._look_in(soonest)  # else the look before then sees to it

    def _seconds(self, lane: Lane) -> float:
        """Return how long it is until a lane is open, as far as is known now."""
        if lane in self._tasks:
            return self._look_every  # its end makes for a look
        return self._queue(lane).seconds(self._clock.monotonic())

    def _road(self, waits: Iterable[Lane] = ()) -> Road:
        """Return where messages may go now, but for the lanes that wait.

        Slots are apart for each server: one that is silent never holds up another.
        """
        return Road(
            known=self._lanes,
            busy=frozenset((*waits, *self._tasks)),
            under_way=Counter(lane.slots for lane in self._tasks),
            at_once={name: kind.at_once for name, kind in self._kinds.items()},
        )

    def _lane(self, row: OutboxRow) -> Lane:
        return self._road().lane(addressee(row))

    def _queue(self, lane: Lane) -> SendQueue:
        if lane not in self._queues:
            self._queues[lane] = SendQueue(self._started)
        return self._queues[lane]

    def _look_in(self, seconds: float) -> None:
        """See to it that the table is looked into so many seconds from now."""
        at = self._clock.monotonic() + seconds
        if not self._looks or at < self._looks[0]:
            self._wake.set()
        if len(self._looks) < _MANY_LOOKS:
            heapq.heappush(self._looks, at)

    def _until_look(self) -> float:
        at = min([self._looked_at + self._look_every, *self._looks[:1]])
        return max(0.0, at - self._clock.monotonic())

    def _drop_idle_queues(self, now: float) -> None:
        if len(self._queues) > _MANY_QUEUES:
            queues = self._queues.items()
            for lane in [k for k, queue in queues if k not in self._tasks and queue.idle(now)]:
                del self._queues[lane]

    # Sending it

    def _start(self, row: OutboxRow) -> None:
        lane = self._lane(row)
        self._run(lane, self._send(self._queue(lane), row))

    def _run(self, lane: Lane, sending: Coroutine[Any, Any, None]) -> None:
        self._tasks[lane] = task = self._group.create_task(sending)
        task.add_done_callback(lambda _: self._sent(lane))

    def _sent(self, lane: Lane) -> None:
        del self._tasks[lane]
        self._look_in(0.0)
        if not self._tasks:
            self._idle.set()

    def _keep_alive(self, now: float) -> None:
        """Send again what fires to those for whom it would else end, where that is due.

        In the place of a message, so that none about an end is overtaken.
        """
        all_ = (pair for one in self._receivers.values() for pair in one.configs.items())
        forgetful = ((k, c) for k, configs in all_ for c in configs if c.again_after())
        for kind, config in forgetful:
            seconds = config.again_after()
            for lane in (Lane(kind, *config.account(), name) for name in config.destinations()):
                if self._alive_at.get(lane, now) <= now and lane not in self._tasks:
                    self._alive_at[lane] = now + seconds
                    self._look_in(seconds)
                    self._run(lane, self._send_again((lane.kind, lane.name)))

    async def _send_again(self, key: Destination) -> None:
        """Send what stands; nothing is recorded of it, the next time makes good what fails."""
        outcome: Outcome = Sent()
        for told in await self._outbox.standing(key, self._clock.now()):
            delivery = delivery_to(told, self._receivers, self._kinds)
            outcome, _ = await self._sent_as(delivery, plain=False)
            if isinstance(outcome, Failed):
                break
        self._again(key, outcome)

    async def _send(self, queue: SendQueue, row: OutboxRow) -> None:
        """Make an attempt, and another one as plain text where that is to follow at once."""
        after = await self._attempt(queue, row)
        if after.claimed_at is not None:
            await self._attempt(queue, after)

    async def _attempt(self, queue: SendQueue, row: OutboxRow) -> OutboxRow:
        """Make one attempt, report it, and write what became of the row; return it."""
        started, receivers = self._clock.now(), self._receivers
        row = self._dated(row, started)
        delivery = self._delivery(row)
        if isinstance(delivery, Delivery):
            queue.rate = delivery.config.rate
            queue.bucket.spend(self._clock.monotonic(), queue.rate)
        outcome, fault = await self._outcome(row, delivery, started)
        ended = self._clock.now()
        receiver = self._receivers.get(row.receiver) or Receiver(name=row.receiver)
        jitter = self._jitter()
        at = self._clock.monotonic()
        worked = at - queue.worked_at
        step = next_step(row, outcome, now=ended, receiver=receiver, jitter=jitter, worked=worked)
        if isinstance(step, RetryAt) and self._receivers is not receivers:
            step = replace(step, at=ended)  # it was made by what a reload has changed since
        queue.worked_at = at if isinstance(outcome, Sent) else queue.worked_at
        after = row_after(row, outcome, step, now=ended)
        told = delivery.notification if isinstance(delivery, Delivery) else None
        queue.failures = queue.failures + 1 if is_outage(outcome) else 0
        lost = is_out_of_reach(outcome, step, after, queue.failures, receiver)
        back = lost and bool(receiver.fallback)
        self._report(Attempt(row, after, told, outcome, step, started, ended, fault, back))
        if back and isinstance(outcome, Failed):
            await self._outbox.fall_back(after, outcome.detail)
        if isinstance(outcome, Failed) and queue.failures:
            seconds = queue_pause(outcome, queue.failures, jitter=jitter)
            queue.opens_at = self._clock.monotonic() + seconds
        await self._outbox.save([after])
        if isinstance(step, RetryAt):
            self._look_in(max(step.at - self._clock.now(), 0.0))
        return after

    def _dated(self, row: OutboxRow, now: float) -> OutboxRow:
        """Return the row with its end as it is for a clock that never jumps.

        The wall clock may have been set since it was written, or since it was first tried here.
        """
        at = self._clock.monotonic()
        left = min(row.expires_at - now, row.expires_at - row.created)
        ends_at = self._ends_at.setdefault(row.id, at + left)
        while len(self._ends_at) > _MANY_ENDS:
            del self._ends_at[next(iter(self._ends_at))]
        created = min(row.created, now)
        return msgspec.structs.replace(row, created=created, expires_at=now + ends_at - at)

    async def _outcome(
        self, row: OutboxRow, delivery: Delivery | Failed, now: float
    ) -> tuple[Outcome, str | None]:
        """Render and send, unless the row is past its time or nobody is there to send it to.

        Return also the template's fault, if it had one. Whatever rendering or sending raises is
        the failure of this attempt alone.
        """
        if (expired := expire(row, now)) is not None:
            return expired, None
        return await self._sent_as(delivery, plain=row.plain)

    async def _sent_as(
        self, delivery: Delivery | Failed, *, plain: bool
    ) -> tuple[Outcome, str | None]:
        if isinstance(delivery, Failed):
            return delivery, None
        kind, config, told = delivery.kind, delivery.config, delivery.notification
        try:
            rendering = self._renderer.rendering(told)
            rendered = kind.render(config, rendering, plain=plain)
            if told.destination == OWNER:
                owner = await self._find_owner(told)
                if isinstance(owner, Failed):
                    return owner, rendering.fault
                told = msgspec.structs.replace(told, destination=owner)
            sent = await self.senders[kind.name](config, rendered.payload, told)
        except Exception as error:  # noqa: BLE001 - see above
            return unexpected(error), None
        return sent, rendering.fault

    def _delivery(self, row: OutboxRow) -> Delivery | Failed:
        try:
            return delivery_of(row, self._receivers, self._kinds)
        except Exception as error:  # noqa: BLE001 - the row's failure and no other's
            return unexpected(error)

    async def _finish(self) -> None:
        """Wait a while for the attempts under way, cut off the rest, free what was not begun."""
        self._idle.clear()
        if self._tasks:
            await self._clock.wait(self._idle, STOP_GRACE)
        for task in self._tasks.values():
            task.cancel()
        rest = [r for r in (*self._behind, *self._offered) if r.claimed_at is not None]
        if rest:
            await self._outbox.save([msgspec.structs.replace(r, claimed_at=None) for r in rest])
