"""One entry of a rule file's `metrics:`, held to what Prometheus and OpenMetrics accept."""

from sidecar.config.doubts import contradiction
from sidecar.config.reader import Reader, read_number
from sidecar.config.values import check_field, check_label, check_metric, read_matchers
from sidecar.measure.metric import EVENTS_TOTAL, Metric, MetricType

# OpenMetrics gives these endings to the samples of counters and histograms.
TAKEN_ENDINGS = ("_total", "_created", "_bucket", "_count", "_sum", "_info")
_OURS = "sidecar_"
_DEFAULTS = Metric(name="", help="")


_STATE = "state"  # the label of a gauge of states, unless `label` says another


def read_metric(reader: Reader) -> Metric:
    """Read one metric; each fault is reported and its value replaced by the default."""
    reader.require("name", "help")
    place = f"{reader.place.file}:{reader.place.line}"
    if reader.has("states_of"):
        return _states_metric(reader, place)
    type_ = MetricType(reader.choice("type", MetricType, MetricType.COUNTER))
    metric = Metric(
        place=place,
        name=_name(reader, type_),
        help=reader.text("help", ""),
        type=type_,
        match=read_matchers(reader, "match"),
        labels=_labels(reader, type_),
        value=_value(reader, type_),
        buckets=_buckets(reader, type_),
        limit=reader.whole("limit", _DEFAULTS.limit, least=1),
    )
    if excluded := contradiction(metric.match):
        reader.faults.warning(reader.place_of("match"), f"no event can match: {excluded}")
    reader.close({"field": "write `value`", "label": "write `labels`"})
    return metric


def _states_metric(reader: Reader, place: str) -> Metric:
    """Read a gauge that counts the keys of a `last()` rule by state: no event is looked at."""
    if not reader.has("type"):
        reader.faults.error(reader.place, "`states_of` makes a gauge", "write type: gauge")
    elif reader.choice("type", MetricType, MetricType.GAUGE) != MetricType.GAUGE:
        reader.faults.error(reader.place_of("type"), "`states_of` makes a gauge", "write gauge")
    for key in ("match", "labels", "value", "buckets"):
        if reader.has(key):
            reader.node(key)
            hint = "the rule says what is looked at; `label` names the label of the state"
            message = f"`{key}` has no meaning beside `states_of`"
            reader.faults.error(reader.key_place(key), message, hint)
    label = reader.scalar("label")
    if label is not None:
        check_label(label.text, label.place, reader.faults)
    metric = Metric(
        place=place,
        name=_name(reader, MetricType.GAUGE),
        help=reader.text("help", ""),
        type=MetricType.GAUGE,
        labels={_STATE if label is None else label.text: ""},
        limit=reader.whole("limit", _DEFAULTS.limit, least=1),
        states_of=reader.text("states_of", ""),
    )
    reader.close()
    return metric


def _name(reader: Reader, type_: MetricType) -> str:
    scalar = reader.scalar("name")
    if scalar is None:
        return ""
    check_metric(scalar, reader.faults)
    name = scalar.text
    if name == EVENTS_TOTAL or name.startswith(_OURS):
        reader.faults.error(scalar.place, f"`{name}` is one of the sidecar's own metrics")
    elif type_ is MetricType.COUNTER and not name.endswith("_total"):
        hint = f"write {name}_total"
        reader.faults.error(scalar.place, "a counter's name ends in _total", hint)
    elif type_ is not MetricType.COUNTER and name.endswith(TAKEN_ENDINGS):
        ending = next(ending for ending in TAKEN_ENDINGS if name.endswith(ending))
        message = f"the name of a {type_} cannot end in {ending}"
        reader.faults.error(scalar.place, message, "OpenMetrics keeps that ending for itself")
    return name


def _labels(reader: Reader, type_: MetricType) -> dict[str, str]:
    reserved = ("le",) if type_ is MetricType.HISTOGRAM else ()
    labels: dict[str, str] = {}
    for name, field in reader.texts_by_name("labels").items():
        check_label(name, field.place, reader.faults, reserved)
        check_field(field, reader.faults)
        labels[name] = field.text
    return labels


def _value(reader: Reader, type_: MetricType) -> str | None:
    scalar = reader.scalar("value")
    if scalar is not None:
        check_field(scalar, reader.faults)
        return scalar.text
    if type_ is not MetricType.COUNTER and not reader.has("value"):
        hint = "name the field that holds the number, for example value: amount"
        reader.faults.error(reader.place, f"a {type_} needs `value`", hint)
    return None


def _buckets(reader: Reader, type_: MetricType) -> tuple[float, ...]:
    if type_ is not MetricType.HISTOGRAM:
        if reader.has("buckets"):
            reader.items("buckets")
            message = f"a {type_} has no `buckets`"
            reader.faults.error(reader.key_place("buckets"), message, "write type: histogram")
        return ()
    reader.require("buckets")
    found = tuple(read_number(node, reader.faults) for node in reader.items("buckets"))
    buckets = tuple(bound for bound in found if bound is not None)
    if reader.has("buckets") and (buckets != tuple(sorted(set(buckets))) or not found):
        message = "`buckets` must be numbers that rise"
        reader.faults.error(reader.place_of("buckets"), message, "for example [10, 100, 1000]")
    return buckets
