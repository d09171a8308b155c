"""The section `http`: where the daemon listens, and who may ask it.

The commands that ask a daemon read this section alone, with `read_http`: what is wrong elsewhere in
the file is none of their business, and the rest of the configuration takes long to import.
"""

from collections.abc import Mapping

from sidecar.syntax.faults import ConfigError
from sidecar.syntax.table import Reading, Table, key, table
from sidecar.syntax.tree import MapNode, Scalar
from sidecar.syntax.values import Listen, SecretText


@table
class Http(Table):
    listen: Listen = key(
        "host:port of `/metrics`, the health paths and the API; on loopback the Host header is "
        "checked.",
        default=(
            "0.0.0.0",  # noqa: S104 - beyond loopback only /metrics and health are open
            9787,
        ),
    )
    token: SecretText = key(
        "Bearer token; beyond loopback all but `/metrics` and the health paths needs it, and is "
        "off without one.",
        default=None,
    )


def read_http(path: str, environ: Mapping[str, str], *keys: str) -> Http:
    """Return `http` of the configuration at `path` as far as `keys` go; the rest is the default.

    Raises ConfigError with what is wrong in them, or keeps the file from being read at all.
    """
    whole, own = Reading(), Reading()
    root = whole.tree(path, environ)
    if root is None:
        raise ConfigError(whole.faults.errors)
    section = root.values.get("http") if isinstance(root, MapNode) else root
    if section is None:
        return Http()
    if isinstance(section, MapNode):
        asked = {k: v for k, v in section.values.items() if k.removesuffix("_file") in keys}
        section = MapNode(section.place, asked, section.places)
    made = own.table(Http, section)
    nodes = section.values.values() if isinstance(section, MapNode) else [section]
    lines = {node.place.line for node in nodes if isinstance(node, Scalar) and node.faulty}
    errors = [*own.faults.errors, *(one for one in whole.faults.errors if one.line in lines)]
    if made is None or errors:
        raise ConfigError(errors)
    return made
