"""What is remembered over a restart: groups rebuilt from their rows, under the routes of today."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from sidecar.notify.group import (
    NOWHERE,
    Destination,
    Group,
    GroupKind,
    Groups,
    Told,
    destinations,
    digest_route,
    every_route,
    group_id,
    group_labels,
    match_routes,
    parts_of,
)
from sidecar.notify.member import Ident, Member, Stage, unpack
from sidecar.notify.model import Receiver, Route
from sidecar.rows import GroupRow, MemberRow, ToldRow


class GroupRestorer:
    """Fills a ledger from rows.

    Where routes or destinations have changed since, each alert moves to the groups that take it
    now: who knew of it is not told again, who is new is told of what fires, at once. An end that
    nobody was told yet goes to those it was meant for, if they still have a place. A channel that
    was renamed is the same audience: so is what stands at the old one's place.
    """

    def __init__(self, root: Route, receivers: Mapping[str, Receiver], groups: Groups) -> None:
        self._root = root
        self._groups = groups
        self._routes = {route.id: route for route in every_route(root)}
        names = {route.receiver for route in self._routes.values()}
        self._places = {name: list(destinations(receivers[name])) for name in names}

    def restore(
        self,
        groups: Sequence[GroupRow],
        members: Iterable[MemberRow],
        told: Iterable[ToldRow],
    ) -> None:
        """Rebuild every group."""
        told_of = {(row.receiver, row.group_id): row for row in told}
        members_of = _by_group(members)
        for row in groups:
            rows = members_of.get(row.id, [])
            for group in self._groups_of(row, told_of.get((row.receiver, row.id))):
                group.members = _members(group, rows)
                self._adopt(group, row, rows)
        for group in list(self._groups.by_id.values()):
            self._reroute(group)

    def _groups_of(self, row: GroupRow, told: ToldRow | None) -> Iterator[Group]:
        """Yield the group of a row; one of an earlier version was for all its destinations."""
        labels: dict[str, str] = json.loads(row.labels)
        route_id, old = parts_of(row.id, labels)
        places = self._places.get(row.receiver, [])
        if old is not None:
            same = [p for p in places if (p.integration, p.name) == (old.integration, old.name)]
            places = same or [old]
        for to in places or [NOWHERE]:
            yield self._group(row, told, route_id, labels, to)

    def _group(
        self,
        row: GroupRow,
        told: ToldRow | None,
        route_id: str,
        labels: dict[str, str],
        to: Destination,
    ) -> Group:
        digest = route_id in (GroupKind.LATE.value, GroupKind.CLOSED.value)
        kind = GroupKind(route_id) if digest else GroupKind.ROUTE
        route = self._routes.get(route_id)
        if digest:
            route = digest_route(kind, self._root, row.receiver)
        elif route is None or route.receiver != row.receiver:
            # A route that is no more, or has another receiver, leaves only this much of itself.
            route = Route(id=route_id, receiver=row.receiver)
        return Group(
            id=group_id(route, labels, to),
            route=route,
            labels=labels,
            to=to,
            created=row.created,
            kind=kind,
            told=None if told is None else Told(told.change, told.at, told.reference),
            next_flush=row.next_flush,
            sending=row.sending,
        )

    def _adopt(self, group: Group, row: GroupRow, members: Sequence[MemberRow]) -> None:
        if group.id == row.id:
            self._groups.add(group)
            return
        found, group.members, group.sending = group.members, {}, ""
        self._groups.add(group)
        self._groups.touch(group)
        for ident, member in found.items():
            self._groups.put(group, ident, member)
        self._groups.drop(row, [(one.rule, tuple(json.loads(one.by_key))) for one in members])

    def _reroute(self, group: Group) -> None:
        """Move the members that today's routes send elsewhere."""
        stays = group.to in self._places.get(group.receiver, ())
        if group.kind is GroupKind.ROUTE:
            stays = stays and self._routes.get(group.route.id) is group.route
        astray = [
            (ident, member)
            for ident, member in group.members.items()
            if not (stays and (group.kind is not GroupKind.ROUTE or self._takes(group, member)))
        ]
        for ident, _ in astray:
            self._groups.put(group, ident, None)
        for ident, member in astray:
            self._move(group, ident, member)

    def _takes(self, group: Group, member: Member) -> bool:
        labels = member.alert.labels
        routes = match_routes(self._root, labels)
        return any(group_id(r, group_labels(r, labels), group.to) == group.id for r in routes)

    def _move(self, old: Group, ident: Ident, member: Member) -> None:
        if old.kind is not GroupKind.ROUTE:
            receiver = old.receiver if old.receiver in self._places else self._root.receiver
            route = digest_route(old.kind, self._root, receiver)
            to = self._heir(old, receiver) or self._places[receiver][0]
            group = self._groups.open(route, {"receiver": receiver}, to, old.created, old.kind)
            self._place(group, ident, member)
            return
        for route in match_routes(self._root, member.alert.labels):
            labels = group_labels(route, member.alert.labels)
            heir = self._heir(old, route.receiver) if route.receiver == old.receiver else None
            for to in self._places[route.receiver]:
                if to == heir:
                    group = self._groups.open(route, labels, to, old.created)
                    group.told = group.told or old.told
                    self._place(group, ident, member)
                elif member.stage is Stage.FIRING and route.receiver != old.receiver:
                    news = replace(member, open=False, unsent=True, fired=1, escalated_here=False)
                    self._place(self._groups.open(route, labels, to, old.created), ident, news)

    def _heir(self, old: Group, receiver: str) -> Destination | None:
        """Return the destination that is today what a group's was."""
        places = self._places[receiver]
        kin = [to for to in places if to.integration == old.to.integration]
        named = [to for to in kin if to.name == old.to.name]
        renamed = [to for to in kin if to.place == old.to.place]
        return next(iter([*named, *renamed]), None)

    def _place(self, group: Group, ident: Ident, member: Member) -> None:
        if ident in group.members:
            return
        # The told number of its new group knows nothing of it: what is news, waits.
        self._groups.put(group, ident, replace(member, waiting=member.unsent))


def _by_group(rows: Iterable[MemberRow]) -> dict[str, list[MemberRow]]:
    found: dict[str, list[MemberRow]] = {}
    for row in rows:
        found.setdefault(row.group_id, []).append(row)
    return found


def _members(group: Group, rows: Iterable[MemberRow]) -> dict[Ident, Member]:
    told = -1 if group.told is None else group.told.change
    found = (unpack(row.packed, told) for row in rows)
    return {member.ident: member for member in found if member is not None}
