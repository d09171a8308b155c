"""Logs as one stream of events: order, bounds, silences inside tallies, impossible times."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.config.settings import Config
from sidecar.parse.columns import Columns
from sidecar.parse.event import Chunk
from sidecar.simulate.replay import BUFFER_EVENTS, History, ReplayedLog
from sidecar.simulate.simulation import Simulation
from support.simulate import CLOCK, HOUR, T0, config, line, log

RULES = """
  - alert: Fires
    match: ['event_type="x"', 'status="s"']
    by: [org]
    condition: count() >= 1
    within: 1h
    labels: {severity: warning}
  - alert: Quiet
    match: ['status="received"']
    condition: count() < 1
    within: 6h
    labels: {severity: warning}
"""


@pytest.fixture(scope="module")
def two_rules(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return config(tmp_path_factory.mktemp("rules"), RULES)


def history(config_: Config, until: float | None = None) -> History:
    return History(config_, clock=CLOCK, until=until, wanted=Simulation(config_).wanted)


def times(blocks: Iterator[Columns]) -> list[float]:
    return [at - T0 for block in blocks for at in block.times]


def orgs(blocks: Iterator[Columns]) -> list[str]:
    return [block.text(number, "org") for block in blocks for number in range(len(block))]


def test_a_line_that_is_a_little_late_is_put_in_its_place(two_rules: Config) -> None:
    lines = [line(T0 + at, org="a") for at in (0, 2, 1, 3)]
    assert times(history(two_rules).columns([log(lines, at_once=1)])) == [0, 1, 2, 3]


def test_events_of_one_instant_stay_in_the_order_of_the_log(two_rules: Config) -> None:
    lines = [line(T0 + 1, org=org) for org in "cab"]
    assert orgs(history(two_rules).columns([log(lines)])) == ["c", "a", "b"]


def test_the_buffer_is_bounded_and_what_lies_further_back_comes_late(two_rules: Config) -> None:
    lines = [line(T0 + at, org="a") for at in range(1, 3 * BUFFER_EVENTS + 1)]
    found = times(history(two_rules).columns([log([*lines, line(T0, org="late")], at_once=5000)]))
    assert len(found) == 3 * BUFFER_EVENTS + 1
    # Sorted when it holds more than twice its size, which the fifth chunk brings about.
    assert found.index(0.0) == 1.5 * BUFFER_EVENTS


def test_several_logs_are_merged_by_time(two_rules: Config) -> None:
    odd = [line(T0 + at, org="odd") for at in (1, 3, 5)]
    even = [line(T0 + at, org="even") for at in (0, 2, 4)]
    logs = [log(odd, name="a"), log(even, name="b")]
    assert times(history(two_rules).columns(logs)) == [0, 1, 2, 3, 4, 5]


def test_a_log_is_opened_when_its_time_has_come(two_rules: Config) -> None:
    opened: list[str] = []

    def noted(one: ReplayedLog) -> ReplayedLog:
        def chunks() -> Iterator[Chunk]:
            opened.append(one.name)
            yield from one.chunks()

        return ReplayedLog(one.name, chunks)

    logs = [noted(log([line(T0 + at, org="a")], name=f"{at}")) for at in (3, 1, 2)]
    items = history(two_rules).columns(logs)
    next(items)
    # Each was looked into for its first time; only the earliest is read.
    assert opened == ["3", "1", "2", "1"]
    assert times(items) == [2, 3]


def test_no_more_than_what_is_asked_for_is_read_behind_until(two_rules: Config) -> None:
    lines = [line(T0 + at, org="a") for at in range(10)]
    past = history(two_rules, until=T0 + 4)
    assert times(past.columns([log(lines)])) == [0, 1, 2, 3, 4]
    assert past.counts.events == 5


def test_tallies_across_until_are_cut_at_it(two_rules: Config) -> None:
    lines = [line(T0 + at, "received") for at in range(10)]
    past = history(two_rules, until=T0 + 4)
    list(past.columns([log(lines)]))
    assert past.counts.events == 5


def test_a_log_is_left_once_it_is_well_past_until(two_rules: Config) -> None:
    lines = [line(T0 + at, org="a") for at in range(4 * BUFFER_EVENTS)]
    past = history(two_rules, until=T0 + 4)
    assert len(times(past.columns([log(lines, at_once=2000)]))) == 5
    assert past.counts.lines < 2 * BUFFER_EVENTS


def test_an_event_without_a_time_takes_the_time_its_log_had_reached(two_rules: Config) -> None:
    lines = [line(T0 + 1, org="a"), line(None, org="b"), line(T0 + 2, org="c")]
    assert times(history(two_rules).columns([log(lines)])) == [1, 1, 2]


def test_a_log_keeps_its_time_through_lines_that_are_none(two_rules: Config) -> None:
    lines = [line(T0 + 1, org="a"), b"GET /\n", line(None, org="b")]
    assert times(history(two_rules).columns([log(lines, at_once=1)])) == [1, 1]


def test_events_without_a_time_before_any_other_take_the_first_known(two_rules: Config) -> None:
    lines = [line(None, org="b"), line(T0 + 2, org="c")]
    assert times(history(two_rules).columns([log(lines)])) == [2, 2]


def test_an_event_from_the_future_does_not_carry_the_clock_away(two_rules: Config) -> None:
    lines = [line(T0 + 1, org="a"), line(CLOCK + HOUR, org="b"), line(T0 + 2, org="c")]
    seen = history(two_rules)
    assert times(seen.columns([log(lines)])) == [1, 1, 2]
    assert seen.counts.future == 1


def test_times_that_are_none_are_counted(two_rules: Config) -> None:
    seen = history(two_rules)
    bad = line(None, org="b", timestamp="today")
    assert times(seen.columns([log([line(T0 + 1, org="a"), bad])])) == [1, 1]
    assert seen.counts.bad_times == 1


def test_rejects_are_counted_by_reason(two_rules: Config) -> None:
    seen = history(two_rules)
    list(seen.columns([log([b"WEBHOOK_METRIC: nothing\n", line(T0, org="a")])]))
    assert seen.counts.rejects == {"no_object": 1}


def test_a_container_line_split_over_two_chunks_is_read_once(
    two_rules: Config, tmp_path: Path
) -> None:
    del tmp_path
    text = line(T0 + 7, "received").decode().rstrip()
    stamp = "2026-11-02T08:00:00.0Z"
    pieces = [f"{stamp} stderr P {text[:40]}\n", f"{stamp} stderr F {text[40:]}\n"]
    seen = history(two_rules)
    found = times(seen.columns([log([piece.encode() for piece in pieces], at_once=1)]))
    assert (found, seen.counts.events, seen.counts.rejects) == ([7], 1, {})
