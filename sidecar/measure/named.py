"""Which series rule files name, so that they exist at 0 before their first event.

A counter that appears at 1 shows no increase to Prometheus: the first failure would be invisible.
"""

from collections.abc import Iterator, Sequence
from itertools import product

from sidecar.matchers import Matcher
from sidecar.measure.metric import Metric
from sidecar.parse.event import STANDARD_FIELDS, Triple

_PROVIDER, _EVENT_TYPE, _STATUS = STANDARD_FIELDS


def named_triples(matchers: Sequence[Matcher], providers: Sequence[str]) -> Iterator[Triple]:
    """Yield every (provider, event type, status) that one match list names, or nothing."""
    return product(
        named_values(matchers, _PROVIDER, providers),
        named_values(matchers, _EVENT_TYPE),
        named_values(matchers, _STATUS),
    )


def named_label_sets(metric: Metric, providers: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the label values that a metric's own match list names; without labels the one set."""
    axes = [
        named_values(metric.match, name, providers if name == _PROVIDER else ())
        for name in metric.labels.values()
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
