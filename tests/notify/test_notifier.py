"""The notifier: when groups speak, of what, and to whom."""

from typing import Any

import msgspec
import pytest

from sidecar.notify.model import NoticeStatus, Notification, Reason, Receiver
from sidecar.notify.notifier import Notifier
from sidecar.receivers.slack.config import SlackConfig
from sidecar.redact import REDACTED, Redactor
from sidecar.rows import CooldownRow, Delta, GroupRow, MemberRow, OutboxRow, ToldRow
from sidecar.rules.alert import TransitionKind
from support.notify import (
    HOUR,
    MINUTE,
    T0,
    Desk,
    World,
    mail_config,
    route,
    slack_receiver,
    tiers,
    told,
)


def test_without_group_wait_an_alert_is_told_in_the_step_that_brings_it() -> None:
    desk, world = Desk(route("{}", "team")), World()
    assert told(desk.step(T0, world.fire())) == [("team", "a", "firing")]


def test_alerts_that_come_within_group_wait_are_told_together() -> None:
    desk, world = Desk(route("{}", "team", group_wait=30.0, group_by=("alertname",))), World()
    assert desk.step(T0, world.fire("a")) == []
    assert desk.step(T0 + 29, world.fire("b")) == []
    (message,) = desk.step(T0 + 30)
    assert told([message]) == [("team", "a", "firing"), ("team", "b", "firing")]
    assert message.reason is Reason.FIRST


def test_group_limit_ends_group_wait() -> None:
    root = route("{}", "team", group_wait=30.0, group_by=("alertname",), group_limit=2)
    desk, world = Desk(root), World()
    assert desk.step(T0, world.fire("a")) == []
    assert len(told(desk.step(T0 + 1, world.fire("b")))) == 2


def test_news_waits_for_group_interval_after_the_last_message() -> None:
    root = route("{}", "team", group_by=("alertname",), group_interval=5 * MINUTE)
    desk, world = Desk(root), World()
    desk.step(T0, world.fire("a"))
    assert desk.step(T0 + 60, world.fire("b")) == []
    assert desk.notifier.next_deadline() == T0 + 300
    (message,) = desk.step(T0 + 300)
    assert told([message]) == [("team", "b", "firing")]
    assert message.reason is Reason.NEW_ALERTS
    assert message.still_firing == 1
    assert message.still_severity == "warning"


def test_what_still_fires_is_said_again_after_repeat_interval() -> None:
    desk, world = Desk(route("{}", "team", repeat_interval=4 * HOUR)), World()
    desk.step(T0, world.fire())
    assert desk.step(T0 + 4 * HOUR - 1) == []
    (message,) = desk.step(T0 + 4 * HOUR)
    assert (message.reason, told([message])) == (Reason.REPEAT, [("team", "a", "firing")])
    assert desk.notifier.next_deadline() == T0 + 8 * HOUR


class TestRepeats:
    """Each alert is said again `repeat_interval` after it was told, whatever its group does."""

    def desk(self, **values: float) -> tuple[Desk, World]:
        values = {"group_interval": 5 * MINUTE, "repeat_interval": 24 * HOUR, **values}
        return Desk(route("{}", "team", group_by=("alertname",), **values)), World()

    def test_in_a_busy_group_each_comes_at_its_time(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire("a"))
        instants = []
        for hour in range(1, 73):
            at = T0 + hour * HOUR
            desk.restart()
            messages = desk.step(at, world.fire(str(hour), at))
            instants += [at for pair in told(messages) if pair[1] == "a"]
        assert instants == [T0 + 24 * HOUR, T0 + 48 * HOUR, T0 + 72 * HOUR]

    def test_they_come_along_with_news_and_say_that_they_are_no_news(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire("a"))
        (message,) = desk.step(T0 + 24 * HOUR, world.fire("b"))
        assert message.reason is Reason.NEW_ALERTS
        assert [(n.labels["org"], n.repeated) for n in message.notices] == [
            ("b", False),
            ("a", True),
        ]

    def test_news_does_not_put_them_off_but_group_interval_does(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire("a"))
        desk.step(T0 + 24 * HOUR - 1, world.fire("b"))
        assert desk.notifier.next_deadline() == T0 + 24 * HOUR - 1 + 5 * MINUTE

    def test_of_more_than_a_message_holds_all_count_as_said(self) -> None:
        desk, world = self.desk(group_interval=1.0)
        many = [world.fire(str(number)) for number in range(120)]
        messages = desk.step(T0, *many) + desk.step(T0 + 1) + desk.step(T0 + 2)
        assert len(told(messages)) == 120
        (message,) = desk.step(T0 + 25 * HOUR)
        assert (len(message.notices), message.by_status) == (50, {NoticeStatus.FIRING: 120})
        assert desk.notifier.next_deadline() == T0 + 49 * HOUR

    def test_count_from_now_where_the_clock_was_set_back(self) -> None:
        desk, world = self.desk()
        desk.step(T0 + 99 * HOUR, world.fire("a"))
        desk.step(T0)
        assert told(desk.step(T0 + 24 * HOUR)) == [("team", "a", "firing")]

    def test_as_a_sidecar_of_before_stored_them_count_from_the_last_message(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire("a"))
        (row,) = desk.table.load(MemberRow)
        old = {**msgspec.msgpack.decode(row.packed), "news": True}
        del old["told_at"]
        packed = msgspec.msgpack.encode(old)
        desk.table.commit(Delta(rows=[msgspec.structs.replace(row, packed=packed)]))
        desk.restart()
        assert desk.notifier.next_deadline() == T0 + 24 * HOUR


def test_an_end_is_told_once_and_leaves_no_rows() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire())
    (message,) = desk.step(T0 + HOUR, world.end(at=T0 + HOUR))
    assert (message.reason, message.notices[0].status) == (
        Reason.ALL_RESOLVED,
        NoticeStatus.RESOLVED,
    )
    assert desk.step(T0 + 9 * HOUR) == []
    assert [row for row in desk.table.rows.values() if not isinstance(row, OutboxRow)] == []


def test_firing_repeat_and_end_are_one_thread_also_over_a_restart_and_the_next_firing_another() -> (
    None
):
    root = route("{}", "team", repeat_interval=HOUR, cooldown=0.0)
    desk, world = Desk(root), World()
    messages = desk.step(T0, world.fire())
    messages += desk.step(T0 + HOUR)
    desk.restart()
    messages += desk.step(T0 + 2 * HOUR, world.end(at=T0 + 2 * HOUR))
    messages += desk.step(T0 + 4 * HOUR, world.fire(at=T0 + 4 * HOUR))
    threads = [message.thread for message in messages]
    assert threads[0] == threads[1] == threads[2] != threads[3]


def test_the_end_of_one_of_two_says_that_some_resolved() -> None:
    desk, world = Desk(route("{}", "team", group_by=("alertname",), group_interval=1.0)), World()
    desk.step(T0, world.fire("a"), world.fire("b"))
    (message,) = desk.step(T0 + HOUR, world.end("a"))
    assert message.reason is Reason.SOME_RESOLVED
    assert message.still_firing == 1


def test_an_alert_that_ends_before_its_first_flush_is_told_once() -> None:
    desk, world = Desk(route("{}", "team", group_wait=30.0)), World()
    desk.step(T0, world.fire(), world.end(at=T0 + 5))
    (message,) = desk.step(T0 + 30)
    assert message.reason is Reason.FIRED_AND_RESOLVED
    assert message.notices[0].status is NoticeStatus.FIRED_AND_RESOLVED
    assert desk.step(T0 + 9 * HOUR) == []


def test_episodes_between_two_flushes_are_one_notice_that_counts_the_others() -> None:
    desk, world = Desk(route("{}", "team", group_wait=30.0)), World()
    desk.step(T0, world.fire(), world.end(), world.fire(), world.end(), world.fire())
    (message,) = desk.step(T0 + 30)
    assert (message.notices[0].status, message.notices[0].held) == (NoticeStatus.FIRING, 2)


class TestCooldown:
    def desk(self, **values: float) -> tuple[Desk, World]:
        root = route("{}", "team", cooldown=10 * MINUTE, group_interval=1.0, **values)
        return Desk(root), World()

    def test_never_holds_back_the_end_of_what_was_told(self) -> None:
        root = route("{}", "team", cooldown=10 * MINUTE, group_interval=5 * MINUTE)
        desk, world = Desk(root), World()
        desk.step(T0, world.fire())
        assert desk.step(T0 + MINUTE, world.end()) == []
        assert desk.notifier.next_deadline() == T0 + 5 * MINUTE
        assert told(desk.step(T0 + 5 * MINUTE)) == [("team", "a", "resolved")]

    def test_outlives_the_end(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire())
        desk.step(T0 + HOUR, world.end())
        assert desk.step(T0 + HOUR + MINUTE, world.fire()) == []
        assert told(desk.step(T0 + HOUR + 10 * MINUTE)) == [("team", "a", "firing")]

    def test_tells_only_the_net_state_when_it_is_over(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire())
        desk.step(T0 + 1, world.end(), world.fire())
        (message,) = desk.step(T0 + 10 * MINUTE)
        assert message.reason is Reason.FLAPPING
        assert (message.notices[0].status, message.notices[0].held) == (NoticeStatus.FIRING, 1)

    def test_lets_two_messages_of_an_alert_that_comes_and_goes_pass_at_most(self) -> None:
        root = route("{}", "team", cooldown=10 * MINUTE, group_interval=1.0)
        desk, world = Desk(root), World()
        at = [T0 + 30 * turn for turn in range(120)]
        pairs = [desk.step(t, world.fire(at=t)) + desk.step(t + 15, world.end(at=t)) for t in at]
        instants = [message.at for pair in pairs for message in pair]
        assert 2 < len(instants) <= 12  # in an hour, of 240 changes
        assert all(c - a >= 10 * MINUTE for a, c in zip(instants, instants[2:], strict=False))

    def test_does_not_hold_a_critical_alert_that_fires_again_after_its_end_was_told(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire(severity="critical"))
        desk.step(T0 + MINUTE, world.end())
        (message,) = desk.step(T0 + 2 * MINUTE, world.fire(severity="critical"))
        assert (message.reason, message.notices[0].held) == (Reason.FIRST, 0)

    def test_holds_a_critical_alert_whose_end_nobody_heard_of(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire(severity="critical"))
        assert desk.step(T0 + 1, world.end(), world.fire(severity="critical")) == []

    def test_tells_what_fired_and_ended_meanwhile_as_one(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire())
        desk.step(T0 + HOUR, world.end())
        desk.step(T0 + HOUR + 1, world.fire())
        desk.step(T0 + HOUR + 2, world.end())
        (message,) = desk.step(T0 + HOUR + 10 * MINUTE)
        assert message.reason is Reason.FIRED_AND_RESOLVED

    def test_is_of_one_severity(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire())
        (message,) = desk.step(T0 + MINUTE, world.escalate())
        assert message.reason is Reason.ESCALATED

    def test_of_one_alert_does_not_hold_back_another(self) -> None:
        desk, world = self.desk(group_wait=0.0)
        desk.step(T0, world.fire("a"))
        assert told(desk.step(T0 + 1, world.fire("b"))) == [("team", "b", "firing")]

    def test_of_a_member_told_late_keeps_it_untold_in_a_group_that_speaks(self) -> None:
        root = route(
            "{}", "team", group_by=("alertname",), cooldown=10 * MINUTE, group_interval=1.0
        )
        desk, world = Desk(root), World()
        desk.step(T0, world.fire("a"))
        desk.step(T0 + 1, world.end("a"), world.fire("a"))
        assert told(desk.step(T0 + 2 * MINUTE, world.fire("b"))) == [("team", "b", "firing")]
        desk.restart()
        assert told(desk.step(T0 + 10 * MINUTE)) == [("team", "a", "firing")]

    def test_that_ends_soon_after_a_message_still_waits_for_group_interval(self) -> None:
        root = route("{}", "team", group_by=("alertname",), cooldown=600.0, group_interval=300.0)
        desk, world = Desk(root), World()
        desk.step(T0, world.fire("a"))
        desk.step(T0 + 1, world.end("a"), world.fire("a"))
        assert told(desk.step(T0 + 550, world.fire("b"))) == [("team", "b", "firing")]
        assert desk.notifier.next_deadline() == T0 + 850

    def test_is_loaded_at_a_restart(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire())
        desk.step(T0 + HOUR, world.end())
        desk.restart()
        assert desk.step(T0 + HOUR + 1, world.fire()) == []

    def test_is_forgotten_once_over(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire())
        assert len(desk.table.load(CooldownRow)) == 1
        desk.step(T0 + 10 * MINUTE)
        assert desk.table.load(CooldownRow) == []

    def test_that_was_shortened_ends_sooner(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire())
        desk.step(T0 + 1, world.end())
        desk.restart(route("{}", "team", cooldown=MINUTE, group_interval=1.0))
        assert told(desk.step(T0 + 2 * MINUTE, world.fire())) == [("team", "a", "firing")]

    def test_says_once_that_it_holds_something_back(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire())
        desk.step(T0 + MINUTE, world.end(), world.fire())
        desk.step(T0 + 2 * MINUTE)
        assert [(d.reason, d.told) for d in desk.decisions] == [
            (Reason.FIRST, True),
            (Reason.COOLDOWN, False),
        ]


QUIET = {"team": slack_receiver("team", send_resolved=False)}


class TestNoLongerSeen:
    def test_it_is_told_once_and_never_as_resolved(self) -> None:
        desk, world = Desk(route("{}", "team")), World()
        desk.step(T0, world.fire())
        (message,) = desk.step(T0 + HOUR, world.end(kind=TransitionKind.EXPIRED))
        assert message.reason is Reason.UNSEEN
        assert [notice.status for notice in message.notices] == [NoticeStatus.UNSEEN]
        assert desk.table.load(GroupRow) == []

    def test_a_firing_that_nobody_heard_of_is_told_with_its_end(self) -> None:
        desk, world = Desk(route("{}", "team", group_wait=30.0), QUIET), World()
        desk.step(T0, world.fire(), world.end(kind=TransitionKind.EXPIRED))
        (message,) = desk.step(T0 + 30)
        assert message.reason is Reason.UNSEEN
        assert [notice.status for notice in message.notices] == [NoticeStatus.FIRED_AND_UNSEEN]
        assert desk.table.load(GroupRow) == []

    def test_where_ends_are_not_sent_it_is_not_told(self) -> None:
        desk, world = Desk(route("{}", "team"), QUIET), World()
        desk.step(T0, world.fire())
        assert desk.step(T0 + HOUR, world.end(kind=TransitionKind.EXPIRED)) == []

    def test_with_others_that_resolve_not_all_are_resolved(self) -> None:
        desk, world = Desk(route("{}", "team", group_by=("alertname",))), World()
        desk.step(T0, world.fire("a"), world.fire("b"))
        ends = world.end("a"), world.end("b", kind=TransitionKind.EXPIRED)
        (message,) = desk.step(T0 + HOUR, *ends)
        assert message.reason is Reason.SOME_RESOLVED
        assert message.by_status == {NoticeStatus.UNSEEN: 1, NoticeStatus.RESOLVED: 1}

    def test_episodes_before_are_counted(self) -> None:
        desk, world = Desk(route("{}", "team", group_wait=30.0)), World()
        desk.step(T0, world.fire(), world.end(), world.fire())
        desk.step(T0 + 1, world.end(kind=TransitionKind.EXPIRED))
        (message,) = desk.step(T0 + 30)
        assert message.reason is Reason.UNSEEN
        assert message.notices[0].held == 1


def test_alerts_of_a_changed_rule_close_in_one_digest() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire("a"), world.fire("b"))
    closing = [world.end(org, kind=TransitionKind.CLOSED) for org in ("a", "b")]
    (message,) = desk.step(T0 + HOUR, *closing)
    assert message.reason is Reason.RULE_CHANGED
    assert told([message]) == [("team", "a", "resolved"), ("team", "b", "resolved")]
    assert desk.table.load(GroupRow) == []
    assert desk.table.load(ToldRow) == []


class TestSendResolvedOff:
    def receivers(self) -> dict[str, Receiver]:
        return {"team": slack_receiver("team", send_resolved=False)}

    def test_the_end_is_not_told(self) -> None:
        desk, world = Desk(route("{}", "team"), self.receivers()), World()
        desk.step(T0, world.fire())
        assert desk.step(T0 + HOUR, world.end()) == []
        assert desk.decisions[-1].reason is Reason.RESOLVED_NOT_SENT

    def test_the_next_firing_is_a_first_one(self) -> None:
        desk, world = Desk(route("{}", "team"), self.receivers()), World()
        desk.step(T0, world.fire())
        desk.step(T0 + HOUR, world.end())
        (message,) = desk.step(T0 + 2 * HOUR, world.fire())
        assert message.reason is Reason.FIRST

    def test_what_fired_and_resolved_is_told(self) -> None:
        desk, world = Desk(route("{}", "team", group_wait=30.0), self.receivers()), World()
        desk.step(T0, world.fire(), world.end())
        assert len(desk.step(T0 + 30)) == 1

    def test_only_the_destination_that_says_so_goes_without(self) -> None:
        receiver = Receiver(
            name="team",
            configs={
                "slack": (SlackConfig(channel="#t", send_resolved=False),),
                "email": (mail_config("a@example.com", "b@example.com"),),
            },
        )
        desk, world = Desk(route("{}", "team"), {"team": receiver}), World()
        first = desk.step(T0, world.fire())
        last = desk.step(T0 + HOUR, world.end())
        assert [m.destination for m in first] == ["#t", "a@example.com", "b@example.com"]
        assert [m.destination for m in last] == ["a@example.com", "b@example.com"]

    def test_an_end_nobody_hears_of_does_not_put_off_the_repeat(self) -> None:
        root = route("{}", "team", group_by=("alertname",), repeat_interval=2 * HOUR)
        desk, world = Desk(root, self.receivers()), World()
        desk.step(T0, world.fire("a"), world.fire("b"))
        desk.step(T0 + HOUR, world.end("a"))
        (message,) = desk.step(T0 + 2 * HOUR)
        assert (message.reason, told([message])) == (Reason.REPEAT, [("team", "b", "firing")])


def test_outbox_rows_are_claimed_by_the_step_that_makes_them() -> None:
    receiver = Receiver(
        name="team", configs={"email": (mail_config("x@example.com"),)}, max_age=HOUR
    )
    desk, world = Desk(route("{}", "team"), {"team": receiver}), World()
    desk.step(T0, world.fire())
    (row,) = desk.table.load(OutboxRow)
    assert (row.claimed_at, row.next_at, row.attempt, row.expires_at) == (T0, T0, 0, T0 + HOUR)
    assert (row.integration, row.destination, row.outcome) == ("email", "x@example.com", "")


def test_message_ids_are_equal_for_equal_steps_and_differ_otherwise() -> None:
    def ids() -> list[str]:
        desk, world = Desk(route("{}", "team", repeat_interval=HOUR)), World()
        first = desk.step(T0, world.fire("a"), world.fire("b"))
        return [m.id for m in first + desk.step(T0 + HOUR)]

    assert ids() == ids()
    assert len(set(ids())) == 4


class TestMoreThanAMessageHolds:
    """A message lists 50 alerts; the others count as untold and are for the next one."""

    def desk(self, **values: Any) -> tuple[Desk, World]:
        return Desk(route("{}", "team", group_by=(), group_interval=5 * MINUTE, **values)), World()

    def test_a_new_critical_alert_stands_before_fifty_that_ended(self) -> None:
        desk, world = self.desk()
        orgs = [f"org{n}" for n in range(50)]
        desk.step(T0, *(world.fire(org, severity="critical") for org in orgs))
        ends = [world.end(org, at=T0 + MINUTE) for org in orgs]
        new = world.fire("org_new", T0 + MINUTE, severity="critical")
        (message,) = desk.step(T0 + 5 * MINUTE, *ends, new)
        assert told([message])[0] == ("team", "org_new", "firing")
        assert message.counts == {NoticeStatus.FIRING: 1, NoticeStatus.RESOLVED: 50}
        assert (len(message.notices), message.more, message.reason) == (50, 1, Reason.NEW_ALERTS)
        (last,) = desk.step(T0 + 10 * MINUTE)
        assert sorted(org for _, org, _ in told([message, last])) == sorted([*orgs, "org_new"])
        assert (last.counts, last.more) == ({NoticeStatus.RESOLVED: 1}, 0)

    def test_the_rest_is_told_one_group_interval_later(self) -> None:
        desk, world = self.desk()
        (first,) = desk.step(T0, *(world.fire(f"org{n}") for n in range(120)))
        assert (len(first.notices), first.more, first.still_firing) == (50, 70, 0)
        assert desk.step(T0 + 4 * MINUTE) == []
        (second,) = desk.step(T0 + 5 * MINUTE)
        assert (len(second.notices), second.more, second.still_firing) == (50, 20, 50)
        (third,) = desk.step(T0 + 10 * MINUTE)
        assert (len(third.notices), third.more, third.still_firing) == (20, 0, 100)
        assert len({org for _, org, _ in told([first, second, third])}) == 120
        assert desk.notifier.next_deadline() == T0 + 4 * HOUR

    def test_a_restart_between_loses_and_repeats_nothing(self) -> None:
        desk, world = self.desk()
        first = desk.step(T0, *(world.fire(f"org{n}") for n in range(60)))
        desk.restart()
        assert desk.step(T0 + MINUTE) == []
        both = told(first + desk.step(T0 + 5 * MINUTE))
        assert (len(both), len(set(both))) == (60, 60)
        desk.restart()
        assert desk.step(T0 + 10 * MINUTE) == []

    def test_what_ends_while_it_waits_for_room_is_told_as_fired_and_resolved(self) -> None:
        desk, world = self.desk()
        (first,) = desk.step(T0, *(world.fire(f"org{n:02}") for n in range(51)))
        listed = {org for _, org, _ in told([first])}
        (left,) = {f"org{n:02}" for n in range(51)} - listed
        (second,) = desk.step(T0 + 5 * MINUTE, world.end(left))
        assert told([second]) == [("team", left, "fired and resolved")]

    def test_only_what_is_told_starts_a_cooldown(self) -> None:
        desk, world = self.desk(cooldown=HOUR)
        desk.step(T0, *(world.fire(f"org{n}") for n in range(60)))
        assert len(desk.table.load(CooldownRow)) == 50
        assert len(told(desk.step(T0 + 5 * MINUTE))) == 10

    def test_a_repeat_lists_fifty_and_counts_the_others_as_told_before(self) -> None:
        desk, world = self.desk()
        desk.step(T0, *(world.fire(f"org{n}") for n in range(60)))
        desk.step(T0 + 5 * MINUTE)
        (repeat,) = desk.step(T0 + 5 * MINUTE + 4 * HOUR)
        assert (len(repeat.notices), repeat.more, repeat.still_firing) == (50, 0, 10)
        assert repeat.counts == {NoticeStatus.FIRING: 60}
        assert desk.notifier.next_deadline() == T0 + 5 * MINUTE + 8 * HOUR

    def test_ends_that_a_destination_does_not_want_are_not_counted_for_it(self) -> None:
        receiver = Receiver(
            name="team",
            configs={
                "slack": (SlackConfig(channel="#t", send_resolved=False),),
                "email": (mail_config("a@example.com"),),
            },
        )
        desk, world = Desk(route("{}", "team", group_by=()), {"team": receiver}), World()
        orgs = [f"org{n}" for n in range(60)]
        for at in (T0, T0 + HOUR):
            desk.step(at, *(world.fire(org) for org in orgs if at == T0))
        slack, mail = desk.step(T0 + 2 * HOUR, *map(world.end, orgs), world.fire("org_new"))
        assert (slack.counts, slack.more) == ({NoticeStatus.FIRING: 1}, 0)
        assert (mail.counts[NoticeStatus.RESOLVED], mail.more) == (60, 11)

    def test_a_late_digest_goes_on_at_group_interval_too(self) -> None:
        desk, world = self.desk()
        (first,) = desk.step(T0, *(world.fire(f"org{n}", stale=True) for n in range(60)))
        assert desk.step(T0 + MINUTE) == []
        (second,) = desk.step(T0 + 5 * MINUTE)
        assert (first.late, second.late, first.more, second.more) == (True, True, 10, 0)
        assert len(set(told([first, second]))) == 60

    def test_a_digest_of_changed_rules_goes_on_too(self) -> None:
        desk, world = self.desk()
        desk.step(T0, *(world.fire(f"org{n}") for n in range(60)))
        desk.step(T0 + 5 * MINUTE)
        closed = [world.end(f"org{n}", kind=TransitionKind.CLOSED) for n in range(60)]
        (first,) = desk.step(T0 + HOUR, *closed)
        (second,) = desk.step(T0 + HOUR + 5 * MINUTE)
        assert len(set(told([first, second]))) == 60
        assert desk.table.load(GroupRow) == []

    def test_the_names_are_those_of_all_that_fires(self) -> None:
        desk, world = self.desk()
        many = [world.fire(f"org{n}", T0 - 1) for n in range(60)]
        (message,) = desk.step(T0, *many, world.fire("b", name="Other"))
        assert message.names == ["Late", "Other"]


def test_what_fires_comes_first_then_what_escalated_then_what_ended() -> None:
    desk, world = Desk(tiers(group_by=(), group_interval=1.0)), World()
    desk.step(T0, *(world.fire(org, severity="error") for org in ("moved", "over")))
    news = [
        world.end("over", T0 + 2),
        world.fire("brief", severity="error"),
        world.end("brief", T0 + 2),
        world.escalate("moved", T0 + 2),
        world.fire("new", T0 + 2, severity="info"),
    ]
    team = [m for m in desk.step(T0 + 2, *news) if m.receiver == "team"]
    assert [(org, status) for _, org, status in told(team)] == [
        ("new", "firing"),
        ("moved", "escalated"),
        ("brief", "fired and resolved"),
        ("over", "resolved"),
    ]


def test_notices_come_gravest_first_then_oldest() -> None:
    desk, world = Desk(route("{}", "team", group_by=())), World()
    firing = [
        world.fire("new", T0 + 2, severity="warning"),
        world.fire("old", T0 + 1, severity="warning"),
        world.fire("worst", T0 + 3, severity="critical"),
        world.fire("least", T0, severity="info"),
    ]
    assert [org for _, org, _ in told(desk.step(T0 + 5, *firing))] == [
        "worst",
        "old",
        "new",
        "least",
    ]


def test_a_receiver_without_destinations_is_told_nothing_and_nothing_again() -> None:
    desk, world = Desk(route("{}", "team"), {"team": Receiver(name="team")}), World()
    assert desk.step(T0, world.fire()) == []
    assert [(d.reason, d.told) for d in desk.decisions] == [(Reason.FIRST, False)]
    assert desk.notifier.next_deadline() is None  # nobody is told again


def test_labels_are_stored_redacted() -> None:
    secret = "sk_live_NotARealKey0123456789"
    root, world = route("{}", "team"), World()
    notifier = Notifier(root, {"team": slack_receiver("team")}, Redactor())
    notifier.add([world.fire(secret)], T0)
    notifier.flush(T0, caught_up=True)
    (row,) = notifier.drain().outbox
    message = msgspec.json.decode(row.payload, type=Notification)
    assert message.notices[0].labels["org"] == message.group_labels["org"] == REDACTED


def test_nothing_changed_means_no_rows() -> None:
    desk, world = Desk(route("{}", "team")), World()
    desk.step(T0, world.fire())
    desk.notifier.flush(T0 + 1, caught_up=True)
    assert not desk.notifier.drain().delta


def test_flushing_a_large_group_writes_one_told_row_and_each_member_that_was_told() -> None:
    desk, world = Desk(route("{}", "team", group_wait=30.0, group_by=())), World()
    desk.step(T0, *(world.fire(f"org{n}") for n in range(50)))
    desk.notifier.flush(T0 + 30, caught_up=True, at_once=True)
    kinds = [type(row) for row in desk.notifier.drain().delta.rows]
    assert (kinds.count(ToldRow), kinds.count(MemberRow)) == (1, 50)


@pytest.mark.parametrize("caught_up", [True, False])
def test_a_group_without_reason_to_speak_has_no_deadline(caught_up: bool) -> None:  # noqa: FBT001 - a parameter of the table
    desk = Desk(route("{}", "team"))
    assert desk.step(T0, caught_up=caught_up) == []
    assert desk.notifier.next_deadline() is None
