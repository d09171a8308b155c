"""Guards: what says of a sample, before any window has taken it, that no verdict can change by it.

A key may take samples whose whole cost its `room` can bear, in any order, and its condition still
cannot hold. Only once a sample is too dear are the windows brought up to date and asked. A guard
looks at parts of the condition: while none of them can hold, the whole cannot. What time alone does
is part of what a guard has reckoned with, but for the divisor of a ratio: of that, the key's next
deadline is to be asked.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sidecar.rules.windows import NEVER, Window

Windows = tuple[Window, ...]
Samples = Sequence[tuple[int, Any]]
_NONE_LEFT = -1.0
# Sums are rounded, each in another order: what lies so near a bound is beyond it.
_NEARLY = 1e-9


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


class OfMean:
    """A mean that is to be more than a number: it is not while all its samples are less."""

    def __init__(self, place: int, bound: float) -> None:
        self._place = place
        self._least = less(bound)

    def cost(self, samples: Samples) -> float:
        passing = any(place == self._place and value >= self._least for place, value in samples)
        return NEVER if passing else 0.0

    def room(self, windows: Windows | None, t: float) -> float:
        passing = windows is not None and windows[self._place].most(t) >= self._least
        return _NONE_LEFT if passing else NEVER


class OfAmount:
    """How many or how much against a number: each sample adds something, and `most` is too little.

    Where anything is enough, a sample costs more than any key can bear, and others cost nothing.
    """

    def __init__(self, place: int, most: float, *, ones: bool) -> None:
        self._place = place
        self._most = most
        self._ones = ones

    def cost(self, samples: Samples) -> float:
        added = sum(
            1.0 if self._ones else max(0.0, value)
            for place, value in samples
            if place == self._place
        )
        return NEVER if added and not self._most else added

    def room(self, windows: Windows | None, t: float) -> float:
        taken = 0.0 if windows is None else windows[self._place].most(t)
        if self._most:
            return self._most - taken
        return _NONE_LEFT if taken else NEVER


class OfRatio:
    """How much for each of what: until the next deadline the divisor does not become less."""

    def __init__(self, place: int, divisor: int, bound: float, *, ones: bool) -> None:
        self._place = place
        self._divisor = divisor
        self._bound = less(bound)
        self._added = OfAmount(place, NEVER, ones=ones)

    def cost(self, samples: Samples) -> float:
        return self._added.cost(samples)

    def room(self, windows: Windows | None, t: float) -> float:
        if windows is None:
            return 0.0
        above = windows[self._place].most(t)
        return float(self._bound * windows[self._divisor].judged(t)) - above


class AnyOf:
    """None of these can hold: what an `or` needs."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self._guards = guards

    def cost(self, samples: Samples) -> float:
        return sum(guard.cost(samples) for guard in self._guards)

    def room(self, windows: Windows | None, t: float) -> float:
        return min(guard.room(windows, t) for guard in self._guards)


class OneOf:
    """One of these cannot hold, whichever has most room: what an `and` needs."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self._guards = guards

    def cost(self, samples: Samples) -> float:
        return max(guard.cost(samples) for guard in self._guards)

    def room(self, windows: Windows | None, t: float) -> float:
        return max(guard.room(windows, t) for guard in self._guards)


def less(bound: float) -> float:
    """Return a number that is surely less than `bound`, which is not negative, or nothing."""
    return bound - abs(bound) * _NEARLY
