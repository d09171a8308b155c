"""Instants: the stamps of loggers and the times in fields, as seconds since the epoch."""

import re
from calendar import month_abbr
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sidecar.parse.event import as_number, is_missing

# Hours ahead of UTC of the zones' names in use, those of the tz database; the American ones are
# those of RFC 5322.
_HOURS = {
    "UTC": 0.0, "GMT": 0.0, "UT": 0.0, "Z": 0.0, "WET": 0.0, "WEST": 1.0, "CET": 1.0, "CEST": 2.0,
    "MET": 1.0, "MEST": 2.0, "EET": 2.0, "EEST": 3.0, "MSK": 3.0, "WAT": 1.0, "CAT": 2.0,
    "SAST": 2.0, "EAT": 3.0, "IDT": 3.0, "PKT": 5.0, "WIB": 7.0, "WITA": 8.0, "WIT": 9.0,
    "HKT": 8.0, "JST": 9.0, "KST": 9.0, "AWST": 8.0, "ACST": 9.5, "ACDT": 10.5, "AEST": 10.0,
    "AEDT": 11.0, "NZST": 12.0, "NZDT": 13.0, "NST": -3.5, "NDT": -2.5, "ADT": -3.0, "EST": -5.0,
    "EDT": -4.0, "CDT": -5.0, "MST": -7.0, "MDT": -6.0, "PST": -8.0, "PDT": -7.0, "AKST": -9.0,
    "AKDT": -8.0, "HST": -10.0,
}  # fmt: skip
_ZONES = {name: timezone(timedelta(hours=hours)) for name, hours in _HOURS.items()}
# These mean several: India, Israel or Ireland; America, China or Cuba; Britain or Bangladesh; the
# Atlantic or Arabia; Samoa or Singapore; the Gulf or Guam. Only a source's own zone can tell.
_AMBIGUOUS = ("IST", "CST", "BST", "AST", "SST", "GST")
ZONE_NAMES = "|".join(sorted((*_ZONES, *_AMBIGUOUS), key=len, reverse=True))
_FRACTION = r"(?:[.,](?P<fraction>\d{1,18}))?"
_ISO = re.compile(
    rf"""(?P<day>\d{{4}}(?P<sign>[-/])\d\d(?P=sign)\d\d|\d{{8}}(?=[Tt]))
        (?:[Tt\ ](?P<clock>\d\d(?::?\d\d){{1,2}}))?{_FRACTION}
        \s?(?P<zone>[Zz]|[A-Z]{{2,5}}|[+-]\d\d(?::?\d\d)?)?(?:\s(?:[A-Z]{{3,5}}|[+-]\d\d)(?:\sm=\S+)?)?""",
    re.VERBOSE | re.ASCII,
)
_MONTHS = {one: n for n, name in enumerate(month_abbr) if n for one in (name, f"{n:02}")}
# The common log format of web servers, RFC 5322 (mail, HTTP), log4j's and PHP's; RFC 3164 (syslog),
# C's asctime() and `date`; klog's.
_NAMED = (
    re.compile(
        rf"""(?:[A-Z][a-z]{{2}},\s)?
            (?P<day>\d\d?)(?P<sign>[-/\ ])(?P<month>[A-Z][a-z]{{2}})(?P=sign)(?P<year>\d{{4}})
            [:\s](?P<clock>\d\d:\d\d(?::\d\d)?){_FRACTION}(?:\s(?P<zone>[+-]\d{{4}}|[A-Z]{{2,5}}))?""",
        re.VERBOSE | re.ASCII,
    ),
    re.compile(
        rf"""(?:[A-Z][a-z]{{2}}\s)?(?P<month>[A-Z][a-z]{{2}})\s+(?P<day>\d\d?)\s
            (?P<clock>\d\d:\d\d:\d\d){_FRACTION}
            (?:\s?(?P<zone>[+-]\d{{4}}|[A-Z]{{1,5}}))?(?:\s(?P<year>\d{{4}}))?""",
        re.VERBOSE | re.ASCII,
    ),
    re.compile(
        rf"""[IWEF](?P<year>\d{{4}})?(?P<month>\d\d)(?P<day>\d\d)\s
            (?P<clock>\d\d:\d\d:\d\d){_FRACTION}(?P<zone>Z)?""",
        re.VERBOSE | re.ASCII,
    ),
)
# A stamp in a line: what `instant` reads as one, with a clock in it; a number only where a line
# begins with it.
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,18})?"
_NAME = rf"(?:Z\b|(?=[A-Z]+[TCKBA]\b)(?:{ZONE_NAMES})\b)"  # refuses a level soon
_STAMP = (
    r"(?:(?<![\w.:/-])(?:"
    r"(?:\d{4}([-/])\d\d\1\d\d[T ]\d\d:\d\d(?::\d\d)?|\d{8}T\d{6})(?:[.,]\d{1,18})?"
    rf"(?:\s?(?:{_NAME}|[+-](?:0\d|1[0-4])(?::?\d\d)?\b(?:\s{_NAME})?))?"
    rf"|(?:[A-Z][a-z]{{2}},\s)?\d\d?([-/ ])[A-Z][a-z]{{2}}\2\d{{4}}[:\s]{_CLOCK}"
    rf"(?:\s(?:{_NAME}|[+-]\d{{4}}\b))?"
    rf"|(?:[A-Z][a-z]{{2}}\s)?[A-Z][a-z]{{2}}\s[\s\d]\d\s{_CLOCK}"
    rf"(?:\s?(?:Z\b|(?:{_NAME}|[+-]\d{{4}})(?=\s\d{{4}}\b|[\]:])))?(?:\s\d{{4}}\b)?"
    r"|[IWEF](?:\d{4}){1,2}\s\d\d:\d\d:\d\d\.\d{1,9}(?=[\s\])]))"
    r"|(?:\A|(?<=\A[\[(]))1\d{9}(?:\.\d{1,9}|\d{3})?(?=[\s\])]))"
)
_STAMPS = re.compile(_STAMP, re.ASCII)
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
_FAR = timezone(timedelta(hours=14))  # tells apart the stamps that name no zone
_UNITS = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (1e20, 1_000_000_000))


def instant(value: Any, near: float | None = None, zone: tzinfo | None = None) -> float | None:
    """Return the instant `value` states, or None when it states none.

    A text is one of these, or a decimal number:

    - ISO 8601 (RFC 3339 and its common spellings: space or T, dot or comma before the fraction,
      nanoseconds, `Z`, `UTC`, `+02:00`, `+0200`, `20261102T080116Z`; a date alone is its
      midnight); also with slashes, as Go's logger and nginx write it: `2026/11/02 08:01:16`, and as
      Go's times print: `2026-11-02 08:01:16.25 +0000 UTC m=+0.5`
    - the common log format of web servers: `02/Nov/2026:08:01:16 +0000`; Python's own ones write it
      with a blank and without a zone
    - RFC 3164, as syslog writes it: `Nov  2 08:01:16`. It has no year: that is the latest one in
      which it lies at most a day after `near`, in epoch seconds; without `near` it is no instant
    - the same with weekday and year, as C's asctime() writes it: `Mon Nov  2 08:01:16 2026`, and
      with a zone before the year, as `date` and Java do
    - RFC 5322, as mail and HTTP write it: `Mon, 02 Nov 2026 08:01:16 +0000`, or `GMT`; without
      weekday or zone as Redis and log4j do, `02-Nov-2026 08:01:16` as PHP and Tomcat
    - klog, as Kubernetes writes it: `I1102 08:01:16.250000`, its year as that of RFC 3164

    A zone's name is one that `zone` itself has then, else one of a closed table; one that means
    several (IST, CST, BST, ...) makes no instant without `zone`. No zone means `zone`, or UTC.
    A leap second, `:60`, is the second after `:59`. Fractions are rounded to microseconds.
    Numbers are epoch seconds; 1e11 and more can only be milliseconds, 1e14 microseconds, 1e17
    nanoseconds. Numbers below 1e8 (March 1973), so also 0 and negative ones, and anything else are
    no instants.
    """
    if isinstance(value, str):
        # Neighbouring lines share their second, so that only the fraction is read anew.
        base = _SECONDS[value[:20]]
        digits = value[20:]
        if base is not None and len(digits) == _MICROSECONDS and digits.isdecimal():
            at = base + int(digits) / 1_000_000
            return at if zone is None else _local(at, zone)
        return _of_text(value, near, zone)
    number = as_number(value)
    return None if number is None else _of_number(number)


def _local(at: float, zone: tzinfo) -> float:
    """Return the instant at which a clock in `zone` shows what one in UTC does at `at`."""
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=zone).timestamp()


def stamp_in(text: str, near: float, zone: tzinfo | None = None) -> tuple[float | None, bool]:
    """Return the instant of the last stamp in `text`, a logger's, that can be read.

    And whether there is none although something looks like one. `near`, `zone` as in `instant`.
    The last is the nearest to the message: before it may stand another logger's, or what a stranger
    calls himself in an access line.
    """
    if plain := _PLAIN_STAMP.match(text):  # nearly every logger's
        at = _PLAIN_SECONDS[plain[1]]
        if at is not None:
            return at if zone is None else _local(at, zone), False
    found = (instant(stamp[0], near, zone) for stamp in _STAMPS.finditer(text))
    read = [at for at in found if at is not None]
    return (read[-1], False) if read else (None, _LIKE_A_STAMP.search(text) is not None)


def stamps_in(text: str, near: float, zone: tzinfo | None = None) -> list[tuple[float, bool]]:
    """Return the instants of the stamps in `text`, each with whether it states a zone."""
    found = ((instant(stamp[0], near, zone), stamp[0]) for stamp in _STAMPS.finditer(text))
    return [(at, instant(one, near, _FAR) == at) for at, one in found if at is not None]


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
        base = _seconds(text[:19]) if self._form.fullmatch(text) else None
        self[text] = base
        return base


_SECONDS = _Seconds(re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.", re.ASCII))
_PLAIN_SECONDS = _Seconds(re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII))
# A line's one stamp at its beginning, with neither fraction nor zone.
_PLAIN_STAMP = re.compile(
    rf"(\d{{4}}-\d\d-\d\d [\d:]{{8}})(?![.,]|\s?(?:{_NAME}|[+-]\d))\D*\Z", re.ASCII
)


def _of_text(text: str, near: float | None, zone: tzinfo | None) -> float | None:
    text = text.strip()
    found = _ISO.fullmatch(text)
    if found is not None:
        return _at(found, found["day"].replace("/", "-"), zone)
    for form in _NAMED:
        if (found := form.fullmatch(text)) is not None:
            return _of_named(found, near, zone)
    number = as_number(text)
    return None if number is None else _of_number(number)


def _of_named(found: re.Match[str], near: float | None, zone: tzinfo | None) -> float | None:
    month = _MONTHS.get(found["month"])
    if month is None or not (found["year"] or near):
        return None
    day = f"-{month:02}-{int(found['day']):02}"
    if found["year"]:
        return _at(found, found["year"] + day, zone)
    latest = (near or 0.0) + _DAY
    year = datetime.fromtimestamp(latest, UTC).year
    instants = (_at(found, f"{year - back}{day}", zone) for back in range(_LEAP_YEARS))
    return next((at for at in instants if at is not None and at <= latest), None)


def _at(found: re.Match[str], day: str, zone: tzinfo | None) -> float | None:
    clock = found["clock"] or "00:00"
    leap = len(clock) > len("08:01") and clock.endswith("60")
    clock = f"{clock[:-2]}59" if leap else clock
    base = _seconds(f"{day}T{clock}", found["zone"] or "", zone)
    return None if base is None else base + leap + _microseconds(found["fraction"] or "") / 1e6


def _microseconds(fraction: str) -> int:
    """Return the digits behind the dot as whole microseconds, a half rounded up.

    A float of today's instants cannot hold more, and the decoder of `sidecar.parse.asked` does
    the same.
    """
    return int(fraction[:6].ljust(6, "0")) + (fraction[6:7] >= "5")


def _seconds(iso: str, named: str = "", zone: tzinfo | None = None) -> float | None:
    """Return the instant at which a clock in the zone `named`, else in `zone`, shows `iso`."""
    try:
        moment = datetime.fromisoformat(iso + named if named[:1] in ("+", "-") else iso)
        aware = moment if moment.tzinfo else _placed(moment, named.upper(), zone)
        seconds = -1.0 if aware is None else aware.timestamp()
    except (ValueError, OverflowError):  # the 30th of February, hour 25, year 0, second 61
        return None
    return seconds if seconds >= 0 else None  # no log was written before 1970


def _placed(moment: datetime, named: str, zone: tzinfo | None) -> datetime | None:
    """Return a clock's `moment` in the zone of that name; None where it has none, or several."""
    if not named:
        return moment.replace(tzinfo=zone or UTC)
    for fold in (0, 1) if zone else ():  # the hour that comes twice a year has both names
        local = moment.replace(tzinfo=zone, fold=fold)
        if local.tzname() == named:
            return local
    known = _ZONES.get(named)
    return None if known is None else moment.replace(tzinfo=known)


def _of_number(number: float) -> float | None:
    if number < _TOO_SMALL:
        return None
    return next((number / unit for bound, unit in _UNITS if number < bound), None)


def is_bad_instant(value: Any, near: float | None = None) -> bool:
    """Return whether a field holds something, and no instant; `near` as in `instant`."""
    return not is_missing(value) and instant(value, near) is None


# Where most hosts are; of each offset those that are known best come first.
_PLACES = (
    "Europe/London", "Europe/Berlin", "Europe/Paris", "Europe/Athens", "Europe/Istanbul",
    "Europe/Moscow", "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles",
    "America/Toronto", "America/Mexico_City", "America/Phoenix", "America/Bogota",
    "America/Halifax", "America/Sao_Paulo", "America/Argentina/Buenos_Aires", "America/St_Johns",
    "America/Anchorage", "Pacific/Honolulu", "Africa/Lagos", "Africa/Johannesburg", "Africa/Cairo",
    "Africa/Nairobi",
    "Asia/Dubai", "Asia/Tehran", "Asia/Karachi", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Dhaka",
    "Asia/Yangon", "Asia/Bangkok", "Asia/Shanghai", "Asia/Singapore", "Asia/Tokyo", "Asia/Seoul",
    "Australia/Perth", "Australia/Eucla", "Australia/Adelaide", "Australia/Brisbane",
    "Australia/Sydney", "Pacific/Auckland", "Pacific/Chatham",
)  # fmt: skip
_MOST_NAMED = 3
QUARTER = 900.0  # seconds; every zone is a multiple of it from UTC
_MOST_QUARTERS = 56  # no zone is further from UTC than 14 hours


def offset_of(zone: str, now: float) -> float:
    """Return by how many seconds a zone, if empty UTC, is ahead of UTC at `now`."""
    at = datetime.fromtimestamp(now, ZoneInfo(zone) if zone else UTC)
    return (at.utcoffset() or timedelta()).total_seconds()


def quarters_off(ahead: float, near: float, now: float, zone: str = "") -> int | None:
    """Return by how many quarter hours a clock is ahead that is `ahead` seconds, give or take
    `near`, of one in `zone`; None where that is no matter of time zones.

    Odd quarters are one only where a place has its clocks so (Nepal's, the Chatham Islands').
    """
    quarters = round(ahead / QUARTER)
    if abs(ahead - quarters * QUARTER) > near or abs(quarters) > _MOST_QUARTERS:
        return None
    known = quarters % 2 == 0 or _named(now, offset_of(zone, now) + quarters * QUARTER)
    return quarters if known else None


def is_in_use(now: float, offset: float) -> bool:
    """Return whether clocks somewhere are so many seconds ahead of UTC at `now`."""
    full = offset % 3600 == 0 and -12 * 3600 <= offset <= 14 * 3600
    return full or bool(_named(now, offset))


def _named(now: float, offset: float) -> list[str]:
    return _places_by_offset(int(now // QUARTER)).get(offset, [])[:_MOST_NAMED]


@lru_cache(maxsize=4)
def _places_by_offset(quarter: int) -> dict[float, list[str]]:
    """Return the places by how far ahead they are from a quarter hour on: no zone changes in it."""
    found: dict[float, list[str]] = {}
    for zone in _PLACES:
        found.setdefault(offset_of(zone, quarter * QUARTER), []).append(zone)
    return found


def zones_for(now: float, offset: float) -> list[str]:
    """Return names of zones that are so many seconds ahead of UTC at `now`, at most three."""
    named = _named(now, offset)
    hours = round(offset / 3600)
    return named or [f"Etc/GMT{-hours:+}" if offset % 3600 == 0 else "one of that offset"]
