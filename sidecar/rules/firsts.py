"""Windows that count what differs from before: changes of a value, and values never seen yet.

What was before is remembered longer than the window lasts, in the order of arrival: an event that
is older than what is known makes no change.
"""

import hashlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from typing import Any

from sidecar.rules.windows import LONG_AGO, Counts

# Different values of one field that a key knows; then the one seen longest ago is forgotten.
MAX_VALUES = 1_000


class Firsts(ABC):
    """Counts some samples of a window; which ones, `is_counted` says."""

    __slots__ = ("_counts", "_newest", "_within")

    def __init__(self, within: float, need: int) -> None:
        self._within = within
        self._counts = Counts(within, need)
        self._newest = LONG_AGO

    @abstractmethod
    def repeats(self, at: float, value: str) -> bool:
        """Return whether this sample, and as many more like it, would count nothing."""

    @abstractmethod
    def is_counted(self, at: float, value: str) -> bool:
        """Return whether this sample counts, and remember it."""

    def add(self, at: float, value: Any, clock: float) -> None:
        self._newest = max(self._newest, at)
        if self.is_counted(at, value):
            self._counts.add(at, 1.0, clock)

    def add_all(self, times: Sequence[float], value: Any, clock: float) -> None:
        for at in times:
            self.add(at, value, clock)

    def judged(self, t: float) -> int:
        return self._counts.judged(t)

    def most(self, t: float) -> float:
        return self._counts.most(t)

    def shown(self, t: float) -> float | None:
        return self._counts.shown(t)

    def changes_after(self, t: float) -> float:
        return self._counts.changes_after(t)

    def gone_at(self) -> float:
        return self._newest + self._within

    def drop_before(self, until: float) -> None:
        self._counts.drop_before(until)
        if self._newest < until:
            self._newest = LONG_AGO


def _digest(value: str) -> int:
    digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest)


class Changes(Firsts):
    """How often the newest value differed from the one before it, however long ago that was."""

    __slots__ = ("_at", "_value")

    def __init__(self, within: float, need: int) -> None:
        super().__init__(within, need)
        self._at = LONG_AGO
        self._value: str | None = None

    def repeats(self, at: float, value: str) -> bool:
        return at < self._at or value == self._value

    def add_all(self, times: Sequence[float], value: Any, clock: float) -> None:
        newer = [at for at in times if at >= self._at]
        if newer:  # of which the first may differ
            self.add(newer[0], value, clock)
            self._at = max(newer)
        self._newest = max(self._newest, *times)

    def is_counted(self, at: float, value: str) -> bool:
        if at < self._at:
            return False
        before, self._at, self._value = self._value, at, value
        return before is not None and before != value

    def pack(self) -> Any:
        return [self._newest, self._counts.pack(), self._at, self._value]

    def load(self, packed: Any) -> None:
        newest, counts, at, value = packed
        self._newest, self._at, self._value = float(newest), float(at), value
        self._counts.load(counts)


class News(Firsts):
    """How many values came that were not seen for `remember` seconds, or never. 16 bytes each."""

    __slots__ = ("_remember", "_seen")

    def __init__(self, within: float, need: int, remember: float) -> None:
        super().__init__(within, need)
        self._remember = remember
        self._seen: dict[int, float] = {}  # digests of values, with their newest time

    def repeats(self, at: float, value: str) -> bool:
        return self._seen.get(_digest(value), LONG_AGO) + self._remember > at

    def is_counted(self, at: float, value: str) -> bool:
        text = _digest(value)
        before = self._seen.get(text, LONG_AGO)
        self._seen[text] = max(before, at)
        if len(self._seen) > MAX_VALUES:
            del self._seen[min(self._seen, key=self._seen.__getitem__)]
        return before + self._remember <= at

    def pack(self) -> Any:
        texts, times = array("Q", self._seen), array("d", self._seen.values())
        return [self._newest, self._counts.pack(), texts.tobytes(), times.tobytes()]

    def load(self, packed: Any) -> None:
        newest, counts, texts, times = packed
        self._newest = float(newest)
        self._counts.load(counts)
        self._seen = dict(zip(array("Q", texts), array("d", times), strict=True))
