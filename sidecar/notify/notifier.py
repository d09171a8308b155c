"""Who is told what, and when: transitions in, messages for the outbox out."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import msgspec

from sidecar.notify.cooldown import Cooldowns
from sidecar.notify.decide import Choice, decide, next_flush
from sidecar.notify.group import Group, Ledger, Told
from sidecar.notify.intake import Intake
from sidecar.notify.member import Member
from sidecar.notify.memory import Memory
from sidecar.notify.message import MAX_NOTICES, Writer, destinations
from sidecar.notify.model import NoticeStatus, Reason, Receiver, Route
from sidecar.notify.redact import Redactor
from sidecar.rows import CooldownRow, Delta, GroupRow, MemberRow, OutboxRow, ToldRow
from sidecar.rules.alert import Transition


class Decision(msgspec.Struct, frozen=True):
    """A decision on a group, for metric and log: whether `alerts` alerts were told, and why."""

    receiver: str
    reason: Reason
    told: bool
    alerts: int
    names: tuple[str, ...]  # alert names, sorted, each once
    group: str = ""


class NotifyDelta(msgspec.Struct):
    """What changed since the last drain. `outbox` repeats the outbox rows that `delta` holds."""

    delta: Delta = msgspec.field(default_factory=Delta)
    outbox: list[OutboxRow] = msgspec.field(default_factory=list)
    decisions: list[Decision] = msgspec.field(default_factory=list)


class Notifier:
    """Groups alerts under routes and decides when each group's receiver is told what.

    Times are wall clock, seconds since the epoch. A group waits `group_wait` before it is first
    told (`group_limit` waiting alerts end that early) and `group_interval` between messages with
    news; what still fires is said again after `repeat_interval`. A message lists what is new:

    - an alert that fired; that ended, if its firing was told; that fired and ended since (several
      such episodes are one notice that counts the others as `held`);
    - one that escalated to another audience: once, and from then on only its end;
    - nothing about the expiry of an alert whose firing was told.

    News about an alert at a severity whose cooldown runs waits in its group until that is over;
    an end that is told starts a cooldown as well. What is stale comes in one late digest per
    receiver, alerts whose rule changed in one digest too. An end is not told where
    `send_resolved` is off, but counts as told: the next firing is a first one.
    """

    def __init__(
        self,
        route: Route,
        receivers: Mapping[str, Receiver],
        redactor: Redactor | None = None,
        *,
        most: int = MAX_NOTICES,
    ) -> None:
        self._route = route
        self._receivers = receivers
        self._ledger = Ledger()
        self._intake = Intake(route, self._ledger)
        self._cooldowns = Cooldowns()
        self._writer = Writer(redactor, most)
        self._outbox: list[OutboxRow] = []
        self._decisions: list[Decision] = []

    def restore(
        self,
        groups: Sequence[GroupRow],
        members: Sequence[MemberRow],
        told: Sequence[ToldRow],
        cooldowns: Sequence[CooldownRow],
    ) -> None:
        """Go on from stored rows, before anything is taken or flushed.

        Alerts whose routes have changed since move; the next `drain` has the rows for that.
        """
        self._cooldowns = Cooldowns(cooldowns)
        Memory(self._route, self._ledger).restore(groups, members, told)

    def take(self, transitions: Iterable[Transition], now: float) -> None:
        """File transitions into their groups at wall clock `now`; nothing is told yet."""
        for transition in transitions:
            self._intake.take(transition, now)

    def flush(self, now: float, *, caught_up: bool) -> None:
        """Tell every group that is due at wall clock `now`.

        `caught_up`, every source is read to its end: then late digests wait no longer.
        """
        self._cooldowns.forget(now)
        if caught_up:
            for group in self._ledger.late_digests():
                self._ledger.schedule(group, now)
        for group in self._ledger.due(now):
            self._decide(group, now)

    def next_deadline(self) -> float | None:
        """Return the wall clock at which the next group is due, or None while none is."""
        return self._ledger.next_due()

    def drain(self) -> NotifyDelta:
        """Return all that changed since the last call, to be committed in one transaction."""
        delta = self._ledger.drain()
        delta.extend(self._cooldowns.drain())
        delta.rows += self._outbox
        drained = NotifyDelta(delta, self._outbox, self._decisions)
        self._outbox, self._decisions = [], []
        return drained

    def _decide(self, group: Group, now: float) -> None:
        """Decide on a due group, do it, and say when to look again."""
        rest = partial(self._cooldowns.ends, group)
        choice = decide(group, now, rest)
        if choice.tell:
            self._tell(group, choice, now)
        self._hold(group, choice)
        if group.members:
            self._ledger.schedule(group, next_flush(group, rest))

    def _tell(self, group: Group, choice: Choice, now: float) -> None:
        receiver = self._receivers[group.receiver]
        news = [member.change for member in group.members.values() if member.news]
        before = group.told
        change = max([*news, before.change if before else 0])
        rows = self._writer.rows(group, choice, receiver, change, now)
        silent = not rows and all(m.status is NoticeStatus.RESOLVED for m in choice.tell)
        # An end that nobody wants to hear of is no message: the repeat is due as it was.
        at = now if not silent else before.at if before else group.created
        group.told = Told(change, at, before.reference if before else "")
        self._outbox += rows
        self._note(group, Reason.RESOLVED_NOT_SENT if silent else choice.reason, choice.tell, rows)
        self._settle(group, choice.tell, receiver, now)

    def _settle(
        self, group: Group, members: Sequence[Member], receiver: Receiver, now: float
    ) -> None:
        """Mark members as told, and start the cooldowns of those that a message was about."""
        places = tuple(destinations(receiver))
        for member in members:
            if any(place.takes(member) for place in places):
                self._cooldowns.start(group, member, now)
            self._ledger.settle(group, (member.alert.name, member.alert.key))

    def _hold(self, group: Group, choice: Choice) -> None:
        """Mark news that a cooldown holds back, so that the told number does not swallow it."""
        held = [member for member in choice.held if not member.waiting]
        for member in held:
            waiting = msgspec.structs.replace(member, waiting=True)
            self._ledger.put(group, (member.alert.name, member.alert.key), waiting)
        if held:
            self._note(group, Reason.COOLDOWN, held, ())

    def _note(
        self, group: Group, reason: Reason, members: Sequence[Member], rows: Sequence[OutboxRow]
    ) -> None:
        names = tuple(sorted({member.alert.name for member in members}))
        self._decisions.append(
            Decision(group.receiver, reason, bool(rows), len(members), names, group.id)
        )
