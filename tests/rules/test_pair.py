"""Rules with `expect`: an event without the one that belongs to it, by a shared id."""

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import msgspec
import pytest

from sidecar.matchers import all_match
from sidecar.parse.columns import Columns
from sidecar.parse.event import Event
from sidecar.rows import AlertRow, Delta, JournalRow, RuleStateRow
from sidecar.rules.alert import Ended
from sidecar.rules.restore import PackedState, by_key
from sidecar.rules.rule import Expect, Rule
from sidecar.rules.windows import LONG_AGO
from support.calls import calls
from support.rules import DAY, Bench, event, matchers, rule, step

WITHIN = 600.0
GIVEN_UP = 30 * DAY


def expecting(**more: Any) -> Rule:
    expect = Expect(
        first=matchers("status=received"),
        then=matchers("status=processed"),
        by="id",
        within=WITHIN,
        once_seen=more.pop("once_seen", False),
    )
    return rule("count() >= 1", match=[], by=(), within=None, expect=expect, **more).judged


def first(at: float, ident: str = "e1", **fields: Any) -> Event:
    return event(at, "received", id=ident, **fields)


def then(at: float, ident: str = "e1", **fields: Any) -> Event:
    return event(at, "processed", id=ident, **fields)


def tick(bench: Bench, t: float, *, complete: bool = True) -> None:
    bench.engine.tick(t, now=t, complete=complete)
    bench.commit()


def told(bench: Bench) -> list[tuple[str, str, float]]:
    return [(one.kind.value, one.alert.key[0], one.at) for one in bench.all]


def test_what_never_ends_fires_once_the_time_is_over() -> None:
    bench = Bench(expecting())
    bench.see(first(100, amount=5))
    assert bench.engine.next_deadline() == 700
    tick(bench, 699)
    assert told(bench) == []
    tick(bench, 700)
    assert told(bench) == [("fired", "e1", 700)]
    alert = bench.all[0].alert
    assert (alert.labels["id"], alert.since, alert.event["amount"]) == ("e1", 100, 5)
    assert alert.rule.condition == 'no event with status="processed" within 10m'


def test_what_ends_in_time_is_forgotten() -> None:
    bench = Bench(expecting())
    bench.see(first(100), then(700))
    tick(bench, 5000)
    assert told(bench) == []
    assert bench.engine.next_deadline() is None
    assert bench.file.of(RuleStateRow) == []


def test_the_other_half_may_come_first() -> None:
    bench = Bench(expecting())
    bench.see(then(100), first(700))
    tick(bench, 5000)
    assert told(bench) == []


def test_one_that_came_too_long_before_is_of_something_else() -> None:
    bench = Bench(expecting())
    bench.see(then(100), first(701))
    tick(bench, 1301)
    assert told(bench) == [("fired", "e1", 1301)]


def test_a_half_that_nothing_began_is_forgotten_and_tells_nobody() -> None:
    bench = Bench(expecting())
    bench.see(then(100))
    assert bench.engine.next_deadline(complete=False) == 700
    tick(bench, 700, complete=False)
    assert told(bench) == []
    assert bench.engine.next_deadline() is None
    assert bench.file.of(RuleStateRow) == []


def test_one_that_comes_late_ends_the_alert() -> None:
    bench = Bench(expecting())
    bench.see(first(100))
    tick(bench, 700)
    bench.see(then(900, took=800))
    assert told(bench) == [("fired", "e1", 700), ("resolved", "e1", 900)]
    assert bench.all[1].alert.ended is Ended.EVENT
    assert bench.all[1].alert.ended_by["took"] == 800
    assert [*bench.file.of(RuleStateRow), *bench.file.of(AlertRow)] == []


def test_it_is_judged_only_once_every_log_is_read() -> None:
    bench = Bench(expecting())
    bench.see(first(100), first(5000, "e2"))  # an event's own time judges nothing
    tick(bench, 5000, complete=False)
    assert told(bench) == []
    bench.see(then(4000), read_at=5000)  # late, and there by the time it is judged
    tick(bench, 6000)
    assert told(bench) == [("fired", "e2", 5600)]


def test_a_repeat_puts_nothing_off() -> None:
    bench = Bench(expecting())
    bench.see(first(100), first(400), first(50))
    assert bench.engine.next_deadline() == 650
    tick(bench, 650)
    bench.see(first(700, n=4))
    assert told(bench) == [("fired", "e1", 650)]
    (alert,) = bench.engine.alerts()
    assert (alert.times, alert.event["n"]) == (2, 4)


def test_an_alert_is_given_up_after_thirty_days() -> None:
    bench = Bench(expecting())
    bench.see(first(0))
    tick(bench, 600)
    tick(bench, 600 + GIVEN_UP - 1)
    assert len(bench.all) == 1
    tick(bench, 600 + GIVEN_UP)
    assert told(bench)[1:] == [("expired", "e1", 600 + GIVEN_UP)]


def test_it_escalates_and_ends_by_hand() -> None:
    bench = Bench(expecting(escalate=(step(after=60.0),)))
    bench.see(first(0))
    tick(bench, 660)
    assert [kind for kind, _, _ in told(bench)] == ["fired", "escalated"]
    assert bench.engine.end("Rule", ("e1",), at=700, now=700)
    bench.commit()
    assert told(bench)[2:] == [("resolved", "e1", 700)]
    assert bench.engine.next_deadline() is None


def test_events_without_an_id_are_left_out() -> None:
    bench = Bench(expecting())
    bench.see(event(0, "received"), event(0, "received", id=""), event(0, "received", id=None))
    bench.see(event(0, "processed"))
    assert bench.engine.next_deadline() is None
    assert bench.file.of(RuleStateRow) == []


def test_what_waits_outlives_a_restart_redacted() -> None:
    bench = Bench(expecting())
    bench.see(first(100, secret="hunter2", big=2**70), then(100, "e2"))
    bench.restart(200)
    assert bench.file.of(RuleStateRow) == []
    (row,) = bench.file.of(JournalRow)
    assert b"hunter2" not in row.packed
    assert b'"secret": "***"' in row.packed
    bench.see(first(300, "e2"))
    tick(bench, 700)
    assert told(bench) == [("fired", "e1", 700)]
    assert bench.all[0].alert.event["big"] == 2**70
    bench.restart(800)
    bench.see(then(900))
    assert told(bench)[1:] == [("resolved", "e1", 900)]


def test_of_many_halves_in_one_step_the_fields_are_stored_in_turn() -> None:
    bench = Bench(expecting())
    bench.see_together(*(first(100, f"e{n}", n=n) for n in range(60)), read_at=100)
    (row,) = bench.file.of(JournalRow)
    assert b'"n"' not in row.packed
    bench.commit()
    bench.restart()
    tick(bench, 700)
    assert [(one.at, one.alert.labels["id"]) for one in bench.all] == [
        (700, f"e{n}") for n in sorted(range(60), key=str)
    ]
    stored = [n for one in bench.all if (n := one.alert.event.get("n")) is not None]
    assert sorted(stored) == list(range(50))  # 25 in each of two steps
    assert {one.alert.event["id"] for one in bench.all} == {f"e{n}" for n in range(60)}
    bench.restart()
    assert len(list(bench.engine.alerts())) == 60


def test_halves_as_the_version_before_stored_them_are_taken_over() -> None:
    bench = Bench(expecting())
    fields = json.dumps({"id": "e1", "big": 2**70})
    for key, windows, clock in (
        ("e1", [100.0, "stripe", "x", "received", fields], 150.0),
        ("e2", [100.0], 100.0),
    ):
        packed = PackedState(2, clock, LONG_AGO, windows, [], step=3)
        row = RuleStateRow("Rule", by_key((key,)), msgspec.msgpack.encode(packed))
        bench.file.commit(Delta(rows=[row]))
    for _ in range(2):
        bench.restart()
        assert bench.file.of(RuleStateRow) == []
    bench.see(first(300, "e2"))
    tick(bench, 700)
    assert told(bench) == [("fired", "e1", 700)]
    assert bench.all[0].alert.event["big"] == 2**70


def test_ids_that_redaction_changes_pair_up_over_chunks_and_restarts() -> None:
    bench = Bench(expecting())
    mail, other = "olga@example.com", "ole@example.com"
    bench.see_together(first(0, mail), first(1, other), first(2, "plain"), read_at=0)
    bench.restart()
    more = [first(3, mail), then(4, mail), first(5, "new"), then(6, "new")]
    bench.see_together(*more, read_at=6)
    tick(bench, 5000)
    told_of = [one.alert.key[0] for one in bench.all]
    assert [text.split("~")[0] for text in told_of] == ["o***@example.com", "plain"]


def test_once_seen_nothing_is_judged_before_the_first_end() -> None:
    bench = Bench(expecting(once_seen=True))
    bench.see(first(0))
    tick(bench, 1000)
    bench.see(event(1000, "processed"))  # names no id
    bench.restart(1000)
    bench.see(first(1100))
    tick(bench, 2000)
    assert told(bench) == []
    bench.see(then(2000, "e2"))
    bench.restart(2000)
    bench.see(first(2100))
    tick(bench, 2700)
    assert told(bench) == [("fired", "e1", 2700)]


def test_without_room_those_that_can_fire_stay() -> None:
    bench = Bench(expecting(), max_keys=4)
    bench.see(first(0, "a"), first(1, "b"), then(2, "c"), then(3, "d"), first(4, "e"))
    tick(bench, 1000)
    assert [ident for _, ident, _ in told(bench)] == ["a", "b", "e"]
    assert bench.engine.forgotten == {"Rule": 1}


def test_what_pairs_up_leaves_nothing_behind() -> None:
    bench = Bench(expecting())
    for number in range(3_000):
        bench.engine.observe(first(number, f"e{number}"), read_at=number)
        bench.engine.observe(then(number, f"e{number}"), read_at=number)
    assert len(bench.engine._keys) == 0
    drained = bench.engine.drain()
    assert not drained.delta


def test_pairs_that_are_whole_within_a_chunk_are_never_made() -> None:
    bench = Bench(expecting())
    events = [half(float(at), f"e{at}") for at in range(200) for half in (first, then)]
    lone = [then(200.0, "open"), first(201.0, ""), then(202.0, "")]
    spent = calls(partial(bench.engine.observe_all, Columns.of(events + lone), read_at=0.0))
    assert len(bench.engine._keys) == 1
    assert spent / len(events) <= 8


def test_a_half_that_finds_no_other_one_in_its_chunk_costs_few_calls() -> None:
    bench = Bench(expecting())
    some = [[half(float(at), f"e{at}") for at in range(300)] for half in (first, then)]
    opened = calls(partial(bench.engine.observe_all, Columns.of(some[0]), read_at=0.0))
    assert len(bench.engine._keys) == 300
    stored = calls(bench.commit)
    closed = calls(partial(bench.engine.observe_all, Columns.of(some[1]), read_at=0.0))
    assert len(bench.engine._keys) == 0
    assert opened <= 30 * 300
    assert stored <= 10 * 300
    assert closed <= 20 * 300


class Reference:
    """The same by the plain words of docs/rules.md: all events are kept, and looked at again."""

    def __init__(self, one: Rule) -> None:
        self.rule = one
        self.open: dict[str, list[Event]] = {}  # of `first`, in the order of arrival
        self.free: dict[str, float] = {}  # of `then`: what came without one
        self.firing: dict[str, tuple[float, float]] = {}  # since, fired at
        self.told: list[tuple[str, str, float]] = []
        self.clock: dict[str, float] = {}

    def observe(self, one: Event) -> None:
        ident = one.text("id")
        known = ident in {**self.open, **self.free, **self.firing}
        clock = self.clock[ident] = max(self.clock[ident] if known else one.at, one.at)
        if all_match(self.rule.resolve or (), one.text):
            if ident in self.firing:
                if one.at >= self.firing[ident][0] - WITHIN:
                    self.told.append(("resolved", ident, max(clock, self.firing[ident][1])))
                    del self.firing[ident]
            elif ident in self.open:
                if one.at >= min(e.at for e in self.open[ident]) - WITHIN:
                    del self.open[ident]
            else:
                self.free[ident] = max(self.free.get(ident, one.at), one.at)
        elif ident not in self.firing:
            if ident in self.free and one.at <= self.free.pop(ident) + WITHIN:
                return
            self.open.setdefault(ident, []).append(one)

    def tick(self, t: float, *, complete: bool) -> None:
        self.free = {ident: at for ident, at in self.free.items() if at + WITHIN > t}
        for due, ident in sorted(self._dues()) if complete else ():
            if due <= t and ident in self.firing:
                self.told.append(("expired", ident, due))
                del self.firing[ident]
            elif due <= t:
                self.told.append(("fired", ident, due))
                self.firing[ident] = (due - WITHIN, due)
                del self.open[ident]

    def _dues(self) -> Iterator[tuple[float, str]]:
        for ident, events in self.open.items():
            yield min(one.at for one in events) + WITHIN, ident
        for ident, (_, fired_at) in self.firing.items():
            yield fired_at + GIVEN_UP, ident


def program(seed: int) -> list[tuple[str, Any]]:
    """Return events of six ids, shuffled near their times and some of them twice, and ticks."""
    source = random.Random(seed)
    events = []
    for number in range(40):
        at = float(source.randrange(0, 6000, 50))
        one = source.choice([first, then])(at, f"e{source.randrange(6)}", n=number)
        events += [one] * source.choice([1, 1, 1, 2])
    events.sort(key=lambda one: one.at + source.choice([0, 0, 0, 300, 1500]))
    out: list[tuple[str, Any]] = []
    now = 0.0
    for one in events:
        now = max(now, one.at)
        out.append(("event", one))
        what = source.choice(["", "", "tick", "lag", "restart", "reload"])
        if what:
            now += source.choice([0, 100, 700])
            out.append((what, now))
    return [*out, ("tick", 20_000.0), ("tick", 20_000.0 + 2 * GIVEN_UP)]


def run(
    bench: Bench, steps: Sequence[tuple[str, Any]], *, together: bool = False
) -> list[tuple[str, str, float]]:
    """Return what is told; `together`: events with nothing between them are of one chunk."""
    for what, some in itertools.groupby(steps, key=itemgetter(0)):
        subjects = [subject for _, subject in some]
        if what == "event" and together:
            bench.see_together(*subjects, read_at=0.0)
        for subject in subjects:
            if what == "event" and not together:
                bench.see(subject)
            elif what == "restart":
                bench.restart(subject)
            elif what == "reload":
                bench.commit()
                reworded = {"summary": f"at {subject}"}
                bench.load(expecting(annotations=reworded), now=subject)
            elif what != "event":
                tick(bench, subject, complete=what == "tick")
    return told(bench)


@pytest.mark.parametrize("together", [False, True])
def test_it_does_what_the_reference_does(*, together: bool) -> None:
    for seed in range(60):
        steps = program(seed)
        reference = Reference(expecting())
        for what, subject in steps:
            if what == "event":
                reference.observe(subject)
            elif what in ("tick", "lag"):
                reference.tick(subject, complete=what == "tick")
        bench = Bench(expecting())
        assert sorted(run(bench, steps, together=together)) == sorted(reference.told), seed
        assert list(bench.engine.alerts()) == []
        assert [*bench.file.of(RuleStateRow), *bench.file.of(AlertRow)] == []


def test_the_programs_reach_every_kind_of_end() -> None:
    kinds = itertools.chain.from_iterable(run(Bench(expecting()), program(n)) for n in range(10))
    assert {kind for kind, _, _ in kinds} == {"fired", "resolved", "expired"}


def test_a_rule_that_now_expects_something_starts_empty() -> None:
    plain = rule("count() >= 1", match=["status=received"], by=("id",), within=WITHIN,
                 resolve=["status=processed"])  # fmt: skip
    bench = Bench(plain)
    bench.see(first(0))
    bench.load(expecting(), now=10)
    assert [one.kind.value for one in bench.all] == ["fired", "closed"]
