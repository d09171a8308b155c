"""`changed`, `new` and `percentile` by hand: each case a sentence, its numbers worked out."""

import math
from typing import Any

import pytest

from sidecar.rules.firsts import MAX_VALUES
from sidecar.rules.quantile import (
    ERROR,
    MAX_BINS,
    Percentile,
    at_rank,
    bin_of,
    first_bin,
    value_of,
)
from support.rules import DAY, HOUR, Bench, event, rule

Seen = tuple[float, Any]

# What is said, the condition, (time, value) of one field, and when the alert of an hour fires.
CASES: dict[str, tuple[str, list[Seen], list[float]]] = {
    "the first plan is no change": ("changed(n) >= 1", [(0, "a")], []),
    "the same plan again is no change": ("changed(n) >= 1", [(0, "a"), (1, "a")], []),
    "another plan is one": ("changed(n) >= 1", [(0, "a"), (1, "b")], [1]),
    "also after forty days": ("changed(n) >= 1", [(0, "a"), (40 * DAY, "b")], [40 * DAY]),
    "back to the first one is one, too": (
        "changed(n) >= 1", [(0, "a"), (1, "b"), (2 * HOUR, "a")], [1, 2 * HOUR],
    ),
    "two changes within the hour are two": (
        "changed(n) >= 2", [(0, "a"), (1, "b"), (2, "b"), (3, "a")], [3],
    ),
    "two changes an hour apart are never two": (
        "changed(n) >= 2", [(0, "a"), (1, "b"), (HOUR + 1, "a")], [],
    ),
    "an older event that comes late changes nothing": (
        "changed(n) >= 1", [(10, "a"), (5, "b"), (11, "a")], [],
    ),
    "an event without the field changes nothing": (
        "changed(n) >= 1", [(0, "a"), (1, None), (2, "a")], [],
    ),
    "a number and the same number as text are one value": (
        "changed(n) >= 1", [(0, 3), (1, "3")], [],
    ),
    "the first error is new": ("new(n) >= 1", [(0, "a")], [0]),
    "the same one is not": ("new(n) >= 1", [(0, "a"), (2 * HOUR, "a")], [0]),
    "another one is": ("new(n) >= 1", [(0, "a"), (2 * HOUR, "b")], [0, 2 * HOUR]),
    "one not seen for ten days is new again": (
        "new(n) >= 1", [(0, "a"), (10 * DAY, "a")], [0, 10 * DAY],
    ),
    "one seen within ten days is not, as often as it comes": (
        "new(n) >= 1", [(0, "a"), (6 * DAY, "a"), (12 * DAY, "a")], [0],
    ),
    "three new ones within an hour are three": (
        "new(n) >= 3", [(0, "a"), (1, "b"), (2, "a"), (3, "c")], [3],
    ),
    "half of two lies at the lower one": ("percentile(n, 50) >= 5", [(0, 1), (1, 9)], []),
    "half of three is the middle one": ("percentile(n, 50) > 4.9", [(0, 1), (1, 9), (2, 5)], [2]),
    "all of them lie at the greatest": ("percentile(n, 100) > 8.9", [(0, 9), (1, 1)], [0]),
    "none of them lies below the least": ("percentile(n, 0) < 1.1", [(0, 9), (1, 1)], []),
    "what is no number is no sample": ("percentile(n, 50) > 0", [(0, "many"), (1, True)], []),
    "negative numbers lie below": ("percentile(n, 50) > -5.1 and count() >= 1", [(0, -5)], [0]),
}  # fmt: skip


@pytest.mark.parametrize(("condition", "seen", "fires"), CASES.values(), ids=CASES)
def test_a_case_by_hand(condition: str, seen: list[Seen], fires: list[float]) -> None:
    bench = Bench(rule(condition, remember=10 * DAY), stale_after=DAY)
    now = 0.0
    for at, value in seen:
        now = max(now, at)
        bench.engine.tick(now, now=now, complete=True)
        bench.see(event(at, n=value), read_at=now)
        bench.restart(now)
    assert [one.at for one in bench.all if one.kind == "fired"] == fires


def test_a_key_knows_the_thousand_values_seen_latest() -> None:
    bench = Bench(rule("new(n) >= 1", remember=10 * DAY, within=1.0))
    for number in range(MAX_VALUES + 1):
        bench.see(event(number * 10, n=f"v{number}"))
    fired = len(bench.all)
    bench.see(event(20_000, n="v1"))
    assert len(bench.all) == fired + 1  # the end of the last one
    bench.see(event(20_010, n="v0"))  # forgotten for v1000
    assert bench.all[-1].kind == "fired"


@pytest.mark.parametrize("value", [1e-6, 0.003, 1, 2.5, 99, 12_345.678, 7e12])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_bin_knows_its_values_to_within_the_error(value: float, sign: int) -> None:
    stands_for = value_of(bin_of(sign * value))
    assert abs(stands_for - sign * value) <= ERROR * value * 1.000001


def test_bins_rise_as_values_do() -> None:
    values = [-1e9, -3, -0.5, -1e-12, 0, 1e-12, 0.5, 3, 1e9]
    bins = [bin_of(value) for value in values]
    assert bins == sorted(bins)
    assert value_of(bin_of(0)) == 0


def test_without_room_the_least_numbers_become_one() -> None:
    window = Percentile(3600, 99)
    for number in range(2_000):
        window.add(0.0, 1.03**number, 0.0)
    (bins,) = window._buckets.values()
    assert len(bins) == MAX_BINS
    exact = 1.03 ** (0.99 * 1_999)
    assert window.judged(0.0) == pytest.approx(exact, rel=0.03)
    assert at_rank({}, 50) is None


@pytest.mark.parametrize("value", [1.7976931348623157e308, -1.7e308, 1e-320, 0.0])
def test_any_number_has_a_bin_that_stands_for_a_number(value: float) -> None:
    window = Percentile(3600, 50)
    window.add(0.0, value, 0.0)
    judged = window.judged(0.0)
    assert judged is not None
    assert math.isfinite(judged)
    assert abs(judged) <= abs(value)


@pytest.mark.parametrize("bound", [-1e290, -7.0, -1e-12, 0.0, 1e-12, 3.0, 1e299, 1e301])
def test_bins_from_the_first_that_passes_on_are_those_that_pass(bound: float) -> None:
    def passes(value: float) -> bool:
        return value > bound

    first = first_bin(passes)
    values = [sign * 10.0**power for sign in (1, -1) for power in range(-12, 305)]
    each = {bin_of(value) for value in (*values, 0.0, bound)}
    assert {one for one in each if one >= first} == {one for one in each if passes(value_of(one))}
