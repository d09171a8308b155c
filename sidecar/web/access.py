"""Who may ask for what: decided by the address we listen on, never by who seems to ask."""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.secret import Secret

METRICS_PATH = "/metrics"
HEALTH_PATHS = frozenset({"/-/healthy", "/-/ready"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an address without port, always means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(headers: Headers) -> str:
    """Return the Host header without its port and without an IPv6 address' brackets."""
    host = headers.get("host", "")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


class AccessGuard:
    """ASGI middleware.

    The health paths are open to all, `/metrics` too unless there is a `metrics_token`. For all else
    the token is needed, as a bearer (RFC 6750) or a password (RFC 7617), and it is off without one;
    on `loopback` instead the request must name this machine: a page in a browser can have its own
    host name resolve to 127.0.0.1 (DNS rebinding), and the Host header it sends gives it away. The
    tokens are asked at each request: a reload may have changed them. Nowhere is anything changed at
    the wish of a web page, which browsers name in Origin, or tell of in Sec-Fetch-Site.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        loopback: bool,
        token: Callable[[], Secret | None],
        metrics_token: Callable[[], Secret | None],
    ) -> None:
        self._app = app
        self._loopback = loopback
        self._token = token
        self._metrics_token = metrics_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["method"] not in _SAFE_METHODS and _from_a_page(headers):
            return _plain(403, "Web pages change nothing here; use the sidecar's commands.")
        if scope["path"] in HEALTH_PATHS:
            return None
        if scope["path"] == METRICS_PATH:
            token = self._metrics_token()
            return None if token is None else _without(token, headers, "http.metrics_token_file")
        if self._loopback:
            words = "Ask by localhost or 127.0.0.1; this listener answers to no other name."
            return None if is_loopback(_host_name(headers)) else _plain(403, words)
        if (token := self._token()) is None:
            return _plain(403, "Off: beyond loopback this needs http.token_file to be set.")
        return _without(token, headers, "http.token_file")


def _from_a_page(headers: Headers) -> bool:
    return "origin" in headers or headers.get("sec-fetch-site", "none") != "none"


def _without(token: Secret, headers: Headers, key: str) -> Response | None:
    """Return the refusal of a request that does not bear `token`.

    They are compared in a time that says nothing about how nearly they are the same.
    """
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        scheme, given = "bearer", _password(given)
    # Headers are Latin-1 on the wire (RFC 9110, section 5.5); a token file may hold any bytes.
    wanted = token.reveal().encode("utf-8", "surrogateescape")
    same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), wanted)
    if same and scheme.lower() == "bearer":
        return None
    challenge = {"WWW-Authenticate": 'Bearer realm="sidecar", Basic realm="sidecar"'}
    return _plain(401, f"This needs the bearer token of {key}.", challenge)


def _password(given: str) -> str:
    """Return the password of HTTP's basic scheme (RFC 7617), which is what a browser can ask for.

    The name before it may be any. Empty where there is none.
    """
    try:
        return base64.b64decode(given, validate=True).decode("latin-1").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _plain(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{sentence}\n", status, headers)
