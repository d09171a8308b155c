"""The queue of one destination, and the token bucket that keeps its rate.

Pure: time is an argument, and nothing here waits.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from sidecar.notify.model import Rate
from sidecar.rows import OutboxRow

_ROUNDING = 1e-6


class Bucket:
    """A token bucket, full at first; time is an argument, so it never waits itself."""

    __slots__ = ("_at", "_spent")

    def __init__(self) -> None:
        self._spent = 0.0
        self._at = 0.0

    def spend(self, now: float, rate: Rate) -> float:
        """Spend a token and return 0.0, or return the seconds until there is one."""
        self._refill(now, rate)
        missing = self._spent + 1.0 - max(1, rate.burst)
        # Waking a rounding error too early must not cost another wait.
        if missing > _ROUNDING:
            return missing / rate.per_second
        self._spent += 1.0
        return 0.0

    def full(self, now: float, rate: Rate) -> bool:
        """Say whether a new bucket would do the same from `now` on."""
        self._refill(now, rate)
        return self._spent == 0.0

    def _refill(self, now: float, rate: Rate) -> None:
        # A clock set back gives nothing and takes nothing.
        elapsed = max(0.0, now - self._at)
        self._at = now
        self._spent = max(0.0, self._spent - elapsed * rate.per_second)


# What a queue holds in memory; the rest waits in the outbox table.
QUEUE_LIMIT = 50
# Puts a row that failed twice just behind its neighbours, so that it cannot block them for ever
# if the fault is its own after all.
_BEHIND = 0.001


class SendQueue:
    """Claimed rows of one destination: sent in order, one at a time, paused after an outage.

    While it is closed every newcomer goes back to the outbox, due at the one instant `opens_at`:
    from there they come again in the order they were made.
    """

    def __init__(self, rate: Rate) -> None:
        self.rows: deque[OutboxRow] = deque()
        self.bucket = Bucket()
        self.rate = rate
        self.failures = 0
        self.opens_at = 0.0

    def add(self, row: OutboxRow, now: float) -> OutboxRow | None:
        """Queue the row and return None, or return it as it must go back to the outbox."""
        if now >= self.opens_at and len(self.rows) >= QUEUE_LIMIT:
            self.opens_at = now + len(self.rows) / self.rate.per_second
        if now < self.opens_at:
            return _freed(row, self.opens_at)
        self.rows.append(row)
        return None

    def close(self, failed: OutboxRow, until: float) -> list[OutboxRow]:
        """Empty the queue until that instant; return all rows as they must go back.

        The failed row keeps its place at first, and later lets the others go before it.
        """
        self.opens_at = max(self.opens_at, until)
        behind = _BEHIND if failed.attempt > 1 else 0.0
        rows = [_freed(row, self.opens_at) for row in self.rows]
        self.rows.clear()
        return [failed if failed.outcome else _freed(failed, self.opens_at + behind), *rows]

    def idle(self, now: float) -> bool:
        """Say whether a new queue would do the same from `now` on."""
        return not self.rows and now >= self.opens_at and self.bucket.full(now, self.rate)


def freed(rows: Iterable[OutboxRow]) -> list[OutboxRow]:
    """Return rows without their claim, due as they were."""
    return [_freed(row, row.next_at) for row in rows]


def _freed(row: OutboxRow, due: float) -> OutboxRow:
    return msgspec.structs.replace(row, claimed_at=None, next_at=max(row.next_at, due))
