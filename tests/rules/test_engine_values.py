"""What a value of a field is to a rule: a text, a number, a state, a label, or nothing."""

from itertools import count
from typing import Any

import pytest

from sidecar.parse.asked import Asked, fields_of
from sidecar.parse.event import Event
from sidecar.rules.engine import Extent
from support.rules import DAY, Bench, event, rule

MISSING = object()


def seen(condition: str, value: Any, **more: Any) -> list[str]:
    """Return how often the rule fires when one event holds `value` in the field n."""
    bench = Bench(rule(condition, **more))
    fields = {} if value is MISSING else {"n": value}
    return [str(t.alert.value) for t in bench.see(event(0, **fields))]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        pytest.param(3, 3.0, id="a number"),
        pytest.param(2.5, 2.5, id="a fraction"),
        pytest.param("3", 3.0, id="a text that is a number"),
        pytest.param(" 2.50 ", 2.5, id="with spaces around"),
        pytest.param("1e3", 1000.0, id="with an exponent"),
        pytest.param("-7", -7.0, id="a negative one"),
        pytest.param("3,5", None, id="with a comma"),
        pytest.param("0x10", None, id="in hexadecimal"),
        pytest.param("1_000", None, id="as Python writes thousands"),
        pytest.param("", None, id="an empty text"),
        pytest.param("nan", None, id="nan as text"),
        pytest.param(float("nan"), None, id="nan"),
        pytest.param(float("inf"), None, id="infinity"),
        pytest.param(10**400, None, id="beyond what a float holds"),
        pytest.param(True, None, id="a boolean"),
        pytest.param(None, None, id="null"),
        pytest.param([3], None, id="a list"),
        pytest.param({"n": 3}, None, id="an object"),
        pytest.param(MISSING, None, id="no field"),
    ],
)
@pytest.mark.parametrize("function", ["sum", "min", "max", "avg"])
def test_a_value_as_a_number(function: str, value: Any, number: float | None) -> None:
    assert seen(f"{function}(n) > -1e300", value) == ([] if number is None else [str(number)])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("past_due", "past_due", id="a text"),
        pytest.param(3, "3", id="a number"),
        pytest.param(True, "true", id="true"),
        pytest.param(False, "false", id="false"),
        pytest.param("", "", id="an empty text"),
        pytest.param([1, "a"], '[1,"a"]', id="a list"),
        pytest.param({"a": None}, '{"a":null}', id="an object"),
    ],
)
def test_a_value_as_a_state(value: Any, text: str) -> None:
    assert len(seen(f"last(n) == '{text}'", value, hold=DAY)) == 1
    assert seen(f"last(n) != '{text}'", value, hold=DAY) == []


@pytest.mark.parametrize("value", [None, MISSING], ids=["null", "no field"])
@pytest.mark.parametrize("condition", ["last(n) != x", "distinct(n) >= 1", "distinct(n) >= 0"])
def test_nothing_is_no_sample(condition: str, value: Any) -> None:
    assert seen(condition, value) == []


@pytest.mark.parametrize(
    ("condition", "value", "fires"),
    [
        pytest.param("last(n) > 2", "3", True, id="a text that is a number is one"),
        pytest.param("last(n) == 3", "3.0", True, id="equal as numbers"),
        pytest.param("last(n) == '3'", "3.0", False, id="quoted it is a text"),
        pytest.param("last(n) in [1, 3]", 3, True, id="among numbers"),
        pytest.param("last(n) in [a, 3]", 3, True, id="among texts, as it is written"),
        pytest.param("last(n) != 3", "many", False, id="what is no number passes nothing"),
        pytest.param("last(n) =~ 'past_due|un.*'", "unpaid", True, id="by a pattern, as a whole"),
        pytest.param("last(n) =~ 'paid'", "unpaid", False, id="a part of it is not enough"),
        pytest.param("last(n) !~ 'paid|active'", "unpaid", True, id="not by this pattern"),
        pytest.param("last(n) !~ 'paid|active'", "active", False, id="but by this one"),
        pytest.param("last(n) =~ '5..'", 503, True, id="a number by its text"),
        pytest.param("last(n) =~ 500", 500, True, id="a pattern of digits"),
        pytest.param("last(n) =~ '.*timeout.*'", "a\ntimeout", True, id="across lines"),
        pytest.param("last(n) in [true]", True, True, id="a boolean is its word"),
    ],
)
def test_a_state_against_numbers_and_texts(condition: str, value: Any, *, fires: bool) -> None:
    assert bool(seen(condition, value, hold=DAY)) is fires


def test_distinct_counts_texts() -> None:
    bench = Bench(rule("distinct(n) >= 3"))
    assert bench.see(*(event(i, n=n) for i, n in enumerate([3, "3", True, "true", None]))) == []
    assert len(bench.see(event(9, n="x"))) == 1


@pytest.mark.parametrize(
    ("matcher", "value", "passes"),
    [
        ("n=3", 3, True),
        ("n=3", "3", True),
        ('n="3.0"', 3, False),
        ("n=true", True, True),
        ('n=""', None, True),
        ('n=""', MISSING, True),
        ('n!=""', MISSING, False),
        ('n=~"|x"', MISSING, True),
        ('n!~"x.*"', "xy", False),
    ],
)
def test_a_value_to_a_matcher(matcher: str, value: Any, *, passes: bool) -> None:
    assert bool(seen("count() >= 1", value, match=[matcher])) is passes


@pytest.mark.parametrize("value", [None, "", MISSING], ids=["null", "empty", "no field"])
def test_what_is_missing_is_the_empty_label_and_one_key(value: Any) -> None:
    bench = Bench(rule("count() >= 2", by=("n",)))
    bench.see(event(0), event(1, **({} if value is MISSING else {"n": value})))
    assert [t.alert.labels["n"] for t in bench.all] == [""]


def test_nested_fields_everywhere() -> None:
    tested = rule(
        "sum(u.tokens, u.kind=chat) >= 5",
        match=['u.on="true"'],
        by=("u.model",),
        resolve=["u.done=yes"],
        dedup_by="u.id",
    )
    bench = Bench(tested)
    first = {"on": True, "kind": "chat", "model": "large", "tokens": "5", "id": 1}
    fired, *_ = bench.see(event(0, u=first), event(1, u=first))
    assert (fired.alert.labels["u_model"], fired.alert.key) == ("large", ("large",))
    (ended,) = bench.see(event(2, u={"done": "yes", "model": "large", "id": 2}))
    assert ended.kind.value == "resolved"


def test_a_field_whose_own_name_has_the_dot_wins() -> None:
    bench = Bench(rule("max(a.b) >= 3"))
    both: dict[str, Any] = {"a.b": 3, "a": {"b": 1}}
    assert len(bench.see(event(0, **both))) == 1


@pytest.mark.parametrize(
    ("condition", "values", "fires"),
    [
        pytest.param("sum(n) / sum(m) > 1e300", [{"n": 1, "m": 0}], True, id="divided by zero"),
        pytest.param("sum(n) / sum(m) > 1e300", [{"n": 1}], True, id="divided by nothing"),
        pytest.param("sum(n) / sum(m) < -1e300", [{"n": -1}], True, id="a debt by nothing"),
        pytest.param("sum(n) / sum(m) != 7", [{"n": 0, "m": 0}], False, id="zero by zero"),
        pytest.param("sum(n) / sum(m) == 0", [{"m": 1}], True, id="nothing divided"),
        pytest.param("max(n) / sum(m) > -9", [{"m": 1}], False, id="no value divided"),
        pytest.param("sum(n) / sum(m) == -2", [{"n": 4, "m": -2}], True, id="negative numbers"),
        pytest.param("count(n=1) / count() == 0", [{"n": 2}], True, id="no count is 0 of all"),
        pytest.param("count() / count(n=1) > 0", [{"n": 2}], True, id="all of no count"),
        pytest.param("distinct(n) / count() == 0.5", [{"n": 1}, {"n": 1}], True, id="of distinct"),
        pytest.param("max(n) / min(n) >= 3", [{"n": 1}, {"n": 3}], True, id="of extremes"),
    ],
)
def test_a_ratio(condition: str, values: list[dict[str, Any]], *, fires: bool) -> None:
    bench = Bench(rule(condition))
    bench.see(*(event(0, **fields) for fields in values))
    assert bool(bench.all) is fires


def test_only_errors_and_no_success_is_infinite_and_shown_so() -> None:
    bench = Bench(rule('count(status="error") / count(status="ok") > 0.5 and count() >= 3'))
    fired = bench.see(*(event(at, "error") for at in range(3)))
    assert [one.alert.value for one in fired] == ["+Inf"]


def test_of_or_the_value_of_what_holds_is_shown() -> None:
    bench = Bench(rule("max(n) >= 3 or count() >= 2"))
    fired = bench.see(event(0, n=1), event(1, n=1))
    assert [one.alert.value for one in fired] == [2.0]
    bench.see(event(2, n=9))
    assert next(bench.engine.alerts()).value == 9.0


def test_ids_are_known_per_rule_and_key() -> None:
    bench = Bench(*(rule("count() >= 1", name=name, dedup_by="id") for name in "AB"))
    bench.see(event(0, id=1), event(1, id="1"), event(2, id=1, org_id="b"))
    assert [(t.alert.name, t.alert.key) for t in bench.all] == [
        ("A", ("a",)),
        ("B", ("a",)),
        ("A", ("b",)),
        ("B", ("b",)),
    ]


def test_a_pending_alert_that_a_person_ends_was_never_told() -> None:
    bench = Bench(rule("count() >= 1", for_=60.0))
    bench.see(event(0))
    assert bench.engine.end("Rule", ("a",), at=1.0, now=1.0)
    assert bench.commit() == []
    assert bench.tick(DAY) == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        pytest.param({"n": None}, "true", id="null"),
        pytest.param({"n": 7}, "false", id="a value"),
        pytest.param({"n": {}}, "false", id="an object"),
        pytest.param({}, "", id="not there"),
        pytest.param({"n": {"is_null": "own"}}, "own", id="a field of that name"),
        pytest.param({"n.is_null": "own"}, "own", id="a field of that whole name"),
    ],
)
def test_a_null_field_can_be_told_from_one_that_is_not_there(
    fields: dict[str, Any], text: str
) -> None:
    assert event(0, **fields).text("n.is_null") == text
    assert event(0, **fields).text("is_null") == ""


@pytest.mark.parametrize(
    "first", ["read timeout", "Traceback\n  File app.py\nReadTimeout: timeout"]
)
def test_a_pattern_on_a_field_of_its_own_matches_across_lines(first: str) -> None:
    bench = Bench(rule("count() >= 1", match=["event_type=x", 'error=~".*timeout.*"']))
    bench.see(event(0, error=first), event(1, org_id="b", error="a\ntimeout\nz"))
    bench.see(event(2, org_id="c", error="timeout"), event(3, org_id="d", error="a\nb"))
    assert [one.alert.key for one in bench.all] == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize(
    ("test", "fields", "passes"),
    [
        ("amount > limit", {"amount": 5, "limit": 4.5}, True),
        ("amount > limit", {"amount": 5, "limit": 5}, False),
        ("amount >= limit", {"amount": "5", "limit": 5.0}, True),
        ("amount < limit", {"amount": 5, "limit": 5}, False),
        ("amount <= limit", {"amount": 5, "limit": 5}, True),
        ("amount == limit", {"amount": 5, "limit": "5.0"}, True),
        ("usage.tokens>quota.tokens", {"usage": {"tokens": 2}, "quota": {"tokens": 1}}, True),
        ("amount > limit", {"amount": 5}, False),
        ("amount > limit", {"amount": 5, "limit": "many"}, False),
        ("amount > limit", {"amount": True, "limit": 0}, False),
        ("amount >= -2.5", {"amount": -2.5}, True),
        ("amount > 100", {"amount": 100}, False),
    ],
)
def test_two_fields_of_one_event_compared(test: str, fields: dict[str, Any], passes: bool) -> None:  # noqa: FBT001
    by_match = Bench(rule("count() >= 1", match=["event_type=x", test]))
    by_part = Bench(rule(f"count({test}) >= 1"))
    by_end = Bench(rule("count() >= 1", resolve=["status=s", test]))
    for bench in (by_match, by_part):
        bench.see(event(0, **fields), event(1, org_id="b", other=1))
        assert [one.alert.key for one in bench.all] == [("a",)] * passes
    by_end.see(event(0, "bad"), event(1, **fields))
    assert [one.kind.value for one in by_end.all] == ["fired", "resolved"][: 1 + passes]


def test_two_fields_compared_are_read_out_of_lines_as_of_events() -> None:
    lines = [
        b'{"amount": 5, "limit": 4, "a": {"b": 1}}', b'{"amount": 1, "limit": 4}', b'{"limit": 4}',
    ]  # fmt: skip
    names = ["amount > limit", "a.b == 1", "amount < 2", "nothing > limit"]
    found = Asked(names).fields_of(lines)
    for name in names:
        whole = [Event("p", "t", "s", 0.0, fields_of(one)).get(name) for one in lines]
        assert found[name] == (whole if any(one is not None for one in whole) else None)
    assert found["amount > limit"] == [True, False, None]


def test_the_newest_match_of_each_rule_is_known_with_its_keys_and_next_deadline() -> None:
    one = rule("count() >= 3", resolve=["status=paid"])
    watch = rule("count() < 1", match=["status=s"], by=(), name="Silence")
    bench = Bench(one, watch)
    assert bench.engine.last_matches == {}
    bench.see(event(5), event(3, org_id="b"), event(9, "paid"))
    assert bench.engine.last_matches == {"Rule": 5, "Silence": 5}
    bench.see_together(event(20, org_id="c"), event(30, "paid"), event(25), read_at=30)
    assert bench.engine.last_matches == {"Rule": 25, "Silence": 25}
    assert bench.engine.extents()["Rule"].keys == 3
    assert bench.engine.extents()["Silence"] == Extent(keys=1, next_deadline=25 + 3600)


def test_what_a_rule_costs_is_told_of_that_rule() -> None:
    ticks = count()
    seen, shifted = rule("count() >= 1"), rule("avg(n) > 2 * avg(n) offset 1d", name="Shifted")
    idle = rule("count() >= 1", name="Idle", match=['event_type="y"'])
    bench = Bench(seen, shifted, idle, stopwatch=lambda: float(next(ticks)))
    bench.see(event(0, n=1))
    bench.tick(2 * DAY)
    told = bench.engine.extents()
    # Of an event, and of each time that it enters or leaves a window later.
    assert [told[name].seconds for name in ("Rule", "Shifted", "Idle")] == [2, 4, 0]
    assert [told[name].key_bytes for name in ("Rule", "Shifted")] == [0, 2 * 10_000 * 20]


def test_an_end_with_the_id_of_its_beginning_is_no_duplicate_of_it() -> None:
    """Failure and success of one charge share an id; a second failure with it is a duplicate."""
    bench = Bench(rule("count() >= 2", dedup_by="id", resolve=['status="paid"']))
    bench.see(event(0, id="ch_1"), event(1, id="ch_1"), event(2, id="ch_2"))
    assert [(t.at, t.kind) for t in bench.all] == [(2, "fired")]
    bench.see(event(3, "paid", id="ch_1"))
    assert [(t.at, t.kind) for t in bench.all] == [(2, "fired"), (3, "resolved")]
