"""The simulated clock: what time brings about happens at its own instant."""

import random
from itertools import takewhile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace as with_

from sidecar.config.settings import Config
from sidecar.notify.model import Route
from sidecar.parse.columns import Columns
from sidecar.parse.event import Event
from sidecar.simulate.simulation import Moment, Simulation
from support.simulate import DAY, HOUR, MINUTE, ROUTE, T0, config, event

WAITS = """
  - alert: Waits
    match: ['event_type="x"']
    by: [org]
    condition: count() >= 1
    within: 1h
    for: 10m
    labels: {severity: warning}
"""
FIRES = WAITS.replace("    for: 10m\n", "")
QUIET = """
  - alert: Quiet
    match: ['status="received"']
    condition: count() < 1
    within: 6h
    labels: {severity: warning}
"""


def begun(config_: Config, start: float = T0) -> Simulation:
    simulation = Simulation(config_)
    simulation.start(start)
    return simulation


def happened(
    simulation: Simulation, events: list[Event], until: float | None = None
) -> list[tuple[float, str]]:
    """Return (seconds after T0, kind) of every transition."""
    return [
        (t.at - T0, t.kind.value)
        for moment in simulation.run([Columns.of(events)], until)
        for t in moment.step.transitions
    ]


def test_a_deadline_between_two_events_happens_at_its_own_instant(tmp_path: Path) -> None:
    simulation = begun(config(tmp_path, WAITS))
    found = happened(simulation, [event(T0, org="a"), event(T0 + DAY, org="b")])
    assert found == [(600.0, "fired"), (HOUR, "expired")]


def test_moments_carry_the_clock_of_their_deadline(tmp_path: Path) -> None:
    simulation = begun(config(tmp_path, WAITS))
    moments = list(simulation.run([Columns.of([event(T0, org="a"), event(T0 + DAY, org="b")])]))
    assert [moment.at - T0 for moment in moments] == [600.0, HOUR]


def test_time_stands_still_after_the_last_event(tmp_path: Path) -> None:
    simulation = begun(config(tmp_path, WAITS))
    assert happened(simulation, [event(T0, org="a")]) == []
    assert simulation.now == T0


def test_until_lets_time_run_on_and_includes_its_instant(tmp_path: Path) -> None:
    simulation = begun(config(tmp_path, WAITS))
    assert happened(simulation, [event(T0, org="a")], T0 + 600) == [(600.0, "fired")]
    assert simulation.now == T0 + 600


def test_a_run_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    simulation = begun(config(tmp_path, WAITS))
    happened(simulation, [event(T0, org="a")], T0 + 599)
    assert happened(simulation, [], T0 + 600) == [(600.0, "fired")]


def test_events_of_one_instant_are_judged_together(tmp_path: Path) -> None:
    together = Route(id="root", receiver="team", group_by=("alertname",), group_wait=0.0)
    simulation = begun(config(tmp_path, FIRES, together))
    (moment,) = simulation.run([Columns.of([event(T0 + 1, org="a"), event(T0 + 1, org="b")])])
    assert [decision.alerts for decision in moment.step.decisions] == [2]


def test_groups_wait_and_repeat_between_events(tmp_path: Path) -> None:
    route = Route(
        id="root", receiver="team", group_by=("...",), group_wait=30.0, repeat_interval=HOUR / 4,
        cooldown=0.0,
    )  # fmt: skip
    simulation = begun(config(tmp_path, FIRES, route))
    moments = simulation.run([Columns.of([event(T0, org="a")])], T0 + 40 * MINUTE)
    at = [moment.at - T0 for moment in moments if moment.step.outbox]
    assert at == [30.0, 30.0 + HOUR / 4, 30.0 + HOUR / 2]


def test_a_late_event_is_judged_by_the_clock_as_it_stands(tmp_path: Path) -> None:
    simulation = begun(config(tmp_path, FIRES, stale_after=HOUR))
    moments = list(
        simulation.run(
            [Columns.of([event(T0 + 3 * HOUR, org="a"), event(T0 + 2.5 * HOUR, org="b")])]
        )
    )
    assert simulation.now == T0 + 3 * HOUR
    assert [t.stale for m in moments for t in m.step.transitions] == [False, False]


def test_an_event_later_than_stale_after_is_told_late(tmp_path: Path) -> None:
    simulation = begun(config(tmp_path, FIRES, stale_after=MINUTE))
    events = [event(T0 + HOUR, org="a"), event(T0 + HOUR / 2, org="b")]
    moments = list(simulation.run([Columns.of(events)], T0 + HOUR))
    stale = {t.alert.labels["org"]: t.stale for m in moments for t in m.step.transitions}
    assert stale == {"a": False, "b": True}


def test_absence_counts_from_the_start(tmp_path: Path) -> None:
    simulation = begun(config(tmp_path, QUIET))
    assert happened(simulation, [], T0 + DAY) == [(6 * HOUR, "fired")]


def test_an_event_ends_a_silence(tmp_path: Path) -> None:
    simulation = begun(config(tmp_path, QUIET))
    events = [event(T0 + 5 * HOUR, "received")]
    assert happened(simulation, events, T0 + 12 * HOUR) == [(11 * HOUR, "fired")]


def test_nothing_is_kept_of_keys_that_are_gone(tmp_path: Path) -> None:
    """A long history whose alerts all ended leaves as little behind as a short one."""
    rule = FIRES.replace("count() >= 1", "count() >= 2").replace("within: 1h", "within: 1s")
    simulation = begun(config(tmp_path, rule))
    events = [event(T0 + n, org=f"o{n}") for n in range(12_000)]
    assert list(simulation.run([Columns.of(events)])) == []
    assert len(simulation.core.engine._keys) < 10
    assert len(simulation.core.engine._keys._changed) <= 10_001


def test_every_simulation_starts_from_nothing(tmp_path: Path) -> None:
    config_ = config(tmp_path, FIRES)
    first, second = begun(config_), begun(config_)
    happened(first, [event(T0, org="a")])
    assert [len(s.alerts()) for s in (first, second)] == [1, 0]


def test_an_event_is_not_changed_by_being_seen(tmp_path: Path) -> None:
    seen = event(T0, org="a", nested={"token": "abc"})
    happened(begun(config(tmp_path, FIRES, ROUTE)), [seen])
    assert seen == with_(event(T0), fields={"org": "a", "nested": {"token": "abc"}})


@given(
    waits=st.tuples(
        st.sampled_from([0.0, 30.0]),
        st.sampled_from([1.0, 300.0, DAY]),
        st.sampled_from([60.0, HOUR, DAY]),
        st.sampled_from([0.0, 600.0, 2 * DAY]),
    ),
    gaps=st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, 700.0, 2 * HOUR, -5 * HOUR]), st.sampled_from("abc")),
        max_size=25,
    ),
)
def test_time_never_turns_back_nor_stands_still_for_ever(
    tmp_path_factory: pytest.TempPathFactory,
    waits: tuple[float, float, float, float],
    gaps: list[tuple[float, str]],
) -> None:
    """Whatever the intervals, and however late the events: no deadline stays behind."""
    wait, interval, repeat, cooldown = waits
    route = Route(
        id="root", receiver="team", group_by=("alertname",), group_wait=wait,
        group_interval=interval, repeat_interval=repeat, cooldown=cooldown,
    )  # fmt: skip
    simulation = begun(config(tmp_path_factory.mktemp("rules"), FIRES, route))
    at, events = T0, []
    for gap, org in gaps:
        at += gap
        events.append(event(at, org=org))
    end = T0 + 5 * DAY
    moments = [moment.at for moment in simulation.run([Columns.of(events)], end)]
    assert moments == sorted(moments)
    due = simulation.core.next_deadline()
    assert due is None or due > end


MANY = """
  - alert: Waits
    match: ['status="failed"']
    by: [org_id]
    condition: count() >= 2
    within: 20m
    for: 5m
    keep_firing_for: 3m
  - alert: Quiet
    match: ['status="received"']
    condition: count() < 1
    within: 25m
  - alert: QuietOrg
    match: ['status="received"']
    by: [org_id]
    condition: count() < 1
    within: 40m
  - alert: Few
    match: ['status="received"']
    condition: count() < 3
    within: 30m
  - alert: Lost
    expect: {first: ['status="received"'], then: ['status="done"'], by: event_id, within: 15m}
  - alert: Standing
    by: [org_id]
    condition: last(status) == failed
    for: 10m
    hold: 2h
  - alert: More
    match: ['status="failed"']
    condition: count() > 2 * count() offset 1h and count() >= 3
    within: 30m
"""


def history(seed: int) -> list[Event]:
    """Return hours of events, quiet and busy by turns; some of one instant, some late."""
    pick = random.Random(seed)
    at, found = T0, []
    for _ in range(250):
        at += pick.choice([0.0, 1.0, 20.0, 60.0, 60.0, 300.0, pick.random() * 3000])
        fields = {"org_id": pick.choice("abc"), "event_id": str(pick.randrange(60))}
        status = pick.choice(["failed", "received", "received", "done", "strange"])
        late = 2000.0 if pick.random() < 0.01 else 0.0
        found.append(Event("stripe", "invoice", status, at - late, fields))
    return found


FEW = MANY.replace("count() < 3", "count() < 1")


@pytest.mark.parametrize(("seed", "rules"), [(0, MANY), (1, MANY), (2, FEW), (3, FEW)])
def test_what_is_judged_at_once_is_told_as_event_by_event(
    tmp_path: Path, seed: int, rules: str
) -> None:
    def told(moment: Moment) -> list[tuple[object, ...]]:
        changes = [
            (moment.at, t.at, t.kind, t.alert.name, t.alert.key, t.alert.value)
            for t in moment.step.transitions
        ]
        return [*changes, *((moment.at, row.payload) for row in moment.step.outbox)]

    events, until = history(seed), T0 + 40 * HOUR
    at_once, one_by_one = begun(config(tmp_path, rules)), begun(config(tmp_path, rules))
    found = [one for moment in at_once.run([Columns.of(events)], until) for one in told(moment)]
    single = (
        moment
        for place, event in enumerate(events)
        for moment in one_by_one.run([Columns.of(_of_one_instant(events, place, event))])
    )
    rest = one_by_one.run((), until)
    assert found == [one for moment in (*single, *rest) for one in told(moment)]
    assert len(found) > 100


def _of_one_instant(events: list[Event], place: int, event: Event) -> list[Event]:
    """Return the events of one instant that follow one another, nothing behind their first."""
    if place and events[place - 1].at == event.at:
        return []
    return list(takewhile(lambda one: one.at == event.at, events[place:]))
