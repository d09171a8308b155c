"""The record of what became of alerts, and of who was told or not, and why; `explain` reads it."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from sidecar.notify.group import Group
from sidecar.redact import Redactor
from sidecar.rows import AlertRow, AuditRow, MetaRow, Row
from sidecar.rules.alert import Alert, Transition
from sidecar.rules.restore import by_key

# The MetaRow with the number of the last entry.
AUDIT = "audit"
QUEUED = "queued"
WAITS = "waits"
HELD = "held back"


class Wait(NamedTuple):
    """An alert that waits, since wall clock `since` and `until` another, for its group's message.

    `why` is `group_wait` or `group_interval`; `to` are the receiver and whom it tells.
    """

    alert: Alert
    since: float
    why: str
    until: float
    to: str

    def told(self, labels: Mapping[str, Any]) -> dict[str, Any]:
        """Return it as an entry of the record, which is never stored, about these `labels`."""
        detail = f"{self.why} until {instant(self.until)}, for {self.to}"
        return {"at": self.since, "kind": WAITS, "labels": labels, "detail": detail}


def waits(groups: Iterable[Group]) -> Iterator[Wait]:
    """Yield the alerts of which their groups say nothing yet.

    What is held back or on its way has an entry of its own.
    """
    for group in groups:
        if group.sending or group.next_flush is None:
            continue
        why = "group_wait" if group.told is None else "group_interval"
        to = f"{group.receiver} {group.to.name}".strip()
        for member in group.members.unsent.values():
            if not (member.waiting or member.muted):
                since = member.came or group.created
                yield Wait(member.alert, since, why, group.next_flush, to)


class Trail:
    """Numbers and collects entries until they are committed with what they are about."""

    def __init__(self, redactor: Redactor | None = None) -> None:
        self._redactor = redactor
        self._last = 0
        self._rows: list[Row] = []

    def restore(self, last: str) -> None:
        """Go on behind the last entry that is stored."""
        self._last = int(last)

    def note(self, at: float, kind: str, labels: Mapping[str, str], detail: str) -> None:
        """Add that this happened to the alert of these labels at wall clock `at`."""
        self._last += 1
        shown = dict(labels) if self._redactor is None else self._redactor.fields(labels)
        subject = msgspec.json.encode(shown).decode()
        self._rows.append(AuditRow(self._last, at, kind, subject, detail))

    def record(self, transitions: Iterable[Transition], rows: Iterable[Row], now: float) -> None:
        """Note what the rules brought up; of their `rows` those of alerts say what is due next."""
        if not transitions:
            return
        alerts = (row for row in rows if isinstance(row, AlertRow))
        due = {(row.rule, row.by_key): row.deadline for row in alerts}
        for one in transitions:
            alert, at = one.alert, due.get((one.alert.name, by_key(one.alert.key)))
            said = [f"value {shown(alert.value)}"] if alert.value is not None else []
            said += [f"{alert.times} events"] if alert.times > 1 else []
            said += [f"severity {alert.severity}"] if alert.severity else []
            said += [f"by {alert.ended_person}"] if alert.ended_person else []
            said += [f"next due {instant(at)}"] if at is not None else []
            said += ["late"] if one.stale else []
            self.note(now, one.kind.value, alert.labels, ", ".join(said))

    def drain(self) -> list[Row]:
        """Return the rows of the entries since the last call."""
        rows, self._rows = self._rows, []
        return [*rows, MetaRow(AUDIT, str(self._last))] if rows else []


def shown(value: float | str) -> str:
    """Return what a condition came to, a whole number without a fraction."""
    return value if isinstance(value, str) else f"{value:.15g}"


def instant(at: float) -> str:
    """Return an instant as entries have it: UTC, to the second."""
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):
        return f"{at:.0f} s after 1970"


_MESSAGE = "; message "


def decided(reason: str, to: str, message: str = "", by: str = "") -> tuple[str, str]:
    """Return kind and detail of an entry about a decision; `message` is the id of what it sends."""
    if message:
        return QUEUED, f"{reason}, for {to}{_MESSAGE}{message}"
    return HELD, f"{reason}{f' {by}' if by else ''}, for {to}"


def message_of(row: AuditRow) -> str:
    """Return the id of the message that an entry speaks of, if it does."""
    return row.detail.partition(_MESSAGE)[2] if row.kind == QUEUED else ""
