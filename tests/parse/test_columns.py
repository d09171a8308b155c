"""Columns cut, joined and dated anew: the same events as when each is made and moved by itself."""

import gc
import weakref
from operator import attrgetter

from hypothesis import given, strategies as st
from msgspec.structs import replace

from sidecar.parse.columns import Columns, joined
from sidecar.parse.event import SOURCE, Event, Kind, Rows

TIMES = st.sampled_from([1.0, 2.0, 2.5, 3.0])
FIELDS = st.dictionaries(st.sampled_from(["org", "n"]), st.sampled_from(["a", 1, None]))
EVENTS = st.builds(
    Event, st.just("stripe"), st.sampled_from("xyz"), st.sampled_from("st"), TIMES, FIELDS
)


def rows_of(events: list[Event], log: str) -> Columns:
    """Return events as the parser gives those of one log: a field asked for is read already."""
    kinds: dict[str, Kind] = {}
    for number, event in enumerate(events):
        kind = kinds.setdefault(str(event.triple), Kind(event.triple, [], {"org": []}))
        kind.numbers.append(number)
        column = kind.fields["org"]
        assert column is not None
        column.append(event.get("org"))
    own = {SOURCE: log}
    made = [replace(one, fields={**one.fields, **own}) for one in events]
    times = [one.at for one in events]
    return Columns(list(kinds.values()), times, lambda n: lambda: made[n], own)


def whole(columns: Columns) -> list[Event]:
    found = [columns.event(number) for number in range(len(columns))]
    for kind in columns.kinds:
        mine = [found[number] for number in kind.numbers]
        assert {one.triple for one in mine} == {kind.triple}
        for name in ("org", "n", SOURCE):
            values = columns.values(kind, name) or [None] * len(mine)
            assert list(values) == [one.get(name) for one in mine]
    assert sorted(n for kind in columns.kinds for n in kind.numbers) == list(range(len(found)))
    assert list(columns.times) == [one.at for one in found]
    return found


@given(
    parts=st.lists(
        st.tuples(st.lists(EVENTS, max_size=8), st.sampled_from(["a.log", "b.log", ""]))
    ),
    cut=st.integers(0, 30),
    more=st.integers(0, 30),
)
def test_events_are_joined_in_time_and_cut_anywhere(
    parts: list[tuple[list[Event], str]], cut: int, more: int
) -> None:
    columns = [rows_of(some, log) if log else Columns.of(some) for some, log in parts]
    expected = sorted((one for part in columns for one in whole(part)), key=attrgetter("at"))
    both = joined(columns)
    assert whole(both) == expected
    assert whole(both.between(cut, cut + more)) == expected[cut : cut + more]
    first, rest = both.between(0, cut), both.between(cut, len(both))
    assert whole(joined([first, rest])) == expected


@given(events=st.lists(EVENTS, max_size=8))
def test_events_dated_anew_have_those_times_where_they_are_made(events: list[Event]) -> None:
    times = [float(number) for number, _ in enumerate(events)]
    dated = whole(rows_of(events, "a.log").at_times(times))
    assert [one.at for one in dated] == times
    assert [one.fields for one in dated] == [one.fields for one in whole(rows_of(events, "a.log"))]


def test_a_block_is_held_by_nobody_once_its_columns_are_gone() -> None:
    kind = Kind(("stripe", "x", "s"), [0], {"org": ["a"]})
    columns = Columns.of_rows(Rows([1.0], [0], [kind]), lambda _: b"{}")
    assert columns.event(0).event_type == "x"
    gone = weakref.ref(columns)
    gc.disable()  # the block is large, and a round over the garbage comes seldom
    try:
        del columns
        assert gone() is None
    finally:
        gc.enable()
