"""Notifications and outbox rows: what each destination of a receiver is told by one flush."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from sidecar.notify.decide import Choice
from sidecar.notify.group import Group, GroupKind
from sidecar.notify.member import Member, Stage
from sidecar.notify.model import Notice, NoticeStatus, Notification, Receiver, severity_rank
from sidecar.redact import Redactor
from sidecar.rows import OutboxRow

# Past this many alerts nobody reads on, and Slack's limits are near; the rest is counted.
MAX_NOTICES = 50
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Destination:
    """One channel or mailbox of a receiver: `index` is its config's place in its list."""

    integration: str
    index: int
    name: str
    send_resolved: bool

    def takes(self, member: Member) -> bool:
        return self.send_resolved or member.status is not NoticeStatus.RESOLVED


def destinations(receiver: Receiver) -> Iterator[Destination]:
    for index, slack in enumerate(receiver.slack_configs):
        yield Destination("slack", index, slack.channel, slack.send_resolved)
    for index, mail in enumerate(receiver.email_configs):
        for mailbox in mail.to:
            yield Destination("email", index, mailbox, mail.send_resolved)


class Writer:
    """Writes the outbox rows of a flush; labels are redacted, events already are.

    `most` bounds the alerts that a message lists.
    """

    def __init__(self, redactor: Redactor | None, most: int = MAX_NOTICES) -> None:
        self._redactor = redactor
        self._most = most

    def rows(
        self, group: Group, choice: Choice, receiver: Receiver, change: int, now: float
    ) -> list[OutboxRow]:
        """Return one row per destination that takes any of it, claimed at wall clock `now`.

        `change` is the number up to which the group is told by this.
        """
        listed = _in_order(choice.tell)
        notices = {id(member): self._notice(member) for member in listed}
        still_firing = _still_firing(group, choice.tell)
        rows = []
        for destination in destinations(receiver):
            taken = [member for member in listed if destination.takes(member)]
            if not taken:
                continue
            notification = Notification(
                id=_message_id(group, destination, change, now),
                receiver=receiver.name,
                integration=destination.integration,
                index=destination.index,
                destination=destination.name,
                reason=choice.reason,
                group=group.id,
                group_labels=self._labels(group.labels),
                notices=[notices[id(member)] for member in taken[: self._most]],
                at=now,
                late=group.kind is GroupKind.LATE,
                more=max(0, len(taken) - self._most),
                still_firing=still_firing,
            )
            rows.append(_row(notification, receiver, now))
        return rows

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


def _in_order(members: Iterable[Member]) -> list[Member]:
    """Return the gravest first; of those the oldest."""
    return sorted(
        members,
        key=lambda m: (-severity_rank(m.alert.severity), m.alert.since, m.alert.name, m.alert.key),
    )


def _still_firing(group: Group, tell: Sequence[Member]) -> int:
    """Count the alerts that the receiver knows to fire and that this message does not list."""
    listed = {(member.alert.name, member.alert.key) for member in tell}
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
