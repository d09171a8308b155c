"""The token bucket that keeps a destination's messages within its rate."""

from sidecar.notify.model import Rate


class Bucket:
    """Starts full; time is an argument, so it never waits itself."""

    __slots__ = ("_at", "_spent")

    def __init__(self) -> None:
        self._spent = 0.0
        self._at = 0.0

    def take(self, now: float, rate: Rate) -> float:
        """Take a token and return 0.0, or return the seconds until one is there."""
        self._refill(now, rate)
        missing = self._spent + 1.0 - max(1, rate.burst)
        # Waking a rounding error too early must not cost another wait.
        if missing > _ROUNDING:
            return missing / rate.per_second
        self._spent += 1.0
        return 0.0

    def full(self, now: float, rate: Rate) -> bool:
        """Say whether forgetting this bucket at `now` would change nothing."""
        self._refill(now, rate)
        return self._spent == 0.0

    def _refill(self, now: float, rate: Rate) -> None:
        # A clock set back gives nothing and takes nothing.
        elapsed = max(0.0, now - self._at)
        self._at = now
        self._spent = max(0.0, self._spent - elapsed * rate.per_second)


_ROUNDING = 1e-6
