"""Lines per second against mtail; both count the same three labels of the same file.

Both as they are used: the daemon with the shipped rules, durable commits and /metrics on; mtail
in one-shot mode. Start-up is measured apart, on an empty file, and taken off. Runs alternate;
what counts is the ratio within a pair, for machines drift.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench import lines
from bench.daemon import Daemon, Spent, counted, rest, running, write_config
from bench.peers import missing, mtail_seconds
from bench.table import Row, faster, skipped


class Race(NamedTuple):
    """What both read: `write` writes so many lines and returns how many of them are events.

    `times` as many lines as asked for, or a run is over before it is measured; `quote` is the one
    in the records; `sentences`: whether plain sentences are counted as well.
    """

    write: Callable[[Path, int], int]
    times: float
    quote: str
    must: float
    aim: float
    sentences: bool = False


def _all(write: Callable[[Path, int], None], per_event: int = 1) -> Callable[[Path, int], int]:
    """Return the same for a `write` that is told how many events there are to be."""

    def written(path: Path, count: int) -> int:
        write(path, count // per_event)
        return count // per_event

    return written


RACES = {
    "all lines are events, JSON, lines/s": Race(_all(lines.write_json), 1, '"', 4, 10),
    "one line in ten is an event, lines/s": Race(_all(lines.write_mixed, 10), 4, '"', 12, 25),
    "the host's Python reprs, lines/s": Race(_all(lines.write_repr), 1, "'", 2, 4),
    "the host's log with its sentences, lines/s": Race(
        lines.write_host, 0.25, "'", 1.5, 2.5, sentences=True
    ),
}
STARTS = 3
_FIRST = lines.failure(lines.start(), "org_first", 1)


def sidecar_seconds(
    log: Path,
    expected: int,
    rule_files: list[Path] | None = None,
    pattern_files: list[Path] | None = None,
) -> Spent:
    """Return what it takes from the start until `log` is committed, all its events counted.

    With the shipped rules, or `rule_files`, and patterns, or `pattern_files`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_config(folder, log, rule_files=rule_files, pattern_files=pattern_files)
        with running(config, listening=False) as daemon:
            spent = Spent(daemon.wait_read(log.stat().st_size), daemon.cpu_seconds())
            found = _settled(daemon, expected)
    if found != expected:
        raise SystemExit(f"the sidecar counted {found} of {expected}")
    return spent


def _settled(daemon: Daemon, expected: int) -> int:
    """Return how many events are counted; what is committed is shown a moment later."""
    found = counted(daemon.metrics())
    for _ in range(50):
        if found == expected:
            break
        rest(0.1)
        found = counted(daemon.metrics())
    return found


@dataclass(frozen=True)
class Rates:
    """Runs over one file, start-up taken off: lines per second, microseconds of CPU per line."""

    lines: list[float]
    cpu: list[float]

    @classmethod
    def of(cls, count: int, runs: Sequence[Spent], starts: Sequence[Spent]) -> "Rates":
        clock = statistics.median(start.clock for start in starts)
        cpu = statistics.median(start.cpu for start in starts)
        return cls(
            [count / (run.clock - clock) for run in runs],
            [(run.cpu - cpu) / count * 1e6 for run in runs],
        )

    def __str__(self) -> str:
        return f"{statistics.median(self.lines):,.0f} ({statistics.median(self.cpu):.2f} us CPU)"


def compare(name: str, count: int, runs: int, folder: Path) -> Row:
    """Return one row: median lines/s of both and the ratio with its spread."""
    race = RACES[name]
    count = int(count * race.times)
    log, first = folder / "bench.log", folder / "first.log"
    events = race.write(log, count)
    first.write_text(_FIRST)
    starts = [sidecar_seconds(first, 1) for _ in range(STARTS)]
    peer_starts = [mtail_seconds(first, '"', 1) for _ in range(STARTS)]
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(sidecar_seconds(log, events))
        theirs.append(mtail_seconds(log, race.quote, events, sentences=race.sentences))
    log.unlink()
    mine, peer = Rates.of(count, ours, starts), Rates.of(count, theirs, peer_starts)
    ratios = [a / b for a, b in zip(mine.lines, peer.lines, strict=True)]
    return faster(name, str(mine), f"mtail {peer}", ratios, must=race.must, aim=race.aim)


def measure(folder: Path, count: int, runs: int) -> list[Row]:
    if absent := missing("mtail"):
        return [skipped(name, f"install {', '.join(absent)}") for name in RACES]
    return [compare(name, count, runs, folder) for name in RACES]
