"""The mail as it is seen: on a phone and on a desk, by day and by night, in Chromium."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from sidecar.notify.model import OWNER, NoticeStatus, Reason
from sidecar.receivers import shipped_templates
from sidecar.receivers.email import EMAIL
from sidecar.receivers.email.message import MailText
from sidecar.redact import Redactor, RedactPolicy
from sidecar.render.renderer import Renderer
from support.chromium import BROWSER, look
from support.notify import HOUR, T0, mail_config, notice, notification

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which(BROWSER) is None, reason=f"{BROWSER} is missing"),
]
LONG = "https://dashboard.example.com/" + "customers-and-their-subscriptions/" * 8


@pytest.fixture(scope="module", params=["firing", "ended", "owner"])
def page(request: pytest.FixtureRequest) -> str:
    severities = ("critical", "error", "warning", "info", "page")
    firing = [
        notice(
            org=f"org_{severity}",
            labels={"severity": severity, "url": LONG, "org_id": "x" * 90, "alertname": "y" * 90},
        )
        for severity in severities
    ]
    escalated = notice(NoticeStatus.ESCALATED, escalated_to="critical", held=3, late_by=HOUR)
    ended = [notice(status, ended_at=T0 + HOUR) for status in list(NoticeStatus)[2:]]
    kpis = ("payment_failure_count", "subscription_status", "x" * 90)
    owned = [notice(labels={"org_id": "x" * 90, "alertname": "y", "kpi": kpi}) for kpi in kpis]
    told: dict[str, dict[str, Any]] = {
        "firing": {"notices": [*firing, escalated, *ended], "late": True, "more": 4},
        "ended": {"notices": ended, "reason": Reason.RULE_CHANGED, "more": 2},
        "owner": {"notices": [*owned, *firing], "destination": OWNER},
    }
    what = told[request.param]
    to = OWNER if request.param == "owner" else "oncall@example.com"
    renderer = Renderer(shipped_templates(), Redactor(RedactPolicy()))
    rendering = renderer.rendering(notification(*what.pop("notices"), **what))
    made = EMAIL.render(mail_config(to), rendering, plain=False)
    assert isinstance(made.payload, MailText)
    assert made.payload.html is not None
    return made.payload.html


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1200])
def test_all_of_it_is_seen_and_can_be_read(
    page: str, width: int, tmp_path: Path, *, dark: bool
) -> None:
    seen = look(page, width, dark=dark, folder=tmp_path)
    assert seen == {"wide": width, "dark": dark, "faint": []}
