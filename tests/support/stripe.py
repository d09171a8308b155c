"""Stripe as it posts and answers: events of its shapes, signed by its own package; two lists."""

import json
import socket
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl

import stripe

SECRET = "whsec_test_first"


def event(number: int = 1, event_type: str = "invoice.paid", **more: Any) -> dict[str, Any]:
    """Return an event; `more` are keys of its object, `created` and `livemode` its own."""
    more.setdefault("customer", "cus_1")
    own = {name: more.pop(name) for name in ("created", "livemode", "id") if name in more}
    return {
        "id": f"evt_{number}", "object": "event", "api_version": "2026-04-22.dahlia",
        "created": 1_793_952_000 + number, "livemode": True, "type": event_type,
        "pending_webhooks": 1, "request": {"id": None, "idempotency_key": None},
        "data": {"object": {"id": f"in_{number}", "object": "invoice", **more}},
    } | own  # fmt: skip


def signed(body: bytes, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """Return the header that Stripe's own package makes."""
    stamp = None if at is None else int(at)
    make = stripe.WebhookSignature.generate_signature_header
    header = make(body.decode(), secret, stamp)
    return {"Stripe-Signature": str(header)}


def encoded(event: Any) -> bytes:
    return json.dumps(event).encode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StripeApiSink:
    """Stripe's two lists on loopback: pages with cursors, and failures as it is told."""

    KEY = "rk_test_hunter2"

    def __init__(self, events: Sequence[dict[str, Any]] = ()) -> None:
        self.undelivered = {str(one["id"]): one for one in events}
        self.endpoints: list[dict[str, Any]] = []
        self.failures: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[str] = []
        self.versions: set[str] = set()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sink.asked.append(self.path)
                sink.versions.add(self.headers["Stripe-Version"])
                code, headers, body = sink.answer(self.path, self.headers["Authorization"])
                self.send_response(code)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base has it
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, key: str) -> tuple[int, dict[str, str], bytes]:
        if self.failures:
            return self.failures.pop(0)
        if key != f"Bearer {self.KEY}":
            return 401, {}, b'{"error": {"message": "Invalid API Key provided: rk_test_***er2"}}'
        what, _, query = path.partition("?")
        asked = dict(parse_qsl(query))
        if what == "/v1/webhook_endpoints":
            return self._page(self.endpoints, asked)
        assert what == "/v1/events"
        assert asked["delivery_success"] == "false"
        since = int(asked["created[gte]"])
        listed = [one for one in list(self.undelivered.values()) if one["created"] >= since]
        return self._page(sorted(listed, key=lambda one: -int(one["created"])), asked)

    def _page(
        self, listed: list[dict[str, Any]], asked: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        ids = [one["id"] for one in listed]
        begin = ids.index(asked["starting_after"]) + 1 if "starting_after" in asked else 0
        end = begin + int(asked["limit"])
        page = {"object": "list", "data": listed[begin:end], "has_more": end < len(listed)}
        return 200, {"Content-Type": "application/json"}, encoded(page)
