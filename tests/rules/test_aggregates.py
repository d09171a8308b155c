"""The functions and operators of conditions by hand: each case a sentence, its numbers worked out.

`changed`, `new` and `percentile` are in test_firsts.py.
"""

from typing import Any

import pytest

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
}  # fmt: skip


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
