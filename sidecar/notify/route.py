"""The route tree: which routes take an alert, and the group it belongs to there."""

import json
from collections.abc import Iterator, Mapping

from sidecar.matchers import all_match
from sidecar.notify.model import Route

EVERY_LABEL = "..."


def match_routes(route: Route, labels: Mapping[str, str]) -> list[Route]:
    """Return the routes that take an alert with `labels`, in the order of the tree.

    As in Alertmanager: the deepest match counts, the first sibling that matches ends the search
    unless it says `continue`, and a node takes what none of its children takes.
    """
    if not all_match(route.matchers, lambda name: labels.get(name, "")):
        return []
    found: list[Route] = []
    for child in route.routes:
        taken = match_routes(child, labels)
        found += taken
        if taken and not child.continue_:
            break
    return found or [route]


def every_route(route: Route) -> Iterator[Route]:
    yield route
    for child in route.routes:
        yield from every_route(child)


def group_labels(route: Route, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that name an alert's group; an absent one is left out."""
    if EVERY_LABEL in route.group_by:
        return dict(sorted(labels.items()))
    return {name: labels[name] for name in sorted(route.group_by) if name in labels}


def group_id(route: Route, labels: Mapping[str, str]) -> str:
    """Return the group's identity: the route's id and the group's `labels`, sorted by name."""
    return route.id + _suffix(labels)


def route_id(group: str, labels: Mapping[str, str]) -> str:
    """Return the route's id out of a `group_id`, given the group's labels."""
    return group.removesuffix(_suffix(labels))


def _suffix(labels: Mapping[str, str]) -> str:
    pairs = (
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items())
    )
    return ":{" + ", ".join(pairs) + "}"
