"""Events as rows of a few fields: the same events, the same values, in the same order."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.columns import Columns
from sidecar.parse.container import Lines
from sidecar.parse.event import Chunk, Event, Fields, LogFormat, Parsed
from sidecar.parse.parser import Parser
from support.calls import calls

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.log"))
NAMES = [
    "org_id",
    "n",
    "a.b",
    "a.is_null",
    "a.b.is_null",
    "usage_costs.spans",
    "log",
    "attempt_count",
]
NOW = 1_800_000_000.0
ODD = {"org_id": "odd", "event_type": "x", "status": "s", "timestamp": "2026-11-02 08:00:00"}


def read(
    data: bytes, names: list[str] | None, parser: Parser | None = None
) -> tuple[Chunk, Parsed]:
    chunk = Chunk(1, "a.log", LogFormat.AUTO, data, 1000)
    wanted = True if names is None else Fields(tuple(names))
    parser = parser or Parser()
    return chunk, parser.parse(chunk, now=NOW, wanted=lambda t: t[1] != "unwanted" and wanted)


def compare(data: bytes) -> int:
    """Hold rows against events; return how many of the events stand in rows.

    Twice: at first the fields asked for are decoded after the labels, from then on with them.
    """
    _, whole = read(data, None)
    parser = Parser()
    found = {held_against(whole, *read(data, NAMES, parser)) for _ in range(2)}
    assert len(found) == 1
    return found.pop()


def held_against(whole: Parsed, chunk: Chunk, parsed: Parsed) -> int:
    if parsed.rows is None:
        assert parsed == whole
        return 0
    columns = Columns.of_rows(parsed.rows, Lines(chunk, parsed).object_at)
    made = [columns.event(number) for number in range(len(columns))]
    assert [n for n, one in enumerate(made) if one != whole.events[n]] == []
    assert len(made) == len(whole.events)
    assert parsed.places == whole.places
    assert (parsed.tallies, parsed.rejects, parsed.foreign, parsed.lines) == (
        whole.tallies, whole.rejects, whole.foreign, whole.lines,
    )  # fmt: skip
    assert (parsed.last_at, parsed.future) == (whole.last_at, whole.future)
    for name in NAMES:
        assert same(columns.column(name), [event.get(name) for event in whole.events])
    return len(made)


def same(one: Any, other: Any) -> bool:
    """Return whether both are equal, and of the same types: 1 is not 1.0 or true."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_rows_of_the_samples_are_their_events(path: Path) -> None:
    compare(path.read_bytes())


@pytest.mark.parametrize("written", [json.dumps, repr], ids=["json", "repr"])
def test_alike_lines_stand_in_rows_and_odd_ones_between_them(written: Any) -> None:
    lines = [
        f"2026-11-02 08:00:0{n % 10} - INFO - WEBHOOK_METRIC: "
        + written({**ODD, "org_id": f"o{n}", "n": n, "timestamp": f"2026-11-02T08:00:0{n % 10}"})
        for n in range(30)
    ]
    lines[7] = f"2026-11-02 08:00:07 - INFO - WEBHOOK_METRIC: {ODD}"
    assert compare("\n".join([*lines, ""]).encode()) == 30


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["it's", '"', "\\"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
)
records = st.dictionaries(st.sampled_from(["org_id", "n", "a", "a.b", "log", "other"]), values)


@given(st.lists(records, min_size=9, max_size=14), st.sampled_from(["repr", "json", "bare"]))
def test_rows_of_any_records_are_their_events(some: list[dict[str, Any]], form: str) -> None:
    head = {"metric_type": "WEBHOOK_METRIC", "event_type": "x", "status": "s"}
    lines = []
    for number, record in enumerate(some):
        one = {**head, "timestamp": f"2026-11-02T08:00:{number:02}", **record}
        text = repr(one) if form == "repr" else json.dumps(one, ensure_ascii=number % 2 == 0)
        lines.append(text if form == "bare" else f"INFO - WEBHOOK_METRIC: {text}")
    compare("".join(line.replace("\n", " ") + "\n" for line in lines).encode("utf-8", "replace"))


@pytest.mark.parametrize("byte", [b"\xff", b"\xc3"])
def test_bytes_that_are_no_text_make_no_rows(byte: bytes) -> None:
    line = b'{"metric_type":"WEBHOOK_METRIC","event_type":"x","status":"s",'
    line += b'"timestamp":"2026-11-02T08:00:00","org_id":"a","other":"%s"}\n'
    data = (line % b"x") * 20 + line % byte
    assert compare(data) == 0


def test_a_row_costs_few_calls() -> None:
    line = json.dumps({"metric_type": "WEBHOOK_METRIC", **ODD, "timestamp": "2026-11-02T08:00:00"})

    def spent(lines: int) -> int:
        data = f"{line}\n".encode() * lines
        return calls(lambda: read(data, ["org_id", "attempt_count"]))

    assert (spent(300) - spent(100)) / 200 <= 20


def test_an_event_that_cannot_be_made_again_has_what_was_asked_for() -> None:
    _, parsed = read(
        (
            json.dumps({"metric_type": "WEBHOOK_METRIC", **ODD, "timestamp": "2026-11-02T08:00:00"})
            + "\n"
        ).encode()
        * 20,
        ["org_id"],
    )
    assert parsed.rows is not None
    columns = Columns.of_rows(parsed.rows, lambda _: b"{")
    assert columns.event(3) == Event(
        *columns.triples[3], columns.times[3], {"org_id": "odd", **parsed.rows.own}
    )
