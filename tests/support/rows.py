"""One full row of every table, and outbox rows with what a test cares about."""

from typing import Any

import msgspec

from sidecar import rows
from sidecar.notify.model import Notice, NoticeStatus, Notification, Reason
from sidecar.receivers.email.message import MailText
from sidecar.rows import OutboxRow, Row

ROW_TYPES = rows.STATE_ROWS


def example(row: type[Row], number: int = 1) -> Row:
    """Return a row with a value in every field, made from the field's type and `number`."""
    values = {f.name: _VALUES[str(f.type)](number) for f in msgspec.structs.fields(row)}
    return row(**values)


_VALUES: dict[str, Any] = {
    str(int): lambda n: n,
    str(float): lambda n: 1_700_000_000.25 + n,
    str(float | None): lambda n: 1_700_000_000.5 + n,
    str(str): lambda n: f"text {n} äöü \U0001f514 '\"\x00",
    str(bytes): lambda n: bytes([0, 255, n % 256]),
    str(bool): lambda n: n % 2 == 1,
}


def notification(
    name: str = "n1",
    *,
    integration: str = "slack",
    destination: str = "#alerts",
    receiver: str = "team",
    at: float = 1000.0,
    thread: str = "",
) -> Notification:
    notice = Notice(
        status=NoticeStatus.FIRING,
        labels={"alertname": "PaymentFailing", "severity": "critical", "org_id": "org_1"},
        annotations={},
        value=3.0,
        since=at,
        ended_at=None,
        event={},
        episode=1,
    )
    return Notification(
        id=name,
        receiver=receiver,
        integration=integration,
        index=0,
        destination=destination,
        reason=Reason.FIRST,
        group="g1",
        group_labels={"alertname": "PaymentFailing"},
        notices=[notice],
        at=at,
        thread=thread,
    )


def outbox_row(name: str = "n1", **changes: Any) -> OutboxRow:
    """Return a fresh row, claimed, made at 1000 and good for an hour; `changes` are its fields."""
    integration = changes.get("integration", "slack")
    destination = changes.get("destination", "#alerts")
    receiver = changes.get("receiver", "team")
    created = changes.get("created", 1000.0)
    notice = notification(
        name, integration=integration, destination=destination, receiver=receiver, at=created
    )
    row = rows.OutboxRow(
        id=name,
        receiver=receiver,
        integration=integration,
        destination=destination,
        group_id="g1",
        created=created,
        attempt=0,
        claimed_at=created,
        next_at=created,
        expires_at=created + 3600.0,
        outcome="",
        detail="",
        reference="",
        payload=msgspec.json.encode(notice).decode(),
    )
    return msgspec.structs.replace(row, **changes)


MAIL = MailText(
    subject="3 Zahlungen fehlgeschlagen: Müller",
    text="Kunde Müller: 3 €\n.\nFrom here on\n" + "long " * 400,
    html="<p>Kunde Müller: 3 €</p>",
)
