"""The functions of conditions, such as `max(f)`: one entry each says all there is to say of it.

The grammar, `sidecar check`, the schema and the engine ask the entry; none of them knows a function
by its name. A new function is one entry in `FUNCTIONS`, one in the reference model that the tests
hold the engine against, and one row in docs/rules.md.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Literal, NamedTuple

from sidecar.parse.event import as_number, as_text, bounded
from sidecar.rules.extremes import Extremes
from sidecar.rules.firsts import MAX_VALUES, Changes, News
from sidecar.rules.quantile import Percentile
from sidecar.rules.windows import (
    ADDED,
    GREATEST,
    LEAST,
    LONG_AGO,
    MEAN,
    NEVER,
    Buckets,
    Counts,
    Distinct,
    Fold,
    Last,
    Window,
)

Comparator = Literal[">", ">=", "<", "<=", "==", "!=", "=~", "!~", "in"]
# What one key may have to remember is bounded by these (docs/rules.md, Windows).
MAX_COUNT = 10_000
MAX_DISTINCT = 256
MAX_TEXT = 1_000
# How far back `offset` may shift a window, in seconds.
MAX_OFFSET = 30 * 86_400.0
_LARGEST_INT = 2**63 - 1


class Shows(Enum):
    """What a function's value is, to comparisons and in messages."""

    NUMBER = "a number"
    HOW_MANY = "how many, of the events in the window"
    STATE = "a text or number that lasts: no window, compared with texts too, never divided"


class Drift(Enum):
    """Where a value goes while no event comes; the comparisons that so never turn true."""

    FALLS = (">", ">=")
    RISES = ("<", "<=")
    EITHER = ()
    STAYS = (">", ">=", "<", "<=", "==", "!=", "=~", "!~", "in")


class Reach(Enum):
    """What one sample can do to a value; where that is not known, each is judged at once."""

    ITSELF = "the value passes a test, if at all, by a sample that does"
    MEAN = "the same of a test for more or less, but for rounding"
    RANK = "the same, but for what stands for it"
    ONE = "it adds one at most"
    AMOUNT = "it adds itself"
    UNKNOWN = "anything"


class Asked(NamedTuple):
    """What a comparison needs to know: seconds, and the numbers it compares with, ascending.

    `within` is 0 for a state, which has no window. `reckoned`: it is only a part of what is
    compared, so that its value itself has to be known.
    `remember`: for how long a value that was seen is known; `number`: the function's own.
    """

    within: float
    hold: float | None
    bounds: tuple[float, ...]
    reckoned: bool
    remember: float = 0.0
    number: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Function:
    """One function. No part has a default: an entry that lacks one does not pass the type check.

    `gives`: what it measures, as docs/rules.md says it. `most`: the greatest number it may be
    compared with. `sample`: makes of a field's value, which is never None, what the window keeps;
    None for a value of which nothing can be made, which is counted. It is given 1 where the
    function takes no field. `fold`: how samples become one value, None where they cannot; then
    there is no `offset`. `reach`: what a sample can do to a comparison that time alone never
    makes true. `window`: returns what makes an empty window for a key, which those with a `fold`
    need only where nothing is reckoned with. `memory`: for how many
    seconds after its newest event a key is kept for what it remembers, given the rule's `remember`.
    """

    name: str
    gives: str
    takes_field: bool
    takes_number: bool
    shows: Shows
    drift: Drift
    reach: Reach
    most: float
    sample: Callable[[Any], Any]
    fold: Fold | None
    window: Callable[[Asked], Callable[[], Window]]
    memory: Callable[[float], float]

    def __str__(self) -> str:
        return self.name

    @property
    def counts_texts(self) -> bool:
        """Whether which text a sample is changes nothing but what the window keeps."""
        return self.reach is Reach.ONE and self.sample is as_text

    @property
    def usage(self) -> str:
        """How it is written: `max(f)`, `count()`."""
        number = ", 95" if self.takes_number else ""
        return f"{self.name}({'f' if self.takes_field else ''}{number})"


def _storable(raw: Any) -> Any:
    """Return a state as a plain value that MessagePack can hold; long texts are cut."""
    if isinstance(raw, bool | float):
        return raw
    if isinstance(raw, int):
        return raw if abs(raw) <= _LARGEST_INT else str(raw)[:MAX_TEXT]
    return bounded(as_text(raw), MAX_TEXT + 20)


def _enough(bounds: tuple[float, ...]) -> int:
    """Return the least count that lies above every bound."""
    return max(1, math.floor(bounds[-1]) + 1)


def _need(asked: Asked, most: int) -> int:
    """Return the count up to which a window has to tell counts apart."""
    return most if asked.reckoned else _enough(asked.bounds)


def _distinct_window(asked: Asked) -> Callable[[], Window]:
    return partial(Distinct, asked.within, _need(asked, MAX_DISTINCT + 1))


def no_memory(remember: float) -> float:
    del remember
    return LONG_AGO


COUNT = Function(
    name="count",
    gives="how many events",
    takes_field=False,
    takes_number=False,
    shows=Shows.HOW_MANY,
    drift=Drift.FALLS,
    reach=Reach.ONE,
    most=MAX_COUNT,
    sample=float,
    fold=ADDED,
    window=lambda asked: partial(Counts, asked.within, _enough(asked.bounds)),
    memory=no_memory,
)
_ALL = (
    COUNT,
    Function(
        name="sum",
        gives="the sum of the numbers",
        takes_field=True,
        takes_number=False,
        shows=Shows.NUMBER,
        drift=Drift.EITHER,
        reach=Reach.AMOUNT,
        most=math.inf,
        sample=as_number,
        fold=ADDED,
        window=lambda asked: partial(Buckets, asked.within, ADDED),
        memory=no_memory,
    ),
    Function(
        name="min",
        gives="the least number",
        takes_field=True,
        takes_number=False,
        shows=Shows.NUMBER,
        drift=Drift.RISES,
        reach=Reach.ITSELF,
        most=math.inf,
        sample=as_number,
        fold=LEAST,
        window=lambda asked: partial(Extremes, asked.within, asked.bounds, -1),
        memory=no_memory,
    ),
    Function(
        name="max",
        gives="the greatest number",
        takes_field=True,
        takes_number=False,
        shows=Shows.NUMBER,
        drift=Drift.FALLS,
        reach=Reach.ITSELF,
        most=math.inf,
        sample=as_number,
        fold=GREATEST,
        window=lambda asked: partial(Extremes, asked.within, asked.bounds, 1),
        memory=no_memory,
    ),
    Function(
        name="avg",
        gives="the mean of the numbers",
        takes_field=True,
        takes_number=False,
        shows=Shows.NUMBER,
        drift=Drift.EITHER,
        reach=Reach.MEAN,
        most=math.inf,
        sample=as_number,
        fold=MEAN,
        window=lambda asked: partial(Buckets, asked.within, MEAN),
        memory=no_memory,
    ),
    Function(
        name="distinct",
        gives="how many different texts",
        takes_field=True,
        takes_number=False,
        shows=Shows.HOW_MANY,
        drift=Drift.FALLS,
        reach=Reach.ONE,
        most=MAX_DISTINCT,
        sample=as_text,
        fold=None,
        window=_distinct_window,
        memory=no_memory,
    ),
    Function(
        name="changed",
        gives="how often the value differed from the one before",
        takes_field=True,
        takes_number=False,
        shows=Shows.HOW_MANY,
        drift=Drift.FALLS,
        reach=Reach.ONE,
        most=MAX_COUNT,
        sample=lambda raw: bounded(as_text(raw), MAX_TEXT + 20),
        fold=None,
        window=lambda asked: partial(Changes, asked.within, _need(asked, MAX_COUNT)),
        memory=lambda _: NEVER,
    ),
    Function(
        name="new",
        gives="how many values were seen for the first time",
        takes_field=True,
        takes_number=False,
        shows=Shows.HOW_MANY,
        drift=Drift.FALLS,
        reach=Reach.ONE,
        most=MAX_VALUES,
        sample=as_text,
        fold=None,
        window=lambda asked: partial(News, asked.within, _need(asked, MAX_VALUES), asked.remember),
        memory=lambda remember: remember,
    ),
    Function(
        name="percentile",
        gives="the number below which so many per cent lie",
        takes_field=True,
        takes_number=True,
        shows=Shows.NUMBER,
        drift=Drift.EITHER,
        reach=Reach.RANK,
        most=math.inf,
        sample=as_number,
        fold=None,
        window=lambda asked: partial(Percentile, asked.within, asked.number),
        memory=no_memory,
    ),
    Function(
        name="last",
        gives="the newest value",
        takes_field=True,
        takes_number=False,
        shows=Shows.STATE,
        drift=Drift.STAYS,
        reach=Reach.ITSELF,
        most=math.inf,
        sample=_storable,
        fold=None,
        window=lambda asked: partial(Last, asked.hold),
        memory=no_memory,
    ),
)
FUNCTIONS: Mapping[str, Function] = {function.name: function for function in _ALL}


def in_any_order(window: Window, function: Function) -> bool:
    """Return whether to such a window it makes no difference which of two samples came first."""
    added = isinstance(window, Buckets) and function is COUNT  # whole numbers are not rounded
    return added or isinstance(window, Counts | Extremes | Percentile)
