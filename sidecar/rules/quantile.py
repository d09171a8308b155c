"""Percentiles of a window by DDSketch (Masson, Rim and Lee, VLDB 2019): off by at most 1 %.

A value falls into the bin of its logarithm, so that a bin knows its values to within 1 %. Each of
the window's 60 buckets keeps how many fell into which bin.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from sidecar.rules.windows import BUCKETS, LONG_AGO, NEVER

ERROR = 0.01
# Bins of one bucket: a factor of 160 between the least and the greatest of either sign. Beyond that
# the least ones become one.
MAX_BINS = 256
_GAMMA = (1 + ERROR) / (1 - ERROR)
_LOG = math.log(_GAMMA)
_LEAST = 1e-9  # nearer to nothing is nothing
_MOST = 1e300  # farther is no farther, or what stands for it would be no number
_OFFSET = 1 << 20  # between the bins of either sign


def bin_of(value: float) -> int:
    """Return the bin of a value; bins rise as their values do, and nothing is in bin 0."""
    if abs(value) < _LEAST:
        return 0
    place = math.ceil(math.log(min(abs(value), _MOST)) / _LOG) + _OFFSET
    return place if value > 0 else -place


def first_bin(passes: Callable[[float], bool]) -> int:
    """Return the first bin that passes a test for more; one beyond the last if none does."""
    last = bin_of(math.inf)
    return bisect_left(range(-last, last + 1), 1, key=lambda at: passes(value_of(at))) - last


def value_of(place: int) -> float:
    """Return the value that stands for a bin."""
    if place == 0:
        return 0.0
    value: float = 2 * _GAMMA ** (abs(place) - _OFFSET) / (_GAMMA + 1)
    return value if place > 0 else -value


def at_rank(bins: dict[int, int], percent: float) -> float | None:
    """Return the value below which `percent` of what the bins hold lies; None of nothing."""
    rank = percent / 100 * (sum(bins.values()) - 1)
    seen = 0
    for place in sorted(bins):
        seen += bins[place]
        if seen > rank:
            return value_of(place)
    return None


class Percentile:
    """Bins in the 60 aligned buckets of a window; a bucket leaves it as a whole."""

    __slots__ = ("_buckets", "_percent", "_width", "_within")

    def __init__(self, within: float, percent: float) -> None:
        self._within = within
        self._width = within / BUCKETS
        self._percent = percent
        self._buckets: dict[int, Counter[int]] = {}

    def add(self, at: float, value: Any, clock: float) -> None:
        self.add_all([at], value, clock)

    def add_all(self, times: Sequence[float], value: Any, clock: float) -> None:
        place = bin_of(value)
        if self._buckets and self._leaves(min(self._buckets)) <= clock:
            inside = self._buckets.items()
            self._buckets = {n: bins for n, bins in inside if self._leaves(n) > clock}
        for at in times:
            bucket = int(at // self._width)
            if self._leaves(bucket) > clock:
                bins = self._buckets.setdefault(bucket, Counter())
                bins[place] += 1
                if len(bins) > MAX_BINS:
                    least, next_least = sorted(bins)[:2]
                    bins[next_least] += bins.pop(least)

    def _leaves(self, bucket: int) -> float:
        return (bucket + BUCKETS) * self._width

    def judged(self, t: float) -> float | None:
        whole: dict[int, int] = {}
        for bucket, bins in self._buckets.items():
            if self._leaves(bucket) > t:
                for place, many in bins.items():
                    whole[place] = whole.get(place, 0) + many
        return at_rank(whole, self._percent)

    def divided(self, t: float, first: int) -> tuple[int, int, list[tuple[float, float]]]:
        """Return how many samples in the window at `t` are in bin `first` or beyond, in how many
        bins of one bucket at most, and when the others leave: from the last on, and how many.
        """
        above, most, leaving = 0, 0, list[tuple[float, float]]()
        for bucket in sorted(self._buckets, reverse=True):
            if (at := self._leaves(bucket)) <= t:
                break
            below = passing = 0
            for place, many in self._buckets[bucket].items():
                if place < first:
                    below += many
                else:
                    above += many
                    passing += 1
            most = max(most, passing)
            leaving.append((at, below))
        return above, most, leaving

    def values(self, t: float) -> Iterator[float]:
        """Yield what stands for the samples in the window at `t`."""
        inside = (bins for bucket, bins in self._buckets.items() if self._leaves(bucket) > t)
        return map(value_of, set(chain.from_iterable(inside)))

    def most(self, t: float) -> float:
        del t
        return NEVER

    def shown(self, t: float) -> float | None:
        return self.judged(t)

    def changes_after(self, t: float) -> float:
        leaving = map(self._leaves, self._buckets)
        return min((at for at in leaving if at > t), default=NEVER)

    def gone_at(self) -> float:
        return self._leaves(max(self._buckets)) if self._buckets else LONG_AGO

    def drop_before(self, until: float) -> None:
        last = math.ceil(until / self._width) - 1
        for bucket in [one for one in self._buckets if one <= last]:
            del self._buckets[bucket]

    def pack(self) -> Any:
        return [[bucket, sorted(bins.items())] for bucket, bins in sorted(self._buckets.items())]

    def load(self, packed: Any) -> None:
        self._buckets = {int(bucket): Counter(dict(bins)) for bucket, bins in packed}
