"""How long the daemon rests between steps, and when it listens to file system events."""

import pytest

from sidecar.daemon.pacing import (
    CALM_SECONDS,
    DOUBT_SECONDS,
    LONGEST_REST,
    POLL_SECONDS,
    SLOW_POLL_SECONDS,
    SPACING_SECONDS,
    STORM_ALERTS,
    STORM_SPACING_SECONDS,
    STREAM_GAP_SECONDS,
    STREAM_SECONDS,
    Held,
    Rests,
)


def idle(seconds: float) -> Rests:
    """Return how it is when that long nothing was found."""
    rests = Rests(-seconds)
    rests.stepped(0.0, news=False, polled=True)
    return rests


def fed(every: float, seconds: float) -> tuple[Rests, float]:
    """Return how it is after lines have come so often for so long, and when that ends."""
    rests, at = Rests(0.0), 0.0
    while at < seconds:
        at += every
        rests.stepped(at, news=True, polled=False)
    return rests, at


@pytest.mark.parametrize(
    ("quiet", "watched", "rest"),
    [
        pytest.param(CALM_SECONDS / 2, True, POLL_SECONDS, id="not calm yet"),
        pytest.param(CALM_SECONDS * 2, True, SLOW_POLL_SECONDS, id="calm and watched"),
        pytest.param(CALM_SECONDS * 2, False, POLL_SECONDS, id="calm and not watched"),
    ],
)
def test_polling_slows_down_only_where_events_would_tell(
    quiet: float, rest: float, *, watched: bool
) -> None:
    assert idle(quiet).seconds(0.0, watched=watched) == rest


@pytest.mark.parametrize(
    ("polled", "quick_for"),
    [
        pytest.param(False, CALM_SECONDS, id="an event told of it"),
        pytest.param(True, DOUBT_SECONDS, id="no event told of it"),
    ],
)
def test_what_was_found_makes_polling_quick_for_a_while(quick_for: float, *, polled: bool) -> None:
    rests = idle(CALM_SECONDS * 2)
    rests.stepped(1.0, news=True, polled=polled)
    assert rests.seconds(1.0 + quick_for - 0.01, watched=True) == POLL_SECONDS
    assert rests.seconds(1.0 + quick_for, watched=True) == SLOW_POLL_SECONDS


def test_events_that_came_in_between_do_not_end_the_doubt() -> None:
    rests = idle(CALM_SECONDS * 2)
    rests.stepped(1.0, news=True, polled=True)
    rests.stepped(2.0, news=True, polled=False)
    assert rests.seconds(DOUBT_SECONDS, watched=True) == POLL_SECONDS


@pytest.mark.parametrize(
    ("every", "seconds", "streams"),
    [
        pytest.param(SPACING_SECONDS, STREAM_SECONDS + 0.1, True, id="steadily"),
        pytest.param(SPACING_SECONDS, STREAM_SECONDS / 2, False, id="not for long"),
        pytest.param(STREAM_GAP_SECONDS * 2, STREAM_SECONDS * 9, False, id="now and then"),
    ],
)
def test_a_log_that_is_written_all_the_time_is_polled_and_not_listened_to(
    every: float, seconds: float, *, streams: bool
) -> None:
    rests, at = fed(every, seconds)
    assert rests.streams(at) == streams
    assert rests.seconds(at, watched=True) == (SPACING_SECONDS if streams else POLL_SECONDS)


def test_a_stream_that_ends_is_listened_to_again_and_looked_at_once_more_soon() -> None:
    rests, at = fed(SPACING_SECONDS, STREAM_SECONDS * 2)
    over = at + STREAM_GAP_SECONDS + 0.001
    assert not rests.streams(over)
    assert rests.seconds(over, watched=True) == SPACING_SECONDS
    assert rests.seconds(over + SPACING_SECONDS, watched=True) == POLL_SECONDS


def test_what_polling_finds_in_a_stream_is_no_reason_to_doubt_events() -> None:
    rests, at = fed(SPACING_SECONDS, STREAM_SECONDS * 2)
    rests.stepped(at, news=True, polled=True)
    assert rests.seconds(at + CALM_SECONDS, watched=True) == SLOW_POLL_SECONDS


def test_looks_that_take_long_are_taken_less_often() -> None:
    rests = Rests(0.0)
    assert rests.seconds(100.0, watched=True, look=0.001) == SLOW_POLL_SECONDS
    assert rests.seconds(100.0, watched=True, look=0.1) == 6.0
    assert rests.seconds(100.0, watched=False, look=0.1) == 6.0
    assert rests.seconds(100.0, watched=True, look=9.0) == LONGEST_REST


def test_a_storm_of_alerts_is_read_more_seldom_until_it_is_over() -> None:
    rests, at = fed(SPACING_SECONDS, STREAM_SECONDS * 2)
    rests.stepped(at, news=True, polled=False, alerts=STORM_ALERTS - 1)
    assert rests.seconds(at, watched=True) == SPACING_SECONDS
    for _ in range(9):
        at += STORM_SPACING_SECONDS
        rests.stepped(at, news=True, polled=True, alerts=STORM_ALERTS)
        assert rests.streams(at)
        assert rests.seconds(at, watched=True) == STORM_SPACING_SECONDS
    for _ in range(round(2 / SPACING_SECONDS)):
        at += SPACING_SECONDS
        rests.stepped(at, news=True, polled=True)
    assert rests.seconds(at, watched=True) == SPACING_SECONDS


def test_alerts_that_change_while_nothing_is_read_hold_up_no_line() -> None:
    rests = idle(CALM_SECONDS * 2)
    rests.stepped(1.0, news=False, polled=True, alerts=STORM_ALERTS * 9)
    assert rests.seconds(1.0, watched=True) == SLOW_POLL_SECONDS


def test_what_holds_for_a_minute_is_said_once_until_it_is_over() -> None:
    held = Held()
    said = [held.says("x", now, holds=True, after=60.0) for now in (0.0, 59.0, 60.0, 90.0)]
    assert said == [False, False, True, False]
    assert not held.says("x", 95.0, holds=False, after=60.0)
    assert [held.says("x", now, holds=True, after=60.0) for now in (99.0, 158.0, 159.0)] == [
        False, False, True,
    ]  # fmt: skip
    assert held.says("y", 0.0, holds=True)
