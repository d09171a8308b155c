"""What the pager is sent: an event that triggers an incident or resolves it."""

from typing import Any

from sidecar.receivers.base import Rendered
from sidecar.render.renderer import Rendering, plain_body, plain_title
from support.pager.config import PagerConfig

Event = dict[str, Any]  # without the routing key


def render(config: PagerConfig, rendering: Rendering, *, plain: bool) -> Rendered[Event]:
    view = rendering.view
    summary = None if plain else rendering.fill(config.summary, "pager.summary.j2")
    summary = plain_title(view) if summary is None else summary
    event = {
        "event_action": "resolve" if view["status"] == "resolved" else "trigger",
        "dedup_key": rendering.notification.group,
        "payload": {
            "summary": summary,
            "severity": view["severity"],
            "custom_details": plain_body(view),
        },
    }
    return Rendered(event, f"{summary}\n{plain_body(view)}", summary)
