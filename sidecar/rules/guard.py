"""Guards: what says of a sample, before any window has taken it, that no verdict can change by it.

A key may take samples whose whole cost its `room` can bear, in any order, and its condition still
cannot hold. Only once a sample is too dear are the windows brought up to date and asked. A guard
looks at parts of the condition: while none of them can hold, the whole cannot. Time alone makes no
guarded part true.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sidecar.rules.windows import NEVER, Window

Windows = tuple[Window, ...]
Samples = Sequence[tuple[int, Any]]
_NONE_LEFT = -1.0


class Guard(Protocol):
    """`cost` is that of an event's samples; `room` what a key with these windows can bear at `t`,
    negative where the condition may hold by now. `windows` None: no sample yet.
    """

    def cost(self, samples: Samples) -> float: ...
    def room(self, windows: Windows | None, t: float) -> float: ...


class NoGuard:
    """Of nothing but a key without samples is it known that its condition does not hold."""

    def cost(self, samples: Samples) -> float:
        return NEVER if samples else 0.0

    def room(self, windows: Windows | None, t: float) -> float:
        del t
        return 0.0 if windows is None else _NONE_LEFT


class OfValue:
    """An extreme against a number: only a sample that passes the test itself can make it true."""

    def __init__(self, place: int, passes: Callable[[Any], bool]) -> None:
        self._place = place
        self._passes = passes

    def cost(self, samples: Samples) -> float:
        passing = any(place == self._place and self._passes(value) for place, value in samples)
        return NEVER if passing else 0.0

    def room(self, windows: Windows | None, t: float) -> float:
        value = None if windows is None else windows[self._place].judged(t)
        return NEVER if value is None or not self._passes(value) else _NONE_LEFT


class OfNumber:
    """How many against a number: each sample counts one, and `most` are too few.

    Where one is enough, a sample costs more than any key can bear, and others cost nothing.
    """

    def __init__(self, place: int, most: int) -> None:
        self._place = place
        self._most = most or NEVER
        self._each = 1.0 if most else NEVER

    def cost(self, samples: Samples) -> float:
        return self._each if any(place == self._place for place, _ in samples) else 0.0

    def room(self, windows: Windows | None, t: float) -> float:
        taken = 0.0 if windows is None else windows[self._place].judged(t)
        return self._most - taken if self._each < NEVER or not taken else _NONE_LEFT


class AnyOf:
    """None of these can hold: what an `or` needs."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self._guards = guards

    def cost(self, samples: Samples) -> float:
        return sum(guard.cost(samples) for guard in self._guards)

    def room(self, windows: Windows | None, t: float) -> float:
        return min(guard.room(windows, t) for guard in self._guards)
