"""What follows from an attempt at delivery: done, again later, once more as plain text, or dead.

Pure: outcome, row and time are arguments.
"""

import math
from dataclasses import dataclass
from typing import assert_never

import msgspec

from sidecar.notify.model import OWNER, Receiver
from sidecar.receivers.base import Failed, FailureKind, Outcome, Sent, Verdict
from sidecar.rows import AMBIGUOUS, DEAD, EXPIRED, SENT, OutboxRow

QUICK_DELAY = 2.0
FIRST_DELAY = 4.0
LONGEST_DELAY = 240.0
# The most that anybody's Retry-After puts a message off.
LONGEST_WAIT = 900.0
# A destination is tried again after these at the latest, with its next message: one that is flaky
# is not dead, and the row that failed waits by itself.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 15.0
# Begins what is noted of a row whose destination asked for that.
ASKED_TO_WAIT = f"{FailureKind.RATE_LIMITED}:"
# How much a delay may grow by chance, so that many rows do not come back in one instant.
_SPREAD = 0.2
_LONGEST_DETAIL = 500

# Failures that say something about the road and nothing about the message: whatever is next for
# the same destination would fail as well.
_OUTAGES = frozenset(
    {
        FailureKind.RATE_LIMITED,
        FailureKind.SERVER_ERROR,
        FailureKind.CONNECT,
        FailureKind.TIMEOUT,
        FailureKind.CONNECTION_LOST,
        FailureKind.TLS,
    }
)


@dataclass(frozen=True, slots=True)
class Done:
    """Accepted; nothing more to do."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Send the same again at `at`. `counted`: the attempt uses up one of the delays."""

    at: float
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Repair:
    """Send once more at once, as plain text."""


@dataclass(frozen=True, slots=True)
class Dead:
    """Give up; `reason` is one scrubbed line."""

    reason: str


NextStep = Done | RetryAt | Repair | Dead


def next_step(
    row: OutboxRow,
    outcome: Outcome,
    *,
    now: float,
    receiver: Receiver,
    jitter: float,
    worked: float = math.inf,
) -> NextStep:
    """Return what follows from an attempt that ended at `now`; `jitter` is in [0, 1).

    The destination took a message `worked` seconds ago: whatever a row has behind it, it waits no
    longer than that, or than LONGEST_PAUSE, for one that is merely flaky. A 429 is no attempt. The
    server's Retry-After is a least delay. What would come after `expires_at` never comes.
    """
    if isinstance(outcome, Sent):
        return Done()
    if outcome.verdict is Verdict.DEAD:
        return Dead(outcome.detail)
    if outcome.verdict is Verdict.REPAIR and not row.plain:
        return Repair()
    counted = outcome.kind is not FailureKind.RATE_LIMITED
    failures = row.attempt + counted
    flaky = outcome.verdict is Verdict.RETRY
    quick, most = (receiver.quick_retries, worked) if flaky else (0, math.inf)
    at = now + pause(outcome, failures, quick_retries=quick, jitter=jitter, most=most)
    if at >= row.expires_at:
        return Dead(f"{EXPIRED} after {failures} failed attempts, the last: {outcome.detail}")
    return RetryAt(at, counted)


def pause(
    failed: Failed,
    failures: int,
    *,
    quick_retries: int,
    jitter: float,
    most: float = math.inf,
) -> float:
    """Return the seconds to wait after `failed`, the last of so many failures in a row.

    The first `quick_retries` delays are QUICK_DELAY, then FIRST_DELAY doubles up to
    LONGEST_DELAY, or to `most` if that is longer than LONGEST_PAUSE; `jitter` in [0, 1) adds up to
    a fifth. A rate limit's own Retry-After is the
    delay, any other failure's the least delay (RFC 9110 section 10.2.3).
    """
    asked = min(failed.retry_after or 0.0, LONGEST_WAIT)
    if failed.kind is FailureKind.RATE_LIMITED and asked:
        return asked
    doublings = max(0, min(failures - quick_retries - 1, 16))
    quick = 0 < failures <= quick_retries
    longest = min(LONGEST_DELAY, max(LONGEST_PAUSE, most))
    delay = QUICK_DELAY if quick else min(longest, FIRST_DELAY * 2.0**doublings)
    return max(delay * (1 + _SPREAD * jitter), asked)


def queue_pause(failed: Failed, failures: int, *, jitter: float) -> float:
    """Return the seconds that a destination is left alone, after so many failures in a row.

    A single one says little: the next message is tried at once. A second one makes it
    FIRST_PAUSE, which doubles up to LONGEST_PAUSE. Only a rate limit can ask for more.
    """
    if failed.kind is FailureKind.RATE_LIMITED:
        return pause(failed, failures, quick_retries=1, jitter=jitter)
    doublings = min(failures - 2, 16)
    waits = 0.0 if doublings < 0 else min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**doublings)
    return max(waits * (1 + _SPREAD * jitter), min(failed.retry_after or 0.0, LONGEST_PAUSE))


def is_outage(outcome: Outcome) -> bool:
    """Say whether the next message for the same destination would fail as well."""
    return (
        isinstance(outcome, Failed)
        and outcome.verdict is Verdict.RETRY
        and outcome.kind in _OUTAGES
    )


def is_out_of_reach(
    outcome: Outcome, step: NextStep, after: OutboxRow, failures: int, receiver: Receiver
) -> bool:
    """Say whether those behind a destination are to be told by another way.

    `after` is the row after the attempt, `failures` the last failures in a row of its destination,
    whatever they were about. A rate limit is none.
    """
    if not isinstance(outcome, Failed) or isinstance(step, Repair):
        return False
    if outcome.kind is FailureKind.RATE_LIMITED:
        return False
    if after.destination == OWNER and outcome.kind in (FailureKind.OWNER, FailureKind.DESTINATION):
        return False  # one owner says nothing of the others
    dead = outcome.verdict in (Verdict.PARK, Verdict.DEAD) or isinstance(step, Dead)
    return dead or max(after.attempt, failures) > receiver.quick_retries


def row_after(row: OutboxRow, outcome: Outcome, step: NextStep, *, now: float) -> OutboxRow:
    """Return the row as `step` leaves it after an attempt that ended at `now`.

    Unclaimed, but for a Repair, which follows at once.
    """
    detail = _detail(row, outcome)
    attempt = row.attempt + _was_made(outcome)
    replace = msgspec.structs.replace
    match step:
        case Done():
            reference = outcome.reference if isinstance(outcome, Sent) else ""
            done = replace(row, outcome=SENT, reference=reference)
            return replace(done, claimed_at=None, attempt=attempt, detail=detail)
        case RetryAt(at, counted):
            attempt = row.attempt + counted
            return replace(row, claimed_at=None, attempt=attempt, next_at=at, detail=detail)
        case Repair():
            return replace(row, claimed_at=now, attempt=attempt, plain=True, detail=detail)
        case Dead(reason):
            detail = _line(_doubt(detail) + reason)
            end = EXPIRED if reason.startswith(EXPIRED) else DEAD
            return replace(row, claimed_at=None, attempt=attempt, outcome=end, detail=detail)
        case _:
            assert_never(step)


def expire(row: OutboxRow, now: float) -> Failed | None:
    """Return the failure of a row whose time is over, None while it may still be sent.

    Each gets one attempt, however late that is.
    """
    if now < row.expires_at or not row.attempt:
        return None
    last = f", the last: {row.detail.removeprefix(AMBIGUOUS)}" if row.detail else ""
    detail = f"{EXPIRED} after {row.attempt} failed attempts{last}"
    return Failed(FailureKind.EXPIRED, Verdict.DEAD, detail)


def interrupted(row: OutboxRow) -> OutboxRow:
    """Return a row found claimed at start: free again, due as before, its past uncertain."""
    detail = f"{AMBIGUOUS}the process ended during an attempt, which may have arrived"
    return msgspec.structs.replace(row, claimed_at=None, detail=detail)


def _was_made(outcome: Outcome) -> bool:
    return isinstance(outcome, Sent) or outcome.kind is not FailureKind.EXPIRED


def _detail(row: OutboxRow, outcome: Outcome) -> str:
    """Return what is to be known of a row's attempts so far, in one line."""
    if isinstance(outcome, Sent):
        return row.detail if _doubt(row.detail) else ""
    doubt = AMBIGUOUS if outcome.ambiguous else _doubt(row.detail)
    return _line(f"{doubt}{outcome.kind}: {said(outcome)}")


def said(failed: Failed) -> str:
    """Return what went wrong, and how long the other side asked to be left alone, if it did."""
    if not failed.retry_after:
        return failed.detail
    most = f", {LONGEST_WAIT:.0f} s at most" if failed.retry_after > LONGEST_WAIT else ""
    return f"{failed.detail} (asks to wait {failed.retry_after:.0f} s{most})"


def _doubt(detail: str) -> str:
    return AMBIGUOUS if detail.startswith(AMBIGUOUS) else ""


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_DETAIL]
