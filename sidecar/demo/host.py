"""A pretend AgentOps host: what it logs in half a minute of an eventful day.

The lines are built the way the real host builds them: text facts by logging calls, metrics as an
f-string of a dict (so Python reprs, not JSON).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

DUNNING = "5b1e2a90-7c1d-4f0e-9a51-3f6f0c7c9e11"
GRACE_OVER = "c7e0a4d2-0b83-4c1c-8f7a-1d2b6e5f9a22"
PAST_DUE = "2f9d6c3b-91aa-4d57-b0de-6a8c4e7d1b33"
CANCELED = "9a3c5e7f-2d41-4b68-a6f9-8b7d0c1e2f44"
SECONDS = 26.0


@dataclass(frozen=True, slots=True)
class LogLine:
    """At `after` seconds from the start the host logs `text`, stamped by `Host.stamp`."""

    after: float
    level: str
    text: str
    metric: dict[str, Any] | None = None


class Host:
    """Turns the story into log lines; `started` is the wall clock at its beginning."""

    def __init__(self, started: float, seed: int = 7) -> None:
        self._started = started
        self._random = random.Random(seed)  # noqa: S311 - a story, not a secret

    def lines(self) -> Iterator[tuple[float, bytes]]:
        """Yield (seconds after the start, whole line with its newline) in order."""
        for line in sorted([*_story(), *self._traffic()], key=lambda m: m.after):
            yield line.after, self._line(line)

    def _line(self, line: LogLine) -> bytes:
        at = datetime.fromtimestamp(self._started + line.after, UTC).replace(tzinfo=None)
        if not line.level:
            return f"{line.text}\n".encode()
        text = line.text
        if line.metric is not None:
            record = {
                "metric_type": "WEBHOOK_METRIC",
                "webhook_provider": "stripe",
                **line.metric,
            }
            record = _with_timestamp(record, at.isoformat())
            text = f"WEBHOOK_METRIC: {record}"
        return f"{at:%Y-%m-%d %H:%M:%S} - {line.level} - {text}\n".encode()

    def _traffic(self) -> Iterator[LogLine]:
        """Yield the everyday: invoices that go through, access lines, a slow query."""
        after = 0.3
        while after < SECONDS:
            event = f"evt_{self._random.randrange(16**12):012x}"
            kind = self._random.choice(["invoice.created", "checkout.session.completed"])
            yield _metric(after, kind, "received", event_id=event)
            if kind == "invoice.created":
                costs = {"tokens": self._random.randrange(900), "spans": Decimal("1.50")}
                yield _metric(after + 0.02, kind, "usage_charges_added", usage_costs=costs)
            yield _metric(after + 0.05, kind, "processed", event_id=event)
            access = '"POST /v4/stripe-webhook HTTP/1.1" 200 OK'
            yield LogLine(after + 0.06, "", f"INFO:     10.0.31.224:0 - {access}")
            if self._random.random() < 0.2:  # noqa: PLR2004 - one in five
                yield LogLine(
                    after + 0.1, "WARNING", f"slow database, {self._random.randrange(900)} ms"
                )
            after += self._random.uniform(0.4, 1.2)


def _with_timestamp(record: dict[str, Any], stamp: str) -> dict[str, Any]:
    """Put `timestamp` right after `status`, where the host has it."""
    at = list(record).index("status") + 1
    items = list(record.items())
    return dict([*items[:at], ("timestamp", stamp), *items[at:]])


def _metric(after: float, event_type: str, status: str, **extra: Any) -> LogLine:
    return LogLine(after, "INFO", "", {"event_type": event_type, "status": status, **extra})


def _story() -> Iterator[LogLine]:
    yield from _dunning()
    yield from _subscriptions()
    yield from _errors()


def _dunning() -> Iterator[LogLine]:
    """Four failed attempts of one organisation, then it pays."""
    facts = {"org_id": DUNNING, "subscription_id": "sub_1dunning", "org_name": "Zoë & O'Brien"}
    for after, attempt in ((1.0, 1), (2.5, 2), (4.0, 3), (8.0, 4)):
        yield LogLine(after, "WARNING", f"Org {DUNNING} has failed payment, attempt #{attempt}")
        failed = {**facts, "attempt_count": attempt}
        yield _metric(after + 0.01, "invoice.payment_failed", "payment_failure", **failed)
        if attempt >= 3:  # noqa: PLR2004 - the host's own threshold
            yield _metric(
                after + 0.02,
                "invoice.payment_failed",
                "critical_payment_failure",
                **failed,
                severity="critical",
            )
    yield _metric(19.0, "invoice.payment_succeeded", "billing_period_paid", **facts)


def _subscriptions() -> Iterator[LogLine]:
    """States come as plain text only: one past its grace, one that recovers, one that ends."""
    updated = "Subscription updated for org {}: status={}, seat_quantity=4, is_legacy=False"
    yield LogLine(3.0, "INFO", updated.format(GRACE_OVER, "unpaid"))
    yield LogLine(
        5.5,
        "WARNING",
        f"Org {GRACE_OVER} subscription is unpaid and past 3-day grace period. Demoting to free.",
    )
    yield LogLine(3.5, "INFO", updated.format(PAST_DUE, "past_due"))
    yield LogLine(
        3.6,
        "WARNING",
        f"Org {PAST_DUE} subscription is past_due. 2 days left in grace period.",
    )
    yield LogLine(15.0, "INFO", updated.format(PAST_DUE, "active"))
    yield LogLine(16.0, "INFO", updated.format(CANCELED, "canceled"))
    yield LogLine(
        16.1,
        "INFO",
        f"Removed all licenses for org {CANCELED} due to subscription cancellation",
    )


def _errors() -> Iterator[LogLine]:
    """An exception with a key in its text, a failed license sync, a forger at the door."""
    error = "api_key=sk_live_NotARealKey0123456789 refused"
    yield LogLine(4.5, "ERROR", f"Error processing webhook invoice.created: {error}")
    yield LogLine(4.51, "", "Traceback (most recent call last):")
    yield LogLine(4.52, "", f"ConnectionError: {error}")
    yield _metric(
        4.53,
        "invoice.created",
        "processing_error",
        error=error,
        error_type="ConnectionError",
        event_id="evt_demo_error",
    )
    yield _metric(
        10.0,
        "subscription.updated",
        "license_sync_failure",
        org_id=PAST_DUE,
        seat_quantity=7,
        error="can't lock row",
        error_type="OperationalError",
    )
    for attempt in range(5):
        yield _metric(
            12.5 + attempt / 4, "unknown", "invalid_signature", error="No signatures found"
        )
