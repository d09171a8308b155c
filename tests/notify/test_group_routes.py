"""The route tree: which routes take an alert, and its group there."""

import pytest
from hypothesis import given, strategies as st

from sidecar.notify.group import (
    NOWHERE,
    Destination,
    every_route,
    group_id,
    group_labels,
    match_routes,
    parts_of,
)
from support.notify import route

TREE = route(
    "root",
    "all",
    routes=(
        route("audit", "audit", 'team="billing"', continue_=True),
        route(
            "critical",
            "pager",
            'severity="critical"',
            routes=(route("night", "night", 'shift="night"'),),
        ),
        route("error", "team", 'severity=~"error|critical"'),
    ),
)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param({}, ["root"], id="nothing matches: the root takes it"),
        pytest.param({"severity": "critical"}, ["critical"], id="the first match ends the search"),
        pytest.param({"severity": "error"}, ["error"], id="a later sibling"),
        pytest.param(
            {"severity": "critical", "shift": "night"}, ["night"], id="the deepest match counts"
        ),
        pytest.param({"team": "billing"}, ["audit"], id="continue alone is a match"),
        pytest.param(
            {"team": "billing", "severity": "error"}, ["audit", "error"], id="continue goes on"
        ),
    ],
)
def test_the_tree_picks(labels: dict[str, str], expected: list[str]) -> None:
    assert [found.id for found in match_routes(TREE, labels)] == expected


def test_every_route_is_listed_from_the_root_down() -> None:
    ids = [found.id for found in every_route(TREE, {})]
    assert ids == ["root", "audit", "critical", "night", "error"]


def test_group_labels_are_those_of_group_by_that_the_alert_has() -> None:
    grouped = route("r", "x", group_by=("org", "missing"))
    assert group_labels(grouped, {"org": "a", "severity": "info"}) == {"org": "a"}


def test_three_dots_group_by_every_label() -> None:
    labels = {"org": "a", "severity": "info"}
    assert group_labels(route("r", "x", group_by=("...",)), labels) == labels


def test_the_group_id_does_not_depend_on_the_order_of_labels() -> None:
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert group_id(TREE, one, NOWHERE) == group_id(TREE, other, NOWHERE)


@given(
    st.text(),
    st.dictionaries(st.text(), st.text()),
    st.dictionaries(st.text(), st.text()),
    st.text(),
)
def test_group_ids_are_distinct_and_give_their_parts_back(
    id_: str, labels: dict[str, str], others: dict[str, str], name: str
) -> None:
    some, to = route(id_, "x"), Destination(3, "slack", 0, name, send_resolved=True)
    assert (group_id(some, labels, to) == group_id(some, others, to)) == (labels == others)
    assert parts_of(group_id(some, labels, to), labels) == (id_, to)
