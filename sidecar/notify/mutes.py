"""Mutes: silences, inhibition and time intervals, and which of them holds an alert back now."""

import re
from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import chain
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec

from sidecar.matchers import Matcher, all_match, parse_matcher
from sidecar.notify.group import Group, GroupKind, Groups, match_routes
from sidecar.notify.member import Ident, Member
from sidecar.notify.model import Reason, Route
from sidecar.rows import Delta, Gone, SilenceRow
from sidecar.rules.alert import Alert, AlertState, Transition, TransitionKind
from sidecar.syntax.faults import Wrong, did_you_mean
from sidecar.syntax.table import Reading, Schema, Table, Value, key, table
from sidecar.syntax.tree import ScalarKind
from sidecar.syntax.values import Label, LabelMatchers, Named, Re2, Text, older_matchers, string

# For so long the list still has a silence that is over, as Alertmanager's does.
KEEP_SECONDS = 5 * 86_400.0


@table
class InhibitRule(Table):
    """While an alert of the source fires, those of the target that equal it are held back."""

    source_matchers: LabelMatchers = key("Which alerts hold others back.", default=())
    target_matchers: LabelMatchers = key("Which alerts are held back.", default=())
    source_match: dict[str, Text] = key("An older way to write the first.", default={})
    source_match_re: dict[str, Re2] = key("The same with RE2 patterns.", default={})
    target_match: dict[str, Text] = key("An older way to write the second.", default={})
    target_match_re: dict[str, Re2] = key("The same with RE2 patterns.", default={})
    equal: tuple[Label, ...] = key("Labels that both have to have the same of.", default=())

    def check(self, reading: Reading) -> "InhibitRule":
        del reading
        source = older_matchers(self.source_match, self.source_match_re)
        target = older_matchers(self.target_match, self.target_match_re)
        return replace(
            self,
            source_matchers=(*self.source_matchers, *source),
            target_matchers=(*self.target_matchers, *target),
            source_match={}, source_match_re={}, target_match={}, target_match_re={},
        )  # fmt: skip

    def same(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(labels.get(name, "") for name in self.equal)


@dataclass(frozen=True, slots=True)
class Mute:
    """Why an alert is held back, and in words by what."""

    reason: Reason
    by: str


class Silence:
    """A row of `silences`, its matchers parsed. Without matchers it is about everything."""

    def __init__(self, row: SilenceRow) -> None:
        self.row = row
        self.matchers = [parse_matcher(text) for text in msgspec.json.decode(row.matchers)]

    def active(self, now: float) -> bool:
        return self.row.starts_at <= now < self.row.ends_at

    def takes(self, labels: Mapping[str, str]) -> bool:
        return _fits(self.matchers, labels)


def silence_row(
    matchers: Sequence[Matcher],
    starts_at: float,
    ends_at: float,
    *,
    by: str,
    comment: str,
    now: float,
) -> SilenceRow:
    """Return a new silence; its id is the same for the same words at the same instant."""
    texts = [str(matcher) for matcher in matchers]
    said = msgspec.json.encode([texts, starts_at, ends_at, by, comment, now])
    return SilenceRow(
        id=blake2b(said, digest_size=4).hexdigest(),
        matchers=msgspec.json.encode(texts).decode(),
        starts_at=starts_at,
        ends_at=ends_at,
        created_by=by,
        comment=comment,
        created=now,
    )


@dataclass
class _Sources:
    """The alerts that fire and are the source of an inhibit rule, by what must be equal."""

    rule: InhibitRule
    firing: dict[tuple[str, ...], dict[Ident, bool]] = field(default_factory=dict)

    def holds_back(self, ident: Ident, labels: Mapping[str, str]) -> Ident | None:
        """Return an alert that holds this one back.

        What is on both sides of the rule is held back by none that is so too: not by itself.
        """
        if not _fits(self.rule.target_matchers, labels):
            return None
        both = _fits(self.rule.source_matchers, labels)
        found = self.firing.get(self.rule.same(labels), {})
        return next(
            (s for s, on_both in found.items() if s != ident and not (both and on_both)), None
        )


class Mutes:
    """Answers whether an alert is held back; remembers silences and what fires.

    `changed`: something may hold back less than before, so what is held back is to be looked at.
    """

    def __init__(
        self,
        rules: Sequence[InhibitRule] = (),
        intervals: "Mapping[str, TimeInterval] | None" = None,
    ) -> None:
        self._sources = [_Sources(rule) for rule in rules]
        self._labels: dict[Ident, Mapping[str, str]] = {}
        self._intervals = intervals or {}
        self._silences: dict[str, Silence] = {}
        self._dirty: dict[str, None] = {}
        self.changed = False

    def restore(self, rows: Iterable[SilenceRow], alerts: Iterable[Alert]) -> None:
        """Go on from stored silences and the alerts that are open."""
        self._silences = {row.id: Silence(row) for row in rows}
        for alert in alerts if self._sources else ():
            if alert.state is AlertState.FIRING:
                self.fires((alert.name, alert.key), alert.labels)

    def note(self, transition: Transition) -> None:
        """Take in that an alert fires, is another one by its labels, or has ended."""
        alert = transition.alert
        ended = (TransitionKind.RESOLVED, TransitionKind.EXPIRED, TransitionKind.CLOSED)
        over = transition.kind in ended
        if self._sources and transition.kind is not TransitionKind.GREW:
            self.fires((alert.name, alert.key), None if over else alert.labels)

    def fires(self, ident: Ident, labels: Mapping[str, str] | None) -> None:
        """Take it that an alert fires with these labels; None: that it does not."""
        before = self._labels.pop(ident, None)
        if labels is not None and self._sources:
            self._labels[ident] = labels
        for sources in self._sources:
            rule = sources.rule
            if before is not None and _fits(rule.source_matchers, before):
                found = sources.firing[rule.same(before)]
                del found[ident]
                if not found:
                    del sources.firing[rule.same(before)]
                self.changed = True
            if labels is not None and _fits(rule.source_matchers, labels):
                found = sources.firing.setdefault(rule.same(labels), {})
                found[ident] = _fits(rule.target_matchers, labels)

    def of(self, route: Route, member: Member, now: float) -> Mute | None:
        """Return what holds back at wall clock `now` what a route tells, None if nothing does."""
        labels = member.alert.labels
        for sources in self._sources:
            if source := sources.holds_back(member.ident, labels):
                return Mute(Reason.INHIBITED, " ".join((source[0], *source[1])))
        if name := self._time_mute(route, now):
            return Mute(Reason.TIME_MUTED, name)
        for silence in self._silences.values():
            if silence.active(now) and silence.takes(labels):
                return Mute(Reason.SILENCED, silence.row.id)
        return None

    def _time_mute(self, route: Route, now: float) -> str:
        """Return the interval that mutes a route now, or those outside of which it is."""
        for name in route.mute_time_intervals:
            if self._intervals[name].holds(now):
                return name
        active = route.active_time_intervals
        if not active or any(self._intervals[name].holds(now) for name in active):
            return ""
        return f"outside of {', '.join(active)}"

    def next_change(self, now: float) -> float:
        """Return when, after `now`, a silence ends or an interval begins or ends."""
        ends = [s.row.ends_at for s in self._silences.values() if s.row.ends_at > now]
        return min([*ends, next_change([*self._intervals.values()], now)])

    def add(self, row: SilenceRow) -> None:
        self._silences[row.id] = Silence(row)
        self._dirty[row.id] = None

    def expire(self, id_: str, now: float) -> bool:
        """End a silence now; return whether there was one that was not over."""
        silence = self._silences.get(id_)
        if silence is None or silence.row.ends_at <= now:
            return False
        starts_at = min(silence.row.starts_at, now)
        row = msgspec.structs.replace(silence.row, starts_at=starts_at, ends_at=now)
        self._silences[id_] = Silence(row)
        self._dirty[id_] = None
        self.changed = True
        return True

    def set_back(self, now: float) -> None:
        """Let no silence have been made after `now`; the clock was set back. Its end stays."""
        for id_, silence in self._silences.items():
            row = silence.row
            if row.created > now:
                begun = row.starts_at <= row.created
                starts_at = min(row.starts_at, now) if begun else row.starts_at
                row = msgspec.structs.replace(row, created=now, starts_at=starts_at)
                self._silences[id_], self._dirty[id_] = Silence(row), None

    def forget(self, now: float) -> None:
        """Drop the silences that have been over for KEEP_SECONDS."""
        for id_, silence in list(self._silences.items()):
            if silence.row.ends_at + KEEP_SECONDS <= now:
                del self._silences[id_]
                self._dirty[id_] = None

    def silences(self) -> list[Silence]:
        """Return all silences, the newest first."""
        return sorted(self._silences.values(), key=lambda s: s.row.created, reverse=True)

    def drain(self) -> Delta:
        """Return the rows that changed since the last call, and what is gone."""
        delta = Delta()
        for id_ in self._dirty:
            if (silence := self._silences.get(id_)) is None:
                delta.gone.append(Gone(SilenceRow, (id_,)))
            else:
                delta.rows.append(silence.row)
        self._dirty = {}
        return delta


def route_of(group: Group, member: Member, groups: Groups, root: Route) -> Route:
    """Return the route that tells a member: of one in a digest, that of its own group.

    Where that is gone, as of what has ended, the one under `root` that tells of it now.
    """
    if group.kind is GroupKind.ROUTE:
        return group.route
    places = groups.places(member.ident)
    own = (one.route for one in places if one.audience == group.audience and one is not group)
    now = match_routes(root, member.alert.labels)
    return next(chain(own, (r for r in now if r.receiver == group.receiver), now))


def _fits(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    return all_match(matchers, lambda name: labels.get(name, ""))


# --- time intervals: Alertmanager's, with IANA zones; when they hold, and when that changes next

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
