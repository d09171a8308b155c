"""The HTTP server: /metrics, health, the API and the status page.

A scraper chooses text or OpenMetrics, compressed or not, by Accept and Accept-Encoding (RFC 9110,
section 12).
"""

import asyncio
import contextlib
import errno
import gzip
import os
import resource
import socket
import ssl
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

import h11
import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from sidecar.secret import Secret
from sidecar.web.access import METRICS_PATH, AccessGuard
from sidecar.web.api import Api, FailureGuard, page_route, refused, routes as api_routes
from sidecar.web.fault import Refusal, StartError, short_name
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
RECEIVE_SECONDS = 10.0  # from the connection, or the answer before, to the end of a request
ANSWER_SECONDS = 60.0  # and to the end of its answer
FEWEST, MOST = 4, 64
QUIET_SECONDS = 60.0  # between two lines about connections that cannot be taken
_log = structlog.get_logger()
_GZIP_LEVEL = 1  # series repeat themselves: the fastest level makes them small enough


@dataclass(frozen=True, slots=True, kw_only=True)
class WebState:
    """What the pages show, asked anew for each request.

    `exposition` returns our series as text, for OpenMetrics or not; `registry` holds our own
    metrics; `ready` says whether, and in one line why or why not. `api` answers the rest, if
    anybody does: to everybody who reaches a `loopback` address, else to those with the `token`.
    `metrics`: whether `/metrics` is here, and for whom. `admin`: who reaches this may ask for all.
    """

    exposition: Callable[[bool], str]
    registry: CollectorRegistry
    ready: Callable[[], tuple[bool, str]]
    api: Api | None = None
    loopback: bool = True
    token: Callable[[], Secret | None] = lambda: None
    metrics: bool = True
    metrics_token: Callable[[], Secret | None] = lambda: None
    admin: bool = False


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

    pages = {METRICS_PATH: metrics, "/-/healthy": healthy, "/-/ready": ready}
    hidden = set() if state.metrics else {METRICS_PATH}
    routes = [Route(path, page) for path, page in pages.items() if path not in hidden]
    guard = Middleware(
        AccessGuard,
        loopback=state.loopback,
        token=state.token,
        metrics_token=state.metrics_token,
    )
    app = Starlette(
        routes=routes + ([page_route(state.api), *api_routes(state.api)] if state.api else []),
        middleware=[Middleware(FailureGuard), *([] if state.admin else [guard])],
        exception_handlers={Refusal: refused},
    )
    app.router.redirect_slashes = False  # a path that is not there is a plain 404
    return app


async def serve(
    app: ASGIApp,
    address: tuple[str, int] | str,
    stop: asyncio.Event,
    started: Callable[[int], None] | None = None,
    *,
    key: str = "http.listen",
    tls: Callable[[], ssl.SSLContext | None] = lambda: None,
) -> None:
    """Answer requests until `stop` is set; `started` is told the port once they are answered.

    The address is host and port, of which 0 takes a free one, or the path of a unix socket. `tls`
    is asked at each connection. Raises StartError, which names the `key` that the address is from,
    before anything is answered.
    """
    listener = listen_unix(address) if isinstance(address, str) else listen(address, key)
    name = address if isinstance(address, str) else "{}:{}".format(*listener.getsockname())
    server = _Server(app, listener, name, tls)
    try:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(server.stop_when(stop))
            if started is not None:
                started(listener.getsockname()[1])
            await server.serve()
            asked.cancel()
    finally:
        server.close()


def listen(address: tuple[str, int], key: str = "http.listen") -> socket.socket:
    """Return a listening socket; raises StartError with a sentence for the user."""
    host, port = address
    with contextlib.ExitStack() as undo:
        try:
            family, kind, protocol, _, found = socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = undo.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)  # noqa: FBT003 - it takes nothing else
            listener.bind(found)
            listener.listen()
        except OSError as failure:
            raise StartError(_why_not(failure, host, port, key)) from failure
        undo.pop_all()
        return listener


def listen_unix(path: str) -> socket.socket:
    """Return a listening socket that only our own user can open; raises StartError."""
    listener = socket.socket(socket.AF_UNIX)
    with contextlib.ExitStack() as undo:
        undo.callback(listener.close)
        try:
            with short_name(path) as short:
                _clear(Path(short))
                os.fchmod(listener.fileno(), 0o600)  # before it has a name
                listener.bind(short)
        except OSError as failure:
            raise StartError(f"cannot listen on {path}: {failure.strerror}") from failure
        listener.setblocking(False)  # noqa: FBT003 - it takes nothing else
        listener.listen()
        undo.pop_all()
    return listener


def _clear(path: Path) -> None:
    """Remove a socket that nobody listens at any more; raises OSError if somebody does."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(TICK_SECONDS)
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, "another process listens there")
        path.unlink()


def _why_not(failure: OSError, host: str, port: int, key: str) -> str:
    if failure.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken: another process listens there; "
            f'set {key} to a free one, for example "0.0.0.0:9788"'
        )
    return f"cannot listen on {host} port {port}: {failure.strerror}; change {key}"


def most_connections() -> int:
    """Return how many connections one address holds at once: an eighth of our handles, up to 64."""
    handles, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(FEWEST, min(MOST, handles // 8))


class _Connection(H11Protocol):
    """Knows for how long it waits: for a request, or for its answer to be taken."""

    since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = self.loop.time()

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        super().on_response_complete()

    @property
    def answering(self) -> bool:
        """Whether the request is here, and its answer not wholly on its way."""
        cycle: RequestResponseCycle | None = self.cycle  # none yet before the first request
        asked = cycle is not None and not cycle.more_body and not cycle.response_complete
        return asked or self.transport.get_write_buffer_size() > 0

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, also where it comes behind a request that is being answered.

        Nothing more can be sent to that one then; that it could not is no failure of ours.
        """
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None:
            cycle.disconnected = True
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # an answer has begun
            self.end()

    def end(self) -> None:
        """End at once, whatever is still under way; it holds no place any more."""
        self.connections.discard(self)
        self.transport.abort()

    @property
    def late(self) -> bool:
        allowed = ANSWER_SECONDS if self.answering else RECEIVE_SECONDS
        return self.loop.time() - self.since > allowed


class _Server(uvicorn.Server):
    """uvicorn's server inside our own TaskGroup: the daemon handles signals, this does not.

    It takes connections by itself: asyncio takes all that wait at once, and writes a traceback for
    each that it has no handle for.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        address: str,
        tls: Callable[[], ssl.SSLContext | None],
    ) -> None:
        config = uvicorn.Config(
            app,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # of what a stranger sends it would warn each time
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        super().__init__(config)
        self.servers = []
        self._listener = listener
        self._address = address
        self._again: asyncio.TimerHandle | None = None
        self._tls = tls
        self._ended = asyncio.Event()
        self._most = most_connections()
        self._opening: dict[asyncio.Task[None], float] = {}
        self._quiet_until = 0.0

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        del sockets
        self._listen()
        self.started = True

    async def stop_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._rest()
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        """Set the clock of the `Date` header each second, and end the connections that are late.

        uvicorn's own loop wakes ten times as often: a third of what an idle daemon cost.
        """
        while not await self.on_tick(0):
            for connection in self._connections():
                if connection.late:
                    connection.end()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), TICK_SECONDS)

    def _listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _rest(self, seconds: float | None = None) -> None:
        """Take no connections, for so long or for good."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        if self._again is not None:
            self._again.cancel()
        self._again = None if seconds is None else loop.call_later(seconds, self._listen)

    def _accept(self) -> None:
        """Take one connection at a turn of the event loop."""
        loop = asyncio.get_running_loop()
        try:
            taken, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it went away
            return
        except OSError as failure:  # above all: no handle is left, and others need some too
            held = len(self._opening) + len(self.server_state.connections)
            self._most = max(FEWEST, held // 2)
            for _ in range(held - self._most):
                self._make_room()
            self._complain("accept_failed", error=failure.strerror)
            self._rest(TICK_SECONDS)
            return
        taken.setblocking(False)  # noqa: FBT003 - it takes nothing else
        if len(self._opening) + len(self.server_state.connections) >= self._most:
            self._make_room()
            self._complain("connections_full", most=self._most)
        opening = loop.create_task(self._open(taken))
        self._opening[opening] = loop.time()
        opening.add_done_callback(lambda done: self._opening.pop(done, None))

    async def _open(self, taken: socket.socket) -> None:
        """Shake hands, if there is TLS, and leave the rest to the connection."""
        loop, context = asyncio.get_running_loop(), self._tls()
        with contextlib.suppress(OSError), contextlib.ExitStack() as undo:
            undo.callback(taken.close)
            await loop.connect_accepted_socket(
                lambda: _Connection(self.config, self.server_state, {}),
                taken,
                ssl=context,
                ssl_handshake_timeout=RECEIVE_SECONDS if context else None,
            )
            undo.pop_all()

    def _connections(self) -> list[_Connection]:
        return [one for one in self.server_state.connections if isinstance(one, _Connection)]

    def _make_room(self) -> None:
        """End the connection that waits longest; one that is being answered only as a last resort.

        So whoever holds connections open loses them to those who come to ask.
        """
        held: list[tuple[bool, float, Callable[[], object]]] = [
            (one.answering, one.since, one.end) for one in self._connections()
        ]
        held += [(False, since, partial(self._drop, one)) for one, since in self._opening.items()]
        min(held, key=itemgetter(0, 1))[2]()

    def _drop(self, opening: asyncio.Task[None]) -> None:
        del self._opening[opening]
        opening.cancel()

    def _complain(self, event: str, **about: object) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            _log.warning(event, address=self._address, **about)

    def close(self) -> None:
        """Let go of every socket, also when a cancelled `serve` never came to do so."""
        self._rest()
        for opening in self._opening:
            opening.cancel()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self._listener.family == socket.AF_UNIX:
            Path(self._address).unlink(missing_ok=True)
        self._listener.close()
