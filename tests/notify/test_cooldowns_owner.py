"""Mail to organisations' owners: who gets how much of it, and what the team is told instead."""

import dataclasses
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from sidecar.matchers import parse_matcher
from sidecar.notify.cooldowns import DAY, MOST_A_DAY, OWNERS, TURNED_OFF
from sidecar.notify.model import OWNER, EscalateUnacked, Notification, Reason, Receiver, Route
from sidecar.notify.mutes import silence_row
from sidecar.rows import (
    AMBIGUOUS,
    DEAD,
    SENT,
    WITHDRAWN,
    CooldownRow,
    Delta,
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
    Desk,
    World,
    mail_config,
    route,
    slack_receiver,
)


def org(transition: Transition) -> Transition:
    """Return it about an organisation by the name that owners are found by."""
    labels = {"alertname": transition.alert.name, "org_id": transition.alert.key[0]}
    labels["severity"] = transition.alert.labels["severity"]
    before = transition.before and {**labels, "severity": transition.before["severity"]}
    return replace(transition, alert=replace(transition.alert, labels=labels), before=before)


class Owned(Desk):
    """Critical alerts go to the owner; each message is sent, or ends as a test says."""

    def __init__(self, **values: Any) -> None:
        grouped = {"group_by": ("alertname", "org_id"), **values}
        owner = route("{}/owner", "owner", 'severity="critical"', **grouped)
        root = below(route("{}", "team", **grouped), owner)
        mail = {"email": (mail_config(OWNER),)}
        mailed = Receiver(name="owner", configs=mail, fallback="team")
        super().__init__(root, {"team": slack_receiver("team"), "owner": mailed})
        self.notifier.flush(T0, caught_up=True)

    def restart(self, root: Route | None = None) -> None:
        super().restart(root)
        meta = {row.name: row.value for row in self.table.load(MetaRow)}
        self.notifier.restore(
            self.table.load(GroupRow), self.table.load(MemberRow), self.table.load(ToldRow),
            self.table.load(CooldownRow), self._now, owners=meta.get(OWNERS, "{}"),
            silences=self.table.load(SilenceRow),
        )  # fmt: skip

    def rows(self, now: float, *transitions: Transition) -> list[OutboxRow]:
        """Return what a step decides, and send none of it."""
        self._now = now
        self.notifier.add(map(org, transitions), now)
        self.notifier.flush(now, caught_up=True)
        return self.drained()

    def drained(self) -> list[OutboxRow]:
        drained = self.notifier.drain()
        self.table.commit(drained.delta)
        self.table.commit(Delta(rows=[*drained.outbox]))
        return drained.outbox

    def told(self, now: float, *transitions: Transition) -> list[str]:
        """Return whom a step tells of whom, each accepted at once."""
        return [told_of(row) for row in self.sent(now, *transitions)]

    def sent(self, now: float, *transitions: Transition) -> list[OutboxRow]:
        found = self.rows(now, *transitions)
        for row in found:
            self.notifier.end(replace(row, outcome=SENT), now)
        more = self.rows(now)  # what the team is told instead
        for row in more:
            self.notifier.end(replace(row, outcome=SENT), now)
        self.drained()
        return found + more


def below(root: Route, *routes: Route) -> Route:
    return dataclasses.replace(root, routes=routes)


def told_of(row: OutboxRow) -> str:
    told = msgspec.json.decode(row.payload, type=Notification)
    return f"{row.receiver}: {', '.join(n.labels['org_id'] for n in told.notices)}"


def why(row: OutboxRow) -> str:
    told = msgspec.json.decode(row.payload, type=Notification)
    assert told.reason is Reason.FALLBACK
    return told.instead_of.removeprefix("the organisation's owner: ")


class TestOneADay:
    def test_an_owner_is_mailed_once_a_day_and_the_team_gets_the_rest(self) -> None:
        desk, world = Owned(repeat_interval=9 * DAY), World()
        assert desk.told(T0, world.fire(severity="critical")) == ["owner: a"]
        (row,) = desk.sent(T0 + HOUR, world.fire(name="Gone", severity="critical"))
        assert told_of(row) == "team: a"
        assert why(row) == "one mail a day is sent to an organisation's owner"
        (row,) = desk.sent(T0 + DAY + HOUR, world.fire(name="Third", severity="critical"))
        assert row.receiver == "owner"

    def test_a_restart_gives_no_further_mail(self) -> None:
        desk, world = Owned(), World()
        desk.told(T0, world.fire(severity="critical"))
        desk.restart()
        assert desk.told(T0 + HOUR, world.fire(name="Gone", severity="critical")) == ["team: a"]

    def test_a_restart_mails_nobody_what_he_was_not_to_be_mailed_for_want_of_an_ack(self) -> None:
        desk, world = Owned(), World()
        step = EscalateUnacked(after=HOUR, receiver="owner")
        more = {"group_by": ("alertname", "org_id"), "repeat_interval": 9 * DAY}
        critical = route("{}/c", "team", 'severity="critical"', escalate_unacked=step, **more)
        desk.restart(below(route("{}", "team", **more), critical))
        desk.told(T0, world.fire(severity="critical"))
        assert desk.told(T0 + HOUR) == ["owner: a"]
        desk.told(T0 + 2 * HOUR, world.fire(name="Gone", severity="critical"))
        assert desk.told(T0 + 3 * HOUR) == []
        desk.restart()
        assert desk.told(T0 + DAY + 2 * HOUR) == []

    def test_a_clock_that_was_set_back_gives_no_further_mail(self) -> None:
        desk, world = Owned(), World()
        desk.told(T0, world.fire(severity="critical"))
        assert desk.told(T0 - HOUR, world.fire(name="Gone", severity="critical")) == ["team: a"]

    def test_two_on_their_way_at_once_are_one_mail(self) -> None:
        desk, world = Owned(), World()
        one, two = desk.rows(
            T0, world.fire(severity="critical"), world.fire(name="Gone", severity="critical")
        )
        assert (one.claimed_at, two.claimed_at) == (None, None)  # each is looked at once more
        assert desk.notifier.renewed(one, T0) == one
        desk.notifier.end(replace(one, outcome=SENT), T0)
        void = desk.notifier.renewed(two, T0 + 1)
        assert void is not None
        assert void.outcome == WITHDRAWN
        desk.notifier.end(void, T0 + 1)
        (row,) = desk.rows(T0 + 1)
        assert why(row) == "one mail a day is sent to an organisation's owner"

    def test_what_may_have_arrived_counts(self) -> None:
        desk, world = Owned(), World()
        (row,) = desk.rows(T0, world.fire(severity="critical"))
        desk.notifier.end(replace(row, outcome=DEAD, detail=f"{AMBIGUOUS}lost"), T0)
        desk.rows(T0 + 1)
        assert desk.told(T0 + 2, world.fire(name="Gone", severity="critical")) == ["team: a"]

    def test_over_all_it_is_a_hundred_a_day(self) -> None:
        desk, world = Owned(repeat_interval=9 * DAY), World()
        orgs = [f"org_{n}" for n in range(MOST_A_DAY)]
        for n, name in enumerate(orgs):
            assert desk.told(T0 + n, world.fire(name, severity="critical")) == [f"owner: {name}"]
        (row,) = desk.sent(T0 + HOUR, world.fire("one_more", severity="critical"))
        assert (told_of(row), why(row)) == (
            "team: one_more",
            "100 mails a day are sent to owners, and no more",
        )
        assert desk.told(T0 + DAY, world.fire("next", severity="critical")) == ["owner: next"]

    def test_what_fires_on_is_said_again_after_a_day_however_short_the_interval(self) -> None:
        desk, world = Owned(repeat_interval=HOUR), World()
        desk.told(T0, world.fire(severity="critical"))
        assert desk.notifier.next_deadline() == T0 + DAY
        assert desk.told(T0 + 2 * HOUR) == []
        assert desk.told(T0 + DAY) == ["owner: a"]


class TestInstead:
    def dead(self, detail: str) -> tuple[Owned, World, list[OutboxRow]]:
        desk, world = Owned(), World()
        (row,) = desk.rows(T0, world.fire(severity="critical"))
        desk.notifier.end(replace(row, outcome=DEAD, detail=detail), T0 + 1)
        return desk, world, desk.rows(T0 + 1)

    def test_the_team_is_told_with_the_reason_and_of_the_end(self) -> None:
        desk, world, (row,) = self.dead("the directory does not know it")
        assert (row.receiver, row.destination) == ("team", "#team")
        assert why(row) == "the directory does not know it"
        desk.notifier.end(replace(row, outcome=SENT), T0 + 1)
        desk.drained()
        desk.restart()
        assert desk.told(T0 + HOUR, world.end()) == ["team: a"]

    def test_the_owner_hears_no_more_of_it(self) -> None:
        desk, _, (row,) = self.dead("nobody")
        desk.notifier.end(replace(row, outcome=SENT), T0 + 1)
        assert [told_of(one) for one in desk.rows(T0 + 9 * DAY)] == ["team: a"]  # a repeat

    def test_who_wants_no_mail_gets_none_and_nobody_does_instead(self) -> None:
        desk, _, rows = self.dead(f"{TURNED_OFF} for this organisation")
        assert rows == []
        assert desk.rows(T0 + 9 * DAY) == []

    def test_a_team_that_knows_already_is_not_told_again(self) -> None:
        desk, world = Owned(), World()
        both = route("{}/both", "team", 'severity="critical"', group_by=("org_id",), continue_=True)
        desk.restart(below(desk.root, both, *desk.root.routes))
        team, row = desk.rows(T0, world.fire(severity="critical"))
        assert (team.receiver, row.receiver) == ("team", "owner")
        desk.notifier.end(replace(team, outcome=SENT), T0 + 1)
        desk.notifier.end(replace(row, outcome=DEAD, detail="nobody"), T0 + 2)
        assert desk.rows(T0 + HOUR) == []

    def test_what_fires_again_while_its_end_is_untold_is_one_story(self) -> None:
        desk, world, (row,) = self.dead("nobody")
        desk.notifier.end(replace(row, outcome=SENT), T0 + 1)
        (again,) = desk.rows(T0 + 2, world.end(), world.fire(severity="critical"))
        assert again.receiver == "owner"
        desk.notifier.end(replace(again, outcome=DEAD, detail="nobody"), T0 + 3)
        found = [
            (n.status, n.held)
            for row in desk.rows(T0 + HOUR)
            for n in msgspec.json.decode(row.payload, type=Notification).notices
        ]
        assert found == [("firing", 1)]

    def test_an_alert_of_no_organisation_goes_to_the_team(self) -> None:
        desk = Owned()
        (row,) = desk.sent(T0, World().fire("", severity="critical"))
        assert why(row) == "the alert names no organisation"


class TestNever:
    @pytest.mark.parametrize("more", [{"stale": True}, {"late_by": 2 * HOUR}])
    def test_what_is_late_is_told_to_no_owner(self, more: dict[str, Any]) -> None:
        desk, world = Owned(), World()
        assert desk.told(T0, world.fire(severity="critical", **more)) == []

    def test_an_end_is_told_to_no_owner(self) -> None:
        desk, world = Owned(), World()
        desk.told(T0, world.fire(severity="critical"))
        assert desk.told(T0 + 2 * DAY, world.end()) == []
        assert desk.table.load(GroupRow) == []

    def test_what_ends_before_it_is_sent_is_told_to_no_owner(self) -> None:
        desk, world = Owned(), World()
        (row,) = desk.rows(T0, world.fire(severity="critical"))
        desk.rows(T0 + 1, world.end())
        assert desk.notifier.renewed(row, T0 + 2) is None
        desk.notifier.end(replace(row, outcome=WITHDRAWN), T0 + 2)
        assert desk.rows(T0 + 9 * DAY) == []
        assert desk.table.load(GroupRow) == []

    def test_growth_is_told_to_no_owner(self) -> None:
        desk, world = Owned(), World()
        fired = world.fire(severity="critical")
        desk.told(T0, fired)
        grew = replace(fired, kind=fired.kind.GREW, alert=replace(fired.alert, change=99))
        assert desk.told(T0 + 2 * DAY - 1, grew) == ["owner: a"]  # as a repeat, a day later
        assert desk.notifier.next_deadline() == T0 + 3 * DAY - 1

    def test_a_silenced_alert_is_told_to_no_owner_also_after_the_silence(self) -> None:
        desk, world = Owned(), World()
        matchers = [parse_matcher("org_id=a")]
        desk.notifier.silence(silence_row(matchers, T0, T0 + HOUR, by="ann", comment="", now=T0))
        assert desk.told(T0 + MINUTE, world.fire(severity="critical")) == []
        assert desk.told(T0 + 2 * HOUR) == []

    def test_what_fired_before_there_was_a_route_to_owners_is_told_to_none(self) -> None:
        desk, world = Owned(), World()
        owned = desk.root
        desk.restart(below(owned))
        assert desk.told(T0, world.fire(severity="critical")) == ["team: a"]
        desk.restart(owned)
        assert desk.told(T0 + MINUTE) == []
        assert desk.told(T0 + HOUR, world.end()) == ["team: a"]
