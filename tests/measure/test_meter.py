"""Events in, series out: what is counted, where, and what is not."""

from functools import partial
from typing import Any

import pytest

from sidecar.measure.meter import Meter
from sidecar.measure.series import EVENTS_TOTAL, Metric, MetricType
from sidecar.parse.columns import Columns
from sidecar.parse.event import Kind, Rows
from support.calls import calls
from support.measure import NOW, event, events_of, matchers, sample, shown

FAILURES = Metric(
    name="failures_total",
    help="Failures.",
    match=matchers('status=~"failed|lost"'),
    labels={"kind": "event_type"},
)
AMOUNT = Metric(name="amount_total", help="Amount.", value="amount")
QUEUE = Metric(name="queue", help="Queue.", type=MetricType.GAUGE, value="queue.length")
TOOK = Metric(
    name="took_seconds", help="Took.", type=MetricType.HISTOGRAM, value="took", buckets=(1.0, 0.1)
)


def test_a_tally_and_whole_events_of_one_triple_add_up() -> None:
    meter = Meter([])
    meter.add_tally(("stripe", "invoice.created", "received"), 40, NOW)
    meter.add(event("received"), NOW)
    assert shown(meter) == {events_of("received"): 41}


def test_events_in_runs_are_counted_as_they_are_one_by_one() -> None:
    seen = [event("received", amount=n) for n in (1, 2)] + [event("failed", amount=4)]
    seen += [event("received"), event("received", amount="much")]
    together, single = Meter([FAILURES, AMOUNT]), Meter([FAILURES, AMOUNT])
    together.add_all(Columns.of(seen), NOW)
    for one in seen:
        single.add(one, NOW)
    found = shown(together, FAILURES, AMOUNT)
    assert found == shown(single, FAILURES, AMOUNT)
    assert found == {
        events_of("received"): 4,
        events_of("failed"): 1,
        sample("failures_total", kind="invoice.created"): 1,
        sample("amount_total"): 7,
    }
    assert together.bad_values == single.bad_values


def test_events_that_are_only_counted_take_no_call_each() -> None:
    meter = Meter([FAILURES])
    seen = [event("failed") for _ in range(1000)]
    meter.add_all(Columns.of(seen), NOW)
    runs = Columns.of(seen)
    assert calls(lambda: meter.add_all(runs, NOW)) <= 50


def test_events_without_what_a_metric_asks_for_are_not_looked_at_one_by_one() -> None:
    asked = matchers('retry="true"')
    metric = Metric(name="took_total", help="", match=asked, value="amount", labels={"o": "org_id"})
    meter = Meter([metric])
    many = list(range(100))
    orgs: list[Any] = [f"org_{n}" for n in many]
    asked_for = {"amount": [*many], "org_id": orgs, "retry": None}
    kind = Kind(("stripe", "invoice.created", "failed"), many, asked_for)
    runs = Columns.of_rows(Rows([NOW] * 100, many, [kind]), lambda _: b"{}")
    meter.add_all(runs, NOW)
    assert calls(partial(meter.add_all, runs, NOW)) <= 50
    assert not any(meter.bad_values.values())


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        pytest.param(['mode="test"'], ("mode",), id="only with the field"),
        pytest.param(['mode!="test"'], True, id="also without it"),
        pytest.param(['mode!="test"', 'plan=~".+"'], ("plan",), id="one of two is enough to know"),
        pytest.param(['a.b="1"'], True, id="what leads into a field may be written in many ways"),
        pytest.param(['status="other"', 'mode="test"'], False, id="of another status"),
    ],
)
def test_events_without_a_field_that_a_metric_needs_are_not_wanted(
    match: list[str], wanted: Any
) -> None:
    metric = Metric(name="m_total", help="M.", match=matchers(*match), labels={"org": "org_id"})
    assert Meter([metric]).wants(("stripe", "x", "received")) == wanted


def test_a_metric_of_standard_fields_counts_tallies_too() -> None:
    meter = Meter([FAILURES])
    for status in ("failed", "lost", "received"):
        meter.add_tally(("stripe", "invoice.created", status), 3, NOW)
    assert shown(meter, FAILURES)[sample("failures_total", kind="invoice.created")] == 6


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        pytest.param(FAILURES, False, id="standard fields only"),
        pytest.param(AMOUNT, True, id="a counter with a value"),
        pytest.param(QUEUE, True, id="a gauge"),
        pytest.param(TOOK, True, id="a histogram"),
        pytest.param(
            Metric(name="m", help="", match=matchers('org_id!="1"')), True, id="a matcher beyond"
        ),
        pytest.param(
            Metric(name="m", help="", labels={"org": "org_id"}), True, id="a label beyond"
        ),
        pytest.param(
            Metric(name="m", help="", match=matchers('status="x"'), value="amount"),
            False,
            id="another status",
        ),
    ],
)
def test_events_are_wanted_whole_only_where_three_fields_do_not_say_enough(
    metric: Metric,
    wanted: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    assert Meter([metric]).wants(("stripe", "invoice.created", "failed")) is wanted


def test_asking_what_is_wanted_makes_no_series() -> None:
    meter = Meter([FAILURES])
    meter.wants(("stripe", "invoice.created", "failed"))
    assert meter.drain() == []


def test_matchers_on_other_fields_are_held_against_each_event() -> None:
    metric = Metric(name="retries_total", help="", match=matchers('retry="true"', 'org.id=~"a.*"'))
    meter = Meter([metric])
    meter.add(event(retry=True, org={"id": "a1"}), NOW)
    meter.add(event(retry=False, org={"id": "a1"}), NOW)
    meter.add(event(retry=True, org={"id": "b1"}), NOW)
    assert shown(meter, metric)[sample("retries_total")] == 1


def test_the_provider_label_is_the_counted_one_also_where_the_line_had_none() -> None:
    metric = Metric(name="m_total", help="", labels={"p": "webhook_provider", "org": "org_id"})
    meter = Meter([metric])
    meter.add(event(org_id="o1"), NOW)
    assert shown(meter, metric)[sample("m_total", p="stripe", org="o1")] == 1


@pytest.mark.parametrize(
    ("value", "total", "bad"),
    [
        pytest.param(2.5, 12.5, 0, id="a number"),
        pytest.param("2.5", 12.5, 0, id="a text that is one"),
        pytest.param(0, 10, 0, id="zero"),
        pytest.param(-1, 10, 1, id="negative"),
        pytest.param("a lot", 10, 1, id="no number"),
        pytest.param(None, 10, 1, id="null"),
        pytest.param(True, 10, 1, id="a boolean"),
        pytest.param(float("nan"), 10, 1, id="nan"),
        pytest.param(float("inf"), 10, 1, id="infinite"),
    ],
)
def test_a_counter_adds_up_a_field_and_passes_over_what_is_no_sample(
    value: Any, total: float, bad: int
) -> None:
    meter = Meter([AMOUNT])
    meter.add(event(amount=10), NOW)
    meter.add(event(amount=value), NOW)
    assert shown(meter, AMOUNT)[sample("amount_total")] == total
    assert meter.bad_values == {EVENTS_TOTAL: 0, "amount_total": bad}


def test_an_event_with_a_bad_value_still_counts_as_an_event() -> None:
    meter = Meter([AMOUNT])
    meter.add(event(amount="a lot"), NOW)
    assert shown(meter, AMOUNT) == {events_of("received"): 1}


def test_a_sum_that_would_leave_the_numbers_stays_where_it_is() -> None:
    meter = Meter([AMOUNT])
    for _ in range(2):
        meter.add(event(amount="1.7e308"), NOW)
    assert shown(meter, AMOUNT)[sample("amount_total")] == 1.7e308
    assert meter.bad_values["amount_total"] == 1


def test_a_gauge_takes_the_value_with_the_newest_event_time() -> None:
    meter = Meter([QUEUE])
    for at, length in ((NOW, 5), (NOW + 2, 7), (NOW + 1, 6)):
        meter.add(event(at=at, queue={"length": length}), NOW)
    assert shown(meter, QUEUE)[sample("queue")] == 7


def test_of_two_values_at_one_time_a_gauge_takes_the_later_arrival() -> None:
    meter = Meter([QUEUE])
    for length in (5, 6):
        meter.add(event(queue={"length": length}), NOW)
    assert shown(meter, QUEUE)[sample("queue")] == 6


def test_a_histogram_counts_cumulatively_and_a_bound_includes_itself() -> None:
    meter = Meter([TOOK])
    for took in (0.05, 0.1, 0.5, 1.0, 3.0):
        meter.add(event(took=took), NOW)
    found = shown(meter, TOOK)
    assert found[sample("took_seconds_bucket", le="0.1")] == 2
    assert found[sample("took_seconds_bucket", le="1.0")] == 4
    assert found[sample("took_seconds_bucket", le="+Inf")] == 5
    assert found[sample("took_seconds_count")] == 5
    assert found[sample("took_seconds_sum")] == pytest.approx(4.65)


def test_a_drain_holds_only_what_changed_since_the_last_one() -> None:
    meter = Meter([])
    meter.add_tally(("stripe", "a", "x"), 1, NOW)
    meter.add_tally(("stripe", "b", "x"), 1, NOW)
    meter.drain()
    meter.add_tally(("stripe", "b", "x"), 2, NOW)
    assert [(row.labels, row.value) for row in meter.drain()] == [
        ('{"event_type":"b","provider":"stripe","status":"x"}', "3")
    ]
    assert meter.drain() == []


def test_a_series_is_dated_by_its_first_event() -> None:
    meter = Meter([])
    meter.add_tally(("stripe", "a", "x"), 1, NOW)
    meter.add_tally(("stripe", "a", "x"), 1, NOW + 60)
    assert [row.created for row in meter.drain()] == [NOW]
