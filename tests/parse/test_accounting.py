"""Every line has one outcome, and all outcomes together are the lines."""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.event import LogFormat, ObscureReason, Parsed
from sidecar.parse.parser import Parser
from support.parse import NOW, SAMPLES, agentops_patterns, chunks_of_lines, everything, parse

EVENT = "WEBHOOK_METRIC: {'event_type': 'e', 'status': 's'}"
OBJECT = '{"metric_type": "WEBHOOK_METRIC", "event_type": "e", "status": "s"}'
STAMP = "2026-11-20 08:07:00"
DOCKER = '{{"log": {}, "stream": "stdout", "time": "2026-11-20T08:07:00Z"}}'


def docker(text: str) -> str:
    return DOCKER.format(json.dumps(text))


# A line, and what it is counted as.
LINES = {
    f"{STAMP} - INFO - {EVENT}": "events",
    OBJECT: "events",
    f"{OBJECT}{OBJECT}": "events",
    f"{STAMP} - INFO - WEBHOOK_METRIC: {{'event_type': 'e'}}": "rejects",
    "WEBHOOK_METRIC: {'event_type': 'e', 'sta": "rejects",
    f"{STAMP} - WARNING - Unknown coupon code: {EVENT}": "foreign",
    f"He says\rHe says {EVENT}\rHe says {EVENT}": "foreign",
    "WEBHOOK_METRIC exporter is on": "not_understood",
    '{"metric_type": "OTHER", "about": "WEBHOOK_METRIC"}': "not_understood",
    "GET /health 200": "ignored",
    "": "ignored",
    docker(f"{EVENT}\n"): "events",
    docker("nothing\n"): "ignored",
}


def counted(parsed: list[Parsed]) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in parsed:
        found["events"] += one.event_lines
        found["rejects"] += len(one.rejects)
        found["foreign"] += len(one.foreign)
        found["not_understood"] += len(one.obscure)
        found["pieces"] += one.pieces
        found["ignored"] += one.ignored
        assert one.ignored >= 0
    return found


def read(lines: list[str], sizes: list[int]) -> list[Parsed]:
    parser = Parser()
    data = "".join(f"{line}\n" for line in lines).encode()
    chunks = chunks_of_lines(data, sizes)
    return [parser.parse(chunk, now=NOW, wanted=everything) for chunk in chunks]


@pytest.mark.parametrize("sizes", [[10_000], [7, 1, 400]], ids=repr)
def test_ten_thousand_mixed_lines_are_accounted_for(sizes: list[int]) -> None:
    lines = random.Random(22).choices([*LINES], k=10_000)
    parsed = read(lines, sizes)
    found = counted(parsed)
    assert +found == Counter(LINES[line] for line in lines)
    assert found.total() == sum(one.lines for one in parsed) == len(lines)


@given(st.lists(st.sampled_from([*LINES]), min_size=1, max_size=40), st.integers(1, 9))
def test_lines_alike_or_not_add_up(lines: list[str], times: int) -> None:
    lines = [line for line in lines for _ in range(times)]
    assert +counted(read(lines, [len(lines)])) == Counter(LINES[line] for line in lines)


@pytest.mark.parametrize(
    "sample", ["hostile.log", "docker-json.log", "cri.log", "structured.log", "host-text.log"]
)
def test_the_lines_of_the_samples_add_up(sample: str) -> None:
    data = (SAMPLES / sample).read_bytes()
    parser = Parser(agentops_patterns())
    chunks = chunks_of_lines(data, [50])
    parsed = [parser.parse(chunk, now=NOW, wanted=everything) for chunk in chunks]
    assert (
        counted(parsed).total()
        == sum(one.lines for one in parsed)
        == sum(chunk.data.count(b"\n") + (not chunk.data.endswith(b"\n")) for chunk in chunks)
    )


@pytest.mark.parametrize("container", ["docker", "cri"])
def test_pieces_of_a_line_are_counted_as_such(container: str) -> None:
    stamp = f"{STAMP[:10]}T{STAMP[11:]}Z stdout"
    event = EVENT.replace("{", f"{{'pad': '{'x' * 20_000}', ")
    halves = event[: 16 * 1024], event[16 * 1024 :]
    if container == "docker":
        lines = [docker(halves[0]), docker(halves[1] + "\n")]
    else:
        lines = [f"{stamp} P {halves[0]}", f"{stamp} F {halves[1]}"]
    assert +counted(read(lines, [1])) == {"pieces": 1, "events": 1}


def test_a_marker_without_any_event_is_seen() -> None:
    parsed = parse("WEBHOOK_METRIC exporter is on\nsee WEBHOOK_METRIC=1\n")
    assert [(one.reason, one.position, one.sample) for one in parsed.obscure] == [
        (ObscureReason.MENTIONED, 0, "WEBHOOK_METRIC exporter is on"),
        (ObscureReason.OTHER_FORM, 30, "see WEBHOOK_METRIC=1"),
    ]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be", "utf-16"])
def test_utf16_is_said(order: str) -> None:
    parsed = parse("".join(f"{EVENT}\n" for _ in range(3)).encode(order), log_format=LogFormat.AUTO)
    assert [one.reason for one in parsed.obscure] == [ObscureReason.UTF16] * 3


def test_four_processes_that_print_json_into_one_file(tmp_path: Path) -> None:
    """`print` writes the newline by itself: `{…}{…}`, and then empty lines."""
    log = tmp_path / "app.log"
    script = f"for _ in range(200): print({OBJECT!r})"
    with log.open("ab") as out:
        hosts = [
            subprocess.Popen([sys.executable, "-u", "-c", script], stdout=out) for _ in range(4)
        ]
        assert [host.wait() for host in hosts] == [0] * 4
    parsed = [
        Parser().parse(chunk, now=NOW, wanted=everything)
        for chunk in chunks_of_lines(log.read_bytes(), [100])
    ]
    assert sum(len(one.events) for one in parsed) == 800
    assert not any(one.rejects or one.foreign or one.obscure for one in parsed)
