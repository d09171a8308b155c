"""A cluster of Alertmanagers, by its API v2: alerts, as Prometheus posts them to each member."""

import json
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from sidecar.notify.model import Rate, ReceiverConfig
from sidecar.receivers.base import Kind, Rendered, Send, rfc3339
from sidecar.receivers.proxy import HttpConfig
from sidecar.render.renderer import Rendering
from sidecar.syntax.table import Reading, key, table
from sidecar.syntax.tree import ListNode
from sidecar.syntax.values import Flag, Positive, SecretText, Text, Url

# As Prometheus does with what it sends (rules/manager.go, validUntil).
VALID_FOR = 4.0


@table
class AlertmanagerConfig(ReceiverConfig):
    """The members of one cluster; each is sent all, since they share what was told, not alerts."""

    asks: ClassVar[tuple[tuple[str, ...], ...]] = (("urls",),)

    urls: tuple[Url, ...] = key(
        "The cluster's members, such as `http://alertmanager-1:9093`.", schema={"minItems": 1}
    )
    name: Text = key(
        "What the cluster is called in messages, logs and metrics; the first one's host if not "
        "written.",
        default="",
    )
    credentials: SecretText = key("Sent as a bearer token.", default=None)
    keep_alive: Positive = key(
        "How often what fires is sent again; it ends there when that stays out four times.",
        default=60.0,
    )
    http_config: HttpConfig = key(
        "The proxy to go through.", global_="http_config", default=HttpConfig()
    )
    send_resolved: Flag = key("Also tell when alerts end.", default=True)
    rate: Rate = key(
        "Messages the cluster takes; the rest waits.", default=Rate(per_second=50.0, burst=200)
    )

    def destinations(self) -> tuple[str, ...]:
        return (self.name,)

    def again_after(self) -> float:
        return self.keep_alive

    @classmethod
    def check_together(cls, configs: Iterable[Self], reading: Reading) -> None:
        clusters: dict[str, tuple[str, ...]] = {}
        for config in configs:
            if clusters.setdefault(config.name, config.urls) != config.urls:
                message = f"two clusters are called `{config.name}`"
                reading.error(config, "name", message, "give each a `name` of its own")

    def check(self, reading: Reading) -> "AlertmanagerConfig":
        node = reading.node(self).values.get("urls")
        if isinstance(node, ListNode) and not node.items:
            hint = "name at least one: [http://alertmanager:9093]"
            reading.error(self, "urls", "`urls` is empty", hint)
        hosts = [urlsplit(url).hostname or "" for url in self.urls]
        return replace(self, name=self.name or (hosts or ["alertmanager"])[0])


Alerts = list[dict[str, Any]]  # what fires has no `endsAt` yet: that counts from when it is sent


def render(config: AlertmanagerConfig, rendering: Rendering, *, plain: bool) -> Rendered[Alerts]:
    """Return the alerts; they have no plainer form."""
    del config, plain
    view = rendering.view
    url = view["external_url"]
    alerts = [_alert(notice, view["at"], url) for notice in view["notices"]]
    return Rendered(alerts, json.dumps(alerts, indent=2, ensure_ascii=False))


def _alert(notice: dict[str, Any], at: float, url: str) -> dict[str, Any]:
    """Return one alert; one that escalated to another audience ends here, under its old labels."""
    alert = {
        "labels": {name: text for name, text in notice["labels"].items() if text},
        "annotations": {name: text for name, text in notice["annotations"].items() if text},
        "startsAt": rfc3339(notice["since"]),
    }
    if url:
        alert["generatorURL"] = url
    if notice["status"] != "firing":
        ended = at if notice["ended_at"] is None else notice["ended_at"]
        alert["endsAt"] = rfc3339(max(ended, notice["since"]))
    return alert


def _connect() -> AbstractAsyncContextManager[Send[AlertmanagerConfig, Alerts]]:
    from sidecar.receivers.alertmanager.send import send  # noqa: PLC0415 - the same
    from sidecar.receivers.http import sending  # noqa: PLC0415 - httpx, only to send

    return sending(send)


ALERTMANAGER = Kind(
    name="alertmanager",
    section="alertmanager_configs",
    doc="Clusters of Alertmanagers, which reach whom no other kind does.",
    config=AlertmanagerConfig,
    at_once=4,
    render=render,
    connect=_connect,
)
