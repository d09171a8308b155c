"""Stripe as it posts: events of its shapes, signed by its own package."""

import json
import socket
from typing import Any

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
