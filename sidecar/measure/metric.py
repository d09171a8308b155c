"""What a rule file may define as a metric made from events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sidecar.matchers import Matcher

OVERFLOW = "__other__"
EVENTS_TOTAL = "webhook_events_total"
# webhook_events_total{provider,event_type,status}: label -> field of the log line.
EVENT_LABELS = {"provider": "webhook_provider", "event_type": "event_type", "status": "status"}


class MetricType(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One entry of `metrics:`. `labels` maps a label's name to the event's field behind it.

    A counter without `value` counts events; with it, it adds up that field. A gauge takes the
    field's newest value, a histogram observes it into `buckets`. `limit` caps its label sets;
    what comes beyond goes to `__other__`, so that sums stay right. With `states_of`, a gauge
    counts the keys of that alert's `last()` rule by state, which is its one label; its field is
    empty. `place` is `file:line`.
    """

    name: str
    help: str
    type: MetricType = MetricType.COUNTER
    match: tuple[Matcher, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    value: str | None = None
    buckets: tuple[float, ...] = ()
    limit: int = 1000
    states_of: str | None = None
    place: str = field(default="", compare=False)


def events_metric(limit: int) -> Metric:
    """Return the metric that is always there: every event, by provider, event type and status."""
    return Metric(
        name=EVENTS_TOTAL,
        help="WEBHOOK_METRIC events read, by provider, event type and status.",
        labels=EVENT_LABELS,
        limit=limit,
    )
