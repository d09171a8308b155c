"""Stale transitions: one digest per receiver, and the alert's own group knows of it."""

import pytest

from sidecar.notify.model import Reason
from sidecar.rows import GroupRow
from sidecar.rules.alert import TransitionKind
from support.notify import HOUR, MINUTE, T0, Desk, World, route, tiers, told


def test_what_is_stale_waits_until_all_is_read_and_comes_at_once() -> None:
    desk, world = Desk(tiers()), World()
    stale = [world.fire(org, stale=True) for org in ("a", "b")]
    assert desk.step(T0, *stale, caught_up=False) == []
    (message,) = desk.step(T0 + 1, caught_up=True)
    assert (message.reason, message.late) == (Reason.LATE_DIGEST, True)
    assert told([message]) == [("team", "a", "firing"), ("team", "b", "firing")]


def test_each_receiver_gets_its_own() -> None:
    desk, world = Desk(tiers()), World()
    stale = [world.fire("a", stale=True), world.fire("b", severity="critical", stale=True)]
    assert told(desk.step(T0, *stale)) == [("pager", "b", "firing"), ("team", "a", "firing")]


def test_it_does_not_wait_longer_than_group_interval() -> None:
    desk, world = Desk(tiers(group_interval=5 * MINUTE)), World()
    desk.step(T0, world.fire(stale=True), caught_up=False)
    assert desk.notifier.next_deadline() == T0 + 5 * MINUTE
    assert len(desk.step(T0 + 5 * MINUTE, caught_up=False)) == 1


def test_what_fired_and_ended_in_the_past_is_one_notice() -> None:
    desk, world = Desk(tiers()), World()
    stale = [world.fire(stale=True), world.end(stale=True), world.fire(stale=True)]
    (message,) = desk.step(T0, *stale, world.end(stale=True))
    assert told([message]) == [("team", "a", "fired and resolved")]
    assert message.notices[0].held == 1
    assert desk.table.load(GroupRow) == []


def test_a_later_end_is_told_in_the_ordinary_way() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire(stale=True))
    (message,) = desk.step(T0 + HOUR, world.end())
    assert (message.reason, message.late) == (Reason.ALL_RESOLVED, False)
    assert told([message]) == [("team", "a", "resolved")]


def test_its_own_group_repeats_it() -> None:
    desk, world = Desk(tiers(repeat_interval=4 * HOUR)), World()
    desk.step(T0, world.fire(stale=True))
    (message,) = desk.step(T0 + 4 * HOUR)
    assert (message.reason, message.late) == (Reason.REPEAT, False)


def test_an_end_while_the_digest_waits_goes_into_it() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire(stale=True), world.end(), caught_up=False)
    assert told(desk.step(T0 + 1)) == [("team", "a", "fired and resolved")]


def test_an_escalation_while_the_digest_waits_is_told_at_once() -> None:
    desk, world = Desk(tiers()), World()
    messages = desk.step(T0, world.fire(stale=True), world.escalate(), caught_up=False)
    assert told(messages) == [("pager", "a", "firing")]
    assert told(desk.step(T0 + 1)) == [("team", "a", "escalated")]


def test_an_escalation_in_the_same_group_takes_the_alert_out_of_the_digest() -> None:
    desk, world = Desk(route("{}", "team")), World()
    messages = desk.step(T0, world.fire(stale=True), world.escalate(), caught_up=False)
    assert [(m.late, m.notices[0].labels["severity"]) for m in messages] == [(False, "critical")]
    assert desk.step(T0 + 1) == []


def test_a_stale_escalation_is_in_both_digests() -> None:
    desk, world = Desk(tiers()), World()
    messages = desk.step(T0, world.fire(stale=True), world.escalate(stale=True))
    assert told(messages) == [("pager", "a", "firing"), ("team", "a", "escalated")]
    assert all(m.late for m in messages)
    ends = desk.step(T0 + HOUR, world.end())
    assert told(ends) == [("pager", "a", "resolved"), ("team", "a", "resolved")]


def test_a_stale_end_of_what_was_told_before_is_in_the_digest() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire())
    (message,) = desk.step(T0 + HOUR, world.end(stale=True))
    assert (message.late, told([message])) == (True, [("team", "a", "resolved")])
    assert desk.step(T0 + 99 * HOUR) == []


def test_what_was_still_untold_before_a_stale_end_is_told_by_the_digest() -> None:
    desk, world = Desk(tiers(group_wait=30.0)), World()
    desk.step(T0, world.fire())
    assert told(desk.step(T0 + 1, world.end(stale=True))) == [("team", "a", "fired and resolved")]
    assert desk.step(T0 + 30) == []


def test_a_stale_firing_that_expires_untold_is_still_in_the_digest() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire(stale=True), caught_up=False)
    messages = desk.step(T0 + 1, world.end(kind=TransitionKind.EXPIRED, stale=True))
    assert told(messages) == [("team", "a", "fired and unseen")]


def test_an_episode_that_ended_is_counted_when_the_next_one_is_fresh() -> None:
    desk, world = Desk(tiers()), World()
    transitions = [world.fire(stale=True), world.end(stale=True), world.fire()]
    messages = desk.step(T0, *transitions)
    assert (told(messages), messages[0].notices[0].held) == ([("team", "a", "firing")], 1)


def test_a_restart_between_keeps_the_digest() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire(stale=True), caught_up=False)
    desk.restart()
    (message,) = desk.step(T0 + 1)
    assert message.late


def test_two_groups_of_one_receiver_make_one_notice() -> None:
    first = route("{}/1", "team", continue_=True)
    root = route("{}", "team", routes=(first, route("{}/2", "team")))
    desk, world = Desk(root), World()
    desk.step(T0, world.fire(stale=True), caught_up=False)
    (message,) = desk.step(T0 + 1, world.end(stale=True))
    assert (told([message]), message.notices[0].held) == (
        [("team", "a", "fired and resolved")],
        0,
    )


@pytest.mark.parametrize("restarts", [False, True])
def test_news_beside_a_waiting_digest_has_its_own_group_wait(*, restarts: bool) -> None:
    root = route("{}", "team", group_by=(), group_wait=30.0, group_interval=5 * MINUTE)
    desk, world = Desk(root), World()
    desk.step(T0, world.fire("a", stale=True), caught_up=False)
    desk.step(T0 + 20, world.fire("b", T0 + 20), caught_up=False)
    if restarts:
        desk.restart()
    assert desk.step(T0 + 49, caught_up=False) == []
    assert told(desk.step(T0 + 50, caught_up=False)) == [("team", "b", "firing")]


@pytest.mark.parametrize("restarts", [False, True])
def test_once_the_digest_is_told_its_group_counts_as_told(*, restarts: bool) -> None:
    root = route("{}", "team", group_by=(), group_wait=30.0, group_interval=1.0)
    desk, world = Desk(root), World()
    desk.step(T0, world.fire("a", stale=True), caught_up=False)
    digest = desk.step(T0 + 1, world.fire("b", T0 + 1), caught_up=False)
    assert told(digest) == [("team", "a", "firing")]
    if restarts:
        desk.restart()
    assert told(desk.step(T0 + 2, caught_up=False)) == [("team", "b", "firing")]
