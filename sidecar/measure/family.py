"""One metric with all its series, their number capped so that no log can fill the memory."""

from collections.abc import Iterable, Sequence
from itertools import islice

from sidecar.matchers import Matcher
from sidecar.measure.metric import OVERFLOW, Metric, MetricType
from sidecar.measure.series import Gauge, Level, Series, decode_labels, encode_labels, kind_of
from sidecar.parse.event import STANDARD_FIELDS, Event, Triple
from sidecar.rows import SeriesRow

# A longer label value is no name of anything; it would be kept, stored and scraped for ever.
MAX_LABEL_LENGTH = 256


class Family:
    """A metric's series, by label values in the order of `metric.labels`.

    `changed` collects series with news since the last drain and is shared by all families.
    `overflow` counts samples that went to `__other__`, `bad` values that were no sample.
    """

    def __init__(self, metric: Metric, changed: list[Series]) -> None:
        self.metric = metric
        self.overflow = 0
        self.bad = 0
        self._changed = changed
        self._series: dict[tuple[str, ...], Series] = {}
        self._others = (OVERFLOW,) * len(metric.labels)
        self._fields = tuple(metric.labels.values())
        self._of_triple = [m for m in metric.match if m.name in STANDARD_FIELDS]
        self._of_event = [m for m in metric.match if m.name not in STANDARD_FIELDS]

    @property
    def settled(self) -> bool:
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
        """Return the series of a `settled` metric for a triple that `matches`."""
        fields = dict(zip(STANDARD_FIELDS, triple, strict=True))
        return self.series(tuple(fields[name] for name in self._fields), now)

    def series(self, values: tuple[str, ...], now: float) -> Series:
        """Return the series with these label values, made if there is room, else `__other__`."""
        found = self._series.get(values)
        return found if found is not None else self._admit(values, now)

    def add(self, event: Event, now: float) -> None:
        """Take one event whose triple `matches`, if its other fields match as well."""
        if not all(matcher.matches(event.text(matcher.name)) for matcher in self._of_event):
            return
        number = 1 if self.metric.value is None else event.number(self.metric.value)
        if number is None:
            self.bad += 1
            return
        series = self.series(tuple(_label(event, name) for name in self._fields), now)
        self._take(series, number, event.at)

    def count(self, series: Series, events: int) -> None:
        """Count so many events in a series of a `settled` metric."""
        self._take(series, events, 0.0, events)

    def move(self, state: str, by: int, now: float) -> None:
        """Take a change in the number of things in `state`; by 0 the series comes to be at 0."""
        series = self.series((state,), now)
        self._take(series, by, 0.0, 0)
        self.touch(series)

    def touch(self, series: Series) -> None:
        """Note that the series changed and has to be stored and shown."""
        if not series.dirty:
            series.dirty = True
            self._changed.append(series)

    def precreate(self, label_sets: Iterable[tuple[str, ...]], now: float) -> None:
        """Let these series exist at 0; half of the cap stays free for what really comes.

        Not a gauge's: 0 would be a claim about a thing nobody has measured yet.
        """
        if self.metric.type is MetricType.GAUGE:
            return
        room = max(1, self.metric.limit // 2)
        for values in islice(label_sets, self.metric.limit):
            if values not in self._series and len(self._series) < room:
                self.touch(self.series(values, now))

    def restore(self, row: SeriesRow) -> None:
        """Take a stored series over, unless another definition of the metric stored it."""
        values = decode_labels(self.metric, row.labels)
        if values is None:
            return
        series = self._make(values, row.created)
        if isinstance(series, Gauge):
            series.created = row.created
        if series.load(row.value):
            self._series[values] = series
        if isinstance(series, Level):
            self.touch(series)

    def _take(self, series: Series, number: float, at: float, events: int = 1) -> None:
        if not series.take(number, at):
            self.bad += events
            return
        self.touch(series)
        if series.other:
            self.overflow += events

    def _admit(self, values: tuple[str, ...], now: float) -> Series:
        values = tuple(map(_clean, values))
        used = len(self._series) - (self._others in self._series)
        if values not in self._series and (
            used >= self.metric.limit or any(len(v) > MAX_LABEL_LENGTH for v in values)
        ):
            values = self._others
        if values not in self._series:
            self._series[values] = self._make(values, now)
        return self._series[values]

    def _make(self, values: tuple[str, ...], created: float) -> Series:
        other = bool(values) and values == self._others
        return kind_of(self.metric)(
            self.metric, encode_labels(self.metric, values), created, other=other
        )


def _all_match(matchers: Sequence[Matcher], fields: dict[str, str]) -> bool:
    return all(matcher.matches(fields[matcher.name]) for matcher in matchers)


def _label(event: Event, name: str) -> str:
    """Return a label's value; the three standard fields as counted, not as logged."""
    if name in STANDARD_FIELDS:
        return event.triple[STANDARD_FIELDS.index(name)]
    return event.text(name)


def _clean(value: str) -> str:
    """Return the value without lone surrogates, which a repr can hold and UTF-8 cannot."""
    return value.encode("utf-8", "replace").decode()
