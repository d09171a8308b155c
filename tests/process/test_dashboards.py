"""A real Prometheus scrapes the real daemon: every panel counts, the first failure too.

The daemon starts with an empty log. Then one line of each kind is written, after it the samples.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from support.daemon import RULES, SAMPLES, DaemonProcess, running, until
from support.grafana import (
    GLOBALS,
    check_dashboard,
    instant,
    interpolate,
    load_dashboard,
    need,
    panels_of,
    queries_of,
    running_prometheus,
    wait_for_scrapes,
)
from support.setup import configure, record, slack_to
from support.sinks import SlackSink

DASHBOARDS = sorted((Path(__file__).parents[2] / "grafana").glob("*.json"))
BILLING = next(path for path in DASHBOARDS if path.stem == "billing")
EVERY = {**GLOBALS, "job": ".+", "instance": ".+"}
GROWING = re.compile(r"(?:rate|increase)\(([a-z_]+)(?:\{[^}]*\})?\[")
ONE_OF_EACH = [
    record("payment_failure"),
    {**record("license_sync_failure"), "event_type": "customer.subscription.updated"},
    {**record("add_item_error"), "event_type": "never.heard.of", "error_type": "KeyError"},
    {**record("invalid_signature"), "event_type": "unknown"},
    {**record("received"), "event_type": "never.heard.of"},
    {**record("unpaid"), "event_type": "customer.subscription.updated"},
]
STATS = [
    "Failed payments (payment_failure_count)",
    "License failures (license_sync_failure)",
    "Processing failures (webhook_processing_error)",
    "Bad signatures",
    "Webhooks received",
]


class Seen(NamedTuple):
    """What was there: all series of the fresh daemon, the panels' values after one line of each."""

    url: str
    metrics: str
    fresh: set[str]
    values: dict[str, float]
    reports: float


def series_of(daemon: DaemonProcess) -> set[str]:
    return set(daemon.samples())


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """One Prometheus for all: it takes seconds to begin."""
    need("prometheus")
    folder = tmp_path_factory.mktemp("dashboards")
    log = folder / "app.log"
    log.touch()
    patterns = f'pattern_files: ["{RULES}/*.patterns.yaml"]'
    with SlackSink() as slack:
        rules = RULES / "*.rules.yaml"
        config = configure(folder, slack_to(slack.url), rules=rules, more=patterns)
        with running(config) as daemon:
            until(lambda: daemon.get("/-/ready") == "ready\n", "the first step")
            fresh = series_of(daemon)
            with running_prometheus(folder, f"127.0.0.1:{daemon.port}") as url:
                wait_for_scrapes(url, 3)
                write(log, ONE_OF_EACH)
                until(lambda: sum(daemon.events().values()) == len(ONE_OF_EACH), "all are read")
                wait_for_scrapes(url, 3, since=True)
                with httpx.Client(base_url=url, timeout=10.0, trust_env=False) as client:
                    values = {title: instant(client, expr) for title, expr in stats().items()}
                    [reports] = exprs("Subscription reports in range")
                    unpaid = instant(client, interpolate(reports, EVERY))
                for name in ("agentops-host.log", "json-lines.log"):
                    with log.open("ab") as file:
                        file.write((SAMPLES / name).read_bytes())
                until(lambda: sum(daemon.events().values()) > 1000, "the samples are read")
                slack.wait_for(1)
                wait_for_scrapes(url, 3, since=True)
                yield Seen(url, daemon.get("/metrics"), fresh, values, unpaid)


def write(log: Path, records: list[dict[str, object]]) -> None:
    with log.open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in records)


def exprs(title: str) -> list[str]:
    panels = panels_of(load_dashboard(BILLING))
    [panel] = [panel for panel in panels if panel["title"] == title]
    return [target["expr"] for target in panel["targets"]]


def stats() -> dict[str, str]:
    return {title: interpolate(exprs(title)[0], EVERY) for title in STATS}


@pytest.mark.parametrize("title", STATS)
def test_one_failure_in_a_fresh_daemon_shows_1(seen: Seen, title: str) -> None:
    assert round(seen.values[title]) == 1


def test_one_report_of_a_subscription_shows_1(seen: Seen) -> None:
    assert round(seen.reports) == 1


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_panel_takes_the_growth_of_nothing_that_is_born_above_0(seen: Seen, path: Path) -> None:
    names = {
        name for query in queries_of(load_dashboard(path)) for name in GROWING.findall(query.expr)
    }
    now = {
        line.rsplit(" ", 1)[0] for line in seen.metrics.splitlines() if line[:1] not in ("", "#")
    }
    born = {one for one in now - seen.fresh if one.partition("{")[0] in names}
    assert names
    assert born == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_and_variable_has_data(seen: Seen, path: Path) -> None:
    assert check_dashboard(path, seen.url) == []


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
    seen: Seen, tmp_path: Path, expr: str, complaint: str
) -> None:
    panel = {"title": "Broken", "type": "stat", "targets": [{"expr": expr}]}
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({**load_dashboard(BILLING), "panels": [panel]}))
    problems = check_dashboard(broken, seen.url)
    assert len(problems) == 2
    assert problems[0].startswith(complaint)


def test_the_check_finds_a_broken_variable(seen: Seen, tmp_path: Path) -> None:
    dashboard = load_dashboard(BILLING)
    dashboard["templating"]["list"][1]["definition"] = "label_values(no_such_metric, job)"
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({**dashboard, "panels": []}))
    assert check_dashboard(broken, seen.url)[0] == "variable job: offers nothing"


def test_promtool_has_nothing_to_say_about_the_metrics(seen: Seen) -> None:
    found = subprocess.run(
        [need("promtool"), "check", "metrics"],
        input=seen.metrics.encode(),
        capture_output=True,
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")
