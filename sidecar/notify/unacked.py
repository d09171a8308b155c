"""Acknowledgements: who has taken what, and who is told next of what nobody has taken."""

import heapq
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from sidecar.matchers import Matcher, all_match
from sidecar.notify.group import (
    Group,
    GroupKind,
    Groups,
    destinations,
    group_labels,
    unacked_route,
)
from sidecar.notify.member import Ident, Member, Stage, taken
from sidecar.notify.model import CRITICAL, Ack, Receiver
from sidecar.rules.alert import Alert

# Files an alert with those whom it is passed on to, with what they know of it elsewhere.
Bring = Callable[[Group, Member, float], None]


class Unacked:
    """Takes acknowledgements, and passes on what nobody acknowledges in time.

    The instants are kept beside the groups: what is to be passed on does not wait for a message
    that cannot be delivered.
    """

    def __init__(self, receivers: Mapping[str, Receiver], groups: Groups) -> None:
        self._receivers = receivers
        self._groups = groups
        self._due: list[tuple[float, str, Ident]] = []

    def watch(self, group: Group, ident: Ident, member: Member) -> None:
        """Note when a member is to be passed on, if nobody acknowledges it before."""
        step = group.route.escalate_unacked
        if step is not None and group.kind is GroupKind.ROUTE and not member.passed_on:
            due = (member.came or group.created) + step.after
            heapq.heappush(self._due, (due, group.id, ident))

    def reckon(self) -> None:
        """Work all instants out anew, from the groups that there are."""
        self._due = []
        for group in self._groups.by_id.values():
            for ident, member in group.members.items():
                self.watch(group, ident, member)

    def next_due(self) -> float | None:
        while self._due and self._standing(*self._due[0]) is None:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def _standing(self, due: float, id_: str, ident: Ident) -> tuple[Group, Member] | None:
        """Return what an entry is about if it is still to be passed on then."""
        group = self._groups.by_id.get(id_)
        member = group.members.get(ident) if group else None
        if group is None or member is None or group.route.escalate_unacked is None:
            return None
        waits = member.stage is Stage.FIRING and not (member.acked or member.passed_on)
        since = member.came or group.created
        stands = waits and due == since + group.route.escalate_unacked.after
        return (group, member) if stands else None

    def pass_on(self, now: float, bring: Bring) -> None:
        """Tell the next receiver of what nobody has acknowledged by wall clock `now`."""
        while self._due and self._due[0][0] <= now:
            entry = heapq.heappop(self._due)
            if (found := self._standing(*entry)) is None:
                continue
            group, member = found
            self._groups.put(group, member.ident, replace(member, passed_on=True))
            for other in self._next_of(group, member, now):
                new = Member(alert=member.alert, change=member.change, passed_on=True)
                bring(other, new, now)

    def _next_of(self, group: Group, member: Member, now: float) -> list[Group]:
        """Return the groups that are told next: of those who do not know of the alert already."""
        route = unacked_route(group.route)
        if route is None:
            return []
        labels = group_labels(route, member.alert.labels)
        places = self._groups.places(member.ident)
        known = (Stage.FIRING, Stage.LEFT)
        know = {one.audience for one in places if one.members[member.ident].stage in known}
        found = destinations(self._receivers[route.receiver])
        new = [to for to in found if (route.receiver, to.integration, to.name) not in know]
        return [self._groups.open(route, labels, to, now) for to in new]

    def ack(self, matchers: Sequence[Matcher], ack: Ack) -> tuple[list[Alert], list[Group]]:
        """Let all that fires and passes the matchers be acknowledged.

        Return which alerts those are, and the groups that have to be looked at for it.
        """
        alerts: dict[Ident, Alert] = {}
        touched: list[Group] = []
        for group in self._groups.by_id.values():
            some = [m for m in group.members.values() if _passes(group, m, matchers)]
            for member in some:
                alerts[member.ident] = member.alert
                known = member.open or bool(group.sending)
                told = group.to.threads and known and member.stage is Stage.FIRING
                new = taken(member, ack, tells=told)
                self._groups.put(group, member.ident, new)
            touched += [group] if some else []
        return list(alerts.values()), touched

    def waiting(self) -> list[tuple[Group, str, Alert]]:
        """Return what is critical, fires and nobody has taken, with the message that told it."""
        return [
            (group, member.reference, member.alert)
            for group in self._groups.by_id.values()
            for member in group.members.values()
            if member.reference and member.stage is Stage.FIRING and not member.acked
            if group.to.threads and member.alert.severity == CRITICAL
        ]

    def acked(self) -> dict[Ident, Ack]:
        """Return who has taken which alert."""
        members = (m for group in self._groups.by_id.values() for m in group.members.values())
        return {m.ident: m.acked for m in members if m.acked and m.stage is not Stage.ENDED}


def _passes(group: Group, member: Member, matchers: Sequence[Matcher]) -> bool:
    fires = member.stage in (Stage.FIRING, Stage.MOVED)  # what moved may come back
    if group.kind is not GroupKind.ROUTE or not fires:
        return False
    return all_match(matchers, lambda name: member.alert.labels.get(name, ""))
