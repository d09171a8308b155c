"""What each destination of a receiver is told by one flush, as rows of the outbox."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from sidecar.notify.group import Group, GroupKind
from sidecar.notify.member import Member, Stage
from sidecar.notify.model import (
    Notice,
    NoticeStatus,
    Notification,
    Reason,
    Receiver,
    severity_rank,
)
from sidecar.redact import Redactor
from sidecar.rows import OutboxRow
from sidecar.rules.rule import Key

# Past this many alerts nobody reads on, and Slack's limits are near; the rest is told next.
MAX_NOTICES = 50
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Destination:
    """One of those a receiver tells: `index` is its config's place in the kind's section."""

    integration: str
    index: int
    name: str
    send_resolved: bool

    def takes(self, member: Member) -> bool:
        return self.send_resolved or not member.only_ends


def destinations(receiver: Receiver) -> Iterator[Destination]:
    for kind, configs in receiver.configs.items():
        for index, config in enumerate(configs):
            for name in config.destinations():
                yield Destination(kind, index, name, config.send_resolved)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a receiver hears of a choice: `listed` has room in this message, `rest` has not.

    `unheard` are ends that none of its destinations wants to hear of.
    """

    listed: tuple[Member, ...]
    rest: tuple[Member, ...]
    unheard: tuple[Member, ...]

    @property
    def left(self) -> tuple[Member, ...]:
        """What of the rest is for the group's next message. A repeat leaves nothing: that was told
        before and goes on.
        """
        return tuple(member for member in self.rest if member.unsent)


def draft(tell: Iterable[Member], receiver: Receiver) -> Draft:
    """Divide what is to be told. What fires stands first, so that it finds room before all else."""
    places = tuple(destinations(receiver))
    heard: list[Member] = []
    unheard: list[Member] = []
    for member in _in_order(tell):
        (heard if any(place.takes(member) for place in places) else unheard).append(member)
    return Draft(tuple(heard[:MAX_NOTICES]), tuple(heard[MAX_NOTICES:]), tuple(unheard))


class Writer:
    """Writes the outbox rows of a flush; labels are redacted, events already are."""

    def __init__(self, redactor: Redactor | None) -> None:
        self._redactor = redactor

    def rows(
        self,
        group: Group,
        told: Draft,
        receiver: Receiver,
        *,
        reason: Reason,
        change: int,
        now: float,
    ) -> list[OutboxRow]:
        """Return one row per destination that takes any of it, claimed at wall clock `now`.

        `change` is the number up to which the group is told by this.
        """
        notices = {id(member): self._notice(member) for member in told.listed}
        still_firing = _still_firing(group, (*told.listed, *told.left))
        rows = []
        for destination in destinations(receiver):
            taken = list(filter(destination.takes, told.listed))
            if not taken:
                continue
            everyone = [*taken, *filter(destination.takes, told.rest)]
            notification = Notification(
                id=_message_id(group, destination, change, now),
                receiver=receiver.name,
                integration=destination.integration,
                index=destination.index,
                destination=destination.name,
                reason=reason,
                group=group.id,
                group_labels=self._labels(group.labels),
                notices=[notices[id(member)] for member in taken],
                at=now,
                late=group.kind is GroupKind.LATE,
                more=sum(map(destination.takes, told.left)),
                still_firing=still_firing,
                counts=Counter(member.status for member in everyone),
                names=self._names(m for m in everyone if m.status is taken[0].status),
            )
            rows.append(_row(notification, receiver, now))
        return rows

    def _names(self, members: Iterable[Member]) -> list[str]:
        names = dict.fromkeys(member.alert.name for member in members)
        return [self._labels({"alertname": name})["alertname"] for name in names]

    def _notice(self, member: Member) -> Notice:
        notice = Notice.of(member.alert)
        return msgspec.structs.replace(
            notice,
            status=member.status,
            labels=self._labels(notice.labels),
            ended_at=member.alert.ended_at if member.stage is Stage.ENDED else None,
            held=member.held,
            late_by=member.late_by,
            escalated_to=member.escalated_to,
        )

    def _labels(self, labels: dict[str, str]) -> dict[str, str]:
        return labels if self._redactor is None else self._redactor.fields(labels)


_PLACE = {status: place for place, status in enumerate(NoticeStatus)}


def _in_order(members: Iterable[Member]) -> list[Member]:
    """Return what fires before what ended, of each the gravest first, of those the oldest."""
    return sorted(members, key=_order)


def _order(member: Member) -> tuple[int, int, float, str, Key]:
    alert = member.alert
    gravity = severity_rank(member.escalated_to or alert.severity)
    return (_PLACE[member.status], -gravity, alert.since, alert.name, alert.key)


def _still_firing(group: Group, told: Iterable[Member]) -> int:
    """Count the alerts that the receiver knows to fire and that are not among `told`."""
    listed = {member.ident for member in told}
    return sum(
        member.open and member.stage is Stage.FIRING and ident not in listed
        for ident, member in group.members.items()
    )


def _message_id(group: Group, destination: Destination, change: int, now: float) -> str:
    """Return the message's identity: equal parts give an equal id, on any machine, at any time."""
    parts = (
        group.receiver,
        destination.integration,
        destination.index,
        destination.name,
        group.id,
        change,
        now,
    )
    return blake2b(msgspec.json.encode(parts), digest_size=_ID_BYTES).hexdigest()


def _row(notification: Notification, receiver: Receiver, now: float) -> OutboxRow:
    return OutboxRow(
        id=notification.id,
        receiver=notification.receiver,
        integration=notification.integration,
        destination=notification.destination,
        group_id=notification.group,
        created=now,
        attempt=0,
        claimed_at=now,
        next_at=now,
        expires_at=now + receiver.max_age,
        outcome="",
        detail="",
        reference="",
        payload=msgspec.json.encode(notification).decode(),
    )
