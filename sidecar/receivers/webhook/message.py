"""What a webhook is sent: Alertmanager's JSON, version 4, so that what takes that takes ours.

Its form is that of Alertmanager's template.Data and webhook.Message (notify/webhook/webhook.go).
"""

import json
from collections.abc import Iterable
from typing import Any

from sidecar.receivers.base import Rendered, rfc3339
from sidecar.receivers.webhook.config import WebhookConfig
from sidecar.render.renderer import Rendering

Payload = dict[str, Any]
NEVER = "0001-01-01T00:00:00Z"  # Go's zero time: when what still fires ends


def render(config: WebhookConfig, rendering: Rendering, *, plain: bool) -> Rendered[Payload]:
    """Return the message; it has no plainer form."""
    del config, plain
    view = rendering.view
    marks = rendering.notification.fingerprints()
    url = view["external_url"]
    alerts = [_alert(*pair, url) for pair in zip(view["notices"], marks, strict=True)]
    payload = {
        "version": "4",
        "groupKey": view["group"],
        "truncatedAlerts": view["more"],
        "status": "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved",
        "receiver": view["receiver"],
        "groupLabels": view["group_labels"],
        "commonLabels": _common(alert["labels"] for alert in alerts),
        "commonAnnotations": _common(alert["annotations"] for alert in alerts),
        "externalURL": url,
        "alerts": alerts,
    }
    return Rendered(payload, json.dumps(payload, indent=2, ensure_ascii=False))


def _alert(notice: dict[str, Any], fingerprint: str, url: str) -> dict[str, Any]:
    ended = notice["ended_at"]
    return {
        "status": "firing" if notice["open"] else "resolved",
        "labels": notice["labels"],
        "annotations": notice["annotations"],
        "startsAt": rfc3339(notice["since"]),
        "endsAt": NEVER if ended is None else rfc3339(ended),
        "generatorURL": url,
        "fingerprint": fingerprint,
    }


def _common(tables: Iterable[dict[str, str]]) -> dict[str, str]:
    """Return what is the same in all of them."""
    each = list(tables)
    shared = set.intersection(*(set(table.items()) for table in each)) if each else set()
    return dict(sorted(shared))
