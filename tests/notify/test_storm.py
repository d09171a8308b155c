"""Storms: what exceeds a receiver's rate is folded into digests, and nothing of it is lost."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sidecar.notify.group import STORM_SECONDS
from sidecar.notify.message import MAX_NOTICES, MOST_LISTED
from sidecar.notify.model import NoticeStatus, Notification, Reason, Receiver, Route
from sidecar.notify.notifier import Notifier
from sidecar.receivers.pagerduty import PagerdutyConfig
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.rows import CooldownRow, GroupRow, MemberRow, OutboxRow, ToldRow
from sidecar.rules.alert import Transition
from sidecar.secret import Secret
from support.notify import HOUR, T0, Table, World, route, slack_receiver, tiers

TEAM = {"team": slack_receiver("team")}


def told(row: OutboxRow) -> Notification:
    return msgspec.json.decode(row.payload, type=Notification)


@dataclass
class Channel:
    """A notifier, and a receiver that takes one message a second, in order; five at first."""

    root: Route = field(default_factory=lambda: route("{}", "team", repeat_interval=99 * HOUR))
    receivers: dict[str, Receiver] = field(default_factory=lambda: TEAM)
    table: Table = field(default_factory=Table)
    waiting: list[OutboxRow] = field(default_factory=list)
    heard: list[tuple[float, Notification]] = field(default_factory=list)
    tokens: float = 5.0

    def __post_init__(self) -> None:
        self.notifier = Notifier(self.root, self.receivers)

    def second(self, now: float, *transitions: Transition) -> None:
        self.notifier.add(transitions, now)
        self.notifier.flush(now, caught_up=True)
        drained = self.notifier.drain()
        self.table.commit(drained.delta)
        self.waiting += drained.outbox
        self.tokens = min(5.0, self.tokens + 1.0)
        while self.waiting and self.tokens >= 1.0:
            row = self.waiting.pop(0)
            if (new := self.notifier.renewed(row, now)) is not None:
                self.tokens -= 1.0
                self.heard.append((now - T0, told(new)))
            outcome = "sent" if new else "withdrawn"
            self.notifier.end(msgspec.structs.replace(new or row, outcome=outcome), now)

    def restart(self, now: float) -> None:
        self.table.commit(self.notifier.drain().delta)
        self.notifier = Notifier(self.root, self.receivers)
        load = self.table.load
        self.notifier.restore(
            load(GroupRow), load(MemberRow), load(ToldRow), load(CooldownRow), now
        )

    def accounted(self, until: float) -> Counter[tuple[str, ...]]:
        """Return how often each key was told, one by one or by number."""
        return Counter(s.key for at, one in self.heard if at <= until for s in one.said)


def test_up_to_its_burst_a_receiver_is_told_one_by_one() -> None:
    channel, world = Channel(), World()
    channel.second(T0, *(world.fire(str(n)) for n in range(5)))
    channel.second(T0 + 60)
    assert [one.reason for _, one in channel.heard] == [Reason.FIRST] * 5


def test_what_exceeds_it_is_one_digest_with_count_and_names() -> None:
    channel, world = Channel(), World()
    fires = [world.fire(str(n)) for n in range(100)]
    channel.second(T0, *fires, *(world.fire(str(n), name="Other") for n in range(10)))
    channel.second(T0 + STORM_SECONDS)
    *single, digest = [one for _, one in channel.heard]
    assert len(single) == 5
    assert {one.notices[0].labels["alertname"] for one in single} == {"Other"}  # what is rare first
    assert (digest.reason, digest.late, len(digest.notices)) == (Reason.STORM, False, MAX_NOTICES)
    assert (digest.unlisted, digest.top) == (105 - MAX_NOTICES, [("Late", 100), ("Other", 5)])
    rest = Renderer({}, Redactor()).rendering(digest).view["rest"]
    assert rest == "and 55 more, told by number; in all Late 100, Other 5: see sidecar alerts"
    for second in range(60):
        channel.second(T0 + 60 + second)
    assert len(channel.heard) == 6


def test_a_clock_set_back_by_months_lets_no_flood_go_on_for_months() -> None:
    channel, world = Channel(), World()
    channel.second(T0, *(world.fire(str(n)) for n in range(100)))
    channel.second(T0 + STORM_SECONDS)
    before, then = len(channel.heard), T0 - 2400 * HOUR
    channel.second(then, world.fire("one more", then))
    assert [one.reason for _, one in channel.heard[before:]] == [Reason.FIRST]


def test_repeats_that_exceed_it_are_marked_as_such_in_the_digest() -> None:
    channel, world = Channel(route("{}", "team", repeat_interval=HOUR)), World()
    channel.second(T0, *(world.fire(str(n)) for n in range(9)))
    for second in (*range(20, 30), *range(int(HOUR) + 30, int(HOUR) + 90)):
        channel.second(T0 + second)
    first, again = [one for _, one in channel.heard if one.reason is Reason.STORM]
    assert [notice.repeated for notice in first.notices] == [False] * 4
    assert [notice.repeated for notice in again.notices] == [True] * 4


def storm(channel: Channel, world: World, *, restart: int = -1) -> None:
    """Let 5,000 organisations fail in a minute, and something else in the middle."""
    for second in range(121):
        now = T0 + second
        fires = [world.fire(f"{second}.{n}", now) for n in range(84 if second < 59 else 44)]
        if second == 30:
            fires.append(world.fire("other", now, name="Down", severity="critical"))
        if second == restart:
            channel.restart(now)
        channel.second(now, *(fires if second < 60 else ()))


def test_of_5000_in_a_minute_a_handful_of_messages_tells_and_all_are_accounted_for() -> None:
    channel, world = Channel(), World()
    storm(channel, world)
    assert sum(at < 60 for at, _ in channel.heard) <= 10
    accounted = channel.accounted(120)
    assert len(accounted) == 5001
    assert set(accounted.values()) == {1}
    (down,) = [at for at, one in channel.heard if one.notices[0].labels["alertname"] == "Down"]
    assert down <= 33


def test_a_restart_in_the_middle_loses_nothing() -> None:
    channel, world = Channel(), World()
    storm(channel, world, restart=35)
    assert len(channel.accounted(120)) == 5001


def test_their_ends_are_told_like_any_and_leave_no_rows() -> None:
    channel, world = Channel(), World()
    storm(channel, world)
    for second in range(400):
        now = T0 + 200 + second
        ends = [world.end(org, now, name=name) for name, org in world.alerts] if not second else ()
        channel.second(now, *ends)
    channel.notifier.flush(T0 + HOUR, caught_up=True)
    channel.table.commit(channel.notifier.drain().delta)
    for row in (GroupRow, MemberRow, ToldRow, CooldownRow):
        assert channel.table.load(row) == []
    assert len(channel.heard) < 40


def test_a_digest_that_is_given_up_is_told_anew() -> None:
    channel, world = Channel(), World()
    channel.second(T0, *(world.fire(str(n)) for n in range(20)))
    channel.notifier.flush(T0 + STORM_SECONDS, caught_up=True)
    (row,) = channel.notifier.drain().outbox
    channel.notifier.end(msgspec.structs.replace(row, outcome="dead"), T0 + STORM_SECONDS)
    channel.second(T0 + 3 * STORM_SECONDS)
    assert len(channel.accounted(1e9)) == 20


def test_what_ended_before_its_digest_is_told_as_both() -> None:
    channel, world = Channel(), World()
    channel.second(T0, *(world.fire(str(n)) for n in range(20)))
    channel.second(T0 + 5, *(world.end(str(n)) for n in range(10, 20)))
    channel.second(T0 + STORM_SECONDS)
    digest = channel.heard[-1][1]
    single = {one.notices[0].labels["org"] for _, one in channel.heard[:5]}
    ended = sum(str(n) not in single for n in range(10, 20))
    assert digest.by_status == {"firing": 15 - ended, "fired and resolved": ended}


def test_what_fires_again_too_late_to_be_told_at_once_is_in_the_digest_of_its_end_before() -> None:
    channel, world = Channel(), World()
    channel.second(T0, *(world.fire(str(n)) for n in range(20)))
    single = {one.notices[0].labels["org"] for _, one in channel.heard}
    org = next(str(n) for n in range(20) if str(n) not in single)
    channel.second(T0 + 5, world.end(org))
    channel.second(T0 + 10, world.fire(org, stale=True))
    channel.second(T0 + STORM_SECONDS)
    (said,) = [n for _, one in channel.heard for n in one.notices if n.labels["org"] == org]
    assert (said.status, said.held) == (NoticeStatus.FIRING, 1)


def test_what_a_storm_is_to_tell_is_not_told_by_the_digest_of_a_receiver_that_is_gone() -> None:
    channel, world = Channel(tiers(), {**TEAM, "pager": slack_receiver("pager")}), World()
    channel.tokens = -99.0
    orgs = [str(n) for n in range(20)]
    channel.second(T0, *(world.fire(org, severity="critical", stale=True) for org in orgs))
    channel.root = route("{}", "team")
    for receivers in (channel.receivers, TEAM):
        channel.receivers = receivers
        channel.restart(T0 + 1)
        channel.second(T0 + 1)
    for seconds in (1, STORM_SECONDS, HOUR):
        channel.tokens = 99.0
        channel.second(T0 + seconds)
    assert channel.accounted(HOUR) == Counter((org,) for org in orgs)


def test_one_group_of_thousands_is_one_message_too() -> None:
    channel, world = Channel(route("{}", "team", group_by=())), World()
    channel.second(T0, *(world.fire(str(n)) for n in range(MOST_LISTED + 1)))
    ((_, one),) = channel.heard
    assert (one.unlisted, one.more) == (MOST_LISTED + 1 - MAX_NOTICES, 0)


def test_what_was_not_read_for_long_is_one_late_digest_with_all_of_it() -> None:
    channel, world = Channel(), World()
    channel.second(T0, *(world.fire(str(n), stale=True) for n in range(5000)))
    ((_, one),) = channel.heard
    assert (one.late, len(one.said), one.unlisted) == (True, 5000, 4950)


def test_whoever_takes_each_alert_by_itself_gets_each() -> None:
    config: Any = PagerdutyConfig(service="s", routing_key=Secret("k"))
    receivers = {"team": Receiver(name="team", configs={"pagerduty": (config,)})}
    channel, world = Channel(receivers=receivers), World()
    for second in range(30):
        fires = [world.fire(str(n)) for n in range(20)] if not second else []
        channel.second(T0 + second, *fires)
    assert [len(one.notices) for _, one in channel.heard] == [1] * 20
