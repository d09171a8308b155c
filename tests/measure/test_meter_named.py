"""Series that rule files name exist at 0 from the start, so that the first event is an increase."""

from collections.abc import Sequence

import pytest

from sidecar.matchers import Matcher
from sidecar.measure.meter import Meter
from sidecar.measure.series import EVENTS_TOTAL, Metric, MetricType
from support.measure import NOW, event, events_of, matchers, sample, shown

ONE = matchers('event_type="invoice.created"', 'status="failed"')


@pytest.mark.parametrize(
    ("named", "providers", "expected"),
    [
        pytest.param(ONE, ["stripe"], {("stripe", "invoice.created", "failed")}, id="one"),
        pytest.param(
            matchers('event_type=~"a.b|c.d"', 'status=~"x|y"'),
            ["stripe"],
            {("stripe", t, s) for t in ("a.b", "c.d") for s in "xy"},
            id="alternatives are crossed",
        ),
        pytest.param(
            ONE,
            ["stripe", "paddle"],
            {(p, "invoice.created", "failed") for p in ("stripe", "paddle")},
            id="each provider",
        ),
        pytest.param(
            (*ONE, *matchers('webhook_provider="paddle"')),
            ["stripe"],
            {("paddle", "invoice.created", "failed")},
            id="a named provider wins",
        ),
        pytest.param(
            (*ONE, *matchers('webhook_provider!="paddle"')),
            ["stripe", "paddle"],
            {("stripe", "invoice.created", "failed")},
            id="an excluded provider is left out",
        ),
        pytest.param(
            (*matchers('event_type="a"', 'status=~"x|y"', 'status!="y"'),),
            ["stripe"],
            {("stripe", "a", "x")},
            id="an excluded status is left out",
        ),
        pytest.param(matchers('status="failed"'), ["stripe"], set(), id="no event type"),
        pytest.param(
            matchers('event_type=~"inv.*"', 'status="x"'), ["stripe"], set(), id="a real pattern"
        ),
        pytest.param(ONE, [], set(), id="no provider known"),
    ],
)
def test_the_cross_product_of_what_a_match_list_names_exists_at_0(
    named: tuple[Matcher, ...], providers: Sequence[str], expected: set[tuple[str, str, str]]
) -> None:
    meter = Meter([], named=[named], providers=providers)
    meter.precreate(NOW)
    series = {sample(EVENTS_TOTAL, provider=p, event_type=t, status=s): 0 for p, t, s in expected}
    assert shown(meter) == series


def test_a_metric_whose_labels_are_named_exists_at_0() -> None:
    metric = Metric(
        name="failures_total",
        help="",
        match=matchers('status=~"failed|lost"'),
        labels={"provider": "webhook_provider", "status": "status"},
    )
    meter = Meter([metric], providers=["stripe"])
    meter.precreate(NOW)
    assert shown(meter, metric) == {
        sample("failures_total", provider="stripe", status="failed"): 0,
        sample("failures_total", provider="stripe", status="lost"): 0,
    }


def test_a_metric_says_itself_which_values_exist_at_0() -> None:
    metric = Metric(
        name="failures_total",
        help="",
        match=matchers('status="failed"'),
        labels={"status": "status", "form": "form"},
        values={"form": ("", "text")},
    )
    meter = Meter([metric])
    meter.precreate(NOW)
    meter.add(event(status="failed", form="other"), NOW)
    assert shown(meter, metric) == {
        sample("failures_total", status="failed", form=""): 0,
        sample("failures_total", status="failed", form="text"): 0,
        sample("failures_total", status="failed", form="other"): 1,
        events_of("failed"): 1,
    }


def test_a_metric_without_labels_exists_at_0() -> None:
    metric = Metric(name="all_total", help="")
    meter = Meter([metric])
    meter.precreate(NOW)
    assert shown(meter, metric) == {sample("all_total"): 0}


def test_a_histogram_without_labels_exists_at_0() -> None:
    metric = Metric(name="h", help="", type=MetricType.HISTOGRAM, value="v", buckets=(1.0,))
    meter = Meter([metric])
    meter.precreate(NOW)
    assert shown(meter, metric)[sample("h_bucket", le="+Inf")] == 0


def test_a_gauge_does_not_claim_0_before_its_first_value() -> None:
    metric = Metric(name="queue", help="", type=MetricType.GAUGE, value="v")
    meter = Meter([metric])
    meter.precreate(NOW)
    assert shown(meter, metric) == {}


def test_a_label_from_the_log_alone_is_not_made_up() -> None:
    metric = Metric(name="by_org_total", help="", labels={"org": "org_id"})
    meter = Meter([metric])
    meter.precreate(NOW)
    assert shown(meter, metric) == {}


def test_named_series_take_at_most_half_of_the_cap() -> None:
    many = matchers('event_type="a"', f'status=~"{"|".join(f"s{n}" for n in range(100))}"')
    meter = Meter([], named=[many], providers=["stripe"], limit=20)
    meter.precreate(NOW)
    assert len(shown(meter)) == 10


def test_what_already_counts_is_left_as_it_is() -> None:
    before = Meter([])
    before.add(event("failed"), NOW)
    meter = Meter([], named=[ONE], providers=["stripe"])
    meter.restore(before.drain())
    meter.precreate(NOW + 60)
    assert meter.drain() == []
    meter.add(event("failed"), NOW + 61)
    assert shown(meter) == {events_of("failed"): 2}
