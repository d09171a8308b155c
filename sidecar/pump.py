"""The crank of the daemon: read, step, commit, publish; then rest until something is due.

Reading, deciding and writing happen on one thread of their own, so that the event loop is free
for deliveries and scrapes, and nothing of the core is ever touched by two threads.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from sidecar.clock import Clock, stopwatch
from sidecar.core import Core, Step
from sidecar.poison import Guard
from sidecar.read.batch import ReadBatch
from sidecar.read.follower import Follower
from sidecar.rows import Delta, MetaRow
from sidecar.slicing import Slice
from sidecar.store.fault import StoreUnavailable
from sidecar.store.store import Store

# The poll is the truth, a wake-up only makes it early (field experience: mtail, 250 ms).
POLL_SECONDS = 0.25
# Under a steady writer, steps are spaced so that a commit carries more than a line or two.
SPACING_SECONDS = 0.02
RETRY_COMMIT_SECONDS = 1.0
DRAIN_SECONDS = 5.0

_T = TypeVar("_T")
Publish = Callable[[ReadBatch, Step, float], None]


class PumpStopped(Exception):  # noqa: N818 - a state, not an error
    """There are no more steps: the daemon is stopping."""


class InThread(Protocol):
    """Runs a call on the state thread, one at a time, and waits for it."""

    async def __call__(self, call: Callable[[], _T], /) -> _T: ...


class Pump:
    """Turns read batches into committed, published steps until it is told to stop.

    `publish` is called on the event loop with each step, once it is committed.
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
        commit_failed: Callable[[StoreUnavailable], None],
    ) -> None:
        self.core = core
        self._follower = follower
        self._store = store
        self._guard = Guard(store)
        self._slice = Slice()
        self._clock = clock
        self._in_thread = in_thread
        self._publish = publish
        self._commit_failed = commit_failed
        self._wake = asyncio.Event()
        self._turning = asyncio.Lock()
        self._stopped = False
        self._rested_at = 0.0
        self._stepped_at = 0.0

    def wake(self) -> None:
        """End the present rest early; called on the event loop."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then read on to the end of the logs for a few seconds more."""
        give_up_at: float | None = None
        await self._commit(await self._in_thread(self._begin))
        while True:
            if stop.is_set() and give_up_at is None:
                give_up_at = self._clock.now() + DRAIN_SECONDS
            async with self._turning:
                batch = await self._turn()
                if give_up_at is not None and (not batch.lagging or self._clock.now() > give_up_at):
                    self._stopped = True
                    await self._in_thread(self._guard.ended)
                    return
            # Rows without chunks: inside an over-long line, which is skipped in slices too.
            if not (batch.lagging and (batch.chunks or batch.rows)):
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
            installed(self.core)
            await self._turn()

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise PumpStopped

    async def _turn(self) -> ReadBatch:
        batch, step = await self._in_thread(self._advance)
        took = await self._commit(step.delta)
        self._publish(batch, step, took)
        return batch

    def _begin(self) -> Delta:
        return self._guard.begin(self._store.load(MetaRow))

    def _advance(self) -> tuple[ReadBatch, Step]:
        now = self._stepped_at = self._clock.now()
        batch = self._follower.poll(now, min(self._guard.budget, self._slice.budget))
        started = stopwatch()
        self._guard.before(batch, self.core)
        step = self.core.step(batch, now)
        self._guard.after(batch, step)
        step.seconds = stopwatch() - started
        self._slice.took(step.bytes, step.seconds)
        return batch, step

    async def _commit(self, delta: Delta) -> float:
        """Write `delta`, trying until it is written; return the seconds the write took.

        Reading waits meanwhile: what the core decided is in its memory and must not be lost.
        """
        while delta:
            started = self._clock.now()
            try:
                await self._in_thread(lambda: self._store.commit(delta))
            except StoreUnavailable as failure:
                self._commit_failed(failure)
                await self._clock.wait(asyncio.Event(), RETRY_COMMIT_SECONDS)
            else:
                return self._clock.now() - started
        return 0.0

    async def _rest(self) -> None:
        now = self._clock.now()
        due = self.core.next_deadline()
        # What was due at the last step and still is waits for a log that lags, not for time.
        held = due is None or due <= self._stepped_at
        seconds = POLL_SECONDS if held or due is None else min(POLL_SECONDS, max(0.0, due - now))
        if now - self._rested_at < SPACING_SECONDS:
            await self._clock.wait(asyncio.Event(), SPACING_SECONDS)
        await self._clock.wait(self._wake, seconds)
        self._wake.clear()
        self._rested_at = self._clock.now()
