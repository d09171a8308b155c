"""What one key remembers for `count()`: exact against a number, in as many times as it needs."""

from array import array
from bisect import bisect_right, insort
from typing import Any

from sidecar.rules.buckets import Buckets
from sidecar.rules.rule import Function
from sidecar.rules.window import LONG_AGO, NEVER

# Times kept per key so that small counts are shown exactly; older ones go to coarse buckets.
SHOWN_TIMES = 32


class Counts:
    """Event times in order: the newest `keep` exactly, those before in buckets for show only."""

    __slots__ = ("_keep", "_need", "_older", "_times", "_within")

    def __init__(self, within: float, need: int) -> None:
        self._within = within
        self._need = need
        self._keep = max(need, SHOWN_TIMES)
        self._times = array("d")
        self._older: Buckets | None = None

    def add(self, at: float, value: Any, clock: float) -> None:  # noqa: ARG002 - a count needs no value
        times, within = self._times, self._within
        if times and times[0] + within <= clock:
            del times[: self._first(clock)]
        if at + within <= clock:
            return
        if not times or at >= times[-1]:
            times.append(at)
        else:
            insort(times, at)
        if len(times) > self._keep:
            self._put_aside(times.pop(0), clock)

    def _put_aside(self, at: float, clock: float) -> None:
        if self._older is None:
            self._older = Buckets(self._within, Function.COUNT)
        self._older.add(at, 1.0, clock)

    def _first(self, t: float) -> int:
        """Return the index of the first time still inside at `t`, rounding as `add` does."""
        times, within = self._times, self._within
        first = bisect_right(times, t - within)
        while first > 0 and times[first - 1] + within > t:
            first -= 1
        while first < len(times) and times[first] + within <= t:
            first += 1
        return first

    def judged(self, t: float) -> int:
        return min(self._need, len(self._times) - self._first(t))

    def shown(self, t: float) -> float | None:
        older = None if self._older is None else self._older.judged(t)
        return len(self._times) - self._first(t) + (older or 0.0)

    def changes_after(self, t: float) -> float:
        first = max(self._first(t), len(self._times) - self._need)
        return self._times[first] + self._within if first < len(self._times) else NEVER

    def gone_at(self) -> float:
        return self._times[-1] + self._within if self._times else LONG_AGO

    def forget(self, until: float) -> None:
        del self._times[: bisect_right(self._times, until)]
        if self._older is not None:
            self._older.forget(until)

    def pack(self) -> Any:
        return [self._times.tobytes(), None if self._older is None else self._older.pack()]

    def load(self, packed: Any) -> None:
        times, older = packed
        self._times = array("d", times)
        if older is not None:
            self._older = Buckets(self._within, Function.COUNT)
            self._older.load(older)
