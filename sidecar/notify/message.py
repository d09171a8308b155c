"""What each destination of a receiver is told by one flush, as rows of the outbox."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from sidecar.notify.group import Group, GroupKind
from sidecar.notify.member import Ident, Member, Stage, said_of, stands
from sidecar.notify.model import (
    Notice,
    NoticeStatus,
    Notification,
    Reason,
    Receiver,
    severity_rank,
)
from sidecar.redact import Redactor
from sidecar.rows import AMBIGUOUS, Delta, MetaRow, OutboxRow
from sidecar.rules.alert import Alert
from sidecar.rules.rule import Key

# Past this many alerts nobody reads on, and Slack's limits are near; the rest is told next.
MAX_NOTICES = 50
# Of more than this no further message lists them: the one there is tells the rest by number.
MOST_LISTED = 4 * MAX_NOTICES
_TOP = 10
# Nobody reads what is only to be kept alive; but neither is it rendered in one go.
MAX_STANDING = 200
_ID_BYTES = 16
# The MetaRow that keeps how many alerts were never told of.
UNTOLD = "untold"


@dataclass(frozen=True, slots=True)
class Draft:
    """What a destination hears of a choice: `listed` has room in this message, `rest` has not.

    `unheard` are ends that it does not want to hear of. `untold`: so many ended before, which it
    never heard of. `whole`: the rest is told as well, by number.
    """

    listed: tuple[Member, ...]
    rest: tuple[Member, ...]
    unheard: tuple[Member, ...]
    untold: int = 0
    whole: bool = False

    @property
    def told(self) -> tuple[Member, ...]:
        """What counts as told by the message."""
        return (*self.listed, *self.rest) if self.whole else self.listed

    @property
    def left(self) -> tuple[Member, ...]:
        """What of the rest is for the group's next message. A repeat leaves nothing: that was told
        before and goes on.
        """
        return () if self.whole else tuple(member for member in self.rest if member.unsent)


def draft(tell: Iterable[Member], group: Group, untold: int = 0) -> Draft:
    """Divide what is to be told. What fires stands first, so that it finds room before all else."""
    in_order, to = _in_order(tell), group.to
    heard = [member for member in in_order if to.takes(member)]
    unheard = [member for member in in_order if not to.takes(member)]
    listed, rest = heard[:MAX_NOTICES], heard[MAX_NOTICES:]
    whole = to.burst > 0 and (group.kind is GroupKind.STORM or len(heard) > MOST_LISTED)
    return Draft(tuple(listed), tuple(rest), tuple(unheard), untold, whole)


# Returns an open alert as it is now, None where none is open.
Current = Callable[[Ident], Alert | None]


class Untold:
    """How many alerts each audience was never told of, because nothing could be delivered in time.

    The next message to it says so.
    """

    def __init__(self, stored: str = "{}") -> None:
        self._counts = msgspec.json.decode(stored, type=dict[str, int])
        self._changed = False

    def add(self, receiver: str, to: tuple[str, str], alerts: int) -> None:
        """Add alerts that those behind `to` (kind and name) are not told of one by one."""
        if alerts:
            key = _audience(receiver, to)
            self._counts[key] = self._counts.get(key, 0) + alerts
            self._changed = True

    def take(self, receiver: str, to: tuple[str, str]) -> int:
        """Return how many there are to speak of, for the message that will; 0 from then on."""
        alerts = self._counts.pop(_audience(receiver, to), 0)
        self._changed |= bool(alerts)
        return alerts

    def drain(self) -> Delta:
        """Return the row that changed since the last call, if it did."""
        if not self._changed:
            return Delta()
        self._changed = False
        return Delta(rows=[MetaRow(UNTOLD, msgspec.json.encode(self._counts).decode())])


def _audience(receiver: str, to: tuple[str, str]) -> str:
    return f"{receiver}@{to[0]}/{to[1]}"


def notification_of(row: OutboxRow) -> Notification | None:
    """Return what a row tells, None if that cannot be read."""
    try:
        return msgspec.json.decode(row.payload, type=Notification)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def rewritten(row: OutboxRow, before: Notification, now: Notification) -> OutboxRow:
    """Return a waiting message, which said `before`, with what it says `now`.

    What it may have told, and does not say now, stays in doubt.
    """
    told = {(one.name, one.key) for one in now.said}
    maybe = (*before.doubted, *(before.said if row.detail.startswith(AMBIGUOUS) else ()))
    doubted = [one for one in maybe if (one.name, one.key) not in told]
    return msgspec.structs.replace(
        row,
        payload=msgspec.json.encode(msgspec.structs.replace(now, doubted=doubted)).decode(),
        plain=False,
        destination=now.destination,
        topic=topic_of(now),
    )


class Writer:
    """Writes the outbox row of a flush; labels are redacted, events already are.

    What still fires is told with the numbers of now, which `current` knows, and not with those of
    its last transition.
    """

    def __init__(self, redactor: Redactor | None, current: Current) -> None:
        self._redactor = redactor
        self._current = current

    def row(
        self, group: Group, told: Draft, receiver: Receiver, reason: Reason, now: float
    ) -> OutboxRow:
        """Return the message for the group's destination, claimed at wall clock `now`."""
        notification = self.notification(group, told, reason, now)
        return _row(notification, group, receiver, now)

    def notification(self, group: Group, told: Draft, reason: Reason, now: float) -> Notification:
        """Return what the group's destination is to be told."""
        everyone = (*told.listed, *told.rest)
        change = max((m.change for m in group.members.unsent.values()), default=0)
        first = told.listed[0].status
        still = _still_firing(group, (*told.told, *told.left))
        unlisted = len(told.told) - len(told.listed)
        return Notification(
            id=_digest(*_sent_to(group), change, now),
            receiver=group.receiver,
            integration=group.to.integration,
            index=group.to.index,
            destination=group.to.name,
            reason=reason,
            group=group.name,
            group_labels=self._labels(group.labels),
            notices=list(map(self._notice, told.listed)),
            at=now,
            late=group.kind is GroupKind.LATE,
            more=len(told.left),
            still_firing=still.total(),
            route=", ".join(map(str, group.route.matchers)),
            still_severity=max(still, key=severity_rank, default=""),
            counts=Counter(member.status for member in everyone),
            names=self._names(m for m in everyone if m.status is first),
            change=max(change, group.told.change if group.told else 0),
            untold=told.untold,
            said=list(map(said_of, told.told)),
            unlisted=unlisted,
            instead_of=self._instead_of(told.listed),
            top=self._top(told.told) if unlisted else [],
            thread=_digest(*group.audience, group.id, group.created),
            beside=self._beside(group, told) if group.to.threads else [],
        )

    def _top(self, told: Iterable[Member]) -> list[tuple[str, int]]:
        counts = Counter(member.alert.name for member in told).most_common(_TOP)
        return [(self._labels({"alertname": name})["alertname"], n) for name, n in counts]

    def _instead_of(self, told: Iterable[Member]) -> str:
        """Return whom it is told in the place of; once that was said it is said no more."""
        words = next((m.instead_of for m in told if m.instead_of and not m.told_at), "")
        return words if self._redactor is None else self._redactor.text(words)

    def _beside(self, group: Group, told: Draft) -> list[Notice]:
        roots = {member.reference for member in told.listed} - {""}
        said = {member.ident for member in (*told.told, *told.left)}
        beside = [m for ident, m in group.members.items() if m.fires and ident not in said]
        beside = [member for member in _in_order(beside) if member.reference in roots]
        return list(map(self._notice, beside[:MAX_NOTICES]))

    def standing(self, groups: Sequence[Group], now: float) -> Iterator[Notification]:
        """Yield what the destination of `groups` knows to fire, for who forgets otherwise.

        It is no news: nothing is noted of it, and alerts of many groups stand in one message.
        """
        for receiver in dict.fromkeys(group.receiver for group in groups):
            mine = [group for group in groups if group.receiver == receiver]
            members = [m for group in mine for m in group.members.values() if stands(m)]
            for start in range(0, len(members), MAX_STANDING):
                some = Draft(tuple(members[start : start + MAX_STANDING]), (), ())
                yield self.notification(mine[0], some, Reason.REPEAT, now)

    def _names(self, members: Iterable[Member]) -> list[str]:
        names = dict.fromkeys(member.alert.name for member in members)
        return [self._labels({"alertname": name})["alertname"] for name in names]

    def _notice(self, member: Member) -> Notice:
        notice = Notice.of(self._now(member))
        return msgspec.structs.replace(
            notice,
            status=member.status,
            labels=self._labels(notice.labels),
            ended_at=member.alert.ended_at if member.stage is Stage.ENDED else None,
            held=member.held,
            late_by=member.late_by,
            escalated_to=member.escalated_to,
            grew=member.only_grew,
            repeated=not member.unsent or member.only_repeats,
            acked=member.acked,
            reference=member.reference,
        )

    def _now(self, member: Member) -> Alert:
        told = member.alert
        now = None if member.stage is Stage.ENDED else self._current(member.ident)
        if now is None or now.episode != told.episode:
            return told
        return msgspec.structs.replace(
            told,
            value=now.value,
            event=now.event,
            collected=now.collected,
            annotations=now.annotations,
            times=now.times,
            seen_at=now.seen_at,
        )

    def _labels(self, labels: dict[str, str]) -> dict[str, str]:
        return labels if self._redactor is None else self._redactor.fields(labels)


_PLACE = {status: place for place, status in enumerate(NoticeStatus)}


def _in_order(members: Iterable[Member]) -> list[Member]:
    """Return what fires before what ended, of each what is new first, the gravest, the oldest."""
    return sorted(members, key=_order)


def _order(member: Member) -> tuple[int, bool, int, float, str, Key]:
    alert = member.alert
    gravity = severity_rank(member.escalated_to or alert.severity)
    return (_PLACE[member.status], not member.unsent, -gravity, alert.since, alert.name, alert.key)


def _still_firing(group: Group, told: Iterable[Member]) -> Counter[str]:
    """Return how many the receiver knows to fire that are not among `told`, by severity."""
    known = [group.members.get(ident) for ident in {member.ident for member in told}]
    return group.members.firing - Counter(m.alert.severity for m in known if m and m.fires)


def _sent_to(group: Group) -> tuple[str | int, ...]:
    to = group.to
    return (group.receiver, to.integration, to.index, to.name, group.id)


def _digest(*parts: str | float) -> str:
    """Return an identity: equal parts give an equal one, on any machine, at any time."""
    return blake2b(msgspec.json.encode(parts), digest_size=_ID_BYTES).hexdigest()


def _row(notification: Notification, group: Group, receiver: Receiver, now: float) -> OutboxRow:
    return OutboxRow(
        id=notification.id,
        receiver=notification.receiver,
        integration=notification.integration,
        destination=notification.destination,
        group_id=group.id,
        created=now,
        attempt=0,
        claimed_at=now,
        next_at=now,
        expires_at=now + receiver.max_age,
        outcome="",
        detail="",
        reference="",
        payload=msgspec.json.encode(notification).decode(),
        topic=topic_of(notification),
    )


def topic_of(notification: Notification) -> str:
    """Return severity and name of the alert that a message tells first: the gravest that fires."""
    labels = notification.notices[0].labels
    return f"{labels.get('severity', '')} {labels.get('alertname', '')}"
