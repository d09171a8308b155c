"""docs/metrics.md names every metric there is, and none that is not."""

import re
from pathlib import Path

from sidecar.web.metrics import SelfMetrics
from support.config import load_rule_files
from support.daemon import RULES

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
PAGE = (ROOT / "docs" / "metrics.md").read_text()


def exported() -> set[str]:
    families = SelfMetrics().registry.collect()
    ours = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    shipped = load_rule_files(sorted(str(path) for path in RULES.glob("*.rules.yaml"))).metrics
    return {name for name in ours if name.startswith("sidecar_")} | {m.name for m in shipped}


def test_what_says_when_a_series_began_is_documented() -> None:
    assert "`_created`" in PAGE
    assert "`http.created_series: false`" in PAGE


def test_every_metric_is_documented() -> None:
    assert {name for name in exported() if f"`{name}`" not in PAGE} == set()


def test_dashboards_and_prometheus_rules_ask_for_metrics_that_exist() -> None:
    lines = [
        line
        for path in GRAFANA.rglob("*.*")
        for line in path.read_text().splitlines()
        if line.lstrip().startswith(('"expr":', "expr:", '"query": "label_values'))
    ]
    asked = {name for line in lines for name in re.findall(r"\b(?:sidecar|webhook)_[a-z_]+", line)}
    known = exported() | {"webhook_events_total"}
    assert len(asked) > 30
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in asked} - known == set()


def test_no_metric_is_documented_that_does_not_exist() -> None:
    named = set(re.findall(r"`((?:sidecar|webhook)_[a-z_]+)`", PAGE))
    assert named - exported() - {"webhook_events_total"} == set()
