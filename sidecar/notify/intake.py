"""Where transitions go: an alert's place in its groups, or in a digest, as its state changes."""

from collections.abc import Callable

from msgspec.structs import replace

from sidecar.notify.decide import idle_flush, news_due
from sidecar.notify.group import Group, Kind, Ledger, digest_route
from sidecar.notify.member import (
    Ident,
    Member,
    Stage,
    ended,
    expired,
    fired,
    left,
    risen,
    settled,
)
from sidecar.notify.model import Route
from sidecar.notify.route import group_labels, match_routes
from sidecar.rules.alert import Transition, TransitionKind

# What a transition makes of a member (None: the alert is new to the group).
_Change = Callable[[Member | None], Member]


class Intake:
    """Files transitions into the groups of a ledger.

    What is stale goes into the receiver's late digest instead, together with whatever was still
    untold in the alert's own group and with what follows while the digest waits. The own group
    then counts as told of it, so that the end is told there in the ordinary way. An escalation
    that is not stale does not wait for the digest.
    """

    def __init__(self, route: Route, ledger: Ledger) -> None:
        self._root = route
        self._ledger = ledger

    def take(self, transition: Transition, now: float) -> None:
        """File one transition at wall clock `now`."""
        ident = (transition.alert.name, transition.alert.key)
        match transition.kind:
            case TransitionKind.FIRED:
                self._fire(transition, ident, now)
            case TransitionKind.ESCALATED:
                self._escalate(transition, ident, now)
            case TransitionKind.RESOLVED:
                self._resolve(transition, ident, now)
            case TransitionKind.EXPIRED:
                self._expire(transition, ident, now)
            case TransitionKind.CLOSED:
                self._close(transition, ident, now)

    def groups_for(self, labels: dict[str, str], now: float) -> list[Group]:
        """Return the groups that take an alert with `labels`, made now where there is none."""
        return [
            self._ledger.open(route, group_labels(route, labels), now)
            for route in match_routes(self._root, labels)
        ]

    def _fire(self, transition: Transition, ident: Ident, now: float) -> None:
        for group in self.groups_for(transition.alert.labels, now):
            if transition.stale:
                self._tell_late(group, ident, lambda member: fired(member, transition), now)
            else:
                self._file(group, ident, fired(group.members.get(ident), transition), now)

    def _escalate(self, transition: Transition, ident: Ident, now: float) -> None:
        """Tell the groups it leaves that it left, and those it reaches as for the first time."""
        reached = self.groups_for(transition.alert.labels, now)
        for group in self._open_places(ident):
            if group not in reached:
                self._go_on(transition, group, ident, left, now)
        for group in reached:
            if transition.stale:
                self._tell_late(group, ident, lambda member: risen(member, transition), now)
            else:
                self._file(group, ident, self._rise(group, ident, transition), now)

    def _rise(self, group: Group, ident: Ident, transition: Transition) -> Member:
        """Return the member escalated; what the late digest was to say of it is said now."""
        here = group.members.get(ident)
        late = self._late_digest_with(group, ident)
        if here is None or late is None:
            return risen(here, transition)
        waiting = late.members[ident]
        self._ledger.put(late, ident, None)
        return risen(waiting, transition)

    def _resolve(self, transition: Transition, ident: Ident, now: float) -> None:
        for group in self._open_places(ident):
            self._go_on(transition, group, ident, ended, now)

    def _expire(self, transition: Transition, ident: Ident, now: float) -> None:
        for group in self._ledger.places(ident):
            self._file(group, ident, expired(group.members[ident], transition), now)

    def _close(self, transition: Transition, ident: Ident, now: float) -> None:
        """Move what was open into the receiver's digest of alerts whose rule changed."""
        for group in self._open_places(ident):
            late = self._late_digest_with(group, ident)
            told_by = group if late is None else late
            member = ended(told_by.members[ident], transition)
            self._file(self._digest(group, Kind.CLOSED, now), ident, member, now)
            self._file(group, ident, None, now)
            if late is not None:
                self._file(late, ident, None, now)

    def _go_on(
        self,
        transition: Transition,
        group: Group,
        ident: Ident,
        change: Callable[[Member, Transition], Member],
        now: float,
    ) -> None:
        """File what happens to an alert that is already in `group`."""
        if transition.stale or self._late_digest_with(group, ident) is not None:
            here = group.members[ident]
            self._tell_late(group, ident, lambda member: change(member or here, transition), now)
        else:
            self._file(group, ident, change(group.members[ident], transition), now)

    def _file(self, group: Group, ident: Ident, member: Member | None, now: float) -> None:
        """Set the alert's place in a group, and with it when the group is due."""
        before = group.members.get(ident)
        self._ledger.put(group, ident, member)
        if member is not None and member.news:
            self._ledger.schedule(group, news_due(group, now))
        elif before is None:
            if group.next_flush is None:
                self._ledger.schedule(group, idle_flush(group))
        elif before.news and not any(m.news for m in group.members.values()):
            self._ledger.schedule(group, idle_flush(group))

    def _tell_late(self, group: Group, ident: Ident, change: _Change, now: float) -> None:
        """Let the receiver's late digest tell what was untold in `group`, and this on top."""
        digest = self._digest(group, Kind.LATE, now)
        story = _late_story(digest.members.get(ident), group.members.get(ident), change)
        self._file(digest, ident, replace(story, news=True, waiting=False), now)
        self._file(group, ident, settled(story), now)

    def _open_places(self, ident: Ident) -> list[Group]:
        """Return the groups under routes where the alert has not ended."""
        return [
            group
            for group in self._ledger.places(ident)
            if group.kind is Kind.ROUTE and group.members[ident].stage is not Stage.ENDED
        ]

    def _late_digest_with(self, group: Group, ident: Ident) -> Group | None:
        """Return the receiver's late digest if it is still to tell of the alert, not yet ended."""
        for place in self._ledger.places(ident):
            late = place.kind is Kind.LATE and place.receiver == group.receiver
            if late and place.members[ident].stage is not Stage.ENDED:
                return place
        return None

    def _digest(self, group: Group, kind: Kind, now: float) -> Group:
        route = digest_route(kind, self._root, group.receiver)
        return self._ledger.open(route, {"receiver": group.receiver}, now, kind)


def _late_story(late: Member | None, here: Member | None, change: _Change) -> Member:
    """Return what a late digest is to tell of an alert.

    The digest may hold it already (`late`): because another group of the same receiver has just
    brought this very change, or with an episode that ended, which must not be lost.
    """
    held = late is not None and (late.stage is not Stage.ENDED or here is None)
    story = change(late if held else here)
    if late is None:
        return story
    if story.change == late.change and story.stage is late.stage:
        return late
    return story if held else replace(story, fired=story.fired + late.fired)
