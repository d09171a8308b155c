"""What the daemon costs when nothing happens, and how long it takes to begin."""

import json
import tempfile
import time
from pathlib import Path

from bench import lines
from bench.daemon import rest, running, write_config
from bench.table import Row, within


def idle_rows(folder: Path, seconds: float) -> list[Row]:
    home = folder / "idle-cost"
    home.mkdir()
    log = home / "idle.log"
    log.write_text(lines.failure(lines.start(), "org_one", 1))
    with running(write_config(home, log)) as daemon:
        daemon.wait_read(log.stat().st_size)
        rest(2.0)
        before = daemon.cpu_seconds()
        rest(seconds)
        busy = (daemon.cpu_seconds() - before) / seconds * 100
        resident = daemon.resident()
    return [
        within("idle: resident memory", [resident], 80, 55, "MB"),
        within(f"idle: CPU over {seconds:.0f} s", [busy], 1, 0.3, "%"),
    ]


def many_files_rows(folder: Path, count: int) -> list[Row]:
    """Return what a glob of `count` files costs while idle, and how long three lines of each take.

    The lines name the files: one that begins as another does is taken for its copy.
    """
    logs = folder / "many-files" / "logs"
    logs.mkdir(parents=True)
    with running(write_config(logs.parent, logs / "*.log")) as daemon:
        size = _add(logs, count)
        daemon.wait_read(size, every=0.1)
        rest(12.0)  # until nothing was new for a while
        before = daemon.cpu_seconds()
        rest(30.0)
        busy = (daemon.cpu_seconds() - before) / 30 * 100
        size += _add(logs, count)
        written = time.perf_counter()
        daemon.wait_read(size, every=0.1)
        took = time.perf_counter() - written
    return [
        within(f"{count:,} files in a glob, idle: CPU over 30 s", [busy], 3, 2, "%"),
        within(
            f"{count:,} files in a glob: three lines more in each, after the last",
            [took],
            5,
            4,
            "s",
        ),
    ]


def _add(logs: Path, count: int) -> int:
    """Add three lines that alert nobody to each log; return how many bytes that is."""
    size, at = 0, lines.start()
    for number in range(count):
        line = json.dumps(lines.event(at, "invoice.created", "draft", org_id=f"org_{number}"))
        with (logs / f"{number}.log").open("a") as log:
            size += log.write(f"{line}\n" * 3)
    return size


def start_row(folder: Path, runs: int) -> Row:
    """Return the time from the command to the commit of the first line's effects."""
    log = folder / "start.log"
    log.write_text(lines.failure(lines.start(), "org_one", 1))
    took = []
    for _ in range(runs + 1):
        with (
            tempfile.TemporaryDirectory() as name,
            running(write_config(Path(name), log), listening=False) as daemon,
        ):
            took.append(daemon.wait_read(log.stat().st_size, every=0.002))
    # The first start may have modules to compile, as an installation has not.
    return within("start to first line read and committed", took[1:], 1, 0.4, "s")


def restart_row(home: Path, keys: int, runs: int) -> Row:
    """Return the same with the state that an earlier daemon left in `home`."""
    config, log = home / "sidecar.yaml", home / "organisations.log"
    took = []
    for number in range(runs):
        with log.open("a") as out:
            out.write(lines.failure(lines.start(), f"org_again{number}", 1))
        with running(config, listening=False) as daemon:
            took.append(daemon.wait_read(log.stat().st_size, every=0.002))
    return within(f"start with {keys:,} stored keys and their journal", took, 1.2, 0.8, "s")


def measure(folder: Path, home: Path, keys: int, runs: int, seconds: float) -> list[Row]:
    rows = [*idle_rows(folder, seconds), *many_files_rows(folder, keys // 10)]
    return [*rows, start_row(folder, runs), restart_row(home, keys, runs)]
