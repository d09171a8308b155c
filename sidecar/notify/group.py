"""Groups: alerts that are told together, which of them an alert belongs to."""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import msgspec

from sidecar.matchers import all_match
from sidecar.notify.member import Ident, Member, Members, accepted, pack, sent
from sidecar.notify.model import EVERY_LABEL, OWNER, Receiver, Route, Said
from sidecar.rows import Delta, Gone, GroupRow, MemberRow, OutboxRow, ToldRow


def match_routes(route: Route, labels: Mapping[str, str]) -> list[Route]:
    """Return the routes that take an alert with `labels`, in the order of the tree.

    As in Alertmanager: the deepest match counts, the first sibling that matches ends the search
    unless it says `continue`, and a node takes what none of its children takes.
    """
    if not all_match(route.matchers, lambda name: labels.get(name, "")):
        return []
    found: list[Route] = []
    for child in route.routes:
        taken = match_routes(child, labels)
        found += taken
        if taken and not child.continue_:
            break
    return found or [route]


def unacked_route(route: Route) -> Route | None:
    """Return the route of what nobody acknowledges under `route`, if there is one.

    It tells at once, and goes on to nobody.
    """
    step = route.escalate_unacked
    if step is None:
        return None
    return replace(
        route, id=f"{route.id}/unacked", receiver=step.receiver, group_wait=0.0, routes=(),
        escalate_unacked=None,
    )  # fmt: skip


def fallback_route(route: Route, receivers: Mapping[str, Receiver]) -> Route | None:
    """Return the route of what the receiver of `route` cannot be told, if it has a fallback."""
    of = receivers.get(route.receiver)
    if of is None or of.fallback not in receivers:
        return None
    return replace(
        route, id=f"{route.id}/fallback", receiver=of.fallback, group_wait=0.0, routes=(),
        escalate_unacked=None,
    )  # fmt: skip


def passed_routes(route: Route, receivers: Mapping[str, Receiver]) -> Iterator[Route]:
    """Yield `route` and those to which its alerts are passed on."""
    if (unacked := unacked_route(route)) is not None:
        yield from passed_routes(unacked, receivers)
    following: Route | None = route
    while following is not None:
        yield following
        following = fallback_route(following, receivers)


def every_route(route: Route, receivers: Mapping[str, Receiver]) -> Iterator[Route]:
    """Yield `route`, those below it, and those to which their alerts are passed on."""
    yield from passed_routes(route, receivers)
    for child in route.routes:
        yield from every_route(child, receivers)


def group_labels(route: Route, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that name an alert's group; an absent one is left out."""
    if EVERY_LABEL in route.group_by:
        return dict(sorted(labels.items()))
    return {name: labels[name] for name in sorted(route.group_by) if name in labels}


@dataclass(frozen=True, slots=True)
class Destination:
    """One of those a receiver tells, at its `place` among them.

    `index` is its config's place in the kind's section. `threads`: what is said later of an alert
    belongs to the message that told it first. `burst`: with so many messages on their way, what
    else there is to tell is folded into one; 0: never.
    """

    place: int
    integration: str
    index: int
    name: str
    send_resolved: bool
    threads: bool = False
    burst: int = 0

    @property
    def owner(self) -> bool:
        """Whether it stands for the owner of the organisation that an alert is about."""
        return self.name == OWNER

    def takes(self, member: Member) -> bool:
        return (self.send_resolved or not member.only_ends) and not member.goes_unsaid


# Of a receiver that tells nobody.
NOWHERE = Destination(0, "", 0, "", send_resolved=True)


def destinations(receiver: Receiver) -> Iterator[Destination]:
    """Yield all that a receiver tells, each once."""
    seen: set[tuple[str, str]] = set()
    for place in _places(receiver):
        if (place.integration, place.name) not in seen:
            seen.add((place.integration, place.name))
            yield place
    if not seen:
        yield NOWHERE


def mails_owner(receiver: Receiver) -> bool:
    """Return whether it tells the owners of organisations."""
    return any(to.owner for to in destinations(receiver))


def _places(receiver: Receiver) -> Iterator[Destination]:
    place = 0
    for kind, configs in receiver.configs.items():
        for index, config in enumerate(configs):
            for name in config.destinations():
                burst = config.rate.burst if config.folds else 0
                yield Destination(
                    place, kind, index, name, config.send_resolved, config.threads, burst
                )
                place += 1


def group_id(route: Route, labels: Mapping[str, str], to: Destination) -> str:
    """Return the group's identity: the route's id, the group's `labels`, and who is told."""
    return f"{route.id}{_suffix(labels)}@{to.place}/{to.integration}/{to.name}"


def parts_of(group: str, labels: Mapping[str, str]) -> tuple[str, Destination | None]:
    """Return the route's id and the destination out of a `group_id`, given the group's labels.

    Earlier versions gave a group no destination.
    """
    route, _, to = group.rpartition(_suffix(labels))
    if not to:
        return route, None
    place, integration, name = to.removeprefix("@").split("/", 2)
    return route, Destination(int(place), integration, 0, name, send_resolved=True)


def _suffix(labels: Mapping[str, str]) -> str:
    pairs = (
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items())
    )
    return ":{" + ", ".join(pairs) + "}"


class GroupKind(Enum):
    """What brought a group's alerts together: a route, or one of the digests per receiver."""

    ROUTE = ""
    LATE = "late"
    CLOSED = "closed"
    STORM = "storm"

    @property
    def defers(self) -> bool:
        """Whether its alerts wait in their own groups until it is told."""
        return self in (GroupKind.LATE, GroupKind.STORM)


STORM_SECONDS = 20.0


def digest_route(kind: GroupKind, root: Route, receiver: str) -> Route:
    """Return the route that a receiver's digest of this kind stands under.

    A late digest goes out when all logs are read to their end, `group_interval` after its first
    alert at the latest; closed alerts all come at one reload and are told at once; what exceeds a
    rate is told every STORM_SECONDS.
    """
    storm = kind is GroupKind.STORM
    return Route(
        id=kind.value,
        receiver=receiver,
        group_by=("receiver",),
        group_wait=STORM_SECONDS if storm else root.group_interval if kind.defers else 0.0,
        group_interval=STORM_SECONDS if storm else root.group_interval,
        cooldown=root.cooldown,
    )


@dataclass(slots=True)
class Told:
    """Up to which change number a group was told, when, and the other side's name for that."""

    change: int
    at: float
    reference: str = ""


@dataclass(slots=True, kw_only=True)
class Group:
    """Alerts with equal group labels under one route, for one destination of its receiver.

    `next_flush`: wall clock at which it wants to be looked at, None while there is no reason to.
    `sending`: the id of its message that is on its way, if one is; what it says is not told until
    it is accepted, and nothing else is said meanwhile. `refused`: the last one was given up.
    """

    id: str
    route: Route
    labels: dict[str, str]
    to: Destination
    created: float
    kind: GroupKind = GroupKind.ROUTE
    members: Members = field(default_factory=Members)
    told: Told | None = None
    next_flush: float | None = None
    sending: str = ""
    refused: bool = False

    @property
    def receiver(self) -> str:
        return self.route.receiver

    @property
    def name(self) -> str:
        """The group's name for people: the same for all who are told of it."""
        return self.route.id + _suffix(self.labels)

    @property
    def audience(self) -> tuple[str, str, str]:
        """Who knows what this group was told."""
        return (self.receiver, self.to.integration, self.to.name)

    def shares(self, other: "Group") -> bool:
        """Return whether both are for the same audience."""
        return self.audience == other.audience


def heard_of(row: OutboxRow, receivers: Mapping[str, Receiver], group: Group) -> bool:
    """Return whether those whom a message went to are a group's.

    A receiver may be renamed; and what stands where a name stood that is no more is a channel or
    address with another name.
    """
    to = (row.integration, row.destination)
    if (group.to.integration, group.to.name) == to:
        return group.receiver == row.receiver or row.receiver not in receivers
    stood = row.group_id.removesuffix("/".join(("", *to))).endswith(f"@{group.to.place}")
    if not stood or group.to.integration != row.integration or group.receiver != row.receiver:
        return False
    return all((d.integration, d.name) != to for d in destinations(receivers[row.receiver]))


class Groups:
    """All groups, found by id, by alert, and by when they are due; remembers what changed.

    A group lives as long as it has members, or a message on its way.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Group] = {}
        self._places: dict[Ident, dict[str, None]] = {}
        self._late: dict[str, None] = {}
        self._due: list[tuple[float, str]] = []
        self._dirty_groups: dict[tuple[str, str], None] = {}
        self._dirty_members: dict[tuple[str, Ident], None] = {}

    def add(self, group: Group) -> None:
        """Add a group as its rows have it; only what changes from here on is written."""
        self.by_id[group.id] = group
        for ident in group.members:
            self._places.setdefault(ident, {})[group.id] = None
        if group.kind is GroupKind.LATE:
            self._late[group.id] = None
        if group.next_flush is not None:
            heapq.heappush(self._due, (group.next_flush, group.id))

    def open(
        self,
        route: Route,
        labels: dict[str, str],
        to: Destination,
        now: float,
        kind: GroupKind = GroupKind.ROUTE,
    ) -> Group:
        """Return the group of `labels` under `route` for a destination, made now if new."""
        id_ = group_id(route, labels, to)
        if id_ not in self.by_id:
            group = Group(id=id_, route=route, labels=labels, to=to, created=now, kind=kind)
            self.add(group)
            self.touch(group)
        return self.by_id[id_]

    def places(self, ident: Ident) -> list[Group]:
        """Return the groups an alert is in, oldest first."""
        return [self.by_id[id_] for id_ in self._places.get(ident, ())]

    def late_digests(self) -> list[Group]:
        return [self.by_id[id_] for id_ in self._late]

    def put(self, group: Group, ident: Ident, member: Member | None) -> None:
        """Set an alert's place in a group; None takes it out, and an empty group goes away."""
        if member is None:
            self._take_out(group, ident)
            return
        if group.members.get(ident) == member:
            return
        group.members[ident] = member
        self._places.setdefault(ident, {})[group.id] = None
        self._dirty_members[group.id, ident] = None

    def mark_sent(self, group: Group, ident: Ident, at: float) -> None:
        """Note that a member was told at wall clock `at`; a digest it leaves with that."""
        after = sent(group.members[ident], at) if group.kind is GroupKind.ROUTE else None
        self.put(group, ident, after)

    def _take_out(self, group: Group, ident: Ident) -> None:
        if not group.members.take_out(ident):
            return
        self._dirty_members[group.id, ident] = None
        places = self._places[ident]
        del places[group.id]
        if not places:
            del self._places[ident]
        if not group.members and not group.sending:
            self.forget(group)

    def forget(self, group: Group) -> None:
        """Have a group without members end, and its rows deleted."""
        if self.by_id.pop(group.id, None) is not None:
            self._late.pop(group.id, None)
            self.touch(group)

    def accept(self, group: Group, said: Said, at: float) -> None:
        """Take it that the group's receiver knows, from `at` on, what was said of one alert.

        It may have moved to another group of the same audience meanwhile.
        """
        member = group.members.get((said.name, said.key))
        if member is not None and member.change == said.change:
            self._accept(group, member, said, at)
        else:
            self.accept_by(said, at, group.shares)

    def accept_by(self, said: Said, at: float, knows: Callable[[Group], bool]) -> None:
        """Take it that its group that `knows`, and a digest of what is newer, were told this."""
        ident = (said.name, said.key)
        for home in filter(knows, self.places(ident)):
            self._accept(home, home.members[ident], said, at)

    def _accept(self, home: Group, member: Member, said: Said, at: float) -> None:
        after = accepted(member, said, at)
        told = home.kind is not GroupKind.ROUTE and after is not None and not after.unsent
        self.put(home, member.ident, None if told else after)

    def doubt(self, ident: Ident, knows: Callable[[Group], bool]) -> None:
        """Note that those whom the groups that `knows` are for may have heard that an alert fires.

        What there is to tell of it may be in a digest by now.
        """
        for home in self.places(ident):
            member = home.members[ident]
            if knows(home) and not member.open:
                self.put(home, ident, msgspec.structs.replace(member, doubted=True))

    def refer(self, group: Group, said: Said, reference: str) -> None:
        """Note by which name the other side knows the message that an alert belongs to."""
        ident = (said.name, said.key)
        member = group.members.get(ident)
        if member is not None and member.reference != reference:
            self.put(group, ident, msgspec.structs.replace(member, reference=reference))

    def end_wait(self, digest: Group, ident: Ident, now: float) -> list[Group]:
        """Let an alert that a digest told at `now` go on in the groups that waited for it.

        Return these: they count as told, so when they are due has to be worked out anew.
        """
        waited = []
        over = digest.kind.defers and ident not in digest.members
        for group in self.places(ident) if over else ():
            member = group.members[ident]
            if group.audience == digest.audience and member.waiting and not member.unsent:
                self.put(group, ident, sent(member, now))
                group.told = Told(group.told.change if group.told else -1, now)
                self.touch(group)
                waited.append(group)
        return waited

    def drop(self, row: GroupRow, idents: Iterable[Ident]) -> None:
        """Have the rows of a group that is not taken in deleted."""
        self._dirty_groups[row.id, row.receiver] = None
        for ident in idents:
            self._dirty_members[row.id, ident] = None

    def touch(self, group: Group) -> None:
        """Have the group's own rows written (or deleted) by the next delta."""
        self._dirty_groups[group.id, group.receiver] = None

    def schedule(self, group: Group, due: float | None) -> None:
        """Have a group looked at; one whose message is on its way, once that has ended."""
        due = None if group.sending else due
        if due == group.next_flush:
            return
        group.next_flush = due
        self.touch(group)
        if due is not None:
            heapq.heappush(self._due, (due, group.id))

    def next_due(self) -> float | None:
        while self._due and not self._stands(*self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def due(self, now: float) -> list[Group]:
        """Return each group that is due, earliest first; the caller schedules it anew."""
        ready: list[Group] = []
        while self._due and self._due[0][0] <= now:
            at, id_ = heapq.heappop(self._due)
            if self._stands(at, id_):
                group = self.by_id[id_]
                group.next_flush = None
                self.touch(group)
                ready.append(group)
        return ready

    def _stands(self, at: float, id_: str) -> bool:
        """Return whether an entry of the queue still says when its group is due."""
        group = self.by_id.get(id_)
        return group is not None and group.next_flush == at

    def drain(self) -> Delta:
        """Return the rows that changed since the last call, and what is gone."""
        delta = Delta()
        for id_, receiver in self._dirty_groups:
            self._group_rows(id_, receiver, delta)
        for id_, ident in self._dirty_members:
            _member_rows(self.by_id.get(id_), id_, ident, delta)
        self._dirty_groups, self._dirty_members = {}, {}
        return delta

    def _group_rows(self, id_: str, receiver: str, delta: Delta) -> None:
        group = self.by_id.get(id_)
        if group is None or group.receiver != receiver:
            delta.gone.append(Gone(ToldRow, (receiver, id_)))
            if group is None:
                delta.gone.append(Gone(GroupRow, (id_,)))
            return
        delta.rows.append(
            GroupRow(
                id=id_,
                receiver=receiver,
                labels=msgspec.json.encode(group.labels).decode(),
                created=group.created,
                next_flush=group.next_flush,
                repeat_interval=group.route.repeat_interval,
                sending=group.sending,
            )
        )
        if group.told is None:
            delta.gone.append(Gone(ToldRow, (receiver, id_)))
        else:
            delta.rows.append(_told_row(id_, receiver, group.told))


def _told_row(id_: str, receiver: str, told: Told) -> ToldRow:
    return ToldRow(
        receiver=receiver,
        group_id=id_,
        change=told.change,
        at=told.at,
        reference=told.reference,
    )


def key_text(ident: Ident) -> str:
    """Return an alert's key as the rows have it: a JSON array."""
    return msgspec.json.encode(ident[1]).decode()


def _member_rows(group: Group | None, id_: str, ident: Ident, delta: Delta) -> None:
    member = None if group is None else group.members.get(ident)
    key = key_text(ident)
    if member is None:
        delta.gone.append(Gone(MemberRow, (id_, ident[0], key)))
        return
    delta.rows.append(
        MemberRow(
            group_id=id_, rule=ident[0], by_key=key, change=member.change, packed=pack(member)
        )
    )
