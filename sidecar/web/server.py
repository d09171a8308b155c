"""The HTTP server: /metrics, health, the API, and a page that links them.

A scraper chooses text or OpenMetrics, compressed or not, by Accept and Accept-Encoding (RFC 9110,
section 12).
"""

import asyncio
import contextlib
import errno
import gzip
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sidecar import __version__
from sidecar.secret import Secret
from sidecar.web.access import AccessGuard, HostCheck, is_loopback
from sidecar.web.api import Api, FailureGuard, refused, routes as api_routes
from sidecar.web.fault import Refusal, StartError
from sidecar.web.metrics import render_registry

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def wants_openmetrics(accept: str) -> bool:
    """Return whether OpenMetrics 1.0.0 is asked for by name and preferred to plain text.

    A scraper that only takes an older version, a browser and curl get the plain text.
    """
    best_openmetrics = best_text = 0.0
    for kind, parameters in _parts(accept):
        quality = _quality(parameters)
        if kind == "application/openmetrics-text":
            if parameters.get("version", "1.0.0") == "1.0.0":
                best_openmetrics = max(best_openmetrics, quality)
        elif kind in ("text/plain", "text/*"):
            best_text = max(best_text, quality)
    return best_openmetrics > 0 and best_openmetrics >= best_text


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether gzip is listed, or anything is, and not refused with `q=0`."""
    found = {kind: _quality(parameters) for kind, parameters in _parts(accept_encoding)}
    return found.get("gzip", found.get("*", 0.0)) > 0


def _parts(header: str) -> list[tuple[str, dict[str, str]]]:
    """Split `kind;name=value, …`; names and kinds in lower case, quotes dropped."""
    parts = []
    for part in header.split(","):
        kind, *rest = (piece.strip() for piece in part.split(";"))
        pairs = (piece.partition("=") for piece in rest)
        parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
        if kind:
            parts.append((kind.lower(), parameters))
    return parts


def _quality(parameters: dict[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0


# Responses take milliseconds; a client that needs longer than this to take one is gone.
STOP_SECONDS = 2
TICK_SECONDS = 1.0
_GZIP_LEVEL = 1  # series repeat themselves: the fastest level makes them small enough
_PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Webhook alert sidecar</title></head>
<body><h1>Webhook alert sidecar {__version__}</h1>
<ul>
<li><a href="metrics">Metrics</a></li>
<li><a href="-/healthy">Healthy</a></li>
<li><a href="-/ready">Ready</a></li>
<li><a href="api/v1/status">Status</a></li>
<li><a href="api/v1/alerts">Alerts</a></li>
</ul></body></html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebState:
    """What the pages show, asked anew for each request.

    `exposition` returns our series as text, for OpenMetrics or not; `registry` holds our own
    metrics; `ready` says whether, and in one line why or why not. `api` answers the rest, if
    anybody does: to everybody who reaches a `loopback` address, else to those with the `token`.
    """

    exposition: Callable[[bool], str]
    registry: CollectorRegistry
    ready: Callable[[], tuple[bool, str]]
    api: Api | None = None
    loopback: bool = True
    token: Callable[[], Secret | None] = lambda: None


def build_app(state: WebState) -> Starlette:
    async def metrics(request: Request) -> Response:
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        text = state.exposition(openmetrics)
        text += render_registry(state.registry, openmetrics=openmetrics)
        # What UTF-8 cannot hold would fail each scrape from now on.
        body = (text + ("# EOF\n" if openmetrics else "")).encode("utf-8", "replace")
        headers = {"Vary": "Accept, Accept-Encoding"}
        if accepts_gzip(request.headers.get("accept-encoding", "")):
            # On a thread: zlib lets go of the interpreter lock, the event loop goes on.
            body = await asyncio.to_thread(gzip.compress, body, _GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers, media_type=OPENMETRICS if openmetrics else TEXT)

    async def healthy(_request: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(_request: Request) -> Response:
        is_ready, reason = state.ready()
        return PlainTextResponse(f"{reason}\n", 200 if is_ready else 503)

    async def page(_request: Request) -> Response:
        return HTMLResponse(_PAGE)

    pages = {"/": page, "/metrics": metrics, "/-/healthy": healthy, "/-/ready": ready}
    routes = [Route(path, page) for path, page in pages.items()]
    app = Starlette(
        routes=routes + (api_routes(state.api) if state.api else []),
        middleware=[
            Middleware(FailureGuard),
            Middleware(AccessGuard, loopback=state.loopback, token=state.token),
        ],
        exception_handlers={Refusal: refused},
    )
    app.router.redirect_slashes = False  # a path that is not there is a plain 404
    return app


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    stop: asyncio.Event,
    started: Callable[[int], None] | None = None,
) -> None:
    """Answer requests until `stop` is set; `started` is told the port once they are answered.

    Port 0 takes a free one. Listening on loopback, only this machine's own names are answered.
    Raises StartError before anything is answered.
    """
    listener = listen(host, port)
    server = _Server(HostCheck(app) if is_loopback(host) else app, listener, started)
    try:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(server.stop_when(stop))
            await server.serve(sockets=[listener])
            asked.cancel()
    finally:
        server.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises StartError with a sentence for the user."""
    with contextlib.ExitStack() as undo:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = undo.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError as failure:
            raise StartError(_why_not(failure, host, port)) from failure
        undo.pop_all()
        return listener


def _why_not(failure: OSError, host: str, port: int) -> str:
    if failure.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken: another process listens there; "
            'set http.listen to a free one, for example "0.0.0.0:9788"'
        )
    return f"cannot listen on {host} port {port}: {failure.strerror}; change http.listen"


class _Server(uvicorn.Server):
    """uvicorn's server inside our own TaskGroup: the daemon handles signals, this does not."""

    def __init__(
        self, app: ASGIApp, listener: socket.socket, started: Callable[[int], None] | None
    ) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        super().__init__(config)
        self.servers = []
        self._listener = listener
        self._tell_started = started
        self._ended = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._tell_started is not None:
            self._tell_started(self._listener.getsockname()[1])

    async def stop_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        """Set the clock of the `Date` header each second.

        uvicorn's own loop wakes ten times as often: a third of what an idle daemon cost.
        """
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), TICK_SECONDS)

    def close(self) -> None:
        """Let go of every socket, also when a cancelled `serve` never came to do so."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        self._listener.close()
