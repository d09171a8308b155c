"""What a template is given: a notification as plain values, annotations filled in, all redacted.

The built-in message: plain text that needs no template, for when one fails or Slack objects.

Rendering: a stored notification becomes a Slack payload or a mail, whatever its templates do.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jinja2 import Template

from sidecar.notify.model import (
    SEVERITIES,
    EmailConfig,
    Notice,
    NoticeStatus,
    Notification,
    SlackConfig,
    severity_rank,
)
from sidecar.receivers.slack import message as slack_blocks
from sidecar.redact import Redactor
from sidecar.render.sandbox import (
    TemplateEnvironment,
    duration,
    escape_html,
    escape_slack,
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


def notification_view(notification: Notification, redactor: Redactor, fill: Fill) -> dict[str, Any]:
    """Return the names that the templates of messages can use; instants are epoch seconds.

    `tag`, `name`, `who`, `severity` and `status` speak of what fires, if anything does, whatever
    else the message tells.
    """
    notices = [notice_view(n, notification.at, redactor, fill) for n in notification.notices]
    counts = notification.by_status
    status = next(iter(counts), NoticeStatus.FIRING)
    first = [notice for notice in notices if notice["status"] == status]
    names = map(one_line, map(redactor.text, notification.names))
    return {
        "tag": _tag(notification, status),
        "name": _few([*names] or [notice["name"] for notice in first]),
        "who": _few(
            (notice["who"] for notice in first if notice["who"]),
            unlisted=counts.get(status, 0) > len(first),
        ),
        "severity": _severity(first),
        "status": "firing" if status in _OPEN else "resolved",
        "counts": {status.value: count for status, count in counts.items()},
        "tally": _tally(counts),
        "reason": notification.reason.value,
        "late": notification.late,
        "receiver": notification.receiver,
        "destination": notification.destination,
        "group": redactor.text(notification.group),
        "group_labels": redactor.fields(notification.group_labels),
        "notices": notices,
        "more": notification.more,
        "more_next": bool(notification.counts),
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
        "open": notice.status in _OPEN,
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


def _severity(notices: Iterable[dict[str, Any]]) -> str:
    """Return the gravest severity, of what has escalated to another audience the new one."""
    ranks = (severity_rank(notice["escalated_to"] or notice["severity"]) for notice in notices)
    return SEVERITIES[max(ranks, default=1)]


def _tag(notification: Notification, status: NoticeStatus) -> str:
    """Return `FIRING:2` and the like."""
    number = notification.by_status.get(status, 0)
    if not notification.counts:  # written when what found no room was counted as this
        number += notification.more
    tag = f"{status.value.upper()}:{number}"
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


def _about(labels: dict[str, Any]) -> dict[str, Any]:
    """Return the labels that say more than what every message says anyway."""
    return {k: v for k, v in labels.items() if k not in ("alertname", "severity") and v != ""}


def _few(names: Iterable[str], *, unlisted: bool = False) -> str:
    """Return `a`, `a, b` or `a, b and 3 more`; `unlisted`: there are others beside `names`."""
    distinct = list(dict.fromkeys(names))
    rest = len(distinct) - _NAMED_AT_MOST
    listed = ", ".join(distinct[:_NAMED_AT_MOST])
    if unlisted and listed:
        return f"{listed} and more"
    return f"{listed} and {rest} more" if rest > 0 else listed


def plain_title(view: dict[str, Any]) -> str:
    """Return the one-line headline of a notification's view."""
    who = f" {view['who']}" if view["who"] else ""
    return f"[{view['tag']}] {view['name']}{who} ({view['severity']})"


def plain_body(view: dict[str, Any]) -> str:
    """Return all there is to say, alert by alert."""
    tally = f"{view['tally']}\n\n" if view["tally"] else ""
    notices = "\n".join(line for notice in view["notices"] for line in _lines(notice))
    return tally + notices + _rest(view)


def _lines(notice: dict[str, Any]) -> Iterator[str]:
    yield f"{notice['name']} {notice['who']} ({notice['severity'] or 'no severity'})".strip()
    yield f"  {_when(notice)}"
    if notice["held"]:
        yield f"  Fired {notice['held']} more time(s), not told one by one."
    for name, text in notice["annotations"].items():
        yield f"  {name}: {text}"
    for name, value in notice["about"].items():
        yield f"  {name}: {plain(value)}"
    yield ""


def _when(notice: dict[str, Any]) -> str:
    text = f"{notice['status']}, since {utc(notice['since'])}"
    if notice["ended_at"] is not None:
        text += f", ended {utc(notice['ended_at'])} after {duration(notice['lasted'])}"
    if notice["escalated_to"]:
        text += f", now {notice['escalated_to']}"
    return text


def _rest(view: dict[str, Any]) -> str:
    when = ", told in the next message" if view["more_next"] else " not listed here"
    more = f"\nand {view['more']} more{when}" if view["more"] else ""
    still = f"\n{view['still_firing']} more still firing" if view["still_firing"] else ""
    return more + still


_MAX_ANNOTATION = 3000
_MAX_SUBJECT = 200
_MAX_FAULT = 300
_MAX_COMPILED = 2000
_QUOTES = {"&#34;": '"', "&#39;": "'"}


@dataclass(frozen=True, slots=True)
class SlackText:
    """What to post, without the channel; `fault` says what went wrong in a template."""

    payload: dict[str, Any]
    fault: str | None


@dataclass(frozen=True, slots=True)
class MailText:
    """A mail's subject and bodies; `html` is None where a template failed."""

    subject: str
    text: str
    html: str | None
    fault: str | None


class Renderer:
    """Renders with `templates` by name: slack.title.j2, slack.text.j2, mail.subject.j2,
    mail.text.j2, mail.html.j2, and whatever those or the receivers' own templates include.

    Never raises: an annotation that fails shows its fault in its place, any other template gives
    way to built-in plain text with the fault below. Not safe to share between threads.
    """

    def __init__(self, templates: Mapping[str, str], redactor: Redactor) -> None:
        self._redactor = redactor
        self._plain = _Press(TemplateEnvironment(templates))
        self._slack = _Press(TemplateEnvironment(templates, escape_slack))
        self._html = _Press(TemplateEnvironment(templates, escape_html))

    def prepare(self) -> None:
        """Compile the shared templates, 30 ms that the first message else would wait for."""
        self._plain.prepare("slack.title.j2", "mail.subject.j2", "mail.text.j2")
        self._slack.prepare("slack.text.j2")
        self._html.prepare("mail.html.j2")

    def slack(self, notification: Notification, config: SlackConfig) -> SlackText:
        """Return the payload by the config's templates, or the shipped ones."""
        view, faults = self._view(notification)
        title = self._try(self._plain, config.title, "slack.title.j2", view, faults)
        text = self._try(self._slack, config.text, "slack.text.j2", view, faults)
        if title is None or text is None:
            return SlackText(_plain_payload(view, faults), _joined(faults))
        for entity, quote in _QUOTES.items():  # escaped by a filter; Slack knows no such entities
            text = text.replace(entity, quote)
        header = one_line(title)
        made = slack_blocks.payload(
            header, _short(header, view), text, _footer(view),
            colour=slack_blocks.colour(view), brief=_brief(view),
        )  # fmt: skip
        return SlackText(made, _joined(faults))

    def slack_plain(self, notification: Notification, config: SlackConfig) -> SlackText:
        """Return the payload as plain text alone, for when Slack does not take the other one."""
        del config  # its templates are what is avoided here
        view, faults = self._view(notification)
        return SlackText(_plain_payload(view, faults), _joined(faults))

    def mail(self, notification: Notification, config: EmailConfig) -> MailText:
        """Return the mail by the config's templates, or the shipped ones."""
        view, faults = self._view(notification)
        subject = self._try(self._plain, config.subject, "mail.subject.j2", view, faults)
        text = self._try(self._plain, config.text, "mail.text.j2", view, faults)
        html = self._try(self._html, config.html, "mail.html.j2", view, faults)
        line = shorten(one_line(subject or "") or plain_title(view), _MAX_SUBJECT)
        if subject is None or text is None or html is None:
            return MailText(line, _plain_message(view, faults), None, _joined(faults))
        return MailText(line, text.strip() + "\n", html, _joined(faults))

    def view(self, notification: Notification) -> dict[str, Any]:
        """Return what templates are given for it: plain values, annotations rendered."""
        return self._view(notification)[0]

    def _view(self, notification: Notification) -> tuple[dict[str, Any], list[str]]:
        """Return what templates are given, and the faults of annotations."""
        faults: list[str] = []

        def fill(name: str, source: str, values: dict[str, Any]) -> str:
            text = self._try(self._plain, source, f"annotation {name}", values, faults)
            if text is None:
                return f"(this annotation failed: {faults[-1]})"
            return shorten(self._redactor.secrets(text).strip(), _MAX_ANNOTATION)

        return notification_view(notification, self._redactor, fill), faults

    def _try(
        self,
        press: "_Press",
        source: str | None,
        name: str,
        values: dict[str, Any],
        faults: list[str],
    ) -> str | None:
        """Return the template's text, or None and add to `faults`."""
        try:
            return press.text(source, name, values)
        except Exception as wrong:  # noqa: BLE001 - whatever a template does, the alert goes out
            reason = self._redactor.secrets(one_line(str(wrong) or type(wrong).__name__))
            faults.append(shorten(f"{name}: {reason}", _MAX_FAULT))
            return None


class _Press:
    """One environment and what it has compiled: inline templates by source, the others by name."""

    def __init__(self, environment: TemplateEnvironment) -> None:
        self._environment = environment
        self._compiled: dict[str, Template] = {}

    def text(self, source: str | None, name: str, values: dict[str, Any]) -> str:
        get = self._environment.get_template
        template = get(name) if source is None else self._inline(source)
        return self._environment.fill(template, values)

    def prepare(self, *names: str) -> None:
        for name in names:
            with suppress(Exception):  # told when it is needed
                self._environment.get_template(name)

    def _inline(self, source: str) -> Template:
        found = self._compiled.get(source)
        if found is None:
            if len(self._compiled) >= _MAX_COMPILED:
                self._compiled.clear()
            found = self._compiled[source] = self._environment.from_string(source)
        return found


def _plain_message(view: dict[str, Any], faults: list[str]) -> str:
    notes = "".join(f"\n\nTemplate fault: {fault}" for fault in faults)
    return plain_body(view).rstrip() + notes + "\n"


def _plain_payload(view: dict[str, Any], faults: list[str]) -> dict[str, Any]:
    notes = "".join(f"\nTemplate fault: {fault}" for fault in faults)
    # The fault first: what is long is cut at its end.
    return slack_blocks.plain_payload(plain_title(view) + notes, plain_body(view), _brief(view))


def _brief(view: dict[str, Any]) -> str:
    """Return a line for each alert, and what there is beside them."""
    tally = [view["tally"]] if view["tally"] else []
    named = (f"{n['who'] or n['name']}: {n['name']}, {n['status']}" for n in view["notices"])
    return "\n".join((*tally, *named)) + _rest(view)


def _short(title: str, view: dict[str, Any]) -> str:
    """Return the title and what the first alert says of itself."""
    summary = one_line(view["notices"][0]["summary"]) if view["notices"] else ""
    return f"{title}: {summary}" if summary else title


def _footer(view: dict[str, Any]) -> str:
    return f"{view['reason']} · {view['receiver']} · {utc(view['at'])}"


def _joined(faults: list[str]) -> str | None:
    return "; ".join(faults) or None
