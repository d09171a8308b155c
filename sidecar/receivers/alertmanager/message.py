"""What an Alertmanager is sent: alerts, as Prometheus posts them to its API v2."""

import json
from typing import Any

from sidecar.receivers.alertmanager.config import AlertmanagerConfig
from sidecar.receivers.base import Rendered, rfc3339
from sidecar.render.renderer import Rendering

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
