"""A real Prometheus scrapes what the sidecar shows for the samples; every panel has data."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from sidecar.measure.exposition import Exposition
from sidecar.measure.meter import Meter
from sidecar.notify.model import Reason
from sidecar.parse.event import Event, Triple
from sidecar.web.metrics import SelfMetrics
from sidecar.web.server import WebState
from support.config import load_rule_files
from support.grafana import (
    GLOBALS,
    check_dashboard,
    instant,
    interpolate,
    load_dashboard,
    need,
    panels_of,
    running_prometheus,
    wait_for_scrapes,
)
from support.measure import NOW
from support.web import serving, web_state

TESTS = Path(__file__).parents[1]
DASHBOARD = TESTS.parent / "grafana" / "billing.json"
EXPECTED = json.loads((TESTS / "samples" / "expected.json").read_text())
SAMPLES = ("agentops-host.log", "host-text.log")
METRICS = [
    metric
    for metric in load_rule_files([str(TESTS.parent / "rules" / "billing.rules.yaml")]).metrics
    if metric.states_of is not None or metric.name == "webhook_payment_failures_total"
]
FAILURE = ("invoice.payment_failed", "payment_failure")


def sample_tallies() -> dict[Triple, int]:
    """Return the events of the samples by triple."""
    tallies: dict[Triple, int] = {}
    for name in SAMPLES:
        for provider, event_type, status, count in EXPECTED[name]["by"]:
            triple = (provider, event_type, status)
            tallies[triple] = tallies.get(triple, 0) + count
    return tallies


class GrowingSidecar:
    """What /metrics shows while the samples are read: a slice of each triple at every scrape.

    The first scrape finds every series at 0, the third all events: a rate needs to see growth.
    """

    def __init__(self) -> None:
        self.tallies = sample_tallies()
        self.metrics = self_metrics()
        self._meter, self._exposition = Meter(METRICS), Exposition(METRICS)
        self._slices = self._growth()

    def state(self) -> WebState:
        return web_state(self._next, own=self.metrics)

    def _growth(self) -> Iterator[Callable[[int], int]]:
        yield lambda _count: 0
        yield lambda count: count // 2
        yield lambda count: count - count // 2

    def _next(self, openmetrics: bool) -> str:  # noqa: FBT001 - the signature of the port
        share = next(self._slices, None)
        for triple, count in self.tallies.items() if share else ():
            grown = share(count) if share else 0
            whole = grown if triple[1:] == FAILURE else 0
            self._meter.add_tally(triple, grown - whole, NOW)
            for _ in range(whole):
                self._meter.add(Event(*triple, NOW, {}), NOW)
        self._meter.add_states({("SubscriptionEnded", "unpaid"): 1 if share else 0}, NOW)
        self._exposition.apply(self._meter.drain())
        self.metrics.read_lines.inc(100)
        return self._exposition.render(openmetrics=openmetrics)


def self_metrics() -> SelfMetrics:
    """Return our own metrics as after some work: each labelled one has a series."""
    metrics = SelfMetrics()
    for receiver, integration in (("critical", "slack"), ("critical", "email")):
        metrics.sent.labels(receiver, integration).inc(3)
        metrics.dead.labels(receiver, integration)
        metrics.failed.labels(receiver, integration, "timeout").inc()
    for name, severity in (("PaymentFailing", "critical"), ("SubscriptionDelinquent", "warning")):
        metrics.alerts.labels(name, severity, "firing").set(2)
    metrics.suppressed.labels(Reason.COOLDOWN.value).inc()
    metrics.lag_bytes.labels("/var/log/webhook/app.log").set(0)
    metrics.lag_seconds.labels("/var/log/webhook/app.log").set(0)
    metrics.series_overflow.labels("webhook_events_total")
    metrics.bad_values.labels("webhook_events_total")
    metrics.latency.observe(0.2)
    metrics.commit_seconds.observe(0.001)
    metrics.reload_successful.set(1)
    return metrics


@pytest.fixture(scope="module")
def prometheus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has seen the samples being read; one for all, it takes 5 s to begin."""
    directory = tmp_path_factory.mktemp("prometheus")
    need("prometheus")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(GrowingSidecar().state())) as port,
        running_prometheus(directory, f"127.0.0.1:{port}") as url,
    ):
        wait_for_scrapes(url, 4)
        yield url


def test_every_panel_and_variable_of_the_dashboard_has_data(prometheus_url: str) -> None:
    assert check_dashboard(DASHBOARD, prometheus_url) == []


def test_prometheus_has_the_counts_of_the_samples(prometheus_url: str) -> None:
    with httpx.Client(base_url=prometheus_url, timeout=10.0, trust_env=False) as client:
        assert instant(client, "sum(webhook_events_total)") == sum(sample_tallies().values())


TITLES = [
    "Failed payments (payment_failure_count)",
    "License failures (license_sync_failure)",
    "Processing failures (webhook_processing_error)",
]


@pytest.mark.parametrize("title", TITLES)
def test_a_panel_counts_what_the_samples_hold(prometheus_url: str, title: str) -> None:
    panels = panels_of(load_dashboard(DASHBOARD))
    expr = next(p["targets"][0]["expr"] for p in panels if p["title"] == title)
    values = {**GLOBALS, "job": ".+", "instance": ".+"}
    with httpx.Client(base_url=prometheus_url, timeout=10.0, trust_env=False) as client:
        assert instant(client, interpolate(expr, values)) > 0


@pytest.mark.parametrize(
    ("expr", "complaint"),
    [
        pytest.param(
            'sum(rate(webhook_event_total{job=~"$job"}[1m]))',
            "Broken (All): no point from",
            id="a metric that is not there",
        ),
        pytest.param("sum(rate(", "Broken (All): invalid parameter", id="no PromQL"),
        pytest.param("0 / 0", "Broken (All): no point from", id="never a number"),
    ],
)
def test_the_check_finds_a_broken_panel(
    prometheus_url: str, tmp_path: Path, expr: str, complaint: str
) -> None:
    panel = {"title": "Broken", "type": "stat", "targets": [{"expr": expr}]}
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({**load_dashboard(DASHBOARD), "panels": [panel]}))
    problems = check_dashboard(broken, prometheus_url)
    assert len(problems) == 2
    assert problems[0].startswith(complaint)


def test_the_check_finds_a_broken_variable(prometheus_url: str, tmp_path: Path) -> None:
    dashboard = load_dashboard(DASHBOARD)
    dashboard["templating"]["list"][1]["definition"] = "label_values(no_such_metric, job)"
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({**dashboard, "panels": []}))
    assert check_dashboard(broken, prometheus_url)[0] == "variable job: offers nothing"


async def test_promtool_has_nothing_to_say_about_the_metrics() -> None:
    promtool = need("promtool")
    async with (
        serving(GrowingSidecar().state()) as port,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).content
    found = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")
