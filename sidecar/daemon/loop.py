"""The main loop: read, judge, commit, publish, then wait for a file event, a deadline or a poll.

Everything that touches the core, the log files or the state file runs on one thread, the state
thread, one call at a time; the event loop stays free for deliveries and scrapes. Only to wait for
the disk is left to another one.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sidecar.ahead.backlog import Assistant, Backlog, processors
from sidecar.batch import ReadBatch
from sidecar.clock import Clock
from sidecar.core import Core, Step
from sidecar.daemon.pacing import (
    RETRY_COMMIT_SECONDS,
    Beside,
    CrashGuard,
    InThread,
    Rests,
    Slice,
    patient,
    spacing,
    worth,
)
from sidecar.parse.event import Chunk, Parsed
from sidecar.read.follower import Follower
from sidecar.rows import Delta, MetaRow, OutboxRow
from sidecar.store.invariants import Broken, Ledger
from sidecar.store.schema import StoreUnavailable
from sidecar.store.store import Store

if TYPE_CHECKING:
    from concurrent.futures import Future

DRAIN_SECONDS = 3.0
# Turns of the event loop in which whoever got an answer may ask again, before more is read.
ANSWERED_TURNS = 20

_T = TypeVar("_T")
# The seconds a commit took, 0 if there was nothing to write; or why it failed.
Written = float | StoreUnavailable
Publish = Callable[[ReadBatch, Step, float], None]


class Judged(NamedTuple):
    """A step that was judged, and what came of its commit."""

    read: ReadBatch
    step: Step
    written: Written


class PumpStopped(Exception):  # noqa: N818 - a state, not an error
    """There are no more steps: the daemon is stopping."""


class Turn(NamedTuple):
    """What a call for a step comes to: steps whose commit is over, and what is left to be read.

    `behind`: a log is not read to its end. `more`: there is something to be read at once.
    """

    judged: list[Judged]
    behind: bool
    more: bool


class _Steps:
    """Takes one step after another; every method is called on the state thread.

    While there is much to read, a step's commit is made durable beside the judging of the next
    one. Whatever else looks at the state waits for that first: see `call`.
    """

    def __init__(
        self,
        *,
        follower: Follower,
        core: Core,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        beside: Beside,
    ) -> None:
        self.core = core
        self.ledger = ledger
        self.broken: list[Broken] = []
        self.stepped_at = 0.0  # wall clock
        self.look_seconds = 0.0  # what the last look at the disk took
        self.tell_line: Callable[[Chunk, float], None] | None = None
        self._follower = follower
        self._store = store
        self._clock = clock
        self._beside = beside
        self._unwritten: dict[int, Delta] = {}
        self._under_way: tuple[ReadBatch, Step, Future[float]] | None = None
        self._judged: list[Judged] = []  # that nobody was told of
        self._guard = CrashGuard(store)
        self._slice = Slice()
        self._backlog = Backlog(processors())
        self._unread = 0

    def start(self) -> Delta:
        """Return what is to be written before anything is read."""
        return self._guard.start_run(self._store.load(MetaRow))

    @property
    def in_doubt(self) -> bool:
        """Tell whether something that was judged may not be written yet."""
        return bool(self._unwritten)

    def step(self, *, quick: bool = False, at_once: bool = False) -> Turn:
        """Read, judge and commit, in one go: to change threads costs more than a small step.

        A `quick` one reads nothing. `at_once`: it is committed when this returns, as it always is
        when there is nothing more to read.
        """
        if self._guard.careful:
            self._settle()
        now = self.stepped_at = self._clock.now()
        began = self._clock.monotonic()
        read = self._follower.look(now)
        started = taken = self._clock.monotonic()
        busy = self._clock.busy()
        self.look_seconds = started - began
        self.core.resume(read.resume)
        for chunk, parsed in self._chunks(read, now, quick=quick):
            self.core.take(chunk, now, parsed)
            if self.tell_line is not None:
                self.tell_line(chunk, now)
            taken = self._clock.monotonic()
        listing = self._clock.monotonic() - taken  # the files, whatever was read of them
        step = self.core.finish(read, now)
        self._guard.after(read, step)
        step.seconds = self._clock.monotonic() - started
        unread = sum(log.lag_bytes for log in read.logs if log.held)
        worked = worth(step.seconds - listing, self._clock.busy() - busy - listing)
        self._slice.took(step.bytes, worked, self.look_seconds + listing, unread)
        self._unread = 0 if self._guard.careful else unread
        self._check(step)
        behind = bool(read.lagging)
        # Rows without bytes: inside an over-long line, which is skipped in slices too.
        more = behind and bool(step.bytes or read.rows or quick)
        self._commit(read, step)
        if at_once or not more or self._guard.careful:
            self._settle()
        return Turn(self._untold(), behind, more)

    def _check(self, step: Step) -> None:
        """Take out of a step what would break an invariant."""
        found = self.ledger.examined(step.delta, step.read_to, step.events)
        out = {id(one.row) for one in found if one.row is not None}
        step.outbox = [row for row in step.outbox if id(row) not in out]
        self.broken += found

    def _commit(self, read: ReadBatch, step: Step) -> None:
        """Begin to commit a step, once the one before is; after one that failed it must wait."""
        self._settle()
        before = self._judged[-1].written if self._judged else 0.0
        if not step.delta and isinstance(before, float):
            self._judged.append(Judged(read, step, 0.0))
            return
        self._unwritten[id(step.delta)] = step.delta
        if isinstance(before, StoreUnavailable):
            self._judged.append(Judged(read, step, before))
            return
        started = self._clock.monotonic()
        try:
            seal = self._store.begin(step.delta)
        except StoreUnavailable as failure:
            self._judged.append(Judged(read, step, failure))
            return
        self._under_way = read, step, self._beside(partial(self._sealed, seal, started))

    def _sealed(self, seal: Callable[[], None], started: float) -> float:
        """Make a commit durable; return the seconds that it took. Called on a thread of its own."""
        seal()
        return self._clock.monotonic() - started

    def _settle(self) -> None:
        """Wait for the commit that is under way."""
        if self._under_way is None:
            return
        (read, step, sealed), self._under_way = self._under_way, None
        written: Written
        try:
            written = sealed.result()
        except StoreUnavailable as failure:
            written = failure
        else:
            self._done(step.delta)
        self._judged.append(Judged(read, step, written))

    def _done(self, delta: Delta) -> None:
        self._store.committed(delta)
        self._unwritten.pop(id(delta), None)

    def settled(self) -> list[Judged]:
        """Return what was judged and nobody was told of yet, once its commit is over."""
        self._settle()
        return self._untold()

    def _untold(self) -> list[Judged]:
        found, self._judged = self._judged, []
        return found

    def call(self, call: Callable[[], _T]) -> _T:
        """Make a call that looks at the state: nothing is under way meanwhile."""
        self._settle()
        return call()

    def write(self, delta: Delta) -> Written:
        if not delta:
            return 0.0
        started = self._clock.monotonic()
        self._unwritten[id(delta)] = delta
        try:
            self._store.begin(delta)()
        except StoreUnavailable as failure:
            return failure
        self._done(delta)
        return self._clock.monotonic() - started

    def rebuild(self, build: Callable[[Core], Core]) -> Core:
        """Go on with the core that `build` makes of the present one, unless that raises."""
        self.core = build(self.core)
        self._backlog.end()  # it knows the patterns and rules of before
        return self.core

    def end(self, *, clean: bool) -> None:
        """Take no more steps; `clean`: the last one left nothing undone."""
        self._settle()
        self._backlog.end()
        if clean:
            self._guard.end_run()

    def _chunks(
        self, read: ReadBatch, now: float, *, quick: bool
    ) -> Iterator[tuple[Chunk, Parsed | None]]:
        """Yield what this step is to take, with what a second process has parsed of it."""
        none = quick and not self._guard.careful
        budget = 0 if none else min(self._guard.budget, self._slice.budget)
        chunks = self._guard.before(self._follower.read(read, now, budget), self.core)
        self._backlog.before(self._unread, now, self._assistant)
        upcoming = self._follower.upcoming(budget)
        yield from self._backlog.ahead(chunks, self.core.parse_alone, now, upcoming)

    def _assistant(self) -> Assistant:
        parser = self.core.parser
        return Assistant(parser.patterns, self.core.wants)


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
    the commit took; `beside` makes commits durable on a thread of its own. `watched` says whether
    something would call `wake` for whatever there may be to read. An exception in a step or in
    `publish` ends `run`: what was decided then exists in memory alone, and the next start repeats
    it.
    """

    def __init__(
        self,
        *,
        follower: Follower,
        core: Core,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        in_thread: InThread,
        beside: Beside,
        publish: Publish,
        watched: Callable[[], bool],
        commit_failed: Callable[[StoreUnavailable], None],
        broken: Callable[[Sequence[Broken]], None],
    ) -> None:
        self._steps = _Steps(
            follower=follower, core=core, store=store, ledger=ledger, clock=clock, beside=beside
        )
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
