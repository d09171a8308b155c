"""The front door of deciding: alert transitions in, messages for the outbox out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import zip_longest

import msgspec
from msgspec.structs import replace

from sidecar.matchers import Matcher
from sidecar.notify.audit import Trail, Wait, decided, instant, waits
from sidecar.notify.cooldowns import Cooldowns, Floods, Owners
from sidecar.notify.decide import (
    Choice,
    CooldownEnd,
    GroupDecision,
    Muted,
    decide,
    flush_for_unsent,
    next_flush,
    repeats,
)
from sidecar.notify.fallback import Fallback
from sidecar.notify.group import NOWHERE, Group, GroupKind, Groups, Told, heard_of
from sidecar.notify.grouper import Grouper
from sidecar.notify.member import Ident, Member, Stage, said_of
from sidecar.notify.message import Current, Untold, Writer, draft, notification_of, rewritten
from sidecar.notify.model import Ack, Notification, Reason, Receiver, Route, Said
from sidecar.notify.mutes import Mute, Mutes, Silence, route_of
from sidecar.notify.restore import GroupRestorer
from sidecar.notify.unacked import Unacked
from sidecar.redact import Redactor
from sidecar.rows import (
    AMBIGUOUS,
    EXPIRED,
    SENT,
    WITHDRAWN,
    CooldownRow,
    Delta,
    GroupRow,
    MemberRow,
    OutboxRow,
    SilenceRow,
    ToldRow,
)
from sidecar.rules.alert import Alert, Transition

# Of more groups than this that are due at once, what is rare goes first.
_MUCH = 5


def _rule_of(group: Group) -> str:
    """Return the name of an alert that the group has to tell of."""
    return next((m.alert.name for m in group.members.unsent.values()), "")


class NotifyDelta(msgspec.Struct):
    """What changed since the last drain; to be written are `delta` and the rows of `outbox`."""

    delta: Delta = msgspec.field(default_factory=Delta)
    outbox: list[OutboxRow] = msgspec.field(default_factory=list)
    decisions: list[GroupDecision] = msgspec.field(default_factory=list)


class Notifier:
    """Groups alerts under routes and decides when each group's receiver is told what.

    Times are wall clock, seconds since the epoch. A group waits `group_wait` before it is first
    told (`group_limit` waiting alerts end that early) and `group_interval` between messages; what
    still fires is said again `repeat_interval` after it was last told. A message lists what is new,
    or due to be said again:

    - an alert that fired; that ended, if its firing was told; that fired and ended since (several
      such episodes are one notice that counts the others as `held`);
    - one that escalated to another audience: once, and from then on only its end.

    What fires comes before what ended; what finds no room in a message (MAX_NOTICES) counts as
    untold and is for the group's next one, `group_interval` later.

    A repeat or another firing of an alert at a severity whose cooldown runs waits in its group
    until that is over; an end that is told starts a cooldown as well, and is held back by none.
    What is stale comes in one late digest per receiver, alerts whose rule changed in one digest
    too. An end is not told where `send_resolved` is off, but counts as told: the next firing is a
    first one.
    """

    def __init__(
        self,
        route: Route,
        receivers: Mapping[str, Receiver],
        redactor: Redactor | None = None,
        current: Current = lambda _: None,
        *,
        mutes: Mutes | None = None,
        trail: Trail | None = None,
    ) -> None:
        self._trail = trail or Trail(redactor)
        self._mutes = mutes or Mutes()
        self._muted: dict[str, None] = {}  # groups that hold something back for it
        self._unmuted_at: float | None = None
        self._route = route
        self._receivers = receivers
        self._groups = Groups()
        self.unacked = Unacked(receivers, self._groups)
        self._grouper = Grouper(route, receivers, self._groups, self.unacked)
        self.fallback = Fallback(route, receivers, self._groups, self._grouper, self._trail)
        self._cooldowns = Cooldowns()
        self._untold = Untold()
        self._writer = Writer(redactor, current)
        self._latest = 0.0  # the last `now`
        self._outbox: list[OutboxRow] = []
        self._claimed: set[tuple[str, str]] = set()
        self._floods = Floods()
        self._owners = Owners()
        self._decisions: list[GroupDecision] = []

    def restore(
        self,
        groups: Sequence[GroupRow],
        members: Sequence[MemberRow],
        told: Sequence[ToldRow],
        cooldowns: Sequence[CooldownRow],
        now: float,
        *,
        untold: str = "{}",
        owners: str = "{}",
        silences: Sequence[SilenceRow] = (),
        alerts: Iterable[Alert] = (),
    ) -> None:
        """Go on from stored rows at wall clock `now`, before anything is taken or flushed.

        `alerts` are those that are open. Alerts whose routes have changed since move, and what is
        due is worked out from today's routes; the next `drain` has the rows for that.
        """
        self._cooldowns, self._untold = Cooldowns(cooldowns), Untold(untold)
        self._owners = Owners(owners)
        self._mutes.restore(silences, alerts)
        GroupRestorer(self._route, self._receivers, self._groups).restore(groups, members, told)
        for group in self._groups.by_id.values():
            if group.members.muted:
                self._muted[group.id] = None
        self._reckon(now)

    def _reckon(self, now: float) -> None:
        """Work out anew when each group is due, with no instant beyond `now` to start from.

        The clock may have been set back since such an instant was noted.
        """
        self._latest = now
        self._cooldowns.set_back(now)
        self._mutes.set_back(now)
        self._mutes.changed = True
        for group in self._groups.by_id.values():
            if group.created > now or (group.told is not None and group.told.at > now):
                group.created = min(group.created, now)
                if group.told is not None:
                    group.told.at = min(group.told.at, now)
                self._groups.touch(group)
            for ident, member in group.members.items():
                if max(member.told_at, member.came) > now:
                    told_at, came = min(member.told_at, now), min(member.came, now)
                    self._groups.put(group, ident, replace(member, told_at=told_at, came=came))
            stored = group.next_flush if group.members.unsent else None
            self._schedule_no_later(group, stored, now)
        self.unacked.reckon()

    def _schedule_no_later(self, group: Group, than: float | None, now: float) -> None:
        """Have a group looked at when what it holds is due, or earlier; None: whenever that is."""
        due = (next_flush(group, *self._holds(group, now)), than)
        self._groups.schedule(group, min((at for at in due if at is not None), default=None))

    def add(self, transitions: Iterable[Transition], now: float) -> None:
        """File transitions into their groups at wall clock `now`; nothing is told yet."""
        for transition in transitions:
            self._mutes.note(transition)
            self._grouper.add(transition, now)

    def flush(self, now: float, *, caught_up: bool, at_once: bool = False) -> None:
        """Tell every group that is due at wall clock `now`.

        `caught_up`, every source is read to its end: then late digests wait no longer. `at_once`:
        each message counts as accepted as soon as it is decided on.
        """
        if now < self._latest:
            self._reckon(now)
        self._latest = now
        self._cooldowns.expire(now)
        self._look_at_mutes(now)
        if caught_up:
            for group in self._groups.late_digests():
                # One that was told holds what found no room, and waits its interval.
                if group.told is None and not group.refused:
                    self._groups.schedule(group, now)
        self.unacked.pass_on(now, self._grouper.bring)
        for group in self._in_turn(self._groups.due(now)):
            decided = len(self._outbox)
            self._decide(group, now)
            for row in self._outbox[decided:] if at_once else ():
                self.end(replace(row, outcome=SENT), now)
        if self._muted and self._unmuted_at is None:
            self._unmuted_at = self._mutes.next_change(now)

    def _in_turn(self, due: list[Group]) -> list[Group]:
        """Put what is rare first where much is due, so that a flood of one kind hides no other.

        And count what is on its way to whom.
        """
        if due:
            groups = self._groups.by_id.values()
            self._floods.under_way = Counter(group.audience for group in groups if group.sending)
        if len(due) <= _MUCH:
            return due
        numbers = Counter(map(_rule_of, due))
        return sorted(due, key=lambda group: numbers[_rule_of(group)])

    def _look_at_mutes(self, now: float) -> None:
        """Have the groups that hold something back decided on again, where that may be over."""
        if self._unmuted_at is not None and self._unmuted_at <= now:
            self._mutes.changed = True
        if self._mutes.changed:
            self._mutes.changed, self._unmuted_at = False, None
            # Each stays until it is decided on: a message on its way, or an ack, may come first.
            self._muted = {id_: None for id_ in self._muted if id_ in self._groups.by_id}
            for group in [self._groups.by_id[id_] for id_ in self._muted]:
                due = flush_for_unsent(group, now)
                self._groups.schedule(group, min(due, group.next_flush or due))
        self._mutes.forget(now)

    def _mute_of(self, group: Group, now: float, member: Member) -> Mute | None:
        return self._mutes.of(route_of(group, member, self._groups, self._route), member, now)

    def _keep(self, group: Group, choice: Choice) -> None:
        """Mark what is muted, unmark what is no longer, and drop what nobody needs to hear."""
        self._muted.pop(group.id, None)
        for member, mute in choice.muted:
            words = f"{mute.reason.value} by {mute.by}"
            self._muted[group.id] = None
            if member.muted != words:
                waiting = member.waiting or member.unsent
                new = replace(member, muted=words, waiting=waiting)
                never = group.to.owner and mute.reason is Reason.SILENCED
                self._groups.put(group, member.ident, None if never else new)
                self._note(group, mute.reason, [member], (), mute.by)
        for ident in [m.ident for m in (*choice.tell, *choice.held) if m.muted]:
            self._groups.put(group, ident, replace(group.members[ident], muted=""))
        for member, mute in choice.lost:
            self._groups.put(group, member.ident, None)
            self._note(group, mute.reason, [member], (), mute.by)

    def end(self, row: OutboxRow, now: float) -> None:
        """Take it that a message has ended at wall clock `now`: only what is accepted is told.

        What a message said that was given up is to be told again, with what came since.
        """
        group = self._groups.by_id.get(row.group_id)
        told = notification_of(row)
        if told is not None and row.outcome != SENT:
            self._untold.add(row.receiver, (row.integration, row.destination), told.untold)
        if group is None or group.sending != row.id:
            self._end_elsewhere(row, told, now)
            return
        group.sending = ""
        self._floods.under_way[group.audience] -= 1
        self._groups.touch(group)
        for one in told.doubted if told else ():
            self._groups.doubt((one.name, one.key), group.shares)
        if group.to.owner and (row.outcome == SENT or row.detail.startswith(AMBIGUOUS)):
            self._owners.count(group, now)
        if row.outcome == SENT and told is not None:
            self._accept(group, told, row.reference, now)
        elif group.to.owner and row.detail:
            named = [(said.name, said.key) for said in told.said] if told else []
            members = [group.members[ident] for ident in named if ident in group.members]
            doubt = row.detail.replace(AMBIGUOUS, "it may have arrived: ")
            self.fallback.take_owners(group, members, doubt, now)
        else:
            group.refused = True
            self._unheard(group, row, told.said if told else ())
        if group.members:
            due = next_flush(group, *self._holds(group, now))
            wait = 0.0 if row.outcome in (EXPIRED, WITHDRAWN) else group.route.group_interval
            self._groups.schedule(group, due if not group.refused else now + wait)
        else:
            self._groups.forget(group)

    def _end_elsewhere(self, row: OutboxRow, told: Notification | None, now: float) -> None:
        """Take what is of an earlier version, or whose group's alerts have moved."""
        if told is not None:
            knows = partial(heard_of, row, self._receivers)
            for one in (*told.doubted, *(told.said if row.detail.startswith(AMBIGUOUS) else ())):
                self._groups.doubt((one.name, one.key), knows)
            for said in told.said if row.outcome == SENT else ():
                self._groups.accept_by(said, now, knows)

    def renewed(self, row: OutboxRow, now: float) -> OutboxRow | None:
        """Return a waiting message as it has to read now, None if there is nothing left to say.

        One to an owner who is not to be mailed now comes back ended, and says why.
        """
        group = self._groups.by_id.get(row.group_id)
        before = notification_of(row)
        if before is None or not before.said:
            return row  # unreadable, which shows when it is sent; or of an earlier version
        if group is None or group.sending != row.id:
            return None
        choice = decide(group, now, *self._holds(group, now))
        told = draft(choice.tell, group, before.untold)
        if not told.listed:
            return None
        if group.to.owner and (why := self._owners.refuses(group, now)):
            return replace(row, outcome=WITHDRAWN, detail=why)
        if [said_of(member) for member in told.told] == before.said:
            return row
        new = self._writer.notification(group, told, choice.reason, now)
        return rewritten(row, before, new)

    def _accept(self, group: Group, told: Notification, reference: str, now: float) -> None:
        """Mark as told what the message said, and start the cooldowns."""
        for said, notice in zip_longest(told.said, told.notices):
            self._groups.accept(group, said, now)
            self.fallback.heard(group, said)
            if group.to.threads and reference:
                belongs = told.reference_of(notice, reference) if notice else reference
                self._groups.refer(group, said, belongs)
            self._cooldowns.start(group, said, now)
            for home in self._groups.end_wait(group, (said.name, said.key), now):
                self._schedule_no_later(home, home.next_flush, now)
        if any(notice.repeated for notice in told.notices):
            self._repeat_rest(group, now)
        change = max(told.change, group.told.change if group.told else 0)
        group.told, group.refused = Told(change, now, reference), False
        self._wait(group, [m for m in group.members.unsent.values() if m.change <= change])

    def _repeat_rest(self, group: Group, now: float) -> None:
        """Count what was due to be said again as said: what had no room is told by number."""
        for member in [member for member, _ in repeats(group, now)]:
            self._groups.mark_sent(group, member.ident, now)

    def _unheard(self, group: Group, row: OutboxRow, said: Iterable[Said]) -> None:
        """Drop what nobody heard of and is not to be told: moved away, or ended and expired."""
        doubt = row.detail.startswith(AMBIGUOUS)
        for one in said:
            ident = (one.name, one.key)
            if doubt:
                self._groups.doubt(ident, group.shares)
            member = group.members.get(ident)
            if member is None or member.open or member.doubted:
                continue
            over = member.stage is Stage.ENDED and row.outcome == EXPIRED
            if over or member.stage is Stage.MOVED:
                self._groups.put(group, member.ident, None)
                if over:
                    self._untold.add(row.receiver, (row.integration, row.destination), 1)
                    self._note(group, Reason.EXPIRED, [member], ())

    def standing(self, to: tuple[str, str], now: float) -> list[Notification]:
        """Return what a destination (kind and name) was told that fires, and that still does."""
        groups = (g for g in self._groups.by_id.values() if g.kind is GroupKind.ROUTE)
        return [*self._writer.standing([g for g in groups if g.audience[1:] == to], now)]

    def next_deadline(self) -> float | None:
        """Return the wall clock at which something is due next, or None while nothing is."""
        unmuted = self._unmuted_at if self._muted else None
        due = (self._groups.next_due(), self.unacked.next_due(), unmuted)
        return min((at for at in due if at is not None), default=None)

    def unsent_due(self) -> list[float]:
        """Return when groups with something to tell are due, the first first; wall clock."""
        groups = self._groups.by_id.values()
        due = [g.next_flush for g in groups if g.members.unsent]
        return sorted(at for at in due if at is not None)

    def waits(self) -> list[Wait]:
        """Return what waits for its group's next message."""
        return list(waits(self._groups.by_id.values()))

    def ack(self, matchers: Sequence[Matcher], by: str, comment: str, now: float) -> list[Alert]:
        """Let all that fires and passes the matchers be acknowledged; return which alerts."""
        alerts, touched = self.unacked.ack(matchers, Ack(by, now, comment))
        words = f"by {by or 'somebody'}{f': {comment}' if comment else ''}"
        for alert in alerts:
            self._trail.note(now, "acknowledged", alert.labels, words)
        for group in touched:
            said = any(member.only_acked for member in group.members.values())
            due = now if said else next_flush(group, *self._holds(group, now))
            self._groups.schedule(group, due)
        return alerts

    def silence(self, row: SilenceRow) -> None:
        """Hold back from now on what the silence is about."""
        self._mutes.add(row)
        self._unmuted_at = None

    def unsilence(self, id_: str, now: float) -> bool:
        """End a silence now; return whether there was one that was not over."""
        return self._mutes.expire(id_, now)

    def silences(self, now: float) -> list[tuple[Silence, list[Alert]]]:
        """Return all silences, the newest first, with the firing alerts that each mutes now."""
        groups = (g for g in self._groups.by_id.values() if g.kind is GroupKind.ROUTE)
        members = (m for g in groups for m in g.members.values() if m.stage is Stage.FIRING)
        firing = list({member.ident: member.alert for member in members}.values())
        return [
            (one, [a for a in firing if one.active(now) and one.takes(a.labels)])
            for one in self._mutes.silences()
        ]

    def acked(self) -> dict[Ident, Ack]:
        """Return who has taken which alert."""
        return self.unacked.acked()

    def drain(self) -> NotifyDelta:
        """Return all that changed since the last call, to be committed in one transaction."""
        delta = self._groups.drain()
        delta.extend(self._cooldowns.drain())
        delta.extend(self._untold.drain())
        delta.extend(self._owners.drain())
        delta.extend(self._mutes.drain())
        drained = NotifyDelta(delta, self._outbox, self._decisions)
        self._outbox, self._decisions = [], []
        self._claimed.clear()
        return drained

    def _decide(self, group: Group, now: float) -> None:
        """Decide on a due group, do it, and say when to look again."""
        choice = decide(group, now, *self._holds(group, now))
        self._keep(group, choice)
        owner = bool(choice.tell) and group.to.owner
        if owner and (why := self._owners.refuses(group, now)):
            self.fallback.take_owners(group, choice.tell, why, now)
        elif choice.tell and self._floods.exceeds(group, choice.tell, now):
            self._grouper.fold(group, choice.tell, now)
        elif choice.tell:
            self._tell(group, choice, now)
        for member in self._wait(group, choice.held):
            until = instant(self._cooldowns.ends(group, member))
            self._note(group, Reason.COOLDOWN, [member], (), f"until {until}")
        if group.members:
            self._groups.schedule(group, next_flush(group, *self._holds(group, now)))

    def _holds(self, group: Group, now: float) -> tuple[CooldownEnd, Muted]:
        return partial(self._cooldowns.ends, group), partial(self._mute_of, group, now)

    def _tell(self, group: Group, choice: Choice, now: float) -> None:
        """Send the choice on its way; what nobody hears counts as told at once."""
        receiver = self._receivers[group.receiver]
        told = draft(choice.tell, group)
        rows: list[OutboxRow] = []
        if told.listed and group.to is not NOWHERE:
            untold = self._untold.take(group.receiver, (group.to.integration, group.to.name))
            told = draft(choice.tell, group, untold)
            row = self._writer.row(group, told, receiver, choice.reason, now)
            # One at a time goes to a destination: what waits behind it is not under way. Of mails
            # to owners each is looked at once more before it goes out.
            under_way = (row.integration, row.destination) in self._claimed or group.to.owner
            rows = [replace(row, claimed_at=None) if under_way else row]
            self._claimed.add((row.integration, row.destination))
            group.sending = rows[0].id
            self._floods.under_way[group.audience] += 1
            self._groups.touch(group)
            self._outbox += rows
        for member in choice.tell if group.to is NOWHERE else told.unheard:
            self._groups.mark_sent(group, member.ident, now)
        reason = choice.reason if told.listed else Reason.RESOLVED_NOT_SENT
        self._note(group, reason, (*told.told, *told.unheard), rows)

    def _wait(self, group: Group, members: Sequence[Member]) -> list[Member]:
        """Mark news that is not told with the rest, so that the told number does not swallow it.

        Returns what was not marked before.
        """
        held = [member for member in members if not member.waiting]
        for ident in [member.ident for member in held]:
            self._groups.put(group, ident, replace(group.members[ident], waiting=True))
        return held

    def _note(
        self,
        group: Group,
        reason: Reason,
        members: Sequence[Member],
        rows: Sequence[OutboxRow],
        by: str = "",
    ) -> None:
        to = f"{group.receiver} {group.to.name}".strip()
        kind, detail = decided(reason.value, to, rows[0].id if rows else "", by)
        for member in members:
            self._trail.note(self._latest, kind, member.alert.labels, detail)
        names = tuple(sorted({member.alert.name for member in members}))
        if group.to.place or not members:
            return  # a decision is the receiver's, whoever hears of it
        self._decisions.append(
            GroupDecision(group.receiver, reason, bool(rows), len(members), names, group.name, by)
        )
