"""Told means accepted: what follows from how a message ended, and what waits reads as of now."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from sidecar.matchers import Matcher
from sidecar.notify.message import UNTOLD
from sidecar.notify.model import Notification, Receiver, Route
from sidecar.notify.mutes import silence_row
from sidecar.notify.notifier import Notifier
from sidecar.receivers.slack.config import SlackConfig
from sidecar.rows import (
    AMBIGUOUS,
    CooldownRow,
    GroupRow,
    MemberRow,
    MetaRow,
    OutboxRow,
    SilenceRow,
    ToldRow,
)
from sidecar.rules.alert import Transition
from support.notify import (
    HOUR,
    MINUTE,
    T0,
    Table,
    World,
    mail_config,
    route,
    slack_receiver,
    tiers,
)

TEAM = {"team": slack_receiver("team")}


class Post:
    """A notifier and its state file, with messages that end as a test says."""

    def __init__(self, root: Route, receivers: dict[str, Receiver] | None = None) -> None:
        self.receivers = receivers or TEAM
        self.table = Table()
        self.notifier = Notifier(root, self.receivers)

    def step(self, now: float, *transitions: Transition) -> list[OutboxRow]:
        self.notifier.add(transitions, now)
        self.notifier.flush(now, caught_up=True)
        return self._commit()

    def end(self, row: OutboxRow, now: float, outcome: str = "sent") -> list[OutboxRow]:
        """Let a message end, and the step that hears of it flush."""
        self.notifier.end(msgspec.structs.replace(row, outcome=outcome), now)
        return self.step(now)

    def waiting(self, row: OutboxRow, now: float) -> list[tuple[str, str]] | None:
        """Return how a message reads if it is tried again at `now`; None if it is void."""
        renewed = self.notifier.renewed(row, now)
        return None if renewed is None else said(renewed)

    def restart(self, root: Route, now: float, receivers: dict[str, Receiver]) -> list[OutboxRow]:
        self.receivers = receivers
        self.notifier = Notifier(root, receivers)
        load = self.table.load
        meta = {row.name: row.value for row in load(MetaRow)}
        self.notifier.restore(
            load(GroupRow), load(MemberRow), load(ToldRow), load(CooldownRow), now,
            untold=meta.get(UNTOLD, "{}"), silences=load(SilenceRow),
        )  # fmt: skip
        return self.step(now)

    def _commit(self) -> list[OutboxRow]:
        drained = self.notifier.drain()
        self.table.commit(drained.delta)
        return drained.outbox


def said(row: OutboxRow) -> list[tuple[str, str]]:
    """Return organisation and status of each alert in a message."""
    told = msgspec.json.decode(row.payload, type=Notification)
    return [(notice.labels["org"], notice.status.value) for notice in told.notices]


def root(**values: Any) -> Route:
    return route("{}", "team", **{"group_interval": 5 * MINUTE, **values})


def test_nothing_else_is_said_while_a_message_is_on_its_way() -> None:
    post, world = Post(root(group_by=())), World()
    (first,) = post.step(T0, world.fire("a"))
    assert post.step(T0 + HOUR, world.fire("b")) == []
    (second,) = post.end(first, T0 + HOUR) or post.step(T0 + HOUR + 5 * MINUTE)
    assert said(second) == [("b", "firing")]


@pytest.mark.parametrize("outcome", ["dead", "expired"])
def test_a_message_that_is_given_up_is_told_anew(outcome: str) -> None:
    post, world = Post(root(cooldown=HOUR)), World()
    (first,) = post.step(T0, world.fire())
    again = post.end(first, T0 + MINUTE, outcome) or post.step(T0 + 6 * MINUTE)
    assert [said(row) for row in again] == [[("a", "firing")]]
    assert again[0].expires_at > first.expires_at


def test_what_ended_unheard_of_is_never_told_as_resolved() -> None:
    post, world = Post(root()), World()
    (first,) = post.step(T0, world.fire())
    post.step(T0 + MINUTE, world.end(at=T0 + MINUTE))
    assert post.waiting(first, T0 + 2 * MINUTE) == [("a", "fired and resolved")]


def test_what_ended_unheard_of_is_dropped_once_its_time_is_over() -> None:
    post, world = Post(root()), World()
    (first,) = post.step(T0, world.fire())
    post.step(T0 + MINUTE, world.end(at=T0 + MINUTE))
    assert post.end(first, T0 + 7 * HOUR, "expired") == []
    assert post.step(T0 + 8 * HOUR) == []
    assert {row for row, _ in post.table.rows} == {MetaRow}  # only counted


def test_an_end_that_was_given_up_is_told_again_to_who_heard_of_the_firing() -> None:
    post, world = Post(root()), World()
    (first,) = post.step(T0, world.fire())
    post.end(first, T0)
    (end,) = post.step(T0 + HOUR, world.end(at=T0 + HOUR))
    (again,) = post.end(end, T0 + 8 * HOUR, "expired")
    assert said(again) == [("a", "resolved")]


def test_what_changed_on_the_way_is_told_next() -> None:
    post, world = Post(root()), World()
    (first,) = post.step(T0, world.fire())
    post.step(T0 + 1, world.end(at=T0 + 1))
    (end,) = post.end(first, T0 + 2) or post.step(T0 + 2 + 5 * MINUTE)
    assert said(end) == [("a", "resolved")]


def test_an_escalation_on_the_way_is_not_held_back_by_the_cooldown_of_what_was_told() -> None:
    post, world = Post(root(cooldown=HOUR)), World()
    (first,) = post.step(T0, world.fire())
    post.step(T0 + 1, world.escalate(at=T0 + 1))
    (escalated,) = post.end(first, T0 + 2) or post.step(T0 + 2 + 5 * MINUTE)
    assert said(escalated) == [("a", "firing")]


def test_a_stored_message_that_cannot_be_read_is_nobodys_end() -> None:
    post, world = Post(root()), World()
    (first,) = post.step(T0, world.fire())
    broken = msgspec.structs.replace(first, payload="{")
    assert post.notifier.renewed(broken, T0) == broken
    again = post.end(broken, T0, "dead") or post.step(T0 + 5 * MINUTE)
    assert [said(row) for row in again] == [[("a", "firing")]]


def test_an_attempt_that_changes_nothing_is_the_same_message() -> None:
    post, world = Post(root()), World()
    (first,) = post.step(T0, world.fire())
    assert post.notifier.renewed(first, T0 + HOUR) == first


def test_each_destination_is_told_what_it_has_not_accepted() -> None:
    both = Receiver(
        name="team",
        configs={"slack": (SlackConfig(channel="#t"),), "email": (mail_config("a@example.com"),)},
    )
    post, world = Post(root(), {"team": both}), World()
    slack, mail = post.step(T0, world.fire())
    post.end(slack, T0)
    (end,) = post.step(T0 + HOUR, world.end(at=T0 + HOUR))
    assert (end.integration, said(end)) == ("slack", [("a", "resolved")])
    assert post.waiting(mail, T0 + HOUR) == [("a", "fired and resolved")]


def test_one_receiver_behind_two_routes_is_told_once_and_once_of_an_escalation() -> None:
    critical = route("{}/critical", "team", 'severity="critical"')
    post, world = Post(replace(root(), routes=(critical,))), World()
    (first,) = post.step(T0, world.fire())
    post.end(first, T0)
    (escalated,) = post.step(T0 + HOUR, world.escalate(at=T0 + HOUR))
    assert said(escalated) == [("a", "firing")]
    post.end(escalated, T0 + HOUR)
    (end,) = post.step(T0 + 2 * HOUR, world.end(at=T0 + 2 * HOUR))
    assert said(end) == [("a", "resolved")]


def test_two_routes_that_continue_to_one_receiver_make_one_message() -> None:
    first = route("{}/0", "team", continue_=True)
    post, world = Post(replace(root(), routes=(first, route("{}/1", "team")))), World()
    assert len(post.step(T0, world.fire())) == 1


def test_what_waits_for_a_channel_goes_to_what_it_is_called_now() -> None:
    post, world = Post(root()), World()
    (first,) = post.step(T0, world.fire())
    renamed = {"team": Receiver(name="team", configs={"slack": (SlackConfig(channel="#new"),)})}
    (again,) = post.restart(root(), T0 + MINUTE, renamed)
    assert (again.destination, said(again)) == ("#new", [("a", "firing")])
    assert post.waiting(first, T0 + MINUTE) is None


def test_a_renamed_channel_knows_what_it_was_told() -> None:
    post, world = Post(root()), World()
    (first,) = post.step(T0, world.fire())
    post.end(first, T0)
    renamed = {"team": Receiver(name="team", configs={"slack": (SlackConfig(channel="#new"),)})}
    assert post.restart(root(), T0 + MINUTE, renamed) == []
    (end,) = post.step(T0 + HOUR, world.end(at=T0 + HOUR))
    assert (end.destination, said(end)) == ("#new", [("a", "resolved")])


def test_a_shorter_wait_is_in_force_at_once() -> None:
    post, world = Post(root(group_wait=600.0)), World()
    assert post.step(T0, world.fire()) == []
    assert len(post.restart(root(group_wait=10.0), T0 + 10, TEAM)) == 1


def test_a_clock_set_back_by_a_year_puts_nothing_off() -> None:
    year = 365 * 24 * HOUR
    post, world = Post(root(cooldown=10 * MINUTE, group_by=())), World()
    (first,) = post.step(T0 + year, world.fire("a"))
    post.end(first, T0 + year)
    post.step(T0, world.fire("b"), world.end("a"), world.fire("a"))
    (second,) = post.step(T0 + 5 * MINUTE)
    assert said(second) == [("b", "firing")]
    (third,) = post.end(second, T0 + 5 * MINUTE) or post.step(T0 + 10 * MINUTE)
    assert said(third) == [("a", "firing")]


def test_a_message_that_may_have_arrived_has_its_end_told_even_after_max_age() -> None:
    world, post = World(), Post(route("{}", "team"))
    (row,) = post.step(T0, world.fire())
    post.step(T0 + 1, world.end())
    late = msgspec.structs.replace(row, detail="ambiguous: timeout: no answer")
    (again,) = post.end(late, T0 + HOUR, "expired")
    assert said(again) == [("a", "fired and resolved")]
    (once_more,) = post.end(again, T0 + 2 * HOUR, "expired")
    assert said(once_more) == [("a", "fired and resolved")]


def test_what_a_message_may_have_told_before_it_was_muted_has_its_end_told() -> None:
    post, world = Post(root(group_by=())), World()
    (row,) = post.step(T0, world.fire("a"), world.fire("b"))
    doubtful = msgspec.structs.replace(row, detail=f"{AMBIGUOUS}timeout")
    post.step(T0 + 1, world.end("b"))
    silence = silence_row(
        [Matcher("org", "=", "b")], T0, T0 + HOUR, by="ann", comment="", now=T0 + 2
    )
    post.notifier.silence(silence)
    now_said = post.notifier.renewed(doubtful, T0 + 2)
    assert now_said is not None
    assert said(now_said) == [("a", "firing")]
    assert post.end(now_said, T0 + 3) == []
    (end,) = post.step(T0 + 2 * HOUR)
    assert said(end) == [("b", "fired and resolved")]


def test_one_that_may_have_arrived_has_its_end_told_though_a_digest_tells_it_too_late() -> None:
    world, post = World(), Post(route("{}", "team"))
    (row,) = post.step(T0, world.fire())
    (digest,) = post.step(T0 + HOUR, world.end(stale=True))
    post.end(msgspec.structs.replace(row, detail="ambiguous: timeout"), T0 + HOUR, "expired")
    (again,) = post.end(digest, T0 + 2 * HOUR, "expired") or post.step(T0 + 3 * HOUR)
    assert said(again) == [("a", "fired and resolved")]


def test_one_that_may_have_arrived_has_its_end_told_though_its_digest_was_muted_first() -> None:
    post, world = Post(root()), World()
    (row,) = post.step(T0, world.fire("b"))
    matchers = [Matcher("org", "=", "b")]
    post.notifier.silence(silence_row(matchers, T0, T0 + HOUR, by="ann", comment="", now=T0))
    assert post.step(T0 + 1, world.end("b", stale=True)) == []
    doubtful = msgspec.structs.replace(row, detail=f"{AMBIGUOUS}the process ended")
    assert post.end(doubtful, T0 + 2, "withdrawn") == []
    (end,) = post.step(T0 + 2 * HOUR)
    assert said(end) == [("b", "fired and resolved")]


def escalated(post: Post, world: World) -> None:
    post.step(T0 + 1, world.escalate("b"), world.end("b"))


def late(post: Post, world: World) -> None:
    post.step(T0 + 1, world.escalate("b", stale=True), world.end("b", stale=True))


def rerouted(post: Post, world: World) -> None:
    post.step(T0 + 1, world.end("b"))
    warning = route("{}/warning", "team", 'severity="warning"')
    post.restart(replace(root(), routes=(warning,)), T0 + 1, TEAM)


def renamed(post: Post, world: World) -> None:
    crew = {"crew": replace(slack_receiver("team"), name="crew")}
    post.restart(route("{}", "crew"), T0 + 1, crew)
    post.step(T0 + 1, world.end("b"))


def elsewhere(post: Post, world: World) -> None:
    moved = Receiver(name="team", configs={"slack": (SlackConfig(channel="#moved"),)})
    post.restart(root(), T0 + 1, {"team": moved})
    post.step(T0 + 1, world.end("b"))


@pytest.mark.parametrize("move", [escalated, late, rerouted, renamed, elsewhere])
@pytest.mark.parametrize(
    ("outcome", "detail", "told"),
    [
        ("sent", "", [[("b", "resolved")]]),
        ("withdrawn", f"{AMBIGUOUS}timeout", [[("b", "fired and resolved")]]),
    ],
)
def test_what_ended_muted_is_told_if_a_message_that_was_on_its_way_may_have_told_of_it(
    move: Callable[[Post, World], None], outcome: str, detail: str, told: object
) -> None:
    critical = route("{}/critical", "team", 'severity="critical"')
    post, world = Post(replace(root(), routes=(critical,))), World()
    (row,) = post.step(T0, world.fire("b"))
    matchers = [Matcher("org", "=", "b")]
    post.notifier.silence(silence_row(matchers, T0, T0 + HOUR, by="ann", comment="", now=T0))
    assert post.step(T0) == []
    move(post, world)
    assert post.end(msgspec.structs.replace(row, detail=detail), T0 + 2, outcome) == []
    assert [said(row) for row in post.step(T0 + 2 * HOUR)] == told


def test_one_that_may_have_arrived_has_its_end_told_over_two_edits_of_the_routes() -> None:
    receivers = {name: slack_receiver(name) for name in ("team", "pager")}
    world, post = World(), Post(route("{}", "team"), receivers)
    (row,) = post.step(T0, world.fire())
    (pager,) = post.restart(route("{}", "pager"), T0 + 1, receivers)
    post.end(msgspec.structs.replace(row, detail="ambiguous: timeout"), T0 + 2, "dead")
    post.end(pager, T0 + 2)
    post.restart(route("{}", "pager"), T0 + 3, receivers)
    ends = post.step(T0 + HOUR, world.end())
    assert [(end.receiver, said(end)) for end in ends] == [
        ("pager", [("a", "resolved")]),
        ("team", [("a", "fired and resolved")]),
    ]


def test_a_message_accepted_after_its_alert_moved_to_another_receiver_is_followed_by_its_end() -> (
    None
):
    receivers = {name: slack_receiver(name) for name in ("team", "pager")}
    world, post = World(), Post(route("{}", "team"), receivers)
    (row,) = post.step(T0, world.fire())
    (pager,) = post.restart(route("{}", "pager"), T0 + 1, receivers)
    assert (pager.receiver, post.end(row, T0 + 2), post.end(pager, T0 + 2)) == ("pager", [], [])
    ends = post.step(T0 + HOUR, world.end())
    assert [(end.receiver, said(end)) for end in ends] == [
        ("pager", [("a", "resolved")]),
        ("team", [("a", "resolved")]),
    ]


def test_one_that_may_have_arrived_under_a_receivers_old_name_has_its_end_told() -> None:
    world, post = World(), Post(route("{}", "team"))
    (row,) = post.step(T0, world.fire())
    renamed = {"crew": replace(slack_receiver("team"), name="crew")}
    (crew,) = post.restart(route("{}", "crew"), T0 + 1, renamed)
    post.end(msgspec.structs.replace(row, detail=f"{AMBIGUOUS}timeout"), T0 + 2, "withdrawn")
    both = {**renamed, "pager": slack_receiver("pager")}
    post.restart(route("{}", "pager"), T0 + 3, both)
    post.end(msgspec.structs.replace(crew, detail="other: refused"), T0 + 4, "withdrawn")
    told = post.step(T0 + HOUR, world.end())
    assert [(row.receiver, said(row)) for row in told if row.receiver == "crew"] == [
        ("crew", [("a", "fired and resolved")])
    ]


def test_one_that_may_have_arrived_before_it_escalated_and_came_back_has_its_end_told() -> None:
    receivers = {name: slack_receiver(name) for name in ("team", "pager")}
    world, post = World(), Post(tiers(), receivers)
    (row,) = post.step(T0, world.fire())
    post.end(msgspec.structs.replace(row, detail=f"{AMBIGUOUS}timeout"), T0 + 1, "dead")
    post.step(T0 + 2, world.escalate())
    critical = route("{}/critical", "team", 'severity="critical"')
    (news,) = post.restart(replace(route("{}", "team"), routes=(critical,)), T0 + 3, receivers)
    assert post.step(T0 + HOUR, world.end()) == []
    (end,) = post.end(news, T0 + HOUR, "expired")
    assert (end.receiver, said(end)) == ("team", [("a", "fired and resolved")])


def test_a_message_refused_after_its_alert_moved_away_leaves_nothing_to_tell() -> None:
    receivers = {name: slack_receiver(name) for name in ("team", "pager")}
    world, post = World(), Post(route("{}", "team"), receivers)
    (row,) = post.step(T0, world.fire())
    (pager,) = post.restart(route("{}", "pager"), T0 + 1, receivers)
    post.end(row, T0 + 2, "dead")
    post.end(pager, T0 + 2)
    (end,) = post.step(T0 + HOUR, world.end())
    assert (end.receiver, said(end)) == ("pager", [("a", "resolved")])


def test_a_message_accepted_under_a_receivers_old_name_is_known_under_its_new_one() -> None:
    world, post = World(), Post(route("{}", "team"))
    (row,) = post.step(T0, world.fire())
    crew = {"crew": replace(slack_receiver("team"), name="crew")}
    (again,) = post.restart(route("{}", "crew"), T0 + 1, crew)
    post.end(row, T0 + 2)
    assert post.waiting(again, T0 + 3) is None
    post.end(again, T0 + 3, "withdrawn")
    (end,) = post.step(T0 + HOUR, world.end())
    assert (end.receiver, said(end)) == ("crew", [("a", "resolved")])


def test_a_message_accepted_after_its_channel_was_renamed_is_known_under_the_new_name() -> None:
    post, world = Post(root()), World()
    (row,) = post.step(T0, world.fire())
    renamed = {"team": Receiver(name="team", configs={"slack": (SlackConfig(channel="#new"),)})}
    (again,) = post.restart(root(), T0 + 1, renamed)
    post.end(row, T0 + 2)
    assert post.waiting(again, T0 + 3) is None


def refired(post: Post, world: World) -> tuple[OutboxRow, OutboxRow]:
    """Return the end that is on its way, and the late digest of the firing after it."""
    (first,) = post.step(T0, world.fire())
    post.end(first, T0)
    (end,) = post.step(T0 + HOUR, world.end())
    (digest,) = post.step(T0 + 2 * HOUR, world.fire(stale=True))
    return end, digest


def test_what_a_digest_told_beside_the_end_before_is_known_when_its_alert_moves() -> None:
    receivers = {name: slack_receiver(name) for name in ("team", "pager")}
    world, post = World(), Post(route("{}", "team"), receivers)
    for row in refired(post, world):
        assert post.end(row, T0 + 2 * HOUR) == []
    (pager,) = post.restart(route("{}", "pager"), T0 + 3 * HOUR, receivers)
    post.end(pager, T0 + 3 * HOUR)
    ends = [(row.receiver, said(row)) for row in post.step(T0 + 4 * HOUR, world.end())]
    assert ends == [("pager", [("a", "resolved")]), ("team", [("a", "resolved")])]


def test_a_digest_says_that_it_fired_though_the_end_before_is_accepted_after_it_was_made() -> None:
    world, post = World(), Post(route("{}", "team"))
    end, digest = refired(post, world)
    post.end(end, T0 + 2 * HOUR)
    post.step(T0 + 2 * HOUR, world.end(stale=True))
    assert post.waiting(digest, T0 + 2 * HOUR) == [("a", "fired and resolved")]


def test_a_digest_accepted_under_a_receivers_old_name_is_known_under_its_new_one() -> None:
    world, post = World(), Post(route("{}", "team"))
    (digest,) = post.step(T0, world.fire(stale=True))
    crew = {"crew": replace(slack_receiver("team"), name="crew")}
    (again,) = post.restart(route("{}", "crew"), T0 + 1, crew)
    post.end(digest, T0 + 2)
    assert post.waiting(again, T0 + 3) is None
    post.end(again, T0 + 3, "withdrawn")
    (end,) = post.step(T0 + HOUR, world.end())
    assert (end.receiver, said(end)) == ("crew", [("a", "resolved")])


def test_a_group_that_was_emptied_and_filled_again_still_waits_for_its_message() -> None:
    world, post = World(), Post(route("{}", "team"))
    (row,) = post.step(T0, world.fire())
    assert post.end(row, T0) == []
    (repeat,) = post.step(T0 + 5 * HOUR)
    post.step(T0 + 5 * HOUR, world.end(stale=True))
    assert post.step(T0 + 5 * HOUR, world.fire()) == []
    assert post.end(repeat, T0 + 6 * HOUR) == []
    (again,) = post.step(T0 + 6 * HOUR + 5 * MINUTE)
    assert (again.group_id, said(again)) == (repeat.group_id, [("a", "firing")])


def test_what_ended_untold_is_counted_in_the_next_message_to_its_destination() -> None:
    world, post = World(), Post(route("{}", "team"))
    rows = [row for org in "ab" for row in post.step(T0, world.fire(org))]
    for org, row in zip("ab", rows, strict=True):
        post.step(T0 + 1, world.end(org))
        assert post.end(row, T0 + HOUR, "expired") == []
    post.restart(route("{}", "team"), T0 + HOUR, TEAM)
    (dead,) = post.step(T0 + 2 * HOUR, world.fire("c"))
    assert untold(dead) == 2
    (again,) = post.end(dead, T0 + 3 * HOUR, "expired")
    assert untold(again) == 2
    assert post.end(again, T0 + 3 * HOUR) == []
    (after,) = post.step(T0 + 3 * HOUR, world.fire("d"))
    assert untold(after) == 0


def untold(row: OutboxRow) -> int:
    return msgspec.json.decode(row.payload, type=Notification).untold
