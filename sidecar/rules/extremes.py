"""What one key remembers of its greatest or its least sample: `Extremes`, a window as in `windows`.

Of max or min against bounds c1 < ... < ck it keeps the newest time in each of the 2k + 1 regions
(below, at, between, above); the outermost region still inside decides every comparison.
"""

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from sidecar.rules.windows import LONG_AGO, NEVER

# The peaks that would be the extreme once a higher one has left, kept only to be shown.
SHOWN_PEAKS = 16


class Extremes:
    """The newest time in each region around the bounds, and a few peaks to show."""

    __slots__ = ("_bounds", "_newest", "_peaks", "_sign", "_within")

    # Times and values of peaks by turns, in the order of time; later ones are lower.
    _peaks: "array[float]"

    def __init__(self, within: float, bounds: tuple[float, ...], sign: int) -> None:
        self._within = within
        self._sign = sign  # 1: max, -1: min, which is the max of the negated values
        self._bounds = bounds if sign > 0 else tuple(-b for b in reversed(bounds))
        self._newest = array("d", [LONG_AGO] * (2 * len(bounds) + 1))
        self._peaks = array("d")

    def add(self, at: float, value: float, clock: float) -> None:
        if at + self._within <= clock:
            return
        value *= self._sign
        region = self._region(value)
        self._newest[region] = max(self._newest[region], at)
        self._add_peak(at, value, clock)

    def add_all(self, times: Sequence[float], value: float, clock: float) -> None:
        self.add(max(times), value, clock)

    def _region(self, value: float) -> int:
        place = bisect_left(self._bounds, value)
        exact = place < len(self._bounds) and self._bounds[place] == value
        return 2 * place + exact

    def _each_peak(self) -> Iterator[tuple[float, float]]:
        return zip(self._peaks[::2], self._peaks[1::2], strict=True)

    def _add_peak(self, at: float, value: float, clock: float) -> None:
        peaks = self._peaks
        if peaks and at < peaks[-2]:
            self._insert_peak(at, value)
            peaks = self._peaks
        elif not peaks or at > peaks[-2] or value > peaks[-1]:
            while peaks and peaks[-1] <= value:
                del peaks[-2:]
            peaks.extend((at, value))
        while peaks[0] + self._within <= clock:
            del peaks[:2]
        if len(peaks) > 2 * SHOWN_PEAKS:
            # Give up the one whose absence is seen least; the regions stay exact.
            seen = [one - after for one, after in pairwise(peaks[1::2])]
            place = min(range(1, SHOWN_PEAKS), key=seen.__getitem__)
            del peaks[2 * place : 2 * place + 2]

    def _insert_peak(self, at: float, value: float) -> None:
        """Put in a late sample, if none that is as late is as high, in place of the lower ones."""
        peaks = list(self._each_peak())
        if not any(peak[0] >= at and peak[1] >= value for peak in peaks):
            kept = [peak for peak in peaks if peak[0] > at or peak[1] > value]
            insort(kept, (at, value))
            self._peaks = _flat(kept)

    def judged(self, t: float) -> float | None:
        region = self._outermost(t)
        return None if region is None else self._sign * self._stand_in(region)

    def most(self, t: float) -> float:
        inside = [n for n, at in enumerate(self._newest) if at + self._within > t]
        return max((self._sign * self._stand_in(n) for n in inside), default=LONG_AGO)

    def _outermost(self, t: float) -> int | None:
        for region in range(len(self._newest) - 1, -1, -1):
            if self._newest[region] + self._within > t:
                return region
        return None

    def _stand_in(self, region: int) -> float:
        place, exact = divmod(region, 2)
        if exact:
            return self._bounds[place]
        below = self._bounds[place - 1] if place else LONG_AGO
        above = self._bounds[place] if place < len(self._bounds) else NEVER
        return (below + above) / 2 if below > LONG_AGO and above < NEVER else below + above

    def shown(self, t: float) -> float | None:
        for at, value in self._each_peak():
            if at + self._within > t:
                return self._sign * value
        return None

    def changes_after(self, t: float) -> float:
        region = self._outermost(t)
        return NEVER if region is None else self._newest[region] + self._within

    def gone_at(self) -> float:
        return max(self._newest) + self._within

    def drop_before(self, until: float) -> None:
        self._newest = array("d", [at if at >= until else LONG_AGO for at in self._newest])
        self._peaks = _flat(peak for peak in self._each_peak() if peak[0] >= until)

    def pack(self) -> Any:
        return [self._newest.tobytes(), self._peaks.tobytes()]

    def load(self, packed: Any) -> None:
        newest, peaks = array("d", packed[0]), array("d", packed[1])
        if len(newest) != len(self._newest) or len(peaks) % 2:
            raise ValueError("extremes of another rule")
        self._newest, self._peaks = newest, peaks


def _flat(peaks: Iterable[tuple[float, float]]) -> "array[float]":
    return array("d", [number for peak in peaks for number in peak])
