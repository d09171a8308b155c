"""Growth: what goes on is told again when its tenth, hundredth, thousandth event came."""

import msgspec

from sidecar.notify.model import Notification, Reason
from sidecar.notify.notifier import Notifier
from sidecar.rows import SENT
from sidecar.rules.alert import Transition, TransitionKind
from support.notify import HOUR, MINUTE, T0, Desk, World, route, slack_receiver

ROOT = route("{}", "team", cooldown=10 * MINUTE, group_interval=5 * MINUTE)


def desk() -> Desk:
    return Desk(ROOT)


def grown(world: World, times: int, at: float) -> Transition:
    before = world.alerts["Late", "a"]
    alert = msgspec.structs.replace(before, change=next(world.change), times=times)
    world.alerts["Late", "a"] = alert
    return Transition(TransitionKind.GREW, alert, at)


def test_growth_is_told_at_its_pace_and_no_cooldown_holds_it() -> None:
    bench, world = desk(), World()
    bench.step(T0, world.fire())
    assert bench.step(T0 + MINUTE, grown(world, 10, T0)) == []
    (message,) = bench.step(T0 + 5 * MINUTE)
    assert message.reason is Reason.GREW
    assert [(n.status.value, n.times, n.grew) for n in message.notices] == [("firing", 10, True)]
    bench.restart()
    # A hundred and a thousand within one interval are told once.
    assert bench.step(T0 + 6 * MINUTE, grown(world, 100, T0)) == []
    bench.restart()
    assert bench.step(T0 + 7 * MINUTE, grown(world, 1000, T0)) == []
    (message,) = bench.step(T0 + 10 * MINUTE)
    assert [(n.times, n.grew) for n in message.notices] == [(1000, True)]
    assert bench.step(T0 + HOUR) == []


def test_what_grows_before_it_is_told_is_told_once() -> None:
    bench = Desk(route("{}", "team", group_wait=30.0))
    world = World()
    assert bench.step(T0, world.fire()) == []
    assert bench.step(T0 + 1, grown(world, 10, T0)) == []
    (message,) = bench.step(T0 + 30)
    assert message.reason is Reason.FIRST
    assert [(n.times, n.grew) for n in message.notices] == [(10, False)]
    assert bench.step(T0 + HOUR) == []


def test_what_grows_while_its_first_message_is_on_its_way_is_told_afterwards() -> None:
    notifier = Notifier(ROOT, {"team": slack_receiver("team")})
    world = World()
    notifier.add([world.fire()], T0)
    notifier.flush(T0, caught_up=True)
    (row,) = notifier.drain().outbox
    notifier.add([grown(world, 10, T0), grown(world, 1000, T0)], T0 + 1)
    notifier.end(msgspec.structs.replace(row, outcome=SENT), T0 + 2)
    notifier.flush(T0 + 301, caught_up=True)
    assert notifier.drain().outbox == []
    notifier.flush(T0 + 302, caught_up=True)
    (row,) = notifier.drain().outbox
    told = msgspec.json.decode(row.payload, type=Notification)
    assert (told.reason, told.notices[0].times) == (Reason.GREW, 1000)


def test_a_new_alert_beside_one_that_grew_gives_the_reason() -> None:
    root = route("{}", "team", cooldown=10 * MINUTE, group_by=("alertname",))
    bench, world = Desk(root), World()
    bench.step(T0, world.fire("a"))
    bench.step(T0 + 1, grown(world, 10, T0), world.fire("b"))
    (message,) = bench.step(T0 + 5 * MINUTE)
    assert message.reason is Reason.NEW_ALERTS
    assert sorted((n.labels["org"], n.grew) for n in message.notices) == [("a", True), ("b", False)]


def test_growth_long_ago_is_told_by_nobody() -> None:
    bench, world = desk(), World()
    bench.step(T0, world.fire())
    late = msgspec.structs.replace(grown(world, 10, T0), stale=True)
    assert bench.step(T0 + HOUR, late) == []


def test_an_end_swallows_growth_that_was_not_told() -> None:
    bench, world = desk(), World()
    bench.step(T0, world.fire())
    bench.step(T0 + 1, grown(world, 10, T0), world.end())
    (message,) = bench.step(T0 + 10 * MINUTE)
    assert [(n.status.value, n.grew) for n in message.notices] == [("resolved", False)]
