"""The decision to speak, case by case."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.notify.decide import (
    Choice,
    decide,
    flush_for_repeat,
    flush_for_unsent,
    next_flush,
    repeats,
)
from sidecar.notify.group import NOWHERE, Destination, Group, GroupKind, Told
from sidecar.notify.member import Member, Members, Stage
from sidecar.notify.model import Ack, Reason, Route
from sidecar.notify.mutes import Mute
from sidecar.rules.alert import Alert, AlertState
from support.notify import HOUR, T0, route

ROUTE = route("r", "team", group_wait=30.0, group_interval=300.0, repeat_interval=4 * HOUR)
NOW = T0 + HOUR
TOLD = Told(change=9, at=T0)
SLACK = Destination(0, "slack", 0, "#a", send_resolved=True)


def member(org: str = "a", **more: Any) -> Member:
    alert = Alert(
        name="Late",
        key=(org,),
        episode=1,
        change=10,
        state=AlertState.FIRING,
        labels={"alertname": "Late", "org": org},
        annotations={},
        value=None,
        since=T0,
    )
    return Member(alert=alert, change=10, **more)


def known(org: str = "k", told_at: float = T0) -> Member:
    """Return one whose firing was told, with nothing new."""
    return member(org, open=True, unsent=False, fired=0, told_at=told_at)


def group(members: Sequence[Member], told: Told | None = TOLD, **more: Any) -> Group:
    found = Members({(m.alert.name, m.alert.key): m for m in members})
    more = {"to": SLACK, "route": ROUTE, **more}
    return Group(id="g", labels={}, created=T0, members=found, told=told, **more)


FIRING, LEFT, ENDED = Stage.FIRING, Stage.LEFT, Stage.ENDED


@pytest.mark.parametrize(
    ("members", "told", "reason", "orgs"),
    [
        pytest.param(
            [member()], None, Reason.FIRST, "a",
            id="A group that was never told speaks of its first alert.",
        ),
        pytest.param(
            [member("a"), known()], None, Reason.NEW_ALERTS, "a",
            id="A group whose alerts were told in a late digest has a new alert, not a first one.",
        ),
        pytest.param(
            [member("a"), known()], TOLD, Reason.NEW_ALERTS, "a",
            id="An alert joins a group that was told before.",
        ),
        pytest.param(
            [member("a", stage=ENDED), member("b")], None, Reason.FIRST, "ab",
            id="What still fires gives the reason, what fired and ended comes along.",
        ),
        pytest.param(
            [member("a", stage=ENDED)], None, Reason.FIRED_AND_RESOLVED, "a",
            id="An alert fired and ended before the first flush.",
        ),
        pytest.param(
            [member("a", stage=ENDED, open=True), known()], TOLD, Reason.SOME_RESOLVED, "a",
            id="One of two alerts ended.",
        ),
        pytest.param(
            [member("a", stage=ENDED, open=True)], TOLD, Reason.ALL_RESOLVED, "a",
            id="The last alert ended.",
        ),
        pytest.param(
            [member("a", stage=ENDED, open=True), member("b", stage=LEFT, open=True, unsent=False)],
            TOLD, Reason.SOME_RESOLVED, "a",
            id="One ended; the other fires on elsewhere, so not all is well.",
        ),
        pytest.param(
            [member("a", stage=LEFT, open=True)], TOLD, Reason.ESCALATED, "a",
            id="An alert moved on to another audience.",
        ),
        pytest.param(
            [member("a", escalated_here=True, open=True, fired=0)], TOLD, Reason.ESCALATED, "a",
            id="An alert escalated inside its group.",
        ),
        pytest.param(
            [member("a", escalated_here=True)], None, Reason.FIRST, "a",
            id="An alert escalated before the group was told: it is simply the first.",
        ),
        pytest.param(
            [known()], TOLD, Reason.NOTHING_NEW, "",
            id="What fires was told, and it is not yet time to repeat it.",
        ),
        pytest.param(
            [known("k", NOW - 4 * HOUR), known("l", NOW - HOUR)], TOLD, Reason.REPEAT, "k",
            id="The repeat interval of one alert has passed to the second, of the other not.",
        ),
        pytest.param(
            [known("k", NOW - 4 * HOUR), member("a", stage=ENDED, open=True)], TOLD,
            Reason.SOME_RESOLVED, "ak",
            id="News gives the reason, what is due to be repeated comes along.",
        ),
        pytest.param(
            [member("a", open=True), known()], TOLD, Reason.FLAPPING, "a",
            id="An alert that was told ended and fired again before its end was told.",
        ),
        pytest.param(
            [member("rest", open=True)], TOLD, Reason.COOLDOWN, "",
            id="A cooldown holds back one that flaps.",
        ),
        pytest.param(
            [member("rest", open=True, stage=ENDED)], TOLD, Reason.ALL_RESOLVED, "rest",
            id="No cooldown holds back the end of what was told.",
        ),
        pytest.param(
            [member("rest", open=True, stage=LEFT)], TOLD, Reason.ESCALATED, "rest",
            id="No cooldown holds back that an alert moved on to another audience.",
        ),
        pytest.param(
            [member("a", stage=LEFT, open=True, unsent=False)], Told(9, T0 - 99 * HOUR),
            Reason.NOTHING_NEW, "",
            id="An alert that moved on is never repeated here.",
        ),
        pytest.param(
            [member("rest")], TOLD, Reason.COOLDOWN, "",
            id="The only news is held back by its cooldown.",
        ),
        pytest.param(
            [member("rest"), member("a")], TOLD, Reason.NEW_ALERTS, "a",
            id="A cooldown holds back its own alert only.",
        ),
        pytest.param(
            [known("rest", NOW - 4 * HOUR)], TOLD, Reason.COOLDOWN, "",
            id="A repeat is a message too, and the cooldown holds it back.",
        ),
    ],
)  # fmt: skip
def test_decide(members: list[Member], told: Told | None, reason: Reason, orgs: str) -> None:
    choice = _decide(group(members, told))
    assert choice.reason is reason
    assert "".join(m.alert.key[0] for m in choice.tell) == orgs


def _rest(member: Member) -> float:
    """Let a cooldown run for the one called `rest`."""
    return NOW + 60.0 if member.alert.key == ("rest",) else 0.0


def _decide(group: Group) -> Choice:
    return decide(group, NOW, _rest)


def test_a_late_digest_speaks_of_all_it_holds_whatever_the_cooldown() -> None:
    choice = _decide(group([member("a"), member("rest")], None, kind=GroupKind.LATE))
    assert (choice.reason, len(choice.tell)) == (Reason.LATE_DIGEST, 2)


def test_nothing_is_said_again_where_nobody_is_told() -> None:
    of_nobody = group([known(told_at=NOW - 4 * HOUR)], to=NOWHERE)
    assert _decide(of_nobody).reason is Reason.NOTHING_NEW
    assert next_flush(of_nobody, _rest) is None


def test_alerts_closed_by_a_change_of_rules_have_a_reason_of_their_own() -> None:
    choice = _decide(group([member("a", stage=ENDED)], None, kind=GroupKind.CLOSED))
    assert choice.reason is Reason.RULE_CHANGED


class TestNewsDue:
    def test_group_wait_after_the_first_news(self) -> None:
        assert flush_for_unsent(group([member()], None), NOW) == NOW + 30.0

    def test_an_earlier_flush_stays(self) -> None:
        assert flush_for_unsent(group([member()], None, next_flush=NOW + 5), NOW) == NOW + 5

    def test_group_interval_after_the_last_message(self) -> None:
        assert flush_for_unsent(group([member()], Told(9, NOW - 100)), NOW) == NOW + 200

    def test_at_once_when_the_last_message_is_long_ago(self) -> None:
        assert flush_for_unsent(group([member()], TOLD), NOW) == NOW


class TestNextFlush:
    def test_never_without_a_reason(self) -> None:
        assert next_flush(group([member(stage=LEFT, open=True, unsent=False)]), _rest) is None

    def test_at_the_end_of_a_cooldown(self) -> None:
        assert next_flush(group([member("rest")]), _rest) == NOW + 60

    def test_at_the_repeat(self) -> None:
        assert next_flush(group([known()]), _rest) == T0 + 4 * HOUR

    def test_a_repeat_waits_for_the_cooldown(self) -> None:
        assert next_flush(group([known("rest", T0 - 9 * HOUR)]), _rest) == NOW + 60

    def test_a_repeat_waits_for_group_interval(self) -> None:
        members = [known("k", T0 - 9 * HOUR)]
        assert next_flush(group(members, Told(9, NOW)), _rest) == NOW + 300

    def test_of_several_repeats_the_first_counts(self) -> None:
        assert flush_for_repeat(group([known("k"), known("l", T0 - 60)])) == T0 + 4 * HOUR - 60


MEMBERS = st.builds(
    member,
    st.sampled_from("abcdef"),
    stage=st.sampled_from([FIRING, FIRING, FIRING, LEFT, ENDED]),
    open=st.booleans(),
    unsent=st.sampled_from([True, False, False]),
    waiting=st.sampled_from([True, False, False]),
    muted=st.sampled_from(["", "", "silenced by x"]),
    acked=st.sampled_from([None, None, Ack("Ann", T0)]),
    told_at=st.sampled_from([0.0, *(T0 - n * HOUR for n in range(1, 8))]),
)
ROUTES = st.builds(
    lambda repeat, acked: replace(ROUTE, repeat_interval=repeat, repeat_when_acked=acked),
    st.sampled_from([0.0, 2 * HOUR, 4 * HOUR]),
    st.sampled_from([0.0, 3 * HOUR, 6 * HOUR]),
)


class TestWhatIsLookedAt:
    """Of a large group only some members are looked at, and it comes to the same."""

    @given(st.lists(MEMBERS, max_size=12), st.lists(st.sampled_from("abcdef"), max_size=4), ROUTES)
    def test_as_if_all_were(self, put: list[Member], out: list[str], route_: Route) -> None:
        mine = group([], route=route_)
        for one in put:
            mine.members[one.ident] = one
        for org in out:
            mine.members.take_out(("Late", (org,)))
        whole = mine.members.values()
        again = [(one, at) for one in whole if (at := _said_again(mine, one)) is not None]
        unsent = {ident: one for ident, one in mine.members.items() if one.unsent}
        muted = {ident: one for ident, one in mine.members.items() if one.muted}
        assert (mine.members.unsent, mine.members.muted) == (unsent, muted)
        assert sorted(repeats(mine), key=_first) == sorted(again, key=_first)
        due = [(one, at) for one, at in again if at <= NOW]
        assert sorted(repeats(mine, NOW), key=_first) == sorted(due, key=_first)
        assert flush_for_repeat(mine) == min((at for _, at in again), default=None)

    @given(st.lists(MEMBERS, max_size=12), ROUTES)
    def test_the_first_of_what_waits_is_when_it_is_due(
        self, put: list[Member], route_: Route
    ) -> None:
        mine = group(put, told=None, route=route_)
        ends = {org: NOW + 60.0 * number for number, org in enumerate("fbdaec")}
        due = next_flush(mine, lambda one: ends[_org(one)], _mute)
        kept = [one for one in mine.members.values() if not one.muted]
        waits = [max(at, ends[_org(one)]) for one in kept if (at := _said_again(mine, one))]
        news = [one for one in kept if one.unsent]
        free = [one for one in news if not one.open or one.stage is FIRING]
        waits += [ends[_org(one)] if one in free else 0.0 for one in news]
        assert due == (max(min(waits), T0 + 30.0) if waits else None)


def _said_again(group: Group, member: Member) -> float | None:
    """Return when a member is to be said again, by itself."""
    quiet = member.stage is FIRING and member.open and not (member.unsent or member.waiting)
    route = group.route
    interval = route.repeat_when_acked if member.acked else route.repeat_interval
    return (member.told_at or group.created) + interval if quiet and interval else None


def _mute(member: Member) -> Mute | None:
    return Mute(Reason.SILENCED, "x") if member.muted else None


def _org(member: Member) -> str:
    return member.alert.key[0]


def _first(pair: tuple[Member, float]) -> str:
    return _org(pair[0])
