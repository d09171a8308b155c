"""What a rule file may define as a metric made from events."""

from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from sidecar.config.nodes import Table as Keys
from sidecar.syntax.table import Reading, Schema, Table, key, table
from sidecar.syntax.types import (
    LABEL,
    Count1,
    Field,
    Label,
    MaybeField,
    MaybeText,
    MetricName,
    Number,
    OneMatcher,
    Text,
    check_label,
    choice,
)  # fmt: skip

OVERFLOW = "__other__"
EVENTS_TOTAL = "webhook_events_total"
# webhook_events_total{provider,event_type,status}: label -> field of the log line.
EVENT_LABELS = {"provider": "webhook_provider", "event_type": "event_type", "status": "status"}


class MetricType(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


# OpenMetrics gives these endings to the samples of counters and histograms.
TAKEN_ENDINGS = ("_total", "_created", "_bucket", "_count", "_sum", "_info")
_OURS = "sidecar_"
Type = Annotated[MetricType, choice(MetricType, MetricType)]


def _metric_names() -> dict[str, Any]:
    """Say which endings a name must have, and which are taken."""
    taken = "|".join(ending.removeprefix("_") for ending in TAKEN_ENDINGS)
    counter = {"properties": {"type": {"const": MetricType.COUNTER.value}}}
    return {
        "properties": {"name": {"not": {"pattern": rf"^(sidecar_|{EVENTS_TOTAL}$)"}}},
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
                **dict.fromkeys(("match", "labels", "value", "buckets"), False),
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
    match: tuple[OneMatcher, ...] = key("Tests that an event must pass, all of them.", default=())
    labels: Mapping[str, Field] = key(
        "Label: the field behind it.", schema={"propertyNames": LABEL}, default={}
    )
    value: MaybeField = key(
        "The field a counter adds up, a gauge shows, a histogram observes.", default=None
    )
    buckets: tuple[Number, ...] = key(
        "A histogram's bounds, rising.", schema={"minItems": 1}, default=()
    )
    limit: Count1 = key(
        "Label sets at most; what comes beyond counts under __other__.", default=1000
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
        self._check_name(reading)
        reserved = ("le",) if self.type is MetricType.HISTOGRAM else ()
        labels = node.values.get("labels")
        for name, value in labels.values.items() if isinstance(labels, Keys) else ():
            with reading.reporting(value):
                check_label(name, reserved)
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

    def _states(self, node: Keys, reading: Reading) -> "Metric":
        """See to a gauge that counts the keys of a `last()` rule by state."""
        if "type" not in node.values:
            reading.error(self, "", "`states_of` makes a gauge", "write type: gauge")
        elif self.type is not MetricType.GAUGE:
            reading.error(self, "type", "`states_of` makes a gauge", "write gauge")
        for name in ("match", "labels", "value", "buckets"):
            if name in node.values:
                hint = "the rule says what is looked at; `label` names the label of the state"
                message = f"`{name}` has no meaning beside `states_of`"
                reading.error_at_key(self, name, message, hint)
        place = f"{node.place.file}:{node.place.line}"
        return replace(
            self, type=MetricType.GAUGE, labels={self.label: ""}, match=(), value=None, buckets=(),
            place=place,
        )  # fmt: skip

    def _check_name(self, reading: Reading) -> None:
        name, counter = self.name, self.type is MetricType.COUNTER
        if name == EVENTS_TOTAL or name.startswith(_OURS):
            reading.error(self, "name", f"`{name}` is one of the sidecar's own metrics")
        elif counter and name and not name.endswith("_total"):
            message = "a counter's name ends in _total"
            reading.error(self, "name", message, f"write {name}_total")
        elif not counter and name.endswith(TAKEN_ENDINGS):
            ending = next(ending for ending in TAKEN_ENDINGS if name.endswith(ending))
            message = f"the name of a {self.type} cannot end in {ending}"
            reading.error(self, "name", message, "OpenMetrics keeps that ending for itself")


def events_metric(limit: int) -> Metric:
    """Return the metric that is always there: every event, by provider, event type and status."""
    return Metric(
        name=EVENTS_TOTAL,
        help="WEBHOOK_METRIC events read, by provider, event type and status.",
        labels=EVENT_LABELS,
        limit=limit,
    )
