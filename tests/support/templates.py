"""The message that the examples of docs/templates.md are filled with."""

from collections.abc import Mapping
from typing import Any

from sidecar.notify.model import NoticeStatus
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.render.sandbox import TemplateEnvironment
from sidecar.rules.alert import Evidence
from support.notify import HOUR, T0, notice, notification

_EVENT = {"code": "card_declined", "amount": 4900, "currency": "usd"}
_MORE: dict[str, Any] = {
    "event": _EVENT,
    "collected": {"event_id": ["evt_1", "evt_2"]},
    "evidence": Evidence("/var/log/webhook/app.log", 4711, "payment failed"),
    "times": 14,
    "seen_at": T0 + HOUR,
}
TOLD = notification(
    notice(**_MORE),
    notice(
        NoticeStatus.RESOLVED, "org_2", **_MORE, ended_at=T0 + HOUR, ended_by={"status": "paid"}
    ),
)
MESSAGE: dict[str, Any] = Renderer({}, Redactor()).rendering(TOLD).view
NOTICE: dict[str, Any] = {"n": MESSAGE["notices"][0]}
VALUES: dict[str, Any] = {**MESSAGE, "event": {"code": "card_declined"}}


def filled(source: str, values: Mapping[str, Any]) -> str:
    environment = TemplateEnvironment()
    return environment.fill(environment.inline(source), values)
