"""Escalation: the new audience is told as for the first time, the old one that it moved on."""

from sidecar.notify.model import NoticeStatus, Reason
from sidecar.rows import GroupRow
from support.notify import HOUR, MINUTE, T0, Desk, World, route, slack_receiver, tiers, told


def test_both_audiences_are_told_once() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire())
    messages = desk.step(T0 + HOUR, world.escalate(late_by=7.0))
    assert told(messages) == [("pager", "a", "firing"), ("team", "a", "escalated")]
    assert [m.reason for m in messages] == [Reason.FIRST, Reason.ESCALATED]
    assert messages[0].notices[0].late_by == 7.0


def test_the_old_audience_reads_the_old_severity_and_where_it_went() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire())
    notice = desk.step(T0 + HOUR, world.escalate())[1].notices[0]
    assert (notice.labels["severity"], notice.escalated_to) == ("warning", "critical")


def test_the_end_is_told_to_both_at_their_severity() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire())
    desk.step(T0 + HOUR, world.escalate())
    messages = desk.step(T0 + 2 * HOUR, world.end())
    assert told(messages) == [("pager", "a", "resolved"), ("team", "a", "resolved")]
    assert [m.notices[0].labels["severity"] for m in messages] == ["critical", "warning"]
    assert desk.table.load(GroupRow) == []


def test_the_old_audience_hears_no_repeats() -> None:
    desk, world = Desk(tiers(repeat_interval=2 * HOUR)), World()
    desk.step(T0, world.fire())
    desk.step(T0 + HOUR, world.escalate())
    assert told(desk.step(T0 + 20 * HOUR)) == [("pager", "a", "firing")]


def test_a_group_never_told_waits_its_turn_and_says_only_that_it_escalated() -> None:
    critical = route("{}/critical", "pager", 'severity="critical"')
    root = route("{}", "team", group_wait=30.0, routes=(critical,))
    desk, world = Desk(root), World()
    assert told(desk.step(T0, world.fire(), world.escalate())) == [("pager", "a", "firing")]
    (message,) = desk.step(T0 + 30)
    assert (message.reason, message.notices[0].status) == (
        Reason.ESCALATED,
        NoticeStatus.ESCALATED,
    )


def test_one_that_ends_before_the_old_group_was_told_is_fired_and_resolved_there() -> None:
    critical = route("{}/critical", "pager", 'severity="critical"')
    desk, world = Desk(route("{}", "team", group_wait=30.0, routes=(critical,))), World()
    desk.step(T0, world.fire(), world.escalate())
    desk.step(T0 + 1, world.end())
    notice = desk.step(T0 + 30)[0].notices[0]
    assert notice.status is NoticeStatus.FIRED_AND_RESOLVED
    assert notice.escalated_to == "critical"


def test_within_one_group_it_is_news_there() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire())
    (message,) = desk.step(T0 + HOUR, world.escalate())
    assert (message.reason, told([message])) == (Reason.ESCALATED, [("team", "a", "firing")])
    assert message.notices[0].labels["severity"] == "critical"


def test_within_one_group_before_the_first_flush_only_the_new_severity_is_told() -> None:
    desk, world = Desk(route("{}", "team", group_wait=30.0)), World()
    desk.step(T0, world.fire(), world.escalate())
    (message,) = desk.step(T0 + 30)
    severity = message.notices[0].labels["severity"]
    assert (message.reason, severity) == (Reason.FIRST, "critical")


def test_a_second_step_leaves_the_first_audience_alone() -> None:
    routes = (
        route("{}/error", "second", 'severity="error"'),
        route("{}/critical", "pager", 'severity="critical"'),
    )
    receivers = {name: slack_receiver(name) for name in ("team", "second", "pager")}
    desk, world = Desk(route("{}", "team", routes=routes), receivers), World()
    desk.step(T0, world.fire())
    desk.step(T0 + HOUR, world.escalate(severity="error"))
    messages = desk.step(T0 + 2 * HOUR, world.escalate(severity="critical"))
    assert told(messages) == [("pager", "a", "firing"), ("second", "a", "escalated")]
    ends = desk.step(T0 + 3 * HOUR, world.end())
    assert [receiver for receiver, _, _ in told(ends)] == ["pager", "second", "team"]


def test_no_cooldown_holds_back_the_notice_to_the_old_audience() -> None:
    desk, world = Desk(tiers(cooldown=10 * MINUTE, group_interval=1.0)), World()
    desk.step(T0, world.fire())
    messages = desk.step(T0 + MINUTE, world.escalate())
    assert told(messages) == [("pager", "a", "firing"), ("team", "a", "escalated")]


def test_a_refiring_starts_with_the_first_audience_again() -> None:
    desk, world = Desk(tiers()), World()
    desk.step(T0, world.fire())
    desk.step(T0 + HOUR, world.escalate())
    desk.step(T0 + 2 * HOUR, world.end())
    assert told(desk.step(T0 + 3 * HOUR, world.fire())) == [("team", "a", "firing")]


def test_an_escalation_of_an_alert_nobody_knew_is_told_to_the_new_audience() -> None:
    desk, world = Desk(tiers()), World()
    world.fire()
    assert told(desk.step(T0, world.escalate())) == [("pager", "a", "firing")]
