"""Instants that events carry in their fields, and texts fit to be labels and stored."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from sidecar.parse.event import STANDARD_FIELDS, Event, as_number, as_text, field_value

# Seconds up to the year 5138, milliseconds since 1973: no instant is read two ways.
_MILLISECONDS_FROM = 1e11
# A key or state longer than this keeps its head and a digest of the whole.
LONGEST_LABEL = 256


def instant_of(value: Any) -> float | None:
    """Read an instant in epoch seconds, epoch milliseconds or ISO 8601 (naive: UTC), or None."""
    number = as_number(value)
    if number is not None:
        return number / 1000.0 if abs(number) >= _MILLISECONDS_FROM else number
    if not isinstance(value, str):
        return None
    try:
        when = datetime.fromisoformat(value.strip())
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def field_of(event: Event, name: str) -> Any:
    """Return a field's raw value; the three standard fields are what the parser made of them."""
    if name == "status":
        return event.status
    if name == "event_type":
        return event.event_type
    if name == "webhook_provider":
        return event.provider
    return field_value(event.fields, name)


def text_of(event: Event, name: str) -> str:
    """Return a field as text, for matchers."""
    value = field_of(event, name)
    return value if type(value) is str else as_text(value)


def label_of(event: Event, name: str) -> str:
    """Return a field as label text of bounded length, free of lone surrogates."""
    text = None if name in STANDARD_FIELDS else event.fields.get(name)
    if type(text) is not str:
        text = text_of(event, name)
    return text if text.isascii() and len(text) <= LONGEST_LABEL else bounded(text)


def bounded(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return `text` fit to be stored: valid UTF-8, and cut with a digest when too long."""
    raw = text.encode("utf-8", "replace")
    if len(text) <= longest:
        return raw.decode()
    digest = hashlib.sha256(raw).hexdigest()[:16]
    return f"{text[: longest - 20].encode('utf-8', 'replace').decode()}...{digest}"
