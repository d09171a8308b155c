"""A source with a key: only lines with the right HMAC are read, in every wrapping."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.host.webhook_metric import KEY_FILE, configure, metric
from sidecar.parse.event import Chunk, ForeignReason, LogFormat, Parsed
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern
from support.parse import NOW, everything, nothing

KEY = b"shared key"
PAID = {"event_type": "e", "status": "paid"}
SENTENCE = Pattern(name="p", regex="^paid by (?P<org_id>\\w+)$", fields=PAID)
Lines = Callable[[int], list[str]]
FORGED = json.dumps({"metric_type": "WEBHOOK_METRIC", "event_type": "e", "status": "forged"})


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Return what the helper writes with the key, so many lines."""
    (tmp_path / "key").write_bytes(KEY + b"\n")

    def lines(count: int) -> list[str]:
        monkeypatch.setenv(KEY_FILE, str(tmp_path / "key"))
        configure(tmp_path / "log")
        for number in range(count):
            metric("e", "right", number=number, note='", "hmac": "')
        monkeypatch.delenv(KEY_FILE)
        configure()
        return (tmp_path / "log").read_text().splitlines()

    return lines


def plain(line: str) -> str:
    return line


def docker(line: str) -> str:
    return json.dumps({"log": line + "\n", "stream": "stderr", "time": "2026-11-02T08:00:00Z"})


def cri(line: str) -> str:
    return f"2026-11-02T08:00:00.0Z stderr F {line}"


def parse(lines: list[str], wanted: Callable[..., bool] = everything) -> Parsed:
    data = "".join(line + "\n" for line in lines).encode()
    chunk = Chunk(1, "a.log", LogFormat.AUTO, data, 700, None, KEY)
    return Parser([SENTENCE]).parse(chunk, now=NOW, wanted=wanted)


def found(parsed: Parsed) -> tuple[int, list[tuple[ForeignReason, int]]]:
    events = len(parsed.events) + sum(tally.count for tally in parsed.tallies.values())
    return events, [(line.reason, line.position) for line in parsed.foreign]


@pytest.mark.parametrize("wanted", [everything, nothing])
@pytest.mark.parametrize("wrap", [plain, docker, cri])
@pytest.mark.parametrize("count", [1, 30], ids=["alone", "in a block"])
def test_only_signed_lines_are_events(
    signed: Lines, count: int, wrap: Callable[[str], str], wanted: Callable[..., bool]
) -> None:
    right = [wrap(line) for line in signed(count)]
    lines = [*right, wrap(FORGED), wrap("paid by org_1"), wrap("GET / 200"), ""]
    place = 700 + sum(len(line) + 1 for line in right)
    assert found(parse(lines, wanted)) == (count, [(ForeignReason.UNSIGNED, place)])


def test_a_refused_line_moves_no_evidence(signed: Lines) -> None:
    (line,) = signed(1)
    parsed = parse([FORGED, line])
    assert parsed.places == [700 + len(FORGED) + 1]
    assert parsed.lines == 2


def test_any_change_to_a_signed_line_is_refused(signed: Lines) -> None:
    (line,) = signed(1)
    digest = line[-66:-2]
    changed = [
        line.replace("right", "wrong"), line.replace(digest, digest.upper()), line + " ",
        line.replace(digest, "0" * 64), line.replace(digest, ""), line[:-1], line[:-2], "x" + line,
        line + line, line.replace('"}', '", "status": "forged"}'), f"INFO {line}",
        line.replace(digest, "ü" * 32),
    ]  # fmt: skip
    for one in changed:
        events, foreign = found(parse([one]))
        assert (events, len(foreign)) == (0, 1), one


def test_a_line_signed_under_another_key_is_refused(signed: Lines) -> None:
    data = "".join(f"{line}\n" for line in signed(3)).encode()
    chunk = Chunk(1, "a.log", LogFormat.AUTO, data, 0, None, b"another key")
    parsed = Parser().parse(chunk, now=NOW, wanted=everything)
    assert found(parsed)[0] == 0
    assert len(parsed.foreign) == 3


@pytest.mark.parametrize("wrap", [docker, cri])
def test_a_forged_line_among_wrapped_ones_has_its_place_in_the_file(
    signed: Lines, wrap: Callable[[str], str]
) -> None:
    before = [wrap(line) for line in signed(12)]
    place = 700 + sum(len(line) + 1 for line in before)
    assert found(parse([*before, wrap(FORGED)])) == (12, [(ForeignReason.UNSIGNED, place)])
