"""Files alert transitions into the groups that their alerts belong to."""

from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from sidecar.notify.decide import flush_for_repeat, flush_for_unsent
from sidecar.notify.group import (
    Group,
    GroupKind,
    Groups,
    destinations,
    digest_route,
    group_labels,
    match_routes,
)
from sidecar.notify.member import (
    Change,
    Ident,
    Member,
    Stage,
    ended,
    fired,
    grown,
    knowing,
    late_story,
    left,
    risen,
    sent,
    taken_along,
)
from sidecar.notify.model import Receiver, Route
from sidecar.notify.unacked import Unacked
from sidecar.rules.alert import Transition, TransitionKind


class Grouper:
    """Files each transition into the groups that its alert belongs to.

    What is stale goes into the receiver's late digest instead, together with whatever was still
    untold in the alert's own group and with what follows while the digest waits. The own group
    then counts as told of it, so that the end is told there in the ordinary way. An escalation
    that is not stale does not wait for the digest.
    """

    def __init__(
        self, route: Route, receivers: Mapping[str, Receiver], groups: Groups, unacked: Unacked
    ) -> None:
        self._root = route
        self._receivers = receivers
        self._groups = groups
        self._unacked = unacked

    def add(self, transition: Transition, now: float) -> None:
        """File one transition at wall clock `now`."""
        ident = (transition.alert.name, transition.alert.key)
        match transition.kind:
            case TransitionKind.FIRED:
                self._fire(transition, ident, now)
            case TransitionKind.ESCALATED:
                self._escalate(transition, ident, now)
            case TransitionKind.GREW:
                self._grow(transition, ident, now)
            case TransitionKind.RESOLVED | TransitionKind.EXPIRED:
                self._resolve(transition, ident, now)
            case TransitionKind.CLOSED:
                self._close(transition, ident, now)

    def groups_for(self, transition: Transition, now: float) -> list[Group]:
        """Return the groups that take an alert as it is now, made now where there is none.

        Two routes to one receiver make one group: nobody is told twice. Owners of organisations
        are told of nothing that is late.
        """
        labels, late = transition.alert.labels, transition.stale or transition.late_by > 0
        routes = {route.receiver: route for route in reversed(match_routes(self._root, labels))}
        return [
            self._groups.open(route, group_labels(route, labels), to, now)
            for route in reversed(routes.values())
            for to in destinations(self._receivers[route.receiver])
            if not (late and to.owner)
        ]

    def gather(self, group: Group, ident: Ident, now: float) -> None:
        """Move what another group of the same audience knows and has to say of an alert here."""
        if group.kind is not GroupKind.ROUTE or ident in group.members:
            return
        for place in self._groups.places(ident):
            if place.kind is GroupKind.ROUTE and place.audience == group.audience:
                # The told number of this group knows nothing of it: what is news, waits.
                member = taken_along(place.members[ident], place.sending)
                self._groups.put(group, ident, replace(member, waiting=member.unsent))
                self.file(place, ident, None, now)

    def bring(self, other: Group, new: Member, now: float) -> None:
        """File it with those whom it is passed on to, with what they know of it elsewhere."""
        places = self._groups.places(new.ident)
        for place in [one for one in places if one.audience == other.audience]:
            if place.members[new.ident].stage is Stage.LEFT:  # it has come back
                new = knowing(new, place.members[new.ident])
                self.file(place, new.ident, None, now)
        self.gather(other, new.ident, now)
        here = self.known(other, new.ident)
        known = new if here is None else knowing(new, here)
        told_at = 0.0 if known.unsent else known.told_at  # by then of another state
        self.file(other, new.ident, replace(known, told_at=told_at), now)

    def _fire(self, transition: Transition, ident: Ident, now: float) -> None:
        for group in self.groups_for(transition, now):
            self.gather(group, ident, now)
            if transition.stale:
                self._tell_late(group, ident, lambda member: fired(member, transition), now)
            else:
                self.file(group, ident, fired(self.known(group, ident), transition), now)

    def _escalate(self, transition: Transition, ident: Ident, now: float) -> None:
        """Tell the groups it leaves that it left, and those it reaches as for the first time."""
        reached = self.groups_for(transition, now)
        for group in reached:
            self.gather(group, ident, now)
        for group in self._open_places(ident):
            if group not in reached:
                self._go_on(transition, group, ident, left, now)
        for group in reached:
            if transition.stale:
                self._tell_late(group, ident, lambda member: risen(member, transition), now)
            else:
                self.file(group, ident, risen(self.known(group, ident), transition), now)

    def _grow(self, transition: Transition, ident: Ident, now: float) -> None:
        """Tell those who know that it fires of how many events there are by now.

        What is late says so itself when its digest is told. To an owner it is no news.
        """
        for group in () if transition.stale else self._open_places(ident):
            if self._late_digest_with(group, ident) is None and not group.to.owner:
                self.file(group, ident, grown(group.members[ident], transition), now)

    def known(self, group: Group, ident: Ident) -> Member | None:
        """Return the alert as it stands in the group; what a late digest was to say is said here.

        Else the digest would come after what is news now, and speak of the past.
        """
        for place in self._groups.places(ident):
            if place.kind.defers and place.audience == group.audience:
                member = taken_along(place.members[ident], place.sending)
                self._groups.put(place, ident, None)
                return replace(member, waiting=True)
        return group.members.get(ident)

    def _resolve(self, transition: Transition, ident: Ident, now: float) -> None:
        for group in self._open_places(ident):
            self._go_on(transition, group, ident, ended, now)

    def _close(self, transition: Transition, ident: Ident, now: float) -> None:
        """Move what was open into the receiver's digest of alerts whose rule changed."""
        for group in self._open_places(ident):
            if group.to.owner:
                self.file(group, ident, None, now)
                continue
            late = self._late_digest_with(group, ident)
            told_by = group if late is None else late
            before = taken_along(told_by.members[ident], group.sending or told_by.sending)
            member = ended(before, transition)
            self.file(self._digest(group, GroupKind.CLOSED, now), ident, member, now)
            self.file(group, ident, None, now)
            if late is not None:
                self.file(late, ident, None, now)

    def _go_on(
        self,
        transition: Transition,
        group: Group,
        ident: Ident,
        change: Callable[[Member, Transition], Member],
        now: float,
    ) -> None:
        """File what happens to an alert that is already in `group`. Owners are told of no end."""
        if group.to.owner:
            self.file(group, ident, None, now)
        elif transition.stale or self._late_digest_with(group, ident) is not None:
            here = group.members[ident]
            self._tell_late(group, ident, lambda member: change(member or here, transition), now)
        else:
            self.file(group, ident, change(group.members[ident], transition), now)

    def file(self, group: Group, ident: Ident, member: Member | None, now: float) -> None:
        """Set the alert's place in a group, and with it when the group is due."""
        before = group.members.get(ident)
        if member is not None and not member.came:
            member = replace(member, came=now)
            self._unacked.watch(group, ident, member)
        self._groups.put(group, ident, member)
        if member is not None and member.unsent:
            self._groups.schedule(group, flush_for_unsent(group, now))
        elif before is None:
            if group.next_flush is None:
                self._groups.schedule(group, flush_for_repeat(group))
        elif before.unsent and not group.members.unsent:
            self._groups.schedule(group, flush_for_repeat(group))

    def _tell_late(self, group: Group, ident: Ident, change: Change, now: float) -> None:
        """Let the receiver's late digest tell what was untold in `group`, and this on top."""
        waits = self._late_digest_with(group, ident, ended=True)
        digest = waits or self._digest(group, GroupKind.LATE, now)
        before = group.members.get(ident)
        story = late_story(digest.members.get(ident), before, change)
        late = taken_along(story, group.sending if before else "")
        self.file(digest, ident, replace(late, unsent=True, waiting=False), now)
        here = sent(story, now)
        # It waits for the digest: until that is told there is nothing to repeat.
        self.file(group, ident, here and replace(here, waiting=True), now)

    def fold(self, group: Group, members: Iterable[Member], now: float) -> None:
        """Let the receiver's storm digest tell what there is to tell of members of a group."""
        digest = self._digest(group, GroupKind.STORM, now)
        for member in members:
            story = late_story(digest.members.get(member.ident), member, _always(member))
            self.file(digest, member.ident, replace(story, unsent=True, waiting=False), now)
            here = sent(member, now)
            self.file(group, member.ident, here and replace(here, waiting=True), now)

    def _open_places(self, ident: Ident) -> list[Group]:
        """Return the groups under routes where the alert has not ended."""
        return [
            group
            for group in self._groups.places(ident)
            if group.kind is GroupKind.ROUTE and group.members[ident].stage is not Stage.ENDED
        ]

    def _late_digest_with(self, group: Group, ident: Ident, *, ended: bool = False) -> Group | None:
        """Return the receiver's digest that is still to tell of the alert; or that it `ended`."""
        for place in self._groups.places(ident):
            late = place.kind.defers and place.audience == group.audience
            if late and (ended or place.members[ident].stage is not Stage.ENDED):
                return place
        return None

    def _digest(self, group: Group, kind: GroupKind, now: float) -> Group:
        route = digest_route(kind, self._root, group.receiver)
        return self._groups.open(route, {"receiver": group.receiver}, group.to, now, kind)


def _always(member: Member) -> Change:
    """Return the change that makes this of whatever there was."""
    return lambda _: member
