"""Values survive a restart, unless the metric became another one."""

from dataclasses import replace

import pytest

from sidecar.measure.exposition import Exposition
from sidecar.measure.meter import Meter
from sidecar.measure.series import Metric, MetricType
from sidecar.redact import Labels
from sidecar.rows import SeriesRow
from support.measure import NOW, event, events_of, matchers, sample, samples, shown

COUNTER = Metric(name="m_total", help="M.", labels={"org": "org_id"})
AMOUNT = Metric(name="m_total", help="M.", labels={"org": "org_id"}, value="v")
GAUGE = replace(AMOUNT, type=MetricType.GAUGE)
HISTOGRAM = replace(AMOUNT, type=MetricType.HISTOGRAM, buckets=(0.5, 1.0))


def rows_of(metric: Metric) -> list[SeriesRow]:
    meter = Meter([metric])
    meter.add(event(org_id="a", v=0.75), NOW)
    meter.add(event(org_id="a", v=0.25), NOW)
    return meter.drain()


def restarted(metric: Metric) -> Meter:
    meter = Meter([metric])
    meter.restore(rows_of(metric))
    return meter


def test_restoring_changes_nothing_by_itself() -> None:
    assert restarted(COUNTER).drain() == []


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        pytest.param(COUNTER, {"m_total": 3}, id="a count"),
        pytest.param(AMOUNT, {"m_total": 3.0}, id="a sum"),
        pytest.param(GAUGE, {"m_total": 2}, id="a gauge"),
        pytest.param(HISTOGRAM, {"m_total_count": 3, "m_total_sum": 3}, id="a histogram"),
    ],
)
def test_a_series_goes_on_from_its_stored_value(metric: Metric, expected: dict[str, float]) -> None:
    meter = restarted(metric)
    meter.add(event(org_id="a", v=2), NOW)
    found = shown(meter, metric)
    assert {name: found[sample(name, org="a")] for name in expected} == expected


def test_a_histogram_goes_on_bucket_by_bucket() -> None:
    meter = restarted(HISTOGRAM)
    meter.add(event(org_id="a", v=0.75), NOW)
    found = shown(meter, HISTOGRAM)
    buckets = {le: found[sample("m_total_bucket", org="a", le=le)] for le in ("0.5", "1.0", "+Inf")}
    assert buckets == {"0.5": 1, "1.0": 3, "+Inf": 3}


def test_the_date_of_a_series_survives() -> None:
    meter = restarted(COUNTER)
    meter.add(event(org_id="a"), NOW + 3600)
    assert {row.created for row in meter.drain()} == {NOW}


def test_an_older_event_after_a_restart_does_not_win_over_a_gauge() -> None:
    meter = restarted(GAUGE)
    meter.add(event(org_id="a", v=99, at=NOW - 5), NOW + 60)
    assert shown(meter, GAUGE)[sample("m_total", org="a")] == 0.25


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(replace(COUNTER, labels={"customer": "org_id"}), id="another label"),
        pytest.param(replace(COUNTER, labels={}), id="no label"),
        pytest.param(HISTOGRAM, id="another type"),
    ],
)
def test_a_metric_that_became_another_one_starts_anew(changed: Metric) -> None:
    meter, exposition = Meter([changed]), Exposition([changed])
    meter.restore(rows_of(COUNTER))
    exposition.apply(rows_of(COUNTER))
    names = {name for name, _ in samples(exposition.render(openmetrics=False))}
    assert names == {"webhook_events_total"}
    meter.add(event(org_id="a", v=1), NOW)
    assert 2 not in [v for (name, _), v in shown(meter, changed).items() if name == "m_total"]


def test_a_histogram_with_other_buckets_starts_anew() -> None:
    changed = replace(HISTOGRAM, buckets=(0.5, 2.0))
    meter, exposition = Meter([changed]), Exposition([changed])
    meter.restore(rows_of(HISTOGRAM))
    exposition.apply(rows_of(HISTOGRAM))
    assert "m_total_bucket" not in exposition.render(openmetrics=False)
    meter.add(event(org_id="a", v=1), NOW)
    assert shown(meter, changed)[sample("m_total_count", org="a")] == 1


def test_a_label_that_an_earlier_version_stored_with_a_secret_goes_on_redacted() -> None:
    secret = event(org_id="olga@example.com", v=1)
    earlier = Meter([COUNTER], labels=lambda _: Labels(str, str, plainly=False))
    earlier.add(secret, NOW)
    stored = earlier.drain()
    meter, exposition = Meter([COUNTER]), Exposition([COUNTER])
    meter.restore(stored)
    exposition.apply(stored)
    meter.add(secret, NOW)
    gone = meter.drain_gone()
    exposition.apply(meter.drain(), gone)
    shown_now = exposition.render(openmetrics=True)
    assert "olga" not in shown_now
    assert [
        value
        for line in shown_now.splitlines()
        if "o***@example.com~" in line and "_created" not in line
        for value in [line.rsplit(" ", 1)[1]]
    ] == ["2"]
    assert [one.key[0] for one in gone] == ["m_total"]


def test_rows_of_a_metric_that_is_gone_are_passed_over() -> None:
    meter, exposition = Meter([]), Exposition([])
    meter.restore(rows_of(COUNTER))
    exposition.apply(rows_of(COUNTER))
    assert "m_total" not in exposition.render(openmetrics=False)
    meter.add(event(), NOW)
    assert shown(meter) == {events_of("received"): 3}


def test_an_event_type_that_utf_8_cannot_hold_is_counted_and_stored() -> None:
    metric = Metric(name="m_total", help="", labels={"org": "org_id"}, match=matchers('org_id!=""'))
    meter = Meter([metric])
    for _ in range(2):
        meter.add(event(org_id="bad \ud800 half"), NOW)
    assert shown(meter, metric)[sample("m_total", org="bad ? half")] == 2
