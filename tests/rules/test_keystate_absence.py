"""Absence: when silence is judged, from when on, and how it ends."""

from typing import Any

import pytest

from sidecar.parse.columns import Columns
from sidecar.rows import RuleStateRow
from support.rules import DAY, HOUR, Bench, event, rule, told

SILENCE = rule("count() < 1", by=(), match=[])


def test_silence_fires_once_the_window_has_passed_since_the_last_event() -> None:
    bench = Bench(SILENCE)
    bench.see(event(100))
    assert bench.tick(HOUR + 99) == []
    assert told(bench.tick(HOUR + 500)) == [("fired", HOUR + 100)]


def test_silence_from_the_start_counts_from_the_rules_load() -> None:
    bench = Bench(SILENCE, start=50.0)
    assert told(bench.tick(2 * HOUR)) == [("fired", HOUR + 50)]


def test_a_restart_does_not_start_observation_anew() -> None:
    bench = Bench(SILENCE, start=50.0)
    bench.restart(now=HOUR)
    assert told(bench.tick(2 * HOUR)) == [("fired", HOUR + 50)]


def test_an_old_event_does_not_let_silence_begin_before_the_rules_load() -> None:
    bench = Bench(rule("count() < 1"), start=5 * HOUR)
    bench.see(event(0))
    assert told(bench.tick(9 * HOUR)) == [("fired", 6 * HOUR)]


def test_silence_is_not_judged_while_a_source_is_unread() -> None:
    bench = Bench(SILENCE)
    assert bench.tick(9 * HOUR, complete=False) == []
    assert bench.engine.next_deadline(complete=False) is None
    assert told(bench.tick(9 * HOUR)) == [("fired", HOUR)]


def test_a_gap_between_two_events_is_not_judged_by_their_own_time() -> None:
    bench = Bench(SILENCE)
    assert bench.see(event(0), event(9 * HOUR)) == []


def test_a_gap_that_is_read_later_is_no_absence_but_what_lasts_is() -> None:
    bench = Bench(rule("count() < 2", by=()))
    bench.see(event(9 * HOUR))
    assert told(bench.tick(9 * HOUR + 1)) == [("fired", 9 * HOUR)]


def test_an_event_ends_it() -> None:
    bench = Bench(SILENCE)
    bench.tick(HOUR)
    bench.restart()
    (ended,) = bench.see(event(2 * HOUR))
    assert (ended.kind.value, ended.at, ended.alert.value) == ("resolved", 2 * HOUR, 1.0)


def test_it_fires_again_after_the_next_silence() -> None:
    bench = Bench(SILENCE)
    bench.tick(HOUR)
    bench.see(event(2 * HOUR))
    assert told(bench.tick(3 * HOUR)) == [("fired", 3 * HOUR)]


def test_each_key_has_its_own_silence_and_fires_once() -> None:
    bench = Bench(rule("count() < 1"))
    bench.see(event(10, org_id="a"), event(20, org_id="b"))
    assert [(t.at, t.alert.key) for t in bench.tick(9 * HOUR)] == [
        (HOUR + 10, ("a",)),
        (HOUR + 20, ("b",)),
    ]
    assert bench.tick(99 * HOUR) == []


def test_a_key_that_stays_silent_for_30_days_more_is_forgotten_and_nobody_is_told() -> None:
    bench = Bench(rule("count() < 1"))
    bench.see(event(10))
    bench.tick(HOUR + 10)
    bench.restart()
    assert told(bench.tick(99 * DAY)) == [("expired", HOUR + 10 + 30 * DAY)]
    assert bench.file.of(RuleStateRow) == []
    assert told(bench.see(event(100 * DAY)) + bench.tick(101 * DAY)) == [
        ("fired", 100 * DAY + HOUR)
    ]


def test_silence_of_everything_is_never_given_up() -> None:
    bench = Bench(SILENCE)
    bench.tick(99 * DAY)
    assert told(bench.all) == [("fired", HOUR)]


def test_too_few_is_judged_after_a_whole_window_and_ends_at_enough() -> None:
    bench = Bench(rule("count() < 3", by=()))
    bench.see(event(10), event(20), event(30))
    assert told(bench.tick(HOUR + 500)) == [("fired", HOUR + 10)]
    assert bench.see(event(HOUR + 600)) == []
    assert told(bench.see(event(HOUR + 601), event(HOUR + 602))) == [("resolved", HOUR + 602)]


def test_for_and_escalation_work_on_absence() -> None:
    bench = Bench(rule("count() < 1", by=(), for_=60.0))
    assert told(bench.tick(9 * HOUR)) == [("fired", HOUR + 60)]


def test_resolve_forgets_the_key() -> None:
    bench = Bench(rule("count() < 1", resolve=['status="gone"']))
    bench.see(event(0), event(5, "gone"))
    assert bench.tick(9 * HOUR) == []


@pytest.mark.parametrize(
    ("condition", "settings", "whole"),
    [
        pytest.param("count() < 1", {}, False, id="silence lives on tallies"),
        pytest.param('count(status="s") < 1', {}, False, id="filtered by a standard field too"),
        pytest.param("count() < 2", {}, True, id="a tally has no time for each of several"),
        pytest.param("count() < 1", {"by": ("org_id",)}, True, id="keys are inside the event"),
        pytest.param('count(plan="pro") < 1', {}, True, id="so are other fields"),
        pytest.param("count() < 1", {"dedup_by": "id"}, True, id="so are ids"),
        pytest.param("count() >= 1", {}, True, id="other rules need events"),
    ],
)
def test_rule_wants_events_whole(condition: str, settings: dict[str, Any], *, whole: bool) -> None:
    wanted: dict[str, Any] = {"by": (), **settings}
    bench = Bench(rule(condition, **wanted))
    assert bench.engine.wants(("stripe", "x", "s")) is whole
    assert not bench.engine.wants(("stripe", "y", "s"))


def test_a_tally_is_as_good_as_an_event() -> None:
    bench = Bench(SILENCE)
    bench.engine.observe_tally(("stripe", "y", "s"), 7, HOUR)
    assert told(bench.tick(9 * HOUR)) == [("fired", 2 * HOUR)]
    bench.engine.observe_tally(("stripe", "y", "s"), 1, 10 * HOUR)
    assert told(bench.commit()) == [("resolved", 10 * HOUR)]


def test_of_many_events_the_newest_says_when_silence_begins() -> None:
    bench = Bench(SILENCE, rule("count() >= 99", name="Many"))
    columns = Columns.of([event(HOUR + at) for at in (7, 30, 20)])
    bench.engine.observe_all(columns, read_at=HOUR)
    assert told(bench.tick(9 * HOUR)) == [("fired", 2 * HOUR + 30)]
    columns = Columns.of([event(10 * HOUR + at) for at in (7, 30, 20)])
    bench.engine.observe_all(columns, read_at=10 * HOUR)
    (ended,) = bench.commit()
    assert (ended.kind.value, ended.at, ended.alert.value) == ("resolved", 10 * HOUR + 7, 1.0)


def test_a_tally_of_another_triple_is_no_sign_of_life() -> None:
    bench = Bench(rule("count() < 1", by=()))
    bench.engine.observe_tally(("stripe", "other", "s"), 7, HOUR)
    assert told(bench.tick(9 * HOUR)) == [("fired", HOUR)]


def test_an_event_that_gives_no_sample_lets_no_key_go_before_the_tick() -> None:
    bench = Bench(rule("max(n) < 3", within=60.0))
    bench.see(event(1000, n=0), event(1060, n=None), event(1060, n=0))
    assert told(bench.tick(1560)) == [("fired", 1060.0), ("expired", 1120.0)]
