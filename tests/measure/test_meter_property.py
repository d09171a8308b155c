"""Whatever the log holds, every event is counted once, and the exposition reads back."""

from collections import Counter

from hypothesis import given, strategies as st

from sidecar.measure.exposition import Exposition
from sidecar.measure.meter import Meter
from sidecar.measure.series import EVENTS_TOTAL
from sidecar.parse.event import Event, Triple
from sidecar.rows import SeriesRow
from support.measure import NOW, sample, samples

NAMES = st.text(max_size=5)
TRIPLES = st.tuples(NAMES, NAMES, NAMES)
ARRIVALS = st.lists(st.tuples(TRIPLES, st.integers(1, 1000), st.booleans()), max_size=30)


@given(batches=st.lists(ARRIVALS, max_size=4), limit=st.integers(1, 8))
def test_totals_are_right_under_any_names_caps_batches_and_restarts(
    batches: list[list[tuple[Triple, int, bool]]], limit: int
) -> None:
    expected: Counter[Triple] = Counter()
    exposition = Exposition([])
    stored = dict[str, SeriesRow]()
    now = NOW
    for batch in batches:
        meter = Meter([], limit=limit)  # a restart between batches
        meter.restore(list(stored.values()))
        for number, (triple, count, whole) in enumerate(batch):
            now += 1
            if whole:
                meter.add(Event(*triple, NOW, {}), now)
            else:
                meter.add_tally(triple, count, now)
            expected[triple] += 1 if whole else count
            if number % 3 and number + 1 < len(batch):
                continue  # several in a step
            rows, gone = meter.drain(now), meter.drain_gone()
            for one in gone:
                del stored[str(one.key[1])]
            stored |= {row.labels: row for row in rows}
            exposition.apply(rows, gone)
            shown = samples(exposition.render(openmetrics=False))
            assert sum(shown.values()) == sum(expected.values())
    found = samples(exposition.render(openmetrics=False))
    assert sum(found.values()) == sum(expected.values())
    assert len(found) <= limit + 1
    if len(expected) <= limit:
        assert found == {
            sample(EVENTS_TOTAL, provider=p, event_type=t, status=s): count
            for (p, t, s), count in expected.items()
        }
