"""A destination gets `burst` messages at once, then `per_second`."""

import pytest

from sidecar.deliver.waiting import Bucket
from sidecar.notify.model import Rate

RATE = Rate(per_second=2.0, burst=3)


def full() -> Bucket:
    """Return a bucket that was not used for long."""
    return Bucket(-10_000.0)


def spend(bucket: Bucket, now: float) -> float:
    """Spend a token and return 0.0, or return the seconds until there is one."""
    seconds = bucket.seconds(now, RATE)
    if not seconds:
        bucket.spend(now, RATE)
    return seconds


def test_a_burst_passes_at_once() -> None:
    bucket = full()
    assert [spend(bucket, 100.0) for _ in range(3)] == [0, 0, 0]


def test_a_start_gives_no_new_burst() -> None:
    bucket = Bucket(100.0)
    assert [spend(bucket, 100.0) for _ in range(2)] == [0, pytest.approx(0.5)]


def test_after_a_burst_the_rate_says_how_long_to_wait() -> None:
    bucket = full()
    for _ in range(3):
        spend(bucket, 100.0)
    assert spend(bucket, 100.0) == pytest.approx(0.5)
    assert spend(bucket, 100.4) == pytest.approx(0.1)


def test_waiting_as_long_as_told_is_enough() -> None:
    bucket = full()
    now = 1_700_000_000.1
    for _ in range(1000):
        now += spend(bucket, now)
        assert spend(bucket, now) == 0 or spend(bucket, now) > 1e-6


def test_asking_costs_nothing() -> None:
    bucket = full()
    for _ in range(3):
        spend(bucket, 100.0)
    assert [spend(bucket, 100.0) for _ in range(5)] == [pytest.approx(0.5)] * 5


def test_over_a_minute_no_more_pass_than_burst_and_rate() -> None:
    bucket = full()
    passed = sum(spend(bucket, 100.0 + tick / 100) == 0 for tick in range(6000))
    assert passed in (3 + 119, 3 + 120)


def test_a_pause_fills_it_up_to_the_burst_and_no_further() -> None:
    bucket = full()
    for _ in range(3):
        spend(bucket, 100.0)
    assert [spend(bucket, 10_000.0) == 0 for _ in range(4)] == [True, True, True, False]


def test_a_burst_below_one_still_lets_messages_pass() -> None:
    assert full().seconds(100.0, Rate(per_second=1.0, burst=0)) == 0


def test_it_is_full_again_once_what_was_spent_has_come_back() -> None:
    bucket = full()
    spend(bucket, 100.0)
    assert [bucket.full(now, RATE) for now in (100.4, 100.5)] == [False, True]
