"""Simulated time: an event loop that jumps to the next timer whenever nothing is left to do."""

import asyncio
import asyncio.base_events
import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

# 2026-11-02 08:00:00 UTC, the wall clock when a world begins.
BEGINNING = 1_793_606_400.0


class Stuck(Exception):  # noqa: N818 - a state of the world
    """Every task waits, and no timer is set: nobody would ever go on."""


class Spins(Exception):  # noqa: N818 - a state of the world
    """So much was done that somebody must be turning in circles."""


# Four times what the busiest script needs: who turns in circles piles up more at each turn.
MOST_TURNS = 50_000


class SimulatedLoop(asyncio.base_events.BaseEventLoop):
    """Runs everything in one thread, in an order that depends on nothing outside.

    Work for an executor is done on the loop, one call after another for each executor, `hop`
    seconds after it was asked for. `connect` stands for the network.
    """

    # asyncio's own, which its stubs leave out.
    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self, hop: Callable[[], float]) -> None:
        super().__init__()
        self._now = 0.0
        self._turns = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timed = 0
        self._hop = hop
        self._busy: dict[int, float] = {}
        self.connect: Callable[[asyncio.BaseProtocol, str, int], Any] | None = None

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        """Do what is ready; if nothing is, let time pass until the next timer is due.

        As asyncio's own, but for a selector: to wait is to let time pass.
        """
        self._turns += 1
        if self._turns > MOST_TURNS:
            raise Spins
        ready, timers = self._ready, self._timers
        while timers and (timers[0][0] <= self._now or not (ready or self._stopping)):
            when, _, timer = heapq.heappop(timers)
            if not timer._cancelled:
                self._now = max(self._now, when)
                ready.append(timer)
        if not ready and not self._stopping:
            raise Stuck
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """As asyncio's own, without what it looks for in debug mode."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """As asyncio's own, with timers of one instant in the order in which they were set."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timed += 1
        heapq.heappush(self._timers, (when, self._timed, timer))
        return timer

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        future = self.create_future()
        at = max(self._now, self._busy.get(id(executor), 0.0)) + self._hop()
        self._busy[id(executor)] = at
        self.call_at(at, _work, future, func, args)
        return future

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, **_: Any
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        assert self.connect is not None
        protocol = protocol_factory()
        return await self.connect(protocol, host, port), protocol


def _work(future: "asyncio.Future[Any]", func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        result = func(*args)
    except BaseException as error:  # noqa: BLE001 - whoever awaits it is told
        if not future.cancelled():
            future.set_exception(error)
    else:
        if not future.cancelled():
            future.set_result(result)


def _end(waiter: "asyncio.Future[bool]") -> None:
    if not waiter.done():
        waiter.set_result(False)


class SimulatedClock:
    """The wall clock, which the world sets forward and back; and one that never jumps."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.offset = 0.0

    def now(self) -> float:
        return BEGINNING + self._loop.time() + self.offset

    def monotonic(self) -> float:
        return self._loop.time()

    def busy(self) -> float:
        return self._loop.time()

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        if event.is_set():
            return True
        # As asyncio.timeout around the event's wait would do it, at a third of its price.
        waiter: asyncio.Future[bool] = self._loop.create_future()
        timer = self._loop.call_later(max(0.0, seconds), _end, waiter)
        event._waiters.append(waiter)
        try:
            return await waiter or event.is_set()
        finally:
            timer.cancel()
            event._waiters.remove(waiter)
