"""The log of floors says what is, is bounded by what is, and costs little: counted, not timed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from sidecar.parse.event import Event, runs_of
from sidecar.rows import Delta, FloorsRow
from sidecar.rules import floors as floorlog
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.floors import Floors, PackedFloors
from sidecar.rules.windows import NEVER
from support.calls import calls
from support.rules import HOUR, Bench, StateFile, event, rule

PAID = rule("max(n) >= 3", resolve=['status="paid"'])
SHORT = rule("max(n) >= 3", name="Short", resolve=['status="paid"'], within=7.0)


class Log:
    """Floors of two rules, their file, and what they should be."""

    def __init__(self) -> None:
        self.file = StateFile()
        self.known: dict[tuple[int, str], float] = {}
        self.now = 100.0
        self.start()

    def start(self) -> None:
        self.compiled_rules = [CompiledRule(PAID, 0), CompiledRule(SHORT, 1)]
        self.floors = Floors(self.compiled_rules)
        names = {compiled.rule.name: compiled for compiled in self.compiled_rules}
        self.floors.restore(self.file.of(FloorsRow), names)
        self.commit()

    def resolve(self, place: int, key: str, late: int) -> None:
        at = self._raise(place, key, late)
        compiled = self.compiled_rules[place]
        for new in self.floors.raised(compiled, [event(at, "paid", org_id=key)]):
            assert new.at == at
            self.floors.set(compiled, (key,), at)

    def set(self, place: int, key: str, late: int) -> None:
        at = self._raise(place, key, late)
        self.floors.set(self.compiled_rules[place], (key,), at)

    def _raise(self, place: int, key: str, late: int) -> float:
        self.now += 1.0
        at = self.now - late
        self.known[place, key] = max(at, self.known.get((place, key), at))
        return at

    def end(self, place: int, key: str) -> None:
        assert self.floors.end(self.compiled_rules[place], (key,)) == self.known.pop(
            (place, key), None
        )

    def expire(self, late: int) -> None:
        t = self.now - late
        self.floors.expire(t)
        spans = [compiled.span for compiled in self.compiled_rules]
        self.known = {of: at for of, at in self.known.items() if at + spans[of[0]] > t}

    def commit(self) -> None:
        delta = Delta()
        self.floors.drain(delta)
        self.file.commit(delta)

    def found(self) -> dict[tuple[int, str], float | None]:
        return {
            (compiled.order, key[0]): self.floors.get(compiled, key)
            for compiled in self.compiled_rules
            for key in self.floors.of(compiled)
        }


LATE = st.sampled_from([0, 0, 0, 3, 12])
ACTS = st.one_of(
    st.tuples(st.just("resolve"), st.just(0), st.sampled_from("ab"), LATE),
    st.tuples(st.just("resolve"), st.integers(0, 1), st.sampled_from("abcd"), LATE),
    st.tuples(st.just("set"), st.integers(0, 1), st.sampled_from("abcd"), LATE),
    st.tuples(st.just("end"), st.integers(0, 1), st.sampled_from("abcd")),
    st.tuples(st.just("expire"), LATE),
    st.tuples(st.just("commit")),
    st.tuples(st.just("commit")),
    st.tuples(st.just("start")),
)


@contextmanager
def small() -> Iterator[None]:
    """Let rows be short and cleaning be due at once, so that few acts meet all there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(floorlog, "_SMALL_ROW", 3)
        patch.setattr(floorlog, "_SLACK", 0)
        yield


@settings(max_examples=250, deadline=None)
@given(st.lists(ACTS, min_size=25, max_size=80))
def test_the_rows_say_what_is_whatever_happens(acts: list[tuple[Any, ...]]) -> None:
    with small():
        log = Log()
        for what, *details in acts:
            if what == "start":
                log.commit()
            getattr(log, what)(*details)
            assert log.found() == log.known
            soonest = [at + log.compiled_rules[place].span for (place, _), at in log.known.items()]
            assert log.floors.next_due() <= min(soonest, default=NEVER)
        log.commit()
        log.start()
        assert log.found() == log.known
        log.now = 1e9
        log.expire(0)
        log.commit()
        assert log.file.of(FloorsRow) == []


def entries(rows: Iterable[object]) -> int:
    """Return how many entries there are in those of `rows` that hold floors."""
    packed = [
        msgspec.msgpack.decode(row.packed, type=PackedFloors)
        for row in rows
        if isinstance(row, FloorsRow)
    ]
    return sum(len(floors) for row in packed for _, floors in row.floors)


def payments(step: int, keys: int, count: int) -> list[Event]:
    """Return the payments of one step, each key's turn coming again after the others'."""
    numbers = range(step * count, (step + 1) * count)
    return [event(n / 1000, "paid", org_id=f"org_{n * 7919 % keys}") for n in numbers]


@pytest.mark.parametrize("count", [1, 40, 700], ids=["single", "a few", "many"])
def test_rows_and_entries_are_bounded_by_keys_and_not_by_events(count: int) -> None:
    bench, keys = Bench(PAID), 500
    most_rows = most = 0
    for step in range(10_000 // count):
        bench.see_together(*payments(step, keys, count), read_at=0.0)
        rows = bench.file.of(FloorsRow)
        most, most_rows = max(most, entries(rows)), max(most_rows, len(rows))
    assert len(bench.floors()) == keys
    assert keys <= most <= 3 * keys + 1.5 * 1_000 + count
    assert most_rows <= 1 + most / 64


def test_a_key_that_is_resolved_again_and_again_is_one_entry_in_one_row() -> None:
    bench = Bench(PAID)
    for n in range(300):
        bench.see(event(n, "paid"))
    assert entries(bench.file.of(FloorsRow)) == 1


def test_deadlines_of_rows_that_are_gone_do_not_pile_up() -> None:
    with small():
        bench = Bench(PAID)
        for step in range(300):
            bench.see_together(*payments(step, 20, 5), read_at=0.0)
        log = bench.engine._keys.floors._log
        assert len(log._due) <= 2 * len(log._segments) + 1


def test_no_step_writes_much_more_than_it_adds_however_many_keys_lie_still() -> None:
    bench = Bench(PAID)
    for step in range(40):
        bench.see_together(*payments(step, 4000, 100), read_at=0.0)
    written = []
    for step in range(20, 220):
        bench.engine.observe_all(runs_of(payments(step, 200, 200)), read_at=1.0)
        delta = bench.engine.drain().delta
        written.append(entries(delta.rows))
        bench.file.commit(delta)
    assert len(bench.floors()) == 4000
    assert 200 < max(written) <= 200 + 3 * 200 + 100
    assert sum(written) / len(written) <= 2 * 200
    assert entries(bench.file.of(FloorsRow)) <= 3 * 4000 + 1500


def test_one_step_writes_one_row_however_many_keys_it_resolves() -> None:
    bench = Bench(PAID)
    bench.engine.observe_all(runs_of(payments(0, 5000, 1500)), read_at=0.0)
    delta = bench.engine.drain().delta
    assert [type(row) for row in delta.rows] == [FloorsRow]
    assert delta.gone == []


def test_calls_for_each_event_that_resolves_a_key_that_never_failed() -> None:
    bench = Bench(PAID)
    bench.see_together(*payments(0, 500, 1000), read_at=0.0)
    later = runs_of(payments(1, 500, 1000))
    taken = calls(lambda: bench.engine.observe_all(later, read_at=1.0))
    assert taken / 1000 <= 6  # the key, four look-ups for it, the floor
    assert calls(bench.commit) / 1000 <= 0.2


def test_deadlines_of_keys_that_are_bare_again_and_again_do_not_pile_up() -> None:
    bench = Bench(PAID)
    for n in range(5_000):
        bench.see(event(n / 10, n=3), event(n / 10 + 0.05, "paid"))
    assert len(bench.engine._keys._ordinary._heap) <= 1_001
    bench.tick(HOUR + 500)
    assert bench.floors() == {}
