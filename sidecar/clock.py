"""The only module that reads the time; everything else gets it as an argument.

An instant is a float of seconds since the epoch (UTC), a duration a float of seconds: the units
of Prometheus and of the state file, exact to a microsecond until the year 2106.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where the shell gets the time; tests pass their own."""

    def now(self) -> float:
        """Return the wall clock as seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps, for the length of things."""
        ...

    def busy(self) -> float:
        """Return the seconds that this thread has had of a processor."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Return True once `event` is set, or False when `seconds` have passed first."""
        ...


class SystemClock:
    """The machine's wall clock, shifted by a fixed number of seconds (0 outside of tests)."""

    def __init__(self, shift: float = 0.0) -> None:
        self._shift = shift

    def now(self) -> float:
        return time.time() + self._shift

    def monotonic(self) -> float:
        return stopwatch()

    def busy(self) -> float:
        return time.thread_time()

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await event.wait()
        except TimeoutError:
            return event.is_set()
        return True


def stopwatch() -> float:
    """Return seconds on a clock that never jumps, for the length of things; its zero is unknown."""
    return time.perf_counter()
