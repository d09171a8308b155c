"""Series: the value behind one label set, and how it is written in a row of the state file."""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from itertools import accumulate, pairwise

import msgspec

from sidecar.measure.metric import Metric, MetricType
from sidecar.rows import SeriesRow

Number = int | float
# What a histogram's row holds: (upper bound, observations up to it) pairs, sum, count. The bounds
# are stored so that a changed rule file starts anew instead of mixing two sets of buckets.
HistogramValue = tuple[list[tuple[float, int]], float, int]
_NUMBER: msgspec.json.Decoder[Number] = msgspec.json.Decoder(Number)
_HISTOGRAM = msgspec.json.Decoder(HistogramValue)
_LABELS = msgspec.json.Decoder(dict[str, str])


class Series(ABC):
    """One label set of one metric. `other`: it stands for all label sets beyond the cap."""

    __slots__ = ("created", "dirty", "labels", "name", "other")

    def __init__(self, metric: Metric, labels: str, created: float, *, other: bool) -> None:
        self.name = metric.name
        self.labels = labels
        self.created = created
        self.other = other
        self.dirty = False

    @abstractmethod
    def take(self, number: Number, at: float) -> bool:
        """Take one sample of event time `at`; return False when it cannot be one."""

    @abstractmethod
    def load(self, value: str) -> bool:
        """Go on from a stored value; return False when another definition stored it."""

    @abstractmethod
    def encoded(self) -> str:
        """Return the value as JSON, see `SeriesRow`."""

    def row(self) -> SeriesRow:
        return SeriesRow(
            name=self.name, labels=self.labels, value=self.encoded(), created=self.created
        )


class _Number(Series):
    """A series whose value is one number."""

    __slots__ = ("value",)

    def __init__(self, metric: Metric, labels: str, created: float, *, other: bool) -> None:
        super().__init__(metric, labels, created, other=other)
        self.value: Number = 0

    def load(self, value: str) -> bool:
        found = decode_number(value)
        if found is None:
            return False
        self.value = found
        return True

    def encoded(self) -> str:
        return repr(self.value)


class Counter(_Number):
    """A sum that never falls; a whole number while all its samples are."""

    __slots__ = ()

    def take(self, number: Number, at: float) -> bool:
        del at
        total = self.value + number
        if number < 0 or total == math.inf:
            return False
        self.value = total
        return True


class Gauge(_Number):
    """The value with the greatest event time, then arrival.

    That time is kept as `created`, which a gauge has no other use for: so an old line that is
    read after a restart does not win over a newer one read before it.
    """

    __slots__ = ()

    def __init__(self, metric: Metric, labels: str, created: float, *, other: bool) -> None:
        del created
        super().__init__(metric, labels, 0.0, other=other)

    def take(self, number: Number, at: float) -> bool:
        if at >= self.created:
            self.value = number
            self.created = at
        return True


class Level(_Number):
    """How many things are in one state now; samples are changes of that number.

    A start counts the things anew, so nothing is taken from what was stored.
    """

    __slots__ = ()

    def take(self, number: Number, at: float) -> bool:
        del at
        self.value += number
        return True

    def load(self, value: str) -> bool:
        return decode_number(value) is not None


class Histogram(Series):
    """Observations counted by the first bound they do not exceed."""

    __slots__ = ("bounds", "count", "counts", "total")

    def __init__(self, metric: Metric, labels: str, created: float, *, other: bool) -> None:
        super().__init__(metric, labels, created, other=other)
        self.bounds = bounds_of(metric)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total: float = 0.0
        self.count = 0

    def take(self, number: Number, at: float) -> bool:
        del at
        total = self.total + number
        if not math.isfinite(total):
            return False
        self.counts[bisect_left(self.bounds, number)] += 1
        self.total = total
        self.count += 1
        return True

    def load(self, value: str) -> bool:
        found = decode_histogram(value, self.bounds)
        if found is None:
            return False
        pairs, self.total, self.count = found
        below = [0, *(n for _, n in pairs), self.count]
        self.counts = [upto - before for before, upto in pairwise(below)]
        return True

    def encoded(self) -> str:
        pairs = list(zip(self.bounds, accumulate(self.counts), strict=False))
        return msgspec.json.encode((pairs, self.total, self.count)).decode()


_KINDS: dict[MetricType, type[Series]] = {
    MetricType.COUNTER: Counter,
    MetricType.GAUGE: Gauge,
    MetricType.HISTOGRAM: Histogram,
}


def kind_of(metric: Metric) -> type[Series]:
    return _KINDS[metric.type] if metric.states_of is None else Level


def bounds_of(metric: Metric) -> list[float]:
    """Return the upper bounds in rising order, without the +Inf that every histogram ends with."""
    return sorted({float(bound) for bound in metric.buckets if math.isfinite(bound)})


def encode_labels(metric: Metric, values: tuple[str, ...]) -> str:
    """Return a row's `labels`: a JSON object with sorted keys."""
    labels = dict(sorted(zip(metric.labels, values, strict=True)))
    return msgspec.json.encode(labels).decode()


def decode_labels(metric: Metric, labels: str) -> tuple[str, ...] | None:
    """Return a row's label values in the metric's order; None when it has other labels today."""
    found = _LABELS.decode(labels)
    if found.keys() != metric.labels.keys():
        return None
    return tuple(found[name] for name in metric.labels)


def decode_number(value: str) -> Number | None:
    try:
        return _NUMBER.decode(value)
    except msgspec.DecodeError:
        return None


def decode_histogram(value: str, bounds: list[float]) -> HistogramValue | None:
    """Return a stored histogram, or None when it is none or has other bounds."""
    try:
        found = _HISTOGRAM.decode(value)
    except msgspec.DecodeError:
        return None
    return found if [bound for bound, _ in found[0]] == bounds else None
