"""Metrics as rule files define them, and their series: the value behind one label set.

A series is written in a row of the state file and goes on from it after a restart.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum
from itertools import accumulate, pairwise
from operator import add
from typing import Annotated, Any, ClassVar

import msgspec

from sidecar.parse.event import Triple
from sidecar.rows import SeriesRow
from sidecar.syntax.table import Reading, Schema, Table, key, table
from sidecar.syntax.tree import MapNode
from sidecar.syntax.values import (  # fmt: skip
    LABEL,
    Count1,
    Field,
    Label,
    MaybeField,
    MaybeText,
    MetricName,
    Number as Bound,
    OneTest,
    Text,
    check_label,
    choice,
)

OVERFLOW = "__other__"
RETENTION = 7 * 86_400.0  # seconds without a sample after which a gauge's series is gone
EVENTS_TOTAL = "webhook_events_total"
# webhook_events_total{provider,event_type,status}: label -> field of the log line.
EVENT_LABELS = {"provider": "webhook_provider", "event_type": "event_type", "status": "status"}


def triple_of(row: SeriesRow) -> Triple:
    """Return the kind of events that a series of EVENTS_TOTAL counts."""
    labels = msgspec.json.decode(row.labels)
    provider, event_type, status = (str(labels[name]) for name in EVENT_LABELS)
    return provider, event_type, status


class MetricType(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


# OpenMetrics gives these endings to the samples of counters and histograms.
TAKEN_ENDINGS = ("_total", "_created", "_bucket", "_count", "_sum", "_info")
# Of the sidecar, and of its process, which prometheus-client adds to the page.
_OURS = ("sidecar_", "process_", "python_")
Type = Annotated[MetricType, choice(MetricType, MetricType)]


def _metric_names() -> dict[str, Any]:
    """Say which endings a name must have, and which are taken."""
    taken = "|".join(ending.removeprefix("_") for ending in TAKEN_ENDINGS)
    counter = {"properties": {"type": {"const": MetricType.COUNTER.value}}}
    return {
        "properties": {"name": {"not": {"pattern": rf"^({'|'.join(_OURS)}|{EVENTS_TOTAL}$)"}}},
        "if": counter,
        "then": {"properties": {"name": {"pattern": "_total$"}}},
        "else": {"properties": {"name": {"not": {"pattern": f"_({taken})$"}}}},
    }


def _metric_kinds() -> dict[str, Any]:
    """Say which keys go with which type."""
    gauge, histogram = MetricType.GAUGE.value, MetricType.HISTOGRAM.value
    typed = {"required": ["type"]}
    return {
        "if": {"required": ["states_of"]},
        "then": {
            **typed,
            "properties": {
                "type": {"const": gauge},
                **dict.fromkeys(("match", "labels", "values", "value", "buckets"), False),
            },
        },
        "else": {
            "properties": {"label": False},
            "if": {**typed, "properties": {"type": {"const": histogram}}},
            "then": {
                "required": ["value", "buckets"],
                "properties": {"labels": {"properties": {"le": False}}},
            },
            "else": {
                "properties": {"buckets": False},
                "if": {**typed, "properties": {"type": {"const": gauge}}},
                "then": {"required": ["value"]},
            },
        },
    }


@table
class Metric(Table):
    """One entry of `metrics:`. `labels` maps a label's name to the event's field behind it.

    A counter without `value` counts events; with it, it adds up that field. A gauge takes the
    field's newest value, a histogram observes it into `buckets`. `limit` caps its label sets;
    what comes beyond goes to `__other__`, so that sums stay right. With `states_of`, a gauge
    counts the keys of that alert's `last()` rule by state, which is its one label; its field is
    empty. `place` is `file:line`.
    """

    hints: ClassVar[dict[str, str]] = {"field": "write `value`"}
    schema: ClassVar[Schema] = {"allOf": [_metric_names(), _metric_kinds()]}

    name: MetricName = key("A counter's ends in _total.")
    help: Text = key("One sentence for /metrics.")
    type: Type = key("What kind of metric.", default=MetricType.COUNTER)
    match: tuple[OneTest, ...] = key("Tests that an event must pass, all of them.", default=())
    labels: Mapping[str, Field] = key(
        "Label: the field behind it.", schema={"propertyNames": LABEL}, default={}
    )
    values: Mapping[str, tuple[Text, ...]] = key(
        "Label: values that exist at 0 from the start, where `match` does not list them.",
        compare=False,
        default={},
    )
    value: MaybeField = key(
        "The field a counter adds up, a gauge shows, a histogram observes.", default=None
    )
    buckets: tuple[Bound, ...] = key(
        "A histogram's bounds, rising.", schema={"minItems": 1}, default=()
    )
    limit: Count1 = key(
        "Label sets at most; those that changed longest ago give way to new ones.", default=1000
    )
    states_of: MaybeText = key(
        "An alert with last(): the gauge counts its keys by state.", default=None
    )
    label: Label = key(
        "The label of the state, with `states_of` only; default: state.",
        compare=False,
        default="state",
    )
    place: str = field(default="", compare=False)

    def check(self, reading: Reading) -> "Metric":
        node, faults = reading.node(self), reading.faults
        if self.states_of is not None or "states_of" in node.values:
            return self._states(node, reading)
        self._check_name(self.type, reading)
        reserved = ("le",) if self.type is MetricType.HISTOGRAM else ()
        labels = node.values.get("labels")
        for name, value in labels.values.items() if isinstance(labels, MapNode) else ():
            with reading.reporting(value):
                check_label(name, reserved)
        values = node.values.get("values")
        for name, place in values.places.items() if isinstance(values, MapNode) else ():
            if name not in self.labels:
                message = f"`values` has a label `{name}` that `labels` has not"
                faults.error(place, message, "write it into `labels`, with its field")
        if self.type is not MetricType.COUNTER and "value" not in node.values:
            hint = "name the field that holds the number, for example value: amount"
            reading.error(self, "", f"a {self.type} needs `value`", hint)
        if "label" in node.values:
            faults.error(node.places["label"], "unknown key `label`", "write `labels`")
        if self.type is not MetricType.HISTOGRAM and "buckets" in node.values:
            message = f"a {self.type} has no `buckets`"
            faults.error(node.places["buckets"], message, "write type: histogram")
        elif self.type is MetricType.HISTOGRAM and "buckets" not in node.values:
            faults.error(node.place, "`buckets` is missing")
        elif self.buckets != tuple(sorted(set(self.buckets))):
            message = "`buckets` must be numbers that rise"
            reading.error(self, "buckets", message, "for example [10, 100, 1000]")
        return replace(self, place=f"{node.place.file}:{node.place.line}")

    def _states(self, node: MapNode, reading: Reading) -> "Metric":
        """See to a gauge that counts the keys of a `last()` rule by state."""
        self._check_name(MetricType.GAUGE, reading)
        if "type" not in node.values:
            reading.error(self, "", "`states_of` makes a gauge", "write type: gauge")
        elif self.type is not MetricType.GAUGE:
            reading.error(self, "type", "`states_of` makes a gauge", "write gauge")
        for name in ("match", "labels", "values", "value", "buckets"):
            if name in node.values:
                hint = "the rule says what is looked at; `label` names the label of the state"
                message = f"`{name}` has no meaning beside `states_of`"
                reading.error_at_key(self, name, message, hint)
        place = f"{node.place.file}:{node.place.line}"
        return replace(
            self, type=MetricType.GAUGE, labels={self.label: ""}, values={}, match=(), value=None,
            buckets=(), place=place,
        )  # fmt: skip

    def _check_name(self, kind: MetricType, reading: Reading) -> None:
        name, counter = self.name, kind is MetricType.COUNTER
        if name == EVENTS_TOTAL or name.startswith(_OURS):
            reading.error(self, "name", f"`{name}` is one of the sidecar's own metrics")
        elif counter and name and not name.endswith("_total"):
            message = "a counter's name ends in _total"
            reading.error(self, "name", message, f"write {name}_total")
        elif not counter and name.endswith(TAKEN_ENDINGS):
            ending = next(ending for ending in TAKEN_ENDINGS if name.endswith(ending))
            message = f"the name of a {kind} cannot end in {ending}"
            reading.error(self, "name", message, "OpenMetrics keeps that ending for itself")


def family_of(metric: Metric) -> str:
    """Return the name of the OpenMetrics family, which a counter's `_total` is no part of."""
    counter = metric.type is MetricType.COUNTER
    return metric.name.removesuffix("_total") if counter else metric.name


def names_of(metric: Metric) -> set[str]:
    """Return the names that no other family may have, nor its samples (OpenMetrics 1.0)."""
    ends = {
        MetricType.COUNTER: ("", "_total", "_created"),
        MetricType.GAUGE: ("",),
        MetricType.HISTOGRAM: ("", "_bucket", "_count", "_sum", "_created"),
    }
    return {family_of(metric) + end for end in ends[metric.type]}


def events_metric(limit: int) -> Metric:
    """Return the metric that is always there: every event, by provider, event type and status."""
    return Metric(
        name=EVENTS_TOTAL,
        help="WEBHOOK_METRIC events read, by provider, event type and status.",
        labels=EVENT_LABELS,
        limit=limit,
    )


Number = int | float
# What a histogram's row holds: (upper bound, observations up to it) pairs, sum, count. The bounds
# are stored so that a changed rule file starts anew instead of mixing two sets of buckets.
HistogramValue = tuple[list[tuple[float, int]], float, int]
_NUMBER: msgspec.json.Decoder[Number] = msgspec.json.Decoder(Number)
_HISTOGRAM = msgspec.json.Decoder(HistogramValue)
_LABELS = msgspec.json.Decoder(dict[str, str])


class Series(ABC):
    """One label set of one metric. `other`: it stands for all label sets beyond the cap.

    `touched`: the wall clock of its last change; `gone`: it is no more, whoever still holds it.
    """

    __slots__ = ("created", "dirty", "gone", "labels", "name", "other", "touched")

    def __init__(self, metric: Metric, labels: str, created: float, *, other: bool) -> None:
        self.name = metric.name
        self.labels = labels
        self.created = created
        self.other = other
        self.touched = created
        self.dirty = self.gone = False

    @abstractmethod
    def add_sample(self, number: Number, at: float) -> bool:
        """Add one sample of event time `at`; return False when it cannot be one."""

    def fold(self, series: Any) -> None:
        """Take in what a series of the same metric has summed up; that is nothing by default."""
        del series

    @abstractmethod
    def load(self, value: str) -> bool:
        """Go on from a stored value; return False when another definition stored it."""

    @abstractmethod
    def encoded(self) -> str:
        """Return the value as JSON, see `SeriesRow`."""

    def row(self) -> SeriesRow:
        return SeriesRow(
            name=self.name,
            labels=self.labels,
            value=self.encoded(),
            created=self.created,
            touched=self.touched,
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

    def add_sample(self, number: Number, at: float) -> bool:
        del at
        total = self.value + number
        if number < 0 or total == math.inf:
            return False
        self.value = total
        return True

    def fold(self, series: "Counter") -> None:
        self.value += series.value


class Gauge(_Number):
    """The value with the greatest event time, then arrival.

    That time is kept as `created`, which a gauge has no other use for: so an old line that is
    read after a restart does not win over a newer one read before it.
    """

    __slots__ = ()

    def __init__(self, metric: Metric, labels: str, created: float, *, other: bool) -> None:
        del created
        super().__init__(metric, labels, 0.0, other=other)

    def add_sample(self, number: Number, at: float) -> bool:
        if at >= self.created:
            self.value = number
            self.created = at
        return True


class Level(_Number):
    """How many things are in one state now; samples are changes of that number.

    A start counts the things anew, so nothing is taken from what was stored.
    """

    __slots__ = ()

    def add_sample(self, number: Number, at: float) -> bool:
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

    def add_sample(self, number: Number, at: float) -> bool:
        del at
        total = self.total + number
        if not math.isfinite(total):
            return False
        self.counts[bisect_left(self.bounds, number)] += 1
        self.total = total
        self.count += 1
        return True

    def fold(self, series: "Histogram") -> None:
        self.counts = list(map(add, self.counts, series.counts))
        self.total += series.total
        self.count += series.count

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
