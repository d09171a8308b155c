"""What one key remembers of its samples for one aggregate: the contract, and states.

A sample taken at `at` is inside the window at T while at + within > T, which is DESIGN's
(T - within, T] with the same rounding as the deadline `at + within`. Every class keeps only what
its comparison can ever ask for, so that memory is bounded by the rule:

- count against n: the newest floor(n) + 1 times; fewer inside means the true count.
- max or min against bounds c1 < ... < ck: the newest time in each of the 2k + 1 regions
  (below, at, between, above); the outermost region still inside decides every comparison.
- distinct against n: the floor(n) + 1 texts seen latest; the others leave the window earlier.
- sum, avg and ratios: 60 aligned buckets a window, as the documentation says.

What is only shown in messages goes as far as a small fixed memory allows.
"""

from typing import Any, Protocol

from sidecar.parse.event import as_text

NEVER = float("inf")
LONG_AGO = float("-inf")

BUCKETS = 60


class Window(Protocol):
    """The samples of one key for one aggregate. `t` is never less than the newest sample's time."""

    def add(self, at: float, value: Any, clock: float) -> None:
        """Take a sample; nothing at or before `clock` less the window's length is asked again."""

    def judged(self, t: float) -> Any:
        """Return the value comparisons see at `t`, None when the aggregate is empty."""

    def shown(self, t: float) -> float | str | None:
        """Return the value people see at `t`."""

    def changes_after(self, t: float) -> float:
        """Return the first instant after `t` at which passing time can change `judged`."""

    def gone_at(self) -> float:
        """Return when the last sample leaves the window."""

    def forget(self, until: float) -> None:
        """Drop the samples up to and including `until`."""

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

    def judged(self, t: float) -> Any:
        return self._value if self.gone_at() > t else None

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

    def forget(self, until: float) -> None:
        if self._at <= until:
            self._at, self._value = LONG_AGO, None

    def pack(self) -> Any:
        return [self._at, self._value]

    def load(self, packed: Any) -> None:
        self._at, self._value = float(packed[0]), packed[1]
