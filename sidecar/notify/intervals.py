"""Time intervals: Alertmanager's, with IANA zones; when they hold, and when that changes next."""

import re
from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from sidecar.syntax.faults import Wrong, did_you_mean
from sidecar.syntax.table import Reading, Schema, Table, Value, key, table
from sidecar.syntax.tree import ScalarKind
from sidecar.syntax.values import Named, string

_MINUTES = 24 * 60
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
# Longer than this nothing is looked ahead: whoever asks then asks again.
_HORIZON_DAYS = 400

Range = tuple[int, int]  # both ends included


def _clock(text: str) -> int:
    """Return minutes since midnight of `09:00` up to `24:00`."""
    if not _CLOCK.fullmatch(text):
        raise Wrong(f"`{text}` is not a time of day", "write for example '09:00', up to '24:00'")
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _named(names: Sequence[str], first: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.isdecimal() and first and 1 <= int(text) <= len(names):
            return int(text)
        if text.lower() not in names:
            raise Wrong(
                f"`{text}` is not one of {names[0]} … {names[-1]}", did_you_mean(text, names)
            )
        return names.index(text.lower()) + first

    return parse


def _day_of_month(text: str) -> int:
    day = int(text) if re.fullmatch(r"-?\d{1,2}", text) else 0
    if not 1 <= abs(day) <= 31:  # noqa: PLR2004 - days of a month
        raise Wrong(f"`{text}` is not a day of a month", "1 to 31, or -1 for the last to -31")
    return day


def _year(text: str) -> int:
    if not re.fullmatch(r"\d{4}", text):
        raise Wrong(f"`{text}` is not a year")
    return int(text)


def _range(parse: Callable[[str], int]) -> Callable[[str], Range]:
    def read(text: str) -> Range:
        begin, colon, end = (part.strip() for part in text.partition(":"))
        found = (parse(begin), parse(end if colon else begin))
        if found[0] > found[1] and found[0] * found[1] > 0:
            raise Wrong(f"`{text}` ends before it begins")
        if found[0] < 0 < found[1]:
            raise Wrong(f"`{text}` ends before it begins", "count both ends from the same side")
        return found

    return read


Clock = Annotated[
    int, Value(_clock, "a time of day", string(rf"^(?:{_CLOCK.pattern})$"), stand_in=-1)
]
# A number as well as a text, as Alertmanager takes it.
_ENTRY: Schema = {"type": ["string", "integer"]}
Weekdays = Annotated[
    Range, Value(_range(_named(_DAYS, 0)), "days of a week", _ENTRY, ScalarKind.FLAG)
]
Months = Annotated[Range, Value(_range(_named(_MONTHS, 1)), "months", _ENTRY, ScalarKind.FLAG)]
DaysOfMonth = Annotated[
    Range, Value(_range(_day_of_month), "days of a month", _ENTRY, ScalarKind.FLAG)
]
Years = Annotated[Range, Value(_range(_year), "years", _ENTRY, ScalarKind.FLAG)]


def _zone(text: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(text)
    except (KeyError, OSError, ValueError) as wrong:  # as zoneinfo raises them
        raise Wrong(f"`{text}` is not a time zone", "write for example Europe/Berlin") from wrong


@table
class TimeRange(Table):
    """A part of each day, its end not included."""

    start_time: Clock = key("From when on, `'09:00'`.")
    end_time: Clock = key("Until when, up to `'24:00'`.")

    def check(self, reading: Reading) -> "TimeRange":
        if self.start_time >= self.end_time >= 0:
            message = "the end is not after the start"
            hint = "for a night write two entries, such as 22:00 to 24:00 and 00:00 to 06:00"
            reading.error(self, "end_time", message, hint)
        return self


@table
class TimeSpan(Table):
    """Holds where all that is written holds; of each key any one entry is enough."""

    times: tuple[TimeRange, ...] = key("Parts of a day.", default=())
    weekdays: tuple[Weekdays, ...] = key("Such as `monday:friday`.", default=())
    days_of_month: tuple[DaysOfMonth, ...] = key("Such as `1:5`, `-3:-1`.", default=())
    months: tuple[Months, ...] = key("Such as `january:march`, `12`.", default=())
    years: tuple[Years, ...] = key("Such as `2026:2028`.", default=())
    location: Annotated[ZoneInfo | None, Value(_zone, "a time zone", string(minLength=1))] = key(
        "The IANA zone of all of these; UTC if not written.", default=None
    )

    def holds(self, at: float) -> bool:
        """Return whether it holds at `at`, seconds since the epoch."""
        local = self._local(at)
        minute, last = local.hour * 60 + local.minute, monthrange(local.year, local.month)[1]
        times = [(one.start_time, one.end_time - 1) for one in self.times]
        days = [_in_month(one, last) for one in self.days_of_month]
        return (
            _among(minute, times)
            and _among(local.isoweekday() % 7, self.weekdays)
            and (not days or _among(local.day, filter(None, days), empty=False))
            and _among(local.month, self.months)
            and _among(local.year, self.years)
        )

    def edges(self, day: int, since: float) -> Iterator[float]:
        """Yield instants of the `day`-th day from `since` on, among them all where it may turn."""
        local = self._local(since).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        local = (local.replace(tzinfo=None) + timedelta(days=day)).replace(tzinfo=local.tzinfo)
        minutes = {0, *(one.start_time for one in self.times), *(t.end_time for t in self.times)}
        tomorrow = local.replace(tzinfo=None) + timedelta(days=1)
        if local.utcoffset() != tomorrow.replace(tzinfo=local.tzinfo).utcoffset():
            begin = local.timestamp()  # the clocks change: each quarter of an hour may be it
            yield from (begin + 900.0 * step for step in range(4 * 26))
        for minute in minutes - {_MINUTES}:
            yield local.replace(hour=minute // 60, minute=minute % 60).timestamp()

    def _local(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, self.location or UTC)


def _among(value: int, ranges: Iterable[Range], *, empty: bool = True) -> bool:
    found = list(ranges)
    return any(begin <= value <= end for begin, end in found) if found else empty


def _in_month(days: Range, last: int) -> Range | None:
    """Return days of a month of `last` days counted from its beginning, None if it has none."""
    begin, end = (day + last + 1 if day < 0 else day for day in days)
    return (max(begin, 1), min(end, last)) if begin <= last else None


@table
class TimeInterval(Table):
    """A name for times; it holds where any of its spans does."""

    name: Named = key("The name by which routes ask for it.")
    time_intervals: tuple[TimeSpan, ...] = key("Any one of these is enough.")

    def holds(self, at: float) -> bool:
        return any(span.holds(at) for span in self.time_intervals)


def next_change(intervals: Sequence[TimeInterval], at: float) -> float:
    """Return when one of the intervals begins or ends next after `at`, or when to ask again."""
    now = [one.holds(at) for one in intervals]
    spans = [span for one in intervals for span in one.time_intervals]
    for day in range(_HORIZON_DAYS):
        edges = sorted({edge for span in spans for edge in span.edges(day, at) if edge > at})
        for edge in edges:
            if [one.holds(edge) for one in intervals] != now:
                return edge
    return at + _HORIZON_DAYS * 86_400.0
