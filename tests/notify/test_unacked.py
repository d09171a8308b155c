"""Acknowledgements: what they keep quiet, what ends them, and who is told for want of one."""

from typing import Any

import pytest
from msgspec.structs import replace

from sidecar.matchers import parse_matcher
from sidecar.notify.model import Ack, EscalateUnacked, NoticeStatus, Notification, Reason, Receiver
from sidecar.receivers.slack.config import SlackConfig
from sidecar.rows import (
    SENT,
    WITHDRAWN,
    CooldownRow,
    GroupRow,
    MemberRow,
    OutboxRow,
    ToldRow,
)
from sidecar.rules.alert import TransitionKind
from sidecar.secret import Secret
from support.notify import HOUR, MINUTE, T0, Desk, World, route, slack_receiver, tiers, told

STEP = EscalateUnacked(after=15 * MINUTE, receiver="boss")
RECEIVERS = {name: slack_receiver(name) for name in ("team", "pager", "boss")}


def ack(desk: Desk, *matchers: str, now: float, by: str = "ann", comment: str = "") -> list[str]:
    """Acknowledge; return the organisations whose alerts that were."""
    found = desk.notifier.ack([parse_matcher(text) for text in matchers], by, comment, now)
    return [alert.key[0] for alert in found]


class TestAcknowledged:
    def desk(self, **values: Any) -> tuple[Desk, World]:
        desk, world = Desk(route("{}", "team", repeat_interval=HOUR, **values)), World()
        desk.step(T0, world.fire())
        return desk, world

    def test_it_is_not_repeated_also_after_a_restart(self) -> None:
        desk, _ = self.desk()
        assert ack(desk, "org=a", now=T0 + MINUTE) == ["a"]
        desk.step(T0 + MINUTE)
        desk.restart()
        assert desk.notifier.next_deadline() is None
        assert desk.step(T0 + 99 * HOUR) == []

    def test_it_is_not_repeated_to_whom_the_routes_left_and_came_back_to(self) -> None:
        desk, _ = self.desk()
        desk.restart(route("{}", "pager", repeat_interval=HOUR))
        desk.step(T0 + MINUTE)
        assert ack(desk, "org=a", now=T0 + 2 * MINUTE) == ["a"]
        desk.step(T0 + 2 * MINUTE)
        desk.restart(route("{}", "team", repeat_interval=HOUR))
        assert desk.step(T0 + 3 * MINUTE) + desk.step(T0 + 9 * HOUR) == []

    def test_it_is_repeated_as_the_route_says(self) -> None:
        desk, _ = self.desk(repeat_when_acked=12 * HOUR)
        ack(desk, "org=a", now=T0 + MINUTE)
        assert desk.step(T0 + 12 * HOUR - 1) == []
        (message,) = desk.step(T0 + 12 * HOUR)
        assert message.reason is Reason.REPEAT
        assert message.notices[0].acked == Ack("ann", T0 + MINUTE)

    def test_its_end_is_told_as_ever_and_says_who_took_it(self) -> None:
        desk, world = self.desk()
        ack(desk, "org=a", now=T0 + MINUTE, comment="on it")
        (message,) = desk.step(T0 + HOUR, world.end())
        assert told([message]) == [("team", "a", "resolved")]
        assert message.notices[0].acked == Ack("ann", T0 + MINUTE, "on it")

    def test_it_ends_with_the_alert(self) -> None:
        desk, world = self.desk()
        ack(desk, "org=a", now=T0 + MINUTE)
        desk.step(T0 + HOUR, world.end())
        (message,) = desk.step(T0 + 2 * HOUR, world.fire())
        assert message.notices[0].acked is None
        assert told(desk.step(T0 + 3 * HOUR)) == [("team", "a", "firing")]

    def test_what_fires_again_before_its_end_was_told_is_news(self) -> None:
        desk, world = self.desk()
        ack(desk, "org=a", now=T0 + MINUTE)
        (message,) = desk.step(T0 + HOUR, world.end(), world.fire())
        assert (message.reason, message.notices[0].acked) == (Reason.FLAPPING, None)

    def test_a_higher_severity_is_news_again(self) -> None:
        desk, world = self.desk()
        ack(desk, "org=a", now=T0 + MINUTE)
        (message,) = desk.step(T0 + HOUR, world.escalate())
        assert (message.reason, message.notices[0].acked) == (Reason.ESCALATED, None)
        assert told(desk.step(T0 + 2 * HOUR)) == [("team", "a", "firing")]

    def test_only_what_fires_and_fits_is_taken(self) -> None:
        desk, world = self.desk()
        desk.step(T0 + 1, world.fire("b"), world.fire("c"), world.end("c"))
        assert ack(desk, "org=~a|c", 'severity="warning"', now=T0 + MINUTE) == ["a"]
        assert ack(desk, "org=z", now=T0 + MINUTE) == []
        assert desk.notifier.acked().keys() == {("Late", ("a",))}

    def test_the_last_one_who_takes_it_stands_there(self) -> None:
        desk, _ = self.desk()
        ack(desk, "org=a", now=T0 + MINUTE)
        ack(desk, "org=a", now=T0 + 2 * MINUTE, by="bob")
        assert desk.notifier.acked() == {("Late", ("a",)): Ack("bob", T0 + 2 * MINUTE)}


class TestWhereMessagesAreEdited:
    """With a bot token the message is edited at once; nobody else hears that somebody took it."""

    def desk(self) -> tuple[Desk, World]:
        bot = SlackConfig(channel="#team", app_token=Secret("xoxb-1"))
        hook = SlackConfig(channel="#other", api_url=Secret("https://hooks.slack.com/x"))
        team = Receiver(name="team", configs={"slack": (bot, hook)})
        root = route("{}", "team", cooldown=10 * MINUTE, group_interval=5 * MINUTE)
        desk, world = Desk(root, {"team": team}), World()
        desk.step(T0, world.fire())
        return desk, world

    def test_it_is_told_there_at_once_in_spite_of_cooldown_and_interval(self) -> None:
        desk, _ = self.desk()
        ack(desk, "org=a", now=T0 + 10)
        desk.table.commit(desk.notifier.drain().delta)
        desk.restart()
        (message,) = desk.step(T0 + 10)
        assert (message.destination, message.reason) == ("#team", Reason.ACKED)
        assert message.notices[0].status is NoticeStatus.FIRING
        assert desk.step(T0 + HOUR) == []

    def test_taken_while_a_message_is_on_its_way_it_is_told_after_that(self) -> None:
        desk, world = self.desk()
        desk.notifier.add([world.fire("b")], T0 + HOUR)
        desk.notifier.flush(T0 + HOUR, caught_up=True)
        rows = desk.notifier.drain().outbox
        ack(desk, "org=b", now=T0 + HOUR + 1)
        for row in rows:
            desk.notifier.end(row.__class__(**{**_fields(row), "outcome": "sent"}), T0 + HOUR + 2)
        (message,) = desk.step(T0 + HOUR + 10 * MINUTE)
        assert (message.reason, message.notices[0].labels["org"]) == (Reason.ACKED, "b")


def _fields(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}


class TestNobodyTakesIt:
    def desk(self, **values: Any) -> tuple[Desk, World]:
        root = tiers(escalate_unacked=STEP, **values)
        return Desk(root, RECEIVERS), World()

    def fired(self) -> tuple[Desk, World]:
        desk, world = self.desk()
        desk.step(T0, world.fire(severity="critical"))
        return desk, world

    def test_it_goes_on_to_the_next_receiver_also_over_a_restart(self) -> None:
        desk, _ = self.fired()
        assert desk.step(T0 + 15 * MINUTE - 1) == []
        desk.restart()
        assert desk.notifier.next_deadline() == T0 + 15 * MINUTE
        (message,) = desk.step(T0 + 15 * MINUTE)
        assert (message.receiver, message.reason) == ("boss", Reason.UNACKED)
        desk.restart()
        assert desk.step(T0 + HOUR) == []

    @pytest.mark.parametrize("restarted", [False, True])
    def test_its_time_begins_anew_where_the_clock_was_set_back(self, *, restarted: bool) -> None:
        desk, _ = self.fired()
        assert desk.step(T0 - HOUR) == []
        if restarted:
            desk.restart()
        assert desk.step(T0 - HOUR + 15 * MINUTE - 1) == []
        assert told(desk.step(T0 - HOUR + 15 * MINUTE)) == [("boss", "a", "firing")]

    def test_its_end_reaches_all_who_were_told(self) -> None:
        desk, world = self.fired()
        desk.step(T0 + 15 * MINUTE)
        desk.restart()
        ends = desk.step(T0 + HOUR, world.end())
        assert sorted(told(ends)) == [("boss", "a", "resolved"), ("pager", "a", "resolved")]
        for row in (GroupRow, MemberRow, ToldRow, CooldownRow):
            assert desk.table.load(row) == []

    def test_one_that_somebody_took_stays(self) -> None:
        desk, _ = self.fired()
        ack(desk, "org=a", now=T0 + 14 * MINUTE)
        assert desk.step(T0 + 15 * MINUTE) == []

    def test_one_that_ended_before_stays(self) -> None:
        desk, world = self.fired()
        desk.step(T0 + 14 * MINUTE, world.end())
        assert desk.step(T0 + 15 * MINUTE) == []
        assert desk.notifier.next_deadline() is None

    def test_one_that_fires_again_has_all_its_time_again(self) -> None:
        desk, world = self.fired()
        desk.step(T0 + 10 * MINUTE, world.end())
        desk.step(T0 + 14 * MINUTE, world.fire(severity="critical"))
        assert desk.step(T0 + 20 * MINUTE) == []
        assert told(desk.step(T0 + 29 * MINUTE)) == [("boss", "a", "firing")]

    def test_an_escalation_has_its_own_time(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire())
        desk.step(T0 + 10 * MINUTE, world.escalate())
        assert desk.step(T0 + 20 * MINUTE) == []
        assert told(desk.step(T0 + 25 * MINUTE)) == [("boss", "a", "firing")]

    def test_it_does_not_wait_for_a_message_that_cannot_be_delivered(self) -> None:
        desk, world = self.desk()
        desk.notifier.add([world.fire(severity="critical")], T0)
        desk.notifier.flush(T0, caught_up=True)
        assert len(desk.notifier.drain().outbox) == 1
        desk.notifier.flush(T0 + 15 * MINUTE, caught_up=True)
        assert [row.receiver for row in desk.notifier.drain().outbox] == ["boss"]

    def test_who_knows_of_it_already_is_not_told_twice(self) -> None:
        step = EscalateUnacked(after=15 * MINUTE, receiver="team")
        desk, world = Desk(tiers(escalate_unacked=step), RECEIVERS), World()
        desk.step(T0, world.fire())
        desk.step(T0 + 1, world.escalate())
        later = desk.step(T0 + 15 * MINUTE + 1)
        assert told(later) == [("team", "a", "escalated")]

    def test_who_was_told_for_want_of_an_acknowledgement_sees_who_took_it_then(self) -> None:
        desk, world = self.fired()
        desk.step(T0 + 15 * MINUTE)
        assert ack(desk, "org=a", now=T0 + 16 * MINUTE) == ["a"]
        ends: list[Notification] = desk.step(T0 + HOUR, world.end(kind=TransitionKind.EXPIRED))
        assert {m.receiver: m.notices[0].acked and m.notices[0].acked.by for m in ends} == {
            "pager": "ann",
            "boss": "ann",
        }

    def unheard(self) -> tuple[Desk, list[OutboxRow]]:
        """Return a desk at which it went on to the boss, and the message to him that waits."""
        desk, _ = self.fired()
        desk.notifier.flush(T0 + 15 * MINUTE, caught_up=True)
        drained = desk.notifier.drain()
        desk.table.commit(drained.delta)
        assert [row.receiver for row in drained.outbox] == ["boss"]
        return desk, drained.outbox

    @pytest.mark.parametrize("outcome", ["", WITHDRAWN, SENT])
    @pytest.mark.parametrize("meanwhile", ["team", "boss"])
    def test_who_did_not_hear_it_before_the_routes_left_and_came_back_does_then(
        self, meanwhile: str, outcome: str
    ) -> None:
        """It counted as passed on, and he was told nothing of what fired on."""
        desk, (row,) = self.unheard()
        desk.restart(route("{}", meanwhile))
        if outcome:
            desk.notifier.end(replace(row, outcome=outcome), T0 + 16 * MINUTE)
        desk.table.commit(desk.notifier.drain().delta)
        desk.restart(tiers(escalate_unacked=STEP))
        if not outcome:
            desk.notifier.end(replace(row, outcome=WITHDRAWN), T0 + 16 * MINUTE)
        messages = told(desk.step(T0 + 17 * MINUTE) + desk.step(T0 + 2 * HOUR))
        assert messages == ([] if outcome == SENT else [("boss", "a", "firing")])

    def test_whom_a_reload_names_hears_it_and_who_knew_it_does_not_once_named_again(self) -> None:
        desk, _ = self.fired()
        assert told(desk.step(T0 + 15 * MINUTE)) == [("boss", "a", "firing")]
        desk.restart(tiers(escalate_unacked=EscalateUnacked(after=15 * MINUTE, receiver="team")))
        assert told(desk.step(T0 + 16 * MINUTE)) == [("team", "a", "firing")]
        desk.restart()
        assert desk.step(T0 + 17 * MINUTE) == []
        desk.restart(tiers(escalate_unacked=STEP))
        assert desk.step(T0 + 18 * MINUTE) == []

    def test_who_was_not_told_the_end_before_hears_that_it_fires_again(self) -> None:
        desk, world = Desk(tiers(escalate_unacked=STEP, group_interval=HOUR), RECEIVERS), World()
        desk.step(T0, world.fire(severity="critical"))
        assert told(desk.step(T0 + 15 * MINUTE)) == [("boss", "a", "firing")]
        desk.step(T0 + 16 * MINUTE, world.end())
        desk.step(T0 + 17 * MINUTE, world.fire(severity="critical"))
        later = desk.step(T0 + 32 * MINUTE) + desk.step(T0 + 80 * MINUTE)
        assert ("boss", "a", "firing") in told(later)
        assert ("boss", "a", "resolved") not in told(later)
