"""Time intervals: when they hold, in which zone, and when that changes next."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from sidecar.notify.mutes import TimeInterval, TimeRange, TimeSpan, next_change
from sidecar.syntax.table import Reading

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = (TimeRange(start_time=9 * 60, end_time=17 * 60),)


def at(text: str, zone: ZoneInfo | None = None) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC).timestamp()


@pytest.mark.parametrize(
    ("span", "instant", "holds"),
    [
        pytest.param(TimeSpan(), "2026-11-02T00:00", True, id="What says nothing always holds."),
        pytest.param(TimeSpan(times=OFFICE), "2026-11-02T09:00", True, id="Its start does."),
        pytest.param(TimeSpan(times=OFFICE), "2026-11-02T16:59:59", True, id="Its last second."),
        pytest.param(TimeSpan(times=OFFICE), "2026-11-02T17:00", False, id="The end does not."),
        pytest.param(
            TimeSpan(times=(TimeRange(start_time=0, end_time=1440),)), "2026-11-02T23:59", True,
            id="24:00 is the end of the day.",
        ),
        pytest.param(TimeSpan(weekdays=((1, 5),)), "2026-11-02T12:00", True, id="A Monday."),
        pytest.param(TimeSpan(weekdays=((1, 5),)), "2026-11-01T12:00", False, id="A Sunday."),
        pytest.param(TimeSpan(weekdays=((0, 0),)), "2026-11-01T12:00", True, id="Sunday is day 0."),
        pytest.param(
            TimeSpan(days_of_month=((-3, -1),)), "2028-02-27T12:00", True,
            id="The last three days of a February of 29.",
        ),
        pytest.param(
            TimeSpan(days_of_month=((-3, -1),)), "2028-02-26T12:00", False,
            id="The fourth from the end is not among them.",
        ),
        pytest.param(
            TimeSpan(days_of_month=((31, 31),)), "2026-11-30T12:00", False,
            id="A month without a 31st has none.",
        ),
        pytest.param(
            TimeSpan(days_of_month=((28, 31),)), "2026-11-30T12:00", True,
            id="A range that is longer than the month ends with it.",
        ),
        pytest.param(TimeSpan(months=((11, 12),)), "2026-10-31T23:59", False, id="October."),
        pytest.param(TimeSpan(years=((2026, 2027),)), "2028-01-01T00:00", False, id="Years end."),
        pytest.param(
            TimeSpan(times=OFFICE, weekdays=((1, 5),)), "2026-11-01T12:00", False,
            id="All that is written has to hold.",
        ),
        pytest.param(
            TimeSpan(times=OFFICE, location=BERLIN), "2026-11-02T08:00", True,
            id="09:00 in Berlin is 08:00 UTC in winter.",
        ),
        pytest.param(
            TimeSpan(times=OFFICE, location=BERLIN), "2026-07-06T07:00", True,
            id="09:00 in Berlin is 07:00 UTC in summer.",
        ),
    ],
)  # fmt: skip
def test_holds(span: TimeSpan, instant: str, holds: bool) -> None:  # noqa: FBT001 - a table
    assert span.holds(at(instant)) is holds


@pytest.mark.parametrize(
    ("span", "since", "until"),
    [
        pytest.param(
            TimeSpan(times=OFFICE), "2026-11-02T08:59:59", "2026-11-02T09:00", id="It begins."
        ),
        pytest.param(TimeSpan(times=OFFICE), "2026-11-02T09:00", "2026-11-02T17:00", id="It ends."),
        pytest.param(
            TimeSpan(weekdays=((6, 6),)), "2026-11-02T09:00", "2026-11-07T00:00", id="Saturday."
        ),
        pytest.param(
            TimeSpan(times=OFFICE, location=BERLIN), "2026-03-28T17:00", "2026-03-29T07:00",
            id="On the morning after the clocks went forward it begins an hour earlier in UTC.",
        ),
        pytest.param(
            TimeSpan(times=(TimeRange(start_time=150, end_time=240),), location=BERLIN),
            "2026-03-29T00:00", "2026-03-29T01:00",
            id="What begins in the hour that is skipped begins when it is skipped.",
        ),
        pytest.param(
            TimeSpan(times=(TimeRange(start_time=0, end_time=150),), location=BERLIN),
            "2026-10-24T23:00", "2026-10-25T00:30",
            id="What ends in the hour that comes twice ends for a while,",
        ),
        pytest.param(
            TimeSpan(times=(TimeRange(start_time=0, end_time=150),), location=BERLIN),
            "2026-10-25T00:30", "2026-10-25T01:00",
            id="and begins once more when the hour comes again.",
        ),
    ],
)  # fmt: skip
def test_next_change(span: TimeSpan, since: str, until: str) -> None:
    interval = TimeInterval(name="n", time_intervals=(span,))
    assert next_change([interval], at(since)) == at(until)


def test_the_next_change_of_several_is_the_first_and_of_none_far_away() -> None:
    late = TimeInterval(name="a", time_intervals=(TimeSpan(weekdays=((6, 6),)),))
    soon = TimeInterval(name="b", time_intervals=(TimeSpan(times=OFFICE),))
    now = at("2026-11-02T08:00")
    assert next_change([late, soon], now) == at("2026-11-02T09:00")
    assert next_change([], now) > now + 300 * 86_400


def test_each_next_change_is_a_change_and_none_is_missed_over_a_year() -> None:
    """Looked at every quarter of an hour, beside an interval with everything in it."""
    night = (TimeRange(start_time=22 * 60, end_time=1440), TimeRange(start_time=0, end_time=360))
    span = TimeSpan(times=night, weekdays=((1, 4), (6, 6)), location=ZoneInfo("America/New_York"))
    interval = TimeInterval(name="n", time_intervals=(span,))
    begin = now = at("2026-01-01T00:00")
    changes = []
    while now < begin + 365 * 86_400:
        now = next_change([interval], now)
        changes.append(now)
    quarters = [begin + 900.0 * step for step in range(4 * 24 * 365)]
    states = [interval.holds(quarter) for quarter in quarters]
    seen = [q for q, old, new in zip(quarters[1:], states, states[1:], strict=False) if old != new]
    assert changes[: len(seen)] == seen


def test_it_is_written_as_alertmanager_has_it(tmp_path: object) -> None:
    path = f"{tmp_path}/a.yaml"
    with open(path, "w") as file:  # noqa: PTH123 - a text is all there is to it
        file.write(
            "name: night\ntime_intervals:\n"
            "  - times: [{start_time: 00:00, end_time: '06:00'}]\n"
            "    weekdays: [monday:Friday, 'sunday']\n"
            "    days_of_month: ['1:5', '-3:-1', 7]\n"
            "    months: ['1:3', december]\n"
            "    years: ['2026:2027', 2030]\n"
            "    location: Europe/Berlin\n"
        )
    reading = Reading()
    found = reading.read(TimeInterval, path)
    assert reading.faults.all == ()
    assert found is not None
    assert found.time_intervals == (
        TimeSpan(
            times=(TimeRange(start_time=0, end_time=360),),
            weekdays=((1, 5), (0, 0)),
            days_of_month=((1, 5), (-3, -1), (7, 7)),
            months=((1, 3), (12, 12)),
            years=((2026, 2027), (2030, 2030)),
            location=BERLIN,
        ),
    )
