"""The front door of deciding: alert transitions in, messages for the outbox out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec
from msgspec.structs import replace

from sidecar.notify.decide import Choice, decide, flush_for_repeat, flush_for_unsent, next_flush
from sidecar.notify.group import (
    Cooldowns,
    Group,
    GroupKind,
    Groups,
    Told,
    digest_route,
    group_labels,
    match_routes,
)
from sidecar.notify.member import Ident, Member, Stage, ended, fired, left, risen, sent
from sidecar.notify.message import Writer, draft
from sidecar.notify.model import Reason, Receiver, Route
from sidecar.notify.restore import GroupRestorer
from sidecar.redact import Redactor
from sidecar.rows import CooldownRow, Delta, GroupRow, MemberRow, OutboxRow, ToldRow
from sidecar.rules.alert import Transition, TransitionKind

# What a transition makes of a member (None: the alert is new to the group).
_Change = Callable[[Member | None], Member]


class Grouper:
    """Files each transition into the groups that its alert belongs to.

    What is stale goes into the receiver's late digest instead, together with whatever was still
    unsent in the alert's own group and with what follows while the digest waits. The own group
    then counts as told of it, so that the end is told there in the ordinary way. An escalation
    that is not stale does not wait for the digest.
    """

    def __init__(self, route: Route, groups: Groups) -> None:
        self._root = route
        self._groups = groups

    def add(self, transition: Transition, now: float) -> None:
        """File one transition at wall clock `now`."""
        ident = (transition.alert.name, transition.alert.key)
        match transition.kind:
            case TransitionKind.FIRED:
                self._fire(transition, ident, now)
            case TransitionKind.ESCALATED:
                self._escalate(transition, ident, now)
            case TransitionKind.RESOLVED | TransitionKind.EXPIRED:
                self._resolve(transition, ident, now)
            case TransitionKind.CLOSED:
                self._close(transition, ident, now)

    def groups_for(self, labels: dict[str, str], now: float) -> list[Group]:
        """Return the groups that take an alert with `labels`, made now where there is none."""
        return [
            self._groups.open(route, group_labels(route, labels), now)
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
        self._groups.put(late, ident, None)
        return risen(waiting, transition)

    def _resolve(self, transition: Transition, ident: Ident, now: float) -> None:
        for group in self._open_places(ident):
            self._go_on(transition, group, ident, ended, now)

    def _close(self, transition: Transition, ident: Ident, now: float) -> None:
        """Move what was open into the receiver's digest of alerts whose rule changed."""
        for group in self._open_places(ident):
            late = self._late_digest_with(group, ident)
            told_by = group if late is None else late
            member = ended(told_by.members[ident], transition)
            self._file(self._digest(group, GroupKind.CLOSED, now), ident, member, now)
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
        self._groups.put(group, ident, member)
        if member is not None and member.unsent:
            self._groups.schedule(group, flush_for_unsent(group, now))
        elif before is None:
            if group.next_flush is None:
                self._groups.schedule(group, flush_for_repeat(group))
        elif before.unsent and not any(m.unsent for m in group.members.values()):
            self._groups.schedule(group, flush_for_repeat(group))

    def _tell_late(self, group: Group, ident: Ident, change: _Change, now: float) -> None:
        """Let the receiver's late digest tell what was unsent in `group`, and this on top."""
        digest = self._digest(group, GroupKind.LATE, now)
        story = _late_story(digest.members.get(ident), group.members.get(ident), change)
        self._file(digest, ident, replace(story, unsent=True, waiting=False), now)
        self._file(group, ident, sent(story), now)

    def _open_places(self, ident: Ident) -> list[Group]:
        """Return the groups under routes where the alert has not ended."""
        return [
            group
            for group in self._groups.places(ident)
            if group.kind is GroupKind.ROUTE and group.members[ident].stage is not Stage.ENDED
        ]

    def _late_digest_with(self, group: Group, ident: Ident) -> Group | None:
        """Return the receiver's late digest if it is still to tell of the alert, not yet ended."""
        for place in self._groups.places(ident):
            late = place.kind is GroupKind.LATE and place.receiver == group.receiver
            if late and place.members[ident].stage is not Stage.ENDED:
                return place
        return None

    def _digest(self, group: Group, kind: GroupKind, now: float) -> Group:
        route = digest_route(kind, self._root, group.receiver)
        return self._groups.open(route, {"receiver": group.receiver}, now, kind)


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


class GroupDecision(msgspec.Struct, frozen=True):
    """A decision on a group, for metric and log: whether `alerts` alerts were told, and why."""

    receiver: str
    reason: Reason
    told: bool
    alerts: int
    names: tuple[str, ...]  # alert names, sorted, each once
    group: str = ""


class NotifyDelta(msgspec.Struct):
    """What changed since the last drain; to be written are `delta` and the rows of `outbox`."""

    delta: Delta = msgspec.field(default_factory=Delta)
    outbox: list[OutboxRow] = msgspec.field(default_factory=list)
    decisions: list[GroupDecision] = msgspec.field(default_factory=list)


class Notifier:
    """Groups alerts under routes and decides when each group's receiver is told what.

    `add` what happened, `flush` at `next_deadline`, commit what `drain` returns. Times are wall
    clock, seconds since the epoch. A group waits `group_wait` before it is first told
    (`group_limit` waiting alerts end that early) and `group_interval` between messages; what still
    fires is told again after `repeat_interval`. A message lists what is new:

    - an alert that fired; that ended, if its firing was told; that fired and ended since (several
      such episodes are one notice that counts the others as `held`);
    - one that escalated to another audience: once, and from then on only its end.

    What fires comes before what ended; what finds no room in a message (MAX_NOTICES) counts as
    untold and is for the group's next one, `group_interval` later.

    What is unsent of an alert at a severity whose cooldown runs waits until that is over;
    an end that is told starts a cooldown as well. What is stale comes in one late digest per
    receiver, alerts whose rule changed in one digest too. An end is not told where
    `send_resolved` is off, but counts as told: the next firing is a first one.
    """

    def __init__(
        self,
        route: Route,
        receivers: Mapping[str, Receiver],
        redactor: Redactor | None = None,
    ) -> None:
        self._route = route
        self._receivers = receivers
        self._groups = Groups()
        self._grouper = Grouper(route, self._groups)
        self._cooldowns = Cooldowns()
        self._writer = Writer(redactor)
        self._outbox: list[OutboxRow] = []
        self._decisions: list[GroupDecision] = []

    def restore(
        self,
        groups: Sequence[GroupRow],
        members: Sequence[MemberRow],
        told: Sequence[ToldRow],
        cooldowns: Sequence[CooldownRow],
    ) -> None:
        """Go on from stored rows, before anything is added or flushed.

        Alerts whose routes have changed since move; the next `drain` has the rows for that.
        """
        self._cooldowns = Cooldowns(cooldowns)
        GroupRestorer(self._route, self._groups).restore(groups, members, told)

    def add(self, transitions: Iterable[Transition], now: float) -> None:
        """File transitions into their groups at wall clock `now`; nothing is told yet."""
        for transition in transitions:
            self._grouper.add(transition, now)

    def flush(self, now: float, *, caught_up: bool) -> None:
        """Tell every group that is due at wall clock `now`.

        `caught_up`, every source is read to its end: then late digests wait no longer.
        """
        self._cooldowns.expire(now)
        if caught_up:
            for group in self._groups.late_digests():
                if group.told is None:  # else it holds what found no room, and waits its interval
                    self._groups.schedule(group, now)
        for group in self._groups.due(now):
            self._decide(group, now)

    def next_deadline(self) -> float | None:
        """Return the wall clock at which the next group is due, or None while none is."""
        return self._groups.next_due()

    def drain(self) -> NotifyDelta:
        """Return all that changed since the last call, to be committed in one transaction."""
        delta = self._groups.drain()
        delta.extend(self._cooldowns.drain())
        drained = NotifyDelta(delta, self._outbox, self._decisions)
        self._outbox, self._decisions = [], []
        return drained

    def _decide(self, group: Group, now: float) -> None:
        """Decide on a due group, do it, and say when to look again."""
        cooldown_end = partial(self._cooldowns.ends, group)
        choice = decide(group, now, cooldown_end)
        if choice.tell:
            self._tell(group, choice, now)
        if held := self._wait(group, choice.held):
            self._note(group, Reason.COOLDOWN, held, ())
        if group.members:
            self._groups.schedule(group, next_flush(group, cooldown_end))

    def _tell(self, group: Group, choice: Choice, now: float) -> None:
        receiver = self._receivers[group.receiver]
        unsent = [member.change for member in group.members.values() if member.unsent]
        before = group.told
        change = max([*unsent, before.change if before else 0])
        told = draft(choice.tell, receiver)
        rows = self._writer.rows(
            group, told, receiver, reason=choice.reason, change=change, now=now
        )
        silent = not rows and all(member.only_ends for member in choice.tell)
        # An end that nobody wants to hear of is no message: the repeat is due as it was.
        at = now if not silent else before.at if before else group.created
        group.told = Told(change, at, before.reference if before else "")
        self._outbox += rows
        reason = Reason.RESOLVED_NOT_SENT if silent else choice.reason
        self._note(group, reason, (*told.listed, *told.unheard), rows)
        for member in told.listed:
            self._cooldowns.start(group, member, now)
        for member in (*told.listed, *told.unheard):
            self._groups.mark_sent(group, member.ident)
        self._wait(group, told.left)

    def _wait(self, group: Group, members: Sequence[Member]) -> list[Member]:
        """Mark what is not told with the rest, so that the told number does not swallow it.

        Returns what was not marked before.
        """
        held = [member for member in members if not member.waiting]
        for member in held:
            self._groups.put(group, member.ident, replace(member, waiting=True))
        return held

    def _note(
        self, group: Group, reason: Reason, members: Sequence[Member], rows: Sequence[OutboxRow]
    ) -> None:
        names = tuple(sorted({member.alert.name for member in members}))
        self._decisions.append(
            GroupDecision(group.receiver, reason, bool(rows), len(members), names, group.id)
        )
