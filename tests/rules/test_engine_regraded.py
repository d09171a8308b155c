"""A severity that is edited while its alert fires: the alert has it at once, and is routed anew."""

from typing import Any

from sidecar.rows import AlertRow
from sidecar.rules.alert import TransitionKind
from sidecar.rules.rule import Escalation, Rule
from support.rules import HOUR, Bench, event, rule


def graded(severity: str, **more: Any) -> Rule:
    return rule("count() >= 1", labels={"severity": severity, "team": "a"}, **more)


def test_one_that_fires_is_another_one_from_the_first_step_on() -> None:
    bench = Bench(graded("warning"))
    bench.see(event(1.0))
    before = len(bench.all)
    bench.load(graded("critical"), now=60.0)
    (change,) = bench.all[before:]
    assert (change.kind, change.alert.severity) == (TransitionKind.ESCALATED, "critical")
    assert change.before["severity"] == "warning"
    assert [row.severity for row in bench.file.of(AlertRow)] == ["critical"]
    bench.restart(120.0)
    assert len(bench.all) == before + 1


def test_another_label_or_nothing_edited_is_told_to_nobody() -> None:
    bench = Bench(graded("warning"))
    bench.see(event(1.0))
    before = len(bench.all)
    bench.load(rule("count() >= 1", labels={"severity": "warning", "team": "b"}), now=60.0)
    assert len(bench.all) == before


def test_one_that_is_pending_has_it_when_it_fires() -> None:
    bench = Bench(graded("warning", for_=HOUR / 2))
    bench.see(event(1.0))
    bench.load(graded("critical", for_=HOUR / 2), now=60.0)
    assert bench.all == []
    (fired,) = bench.tick(HOUR / 2 + 2.0)
    assert fired.alert.severity == "critical"


def test_steps_that_were_reached_still_stand_above_it() -> None:
    step = Escalation(after=60.0, labels={"severity": "critical"})
    bench = Bench(graded("warning", escalate=(step,)))
    bench.see(event(1.0))
    bench.tick(100.0)
    before = len(bench.all)
    bench.load(graded("error", escalate=(step,)), now=120.0)
    assert len(bench.all) == before


def test_a_severity_that_events_bring_is_none_of_the_rules() -> None:
    bench = Bench(rule("count() >= 1", by=("severity",), labels={}))
    bench.see(event(1.0, severity="error"))
    before = len(bench.all)
    bench.restart(60.0)
    assert len(bench.all) == before
