"""A destination gets `burst` messages at once, then `per_second`."""

import pytest

from sidecar.deliver.queue import Bucket
from sidecar.notify.model import Rate

RATE = Rate(per_second=2.0, burst=3)


def test_a_burst_passes_at_once() -> None:
    bucket = Bucket()
    assert [bucket.spend(100.0, RATE) for _ in range(3)] == [0, 0, 0]


def test_after_a_burst_the_rate_says_how_long_to_wait() -> None:
    bucket = Bucket()
    for _ in range(3):
        bucket.spend(100.0, RATE)
    assert bucket.spend(100.0, RATE) == pytest.approx(0.5)
    assert bucket.spend(100.4, RATE) == pytest.approx(0.1)


def test_waiting_as_long_as_told_is_enough() -> None:
    bucket = Bucket()
    now = 1_700_000_000.1
    for _ in range(1000):
        now += bucket.spend(now, RATE)
        assert bucket.spend(now, RATE) == 0 or bucket.spend(now, RATE) > 1e-6


def test_asking_costs_nothing() -> None:
    bucket = Bucket()
    for _ in range(3):
        bucket.spend(100.0, RATE)
    waits = [bucket.spend(100.0, RATE) for _ in range(5)]
    assert waits == [pytest.approx(0.5)] * 5


def test_over_a_minute_no_more_pass_than_burst_and_rate() -> None:
    bucket = Bucket()
    passed = sum(bucket.spend(100.0 + tick / 100, RATE) == 0 for tick in range(6000))
    assert passed in (3 + 119, 3 + 120)


def test_a_pause_fills_it_up_to_the_burst_and_no_further() -> None:
    bucket = Bucket()
    for _ in range(3):
        bucket.spend(100.0, RATE)
    passed = [bucket.spend(10_000.0, RATE) == 0 for _ in range(4)]
    assert passed == [True, True, True, False]


def test_a_clock_set_back_neither_gives_nor_takes() -> None:
    bucket = Bucket()
    for _ in range(3):
        bucket.spend(100.0, RATE)
    assert bucket.spend(40.0, RATE) == pytest.approx(0.5)
    assert bucket.spend(40.5, RATE) == 0


def test_a_burst_below_one_still_lets_messages_pass() -> None:
    bucket = Bucket()
    assert bucket.spend(100.0, Rate(per_second=1.0, burst=0)) == 0


def test_it_is_full_again_once_what_was_spent_has_come_back() -> None:
    bucket = Bucket()
    bucket.spend(100.0, RATE)
    assert [bucket.full(now, RATE) for now in (100.4, 100.5)] == [False, True]
