"""Rows, reloads, caps and damage."""

import re
from typing import Any

import pytest

from sidecar.parse.event import Event
from sidecar.redact import Labels
from sidecar.rows import AlertRow, JournalRow, MetaRow, RuleRow, RuleStateRow
from sidecar.rules.alert import TABLE, Phase, Trigger
from sidecar.rules.engine import Engine
from sidecar.rules.rule import Rule
from support.rules import DAY, HOUR, Bench, event, kinds, redact, rule, step, told


def firing(tested: Rule | None = None) -> Bench:
    bench = Bench(tested or rule("max(n) >= 3", annotations={"summary": "s"}))
    bench.see(event(0, n=3))
    return bench


def test_a_drain_holds_each_row_once() -> None:
    bench = Bench(rule("max(n) >= 3"))
    for at in range(5):
        bench.engine.observe(event(at, n=3), read_at=at)
    rows = bench.engine.drain().delta.rows
    found = sorted(row.name if isinstance(row, MetaRow) else row.table for row in rows)
    assert found == ["alerts", "change", "rule_state", "step"]


def test_a_drain_holds_nothing_when_nothing_changed() -> None:
    bench = firing()
    assert not bench.engine.drain().delta
    bench.tick(10)
    assert not bench.engine.drain().delta


def test_rows_go_when_alert_and_window_are_gone() -> None:
    bench = firing()
    bench.tick(HOUR)
    assert bench.file.of(AlertRow) == []
    assert bench.file.of(RuleStateRow) == []


def test_a_key_that_comes_and_goes_between_two_drains_leaves_no_row() -> None:
    bench = Bench(rule("count() >= 1"))
    bench.engine.observe(event(0), read_at=0)
    bench.engine.tick(HOUR, now=HOUR, complete=True)
    bench.engine.observe(event(2 * HOUR), read_at=0)
    bench.engine.tick(9 * HOUR, now=HOUR, complete=True)
    assert kinds(bench.commit()) == ["fired", "expired", "fired", "expired"]
    assert bench.file.of(RuleStateRow) == []


def test_a_stored_key_that_goes_and_comes_back_between_two_drains_has_one_row() -> None:
    bench = firing()
    bench.engine.tick(9 * HOUR, now=9 * HOUR, complete=True)
    bench.engine.observe(event(10 * HOUR, n=1), read_at=10 * HOUR)
    bench.commit()
    assert [len(bench.file.of(kind)) for kind in (RuleStateRow, JournalRow)] == [0, 1]
    assert bench.file.of(AlertRow) == []


def test_alert_row_shows_severity_and_the_next_deadline() -> None:
    bench = firing(rule("last(n) >= 3", hold=DAY, escalate=(step(after=60),)))
    (row,) = bench.file.of(AlertRow)
    assert (row.rule, row.by_key, row.state) == ("Rule", '["a"]', "firing")
    assert (row.severity, row.since, row.deadline, row.change) == ("warning", 0, 60, 1)


def test_the_state_file_holds_no_unredacted_event() -> None:
    bench = Bench(rule("max(n) >= 3"))
    bench.see(event(0, n=3, secret="sk_live_1"))
    assert not [row for row in bench.file.rows.values() if "sk_live" in repr(row)]


@pytest.mark.parametrize(
    "changed",
    [
        rule("max(n) >= 4"),
        rule("max(n) >= 3", within=2 * HOUR),
        rule("max(n) >= 3", by=("plan",)),
        rule("max(n) >= 3", match=['status="s"']),
        rule("max(n) >= 3", resolve=['status="paid"']),
    ],
    ids=["condition", "within", "by", "match", "resolve"],
)
def test_a_changed_rule_starts_empty_and_its_alert_closes(changed: Rule) -> None:
    bench = firing()
    bench.load(changed, now=77.0)
    closed = bench.all[-1]
    assert (closed.kind.value, closed.at, closed.alert.change) == ("closed", 77.0, 2)
    assert closed.alert.labels["org_id"] == "a"
    assert closed.alert.annotations == {"summary": "s"}
    assert list(bench.engine.alerts()) == []
    assert not bench.file.of(RuleStateRow)
    assert not bench.file.of(AlertRow)
    assert bench.file.of(RuleRow)[0].since == 77.0


def test_a_vanished_rule_closes_and_leaves_no_row() -> None:
    bench = firing()
    bench.load(now=77.0)
    assert kinds(bench.all) == ["fired", "closed"]
    assert bench.file.of(RuleRow) == []


@pytest.mark.parametrize(
    "changed",
    [
        rule("max(n) >= 3", labels={"severity": "warning", "team": "x"}),
        rule("max(n) >= 3", for_=60.0),
        rule("max(n) >= 3", keep_firing_for=60.0),
        rule("max(n) >= 3", annotations={"summary": "other"}),
    ],
    ids=["labels", "for", "keep_firing_for", "annotations"],
)
def test_another_change_leaves_a_firing_alert_alone(changed: Rule) -> None:
    bench = firing()
    bench.load(changed, now=77.0)
    assert kinds(bench.all) == ["fired"]
    (alert,) = bench.engine.alerts()
    assert (alert.state.value, alert.severity) == ("firing", "warning")


def test_a_pending_alert_of_a_changed_rule_goes_in_silence() -> None:
    bench = firing(rule("max(n) >= 3", for_=60.0))
    bench.load(rule("max(n) >= 4", for_=60.0), now=77.0)
    assert bench.all == []
    assert bench.file.of(AlertRow) == []


def test_edited_escalation_steps_apply_to_open_alerts() -> None:
    bench = firing(rule("last(n) >= 3", hold=DAY, escalate=(step(after=60),)))
    bench.load(rule("last(n) >= 3", hold=DAY, escalate=(step(after=30),)), now=10.0)
    assert told(bench.tick(50)) == [("escalated", 30)]


def test_steps_reached_before_an_edit_are_reached_anew() -> None:
    bench = firing(rule("last(n) >= 3", hold=DAY, escalate=(step(after=60),)))
    bench.tick(60)
    edited = (step(after=90, severity="page"), step(after=30, severity="error"))
    bench.load(rule("last(n) >= 3", hold=DAY, escalate=edited), now=61.0)
    bench.tick(95)
    assert [t.alert.severity for t in bench.all] == ["warning", "critical", "error"]


def test_a_step_that_an_edit_puts_into_the_past_comes_at_once_and_ends_nothing() -> None:
    bench = firing(rule("last(n) >= 3", hold=DAY))
    bench.see(event(-50, n=1), event(500, n=4))
    bench.load(rule("last(n) >= 3", hold=DAY, escalate=(step(after=60),)), now=600.0)
    assert told(bench.tick(700)) == [("escalated", 500)]


def test_a_reached_step_stays_reached_over_a_restart() -> None:
    bench = firing(rule("last(n) >= 3", hold=DAY, escalate=(step(after=60),)))
    bench.tick(60)
    bench.restart()
    assert bench.tick(3600) == []
    assert next(bench.engine.alerts()).severity == "critical"


@pytest.mark.parametrize("table", [RuleStateRow, AlertRow])
def test_a_damaged_row_costs_its_key_only(table: type[RuleStateRow] | type[AlertRow]) -> None:
    bench = firing()
    bench.see(event(1, n=4, org_id="b"))
    (place,) = [p for p in bench.file.rows if p[0] is table and p[1][1] == '["a"]']
    row = bench.file.rows[place]
    assert isinstance(row, table)
    bench.file.rows[place] = type(row)(
        **{**{f: getattr(row, f) for f in row.__struct_fields__}, "packed": b"\x91\xc1"}
    )
    bench.restart()
    assert [alert.key for alert in bench.engine.alerts()] == [("b",)]


def test_keys_beyond_the_cap_are_counted_not_tracked() -> None:
    bench = Bench(rule("count() >= 1"), max_keys=2)
    fired = bench.see(*(event(at, org_id=org) for at, org in enumerate("aabbccd")))
    assert [t.alert.key for t in fired] == [("a",), ("b",)]
    assert bench.engine.overflow == {"Rule": 3}
    bench.tick(9 * HOUR)
    assert kinds(bench.see(event(10 * HOUR, org_id="c"))) == ["fired"]


def test_values_that_are_no_number_are_counted() -> None:
    bench = Bench(rule("max(n) >= 1"))
    bench.see(event(0, n="many"), event(1, n=None), event(2))
    assert bench.engine.not_numbers == {"Rule": 1}


def test_values_are_collected_once_each_up_to_a_hundred_and_redacted() -> None:
    bench = Bench(rule("count() >= 2", collect=("id", "secret", "a.b"), dedup_by="id"))
    bench.see(event(0, id="before"), event(1, id="first", secret="hunter2"))
    for i in range(150):
        bench.see(event(2, id=f"evt_{i // 2}", a={"b": i}))
        if i == 50:
            bench.restart()
    (alert,) = bench.engine.alerts()
    assert alert.collected["id"] == ["first", *(f"evt_{i}" for i in range(75))]
    (hidden,) = alert.collected["secret"]
    assert re.fullmatch(r"\*\*\*REDACTED\*\*\*~[0-9a-f]{8}", hidden)
    bench.see(*(event(3, id=f"more_{i}") for i in range(50)))
    (alert,) = bench.engine.alerts()
    assert len(alert.collected["id"]) == 100
    assert next(t for t in bench.all if t.kind.value == "fired").alert.collected["id"] == ["first"]
    assert len(alert.collected["a_b"]) == 75


def test_what_resolves_is_not_collected() -> None:
    bench = Bench(rule("count() >= 1", resolve=['status="paid"'], collect=("id",)))
    bench.see(event(0, id="lost"), event(1, "paid", id="paid"))
    assert [t.alert.collected for t in bench.all] == [{"id": ["lost"]}, {"id": ["lost"]}]


def test_hostile_key_and_field_texts_are_stored() -> None:
    bench = Bench(rule("last(n) != ok", hold=DAY))
    for n in ("\ud800", 10**40, "x" * 5000, {"a": [1]}, -(2**63)):
        bench.see(event(0, n=n, org_id="\ud800" + "k" * 5000))
        bench.restart()
    (alert,) = bench.engine.alerts()
    assert len(alert.key[0]) <= 256


def test_many_rules_behind_one_field_are_found_by_its_text() -> None:
    many = [
        rule("count() >= 1", name=f"R{i}", match=['event_type="x"', f'org_id="{i}"'])
        for i in range(50)
    ]
    bench = Bench(*many, rule("count() >= 1", name="All"))
    assert [t.alert.name for t in bench.see(event(0, org_id="7"))] == ["R7", "All"]
    assert [t.alert.name for t in bench.see(event(1, org_id="none"))] == ["All"]


def test_two_engines_never_share_state() -> None:
    one, two = firing(), Bench(rule("max(n) >= 3"))
    assert len(list(one.engine.alerts())) == 1
    assert list(two.engine.alerts()) == []


def test_a_windowed_rule_without_within_is_refused() -> None:
    with pytest.raises(ValueError, match="needs `within`"):
        Engine([rule("count() > 1", within=None)], redact=redact, stale_after=1.0)


def test_a_key_that_an_earlier_version_stored_with_a_secret_is_closed_and_fires_anew() -> None:
    as_logged = Labels(str, str, plainly=False)
    bench = Bench(rule("count() >= 1", by=("who",)), labels=lambda _: as_logged)
    bench.see(event(0, who="olga@example.com"), event(0, who="plain"))
    bench._more = {}  # the version of today
    bench.load(*bench.rules, now=1.0, recheck=True)
    assert kinds(bench.all) == ["fired", "fired", "closed"]
    (fired,) = bench.see(event(2, who="olga@example.com"))
    assert fired.alert.key[0].startswith("o***@example.com~")
    assert [row.by_key for row in bench.file.of(RuleStateRow) if "olga" in row.by_key] == []
    assert {alert.key[0] for alert in bench.engine.alerts()} == {"plain", fired.alert.key[0]}


def test_every_open_phase_can_be_closed_and_resolved() -> None:
    for phase in set(Phase) - {Phase.INACTIVE}:
        for trigger in (Trigger.CLOSE, Trigger.RESOLVE):
            assert TABLE[phase, trigger][0] is Phase.INACTIVE


def test_only_a_firing_alert_is_ever_told_of() -> None:
    for (phase, trigger), (_, kind) in TABLE.items():
        quiet = phase in (Phase.INACTIVE, Phase.PENDING) and trigger is not Trigger.FOR_OVER
        assert not (quiet and kind), (phase, trigger)


@pytest.mark.parametrize(
    ("again", "more", "ends"),
    [
        pytest.param(event(1.0, "paid", id="p", invoice="i"), {}, False, id="delivered late"),
        pytest.param(event(20.0, "paid", id="p", invoice="i"), {}, True, id="logged anew"),
        pytest.param(
            event(20.0, "paid", id="p", invoice="i"), {"same": ("invoice",)}, False, id="of another"
        ),
        pytest.param(
            event(20.0, "paid", id="f", invoice="j"), {}, True, id="the failed one resent"
        ),
    ],
)
def test_an_old_end_that_comes_again_counts_at_its_event_time(
    again: Event, more: dict[str, Any], *, ends: bool
) -> None:
    bench = Bench(rule("count() >= 1", resolve=['status="paid"'], dedup_by="id", **more))
    bench.see(event(1.0, "paid", id="p", invoice="i"), event(10.0, id="f", invoice="j"))
    assert kinds(bench.see(again, read_at=20.0)) == ["resolved"] * ends
    assert bench.see(event(30.0, id="f", invoice="j")) == []
