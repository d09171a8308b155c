"""Restart: nothing is told twice, nothing is lost, also when the routes have changed meanwhile."""

from dataclasses import replace

from sidecar.notify.model import Reason
from sidecar.rows import GroupRow, MemberRow, ToldRow
from support.notify import HOUR, T0, Desk, World, route, slack_receiver, tiers, told


def test_what_was_told_is_not_told_again() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire())
    desk.restart()
    assert desk.step(T0 + 1) == []
    assert told(desk.step(T0 + HOUR, world.end())) == [("team", "a", "resolved")]


def test_what_was_told_alone_changes_nothing_in_the_rows() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire())
    desk.restart()
    assert not desk.notifier.drain().delta


def test_a_group_that_waits_goes_on_waiting() -> None:
    desk, world = Desk(route("{}", "team", group_wait=30.0)), World()
    desk.step(T0, world.fire())
    desk.restart()
    assert desk.notifier.next_deadline() == T0 + 30
    assert told(desk.step(T0 + 30)) == [("team", "a", "firing")]


def test_a_shorter_repeat_interval_holds_at_once() -> None:
    desk, world = Desk(route("{}", "team", repeat_interval=24 * HOUR)), World()
    desk.step(T0, world.fire())
    desk.restart(route("{}", "team", repeat_interval=HOUR))
    assert desk.notifier.next_deadline() == T0 + HOUR


def test_a_new_receiver_is_told_of_what_fires_and_the_old_one_of_its_end() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire())
    desk.restart(route("{}", "pager"))
    (message,) = desk.step(T0 + 1)
    assert (message.reason, told([message])) == (Reason.FIRST, [("pager", "a", "firing")])
    assert [row.receiver for row in desk.table.load(ToldRow)] == ["pager"]
    assert desk.step(T0 + HOUR) == []
    assert sorted(told(desk.step(T0 + 2 * HOUR, world.end()))) == [
        ("pager", "a", "resolved"),
        ("team", "a", "resolved"),
    ]


def test_an_alert_that_comes_back_to_its_receiver_is_told_as_one_that_it_knows() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire())
    desk.restart(route("{}", "pager"))
    desk.step(T0 + 1)
    desk.restart(route("{}", "team"))
    assert desk.step(T0 + 2) == []
    assert sorted(told(desk.step(T0 + HOUR, world.end()))) == [
        ("pager", "a", "resolved"),
        ("team", "a", "resolved"),
    ]


def test_a_firing_held_back_when_its_alert_left_is_told_when_it_comes_back() -> None:
    desk, world = Desk(route("{}", "team", cooldown=600.0)), World()
    desk.step(T0, world.fire())
    assert desk.step(T0 + 1, world.end(), world.fire()) == []
    desk.restart(route("{}", "pager"))
    assert told(desk.step(T0 + 2)) == [("pager", "a", "firing")]
    desk.restart(route("{}", "team"))
    assert told(desk.step(T0 + HOUR)) == [("team", "a", "firing")]


def test_an_end_that_was_not_told_yet_is_told_to_whom_it_was_meant_for() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire())
    assert desk.step(T0 + 1, world.end()) == []
    desk.restart(route("{}", "pager"))
    assert told(desk.step(T0 + 2)) == [("team", "a", "resolved")]


def test_who_reads_a_renamed_receiver_is_told_nothing_twice() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire())
    crew = replace(desk.receivers["team"], name="crew")
    desk.receivers = {"crew": crew}
    desk.restart(route("{}", "crew"))
    assert desk.step(T0 + 1) == []
    assert told(desk.step(T0 + HOUR, world.end())) == [("crew", "a", "resolved")]


def test_another_grouping_for_the_same_receiver_tells_nothing_twice() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire("a"), world.fire("b"))
    desk.restart(route("{}", "team", group_by=("alertname",)))
    assert desk.step(T0 + 1) == []
    assert len(desk.table.load(GroupRow)) == 1
    assert len(desk.table.load(MemberRow)) == 2
    (message,) = desk.step(T0 + HOUR, world.end("a"), world.end("b"))
    assert message.reason is Reason.ALL_RESOLVED


def test_a_new_route_takes_over_the_alerts_it_matches() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire("a"), world.fire("b", severity="critical"))
    desk.restart(tiers())
    assert told(desk.step(T0 + 1)) == [("pager", "b", "firing")]
    assert sorted(told(desk.step(T0 + HOUR, world.end("b")))) == [
        ("pager", "b", "resolved"),
        ("team", "b", "resolved"),
    ]


def test_untold_news_survives_another_grouping() -> None:
    desk, world = Desk(route("{}", "team", group_wait=30.0)), World()
    desk.step(T0, world.fire("a"), world.fire("b"), world.end("b"))
    desk.restart(route("{}", "team", group_by=("alertname",)))
    assert sorted(told(desk.step(T0 + 1))) == [
        ("team", "a", "firing"),
        ("team", "b", "fired and resolved"),
    ]


def test_the_digest_of_a_receiver_that_is_gone_goes_to_the_root_route() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire(severity="critical", stale=True), caught_up=False)
    desk.receivers = {"team": slack_receiver("team")}
    desk.restart(route("{}", "team"))
    assert told(desk.step(T0 + 1) + desk.step(T0 + HOUR)) == [("team", "a", "firing")]


def test_the_digest_of_a_receiver_that_is_gone_tells_nobody_what_his_own_route_has_told() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire(severity="critical", stale=True), caught_up=False)
    desk.restart(route("{}", "team"))
    assert told(desk.step(T0 + 1, caught_up=False)) == [("team", "a", "firing")]
    desk.receivers = {"team": slack_receiver("team")}
    desk.restart()
    assert desk.step(T0 + 2) + desk.step(T0 + HOUR) == []
    assert told(desk.step(T0 + 2 * HOUR, world.end())) == [("team", "a", "resolved")]


def test_what_a_gone_receiver_alone_knew_of_ends_unsaid() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire(severity="critical"))
    desk.step(T0 + 1, world.end(stale=True), caught_up=False)
    desk.receivers = {"team": slack_receiver("team")}
    desk.restart(route("{}", "team"))
    assert desk.step(T0 + 2) + desk.step(T0 + HOUR) == []


def test_whom_no_route_leads_to_any_more_still_hears_its_digest_and_nobody_else_does() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire(severity="critical"))
    desk.step(T0 + 1, world.end(stale=True), caught_up=False)
    desk.restart(route("{}", "team"))
    desk.restart()
    assert told(desk.step(T0 + 2) + desk.step(T0 + HOUR)) == [("pager", "a", "resolved")]


def test_a_digest_of_what_fires_is_told_before_its_end_though_the_routes_have_changed() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire(severity="critical", stale=True), caught_up=False)
    desk.restart(route("{}", "team"))
    assert ("pager", "a", "firing") in told(desk.step(T0 + 1))
    assert ("pager", "a", "resolved") in told(desk.step(T0 + HOUR, world.end()))


def test_what_a_digest_was_still_to_tell_is_not_known_though_the_routes_have_changed() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire(stale=True), world.escalate(stale=True), caught_up=False)
    desk.receivers = {"team": slack_receiver("team")}
    critical = route("{}/critical", "team", 'severity="critical"')
    desk.restart(replace(route("{}", "team"), routes=(critical,)))
    assert told(desk.step(T0 + 1, world.end())) == [("team", "a", "fired and resolved")]


def test_what_a_digest_is_to_tell_is_not_said_again_beside_it_though_routes_went_and_came() -> None:
    desk, world = Desk(route("{}", "team", repeat_interval=HOUR)), World()
    desk.step(T0, world.fire(stale=True), caught_up=False)
    desk.restart(route("{}", "pager"))
    desk.step(T0 + 1, caught_up=False)
    desk.restart(route("{}", "team", repeat_interval=HOUR))
    assert told(desk.step(T0 + 2 * HOUR)) == [("team", "a", "firing")]


def test_the_old_rows_of_alerts_that_moved_are_gone() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire(severity="critical"))
    desk.restart(route("{}", "team"))
    desk.step(T0 + 1)
    assert {row.receiver for row in desk.table.load(GroupRow)} == {"team", "pager"}
    desk.step(T0 + HOUR, world.end())
    assert desk.table.load(GroupRow) == []
    assert desk.table.load(MemberRow) == []
