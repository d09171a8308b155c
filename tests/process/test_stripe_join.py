"""What Stripe delivered against what the host finished: each loss is named by its id, none else."""

import asyncio
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx

from sidecar.host.webhook_metric import configure, metric
from support.daemon import RULES, DaemonProcess, running, until
from support.stripe import SECRET, StripeApiSink, encoded, event, free_port, signed
from support.stripe_host import Host

EVENTS = int(os.environ.get("STRIPE_EVENTS", "500"))  # 10,000 takes a minute or two
LOST = EVENTS // 100  # in each of four ways
LATER = 1_200.0  # seconds: all that should have come by then has come
URL = "https://host.example/v4/stripe-webhook"
CONFIG = """\
sources:
  - {{path: metrics.log, start_at: beginning}}
  - stripe_api:
      {{api_key: {key}, url: "{api}", interval: 1s, endpoint: "{url}", org_id: [metadata.org_id]}}
  - stripe_webhook:
      listen: "127.0.0.1:{port}"
      path: /stripe
      secrets_file: secrets
      org_id: [metadata.org_id]
rule_files: ["{rules}/stripe.rules.yaml", "{rules}/billing.rules.yaml"]
state: {{path: state.db}}
http: {{listen: "127.0.0.1:0"}}
route: {{receiver: nobody}}
receivers: [{{name: nobody}}]
"""


def alerts(daemon: DaemonProcess) -> dict[str, set[str]]:
    """Return the ids that each alert names."""
    found: dict[str, set[str]] = {}
    for alert in json.loads(daemon.get("/api/v1/alerts"))["alerts"]:
        named = alert["key"].get("event_id") or alert["key"].get("endpoint") or ""
        found.setdefault(alert["alertname"], set()).add(named)
    return found


def ways(events: Sequence[dict[str, Any]]) -> list[set[str]]:
    """Return four sets of ids, each of `LOST`, spread over all events."""
    ids = [str(one["id"]) for one in events]
    return [set(ids[way :: len(ids) // LOST][:LOST]) for way in (3, 17, 42, 77)]


async def deliver(
    events: Iterable[dict[str, Any]], host: Host, not_to_host: set[str], sidecar: str
) -> None:
    """Post each event to the host, unless it never gets there, and to the sidecar."""
    to_host = httpx.ASGITransport(host.app, raise_app_exceptions=False)
    async with (
        httpx.AsyncClient(transport=to_host, base_url="http://host") as first,
        httpx.AsyncClient(trust_env=False, timeout=30) as second,
    ):

        async def one(each: dict[str, Any]) -> None:
            body = encoded(each)
            headers = signed(body, SECRET)
            if each["id"] not in not_to_host:
                await first.post("/v4/stripe-webhook", content=body, headers=headers)
            answer = await second.post(sidecar, content=body, headers=headers)
            assert answer.status_code == 200, answer.text

        pending = list(events)
        while pending:
            await asyncio.gather(*map(one, pending[:16]))
            del pending[:16]


def test_every_lost_event_is_named_and_no_other_one(tmp_path: Path) -> None:
    now = int(time.time())
    events = [
        event(number, "customer.updated", created=now, metadata={"org_id": f"org_{number % 7}"})
        for number in range(EVENTS)
    ]
    undelivered, disabled, crashed, hanging = ways(events)
    (tmp_path / "secrets").write_text(SECRET)
    configure(tmp_path / "metrics.log")
    host = Host()
    host.crashes, host.hangs = crashed, hanging
    port = free_port()
    with StripeApiSink([one for one in events if one["id"] in undelivered]) as stripe:
        stripe.endpoints = [{"id": "we_1", "url": URL, "status": "disabled"}]
        (tmp_path / "sidecar.yaml").write_text(
            CONFIG.format(key=stripe.KEY, api=stripe.url, url=URL, port=port, rules=RULES)
        )
        with running(tmp_path / "sidecar.yaml") as daemon:
            until(lambda: any("webhooks_listening" in line for line in daemon.log), "it listens")
            sidecar = f"http://127.0.0.1:{port}/stripe"
            asyncio.run(deliver(events, host, undelivered | disabled, sidecar))
            assert "WebhookStuck" not in alerts(daemon)
        lost = {
            "WebhookUndelivered": undelivered,
            "WebhookNeverReachedHost": undelivered | disabled | crashed,
            "WebhookStuck": hanging,
            "WebhookEndpointDisabled": {URL},
        }
        with running(tmp_path / "sidecar.yaml", LATER) as daemon:
            until(lambda: alerts(daemon) == lost, "each is named, and no other one", 60)
            counted = daemon.events()
            assert counted["stripe", "customer.updated", "updated"] == EVENTS
            stripe.undelivered.clear()
            until(lambda: "WebhookUndelivered" not in alerts(daemon), "they were delivered", 60)
            assert stripe.KEY not in "".join(daemon.log) + daemon.get("/metrics")
    configure()


def test_a_host_that_fails_says_so_and_is_asked_again(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text(SECRET)
    configure(tmp_path / "metrics.log")
    host = Host()
    host.fails = {"evt_1"}
    (tmp_path / "sidecar.yaml").write_text(
        CONFIG.format(key="k", api="http://127.0.0.1:1", url=URL, port=free_port(), rules=RULES)
    )

    async def post() -> list[int]:
        transport = httpx.ASGITransport(host.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            codes = []
            for number in (1, 1, 2):
                body = encoded(event(number, metadata={"org_id": "org_1"}))
                answer = await client.post(
                    "/v4/stripe-webhook", content=body, headers=signed(body, SECRET)
                )
                codes.append(answer.status_code)
                host.fails = host.fails if len(codes) < 1 else set()
            return codes

    assert asyncio.run(post()) == [500, 200, 200]
    with running(tmp_path / "sidecar.yaml") as daemon:
        said = {
            ("stripe", "invoice.paid", "received"): 3.0,
            ("stripe", "invoice.paid", "processing_error"): 1.0,
            ("stripe", "invoice.paid", "processed"): 2.0,
        }
        until(lambda: daemon.events() == said, "all of it is counted")
        until(lambda: "WebhookProcessingError" in alerts(daemon), "the failure is told")
    configure()


def test_a_fact_that_both_tell_of_counts_and_alerts_once(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text(SECRET)
    configure(tmp_path / "metrics.log")
    port = free_port()
    (tmp_path / "sidecar.yaml").write_text(
        CONFIG.format(key="k", api="http://127.0.0.1:1", url=URL, port=port, rules=RULES)
    )
    failed = [(1, "org_1", 3), (2, "org_2", 1), (3, "org_2", 2)]
    with running(tmp_path / "sidecar.yaml") as daemon:
        until(lambda: any("webhooks_listening" in line for line in daemon.log), "it listens")
        for number, org, attempt in failed:
            body = encoded(
                event(
                    number, "invoice.payment_failed", created=int(time.time()),
                    metadata={"org_id": org}, attempt_count=attempt, next_payment_attempt=1,
                )
            )  # fmt: skip
            httpx.post(
                f"http://127.0.0.1:{port}/stripe", content=body, headers=signed(body, SECRET),
                trust_env=False,
            ).raise_for_status()  # fmt: skip
            metric(
                "invoice.payment_failed", "payment_failure", org_id=org, attempt_count=attempt,
                event_id=f"evt_{number}", invoice_id=f"in_{number}",
            )  # fmt: skip
        said = {("stripe", "invoice.payment_failed", "payment_failure"): 6.0}
        until(lambda: daemon.events() == said, "both tell of three")
        samples = daemon.samples()
        for form in ("", "stripe"):
            series = f'webhook_payment_failures_total{{provider="stripe",form="{form}"}}'
            assert samples[series] == 3
        firing = json.loads(daemon.get("/api/v1/alerts"))["alerts"]
        keys = [one["key"] for one in firing if one["alertname"] == "PaymentFailing"]
        assert keys == [{"org_id": "org_1"}]
        fired = [li for li in daemon.log if "alert_fired" in li and "PaymentFailing" in li]
        assert len(fired) == 1
    configure()
