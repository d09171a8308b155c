"""Two processes parse as one does: every chunk in its turn, whatever becomes of the second."""

import json
import os
import random
import signal
from collections.abc import Iterator, Sequence

import msgspec
import pytest

from sidecar.ahead.backlog import Assistant
from sidecar.ahead.second import SecondParser, Setup, Task
from sidecar.parse.event import Chunk, Fields, LogFormat, Parsed, Triple, Wanted
from sidecar.parse.parser import Parser
from support.parse import NOW, SAMPLES, agentops_patterns, chunk_of, chunks_of_lines

PATTERNS = agentops_patterns()


def some(triple: Triple) -> Wanted:
    return Fields(("org_id", "nested.deep")) if "payment" in triple[1] else False


def fields(number: int) -> dict[str, object]:
    return {
        "metric_type": "WEBHOOK_METRIC",
        "webhook_provider": "stripe",
        "event_type": ("invoice.created", "invoice.payment_failed")[number % 2],
        "status": "received",
        "timestamp": f"2026-11-02T08:{number // 60 % 60:02}:{number % 60:02}.{number % 1000:06}",
        "org_id": f"org_{number}",
        "attempt_count": number,
        "nested": {"deep": [None, True, 1.5, 2**63]},
    }


def ordinary(first: int, count: int = 50) -> bytes:
    return b"".join(json.dumps(fields(n)).encode() + b"\n" for n in range(first, first + count))


def claims(first: int, count: int = 50) -> bytes:
    lines = (
        f"INFO - noise\nINFO - WEBHOOK_METRIC: {fields(n)}\n" for n in range(first, first + count)
    )
    return "".join(lines).encode()


def pieces(number: int) -> bytes:
    """Two CRI lines, of which the second is only finished by the next such chunk's first."""
    stamp = f"2026-11-02T08:01:{number % 60:02}Z stdout"
    begun = json.dumps(fields(number))
    return f"{stamp} F {begun[30:]}\n{stamp} P {begun[:30]}\n".encode()


def chunks() -> list[Chunk]:
    """Chunks of all kinds, as one log with its positions."""
    kinds = random.Random(5).choices((ordinary, claims, pieces), k=60)
    made: list[Chunk] = []
    start = 0
    for number, kind in enumerate(kinds):
        data = kind(number * 50)
        made.append(Chunk(1, "app.log", LogFormat.AUTO, data, start))
        start += len(data)
    return made


def said(parsed: Parsed) -> Parsed:
    """Return what was found without how: of a field that no event has may be a column of None."""
    if parsed.rows is None:
        return parsed
    kinds = [
        msgspec.structs.replace(
            kind,
            fields={
                name: column if column and any(one is not None for one in column) else None
                for name, column in kind.fields.items()
            },
        )
        for kind in sorted(parsed.rows.kinds, key=lambda kind: kind.triple)
    ]
    return msgspec.structs.replace(parsed, rows=msgspec.structs.replace(parsed.rows, kinds=kinds))


def alone(some_chunks: Sequence[Chunk], now: float = NOW) -> list[Parsed]:
    parser = Parser(PATTERNS)
    return [said(parser.parse(chunk, now=now, wanted=some)) for chunk in some_chunks]


def together(assistant: Assistant, some_chunks: Sequence[Chunk]) -> list[Parsed]:
    parser = Parser(PATTERNS)

    def parse(chunk: Chunk, _now: float) -> Parsed | None:
        return parser.parse_alone(chunk, now=NOW, wanted=some)

    return [
        said(parser.parse(chunk, now=NOW, wanted=some, alone=parsed))
        for chunk, parsed in assistant.ahead(some_chunks, parse, NOW)
    ]


@pytest.fixture(scope="module")
def assistant() -> Iterator[Assistant]:
    """An assistant that has answered already; what happens to none of these tests ends it."""
    one = Assistant(PATTERNS, some)
    while not one.answered and not one.lost:
        together(one, chunks()[:20])
    yield one
    one.close()


def test_both_find_what_one_finds(assistant: Assistant) -> None:
    answered = assistant.answered
    assert together(assistant, chunks()) == alone(chunks())
    assert assistant.answered > answered
    assert 0 < assistant.busy < 60
    assert not assistant.lost


@pytest.mark.parametrize("name", [path.name for path in sorted(SAMPLES.glob("*.log"))])
def test_both_find_what_one_finds_in_the_hosts_logs(assistant: Assistant, name: str) -> None:
    parts = list(chunks_of_lines((SAMPLES / name).read_bytes(), [40]))
    assert together(assistant, parts) == alone(parts)
    assert not assistant.lost


def test_the_second_process_knows_what_a_source_pins(assistant: Assistant) -> None:
    parts = [msgspec.structs.replace(chunk, prefix="INFO - nothing ") for chunk in chunks()]
    assert together(assistant, parts) == alone(parts)
    assert not any(parsed.tallies for parsed in alone(parts)[:5])


def test_chunks_are_asked_for_as_they_are_needed(assistant: Assistant) -> None:
    taken: list[int] = []

    def reading() -> Iterator[Chunk]:
        for number, chunk in enumerate(chunks()):
            taken.append(number)
            yield chunk

    out = assistant.ahead(reading(), lambda _chunk, _now: None, NOW)
    next(out)
    assert len(taken) <= 10
    list(out)


def test_a_chunk_too_large_to_share_is_parsed_here(assistant: Assistant) -> None:
    large = [chunk_of(ordinary(0, 8000)), chunk_of(ordinary(8000))]
    assert len(large[0].data) > 1 << 20
    assert together(assistant, large) == alone(large)
    assert not assistant.lost


def test_when_the_second_process_dies_nothing_is_left_out() -> None:
    assistant = Assistant(PATTERNS, some)
    while not assistant.answered:
        together(assistant, chunks()[:20])
    parser = Parser(PATTERNS)
    found: list[Parsed] = []

    def parse(chunk: Chunk, _now: float) -> Parsed | None:
        return parser.parse_alone(chunk, now=NOW, wanted=some)

    for chunk, parsed in assistant.ahead(chunks(), parse, NOW):
        found.append(parser.parse(chunk, now=NOW, wanted=some, alone=parsed))
        if len(found) == 5:
            os.kill(assistant.pid, signal.SIGKILL)
    assistant.close()
    assert found == alone(chunks())
    assert assistant.lost


def test_a_log_of_endless_event_types_ends_it() -> None:
    def lines(first: int) -> bytes:
        events = ({**fields(n), "event_type": f"type {n}"} for n in range(first, first + 500))
        return b"".join(json.dumps(event).encode() + b"\n" for event in events)

    assistant = Assistant(PATTERNS, some, most_triples=2000)
    many = [chunk_of(lines(first)) for first in range(0, 10_000, 500)]
    while not assistant.lost:
        assert together(assistant, many) == alone(many)
    assistant.close()
    assert assistant.lost == "too many event types"


def test_the_second_process_says_what_it_does_not_know_yet() -> None:
    parser = SecondParser(Setup(PATTERNS))
    data = ordinary(0)
    first = parser.answer(Task(0, len(data), LogFormat.AUTO, 0, NOW, []), data)
    assert first.parsed is None
    assert len(first.unknown) == 2
    told = [(triple, some(triple)) for triple in first.unknown]
    second = parser.answer(Task(0, len(data), LogFormat.AUTO, 0, NOW, told), data)
    assert second.parsed == alone([chunk_of(data)])[0]
    assert not second.unknown


def test_what_depends_on_what_was_read_before_is_left_to_the_daemon() -> None:
    answer = SecondParser(Setup(PATTERNS)).answer(Task(0, 9, LogFormat.AUTO, 0, NOW, []), pieces(1))
    assert answer.parsed is None
    assert not answer.unknown


def test_what_comes_next_is_parsed_while_a_step_ends(assistant: Assistant) -> None:
    parts = chunks()
    parser, asked = Parser(PATTERNS), list[int]()

    def parse(chunk: Chunk, _now: float) -> Parsed | None:
        asked.append(chunk.start)
        return parser.parse_alone(chunk, now=NOW, wanted=some)

    found: list[Parsed] = []
    for n, part in enumerate(parts):
        for chunk, parsed in assistant.ahead([part], parse, NOW, parts[n + 1 : n + 3]):
            found.append(said(parser.parse(chunk, now=NOW, wanted=some, alone=parsed)))
    assert found == alone(parts)
    assert not asked


@pytest.mark.parametrize("later", [0.0, 5.0, -5.0], ids=["another", "too late", "set back"])
def test_what_was_foreseen_and_comes_otherwise_is_parsed_anew(
    assistant: Assistant, later: float
) -> None:
    parts = chunks()
    others = [msgspec.structs.replace(part, start=part.start + 1) for part in parts]
    foreseen = others if later == 0.0 else parts
    parser = Parser(PATTERNS)

    def parse(chunk: Chunk, now: float) -> Parsed | None:
        return parser.parse_alone(chunk, now=now, wanted=some)

    list(assistant.ahead(parts[:1], parse, NOW, foreseen[1:4]))
    found = [
        said(parser.parse(chunk, now=NOW + later, wanted=some, alone=parsed))
        for chunk, parsed in assistant.ahead(parts[1:], parse, NOW + later)
    ]
    assert found == alone(parts, NOW + later)[1:]
    assert not assistant.lost
