"""The plain values of the calls that reprs contain: `Decimal('1.50')`, `UUID('…')` and such."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from sidecar.parse.literals import bounded_int

_OFFSET = re.compile(r"[+-]\d\d:\d\d(?::\d\d)?")
_UTC = re.compile(r"(?i)\butc\b|tzutc\(\)")

# Takes positional and named arguments; raises ValueError, TypeError or OverflowError where they
# make no sense: the call is then kept as its text.
Call = Callable[[Sequence[Any], Mapping[str, Any]], Any]


def _decimal(values: Sequence[Any], _named: Mapping[str, Any]) -> int | float:
    (text,) = values
    try:
        number = Decimal(text)
    except InvalidOperation as wrong:
        raise ValueError(text) from wrong
    whole = isinstance(text, int) or text.lstrip("-").isdecimal()
    return bounded_int(int(number)) if whole else float(number)


def _text(values: Sequence[Any], _named: Mapping[str, Any]) -> str:
    (text,) = values
    return str(text)


def _items(values: Sequence[Any], _named: Mapping[str, Any]) -> list[Any]:
    items = values[0] if values else []
    if items == {}:  # `{}` inside: an empty dict, as in frozenset({})
        return []
    if not isinstance(items, list):
        raise TypeError(items)
    return items


def _date(values: Sequence[Any], _named: Mapping[str, Any]) -> str:
    return date(*values).isoformat()


def _datetime(values: Sequence[Any], named: Mapping[str, Any]) -> str:
    zone = _zone(named["tzinfo"]) if "tzinfo" in named else None
    return datetime(*values[:7]).replace(tzinfo=zone).isoformat()  # noqa: DTZ001 - as logged


def _timedelta(_values: Sequence[Any], named: Mapping[str, Any]) -> float:
    return timedelta(**named).total_seconds()


def _timezone(values: Sequence[Any], _named: Mapping[str, Any]) -> str:
    return str(timezone(timedelta(seconds=values[0])))


def _zone(text: Any) -> timezone | None:
    """Read a zone's text; a named zone's offset is unknown here, so the datetime stays text."""
    if text is None:
        return None
    offset = _OFFSET.search(str(text))
    if offset is not None:
        return datetime.fromisoformat(f"2000-01-01T00:00{offset[0]}").tzinfo  # type: ignore[return-value]
    if _UTC.search(str(text)):
        return UTC
    raise ValueError(text)


CALLS: Mapping[str, Call] = {
    **dict.fromkeys(("Decimal", "decimal.Decimal"), _decimal),
    **dict.fromkeys(("UUID", "uuid.UUID"), _text),
    **dict.fromkeys(("set", "frozenset"), _items),
    **dict.fromkeys(("date", "datetime.date"), _date),
    **dict.fromkeys(("datetime", "datetime.datetime"), _datetime),
    **dict.fromkeys(("timedelta", "datetime.timedelta"), _timedelta),
    **dict.fromkeys(("timezone", "datetime.timezone"), _timezone),
}
