"""The functions and operators of conditions by hand: each case a sentence, its numbers worked out.

`changed`, `new` and `percentile` are in test_firsts.py.
"""

import re
from typing import Any

import pytest

from rules.test_firsts import CASES as FIRSTS
from sidecar.rules.aggregates import FUNCTIONS
from support.rules import DAY, HOUR, Bench, event, rule

Seen = tuple[float, Any]
TWICE = "count() > 3 * count() offset 1d and count() >= 4"
FOUR = [(DAY + 1, 1), (DAY + 2, 1), (DAY + 3, 1), (DAY + 4, 1)]

# What is said, the condition, (time, value) of one field, and when the alert of an hour fires.
CASES: dict[str, tuple[str, list[Seen], list[float]]] = {
    "two are not three": ("count() >= 3", [(0, 1), (1, 1)], []),
    "the third within the hour makes three": ("count() >= 3", [(0, 1), (1, 1), (3599, 1)], [3599]),
    "an hour later the first has left, half a second later there are three": (
        "count() >= 3", [(0, 1), (1, 1), (HOUR, 1), (HOUR + 0.5, 1)], [HOUR + 0.5],
    ),
    "two more after a quiet hour are two": (
        "count() >= 3", [(0, 1), (1, 1), (2 * HOUR, 1), (2 * HOUR + 1, 1)], [],
    ),
    "40 and 60 are a hundred": ("sum(n) >= 100", [(0, 40), (1, 60)], [1]),
    "a refund is taken away": ("sum(n) >= 100", [(0, 99), (1, -50), (2, 50)], []),
    "what was two hours ago is no part of the sum": (
        "sum(n) >= 100", [(0, 99), (2 * HOUR, 99)], [],
    ),
    "text is no amount": ("sum(n) >= 100", [(0, "much"), (1, 99)], []),
    "5 is not below 5, and 4 is": ("min(n) < 5 and count() >= 1", [(0, 9), (1, 5), (2, 4)], [2]),
    "the 4 of an hour ago holds down no more, until the 9 leaves as well": (
        "min(n) >= 5",
        [(0, 4), (1, 9), (2 * HOUR, 9)],
        [HOUR, 2 * HOUR],
    ),
    "what asks for little only is judged once the hour is full": (
        "min(n) < 5",
        [(0, 9), (1, 4), (HOUR + 0.5, 9)],
        [HOUR],
    ),
    "of nothing there is no least": ("min(n) < 5", [(0, None), (1, "low")], []),
    "9 is not above 9, and 10 is": ("max(n) > 9", [(0, 9), (1, 10)], [1]),
    "one great one within the hour is enough to keep it from being low": (
        "max(n) < 3 and count() >= 1", [(0, 5), (1, 2)], [],
    ),
    "the great one has left": ("max(n) < 3 and count() >= 1", [(0, 5), (2 * HOUR, 2)], [2 * HOUR]),
    "4 and 6 are 5 on average, with another 6 it is more": (
        "avg(n) > 5", [(0, 4), (1, 6), (2, 6)], [2],
    ),
    "the average of one is itself": ("avg(n) > 5", [(0, 5.5)], [0]),
    "the average forgets the 9 of two hours ago": (
        "avg(n) < 3 and count() >= 1", [(0, 9), (2 * HOUR, 2)], [2 * HOUR],
    ),
    "two plans, one twice, are two": ("distinct(n) >= 3", [(0, "a"), (1, "b"), (2, "a")], []),
    "a third one makes three": ("distinct(n) >= 3", [(0, "a"), (1, "b"), (2, "c")], [2]),
    "an hour later the first two have left": (
        "distinct(n) >= 3", [(0, "a"), (1, "b"), (HOUR + 2, "c")], [],
    ),
    "1 and its text are one value": ("distinct(n) >= 2", [(0, 1), (1, "1"), (2, 2)], [2]),
    "it fires with the state and again with its return": (
        "last(n) == failed", [(0, "ok"), (1, "failed"), (2, "ok"), (3, "failed")], [1, 3],
    ),
    "the newest by its time, not by its coming": (
        "last(n) == failed", [(5, "ok"), (3, "failed")], [],
    ),
    "a state may be one of a pattern": ('last(n) =~ "past_.*"', [(0, "past_due")], [0]),
    "a pattern means the whole state": ('last(n) =~ "past_.*"', [(0, "a past_due")], []),
    "a state is text": ("last(n) != ok", [(0, "ok"), (1, "OK")], [1]),
    "four today are more than three times one yesterday": (TWICE, [(0, 1), *FOUR], [DAY + 4]),
    "four are not more than three times two": (TWICE, [(0, 1), (1, 1), *FOUR], []),
    "after a day of nothing four are enough": (TWICE, FOUR, [DAY + 4]),
    "what lies two hours further back than yesterday's hour is no part of it": (
        TWICE, [(0, 1), (1, 1), (2, 1), *((at + 2 * HOUR, n) for at, n in FOUR)],
        [DAY + 2 * HOUR + 4],
    ),
    "two times three less one is five": ("count() * 2 - 1 >= 5", [(0, 1), (1, 1), (2, 1)], [2]),
    "parentheses go first": ("(count() + 1) * 2 > 6", [(0, 1), (1, 1), (2, 1)], [2]),
    "a quotient of two functions": ("sum(n) / count() > 5", [(0, 4), (1, 6), (2, 6)], [2]),
    "a difference of two functions": ("max(n) - min(n) >= 5", [(0, 3), (1, 7), (2, 8)], [2]),
    "both have to hold": ("count() >= 2 and max(n) > 5", [(0, 9), (1, 1)], [1]),
    "one of both is enough": ("count() >= 3 or max(n) > 5", [(0, 1), (1, 9)], [1]),
    "the opposite of a great one": ("not (max(n) > 5) and count() >= 2", [(0, 1), (1, 2)], [1]),
    "is there a great one, its opposite fails": (
        "not (max(n) > 5) and count() >= 2", [(0, 1), (1, 9), (2, 1)], [],
    ),
    "exactly two are so once, on the way to three": (
        "count() == 2", [(0, 1), (1, 1), (2, 1)], [1],
    ),
    "other than one, from the second on": (
        "count() != 1 and count() >= 1", [(0, 1), (1, 1), (2, 1)], [1],
    ),
    "at most one is so with the first": ("max(n) <= 1 and count() >= 1", [(0, 1), (1, 1)], [0]),
    "four is at most four": ("sum(n) <= 4 and count() >= 2", [(0, 1), (1, 3)], [1]),
    "five is not": ("sum(n) <= 4 and count() >= 2", [(0, 1), (1, 4)], []),
    "a sum and a count together": ("sum(n) + count() >= 12", [(0, 4), (1, 5), (2, 1)], [2]),
    "one more than there are": ("count() + 1 > 2", [(0, 1), (1, 1)], [1]),
    "less one of what is great": ("max(n) - 1 >= 9", [(0, 9), (1, 10)], [1]),
    "a third of three is one": ("count() / 3 >= 1", [(0, 1), (1, 1), (2, 1)], [2]),
    "something over nothing is beyond every number": ("sum(n) / distinct(m) > 9", [(0, 5)], [0]),
    "nothing over nothing is no number": ("sum(n) / distinct(m) >= 0", [(0, 0)], []),
    "half of them are bad, and more than half": (
        "count(n=bad) / count() > 0.5", [(0, "bad"), (1, "ok"), (2, "bad")], [0, 2],
    ),
    "the one of both that comes first": (
        "count() >= 2 or max(n) > 5", [(0, 1), (1, 1), (2, 9)], [1],
    ),
    "neither of both": ("count() >= 3 or max(n) > 5", [(0, 1), (1, 5)], []),
    "not fewer than two": ("not (count() < 2) and max(n) > 0", [(0, 1), (1, 1)], [1]),
    "not two yet": ("count() == 2 and max(n) > 5", [(0, 9)], []),
    "one is other than two": ("count() != 2 and count() >= 1", [(0, 1), (1, 1)], [0]),
    "a state of either pattern": ('last(n) =~ "un.*|past_.*"', [(0, "ok"), (1, "unpaid")], [1]),
    "a pattern that a state no longer fits": (
        'last(n) !~ "act.*|trial.*"', [(0, "active"), (1, "trialing"), (2, "unpaid")], [2],
    ),
    "a state that fits is not one that does not": ('last(n) !~ "act.*"', [(0, "active")], []),
    "a state of more lines fits as one text": (
        'last(n) !~ ".*timeout.*"', [(0, "a\ntimeout\nb")], [],
    ),
    "a state that is one of two": (
        "last(n) in [past_due, unpaid]", [(0, "active"), (1, "unpaid")], [1],
    ),
    "from one of them to the other it goes on": (
        "last(n) in [past_due, unpaid]", [(0, "past_due"), (1, "unpaid")], [0],
    ),
    "none of them": ("last(n) in [past_due, unpaid]", [(0, "past"), (1, "due")], []),
}  # fmt: skip


# What is said, the matcher, the fields of an event, and whether it is one of the rule's.
MATCHED: dict[str, tuple[str, dict[str, Any], bool]] = {
    "a text is itself": ("plan=pro", {"plan": "pro"}, True),
    "a text is no part of another": ("plan=pro", {"plan": "pro_plus"}, False),
    "a number is its text": ("plan=3", {"plan": 3}, True),
    "what is missing is another than any text": ("plan!=pro", {}, True),
    "a text is not another than itself": ("plan!=pro", {"plan": "pro"}, False),
    "one in capitals is another": ("plan!=pro", {"plan": "Pro"}, True),
    "a pattern means the whole text": ('e=~"timeout"', {"e": "read timeout"}, False),
    "its dots stand for line breaks as well": ('e=~".*timeout.*"', {"e": "a\ntimeout\nb"}, True),
    "nothing is a text that `.*` fits": ('e=~".*"', {}, True),
    "a text that fits does not fail to": ('e!~".*timeout.*"', {"e": "a\ntimeout\nb"}, False),
    "one that does not fit": ('e!~".*timeout.*"', {"e": "refused"}, True),
    "nothing does not fit a letter": ('e!~".+"', {}, True),
    "11 is over a limit of 10": ("amount > limit", {"amount": 11, "limit": 10}, True),
    "10 is not": ("amount > limit", {"amount": 10, "limit": 10}, False),
    "9 is less than 10 also as texts": ("amount > limit", {"amount": "9", "limit": "10"}, False),
    "without a limit nothing is over it": ("amount > limit", {"amount": 11}, False),
    "10 is at least 10": ("amount >= limit", {"amount": 10, "limit": 10}, True),
    "9.5 is not": ("amount >= 10", {"amount": 9.5}, False),
    "what is no number is not at least 10": ("amount >= 10", {"amount": "much"}, False),
    "9 is less than 10": ("amount < 10", {"amount": 9}, True),
    "10 is not less": ("amount < limit", {"amount": 10, "limit": 10}, False),
    "a debt is less than nothing": ("amount < 0", {"amount": -0.01}, True),
    "10 is at most 10": ("amount <= limit", {"amount": 10, "limit": 10}, True),
    "10.01 is not": ("amount <= limit", {"amount": 10.01, "limit": 10}, False),
    "nothing is not at most 10": ("amount <= 10", {}, False),
    "10 and 10.0 are one number": ("amount == limit", {"amount": 10, "limit": 10.0}, True),
    "10 and 11 are two": ("amount == limit", {"amount": 10, "limit": 11}, False),
    "a text that is the number": ("amount == 10", {"amount": "10"}, True),
}


@pytest.mark.parametrize(("matcher", "fields", "is_one"), MATCHED.values(), ids=MATCHED)
def test_a_matcher_by_hand(matcher: str, fields: dict[str, Any], *, is_one: bool) -> None:
    bench = Bench(rule("count() >= 1", match=[matcher]))
    bench.see(event(0, **fields))
    assert len(bench.all) == is_one


def test_each_function_and_operator_has_three_cases() -> None:
    conditions = [condition for condition, _, _ in (*CASES.values(), *FIRSTS.values())]
    operators = ["and", "or", "not", "in", "offset", *"+-*/"]
    operators += [">", ">=", "<", "<=", "==", "!=", "=~", "!~"]
    words = [
        word for one in conditions for word in {*re.findall(r"[a-z]+\(|[a-z]+|[^\w\s()]+", one)}
    ]
    asked = [*operators, *(f"{name}(" for name in FUNCTIONS)]
    assert {word: words.count(word) for word in asked if words.count(word) < 3} == {}
    signs = [sign for one, _, _ in MATCHED.values() for sign in re.findall("[=!<>~]+", one)]
    assert {signs.count(sign) >= 3 for sign in ("=", "!=", "=~", "!~", *operators[-8:-3])} == {True}
    assert len(conditions) + len(MATCHED) > 60


@pytest.mark.parametrize(("condition", "seen", "fires"), CASES.values(), ids=CASES)
def test_a_case_by_hand(condition: str, seen: list[Seen], fires: list[float]) -> None:
    """Also with a restart after each event."""
    for restarts in (False, True):
        bench = Bench(rule(condition), stale_after=DAY)
        now = 0.0
        for at, value in seen:
            now = max(now, at)
            bench.engine.tick(now, now=now, complete=True)
            bench.see(event(at, n=value), read_at=now)
            if restarts:
                bench.restart(now)
        assert [one.at for one in bench.all if one.kind == "fired"] == fires
