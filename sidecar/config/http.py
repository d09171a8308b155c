"""The section `http`: where the daemon listens, and who may ask it.

The commands that ask a daemon read this section alone, with `read_http`: what is wrong elsewhere in
the file is none of their business, and the rest of the configuration takes long to import.
"""

import dataclasses
import ssl
from collections.abc import Mapping
from typing import Annotated

from sidecar.syntax.faults import ConfigError
from sidecar.syntax.table import Nested, Reading, Table, key, table
from sidecar.syntax.tree import MapNode, Scalar
from sidecar.syntax.values import Listen, MaybeListen, ReadableFile, SecretText, choice

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
    metrics_token: SecretText = key(
        "Bearer token without which nobody gets `/metrics`.", default=None
    )
    tls_server_config: Annotated[TlsServerConfig | None, Nested(lambda: TlsServerConfig)] = key(
        "TLS 1.2 or newer on both addresses, in the words of Prometheus' exporter-toolkit.",
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
