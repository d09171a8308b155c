"""A real Prometheus scrapes the real daemon on sample logs: every panel and variable has data."""

import shutil
from pathlib import Path

from support.daemon import RULES, SAMPLES, running, until
from support.grafana import check_dashboard, need, running_prometheus, wait_for_scrapes
from support.setup import configure, slack_to
from support.sinks import SlackSink

DASHBOARD = Path(__file__).parents[2] / "grafana" / "billing.json"


def test_every_panel_and_variable_has_data_from_the_daemon(tmp_path: Path) -> None:
    need("prometheus")
    for name in ("agentops-host.log", "json-lines.log"):
        shutil.copy(SAMPLES / name, tmp_path)
    patterns = f'pattern_files: ["{RULES}/*.patterns.yaml"]'
    rules = RULES / "*.rules.yaml"
    with SlackSink() as slack:
        config = configure(tmp_path, slack_to(slack.url), logs="*.log", rules=rules, more=patterns)
        with running(config) as daemon:
            until(lambda: sum(daemon.events().values()) > 1000, "the samples are read")
            with running_prometheus(tmp_path, f"127.0.0.1:{daemon.port}") as url:
                wait_for_scrapes(url, 3)
                assert check_dashboard(DASHBOARD, url) == []
