"""What each shipped rule's message says, as files that people review: tests/render/shipped.

`make messages` writes them anew. Each has a message of every kind about one rule, with an event in
which the host logged all that it can.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from sidecar.config.load import check_files
from sidecar.notify.model import Notice, NoticeStatus, Notification, Reason
from sidecar.receivers import shipped_templates
from sidecar.receivers.email import EMAIL
from sidecar.receivers.slack import SLACK
from sidecar.receivers.slack.config import SlackConfig
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.render.view import Origin
from sidecar.rules.alert import Ended, Evidence
from sidecar.rules.condition import is_absence
from sidecar.rules.rule import Rule, label_name
from support.notify import HOUR, T0, mail_config, notification

ROOT = Path(__file__).parents[2]
SHIPPED = Path(__file__).parent / "shipped"
RULES = check_files(sorted(map(str, (ROOT / "rules").glob("*.rules.yaml"))), ()).rules
RENDERER = Renderer(
    shipped_templates(),
    Redactor(),
    Origin("https://github.com/example/billing/blob/main", {"env": "production"}),
)
LOGGED: dict[str, Any] = {
    "webhook_provider": "stripe", "event_type": "invoice.payment_failed",
    "status": "payment_failure", "org_id": "13e15d2b", "org_name": "Acme Inc",
    "customer_id": "cus_9f2", "subscription_id": "sub_1ac8e", "invoice_id": "in_77b1",
    "event_id": "evt_3f0", "attempt_count": 3, "amount_due": 4900, "currency": "usd",
    "decline_code": "insufficient_funds", "error_type": "CardError",
    "error": "Your card has insufficient funds.", "seat_quantity": 12, "grace_days_left": 2,
}  # fmt: skip
OWN = {
    "log": "/var/log/webhook/app.log",
    "integration": "slack",
    "receiver": "critical",
    "destination": "#critical-alerts",
    "reason": "auth",
    "detail": "HTTP 200 invalid_auth",
}
LINE = (
    "2026-11-02 08:00:00 - INFO - WEBHOOK_METRIC: "
    "{'event_type': 'invoice.payment_failed', 'org_id': '13e15d2b'}"
)


def event_of(rule: Rule) -> dict[str, Any]:
    """Return an event that the rule matches, with all else that a host can log."""
    named = {m.name: m.named_values()[0] for m in rule.match if m.named_values()}
    states = rule.condition.comparisons[0].values if rule.condition.comparisons else ()
    logged = OWN if rule.about_us else {} if is_absence(rule.condition) else LOGGED
    return {**logged, **named, **({"status": states[0]} if states else {})}


def notice_of(rule: Rule, number: int = 0, **more: Any) -> Notice:
    event = event_of(rule)
    labels = {label_name(field): str(event.get(field, field)) for field in rule.by}
    if number and labels:
        labels["org_id" if "org_id" in labels else next(iter(labels))] = f"org_{number}"
    values = rule.condition.comparisons[0].values if rule.condition.comparisons else ()
    tipped = not rule.about_us and not is_absence(rule.condition)
    about: dict[str, Any] = {
        "labels": {"alertname": rule.name, **labels, **rule.labels},
        "annotations": dict(rule.annotations),
        "value": values[0] if values else 3.0,
        "since": T0,
        "ended_at": None,
        "event": {**event, **({"org_name": f"Customer {number}"} if number else {})},
        "episode": 1,
        "collected": {label_name(one): ["evt_3f0", "evt_3f1"] for one in rule.collect},
        "evidence": Evidence("/var/log/webhook/app.log", 48211, LINE) if tipped else None,
        "times": 1,
        "seen_at": T0,
        "rule": rule.facts,
    }
    return Notice(**{"status": NoticeStatus.FIRING, **about, **more})


def firing(rule: Rule) -> Notification:
    return told(notice_of(rule))


def grown(rule: Rule) -> Notification:
    one = notice_of(rule, times=1000, seen_at=T0 + HOUR, grew=True, value=1000.0)
    return told(one, reason=Reason.GREW)


def escalated(rule: Rule) -> Notification:
    """Return what those hear to whom it moved on, or, without such a step, those whom it left."""
    one = notice_of(rule)
    if not rule.escalate:
        moved = replace(one, status=NoticeStatus.ESCALATED, escalated_to="critical")
        return told(moved, reason=Reason.ESCALATED)
    step = rule.escalate[0]
    labels, annotations = {**one.labels, **step.labels}, {**one.annotations, **step.annotations}
    return told(replace(one, labels=labels, annotations=annotations), reason=Reason.ESCALATED)


def resolved(rule: Rule) -> Notification:
    paid = {"event_type": "invoice.payment_succeeded", "status": "billing_period_paid"}
    ended = notice_of(
        rule, status=NoticeStatus.RESOLVED, ended_at=T0 + HOUR, ended=Ended.EVENT, ended_by=paid
    )
    return told(ended, reason=Reason.ALL_RESOLVED)


def closed(rule: Rule) -> Notification:
    ended = notice_of(rule, status=NoticeStatus.CLOSED, ended_at=T0 + HOUR, ended=Ended.CLOSED)
    return told(ended, reason=Reason.RULE_CHANGED)


def late(rule: Rule) -> Notification:
    return told(notice_of(rule), reason=Reason.LATE_DIGEST, late=True)


def many(rule: Rule) -> Notification:
    return told(*(notice_of(rule, number) for number in range(1, 26)))


def told(*notices: Notice, reason: Reason = Reason.FIRST, **more: Any) -> Notification:
    severity = notices[0].labels.get("severity", "warning")
    return notification(
        *notices, reason=reason, receiver=severity, route=f'severity="{severity}"', **more
    )


def kinds_of(rule: Rule) -> Iterator[tuple[str, Callable[[Rule], Notification]]]:
    yield "firing", firing
    yield "grown", grown
    yield "escalated", escalated
    yield "resolved", resolved
    yield "closed", closed
    yield "late", late
    if rule.by:
        yield "25 in a group", many


def page_of(rule: Rule) -> str:
    parts: list[str] = [f"# {rule.name}"]
    for name, make in kinds_of(rule):
        rendering = RENDERER.rendering(make(rule))
        slack = SLACK.render(SlackConfig(channel="#c"), rendering, plain=False)
        mail = EMAIL.render(mail_config("oncall@example.com"), rendering, plain=False)
        assert rendering.faults == []
        parts += [f"## {name}: Slack", fenced(slack.text)]
        if name in ("firing", "resolved"):
            parts += [f"## {name}: mail", fenced(f"Subject: {mail.subject}\n\n{mail.text}")]
    return "\n\n".join(parts) + "\n"


def fenced(text: str) -> str:
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return "\n".join(["~~~text", *lines, "~~~"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_shipped_rules_messages_are_the_reviewed_ones(rule: Rule) -> None:
    path = SHIPPED / f"{rule.name}.md"
    if os.environ.get("REWRITE"):
        path.write_text(page_of(rule))
    assert path.read_text() == page_of(rule), "look at it, and run `make messages` if it is right"


def test_there_is_a_file_for_each_shipped_rule_and_no_other() -> None:
    names: Sequence[str] = [rule.name for rule in RULES]
    assert sorted(path.stem for path in SHIPPED.glob("*.md")) == sorted(names)
