"""What one key remembers for amounts that are held against an earlier window: `Shifted`.

A sample is inside from `offset` seconds after its time, for `within` seconds: (T - `offset` -
`within`, T - `offset`] at the instant T.
"""

from array import array
from bisect import bisect_left, bisect_right
from typing import Any

from sidecar.rules.windows import BUCKETS, LONG_AGO, NEVER, Fold

# So many instants are kept each by itself; where there are more, by the 60th of a window.
MAX_EXACT = 10_000


class Shifted:
    """Samples as they enter the window: at the instants `_starts`, those of one instant folded."""

    __slots__ = ("_counts", "_fold", "_offset", "_starts", "_values", "_width", "_within")

    def __init__(self, within: float, offset: float, fold: Fold) -> None:
        self._within = within
        self._offset = offset
        self._fold = fold
        self._width = 0.0  # of what is kept as one; 0: each instant by itself
        self._starts = array("d")
        self._values = array("d")
        self._counts = array("I") if fold.mean else None

    @property
    def most_bytes(self) -> int:
        """What it takes at most: of each an instant, a value and, for a mean, how many it was."""
        parts = round(BUCKETS * (1 + self._offset / self._within))
        return max(MAX_EXACT, parts) * (16 if self._counts is None else 20)

    def add(self, at: float, value: float, clock: float) -> None:
        start = (at // self._width * self._width if self._width else at) + self._offset
        if start + self._within <= clock:
            return
        self._drop(self._gone(clock))
        self._put(start, value, 1)
        if len(self._starts) > MAX_EXACT and not self._width:
            self._coarsen()

    def add_all(self, times: Any, value: float, clock: float) -> None:
        for at in times:
            self.add(at, value, clock)

    def _put(self, start: float, value: float, count: int) -> None:
        place = bisect_left(self._starts, start)
        if place < len(self._starts) and self._starts[place] == start:
            self._values[place] = self._fold.merge(self._values[place], value)
            if self._counts is not None:
                self._counts[place] += count
            return
        self._starts.insert(place, start)
        self._values.insert(place, value)
        if self._counts is not None:
            self._counts.insert(place, count)

    def _coarsen(self) -> None:
        """Keep what there is by the 60th of a window from now on."""
        width = self._width = self._within / BUCKETS
        kept = zip(self._starts, self._values, self._counts or self._starts, strict=True)
        self._starts, self._values = array("d"), array("d")
        self._counts = None if self._counts is None else array("I")
        for start, value, count in kept:
            aligned = (start - self._offset) // width * width + self._offset
            self._put(aligned, value, int(count) if self._counts is not None else 1)

    def _drop(self, count: int) -> None:
        """Drop the `count` oldest."""
        if not count:
            return
        del self._starts[:count], self._values[:count]
        if self._counts is not None:
            del self._counts[:count]
        if not self._starts:
            self._width = 0.0

    def _gone(self, t: float) -> int:
        """Return how many of the oldest have left the window at `t`."""
        if not self._starts or self._starts[0] + self._within > t:
            return 0
        return bisect_right(self._starts, t, key=lambda start: start + self._within)

    def judged(self, t: float) -> float | None:
        first, end = self._gone(t), bisect_right(self._starts, t)
        if first >= end:
            return self._fold.empty
        total = self._fold.total(self._values[first:end])
        return total if self._counts is None else total / sum(self._counts[first:end])

    def most(self, t: float) -> float:
        del t
        return NEVER

    def shown(self, t: float) -> float | None:
        return self.judged(t)

    def changes_after(self, t: float) -> float:
        first, end = self._gone(t), bisect_right(self._starts, t)
        enters = self._starts[end] if end < len(self._starts) else NEVER
        return min(enters, self._starts[first] + self._within) if first < end else enters

    def gone_at(self) -> float:
        return self._starts[-1] + self._within if self._starts else LONG_AGO

    def drop_before(self, until: float) -> None:
        self._drop(bisect_left(self._starts, until + self._offset))

    def pack(self) -> Any:
        counts = [] if self._counts is None else self._counts.tobytes()
        return [self._width, self._starts.tobytes(), self._values.tobytes(), counts]

    def load(self, packed: Any) -> None:
        width, starts, values, counts = packed
        self._width, self._starts = float(width), array("d", starts)
        self._values = array("d", values)
        if self._counts is not None:
            self._counts = array("I", counts)
        if len(self._starts) != len(self._values):
            raise ValueError("instants and values of different lengths")
