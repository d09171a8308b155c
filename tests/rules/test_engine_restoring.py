"""What a hundred thousand keys cost to take up, and to be chosen from: calls for each."""

import pytest

from sidecar.rows import JournalRow, RuleRow, RuleStateRow
from sidecar.rules.engine import Engine
from sidecar.rules.rule import Rule
from sidecar.store.schema import table_of
from support.calls import calls
from support.rules import DAY, StateFile, event, redact, rule

# Of Python functions and of C ones. A key that waits, and one that has a row of its own.
CALLS, CALLS_WITH_ROW = 4, 41


def stored(one: Rule, keys: int) -> StateFile:
    engine = Engine([one], redact=redact, stale_after=DAY)
    engine.restore((), (), (), now=0)
    for number in range(keys):
        engine.observe(event(number, n=1, org_id=f"org_{number}"), read_at=number)
    file = StateFile()
    file.commit(engine.drain().delta)
    return file


@pytest.mark.parametrize(
    ("condition", "most"),
    [("max(n) >= 3", CALLS), ("count() >= 3", CALLS), ("max(n) == 0", CALLS_WITH_ROW)],
)
def test_a_stored_key_is_taken_up_in_few_calls(condition: str, most: int) -> None:
    one = rule(condition, within=30 * DAY)

    def cost(keys: int) -> int:
        file = stored(one, keys)
        engine = Engine([one], redact=redact, stale_after=DAY)
        rows = file.of(RuleRow), file.of(RuleStateRow), (), file.of(JournalRow)
        spent = calls(lambda: engine.restore(*rows, now=0))
        assert len(engine._keys) == keys
        return spent

    assert cost(300) - cost(100) <= 200 * most


def test_which_key_gives_way_to_another_is_found_in_few_calls() -> None:
    def cost(keys: int) -> int:
        one = rule("count() >= 3", within=30 * DAY)
        engine = Engine([one], redact=redact, stale_after=DAY, max_keys=keys)
        for number in range(keys):
            engine.observe(event(number, org_id=f"org_{number}"), read_at=number)
        spent = calls(lambda: engine.observe(event(keys, org_id="one more"), read_at=keys))
        assert engine.forgotten == {"Rule": max(1, keys // 32)}
        return spent

    assert cost(3_000) - cost(1_000) <= 2_000 * 5


def test_a_row_as_it_should_be_becomes_a_struct_in_two_calls() -> None:
    table = table_of(RuleStateRow)
    found = [("Rule", f'["org_{number}"]', b"packed") for number in range(100)]
    assert table.rows(found)[7] == RuleStateRow(rule="Rule", by_key='["org_7"]', packed=b"packed")
    assert calls(lambda: table.rows(found)) <= 2 * 100 + 50


def test_deadlines_of_stored_keys_are_met_in_order() -> None:
    one = rule("count() >= 3", within=DAY)
    file = stored(one, 50)
    engine = Engine([one], redact=redact, stale_after=DAY)
    engine.restore(file.of(RuleRow), (), (), file.of(JournalRow), now=0)
    left = []
    while (due := engine.next_deadline()) is not None:
        engine.tick(due, now=due, complete=True)
        left.append((due, len(engine._keys)))
    assert left == [(DAY + number, 49 - number) for number in range(50)]
