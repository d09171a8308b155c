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
    passed_routes,
)
from sidecar.notify.member import (
    Ident,
    Member,
    Members,
    Stage,
    back,
    knowing,
    moved,
    taken_along,
    unpack,
)
from sidecar.notify.model import Receiver, Route
from sidecar.rows import GroupRow, MemberRow, ToldRow


class GroupRestorer:
    """Fills a ledger from rows.

    Where routes or destinations have changed since, each alert moves to the groups that take it
    now: who knew of it is not told again, who is new is told of what fires, at once. Who knows of
    it and is no longer told still hears of its end. An end that nobody was told yet goes to those
    it was meant for, if they still have a place. A channel that was renamed is the same audience:
    so is what stands at the old one's place; and so is a channel that another receiver has now.
    """

    def __init__(self, root: Route, receivers: Mapping[str, Receiver], groups: Groups) -> None:
        self._root = root
        self._receivers = receivers
        self._groups = groups
        self._routes = {route.id: route for route in every_route(root, receivers)}
        names = {route.receiver for route in self._routes.values()}
        self._all = {name: list(destinations(one)) for name, one in receivers.items()}
        self._places = {name: self._all[name] for name in names}

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
        for group in list(self._groups.by_id.values()):
            self._unite(group)
        for group in self._groups.by_id.values():
            self._call_back(group)

    def _groups_of(self, row: GroupRow, told: ToldRow | None) -> Iterator[Group]:
        """Yield the group of a row; one of an earlier version was for all its destinations."""
        labels: dict[str, str] = json.loads(row.labels)
        route_id, old = parts_of(row.id, labels)
        places = self._all.get(row.receiver, [])
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
        digest = route_id in {kind.value for kind in GroupKind if kind is not GroupKind.ROUTE}
        kind = GroupKind(route_id) if digest else GroupKind.ROUTE
        route = self._routes.get(route_id)
        if digest:
            route = digest_route(kind, self._root, row.receiver)
        elif route is None or route.receiver != row.receiver:
            route = self._remnant(route_id, row.receiver)
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
        if group.id == row.id and (group.members or group.sending):
            self._groups.add(group)
            return
        found, group.members, group.sending = group.members, Members(), ""
        if found:
            self._groups.add(group)
            self._groups.touch(group)
        for ident, member in found.items():
            self._groups.put(group, ident, member)
        self._groups.drop(row, [(one.rule, tuple(json.loads(one.by_key))) for one in members])

    def _reroute(self, group: Group) -> None:
        """Move the members that today's routes send elsewhere, or no longer."""
        digest = group.kind is not GroupKind.ROUTE
        stays = group.to in (self._all if digest else self._places).get(group.receiver, ())
        stays = stays and (digest or self._routes.get(group.route.id) is group.route)
        astray = [
            (ident, member)
            for ident, member in group.members.items()
            if not (stays and (digest or self._takes(group, member)))
        ]
        for ident, member in group.members.items():
            self._groups.put(group, ident, back(member))
        for ident, _ in astray:
            self._groups.put(group, ident, None)
        if not (stays or group.members):
            self._groups.forget(group)
        for ident, member in astray:
            self._move(group, ident, member)

    def _takes(self, group: Group, member: Member) -> bool:
        labels = member.alert.labels
        routes = match_routes(self._root, labels)
        if member.passed_on or member.instead_of:
            routes = [one for route in routes for one in passed_routes(route, self._receivers)]
        return any(group_id(r, group_labels(r, labels), group.to) == group.id for r in routes)

    def _move(self, old: Group, ident: Ident, member: Member) -> None:
        if old.kind is not GroupKind.ROUTE:
            self._pass_on(old, ident, member)
            return
        heirs = 0
        for route in match_routes(self._root, member.alert.labels):
            labels = group_labels(route, member.alert.labels)
            for to in self._places[route.receiver]:
                if to == self._heir(old, route.receiver):
                    heirs += 1
                    group = self._groups.open(route, labels, to, old.created)
                    group.told = group.told or old.told
                    self._place(group, ident, taken_along(back(member), old.sending))
                elif self._is_news(member, old, route, to):
                    news = replace(member, open=False, unsent=True, fired=1, escalated_here=False)
                    self._place(self._groups.open(route, labels, to, old.created), ident, news)
        knows = (member.open or member.doubted or old.sending) and not old.to.owner
        if not heirs and knows:
            self._leave(old, ident, member)

    @staticmethod
    def _is_news(member: Member, old: Group, route: Route, to: Destination) -> bool:
        """Return whether to tell somebody of what the routes of today bring to him.

        No owner is mailed of what fired before he was to be.
        """
        return member.stage is Stage.FIRING and route.receiver != old.receiver and not to.owner

    def _pass_on(self, old: Group, ident: Ident, member: Member) -> None:
        """Give what a digest says to its audience; of one that is gone, only what nobody heard of.

        The end of what they alone knew would be a bare one to anybody else; and those who were told
        instead have heard of it.
        """
        name, to = self._audience_today(old)
        if to is None and not member.open and member.passed_to != name:
            to = self._all[name][0]
        if to is not None:
            route = digest_route(old.kind, self._root, name)
            # Another digest may be to tell of it already, as a storm's.
            waits = [one for one in self._groups.places(ident) if one.kind.defers]
            same = (one for one in waits if one.audience == (name, to.integration, to.name))
            group = next(same, None) or self._groups.open(
                route, {"receiver": name}, to, old.created, old.kind
            )
            self._place(group, ident, taken_along(member, old.sending))

    def _leave(self, old: Group, ident: Ident, member: Member) -> None:
        """Keep an alert for those who know of it and are no longer told, to tell its end."""
        name, to = self._audience_today(old)
        if to is not None:
            route = self._remnant(old.route.id, name)
            group = self._groups.open(route, old.labels, to, old.created)
            if group.id == old.id and not group.sending:
                group.sending = old.sending
            self._groups.put(group, ident, moved(member))

    def _remnant(self, id_: str, receiver: str) -> Route:
        """Return what is left of a route that no longer tells a receiver: when nobody is told.

        Of one that is gone, as a fallback's is, what is above it says so.
        """
        named = id_
        while named not in self._routes and "/" in named:
            named = named.rpartition("/")[0]
        today = self._routes.get(named, self._root)
        return Route(
            id=id_, receiver=receiver, group_wait=0.0,
            mute_time_intervals=today.mute_time_intervals,
            active_time_intervals=today.active_time_intervals,
        )  # fmt: skip

    def _audience_today(self, old: Group) -> tuple[str, Destination | None]:
        """Return the receiver and destination that a group's audience has now, routed to or not.

        Of one that is gone: the root's receiver, and None.
        """
        for name in dict.fromkeys((old.receiver, *self._all)):
            if name in self._all and (to := self._heir(old, name)):
                return name, to
        return self._root.receiver, None

    def _heir(self, old: Group, receiver: str) -> Destination | None:
        """Return the destination of a receiver that is today what a group's was."""
        kin = [to for to in self._all[receiver] if to.integration == old.to.integration]
        named = [to for to in kin if to.name == old.to.name]
        renamed = [to for to in kin if to.place == old.to.place and receiver == old.receiver]
        return next(iter([*named, *renamed]), None)

    def _unite(self, group: Group) -> None:
        """Let what an audience knows stand where it is told from here on, and only there."""
        late = group.kind.defers
        for ident, member in list(group.members.items()):
            away = late or (group.kind is GroupKind.ROUTE and member.stage is not Stage.FIRING)
            for home in self._groups.places(ident) if away else ():
                here = home.members[ident]
                if home.kind is not GroupKind.ROUTE or home.audience != group.audience:
                    continue
                awaits = late and here.waiting and not here.unsent  # what the digest tells
                if here.stage is Stage.FIRING and not awaits:
                    self._groups.put(group, ident, None)
                    known = knowing(here, taken_along(member, group.sending))
                    self._groups.put(home, ident, known)
                    break

    def _call_back(self, group: Group) -> None:
        """Count what fires as passed on only to those who are to be told of it today.

        Others may never have heard that it fires, and are told of its end at most. Of an owner who
        is not to be mailed it is over.
        """
        step = group.route.escalate_unacked
        owner = step is not None and any(to.owner for to in self._all[step.receiver])
        passed = [one for one in group.members.values() if one.passed_to or one.passed_on]
        for member in [one for one in passed if one.stage is Stage.FIRING]:
            places = self._groups.places(member.ident)
            told = [one for one in places if one.members[member.ident].stage is Stage.FIRING]
            names = {one.receiver for one in told}
            passed_to = member.passed_to if member.passed_to in names else ""
            once = step is None or owner or step.receiver in names
            passed_on = member.passed_on and once
            again = replace(member, passed_to=passed_to, passed_on=passed_on)
            self._groups.put(group, member.ident, again)

    def _place(self, group: Group, ident: Ident, member: Member) -> None:
        here = group.members.get(ident)
        if here is not None and here.stage is Stage.ENDED and member.stage is Stage.FIRING:
            self._groups.put(group, ident, knowing(member, here))
        elif here is None or (member.open and not here.open):
            # The told number of its new group knows nothing of it: what is news, waits.
            waiting = member.waiting or member.unsent
            self._groups.put(group, ident, replace(member, waiting=waiting))


def _by_group(rows: Iterable[MemberRow]) -> dict[str, list[MemberRow]]:
    found: dict[str, list[MemberRow]] = {}
    for row in rows:
        found.setdefault(row.group_id, []).append(row)
    return found


def _members(group: Group, rows: Iterable[MemberRow]) -> Members:
    told = group.told or Told(-1, group.created)
    found = (unpack(row.packed, told.change, told.at) for row in rows)
    return Members({member.ident: member for member in found if member is not None})
