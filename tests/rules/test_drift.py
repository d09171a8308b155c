"""What rules read and the log no longer shows, and what no rule and no metric names."""

from collections.abc import Iterable
from typing import Any

import pytest

from sidecar.parse.columns import Columns
from sidecar.parse.event import Event, Tally
from sidecar.rules.drift import Drift
from support.calls import calls
from support.rules import DAY, HOUR, matchers, rule

FAILING = rule(
    "max(attempts) >= 3", name="Failing", match=['event_type="failed"', 'status="s"', "plan=pro"]
)
SILENCE = rule("count() < 1", name="Silence", match=["webhook_provider=stripe"], by=())
ALL: dict[str, Any] = {"org_id": "a", "attempts": 1, "plan": "pro"}
FAILED, PAID = ("stripe", "failed", "s"), ("stripe", "paid", "s")


def of(at: float, event_type: str = "failed", **fields: Any) -> Event:
    return Event("stripe", event_type, "s", at, fields)


def seen(*parts: Iterable[Event]) -> Drift:
    drift = Drift([FAILING, SILENCE], [matchers('event_type="counted"')])
    for part in parts:
        for event in part:
            drift.note(Columns.of([event]), {})
    return drift


def day_of(every: float, **fields: Any) -> list[Event]:
    """Return failures of two days, each followed by two other events."""
    times = [number * every for number in range(int(2 * DAY / every))]
    return [e for at in times for e in (of(at, **fields), of(at + 1, "paid"), of(at + 2, "paid"))]


def others(count: int, over: float) -> list[Event]:
    return [of(2 * DAY + over * n / count, "paid") for n in range(1, count + 1)]


def test_a_field_that_came_regularly_and_is_gone_is_told_with_the_rules_that_read_it() -> None:
    without = [of(2 * DAY + n * 40.0, org_id="a", plan="pro") for n in range(101)]
    drift = seen(day_of(600.0, **ALL), without)
    assert drift.gone() == {"stripe failed s: no attempts": {"rules": "Failing"}}
    drift.note(Columns.of([of(2 * DAY + 2 * HOUR, **ALL)]), {})
    assert drift.gone() == {}


def test_of_a_kind_that_is_gone_its_fields_are_not_told_as_well() -> None:
    drift = seen(day_of(600.0, **ALL), others(101, HOUR))
    assert drift.gone() == {"stripe failed s": {"rules": "Failing"}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(day_of(600.0, **ALL), others(200, HOUR / 2), id="for half an hour only"),
        pytest.param(day_of(600.0, **ALL), others(90, 5 * HOUR), id="while little came at all"),
        pytest.param(day_of(12_000.0, **ALL), others(500, DAY), id="it never came often"),
        pytest.param(day_of(60.0, **ALL)[:300], others(500, DAY), id="it came for hours only"),
        pytest.param(
            [*day_of(600.0, **ALL), *others(300, HOUR), of(2 * DAY + HOUR, **ALL)],
            [of(2 * DAY + 2 * HOUR + n * 4.0, "paid") for n in range(1400)],
            id="it has been away for nearly as long before",
        ),
        pytest.param(
            day_of(600.0, **ALL), others(500, 8 * DAY), id="for so long that it was given up"
        ),
    ],
)
def test_what_may_well_come_again_is_not_gone(before: list[Event], after: list[Event]) -> None:
    assert seen(before, after).gone() == {}


def test_what_no_rule_reads_any_more_is_not_missed() -> None:
    before = seen(day_of(600.0, **ALL), others(101, HOUR))
    after = Drift([SILENCE])
    after.take_over(before)
    assert after.gone() == {}
    unchanged = Drift([FAILING])
    unchanged.take_over(seen(day_of(600.0, **ALL), others(101, HOUR)))
    assert unchanged.gone() == {"stripe failed s": {"rules": "Failing"}}


def test_events_that_are_only_tallied_are_events_of_their_provider() -> None:
    drift = seen(day_of(600.0, **ALL))
    drift.note(Columns.of([]), {PAID: Tally(100, 2 * DAY + HOUR)})
    assert drift.gone() == {"stripe failed s": {"rules": "Failing"}}


def test_a_kind_is_unread_that_no_rule_and_no_metric_names_by_type_or_status() -> None:
    drift = seen()
    kinds = [FAILED, PAID, ("stripe", "failed", "other"), ("github", "counted", "x")]
    assert [drift.is_unread(kind) for kind in kinds] == [False, True, True, False]


def test_a_new_kind_of_event_asks_no_rule_that_names_another() -> None:
    def cost(rules: int) -> int:
        named = [
            rule("count() >= 1", name=f"R{n}", match=[f'event_type="type{n}"'])
            for n in range(rules)
        ]
        drift = Drift(named)
        spent = calls(lambda: drift.reads(("stripe", "type3", "s")))
        assert drift.reads(("stripe", "type3", "s"))[""] == ["R3"]
        return spent

    assert cost(200) == cost(20)
