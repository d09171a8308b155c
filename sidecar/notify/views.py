"""What a template is given: a notification as plain values, annotations filled in, all redacted."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from sidecar.notify.model import SEVERITIES, Notice, NoticeStatus, Notification, severity_rank
from sidecar.notify.redact import Redactor
from sidecar.notify.wording import one_line, plain

# Fills an annotation's template with value, labels and event.
Fill = Callable[[str, str, dict[str, Any]], str]

# Labels that say whom an alert is about, the most telling first.
_WHO = (
    "org_id", "org", "organization_id", "organisation_id", "customer_id", "customer", "tenant",
    "account_id", "user_id",
)  # fmt: skip
_NAMED_AT_MOST = 2
_TAGS = {
    NoticeStatus.FIRING: "FIRING",
    NoticeStatus.ESCALATED: "ESCALATED",
    NoticeStatus.FIRED_AND_RESOLVED: "FIRED AND RESOLVED",
    NoticeStatus.RESOLVED: "RESOLVED",
}


def notification_view(notification: Notification, redactor: Redactor, fill: Fill) -> dict[str, Any]:
    """Return the names that the templates of messages can use; instants are epoch seconds."""
    notices = [notice_view(n, notification.at, redactor, fill) for n in notification.notices]
    open_ = any(notice["open"] for notice in notices)
    return {
        "tag": _tag(notification),
        "name": _few(notice["name"] for notice in notices),
        "who": _few(notice["who"] for notice in notices if notice["who"]),
        "severity": _severity(notification),
        "status": "firing" if open_ else "resolved",
        "reason": notification.reason.value,
        "late": notification.late,
        "receiver": notification.receiver,
        "destination": notification.destination,
        "group": redactor.text(notification.group),
        "group_labels": redactor.fields(notification.group_labels),
        "notices": notices,
        "more": notification.more,
        "still_firing": notification.still_firing,
        "at": notification.at,
    }


def notice_view(notice: Notice, at: float, redactor: Redactor, fill: Fill) -> dict[str, Any]:
    """Return one alert of a message told at `at`."""
    labels = redactor.fields(notice.labels)
    value = notice.value
    values = {
        "value": redactor.text(value) if isinstance(value, str) else value,
        "labels": labels,
        "event": redactor.fields(notice.event),
    }
    annotations = {name: fill(name, source, values) for name, source in notice.annotations.items()}
    until = at if notice.ended_at is None else notice.ended_at
    return {
        **values,
        "status": notice.status.value,
        "open": notice.status in (NoticeStatus.FIRING, NoticeStatus.ESCALATED),
        "name": one_line(labels.get("alertname", "alert")),
        "who": _who(labels),
        "severity": labels.get("severity", ""),
        "escalated_to": notice.escalated_to,
        "about": _about(labels),
        "annotations": annotations,
        "summary": annotations.get("summary", ""),
        "description": annotations.get("description", ""),
        "runbook": annotations.get("runbook_url", ""),
        "since": notice.since,
        "ended_at": notice.ended_at,
        "lasted": max(0.0, until - notice.since),
        "held": notice.held,
        "late_by": notice.late_by,
        "episode": notice.episode,
    }


def _severity(notification: Notification) -> str:
    """Return the gravest severity; where all have escalated to another audience, the new one."""
    if any(notice.status is not NoticeStatus.ESCALATED for notice in notification.notices):
        return notification.severity
    reached = (severity_rank(notice.escalated_to) for notice in notification.notices)
    return SEVERITIES[max(reached, default=1)]


def _tag(notification: Notification) -> str:
    """Return `FIRING:2` and the like; the gravest status names it."""
    counts = Counter(notice.status for notice in notification.notices)
    status = next((status for status in _TAGS if counts[status]), NoticeStatus.FIRING)
    tag = f"{_TAGS[status]}:{counts[status] + notification.more}"
    return f"LATE {tag}" if notification.late else tag


def _who(labels: dict[str, Any]) -> str:
    """Return whom or what an alert is about: an organisation if it has one, else what it has."""
    for name in _WHO:
        if labels.get(name):
            return one_line(labels[name])
    return one_line(" ".join(plain(value) for value in _about(labels).values()))


def _about(labels: dict[str, Any]) -> dict[str, Any]:
    """Return the labels that say more than what every message says anyway."""
    return {k: v for k, v in labels.items() if k not in ("alertname", "severity") and v != ""}


def _few(names: Iterable[str]) -> str:
    """Return `a`, `a, b` or `a, b and 3 more`."""
    distinct = list(dict.fromkeys(names))
    rest = len(distinct) - _NAMED_AT_MOST
    listed = ", ".join(distinct[:_NAMED_AT_MOST])
    return f"{listed} and {rest} more" if rest > 0 else listed
