"""docs/metrics.md names every metric there is, and none that is not."""

import re
from pathlib import Path

from sidecar.web.metrics import SelfMetrics
from support.config import load_rule_files
from support.daemon import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def exported() -> set[str]:
    families = SelfMetrics().registry.collect()
    ours = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    shipped = load_rule_files(sorted(str(path) for path in RULES.glob("*.rules.yaml"))).metrics
    return {name for name in ours if name.startswith("sidecar_")} | {m.name for m in shipped}


def test_every_metric_is_documented() -> None:
    assert {name for name in exported() if f"`{name}`" not in PAGE} == set()


def test_no_metric_is_documented_that_does_not_exist() -> None:
    named = set(re.findall(r"`((?:sidecar|webhook)_[a-z_]+)`", PAGE))
    assert named - exported() - {"webhook_events_total"} == set()
