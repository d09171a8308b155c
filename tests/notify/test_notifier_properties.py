"""The notifier against random histories: restarts change nothing, and nothing is lost."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given, strategies as st

from sidecar.notify.model import Notification, Receiver, Route
from sidecar.rows import CooldownRow, GroupRow, MemberRow, OutboxRow, ToldRow
from sidecar.rules.alert import Transition, TransitionKind
from support.notify import MINUTE, T0, Desk, World, route, slack_receiver

ORGS = ("a", "b", "c")
RECEIVERS = {
    "team": slack_receiver("team"),
    "pager": slack_receiver("pager", send_resolved=False),
    "log": slack_receiver("log"),
}


@dataclass(frozen=True)
class Move:
    """One step: seconds that pass, and for each organisation what happens to its alert."""

    pause: float
    what: tuple[tuple[str, str, bool], ...]  # organisation, kind, stale
    caught_up: bool
    restart: bool


def moves(*, stale: bool = True, kinds: tuple[str, ...] = ()) -> st.SearchStrategy[list[Move]]:
    kinds = kinds or ("toggle", "toggle", "toggle", "escalate", "expire", "close")
    staleness = st.sampled_from([True, False] if stale else [False])
    change = st.tuples(st.sampled_from(ORGS), st.sampled_from(kinds), staleness)
    return st.lists(
        st.builds(
            Move,
            pause=st.sampled_from([0.0, 1.0, 29.0, 30.0, 100.0, 300.0, 600.0, 3600.0]),
            what=st.lists(change, max_size=4).map(tuple),
            caught_up=st.booleans(),
            restart=st.booleans(),
        ),
        max_size=25,
    )


@st.composite
def trees(draw: st.DrawFn) -> Route:
    def values() -> dict[str, object]:
        return {
            "group_wait": draw(st.sampled_from([0.0, 30.0])),
            "group_interval": draw(st.sampled_from([1.0, 300.0])),
            "repeat_interval": draw(st.sampled_from([400.0, 4000.0, 1e9])),
            "cooldown": draw(st.sampled_from([0.0, 60.0, 600.0])),
            "group_by": draw(st.sampled_from([(), ("alertname",), ("org",), ("...",)])),
            "group_limit": draw(st.sampled_from([0, 2])),
        }

    routes = (
        route("{}/0", "log", 'org="a"', continue_=True, **values()),
        route("{}/1", "pager", 'severity="critical"', **values()),
    )
    return route("{}", "team", routes=routes[draw(st.integers(0, 2)) :], **values())


class History:
    """Turns moves into transitions that the rules could make."""

    def __init__(self) -> None:
        self.world = World()
        self.firing: dict[str, str] = {}

    def of(self, move: Move, now: float) -> list[Transition]:
        found = (self._one(org, kind, now, stale=stale) for org, kind, stale in move.what)
        return [transition for transition in found if transition is not None]

    def end_all(self, now: float) -> list[Transition]:
        return [self.world.end(org, now) for org in sorted(self.firing)]

    def _one(self, org: str, kind: str, now: float, *, stale: bool) -> Transition | None:
        if org not in self.firing:
            if kind != "toggle":
                return None
            self.firing[org] = "warning"
            return self.world.fire(org, now, stale=stale)
        if kind == "escalate":
            if self.firing[org] == "critical":
                return None
            self.firing[org] = "critical"
            return self.world.escalate(org, now, stale=stale)
        del self.firing[org]
        ends = {"expire": TransitionKind.EXPIRED, "close": TransitionKind.CLOSED}
        how = ends.get(kind, TransitionKind.RESOLVED)
        return self.world.end(org, now, kind=how, stale=stale)


def play(root: Route, story: list[Move], *, restarts: bool) -> tuple[Desk, list[Notification]]:
    desk, history, now = Desk(root, RECEIVERS), History(), T0
    messages: list[Notification] = []
    for move in story:
        now += move.pause
        if move.restart and restarts:
            desk.restart()
        messages += desk.step(now, *history.of(move, now), caught_up=move.caught_up)
        assert_counted(desk)
    return desk, messages


def assert_counted(desk: Desk) -> None:
    """Hold what groups count of their alerts against a look at each."""
    for group in desk.notifier._groups.by_id.values():
        fires = [m.alert.severity for m in group.members.values() if m.fires]
        assert +group.members.firing == Counter(fires)


@given(trees(), moves())
def test_restarts_change_no_message(root: Route, story: list[Move]) -> None:
    _, without = play(root, story, restarts=False)
    _, with_restarts = play(root, story, restarts=True)
    assert sorted(with_restarts, key=lambda m: m.id) == sorted(without, key=lambda m: m.id)


@given(trees(), moves())
def test_when_all_is_over_and_told_no_rows_are_left(root: Route, story: list[Move]) -> None:
    desk, history, now = Desk(root, RECEIVERS), History(), T0
    for move in story:
        now += move.pause
        desk.step(now, *history.of(move, now), caught_up=move.caught_up)
    desk.step(now, *history.end_all(now))
    for _ in range(6):
        now += 20 * MINUTE
        desk.step(now)
    left: list[object] = []
    for row in (GroupRow, MemberRow, ToldRow, CooldownRow):
        left += desk.table.load(row)
    assert left == []
    assert desk.notifier.next_deadline() is None
    assert len(desk.table.load(OutboxRow)) == len(desk.table.rows)


def episodes_told(messages: list[Notification], receiver: str, org: str) -> int:
    """Count the firings that a receiver was told of, one by one or as held."""
    notices = [n for m in messages if m.receiver == receiver for n in m.notices]
    mine = [n for n in notices if n.labels["org"] == org]
    new = sum(n.status.value not in ("resolved", "unseen") for n in mine)
    return new + sum(n.held for n in mine)


@given(
    trees(),
    moves(kinds=("toggle", "toggle", "expire")),
    st.sampled_from([("team", ("b", "c")), ("team", ("a",))]),
)
def test_each_firing_is_told_exactly_once(
    root: Route, story: list[Move], whom: tuple[str, tuple[str, ...]]
) -> None:
    """With no repeats: firings told, one by one or counted as held, equal firings that happened.

    What was told as firing and fired again before its end could be told is held and told anew in
    one notice, and so counts twice at most.
    """
    quiet = _without_repeats(root)
    desk, history, now = Desk(quiet, _all_resolved()), History(), T0
    messages: list[Notification] = []
    fired = dict.fromkeys(ORGS, 0)
    for move in story:
        now += move.pause
        transitions = history.of(move, now)
        for transition in transitions:
            fired[transition.alert.key[0]] += transition.kind is TransitionKind.FIRED
        messages += desk.step(now, *transitions, caught_up=move.caught_up)
    for _ in range(6):
        now += 20 * MINUTE
        messages += desk.step(now)
    receiver, orgs = whom
    for org in orgs:
        told = episodes_told(messages, receiver, org)
        anew = sum(
            n.held > 0 and n.status.value == "firing"
            for m in messages
            if m.receiver == receiver
            for n in m.notices
            if n.labels["org"] == org
        )
        assert fired[org] <= told <= fired[org] + anew


@given(trees(), moves(stale=False))
def test_a_cooldown_is_kept(root: Route, story: list[Move]) -> None:
    """Of an alert at a severity a receiver hears twice within a route's cooldown at most.

    Then the second word is that it ended, or went elsewhere. Digests of closed alerts are the
    exception: a rule is changed by a person who looks on; and what is critical is not held once its
    end was told.
    """
    _, messages = play(root, story, restarts=False)
    shortest = min(root.cooldown, *(r.cooldown for r in root.routes), 1e9)
    last: dict[tuple[str, str, str], list[float]] = {}
    for message in messages:
        for notice in message.notices:
            severity = notice.labels["severity"]
            before = last.setdefault((message.receiver, notice.labels["org"], severity), [0.0, 0.0])
            if message.reason.value != "rule changed" and severity != "critical":
                over = notice.status.value in ("resolved", "unseen", "escalated")
                assert message.at - before[-2 if over else -1] >= shortest
            before.append(message.at)


def _without_repeats(root: Route) -> Route:
    return route(
        root.id,
        root.receiver,
        group_wait=root.group_wait,
        group_interval=root.group_interval,
        cooldown=root.cooldown,
        group_by=root.group_by,
        group_limit=root.group_limit,
        repeat_interval=1e9,
    )


def _all_resolved() -> dict[str, Receiver]:
    return {"team": slack_receiver("team")}
