"""Label sets are capped; what comes beyond is counted under __other__, so totals stay right."""

from sidecar.measure.exposition import Exposition
from sidecar.measure.meter import Meter
from sidecar.measure.series import EVENTS_TOTAL, OVERFLOW, Metric, MetricType
from sidecar.parse.event import LONGEST_LABEL, Event
from sidecar.rows import SeriesRow
from support.measure import NOW, event, events_of, matchers, sample, samples, shown

DAY = 86_400.0


class Steps:
    """A meter, the rows it has stored, and what is shown of them; one moment a step."""

    def __init__(self, meter: Meter, *metrics: Metric) -> None:
        self.meter = meter
        self.stored = dict[tuple[str, str], SeriesRow]()
        self._metrics = metrics
        self._exposition = Exposition(metrics)

    def step(self, at: float, *statuses: str) -> None:
        for status in statuses:
            self.meter.add_tally(("stripe", "invoice.created", status), 1, NOW + at)
        self._drain(NOW + at)

    def see(self, at: float, *events: Event) -> None:
        for one in events:
            self.meter.add(one, NOW + at)
        self._drain(NOW + at)

    def _drain(self, now: float) -> None:
        rows, gone = self.meter.drain(now), self.meter.drain_gone()
        for one in gone:
            self.stored.pop((str(one.key[0]), str(one.key[1])), None)
        self.stored |= {(row.name, row.labels): row for row in rows}
        self._exposition.apply(rows, gone)

    def restart(self) -> None:
        self.meter = Meter(self._metrics, limit=self.meter._events.metric.limit)
        self.meter.restore(list(self.stored.values()))
        self._exposition = Exposition(self._metrics)
        self._exposition.apply(self.stored.values())

    def shown(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return samples(self._exposition.render(openmetrics=False))


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


def test_the_series_touched_longest_ago_gives_way_and_its_count_goes_on_as_other() -> None:
    bench = Steps(Meter([], limit=3))
    for at, status in enumerate(("a", "b", "c", "a", "d")):
        bench.step(at, status)
    other = sample(EVENTS_TOTAL, provider=OVERFLOW, event_type=OVERFLOW, status=OVERFLOW)
    assert bench.shown() == {
        events_of("a"): 2, events_of("c"): 1, events_of("d"): 1, other: 1,
    }  # fmt: skip
    assert bench.meter.overflow[EVENTS_TOTAL] == 1
    bench.step(9, "b")
    assert bench.shown()[events_of("b")] == 1
    assert sum(bench.shown().values()) == 6


def test_a_flood_of_junk_hides_the_series_of_a_real_failure_only_for_as_long_as_it_lasts() -> None:
    bench = Steps(Meter([], limit=100))
    bench.step(0, "real")
    for at in range(1, 50):
        bench.step(at, *(f"junk{at}_{n}" for n in range(90)))
    bench.step(50, "real")
    assert bench.shown()[events_of("real")] == 1
    assert sum(bench.shown().values()) == 2 + 49 * 90
    assert len(bench.shown()) == 101
    bench.restart()
    bench.step(51, "real", "another")
    assert bench.shown()[events_of("real")] == 2
    assert bench.shown()[events_of("another")] == 1


def test_a_flood_in_one_step_costs_the_cap_and_no_more() -> None:
    bench = Steps(Meter([], limit=10))
    bench.step(0, *(f"junk{n}" for n in range(1000)))
    assert len(bench.shown()) == 11
    assert sum(bench.shown().values()) == 1000


def test_what_rule_files_name_never_gives_way() -> None:
    named = [matchers('webhook_provider="stripe"', 'event_type="e"', 'status="failed"')]
    bench = Steps(Meter([], named=named, limit=4))
    bench.meter.precreate(NOW)
    failed = sample(EVENTS_TOTAL, provider="stripe", event_type="e", status="failed")
    for at in range(20):
        bench.step(at, f"junk{at}")
    assert bench.shown()[failed] == 0
    stored = [row for row in bench.stored.values() if "failed" not in row.labels]
    late = Steps(Meter([], named=named, limit=4))  # the rule came when the cap was reached
    late.stored = {(row.name, row.labels): row for row in stored}
    late.meter.restore(stored)
    late.meter.precreate(NOW + 30)
    late.step(31)
    assert late.shown()[failed] == 0


def test_a_series_that_gave_way_is_counted_anew_also_by_those_who_knew_it() -> None:
    bench = Steps(Meter([], limit=1))
    for at, status in enumerate("abab"):
        bench.step(at, status)
    other = sample(EVENTS_TOTAL, provider=OVERFLOW, event_type=OVERFLOW, status=OVERFLOW)
    assert bench.shown() == {events_of("b"): 1, other: 3}


def test_a_gauge_of_a_thing_that_is_gone_ages_out_and_a_counter_does_not() -> None:
    level = Metric(
        name="queue", help="Q.", type=MetricType.GAUGE, value="v", labels={"pod": "org_id"}
    )
    bench = Steps(Meter([level, BY_ORG], retention=7 * DAY), level, BY_ORG)
    bench.see(0, event(org_id="gone", v=3), event(org_id="here", v=4))
    for day in range(1, 9):
        bench.see(day * DAY, event(org_id="here", v=4))
    found = bench.shown()
    assert sample("queue", pod="gone") not in found
    assert found[sample("queue", pod="here")] == 4
    assert found[sample("by_org_total", org="gone")] == 1
    bench.restart()
    assert sample("queue", pod="gone") not in bench.shown()
    bench.see(20 * DAY)
    assert sample("queue", pod="here") not in bench.shown()


def test_pruned_series_go_on_as_other_and_those_that_are_named_stay() -> None:
    named = [matchers('webhook_provider="stripe"', 'event_type="invoice.created"', 'status="a"')]
    bench = Steps(Meter([BY_ORG], named=named), BY_ORG)
    bench.meter.precreate(NOW)
    for status in "abbc":
        bench.step(1, status)
    chosen = matchers('__name__="webhook_events_total"', 'status=~"a|b"')
    assert bench.meter.prune(chosen, NOW + 2) == 1
    bench.step(2)
    other = sample(EVENTS_TOTAL, provider=OVERFLOW, event_type=OVERFLOW, status=OVERFLOW)
    found = {name: value for name, value in bench.shown().items() if name[0] == EVENTS_TOTAL}
    assert found == {events_of("a"): 1, events_of("c"): 1, other: 2}


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
    for n in range(25_000):
        meter.add_tally(("stripe", f"t{n}", "x"), 1, NOW)
    assert len(meter._plans) <= 20_000
    assert len(meter.drain()) == 11
