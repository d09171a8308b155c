"""Random histories, with restarts at random points, through the engine and the reference."""

from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.event import Event, as_number
from sidecar.rows import AlertRow, Row
from sidecar.rules.aggregates import FUNCTIONS, Function
from sidecar.rules.condition import is_absence, parse_instant
from sidecar.rules.grammar import parse_condition
from sidecar.rules.rule import End, Rule
from support.rules import Bench, CloseBench, iso, rule, step
from support.rules_absence import AbsenceReference
from support.rules_median import MEDIAN, WITH_MEDIAN
from support.rules_reference import MODELS, Model, Reference, Told

CONDITIONS = [
    "count() >= 3",
    "count() > 1 and max(n) >= 3",
    "count() == 2",
    'count(status="bad") >= 2 and count(status="good") < 1',
    'count(status="bad") / count() > 0.5',
    "max(n) >= 3",
    "max(n) < 3",
    "max(n) == 2",
    "max(n) in [1, 3]",
    "min(n) <= 1",
    "min(n) != 2",
    "sum(n) > 4",
    "avg(n) >= 2",
    "max(n) / count() > 1",
    "distinct(n) >= 2",
    "distinct(n) < 2",
    "last(status) in [bad, worse]",
    "last(status) != good",
    "last(n) > 1",
    "last(status) == bad and count() >= 2",
    'last(status) =~ "wor.*|bad"',
    "changed(n) >= 1",
    "changed(n) >= 3 or changed(status) >= 1",
    "changed(n) > 1 and new(id) >= 1",
    "changed(status) >= 2 and count() >= 3",
    "new(n) >= 1",
    "last(n) == 2 or new(status) >= 2",
    'new(n, status="bad") >= 2 or new(id) > 2',
    "percentile(n, 50) >= 3",
    "percentile(n, 90) < 1",
    "percentile(n, 75) > 2",
    "percentile(n, 40) >= 4 or percentile(place, 90) in [1, 2]",
    "not percentile(n, 100) < 3",
    'percentile(n, 90, status="bad") > 2 and count() < 5',
    'last(status) !~ "good|pa.d" and count() >= 2',
    "avg(n) / sum(n) < 1",
    "min(n) / max(n) in [0.5, 1]",
    "distinct(n) / count() < 1",
    'sum(n, status="bad") >= 3 and max(n, status!="bad") < 4',
    "max(n) >= 4 or count() >= 3",
    'count(status="bad") / count(status="good") > 1',
    "not max(n) > 1",
    "not (count() < 3 or max(n) >= 3) and count() < 5",
    "last(status) == worse or not (last(status) != bad or count() < 2)",
    "avg(n) > 2 or not sum(n) / distinct(n) < 3 or min(n) == 0",
    "count() > 2 * count() offset 90s and count() >= 2",
    "count() < 0.5 * count() offset 70s",
    "count() offset 30s >= 2",
    "count() < 1 and count() offset 61s >= 1",
    'sum(n, status="bad") - sum(n) offset 20s >= 2 or changed(n) >= 3',
    "max(n) - min(n) > 2",
    'count(status="bad") + 2 * count(status="worse") >= 4',
    "avg(n) >= 1.5 * avg(n) offset 45s",
    "not (max(n) offset 25s - 1 <= (min(n) offset 50s + count()) * 2)",
    "distinct(n) * 2 > count() offset 10s + 1",
]
SHIFTED = [text for text in CONDITIONS if "offset" in text]
ABSENCES = [
    "count() < 1",
    "count() < 2",
    "count() == 0",
    'count(status="bad") < 1 and count() <= 2',
    'count(status="bad") < 1 or count() <= 2',
    'not (count(status="bad") >= 1 and not count() < 1)',
    "sum(n) < 4",
    "avg(n) < 2",
    "min(n) <= 1 and distinct(n) < 3",
    "max(n) < 3 or sum(n) <= 1",
]
STEPS = [
    step("ends + 20s", after=30),
    step("graced", severity="page"),
    step(after=45, team="x"),
    step("event_time + 25s"),
]
UNTIL = [
    (parse_instant("ends + 5s"),),
    (parse_instant("event_time + n days + 8s"), parse_instant("graced")),
]


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    condition = draw(st.sampled_from([*CONDITIONS, *SHIFTED, *ABSENCES, *ABSENCES]))
    more: dict[str, Any] = {
        "within": 60.0,
        "hold": draw(st.sampled_from([None, 40.0])) if "last(" in condition else None,
        "remember": draw(st.sampled_from([70.0, 200.0])),
        "for_": draw(st.sampled_from([0.0, 0.0, 7.0])),
        "keep_firing_for": draw(st.sampled_from([0.0, 0.0, 9.0])),
        "dedup_by": draw(st.sampled_from([None, None, "id"])),
        "ends": draw(st.sampled_from([None, None, End.RESOLVED, End.UNSEEN])),
        "order_by": draw(st.sampled_from([None, None, "place"])),
        "until": draw(st.sampled_from([(), (), *UNTIL])),
        "escalate": tuple(draw(st.lists(st.sampled_from(STEPS), max_size=3))),
        "resolve": draw(st.sampled_from([None, ['status="paid"']])),
        "by": draw(st.sampled_from([("org_id",), ("org_id",), ()])),
        "match": ['event_type="x"', *draw(st.sampled_from([(), (), ("n > 1",), ("n <= place",)]))],
    }
    if more["resolve"] and not is_absence(parse_condition(condition)):
        more["same"] = draw(st.sampled_from([(), ("id",), ("id", "place")]))
    return rule(condition, **more)


@st.composite
def events(draw: st.DrawFn, near: float) -> Event:
    values: dict[str, Any] = {
        "org_id": draw(st.sampled_from("ab")),
        "n": draw(st.sampled_from([0, 1, 2, 3, "3", 4, None, "much", True])),
    }
    for name in ("ends", "graced"):
        if draw(st.integers(0, 3)) == 0:
            named = iso(near + draw(st.integers(-50, 50)))
            values[name] = draw(st.sampled_from([named, named, named, 0, "soon"]))
    if draw(st.booleans()):
        values["id"] = draw(st.sampled_from("pqr"))
    if draw(st.integers(0, 2)):
        places = [1, 2, 2, 3, "2", iso(near), iso(near - 5), "soon", None]
        values["place"] = draw(st.sampled_from(places))
    status = draw(st.sampled_from(["bad", "bad", "worse", "good", "paid", "paid"]))
    at = near + draw(st.sampled_from([0, 0, 0, 0, -0.25, -0.5, -1, -5, -30, -61]))
    return Event("stripe", draw(st.sampled_from("xxxy")), status, float(at), values)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, Any]]:
    t = 1000.0
    out: list[tuple[str, Any]] = []
    for _ in range(draw(st.integers(1, 25))):
        t += draw(st.sampled_from([0, 0.25, 0.5, 1, 1, 3, 10, 20, 35, 60, 90]))
        what = draw(st.sampled_from(["event"] * 5 + ["tick", "tick", "lag", "restart", "reload"]))
        out.append((what, draw(events(t)) if what == "event" else t))
    return [*out, ("tick", t + 500.0)]


def variant(tested: Rule, number: int) -> Rule:
    """Return what the rule is after so many reloads: other steps, then another condition."""
    # No field that the steps before did not ask for: it is known from the next event on only.
    new = step(after=10.0 * number, severity="page")
    steps = (*tested.escalate[::-1], new) if number % 2 else tested.escalate
    if number % 4 < 2:
        return replace(tested, escalate=steps)
    text = "count() < 3" if is_absence(tested.condition) else "count() >= 2"
    return replace(tested, escalate=steps, condition=parse_condition(text))


def run_engine(tested: Rule, history: list[tuple[str, Any]], *, restarts: bool) -> list[Told]:
    bench = Bench(tested, start=0.0, stale_after=25.0)
    read_at, reloads = 0.0, 0
    for what, subject in history:
        if what == "event":
            read_at = max(read_at, subject.at)
            bench.see(subject, read_at=read_at)
        elif what in ("tick", "lag"):
            bench.tick(subject, complete=what == "tick")
        elif what == "reload":
            reloads += 1
            bench.commit()
            bench.load(variant(tested, reloads), now=subject)
        elif restarts:
            bench.restart()
    numbers = [t.alert.change for t in bench.all]
    assert numbers == list(range(1, len(numbers) + 1))
    told = [(t.kind.value, t.at, t.alert.labels, t.alert.since, t.stale) for t in bench.all]
    return in_order(told)


def run_reference(
    tested: Rule, history: list[tuple[str, Any]], models: Mapping[str, Model] = MODELS
) -> list[Told]:
    kind = AbsenceReference if is_absence(tested.condition) else Reference
    reference = kind(tested, stale_after=25.0, models=models)
    read_at, reloads = 0.0, 0
    for what, subject in history:
        if what == "event":
            read_at = max(read_at, subject.at)
            reference.observe(subject, read_at)
        elif what in ("tick", "lag"):
            reference.tick(subject, subject, complete=what == "tick")
        elif what == "reload":
            reloads += 1
            reference.reload(variant(tested, reloads), subject)
    return in_order(reference.told)


def in_order(told: list[Told]) -> list[Told]:
    """Return the transitions with those of one reload sorted: they come in the order of rows."""
    out: list[Told] = []
    for closed, some in groupby(told, key=lambda one: (one[0] == "closed", one[1])):
        of_one = list(some)
        out += sorted(of_one, key=repr) if closed[0] else of_one
    return out


@given(rules(), histories())
def test_engine_with_restarts_tells_what_the_reference_tells(
    tested: Rule, history: list[tuple[str, Any]]
) -> None:
    assert run_engine(tested, history, restarts=True) == run_reference(tested, history)


def without_model(functions: Mapping[str, Function]) -> set[str]:
    """Return the functions of which the reference knows nothing, or that no history is tried on."""
    tried = {name for name in functions if any(f"{name}(" in one for one in CONDITIONS)}
    return set(functions) - (set(MODELS) & tried)


def test_every_function_has_a_model_and_is_tried() -> None:
    assert without_model(FUNCTIONS) == set()


def test_a_function_without_a_model_is_named() -> None:
    assert without_model(WITH_MEDIAN) == {"median"}


@pytest.mark.parametrize("lacking", [one.name for one in fields(Function)])
def test_a_function_that_lacks_a_part_cannot_be(lacking: str) -> None:
    parts = {one.name: getattr(MEDIAN, one.name) for one in fields(Function)}
    del parts[lacking]
    with pytest.raises(TypeError, match=lacking):
        Function(**parts)


@given(rules(), histories(), st.sampled_from(["median(n) >= 2", "median(n) < 2", "median(n) == 1"]))
def test_a_function_added_as_one_entry_works_through_the_whole_engine(
    other: Rule, history: list[tuple[str, Any]], text: str
) -> None:
    condition = parse_condition(text, WITH_MEDIAN)
    tested = replace(other, condition=condition, hold=None)
    models = {**MODELS, "median": Model(as_number, middle, "never")}
    told = run_engine(tested, history, restarts=True)
    assert told == run_reference(tested, history, models)


def middle(numbers: list[float]) -> float | None:
    """Return the median, found otherwise than the window does."""
    ordered = sorted(numbers)
    half = len(ordered) // 2
    return (ordered[half] + ordered[~half]) / 2 if ordered else None


@given(rules(), histories(), st.integers(1, 2))
def test_events_judged_together_come_to_what_they_come_to_one_by_one(
    tested: Rule, history: list[tuple[str, Any]], twins: int
) -> None:
    both = [tested, replace(tested, name="Twin")][:twins]
    together, single = Bench(*both, stale_after=25.0), Bench(*both, stale_after=25.0)
    for what, some in groupby(history, key=lambda one: one[0]):
        subjects = [subject for _, subject in some]
        if what == "event":
            now = max(one.at for one in subjects)
            together.see_together(*subjects, read_at=now)
            single.see(*subjects, read_at=now)
        elif what == "tick":
            for bench in (together, single):
                bench.tick(subjects[-1])
    assert together.all == single.all
    if tested.by or not is_absence(tested.condition):  # or the newest may stand for all
        assert together.remembered() == single.remembered()
    assert together.engine.counts() == single.engine.counts()
    assert together.engine.drain_state_counts() == single.engine.drain_state_counts()


@given(rules(), histories())
def test_a_restart_changes_no_transition_and_no_row(
    tested: Rule, history: list[tuple[str, Any]]
) -> None:
    whole, parted = Bench(tested, stale_after=25.0), Bench(tested, stale_after=25.0)
    for what, subject in history:
        for bench in (whole, parted):
            if what == "event":
                bench.see(subject, read_at=subject.at + 20)
            elif what == "tick":
                bench.tick(subject)
        parted.restart()
    assert parted.all == whole.all
    assert parted.file.rows == whole.file.rows
    assert parted.engine.counts() == whole.engine.counts()


@given(rules(), histories())
def test_a_quiet_end_leaves_only_states_that_nothing_drops(
    tested: Rule, history: list[tuple[str, Any]]
) -> None:
    bench = Bench(tested)
    for what, subject in history:
        if what == "event":
            bench.see(subject)
    bench.tick(1e9)
    silence = is_absence(tested.condition) and not tested.by
    lasts = "last(" in tested.condition.text and tested.hold is None
    kept = silence or lasts or "changed(" in tested.condition.text
    assert kept or {type(row).__name__ for row in bench.file.rows.values()} <= {
        "RuleRow",
        "MetaRow",
    }


@given(rules(), histories())
def test_whether_samples_wait_makes_no_difference(tested: Rule, history: list[Any]) -> None:
    waiting, woken = Bench(tested, stale_after=25.0), Bench(tested, stale_after=25.0)
    for what, subject in history:
        for bench in (waiting, woken):
            if what == "event":
                bench.see(subject, read_at=subject.at + 20)
            elif what == "tick":
                bench.tick(subject)
        woken.remembered()
    assert waiting.all == woken.all
    assert waiting.remembered() == woken.remembered()


@st.composite
def chunks(draw: st.DrawFn) -> list[tuple[str, list[Event], float]]:
    """Return chunks of events, of many alike mostly, each with what comes after it and when."""
    t, out = 1000.0, list[tuple[str, list[Event], float]]()
    for _ in range(draw(st.integers(1, 8))):
        seen: list[Event] = []
        for _ in range(draw(st.integers(1, 4))):
            one = draw(events(t))
            for _ in range(draw(st.sampled_from([1, 1, 2, 9, 14]))):
                t += draw(st.sampled_from([0.0, 0.25, 1.0]))
                seen.append(replace_time(one, t + draw(st.sampled_from([0, 0, 0, -0.5, -30]))))
        t += draw(st.sampled_from([0, 1, 20, 60]))
        after = draw(st.sampled_from(["tick", "tick", "lag", "restart", ""]))
        out.append((after, seen, t))
    return out


def replace_time(event: Event, at: float) -> Event:
    return Event(event.provider, event.event_type, event.status, at, dict(event.fields))


def open_alerts(bench: Bench) -> list[Row]:
    return [row for row in bench.remembered() if isinstance(row, AlertRow)]


@given(rules(), chunks(), st.integers(1, 2))
def test_what_waits_comes_to_what_a_close_look_at_each_event_comes_to(
    tested: Rule, seen: list[tuple[str, list[Event], float]], twins: int
) -> None:
    both = [tested, replace(tested, name="Twin")][:twins]
    quick, close = Bench(*both, stale_after=25.0), CloseBench(*both, stale_after=25.0)
    for after, some, t in seen:
        for bench in (quick, close):
            bench.see_together(*some, read_at=t)
            if after in ("tick", "lag"):
                bench.tick(t, complete=after == "tick")
            elif after == "restart":
                bench.restart()
    assert quick.all == close.all
    assert open_alerts(quick) == open_alerts(close)
    assert quick.engine.counts() == close.engine.counts()
    assert quick.engine.drain_state_counts() == close.engine.drain_state_counts()
