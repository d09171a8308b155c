"""Who may ask for what: decided by the address we listen on, never by who seems to ask.

Listening on loopback, only requests that name this machine are answered: a page in a browser can
have its own host name resolve to 127.0.0.1 (DNS rebinding), and the Host header it sends gives it
away.
"""

import hmac
import ipaddress
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.secret import Secret


class HostCheck:
    """ASGI middleware that refuses, with 403, a Host that is not this machine's own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and not is_loopback(_host_name(Headers(scope=scope))):
            app = PlainTextResponse(
                "Ask by localhost or 127.0.0.1; this listener answers to no other name.\n", 403
            )
        await app(scope, receive, send)


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


OPEN_PATHS = frozenset({"/metrics", "/-/healthy", "/-/ready"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class AccessGuard:
    """ASGI middleware. Beyond loopback all but OPEN_PATHS needs the bearer token (RFC 6750).

    `token` is asked at each request: a reload may have changed it. Without one the rest is off.
    On either side nothing is changed at the wish of a web page: browsers name the page in Origin.
    """

    def __init__(self, app: ASGIApp, *, loopback: bool, token: Callable[[], Secret | None]) -> None:
        self._app = app
        self._loopback = loopback
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["method"] not in _SAFE_METHODS and "origin" in headers:
            return _plain(403, "Web pages change nothing here; use the sidecar's commands.")
        if self._loopback or scope["path"] in OPEN_PATHS:
            return None
        token = self._token()
        if token is None:
            return _plain(403, "Off: beyond loopback this needs http.token_file to be set.")
        if not _carries(headers, token):
            wanted = {"WWW-Authenticate": 'Bearer realm="sidecar"'}
            return _plain(401, "This needs the bearer token of http.token_file.", wanted)
        return None


def _carries(headers: Headers, token: Secret) -> bool:
    """Tell whether the request bears `token`, in a time that says nothing about how nearly."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    # Headers are Latin-1 on the wire (RFC 9110, section 5.5); a token file may hold any bytes.
    wanted = token.reveal().encode("utf-8", "surrogateescape")
    same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), wanted)
    return same and scheme.lower() == "bearer"


def _plain(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{sentence}\n", status, headers)
