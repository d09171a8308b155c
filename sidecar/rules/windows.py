"""What one key remembers of its samples for one aggregate.

A sample taken at `at` is inside the window at T while at + within > T: (T - within, T], with the
same rounding as the deadline `at + within`. Every class keeps only what its comparison can ever ask
for, so that memory is bounded by the rule:

- `Last`, a state: the newest value.
- `Counts`, count against n: the newest floor(n) + 1 times; fewer inside means the true count.
- `Distinct`, distinct against n: the floor(n) + 1 texts seen latest; the others leave earlier.
- `Buckets`, sums, averages and ratios: 60 aligned buckets a window, as docs/rules.md says.

Those of max and min are in `extremes`, those of percentiles in `quantile`. What is only shown in
messages goes as far as a small fixed memory allows.
"""

import hashlib
import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Sequence
from operator import add, truediv
from typing import Any, NamedTuple, Protocol

from sidecar.parse.event import as_text

NEVER = float("inf")
LONG_AGO = float("-inf")
BUCKETS = 60
# What four bytes can count: 4 billion samples of one key in one bucket.
_MOST = 2**32 - 1
# Kept per key only to be shown: times, so that small counts are exact, and texts likewise.
SHOWN_TIMES = 32
SHOWN_TEXTS = 48


def is_earlier(at: float, other: float) -> bool:
    """Return whether `at` lies in an earlier second than `other`; of one second, arrival decides.

    Stamps are often whole seconds: within one they say nothing about what came first.
    """
    return at < other and at < other // 1.0


def second_after(at: float) -> float:
    """Return when the second of `at` is over."""
    return at // 1.0 + 1.0


class Window(Protocol):
    """The samples of one key for one aggregate. `t` is never less than the newest sample's time."""

    def add(self, at: float, value: Any, clock: float) -> None:
        """Take a sample; nothing at or before `clock` less the window's length is asked again."""

    def add_all(self, times: Sequence[float], value: Any, clock: float) -> None:
        """Take samples of one value, at least one and none of them later than `clock`."""

    def judged(self, t: float) -> Any:
        """Return the value comparisons see at `t`, None when the aggregate is empty."""

    def most(self, t: float) -> float:
        """Return what `judged` is never more than from `t` on, if no sample comes; no state is."""

    def shown(self, t: float) -> float | str | None:
        """Return the value people see at `t`."""

    def changes_after(self, t: float) -> float:
        """Return the first instant after `t` at which passing time can change `judged`."""

    def gone_at(self) -> float:
        """Return when the last sample leaves the window."""

    def drop_before(self, until: float) -> None:
        """Drop the samples taken before `until`."""

    def pack(self) -> Any:
        """Return the memory as plain values for `load`."""

    def load(self, packed: Any) -> None: ...


class Last:
    """The value with the greatest event time, then arrival; dropped `hold` seconds after it."""

    __slots__ = ("_at", "_hold", "_value")

    def __init__(self, hold: float | None) -> None:
        self._hold = NEVER if hold is None else hold
        self._at = LONG_AGO
        self._value: Any = None

    def add(self, at: float, value: Any, clock: float) -> None:
        if at >= self._at and at + self._hold > clock:
            self._at, self._value = at, value

    def add_all(self, times: Sequence[float], value: Any, clock: float) -> None:
        self.add(max(times), value, clock)

    def repeats(self, at: float, value: Any) -> bool:
        """Return whether this sample, and as many more like it, would leave the value as it is."""
        return at < self._at or (value == self._value and type(value) is type(self._value))

    def judged(self, t: float) -> Any:
        return self._value if self.gone_at() > t else None

    def most(self, t: float) -> float:
        return LONG_AGO if self.judged(t) is None else NEVER

    def shown(self, t: float) -> float | str | None:
        value = self.judged(t)
        if value is None:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if number else as_text(value)

    def changes_after(self, t: float) -> float:
        return gone if (gone := self.gone_at()) > t else NEVER

    def gone_at(self) -> float:
        return LONG_AGO if self._value is None else self._at + self._hold

    def drop_before(self, until: float) -> None:
        if self._at < until:
            self._at, self._value = LONG_AGO, None

    def pack(self) -> Any:
        return [self._at, self._value]

    def load(self, packed: Any) -> None:
        self._at, self._value = float(packed[0]), packed[1]


class Fold(NamedTuple):
    """How samples become one value: `merge` two of one bucket, `total` those of all buckets.

    `empty`: the value without a sample. `mean`: the total is divided by the number of samples.
    """

    merge: Callable[[float, float], float]
    total: Callable[[Sequence[float]], float]
    empty: float | None = None
    mean: bool = False


ADDED = Fold(add, sum, empty=0.0)
MEAN = Fold(add, sum, mean=True)
LEAST = Fold(min, min)
GREATEST = Fold(max, max)


class Buckets:
    """Samples in 60 aligned buckets a window, of which only those with samples take memory.

    Bucket b holds the samples in [b * width, (b + 1) * width), width being a 60th of the window; it
    is inside the window at T while (b + 60) * width > T, so that the window spans 59 to 60 widths.
    The buckets in use stand in rising order, as distances from the first one's number `_first`.
    """

    __slots__ = ("_counts", "_first", "_fold", "_steps", "_values", "_width")

    def __init__(self, within: float, fold: Fold) -> None:
        self._width = within / BUCKETS
        self._fold = fold
        self._first = 0
        self._steps = bytearray()
        self._values = array("d")
        self._counts = array("I") if fold.mean else None

    def add(self, at: float, value: float, clock: float) -> None:
        self._add_to(int(at // self._width), value, clock)

    def _add_to(self, bucket: int, value: float, clock: float) -> None:
        if self._leaves(bucket) <= clock:
            return
        self._drop(self._gone(clock))
        if not self._steps:
            self._first = bucket
        elif bucket < self._first:
            self._move_first(bucket)
        step = bucket - self._first
        place = bisect_left(self._steps, step)
        if place < len(self._steps) and self._steps[place] == step:
            self._values[place] = self._fold.merge(self._values[place], value)
            if self._counts is not None:
                self._counts[place] = min(self._counts[place] + 1, _MOST)
        else:
            self._insert(place, step, value)

    def add_all(self, times: Sequence[float], value: float, clock: float) -> None:
        if self._fold is not ADDED or value != 1.0:  # other sums depend on their order
            for at in times:
                self.add(at, value, clock)
            return
        many = Counter([int(at // self._width) for at in times])
        for bucket in sorted(many):
            self._add_to(bucket, float(many[bucket]), clock)

    def _insert(self, place: int, step: int, value: float) -> None:
        self._steps.insert(place, step)
        self._values.insert(place, value)
        if self._counts is not None:
            self._counts.insert(place, 1)

    def _move_first(self, first: int) -> None:
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
            self._move_first(self._first + self._steps[0])

    def _leaves(self, bucket: int) -> float:
        return (bucket + BUCKETS) * self._width

    def _gone(self, t: float) -> int:
        """Return how many of the oldest buckets have left the window at `t`."""
        if not self._steps or self._leaves(self._first) > t:
            return 0
        return bisect_right(self._steps, t, key=lambda step: self._leaves(self._first + step))

    def judged(self, t: float) -> float | None:
        gone = self._gone(t)
        if gone == len(self._steps):
            return self._fold.empty
        total = self._fold.total(self._values[gone:])
        return total if self._counts is None else total / sum(self._counts[gone:])

    def most(self, t: float) -> float:
        values = self._values[self._gone(t) :]
        if self._counts is not None:
            means = map(truediv, values, self._counts[self._gone(t) :])
            return max(means, default=LONG_AGO)
        if self._fold.empty is None:
            return max(values, default=LONG_AGO)
        return sum(value for value in values if value > 0)

    def leaving(self, t: float) -> list[tuple[float, float]]:
        """Return when what is inside at `t` leaves, from the last on, and how much then."""
        inside = range(self._gone(t), len(self._steps))
        leaves = [self._leaves(self._first + self._steps[place]) for place in inside]
        return list(zip(reversed(leaves), reversed(self._values), strict=False))

    def shown(self, t: float) -> float | None:
        return self.judged(t)

    def changes_after(self, t: float) -> float:
        gone = self._gone(t)
        return self._leaves(self._first + self._steps[gone]) if gone < len(self._steps) else NEVER

    def gone_at(self) -> float:
        return self._leaves(self._first + self._steps[-1]) if self._steps else LONG_AGO

    def drop_before(self, until: float) -> None:
        last = math.ceil(until / self._width) - 1
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
            self._put_aside((times.pop(0),), clock)

    def add_all(self, times: Sequence[float], value: Any, clock: float) -> None:  # noqa: ARG002 - same
        within = self._within
        del self._times[: self._first(clock)]
        inside = [at for at in times if at + within > clock]
        self._times = array("d", sorted([*self._times, *inside]))
        beyond = len(self._times) - self._keep
        if beyond > 0:
            self._put_aside(self._times[:beyond], clock)
            del self._times[:beyond]

    def _put_aside(self, times: Sequence[float], clock: float) -> None:
        if self._older is None:
            self._older = Buckets(self._within, ADDED)
        self._older.add_all(times, 1.0, clock)

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

    def most(self, t: float) -> float:
        return self.judged(t)

    def shown(self, t: float) -> float | None:
        older = None if self._older is None else self._older.judged(t)
        return len(self._times) - self._first(t) + (older or 0.0)

    def changes_after(self, t: float) -> float:
        first = max(self._first(t), len(self._times) - self._need)
        return self._times[first] + self._within if first < len(self._times) else NEVER

    def gone_at(self) -> float:
        return self._times[-1] + self._within if self._times else LONG_AGO

    def drop_before(self, until: float) -> None:
        del self._times[: bisect_left(self._times, until)]
        if self._older is not None:
            self._older.drop_before(until)

    def pack(self) -> Any:
        return [self._times.tobytes(), None if self._older is None else self._older.pack()]

    def load(self, packed: Any) -> None:
        times, older = packed
        self._times = array("d", times)
        if older is not None:
            self._older = Buckets(self._within, ADDED)
            self._older.load(older)


class Distinct:
    """Digests of the texts seen latest, each with its newest time: 16 bytes a text."""

    __slots__ = ("_keep", "_need", "_newest", "_texts", "_within")

    def __init__(self, within: float, need: int) -> None:
        self._within = within
        self._need = need
        self._keep = max(need, SHOWN_TEXTS)
        self._texts = array("Q")
        self._newest = array("d")  # for each text, in the same order

    def add(self, at: float, value: str, clock: float) -> None:
        if at + self._within <= clock:
            return
        digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        text = int.from_bytes(digest)
        try:
            place = self._texts.index(text)
        except ValueError:
            self._texts.append(text)
            self._newest.append(at)
        else:
            self._newest[place] = max(self._newest[place], at)
        if len(self._texts) > self._keep:
            self._keep_latest(clock)

    def add_all(self, times: Sequence[float], value: str, clock: float) -> None:
        self.add(max(times), value, clock)

    def _keep_latest(self, clock: float) -> None:
        """Drop what has left the window and, if that is nothing, the text seen longest ago."""
        self._keep_those(lambda at: at + self._within > clock)
        if len(self._texts) > self._keep:
            oldest = self._newest.index(min(self._newest))
            del self._texts[oldest], self._newest[oldest]

    def _keep_those(self, wanted: Callable[[float], bool]) -> None:
        kept = [pair for pair in zip(self._texts, self._newest, strict=True) if wanted(pair[1])]
        self._texts = array("Q", [text for text, _ in kept])
        self._newest = array("d", [at for _, at in kept])

    def _inside(self, t: float) -> list[float]:
        return [at for at in self._newest if at + self._within > t]

    def judged(self, t: float) -> int:
        return min(self._need, len(self._inside(t)))

    def most(self, t: float) -> float:
        return self.judged(t)

    def shown(self, t: float) -> float:
        return float(len(self._inside(t)))

    def changes_after(self, t: float) -> float:
        inside = sorted(self._inside(t))[-self._need :]
        return inside[0] + self._within if inside else NEVER

    def gone_at(self) -> float:
        return max(self._newest, default=LONG_AGO) + self._within

    def drop_before(self, until: float) -> None:
        self._keep_those(lambda at: at >= until)

    def pack(self) -> Any:
        return [self._texts.tobytes(), self._newest.tobytes()]

    def load(self, packed: Any) -> None:
        texts, newest = packed
        self._texts, self._newest = array("Q", texts), array("d", newest)
        if len(self._texts) != len(self._newest):
            raise ValueError("texts and times of different lengths")
