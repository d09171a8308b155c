"""What windows show and how little they remember."""

import pytest

from sidecar.rows import RuleStateRow
from sidecar.rules import keystate
from sidecar.rules.keystate import MAX_IDS
from support.rules import HOUR, Bench, event, rule


@pytest.mark.parametrize(
    "condition",
    [
        "count() >= 3",
        "max(n) >= 1e9",
        "min(n) == -1",
        "distinct(n) > 20",
        "sum(n) > 1e12",
        "count() / sum(n) > 2",
        "last(n) == x",
    ],
)
def test_memory_of_a_key_does_not_grow_with_events(condition: str) -> None:
    bench = Bench(rule(condition))
    for i in range(3000):
        bench.engine.observe(event(i / 2, n=(i * 7919) % 3000), read_at=i / 2)
    bench.engine.observe(event(1500, n=2e9), read_at=1500)  # wakes a key that only waits
    bench.commit()
    (row,) = bench.file.of(RuleStateRow)
    assert len(row.packed) < 3000


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        ("count() >= 3", 500.0),
        ("max(n) >= 3", 499.0),
        ("min(n) == 0", 0.0),
        ("sum(n) > 3", 124_750.0),
        ("avg(n) >= 0", 249.5),
        ("distinct(n) >= 3", 48.0),
        ("last(n) >= 0", 499.0),
        ('count(status="s") / count() > 0', 1.0),
    ],
)
def test_alert_shows_the_whole_value_not_just_the_threshold(condition: str, shown: float) -> None:
    bench = Bench(rule(condition))
    for i in range(500):
        bench.engine.observe(event(float(i), n=i), read_at=float(i))
    bench.restart()
    assert [alert.value for alert in bench.engine.alerts()] == [shown]


def test_a_ratio_of_nothing_to_something_shows_0() -> None:
    bench = Bench(rule('count(status="bad") / count() < 0.5'))
    bench.see(event(0))
    assert [alert.value for alert in bench.engine.alerts()] == [0.0]


def test_shown_maximum_falls_as_peaks_leave() -> None:
    bench = Bench(rule("max(n) >= 1"))
    bench.see(event(0, n=9), event(100, n=5), event(200, n=7))
    bench.see(event(HOUR, n=1))
    assert next(bench.engine.alerts()).value == 7.0


def test_a_late_maximum_does_not_hide_the_newer_peak_that_outlives_it() -> None:
    bench = Bench(rule("max(n) >= 1"))
    bench.see(event(100, n=5), event(50, n=9), event(HOUR + 60, n=1))
    assert next(bench.engine.alerts()).value == 5.0


def test_remembered_ids_are_capped_per_key() -> None:
    bench = Bench(rule("count() >= 9", dedup_by="id"))
    for i in range(MAX_IDS + 50):
        bench.engine.observe(event(i / 100, id=f"evt_{i}"), read_at=0)
    bench.commit()
    (row,) = bench.file.of(RuleStateRow)
    assert 18 * MAX_IDS < len(row.packed) < 20 * MAX_IDS + 2000


def test_remembered_ids_are_capped_per_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystate, "MAX_RULE_IDS", 3)
    bench = Bench(rule("count() >= 9", dedup_by="id"))
    bench.see(*(event(i, id=str(i), org_id=org) for i in range(3) for org in "ab"))
    bench.restart()
    bench.remembered()  # wakes what waits
    known = {s.key[0]: len(s.seen or ()) for s in bench.engine._keys}
    assert sum(known.values()) == 3
    bench.tick(9 * HOUR)
    bench.see(event(10 * HOUR, id="x"))
    bench.remembered()
    assert [len(s.seen or ()) for s in bench.engine._keys] == [1]
    assert bench.engine._compiled_rules[0].ids == 1


def test_ids_are_forgotten_after_the_window() -> None:
    bench = Bench(rule("count() >= 1", dedup_by="id"))
    bench.see(event(0, id="e"), event(HOUR - 1, id="e"), event(HOUR, id="e"))
    assert [(t.kind.value, t.at) for t in bench.all] == [
        ("fired", 0),
        ("expired", HOUR),
        ("fired", HOUR),
    ]
