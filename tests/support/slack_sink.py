"""A web server on loopback in Slack's place, which answers as it is told."""

import contextlib
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast

from support.arrivals import Arrivals, server_tls

_TICK = threading.Event()  # never set: a short while between two bytes


class Ending(Enum):
    """What becomes of a connection in place of an answer."""

    DROP = "closed after the request was read"
    HANG = "kept open, silent, until the sink closes"
    CUT = "closed in the middle of the answer"
    RESET = "reset before anything was read"
    DRIP = "answered, byte by byte"


@dataclass(frozen=True)
class Answer:
    """One scripted answer; with an `ending` it is not given."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | bytes = "ok"
    ending: Ending | None = None


@dataclass(frozen=True)
class Request:
    """A request as it came; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded


class SlackSink:
    """Takes what is posted to it, as an incoming webhook and as `chat.postMessage`.

    `answers` are given first, in order; then every request is accepted: those with a bearer token
    as the API does (a JSON object with a rising `ts`), others as a webhook does (`ok`).
    """

    def __init__(self, *, tls: bool = False) -> None:
        self.answers: deque[Answer] = deque()
        self._arrivals: Arrivals[Request] = Arrivals()
        self._closing = threading.Event()
        self._server = _SlackServer(("127.0.0.1", 0), self._take, self._refuses)
        self._tls = tls
        if tls:
            self._server.socket = server_tls().wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def requests(self) -> list[Request]:
        return self._arrivals.items

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where to post, as a webhook URL or as the API's; any path below it will do."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/services/T0/B0/sink"

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Request]:
        """Return the requests once there are `count`; fail after `timeout` seconds."""
        self._arrivals.wait_for(count, timeout)
        return self.requests

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, request: Request) -> Answer:
        answer = self.answers.popleft() if self.answers else self._accepted(request)
        self._arrivals.add(request)
        if answer.ending is Ending.HANG:
            self._closing.wait()
        return answer

    def _refuses(self) -> bool:
        """Tell whether the connection that was just made is to be reset."""
        refuses = bool(self.answers) and self.answers[0].ending is Ending.RESET
        if refuses:
            self.answers.popleft()
        return refuses

    def _accepted(self, request: Request) -> Answer:
        if not request.headers.get("authorization", "").startswith("Bearer "):
            return Answer()
        ts = f"1700000000.{len(self.requests) + 1:06d}"
        accepted = {"ok": True, "channel": "C0", "ts": ts}
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(accepted))


class _SlackServer(ThreadingHTTPServer):
    def __init__(
        self,
        address: tuple[str, int],
        take: Callable[[Request], Answer],
        refuses: Callable[[], bool],
    ) -> None:
        self.take = take
        self._refuses = refuses
        self._connections: set[socket.socket] = set()
        super().__init__(address, _SlackHandler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        del client_address
        if self._refuses():
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close()
            return False
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End the connections a client keeps open, so that their threads end."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up is part of the tests."""


class _SlackHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = cast("_SlackServer", self.server).take(Request(self.path, headers, body))
        if answer.ending in (Ending.DROP, Ending.HANG):
            self.close_connection = True
            return
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, bytes) else answer.body.encode()
        if "Date" in answer.headers:
            self.send_response_only(answer.status)
        else:
            self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        cut = answer.ending is Ending.CUT
        self.send_header("Content-Length", str(len(body) + (1000 if cut else 0)))
        self.end_headers()
        if answer.ending is Ending.DRIP:
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                _TICK.wait(0.02)
        else:
            self.wfile.write(body)
        self.close_connection |= cut

    def log_message(self, *_: object) -> None:
        """Keep the test's output to itself."""
