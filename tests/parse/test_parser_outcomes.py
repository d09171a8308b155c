"""What one chunk's outcome says beside its events: tallies, times, lines."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.parse.columns import Columns
from sidecar.parse.event import Clock, Fields, LogFormat, Parsed, Tally, Triple
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern
from support.parse import NOW, chunk_of, everything, nothing

TRIPLE = ("p", "t", "s")


def line(at: object, status: str = "s") -> str:
    fields = {"webhook_provider": "p", "event_type": "t", "status": status, "timestamp": at}
    return json.dumps({"metric_type": "WEBHOOK_METRIC", **fields}) + "\n"


def tally(text: str) -> Parsed:
    return Parser().parse(chunk_of(text), now=NOW, wanted=nothing)


# The three ways lines are walked: a chunk of objects, a scan for markers, one line at a time.
WALKS = pytest.mark.parametrize("before", ["", "noise\n", '{"log": 1}\n'], ids=repr)


def seconds_late(parsed: Parsed) -> float | None:
    late = parsed.late(NOW)
    assert late is not None
    return late.seconds


@WALKS
@pytest.mark.parametrize("wanted", [everything, nothing])
def test_the_clocks_are_those_of_all_hosts(before: str, wanted: Callable[[Triple], bool]) -> None:
    text = before + (line(NOW - 1) + line(NOW - 18_004) + line(NOW + 20_694)) * 10
    parsed = Parser().parse(chunk_of(text), now=NOW, wanted=wanted)
    assert parsed.clocks == {0: Clock(10, 10), 20: Clock(10, 10), -23: Clock(10, 0)}
    alone = Parser().parse(chunk_of(before + line(NOW - 18_004) * 20), now=NOW, wanted=wanted)
    assert alone.clocks == {20: Clock(20, 20)}
    old = Parser().parse(chunk_of(before + line(NOW - 18_104) * 20), now=NOW, wanted=wanted)
    assert old.clocks == {}


@WALKS
def test_a_tally_counts_and_keeps_the_newest_time(before: str) -> None:
    parsed = tally(before + line(NOW - 5) + line(NOW - 2) + line(NOW - 9))
    assert parsed.tallies == {TRIPLE: Tally(3, NOW - 2)}
    assert parsed.last_at == NOW - 2


@WALKS
@pytest.mark.parametrize("wanted", [everything, nothing])
def test_no_event_is_later_than_the_time_of_reading(
    before: str, wanted: Callable[[Triple], bool]
) -> None:
    text = before + (line(NOW - 7) + line(NOW + 5)) * 10
    parsed = Parser().parse(chunk_of(text), now=NOW, wanted=wanted)
    assert (parsed.last_at, parsed.future, seconds_late(parsed)) == (NOW, 0, -5.0)
    assert {event.at for event in parsed.events} <= {NOW - 7, NOW}


@WALKS
@pytest.mark.parametrize("wanted", [everything, nothing])
def test_further_ahead_takes_the_time_of_reading_and_is_counted(
    before: str, wanted: Callable[[Triple], bool]
) -> None:
    text = before + (line(NOW + 5.5) + line(NOW - 1) + line(NOW + 7200)) * 10
    parsed = Parser().parse(chunk_of(text), now=NOW, wanted=wanted)
    assert (parsed.last_at, parsed.future, seconds_late(parsed)) == (NOW, 20, -7200.0)


@WALKS
@pytest.mark.parametrize("wanted", [everything, nothing])
def test_an_event_without_a_time_is_counted(before: str, wanted: Callable[[Triple], bool]) -> None:
    text = before + (line(NOW - 7) + line(None) + line("yesterday")) * 10
    parsed = Parser().parse(chunk_of(text), now=NOW, wanted=wanted)
    assert (parsed.undated, seconds_late(parsed)) == (20, None)


@WALKS
@pytest.mark.parametrize("wanted", [everything, nothing])
def test_a_timestamp_that_is_no_instant_is_counted(
    before: str, wanted: Callable[[Triple], bool]
) -> None:
    text = before + "".join(map(line, ("yesterday", 0, -5, [], NOW, "", None)))
    parsed = Parser().parse(chunk_of(text), now=NOW, wanted=wanted)
    assert (parsed.last_at, parsed.bad_times) == (NOW, 4)


@WALKS
def test_wanted_is_asked_once_per_triple(before: str) -> None:
    asked = Counter[Triple]()

    def wanted(triple: Triple) -> bool:
        asked[triple] += 1
        return triple[2] == "s"

    text = before + (line(NOW) + line(NOW, "other") + line(None)) * 3
    parsed = Parser().parse(chunk_of(text), now=NOW, wanted=wanted)
    assert asked == {TRIPLE: 1, ("p", "t", "other"): 1}
    assert (len(parsed.events), parsed.tallies[("p", "t", "other")].count) == (6, 3)


@pytest.mark.parametrize(
    ("text", "lines"), [("", 0), ("\n", 1), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n\n", 3)]
)
def test_lines_are_physical_lines(text: str, lines: int) -> None:
    assert tally(text).lines == lines


def test_a_chunk_without_events_has_no_newest_time() -> None:
    assert tally("noise\n").last_at is None


MODE = Fields(("mode",), needs=("mode",))


def modes(parsed: Parsed) -> list[Any]:
    """Return the mode of each event that is not only tallied."""
    if parsed.rows is None:
        return [event.get("mode") for event in parsed.events]
    return [*Columns.of_rows(parsed.rows, lambda _: b"").column("mode")]


def of_mode(text: str) -> str:
    """Return a line with `text` among the fields of its object."""
    return line(NOW).replace("{", "{" + text + ", ", 1)


@pytest.mark.parametrize("before", ["", "noise\n"], ids=repr)
@pytest.mark.parametrize(
    ("text", "whole"),
    [
        pytest.param('"org": 1', False, id="no line names it"),
        pytest.param('"mode": "test"', True, id="a line names it"),
        pytest.param(r'"m\u006fde": "test"', True, id="an escape may hide it"),
        pytest.param('"odd": "mode"', True, id="a value may be a name"),
    ],
)
def test_events_that_cannot_hold_a_field_are_tallied_where_that_is_wanted(
    before: str, text: str, *, whole: bool
) -> None:
    data = before + line(NOW) * 10 + of_mode(text)
    parsed = Parser().parse(chunk_of(data), now=NOW, wanted=lambda _: MODE)
    assert len(modes(parsed)) == (11 if whole else 0)
    tallied = sum(tally.count for tally in parsed.tallies.values())
    assert tallied == (0 if whole else 11)


def test_a_field_that_a_pattern_sets_is_named_by_no_line() -> None:
    given = {"webhook_provider": "p", "event_type": "t", "status": "s", "mode": "test"}
    pattern = Pattern(name="p", regex="^it was a test$", fields=given)
    data = line(NOW) * 10 + "it was a test\n"
    parsed = Parser([pattern]).parse(chunk_of(data), now=NOW, wanted=lambda _: MODE)
    assert modes(parsed) == [None] * 10 + ["test"]


def test_a_field_whose_name_two_chunks_share_is_found() -> None:
    stamp = "2026-11-02T08:00:00.000000000Z stdout"
    text = of_mode('"mode": "test"').rstrip()
    at = text.index("mode") + 2
    parser = Parser()
    found: list[Any] = []
    for data in (f"{stamp} P {text[:at]}\n", f"{stamp} F {text[at:]}\n"):
        chunk = chunk_of(data, log_format=LogFormat.CRI, start=len(found))
        found += modes(parser.parse(chunk, now=NOW, wanted=lambda _: MODE))
    assert found == ["test"]
