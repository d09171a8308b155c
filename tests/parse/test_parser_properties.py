"""What holds for any bytes: nothing raises, and neither cutting nor wanting changes the outcome."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.container import Lines
from sidecar.parse.event import Chunk, LogFormat, Parsed, Triple
from sidecar.parse.parser import Parser
from support.parse import (
    NOW,
    SAMPLES,
    agentops_patterns,
    chunk_of,
    chunks_of_lines,
    counts,
    everything,
    nothing,
)

NAMES = [path.name for path in sorted(SAMPLES.glob("*.log"))]
PATTERNS = agentops_patterns()
LINES = [line[:3000] for name in NAMES for line in (SAMPLES / name).read_bytes().splitlines()[:60]]
NOISE = [b"", b"{}", b"noise", b"INFO \"quoted\" 'it'", b"WEBHOOK_METRIC", b'{"log":', b"{{}}"]
good_lines = st.sampled_from(LINES + NOISE)


@st.composite
def mutated_lines(draw: st.DrawFn) -> bytes:
    """A good line with a slice of it cut, doubled or replaced by a few odd bytes."""
    line = draw(good_lines)
    begin = draw(st.integers(0, len(line)))
    end = draw(st.integers(begin, min(len(line), begin + 20)))
    odd = st.sampled_from([b"", line[begin:end] * 2, b"'", b'"', b"\\", b"{", b"}", b"]", b"None"])
    return line[:begin] + draw(odd | st.binary(max_size=6)) + line[end:]


chunks = st.lists(good_lines | mutated_lines() | st.binary(max_size=40), max_size=8).map(b"\n".join)


def parse(data: bytes, wanted: Any, form: LogFormat = LogFormat.AUTO) -> Parsed:
    return Parser(PATTERNS).parse(chunk_of(data, log_format=form), now=NOW, wanted=wanted)


def outcome(results: Sequence[Parsed]) -> tuple[Any, ...]:
    return (
        [repr(event) for parsed in results for event in parsed.events],
        counts(results),
        [(reject.reason, reject.position) for parsed in results for reject in parsed.rejects],
        sum(parsed.lines for parsed in results),
        sum(parsed.future for parsed in results),
        sum(parsed.bad_times for parsed in results),
        max((parsed.last_at for parsed in results if parsed.last_at is not None), default=None),
    )


@given(chunks, st.sampled_from(LogFormat))
def test_no_bytes_raise_and_what_comes_out_can_be_stored(data: bytes, form: LogFormat) -> None:
    parsed = parse(data, everything, form)
    for event in parsed.events:
        assert all(0 < len(text) <= 200 for text in event.triple)
        json.dumps(event.fields, ensure_ascii=False).encode()
    for reject in parsed.rejects:
        assert len(reject.sample) <= 4096


@given(chunks, st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_cutting_at_newlines_changes_nothing(data: bytes, sizes: list[int]) -> None:
    parser = Parser(PATTERNS)
    parts = [
        parser.parse(chunk, now=NOW, wanted=everything) for chunk in chunks_of_lines(data, sizes)
    ]
    assert outcome(parts) == outcome([parse(data, everything)])


def docker(line: bytes, second: int) -> bytes:
    text = line.decode("utf-8", "replace") + "\n"
    at = f"2026-11-06T08:00:{second:02}.5Z"
    return json.dumps({"log": text, "stream": "stdout", "time": at}).encode() + b"\n"


def cri(line: bytes, second: int) -> bytes:
    return b"2026-11-06T08:00:%02d.5Z stdout F %s\n" % (second, line)


def lines_said(chunk: Chunk, parsed: Parsed) -> tuple[Any, ...]:
    """Return the lines that events were found in, and where those are that were told of."""
    foreign = [(one.reason, one.position) for one in parsed.foreign]
    obscure = [(one.reason, one.position) for one in parsed.obscure]
    return [Lines(chunk, parsed).line_at(place) for place in parsed.places], foreign, obscure


@given(
    st.lists(good_lines | mutated_lines(), min_size=1, max_size=12),
    st.sampled_from([docker, cri]),
    st.integers(0, 3),
)
def test_wrapped_lines_come_to_what_each_of_them_does(
    lines: list[bytes], wrap: Callable[[bytes, int], bytes], times: int
) -> None:
    """A line that is not wrapped has all of them read one by one."""
    flat = [line.replace(b"\n", b" ") for line in lines * (2**times)]
    data = b"".join(wrap(line, number % 60) for number, line in enumerate(flat))
    together, singly = chunk_of(data), chunk_of(data + b"noise\n")
    found = Parser(PATTERNS).parse(together, now=NOW, wanted=everything)
    each = Parser(PATTERNS).parse(singly, now=NOW, wanted=everything)
    each.lines -= 1
    assert outcome([found]) == outcome([each])
    assert lines_said(together, found) == lines_said(singly, each)


@pytest.mark.parametrize("wrap", [docker, cri])
def test_the_hosts_log_is_told_from_a_wrapped_chunk_alone(
    wrap: Callable[[bytes, int], bytes],
) -> None:
    lines = (SAMPLES / "agentops-host.log").read_bytes().splitlines()
    data = b"".join(wrap(line, number % 60) for number, line in enumerate(lines))
    found = Parser(PATTERNS).parse_alone(chunk_of(data), now=NOW, wanted=nothing)
    assert found is not None
    assert counts([found]) == counts([parse(b"\n".join(lines), nothing)])


@given(chunks)
def test_what_is_wanted_changes_only_how_events_are_handed_over(data: bytes) -> None:
    def some(triple: Triple) -> bool:
        return triple[2] in {"processed", "past_due"}

    whole, tallied, mixed = (parse(data, wanted) for wanted in (everything, nothing, some))
    assert outcome([whole])[1:] == outcome([tallied])[1:] == outcome([mixed])[1:]
    assert [repr(e) for e in whole.events if some(e.triple)] == [repr(e) for e in mixed.events]
