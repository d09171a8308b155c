"""What is muted: silences, inhibition, time intervals; and what is told once it is over."""

from collections.abc import Callable

from msgspec.structs import replace

from sidecar.matchers import Matcher, parse_matcher
from sidecar.notify.model import OWNER, Reason, Receiver, Route
from sidecar.notify.mutes import (
    KEEP_SECONDS,
    InhibitRule,
    Mutes,
    TimeInterval,
    TimeRange,
    TimeSpan,
    silence_row,
)
from sidecar.rows import SENT, GroupRow, MemberRow, SilenceRow
from support.notify import (
    HOUR,
    MINUTE,
    T0,
    Desk,
    World,
    mail_config,
    route,
    slack_receiver,
    told,
)


def matchers(*texts: str) -> tuple[Matcher, ...]:
    return tuple(parse_matcher(text) for text in texts)


def silence(desk: Desk, *texts: str, now: float = T0, hours: float = 2.0) -> str:
    """Silence from now on; return the id."""
    row = silence_row(matchers(*texts), now, now + hours * HOUR, by="ann", comment="", now=now)
    desk.notifier.silence(row)
    desk.table.commit(desk.notifier.drain().delta)
    return row.id


def reasons(desk: Desk) -> list[Reason]:
    return [decision.reason for decision in desk.decisions]


class TestSilence:
    def desk(self, **values: float) -> tuple[Desk, World]:
        return Desk(route("{}", "team", **values)), World()

    def test_holds_back_what_it_is_about_and_tells_once_what_still_fires_at_its_end(self) -> None:
        desk, world = self.desk()
        id_ = silence(desk, "org=a")
        assert told(desk.step(T0, world.fire("a"), world.fire("b"))) == [("team", "b", "firing")]
        desk.restart()
        assert desk.step(T0 + HOUR) == []
        assert desk.notifier.next_deadline() == T0 + 2 * HOUR
        (message,) = desk.step(T0 + 2 * HOUR)
        assert (message.reason, told([message])) == (Reason.UNMUTED, [("team", "a", "firing")])
        assert desk.step(T0 + 3 * HOUR) == []
        (mute,) = [d for d in desk.decisions if d.reason is Reason.SILENCED]
        assert (mute.told, mute.alerts, mute.by) == (False, 1, id_)

    def test_what_begins_and_ends_under_it_is_never_told_and_leaves_no_rows(self) -> None:
        desk, world = self.desk()
        silence(desk, "org=a")
        desk.step(T0, world.fire())
        desk.step(T0 + HOUR, world.end())
        assert desk.step(T0 + 3 * HOUR) == []
        assert [*desk.table.load(MemberRow), *desk.table.load(GroupRow)] == []
        assert reasons(desk) == [Reason.SILENCED, Reason.SILENCED]

    def test_the_end_of_what_was_told_is_told_when_it_is_over(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire())
        silence(desk, "org=a", now=T0 + MINUTE)
        assert desk.step(T0 + HOUR, world.end()) == []
        desk.restart()
        assert told(desk.step(T0 + 2 * HOUR + MINUTE)) == [("team", "a", "resolved")]

    def test_holds_back_repeats(self) -> None:
        desk, world = self.desk(repeat_interval=HOUR)
        desk.step(T0, world.fire())
        silence(desk, "org=a", now=T0 + MINUTE)
        assert desk.step(T0 + HOUR) == []
        (message,) = desk.step(T0 + 2 * HOUR + MINUTE)
        assert message.reason is Reason.REPEAT

    def test_that_is_ended_by_hand_is_over_at_once(self) -> None:
        desk, world = self.desk()
        id_ = silence(desk, "org=a")
        desk.step(T0, world.fire())
        assert desk.notifier.unsilence(id_, T0 + MINUTE)
        assert not desk.notifier.unsilence(id_, T0 + MINUTE)
        assert told(desk.step(T0 + MINUTE)) == [("team", "a", "firing")]

    def test_of_the_future_mutes_nothing_yet(self) -> None:
        desk, world = self.desk()
        row = silence_row(matchers("org=a"), T0 + HOUR, T0 + 2 * HOUR, by="", comment="", now=T0)
        desk.notifier.silence(row)
        assert len(desk.step(T0, world.fire())) == 1

    def test_goes_on_where_the_clock_is_set_back_behind_its_beginning(self) -> None:
        desk, world = self.desk()
        silence(desk, "org=~a|b")
        desk.step(T0, world.fire("a"))
        assert desk.step(T0 - HOUR, world.fire("b"), world.end("a")) == []
        desk.restart()
        assert desk.step(T0 - HOUR + MINUTE, world.fire("a")) == []
        assert len(desk.step(T0 + 2 * HOUR)) == 2

    def test_looks_at_the_labels_of_now(self) -> None:
        desk, world = self.desk()
        silence(desk, "severity=warning")
        assert desk.step(T0, world.fire()) == []
        assert told(desk.step(T0 + MINUTE, world.escalate())) == [("team", "a", "firing")]

    def test_without_matchers_mutes_everything(self) -> None:
        desk, world = self.desk()
        silence(desk)
        assert desk.step(T0, world.fire("a"), world.fire("b")) == []

    def test_withdraws_a_message_that_waits(self) -> None:
        desk, world = self.desk()
        desk.notifier.add([world.fire()], T0)
        desk.notifier.flush(T0, caught_up=True)
        (row,) = desk.notifier.drain().outbox
        silence(desk, "org=a", now=T0 + 1)
        assert desk.notifier.renewed(row, T0 + 2) is None

    def test_is_listed_with_what_it_mutes_now_and_forgotten_some_days_after_its_end(self) -> None:
        desk, world = self.desk()
        id_ = silence(desk, "org=~a|b")
        desk.step(T0, world.fire("a"), world.fire("c"))
        ((found, alerts),) = desk.notifier.silences(T0)
        assert (found.row.id, [alert.key for alert in alerts]) == (id_, [("a",)])
        assert desk.notifier.silences(T0 + 3 * HOUR)[0][1] == []
        desk.step(T0 + 2 * HOUR + KEEP_SECONDS - 1)
        assert len(desk.table.load(SilenceRow)) == 1
        silence(desk, "org=z", now=T0 + 2 * HOUR + KEEP_SECONDS)
        desk.step(T0 + 2 * HOUR + KEEP_SECONDS)
        assert [row.matchers for row in desk.table.load(SilenceRow)] == ['["org=\\"z\\""]']

    def test_that_ends_soon_after_a_reload_and_an_ack_is_told_of(self) -> None:
        desk, world = Desk(route("{}", "team", group_by=())), World()
        silence(desk, "org=a", hours=4 / 60)
        desk.step(T0, world.fire("a"), world.fire("b"))
        desk.restart()
        assert desk.step(T0 + MINUTE) == []
        desk.notifier.ack(matchers("org=b"), "ann", "", T0 + 2 * MINUTE)
        (message,) = desk.step(T0 + 5 * MINUTE)
        assert told([message]) == [("team", "a", "firing")]

    def test_that_ends_while_a_message_is_on_its_way_is_told_of_after_it(self) -> None:
        desk, world = Desk(route("{}", "team", group_by=())), World()
        silence(desk, "org=a", hours=4 / 60)
        desk.notifier.add([world.fire("a"), world.fire("b")], T0)
        desk.notifier.flush(T0, caught_up=True)
        (row,) = desk.notifier.drain().outbox
        assert desk.step(T0 + 6 * MINUTE) == []
        desk.notifier.end(replace(row, outcome=SENT), T0 + 7 * MINUTE)
        assert told(desk.step(T0 + 12 * MINUTE)) == [("team", "a", "firing")]

    def test_holds_back_what_a_late_digest_would_tell(self) -> None:
        desk, world = self.desk()
        silence(desk, "org=a")
        assert desk.step(T0, world.fire(stale=True)) == []
        (message,) = desk.step(T0 + 2 * HOUR)
        assert (message.late, told([message])) == (True, [("team", "a", "firing")])


class TestInhibition:
    """One rule: what is critical holds back warnings of the same organisation."""

    RULE = InhibitRule(
        source_matchers=matchers("severity=critical"),
        target_matchers=matchers("severity=warning"),
        equal=("org",),
    )

    def desk(self, rule: InhibitRule = RULE) -> tuple[Desk, World]:
        return Desk(route("{}", "team"), mutes=lambda: Mutes([rule])), World()

    def test_holds_back_the_target_while_the_source_fires_and_tells_it_then(self) -> None:
        desk, world = self.desk()
        fires = [
            world.fire("a", name="Down", severity="critical"),
            world.fire("a", name="Slow"),
            world.fire("b", name="Slow"),
        ]
        messages = desk.step(T0, *fires)
        told_of = {(m.notices[0].labels["alertname"], m.notices[0].labels["org"]) for m in messages}
        assert told_of == {("Down", "a"), ("Slow", "b")}
        desk.restart()
        assert desk.step(T0 + HOUR) == []
        messages = desk.step(T0 + 2 * HOUR, world.end("a", name="Down"))
        assert {(m.reason, m.notices[0].labels["alertname"]) for m in messages} == {
            (Reason.ALL_RESOLVED, "Down"),
            (Reason.UNMUTED, "Slow"),
        }
        (mute,) = [d for d in desk.decisions if d.reason is Reason.INHIBITED]
        assert mute.by == "Down a"

    def test_holds_back_over_a_restart_also_where_nobody_is_told_of_the_source(self) -> None:
        """Owners are told of nothing that is late."""
        owner = route("{}/owner", "owner", "severity=critical")
        receivers = {
            "team": slack_receiver("team"),
            "owner": Receiver(name="owner", configs={"email": (mail_config(OWNER),)}),
        }
        root = route("{}", "team", routes=(owner,))
        desk, world = Desk(root, receivers, mutes=lambda: Mutes([self.RULE])), World()
        fires = world.fire("a", name="Down", severity="critical", stale=True), world.fire("a")
        assert desk.step(T0, *fires) == []
        desk.restart()
        assert desk.step(T0 + HOUR) == []
        assert told(desk.step(T0 + 2 * HOUR, world.end("a", name="Down"))) == [
            ("team", "a", "firing")
        ]

    def test_holds_back_within_one_step_whichever_comes_first(self) -> None:
        desk, world = self.desk()
        first = world.fire("a", name="Slow")
        messages = desk.step(T0, first, world.fire("a", name="Down", severity="critical"))
        assert [m.notices[0].labels["alertname"] for m in messages] == ["Down"]

    def test_a_source_that_is_silenced_holds_back_all_the_same(self) -> None:
        desk, world = self.desk()
        silence(desk, "alertname=Down")
        fires = world.fire("a", name="Down", severity="critical"), world.fire("a", name="Slow")
        assert desk.step(T0, *fires) == []

    def test_a_source_that_escalates_into_being_one_holds_back_from_then_on(self) -> None:
        desk, world = self.desk()
        desk.step(T0, world.fire("a", name="Down"))
        assert len(desk.step(T0 + 1, world.escalate("a", name="Down"))) == 0
        assert desk.step(T0 + 2, world.fire("a", name="Slow")) == []

    def test_what_is_on_both_sides_does_not_hold_back_itself_or_its_like(self) -> None:
        both = InhibitRule(
            source_matchers=matchers("severity=~critical|warning"),
            target_matchers=matchers("severity=warning"),
            equal=("org",),
        )
        desk, world = self.desk(both)
        assert len(desk.step(T0, world.fire("a", name="Slow"), world.fire("a", name="Late"))) == 2
        assert desk.step(T0 + 1, world.fire("b", name="Down", severity="critical")) != []
        assert desk.step(T0 + 2, world.fire("b", name="Slow")) == []

    def test_a_label_that_both_lack_is_equal(self) -> None:
        rule = InhibitRule(
            source_matchers=matchers("severity=critical"),
            target_matchers=matchers("severity=warning"),
            equal=("cluster",),
        )
        desk, world = self.desk(rule)
        desk.step(T0, world.fire("a", name="Down", severity="critical"))
        assert desk.step(T0 + 1, world.fire("z", name="Slow")) == []


NIGHT = TimeInterval(
    name="night",
    time_intervals=(TimeSpan(times=(TimeRange(start_time=8 * 60, end_time=10 * 60),)),),
)  # T0 is 08:00


class TestTimeIntervals:
    def desk(self, **values: tuple[str, ...]) -> tuple[Desk, World]:
        child = route("{}/0", "team", "org=~.+", **values)
        root = route("{}", "pager", routes=(child,))
        return Desk(root, mutes=self.mutes()), World()

    def mutes(self) -> Callable[[], Mutes]:
        return lambda: Mutes((), {"night": NIGHT})

    def test_hold_back_until_they_are_over(self) -> None:
        desk, world = self.desk(mute_time_intervals=("night",))
        assert desk.step(T0, world.fire("a"), world.fire("b")) == []
        assert desk.notifier.next_deadline() == T0 + 2 * HOUR
        desk.step(T0 + HOUR, world.end("b"))
        desk.restart()
        (message,) = desk.step(T0 + 2 * HOUR)
        assert (message.reason, told([message])) == (Reason.UNMUTED, [("team", "a", "firing")])
        assert {(d.reason, d.by) for d in desk.decisions if not d.told} == {
            (Reason.TIME_MUTED, "night")
        }

    def test_are_over_when_they_are_though_the_clock_was_set_back_by_months(self) -> None:
        desk, world = self.desk(mute_time_intervals=("night",))
        assert desk.step(T0, world.fire("a")) == []
        then = T0 - 100 * 24 * HOUR
        assert desk.step(then + HOUR) == []
        assert desk.notifier.next_deadline() == then + 2 * HOUR
        (message,) = desk.step(then + 2 * HOUR)
        assert (message.reason, told([message])) == (Reason.UNMUTED, [("team", "a", "firing")])

    def test_outside_of_the_active_ones_nobody_is_told(self) -> None:
        desk, world = self.desk(active_time_intervals=("night",))
        assert len(desk.step(T0, world.fire("a"))) == 1
        assert desk.step(T0 + 3 * HOUR, world.fire("b")) == []
        assert ("team", "b", "firing") in told(desk.step(T0 + 24 * HOUR))

    def test_hold_back_a_digest_of_what_ended_too(self) -> None:
        desk, world = self.desk(mute_time_intervals=("night",))
        assert desk.step(T0, world.fire("a", stale=True), world.end("a", stale=True)) == []

    def test_hold_back_the_end_from_whom_the_route_tells_no_more(self) -> None:
        desk, world = self.desk(mute_time_intervals=("night",))
        assert len(desk.step(T0 - HOUR, world.fire("a"))) == 1
        other = route("{}/0", "pager", "org=~.+", mute_time_intervals=("night",))
        desk.restart(route("{}", "pager", routes=(other,)))
        assert desk.step(T0 + HOUR, world.end("a")) == []
        assert told(desk.step(T0 + 2 * HOUR)) == [("team", "a", "resolved")]

    def test_are_not_inherited(self) -> None:
        below = route("{}/0/0", "team", "org=a")
        child = route("{}/0", "team", "org=~.+", routes=(below,), mute_time_intervals=("night",))
        desk = Desk(route("{}", "pager", routes=(child,)), mutes=self.mutes())
        assert len(desk.step(T0, World().fire("a"))) == 1


def test_a_route_below_does_not_inherit_its_parents_intervals() -> None:
    from sidecar.syntax.table import Reading  # noqa: PLC0415 - only here

    root = Route(receiver="a", routes=(Route(mute_time_intervals=("n",), routes=(Route(),)),))
    built = root.below(None, Reading())
    assert built.routes[0].mute_time_intervals == ("n",)
    assert built.routes[0].routes[0].mute_time_intervals == ()
