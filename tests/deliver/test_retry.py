"""After an attempt: sent, again at a certain instant, once more as plain text, or never."""

import math
from dataclasses import replace

import pytest

from sidecar.deliver.retry import (
    Dead,
    Done,
    NextStep,
    Repair,
    RetryAt,
    expire,
    interrupted,
    is_out_of_reach,
    is_outage,
    next_step,
    pause,
    row_after,
)
from sidecar.notify.model import Receiver
from sidecar.receivers.base import Failed, FailureKind, Outcome, Sent, Verdict
from sidecar.rows import OutboxRow
from support.rows import outbox_row

NOW = 2000.0
DOWN = Failed(FailureKind.CONNECT, Verdict.RETRY, "connection refused")
LOST = Failed(FailureKind.CONNECTION_LOST, Verdict.RETRY, "cut", ambiguous=True)
LIMITED = Failed(FailureKind.RATE_LIMITED, Verdict.RETRY, "HTTP 429", retry_after=7.0)
BAD = Failed(FailureKind.PAYLOAD, Verdict.REPAIR, "HTTP 400 invalid_blocks")
PARKED = Failed(FailureKind.AUTH, Verdict.PARK, "HTTP 200 invalid_auth")
GONE = Failed(FailureKind.DESTINATION, Verdict.DEAD, "HTTP 404 channel_not_found")


def decided(row: OutboxRow, outcome: Outcome, quick: int = 0, jitter: float = 0.0) -> NextStep:
    receiver = Receiver(name="team", quick_retries=quick)
    return next_step(row, outcome, now=NOW, receiver=receiver, jitter=jitter)


def after(row: OutboxRow, outcome: Outcome) -> OutboxRow:
    return row_after(row, outcome, decided(row, outcome), now=NOW)


def delays(quick: int, jitter: float = 0.0) -> list[float]:
    """Return the delays after the first ten attempts of one row that never gets through."""
    return [pause(DOWN, n, quick_retries=quick, jitter=jitter) for n in range(1, 11)]


@pytest.mark.parametrize(
    ("outcome", "decision"),
    [
        (Sent("1.2"), Done()),
        (DOWN, RetryAt(NOW + 4.0)),
        (LIMITED, RetryAt(NOW + 7.0, counted=False)),
        (BAD, Repair()),
        (GONE, Dead("HTTP 404 channel_not_found")),
    ],
    ids=["sent", "down", "limited", "bad payload", "gone"],
)
def test_what_follows_from_an_outcome(outcome: Outcome, decision: NextStep) -> None:
    assert decided(outbox_row(), outcome) == decision


def test_without_quick_retries_the_delays_double_up_to_four_minutes() -> None:
    assert delays(quick=0) == [4, 8, 16, 32, 64, 128, 240, 240, 240, 240]


def test_quick_retries_come_first_within_seconds() -> None:
    assert delays(quick=3)[:5] == [2, 2, 2, 4, 8]


@pytest.mark.parametrize(
    ("worked", "waits"), [(1.0, 15.0), (40.0, 40.0), (1000.0, 240.0), (math.inf, 240.0)]
)
def test_a_row_waits_no_longer_than_its_destination_has_failed(worked: float, waits: float) -> None:
    row, receiver = outbox_row(attempt=9), Receiver(name="team", quick_retries=0)
    step = next_step(row, DOWN, now=NOW, receiver=receiver, jitter=0.0, worked=worked)
    assert step == RetryAt(NOW + waits)


def test_what_somebody_has_to_mend_waits_though_other_messages_pass() -> None:
    row, receiver = outbox_row(attempt=9), Receiver(name="team")
    step = next_step(row, PARKED, now=NOW, receiver=receiver, jitter=0.0, worked=1.0)
    assert step == RetryAt(NOW + 240.0)


def test_jitter_adds_up_to_a_fifth() -> None:
    assert delays(quick=0, jitter=0.5)[:2] == [4.4, 8.8]


def test_a_thousand_failures_are_no_overflow() -> None:
    assert pause(DOWN, 10_000, quick_retries=0, jitter=0.0) == 240.0


def test_the_attempts_of_the_row_choose_the_delay() -> None:
    assert decided(outbox_row(attempt=2), DOWN) == RetryAt(NOW + 16.0)


@pytest.mark.parametrize(
    ("retry_after", "delay"), [(100.0, 100.0), (1.0, 4.0), (None, 4.0)], ids=str
)
def test_another_failures_retry_after_is_the_least_delay(
    retry_after: float | None, delay: float
) -> None:
    failed = Failed(FailureKind.SERVER_ERROR, Verdict.RETRY, "HTTP 503", retry_after=retry_after)
    assert decided(outbox_row(), failed) == RetryAt(NOW + delay)


def test_a_rate_limits_retry_after_is_the_delay_whatever_the_attempts() -> None:
    assert decided(outbox_row(attempt=9), LIMITED) == RetryAt(NOW + 7.0, counted=False)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (7.0, "rate_limited: HTTP 429 (asks to wait 7 s)"),
        (31_536_000.0, "rate_limited: HTTP 429 (asks to wait 31536000 s, 900 s at most)"),
        (None, "rate_limited: HTTP 429"),
    ],
)
def test_how_long_somebody_asks_to_wait_is_said(asked: float | None, said: str) -> None:
    limited = Failed(FailureKind.RATE_LIMITED, Verdict.RETRY, "HTTP 429", retry_after=asked)
    assert after(outbox_row(), limited).detail == said


def test_a_rate_limit_without_a_wish_backs_off() -> None:
    silent = Failed(FailureKind.RATE_LIMITED, Verdict.RETRY, "HTTP 429")
    assert decided(outbox_row(), silent) == RetryAt(NOW + 4.0, counted=False)


def test_a_payload_refused_as_plain_text_too_waits_for_somebody() -> None:
    assert decided(outbox_row(plain=True), BAD) == RetryAt(NOW + 4.0)


def test_what_somebody_has_to_mend_is_not_tried_quickly() -> None:
    parked = Failed(FailureKind.AUTH, Verdict.PARK, "HTTP 200 invalid_auth")
    assert decided(outbox_row(), parked) == RetryAt(NOW + 4.0)


def test_a_wish_to_wait_for_a_year_is_bounded() -> None:
    limited = Failed(FailureKind.RATE_LIMITED, Verdict.RETRY, "", retry_after=31_536_000.0)
    assert decided(outbox_row(), limited) == RetryAt(NOW + 900.0, counted=False)


@pytest.mark.parametrize(
    ("expires_at", "dead"), [(NOW + 4.0, True), (NOW + 4.1, False)], ids=["at", "after"]
)
def test_what_would_come_at_its_expiry_never_comes(expires_at: float, dead: bool) -> None:  # noqa: FBT001 - a table
    decision = decided(outbox_row(expires_at=expires_at), DOWN)
    assert isinstance(decision, Dead) == dead


def test_an_expired_row_says_how_often_and_why() -> None:
    decision = decided(outbox_row(attempt=4, expires_at=NOW), DOWN)
    assert decision == Dead("expired after 5 failed attempts, the last: connection refused")


def test_a_sent_row_carries_the_other_sides_reference() -> None:
    row = after(outbox_row(), Sent("1700.1"))
    assert (row.outcome, row.reference, row.claimed_at, row.attempt) == ("sent", "1700.1", None, 1)


def test_a_row_to_retry_is_free_and_due_then() -> None:
    row = after(outbox_row(), DOWN)
    assert (row.outcome, row.claimed_at, row.next_at, row.attempt) == ("", None, NOW + 4.0, 1)
    assert row.detail == "connect: connection refused"


def test_a_rate_limit_is_no_attempt() -> None:
    assert after(outbox_row(attempt=2), LIMITED).attempt == 2


def test_a_row_to_repair_stays_claimed_and_is_plain() -> None:
    row = after(outbox_row(), BAD)
    assert (row.plain, row.claimed_at, row.outcome) == (True, NOW, "")


def test_a_dead_row_keeps_the_reason() -> None:
    row = after(outbox_row(), GONE)
    assert (row.outcome, row.detail, row.claimed_at) == (
        "dead",
        "HTTP 404 channel_not_found",
        None,
    )


def test_an_ambiguous_attempt_is_recorded() -> None:
    assert after(outbox_row(), LOST).detail == "ambiguous: connection_lost: cut"


@pytest.mark.parametrize("later", [DOWN, GONE, Sent()], ids=["failed", "dead", "sent"])
def test_a_doubt_stays_to_the_end(later: Outcome) -> None:
    doubtful = after(outbox_row(), LOST)
    assert after(doubtful, later).detail.startswith("ambiguous: ")


def test_a_sent_row_without_doubt_has_no_detail() -> None:
    assert after(after(outbox_row(), DOWN), Sent()).detail == ""


def test_a_detail_is_one_line_of_bounded_length() -> None:
    long = Failed(FailureKind.OTHER, Verdict.RETRY, "a\r\nb" + "x" * 10_000)
    detail = after(outbox_row(), long).detail
    assert detail.startswith("other: a bx")
    assert len(detail) == 500


def test_an_interrupted_row_is_free_due_as_before_and_in_doubt() -> None:
    row = interrupted(outbox_row(attempt=1, next_at=5.0))
    assert (row.claimed_at, row.next_at, row.attempt) == (None, 5.0, 1)
    assert row.detail.startswith("ambiguous: ")


def test_a_row_within_its_time_is_not_expired() -> None:
    assert expire(outbox_row(attempt=1, expires_at=NOW), NOW - 0.1) is None


def test_each_row_gets_an_attempt_however_late() -> None:
    assert expire(outbox_row(attempt=0, expires_at=NOW), NOW) is None


def test_an_expired_row_dies_without_counting_an_attempt() -> None:
    row = outbox_row(attempt=3, expires_at=NOW, detail="connect: refused")
    outcome = expire(row, NOW)
    assert outcome is not None
    dead = after(row, outcome)
    assert (dead.outcome, dead.attempt) == ("expired", 3)
    assert dead.detail == "expired after 3 failed attempts, the last: connect: refused"


@pytest.mark.parametrize(
    ("outcome", "outage"),
    [
        (DOWN, True),
        (LOST, True),
        (LIMITED, True),
        (Failed(FailureKind.TLS, Verdict.RETRY, ""), True),
        (Failed(FailureKind.OTHER, Verdict.RETRY, ""), False),
        (BAD, False),
        (GONE, False),
        (Failed(FailureKind.AUTH, Verdict.DEAD, ""), False),
        (Sent(), False),
    ],
)
def test_only_troubles_of_the_road_are_an_outage(outcome: Outcome, outage: bool) -> None:  # noqa: FBT001 - a table
    assert is_outage(outcome) == outage


@pytest.mark.parametrize(
    ("outcome", "attempt", "failures", "out"),
    [
        (Sent("1"), 9, 9, False),
        (LIMITED, 9, 9, False),
        (BAD, 0, 0, False),  # once more as plain text
        (DOWN, 0, 1, False),
        (DOWN, 1, 1, True),  # the quick retry has failed as well
        (DOWN, 0, 2, True),  # this is its first, and another message had one before
        (replace(GONE, verdict=Verdict.PARK), 0, 0, True),
        (GONE, 0, 0, True),
    ],
)
def test_who_is_out_of_reach_after_the_quick_retries_or_at_once(
    outcome: Outcome,
    attempt: int,
    failures: int,
    out: bool,  # noqa: FBT001 - a table
) -> None:
    row, receiver = outbox_row(attempt=attempt), Receiver(name="team", quick_retries=1)
    step = next_step(row, outcome, now=NOW, receiver=receiver, jitter=0.0)
    found = row_after(row, outcome, step, now=NOW)
    assert is_out_of_reach(outcome, step, found, failures, receiver) == out
