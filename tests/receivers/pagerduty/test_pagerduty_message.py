"""The events that PagerDuty is sent: one incident an alert, whatever becomes of it."""

from typing import Any

import pytest

from sidecar.notify.model import NoticeStatus, Said
from sidecar.receivers.pagerduty import MAX_SUMMARY, Events, PagerdutyConfig, render
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.render.view import Origin
from support.notify import T0, notice, notification

LABELS = {"alertname": "PaymentFailing", "org_id": "org_7f3a", "severity": "critical"}


def events(*notices: Any, **more: Any) -> Events:
    told = notification(*notices, integration="pagerduty", **more)
    rendering = Renderer({}, Redactor()).rendering(told)
    return render(PagerdutyConfig(service="billing"), rendering, plain=False).payload


def said(org: str = "org_7f3a") -> Said:
    return Said("PaymentFailing", (org,), 7, NoticeStatus.FIRING, 1, "critical")


def test_an_alert_that_fires_triggers_an_incident() -> None:
    (event,) = events(said=[said()])
    assert len(event.pop("dedup_key")) == 16
    assert event == {
        "event_action": "trigger",
        "client": "webhook-alert-sidecar",
        "links": [{"href": "https://runbooks.example.com/payment", "text": "Runbook"}],
        "payload": {
            "summary": "Payment failed 3 times for org_7f3a",
            "source": "org_7f3a",
            "severity": "critical",
            "timestamp": "2026-11-02T08:00:00.000Z",
            "class": "PaymentFailing",
            "group": "critical",
            "custom_details": {
                "alert": "PaymentFailing",
                "org_id": "org_7f3a",
                "value": "3",
                "description": "Declined: card_declined. Call the customer.",
                "runbook": "https://runbooks.example.com/payment",
                "why": "first notification",
            },
        },
    }


@pytest.mark.parametrize(
    ("status", "actions"),
    [
        (NoticeStatus.FIRING, ["trigger"]),
        (NoticeStatus.ESCALATED, ["trigger"]),
        (NoticeStatus.RESOLVED, ["resolve"]),
        (NoticeStatus.UNSEEN, ["resolve"]),
        (NoticeStatus.FIRED_AND_RESOLVED, ["trigger", "resolve"]),
        (NoticeStatus.FIRED_AND_UNSEEN, ["trigger", "resolve"]),
    ],
)
def test_every_state_opens_or_ends_an_incident(status: NoticeStatus, actions: list[str]) -> None:
    made = events(notice(status, ended_at=T0 + 1))
    assert [event["event_action"] for event in made] == actions
    assert len({event["dedup_key"] for event in made}) == 1


def test_an_incident_is_the_alerts_over_its_escalations_and_no_other_alerts() -> None:
    low = notice(labels={**LABELS, "severity": "info", "team": "billing"})
    marks = [
        events(one, said=[said(org)])[0]["dedup_key"]
        for one, org in ((notice(), "org_7f3a"), (low, "org_7f3a"), (notice(), "org_2"))
    ]
    assert marks[0] == marks[1] != marks[2]


@pytest.mark.parametrize(
    ("severity", "escalated_to", "expected"),
    [
        ("critical", "", "critical"),
        ("error", "", "error"),
        ("warning", "", "warning"),
        ("info", "", "info"),
        ("page", "", "warning"),
        ("", "", "warning"),
        ("warning", "critical", "critical"),
    ],
)
def test_severities_are_pagerdutys(severity: str, escalated_to: str, expected: str) -> None:
    one = notice(labels={**LABELS, "severity": severity}, escalated_to=escalated_to)
    assert events(one)[0]["payload"]["severity"] == expected


def test_a_summary_keeps_to_the_limit_and_a_runbook_that_is_no_link_is_none() -> None:
    (event,) = events(
        notice(annotations={"summary": "word\n" * 1000, "runbook_url": "javascript:alert(1)"})
    )
    assert len(event["payload"]["summary"]) == MAX_SUMMARY
    assert "\n" not in event["payload"]["summary"]
    assert event["links"] == []


def test_without_a_summary_it_is_the_name_and_whom_it_is_about() -> None:
    assert events(notice(annotations={}))[0]["payload"]["summary"] == "PaymentFailing org_7f3a"


def test_it_says_where_it_comes_from() -> None:
    rendering = Renderer({}, Redactor(), Origin("https://sidecar.example.com")).rendering(
        notification(integration="pagerduty")
    )
    (event,) = render(PagerdutyConfig(service="billing"), rendering, plain=False).payload
    assert event["client_url"] == "https://sidecar.example.com"


def test_what_is_secret_is_hidden() -> None:
    made = events(notice(labels={**LABELS, "org_id": "sk_live_" + "4" * 30}))
    assert "sk_live_4" not in str(made)
