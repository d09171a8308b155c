"""Counts events in series: events and tallies in, changed series out.

A metric's series are capped, so that no log can fill the memory: at the cap the series that was
touched longest ago gives way, and what it counted goes on under `__other__`. Series that rule files
name exist at 0 before their first event, and stay: a counter that appears at 1 shows no increase to
Prometheus, and the first failure would be invisible.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import islice, product
from typing import Any

from sidecar.matchers import Matcher
from sidecar.measure.series import (
    OVERFLOW,
    RETENTION,
    Gauge,
    Level,
    Metric,
    MetricType,
    Series,
    decode_labels,
    encode_labels,
    events_metric,
    kind_of,
)
from sidecar.parse.columns import Columns
from sidecar.parse.event import LONGEST_LABEL, STANDARD_FIELDS, Event, Kind, Triple
from sidecar.redact import LabelsOf, Redactor
from sidecar.rows import Gone, SeriesRow

_PROVIDER, _EVENT_TYPE, _STATUS = STANDARD_FIELDS


def named_triples(matchers: Sequence[Matcher], providers: Sequence[str]) -> Iterator[Triple]:
    """Yield every (provider, event type, status) that one match list names, or nothing."""
    return product(
        named_values(matchers, _PROVIDER, providers),
        named_values(matchers, _EVENT_TYPE),
        named_values(matchers, _STATUS),
    )


def named_label_sets(metric: Metric, providers: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the label values that a metric's own `values` or match list names.

    A metric without labels has the one set.
    """
    axes = [
        metric.values.get(label)
        or named_values(metric.match, name, providers if name == _PROVIDER else ())
        for label, name in metric.labels.items()
    ]
    return product(*axes)


def named_values(
    matchers: Sequence[Matcher], name: str, default: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the texts that the matchers on `name` list one by one and all let through.

    Without such a list, `default` takes its place.
    """
    mine = [matcher for matcher in matchers if matcher.name == name]
    listed = next((values for m in mine if (values := m.named_values())), tuple(default))
    return tuple(v for v in dict.fromkeys(listed) if v and all(m.matches(v) for m in mine))


class Family:
    """A metric's series, by label values in the order of `metric.labels`.

    `changed` collects series with news since the last drain, `gone` the rows of those that are no
    more; both are shared by all families. `overflow` counts samples that went to `__other__`, `bad`
    values that were no sample.
    """

    def __init__(
        self, metric: Metric, changed: list[Series], gone: list[Gone], labels: LabelsOf
    ) -> None:
        self.metric = metric
        self.overflow = 0
        self.bad = 0
        self._changed = changed
        self._gone = gone
        self._series: dict[tuple[str, ...], Series] = {}
        self._reserved: set[tuple[str, ...]] = set()
        # (touched, label values): none was touched earlier. One is put back when it is met.
        self._idle: list[tuple[float, tuple[str, ...]]] = []
        self._is_full = False  # of series that changed in this step
        self._others = (OVERFLOW,) * len(metric.labels)
        self._fields = tuple(metric.labels.values())
        self._labels = tuple(map(labels, self._fields))
        self._of_triple = [m for m in metric.match if m.name in STANDARD_FIELDS]
        self._of_event = [m for m in metric.match if m.name not in STANDARD_FIELDS]

    @property
    def by_triple(self) -> bool:
        """Whether an event's three standard fields alone say what to do with it."""
        counts = self.metric.type is MetricType.COUNTER and self.metric.value is None
        standard = all(name in STANDARD_FIELDS for name in self._fields)
        return counts and standard and not self._of_event

    def matches(self, triple: Triple) -> bool:
        """Return whether events of this triple can belong to the metric at all."""
        if self.metric.states_of is not None:
            return False
        fields = dict(zip(STANDARD_FIELDS, triple, strict=True))
        return _all_match(self._of_triple, fields)

    def series_of(self, triple: Triple, now: float) -> Series:
        """Return the series of a `by_triple` metric for a triple that `matches`."""
        fields = dict(zip(STANDARD_FIELDS, triple, strict=True))
        return self.series(tuple(fields[name] for name in self._fields), now)

    def series(self, values: tuple[str, ...], now: float) -> Series:
        """Return the series of these texts, made if there is room, else `__other__`.

        Nearly all are label values as they are, so that what redaction makes of them is asked last.
        """
        found = self._series.get(values)
        return found if found is not None else self._admit(values, now)

    @property
    def needs(self) -> str | None:
        """A field without which no event matches; None: there is no such one."""
        plain = (m.name for m in self._of_event if m.name.isidentifier() and not m.matches(""))
        return next(plain, None)

    @property
    def looks_at(self) -> tuple[str, ...]:
        """The fields of an event that it looks at, without the three standard ones."""
        names = [*(m.name for m in self._of_event), *self._fields, self.metric.value or ""]
        return tuple(sorted({*names}.difference(("", *STANDARD_FIELDS))))

    def add_all(self, kind: Kind, columns: Columns, now: float) -> None:
        """Count the events of a kind whose triple `matches`."""
        values = {name: columns.values(kind, name) for name in self.looks_at}
        there = {name: column for name, column in values.items() if column is not None}
        if not all(one.name in there or one.matches("") for one in self._of_event):
            return  # as no event of the kind has what is asked for
        alike = self.metric.type is MetricType.COUNTER and self.metric.value is None
        found: dict[object, list[int]] = {}
        if alike and not there:
            found[()] = list(range(len(kind.numbers)))
        elif alike:
            for n, row in enumerate(zip(*map(_told_apart, there.values()), strict=True)):
                found.setdefault(row, []).append(n)
        else:
            found = {n: [n] for n in range(len(kind.numbers))}
        for some in found.values():
            fields = {name: column[some[0]] for name, column in there.items()}
            event = Event(*kind.triple, columns.times[kind.numbers[some[0]]], fields)
            self.add(event, now, len(some))

    def add(self, event: Event, now: float, times: int = 1) -> None:
        """Count an event whose triple `matches`, and so many alike, if the other fields match too.

        Of a metric with a value there is but one.
        """
        if not all(matcher.matches(event.text(matcher.name)) for matcher in self._of_event):
            return
        number = times if self.metric.value is None else event.number(self.metric.value)
        if number is None:
            self.bad += 1
            return
        series = self.series(tuple(map(event.text, self._fields)), now)
        self._add_sample(series, number, event.at, times)

    def count(self, series: Series, events: int) -> None:
        """Count so many events in a series of a `by_triple` metric."""
        self._add_sample(series, events, 0.0, events)

    def move(self, state: str, by: int, now: float) -> None:
        """Count a change in the number of things in `state`; by 0 the series comes to be at 0."""
        series = self.series((state,), now)
        self._add_sample(series, by, 0.0, 0)
        self.touch(series)

    def touch(self, series: Series) -> None:
        """Note that the series changed and has to be stored and shown."""
        if not series.dirty:
            series.dirty = True
            self._changed.append(series)

    def precreate(self, label_sets: Iterable[tuple[str, ...]], now: float) -> None:
        """Let these series exist at 0 and never give way; half of the cap is for what else comes.

        Not a gauge's: 0 would be a claim about a thing nobody has measured yet.
        """
        if self.metric.type is MetricType.GAUGE:
            return
        room = max(1, self.metric.limit // 2)
        for values in islice(label_sets, self.metric.limit):
            if len(self._reserved) >= room:
                return
            if values not in self._series:
                self.touch(self.series(values, now))
            self._reserved.add(self._redacted(values))

    def restore(self, row: SeriesRow) -> None:
        """Go on from a stored series, unless another definition of the metric stored it."""
        values = decode_labels(self.metric, row.labels)
        if values is None:
            return
        kept = self._redacted(values)  # an earlier version kept secrets in labels
        series = self._make(kept, row.created)
        if isinstance(series, Gauge):
            series.created = row.created
        if series.load(row.value):
            series.touched = row.touched or row.created
            self._enter(kept, series)
        if kept != values:
            self._gone.append(Gone(SeriesRow, (row.name, row.labels)))
            self.touch(series)
        if isinstance(series, Level):
            self.touch(series)

    def _add_sample(self, series: Series, number: float, at: float, events: int = 1) -> None:
        if not series.add_sample(number, at):
            self.bad += events
            return
        self.touch(series)
        if series.other:
            self.overflow += events

    def _admit(self, values: tuple[str, ...], now: float) -> Series:
        values = self._redacted(values)
        if values in self._series:
            return self._series[values]
        used = len(self._series) - (self._others in self._series)
        has_room = used < self.metric.limit or self._give_way(now)
        if not has_room or any(len(v) > LONGEST_LABEL for v in values):
            return self._other(now)
        return self._enter(values, self._make(values, now))

    def _other(self, now: float) -> Series:
        found = self._series.get(self._others)
        return found or self._enter(self._others, self._make(self._others, now))

    def _enter(self, values: tuple[str, ...], series: Series) -> Series:
        self._series[values] = series
        if not series.other:
            heappush(self._idle, (series.touched, values))
        return series

    def _give_way(self, now: float) -> bool:
        """Let the series go that was touched longest ago; False where all changed in this step."""
        if self._is_full:
            return False
        values = self._longest_idle(now)
        self._is_full = values is None
        if values is not None:
            self.overflow += 1
            self._drop(values, now)
        return values is not None

    def _longest_idle(self, until: float) -> tuple[str, ...] | None:
        """Take out the label values that were touched longest ago, if before `until`."""
        while self._idle and self._idle[0][0] < until:
            touched, values = heappop(self._idle)
            series = self._series.get(values)
            if series is None or values in self._reserved:
                continue
            later = max(until, series.touched) if series.dirty else series.touched
            if later == touched:
                return values
            heappush(self._idle, (later, values))
        return None

    def _drop(self, values: tuple[str, ...], now: float) -> None:
        """End a series; what it has summed up goes on under `__other__`."""
        series = self._series.pop(values)
        series.gone = True
        self._gone.append(Gone(SeriesRow, (series.name, series.labels)))
        if self.metric.type is not MetricType.GAUGE:
            other = self._other(now)
            other.fold(series)
            self.touch(other)

    def settle(self, now: float, retention: float) -> None:
        """End what belongs to a step: gauges that nobody touched for so long are gone."""
        self._is_full = False
        if self.metric.type is MetricType.GAUGE and self.metric.states_of is None:
            while (values := self._longest_idle(now - retention)) is not None:
                self._drop(values, now)

    def prune(self, matchers: Sequence[Matcher], now: float) -> int:
        """End the series whose labels pass, but none that rule files name; return how many."""
        found = [
            values
            for values, series in self._series.items()
            if not series.other and values not in self._reserved and self._passes(values, matchers)
        ]
        for values in found:
            self._drop(values, now)
        return len(found)

    def _passes(self, values: tuple[str, ...], matchers: Sequence[Matcher]) -> bool:
        labels = dict(zip(self.metric.labels, values, strict=True), __name__=self.metric.name)
        return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)

    def _redacted(self, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple([known[text] for known, text in zip(self._labels, values, strict=True)])

    def _make(self, values: tuple[str, ...], created: float) -> Series:
        other = bool(values) and values == self._others
        return kind_of(self.metric)(
            self.metric, encode_labels(self.metric, values), created, other=other
        )


def _told_apart(values: Sequence[Any]) -> Sequence[Any]:
    """Return what is equal only where the values are the same: 1, 1.0 and true are not."""
    return [value if type(value) is str else (type(value), repr(value)) for value in values]


def _all_match(matchers: Sequence[Matcher], fields: dict[str, str]) -> bool:
    return all(matcher.matches(fields[matcher.name]) for matcher in matchers)


# Plans are a cache: a log with endless event types may cost time, never memory.
_MAX_PLANS = 20_000
_Counters = list[tuple[Family, Series]]
# Whether events are needed whole: yes, no, or those that hold one of these fields.
Needs = bool | tuple[str, ...]


class _Plan:
    """What one triple means: the series it counts in, and the metrics that want its events whole.

    `counters` is None until the first event, so that asking makes no series.
    """

    __slots__ = ("by_triple", "counters", "needs", "whole")

    def __init__(self, families: Sequence[Family], triple: Triple) -> None:
        mine = [family for family in families if family.matches(triple)]
        self.by_triple = [family for family in mine if family.by_triple]
        self.whole = [family for family in mine if not family.by_triple]
        needs = [family.needs for family in self.whole]
        self.needs: Needs = None in needs or tuple(filter(None, needs)) or False
        self.counters: _Counters | None = None


class Meter:
    """All series made from events, `webhook_events_total` first.

    `named`: the match lists of every rule and metric, `providers`: the provider names that rule
    and pattern files know; the series both name exist at 0 after `precreate`. `limit` caps the
    label sets of `webhook_events_total`. `labels` redacts what becomes a label. A gauge that
    nobody touches for `retention` seconds is gone. `overflow` and `bad_values` count, by metric
    name, samples and series sent to `__other__` and values that were no sample, since the start.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        *,
        named: Sequence[tuple[Matcher, ...]] = (),
        providers: Sequence[str] = (),
        limit: int = 10_000,
        labels: LabelsOf | None = None,
        retention: float = RETENTION,
    ) -> None:
        self._retention = retention
        self._changed: list[Series] = []
        self._gone: list[Gone] = []
        labels = labels or Redactor().labels
        made = [
            Family(m, self._changed, self._gone, labels) for m in (events_metric(limit), *metrics)
        ]
        self._events, self._families = made[0], made
        self._by_name = {family.metric.name: family for family in self._families}
        self._of_states: dict[str, list[Family]] = {}
        for family in self._families:
            if family.metric.states_of is not None:
                self._of_states.setdefault(family.metric.states_of, []).append(family)
        self._named = tuple(named)
        self._providers = tuple(providers)
        self._plans: dict[Triple, _Plan] = {}

    @property
    def overflow(self) -> dict[str, int]:
        return {name: family.overflow for name, family in self._by_name.items()}

    @property
    def bad_values(self) -> dict[str, int]:
        return {name: family.bad for name, family in self._by_name.items()}

    def restore(self, rows: Sequence[SeriesRow]) -> None:
        """Go on from stored series; those of metrics that are gone or redefined are passed over."""
        self._plans.clear()
        for row in rows:
            family = self._by_name.get(row.name)
            if family is not None:
                family.restore(row)

    def precreate(self, now: float) -> None:
        """Make the series that rule files name, at 0, where they do not exist yet."""
        self._plans.clear()
        for matchers in self._named:
            self._events.precreate(named_triples(matchers, self._providers), now)
        for family in self._families[1:]:
            family.precreate(named_label_sets(family.metric, self._providers), now)

    def wants(self, triple: Triple) -> Needs:
        """Return whether a metric needs this triple's events whole; cheap to ask again."""
        return self._plan(triple).needs

    def add_tally(self, triple: Triple, count: int, now: float) -> None:
        """Count `count` events of a triple that nobody wanted whole; `now` dates new series."""
        self._count(self._plan(triple), triple, count, now)

    def add_all(self, columns: Columns, now: float) -> None:
        """Count events that came whole, as `add` does each: counters once per triple."""
        for kind in columns.kinds:
            plan = self._plan(kind.triple)
            self._count(plan, kind.triple, len(kind.numbers), now)
            for family in plan.whole:
                family.add_all(kind, columns, now)

    def looks_at(self, triple: Triple) -> frozenset[str]:
        """Return the fields that metrics look at in events of `triple`, but no standard ones."""
        whole = self._plan(triple).whole
        return frozenset(name for family in whole for name in family.looks_at)

    def add(self, event: Event, now: float) -> None:
        """Count one event that came whole, in `webhook_events_total` and wherever it matches."""
        triple = event.triple
        plan = self._plan(triple)
        self._count(plan, triple, 1, now)
        for family in plan.whole:
            family.add(event, now)

    def add_states(self, moves: Mapping[tuple[str, str], int], now: float) -> None:
        """Count by how many keys each (alertname, state) grew; see `Engine.drain_state_counts`."""
        for (alert, state), by in moves.items():
            for family in self._of_states.get(alert, ()):
                family.move(state, by, now)

    def drain(self, now: float = 0.0) -> list[SeriesRow]:
        """Return the series that changed since the last drain, at wall clock `now`."""
        for series in self._changed:
            series.touched = max(series.touched, now)
        rows = [series.row() for series in self._changed if not series.gone]
        for series in self._changed:
            series.dirty = False
        self._changed.clear()
        for family in self._families:
            family.settle(now, self._retention)
        return rows

    def prune(self, matchers: Sequence[Matcher], now: float) -> int:
        """End the series whose labels, `__name__` among them, pass all matchers; return how many.

        What they have counted goes on under `__other__`; those that rule files name stay.
        """
        return sum(family.prune(matchers, now) for family in self._families)

    def drain_gone(self) -> list[Gone]:
        """Return the rows of series that are no more since the last drain."""
        gone, self._gone[:] = [*self._gone], []
        return gone

    def _plan(self, triple: Triple) -> _Plan:
        plan = self._plans.get(triple)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            plan = self._plans[triple] = _Plan(self._families, triple)
        return plan

    def _count(self, plan: _Plan, triple: Triple, count: int, now: float) -> None:
        if plan.counters is None or any(series.gone for _, series in plan.counters):
            plan.counters = [(f, f.series_of(triple, now)) for f in plan.by_triple]
        for family, series in plan.counters:
            family.count(series, count)
