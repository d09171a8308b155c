"""The JSON of a webhook: key by key as Alertmanager's, of every state that an alert can have."""

from typing import Any

import pytest

from sidecar.notify.model import NoticeStatus, Said
from sidecar.receivers.webhook import WebhookConfig, render
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.render.view import Origin
from support.notify import T0, notice, notification

LABELS = {"alertname": "PaymentFailing", "org_id": "org_7f3a", "severity": "critical"}
ANNOTATIONS = {
    "summary": "Payment failed 3 times for org_7f3a",
    "description": "Declined: card_declined. Call the customer.",
    "runbook_url": "https://runbooks.example.com/payment",
}


def payload(*notices: Any, **more: Any) -> dict[str, Any]:
    told = notification(*notices, integration="webhook", **more)
    rendering = Renderer({}, Redactor(), Origin("https://sidecar.example.com")).rendering(told)
    return render(WebhookConfig(name="hooks"), rendering, plain=False).payload


def test_it_is_alertmanagers_version_4() -> None:
    made = payload(said=[said()])
    (mark,) = (alert.pop("fingerprint") for alert in made["alerts"])
    assert len(mark) == 16
    assert made == {
        "version": "4",
        "groupKey": '{}:{alertname="PaymentFailing"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "critical",
        "groupLabels": {"alertname": "PaymentFailing"},
        "commonLabels": LABELS,
        "commonAnnotations": ANNOTATIONS,
        "externalURL": "https://sidecar.example.com",
        "alerts": [
            {
                "status": "firing",
                "labels": LABELS,
                "annotations": ANNOTATIONS,
                "startsAt": "2026-11-02T08:00:00.000Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "https://sidecar.example.com",
            }
        ],
    }


def said(org: str = "org_7f3a") -> Said:
    return Said("PaymentFailing", (org,), 7, NoticeStatus.FIRING, 1, "critical")


@pytest.mark.parametrize(
    ("status", "ended_at", "word"),
    [
        (NoticeStatus.FIRING, None, "firing"),
        (NoticeStatus.ESCALATED, None, "firing"),
        (NoticeStatus.RESOLVED, T0 + 1.5, "resolved"),
        (NoticeStatus.UNSEEN, T0 + 1.5, "resolved"),
        (NoticeStatus.FIRED_AND_RESOLVED, T0 + 1.5, "resolved"),
        (NoticeStatus.FIRED_AND_UNSEEN, T0 + 1.5, "resolved"),
    ],
)
def test_every_state_is_one_of_alertmanagers_two(
    status: NoticeStatus, ended_at: float | None, word: str
) -> None:
    made = payload(notice(status, ended_at=ended_at))
    (alert,) = made["alerts"]
    end = "0001-01-01T00:00:00Z" if ended_at is None else "2026-11-02T08:00:01.500Z"
    assert (made["status"], alert["status"], alert["endsAt"]) == (word, word, end)


def test_one_that_fires_makes_the_whole_firing_and_common_is_what_all_have() -> None:
    made = payload(
        notice(), notice(NoticeStatus.RESOLVED, "org_2", ended_at=T0), more=70, counts={}
    )
    assert made["status"] == "firing"
    assert made["truncatedAlerts"] == 70
    assert made["commonLabels"] == {"alertname": "PaymentFailing", "severity": "critical"}
    assert "summary" not in made["commonAnnotations"]
    assert made["commonAnnotations"]["runbook_url"] == ANNOTATIONS["runbook_url"]


def test_a_fingerprint_stays_the_same_when_the_alert_escalates() -> None:
    warning = notice(labels={**LABELS, "severity": "warning", "team": "billing"})
    marks = [
        payload(one, said=[said(org)])["alerts"][0]["fingerprint"]
        for one, org in ((notice(), "org_7f3a"), (warning, "org_7f3a"), (notice(), "org_2"))
    ]
    assert marks[0] == marks[1] != marks[2]


def test_what_is_secret_is_hidden() -> None:
    made = payload(notice(labels={**LABELS, "org_id": "sk_live_" + "4" * 30}))
    assert "sk_live_4" not in str(made)
