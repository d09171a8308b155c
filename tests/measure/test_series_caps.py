"""Label sets are capped; what comes beyond is counted under __other__, so totals stay right."""

from sidecar.measure.exposition import Exposition
from sidecar.measure.meter import Meter
from sidecar.measure.series import EVENTS_TOTAL, OVERFLOW, Metric, MetricType
from sidecar.parse.event import LONGEST_LABEL
from support.measure import NOW, event, events_of, sample, samples, shown

BY_ORG = Metric(name="by_org_total", help="By org.", labels={"org": "org_id"}, limit=2)


def test_beyond_the_cap_every_label_is_other_and_the_total_stays_right() -> None:
    meter = Meter([], limit=3)
    for n in range(10):
        meter.add_tally(("stripe", "invoice.created", f"s{n}"), 2, NOW)
    found = shown(meter)
    other = sample(EVENTS_TOTAL, provider=OVERFLOW, event_type=OVERFLOW, status=OVERFLOW)
    assert len(found) == 4
    assert found[other] == 14
    assert sum(found.values()) == 20


def test_overflow_is_counted_in_events_by_metric() -> None:
    meter = Meter([BY_ORG])
    for org in ("a", "b", "c", "d", "c"):
        meter.add(event(org_id=org), NOW)
    assert meter.overflow == {EVENTS_TOTAL: 0, "by_org_total": 3}


def test_a_known_label_set_keeps_its_series_when_the_cap_is_reached() -> None:
    meter = Meter([BY_ORG])
    for org in ("a", "b", "c", "a"):
        meter.add(event(org_id=org), NOW)
    assert shown(meter, BY_ORG)[sample("by_org_total", org="a")] == 2


def test_no_series_is_ever_evicted() -> None:
    meter = Meter([], limit=3)
    for n in range(50):
        meter.add_tally(("stripe", "invoice.created", f"s{n % 5}"), 1, NOW)
    found = shown(meter)
    assert [found[events_of(f"s{n}")] for n in range(3)] == [10, 10, 10]


def test_restored_series_keep_their_place_under_a_smaller_cap() -> None:
    before = Meter([], limit=3)
    for n in range(3):
        before.add_tally(("stripe", "invoice.created", f"s{n}"), 1, NOW)
    rows = before.drain()
    after = Meter([], limit=1)
    after.restore(rows)
    exposition = Exposition([])
    exposition.apply(rows)
    for status in ("s2", "new"):
        after.add_tally(("stripe", "invoice.created", status), 1, NOW)
    exposition.apply(after.drain())
    found = samples(exposition.render(openmetrics=False))
    assert found[events_of("s2")] == 2
    assert events_of("new") not in found


def test_restored_overflow_goes_on_as_overflow() -> None:
    before = Meter([BY_ORG])
    for org in "abcd":
        before.add(event(org_id=org), NOW)
    after = Meter([BY_ORG])
    after.restore(before.drain())
    after.add(event(org_id="e"), NOW)
    assert after.overflow["by_org_total"] == 1
    assert shown(after, BY_ORG)[sample("by_org_total", org=OVERFLOW)] == 3


def test_a_label_value_that_is_too_long_is_overflow() -> None:
    meter = Meter([BY_ORG])
    longest = "x" * LONGEST_LABEL
    for org in (longest, longest + "x"):
        meter.add(event(org_id=org), NOW)
    found = shown(meter, BY_ORG)
    assert found[sample("by_org_total", org=longest)] == 1
    assert found[sample("by_org_total", org=OVERFLOW)] == 1


def test_a_metric_without_labels_never_overflows() -> None:
    metric = Metric(name="all_total", help="All.", limit=1)
    meter = Meter([metric])
    for n in range(5):
        meter.add(event(f"s{n}"), NOW)
    assert shown(meter, metric)[sample("all_total")] == 5
    assert meter.overflow["all_total"] == 0


def test_histograms_overflow_as_whole_histograms() -> None:
    metric = Metric(
        name="took_seconds",
        help="Took.",
        type=MetricType.HISTOGRAM,
        labels={"org": "org_id"},
        value="took",
        buckets=(1.0,),
        limit=1,
    )
    meter = Meter([metric])
    for org, took in (("a", 0.5), ("b", 0.5), ("c", 2.0)):
        meter.add(event(org_id=org, took=took), NOW)
    found = shown(meter, metric)
    assert found[sample("took_seconds_bucket", org=OVERFLOW, le="1.0")] == 1
    assert found[sample("took_seconds_count", org=OVERFLOW)] == 2


def test_endless_event_types_cost_no_memory() -> None:
    meter = Meter([], limit=10)
    for n in range(50_000):
        meter.add_tally(("stripe", f"t{n}", "x"), 1, NOW)
    assert len(meter._plans) <= 20_000
    assert len(meter.drain()) == 11
