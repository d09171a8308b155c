"""Rebuilds the groups from the rows of the state file, under the routes of today."""

import json
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from sidecar.notify.decide import flush_for_repeat
from sidecar.notify.group import (
    Group,
    GroupKind,
    Groups,
    Told,
    digest_route,
    every_route,
    group_id,
    group_labels,
    match_routes,
    route_id,
)
from sidecar.notify.member import Ident, Member, Stage, unpack
from sidecar.notify.model import Route
from sidecar.rows import GroupRow, MemberRow, ToldRow

_AT_ONCE = 0.0  # a flush that was due in 1970 comes with the first one


class GroupRestorer:
    """Rebuilds groups from their rows.

    Where the routes have changed since, each alert moves to the groups that take it now: a
    receiver that knew of it is not told again, a new one is told of what fires, at once. An end
    that nobody was told yet goes to the receiver it was meant for, if it still has a place.
    """

    def __init__(self, root: Route, groups: Groups) -> None:
        self._root = root
        self._groups = groups
        self._routes = {route.id: route for route in every_route(root)}
        self._receivers = {route.receiver for route in self._routes.values()}

    def restore(
        self,
        groups: Sequence[GroupRow],
        members: Iterable[MemberRow],
        told: Iterable[ToldRow],
    ) -> None:
        """Fill the groups; those of which nothing is stored stay as they are."""
        told_of = {(row.receiver, row.group_id): row for row in told}
        members_of = _by_group(members)
        for row in groups:
            group = self._group(row, told_of.get((row.receiver, row.id)))
            group.members = _members(group, members_of.get(row.id, ()))
            self._groups.add(group)
        for group in list(self._groups.by_id.values()):
            self._reroute(group)
        reckoned = {row.id: row.repeat_interval for row in groups}
        for group in self._groups.by_id.values():
            # What is due stands in the row, unless it is a repeat at an interval that changed.
            same = reckoned.get(group.id) == group.route.repeat_interval
            if group.next_flush is not None and same:
                continue
            if not any(member.unsent for member in group.members.values()):
                self._groups.schedule(group, flush_for_repeat(group))

    def _group(self, row: GroupRow, told: ToldRow | None) -> Group:
        labels: dict[str, str] = json.loads(row.labels)
        id_ = route_id(row.id, labels)
        kind = (
            GroupKind(id_)
            if id_ in (GroupKind.LATE.value, GroupKind.CLOSED.value)
            else GroupKind.ROUTE
        )
        if kind is GroupKind.ROUTE:
            # A route that is no more, or has another receiver, leaves only this much of itself.
            route = self._routes.get(id_)
            if route is None or route.receiver != row.receiver:
                route = Route(id=id_, receiver=row.receiver)
        else:
            route = digest_route(kind, self._root, row.receiver)
        return Group(
            id=row.id,
            route=route,
            labels=labels,
            created=row.created,
            kind=kind,
            told=None if told is None else Told(told.change, told.at, told.reference),
            next_flush=row.next_flush,
        )

    def _reroute(self, group: Group) -> None:
        """Move the members that today's routes send elsewhere."""
        stays = self._routes.get(group.route.id) is group.route
        if group.kind is not GroupKind.ROUTE:
            stays = group.receiver in self._receivers
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
        return any(group_id(r, group_labels(r, labels)) == group.id for r in routes)

    def _move(self, old: Group, ident: Ident, member: Member) -> None:
        if old.kind is not GroupKind.ROUTE:
            route = digest_route(old.kind, self._root, self._root.receiver)
            labels = {"receiver": route.receiver}
            self._place(self._groups.open(route, labels, old.created, old.kind), ident, member)
            return
        for route in match_routes(self._root, member.alert.labels):
            labels = group_labels(route, member.alert.labels)
            if route.receiver == old.receiver:
                group = self._groups.open(route, labels, old.created)
                group.told = group.told or old.told
                self._place(group, ident, member)
            elif member.stage is Stage.FIRING:
                afresh = replace(member, open=False, unsent=True, fired=1, escalated_here=False)
                self._place(self._groups.open(route, labels, old.created), ident, afresh)

    def _place(self, group: Group, ident: Ident, member: Member) -> None:
        if ident in group.members:
            return
        # The told number of its new group knows nothing of it: what is unsent, waits.
        self._groups.put(group, ident, replace(member, waiting=member.unsent))
        if member.unsent:
            self._groups.schedule(group, _AT_ONCE)


def _by_group(rows: Iterable[MemberRow]) -> dict[str, list[MemberRow]]:
    found: dict[str, list[MemberRow]] = {}
    for row in rows:
        found.setdefault(row.group_id, []).append(row)
    return found


def _members(group: Group, rows: Iterable[MemberRow]) -> dict[Ident, Member]:
    told = -1 if group.told is None else group.told.change
    found = (unpack(row.packed, told) for row in rows)
    return {member.ident: member for member in found if member is not None}
