"""What one key remembers for `distinct(f)`: the texts seen latest, as digests."""

import hashlib
from array import array
from collections.abc import Callable
from typing import Any

from sidecar.rules.window import LONG_AGO, NEVER

# Texts kept per key at least, so that small numbers are shown exactly.
SHOWN_TEXTS = 48


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

    def shown(self, t: float) -> float:
        return float(len(self._inside(t)))

    def changes_after(self, t: float) -> float:
        inside = sorted(self._inside(t))[-self._need :]
        return inside[0] + self._within if inside else NEVER

    def gone_at(self) -> float:
        return max(self._newest, default=LONG_AGO) + self._within

    def forget(self, until: float) -> None:
        self._keep_those(lambda at: at > until)

    def pack(self) -> Any:
        return [self._texts.tobytes(), self._newest.tobytes()]

    def load(self, packed: Any) -> None:
        texts, newest = packed
        self._texts, self._newest = array("Q", texts), array("d", newest)
        if len(self._texts) != len(self._newest):
            raise ValueError("texts and times of different lengths")
