"""What the tests of measuring share: events, matchers, and the referee that reads expositions."""

from typing import Any

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar.matchers import Matcher, parse_matcher
from sidecar.measure.exposition import Exposition
from sidecar.measure.meter import Meter
from sidecar.measure.series import EVENTS_TOTAL, Metric
from sidecar.parse.event import Event

NOW = 1_790_000_000.0
Labels = frozenset[tuple[str, str]]
Samples = dict[tuple[str, Labels], float]


def matchers(*texts: str) -> tuple[Matcher, ...]:
    return tuple(parse_matcher(text) for text in texts)


def event(status: str = "received", *, at: float = NOW, **fields: Any) -> Event:
    return Event("stripe", "invoice.created", status, at, fields)


def published(meter: Meter, *metrics: Metric) -> Exposition:
    """Return an exposition that shows all the meter has changed so far."""
    exposition = Exposition(metrics)
    exposition.apply(meter.drain())
    return exposition


def samples(text: str, *, openmetrics: bool = False) -> Samples:
    """Read an exposition with prometheus-client's parser, strictly in the case of OpenMetrics."""
    families = list(parse_openmetrics(text + "# EOF\n") if openmetrics else parse_text(text))  # type: ignore[no-untyped-call]  # the library leaves it bare
    assert len({family.name for family in families}) == len(families)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def sample(name: str, **labels: str) -> tuple[str, Labels]:
    return name, frozenset(labels.items())


def events_of(status: str, event_type: str = "invoice.created") -> tuple[str, Labels]:
    return sample(EVENTS_TOTAL, provider="stripe", event_type=event_type, status=status)


def shown(meter: Meter, *metrics: Metric) -> Samples:
    """Return the samples of the plain text exposition of all the meter has changed so far."""
    return samples(published(meter, *metrics).render(openmetrics=False))
