"""A stored notification becomes text, whatever its templates do.

Templates are given a view of it: plain values, annotations filled in, all redacted. The built-in
text needs no template, for when one fails or the other side objects.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sidecar.notify.model import (
    SEVERITIES,
    Notice,
    NoticeStatus,
    Notification,
    severity_rank,
)
from sidecar.redact import Redactor
from sidecar.render.sandbox import (
    Escape,
    TemplateEnvironment,
    duration,
    one_line,
    plain,
    shorten,
    utc,
)

# Fills an annotation's template with value, labels and event.
Fill = Callable[[str, str, dict[str, Any]], str]

# Labels that say whom an alert is about, the most telling first.
_WHO = (
    "org_id", "org", "organization_id", "organisation_id", "customer_id", "customer", "tenant",
    "account_id", "user_id",
)  # fmt: skip
_NAMED_AT_MOST = 2
_OPEN = (NoticeStatus.FIRING, NoticeStatus.ESCALATED)
_UNSEEN = (NoticeStatus.UNSEEN, NoticeStatus.FIRED_AND_UNSEEN)
_STATUS = {**dict.fromkeys(_OPEN, "firing"), **dict.fromkeys(_UNSEEN, "unseen")}


def notification_view(notification: Notification, redactor: Redactor, fill: Fill) -> dict[str, Any]:
    """Return the names that the templates of messages can use; instants are epoch seconds.

    `tag`, `name`, `who`, `severity` and `status` speak of what fires, if anything does, whatever
    else the message tells. `colour` is a severity as long as anything of the group fires, told here
    or before; else `resolved` or `unseen`.
    """
    notices = [notice_view(n, notification.at, redactor, fill) for n in notification.notices]
    counts = notification.by_status
    status = next(iter(counts), NoticeStatus.FIRING)
    first = [notice for notice in notices if notice["status"] == status]
    names = map(one_line, map(redactor.text, notification.names))
    return {
        "tag": _tag(notification, status),
        "name": _few([*names] or [notice["name"] for notice in first]),
        "who": _few([n["who"] for n in first if n["who"]], max(len(first), counts.get(status, 0))),
        "severity": _severity(first),
        "status": _STATUS.get(status, "resolved"),
        "colour": _colour(notification, status, _severity(first)),
        "counts": {status.value: count for status, count in counts.items()},
        "tally": _tally(counts),
        "rest": "\n".join(_rest(notification)),
        "reason": notification.reason.value,
        "late": notification.late,
        "receiver": notification.receiver,
        "destination": notification.destination,
        "group": redactor.text(notification.group),
        "group_labels": _flat(redactor.fields(notification.group_labels)),
        "notices": notices,
        "more": notification.more,
        "more_next": bool(notification.counts),
        "still_firing": notification.still_firing,
        "at": notification.at,
    }


def notice_view(notice: Notice, at: float, redactor: Redactor, fill: Fill) -> dict[str, Any]:
    """Return one alert of a message told at `at`.

    Labels, value and summary are one line each: a log's text that brings line breaks along could
    else draw whole sections into a message, `---` and "resolved" among them.
    """
    labels = _flat(redactor.fields(notice.labels))
    value = notice.value
    values = {
        "value": one_line(redactor.text(value)) if isinstance(value, str) else value,
        "labels": labels,
        "event": redactor.fields(notice.event),
        "collected": redactor.fields(notice.collected),
        "ended_by": redactor.fields(notice.ended_by),
    }
    filled = {name: fill(name, source, values) for name, source in notice.annotations.items()}
    annotations = {name: "\n".join(text.splitlines()) for name, text in filled.items()}
    until = at if notice.ended_at is None else notice.ended_at
    return {
        **values,
        "status": notice.status.value,
        "open": notice.status in _OPEN,
        "name": one_line(labels.get("alertname", "alert")),
        "who": _who(labels),
        "severity": labels.get("severity", ""),
        "escalated_to": notice.escalated_to,
        "about": _about(labels),
        "annotations": annotations,
        "summary": one_line(annotations.get("summary", "")),
        "description": annotations.get("description", ""),
        "runbook": annotations.get("runbook_url", ""),
        "since": notice.since,
        "ended_at": notice.ended_at,
        "lasted": max(0.0, until - notice.since),
        "held": notice.held,
        "late_by": notice.late_by,
        "episode": notice.episode,
        "evidence": _evidence(notice, redactor),
    }


def _evidence(notice: Notice, redactor: Redactor) -> dict[str, Any] | None:
    found = notice.evidence
    if found is None:
        return None
    line = one_line(redactor.secrets(found.line))
    return {"file": redactor.text(found.file), "offset": found.offset, "line": line}


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


def _tag(notification: Notification, status: NoticeStatus) -> str:
    """Return `FIRING:2`, `RESOLVED:3, 20 still firing` and the like."""
    number = notification.by_status.get(status, 0)
    if not notification.counts:  # written when what found no room was counted as this
        number += notification.more
    tag = f"{status.value.upper()}:{number}"
    if status not in _OPEN and notification.still_firing:
        tag += f", {notification.still_firing} still firing"
    return f"LATE {tag}" if notification.late else tag


def _tally(counts: Mapping[NoticeStatus, int]) -> str:
    """Return `1 firing, 50 resolved`; nothing where the tag says it all."""
    if len(counts) <= 1:
        return ""
    return ", ".join(f"{count} {status.value}" for status, count in counts.items())


def _who(labels: dict[str, Any]) -> str:
    """Return whom or what an alert is about: an organisation if it has one, else what it has."""
    for name in _WHO:
        if labels.get(name):
            return one_line(labels[name])
    return one_line(" ".join(plain(value) for value in _about(labels).values()))


def _flat(labels: Mapping[str, Any]) -> dict[str, str]:
    return {name: one_line(value) for name, value in labels.items()}


def _about(labels: dict[str, Any]) -> dict[str, Any]:
    """Return the labels that say more than what every message says anyway."""
    return {k: v for k, v in labels.items() if k not in ("alertname", "severity") and v != ""}


def _few(names: Sequence[str], number: int | None = None) -> str:
    """Return `a`, `a, b` or `a, b and 3 more`; `names` are of `number` alerts, others unnamed."""
    distinct = list(dict.fromkeys(names))
    listed = distinct[:_NAMED_AT_MOST]
    if number is None:
        rest = len(distinct) - len(listed)
    else:
        rest = number - sum(name in listed for name in names)
    return f"{', '.join(listed)} and {rest} more" if listed and rest > 0 else ", ".join(listed)


def plain_title(view: dict[str, Any]) -> str:
    """Return the one-line headline of a notification's view."""
    who = f" {view['who']}" if view["who"] else ""
    return f"[{view['tag']}] {view['name']}{who} ({view['severity']})"


def plain_body(view: dict[str, Any]) -> str:
    """Return all there is to say, alert by alert."""
    tally = f"{view['tally']}\n\n" if view["tally"] else ""
    rest = f"\n{view['rest']}" if view["rest"] else ""
    notices = "\n".join(line for notice in view["notices"] for line in _lines(notice))
    return tally + notices + rest


def _lines(notice: dict[str, Any]) -> Iterator[str]:
    yield f"{notice['name']} {notice['who']} ({notice['severity'] or 'no severity'})".strip()
    yield f"  {_when(notice)}"
    if notice["held"]:
        yield f"  Fired {notice['held']} more time(s), not told one by one."
    for name, text in notice["annotations"].items():
        yield f"  {name}: {text}".replace("\n", "\n    ")
    for name, value in notice["about"].items():
        yield f"  {name}: {value}"
    yield ""


def _when(notice: dict[str, Any]) -> str:
    text = f"{notice['status']}, since {utc(notice['since'])}"
    if notice["ended_at"] is not None:
        text += f", ended {utc(notice['ended_at'])} after {duration(notice['lasted'])}"
    if notice["escalated_to"]:
        text += f", now {notice['escalated_to']}"
    return text


def _rest(notification: Notification) -> Iterator[str]:
    """Yield what there is beside the alerts that are listed."""
    if more := notification.more:
        when = ", told in the next message" if notification.counts else " not listed here"
        yield f"and {more} more{when}"
    if still := notification.still_firing:
        verbs = ("was", "is") if still == 1 else ("were", "are")
        yield f"{still} more of this group {verbs[0]} told before and {verbs[1]} still firing."


def brief(view: dict[str, Any]) -> str:
    """Return the counts, and a line for each alert."""
    named = (f"{n['who'] or n['name']}: {n['name']}, {n['status']}" for n in view["notices"])
    return "\n".join(filter(None, (view["tally"], view["rest"], *named)))


_MAX_ANNOTATION = 3000
_MAX_FAULT = 300


class Renderer:
    """Fills templates: those of `templates` by name, with whatever they include, and inline ones.

    Not safe to share between threads.

        rendering = Renderer(templates, redactor).rendering(notification)
        title = rendering.fill(config.title, "slack.title.j2") or plain_title(rendering.view)
    """

    def __init__(self, templates: Mapping[str, str], redactor: Redactor) -> None:
        self.redactor = redactor
        self._templates = templates
        self._environments: dict[Escape | None, TemplateEnvironment] = {}

    def rendering(self, notification: Notification) -> "Rendering":
        """Return what `notification` is to be told with; its annotations are filled in."""
        return Rendering(self, notification)

    def text(
        self,
        source: str | None,
        name: str,
        values: Mapping[str, Any],
        escape: Escape | None = None,
    ) -> str:
        """Fill `source`, or the template of that name; raises whatever the template raises.

        Each value goes through `escape` on its way into the text.
        """
        if (environment := self._environments.get(escape)) is None:
            environment = TemplateEnvironment(self._templates, escape)
            self._environments[escape] = environment
        if source is None:
            return environment.fill(environment.get_template(name), values)
        return environment.fill(environment.inline(source), values)


class Rendering:
    """One notification on its way into words. `view` holds the names that templates can use.

    No template costs an alert: an annotation that fails shows its fault in its place, of any
    other `fill` returns None. `faults` tells what went wrong so far.
    """

    def __init__(self, renderer: Renderer, notification: Notification) -> None:
        self._renderer = renderer
        self.notification = notification
        self.faults: list[str] = []
        self.view = notification_view(notification, renderer.redactor, self._annotation)

    @property
    def fault(self) -> str | None:
        """All faults in one line, None without any."""
        return "; ".join(self.faults) or None

    def fill(self, source: str | None, name: str, escape: Escape | None = None) -> str | None:
        """Return the text of a receiver's own template, or of the shared one of that name."""
        return self._fill(source, name, self.view, escape)

    def _annotation(self, name: str, source: str, values: dict[str, Any]) -> str:
        text = self._fill(source, f"annotation {name}", values)
        if text is None:
            return f"(this annotation failed: {self.faults[-1]})"
        return shorten(self._renderer.redactor.secrets(text).strip(), _MAX_ANNOTATION)

    def _fill(
        self, source: str | None, name: str, values: dict[str, Any], escape: Escape | None = None
    ) -> str | None:
        try:
            return self._renderer.text(source, name, values, escape)
        except Exception as wrong:  # noqa: BLE001 - whatever a template does, the alert goes out
            words = one_line(str(wrong) or type(wrong).__name__)
            reason = self._renderer.redactor.secrets(words)
            self.faults.append(shorten(f"{name}: {reason}", _MAX_FAULT))
            return None
