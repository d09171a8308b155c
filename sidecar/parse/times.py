"""Instants from what hosts log: ISO 8601 texts and epoch numbers become seconds since the epoch."""

import re
from datetime import UTC, datetime
from typing import Any

from sidecar.parse.event import as_number

_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the zone is left out on purpose
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.", re.ASCII)
_ISO = re.compile(
    r"""(?P<day>\d{4}-\d\d-\d\d)(?:[Tt\ ](?P<clock>\d\d:\d\d(?::\d\d)?))?
        (?:[.,](?P<fraction>\d{1,18}))?\s?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?""",
    re.VERBOSE | re.ASCII,
)
_LEADING = re.compile(
    r"[\[(]?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:\s?(?:Z\b|[+-]\d\d:?\d\d\b))?)",
    re.ASCII,
)
# Epoch numbers by magnitude, so that no unit needs to be configured: below the first bound they
# are too small to be an instant (a duration, a counter), then seconds (up to the year 5138),
# milliseconds, microseconds, nanoseconds.
_TOO_SMALL = 1e8
_MOST_SECONDS = 4096  # remembered
_MICROSECONDS = 6  # digits
_UNITS = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (1e20, 1_000_000_000))


def instant(value: Any) -> float | None:
    """Return the instant `value` states, or None when it states none.

    A text is ISO 8601 (RFC 3339 and its common spellings: space or T, dot or comma before the
    fraction, nanoseconds, `Z`, `UTC`, `+02:00`, `+0200`; no zone means UTC; a date alone is its
    midnight) or a decimal number; fractions are rounded to microseconds. Numbers are epoch
    seconds; 1e11 and more can only be milliseconds, 1e14 microseconds, 1e17 nanoseconds. Numbers
    below 1e8 (March 1973) and anything else are no instants.
    """
    if isinstance(value, str):
        # Neighbouring lines share their second, so that only the fraction is read anew: 0.3 us,
        # where datetime takes 1.2.
        base = _SECONDS[value[:20]]
        digits = value[20:]
        if base is not None and len(digits) == _MICROSECONDS and digits.isdecimal():
            return base + int(digits) / 1_000_000
        return _of_text(value)
    number = as_number(value)
    return None if number is None else _of_number(number)


def seconds_of(at: datetime) -> float:
    """Return a decoded stamp as an instant; no zone means UTC."""
    return (at - (_EPOCH if at.tzinfo else _NAIVE_EPOCH)).total_seconds()


def leading_instant(line: str) -> float | None:
    """Return the stamp a line begins with (`2026-11-02 08:01:16,123 …`), or None."""
    found = _LEADING.match(line)
    return None if found is None else _of_text(found[1])


class _Seconds(dict[str, float | None]):
    """`2026-11-02T08:01:16.` to the instant of that second, in UTC; None for other texts."""

    def __missing__(self, text: str) -> float | None:
        if len(self) >= _MOST_SECONDS:
            self.clear()
        base = _seconds(text[:-1] + "+00:00") if _SECOND.fullmatch(text) else None
        self[text] = base
        return base


_SECONDS = _Seconds()


def _of_text(text: str) -> float | None:
    text = text.strip()
    found = _ISO.fullmatch(text)
    if found is None:
        number = as_number(text)
        return None if number is None else _of_number(number)
    zone = found["zone"] or "Z"
    offset = zone if zone[0] in "+-" else "+00:00"
    base = _seconds(f"{found['day']}T{found['clock'] or '00:00'}{offset}")
    return None if base is None else base + _microseconds(found["fraction"] or "") / 1e6


def _microseconds(fraction: str) -> int:
    """Return the digits behind the dot as whole microseconds, a half rounded up.

    A float of today's instants cannot hold more, and the decoder of `sidecar.parse.blocks` does
    the same.
    """
    return int(fraction[:6].ljust(6, "0")) + (fraction[6:7] >= "5")


def _seconds(iso: str) -> float | None:
    try:
        seconds = datetime.fromisoformat(iso).timestamp()
    except (ValueError, OverflowError):  # the 30th of February, hour 25, year 0, second 60
        return None
    return seconds if seconds >= 0 else None  # no log was written before 1970


def _of_number(number: float) -> float | None:
    if number < _TOO_SMALL:
        return None
    return next((number / unit for bound, unit in _UNITS if number < bound), None)
