"""`make bench`: the table of docs/benchmarks.md, measured on this machine in one go.

Only ratios within one run mean something on a shared machine; the peers therefore run in the
same minutes on the same files. Missing peers are installed when that can be done, else their
rows are skipped with a note.
"""

import argparse
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    database,
    delivery,
    footprint,
    judging,
    latency,
    scale,
    signed,
    soak,
    stalls,
    storm,
    throughput,
)
from bench.daemon import ROOT
from bench.peers import PACKAGES, missing, version
from bench.table import Row, render

_DOCUMENT = ROOT / "docs" / "benchmarks.md"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
_GROWTH = "What the cost of a line grows with, processor time of both processes:"
PARTS = (
    "throughput", "judging", "latency", "scale", "footprint", "stalls", "soak", "delivery",
    "signed", "storm", "database",
)  # fmt: skip


def machine() -> str:
    """Return what the figures were measured on and with."""
    cpu = next(
        (li.partition(":")[2].strip() for li in Path("/proc/cpuinfo").read_text().splitlines()
         if li.startswith("model name")), platform.machine(),
    )  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    peers = [version(name) for name in PACKAGES if not missing(name)]
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} x {cpu}, {memory:.0f} GB, "
        f"load {load:.1f} at the start; Python {platform.python_version()}; {'; '.join(peers)}."
    )


def measured(folder: Path, options: argparse.Namespace) -> list[Row]:
    quick, wanted = options.quick, options.only or PARTS
    count, runs = (100_000, 1) if quick else (1_000_000, 2)
    rows: list[Row] = []
    home = None
    if "throughput" in wanted:
        rows += _shown(throughput.measure(folder, options.lines or count, options.runs or runs))
    if "judging" in wanted:
        rows += _shown(judging.measure(folder, (options.lines or count) // 5, options.runs or runs))
    if "latency" in wanted:
        rows += _shown(latency.measure(folder, 12 if quick else 60, count // 2))
    if "scale" in wanted or "footprint" in wanted:
        more, home = scale.measure(folder, count, options.runs or runs)
        rows += _shown(more)
    if "footprint" in wanted and home is not None:
        rows += _shown(footprint.measure(folder, home, count // 10, 3, 5.0 if quick else 15.0))
    if "stalls" in wanted:
        rows += _shown(stalls.measure(folder, count // 2))
    if "soak" in wanted:
        rows += _shown(soak.measure(folder, 15.0 if quick else 90.0))
    for part in (
        one for one in (delivery, storm, database) if one.__name__.rpartition(".")[2] in wanted
    ):
        rows += _shown(part.measure(folder))
    if "signed" in wanted:
        rows += _shown(signed.measure(folder, 1_000 if quick else 5_000, count // 10))
    return rows


def _shown(rows: list[Row]) -> list[Row]:
    for row in rows:
        print(f"{row.measured}: {row.ours} {row.peer} {row.result} [{row.verdict}]", flush=True)
    return rows


def document(text: str) -> None:
    """Put `text` between the marks of docs/benchmarks.md."""
    before, _, rest = _DOCUMENT.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _DOCUMENT.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="a tenth of the lines, one run")
    options.add_argument("--lines", type=int, help="lines of the throughput files")
    options.add_argument("--runs", type=int)
    options.add_argument("--only", nargs="*", choices=PARTS, help="these parts, nothing written")
    chosen = options.parse_args()
    about, begun = machine(), time.perf_counter()
    print(about)
    with tempfile.TemporaryDirectory() as folder:
        table = render(measured(Path(folder), chosen))
        if "judging" in (chosen.only or PARTS):
            growth = judging.chart(5_000 if chosen.quick else 50_000, Path(folder))
            table = f"{table}\n\n{_GROWTH}\n\n{growth}"
    text = f"{about}\n\n{table}\n\nMeasured in {time.perf_counter() - begun:.0f} s."
    print(f"\n{text}")
    if not (chosen.quick or chosen.only):
        document(text)


if __name__ == "__main__":
    main()
