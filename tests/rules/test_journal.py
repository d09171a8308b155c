"""The rows of what waits say what was, and are bounded by what is; a damaged one costs itself."""

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import msgspec
import pytest

from sidecar.parse.columns import Columns
from sidecar.rows import JournalRow, MetaRow, RuleRow, RuleStateRow
from sidecar.rules.journal import parts_of
from sidecar.rules.rule import Rule
from support.rules import DAY, Bench, event, kinds, rule

FAILING = rule("count() >= 5", resolve=['status="paid"'], within=30 * DAY)
OTHER = rule("max(n) >= 3", name="Other")


def written(*tested: Rule, steps: int = 3, keys: int = 100) -> Bench:
    """Return a bench with a row for each step, in which each key has a sample more."""
    bench = Bench(*(tested or (FAILING,)))
    for at in range(steps):
        bench.see(*(event(float(at), org_id=f"o{n}", n=1) for n in range(keys)))
    return bench


def test_a_step_is_one_row_and_small_steps_share_one() -> None:
    bench = written(keys=2000)
    assert [row.seq for row in bench.file.of(JournalRow)] == [1, 2, 3]
    assert bench.file.of(RuleStateRow) == []
    for at in range(9):
        bench.see(event(10 + at, "paid", org_id=f"p{at}"))
    assert [row.seq for row in bench.file.of(JournalRow)] == [1, 2, 3, 4]


def test_what_waited_still_does_after_a_restart() -> None:
    bench = written()
    before = bench.remembered()
    bench = written()
    bench.restart()
    assert bench.remembered() == before


def test_a_key_that_was_woken_is_in_its_own_row_from_then_on() -> None:
    bench = written(keys=3)
    assert kinds(bench.see(event(3, org_id="o1"), event(4, org_id="o1"))) == ["fired"]
    before = len(bench.file.of(RuleStateRow))
    bench.restart()
    assert before == len(bench.file.of(RuleStateRow)) == 1
    assert kinds(bench.see(event(5, org_id="o0"), event(6, org_id="o0"))) == ["fired"]


def damaged(packed: bytes) -> Iterator[bytes]:
    """Yield the bytes with one of them wrong, each in its turn, and cut off at every length."""
    for place, byte in enumerate(packed):
        yield packed[:place] + bytes([byte ^ 0x41]) + packed[place + 1 :]
        yield packed[:place]


def test_a_damaged_row_never_loses_what_was_committed_before_it() -> None:
    bench = written(keys=129, steps=2)
    before = [row for row in bench.file.of(JournalRow) if row.seq < 2]
    for packed in damaged(bench.file.of(JournalRow)[-1].packed):
        torn = Bench(FAILING)
        torn.file.rows |= {(JournalRow, (row.seq,)): row for row in before}
        torn.file.rows[JournalRow, (2,)] = JournalRow(2, packed)
        torn.restart()
        assert torn.engine.damaged_rows == 1
        assert torn.file.of(JournalRow) == before
        waiting = torn.engine._keys.waiting[0].of
        assert len(waiting) == 129
        assert {tuple(entries[1::2]) for entries in waiting.values()} == {(0.0,)}


def test_rows_are_bounded_by_what_waits() -> None:
    """Samples that leave their window, on and on, in some more steps than rows are kept."""
    bench = Bench(rule("count() > 999", within=600.0), FAILING)
    for step in range(60):
        keys = [f"o{n}" for n in range(50)] * 100
        some = [event(step * 100 + n / 50, org_id=key) for n, key in enumerate(keys)]
        some.append(event(step * 100, "paid", org_id=f"paid{step}"))
        bench.engine.observe_all(Columns.of(some), read_at=step * 100)
        bench.tick(step * 100.0)
    rows = bench.file.of(JournalRow)
    assert len(rows) < 50
    assert sum(len(row.packed) for row in rows) < 5_000_000


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_no_row_is_left_of_what_is_over(*, restarted: bool) -> None:
    bench = written(OTHER)
    if restarted:
        bench.restart()
    bench.tick(DAY)
    assert {type(row) for row in bench.file.rows.values()} == {RuleRow, MetaRow}


def test_a_rule_that_is_changed_to_and_fro_does_not_find_its_entries_again() -> None:
    bench = written(FAILING, OTHER)
    for tested in (rule("count() >= 9"), FAILING):
        bench.load(tested, OTHER, now=9.0)
    assert bench.engine._keys.waiting[0].of == {}
    assert len(bench.engine._keys.waiting[1].of) == 100


def test_rows_are_written_anew_while_keys_are_resolved_and_fail_again() -> None:
    bench = Bench(FAILING)
    for step in range(30):
        at = step * 10.0
        some = [event(at, "paid", org_id=f"o{n}") for n in range(4000)]
        again = [event(at + 1, org_id=f"o{n}") for n in range(step % 5, 4000, 5 + step)]
        bench.engine.observe_all(Columns.of([*some, *again]), read_at=at)
        bench.commit()
        if step % 4 == 3:
            before = bench.remembered()
            bench.restart()
            assert bench.remembered() == before
    entries = sum(part.size for row in bench.file.of(JournalRow) for part in parts_of(row))
    assert entries < 3 * 20_000


def test_rules_that_judge_the_same_events_share_their_keys_and_times() -> None:
    def sizes(*rules: Rule) -> int:
        bench = Bench(*rules)
        some = [event(float(n), org_id=f"organisation-{n}", n=1) for n in range(1_000)]
        bench.see_together(*some, read_at=0.0)
        return sum(len(row.packed) for row in bench.file.of(JournalRow))

    assert sizes(FAILING, OTHER, rule("count() > 9", name="Third")) < 1.1 * sizes(FAILING)


def former(row: JournalRow) -> JournalRow:
    """Return a row as the version before packed it: each rule with keys and times of its own."""
    parts = []
    for part in parts_of(row):
        rules = []
        for one in part.rules:
            keys, times, which = list[Any](), b"", list[int]()
            for number, mine in zip(one.runs, one.which, strict=True):
                run = part.runs[number]
                keys += run.keys
                times += run.times
                which += [mine] * len(run.keys) if isinstance(mine, int) else mine
            rules.append([one.rule, keys, times, one.samples, which, one.gone, one.whole])
        parts.append([part.step, rules])
    body = msgspec.msgpack.encode([1, parts])
    return JournalRow(row.seq, crc32(body).to_bytes(4) + body)


def test_rows_of_the_version_before_are_read_and_written_on() -> None:
    def seen() -> Bench:
        bench = Bench(FAILING, OTHER)
        for at in range(4):
            some = [event(float(at), org_id=f"o{n}", n=n % 2) for n in range(20 + at)]
            bench.see_together(*some, event(float(at), "paid", org_id="o3"), read_at=float(at))
        return bench

    before, bench = seen(), seen()
    for row in bench.file.of(JournalRow):
        bench.file.rows[JournalRow, (row.seq,)] = former(row)
    bench.restart()
    assert bench.engine.damaged_rows == 0
    for one in (before, bench):
        one.see(event(9.0, org_id="o1", n=1), event(9.0, org_id="o4", n=1))
    bench.restart()
    assert bench.remembered() == before.remembered()
