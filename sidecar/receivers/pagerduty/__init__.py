"""PagerDuty, by its Events API v2: for each alert an event that opens its incident or ends it.

An incident is an alert's: its `dedup_key` is made of the alert's identity, so that whatever is sent
twice, or by two sidecars, is one. Form and limits: developer.pagerduty.com, Events API v2.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, ClassVar, Self

from sidecar.notify.model import SEVERITIES, Rate, ReceiverConfig, severity_rank
from sidecar.receivers.base import Kind, Rendered, Send, rfc3339
from sidecar.receivers.proxy import HttpConfig
from sidecar.render.renderer import Rendering
from sidecar.render.words import one_line, plain, shorten
from sidecar.syntax.table import Reading, key, table
from sidecar.syntax.values import Flag, Named, SecretText, Url

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"


@table
class PagerdutyConfig(ReceiverConfig):
    """A service of PagerDuty's, by the key of its Events API v2 integration."""

    asks: ClassVar[tuple[tuple[str, ...], ...]] = (("routing_key",),)

    service: Named = key("What the service is called, in messages, logs and metrics.")
    routing_key: SecretText = key(
        "The integration key of the service's Events API v2 integration.", default=None
    )
    url: Url = key("The Events API v2, or a stand-in.", global_="pagerduty_url", default=EVENTS_URL)
    http_config: HttpConfig = key(
        "The proxy to go through.", global_="http_config", default=HttpConfig()
    )
    send_resolved: Flag = key("Also tell when alerts end.", default=True)
    rate: Rate = key(
        "What PagerDuty takes; the rest waits.", default=Rate(per_second=1.0, burst=20)
    )

    def destinations(self) -> tuple[str, ...]:
        return (self.service,)

    @classmethod
    def check_together(cls, configs: Iterable[Self], reading: Reading) -> None:
        keys: dict[str, str] = {}
        for config in configs:
            key = config.routing_key.reveal() if config.routing_key else ""
            if keys.setdefault(config.service, key) != key:
                message = f"service `{config.service}` has two routing keys"
                reading.error(config, "service", message, "call each service by its own name")

    def check(self, reading: Reading) -> "PagerdutyConfig":
        if self.routing_key is None:
            reading.error(self, "", "`routing_key` is missing")
        return self


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


def _connect() -> AbstractAsyncContextManager[Send[PagerdutyConfig, Events]]:
    from sidecar.receivers.http import sending  # noqa: PLC0415 - httpx, only to send
    from sidecar.receivers.pagerduty.send import send  # noqa: PLC0415 - the same

    return sending(partial(send, set()))


PAGERDUTY = Kind(
    name="pagerduty",
    section="pagerduty_configs",
    doc="Services of PagerDuty.",
    config=PagerdutyConfig,
    at_once=4,
    render=render,
    connect=_connect,
)
