"""`route:`, Alertmanager's tree, with what is not written inherited from the parent."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from sidecar.config.faults import Place, did_you_mean
from sidecar.config.reader import Reader
from sidecar.config.values import check_label, read_matchers
from sidecar.matchers import Matcher
from sidecar.notify.model import Route

EVERY_LABEL = "..."
_HINTS = {
    "match": "write `matchers`, as Alertmanager does since 0.22",
    "match_re": "write `matchers`, as Alertmanager does since 0.22",
}
_DEFAULTS = Route(id="{}", receiver="")


class _Tree(msgspec.Struct):
    """What the whole tree shares while it is read."""

    receivers: Mapping[str, Place]
    used: set[str] = set()
    sound: bool = True  # every receiver named is one that exists


def read_route(root: Reader, receivers: Mapping[str, Place]) -> Route:
    """Read the tree; `receivers` are the known names. Those nobody routes to earn a warning."""
    tree = _Tree(receivers)
    reader = root.table("route")
    if reader is None:
        return _DEFAULTS
    reader.require("receiver")
    for key in filter(reader.has, ("matchers", "continue")):
        message = f"the root route takes every alert and cannot have `{key}`"
        reader.faults.error(reader.key_place(key), message, "put it into a route under `routes`")
        reader.node(key)
    route = _node(reader, _DEFAULTS, None, tree)
    for name, place in receivers.items():
        if tree.sound and name not in tree.used:
            reader.faults.warning(place, f"no route leads to receiver `{name}`")
    return route


def _node(reader: Reader, parent: Route, index: int | None, tree: _Tree) -> Route:
    matchers = () if index is None else read_matchers(reader, "matchers")
    route = Route(
        id=_DEFAULTS.id if index is None else f"{parent.id}/{_braced(matchers)}/{index}",
        receiver=_receiver(reader, parent, tree),
        matchers=matchers,
        group_by=_group_by(reader, parent.group_by),
        group_wait=reader.duration("group_wait", parent.group_wait),
        group_interval=reader.duration("group_interval", parent.group_interval, positive=True),
        repeat_interval=reader.duration("repeat_interval", parent.repeat_interval, positive=True),
        cooldown=reader.duration("cooldown", parent.cooldown),
        group_limit=reader.whole("group_limit", parent.group_limit),
        continue_=index is not None and reader.flag("continue", default=False),
    )
    route = replace(route, routes=_children(reader, route, tree))
    reader.close(_HINTS)
    return route


def _children(reader: Reader, parent: Route, tree: _Tree) -> tuple[Route, ...]:
    children: list[Route] = []
    all_taken: int | None = None
    for index, child in enumerate(reader.tables("routes")):
        if all_taken is not None:
            message = "no alert comes here: the route before it takes every one"
            reader.faults.warning(child.place, message, f"see line {all_taken}")
        route = _node(child, parent, index, tree)
        children.append(route)
        if all_taken is None and not child.has("matchers") and not route.continue_:
            all_taken = child.place.line
    return tuple(children)


def _braced(matchers: tuple[Matcher, ...]) -> str:
    return "{" + ",".join(sorted(map(str, matchers))) + "}"


def _receiver(reader: Reader, parent: Route, tree: _Tree) -> str:
    scalar = reader.scalar("receiver")
    if scalar is None:
        tree.sound &= not reader.has("receiver")
        return parent.receiver
    tree.used.add(scalar.text)
    if scalar.text not in tree.receivers:
        otherwise = "known receivers: " + (", ".join(sorted(tree.receivers)) or "none")
        hint = did_you_mean(scalar.written, tree.receivers, otherwise)
        tree.sound = False
        reader.faults.error(scalar.place, f"unknown receiver `{scalar.written}`", hint)
    return scalar.text


def _group_by(reader: Reader, inherited: tuple[str, ...]) -> tuple[str, ...]:
    if not reader.has("group_by"):
        return inherited
    labels: list[str] = []
    for scalar in reader.scalars("group_by"):
        if scalar.text in labels:
            reader.faults.error(scalar.place, f"`{scalar.written}` stands twice in `group_by`")
        elif scalar.text != EVERY_LABEL:
            check_label(scalar.text, scalar.place, reader.faults)
        labels.append(scalar.text)
    if EVERY_LABEL in labels and len(labels) > 1:
        message = "'...' already groups by every label"
        reader.faults.error(reader.place_of("group_by"), message, "write ['...'] alone")
    return tuple(labels)
