"""The section `http`: where the daemon listens, and who may ask it.

The commands that ask a daemon read this section alone, with `read_http`: what is wrong elsewhere in
the file is none of their business, and the rest of the configuration takes long to import.
"""

import dataclasses
import re
import socket
import ssl
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, ClassVar

from sidecar.syntax.faults import ConfigError, Place
from sidecar.syntax.table import Nested, Reading, Schema, Table, key, table
from sidecar.syntax.tree import MapNode, Node, Scalar
from sidecar.syntax.values import (
    AbsolutePath,
    DatabaseUrl,
    Flag,
    HostName,
    Listen,
    MaybeListen,
    ReadableFile,
    SecretText,
    check_database,
    choice,
)

_NO_CLIENT = "NoClientCert"
# Go's `RequestClientCert` and `RequireAnyClientCert` take a certificate without a look at it, which
# Python's ssl cannot.
_VERIFY = {
    _NO_CLIENT: ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


@table
class TlsServerConfig(Table):
    """The keys of the same name in Prometheus' exporter-toolkit."""

    cert_file: ReadableFile = key("The certificate, PEM, with what leads to its issuer.")
    key_file: ReadableFile = key("Its private key, PEM, not encrypted.")
    client_auth_type: Annotated[str, choice(_VERIFY)] = key(
        "Whether clients show a certificate of `client_ca_file`.", default=_NO_CLIENT
    )
    client_ca_file: ReadableFile = key("The issuers of clients' certificates.", default="")
    # Made anew with each reading, so that a certificate is renewed by a reload.
    context: ssl.SSLContext | None = dataclasses.field(default=None, compare=False, repr=False)

    def check(self, reading: Reading) -> "TlsServerConfig":
        verifies = self.client_auth_type != _NO_CLIENT
        if verifies != bool(self.client_ca_file):
            message = "`client_auth_type` and `client_ca_file` belong together"
            hint = "write both, the type as VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            reading.error(self, "client_auth_type", message, hint)
        if not (self.cert_file and self.key_file):  # reported
            return self
        try:
            return dataclasses.replace(self, context=self._context())
        except (OSError, ValueError) as wrong:
            why = str(wrong).partition(" (_ssl.c")[0]  # the place in Python's source helps nobody
            reading.error(self, "cert_file", f"certificate, key and issuers cannot be used: {why}")
            return self

    def _context(self) -> ssl.SSLContext:
        cafile = self.client_ca_file or None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cafile)
        context.verify_mode = _VERIFY[self.client_auth_type]
        context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
        return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


@table
class Http(Table):
    listen: Listen = key(
        "host:port of `/metrics`, the health paths and the API; on loopback the Host header of "
        "the API is checked.",
        default=(
            "0.0.0.0",  # noqa: S104 - beyond loopback only /metrics and health are open
            9787,
        ),
    )
    metrics_listen: MaybeListen = key(
        "host:port of `/metrics` and the health paths alone; `listen` then has no `/metrics`.",
        default=None,
    )
    token: SecretText = key(
        "Bearer token; beyond loopback all but `/metrics` and the health paths needs it, and is "
        "off without one.",
        default=None,
    )
    admin_socket: AbsolutePath = key(
        "A unix socket by which whoever may open it asks for all, as the sidecar's commands do; "
        "else it stands beside the state file, at its end `.sock`, of a fleet `.HOST.sock`.",
        default="",
    )
    metrics_token: SecretText = key(
        "Bearer token without which nobody gets `/metrics`.", default=None
    )
    created_series: Flag = key(
        "Show when each counter began (`_created`) to those who ask for OpenMetrics: twice the "
        "lines, from which a newer Prometheus knows that a series began at 0.",
        default=True,
    )
    tls_server_config: Annotated[TlsServerConfig | None, Nested(lambda: TlsServerConfig)] = key(
        "TLS 1.2 or newer on both addresses, in the words of Prometheus' exporter-toolkit.",
        default=None,
    )


@table
class StateDatabase(Table):
    """Where the state is, in tables of the first schema of the role's `search_path`."""

    schema: ClassVar[Schema] = {"anyOf": [{"required": ["url"]}, {"required": ["url_file"]}]}

    url: DatabaseUrl = key("A connection URI of libpq, or keywords and values.", default=None)

    def check(self, reading: Reading) -> "StateDatabase":
        check_database(self, reading)
        if self.url is None and (written := {"url", "url_file"} & reading.node(self).values.keys()):
            hint = "remove `postgresql` to keep the state in `path`"
            reading.error(self, min(written), f"`{min(written)}` is empty", hint)
        return self


@table
class State(Table):
    path: AbsolutePath = key(
        "The SQLite file; put it on a local disk that outlives the container.",
        default="/var/lib/sidecar/state.db",
    )
    postgresql: Annotated[StateDatabase | None, Nested(lambda: StateDatabase)] = key(
        "Keep the state in this database instead, for which psycopg has to be installed: the extra "
        "`postgresql`. What is at `path` is moved in where there is no state yet.",
        default=None,
    )
    host: HostName = key(
        "In a database, by what name the others know this host; else by the machine's.", default=""
    )
    judge: Flag = key(
        "In a database, whether this one may judge; else it only reads.", default=True
    )

    @property
    def host_name(self) -> str:
        """The name of this host in a fleet; empty where the state is in a file."""
        return "" if self.postgresql is None else self.host or _machine()


def _machine() -> str:
    """Return the machine's name as one of a host."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:63] or "host"


def socket_beside(state_path: str, host: str) -> str:
    """Return where the admin socket is unless the configuration says.

    Hosts of a fleet may be on one machine, and have no state file that tells them apart.
    """
    return ".".join(filter(None, (state_path, host, "sock")))


def read_http(path: str, environ: Mapping[str, str], *keys: str) -> Http:
    """Return `http` of the configuration at `path` as far as `keys` go; the rest is the default.

    With `admin_socket` among the keys, `state.path` and the host's name are read for where it is.
    Raises ConfigError with what is wrong in them, or keeps the file from being read at all.
    """
    whole, own = Reading(), Reading()
    root = whole.tree(path, environ)
    if root is None:
        raise ConfigError(whole.faults.errors)
    sections = root.values if isinstance(root, MapNode) else {"http": root}
    place = ("path", "host") if "admin_socket" in keys else ()
    asked = {
        "http": _only(sections.get("http"), keys),
        "state": _only(sections.get("state"), place),
    }
    http, state = own.table(Http, asked["http"]), own.table(State, asked["state"])
    nodes = [node for one in asked.values() for node in _values(one)]
    lines = {node.place.line for node in nodes if isinstance(node, Scalar) and node.faulty}
    errors = [*own.faults.errors, *(one for one in whole.faults.errors if one.line in lines)]
    if http is None or state is None or errors:
        raise ConfigError(errors)
    if "admin_socket" in keys and not http.admin_socket:
        found = sections.get("state")
        in_file = not (isinstance(found, MapNode) and found.values.get("postgresql"))
        host = "" if in_file else state.host or _machine()
        return dataclasses.replace(http, admin_socket=socket_beside(state.path, host))
    return http


def _only(section: Node | None, keys: Collection[str]) -> Node:
    """Return a section with these of its keys."""
    if section is None:
        return MapNode(Place(""), {}, {})
    if not isinstance(section, MapNode):
        return section if keys else _only(None, keys)
    asked = {k: v for k, v in section.values.items() if k.removesuffix("_file") in keys}
    return MapNode(section.place, asked, section.places)


def _values(section: Node) -> Iterable[Node]:
    return section.values.values() if isinstance(section, MapNode) else [section]
