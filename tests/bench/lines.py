"""The log files that the benchmarks read, made from a seed so that every run has the same."""

import json
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count as counted, cycle, islice
from pathlib import Path

_KINDS = [
    ("checkout.session.completed", ("received", "org_upgraded", "processed")),
    ("invoice.created", ("received", "usage_charges_added", "processed")),
    ("invoice.payment_succeeded", ("received", "billing_period_paid", "processed")),
    ("customer.subscription.updated", ("received", "processed")),
]
_NOISE = (
    'INFO:     10.0.31.224:0 - "POST /v4/stripe-webhook HTTP/1.1" 200 OK\n',
    "%s - WARNING - slow database, 558 ms\n",
    "%s - DEBUG - cache miss for key session:0004f2ab after 3 tries\n",
)
_FAILED = ("invoice.payment_failed", "payment_failure")
# One record in so many is no plain repr of texts: as in the real host's log, see tests/samples.
_ODD = 16
_USAGE = ", 'usage_costs': {'tokens': 57, 'spans': Decimal('1.50')}, 'spans': None}"
_HOST = Path(__file__).parents[1] / "samples" / "agentops-host.log"
_STATED = (
    "WEBHOOK_METRIC: {", "Subscription updated for org ", "Demoting to free",
    "Removed all licenses for org ", " has failed payment, attempt ", " failed payment attempts",
    " days left in grace period", "Error processing webhook ", " - BILLING_WEBHOOK_ERROR",
    "No org found with subscription_id: ", "Invalid webhook signature: ",
    "STRIPE_WEBHOOK_SECRET is not configured",
)  # fmt: skip
ORGANISATIONS = 5000
Record = dict[str, object]


def start() -> datetime:
    """Return the time of the first line: shortly before this hour, in UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None, minute=0, microsecond=0) - timedelta(hours=1)


def event(at: datetime, kind: str, status: str, **fields: object) -> Record:
    return {
        "metric_type": "WEBHOOK_METRIC",
        "webhook_provider": "stripe",
        "event_type": kind,
        "status": status,
        "timestamp": at.isoformat(),
        **fields,
    }


def records(count: int) -> Iterator[tuple[datetime, Record]]:
    """Yield `count` everyday webhook records, a millisecond apart: what a host logs of one event
    after the other, from its receipt to its end.
    """
    return islice(_webhooks(random.Random(11)), count)


def _webhooks(pick: random.Random) -> Iterator[tuple[datetime, Record]]:
    at = start()
    for number in counted():
        kind, statuses = _KINDS[pick.randrange(len(_KINDS))]
        org = f"org_{pick.randrange(ORGANISATIONS):012x}"
        for status in statuses:
            yield at, event(at, kind, status, event_id=f"evt_{number:012x}", org_id=org)
            at += timedelta(microseconds=pick.randrange(500, 1500))


def write(path: Path, events: Iterable[Record]) -> None:
    with path.open("w") as out:
        out.writelines(json.dumps(record) + "\n" for record in events)


def write_json(path: Path, events: int) -> None:
    write(path, (record for _, record in records(events)))


def write_mixed(path: Path, events: int, noise: int = 9) -> None:
    """One event in `noise + 1` lines, after the marker as JSON."""
    with path.open("w") as out:
        for at, record in records(events):
            stamp = f"{at:%Y-%m-%d %H:%M:%S}"
            others = [_NOISE[number % len(_NOISE)] for number in range(noise)]
            out.writelines(other.replace("%s", stamp) for other in others)
            out.write(f"{stamp} - INFO - WEBHOOK_METRIC: {json.dumps(record)}\n")


def write_repr(path: Path, events: int) -> None:
    """What the AgentOps host prints: an f-string of a dict after the marker."""
    with path.open("w") as out:
        for number, (at, record) in enumerate(records(events)):
            text = repr(record) if number % _ODD else repr(record)[:-1] + _USAGE
            out.write(f"{at:%Y-%m-%d %H:%M:%S} - INFO - WEBHOOK_METRIC: {text}\n")


def write_days(path: Path, size: int, days: float = 30) -> int:
    """Write `size` bytes that the host prints in `days`, evenly spread; return how many lines.

    As in its real log three of seven are records; one webhook in some 200 is a failed payment.
    """
    span, written, count = timedelta(days=days), 0, 0
    begin, pick = start() - span, random.Random(17)
    with path.open("w") as out:
        for number, (_, record) in enumerate(_webhooks(random.Random(11))):
            at = begin + span * min(1.0, written / size)
            stamp, text = f"{at:%Y-%m-%d %H:%M:%S}", _daily_record(number, at, record, pick)
            noise = [pick.choice(_NOISE) for _ in range(pick.choice((1, 1, 2)))]
            lines = [*noise, f"%s - INFO - WEBHOOK_METRIC: {text}\n"]
            block = "".join(line.replace("%s", stamp) for line in lines)
            out.write(block)
            count, written = count + len(lines), written + len(block)
            if written >= size:
                break
    return count


def _daily_record(number: int, at: datetime, record: Record, pick: random.Random) -> str:
    if number % 500 == 0:
        org, attempt = record["org_id"], pick.randrange(1, 5)
        record = event(at, *_FAILED, org_id=org, attempt_count=attempt)
    text = repr({**record, "timestamp": at.isoformat()})
    return text if number % _ODD else text[:-1] + _USAGE


def write_host(path: Path, count: int) -> int:
    """Write the real host's log over and over: records, sentences that state facts, and noise.

    Return how many of its lines are events.
    """
    sample = _HOST.read_text().splitlines(keepends=True)
    lines = list(islice(cycle(sample), count))
    with path.open("w") as out:
        out.writelines(lines)
    return sum(any(text in line for text in _STATED) for line in lines)


def failure(at: datetime, org: str, attempt: int) -> str:
    """Return the line of a failed payment; the third attempt is a critical alert."""
    record = event(at, *_FAILED, org_id=org, attempt_count=attempt)
    return json.dumps(record) + "\n"
