"""What templates are given of a message: plain values, all redacted, names on one line each.

Whatever can be said in words is said here, so that every medium says the same.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sidecar.notify.model import (
    SEVERITIES,
    Notice,
    NoticeStatus,
    Notification,
    severity_rank,
)
from sidecar.redact import Redactor
from sidecar.render.words import duration, money, one_line, plain, shorten
from sidecar.rules.alert import Ended

# Fills a template with value, labels and events; None where it fails.
Fill = Callable[[str, str, dict[str, Any]], str | None]

# Labels that say whom an alert is about, and fields that name them, the most telling first.
_WHO = (
    "org_id", "org", "organization_id", "organisation_id", "customer_id", "customer", "tenant",
    "account_id", "user_id",
)  # fmt: skip
_CALLED = ("org_name", "organization_name", "organisation_name", "customer_name", "account_name")
_ERRORS = (
    "error_message", "failure_message", "error", "last_payment_error", "decline_code",
    "failure_code", "failure_reason", "error_type",
)  # fmt: skip
_AMOUNTS = ("amount_due", "amount_remaining", "amount", "total", "amount_paid")
_NAMED_AT_MOST = 2
# So many alerts of a message are told at length; the others are named.
WORST = 10
_LONGEST_NAME = 60
_LONGEST_ERROR = 300
_LONGEST_CONDITION = 120
_OPEN = (NoticeStatus.FIRING, NoticeStatus.ESCALATED)
_STATUS = {
    **dict.fromkeys(_OPEN, "firing"),
    **dict.fromkeys((NoticeStatus.UNSEEN, NoticeStatus.FIRED_AND_UNSEEN), "unseen"),
    NoticeStatus.CLOSED: "closed",
}
_AT_ONCE = 1.0  # seconds; nothing is said of a shorter time
_NO_OVER = "; nothing says that it is over"
# What an URL may not hold as it is; a browser would write it so as well (WHATWG URL).
_UNSAFE = re.compile(r"[^!#$%&'()*+,./:;=?@A-Za-z0-9_~\[\]-]")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where messages come from: `url` leads there, `labels` stand on every alert."""

    url: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def _reason(told: Notification) -> str:
    """Return why a message comes, and in the place of whom."""
    return f"{told.reason.value} ({told.instead_of})" if told.instead_of else told.reason.value


def notification_view(
    notification: Notification, redactor: Redactor, fill: Fill, origin: Origin
) -> dict[str, Any]:
    """Return the names that the templates of messages can use; instants are epoch seconds.

    `tag`, `name`, `who`, `severity` and `status` speak of what fires, if anything does, whatever
    else the message tells. `colour` is a severity as long as anything of the group fires, told here
    or before; else `resolved`, `unseen` or `closed`. `worst` are those of `notices` to be told at
    length, `others` names the rest.
    """
    notices = [
        notice_view(n, notification.at, redactor, fill, origin) for n in notification.notices
    ]
    _mark_leads(notices)
    counts = notification.by_status
    status = next(iter(counts), NoticeStatus.FIRING)
    first = [notice for notice in notices if notice["status"] == status]
    names = map(one_line, map(redactor.text, notification.names))
    return {
        "tag": _tag(notification, status, news=all(n["news"] for n in first) and bool(first)),
        "name": _few([*names] or [notice["name"] for notice in first]),
        "who": _few([n["who"] for n in first if n["who"]], max(len(first), counts.get(status, 0))),
        "severity": _severity(first),
        "status": _STATUS.get(status, "resolved"),
        "colour": _colour(notification, status, _severity(first)),
        "counts": {status.value: count for status, count in counts.items()},
        "tally": _tally(counts),
        "rest": "\n".join(_rest(notification, redactor, origin)),
        "reason": _reason(notification),
        "late": notification.late,
        "receiver": notification.receiver,
        "destination": notification.destination,
        "route": redactor.text(notification.route),
        "group": redactor.text(notification.group),
        "group_labels": _flat(redactor.fields(notification.group_labels)),
        "external_url": origin.url,
        "external_labels": dict(origin.labels),
        "notices": notices,
        "worst": notices[:WORST],
        "others": "\n".join(_others(notices[WORST:])),
        "zone": "",  # of the receiver's `timezone`
        "more": notification.more,
        "more_next": bool(notification.counts),
        "still_firing": notification.still_firing,
        "at": notification.at,
    }


def notice_view(
    notice: Notice, at: float, redactor: Redactor, fill: Fill, origin: Origin
) -> dict[str, Any]:
    """Return one alert of a message told at `at`.

    Labels, value and summary are one line each: a log's text that brings line breaks along could
    else draw whole sections into a message, `---` and "resolved" among them.
    """
    labels = _flat({**origin.labels, **redactor.fields(notice.labels)})
    value = notice.value
    values: dict[str, Any] = {
        "value": one_line(redactor.text(value)) if isinstance(value, str) else value,
        "labels": labels,
        "event": redactor.fields(notice.event),
        "collected": redactor.fields(notice.collected),
        "ended_by": redactor.fields(notice.ended_by),
    }
    filled = {name: fill(name, source, values) for name, source in notice.annotations.items()}
    annotations = {name: "\n".join((text or "").splitlines()) for name, text in filled.items()}
    until = at if notice.ended_at is None else notice.ended_at
    about = _about(labels, origin)
    view: dict[str, Any] = {
        **values,
        **_of_notice(notice),
        "status": notice.status.value,
        "open": notice.status in _OPEN,
        "news": notice.rule.news and notice.status is NoticeStatus.FIRING,
        "name": one_line(labels.get("alertname", "alert")),
        "who": _who(labels, values["event"], annotations, _named_by(notice, about)),
        "severity": labels.get("severity", ""),
        "about": about,
        "annotations": annotations,
        "summary": one_line(annotations.get("summary", "")),
        "description": annotations.get("description", ""),
        "error": _error(values["event"]),
        "amount": _amount(values["event"]),
        "condition": shorten(one_line(redactor.text(notice.rule.condition)), _LONGEST_CONDITION),
        "ends": _short_or_nothing(one_line(redactor.text(notice.rule.ends))),
        "lasted": max(0.0, until - notice.since),
        "links": [],
        "acked": _acked(notice, redactor),
        "evidence": _evidence(notice, redactor),
    }
    runbook = web_address(annotations.get("runbook_url", ""), origin)
    view["runbook"] = runbook or one_line(annotations.get("runbook_url", ""))
    for text, source in notice.rule.links:
        if url := web_address(fill("link", source, values) or "", origin):
            view["links"].append({"text": one_line(text), "url": url})
    view["state"] = _state(notice, view, redactor)
    return view


def _short_or_nothing(text: str) -> str:
    """Return what ends an alert, if it can be said in short; a description says it better."""
    return text if len(text) <= _LONGEST_CONDITION else ""


def _of_notice(notice: Notice) -> dict[str, Any]:
    """Return what is shown as it is: numbers, instants and a tier's name."""
    names = (
        "escalated_to", "since", "ended_at", "times", "seen_at", "grew", "held", "late_by",
        "episode",
    )  # fmt: skip
    return {name: getattr(notice, name) for name in names}


def web_address(text: str, origin: Origin) -> str:
    """Return `text` as an http(s) URL, or nothing: what is relative counts from `origin.url`."""
    text = text.strip()
    if not text or "\n" in text:
        return ""
    if not _SCHEME.match(text):
        if not origin.url:
            return ""
        text = f"{origin.url.rstrip('/')}/{text.lstrip('/')}"
    text = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return text if parts.scheme in ("http", "https") and parts.hostname else ""


def _mark_leads(notices: Iterable[dict[str, Any]]) -> None:
    """Mark the first alert of each name that is not over: it describes all of them."""
    seen: set[str] = set()
    for notice in notices:
        notice["lead"] = notice["open"] and notice["name"] not in seen
        if notice["open"]:
            seen.add(notice["name"])
        runbook = notice["lead"] and notice["runbook"].startswith(("https://", "http://"))
        first = [{"text": "Runbook", "url": notice["runbook"]}] if runbook else []
        notice["buttons"] = [*first, *notice["links"]]


def _evidence(notice: Notice, redactor: Redactor) -> dict[str, Any] | None:
    found = notice.evidence
    if found is None:
        return None
    line = one_line(redactor.secrets(found.line))
    return {"file": one_line(redactor.text(found.file)), "offset": found.offset, "line": line}


def _acked(notice: Notice, redactor: Redactor) -> dict[str, Any] | None:
    """Return who took the alert, when, and what he said of it."""
    ack = notice.acked
    if ack is None:
        return None
    by = one_line(redactor.text(ack.by)) or "somebody"
    return {"by": by, "at": ack.at, "comment": one_line(redactor.text(ack.comment))}


def _state(notice: Notice, view: Mapping[str, Any], redactor: Redactor) -> str:
    """Return how the alert stands, in words, without its instants."""
    lasted = f" {duration(view['lasted'])}" if view["lasted"] >= _AT_ONCE else ""
    after = f" after{lasted}" if lasted else ""
    match notice.status:
        case NoticeStatus.FIRING if view["news"]:
            return "news"
        case NoticeStatus.FIRING:
            return f"firing for{lasted}" if lasted else "firing"
        case NoticeStatus.ESCALATED:
            old, new = view["severity"] or "no severity", notice.escalated_to or "no severity"
            return (
                f"escalated from {old} to {new} (others are told from here on, you will hear of"
                " the end)"
            )
        case NoticeStatus.RESOLVED:
            return f"resolved{after}{_by(notice, view, redactor)}"
        case NoticeStatus.UNSEEN:
            return f"no longer seen{after}{_NO_OVER}"
        case NoticeStatus.FIRED_AND_UNSEEN:
            return f"fired, and no longer seen{after}{_NO_OVER}"
        case NoticeStatus.CLOSED:
            return f"closed{after}: its rule was changed or removed, so nobody knows how it goes on"
        case _:
            within = f" within{lasted}" if lasted else ""
            return f"fired and resolved{within}{_by(notice, view, redactor)}"


def _by(notice: Notice, view: Mapping[str, Any], redactor: Redactor) -> str:
    """Return what ended an alert, with a colon in front."""
    if notice.ended is Ended.BY_HAND:
        person = one_line(redactor.text(notice.ended_person))
        return f": by hand{f', by {person}' if person else ''}"
    if notice.ended is Ended.CLEARED:
        return ": its condition no longer holds"
    said = one_line(view["annotations"].get("resolved", ""))
    event = view["ended_by"]
    named = [one_line(event[name]) for name in ("event_type", "status") if event.get(name)]
    return f": {said or ', '.join(named)}" if said or named else ""


def _severity(notices: Iterable[dict[str, Any]]) -> str:
    """Return the gravest severity, of what has escalated to another audience the new one."""
    ranks = (severity_rank(notice["escalated_to"] or notice["severity"]) for notice in notices)
    return SEVERITIES[max(ranks, default=1)]


def _colour(notification: Notification, status: NoticeStatus, severity: str) -> str:
    if status in _OPEN:
        return severity
    if notification.still_firing:
        return SEVERITIES[severity_rank(notification.still_severity)]
    return _STATUS.get(status, "resolved")


def _tag(notification: Notification, status: NoticeStatus, *, news: bool) -> str:
    """Return `FIRING:2`, `RESOLVED:3, 20 still firing` and the like."""
    number = notification.by_status.get(status, 0)
    if not notification.counts:  # written when what found no room was counted as this
        number += notification.more
    tag = f"{'NEWS' if news else status.value.upper()}:{number}"
    if status not in _OPEN and notification.still_firing:
        tag += f", {notification.still_firing} still firing"
    return f"LATE {tag}" if notification.late else tag


def _tally(counts: Mapping[NoticeStatus, int]) -> str:
    """Return `1 firing, 50 resolved`; nothing where the tag says it all."""
    if len(counts) <= 1:
        return ""
    return ", ".join(f"{count} {status.value}" for status, count in counts.items())


def _named_by(notice: Notice, about: dict[str, Any]) -> dict[str, Any]:
    """Return what tells the alert from others of its rule; all there is where that is not known."""
    rule = notice.rule
    return {name: about[name] for name in rule.by if name in about} if rule.condition else about


def _who(
    labels: dict[str, Any],
    event: dict[str, Any],
    annotations: dict[str, str],
    about: dict[str, Any],
) -> str:
    """Return whom or what an alert is about: as its rule says, or by name and id.

    An organisation if it has one, else whatever it has.
    """
    if title := one_line(annotations.get("title", "")):
        return title
    identity = next((labels[name] for name in _WHO if labels.get(name)), "")
    called = next((one_line(event[name]) for name in _CALLED if event.get(name)), "")
    if called:
        return shorten(called, _LONGEST_NAME) + (f" ({identity})" if identity else "")
    return identity or one_line(" ".join(plain(value) for value in about.values()))


def _error(event: Mapping[str, Any]) -> str:
    """Return the error that was logged, if one was."""
    texts = (event[name] for name in _ERRORS if isinstance(event.get(name), str))
    return shorten(next((text for text in map(one_line, texts) if text), ""), _LONGEST_ERROR)


def _amount(event: Mapping[str, Any]) -> str:
    """Return the amount that was logged, if its currency was as well."""
    currency = event.get("currency")
    found = (event[name] for name in _AMOUNTS if isinstance(event.get(name), int | float))
    amount = next(found, None)
    return money(amount, currency) if currency and amount is not None else ""


def _flat(labels: Mapping[str, Any]) -> dict[str, str]:
    return {name: one_line(value) for name, value in labels.items()}


def _about(labels: dict[str, Any], origin: Origin) -> dict[str, Any]:
    """Return the labels that say more than what every message says anyway."""
    said = {"alertname", "severity", *origin.labels}
    return {k: v for k, v in labels.items() if k not in said and v != ""}


def _few(names: Sequence[str], number: int | None = None) -> str:
    """Return `a`, `a, b` or `a, b and 3 more`; `names` are of `number` alerts, others unnamed."""
    distinct = list(dict.fromkeys(names))
    listed = distinct[:_NAMED_AT_MOST]
    if number is None:
        rest = len(distinct) - len(listed)
    else:
        rest = number - sum(name in listed for name in names)
    return f"{', '.join(listed)} and {rest} more" if listed and rest > 0 else ", ".join(listed)


def _others(notices: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield for each status how many of the alerts have it, and their names."""
    by_status: dict[str, list[str]] = {}
    for notice in notices:
        name = shorten(notice["who"] or notice["name"], _LONGEST_NAME)
        by_status.setdefault("news" if notice["news"] else notice["status"], []).append(name)
    for status, names in by_status.items():
        yield f"{len(names)} more {status}: {', '.join(names)}"


def _rest(notification: Notification, redactor: Redactor, origin: Origin) -> Iterator[str]:
    """Yield what there is beside the alerts of the message."""
    if unlisted := notification.unlisted:
        top = ", ".join(f"{one_line(redactor.text(name))} {n}" for name, n in notification.top)
        where = f"sidecar alerts, {origin.url}" if origin.url else "sidecar alerts"
        yield f"and {unlisted} more, told by number; in all {top}: see {where}"
    if more := notification.more:
        when = ", told in the next message" if notification.counts else " not listed here"
        yield f"and {more} more{when}"
    if still := notification.still_firing:
        verbs = ("was", "is") if still == 1 else ("were", "are")
        yield (
            f"{still} more of this group {verbs[0]} told before and {verbs[1]} still firing:"
            " see sidecar alerts"
        )
    if untold := notification.untold:
        alerts, was = ("1 alert", "was") if untold == 1 else (f"{untold} alerts", "were")
        yield f"and {alerts} that ended while nothing could be delivered {was} not told"
