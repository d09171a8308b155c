"""The longest step, and what a scrape of 10,000 series does to a reader at full speed."""

import threading
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from bench import lines
from bench.daemon import Daemon, rest, running, write_config
from bench.table import Row, quantile, within

_TYPES = _STATUSES = 100


def _many_series() -> Iterator[lines.Record]:
    """Yield an event for each of 10,000 series."""
    at = lines.start()
    for kind in range(_TYPES):
        for status in range(_STATUSES):
            yield lines.event(at, f"bench.type{kind}", f"status{status}")


def watch(daemon: Daemon, size: int, scrape_every: float | None) -> tuple[list[float], list[float]]:
    """Return the gaps between commits until `size` is read, and the seconds of each scrape."""
    stop, gaps, scrapes = threading.Event(), list[float](), list[float]()
    commits = daemon.commits()
    watcher = threading.Thread(target=lambda: gaps.extend(commits.gaps(stop)))
    watcher.start()
    try:
        while daemon.offset() < size:
            if scrape_every is None:
                rest(0.05)
                continue
            begun = time.perf_counter()
            daemon.metrics()
            scrapes.append(time.perf_counter() - begun)
            rest(scrape_every)
    finally:
        stop.set()
        watcher.join()
    return gaps, scrapes


def measure(folder: Path, count: int) -> list[Row]:
    home = folder / "stalls"
    home.mkdir()
    log = home / "series.log"
    lines.write(log, chain(_many_series(), (record for _, record in lines.records(count))))
    half = log.stat().st_size // 2
    with running(write_config(home, log)) as daemon:
        daemon.wait_read(4_000_000)  # past the lines that make the series
        alone, _ = watch(daemon, half, None)
        scraped, scrapes = watch(daemon, log.stat().st_size, 0.1)
    log.unlink()
    stall = max(0.0, max(scraped) - quantile(alone, 0.5))
    times = f"{len(scrapes)} scrapes, worst {max(scrapes) * 1000:.0f} ms"
    return [
        within(f"scrape of 10,000 series at full speed: p50 ({times})",
               [quantile(scrapes, 0.5) * 1000], 100, 20, "ms"),
        within("the same: longest stall of the reader, beyond a usual step",
               [stall * 1000], 50, 10, "ms"),
        within("longest step, batch to commit, at full speed", [max(alone) * 1000], 100, 50, "ms"),
    ]  # fmt: skip
