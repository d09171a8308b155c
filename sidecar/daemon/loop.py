"""The main loop: read, judge, commit, publish, then wait for a file event, a deadline or a poll.

Everything that touches the core, the log files or the state file runs on one thread, the state
thread, one call at a time; the event loop stays free for deliveries and scrapes. Only to wait for
the disk is left to another one.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sidecar.batch import ReadBatch
from sidecar.clock import Clock
from sidecar.core import Core, Step
from sidecar.daemon.pacing import RETRY_COMMIT_SECONDS, InThread, Rests, patient, spacing
from sidecar.daemon.steps import Judged, Steps, Written
from sidecar.parse.event import Chunk
from sidecar.rows import Delta, OutboxRow
from sidecar.store.invariants import Broken, Ledger
from sidecar.store.schema import StoreUnavailable

DRAIN_SECONDS = 3.0
# Turns of the event loop in which whoever got an answer may ask again, before more is read.
ANSWERED_TURNS = 20

_T = TypeVar("_T")
Publish = Callable[[ReadBatch, Step, float], None]


class PumpStopped(Exception):  # noqa: N818 - a state, not an error
    """There are no more steps: the daemon is stopping."""


@dataclass(slots=True)
class _Request:
    """A call to be made between two steps, and `then` on the event loop with what it returns."""

    call: Callable[[Core], Any]
    then: Callable[[Any], None]
    answer: asyncio.Future[Any]
    result: Any = None


class Pump:
    """Takes steps, publishes each and rests, until it is told to stop.

    `publish` is called on the event loop with each step, once it is committed, and the seconds
    the commit took. `watched` says whether something would call `wake` for whatever there may be
    to read. An exception in a step or in `publish` ends `run`: what was decided then exists in
    memory alone, and the next start repeats it.
    """

    def __init__(
        self,
        *,
        steps: Steps,
        clock: Clock,
        in_thread: InThread,
        publish: Publish,
        watched: Callable[[], bool],
        commit_failed: Callable[[StoreUnavailable], None],
        broken: Callable[[Sequence[Broken]], None],
    ) -> None:
        self._steps = steps
        self._clock = clock
        self._rests = Rests(clock.monotonic())
        self._in_thread = in_thread
        self._publish = publish
        self._watched = watched
        self._commit_failed = commit_failed
        self._broken = broken
        self._ending = asyncio.Lock()
        self._wake = asyncio.Event()
        self._requests: list[_Request] = []
        self._stopped = False
        self.stands_still = False  # what was read cannot be written, so nothing more is
        self._polls = False  # the last rest ended by itself
        self._rested_at = 0.0
        self._behind = self._quick = False  # the last step left something unread, read nothing

    @property
    def core(self) -> Core:
        return self._steps.core

    @property
    def ledger(self) -> Ledger:
        return self._steps.ledger

    @property
    def in_doubt(self) -> bool:
        """Tell whether what is committed may be written once more: then it must stay as it is."""
        return self._steps.in_doubt

    @property
    def streams(self) -> bool:
        """Tell whether lines come so steadily that being woken is of no use."""
        return self._rests.streams(self._clock.monotonic())

    def tell_lines(self, to: Callable[[Chunk, float], None]) -> None:
        """Hand each chunk that was taken to `to` as well, on the state thread."""
        self._steps.tell_line = to

    def hold(self, *, held: bool) -> None:
        """Read nothing for as long as this holds."""
        self._steps.held = held

    def wake(self) -> None:
        """End the present rest early; called on the event loop."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then read on to the end of the logs for a few seconds more."""
        clean = False
        try:
            await self._work(stop)
            clean = True
        finally:
            self._stopped = True
            for request in self._requests:
                if not request.answer.done():
                    request.answer.set_exception(PumpStopped())
            await self._in_thread(lambda: self._steps.end(clean=clean))

    async def between_steps(
        self,
        call: Callable[[Core], _T],
        then: Callable[[_T], None] = lambda _result: None,
        *,
        first: bool = False,
    ) -> _T:
        """Run `call` on the state thread between two steps, and `then` on the event loop.

        Returns once the step after it is committed and published, and with it what `call` has
        changed. `first`: before all that was asked for till now. Raises what `call` raises, which
        is the caller's failure alone; PumpStopped.
        """
        if self._stopped:
            raise PumpStopped
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._requests.insert(0 if first else len(self._requests), _Request(call, then, answer))
        self.wake()
        return await answer

    async def exchange(
        self, build: Callable[[Core], Core], installed: Callable[[Core], None]
    ) -> None:
        """Go on with another core, which `build` makes of the present one on the state thread.

        If that raises, all stays as it is. `installed` is called on the event loop before the
        first step of the new core. Raises PumpStopped.
        """
        # First, or what another call has changed before the same step would be left behind.
        await self.between_steps(lambda _core: self._steps.rebuild(build), installed, first=True)

    async def end(self, rows: Sequence[OutboxRow]) -> None:
        """Have the next step write how these messages ended; returns once that is committed.

        Once there are no more steps, it is written by itself.
        """
        try:
            await self.between_steps(lambda core: core.note_ends(rows))
        except PumpStopped:
            async with self._ending:
                await self._write_ends(rows)

    async def _write_ends(self, rows: Sequence[OutboxRow]) -> None:
        def taken() -> Delta:
            self.core.note_ends(rows)
            delta = self.core.take_ends(self._clock.now())
            self._steps.broken += self.ledger.examined(delta)
            return delta

        delta = await self.in_thread(taken)
        self._tell_broken()
        await self._until_written(delta, await self._in_thread(lambda: self._steps.write(delta)))

    async def _work(self, stop: asyncio.Event) -> None:
        first = await patient(self._in_thread, self._clock, self._steps.start)
        await self._until_written(first, await self._in_thread(lambda: self._steps.write(first)))
        give_up_at: float | None = None
        while True:
            if stop.is_set() and give_up_at is None:
                give_up_at = self._clock.now() + DRAIN_SECONDS
            behind, more = await self._turn(at_once=give_up_at is not None)
            if give_up_at is not None and (not behind or self._clock.now() > give_up_at):
                return
            if not more:
                await self._rest()

    async def _turn(self, *, at_once: bool) -> tuple[bool, bool]:
        """Do what was asked for, take a step and publish what is committed; `at_once`: this one.

        Returns whether a log is not read to its end, and whether to read on at once.
        """
        if self._requests:
            await self._finish(await self._in_thread(self._steps.settled))
        done = [request for request in self._requests[:] if await self._is_done(request)]
        # While there is much to read, what was asked for does not wait for a slice of it; the next
        # step reads, whatever is asked for until then.
        quick = self._quick = bool(done) and self._behind and not self._quick
        at_once = at_once or bool(done)
        turn = await self._in_thread(lambda: self._steps.step(quick=quick, at_once=at_once))
        self._behind = turn.behind
        await self._finish(turn.judged)
        for request in done:
            self._requests.remove(request)
            if not request.answer.done():
                request.answer.set_result(request.result)
        for _ in range(ANSWERED_TURNS if quick else 0):
            await asyncio.sleep(0)
        return turn.behind, turn.more

    async def _finish(self, judged: Sequence[Judged]) -> None:
        """See to it that these steps are written, and publish them."""
        self._tell_broken()
        for read, step, written in judged:
            took = await self._until_written(step.delta, written)
            polled, self._polls = self._polls, False
            alerts, now = len(step.transitions), self._clock.monotonic()
            self._rests.stepped(now, news=bool(step.bytes), polled=polled, alerts=alerts)
            self._publish(read, step, took)

    def _tell_broken(self) -> None:
        if self._steps.broken:
            found, self._steps.broken = self._steps.broken, []
            self._broken(found)

    async def _is_done(self, request: _Request) -> bool:
        """Make the call; what it raises is its own failure, and no reason to end."""
        try:
            request.result = await self._in_thread(lambda: request.call(self.core))
        except Exception as wrong:  # noqa: BLE001 - handed on to whoever asked
            self._requests.remove(request)
            if not request.answer.done():
                request.answer.set_exception(wrong)
            return False
        request.then(request.result)
        return True

    async def in_thread(self, call: Callable[[], _T], /) -> _T:
        """Run a call on the state thread, once no commit is under way there."""
        return await self._in_thread(partial(self._steps.call, call))

    async def _until_written(self, delta: Delta, written: Written) -> float:
        """Try to write `delta` until that succeeds; return the seconds the last try took.

        Reading waits meanwhile: what the core decided is in its memory and must not be lost.
        """
        while isinstance(written, StoreUnavailable):
            self.stands_still = True
            self._commit_failed(written)
            await self._clock.wait(asyncio.Event(), RETRY_COMMIT_SECONDS)
            written = await self._in_thread(lambda: self._steps.write(delta))
        self.stands_still = False
        return written

    async def _rest(self) -> None:
        """Wait for a file event, a deadline, a request, or the time to poll."""
        now = self._clock.monotonic()
        look = self._steps.look_seconds
        if now - self._rested_at < spacing(look):
            await self._clock.wait(asyncio.Event(), spacing(look))
        seconds = self._rests.seconds(now, watched=self._watched(), look=look)
        due = self.core.next_deadline()
        # What was due at the last step and still is waits for a log that lags, not for time.
        if due is not None and due > self._steps.stepped_at:
            seconds = min(seconds, max(0.0, due - self._clock.now()))
        self._polls = not await self._clock.wait(self._wake, seconds)
        self._wake.clear()
        if not self._polls or seconds < spacing(look):
            # Not after a mere poll: it would make the next line wait for the spacing.
            self._rested_at = self._clock.monotonic()
