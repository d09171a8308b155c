"""The number of keys in each state of a `last()` rule, as a gauge."""

from sidecar.measure.exposition import Exposition
from sidecar.measure.meter import Meter
from sidecar.measure.series import OVERFLOW, Metric, MetricType
from sidecar.parse.event import Event
from sidecar.rows import Delta, SeriesRow
from sidecar.rules.rule import Rule
from support.measure import NOW, samples
from support.rules import DAY, Bench, event, rule

BY_STATE = Metric(
    name="subscriptions",
    help="Subscriptions by state.",
    type=MetricType.GAUGE,
    labels={"status": ""},
    states_of="Rule",
)


def delinquent(name: str = "Rule") -> Rule:
    condition = "last(status) in [past_due, unpaid]"
    match = ['status=~"active|past_due|unpaid|gone"', 'status!="gone"']
    return rule(condition, name=name, match=match, resolve=['status="left"'], hold=DAY)


class Counted:
    """Rules and a meter with one state file, joined as the core joins them."""

    def __init__(self, tested: Rule, *metrics: Metric) -> None:
        self.bench = Bench(tested)
        self.load(tested, *metrics)

    def load(self, tested: Rule, *metrics: Metric) -> None:
        self.bench.load(tested, now=0.0)
        self.metrics = metrics or (BY_STATE,)
        self.meter = Meter(self.metrics)
        self.meter.restore(self.bench.file.of(SeriesRow))
        self.meter.precreate(NOW)
        self.meter.drain()

    def see(self, *events: Event) -> None:
        self.bench.see(*events)

    def shown(self) -> dict[str, float]:
        """Return what is shown, by state, once all has been committed."""
        self.meter.add_states(self.bench.engine.drain_state_counts(), NOW)
        self.bench.file.commit(Delta(rows=[*self.meter.drain()]))
        exposition = Exposition(self.metrics)
        exposition.apply(self.bench.file.of(SeriesRow))
        found = samples(exposition.render(openmetrics=True), openmetrics=True)
        return {
            dict(labels)["status"]: value
            for (name, labels), value in found.items()
            if name == "subscriptions"
        }


def state(status: str, org: str = "a", at: float = 0.0) -> Event:
    return event(at, status, org_id=org)


def test_the_states_a_rule_names_exist_at_0() -> None:
    assert Counted(delinquent()).shown() == {"active": 0, "past_due": 0, "unpaid": 0}


def test_each_key_counts_in_its_newest_state() -> None:
    counted = Counted(delinquent())
    counted.see(state("active"), state("unpaid", at=5), state("past_due", at=3))
    counted.see(state("active", "b"), state("active", "c"))
    assert counted.shown() == {"active": 2, "past_due": 0, "unpaid": 1}


def test_a_key_moves_between_states() -> None:
    counted = Counted(delinquent())
    counted.see(state("active"))
    counted.shown()
    counted.see(state("past_due", at=1))
    assert counted.shown() == {"active": 0, "past_due": 1, "unpaid": 0}


def test_a_state_that_hold_drops_counts_no_longer() -> None:
    counted = Counted(delinquent())
    counted.see(state("past_due"), state("active", "b"))
    counted.bench.tick(DAY)
    assert counted.shown() == {"active": 0, "past_due": 0, "unpaid": 0}


def test_a_resolved_key_counts_no_longer() -> None:
    counted = Counted(delinquent())
    counted.see(state("past_due"), state("left", at=1))
    assert counted.shown()["past_due"] == 0


def test_a_restart_counts_the_keys_anew_and_changes_no_number() -> None:
    counted = Counted(delinquent())
    counted.see(state("past_due"), state("active", "b"), state("active", "c"))
    before = counted.shown()
    counted.load(delinquent())
    assert counted.shown() == before == {"active": 2, "past_due": 1, "unpaid": 0}


def test_a_changed_rule_counts_from_nothing() -> None:
    counted = Counted(delinquent())
    counted.see(state("past_due"))
    counted.shown()
    counted.load(rule("last(status) == past_due", by=("plan",), hold=DAY))
    assert counted.shown()["past_due"] == 0


def test_states_beyond_the_cap_are_counted_together() -> None:
    metric = Metric(
        name="subscriptions",
        help="By plan.",
        type=MetricType.GAUGE,
        labels={"status": ""},
        states_of="Rule",
        limit=2,
    )
    counted = Counted(rule("last(plan) != pro", hold=DAY), metric)
    for number in range(5):
        counted.see(event(0, org_id=str(number), plan=f"p{number}"))
    assert counted.shown() == {"pro": 0, "p0": 1, OVERFLOW: 4}
    counted.see(*(event(1, org_id=str(number), plan="pro") for number in range(5)))
    assert counted.shown() == {"pro": 5, "p0": 0, OVERFLOW: 0}


def test_events_are_not_wanted_whole_for_it() -> None:
    assert not Meter([BY_STATE]).wants(("stripe", "x", "past_due"))


def test_rules_that_nobody_asks_about_cost_no_memory() -> None:
    bench = Bench(rule("last(n) > 1e9", by=(), hold=DAY))
    for number in range(2000):
        bench.see(event(number, n=number))
    assert bench.engine.drain_state_counts() == {("Rule", "1999"): 1}
