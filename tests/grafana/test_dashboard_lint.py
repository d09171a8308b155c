"""The dashboards' form: what dashboard-linter asks for, and what an import needs to work.

The rules are those of grafana/dashboard-linter that concern a Prometheus dashboard; each test
names what it holds the files to.
"""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from support.grafana import GLOBALS, load_dashboard, panels_of, queries_of

PATHS = sorted((Path(__file__).parents[2] / "grafana").glob("*.json"))
DASHBOARDS = [load_dashboard(path) for path in PATHS]
PANELS = [panel for dashboard in DASHBOARDS for panel in panels_of(dashboard)]
QUERIES = [query for dashboard in DASHBOARDS for query in queries_of(dashboard)]
UNITS = {"short", "cpm", "cps", "s", "bytes", "percentunit"}
TYPES = {"timeseries", "stat", "bargauge", "heatmap", "table"}
# Not a growth but a total, which no restart takes back.
TOTALS = "Events since counting began"
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one["uid"])
SELECTOR = re.compile(r"[a-z_]+\{[^}]*\}")
FUNCTIONS = ("rate", "irate", "increase")
COUNTER_CALL = re.compile(r"\b(rate|irate|increase)\(([a-z_]+)\{[^}]*\}\[([^\]]+)\]\)")


def variables_of(dashboard: dict[str, Any]) -> dict[str, Any]:
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def test_there_is_something_to_hold_to_the_rules() -> None:
    assert len(PANELS) > 20
    assert len(QUERIES) > len(PANELS)


@each_dashboard
def test_it_is_a_classic_dashboard_that_any_grafana_since_11_takes(
    dashboard: dict[str, Any],
) -> None:
    assert dashboard["schemaVersion"] == 39
    assert dashboard["id"] is None


def test_each_links_to_the_other_by_its_uid() -> None:
    uids = {dashboard["uid"] for dashboard in DASHBOARDS}
    linked = {link["url"].removeprefix("/d/") for one in DASHBOARDS for link in one["links"]}
    assert linked == uids == {"webhook-billing", "webhook-sidecar"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_can_be_provisioned_from_a_file(path: Path) -> None:
    text = path.read_text()
    assert "__inputs" not in text
    assert "${DS_" not in text


@each_dashboard
def test_the_data_source_is_a_variable(dashboard: dict[str, Any]) -> None:
    variable = variables_of(dashboard)["datasource"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert variable["label"] == "Data source"


@each_dashboard
@pytest.mark.parametrize(("name", "label"), [("job", "job"), ("instance", "Host")])
def test_job_and_host_are_variables(dashboard: dict[str, Any], name: str, label: str) -> None:
    """Each host of a fleet is an instance of its own for Prometheus, and none is twice there."""
    assert [*variables_of(dashboard)] == ["datasource", "job", "instance"]
    variable = variables_of(dashboard)[name]
    assert (variable["type"], variable["label"]) == ("query", label)
    assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
    assert variable["datasource"]["uid"] == "$datasource"
    assert variable["refresh"] == 2
    assert variable["query"]["query"] == variable["definition"]


@each_dashboard
def test_it_is_not_edited_where_it_is_shown(dashboard: dict[str, Any]) -> None:
    assert dashboard["editable"] is False


def test_every_panel_has_a_title_a_description_and_a_known_type() -> None:
    wrong = [
        panel["title"]
        for panel in PANELS
        if not panel["title"].strip()
        or not panel["description"].strip().endswith(".")
        or panel["type"] not in TYPES
    ]
    assert not wrong


def test_every_panel_has_a_unit() -> None:
    units = {panel["title"]: panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS}
    assert {title: unit for title, unit in units.items() if unit not in UNITS} == {}


def test_every_panel_has_targets_on_the_chosen_data_source() -> None:
    chosen = {"type": "prometheus", "uid": "$datasource"}
    wrong = [
        panel["title"]
        for panel in PANELS
        if not panel["targets"]
        or any(one["datasource"] != chosen for one in (panel, *panel["targets"]))
    ]
    assert not wrong


def test_the_targets_of_a_panel_have_names_of_their_own() -> None:
    names = {panel["title"]: [one["refId"] for one in panel["targets"]] for panel in PANELS}
    assert {title: ids for title, ids in names.items() if len(set(ids)) < len(ids)} == {}


def test_every_selector_takes_job_and_instance() -> None:
    selectors = {query.place: SELECTOR.findall(query.expr) for query in QUERIES}
    wrong = [
        place
        for place, found in selectors.items()
        if not found or any('job=~"$job", instance=~"$instance"' not in one for one in found)
    ]
    assert not wrong


def test_a_rate_is_taken_over_the_rate_interval() -> None:
    calls = [(q.place, *call) for q in QUERIES for call in COUNTER_CALL.findall(q.expr)]
    whole = [("increase", "$__range"), *((f, "$__rate_interval") for f in FUNCTIONS)]
    assert calls
    assert [call for call in calls if (call[1], call[3]) not in whole] == []


def test_a_counter_is_never_shown_bare() -> None:
    suffixes = ("_total", "_bucket", "_sum", "_count")
    wrong = []
    for query in QUERIES:
        counters = {one.partition("{")[0] for one in SELECTOR.findall(query.expr)}
        bare = {name for name in counters if name.endswith(suffixes)}
        called = {name for _, name, _ in COUNTER_CALL.findall(query.expr)}
        if not bare <= called and query.place != TOTALS:
            wrong.append(query.place)
    assert not wrong


@each_dashboard
def test_a_query_uses_only_variables_that_exist(dashboard: dict[str, Any]) -> None:
    queries = queries_of(dashboard)
    used = {name for query in queries for name in re.findall(r"\$\{?(\w+)", query.expr)}
    assert used <= {*variables_of(dashboard), *GLOBALS}


def test_no_customer_is_asked_for() -> None:
    customer = re.compile(r"\b(org|org_id|customer|event_id|email)\b\s*[,)=!]")
    assert [query.place for query in QUERIES if customer.search(query.expr)] == []


@each_dashboard
def test_panels_have_names_and_ids_of_their_own(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    titles = [panel["title"] for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)


@each_dashboard
def test_panels_stay_on_the_grid_and_off_each_other(dashboard: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
