"""Rendering: a stored notification becomes a Slack payload or a mail, whatever its templates do."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jinja2 import Template, TemplateError

from sidecar.notify import slack_blocks
from sidecar.notify.model import EmailConfig, Notification, SlackConfig
from sidecar.notify.plain_text import plain_body, plain_title
from sidecar.notify.redact import Redactor
from sidecar.notify.sandbox import TemplateEnvironment, escape_html, escape_slack
from sidecar.notify.views import notification_view
from sidecar.notify.wording import one_line, shorten, utc

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
        colour = slack_blocks.colour(view)
        header = one_line(title)
        made = slack_blocks.payload(header, _short(header, view), text, _footer(view), colour)
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
            with suppress(TemplateError):  # told when it is needed
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
    return slack_blocks.plain_payload(f"{plain_title(view)}{notes}\n{plain_body(view)}".rstrip())


def _short(title: str, view: dict[str, Any]) -> str:
    """Return the title and what the first alert says of itself."""
    summary = one_line(view["notices"][0]["summary"]) if view["notices"] else ""
    return f"{title}: {summary}" if summary else title


def _footer(view: dict[str, Any]) -> str:
    return f"{view['reason']} · {view['receiver']} · {utc(view['at'])}"


def _joined(faults: list[str]) -> str | None:
    return "; ".join(faults) or None
