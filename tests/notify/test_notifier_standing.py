"""What a destination knows to fire, for those who forget what is not repeated to them."""

import pytest

from sidecar.notify.message import MAX_NOTICES, MAX_STANDING
from sidecar.notify.model import Reason
from support.notify import T0, Desk, World, tiers

TEAM = ("slack", "#team")
PAGER = ("slack", "#pager")


def standing(desk: Desk, to: tuple[str, str] = TEAM) -> list[tuple[str, str]]:
    """Return organisation and severity of each alert that stands."""
    told = desk.notifier.standing(to, T0 + 100.0)
    return [(n.labels["org"], n.labels["severity"]) for one in told for n in one.notices]


def test_it_is_what_was_told_and_fires_on_and_nothing_is_noted_of_it() -> None:
    world, desk = World(), Desk(tiers(group_wait=30.0))
    desk.step(T0, world.fire("a"))
    assert standing(desk) == []  # nobody was told yet
    desk.step(T0 + 30.0)
    assert standing(desk) == [("a", "warning")]
    (told,) = desk.notifier.standing(TEAM, T0 + 100.0)
    assert (told.receiver, told.destination, told.at) == ("team", "#team", T0 + 100.0)
    assert (told.reason, told.notices[0].since) == (Reason.REPEAT, T0)
    drained = desk.notifier.drain()
    assert (drained.outbox, drained.decisions, bool(drained.delta)) == ([], [], False)
    desk.restart()
    assert standing(desk) == [("a", "warning")]
    desk.step(T0 + 31.0, world.end("a", T0 + 31.0))
    assert standing(desk) == []  # also before its end is told


def test_one_that_escalated_stands_where_it_is_now() -> None:
    world, desk = World(), Desk(tiers())
    desk.step(T0, world.fire("a"))
    desk.step(T0 + 1.0, world.escalate("a", T0 + 1.0))
    assert standing(desk) == []
    assert standing(desk, PAGER) == [("a", "critical")]


def test_one_that_a_late_digest_is_to_tell_does_not_stand_yet() -> None:
    world, desk = World(), Desk(tiers())
    desk.step(T0, world.fire("a", stale=True), caught_up=False)
    assert standing(desk) == []
    assert len(desk.step(T0 + 1.0)) == 1
    assert standing(desk) == [("a", "warning")]


@pytest.mark.parametrize("group_by", [(), ("alertname", "org")])
def test_many_stand_in_few_pieces_in_whatever_groups(group_by: tuple[str, ...]) -> None:
    world, desk = World(), Desk(tiers(group_by=group_by, group_interval=1.0))
    number = MAX_STANDING + 1
    desk.step(T0, *(world.fire(f"org{n:03}") for n in range(number)))
    for second in range(1, number // MAX_NOTICES + 2):
        desk.step(T0 + second)
    told = desk.notifier.standing(TEAM, T0 + 100.0)
    assert [len(one.notices) for one in told] == [MAX_STANDING, 1]
    assert len({n.labels["org"] for one in told for n in one.notices}) == number
