"""What one key remembers for sums, averages and ratios: 60 aligned buckets a window.

Bucket b holds the samples in [b * width, (b + 1) * width), width being a 60th of the window; it is
inside the window at T while (b + 60) * width > T. The window so spans 59 to 60 widths. Only
buckets with samples take memory, 9 bytes each, or 13 for an average.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any

from sidecar.rules.rule import Function
from sidecar.rules.window import BUCKETS, LONG_AGO, NEVER

# How two samples of one bucket become one value. Of an average the sum is kept, and the number.
_MERGE: dict[Function, Callable[[float, float], float]] = {
    Function.SUM: lambda one, other: one + other,
    Function.AVG: lambda one, other: one + other,
    Function.COUNT: lambda one, other: one + other,
    Function.MIN: min,
    Function.MAX: max,
}
# What four bytes can count: 4 billion samples of one key in one bucket.
_MOST = 2**32 - 1


class Buckets:
    """Coarse samples of one key; forgetting drops the buckets up to the instant's own, whole.

    The buckets in use stand in rising order, as distances from the first one's number `_first`.
    """

    __slots__ = ("_counts", "_first", "_function", "_steps", "_values", "_width")

    def __init__(self, within: float, function: Function) -> None:
        self._width = within / BUCKETS
        self._function = function
        self._first = 0
        self._steps = bytearray()
        self._values = array("d")
        self._counts = array("I") if function is Function.AVG else None

    def add(self, at: float, value: float, clock: float) -> None:
        bucket = int(at // self._width)
        if self._leaves(bucket) <= clock:
            return
        self._drop(self._gone(clock))
        if not self._steps:
            self._first = bucket
        elif bucket < self._first:
            self._begin_at(bucket)
        step = bucket - self._first
        place = bisect_left(self._steps, step)
        if place < len(self._steps) and self._steps[place] == step:
            self._values[place] = _MERGE[self._function](self._values[place], value)
            if self._counts is not None:
                self._counts[place] = min(self._counts[place] + 1, _MOST)
        else:
            self._insert(place, step, value)

    def _insert(self, place: int, step: int, value: float) -> None:
        self._steps.insert(place, step)
        self._values.insert(place, value)
        if self._counts is not None:
            self._counts.insert(place, 1)

    def _begin_at(self, first: int) -> None:
        ahead = self._first - first
        self._steps = bytearray(step + ahead for step in self._steps)
        self._first = first

    def _drop(self, count: int) -> None:
        """Drop the `count` oldest buckets."""
        if not count:
            return
        del self._steps[:count], self._values[:count]
        if self._counts is not None:
            del self._counts[:count]
        if self._steps:
            self._begin_at(self._first + self._steps[0])

    def _leaves(self, bucket: int) -> float:
        return (bucket + BUCKETS) * self._width

    def _gone(self, t: float) -> int:
        """Return how many of the oldest buckets have left the window at `t`."""
        if not self._steps or self._leaves(self._first) > t:
            return 0
        return bisect_right(self._steps, t, key=lambda step: self._leaves(self._first + step))

    def judged(self, t: float) -> float | None:
        values = self._values[self._gone(t) :]
        match self._function:
            case Function.COUNT:
                return sum(values)
            case _ if not values:
                return None
            case Function.MIN:
                return min(values)
            case Function.MAX:
                return max(values)
            case Function.AVG:
                return sum(values) / sum((self._counts or array("I"))[self._gone(t) :])
            case _:
                return sum(values)

    def shown(self, t: float) -> float | None:
        return self.judged(t)

    def changes_after(self, t: float) -> float:
        gone = self._gone(t)
        return self._leaves(self._first + self._steps[gone]) if gone < len(self._steps) else NEVER

    def gone_at(self) -> float:
        return self._leaves(self._first + self._steps[-1]) if self._steps else LONG_AGO

    def forget(self, until: float) -> None:
        last = int(until // self._width)
        self._drop(bisect_right(self._steps, last - self._first))

    def pack(self) -> Any:
        counts = [] if self._counts is None else self._counts.tobytes()
        return [self._first, bytes(self._steps), self._values.tobytes(), counts]

    def load(self, packed: Any) -> None:
        first, steps, values, counts = packed
        self._first, self._steps, self._values = int(first), bytearray(steps), array("d", values)
        if self._counts is not None:
            self._counts = array("I", counts)
        if len(self._steps) != len(self._values) or len(self._counts or steps) != len(steps):
            raise ValueError("buckets of different lengths")
