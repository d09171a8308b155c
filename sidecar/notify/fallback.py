"""Who is told instead where a receiver cannot be: the `fallback` of its receiver."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from sidecar.notify.audit import Trail
from sidecar.notify.cooldowns import TURNED_OFF
from sidecar.notify.group import (
    Group,
    GroupKind,
    Groups,
    destinations,
    fallback_route,
    group_labels,
    match_routes,
    passed_routes,
)
from sidecar.notify.grouper import Grouper
from sidecar.notify.member import Ident, Member, Stage
from sidecar.notify.model import Receiver, Route, Said
from sidecar.rows import OutboxRow


class Fallback:
    """Files what is on its way to those who cannot be told with those who are told instead.

    What follows of an alert reaches them as well; whoever could not be told hears it too once that
    works again.
    """

    def __init__(
        self,
        route: Route,
        receivers: Mapping[str, Receiver],
        groups: Groups,
        grouper: Grouper,
        trail: Trail,
    ) -> None:
        self._root = route
        self._receivers = receivers
        self._groups = groups
        self._grouper = grouper
        self._trail = trail

    def take(self, row: OutboxRow, reason: str, now: float) -> None:
        """Pass on, at wall clock `now`, all that waits for those whom `row` could not reach."""
        why = f"{row.receiver} {row.destination}: {reason}"
        for group, ident in self.waits(row):
            if (member := group.members.get(ident)) is not None:
                self._pass_on(group, member, why, now)

    def waits(self, row: OutboxRow) -> list[tuple[Group, Ident]]:
        """Return what waits for those whom `row` could not reach, and was not passed on yet."""
        audience = (row.receiver, row.integration, row.destination)
        receiver = self._receivers.get(row.receiver)
        instead = receiver.fallback if receiver else ""
        mine = [group for group in self._groups.by_id.values() if group.audience == audience]
        digests = [group for group in mine if group.kind is not GroupKind.ROUTE and group.sending]
        digested = {ident for group in digests for ident in group.members}
        return [
            (group, ident)
            for group in mine
            if group.kind is GroupKind.ROUTE
            for ident, member in group.members.items()
            if member.passed_to != instead
            and (ident in digested or (bool(group.sending) and member.unsent))
        ]

    def heard(self, group: Group, said: Said) -> None:
        """Note where those whom a group is for know of an end: they are not told it instead."""
        ident = (said.name, said.key)
        for place in self._groups.places(ident):
            here = place.members[ident]
            over = here.stage is Stage.ENDED and here.change == said.change
            if over and place.receiver != group.receiver and not here.passed_to:
                self._groups.put(place, ident, replace(here, passed_to=group.receiver))

    def take_owners(self, group: Group, members: Iterable[Member], reason: str, now: float) -> None:
        """Pass on what the owner of an organisation, whom `group` is for, is not mailed.

        It is over for him; and nobody is told instead of one who wants no mail.
        """
        for member in members:
            words = f"the organisation's owner is not mailed: {reason}"
            self._trail.note(now, "held back", member.alert.labels, words)
            if not reason.startswith(TURNED_OFF):
                self._pass_on(group, member, f"the organisation's owner: {reason}", now)
            self._groups.put(group, member.ident, None)

    def _pass_on(self, group: Group, member: Member, why: str, now: float) -> None:
        speaks = member.stage in (Stage.FIRING, Stage.ENDED) and group.to.takes(member)
        route = fallback_route(group.route, self._receivers)
        if not speaks or route is None:
            return
        # Whom a reload names anew is to hear what fires; of what is over, those before have heard.
        gone = member.stage is Stage.ENDED and member.passed_to not in ("", *self._receivers)
        if gone or member.passed_to == route.receiver:
            return
        others = self._next_of(group, route, member, now)
        if others is None:
            return
        for place in self._groups.places(member.ident):
            if place.receiver == group.receiver:  # once for all whom this receiver tells
                passed = replace(place.members[member.ident], passed_to=route.receiver)
                self._groups.put(place, member.ident, passed)
        if not others:
            return
        # They never heard that it fires: one that has ended is told them as both.
        new = Member(
            alert=member.alert, change=member.change, stage=member.stage,
            fired=max(1, member.fired), acked=member.acked, instead_of=why,
        )  # fmt: skip
        for other in others:
            self._grouper.bring(other, new, now)
        self._trail.note(now, "passed on", member.alert.labels, f"to {others[0].receiver}, {why}")

    def _next_of(
        self, group: Group, route: Route, member: Member, now: float
    ) -> list[Group] | None:
        """Return the groups of `route` told instead: who know neither it nor what is newer.

        None for those whom the routes of today do not tell: others are told by these routes.
        """
        today = match_routes(self._root, member.alert.labels)
        told = [one.receiver for way in today for one in passed_routes(way, self._receivers)]
        if group.receiver not in told:
            return None
        places = [(one, one.members[member.ident]) for one in self._groups.places(member.ident)]
        known = {
            place.audience
            for place, here in places
            if here.stage is member.stage or here.change > member.change
        }
        labels = group_labels(route, member.alert.labels)
        found = destinations(self._receivers[route.receiver])
        new = [to for to in found if (route.receiver, to.integration, to.name) not in known]
        return [self._groups.open(route, labels, to, now) for to in new]
