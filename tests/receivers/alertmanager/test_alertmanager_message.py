"""The alerts that an Alertmanager is sent, of every state that one can have."""

from typing import Any

import pytest

from sidecar.notify.model import NoticeStatus
from sidecar.receivers.alertmanager import AlertmanagerConfig, Alerts, render
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.render.view import Origin
from support.notify import T0, notice, notification


def alerts(*notices: Any, url: str = "") -> Alerts:
    told = notification(*notices, integration="alertmanager")
    rendering = Renderer({}, Redactor(), Origin(url)).rendering(told)
    return render(AlertmanagerConfig(urls=(), name="am"), rendering, plain=False).payload


def test_what_fires_has_no_end_yet() -> None:
    assert alerts() == [
        {
            "labels": {"alertname": "PaymentFailing", "org_id": "org_7f3a", "severity": "critical"},
            "annotations": {
                "summary": "Payment failed 3 times for org_7f3a",
                "description": "Declined: card_declined. Call the customer.",
                "runbook_url": "https://runbooks.example.com/payment",
            },
            "startsAt": "2026-11-02T08:00:00.000Z",
        }
    ]


@pytest.mark.parametrize(
    ("status", "ended_at", "end"),
    [
        (NoticeStatus.RESOLVED, T0 + 90.0, "2026-11-02T08:01:30.000Z"),
        (NoticeStatus.UNSEEN, T0 + 90.0, "2026-11-02T08:01:30.000Z"),
        (NoticeStatus.FIRED_AND_RESOLVED, T0 + 90.0, "2026-11-02T08:01:30.000Z"),
        # An Alertmanager refuses what ends before it starts.
        (NoticeStatus.RESOLVED, T0 - 90.0, "2026-11-02T08:00:00.000Z"),
        # It goes on under other labels, for others: told 65 minutes after T0.
        (NoticeStatus.ESCALATED, None, "2026-11-02T09:05:00.000Z"),
    ],
)
def test_what_ended_says_when(status: NoticeStatus, ended_at: float | None, end: str) -> None:
    (alert,) = alerts(notice(status, ended_at=ended_at))
    assert alert["endsAt"] == end


def test_it_says_where_it_comes_from() -> None:
    (alert,) = alerts(url="https://sidecar.example.com")
    assert alert["generatorURL"] == "https://sidecar.example.com"


def test_an_empty_label_is_none() -> None:
    (alert,) = alerts(notice(labels={"alertname": "A", "org_id": ""}, annotations={"summary": ""}))
    assert (alert["labels"], alert["annotations"]) == ({"alertname": "A"}, {})


def test_what_is_secret_is_hidden() -> None:
    made = alerts(notice(labels={"alertname": "A", "org_id": "sk_live_" + "4" * 30}))
    assert "sk_live_4" not in str(made)
