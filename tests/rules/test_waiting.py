"""What waits instead of being judged: resolves of keys of which nothing else is known, and samples
that change no verdict; what they hold back, for how long, and what they cost.
"""

from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from sidecar.parse.columns import Columns
from sidecar.parse.event import Event
from sidecar.rows import FloorsRow, JournalRow, RuleStateRow
from sidecar.rules.rule import End, Rule
from support.calls import calls
from support.rules import DAY, HOUR, Bench, CloseBench, event, kinds, rule, told

FAILING = rule("max(n) >= 3", resolve=['status="paid"'])
ONCE = rule("count() >= 1", resolve=['status="paid"'])


def resolved(at: float = 100.0, tested: Rule = FAILING) -> Bench:
    """Return a bench whose one rule knows of a resolve of key "a", and of nothing else."""
    bench = Bench(tested)
    bench.see(event(at, "paid"))
    return bench


def test_a_resolve_of_an_unknown_key_is_a_floor_and_no_state() -> None:
    bench = resolved()
    assert bench.floors() == {("Rule", ("a",)): 100.0}
    assert list(bench.engine._keys) == []
    assert bench.file.of(RuleStateRow) == []
    assert len(bench.file.of(JournalRow)) == 1


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize(
    ("at", "fires"), [(99.9, False), (100.0, True), (100.5, True)], ids=["before", "at", "after"]
)
def test_a_failure_before_the_second_of_the_floor_does_not_count(
    at: float, *, fires: bool, restarted: bool
) -> None:
    bench = resolved()
    if restarted:
        bench.restart()
    assert bool(bench.see(event(at, n=3))) is fires


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_state_that_begins_at_a_floor_keeps_it(*, restarted: bool) -> None:
    bench = resolved()
    bench.see(event(200, n=1))
    if restarted:
        bench.restart()
    assert bench.floors() == {}
    assert bench.see(event(99, n=3)) == []


def test_a_resolve_later_than_the_floor_raises_it_and_an_earlier_one_does_not() -> None:
    bench = resolved()
    bench.see(event(90, "paid"))
    assert bench.floors() == {("Rule", ("a",)): 100.0}
    bench.see(event(110, "paid"))
    assert bench.floors() == {("Rule", ("a",)): 110.0}


def test_a_resolve_that_raises_nothing_writes_nothing() -> None:
    bench = resolved()
    bench.engine.observe(event(90, "paid"), read_at=100)
    assert not bench.engine.drain().delta


def test_a_key_whose_alert_is_resolved_is_bare_again() -> None:
    bench = Bench(FAILING)
    bench.see(event(0, n=3))
    assert told(bench.see(event(10, "paid"))) == [("resolved", 10)]
    assert bench.floors() == {("Rule", ("a",)): 10.0}
    assert bench.file.of(RuleStateRow) == []
    bench.restart()
    assert bench.floors() == {("Rule", ("a",)): 10.0}


def test_a_key_whose_newer_samples_a_late_resolve_leaves_keeps_its_state() -> None:
    bench = Bench(FAILING)
    bench.see(event(20, n=1), event(10, "paid"))
    assert bench.floors() == {}
    assert [s.floor for s in bench.engine._keys] == [10.0]


def test_a_key_whose_own_time_is_later_than_its_floor_keeps_its_state() -> None:
    """Or a sample between the two would be judged at its own time, and not at the key's."""
    bench = Bench(FAILING)
    bench.see(event(10, n=1), event(30), event(20, "paid"))
    assert [(s.floor, s.clock) for s in bench.engine._keys] == [(20.0, 30.0)]


def test_ids_to_be_remembered_need_a_state() -> None:
    bench = Bench(rule("count() >= 2", resolve=['status="paid"'], dedup_by="id"))
    bench.see(event(100, "paid", id="x"))
    assert bench.floors() == {("Rule", ("a",)): 100.0}
    bench.see(event(101, id="y"), event(102, "paid", id="y"))
    assert bench.floors() == {}
    assert len(bench.file.of(RuleStateRow)) == 1


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_floor_holds_nothing_back_once_rule_time_has_passed_it_by_the_span(
    *, restarted: bool
) -> None:
    bench = resolved(tested=ONCE)
    assert bench.engine.next_deadline() == HOUR + 100
    bench.tick(HOUR + 99.9)
    assert bench.see(event(50)) == []
    bench.tick(HOUR + 100)
    if restarted:
        bench.restart()
    assert told(bench.see(event(50))) == [("fired", 50)]


def test_a_floor_set_behind_rule_time_lasts_until_time_passes_again() -> None:
    bench = Bench(ONCE)
    bench.tick(9 * HOUR)
    assert bench.see(event(100, "paid"), event(50)) == []
    bench.tick(9 * HOUR)
    assert kinds(bench.see(event(50))) == ["fired"]


def test_the_deadline_of_a_raised_floor_is_put_off() -> None:
    bench = resolved(tested=ONCE)
    bench.see(event(2000, "paid"))
    bench.tick(HOUR + 1999)
    assert bench.floors()
    assert bench.engine.next_deadline() == HOUR + 2000
    bench.tick(HOUR + 2000)
    assert bench.floors() == {}


def test_no_row_is_left_when_the_last_floor_is_over() -> None:
    bench = resolved()
    bench.tick(HOUR + 100)
    assert bench.file.of(JournalRow) == []
    assert bench.engine.next_deadline() is None


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_floor_does_not_come_back_when_the_state_after_it_is_gone(*, restarted: bool) -> None:
    """Its entry still lies in the log, and rule time has not passed it."""
    bench = Bench(FAILING)
    bench.see(event(100, "paid"), event(100, "paid", org_id="b"))
    bench.see(event(5 * HOUR))  # no sample, but time for the key
    assert list(bench.engine._keys) == []
    if restarted:
        bench.restart()
    assert set(bench.floors()) == {("Rule", ("b",))}
    assert kinds(bench.see(event(50, n=3))) == ["fired"]


def test_floors_count_as_keys_and_the_oldest_gives_way() -> None:
    bench = Bench(FAILING, max_keys=2)
    bench.see(*(event(at, "paid", org_id=org) for at, org in enumerate("abac")))
    assert set(bench.floors()) == {("Rule", ("a",)), ("Rule", ("c",))}
    assert bench.engine.forgotten == {"Rule": 1}
    bench.restart()
    assert set(bench.floors()) == {("Rule", ("a",)), ("Rule", ("c",))}
    assert kinds(bench.see(event(9, n=3), event(9, n=3, org_id="c"))) == ["fired"] * 2
    assert kinds(bench.see(event(9, n=3, org_id="d"))) == []
    assert bench.engine.overflow == {"Rule": 1}


def test_a_changed_rule_forgets_its_floors_and_never_finds_them_again() -> None:
    other = rule("count() >= 9", name="Other", resolve=['status="paid"'])
    bench = Bench(ONCE, other)
    bench.see(event(100, "paid"))
    changed = rule("count() >= 2", resolve=['status="paid"'])
    for tested in (changed, ONCE, ONCE):
        bench.load(tested, other, now=200.0)
        assert bench.floors() == {("Other", ("a",)): 100.0}
    assert kinds(bench.see(event(50))) == ["fired"]


def test_rows_of_vanished_rules_go() -> None:
    bench = resolved()
    bench.load(rule("count() >= 9", name="Other"), now=200.0)
    assert bench.file.of(JournalRow) == []


def test_a_rule_that_comes_to_drop_repeated_ids_honours_its_floors() -> None:
    bench = resolved(tested=ONCE)
    bench.load(rule("count() >= 1", resolve=['status="paid"'], dedup_by="id"), now=200.0)
    assert bench.see(event(50, id="x")) == []
    bench.see(event(150, "paid", id="y"))
    assert bench.floors() == {}
    assert bench.see(event(140, id="z")) == []


def test_a_longer_memory_does_not_bring_back_what_is_over() -> None:
    short = rule("last(n) >= 3", hold=60.0, resolve=['status="paid"'])
    bench = resolved(tested=short)
    bench.see(event(1000, "paid", org_id="b"))
    bench.tick(200)
    bench.load(rule("last(n) >= 3", hold=DAY, resolve=['status="paid"']), now=200.0)
    assert set(bench.floors()) == {("Rule", ("b",))}


def test_the_census_counts_a_key_that_is_laid_bare_out_of_its_state() -> None:
    bench = Bench(rule("last(plan) == pro", hold=DAY, resolve=['status="paid"']))
    bench.see(event(0, plan="pro"))
    assert bench.engine.drain_state_counts() == {("Rule", "pro"): 1}
    bench.see(event(1, "paid"))
    assert bench.engine.drain_state_counts() == {("Rule", "pro"): -1}


def test_events_of_one_chunk_are_judged_in_their_order() -> None:
    bench = Bench(FAILING)
    seen = [event(1, "paid"), event(2, n=3), event(3, "paid"), event(4, "paid"), event(2.5, n=3)]
    assert told(bench.see_together(*seen, read_at=5)) == [("fired", 2), ("resolved", 3)]
    assert [(s.floor, s.alert) for s in bench.engine._keys] == [(4.0, None)]


def test_two_rules_that_one_event_resolves_both_remember_it() -> None:
    bench = Bench(FAILING, rule("count() >= 1", name="Other", resolve=['status="paid"']))
    bench.see_together(event(1, "paid"), event(2, "paid"), read_at=2)
    assert bench.floors() == {("Rule", ("a",)): 2.0, ("Other", ("a",)): 2.0}


def test_a_duplicate_does_not_hide_the_last_event_that_upheld_an_alert() -> None:
    bench = Bench(rule("count() >= 1", dedup_by="id"))
    bench.see_together(*(event(at, id=id_) for at, id_ in enumerate("abcc")), read_at=9.0)
    (alert,) = bench.engine.alerts()
    assert (alert.event["id"], alert.times, alert.seen_at) == ("c", 3, 2.0)


def test_the_census_counts_a_key_out_whose_state_was_no_alert() -> None:
    bench = Bench(rule("last(plan) == pro", resolve=['status="paid"']))
    bench.see(event(0, plan="free"))
    assert bench.engine.drain_state_counts() == {("Rule", "pro"): 0, ("Rule", "free"): 1}
    bench.see(event(1, "paid"))
    assert bench.engine.drain_state_counts() == {("Rule", "free"): -1}


FLOORS = (1, [("Rule", [(["a"], 100.0, 7), (["b"], 100.0, 7), (["c"], 90.0, 6)])])


def with_floors(*packed: Any) -> Bench:
    """Return a bench that starts on what the version before stored of resolved keys."""
    bench = Bench(ONCE)
    for seq, one in enumerate(packed):
        bench.file.rows[FloorsRow, (seq,)] = FloorsRow(seq, msgspec.msgpack.encode(one))
    bench.restart()
    return bench


def test_what_an_earlier_version_stored_of_resolved_keys_is_taken_over_once() -> None:
    bench = with_floors(FLOORS, (1, [("Rule", [(["b"], float("inf"), 8), (["c"], 110.0, 8)])]))
    for _ in range(2):
        assert bench.floors() == {("Rule", ("a",)): 100.0, ("Rule", ("c",)): 110.0}
        assert bench.file.of(FloorsRow) == []
        bench.restart()
    assert bench.see(event(99), event(99, org_id="c")) == []
    assert kinds(bench.see(event(99, org_id="b"))) == ["fired"]


@pytest.mark.parametrize("packed", [b"\xc1", (0, FLOORS[1])], ids=["damaged", "of another form"])
def test_a_row_of_an_earlier_version_that_cannot_be_read_costs_itself_only(packed: Any) -> None:
    bench = with_floors(packed, FLOORS)
    assert len(bench.floors()) == 3
    assert bench.file.of(FloorsRow) == []


def test_samples_below_the_bound_only_wait_and_one_that_passes_it_wakes_the_key() -> None:
    bench = Bench(FAILING)
    bench.see(event(0, n=1), event(1, n=2), event(2, n=2))
    assert list(bench.engine._keys) == []
    assert told(bench.see(event(3, n=3))) == [("fired", 3)]
    assert [s.alert.value for s in bench.engine._keys if s.alert] == [3]


@pytest.mark.parametrize(
    ("condition", "waits"),
    [
        ("count() >= 3", 2), ("count() > 3.5", 3), ("max(n) > 1", 9),
        ("count() >= 3 and max(n) > 1", 9), ("max(n) > 1 or count() >= 3", 2),
        ('max(n) > 1 or count(status="s") >= 3 or count(status!="s") >= 4', 2),
        ('max(n) > 1 or count(n="2") >= 1 or count() >= 4', 3), ("count() >= 1", 0),
        ("count() == 3", 2), ("sum(n) > 4", 3), ("not count() < 3", 2), ("max(n) == 3", 0),
        ("sum(n) > 99 or avg(n) > 2", 9), ("avg(n) >= 1", 0), ('count(n="2") / count() > 0.5', 9),
        ("count() / max(n) > 9", 0), ("distinct(n) >= 5", 4), ("last(n) > 9", 0),
        ("percentile(n, 90) > 1", 9), ("percentile(n, 90) > 0.9", 0), ("percentile(n, 90) < 9", 0),
    ],
)  # fmt: skip
def test_so_many_samples_wait(condition: str, waits: int) -> None:
    bench = Bench(rule(condition, within=HOUR))
    alone = []
    for number in range(9):
        bench.see(event(number, n=1))
        alone.append(not list(bench.engine._keys))
    assert sum(alone) == waits


def test_a_key_that_is_quiet_again_waits_again() -> None:
    bench = Bench(rule("count() >= 3", within=60.0))
    bench.see(event(0), event(1), event(2))
    bench.tick(62)
    bench.see(event(63), event(64))
    rows = bench.file.of(JournalRow)
    assert len(rows) == 1
    assert told(bench.see(event(65))) == [("fired", 65)]


# Of Python functions and of C ones, for each event: once, and for each rule.
FOR_EACH, FOR_A_RULE = 16, 6


def payments(begin: int, count: int) -> list[Event]:
    """Return failed and good payments of 50 organisations, in order."""
    return [
        event(float(n), ("s", "paid")[n % 7 == 0], org_id=f"o{n % 50}", n=1)
        for n in range(begin, begin + count)
    ]


@pytest.mark.parametrize("rules_of_it", [1, 3])
def test_an_event_that_changes_no_verdict_costs_a_rule_few_calls(rules_of_it: int) -> None:
    """Of Python functions and of C ones; some more for each key that is new."""
    named = [rule("max(n) >= 3", name=f"R{n}", resolve=['status="paid"']) for n in range(3)]
    bench = Bench(*named[:rules_of_it])
    bench.engine.observe_all(Columns.of(payments(0, 500)), read_at=0.0)
    spent = []
    for begin, count in ((500, 1000), (1500, 3000)):
        seen = Columns.of(payments(begin, count))
        spent.append(calls(partial(bench.engine.observe_all, seen, read_at=0.0)))
    assert (spent[1] - spent[0]) / 2000 <= FOR_EACH + FOR_A_RULE * rules_of_it


def storm(*, orgs: int = 60, secret: str = "") -> Bench:
    """Return a bench with so many alerts, and four samples more of each that uphold it."""
    bench = Bench(FAILING)
    for at in range(5):
        seen = [
            event(float(at), n=3 + at, org_id=f"o{n}", secret=f"{secret}{at}") for n in range(orgs)
        ]
        bench.engine.observe_all(Columns.of(seen), read_at=float(at))
        bench.commit()
    return bench


def test_samples_that_uphold_an_alert_wait_and_its_row_is_written_in_its_turn() -> None:
    bench = storm()
    waiting = bench.engine._keys.waiting[0]
    assert sum(len(entries) > 1 for entries in waiting.of.values()) == 35
    for _ in range(3):
        bench.commit()
    assert not any(len(entries) > 1 for entries in waiting.of.values())


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_who_asks_is_told_what_upheld_an_alert_last(*, restarted: bool) -> None:
    bench = storm()
    if restarted:
        bench.load(FAILING, now=5.0)
    alerts = list(bench.engine.alerts())
    assert {(alert.value, alert.times, alert.seen_at) for alert in alerts} == {(7.0, 5, 4.0)}
    if not restarted:
        assert {alert.event["n"] for alert in alerts} == {7}


def test_what_waits_of_an_alert_is_nowhere_unredacted() -> None:
    bench = storm(secret="sk_live_")
    assert "sk_live" not in repr(bench.file.rows)
    assert "sk_live" not in repr(list(bench.engine.alerts()))


def test_an_alert_that_is_upheld_is_told_to_grow_and_ends_when_its_window_is_over() -> None:
    bench = Bench(rule("count() >= 2", within=60.0))
    bench.see_together(*(event(float(at)) for at in range(13)), read_at=12.0)
    bench.tick(99.0)
    assert told(bench.all) == [("fired", 1), ("grew", 10), ("expired", 71)]


@pytest.mark.parametrize("condition", ["count() >= 2", "max(n) >= 3", "count() > 3 or max(n) > 2"])
def test_a_sample_that_comes_late_upholds_an_alert_as_well(condition: str) -> None:
    tested = rule(condition, within=60.0, resolve=['status="paid"'])
    seen = [event(at, n=3) for at in (50.0, 52.0, 40.0, 30.5, 51.0)]
    together, single = Bench(tested), Bench(tested)
    together.see(event(30.0, "paid"))
    single.see(event(30.0, "paid"))
    together.engine.observe_all(Columns.of(seen), read_at=52.0)
    assert together.engine._keys.waiting[0].firing
    together.engine.observe(event(20.0, n=3), read_at=52.0)  # before what ended it: it is nothing
    for one in (*seen, event(20.0, n=3)):
        single.see(one)
        assert not single.engine._keys.waiting[0].firing
    together.commit()
    assert list(together.engine.alerts()) == list(single.engine.alerts())
    for t in (90.0, 100.0, 110.0, 111.0, 112.0, 113.0):
        assert told(together.tick(t)) == told(single.tick(t))
    assert together.remembered() == single.remembered()
    assert together.all == single.all


@pytest.mark.parametrize(
    ("second", "ends"),
    [(event(5.0, "paid"), ("resolved", 5)), (event(70.0, n=1), ("expired", 60))],
    ids=["resolved", "over"],
)
def test_what_ends_an_alert_comes_after_what_upheld_it(second: Event, ends: Any) -> None:
    bench = Bench(rule("max(n) >= 3", within=60.0, resolve=['status="paid"'], ends=End.UNSEEN))
    bench.see_together(event(0.0, n=3), event(1.0, n=2), event(2.0, n=1), second, read_at=70.0)
    bench.tick(70.0)
    assert told(bench.all) == [("fired", 0), ends]
    assert bench.all[-1].alert.times == 3


def test_a_sample_that_upholds_an_alert_costs_few_calls() -> None:
    bench = Bench(FAILING)
    spent = []
    for begin, count in ((0, 2400), (2400, 1000), (3400, 3000)):
        seen = [event(n / 10, n=3, org_id=f"o{n % 20}") for n in range(begin, begin + count)]
        columns = Columns.of(seen)
        spent.append(calls(partial(bench.engine.observe_all, columns, read_at=0.0)))
    assert (spent[2] - spent[1]) / 2000 <= FOR_EACH + 2 * FOR_A_RULE


def test_ids_of_which_each_is_another_come_to_the_same_where_only_a_matcher_looks() -> None:
    bench = Bench(rule("count() >= 999", match=['event_type="x"', 'invoice_id!=""']))
    spent = []
    for begin, count in ((0, 500), (500, 1000), (1500, 3000)):
        seen = [
            event(n / 10, invoice_id=f"in_{n}", org_id=f"o{n % 50}")
            for n in range(begin, begin + count)
        ]
        spent.append(calls(partial(bench.engine.observe_all, Columns.of(seen), read_at=0.0)))
    assert (spent[2] - spent[1]) / 2000 <= FOR_EACH + 3 * FOR_A_RULE


def test_texts_of_which_each_is_another_and_that_are_only_counted_cost_few_calls() -> None:
    bench = Bench(rule("distinct(id) > 200 or max(n) > 5"))
    spent = []
    for begin, count in ((0, 2400), (2400, 1000), (3400, 3000)):
        each = range(begin, begin + count)
        seen = [event(n / 10, n=n % 3, id=f"i{n}", org_id=f"o{n}") for n in each]
        spent.append(calls(partial(bench.engine.observe_all, Columns.of(seen), read_at=0.0)))
    assert (spent[2] - spent[1]) / 2000 < 50


@pytest.mark.parametrize(
    "condition",
    [
        "last(n) > 5",
        'last(status) =~ "worse|un.*"',
        "changed(n) >= 1",
        "changed(status) > 1 and new(n) > 9",
        "new(n) > 9",
        "percentile(n, 95) > 5",
    ],
)
def test_what_a_key_knows_already_costs_few_calls(condition: str) -> None:
    bench = Bench(rule(condition, within=None if condition.startswith("last") else HOUR))
    bench.see_together(*[event(0.0, n=4, org_id=f"o{n}") for n in range(20)], read_at=0.0)
    bench.tick(2 * HOUR)  # what was new is so no longer
    spent, states = [], bench.engine.drain_state_counts()
    for begin, count in ((0, 2400), (2400, 1000), (3400, 3000)):
        each = range(begin, begin + count)
        seen = [event(2 * HOUR + n / 10, n=4, org_id=f"o{n % 20}") for n in each]
        spent.append(calls(partial(bench.engine.observe_all, Columns.of(seen), read_at=0.0)))
    assert (spent[2] - spent[1]) / 2000 < 4 * FOR_EACH
    assert not any(bench.engine.drain_state_counts().values())
    assert any(states.values()) is condition.startswith("last")
    assert bench.all == []


@pytest.mark.parametrize("value", [1, True, 1.0, "1", -0.0, 0, [1], {"a": 1}, None, ""])
def test_values_that_are_only_equal_are_told_apart(value: Any) -> None:
    tested = rule('count(n="1") >= 2 or count(n="true") >= 2 or count(n="0") >= 2 or max(n) > 9')
    together, single = Bench(tested), Bench(tested)
    seen = [event(float(at), n=n) for at, n in enumerate([1, value, True, value, "1", 1.0, value])]
    together.see_together(*seen, read_at=9.0)
    single.see(*seen, read_at=9.0)
    assert together.all == single.all
    assert together.remembered() == single.remembered()


OUTAGE = rule(
    'count(status="bad") / count(status="ok") > 0.5 and count(status="bad") >= 5',
    within=600.0,
    by=("webhook_provider",),
)


def calls_of(number: int) -> list[Event]:
    """Return calls of one provider, a few of them late and every hundredth a bad one."""
    late = (0.0, 0.0, 3.5, 0.0, 200.0, 0.0, 0.0)
    return [
        event(n / 10 - late[n % 7], "ok" if n % 100 else "bad", org_id=f"o{n}")
        for n in range(number, number + 100)
    ]


@pytest.mark.parametrize(
    "tested", [OUTAGE, rule("count() > 900", by=()), rule("max(n) > 9", by=())]
)
def test_many_events_of_one_key_come_to_what_they_come_to_one_by_one(tested: Rule) -> None:
    together, single = Bench(tested), Bench(tested)
    for begin in range(0, 9000, 100):
        together.see_together(*calls_of(begin), read_at=begin / 10)
        single.see(*calls_of(begin), read_at=begin / 10)
        if not begin % 1000:
            together.restart()
    assert together.remembered() == single.remembered()
    assert together.all == single.all


def test_events_that_only_count_for_one_key_cost_next_to_nothing() -> None:
    bench = Bench(OUTAGE)
    spent = []
    for begin, count in ((0, 500), (500, 1000), (1500, 3000)):
        seen = [event(n / 10, "ok", org_id=f"o{n}") for n in range(begin, begin + count)]
        spent.append(calls(partial(bench.engine.observe_all, Columns.of(seen), read_at=0.0)))
    assert (spent[2] - spent[1]) / 2000 <= 2
    assert not bench.engine._keys.waiting[0].of


def test_payments_of_customers_who_owe_nothing_cost_a_rule_next_to_nothing() -> None:
    bench = Bench(*(rule("max(n) >= 3", name=f"R{n}", resolve=['status="paid"']) for n in range(5)))
    spent = []
    for begin, count in ((0, 500), (500, 1000), (1500, 3000)):
        seen = [event(n / 10, "paid", org_id=f"o{n % 50}") for n in range(begin, begin + count)]
        spent.append(calls(partial(bench.engine.observe_all, Columns.of(seen), read_at=0.0)))
    assert (spent[2] - spent[1]) / 2000 <= FOR_EACH
    assert len(bench.floors()) == 5 * 50


@pytest.mark.parametrize(
    "condition",
    ["sum(n) > 1000", "avg(n) > 10", "count(n > 5) / count() > 0.9", "percentile(n, 95) > 10"],
)
@pytest.mark.parametrize("together", [False, True], ids=["one by one", "all at once"])
def test_a_key_whose_samples_leave_by_the_bucket_is_over_when_its_windows_are(
    condition: str, *, together: bool
) -> None:
    """No key is made a state only to be thrown away; and none is over before a state would be."""
    bench = Bench(rule(condition, within=60.0))
    compiled, waiting = bench.engine._compiled_rules[0], bench.engine._keys.waiting[0]
    for n in range(50):
        bench.see(event(100.4, n=1, org_id=f"o{n}"))
    if not together:
        bench.engine._keys.wake(compiled, ("o7",))
    assert bench.engine.next_deadline() == pytest.approx(159.4, abs=1)
    bench.tick(159.99)
    assert len(waiting.of) >= 49
    assert calls(partial(bench.engine.tick, 160.0, now=160.0, complete=True)) < 50 * 19
    assert not waiting.of
    assert bench.commit() == []
    assert bench.file.of(JournalRow) == []
    assert bench.file.of(RuleStateRow) == []


def test_room_that_time_has_ended_is_not_used() -> None:
    bench = Bench(rule('count(status="bad") / count() > 0.5', within=600.0))
    bench.see(*[event(float(at), "good") for at in range(7)], event(8, "bad"), event(300, "good"))
    bench.tick(605)
    bench.tick(705)
    assert bench.see(event(710, "bad")) == []
    assert told(bench.see(event(720, "bad"))) == [("fired", 720)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["good"] * 4 + ["bad"]), st.integers(0, 14), st.sampled_from([0, 0, 30])
        ),
        min_size=20,
    )
)
@pytest.mark.parametrize(
    "condition",
    [
        'count(status="bad") / count() > 0.3',
        'sum(n, status="bad") / count() >= 2 and count() > 3',
        "percentile(n, 70) > 2",
        "percentile(n, 100) >= 5 or percentile(n, 0) > 2",
        'percentile(n, 50) > 2 and (count() > 9 or count(status="bad") / count() > 0.6)',
    ],
)
def test_room_lasts_no_longer_than_the_samples_that_make_it(
    condition: str, seen: list[tuple[str, int, int]]
) -> None:
    quick, close = (kind(rule(condition, within=60.0)) for kind in (Bench, CloseBench))
    t = 1000.0
    for status, apart, late in seen:
        t += apart
        for bench in (quick, close):
            bench.see(event(t - late, status, n=5 if status == "bad" else apart % 5), read_at=t)
            if apart > 9:
                bench.tick(t + 5)
    for bench in (quick, close):
        bench.tick(t + 100)
    assert told(quick.all) == told(close.all)


def test_samples_above_the_bound_of_a_percentile_that_is_not_reached_cost_few_calls() -> None:
    bench = Bench(rule("percentile(n, 50) >= 2", within=HOUR))
    spent = []
    for begin, count in ((0, 1000), (1000, 1000), (2000, 3000)):
        each = range(begin, begin + count)
        seen = [event(n / 5, n=1 + (n % 60 < 20), org_id=f"o{n % 20}") for n in each]
        spent.append(calls(partial(bench.engine.observe_all, Columns.of(seen), read_at=0.0)))
    assert (spent[2] - spent[1]) / 2000 < 2 * FOR_EACH
    assert bench.all == []


MIXED = 'count(status="5xx") / count(status="received") > 0.5 and count(status="5xx") >= 5'


def standing(bench: Bench, t: float) -> list[Any]:
    """Return what the engine knows of each key, as far as it can still be asked at `t`."""
    bench.remembered()
    ends = [t + n * 30.0 for n in range(12)]
    return [
        (state.key, state.clock, [(state.holds(end), state.value_at(end)) for end in ends])
        for state in bench.engine._keys
    ]


@given(st.lists(st.tuples(st.sampled_from(["received"] * 3 + ["5xx"]), st.integers(0, 40))))
@pytest.mark.parametrize(
    "condition",
    [
        MIXED,
        'count(status="5xx") > 9 or max(n) > 3',
        "last(n) == 5 or changed(status) >= 3",
        "new(n) >= 5 or percentile(n, 60) > 2",
    ],
)
def test_events_of_one_key_are_taken_at_once_as_they_are_singly(
    condition: str, statuses: list[tuple[str, int]]
) -> None:
    tested = rule(condition, within=300.0, match=[])
    together, single = Bench(tested), Bench(tested)
    at, seen = 0.0, list[Event]()
    for number, (status, apart) in enumerate(statuses * 4):
        at += apart - 2
        seen.append(event(at, status, n=number % 4))
    newest = max((one.at for one in seen), default=0.0)
    for first in range(0, len(seen), 50):
        together.engine.observe_all(Columns.of(seen[first : first + 50]), read_at=newest)
    for one in seen:
        single.engine.observe(one, read_at=newest)
    for bench in (together, single):
        bench.tick(newest + 1)
    assert told(together.all) == told(single.all)
    assert standing(together, newest + 2) == standing(single, newest + 2)
