"""The text of /metrics: right in both formats, as prometheus-client's strict parsers read it."""

from dataclasses import replace

import pytest

from sidecar.measure.exposition import Exposition, bound_text
from sidecar.measure.meter import Meter
from sidecar.measure.series import EVENTS_TOTAL, Metric, MetricType
from sidecar.rows import SeriesRow
from support.measure import NOW, event, events_of, published, sample, samples

COUNTER = Metric(name="m_total", help="M.", labels={"org": "org_id"})
UNSUFFIXED = Metric(name="m", help="M.", labels={"org": "org_id"})
GAUGE = Metric(name="m", help="M.", type=MetricType.GAUGE, labels={"org": "org_id"}, value="v")
HISTOGRAM = Metric(
    name="m",
    help="M.",
    type=MetricType.HISTOGRAM,
    labels={"org": "org_id"},
    value="v",
    buckets=(0.5, 1.0),
)
HOSTILE = 'a"b\\c\nd}e,f="g" é \\n {'


def exposition_of(metric: Metric, org: str = "a") -> Exposition:
    meter = Meter([metric])
    meter.add(event(org_id=org, v=0.75), NOW)
    return published(meter, metric)


@pytest.mark.parametrize("metric", [COUNTER, GAUGE, HISTOGRAM], ids=lambda m: str(m.type))
@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
def test_a_family_is_written_whole(
    metric: Metric,
    openmetrics: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    found = samples(exposition_of(metric).render(openmetrics=openmetrics), openmetrics=openmetrics)
    expected = {
        MetricType.COUNTER: {sample("m_total", org="a"): 1},
        MetricType.GAUGE: {sample("m", org="a"): 0.75},
        MetricType.HISTOGRAM: {
            sample("m_bucket", org="a", le="0.5"): 0,
            sample("m_bucket", org="a", le="1.0"): 1,
            sample("m_bucket", org="a", le="+Inf"): 1,
            sample("m_count", org="a"): 1,
            sample("m_sum", org="a"): 0.75,
        },
    }[metric.type]
    mine = {key: value for key, value in found.items() if key[0].startswith("m")}
    assert {k: v for k, v in mine.items() if not k[0].endswith("_created")} == expected


@pytest.mark.parametrize(
    ("metric", "dated"),
    [
        pytest.param(COUNTER, True, id="counter"),
        pytest.param(HISTOGRAM, True, id="histogram"),
        pytest.param(GAUGE, False, id="gauge"),
        pytest.param(UNSUFFIXED, False, id="unknown"),
    ],
)
def test_openmetrics_says_when_a_counting_series_began(
    metric: Metric,
    dated: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    found = samples(exposition_of(metric).render(openmetrics=True), openmetrics=True)
    assert found.get(sample("m_created", org="a")) == (NOW if dated else None)


@pytest.mark.parametrize("metric", [COUNTER, HISTOGRAM], ids=["counter", "histogram"])
def test_the_plain_text_has_no_created_series(metric: Metric) -> None:
    assert "_created" not in exposition_of(metric).render(openmetrics=False)


@pytest.mark.parametrize("metric", [COUNTER, HISTOGRAM], ids=["counter", "histogram"])
def test_openmetrics_can_do_without_created_series(metric: Metric) -> None:
    exposition = exposition_of(metric)
    all_lines = exposition.render(openmetrics=True).splitlines()
    fewer = exposition.render(openmetrics=True, created=False).splitlines()
    assert fewer == [line for line in all_lines if "_created" not in line]
    assert len(fewer) < len(all_lines)


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
def test_a_label_value_comes_back_as_it_was(
    openmetrics: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    text = exposition_of(COUNTER, HOSTILE).render(openmetrics=openmetrics)
    assert samples(text, openmetrics=openmetrics)[sample("m_total", org=HOSTILE)] == 1


@pytest.mark.parametrize(
    ("openmetrics", "line"),
    [
        pytest.param(False, '# HELP m_total A "b" \\\\ c\\nd', id="text leaves quotes"),
        pytest.param(True, '# HELP m A \\"b\\" \\\\ c\\nd', id="openmetrics escapes them"),
    ],
)
def test_help_is_escaped(
    openmetrics: bool,  # noqa: FBT001 - a parameter of the table
    line: str,
) -> None:
    metric = Metric(name="m_total", help='A "b" \\ c\nd')
    assert line in Exposition([metric]).render(openmetrics=openmetrics).splitlines()


def test_a_counter_without_total_keeps_its_name_in_both_formats() -> None:
    exposition = exposition_of(UNSUFFIXED)
    assert "# TYPE m counter\n" in exposition.render(openmetrics=False)
    openmetrics = exposition.render(openmetrics=True)
    assert "# TYPE m unknown\n" in openmetrics
    assert samples(openmetrics, openmetrics=True)[sample("m", org="a")] == 1


def test_the_end_of_the_exposition_is_left_to_whoever_adds_the_rest() -> None:
    assert "# EOF" not in exposition_of(COUNTER).render(openmetrics=True)


def test_families_stand_in_the_order_of_the_rule_files_events_first() -> None:
    metrics = [Metric(name=f"{letter}_total", help="") for letter in "cab"]
    types = [
        line.split()[2]
        for line in Exposition(metrics).render(openmetrics=False).splitlines()
        if line.startswith("# TYPE")
    ]
    assert types == [EVENTS_TOTAL, "c_total", "a_total", "b_total"]


def test_a_committed_row_replaces_what_was_shown() -> None:
    exposition, meter = Exposition([]), Meter([])
    for _ in range(3):
        meter.add(event(), NOW)
        exposition.apply(meter.drain())
    assert samples(exposition.render(openmetrics=False)) == {events_of("received"): 3}


def test_nothing_is_shown_before_it_is_applied() -> None:
    meter, exposition = Meter([]), Exposition([])
    meter.add(event(), NOW)
    rows = meter.drain()
    assert samples(exposition.render(openmetrics=False)) == {}
    exposition.apply(rows)
    assert samples(exposition.render(openmetrics=False)) == {events_of("received"): 1}


def test_a_row_whose_value_belongs_to_another_type_is_passed_over() -> None:
    row = SeriesRow(name="m_total", labels='{"org":"a"}', value="[[],1.0,2]", created=NOW)
    exposition = Exposition([COUNTER])
    exposition.apply([row])
    assert samples(exposition.render(openmetrics=False)) == {}


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (0.1, "0.1"),
        (1, "1.0"),
        (2.5, "2.5"),
        (100, "100.0"),
        (1e6, "1e+06"),
        (1234567.0, "1234567.0"),
        (1e-05, "1e-05"),
        (-3, "-3.0"),
    ],
    ids=str,
)
def test_a_bound_is_written_as_openmetrics_writes_it(bound: float, text: str) -> None:
    assert bound_text(bound) == text


@pytest.mark.parametrize(("bounds", "value"), [((0.5, 1.0), -2.0), ((-1.0, 1.0), 2.0)])
def test_openmetrics_has_no_sum_that_sinks(bounds: tuple[float, ...], value: float) -> None:
    metric = replace(HISTOGRAM, buckets=bounds)
    meter = Meter([metric])
    meter.add(event(org_id="a", v=value), NOW)
    exposition = published(meter, metric)
    assert f'm_sum{{org="a"}} {value}\n' in exposition.render(openmetrics=False)
    found = samples(exposition.render(openmetrics=True), openmetrics=True)
    assert found[sample("m_bucket", org="a", le="+Inf")] == 1
    assert not {sample("m_sum", org="a"), sample("m_count", org="a")} & found.keys()
