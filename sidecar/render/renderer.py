"""A stored notification becomes text, whatever its templates do.

Templates are given a view of it. The built-in text needs no template, for when one fails or the
other side objects.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

from jinja2 import UndefinedError
from markupsafe import Markup

from sidecar.notify.model import Notification
from sidecar.redact import Redactor
from sidecar.render.sandbox import Escape, TemplateEnvironment
from sidecar.render.view import Origin, notification_view
from sidecar.render.words import one_line, shorten, utc


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
    if ack := notice["acked"]:
        said = f": {ack['comment']}" if ack["comment"] else ""
        yield f"  Acknowledged by {ack['by']}, {utc(ack['at'])}{said}"
    for name, text in notice["annotations"].items():
        yield f"  {name}: {text}".replace("\n", "\n    ")
    for name, value in notice["about"].items():
        yield f"  {name}: {value}"
    yield ""


def _when(notice: dict[str, Any]) -> str:
    ended = "" if notice["ended_at"] is None else f", until {utc(notice['ended_at'])}"
    return f"{notice['state']}, since {utc(notice['since'])}{ended}"


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

    def __init__(
        self, templates: Mapping[str, str], redactor: Redactor, origin: Origin | None = None
    ) -> None:
        self.redactor = redactor
        self.origin = origin or Origin()
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
        if source.isprintable() and "{" not in source:  # nothing is to be filled in
            return source
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

    @cached_property
    def view(self) -> dict[str, Any]:
        return notification_view(
            self.notification, self._renderer.redactor, self._annotation, self._renderer.origin
        )

    def about(self, notification: Notification) -> "Rendering":
        """Return the same for another notification, such as a part of this one."""
        return self._renderer.rendering(notification)

    @property
    def fault(self) -> str | None:
        """All faults in one line, None without any."""
        return "; ".join(self.faults) or None

    def fill(
        self,
        source: str | None,
        name: str,
        escape: Escape | None = None,
        *,
        zone: str = "",
    ) -> str | None:
        """Return the text of a receiver's own template, or of the shared one of that name.

        `zone`: that of the instants that the template shows by `local`.
        """
        return self._fill(source, name, {**self.view, "zone": zone}, escape)

    def _annotation(self, name: str, source: str, values: dict[str, Any]) -> str | None:
        """Fill an annotation, or a link, which is left out where a value of it is missing."""
        if name == "link":
            try:
                return self._renderer.text(source, name, values, _encode_what_is_there)
            except UndefinedError:
                return None
        if name == "runbook_url":
            return self._fill(source, f"annotation {name}", values, _encode)
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


def _encode(text: str) -> Markup:
    """Return a value as it may stand anywhere in a URL (RFC 3986, 2.1)."""
    return Markup(quote(text, safe=""))  # noqa: S704 - percent-encoded


def _encode_what_is_there(text: str) -> Markup:
    if not text:
        raise UndefinedError("a value of the link is empty")
    return _encode(text)
