"""What PagerDuty is sent: for each alert of a message an event that opens its incident or ends it.

An incident is an alert's: its `dedup_key` is made of the alert's identity, so that whatever is sent
twice, or by two sidecars, is one. Form and limits: developer.pagerduty.com, Events API v2.
"""

from collections.abc import Iterator
from typing import Any

from sidecar.notify.model import SEVERITIES, severity_rank
from sidecar.receivers.base import Rendered, rfc3339
from sidecar.receivers.pagerduty.config import PagerdutyConfig
from sidecar.render.renderer import Rendering
from sidecar.render.words import one_line, plain, shorten

Events = list[dict[str, Any]]  # without the routing key
SOURCE = "webhook-alert-sidecar"
MAX_SUMMARY = 1024
_MAX_DETAIL = 3000


def render(config: PagerdutyConfig, rendering: Rendering, *, plain: bool) -> Rendered[Events]:
    """Return the events, in the order of the alerts; they have no plainer form."""
    del config, plain
    view = rendering.view
    marks = rendering.notification.fingerprints()
    told = zip(view["notices"], marks, strict=True)
    events = [event for notice, mark in told for event in _events(notice, mark, view)]
    return Rendered(events, "\n".join(map(_line, events)))


def _events(notice: dict[str, Any], mark: str, view: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what there is to send of one alert.

    One that began and ended before anybody heard of it leaves an incident that is over.
    """
    if notice["open"] or notice["status"].startswith("fired and "):
        yield _event("trigger", notice, mark, view)
    if not notice["open"]:
        yield _event("resolve", notice, mark, view)


def _event(action: str, notice: dict[str, Any], mark: str, view: dict[str, Any]) -> dict[str, Any]:
    runbook = notice["runbook"]
    severity = notice["escalated_to"] or notice["severity"]
    links = [{"href": runbook, "text": "Runbook"}] if _is_link(runbook) else []
    links += [{"href": link["url"], "text": link["text"]} for link in notice["links"]]
    return {
        "event_action": action,
        "dedup_key": mark,
        "client": SOURCE,
        **({"client_url": view["external_url"]} if view["external_url"] else {}),
        "links": links,
        "payload": {
            "summary": _summary(notice),
            "source": notice["who"] or SOURCE,
            "severity": SEVERITIES[severity_rank(severity)],
            "timestamp": rfc3339(notice["since"]),
            "class": notice["name"],
            "group": view["receiver"],
            "custom_details": _details(notice, view),
        },
    }


def _summary(notice: dict[str, Any]) -> str:
    text = notice["summary"] or f"{notice['name']} {notice['who']}"
    return shorten(one_line(text), MAX_SUMMARY)


def _details(notice: dict[str, Any], view: dict[str, Any]) -> dict[str, str]:
    """Return what else there is to read of an alert, without what is empty."""
    found = {
        "alert": notice["name"],
        **notice["about"],
        "value": notice["value"],
        "description": notice["description"],
        "runbook": notice["runbook"],
        "why": view["reason"],
        "fired more times": notice["held"] or "",
    }
    texts = {name: shorten(plain(value), _MAX_DETAIL) for name, value in found.items()}
    return {name: text for name, text in texts.items() if text}


def _is_link(text: str) -> bool:
    return text.startswith(("https://", "http://"))


def _line(event: dict[str, Any]) -> str:
    """Return an event as a person would say it."""
    about = event["payload"]
    details = "".join(f"\n  {name}: {text}" for name, text in about["custom_details"].items())
    return f"{event['event_action']} ({about['severity']}) {about['summary']}{details}"
