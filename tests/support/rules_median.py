"""A throw-away function of conditions, `median(f)`, added to the house as one entry."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from sidecar.parse.event import as_number
from sidecar.rules.aggregates import FUNCTIONS, Drift, Function, Reach, Shows, no_memory
from sidecar.rules.windows import LONG_AGO, NEVER


class Everything:
    """Every sample of the window, with its time."""

    def __init__(self, within: float) -> None:
        self._within = within
        self._samples: list[tuple[float, float]] = []

    def add(self, at: float, value: Any, clock: float) -> None:
        self._samples = [one for one in self._samples if one[0] + self._within > clock]
        self._samples.append((at, value))

    def add_all(self, times: Sequence[float], value: Any, clock: float) -> None:
        for at in times:
            self.add(at, value, clock)

    def judged(self, t: float) -> float | None:
        inside = [value for at, value in self._samples if at + self._within > t]
        return statistics.median(inside) if inside else None

    def most(self, t: float) -> float:
        return max(
            (value for at, value in self._samples if at + self._within > t), default=LONG_AGO
        )

    def shown(self, t: float) -> float | None:
        return self.judged(t)

    def changes_after(self, t: float) -> float:
        leaving = (at + self._within for at, _ in self._samples)
        return min((one for one in leaving if one > t), default=NEVER)

    def gone_at(self) -> float:
        return max((at for at, _ in self._samples), default=LONG_AGO) + self._within

    def drop_before(self, until: float) -> None:
        self._samples = [one for one in self._samples if one[0] >= until]

    def pack(self) -> Any:
        return self._samples

    def load(self, packed: Any) -> None:
        self._samples = [(at, value) for at, value in packed]


MEDIAN = Function(
    name="median",
    gives="the middle number",
    takes_field=True,
    takes_number=False,
    shows=Shows.NUMBER,
    drift=Drift.EITHER,
    reach=Reach.UNKNOWN,
    most=math.inf,
    sample=as_number,
    fold=None,
    window=lambda asked: lambda: Everything(asked.within),
    memory=no_memory,
)
WITH_MEDIAN = {**FUNCTIONS, "median": MEDIAN}
