"""How a replay reads: lines of a table, JSON lines, and the summary below."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from sidecar.notify.model import SEVERITIES
from sidecar.notify.wording import one_line, utc
from sidecar.simulate.difference import Change
from sidecar.simulate.replay import Replay
from sidecar.simulate.told import Message, Told

_KEYS = ("alert", "labels", "state", "severity", "receiver", "reason", "late")
_UNLABELLED = ("alertname", "severity")
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
HEADING = f"{'TIME (UTC)':19}  {'SEVERITY':8}  {'STATE':18}  {'RECEIVER':12}  {'REASON':23}  ALERT"


def row(told: Told) -> str:
    """Return one line of the table."""
    labels = (f"{name}={value}" for name, value in told.labels.items() if name not in _UNLABELLED)
    reason = f"{told.reason} (late)" if told.late and "late" not in told.reason else told.reason
    about = _shown(" ".join((told.alert, *labels)))
    return (
        f"{utc(told.at)[:19]}  {told.severity:8}  {told.state:18}  {told.receiver:12}  "
        f"{reason:23}  {about}"
    )


def rows(message: Message) -> Iterator[str]:
    """Yield a line for each alert of a message."""
    yield from map(row, message.told)


def change_rows(change: Change) -> Iterator[str]:
    """Yield what became of one notice: added, removed, or how it was and how it is."""
    sign = _SIGNS[change.kind]
    if change.before is not None and change.after is not None:
        yield f"{sign} {row(change.after)}"
        yield f"    was {row(change.before)}"
        yield f"    changed: {', '.join(change.fields)}"
    else:
        yield f"{sign} {row(change.told)}"


def json_line(told: Told) -> str:
    """Return one notice as one JSON object (DESIGN: What users see)."""
    return _json(_plain(told))


def change_line(change: Change) -> str:
    """Return one difference as one JSON object: the newer notice, and what it was before."""
    before = None if change.before is None or change.after is None else _plain(change.before)
    return _json(
        {
            "change": change.kind,
            "fields": list(change.fields),
            **_plain(change.told),
            "before": before,
        }
    )


def _plain(told: Told) -> dict[str, Any]:
    return {"at": stamp(told.at), **{key: getattr(told, key) for key in _KEYS}}


def _shown(text: str) -> str:
    """Return what a log said on one line, without what could steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in one_line(text))


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def stamp(at: float) -> str:
    """Return an instant as RFC 3339 with microseconds where it has any."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def summary(replay: Replay) -> Iterator[str]:
    """Yield what the whole history came to."""
    reading, total = replay.reading, replay.summary
    if replay.first_at is None or replay.last_at is None:
        yield f"no events in {reading.lines:,} lines"
        return
    span = f"{utc(replay.first_at)} to {utc(replay.last_at)}"
    yield f"{reading.events:,} events in {reading.lines:,} lines, {span}"
    severities = [*reversed(SEVERITIES), *sorted(total.alerts.keys() - set(SEVERITIES))]
    yield f"alerts      {_counts((name, total.alerts[name]) for name in severities)}"
    yield f"messages    {'; '.join(_receivers(replay)) or 'none'}"
    yield f"suppressed  {_counts(total.suppressed.most_common())}"
    burst = f"{_of(total.burst, 'message')} within a minute from {utc(total.burst_at)}"
    yield f"worst burst {burst if total.burst else 'none'}"
    if reading.rejects:
        rejects = sorted((reason.value, count) for reason, count in reading.rejects.items())
        yield f"rejects     {_counts(rejects)}"
    if reading.future:
        yield f"future      {_of(reading.future, 'event')} dated ahead of the clock"
    for fault, count in total.faults.most_common():
        yield f"fault       in {_of(count, 'message')}: {fault}"


def _receivers(replay: Replay) -> Iterator[str]:
    total = replay.summary
    for receiver, count in sorted(total.messages.items()):
        copies = [(to, n) for (name, to), n in total.copies.items() if name == receiver]
        yield f"{receiver} {count:,} ({_counts(sorted(copies))})"


def _counts(counts: Any) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts if count) or "none"


def _of(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
