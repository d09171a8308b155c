"""The dashboard's form: what dashboard-linter asks for, and what an import needs to work.

The rules are those of grafana/dashboard-linter that concern a Prometheus dashboard; each test
names what it holds the file to.
"""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from support.grafana import GLOBALS, Query, load_dashboard, panels_of, queries_of

PATH = Path(__file__).parents[2] / "grafana" / "billing.json"
DASHBOARD = load_dashboard(PATH)
PANELS = panels_of(DASHBOARD)
QUERIES = queries_of(DASHBOARD)
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
UNITS = {"short", "cpm", "cps", "s", "bytes", "percentunit"}
TYPES = {"timeseries", "stat", "bargauge", "heatmap"}
SELECTOR = re.compile(r"[a-z_]+\{[^}]*\}")
COUNTER_CALL = re.compile(r"\b(rate|irate|increase)\(([a-z_]+)\{[^}]*\}\[([^\]]+)\]\)")


def by_title(panel: dict[str, Any]) -> str:
    return str(panel["title"])


def by_place(query: Query) -> str:
    return query.place


each_panel = pytest.mark.parametrize("panel", PANELS, ids=by_title)
each_query = pytest.mark.parametrize("query", QUERIES, ids=by_place)


def test_it_is_a_classic_dashboard_that_any_grafana_since_11_takes() -> None:
    assert DASHBOARD["schemaVersion"] == 39
    assert DASHBOARD["id"] is None
    assert DASHBOARD["uid"] == "webhook-billing"


def test_it_can_be_provisioned_from_a_file() -> None:
    text = PATH.read_text()
    assert "__inputs" not in text
    assert "${DS_" not in text


def test_the_data_source_is_a_variable() -> None:
    variable = VARIABLES["datasource"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert variable["label"] == "Data source"


@pytest.mark.parametrize("name", ["job", "instance"])
def test_job_and_instance_are_variables(name: str) -> None:
    variable = VARIABLES[name]
    assert (variable["type"], variable["label"]) == ("query", name)
    assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
    assert variable["datasource"]["uid"] == "$datasource"
    assert variable["refresh"] == 2
    assert variable["query"]["query"] == variable["definition"]


def test_it_is_not_edited_where_it_is_shown() -> None:
    assert DASHBOARD["editable"] is False


@each_panel
def test_a_panel_has_a_title_a_description_and_a_known_type(panel: dict[str, Any]) -> None:
    assert panel["title"].strip()
    assert panel["description"].strip().endswith(".")
    assert panel["type"] in TYPES


@each_panel
def test_a_panel_has_a_unit(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS


@each_panel
def test_a_panel_has_targets_on_the_chosen_data_source(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert sources == [{"type": "prometheus", "uid": "$datasource"}] * len(sources)


@each_panel
def test_the_targets_of_a_panel_have_names_of_their_own(panel: dict[str, Any]) -> None:
    names = [target["refId"] for target in panel["targets"]]
    assert len(set(names)) == len(names)


@each_query
def test_every_selector_takes_job_and_instance(query: Query) -> None:
    selectors = SELECTOR.findall(query.expr)
    assert selectors
    for selector in selectors:
        assert 'job=~"$job", instance=~"$instance"' in selector


@each_query
def test_a_rate_is_taken_over_the_rate_interval(query: Query) -> None:
    for function, _, interval in COUNTER_CALL.findall(query.expr):
        allowed = {"$__rate_interval"} | ({"$__range"} if function == "increase" else set())
        assert interval in allowed


@each_query
def test_a_counter_is_never_shown_bare(query: Query) -> None:
    suffixes = ("_total", "_bucket", "_sum", "_count")
    counters = [s.partition("{")[0] for s in SELECTOR.findall(query.expr)]
    bare = {name for name in counters if name.endswith(suffixes)}
    assert bare <= {name for _, name, _ in COUNTER_CALL.findall(query.expr)}


@each_query
def test_a_query_uses_only_variables_that_exist(query: Query) -> None:
    used = set(re.findall(r"\$\{?(\w+)", query.expr))
    assert used <= {*VARIABLES, *GLOBALS}


@each_query
def test_no_customer_is_asked_for(query: Query) -> None:
    assert not re.search(r"\b(org|org_id|customer|event_id|email)\b\s*[,)=!]", query.expr)


def test_panels_have_names_and_ids_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)


def test_panels_stay_on_the_grid_and_off_each_other() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
