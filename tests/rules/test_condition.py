"""Conditions and escalation instants as text."""

import pytest

from sidecar.rules.aggregates import COUNT, FUNCTIONS
from sidecar.rules.condition import (
    MAX_WAYS,
    Aggregate,
    And,
    Comparison,
    Instant,
    Not,
    Or,
    Reckoned,
    alternatives,
    is_absence,
    parse_instant,
)
from sidecar.rules.grammar import ConditionError, parse_condition
from support.rules import matchers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "max(attempt_count) >= 3",
            [Comparison(left=Aggregate(FUNCTIONS["max"], "attempt_count"), op=">=", number=3.0)],
            id="an aggregate against a number",
        ),
        pytest.param(
            "last(status) in [past_due, 'a b', \"c\"]",
            [
                Comparison(
                    left=Aggregate(FUNCTIONS["last"], "status"),
                    op="in",
                    values=("past_due", "a b", "c"),
                )
            ],
            id="a state among texts, quoted or not",
        ),
        pytest.param(
            "last(code) in [1, 2]",
            [
                Comparison(
                    left=Aggregate(FUNCTIONS["last"], "code"),
                    op="in",
                    values=("1", "2"),
                    numbers=(1.0, 2.0),
                )
            ],
            id="a list of numbers only is also one of numbers",
        ),
        pytest.param(
            "last(code) in [1, x]",
            [Comparison(left=Aggregate(FUNCTIONS["last"], "code"), op="in", values=("1", "x"))],
            id="a mixed list is one of texts",
        ),
        pytest.param(
            'count(status="processing_error") / count() > 0.05',
            [
                Comparison(
                    left=Reckoned(
                        "/",
                        Aggregate(COUNT, "", matchers('status="processing_error"')),
                        Aggregate(COUNT),
                    ),
                    op=">",
                    number=0.05,
                )
            ],
            id="a ratio of filtered counts",
        ),
        pytest.param(
            'sum(usage.tokens, a!="b", c=~"d|e") < -1e3 and count() != 2',
            [
                Comparison(
                    left=Aggregate(
                        FUNCTIONS["sum"], "usage.tokens", matchers('a!="b"', 'c=~"d|e"')
                    ),
                    op="<",
                    number=-1000.0,
                ),
                Comparison(left=Aggregate(FUNCTIONS["count"]), op="!=", number=2.0),
            ],
            id="several filters, a dotted field, and",
        ),
        pytest.param(
            "last( status )==unpaid",
            [Comparison(left=Aggregate(FUNCTIONS["last"], "status"), op="==", values=("unpaid",))],
            id="spaces do not matter",
        ),
        pytest.param(
            "count() > 3 * count() offset 1d",
            [
                Comparison(
                    left=Aggregate(COUNT),
                    op=">",
                    right=Reckoned("*", 3.0, Aggregate(COUNT, offset=86_400.0)),
                )
            ],
            id="an earlier window",
        ),
        pytest.param(
            "(count() -1) * 2 + count() offset 1h30m - 3 >= -4 + 2*3",
            [
                Comparison(
                    left=Reckoned(
                        "-",
                        Reckoned(
                            "+",
                            Reckoned("*", Reckoned("-", Aggregate(COUNT), 1.0), 2.0),
                            Aggregate(COUNT, offset=5_400.0),
                        ),
                        3.0,
                    ),
                    op=">=",
                    number=2.0,
                )
            ],
            id="products before sums, parentheses first, signs with and without blanks",
        ),
        pytest.param(
            "count() - (count() - 2) > count() / (count() * 2)",
            [
                Comparison(
                    left=Reckoned("-", Aggregate(COUNT), Reckoned("-", Aggregate(COUNT), 2.0)),
                    op=">",
                    right=Reckoned("/", Aggregate(COUNT), Reckoned("*", Aggregate(COUNT), 2.0)),
                )
            ],
            id="parentheses on either side",
        ),
    ],
)
def test_a_condition_reads_as(text: str, expected: list[Comparison]) -> None:
    assert parse_condition(text).comparisons == tuple(expected)


def test_and_binds_closer_than_or_and_not_closest() -> None:
    a, b, c, d = (parse_condition(f"count() > {n}").comparisons[0] for n in range(4))
    written = "not count() > 0 and count() > 1 or count() > 2 and not (count() > 3 or count() > 0)"
    whole = Or((And((Not(a), b)), And((c, Not(Or((d, a)))))))
    assert parse_condition(written).whole == whole
    assert parse_condition(written).comparisons == (a, b, c, d, a)


def test_the_ways_in_which_a_condition_comes_true() -> None:
    a, b, c, _ = (parse_condition(f"count() > {n}").comparisons[0] for n in range(4))
    either = parse_condition("(count() > 0 or count() > 1) and not count() > 2").whole
    assert alternatives(either) == [((a, True), (c, False)), ((b, True), (c, False))]
    neither = parse_condition("not (count() > 0 or count() > 1)").whole
    assert alternatives(neither) == [((a, False), (b, False))]
    many = parse_condition(" and ".join(["(count() > 0 or count() > 1)"] * 16)).whole
    assert len(alternatives(many)) == MAX_WAYS


@pytest.mark.parametrize(
    ("text", "offset", "says"),
    [
        ("", 0, "for example max(attempt_count) >= 3"),
        ("median(x) > 1", 0, "'median' is not one of count()"),
        ("max() > 1", 4, "max() needs a field"),
        ("count(x) > 1", 6, "count() takes no field"),
        ("count( > 1", 7, "count() takes no field"),
        ("max(x)", 6, "not 'the end'"),
        ("max(x) = 3", 7, "expected >, >=, <, <=, ==, !=, =~, !~ or in, not '='"),
        ("max(x) >= three", 10, "compare it with one"),
        ("max(x) in [1, two]", 11, "compare it with numbers"),
        ("last(x) > high", 10, "== or != or =~ or in, not >"),
        ("last(x) in past_due", 11, "expected '['"),
        ("last(x) in []", 12, "expected a number or a text"),
        ("last(x) / count() > 1", 0, "not a number to reckon with"),
        ("count() > 1 xor count() < 3", 12, "expected `and` or `or` before 'xor'"),
        ("count() > 10_000", 12, "expected `and` or `or` before '_000'"),
        ("count() > 1 and", 15, "is not one of count()"),
        ("or count() > 1", 0, "'or' is not one of count()"),
        ("not", 3, "is not one of count()"),
        ("(count() > 1", 12, "expected ')', not 'the end'; each parenthesis is closed"),
        ("count() > 1)", 11, "expected `and` or `or` before ')'"),
        ("(" * 5000 + "count() > 1", 16, "may stand 16 deep"),
        ("not " * 5000 + "count() > 1", 64, "may stand 16 deep"),
        (" or ".join(["count() > 1"] * 33), 480, "may have 32 comparisons"),
        ("count() > 10001", 0, "at most 10,000"),
        ("distinct(x) >= 257", 0, "at most 256"),
        ("count() # 3", 8, "unexpected '#'"),
        ('count(status=~"(") > 1', 6, "not an RE2 pattern"),
        ("last(x) == '" + "y" * 1001 + "'", 11, "1000 characters"),
        ("max(x) > 1e999", 9, "too large"),
        ("count() > 2 * count() offset 31d", 29, "31d lies further back than what is kept, 30d"),
        ("count() offset 0s > 2", 15, "needs a duration"),
        ("count() offset > 2", 15, "needs a duration"),
        ("distinct(x) offset 1d > 2", 19, "distinct() has no `offset`; count(), sum()"),
        ("last(x) offset 1d == a", 15, "last() has no `offset`"),
        ("last(x) + 1 > 2", 0, "not a number to reckon with"),
        ("count() > 2 * last(x)", 10, "not a number to reckon with"),
        ("count() > last(x)", 10, "last() is a state; compare it with what it can be"),
        ("3 < count()", 0, "a comparison begins with what is measured"),
        ("count() / 0 > 1", 0, "nothing can be divided by 0"),
        ("count() > 1e308 * 1e308", 10, "too large"),
        ("count() + 1 > x", 14, "that is a number; compare it with one"),
        ("count() + 1 in [x]", 16, "that is a number; compare it with numbers"),
        ("count() > (1 + 2", 16, "each parenthesis is closed"),
        ("count() > " + "(" * 50 + "1", 26, "may stand 16 deep"),
        (" + ".join(["count()"] * 65) + " > 1", 640, "may have 64 aggregates"),
    ],
)
def test_a_faulty_condition_says_where_and_why(text: str, offset: int, says: str) -> None:
    with pytest.raises(ConditionError) as caught:
        parse_condition(text)
    assert caught.value.offset == offset
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("count() < 1", True),
        ("count() <= 0", True),
        ("count() == 0", True),
        ('count(status="ok") < 5 and count() < 9', True),
        ('count(status="ok") < 5 or not count() > 9', True),
        ("not (count() >= 1 or count() != 0)", True),
        ("not count() < 1", False),
        ("count() < 1 or count() > 3", False),
        ("count() > 1", False),
        ("count() == 3", False),
        ("count() < 1 and max(x) > 3", False),
        ('count(status="bad") / count() < 0.1', False),
        ("distinct(x) < 3", True),
        ("sum(x) <= 3 and (avg(x) < 2 or min(x) < 1) and max(x) < 9", True),
        ("sum(x) == 0", False),
        ("distinct(x) == 0", True),
        ("not max(x) >= 3", False),
        ("last(x) < 3", False),
    ],
)
def test_absence_is_a_condition_of_too_few_counts_only(text: str, *, absent: bool) -> None:
    assert is_absence(parse_condition(text)) is absent


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("current_period_end + 3d", Instant("current_period_end", 259_200.0)),
        ("grace_ended_at", Instant("grace_ended_at")),
        ("trial.end-1h30m", Instant("trial.end", -5_400.0)),
        ("event_time + days_left days", Instant("event_time", days="days_left")),
        ("event_time+grace.left days + 1d", Instant("event_time", 86_400.0, "grace.left")),
    ],
)
def test_an_instant_is_a_field_and_an_offset(text: str, expected: Instant) -> None:
    assert parse_instant(text) == expected


@pytest.mark.parametrize(
    "text", ["", "3d", "a + b + c", "a * 3d", "a +", "a + 3 days", "a - b days"]
)
def test_a_faulty_instant_shows_a_right_one(text: str) -> None:
    with pytest.raises(ValueError, match="for example"):
        parse_instant(text)
