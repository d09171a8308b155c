"""One fact each about firing, ending, escalating and time."""

from dataclasses import replace
from typing import Any

import pytest

from sidecar.parse.event import Event
from sidecar.parse.instants import instant
from sidecar.rules.alert import Ended
from sidecar.rules.condition import parse_instant
from sidecar.rules.rule import End, Escalation, Facts
from support.rules import DAY, HOUR, Bench, event, iso, kinds, rule, step, told

# A history: numbers tick to that time, events are observed.
Said = Event | float

FAILING: dict[str, Any] = {"resolve": ['status="paid"'], "within": 30 * DAY}


def run(bench: Bench, *history: Said) -> list[tuple[str, float]]:
    for said in history:
        bench.see(said) if isinstance(said, Event) else bench.tick(said)
    return told(bench.all)


TRUE: Any = True


def n(at: float, value: Any, **more: Any) -> Event:
    return event(at, n=value, **more)


def state(at: float, status: str, **more: Any) -> Event:
    return event(at, status, **more)


PAST_DUE = ("last(status) in [past_due, unpaid]", {"within": None})
CASES: list[Any] = [
    # condition, settings of the rule, history, what is told
    pytest.param("max(n) >= 3", {}, [n(1, 2)], [], id="below the threshold nothing fires"),
    pytest.param("max(n) >= 3", {}, [n(1, 3)], [("fired", 1)], id="at the threshold it fires"),
    pytest.param("max(n) >= 3", {}, [n(1, "3")], [("fired", 1)], id="a text may be a number"),
    pytest.param("max(n) >= 1", {}, [n(1, TRUE)], [], id="a boolean is no number"),
    pytest.param("max(n) >= 1", {}, [n(1, None), event(2)], [], id="null and missing do not count"),
    pytest.param("max(n.m) >= 3", {}, [n(1, {"m": 3})], [("fired", 1)], id="a nested field"),
    pytest.param(
        "max(n) >= 3",
        {},
        [n(1, 3), n(2, 5)],
        [("fired", 1)],
        id="it fires only once",
    ),
    pytest.param(
        "count() >= 3",
        {},
        [event(1), event(2), event(3600.9)],
        [("fired", 3600.9)],
        id="a window holds what is younger than its length",
    ),
    pytest.param(
        "count() >= 3",
        {},
        [event(1), event(2), event(3601)],
        [],
        id="it leaves at that length",
    ),
    pytest.param(
        "count() >= 2",
        {},
        [event(100), event(50)],
        [("fired", 100)],
        id="a late event counts and does not move time back",
    ),
    pytest.param(
        "count() >= 2",
        {},
        [event(5000), event(50)],
        [],
        id="an event later than the window does not count",
    ),
    pytest.param(
        "count() >= 1",
        {},
        [event(0), 3599, 3600],
        [("fired", 0), ("expired", 3600)],
        id="at the end of the window it is no longer seen",
    ),
    pytest.param(
        "count() >= 1",
        {"ends": End.RESOLVED},
        [event(0), 3599, 3600],
        [("fired", 0), ("resolved", 3600)],
        id="unless the rule says that this resolves it",
    ),
    pytest.param(
        "count() >= 1",
        {"resolve": ['status="paid"'], "ends": End.RESOLVED},
        [event(0), 3600],
        [("fired", 0), ("resolved", 3600)],
        id="also under resolve",
    ),
    pytest.param(
        "avg(n) > 3",
        {},
        [n(0, 9), n(10, 1), n(20, -4)],
        [("fired", 0), ("resolved", 20)],
        id="an event that makes the condition false resolves",
    ),
    pytest.param(
        "avg(n) > 3",
        {"ends": End.UNSEEN},
        [n(0, 9), n(10, 1), n(20, -4)],
        [("fired", 0), ("expired", 20)],
        id="unless the rule says that this is no end",
    ),
    pytest.param(
        "max(n) >= 3",
        {**FAILING, "ends": End.UNSEEN},
        [n(0, 9), state(5, "paid")],
        [("fired", 0), ("resolved", 5)],
        id="a resolve is a fact",
    ),
    pytest.param(
        "count() >= 1",
        {"resolve": ['status="paid"']},
        [event(0), 9999],
        [("fired", 0), ("expired", 3600)],
        id="with resolve the end of the window expires, at its instant",
    ),
    pytest.param(
        "count() >= 1",
        {},
        [event(0), event(3600)],
        [("fired", 0), ("expired", 3600), ("fired", 3600)],
        id="an event first lets its key's own window end",
    ),
    pytest.param(
        "count() >= 2",
        {},
        [event(0), event(10), event(20), 3599, 3610],
        [("fired", 10), ("expired", 3610)],
        id="it ends when too few are left, not when none is",
    ),
    pytest.param(
        "max(n) >= 3",
        FAILING,
        [n(1, 3), state(5, "paid")],
        [("fired", 1), ("resolved", 5)],
        id="resolve ends",
    ),
    pytest.param(
        "count() >= 2",
        FAILING,
        [event(1), state(2, "paid"), event(3)],
        [],
        id="resolve forgets the samples before it",
    ),
    pytest.param(
        "max(n) >= 3",
        FAILING,
        [state(5, "paid"), n(4, 3)],
        [],
        id="a failure that arrives after its later resolve does not fire",
    ),
    pytest.param(
        "max(n) >= 3",
        FAILING,
        [state(5, "paid"), n(5, 3)],
        [("fired", 5)],
        id="of one stamp arrival decides: paid, then failed",
    ),
    pytest.param(
        "max(n) >= 3",
        FAILING,
        [n(5, 3), state(5, "paid")],
        [("fired", 5), ("resolved", 5)],
        id="of one stamp arrival decides: failed, then paid",
    ),
    pytest.param(
        "max(n) >= 3",
        FAILING,
        [state(5.9, "paid"), n(5.1, 3)],
        [("fired", 5.9)],
        id="of one second arrival decides: paid, then failed",
    ),
    pytest.param(
        "max(n) >= 3",
        FAILING,
        [n(5.9, 3), state(5.1, "paid")],
        [("fired", 5.9), ("resolved", 5.9)],
        id="of one second arrival decides: failed, then paid",
    ),
    pytest.param(
        "sum(n) >= 3",
        FAILING,
        [n(5, 3), state(5, "paid"), n(5, 2), n(5, 1)],
        [("fired", 5), ("resolved", 5), ("fired", 5)],
        id="also where samples are kept in buckets",
    ),
    pytest.param(
        "max(n) >= 3",
        FAILING,
        [state(5, "paid"), state(3, "paid"), n(4, 3)],
        [],
        id="an older resolve does not undo a newer one",
    ),
    pytest.param(
        "max(n) >= 3",
        FAILING,
        [n(1, 3), n(9, 4), state(5, "paid")],
        [("fired", 1)],
        id="a late resolve leaves alone what newer samples uphold",
    ),
    pytest.param(
        "max(n) >= 3",
        FAILING,
        [n(1, 3), n(9, 1), state(5, "paid")],
        [("fired", 1), ("resolved", 9)],
        id="a late resolve ends what only older samples upheld",
    ),
    pytest.param(
        "max(n) >= 3",
        FAILING,
        [n(1, 3, status="paid")],
        [],
        id="an event that matches and resolves leaves no sample",
    ),
    pytest.param(
        "last(status) == bad",
        {"resolve": ['status="paid"']},
        [state(1, "bad"), state(2, "other"), state(3, "paid")],
        [("fired", 1), ("resolved", 3)],
        id="under resolve an event that makes the condition false does not end",
    ),
    pytest.param(
        "max(n) == 1",
        {"resolve": ['status="paid"']},
        [n(0, 1), n(10, 9), n(20, 9), 3619, 3620],
        [("fired", 0), ("expired", 3620)],
        id="such an alert expires when the window is empty",
    ),
    pytest.param(
        "max(n) >= 3",
        {},
        [n(100, 3), n(50, 3), 9999],
        [("fired", 100), ("expired", 3700)],
        id="a late sample does not shorten what a newer one upholds",
    ),
    pytest.param(
        "distinct(n) >= 1",
        {},
        [n(100, "a"), n(50, "a"), 9999],
        [("fired", 100), ("expired", 3700)],
        id="nor does a late text",
    ),
    pytest.param(
        "sum(n) > 4",
        {"resolve": ['status="paid"']},
        [n(1, 3), state(2, "paid"), n(3, 3), n(4, 2)],
        [("fired", 4)],
        id="resolve forgets within its own bucket too",
    ),
    pytest.param(
        "avg(n) > 2",
        {},
        [n(1, 4), n(2, 0)],
        [("fired", 1), ("resolved", 2)],
        id="without resolve an event that makes the condition false ends",
    ),
    pytest.param(
        *PAST_DUE,
        [state(1, "past_due"), state(2, "unpaid"), state(3, "active")],
        [("fired", 1), ("resolved", 3)],
        id="a state alert lasts as long as the state",
    ),
    pytest.param(
        *PAST_DUE,
        [state(5, "active"), state(4, "past_due")],
        [],
        id="an older state that arrives later changes nothing",
    ),
    pytest.param(
        *PAST_DUE,
        [state(5, "active"), state(5, "past_due")],
        [("fired", 5)],
        id="of two states at one time the later arrival wins",
    ),
    pytest.param(*PAST_DUE, [state(1, "past_due"), 1e9], [("fired", 1)], id="a state lasts"),
    pytest.param(
        PAST_DUE[0],
        {"hold": 45 * DAY},
        [state(0, "past_due"), state(DAY, "past_due"), 46 * DAY],
        [("fired", 0), ("expired", 46 * DAY)],
        id="a state nobody confirms for hold is dropped, and told to nobody",
    ),
    pytest.param(
        "last(n) > 3",
        {},
        [n(1, "5"), n(2, "x")],
        [("fired", 1), ("resolved", 2)],
        id="a number as state",
    ),
    pytest.param(
        "count() >= 1",
        {"for_": 10.0},
        [event(5), 14.9, 15],
        [("fired", 15)],
        id="for delays the firing",
    ),
    pytest.param(
        *("last(status) == bad", {"for_": 10.0}),
        [state(5, "bad"), state(14, "good"), 99],
        [],
        id="what turns false within for is never told",
    ),
    pytest.param(
        *("last(status) == bad", {"for_": 10.0}),
        [state(5, "bad"), state(15, "good")],
        [("fired", 15), ("resolved", 15)],
        id="for is over before an event at that same instant",
    ),
    pytest.param(
        *("last(status) == bad", {"keep_firing_for": 10.0}),
        [state(5, "bad"), state(6, "good"), 15.9, 16],
        [("fired", 5), ("resolved", 16)],
        id="keep_firing_for delays the end",
    ),
    pytest.param(
        *("last(status) == bad", {"keep_firing_for": 10.0}),
        [state(5, "bad"), state(6, "good"), state(9, "bad"), 99],
        [("fired", 5)],
        id="true again within keep_firing_for is no end",
    ),
    pytest.param(
        *("max(n) >= 3", {**FAILING, "keep_firing_for": 10.0}),
        [n(1, 3), state(5, "paid")],
        [("fired", 1), ("resolved", 5)],
        id="resolve does not wait for keep_firing_for",
    ),
    pytest.param(
        "distinct(n) >= 2",
        {},
        [n(1, "a"), n(2, "a"), n(3, "b")],
        [("fired", 3)],
        id="distinct",
    ),
    pytest.param(
        'count(status="bad") / count() >= 0.5',
        {},
        [state(1, "ok"), state(2, "ok"), state(3, "bad"), state(4, "bad")],
        [("fired", 4)],
        id="a ratio of filtered counts",
    ),
    pytest.param(
        "count() / sum(n) > 0",
        {},
        [n(1, 0)],
        [("fired", 1)],
        id="something divided by nothing is infinite",
    ),
    pytest.param(
        "sum(n) / sum(m) > 0",
        {},
        [n(1, 0)],
        [],
        id="nothing divided by nothing is no value",
    ),
    pytest.param(
        "max(n) >= 3 or count() >= 3",
        {},
        [n(1, 1), n(2, 1), n(3, 1), n(3602, 3), n(7202, 1)],
        [("fired", 3), ("expired", 3601), ("fired", 3602), ("expired", 7202)],
        id="one of two is enough",
    ),
    pytest.param(
        "not max(n) >= 3 and count() >= 1",
        {},
        [n(1, 3), event(2), n(1000, 1), 3602.0],
        [("fired", 3601)],
        id="not comes true as what was there leaves",
    ),
    pytest.param(
        "(max(n) >= 3 or max(n) < 0) and not (count() > 2)",
        {},
        [n(1, 3), n(2, 1), n(3, 1)],
        [("fired", 1), ("resolved", 3)],
        id="parentheses bind",
    ),
    pytest.param("min(n) < 9", {}, [event(1)], [], id="an empty aggregate is false"),
    pytest.param(
        'count(status="bad") >= 2 and count(status="ok") < 1',
        {},
        [state(0, "ok"), state(10, "bad"), state(20, "bad"), 3600],
        [("fired", 3600)],
        id="passing time alone can make a condition true",
    ),
    pytest.param(
        "count() >= 2",
        {"dedup_by": "id"},
        [event(1, id="e"), event(2, id="e"), event(3), event(4)],
        [("fired", 3)],
        id="an event seen before is ignored, one without an id never is",
    ),
]


@pytest.mark.parametrize(("condition", "settings", "history", "expected"), CASES)
@pytest.mark.parametrize("restarts", [False, True], ids=["", "with restarts"])
def test_rule_tells(
    condition: str,
    settings: dict[str, Any],
    history: list[Said],
    expected: list[tuple[str, float]],
    *,
    restarts: bool,
) -> None:
    bench = Bench(rule(condition, **settings))
    for said in history:
        run(bench, said)
        if restarts:
            bench.restart()
    assert told(bench.all) == expected


GRACE = (step("current_period_end + 3d", after=3 * DAY), step("grace_ended_at"))


def delinquent(*steps: Escalation) -> Bench:
    return Bench(rule(PAST_DUE[0], hold=45 * DAY, escalate=steps or GRACE), stale_after=HOUR)


ESCALATIONS: list[Any] = [
    pytest.param(
        [state(0, "past_due", current_period_end=iso(DAY)), 4 * DAY - 1, 4 * DAY],
        [("fired", 0), ("escalated", 4 * DAY)],
        id="at the instant the event names",
    ),
    pytest.param(
        [state(5, "past_due", current_period_end="soon"), 9 * DAY],
        [("fired", 5), ("escalated", 5 + 3 * DAY)],
        id="after firing where the field holds no instant",
    ),
    pytest.param(
        [state(5, "past_due"), 9 * DAY],
        [("fired", 5), ("escalated", 5 + 3 * DAY)],
        id="after firing where no event carries the field",
    ),
    pytest.param(
        [state(0, "past_due", current_period_end=iso(DAY)), state(9, "unpaid"), 9 * DAY],
        [("fired", 0), ("escalated", 4 * DAY)],
        id="an event without the field leaves the instant alone",
    ),
    pytest.param(
        [
            state(0, "past_due", current_period_end=iso(DAY)),
            state(9, "past_due", current_period_end=iso(2 * DAY)),
            9 * DAY,
        ],
        [("fired", 0), ("escalated", 5 * DAY)],
        id="the newest event that carries the field counts",
    ),
    pytest.param(
        [
            state(9, "past_due", current_period_end=iso(2 * DAY)),
            state(0, "past_due", current_period_end=iso(DAY)),
            9 * DAY,
        ],
        [("fired", 9), ("escalated", 5 * DAY)],
        id="newest by event time, not by arrival",
    ),
    pytest.param(
        [state(9 * DAY, "past_due", current_period_end=iso(DAY))],
        [("fired", 9 * DAY), ("escalated", 9 * DAY)],
        id="an instant already past escalates as it fires",
    ),
    pytest.param(
        [state(5, "unpaid"), state(5, "unpaid", grace_ended_at=iso(5)), 9 * DAY],
        [("fired", 5), ("escalated", 5)],
        id="a second step that changes no label is told to nobody",
    ),
    pytest.param(
        [state(0, "past_due"), state(DAY, "active"), 9 * DAY],
        [("fired", 0), ("resolved", DAY)],
        id="an ended alert does not escalate",
    ),
    pytest.param(
        [state(0, "past_due"), state(3 * DAY + 1, "active")],
        [("fired", 0), ("escalated", 3 * DAY), ("resolved", 3 * DAY + 1)],
        id="an event lets an escalation before it happen first",
    ),
]


@pytest.mark.parametrize("restarts", [False, True], ids=["", "with restarts"])
def test_what_order_by_says_is_older_neither_opens_nor_ends(*, restarts: bool) -> None:
    bench = Bench(rule("max(n) >= 3", resolve=['status="paid"'], order_by="version"))
    history = [n(1, 3, version=5), state(2, "paid", version=4), state(3, "paid", version=6)]
    for one in (*history, n(4, 3, version=5), n(5, 3), n(6, 3, version="7")):
        bench.see(one)
        if restarts:
            bench.restart()
    assert told(bench.all) == [("fired", 1), ("resolved", 3), ("fired", 5)]


def test_a_step_can_wait_from_the_time_of_the_newest_event() -> None:
    bench = delinquent(step("event_time + 1h"))
    late = state(50, "past_due", event_time=iso(9 * DAY))  # a field of that name counts for nothing
    assert run(bench, state(100, "past_due"), state(200, "unpaid"), late, 3799) == [("fired", 100)]
    assert run(bench, 3800.0) == [("fired", 100), ("escalated", 3800)]


@pytest.mark.parametrize(("history", "expected"), ESCALATIONS)
def test_delinquency_escalates(history: list[Said], expected: list[tuple[str, float]]) -> None:
    assert run(delinquent(), *history) == expected


NOW = 1_793_865_600.0  # 2026-11-05T08:00:00Z
SPELLINGS: list[Any] = [
    "2026-11-05 08:00:00 UTC",
    "2026-11-05T09:00:00+01:00",
    "20261105T080000Z",
    1_793_865_600,
    "1793865600",
    1_793_865_600_000,
    1_793_865_600_000_000,
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_deadline_is_read_as_a_timestamp_is(spelling: Any) -> None:
    assert instant(spelling) == NOW
    bench = delinquent()
    bench.see(state(NOW, "past_due", current_period_end=spelling))
    assert bench.engine.next_deadline() == NOW + 3 * DAY
    assert bench.engine.bad_instants == {}


@pytest.mark.parametrize("value", ["soon", 0, -5, "2026-02-30", True, ["2026-11-05"], 1e25])
def test_a_deadline_that_is_no_instant_is_counted(value: Any) -> None:
    bench = delinquent()
    bench.see(state(NOW, "past_due", current_period_end=value, grace_ended_at=None))
    assert bench.engine.bad_instants == {"Rule": 1}
    bench.see(state(NOW + 1, "past_due", current_period_end="", grace_ended_at=value))
    assert bench.engine.bad_instants == {"Rule": 2}


def test_escalation_lays_labels_and_annotations_over_in_list_order() -> None:
    first = Escalation(after=10.0, labels={"severity": "error"}, annotations={"a": "1"})
    second = Escalation(after=5.0, labels={"severity": "critical"}, annotations={"a": "2"})
    bench = Bench(
        rule(PAST_DUE[0], hold=DAY, escalate=(first, second), annotations={"a": "0", "b": "0"})
    )
    run(bench, state(0, "past_due"), 60)
    assert told(bench.all) == [("fired", 0), ("escalated", 5)]
    assert bench.all[-1].alert.severity == "critical"
    assert bench.all[-1].before["severity"] == "warning"
    assert next(bench.engine.alerts()).annotations == {"a": "2", "b": "0"}


def test_overdue_escalation_survives_an_outage_and_says_how_late_it_is() -> None:
    bench = delinquent()
    bench.see(state(0, "past_due"))
    bench.restart(now=10 * DAY)
    (late,) = bench.tick(10 * DAY)
    assert (late.at, late.late_by, late.stale) == (3 * DAY, 7 * DAY, False)


def test_escalation_within_a_minute_is_on_time() -> None:
    bench = delinquent()
    bench.see(state(0, "past_due"))
    (escalated,) = bench.tick(3 * DAY + 60)
    assert escalated.late_by == 0.0


def test_event_older_than_stale_after_marks_what_it_causes() -> None:
    bench = Bench(rule("count() >= 1"), stale_after=HOUR)
    assert [t.stale for t in bench.see(event(0), read_at=HOUR)] == [False]
    bench = Bench(rule("count() >= 1"), stale_after=HOUR)
    assert [t.stale for t in bench.see(event(0), read_at=HOUR + 1)] == [True]


def test_a_tick_of_lagging_rule_time_is_stale() -> None:
    bench = Bench(rule("count() >= 1", for_=5.0), stale_after=HOUR)
    bench.see(event(0))
    assert [t.stale for t in bench.tick(10, now=DAY)] == [True]


def test_deadlines_of_many_keys_fire_in_time_order() -> None:
    bench = Bench(rule("count() >= 1", for_=10.0))
    for at, org in ((3, "c"), (1, "a"), (2, "b")):
        bench.see(event(at, org_id=org))
    assert [(t.at, t.alert.key) for t in bench.tick(99)] == [
        (11, ("a",)),
        (12, ("b",)),
        (13, ("c",)),
    ]


def test_a_tick_of_another_keys_time_ends_nothing_early() -> None:
    bench = Bench(rule("count() >= 1"))
    bench.see(event(0, org_id="a"), event(9000, org_id="b"))
    assert told(bench.all) == [("fired", 0), ("fired", 9000)]


def test_labels_hold_name_by_fields_and_the_rules_labels() -> None:
    bench = Bench(rule("count() >= 1", by=("org_id", "plan", "live")))
    (fired,) = bench.see(event(0, live=True))
    assert fired.alert.key == ("a", "", "true")
    assert fired.alert.labels == {
        "alertname": "Rule",
        "org_id": "a",
        "plan": "",
        "live": "true",
        "severity": "warning",
    }


def test_alert_shows_the_redacted_last_event_and_the_value() -> None:
    bench = Bench(rule("max(n) >= 3"))
    bench.see(n(0, 3, secret="s1"), n(1, 5, secret="s2"))
    assert bench.all[0].alert.event == {"org_id": "a", "n": 3, "secret": "***"}
    (now,) = bench.engine.alerts()
    assert (now.value, now.event["n"], now.event["secret"]) == (5.0, 5, "***")


def test_resolved_alert_keeps_its_value_and_shows_what_resolved_it() -> None:
    bench = Bench(rule("max(n) >= 3", **FAILING))
    bench.see(n(0, 4), state(5, "paid", invoice="i"))
    ended = bench.all[-1].alert
    assert (ended.state.value, ended.value, ended.ended_at) == ("resolved", 4.0, 5)
    assert (ended.event["n"], ended.ended_by["invoice"]) == (4, "i")
    assert "invoice" not in ended.event


def test_an_event_that_clears_a_state_hides_nothing_of_what_it_ends() -> None:
    bench = Bench(rule("last(status) in [bad]", hold=DAY, keep_firing_for=60.0))
    bench.see(state(0, "bad", invoice="i"), state(5, "good", paid=1))
    bench.restart()
    bench.tick(65)
    ended = bench.all[-1].alert
    assert (ended.state.value, ended.value) == ("resolved", "good")
    assert (ended.event["invoice"], ended.ended_by["paid"]) == ("i", 1)
    assert "paid" not in ended.event


@pytest.mark.parametrize(
    ("end", "ended"),
    [
        (state(5, "paid"), Ended.EVENT),
        (2 * HOUR, Ended.UNSEEN),
        ("alice", Ended.BY_HAND),
        (None, Ended.CLOSED),
    ],
)
def test_an_end_says_what_ended_it(end: Any, ended: Ended) -> None:
    bench = Bench(rule("count() >= 1", resolve=['status="paid"']))
    bench.see(n(0, 1))
    if isinstance(end, str):
        bench.engine.end("Rule", ("a",), at=9, now=9, person=end)
        bench.commit()
    elif end is None:
        bench.load(rule("count() >= 2", resolve=['status="paid"']), now=9)
    else:
        run(bench, end)
    last = bench.all[-1].alert
    assert (last.ended, last.ended_person) == (ended, "alice" if ended is Ended.BY_HAND else "")


def test_a_condition_that_turns_false_by_itself_has_cleared() -> None:
    bench = Bench(rule("count() > 1", ends=End.RESOLVED))
    bench.see(n(0, 1), n(1, 1))
    bench.tick(2 * HOUR)
    assert bench.all[-1].alert.ended is Ended.CLEARED


def test_an_alert_has_what_its_rule_says_of_it() -> None:
    bench = Bench(rule("count()  >= 1", resolve=['status="paid"', 'n="1"'], news=True))
    (fired,) = bench.see(n(0, 1))
    assert fired.alert.rule == Facts(
        condition="count() >= 1 within 1h",
        ends='an event with status="paid", n="1"',
        news=True,
        by=("org_id",),
    )


def test_an_alert_grows_with_its_tenth_hundredth_and_thousandth_event() -> None:
    bench = Bench(rule("count() >= 3", resolve=['status="paid"']))
    for count in range(1, 1103):
        bench.see(n(count, 1))
        if count in (7, 50):
            bench.restart()
    grew = [(one.alert.times, one.at) for one in bench.all if one.kind.value == "grew"]
    assert grew == [(10, 12), (100, 102), (1000, 1002)]
    (alert,) = bench.engine.alerts()
    assert (alert.times, alert.seen_at) == (1100, 1102)


def test_the_end_by_a_window_that_runs_out_says_what_was_left() -> None:
    bench = Bench(rule("count() > 5"))
    bench.see(*[n(at, 1) for at in range(0, 200, 10)])
    assert bench.engine.current("Rule", ("a",), 200).value == 20  # type: ignore[union-attr]
    assert bench.engine.current("Rule", ("a",), HOUR + 100).value == 9  # type: ignore[union-attr]
    bench.tick(2 * HOUR)
    ended = bench.all[-1].alert
    assert (ended.state.value, ended.value, ended.ended_by) == ("resolved", 5, {})
    assert bench.engine.current("Rule", ("a",), 2 * HOUR) is None


def test_change_numbers_rise_and_an_episode_is_never_used_twice() -> None:
    bench = Bench(rule("last(status) == bad", hold=DAY))
    for at, status in enumerate(["bad", "good", "bad", "good", "bad"]):
        bench.see(state(at, status))
        bench.restart()
    assert [t.alert.change for t in bench.all] == [1, 2, 3, 4, 5]
    assert [t.alert.episode for t in bench.all] == [1, 1, 3, 3, 5]
    assert bench.engine.last_change == bench.file.meta("change") == 5


def test_an_end_of_one_thing_leaves_the_others_open_also_after_a_restart() -> None:
    bench = Bench(rule("count() >= 1", same=("sub", "invoice"), **FAILING))
    bench.see(
        event(1, sub="s1", invoice="i1"), event(2, sub="s1", invoice="i2"), event(3, sub="s2")
    )
    for at, fields in (
        (4, {"sub": "s3"}),
        (5, {"sub": "s1", "invoice": "i1"}),
        (6, {"sub": "s2", "invoice": "i9"}),
    ):
        bench.see(event(at, "paid", **fields))
        bench.restart()
    assert told(bench.all) == [("fired", 1)]
    bench.see(event(7, "paid", invoice="i2"))
    assert told(bench.all) == [("fired", 1), ("resolved", 7)]


def test_a_rule_told_what_is_the_same_starts_anew() -> None:
    before = rule("count() >= 1", same=("sub",), **FAILING)
    bench = Bench(before)
    bench.see(event(1, sub="s1"))
    bench.load(replace(before, same=("sub", "invoice")), now=2.0)
    bench.see(event(3, "paid", sub="s1", invoice="i1"))
    assert told(bench.all) == [("fired", 1), ("closed", 2)]


def test_it_fires_at_the_instant_that_its_newest_event_names() -> None:
    until = (parse_instant("ends + 1h"), parse_instant("event_time + days days"))
    bench = Bench(rule("count() >= 1", within=30 * DAY, until=until, for_=5 * DAY))
    bench.see(event(0), event(0, days=3, org_id="b"), event(0, ends=iso(DAY), days=3, org_id="c"))
    bench.see(event(HOUR, ends=iso(2 * DAY), org_id="c"))
    bench.restart()
    bench.tick(9 * DAY)
    assert [(t.alert.key, t.at) for t in bench.all] == [
        (("c",), 2 * DAY + HOUR),
        (("b",), 3 * DAY),
        (("a",), 5 * DAY),
    ]


def test_a_person_can_end_an_alert() -> None:
    bench = Bench(rule("count() >= 1"))
    bench.see(event(0))
    assert bench.engine.end("Rule", ("a",), at=7, now=7)
    assert not bench.engine.end("Rule", ("a",), at=8, now=8)
    assert kinds(bench.commit()) == ["resolved"]
    assert not bench.tick(1e6)


def test_counts_know_every_rule_at_zero_and_follow_severity() -> None:
    bench = delinquent()
    assert bench.engine.counts() == {
        ("Rule", severity, stage): 0
        for severity in ("warning", "critical")
        for stage in ("pending", "firing")
    }
    bench.see(state(0, "past_due"))
    assert bench.engine.counts()["Rule", "warning", "firing"] == 1
    bench.tick(3 * DAY)
    assert bench.engine.counts()["Rule", "warning", "firing"] == 0
    assert bench.engine.counts()["Rule", "critical", "firing"] == 1
    bench.see(state(4 * DAY, "active"))
    assert set(bench.engine.counts().values()) == {0}


def test_next_deadline_is_the_next_thing_to_do() -> None:
    bench = delinquent()
    assert bench.engine.next_deadline() is None
    bench.see(state(0, "past_due", current_period_end=iso(DAY)))
    assert bench.engine.next_deadline() == 4 * DAY
    bench.tick(4 * DAY)
    assert bench.engine.next_deadline() == 45 * DAY


def test_an_end_called_resolved_comes_also_after_an_event_that_alone_may_not_end_it() -> None:
    bench = Bench(rule("avg(n) == 1", within=60.0, resolve=['status="paid"'], ends=End.RESOLVED))
    bench.see(event(1000, n=1), event(1000, n=0))
    assert told(bench.tick(1500))[-1][0] == "resolved"
