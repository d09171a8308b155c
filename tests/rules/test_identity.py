"""A rule written otherwise keeps its windows and alerts; one that means something else does not."""

from typing import Any

import msgspec
import pytest

from sidecar.rows import RuleRow
from sidecar.rules.identity import former_signature, signature
from sidecar.rules.rule import Rule
from support.rules import DAY, Bench, event, rule

BEFORE: dict[str, Any] = {
    "condition": 'max(n, kind="a", status=~"s|t") >= 3 and count() >= 2',
    "match": ['event_type="x"', 'status=~"s|t"'],
    "resolve": ['event_type="y"', 'status!="s"'],
    "within": 30 * DAY,
    "same": ("invoice",),
}
SAME = {
    "blanks": {"condition": 'max( n,kind="a",  status=~"s|t" )>=3  and\n count()>=2'},
    "3.0": {"condition": 'max(n, kind="a", status=~"s|t") >= 3.0 and count() >= 2.0'},
    "parentheses": {"condition": '((max(n, kind="a", status=~"s|t") >= 3)) and (count() >= 2)'},
    "quotes": {"condition": 'max(n, kind=a, status=~"s|t") >= 3 and count() >= 2'},
    "order inside": {"condition": 'max(n, status=~"t|s", kind="a") >= 3 and count() >= 2'},
    "order of match": {"match": ['status=~"s|t"', 'event_type="x"']},
    "a matcher twice": {"match": ['status=~"s|t"', 'event_type="x"', 'event_type="x"']},
    "a pattern for a text": {"match": ['event_type=~"x"', 'status=~"t|s"']},
    "order of resolve": {"resolve": ['status!~"s"', 'event_type="y"']},
}
OTHER = {
    "another number": {"condition": 'max(n, kind="a", status=~"s|t") >= 4 and count() >= 2'},
    "another operator": {"condition": 'max(n, kind="a", status=~"s|t") > 3 and count() >= 2'},
    "another join": {"condition": 'max(n, kind="a", status=~"s|t") >= 3 or count() >= 2'},
    "not": {"condition": 'not max(n, kind="a", status=~"s|t") >= 3 and count() >= 2'},
    "another field": {"condition": 'max(m, kind="a", status=~"s|t") >= 3 and count() >= 2'},
    "a dot is any letter": {"match": ['event_type=~"x."', 'status=~"s|t"']},
    "another text": {"match": ['event_type="z"', 'status=~"s|t"']},
    "not this text": {"match": ['event_type!="x"', 'status=~"s|t"']},
    "one matcher less": {"match": ['event_type="x"']},
    "another key": {"by": ("customer",)},
    "another window": {"within": DAY},
    "another end": {"resolve": ['event_type="y"']},
    "no end": {"resolve": None},
    "same of another field": {"same": ("order",)},
}


def made(**more: Any) -> Rule:
    return rule(**{**BEFORE, **more})


same_rules = pytest.mark.parametrize("change", SAME.values(), ids=SAME)
other_rules = pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)


@same_rules
def test_a_rule_written_otherwise_is_the_same(change: dict[str, Any]) -> None:
    assert signature(made(**change)) == signature(made())


@other_rules
def test_a_rule_that_means_something_else_is_another(change: dict[str, Any]) -> None:
    assert signature(made(**change)) != signature(made())


def test_states_are_equal_in_any_order_and_with_one_text_in_a_list() -> None:
    def of(condition: str) -> str:
        return signature(rule(condition, within=None))

    assert of("last(s) in [a, 'b', a]") == of('last(s) in ["b", a]')
    assert of("last(s) in [a]") == of("last(s) == a")
    assert of("last(n) in [3.0, 4]") == of("last(n) in [4, 3]")
    assert of("last(n) in [3, a]") != of("last(n) in [3.0, a]")  # two texts
    assert of("last(s) != a") != of("last(s) == a")
    assert of("count() > 3 * count() offset 24h") == of("count() > count() offset 1d * 3.0")
    assert of("count() > 3 * count() offset 1d") != of("count() > 3 * count() offset 2d")
    assert of("count() - sum(n) > 3") != of("sum(n) - count() > 3")


def test_a_dot_in_a_pattern_is_any_letter_and_so_no_text() -> None:
    dot = signature(made(match=['event_type=~"a.b"']))
    assert dot != signature(made(match=['event_type="a.b"']))


@same_rules
def test_what_was_counted_and_what_fires_live_on(change: dict[str, Any]) -> None:
    bench = Bench(made())
    fields: dict[str, Any] = {"status": "s", "kind": "a", "n": 3}
    bench.see(event(1, **fields), event(2, **fields), event(3, org_id="b", **fields))
    bench.load(made(**change), now=4)
    assert [(one.alert.key, one.kind) for one in bench.all] == [(("a",), "fired")]
    bench.see(event(5, org_id="b", **fields))
    assert [one.alert.key for one in bench.all] == [("a",), ("b",)]


def test_a_state_file_of_the_version_before_is_taken_up_under_its_own_digest() -> None:
    bench = Bench(made())
    bench.see(*(event(at, status="s", kind="a", n=3) for at in (1, 2)))
    place, row = next((place, row) for place, row in bench.file.rows.items() if place[0] is RuleRow)
    assert isinstance(row, RuleRow)
    bench.file.rows[place] = msgspec.structs.replace(row, signature=former_signature(made()))
    bench.load(made(), now=3)
    assert [one.kind for one in bench.all] == ["fired"]
    (now,) = bench.file.of(RuleRow)
    assert (now.signature, now.since) == (signature(made()), row.since)
    assert len(list(bench.engine.alerts())) == 1


def test_the_digest_of_the_version_before_is_what_it_wrote() -> None:
    # Of files of that version; it must not change.
    assert former_signature(rule("count() >= 3", resolve=['status="ok"'])) == "99a668143ca54cd4"
    assert former_signature(rule("max(n) > 2", same=("a",))) == "ea2b3027210ca799"
