"""A Slack-like look at a payload, and the pictures of README: `make pictures`."""

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from sidecar.notify.model import Notification
from sidecar.receivers import shipped_templates
from sidecar.receivers.email import EMAIL
from sidecar.receivers.slack import SLACK
from sidecar.receivers.slack.config import SlackConfig
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.render.view import Origin
from sidecar.rules.alert import Evidence
from sidecar.rules.rule import Facts
from sidecar.web.api import render
from support.chromium import look
from support.notify import MINUTE, T0, mail_config, notice, notification
from support.web import alert, known

# A test's machine has no font with emoji.
_EMOJI = re.compile(r":[a-z_]+:")
_MRKDWN = (
    (re.compile(r"<!date\^[^|<>]*\|([^<>]*)>"), r"\1"),
    (re.compile(r"```(.*?)```", re.DOTALL), r"<pre>\1</pre>"),
    (re.compile(r"`([^`\n]+)`"), r"<code>\1</code>"),
    (re.compile(r"(?<![\w*])\*([^*\n]+)\*"), r"<b>\1</b>"),
    (re.compile(r"(?<![\w])_([^_\n]+)_(?!\w)"), r"<i>\1</i>"),
    (re.compile(r"^&gt; ?(.*)$|^> ?(.*)$", re.MULTILINE), r"<blockquote>\1\2</blockquote>"),
    (re.compile(r"</blockquote>\n|\n"), lambda m: "<br>" if m[0] == "\n" else "</blockquote>"),
)
_PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><style>
body {{ margin: 0; padding: 16px; background: #fff; color: #1d1c1d;
  font: 15px/1.47 Lato, sans-serif; overflow-wrap: anywhere; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #1a1d21; color: #d1d2d3; }}
  code, pre {{ background: #26292e !important; color: #e8912d !important; }}
  .context {{ color: #abacad !important; }} .button {{ color: #d1d2d3 !important; }} }}
h1 {{ font-size: 18px; margin: 0 0 8px; }} .card {{ border-left: 4px solid {colour};
  border-radius: 4px; padding-left: 12px; }} .card > div {{ margin: 6px 0; }}
.context {{ font-size: 12px; color: #5c5b5d; }} blockquote {{ border-left: 4px solid #ddd;
  margin: 4px 0; padding-left: 8px; }} code, pre {{ background: #f6f6f6; color: #a81c3f;
  border: 1px solid #8884; border-radius: 3px; padding: 1px 4px; font-size: 12px;
  white-space: pre-wrap; margin: 4px 0; }} hr {{ border: 0; border-top: 1px solid #8884; }}
.button {{ display: inline-block; border: 1px solid #8888; border-radius: 4px; font-weight: bold;
  padding: 4px 12px; margin: 4px 8px 0 0; color: #1d1c1d; text-decoration: none; }}
</style></head><body>{body}</body></html>"""


def slack_page(payload: dict[str, Any]) -> str:
    """Return a page that shows a payload about as Slack does."""
    (attached,) = payload["attachments"]
    blocks = "".join(map(_block, attached["blocks"]))
    head = "".join(map(_block, payload["blocks"]))
    return _PAGE.format(colour=attached["color"], body=f'{head}<div class="card">{blocks}</div>')


def _block(block: dict[str, Any]) -> str:
    match block["type"]:
        case "header":
            return f"<h1>{_text(block['text']['text'])}</h1>"
        case "divider":
            return "<hr>"
        case "actions":
            return f"<div>{''.join(map(_button, block['elements']))}</div>"
        case "context":
            parts = (_text(one["text"]) for one in block["elements"])
            return f'<div class="context">{" ".join(parts)}</div>'
        case _:
            return f"<div>{_text(block['text']['text'])}</div>"


def _button(one: dict[str, Any]) -> str:
    return f'<a class="button" href="{one["url"]}">{one["text"]["text"]}</a>'


def _text(text: str) -> str:
    text = _EMOJI.sub("&#9679;", text)
    for pattern, html in _MRKDWN:
        text = pattern.sub(html, text)
    return text


def example() -> Notification:
    """Return the message that README shows."""
    one = notice(
        labels={"alertname": "PaymentFailing", "org_id": "13e15d2b", "severity": "critical"},
        annotations={
            "summary": "Payment failed {{ value }} times for {{ event.org_name }}: "
            "{{ event.amount_due | money(event.currency) }}",
            "description": "Stripe goes on trying, by default eight times within two weeks. Read at"
            " the invoice why the bank refused, then have the customer's billing contact renew the"
            " card.",
            "runbook_url": "/docs/runbook.md#paymentfailing",
        },
        event={
            "org_name": "Acme Inc", "amount_due": 4900, "currency": "usd", "invoice_id": "in_77b1",
            "customer_id": "cus_9f2", "error": "Your card has insufficient funds.",
        },
        rule=Facts(
            "max(attempt_count) >= 3 within 90d",
            'an event with status="billing_period_paid"',
            links=(
                ("Invoice", "https://dashboard.stripe.com/invoices/{{ event.invoice_id }}"),
                ("Customer", "https://dashboard.stripe.com/customers/{{ event.customer_id }}"),
            ),
        ),
        since=T0 + 65 * MINUTE,
        evidence=Evidence(
            "/var/log/webhook/app.log",
            48211,
            "2026-11-02 09:05:00 - INFO - WEBHOOK_METRIC: {'event_type': 'invoice.payment_failed', "
            "'status': 'payment_failure', 'org_id': '13e15d2b', 'attempt_count': 3}",
        ),
    )  # fmt: skip
    return notification(one, route='severity="critical"', receiver="critical")


def pages(told: Notification) -> dict[str, str]:
    """Return the Slack message and the mail as pages, by their names."""
    origin = Origin("https://ops.example.com/billing", {"env": "production"})
    rendering = Renderer(shipped_templates(), Redactor(), origin).rendering(told)
    slack = SLACK.render(SlackConfig(channel="#c"), rendering, plain=False).payload
    mail = EMAIL.render(mail_config("oncall@example.com"), rendering, plain=False).payload
    return {"slack": slack_page(slack), "mail": mail.html or ""}


def status_page() -> str:
    """Return the status page about the same alert."""
    log = "/var/log/webhook/app.log"
    shown = known()
    status = shown["status"]
    status |= {"problems": [], "version": "0.1.0", "outbox": {"pending": 0, "oldest": None}}
    status["config"] |= {"rules": 31, "last_reload": None}
    status["logs"] = [{**status["logs"][0], "path": log, "position": 161_744, "problem": ""}]
    line = "2026-11-02 09:05:00 - INFO - Org 13e15d2b has failed payment, attempt #3"
    texts = {"summary": "Payment failed 3 times for Acme Inc", "description": "Call the customer."}
    first = alert(
        "13e15d2b", annotations=texts, evidence={"file": log, "offset": 48_211, "line": line}
    )
    second = alert(
        "c7e0a4d2", alertname="SubscriptionDelinquent", severity="warning", acked=None,
        value="past_due",
        annotations={"summary": "Subscription of c7e0a4d2 is past_due"}, evidence=None,
    )  # fmt: skip
    message = {
        **shown["notifications"][0], "receiver": "critical", "destination": "#critical-alerts",
        "reason": "first notification", "alerts": ["PaymentFailing firing org_id=13e15d2b"],
        "outcome": "sent", "next_at": None, "detail": "",
    }  # fmt: skip
    event = {
        "provider": "stripe",
        "event_type": "invoice.payment_failed",
        "status": "payment_failure",
    }
    events = [{**shown["events"][0], **event, "count": 3}]
    parts = {"alerts": [first, second], "notifications": [message], "events": events}
    return render(
        {**shown, **parts, "rules": [], "odd_lines": [], "silences": [], "explained": {}}, ""
    )


_HEIGHTS = {"slack": 400, "mail": 710, "page": 900}  # pixels
_WIDTHS = {"page": 1000}


def main(folder: Path) -> None:
    """Write the pictures into `folder`."""
    for name, page in {**pages(example()), "page": status_page()}.items():
        width = _WIDTHS.get(name, 700)
        with tempfile.TemporaryDirectory() as scratch:
            look(page, width, dark=False, folder=Path(scratch), height=_HEIGHTS[name])
            shutil.copy(Path(scratch) / f"{width}-light.png", folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
