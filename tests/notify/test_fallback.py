"""Who is told instead where a receiver cannot be, and what of."""

from collections.abc import Mapping
from dataclasses import replace as changed

import pytest
from msgspec.structs import replace

from sidecar.matchers import parse_matcher
from sidecar.notify.message import notification_of
from sidecar.notify.model import Notification, Reason, Receiver, Route
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.rows import DEAD, SENT, WITHDRAWN, Delta, OutboxRow
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

Receivers = Mapping[str, Receiver]
RECEIVERS: Receivers = {
    "team": changed(slack_receiver("team"), fallback="pager"),
    "pager": changed(slack_receiver("pager"), fallback="boss"),
    "boss": slack_receiver("boss"),
}
PAGER_FIRST = {
    "team": slack_receiver("team"),
    "pager": changed(slack_receiver("pager"), fallback="team"),
}
WHY = "HTTP 200 token_revoked"


class Failing:
    """A desk whose messages arrive only where `arrives` says; the others wait."""

    def __init__(self, root: Route | None = None, receivers: Receivers = RECEIVERS) -> None:
        self.desk = Desk(root or route("{}", "team"), receivers)
        self.world = World()
        self.waiting: list[OutboxRow] = []

    def step(
        self, now: float, *transitions: object, to: tuple[str, ...] = ()
    ) -> list[Notification]:
        """Take a step; what goes `to` these is accepted. Return what there was to send."""
        self.desk._now = now
        notifier = self.desk.notifier
        notifier.add(transitions, now)  # type: ignore[arg-type]  # transitions
        notifier.flush(now, caught_up=True)
        rows = notifier.drain()
        for row in rows.outbox:
            if row.receiver in to:
                notifier.end(replace(row, outcome=SENT), now)
            else:
                self.waiting.append(row)
        self.desk.table.commit(rows.delta)
        self.desk.table.commit(notifier.drain().delta)
        return [one for row in rows.outbox if (one := notification_of(row))]

    def fail(self, now: float) -> None:
        """Let each waiting message fail for good once more."""
        for row in self.waiting:
            self.desk.notifier.fallback.take(row, WHY, now)
        self.desk.table.commit(self.desk.notifier.drain().delta)


def begun() -> Failing:
    desk = Failing()
    desk.step(T0, desk.world.fire())
    desk.fail(T0 + 1)
    return desk


def test_the_fallback_hears_what_fires_with_the_reason_and_once() -> None:
    desk = begun()
    (message,) = desk.step(T0 + 1, to=("pager",))
    assert told([message]) == [("pager", "a", "firing")]
    assert message.reason is Reason.FALLBACK
    assert message.instead_of == f"team #team: {WHY}"
    view = Renderer({}, Redactor()).rendering(message).view
    assert view["reason"] == f"told instead of somebody who cannot be told (team #team: {WHY})"
    desk.fail(T0 + MINUTE)
    assert desk.step(T0 + MINUTE) == []


def test_what_was_passed_on_waits_for_that_no_more() -> None:
    desk = Failing()
    desk.step(T0, desk.world.fire())
    (row,) = desk.waiting
    fallback = desk.desk.notifier.fallback
    assert len(fallback.waits(row)) == 1
    desk.fail(T0 + 1)
    assert fallback.waits(row) == []


def test_it_hears_the_end_also_after_a_restart() -> None:
    desk = begun()
    desk.step(T0 + 1, to=("pager",))
    desk.desk.restart()
    (end,) = desk.step(T0 + HOUR, desk.world.end(), to=("pager",))
    assert told([end]) == [("pager", "a", "resolved")]
    desk.fail(T0 + 2 * HOUR)
    assert desk.step(T0 + 2 * HOUR) == []


def test_what_waits_to_be_told_there_outlives_a_restart() -> None:
    desk = begun()
    desk.desk.restart()
    (message,) = desk.step(T0 + 2, to=("pager",))
    assert (message.receiver, message.instead_of) == ("pager", f"team #team: {WHY}")


def test_what_fired_and_ended_unheard_is_told_as_both() -> None:
    desk = Failing()
    desk.step(T0, desk.world.fire())
    desk.step(T0 + 1, desk.world.end())
    desk.fail(T0 + 2)
    (message,) = desk.step(T0 + 2, to=("pager",))
    assert told([message]) == [("pager", "a", "fired and resolved")]
    desk.fail(T0 + HOUR)
    assert desk.step(T0 + HOUR) == []


def test_an_end_that_cannot_be_told_reaches_the_fallback_with_what_it_is_the_end_of() -> None:
    desk = Failing()
    desk.step(T0, desk.world.fire(), to=("team",))
    desk.step(T0 + HOUR, desk.world.end())
    desk.fail(T0 + HOUR)
    (message,) = desk.step(T0 + HOUR, to=("pager",))
    assert told([message]) == [("pager", "a", "fired and resolved")]


def test_what_fires_anew_is_told_anew() -> None:
    desk = begun()
    desk.step(T0 + 1, to=("pager",))
    desk.step(T0 + HOUR, desk.world.end(), to=("pager",))
    desk.step(T0 + 2 * HOUR, desk.world.fire())
    desk.fail(T0 + 2 * HOUR)
    assert told(desk.step(T0 + 2 * HOUR, to=("pager",))) == [("pager", "a", "firing")]


def test_all_that_waits_is_passed_on_at_the_first_failure() -> None:
    desk = Failing()
    desk.step(T0, *(desk.world.fire(org) for org in "abc"))
    del desk.waiting[1:]
    desk.fail(T0 + 1)
    messages = desk.step(T0 + 1, to=("pager",))
    assert sorted(org for _, org, _ in told(messages)) == ["a", "b", "c"]


def test_a_fallback_has_one_of_its_own() -> None:
    desk = begun()
    desk.step(T0 + 1)
    desk.fail(T0 + 2)
    (message,) = desk.step(T0 + 2, to=("boss",))
    assert (message.receiver, message.instead_of) == ("boss", f"pager #pager: {WHY}")


def test_who_was_out_of_reach_hears_it_as_well_in_the_end() -> None:
    desk = begun()
    desk.step(T0 + 1, to=("pager",))
    (row,) = desk.waiting
    desk.desk.notifier.end(replace(row, outcome=SENT), T0 + MINUTE)
    ends = desk.step(T0 + HOUR, desk.world.end(), to=("team", "pager"))
    assert sorted(told(ends)) == [("pager", "a", "resolved"), ("team", "a", "resolved")]


def test_what_is_given_up_has_been_passed_on_before() -> None:
    desk = begun()
    (row,) = desk.waiting
    desk.desk.notifier.end(replace(row, outcome=DEAD), T0 + 1)
    desk.desk.table.commit(Delta(rows=[*desk.desk.notifier.drain().outbox]))
    assert [one.receiver for one in desk.step(T0 + 1, to=("pager",))] == ["pager"]


def test_it_is_not_told_that_others_have_what_came_back_to_it() -> None:
    desk = Failing(tiers(), PAGER_FIRST)
    desk.step(T0, desk.world.fire(), to=("team",))
    messages = desk.step(T0 + HOUR, desk.world.escalate())
    assert sorted(told(messages)) == [("pager", "a", "firing"), ("team", "a", "escalated")]
    desk.fail(T0 + HOUR + 1)
    (leaving,) = [row for row in desk.waiting if row.receiver == "team"]
    assert desk.desk.notifier.renewed(leaving, T0 + HOUR + 1) is None
    desk.desk.notifier.end(replace(leaving, outcome=SENT), T0 + HOUR + 1)  # it was on its way
    (message,) = desk.step(T0 + HOUR + 2, to=("team",))
    assert (message.reason, told([message])) == (Reason.FALLBACK, [("team", "a", "firing")])


def test_it_is_not_told_the_end_of_what_it_knows_to_fire_anew() -> None:
    desk = Failing(route("{}", "pager"), PAGER_FIRST)
    desk.step(T0, desk.world.fire(), to=("pager",))
    desk.step(T0 + 1, desk.world.end())
    desk.desk.restart(route("{}", "team"))
    desk.step(T0 + 2, desk.world.fire(), to=("team",))
    desk.fail(T0 + 3)
    assert desk.step(T0 + 3) == []


def test_it_is_not_told_again_what_it_knew_before_others_were_to_be_told() -> None:
    desk = Failing(receivers=PAGER_FIRST)
    desk.step(T0, desk.world.fire(), to=("team",))
    desk.desk.restart(route("{}", "pager"))
    desk.step(T0 + 1)
    desk.fail(T0 + 2)
    assert desk.step(T0 + 2) == []
    desk.desk.restart()
    assert told(desk.step(T0 + HOUR, to=())) == []


def test_it_is_told_what_fired_anew_before_others_were_to_be_told() -> None:
    desk = Failing(route("{}", "team", group_interval=HOUR), PAGER_FIRST)
    desk.step(T0, desk.world.fire(), to=("team",))
    desk.step(T0 + 1, desk.world.end(), desk.world.fire())
    desk.desk.restart(route("{}", "pager"))
    desk.step(T0 + 2)
    desk.fail(T0 + 3)
    assert told(desk.step(T0 + 3)) == [("team", "a", "firing")]


def test_whom_a_reload_names_as_fallback_hears_it_as_well_and_who_knew_it_does_not() -> None:
    """Twice renamed while its pager was out of reach: the second name was told nothing."""
    desk = begun()
    desk.step(T0 + 1, to=("pager",))
    desk.desk.receivers = {**RECEIVERS, "team": changed(slack_receiver("team"), fallback="boss")}
    desk.desk.restart()
    desk.fail(T0 + MINUTE)
    assert told(desk.step(T0 + MINUTE, to=("boss",))) == [("boss", "a", "firing")]
    desk.fail(T0 + 2 * MINUTE)
    desk.desk.receivers = RECEIVERS
    desk.desk.restart()
    desk.fail(T0 + 3 * MINUTE)
    assert desk.step(T0 + 3 * MINUTE) == []


def test_what_is_over_is_not_told_again_to_a_fallback_with_another_name() -> None:
    desk = Failing()
    desk.step(T0, desk.world.fire(), to=("team",))
    desk.step(T0 + HOUR, desk.world.end())
    desk.fail(T0 + HOUR)
    assert told(desk.step(T0 + HOUR, to=("pager",))) == [("pager", "a", "fired and resolved")]
    crew, team = RECEIVERS["pager"], changed(slack_receiver("team"), fallback="crew")
    desk.desk.receivers = {"team": team, "crew": changed(crew, name="crew", fallback="")}
    desk.desk.restart()
    desk.fail(T0 + HOUR + 1)
    assert desk.step(T0 + HOUR + 1) == []


def test_what_its_late_digest_was_to_say_of_the_past_is_said_before_what_fires_anew() -> None:
    desk = Failing(tiers(), PAGER_FIRST)
    desk.step(T0, desk.world.fire(stale=True), desk.world.end(stale=True))
    (late,) = desk.waiting
    desk.waiting = []
    desk.step(T0 + HOUR, desk.world.fire(severity="critical"))
    desk.fail(T0 + HOUR)
    assert told(desk.step(T0 + HOUR, to=("team",))) == [("team", "a", "firing")]
    assert desk.desk.notifier.renewed(late, T0 + HOUR) is None


def test_who_knew_it_before_it_escalated_away_and_back_knows_what_it_is_the_end_of() -> None:
    desk = Failing(tiers(), PAGER_FIRST)
    desk.step(T0, desk.world.fire(), to=("team",))
    desk.step(T0 + HOUR, desk.world.escalate())
    desk.fail(T0 + HOUR)
    desk.waiting = []
    desk.step(T0 + HOUR)
    (back,) = desk.waiting
    desk.step(T0 + 2 * HOUR, desk.world.end())
    row = desk.desk.notifier.renewed(back, T0 + 2 * HOUR)
    assert row is not None
    end = notification_of(row)
    assert end is not None
    assert told([end]) == [("team", "a", "resolved")]


def test_who_heard_of_an_end_is_not_told_it_once_more_in_place_of_others() -> None:
    both = tuple(route(f"{{}}/{name}", name, continue_=True) for name in ("team", "pager"))
    unaware = {name: slack_receiver(name) for name in ("team", "pager")}
    desk = Failing(changed(route("{}", "team"), routes=both), unaware)
    desk.step(T0, desk.world.fire())
    desk.step(T0 + 1, desk.world.end())
    theirs, mine = sorted(desk.waiting, key=lambda row: row.receiver)
    renewed = desk.desk.notifier.renewed(mine, T0 + 2)
    assert renewed is not None
    desk.desk.notifier.end(replace(renewed, outcome=SENT), T0 + 2)
    desk.desk.table.commit(desk.desk.notifier.drain().delta)
    desk.waiting, desk.desk.receivers = [theirs], PAGER_FIRST
    desk.desk.restart()
    desk.fail(T0 + HOUR)
    assert desk.step(T0 + HOUR) == []


def test_it_hears_nothing_in_place_of_those_whom_the_routes_tell_no_more() -> None:
    desk = Failing(route("{}", "pager"), PAGER_FIRST)
    desk.step(T0, desk.world.fire())
    desk.desk.restart(route("{}", "team"))
    desk.step(T0 + 1, to=("team",))
    desk.step(T0 + HOUR, desk.world.end(), to=("team",))
    desk.fail(T0 + HOUR + 1)
    assert desk.step(T0 + HOUR + 1) == []


@pytest.mark.parametrize("outcome", ["", WITHDRAWN])
@pytest.mark.parametrize("meanwhile", ["team", "boss"])
def test_it_hears_what_it_was_not_told_before_the_routes_left_and_came_back(
    meanwhile: str, outcome: str
) -> None:
    """The pager's alerts counted as passed on, and nobody knew that they fire."""
    receivers = {**PAGER_FIRST, "boss": slack_receiver("boss")}
    desk = Failing(route("{}", "pager"), receivers)
    desk.step(T0, desk.world.fire())
    desk.fail(T0 + 1)
    assert told(desk.step(T0 + 1)) == [("team", "a", "firing")]
    desk.desk.restart(route("{}", meanwhile))
    desk.step(T0 + 2)
    for row in desk.waiting if outcome else ():
        desk.desk.notifier.end(replace(row, outcome=outcome), T0 + 2)
    desk.step(T0 + 3)
    desk.desk.restart(route("{}", "pager"))
    desk.step(T0 + MINUTE)
    desk.fail(T0 + HOUR)
    for row in desk.waiting:
        desk.desk.notifier.end(replace(row, outcome=WITHDRAWN), T0 + HOUR)
    found = desk.step(T0 + HOUR, to=("team",))
    assert [one for one in told(found) if one[0] == "team"] == [("team", "a", "firing")]


def test_it_is_not_told_again_what_it_knew_before_the_routes_left_and_came_back() -> None:
    desk = Failing(route("{}", "pager"), PAGER_FIRST)
    desk.step(T0, desk.world.fire())
    desk.fail(T0 + 1)
    desk.step(T0 + 1, to=("team",))
    desk.desk.restart(route("{}", "team"))
    desk.step(T0 + 2, to=("team",))
    desk.desk.restart(route("{}", "pager"))
    desk.step(T0 + MINUTE)
    desk.fail(T0 + HOUR)
    assert desk.step(T0 + HOUR) == []
    assert told(desk.step(T0 + 2 * HOUR, desk.world.end(), to=("team",))) == [
        ("team", "a", "resolved")
    ]


def test_it_is_not_told_again_what_those_out_of_reach_had_in_a_digest_once_they_are_gone() -> None:
    desk = Failing(tiers(), PAGER_FIRST)
    desk.step(T0, desk.world.fire(severity="critical", stale=True))
    desk.fail(T0 + 1)
    assert told(desk.step(T0 + 1, to=("team",))) == [("team", "a", "firing")]
    desk.desk.receivers = {"team": slack_receiver("team")}
    desk.desk.restart(route("{}", "team"))
    assert desk.step(T0 + MINUTE) + desk.step(T0 + HOUR) == []


def test_it_hears_an_end_once_though_neither_slack_nor_mail_can_be_told() -> None:
    both = {
        "slack": PAGER_FIRST["pager"].configs["slack"],
        "email": (mail_config("a@example.com"),),
    }
    pager = changed(PAGER_FIRST["pager"], configs=both)
    desk = Failing(route("{}", "pager"), {**PAGER_FIRST, "pager": pager})
    desk.step(T0, desk.world.fire(), to=("pager",))
    desk.step(T0 + HOUR, desk.world.end())
    slack, mail = desk.waiting
    desk.waiting = [slack]
    desk.fail(T0 + HOUR)
    assert told(desk.step(T0 + HOUR, to=("team",))) == [("team", "a", "fired and resolved")]
    desk.waiting = [mail]
    desk.fail(T0 + HOUR + 1)
    assert desk.step(T0 + HOUR + 1) == []


def test_what_somebody_took_is_not_repeated_there_either() -> None:
    desk = Failing()
    desk.step(T0, desk.world.fire())
    desk.desk.notifier.ack([parse_matcher("org=a")], "ann", "", T0 + 1)
    desk.fail(T0 + 1)
    assert len(desk.step(T0 + 1, to=("pager",))) == 1
    assert desk.step(T0 + 30 * HOUR) == []
