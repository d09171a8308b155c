"""Where an event's line stands: every event of every form leads back to its line."""

import json
import pprint
from pathlib import Path

import pytest

from sidecar.parse.container import Lines
from sidecar.parse.event import Chunk, Event, LogFormat, Parsed
from sidecar.parse.parser import Parser
from support.parse import chunk_of, everything

SAMPLES = Path(__file__).parents[1] / "samples"
NOW = 1793606400.0
START = 1000


def parsed(data: bytes, start: int = START) -> tuple[Chunk, Parsed]:
    chunk = Chunk(1, "app.log", LogFormat.AUTO, data, start)
    return chunk, Parser().parse(chunk, now=NOW, wanted=lambda _: True)


@pytest.mark.parametrize(
    "name",
    [
        "agentops-host.log", "cri.log", "docker-json.log", "json-lines.log", "json-prefixed.log",
        "structured.log", "hostile.log",
    ],
)  # fmt: skip
def test_each_event_of_the_samples_leads_back_to_its_line(name: str) -> None:
    data = (SAMPLES / name).read_bytes()
    chunk, found = parsed(data)
    assert len(found.places) == len(found.events) > 0
    for event, place in zip(found.events, found.places, strict=True):
        line = Lines(chunk, found).line_at(place)
        assert line is not None
        offset, text = line
        assert data[offset - START :].startswith(text)
        assert offset == START or data[offset - START - 1 : offset - START] == b"\n"
        assert event.event_type.encode() in text or b'"log"' in text or b" P " in text


RECORDS = [
    json.dumps({
        "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe", "event_type": "x",
        "status": "s", "timestamp": "2026-11-02T08:00:00", "n": n, "org_id": "o" * (n % 7),
    })
    for n in range(50)
]  # fmt: skip


def wrapped(line: str) -> str:
    return json.dumps({"log": f"{line}\n", "stream": "stdout", "time": "2026-11-02T08:00:00Z"})


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(RECORDS, id="objects alone"),
        pytest.param([f"INFO - WEBHOOK_METRIC: {one}" for one in RECORDS], id="behind a marker"),
        pytest.param(
            [text for one in RECORDS for text in (f"INFO - WEBHOOK_METRIC: {one}", "and more")],
            id="with other lines between",
        ),
        pytest.param(
            [f"WEBHOOK_METRIC: {one}" + "}" * (n % 5 == 0) for n, one in enumerate(RECORDS)],
            id="with odd ones among them",
        ),
        pytest.param([wrapped(f"WEBHOOK_METRIC: {one}") for one in RECORDS], id="of Docker"),
        pytest.param(
            [f"2026-11-02T08:00:00.0Z stdout F WEBHOOK_METRIC: {one}" for one in RECORDS], id="CRI"
        ),
    ],
)
def test_a_block_of_alike_lines_knows_each_ones_place(lines: list[str]) -> None:
    chunk, found = parsed("\n".join([*lines, ""]).encode())
    assert len(found.events) >= 40
    for event, place in zip(found.events, found.places, strict=True):
        line = Lines(chunk, found).line_at(place)
        assert line is not None
        assert alone(line[1]).fields["n"] == event.fields["n"]


def alone(line: bytes) -> Event:
    return parsed(line + b"\n")[1].events[0]


def test_a_line_that_began_in_a_chunk_before_is_not_found() -> None:
    chunk, found = parsed(b"{}\n")
    assert Lines(chunk, found).line_at(START - 1) is None


@pytest.mark.parametrize(
    "printed",
    [
        json.dumps(json.loads(RECORDS[0]), indent=2),
        f"INFO - WEBHOOK_METRIC: {json.dumps(json.loads(RECORDS[0]), indent=2)}",
        f"INFO - WEBHOOK_METRIC:\n{RECORDS[0]}",
        pprint.pformat(json.loads(RECORDS[0])),
    ],
)
def test_an_event_over_lines_leads_back_to_all_of_them(printed: str) -> None:
    chunk, found = parsed(f"noise\n{printed}\n  at noise\n}}\n".encode())
    assert len(found.events) == 1
    line = Lines(chunk, found).line_at(found.places[0])
    assert line == (START + 6, printed.replace("\n", " ").encode())


@pytest.mark.parametrize("file", [1, 2])
def test_an_object_that_began_in_a_chunk_or_file_before_leads_back_to_all_its_lines(
    file: int,
) -> None:
    printed = json.dumps(json.loads(RECORDS[0]), indent=2)
    data = f"noise\n{printed}\n".encode()
    cut = data.index(b"\n", 20) + 1
    parser = Parser()
    parser.parse(chunk_of(data[:cut], start=0), now=NOW, wanted=everything)
    rest = chunk_of(data[cut:] + b"noise\n" * 9, start=cut if file == 1 else 0, file=file)
    found = parser.parse(rest, now=NOW, wanted=everything)
    assert Lines(rest, found).line_at(found.places[0]) == (6, printed.replace("\n", " ").encode())
