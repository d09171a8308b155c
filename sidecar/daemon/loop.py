"""The crank of the daemon: read, step, commit, publish; then rest until something is due.

Reading, deciding and writing happen on one thread of their own, so that the event loop is free
for deliveries and scrapes, and nothing of the core is ever touched by two threads.

The outbox table as the delivery worker sees it: the store's, on the state thread.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from sidecar.ahead.backlog import Assistant, Backlog, processors
from sidecar.batch import ReadBatch
from sidecar.clock import Clock
from sidecar.core import Core, Step
from sidecar.daemon.pacing import SPACING_SECONDS, CrashGuard, Rests, Slice
from sidecar.daemon.telemetry import Telemetry
from sidecar.read.follower import Follower
from sidecar.rows import Delta, MetaRow, OutboxRow
from sidecar.store.schema import StoreUnavailable
from sidecar.store.store import OutboxBacklog, Store

RETRY_COMMIT_SECONDS = 1.0
DRAIN_SECONDS = 5.0

_T = TypeVar("_T")
# The seconds a commit took, 0 if there was nothing to write; or why it failed.
Written = float | StoreUnavailable
Publish = Callable[[ReadBatch, Step, float], None]


class PumpStopped(Exception):  # noqa: N818 - a state, not an error
    """There are no more steps: the daemon is stopping."""


class InThread(Protocol):
    """Runs a call on the state thread, one at a time, and waits for it."""

    async def __call__(self, call: Callable[[], _T], /) -> _T: ...


class Pump:
    """Turns read batches into committed, published steps until it is told to stop.

    `publish` is called on the event loop with each step, once it is committed. `watched` says
    whether something would call `wake` for whatever there may be to read.
    """

    def __init__(
        self,
        *,
        follower: Follower,
        core: Core,
        store: Store,
        clock: Clock,
        in_thread: InThread,
        publish: Publish,
        watched: Callable[[], bool],
        commit_failed: Callable[[StoreUnavailable], None],
    ) -> None:
        self.core = core
        self._follower = follower
        self._store = store
        self._guard = CrashGuard(store)
        self._slice = Slice()
        self._backlog = Backlog(processors())
        self._unread = 0
        self._clock = clock
        self._rests = Rests(clock.monotonic())
        self._in_thread = in_thread
        self._publish = publish
        self._watched = watched
        self._commit_failed = commit_failed
        self._wake = asyncio.Event()
        self._turning = asyncio.Lock()
        self._stopped = False
        self._behind = False
        self._polls = False  # the last rest ended by itself
        self._rested_at = 0.0
        self._stepped_at = 0.0

    def wake(self) -> None:
        """End the present rest early; called on the event loop."""
        self._wake.set()

    @property
    def streams(self) -> bool:
        """Tell whether lines come so steadily that being woken is of no use."""
        return self._rests.streams(self._clock.monotonic())

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then read on to the end of the logs for a few seconds more."""
        try:
            await self._work(stop)
        finally:
            await self._in_thread(self._backlog.end)

    async def _work(self, stop: asyncio.Event) -> None:
        give_up_at: float | None = None
        begun = await self._in_thread(self._begin)
        await self._until_written(begun, await self._in_thread(lambda: self._write(begun)))
        while True:
            if stop.is_set() and give_up_at is None:
                give_up_at = self._clock.now() + DRAIN_SECONDS
            async with self._turning:
                more = await self._turn()
                if give_up_at is not None and (not self._behind or self._clock.now() > give_up_at):
                    self._stopped = True
                    await self._in_thread(self._guard.ended)
                    return
            if not more:
                await self._rest()

    async def between_steps(self, call: Callable[[Core], _T]) -> _T:
        """Run `call` on the state thread while no step is under way, and then take a step.

        Returns once what it changed is committed and published. Raises PumpStopped.
        """
        async with self._turning:
            self._refuse_if_stopped()
            result = await self._in_thread(lambda: call(self.core))
            await self._turn()
        return result

    async def exchange(
        self, build: Callable[[Core], Core], installed: Callable[[Core], None]
    ) -> None:
        """Go on with another core, which `build` makes of the present one on the state thread.

        If that raises, all stays as it is. `installed` is called on the event loop before the
        first step of the new core. Raises PumpStopped.
        """
        async with self._turning:
            self._refuse_if_stopped()
            self.core = await self._in_thread(lambda: build(self.core))
            await self._in_thread(self._backlog.end)  # it knows the patterns and rules of before
            installed(self.core)
            await self._turn()

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise PumpStopped

    async def _turn(self) -> bool:
        """Take one step and publish it; return whether there is more to read at once."""
        batch, step, written = await self._in_thread(self._advance)
        took = await self._until_written(step.delta, written)
        polled, self._polls = self._polls, False
        self._rests.stepped(self._clock.monotonic(), news=bool(step.bytes), polled=polled)
        self._publish(batch, step, took)
        self._behind = bool(batch.lagging)
        # Rows without bytes: inside an over-long line, which is skipped in slices too.
        return self._behind and bool(step.bytes or batch.rows)

    def _begin(self) -> Delta:
        return self._guard.begin(self._store.load(MetaRow))

    def _advance(self) -> tuple[ReadBatch, Step, Written]:
        """Read, judge and commit in one go: each change of thread takes 0.1 ms."""
        now = self._stepped_at = self._clock.now()
        batch = self._follower.look(now)
        started = self._clock.monotonic()
        budget = min(self._guard.budget, self._slice.budget)
        core = self.core
        core.resume(batch.resume)
        chunks = self._guard.before(self._follower.read(batch, now, budget), core)
        self._backlog.before(self._unread, now, self._assistant)
        for chunk, parsed in self._backlog.ahead(chunks, core.parse_ordinary, now):
            core.take(chunk, now, parsed)
        step = core.finish(batch, now)
        self._guard.after(batch, step)
        step.seconds = self._clock.monotonic() - started
        self._slice.took(step.bytes, step.seconds)
        self._unread = 0 if self._guard.careful else sum(log.lag_bytes for log in batch.logs)
        return batch, step, self._write(step.delta)

    def _assistant(self) -> Assistant:
        return Assistant(self.core.parser.patterns, self.core.wants)

    def _write(self, delta: Delta) -> Written:
        if not delta:
            return 0.0
        started = self._clock.monotonic()
        try:
            self._store.commit(delta)
        except StoreUnavailable as failure:
            return failure
        return self._clock.monotonic() - started

    async def _until_written(self, delta: Delta, written: Written) -> float:
        """Try to write `delta` until that succeeds; return the seconds the last try took.

        Reading waits meanwhile: what the core decided is in its memory and must not be lost.
        """
        while isinstance(written, StoreUnavailable):
            self._commit_failed(written)
            await self._clock.wait(asyncio.Event(), RETRY_COMMIT_SECONDS)
            written = await self._in_thread(lambda: self._write(delta))
        return written

    async def _rest(self) -> None:
        now = self._clock.monotonic()
        if now - self._rested_at < SPACING_SECONDS:
            await self._clock.wait(asyncio.Event(), SPACING_SECONDS)
        seconds = self._rests.seconds(now, watched=self._watched())
        due = self.core.next_deadline()
        # What was due at the last step and still is waits for a log that lags, not for time.
        if due is not None and due > self._stepped_at:
            seconds = min(seconds, max(0.0, due - self._clock.now()))
        self._polls = not await self._clock.wait(self._wake, seconds)
        self._wake.clear()
        if not self._polls or seconds < SPACING_SECONDS:
            # Not after a mere poll: it would make the next line wait, 1 in 12 of them 10 ms.
            self._rested_at = self._clock.monotonic()


class StoredOutbox:
    """Looks and saves in the state file; a disk that is full or busy is waited for."""

    def __init__(
        self, store: Store, in_thread: InThread, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._in_thread = in_thread
        self._clock = clock
        self._telemetry = telemetry

    async def due(self, now: float, limit: int) -> list[OutboxRow]:
        try:
            return await self._in_thread(lambda: self._store.outbox_due(now, limit))
        except StoreUnavailable as failure:
            self._telemetry.commit_failed(failure)
            return []

    async def save(self, rows: Sequence[OutboxRow]) -> None:
        while True:
            try:
                self._telemetry.backlog = await self._in_thread(lambda: self._saved(rows))
            except StoreUnavailable as failure:
                self._telemetry.commit_failed(failure)
                await self._clock.wait(asyncio.Event(), RETRY_COMMIT_SECONDS)
            else:
                self._telemetry.written()
                return

    def _saved(self, rows: Sequence[OutboxRow]) -> OutboxBacklog:
        self._store.save_outbox(rows)
        return self._store.backlog()
