"""The state in PostgreSQL against a state file: lines a second, and a line's way to Slack.

Of a host that is alone, and of a fleet: one host reads, another judges what it hands over.
Debian's server, on the same machine and disk, as it is installed but for its memory; both are
durable before anything is shown or sent. Runs alternate.
"""

import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from bench import lines
from bench.daemon import Daemon, rest, running, write_config
from bench.latency import RECEIVERS, latencies, sink
from bench.table import Row, faster, quantile
from support.postgresql import PostgreSql, postgresql

LINES, RUNS, ALERTS = 200_000, 2, 60


def _read(folder: Path, log: Path, state: str, wait: Callable[[Daemon, int], None]) -> float:
    """Return the seconds from the start until all of `log` is read and committed."""
    folder.mkdir()
    with running(write_config(folder, log, state=state), listening=False) as daemon:
        wait(daemon, log.stat().st_size)
        return time.perf_counter() - daemon.started


def _in_file(daemon: Daemon, size: int) -> None:
    daemon.wait_read(size)


def _in_database(url: str) -> Callable[[Daemon, int], None]:
    def wait(_daemon: Daemon, size: int) -> None:
        query = b'SELECT coalesce(sum("offset"), 0) FROM files'
        with psycopg.connect(url, autocommit=True) as asking:
            while not _is_made(asking) or asking.execute(query).fetchall()[0][0] < size:
                rest(0.01)

    return wait


def _until_judged(url: str) -> Callable[[Daemon, int], None]:
    def wait(_daemon: Daemon, _size: int) -> None:
        with psycopg.connect(url, autocommit=True) as asking:
            while not _is_made(asking) or asking.execute(_JUDGED).fetchall() != [(1, 0)]:
                rest(0.01)

    return wait


# Whether anybody has judged, and what waits for that.
_JUDGED = (
    b"SELECT (SELECT count(*) FROM meta WHERE owner = '' AND name = 'judge'),"
    b" (SELECT count(*) FROM batches)"
)


def _state(url: str, more: str = "") -> str:
    return f'{{postgresql: {{url: "{url}"}}{more}}}'


def _is_made(asking: "psycopg.Connection[tuple[object, ...]]") -> bool:
    return asking.execute(b"SELECT to_regclass('files')").fetchall()[0][0] is not None


def _to_slack(folder: Path, state: str) -> list[float]:
    folder.mkdir()
    log = folder / "live.log"
    log.touch()
    with sink() as heard:
        receivers = RECEIVERS.format(url=heard.url)
        with running(write_config(folder, log, receivers=receivers, state=state)):
            rest(1.0)
            return latencies(log, heard, ALERTS, 0.45)


def measure(folder: Path) -> list[Row]:
    with postgresql(durable=True) as server:
        rows = [_rates(folder, server), *_fleet_rates(folder, server)]
        return [*rows, *_ways(folder, server), *_fleet_ways(folder, server)]


def _rates(folder: Path, server: PostgreSql) -> Row:
    log, first = folder / "database.log", folder / "first.log"
    lines.write_json(log, LINES)
    lines.write_json(first, 1)
    rates: list[tuple[float, float]] = []
    for run in range(RUNS):
        seconds = []
        for at, one in enumerate((first, log)):
            url = server.fresh()
            home, state = folder / f"{run}-{at}", _state(url)
            of_file = _read(Path(f"{home}-file"), one, "", _in_file)
            seconds.append(
                (of_file, _read(Path(f"{home}-database"), one, state, _in_database(url)))
            )
        (start_a, start_b), (whole_a, whole_b) = seconds
        rates.append((LINES / (whole_a - start_a), LINES / (whole_b - start_b)))
    mine, theirs = (sum(found) / RUNS for found in zip(*rates, strict=True))
    name = "the state in PostgreSQL against a file, lines/s"
    ratios = [database / file for file, database in rates]
    return faster(name, f"{theirs:,.0f}", f"a file {mine:,.0f}", ratios, must=0.5, aim=0.9)


def _ways(folder: Path, server: PostgreSql) -> list[Row]:
    url = server.fresh()
    of_file = _to_slack(folder / "to-slack-file", "")
    of_database = _to_slack(folder / "to-slack-database", _state(url))
    name = "the same, log line to Slack request, idle"
    return _compared(name, of_file, of_database, must=0.25, aim=0.9)


def _compared(
    name: str, of_file: list[float], of_database: list[float], *, must: float, aim: float
) -> list[Row]:
    rows = []
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        file, database = quantile(of_file, share), quantile(of_database, share)
        speeds = f"{database * 1000:.1f} ms", f"a file {file * 1000:.1f} ms"
        rows.append(faster(f"{name}: {label}", *speeds, [file / database], must=must, aim=aim))
    return rows


def _fleet_rates(folder: Path, server: PostgreSql) -> list[Row]:
    """Compare what one host hands over a second, and what another judges of it, with a file."""
    nothing = folder / "nothing.log"
    nothing.touch()
    rates: list[list[float]] = []
    for run in range(RUNS):
        seconds = []
        for log in (folder / "first.log", folder / "database.log"):
            url, home = server.fresh(), f"{folder}/fleet-{run}-{log.stem}"
            reader, judge = (
                _state(url, ", host: reader, judge: false"),
                _state(url, ", host: judge"),
            )
            seconds.append((
                _read(Path(f"{home}-file"), log, "", _in_file),
                _read(Path(f"{home}-reader"), log, reader, _in_database(url)),
                _read(Path(f"{home}-judge"), nothing, judge, _until_judged(url)),
            ))  # fmt: skip
        rates.append([LINES / (whole - start) for start, whole in zip(*seconds, strict=True)])
    file, over, taken = (sum(found) / RUNS for found in zip(*rates, strict=True))
    of = f"a file {file:,.0f}"
    return [
        faster("a host of a fleet hands over, lines/s against a file", f"{over:,.0f}", of,
               [one[1] / one[0] for one in rates], must=0.05, aim=0.5),
        faster("another judges them, lines/s against a file", f"{taken:,.0f}", of,
               [one[2] / one[0] for one in rates], must=0.2, aim=0.5),
    ]  # fmt: skip


def _fleet_ways(folder: Path, server: PostgreSql) -> list[Row]:
    """Compare the way of a line of one host to Slack, by way of another, with a file."""
    url = server.fresh()
    of_file = _to_slack(folder / "to-slack-file-again", "")
    home = folder / "to-slack-fleet"
    home.mkdir()
    nothing, log = home / "nothing.log", home / "live.log"
    nothing.touch()
    log.touch()
    with sink() as heard:
        receivers = RECEIVERS.format(url=heard.url)
        configs = []
        for name, one, more in (("judge", nothing, ""), ("reader", log, ", judge: false")):
            (at := home / name).mkdir()
            state = _state(url, f", host: {name}{more}")
            configs.append(write_config(at, one, receivers=receivers, state=state))
        with running(configs[0]), running(configs[1]):
            rest(8.0)  # the first begins anew once it sees the other
            of_fleet = latencies(log, heard, ALERTS, 0.45)
    name = "from a line of one host to Slack by way of another, idle"
    return _compared(name, of_file, of_fleet, must=0.02, aim=0.1)
