"""When the next message may go to a destination: its rate, and its pauses after an outage.

Pure: time is an argument, in seconds of a clock that never jumps, and nothing here waits.
"""

import math

from sidecar.notify.model import Rate

_ROUNDING = 1e-6


class Bucket:
    """A token bucket with one token at first: to start again must not give a new burst."""

    __slots__ = ("_at", "_spent")

    def __init__(self, started: float) -> None:
        self._spent: float | None = None
        self._at = started

    def seconds(self, now: float, rate: Rate) -> float:
        """Return how long it is until there is a token, 0.0 when there is one."""
        # Waking a rounding error too early must not cost another wait.
        missing = self._refilled(now, rate) + 1.0 - max(1, rate.burst)
        return missing / rate.per_second if missing > _ROUNDING else 0.0

    def spend(self, now: float, rate: Rate) -> None:
        """Spend a token, be there one or not."""
        self._spent = self._refilled(now, rate) + 1.0
        self._at = now

    def full(self, now: float, rate: Rate) -> bool:
        """Say whether all tokens are back."""
        return self._refilled(now, rate) == 0.0

    def _refilled(self, now: float, rate: Rate) -> float:
        """Return how many tokens are spent at `now`."""
        spent = max(1, rate.burst) - 1.0 if self._spent is None else self._spent
        return max(0.0, spent - (now - self._at) * rate.per_second)


class SendQueue:
    """The queue of one destination: one message at a time, at its rate, paused after an outage.

    What is queued waits in the outbox table; here is only what says when the next one may go.
    """

    def __init__(self, started: float) -> None:
        self.bucket = Bucket(started)
        self.rate = Rate()
        self.failures = 0
        self.worked_at = -math.inf  # when it last took a message
        self.opens_at = 0.0

    def seconds(self, now: float) -> float:
        """Return how long it is until the next message may go."""
        return max(self.opens_at - now, self.bucket.seconds(now, self.rate), 0.0)

    def idle(self, now: float) -> bool:
        """Say whether there is nothing to remember at `now`."""
        return now >= self.opens_at and self.bucket.full(now, self.rate)
