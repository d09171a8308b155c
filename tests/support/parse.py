"""What the parser's tests share: chunks of text, and a parser's outcome in comparable form."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sidecar.parse.event import Chunk, Event, LogFormat, Parsed, Triple
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern

SAMPLES = Path(__file__).parents[1] / "samples"
RULES = Path(__file__).parents[2] / "rules"
EXPECTED: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text())
NOW = 1_800_000_000.0  # 2027-01-15, after every stamp in the samples


def everything(_triple: Triple) -> bool:
    return True


def nothing(_triple: Triple) -> bool:
    return False


def chunk_of(
    data: bytes | str,
    *,
    start: int = 0,
    file: int = 1,
    log: str = "",
    log_format: LogFormat = LogFormat.AUTO,
    prefix: str | None = None,
) -> Chunk:
    raw = data.encode() if isinstance(data, str) else data
    return Chunk(file, log, log_format, raw, start, prefix)


def parse(data: bytes | str, *, log_format: LogFormat = LogFormat.AUTO, now: float = NOW) -> Parsed:
    return Parser().parse(chunk_of(data, log_format=log_format), now=now, wanted=everything)


def read_out(parser: Parser, chunks: Iterable[Chunk]) -> list[Parsed]:
    """Return what the chunks come to, and then what is left unfinished in them."""
    read = [parser.parse(chunk, now=NOW, wanted=everything) for chunk in chunks]
    return read + [parsed for _, parsed in parser.end_open(NOW, everything, age=0.0)]


def event_in(line: bytes | str, **options: Any) -> Event:
    """Return the single event of one line."""
    raw = line.encode() if isinstance(line, str) else line
    (event,) = parse(raw + b"\n", **options).events
    return event


def counts(results: Iterable[Parsed]) -> Counter[Triple]:
    """Return events and tallies together, per triple."""
    total: Counter[Triple] = Counter()
    for parsed in results:
        total.update(event.triple for event in parsed.events)
        total.update({triple: tally.count for triple, tally in parsed.tallies.items()})
    return total


def expected_counts(name: str) -> Counter[Triple]:
    return Counter({(p, e, s): count for p, e, s, count in EXPECTED[name]["by"]})


def chunks_of_lines(data: bytes, sizes: Sequence[int], file: int = 1) -> list[Chunk]:
    """Cut `data` at newlines into chunks of the given numbers of lines, over and over."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+\Z", data)
    chunks = []
    position = at = turn = 0
    while at < len(lines):
        part = b"".join(lines[at : at + sizes[turn % len(sizes)]])
        chunks.append(chunk_of(part, start=position, file=file))
        position += len(part)
        at += sizes[turn % len(sizes)]
        turn += 1
    return chunks


def agentops_patterns() -> list[Pattern]:
    return patterns_of("agentops.patterns.yaml")


@cache
def patterns_of(name: str) -> list[Pattern]:
    """Return the patterns of a shipped file, which are read once."""
    loaded = yaml.safe_load((RULES / name).read_text())
    return [Pattern(**pattern) for pattern in loaded["patterns"]]
