"""What holds the hot path where it is: calls and memory for each line, counted and not timed."""

import json
import tracemalloc
from collections.abc import Callable

import pytest

from sidecar.parse.event import Chunk, Parsed, Triple
from sidecar.parse.parser import Parser
from support.calls import calls
from support.parse import NOW, SAMPLES, agentops_patterns, chunk_of, nothing

LINES = 2000
NOISE = '2026-11-02 08:01:16 - DEBUG - "GET /health HTTP/1.1" 200\n' * 9


def event(number: int) -> dict[str, str]:
    return {
        "metric_type": "WEBHOOK_METRIC",
        "webhook_provider": "stripe",
        "event_type": "invoice.created",
        "status": "paid" if number % 10 == 0 else "received",
        "timestamp": f"2026-11-02T08:01:{number % 60:02}.{number:06}",
        "org_id": f"org_{number}",
    }


def objects() -> str:
    return "".join(json.dumps(event(number)) + "\n" for number in range(LINES))


def reprs() -> str:
    return "".join(f"INFO - WEBHOOK_METRIC: {event(number)}\n" for number in range(LINES))


def mixed() -> str:
    claims = (f"INFO - WEBHOOK_METRIC: {json.dumps(event(n))}\n" for n in range(LINES // 10))
    return "".join(NOISE + claim for claim in claims)


def between_others() -> str:
    return f"talking about WEBHOOK_METRIC\n{objects()}"


def two_in_a_line() -> str:
    return reprs().replace("\n", " ", 1)


def cut_others() -> str:
    one = json.dumps({"level": "info", "req": {"id": 7, "path": ["/x", "y"]}}, indent=2)
    return f"{(one + chr(10)) * (LINES // 8)}{one[:30]}\n"


def torn() -> str:
    return f"{objects()}INFO - WEBHOOK_METRIC:\n"


def host() -> str:
    return (SAMPLES / "agentops-host.log").read_text() * 2


def paid(triple: Triple) -> bool:
    return triple[2] == "paid"


def ready(text: str) -> tuple[Parser, Chunk]:
    """Return a parser that has seen its first chunk, and the chunk."""
    parser, chunk = Parser(agentops_patterns()), chunk_of(text)
    parser.parse(chunk, now=NOW, wanted=nothing)
    return parser, chunk


@pytest.mark.parametrize(
    ("text", "wanted", "most"),
    [
        pytest.param(objects, nothing, 0.09, id="objects, only counted"),
        pytest.param(objects, paid, 1.0, id="objects, one in ten whole"),
        pytest.param(reprs, nothing, 4.5, id="reprs, only counted"),
        pytest.param(mixed, nothing, 0.3, id="nine lines of noise to an event"),
        pytest.param(between_others, nothing, 8, id="objects, and a line that mentions the marker"),
        pytest.param(two_in_a_line, nothing, 9, id="reprs, of which two share a line"),
        pytest.param(cut_others, nothing, 0.5, id="others' indented objects, the last one cut"),
        pytest.param(torn, nothing, 0.4, id="objects, and one torn behind its marker"),
        pytest.param(host, nothing, 28, id="the real host's log, a line in four odd or a sentence"),
        pytest.param(lambda: NOISE * 222, nothing, 0.04, id="noise"),
    ],
)
def test_calls_for_each_line(
    text: Callable[[], str], wanted: Callable[[Triple], bool], most: float
) -> None:
    parser, chunk = ready(text())
    parsed = Parsed()

    def run() -> None:
        nonlocal parsed
        parsed = parser.parse(chunk, now=NOW, wanted=wanted)

    made = calls(run)
    assert parsed.lines >= LINES - 10
    assert made / parsed.lines <= most


@pytest.mark.parametrize(
    ("text", "most"),
    [
        pytest.param(objects, 4.0, id="objects"),
        pytest.param(reprs, 6.0, id="reprs"),
        pytest.param(mixed, 3.5, id="nine lines of noise to an event"),
    ],
)
def test_memory_at_most_for_each_byte_read(text: Callable[[], str], most: float) -> None:
    parser, chunk = ready(text())
    tracemalloc.start()
    try:
        parsed = parser.parse(chunk, now=NOW, wanted=nothing)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert parsed.lines == LINES
    assert peak / len(chunk.data) <= most


def test_what_is_kept_of_tallied_events_is_a_tally() -> None:
    parser, chunk = ready(objects())
    tracemalloc.start()
    try:
        parsed = parser.parse(chunk, now=NOW, wanted=nothing)
        kept, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(parsed.tallies) == 2
    assert kept < 10_000
