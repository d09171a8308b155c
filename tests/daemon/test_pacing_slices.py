"""How the size of a step follows from the time that steps take."""

import pytest

from sidecar.daemon.pacing import (
    FAR_BEHIND,
    FAR_SECONDS,
    FIRST,
    LEAST,
    MOST,
    TARGET_SECONDS,
    Slice,
    worth,
)


def settled(bytes_per_second: float, unread: int = 0) -> int:
    """Return the size after many steps through a log that is read at this speed."""
    size = Slice()
    for _ in range(20):
        size.took(size.budget, size.budget / bytes_per_second, unread=unread)
    return size.budget


@pytest.mark.parametrize("speed", [2e7, 5e7, 1e8], ids=["slow", "middling", "fast"])
def test_a_step_comes_to_last_the_target(speed: float) -> None:
    assert settled(speed) / speed == pytest.approx(TARGET_SECONDS, rel=0.01)


@pytest.mark.parametrize("speed", [2e6, 2e7, 1e8])
@pytest.mark.parametrize("unread", [1 << 20, 1 << 25])
def test_how_long_the_rest_takes_is_known_once_a_step_takes_as_long_as_it_should(
    speed: float, unread: int
) -> None:
    size, known = Slice(), list[float]()
    for _ in range(20):
        size.took(size.budget, size.budget / speed, unread=unread)
        known.append(size.seconds(unread))
    assert known[-1] == pytest.approx(unread / speed, rel=0.02)
    assert max(known) <= 2.5 * known[-1]
    assert Slice().seconds(unread) == 0


def test_with_much_unread_it_lasts_longer() -> None:
    assert settled(2e7, FAR_BEHIND) / 2e7 == pytest.approx(FAR_SECONDS, rel=0.01)


@pytest.mark.parametrize(("speed", "size"), [(1e3, LEAST), (1e12, MOST)], ids=["crawl", "fly"])
def test_the_size_stays_within_its_bounds(speed: float, size: int) -> None:
    assert settled(speed) == size


def test_it_falls_at_once_and_rises_twofold_at_most() -> None:
    size = Slice()
    size.took(FIRST, TARGET_SECONDS / 100)
    assert size.budget == 2 * FIRST
    size.took(2 * FIRST, TARGET_SECONDS * 4)
    assert size.budget == FIRST // 2


def test_one_step_on_a_quicker_or_slower_processor_changes_little() -> None:
    size = Slice()
    for _ in range(20):
        size.took(size.budget, TARGET_SECONDS)
    before = size.budget
    size.took(before, TARGET_SECONDS / 1.6)
    assert before < size.budget < before * 1.2
    size.budget = before
    size.took(before, TARGET_SECONDS * 1.6)
    assert before * 0.8 < size.budget < before


def test_a_step_that_found_little_says_nothing() -> None:
    size = Slice()
    size.took(FIRST // 3, TARGET_SECONDS * 50)
    assert size.budget == FIRST


def test_where_a_look_takes_longer_than_a_step_may_it_reads_for_twice_as_long() -> None:
    """Ten thousand files: slices of 25 ms between looks of 300 ms would leave all unread."""
    size = Slice()
    for _ in range(20):
        size.took(size.budget, size.budget / 2e7, look=0.3)
    assert size.budget / 2e7 == pytest.approx(0.6, rel=0.02)


def test_on_a_busy_machine_steps_do_not_shrink_with_the_share_of_it_that_they_get() -> None:
    assert worth(0.05, 0.025) == worth(0.1, 0.025) == 0.025
    assert worth(0.4, 0.025) == 0.1  # whatever it waited for, somebody waited for it
