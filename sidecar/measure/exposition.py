"""What /metrics shows of our series: Prometheus text 0.0.4 and OpenMetrics 1.0.0, our own writer.

A series is written as text when it changes, and a scrape only joins the lines: prometheus-client
writes every sample at every scrape.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

from sidecar.measure.series import (
    Metric,
    MetricType,
    bounds_of,
    decode_histogram,
    decode_labels,
    decode_number,
    events_metric,
)
from sidecar.rows import Gone, SeriesRow

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


class Exposition:
    """The published series, updated only after COMMIT, in the order of the rule files."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        shown = (events_metric(limit=0), *metrics)
        self._families = {metric.name: _FamilyText(metric) for metric in shown}

    def apply(self, rows: Iterable[SeriesRow], gone: Iterable[Gone] = ()) -> None:
        """Show committed rows, and no longer what is `gone`.

        Rows of metrics that are gone or redefined are passed over.
        """
        for name, labels in (one.key for one in gone if one.row is SeriesRow):
            if str(name) in self._families:
                self._families[str(name)].drop(str(labels))
        for row in rows:
            family = self._families.get(row.name)
            if family is not None:
                family.apply(row)

    def render(self, *, openmetrics: bool, created: bool = True) -> str:
        """Return all families; without the `# EOF` that must end an OpenMetrics exposition.

        `created`: with the `_created` lines that OpenMetrics has.
        """
        return "".join(
            family.render(openmetrics=openmetrics, created=created)
            for family in self._families.values()
        )


class _FamilyText:
    """One family as text, a piece of lines for each series, found by the labels of its row.

    OpenMetrics gets a `_created` line after each counter and histogram; in the plain text format
    it would be a series of its own, so it is left out there.
    """

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._labels: dict[str, str] = {}
        self._lines: dict[str, str] = {}
        self._openmetrics_lines: dict[str, str] = {}
        self._created: dict[str, str] = {}
        self._created_name = _created_name(metric)
        self._head = _head(metric, openmetrics=False)
        self._openmetrics_head = _head(metric, openmetrics=True)

    def apply(self, row: SeriesRow) -> None:
        labels = self._labels.get(row.labels)
        if labels is None:
            values = decode_labels(self._metric, row.labels)
            if values is None:
                return
            labels = label_text(tuple(self._metric.labels), values)
        lines = _lines(self._metric, labels, row.value)
        if lines is None:
            return
        self._labels[row.labels] = labels
        self._lines[row.labels], self._openmetrics_lines[row.labels] = lines
        if self._created_name and row.labels not in self._created:
            created = f"{self._created_name}{_braced(labels)} {round(row.created, 3)}\n"
            self._created[row.labels] = created

    def drop(self, labels: str) -> None:
        for known in (self._labels, self._lines, self._openmetrics_lines, self._created):
            known.pop(labels, None)

    def render(self, *, openmetrics: bool, created: bool) -> str:
        if not openmetrics:
            return self._head + "".join(self._lines.values())
        if not self._created_name or not created:
            return self._openmetrics_head + "".join(self._openmetrics_lines.values())
        pairs = zip(self._openmetrics_lines.values(), self._created.values(), strict=True)
        return self._openmetrics_head + "".join(chain.from_iterable(pairs))


def label_text(names: Sequence[str], values: Sequence[str]) -> str:
    """Return `name="value",…` with values escaped as both formats want it."""
    pairs = zip(names, values, strict=True)
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs)


def bound_text(bound: float) -> str:
    """Return a bucket's `le` as OpenMetrics has it: 0.5, 1.0, 1e+06; the same in both formats."""
    short = f"{bound:g}"
    text = short if float(short) == bound else repr(bound)
    return f"{text}.0" if text.lstrip("-").isdigit() else text


def _lines(metric: Metric, labels: str, value: str) -> tuple[str, str] | None:
    """Return the lines of one series, as plain text and as OpenMetrics has them.

    None when another definition stored the value.
    """
    if metric.type is MetricType.HISTOGRAM:
        return _histogram_lines(metric, labels, value)
    # A finite JSON number is written as both formats write theirs.
    line = f"{metric.name}{_braced(labels)} {value}\n"
    return None if decode_number(value) is None else (line, line)


def _histogram_lines(metric: Metric, labels: str, value: str) -> tuple[str, str] | None:
    """Return the same of a histogram.

    OpenMetrics has no sum that is negative, nor one beside negative bounds: it is a counter there;
    and without a sum no count (OpenMetrics 1.0, "Histogram").
    """
    found = decode_histogram(value, bounds_of(metric))
    if found is None:
        return None
    pairs, total, count = found
    before = f"{labels}," if labels else ""
    buckets = [*((bound_text(bound), n) for bound, n in pairs), ("+Inf", count)]
    lines = [f'{metric.name}_bucket{{{before}le="{le}"}} {n}\n' for le, n in buckets]
    buckets_alone = "".join(lines)
    whole = buckets_alone
    for suffix, number in (("count", count), ("sum", total)):
        whole += f"{metric.name}_{suffix}{_braced(labels)} {number}\n"
    sinks = total < 0 or any(bound < 0 for bound, _ in pairs)
    return whole, buckets_alone if sinks else whole


def _head(metric: Metric, *, openmetrics: bool) -> str:
    """Return HELP and TYPE.

    In OpenMetrics a counter's samples must end in `_total` and its family must not. A counter
    that was named without it keeps its name, as the type `unknown`.
    """
    name, kind = metric.name, metric.type.value
    text = metric.help.translate(_ESCAPES if openmetrics else _HELP_ESCAPES)
    if openmetrics and metric.type is MetricType.COUNTER:
        base = name.removesuffix("_total")
        name, kind = (base, kind) if base != name else (name, "unknown")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _created_name(metric: Metric) -> str:
    """Return the name of the OpenMetrics sample that says when a series began, if it has one."""
    if metric.type is MetricType.HISTOGRAM:
        return f"{metric.name}_created"
    if metric.type is MetricType.COUNTER and metric.name.endswith("_total"):
        return f"{metric.name.removesuffix('_total')}_created"
    return ""


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""
