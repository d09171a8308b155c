"""The whole of /metrics, whatever rule files define and logs say, as the strict parser reads it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st

from sidecar.config.load import check_files
from sidecar.measure.exposition import Exposition
from sidecar.measure.meter import Meter
from sidecar.web.metrics import SelfMetrics, render_registry
from support.measure import NOW, event, samples

# Names that clash with one another in each way there is, and with what the page has anyway.
STEMS = st.sampled_from(("a", "a_count", "a", "a_sum", "process_open_fds", "webhook_events"))
SHARED = {
    "help": st.text(max_size=8),
    "labels": st.dictionaries(st.sampled_from(("org", "le")), st.just("org_id"), max_size=1),
}
VALUE = {**SHARED, "name": STEMS, "value": st.just("v")}
COUNTER = st.fixed_dictionaries({**SHARED, "name": STEMS.map("{}_total".format)})
GAUGE = st.fixed_dictionaries({**VALUE, "type": st.just("gauge")})
HISTOGRAM = st.fixed_dictionaries(
    {**VALUE, "type": st.just("histogram"), "buckets": st.sampled_from(([0.1, 1, 2.5], [-1, 0, 1]))}
)
METRICS = st.lists(st.one_of(COUNTER, GAUGE, HISTOGRAM), max_size=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rules")


@given(
    defined=METRICS, org=st.text(max_size=8), value=st.floats(allow_nan=False, allow_infinity=False)
)
def test_what_check_lets_pass_makes_a_page_that_the_strict_parser_reads(
    folder: Path, defined: list[dict[str, Any]], org: str, value: float
) -> None:
    path = folder / "a.rules.yaml"
    path.write_text(yaml.safe_dump({"metrics": defined}), encoding="utf-8")
    checked = check_files([str(path)], [])
    if checked.errors:
        return
    meter, exposition = Meter(checked.metrics), Exposition(checked.metrics)
    meter.add(event(org_id=org, v=value), NOW)
    exposition.apply(meter.drain())
    registry = SelfMetrics().registry
    for openmetrics in (False, True):
        page = exposition.render(openmetrics=openmetrics)
        samples(page + render_registry(registry, openmetrics=openmetrics), openmetrics=openmetrics)


@given(metric=st.one_of(COUNTER, GAUGE, HISTOGRAM))
def test_a_metric_alone_with_a_fine_name_passes(folder: Path, metric: dict[str, Any]) -> None:
    """So that the property above is not held by refusing everything."""
    ending = "_total" if "type" not in metric else ""
    metric = {**metric, "name": f"fine{ending}", "labels": {"org": "org_id"}, "help": "x"}
    path = folder / "b.rules.yaml"
    path.write_text(yaml.safe_dump({"metrics": [metric]}), encoding="utf-8")
    assert check_files([str(path)], []).errors == ()
