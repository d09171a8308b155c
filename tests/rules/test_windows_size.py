"""What many rules and many keys cost, counted in calls and bytes, which are no matter of luck."""

import gc
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sidecar.rows import RuleStateRow
from sidecar.rules import index as gates
from sidecar.rules.engine import Engine
from sidecar.rules.firsts import MAX_VALUES, News
from sidecar.rules.index import PatternSet
from sidecar.rules.quantile import MAX_BINS, Percentile
from sidecar.rules.shifted import Shifted
from sidecar.rules.windows import MEAN, NEVER
from support.calls import calls
from support.rules import DAY, HOUR, Bench, event, kinds, redact, rule


def engine_of(count: int, match: Callable[[int], list[str]], **more: Any) -> Engine:
    rules = [rule("count() >= 1", name=f"R{i}", match=match(i), **more) for i in range(count)]
    engine = Engine(rules, redact=redact, stale_after=HOUR)
    engine.restore((), (), (), now=0)
    return engine


SHAPES: list[Any] = [
    pytest.param(lambda i: [f'event_type="e{i}"'], {}, id="by event type"),
    pytest.param(lambda i: ['event_type="x"', f'status=~"a{i}|b{i}"'], {}, id="by statuses"),
    pytest.param(lambda i: ['event_type="x"', f'plan="p{i}"'], {}, id="by another field"),
    pytest.param(lambda i: ['event_type="x"', f'error=~".*(a{i}|b{i}).*"'], {}, id="by pattern"),
    pytest.param(lambda i: [f'plan="p{i}"', 'status!="s"'], {}, id="by a field and not a status"),
    pytest.param(
        lambda i: ['event_type="x"', f'plan="p{i}"'],
        {"resolve": ['event_type="x"', 'plan="none"']},
        id="with resolve on the same events",
    ),
]


@pytest.mark.parametrize(("match", "more"), SHAPES)
def test_a_thousand_rules_cost_what_ten_cost_for_an_event_that_none_matches(
    match: Callable[[int], list[str]], more: dict[str, Any]
) -> None:
    seen = event(0, plan="free", error="timeout at a")

    def cost(count: int) -> int:
        engine = engine_of(count, match, **more)
        engine.observe(seen, read_at=0)  # what a triple means is worked out once
        assert engine.drain().transitions == []
        return calls(lambda: engine.observe(seen, read_at=1))

    assert cost(1000) <= 2 * cost(10)


def test_a_triple_never_seen_before_costs_no_more_with_a_thousand_rules() -> None:
    def cost(count: int) -> int:
        engine = engine_of(count, SHAPES[0].values[0])
        engine.wants(("stripe", "first", "s"))
        return calls(lambda: engine.wants(("stripe", "other", "s")))

    assert cost(1000) <= 2 * cost(10)


def test_a_rule_among_a_thousand_is_found_by_its_pattern() -> None:
    engine = engine_of(1000, SHAPES[3].values[0])
    engine.observe(event(0, error="then b77 broke"), read_at=0)
    # a7 is part of no error here, but b7 and b77 are.
    assert [t.alert.name for t in engine.drain().transitions] == ["R7", "R77"]


def test_where_re2_gives_up_every_pattern_is_a_candidate() -> None:
    patterns = PatternSet()
    patterns.add("a", 1)
    patterns.add("b", 2)
    assert patterns.matching("b") == [2]
    patterns._match = lambda _text: []
    assert patterns.matching("b") == [1, 2]


def test_patterns_too_large_for_one_set_are_all_candidates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gates, "_SET_MEMORY", 1 << 14)
    patterns = PatternSet()
    for place in range(50):
        patterns.add(f".*a{place}.*[x-z]{{10,99}}", place)
    assert len(patterns.matching("a")) == 50


# 100,000 keys in 310 MB: what one key may take, all of it, also with an alert that fires.
MOST_BYTES = 3100
KEYS = 20


@pytest.mark.parametrize(
    "condition",
    [
        "count() >= 3",
        "max(n) >= 3",
        "min(n) <= 3",
        "sum(n) > 1e12",
        "avg(n) > 1e9",
        'count(status="s") / count() > 2',
        "avg(n) / sum(n) > 1e9",
        "distinct(n) > 47",
        "last(n) > 0",
    ],
)
def test_a_full_key_takes_little_memory(condition: str) -> None:
    # What is made once for all, whoever comes first, is no key's: it is not there the second time.
    assert any(bytes_of_a_full_key(condition) <= MOST_BYTES for _ in range(2))


def bytes_of_a_full_key(condition: str) -> float:
    hold = DAY if "last(" in condition else None
    engine = Engine([rule(condition, hold=hold)], redact=redact, stale_after=DAY)
    engine.restore((), (), (), now=0)
    fill(engine, ["warm"], condition)
    tracemalloc.start()
    try:
        fill(engine, [f"0637e712-0000-4000-8000-{k:012}" for k in range(KEYS)], condition)
        engine.drain()
        gc.collect()  # and with it what the interpreter keeps of tuples that are no more
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(engine._keys) == KEYS + 1
    return taken / KEYS


@pytest.mark.parametrize(("condition", "most"), [("max(n) >= 101", 800), ("count() > 5", 800)])
def test_a_key_that_waits_takes_little_memory(condition: str, most: int) -> None:
    bench = Bench(rule(condition))
    bench.see(event(0, n=1, org_id="warm"))
    tracemalloc.start()
    try:
        for at in range(5):
            bench.see(*(event(float(at), n=1, org_id=f"org_{k:012}") for k in range(200)))
        bench.file.rows.clear()
        bench.all.clear()
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(bench.engine._keys) == 201
    assert taken / 200 <= most


def fill(engine: Engine, orgs: list[str], condition: str) -> None:
    """Give each key 100 events over the whole window."""
    for i in range(100):
        # Falling for max, rising for min: each event is a peak of its own.
        n = (100 - i if "max" in condition else i) / 10
        for place, org in enumerate(orgs):
            engine.observe(event(i * 35.0 + place / 1e3, n=n, org_id=org), read_at=i * 35.0)
        engine.drain()


@pytest.mark.parametrize(
    "condition",
    ["count() >= 9", "max(n) > 9", "avg(n) < -1", "distinct(n) > 9", "sum(n) / count() > 9"],
)
def test_idle_keys_are_gone_once_the_window_has_passed(condition: str) -> None:
    bench = Bench(rule(condition))
    bench.see(*(event(i / 10, n=1, org_id=str(i)) for i in range(500)))
    assert len(bench.engine._keys) == 500
    bench.tick(HOUR + 50 + HOUR / 60)
    assert len(bench.engine._keys) == 0
    assert bench.engine.next_deadline() is None


FLOODED = [
    pytest.param("count() >= 3", {}, id="count"),
    pytest.param("sum(n) >= 3", {"n": 1}, id="sum"),
    pytest.param("avg(n) >= 3 and count() >= 3", {"n": 9}, id="two windows"),
]


@pytest.mark.parametrize("together", [1, 64])
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("condition", "more"), FLOODED)
def test_a_flood_of_invented_keys_blinds_the_rule_to_nobody_who_is_near_to_firing(
    condition: str, more: dict[str, Any], together: int, *, restarted: bool
) -> None:
    bench = Bench(rule(condition), max_keys=100)
    for at in (1, 2):
        bench.see(event(at, org_id="real", **more))
    flood = [event(2 + i / 1000, org_id=str(i), **more) for i in range(1000)]
    for begin in range(0, len(flood), together):
        bench.see_together(*flood[begin : begin + together], read_at=3)
        if begin % 50 == 0 and condition.startswith("sum"):
            lately = event(2 + begin / 1000, org_id="real", **(more | {"n": 0}))
            bench.see(lately)  # how near these are is not known: who was heard of last stays
    assert len(bench.engine._keys) <= 100
    assert bench.engine.overflow == {}
    assert bench.engine.forgotten["Rule"] >= 900
    if restarted:
        bench.restart(now=3.0)
        assert len(bench.engine._keys) <= 100
    fired = bench.see(*(event(4, org_id="real", **(more | {"n": 30})) for _ in range(2)))
    assert [t.alert.key for t in fired] == [("real",)]
    # And for one who comes after the flood.
    fired = bench.see(*(event(5, org_id="new", **(more | {"n": 30})) for _ in range(3)))
    assert [t.alert.key for t in fired] == [("new",)]


def test_no_key_whose_alert_is_pending_or_firing_gives_way() -> None:
    bench = Bench(rule("count() >= 1", for_=60.0), max_keys=3)
    fired = bench.see(event(0, org_id="a")) + bench.tick(60)
    bench.see(event(61, org_id="b"), event(61, org_id="c"))  # pending
    bench.see(*(event(62, org_id=f"late{n}") for n in range(5)))
    assert kinds(fired) == ["fired"]
    assert {alert.key[0] for alert in bench.engine.alerts()} == {"a", "b", "c"}
    assert (bench.engine.overflow, bench.engine.forgotten) == ({"Rule": 5}, {})


def test_an_old_state_gives_way_with_its_row() -> None:
    bench = Bench(rule('last(status) == "bad"', within=None, hold=DAY), max_keys=2)
    for at, org in enumerate("abcd"):
        bench.see(event(at, "good", org_id=org))
    assert bench.engine.drain_state_counts() == {("Rule", "bad"): 0, ("Rule", "good"): 2}
    assert {row.by_key for row in bench.file.of(RuleStateRow)} == {'["c"]', '["d"]'}


def test_each_rule_has_a_cap_of_its_own() -> None:
    flooded, quiet = rule("count() >= 9"), rule("count() >= 1", name="Quiet", by=("plan",))
    bench = Bench(flooded, quiet, max_keys=10)
    bench.see(*(event(0, org_id=str(i), plan="pro") for i in range(50)))
    assert bench.engine.forgotten == {"Rule": 40}
    assert {t.alert.name for t in bench.all} == {"Quiet"}


@pytest.mark.parametrize(("many", "width"), [(9_000, 0.0), (12_000, 10.0)])
def test_beyond_ten_thousand_instants_an_earlier_window_is_kept_by_the_sixtieth(
    many: int, width: float
) -> None:
    window = Shifted(600.0, DAY, MEAN)
    samples = [(number * 7.0, float(number % 11)) for number in range(many)]
    for at, value in samples:
        window.add(at, value, at)
    stored = window.pack()
    assert sum(map(len, stored[1:])) <= window.most_bytes == 20 * 10_000
    window = Shifted(600.0, DAY, MEAN)
    window.load(stored)
    starts = [(at // width * width if width else at, value) for at, value in samples]
    for t in (0.0, 3.0, 6.9, 7.0, 599.9, 600.0, 50_001.0, 7.0 * many + 592.0, 7.0 * many + 600.0):
        inside = [value for start, value in starts if start <= t < start + 600.0]
        assert window.judged(t + DAY) == (sum(inside) / len(inside) if inside else None)
        edges = [edge for start, _ in starts for edge in (start, start + 600.0) if edge > t]
        assert window.changes_after(t + DAY) == min(edges, default=NEVER - DAY) + DAY


def bytes_of(window: News | Percentile, values: Sequence[str] | Sequence[float]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number, value in enumerate(values):
            window.add(number * HOUR / len(values), value, HOUR)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_what_new_and_percentile_take_is_what_the_page_says() -> None:
    thousands = [f"error {number}" for number in range(3000)]
    assert bytes_of(News(HOUR, 1, 90 * DAY), thousands) <= 140 * MAX_VALUES
    few = [1.0 + number * 7919 % 1000 for number in range(200)]
    assert bytes_of(Percentile(HOUR, 95), few) <= 24_000 * 1.1
    wide = [10 ** (number * 7919 % 1200 / 100) for number in range(30_000)]
    assert bytes_of(Percentile(HOUR, 95), wide) <= 110 * 60 * MAX_BINS
