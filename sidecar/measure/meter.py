"""Events and tallies in, changed series out: the counting half of the core."""

from collections.abc import Iterable, Mapping, Sequence

from sidecar.matchers import Matcher
from sidecar.measure.family import Family
from sidecar.measure.metric import Metric, events_metric
from sidecar.measure.named import named_label_sets, named_triples
from sidecar.measure.series import Series
from sidecar.parse.event import Event, Run, Triple
from sidecar.rows import SeriesRow

# Plans are a cache: a log with endless event types may cost time, never memory.
_MAX_PLANS = 20_000
_Counters = list[tuple[Family, Series]]


class _Plan:
    """What one triple means: the series it counts in, and the metrics that want its events whole.

    `counters` is None until the first event, so that asking makes no series.
    """

    __slots__ = ("counters", "settled", "whole")

    def __init__(self, families: Sequence[Family], triple: Triple) -> None:
        mine = [family for family in families if family.matches(triple)]
        self.settled = [family for family in mine if family.settled]
        self.whole = [family for family in mine if not family.settled]
        self.counters: _Counters | None = None


class Meter:
    """All series made from events, `webhook_events_total` first.

    `named`: the match lists of every rule and metric, `providers`: the provider names that rule
    and pattern files know; the series both name exist at 0 after `precreate`. `limit` caps the
    label sets of `webhook_events_total`. `overflow` and `bad_values` count, by metric name,
    samples sent to `__other__` and values that were no sample, since the start.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        *,
        named: Sequence[tuple[Matcher, ...]] = (),
        providers: Sequence[str] = (),
        limit: int = 10_000,
    ) -> None:
        self._changed: list[Series] = []
        self._events = Family(events_metric(limit), self._changed)
        self._families = [self._events, *(Family(m, self._changed) for m in metrics)]
        self._by_name = {family.metric.name: family for family in self._families}
        self._of_states: dict[str, list[Family]] = {}
        for family in self._families:
            if family.metric.states_of is not None:
                self._of_states.setdefault(family.metric.states_of, []).append(family)
        self._named = tuple(named)
        self._providers = tuple(providers)
        self._plans: dict[Triple, _Plan] = {}

    @property
    def overflow(self) -> dict[str, int]:
        return {name: family.overflow for name, family in self._by_name.items()}

    @property
    def bad_values(self) -> dict[str, int]:
        return {name: family.bad for name, family in self._by_name.items()}

    def restore(self, rows: Sequence[SeriesRow]) -> None:
        """Go on from stored series; those of metrics that are gone or redefined are passed over."""
        self._plans.clear()
        for row in rows:
            family = self._by_name.get(row.name)
            if family is not None:
                family.restore(row)

    def precreate(self, now: float) -> None:
        """Make the series that rule files name, at 0, where they do not exist yet."""
        self._plans.clear()
        for matchers in self._named:
            self._events.precreate(named_triples(matchers, self._providers), now)
        for family in self._families[1:]:
            family.precreate(named_label_sets(family.metric, self._providers), now)

    def wants(self, triple: Triple) -> bool:
        """Return whether a metric needs this triple's events whole; cheap to ask again."""
        return bool(self._plan(triple).whole)

    def add_tally(self, triple: Triple, count: int, now: float) -> None:
        """Count `count` events of a triple that nobody wanted whole; `now` dates new series."""
        self._count(self._plan(triple), triple, count, now)

    def add_all(self, runs: Iterable[Run], now: float) -> None:
        """Count events that came whole, as `add` does each: counters once per run."""
        for triple, events in runs:
            plan = self._plan(triple)
            self._count(plan, triple, len(events), now)
            for event in events if plan.whole else ():
                for family in plan.whole:
                    family.add(event, now)

    def add(self, event: Event, now: float) -> None:
        """Count one event that came whole, in `webhook_events_total` and wherever it matches."""
        triple = event.triple
        plan = self._plan(triple)
        self._count(plan, triple, 1, now)
        for family in plan.whole:
            family.add(event, now)

    def add_states(self, moves: Mapping[tuple[str, str], int], now: float) -> None:
        """Take by how many keys each (alertname, state) grew; see `Engine.take_states`."""
        for (alert, state), by in moves.items():
            for family in self._of_states.get(alert, ()):
                family.move(state, by, now)

    def drain(self) -> list[SeriesRow]:
        """Return the series that changed since the last drain."""
        rows = [series.row() for series in self._changed]
        for series in self._changed:
            series.dirty = False
        self._changed.clear()
        return rows

    def _plan(self, triple: Triple) -> _Plan:
        plan = self._plans.get(triple)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            plan = self._plans[triple] = _Plan(self._families, triple)
        return plan

    def _count(self, plan: _Plan, triple: Triple, count: int, now: float) -> None:
        if plan.counters is None:
            plan.counters = [(f, f.series_of(triple, now)) for f in plan.settled]
        for family, series in plan.counters:
            family.count(series, count)
