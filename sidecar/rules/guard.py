"""Guards: what says of a sample, before any window has taken it, that no verdict can change by it.

A key may take samples whose whole cost its `room` can bear, in any order, and its condition still
cannot hold. Only once a sample is too dear are the windows brought up to date and asked. A guard
looks at parts of the condition: while none of them can hold, the whole cannot. What time alone does
is part of what it reckons with: where samples that leave the window could make the condition true,
half the room is for them, and the room ends once that half is used up.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple, Protocol

from sidecar.rules.aggregates import COUNT, Function, Reach
from sidecar.rules.condition import (
    Aggregate,
    And,
    Comparison,
    Not,
    Or,
    Part,
    bounds,
    time_can_turn,
    value_test,
)
from sidecar.rules.quantile import MAX_BINS, Percentile, bin_of, first_bin, value_of
from sidecar.rules.windows import NEVER, Buckets, Window

Windows = tuple[Window, ...]
Samples = Sequence[tuple[int, Any]]


class Room(NamedTuple):
    """What samples may cost before `until`; negative where the condition may hold by now."""

    left: float
    until: float = NEVER


_ALL = Room(NEVER)
_NONE = Room(0.0)
_NONE_LEFT = Room(-1.0)
# Sums are rounded, each in another order: what lies so near a bound is beyond it.
_NEARLY = 1e-9


class Guard(Protocol):
    """`cost` is that of an event's samples; `room` what a key with these windows can bear from `t`
    on, `ends` whether by time alone. `windows` None: no sample yet.
    """

    @property
    def ends(self) -> bool: ...
    def cost(self, samples: Samples) -> float: ...
    def room(self, windows: Windows | None, t: float) -> Room: ...


class NoGuard:
    """Of nothing but a key without samples is it known that its condition does not hold."""

    ends = False

    def cost(self, samples: Samples) -> float:
        return NEVER if samples else 0.0

    def room(self, windows: Windows | None, t: float) -> Room:
        del t
        return _NONE if windows is None else _NONE_LEFT


class OfValue:
    """An extreme or a state: only a sample that passes the test itself can make it true."""

    ends = False

    def __init__(self, place: int, passes: Callable[[Any], bool]) -> None:
        self._place = place
        self._passes = passes

    def cost(self, samples: Samples) -> float:
        passing = any(place == self._place and self._passes(value) for place, value in samples)
        return NEVER if passing else 0.0

    def room(self, windows: Windows | None, t: float) -> Room:
        value = None if windows is None else windows[self._place].judged(t)
        return _ALL if value is None or not self._passes(value) else _NONE_LEFT


class OfPercentile:
    """A percentile against numbers: it is what stands for one of its samples, and none passes."""

    ends = False

    def __init__(self, place: int, passes: Callable[[float], bool]) -> None:
        self._place = place
        self._passes = passes

    def cost(self, samples: Samples) -> float:
        mine = (value for place, value in samples if place == self._place)
        return NEVER if any(self._passes(value_of(bin_of(value))) for value in mine) else 0.0

    def room(self, windows: Windows | None, t: float) -> Room:
        window = None if windows is None else windows[self._place]
        known = isinstance(window, Percentile) and any(map(self._passes, window.values(t)))
        return _NONE_LEFT if known else _ALL


class OfRank:
    """A percentile that is to be more: it is not while too few samples are."""

    ends = True

    def __init__(self, place: int, percent: float, passes: Callable[[float], bool]) -> None:
        self._place = place
        self._for_one = (100 - percent) / max(percent, _NEARLY)
        self._first = first_bin(passes)

    def cost(self, samples: Samples) -> float:
        mine = (value for place, value in samples if place == self._place)
        return float(sum(bin_of(value) >= self._first for value in mine))

    def room(self, windows: Windows | None, t: float) -> Room:
        window = None if windows is None else windows[self._place]
        if not isinstance(window, Percentile):
            return _NONE
        above, bins, leaving = window.divided(t, self._first)
        # Without room for bins the least of a bucket's become one, of which others may pass.
        most = MAX_BINS - 2.0 - bins
        return _lasting(leaving, less(self._for_one), above, most)


class OfMean:
    """A mean that is to be more than a number: it is not while all its samples are less."""

    ends = False

    def __init__(self, place: int, bound: float) -> None:
        self._place = place
        self._least = less(bound)

    def cost(self, samples: Samples) -> float:
        passing = any(place == self._place and value >= self._least for place, value in samples)
        return NEVER if passing else 0.0

    def room(self, windows: Windows | None, t: float) -> Room:
        passing = windows is not None and windows[self._place].most(t) >= self._least
        return _NONE_LEFT if passing else _ALL


class OfAmount:
    """How many or how much against a number: each sample adds something, and `most` is too little.

    Where anything is enough, a sample costs more than any key can bear, and others cost nothing.
    """

    ends = False

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

    def room(self, windows: Windows | None, t: float) -> Room:
        taken = 0.0 if windows is None else windows[self._place].most(t)
        if self._most:
            return Room(self._most - taken)
        return _NONE_LEFT if taken else _ALL


class OfRatio:
    """How much for each of what is counted."""

    ends = True

    def __init__(self, place: int, divisor: int, bound: float, *, ones: bool) -> None:
        self._place = place
        self._divisor = divisor
        self._bound = less(bound)
        self._added = OfAmount(place, NEVER, ones=ones)

    def cost(self, samples: Samples) -> float:
        return self._added.cost(samples)

    def room(self, windows: Windows | None, t: float) -> Room:
        divisor = None if windows is None else windows[self._divisor]
        if windows is None or not isinstance(divisor, Buckets):
            return _NONE
        above = windows[self._place].most(t)
        return _lasting(divisor.leaving(t), self._bound, above, NEVER)


class AnyOf:
    """None of these can hold: what an `or` needs."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self._guards = guards
        self.ends = any(guard.ends for guard in guards)

    def cost(self, samples: Samples) -> float:
        return sum(guard.cost(samples) for guard in self._guards)

    def room(self, windows: Windows | None, t: float) -> Room:
        left, until = zip(*[guard.room(windows, t) for guard in self._guards], strict=True)
        return Room(min(left), min(until))


class OneOf:
    """One of these cannot hold, whichever has most room: what an `and` needs."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self._guards = guards
        self.ends = any(guard.ends for guard in guards)

    def cost(self, samples: Samples) -> float:
        return max(guard.cost(samples) for guard in self._guards)

    def room(self, windows: Windows | None, t: float) -> Room:
        return max(guard.room(windows, t) for guard in self._guards)


def guard_of(part: Part, places: Iterator[int], *, holds: bool = True) -> Guard | None:
    """Return what guards `part` from coming to `holds`, None where nothing can be said."""
    match part:
        case Comparison():
            mine = [next(places) for _ in part.aggregates]
            if part.function is not None:
                return _of_one(part, part.function, mine[0], holds=holds)
            guard = part.ratio and _of_ratio(part, *part.ratio, *mine)
            return guard if holds else None
        case Not():
            return guard_of(part.part, places, holds=not holds)
        case And() | Or():
            found = [guard_of(one, places, holds=holds) for one in part.parts]
            known = list(filter(None, found))
            if isinstance(part, And) is holds:
                return OneOf(known) if known else None
            return AnyOf(known) if len(known) == len(found) else None


def _of_one(part: Comparison, function: Function, place: int, *, holds: bool) -> Guard | None:
    test = value_test(part)
    if function.reach is Reach.ONE and test(0) is not holds:
        few = takewhile(lambda number: test(number) is not holds, range(int(bounds(part)[-1]) + 2))
        return OfAmount(place, max(few), ones=True)
    if not holds:
        return None
    if function.reach is Reach.ITSELF and not time_can_turn(part):
        return OfValue(place, test)
    if function.reach is Reach.RANK and part.op in (">", ">="):
        return OfRank(place, part.aggregates[0].number, test)
    if function.reach is Reach.RANK:
        return OfPercentile(place, test)
    if part.op in (">", ">=") and part.number is not None:
        if function.reach is Reach.AMOUNT and part.number > 0:
            return OfAmount(place, less(part.number), ones=False)
        if function.reach is Reach.MEAN:
            return OfMean(place, part.number)
    return None


def _of_ratio(
    part: Comparison, above: Aggregate, below: Aggregate, place: int, divisor: int
) -> Guard | None:
    reach, counted = above.function.reach, below.function is COUNT
    more = part.op in (">", ">=") and part.number is not None and part.number > 0
    if not counted or not more or reach not in (Reach.ONE, Reach.AMOUNT):
        return None
    return OfRatio(place, divisor, part.number or 0.0, ones=reach is Reach.ONE)


def _lasting(
    leaving: Sequence[tuple[float, float]], for_one: float, above: float, most: float
) -> Room:
    """Return the room where at most `for_one` may be above for each that is not, as `above` are.

    `leaving`: when those leave the window, from the last on, and how many do so by then.
    """
    whole = for_one * sum(many for _, many in leaving) - above
    left, kept = min(whole / 2, most), 0.0
    for at, many in leaving:
        kept += many
        if for_one * kept - above >= left:
            return Room(left, at)
    return Room(left)


def less(bound: float) -> float:
    """Return a number that is surely less than `bound`, which is not negative, or nothing."""
    return bound - abs(bound) * _NEARLY
