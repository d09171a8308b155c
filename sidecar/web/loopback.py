"""The guard of a loopback listener: only requests that name this machine are answered.

A page in a browser can have its own host name resolve to 127.0.0.1 (DNS rebinding) and so read
what listens there; the Host header it sends gives it away.
"""

import ipaddress

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


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
