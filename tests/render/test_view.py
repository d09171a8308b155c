"""The words of a message: who, what, how it stands, what ended it, and where to look."""

from typing import Any

import pytest

from sidecar.notify.model import Notice, NoticeStatus
from sidecar.receivers import shipped_templates
from sidecar.receivers.email import EMAIL
from sidecar.receivers.slack import SLACK
from sidecar.receivers.slack.config import SlackConfig
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer, Rendering
from sidecar.render.view import Origin
from sidecar.rules.alert import Ended
from sidecar.rules.rule import Facts
from support.notify import HOUR, T0, mail_config, notice, notification

ORIGIN = Origin("https://ops.example.com/billing/", {"env": "prod"})


def rendering(*notices: Notice, origin: Origin = ORIGIN, **more: Any) -> Rendering:
    renderer = Renderer(shipped_templates(), Redactor(), origin)
    return renderer.rendering(notification(*notices, **more))


def first(**of_notice: Any) -> dict[str, Any]:
    found: dict[str, Any] = rendering(notice(**of_notice)).view["notices"][0]
    return found


def slack(*notices: Notice, **more: Any) -> str:
    return SLACK.render(SlackConfig(channel="#c"), rendering(*notices, **more), plain=False).text


RESOLVED: dict[str, Any] = {"status": NoticeStatus.RESOLVED, "ended_at": T0 + HOUR}
PAID = {"event_type": "invoice.payment_succeeded", "status": "billing_period_paid"}


@pytest.mark.parametrize(
    ("of_notice", "state"),
    [
        pytest.param({}, "firing for 1h 5m", id="firing"),
        pytest.param({"since": T0 + 65 * 60}, "firing", id="no time at all"),
        pytest.param({"rule": Facts(news=True)}, "news", id="news"),
        pytest.param(
            {**RESOLVED, "ended": Ended.EVENT, "ended_by": PAID},
            "resolved after 1h: invoice.payment_succeeded, billing_period_paid",
            id="by an event",
        ),
        pytest.param(
            {**RESOLVED, "ended": Ended.EVENT, "ended_by": PAID,
             "annotations": {"resolved": "paid {{ ended_by.status }}"}},
            "resolved after 1h: paid billing_period_paid",
            id="as its rule calls it",
        ),
        pytest.param(
            {**RESOLVED, "ended": Ended.CLEARED},
            "resolved after 1h: its condition no longer holds",
            id="cleared",
        ),
        pytest.param(
            {**RESOLVED, "ended": Ended.BY_HAND, "ended_person": "alice"},
            "resolved after 1h: by hand, by alice",
            id="by hand",
        ),
        pytest.param(
            {**RESOLVED, "ended": Ended.BY_HAND}, "resolved after 1h: by hand", id="nobody's hand"
        ),
        pytest.param(RESOLVED, "resolved after 1h", id="of the version before"),
        pytest.param(
            {"status": NoticeStatus.UNSEEN, "ended_at": T0 + HOUR, "ended": Ended.UNSEEN},
            "no longer seen after 1h; nothing says that it is over",
            id="unseen",
        ),
    ],
)  # fmt: skip
def test_how_an_alert_stands(of_notice: dict[str, Any], state: str) -> None:
    assert first(**of_notice)["state"] == state


def test_what_is_closed_is_grey_and_never_called_resolved() -> None:
    closed = notice(NoticeStatus.CLOSED, ended_at=T0 + HOUR, ended=Ended.CLOSED)
    made = rendering(closed)
    payload = SLACK.render(SlackConfig(channel="#c"), made, plain=False).payload
    mail = EMAIL.render(mail_config("a@b.example"), made, plain=False).payload
    assert payload["attachments"][0]["color"] == "#8a94a3"
    for text in (str(payload), mail.subject, mail.text):
        assert "resolved" not in text.lower()
    assert mail.subject == "[CLOSED:1] PaymentFailing org_7f3a (critical)"


def test_news_is_not_called_firing() -> None:
    made = rendering(notice(rule=Facts(news=True), labels={"alertname": "A", "severity": "info"}))
    assert made.view["tag"] == "NEWS:1"
    assert "firing" not in slack(notice(rule=Facts(news=True))).lower()


@pytest.mark.parametrize(
    ("event", "annotations", "who"),
    [
        ({}, {}, "org_7f3a"),
        ({"org_name": "Acme\nInc"}, {}, "Acme Inc (org_7f3a)"),
        ({"customer_name": "x" * 300}, {}, "x" * 59 + "… (org_7f3a)"),
        ({"org_name": "Acme"}, {"title": "the plan of {{ event.org_name }}"}, "the plan of Acme"),
    ],
)
def test_whom_it_is_about(event: dict[str, Any], annotations: dict[str, str], who: str) -> None:
    assert first(event=event, annotations=annotations)["who"] == who


def test_error_and_amount_are_those_that_were_logged() -> None:
    found = first(event={"error_message": "card\ndeclined", "amount_due": 4900, "currency": "usd"})
    assert (found["error"], found["amount"]) == ("card declined", "49.00 USD")
    assert first(event={"amount_due": 4900, "error": {"a": 1}})["amount"] == ""


URL = "https://dashboard.stripe.com/customers/{{ event.customer }}"


@pytest.mark.parametrize(
    ("source", "event", "url"),
    [
        (URL, {"customer": "cus_1"}, "https://dashboard.stripe.com/customers/cus_1"),
        (URL, {"customer": "../a|b>?q#"},
         "https://dashboard.stripe.com/customers/..%2Fa%7Cb%3E%3Fq%23"),
        (URL, {}, None),
        (URL, {"customer": ""}, None),
        ("/{{ event.customer }}", {"customer": "x y"}, "https://ops.example.com/billing/x%20y"),
        ("{{ event.customer }}", {"customer": "https://evil.example"},
         "https://ops.example.com/billing/https%3A%2F%2Fevil.example"),
        ("https://a.example/{% if true %} <|{% endif %}", {}, "https://a.example/%20%3C%7C"),
        ("javascript:alert(1)", {}, None),
        ("https://", {}, None),
    ],
)  # fmt: skip
def test_a_link_leads_where_its_rule_says(
    source: str, event: dict[str, Any], url: str | None
) -> None:
    made = rendering(notice(event=event, annotations={}, rule=Facts(links=(("Customer", source),))))
    links = made.view["notices"][0]["links"]
    assert [link["url"] for link in links] == ([] if url is None else [url])
    assert made.faults == []


def test_a_runbook_may_be_relative() -> None:
    annotations = {"runbook_url": "docs/runbook.md#paymentfailing"}
    assert first(annotations=annotations)["runbook"] == (
        "https://ops.example.com/billing/docs/runbook.md#paymentfailing"
    )
    bare = rendering(notice(annotations=annotations), origin=Origin())
    assert bare.view["notices"][0]["runbook"] == "docs/runbook.md#paymentfailing"
    assert bare.view["notices"][0]["buttons"] == []


def test_links_are_buttons_in_slack_and_links_in_mail() -> None:
    told = notice(event={"customer": "c"}, rule=Facts(links=(("Customer", URL),)))
    payload = SLACK.render(SlackConfig(channel="#c"), rendering(told), plain=False).payload
    (actions,) = [b for b in payload["attachments"][0]["blocks"] if b["type"] == "actions"]
    assert [(e["text"]["text"], e["url"]) for e in actions["elements"]] == [
        ("Runbook", "https://runbooks.example.com/payment"),
        ("Customer", "https://dashboard.stripe.com/customers/c"),
    ]
    mail = EMAIL.render(mail_config("a@b.example"), rendering(told), plain=False).payload
    assert 'href="https://dashboard.stripe.com/customers/c"' in (mail.html or "")
    assert "  Customer: https://dashboard.stripe.com/customers/c\n" in mail.text


def test_external_labels_stand_on_every_alert_and_message() -> None:
    made = rendering(notice(annotations={"summary": "in {{ labels.env }}"}), route='a="b"')
    assert made.view["notices"][0]["labels"]["env"] == "prod"
    assert made.view["notices"][0]["summary"] == "in prod"
    assert made.view["notices"][0]["about"] == {"org_id": "org_7f3a"}
    text = SLACK.render(SlackConfig(channel="#c"), made, plain=False).text
    assert text.endswith(
        'first notification · critical, for a="b" · env=prod · 2026-11-02 09:05:00 UTC'
    )


def test_of_many_the_ten_worst_are_told_at_length_and_described_once() -> None:
    text = slack(*[notice(org=f"org_{n}") for n in range(25)])
    assert text.count("*Payment failed 3 times for org_") == 10
    assert text.count("Call the customer") == 1
    assert text.count("[Runbook]") == 1
    others = ", ".join(f"org_{n}" for n in range(10, 25))
    assert f"15 more firing: {others}" in text


def test_a_mail_has_its_readers_zone() -> None:
    config = mail_config("a@b.example", timezone="Europe/Berlin")
    mail = EMAIL.render(config, rendering(notice()), plain=False).payload
    assert "  since:    2026-11-02 09:00:00 CET\n" in mail.text
    assert "2026-11-02 09:00:00 CET" in (mail.html or "")


HOSTILE = [
    "*bold*", "~gone~", "`code`", "_it_", "a *b", "<!channel>", "-", "@here #general <@U1>",
    ":fire: :100:", "x\n---\ny", "\x1e[]",
]  # fmt: skip
QUOTED = {"summary": "{{ event.code }}", "description": "{{ event.code }}"}


def blocks_of(code: str) -> list[dict[str, Any]]:
    made = rendering(notice(event={"code": code}, annotations=QUOTED))
    payload = SLACK.render(SlackConfig(channel="#c"), made, plain=False).payload
    blocks: list[dict[str, Any]] = payload["attachments"][0]["blocks"]
    return blocks


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_value_is_markup_in_slack(text: str) -> None:
    blocks = blocks_of(text)
    assert [block["type"] for block in blocks] == [block["type"] for block in blocks_of("x")]
    summary, *_ = blocks[0]["text"]["text"].splitlines()
    assert summary[:1] == summary[-1:] == "*"
    assert not set("*~`<>") & set(summary[1:-1])
    assert ":fire:" not in summary
    assert all(block["text"]["verbatim"] for block in blocks if block["type"] == "section")
