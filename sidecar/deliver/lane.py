"""The queue of one destination: in order, one at a time, closed for a while when it must be."""

from collections import deque
from collections.abc import Iterable

import msgspec

from sidecar.deliver.pace import Bucket
from sidecar.notify.model import Rate
from sidecar.rows import OutboxRow

# What a lane holds in memory; the rest waits in the outbox table.
LANE_LIMIT = 50
# Puts a row that failed twice just behind its neighbours, so that it cannot block them for ever
# if the fault is its own after all.
_BEHIND = 0.001


class Lane:
    """Claimed rows for one destination.

    While it is closed every newcomer is sent back to the outbox, due at the one instant
    `opens_at`: from there they come again in the order they were made.
    """

    def __init__(self, rate: Rate) -> None:
        self.rows: deque[OutboxRow] = deque()
        self.bucket = Bucket()
        self.rate = rate
        self.failures = 0
        self.opens_at = 0.0

    def admit(self, row: OutboxRow, now: float) -> OutboxRow | None:
        """Take the row in and return None, or return it as it must go back to the outbox."""
        if now >= self.opens_at and len(self.rows) >= LANE_LIMIT:
            self.opens_at = now + len(self.rows) / self.rate.per_second
        if now < self.opens_at:
            return _freed(row, self.opens_at)
        self.rows.append(row)
        return None

    def close(self, failed: OutboxRow, until: float) -> list[OutboxRow]:
        """Empty the lane until that instant; return all rows as they must go back.

        The failed row keeps its place at first, and later lets the others go before it.
        """
        self.opens_at = max(self.opens_at, until)
        behind = _BEHIND if failed.attempt > 1 else 0.0
        rows = [_freed(row, self.opens_at) for row in self.rows]
        self.rows.clear()
        return [failed if failed.outcome else _freed(failed, self.opens_at + behind), *rows]

    def idle(self, now: float) -> bool:
        """Say whether forgetting this lane at `now` would change nothing."""
        return not self.rows and now >= self.opens_at and self.bucket.full(now, self.rate)


def freed(rows: Iterable[OutboxRow]) -> list[OutboxRow]:
    """Return rows without their claim, due as they were."""
    return [_freed(row, row.next_at) for row in rows]


def _freed(row: OutboxRow, due: float) -> OutboxRow:
    return msgspec.structs.replace(row, claimed_at=None, next_at=max(row.next_at, due))
