"""Instants: the stamps of loggers and the times in fields, as seconds since the epoch."""

import re
from calendar import month_abbr
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sidecar.parse.event import as_number, is_missing

_ISO = re.compile(
    r"""(?P<day>\d{4}(?P<sign>[-/])\d\d(?P=sign)\d\d|\d{8}(?=[Tt]))
        (?:[Tt\ ](?P<clock>\d\d(?::?\d\d){1,2}))?(?:[.,](?P<fraction>\d{1,18}))?
        \s?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?""",
    re.VERBOSE | re.ASCII,
)
_MONTHS = {name: number for number, name in enumerate(month_abbr) if name}
# The common log format of web servers; RFC 3164 (syslog) and C's asctime(); RFC 5322 (mail, HTTP).
_NAMED = (
    re.compile(
        r"""(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4})[:\s](?P<clock>\d\d:\d\d:\d\d)
            (?:\.(?P<fraction>\d{1,18}))?(?:\s(?P<zone>[+-]\d{4}))?""",
        re.VERBOSE | re.ASCII,
    ),
    re.compile(
        r"""(?:[A-Z][a-z]{2}\s)?(?P<month>[A-Z][a-z]{2})\s+(?P<day>\d\d?)\s
            (?P<clock>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,18}))?(?:\s(?P<year>\d{4}))?(?P<zone>Z)?""",
        re.VERBOSE | re.ASCII,
    ),
    re.compile(
        r"""(?:[A-Z][a-z]{2},\s)?(?P<day>\d\d?)\s(?P<month>[A-Z][a-z]{2})\s(?P<year>\d{4})\s
            (?P<clock>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,18}))?\s(?P<zone>[+-]\d{4}|GMT|UTC)""",
        re.VERBOSE | re.ASCII,
    ),
)
# A stamp in a line: what `instant` reads as one, with a clock in it; a number only where a line
# begins with it.
_STAMP = (
    r"(?:(?<![\w.:/-])(?:"
    r"(?:\d{4}([-/])\d\d\1\d\d[T ]\d\d:\d\d(?::\d\d)?|\d{8}T\d{6})(?:[.,]\d{1,18})?"
    r"(?:\s?(?:Z\b|UTC\b|[+-]\d\d:?\d\d\b))?"
    r"|\d\d/[A-Z][a-z]{2}/\d{4}[:\s]\d\d:\d\d:\d\d(?:\.\d{1,18})?(?:\s[+-]\d{4}\b)?"
    r"|(?:[A-Z][a-z]{2}\s)?[A-Z][a-z]{2}\s[\s\d]\d\s\d\d:\d\d:\d\d(?:\.\d{1,18})?(?:\s\d{4}\b)?)"
    r"|(?:\A|(?<=\A[\[(]))1\d{9}(?:\.\d{1,9}|\d{3})?(?=[\s\])]))"
)
_STAMPS = re.compile(_STAMP, re.ASCII)
_ZONE = re.compile(r"(?:[Zz]|UTC|GMT|:[\d.,]+[+-]\d\d|\s?[+-]\d\d:?\d\d)\Z", re.ASCII)
_OPENING = re.compile(rf"[\[(]?{_STAMP}", re.ASCII)
# Whatever else a logger may mean by a time: `22.11.2026`, `2026-11-22`, `2:02:16 AM`.
_LIKE_A_STAMP = re.compile(
    r"(?<![\d:])\d?\d:\d\d:\d\d(?![\d:])"
    r"|(?<![\d.])(?:\d{4}([-/.])\d\d\1\d\d|\d\d([-/.])\d\d\2\d{4})(?![\d.])",
    re.ASCII,
)
# Epoch numbers by magnitude, so that no unit needs to be configured: below the first bound they
# are too small to be an instant (a duration, a counter), then seconds (up to the year 5138),
# milliseconds, microseconds, nanoseconds.
_TOO_SMALL = 1e8
_MOST_SECONDS = 4096  # remembered
_MICROSECONDS = 6  # digits
_DAY = 86_400.0  # a host's clock may be ahead by its time zone
_LEAP_YEARS = 9  # from one to the next 29th of February, around 2100
_UNITS = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (1e20, 1_000_000_000))


def instant(value: Any, near: float | None = None) -> float | None:
    """Return the instant `value` states, or None when it states none.

    A text is one of these, or a decimal number:

    - ISO 8601 (RFC 3339 and its common spellings: space or T, dot or comma before the fraction,
      nanoseconds, `Z`, `UTC`, `+02:00`, `+0200`, `20261102T080116Z`; a date alone is its
      midnight); also with slashes, as Go's logger and nginx write it: `2026/11/02 08:01:16`
    - the common log format of web servers: `02/Nov/2026:08:01:16 +0000`; Python's own ones write it
      with a blank and without a zone
    - RFC 3164, as syslog writes it: `Nov  2 08:01:16`. It has no year: that is the latest one in
      which it lies at most a day after `near`, in epoch seconds; without `near` it is no instant
    - the same with weekday and year, as C's asctime() writes it: `Mon Nov  2 08:01:16 2026`
    - RFC 5322, as mail and HTTP write it: `Mon, 02 Nov 2026 08:01:16 +0000`, or `GMT`

    No zone means UTC; fractions are rounded to microseconds. Numbers are epoch seconds; 1e11 and
    more can only be milliseconds, 1e14 microseconds, 1e17 nanoseconds. Numbers below 1e8 (March
    1973), so also 0 and negative ones, and anything else are no instants.
    """
    if isinstance(value, str):
        # Neighbouring lines share their second, so that only the fraction is read anew.
        base = _SECONDS[value[:20]]
        digits = value[20:]
        if base is not None and len(digits) == _MICROSECONDS and digits.isdecimal():
            return base + int(digits) / 1_000_000
        return _of_text(value, near)
    number = as_number(value)
    return None if number is None else _of_number(number)


def in_zone(at: float | None, text: Any, zone: ZoneInfo | None) -> float | None:
    """Return the instant of `text`, read as one in UTC, as one in `zone` where it names none."""
    if zone is None or at is None or not isinstance(text, str):
        return at
    if _states_zone(text):
        return at
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=zone).timestamp()


def _states_zone(text: str) -> bool:
    """Return whether a stamp names its zone; a number counts seconds in UTC."""
    return _ZONE.search(text.strip()) is not None or as_number(text) is not None


def stamp_in(text: str, near: float, zone: ZoneInfo | None = None) -> tuple[float | None, bool]:
    """Return the instant of the last stamp in `text`, a logger's, that can be read.

    And whether there is none although something looks like one. `near` as in `instant`. The last
    is the nearest to the message: before it may stand another logger's, or what a stranger calls
    himself in an access line.
    """
    if plain := _PLAIN_STAMP.match(text):  # nearly every logger's
        at = _PLAIN_SECONDS[plain[1]]
        if at is not None:
            return in_zone(at, plain[1], zone), False
    found = stamps_in(text, near)
    if found:
        at, has_zone = found[-1]
        return at if has_zone else in_zone(at, "", zone), False
    return (None, _LIKE_A_STAMP.search(text) is not None)


def stamps_in(text: str, near: float) -> list[tuple[float, bool]]:
    """Return the instants of the stamps in `text`, each with whether it states a zone."""
    found = ((instant(stamp[0], near), stamp[0]) for stamp in _STAMPS.finditer(text))
    return [(at, _states_zone(text)) for at, text in found if at is not None]


def stamp_places(text: str) -> list[int]:
    """Return where in `text` stamps begin."""
    return [found.start() for found in _STAMPS.finditer(text)]


def without_stamps(text: str) -> str:
    return _STAMPS.sub("", text)


def stamp_end(text: str, start: int) -> int:
    """Return where a stamp at `start` ends; `start` without one."""
    found = _OPENING.match(text, start)
    return start if found is None else found.end()


class _Seconds(dict[str, float | None]):
    """Texts of this form to the instant of their second, in UTC; None for other texts."""

    def __init__(self, form: re.Pattern[str]) -> None:
        super().__init__()
        self._form = form

    def __missing__(self, text: str) -> float | None:
        if len(self) >= _MOST_SECONDS:
            self.clear()
        base = _seconds(text[:19] + "+00:00") if self._form.fullmatch(text) else None
        self[text] = base
        return base


_SECONDS = _Seconds(re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.", re.ASCII))
_PLAIN_SECONDS = _Seconds(re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII))
# A line's one stamp at its beginning, with neither fraction nor zone.
_PLAIN_STAMP = re.compile(r"(\d{4}-\d\d-\d\d [\d:]{8})(?![.,]|\s?(?:Z|UTC|[+-]\d))\D*\Z", re.ASCII)


def _of_text(text: str, near: float | None) -> float | None:
    text = text.strip()
    found = _ISO.fullmatch(text)
    if found is not None:
        return _at(found, found["day"].replace("/", "-"))
    for form in _NAMED:
        if (found := form.fullmatch(text)) is not None:
            return _of_named(found, near)
    number = as_number(text)
    return None if number is None else _of_number(number)


def _of_named(found: re.Match[str], near: float | None) -> float | None:
    month = _MONTHS.get(found["month"])
    if month is None or not (found["year"] or near):
        return None
    day = f"-{month:02}-{int(found['day']):02}"
    if found["year"]:
        return _at(found, found["year"] + day)
    latest = (near or 0.0) + _DAY
    year = datetime.fromtimestamp(latest, UTC).year
    instants = (_at(found, f"{year - back}{day}") for back in range(_LEAP_YEARS))
    return next((at for at in instants if at is not None and at <= latest), None)


def _at(found: re.Match[str], day: str) -> float | None:
    zone = found["zone"] or "Z"
    offset = zone if zone[0] in "+-" else "+00:00"
    base = _seconds(f"{day}T{found['clock'] or '00:00'}{offset}")
    return None if base is None else base + _microseconds(found["fraction"] or "") / 1e6


def _microseconds(fraction: str) -> int:
    """Return the digits behind the dot as whole microseconds, a half rounded up.

    A float of today's instants cannot hold more, and the decoder of `sidecar.parse.asked` does
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


def is_bad_instant(value: Any, near: float | None = None) -> bool:
    """Return whether a field holds something, and no instant; `near` as in `instant`."""
    return not is_missing(value) and instant(value, near) is None
