"""From a log line to the request that Slack gets, against mtail, Prometheus and Alertmanager.

The peers are tuned as far as they go without losing their sense: one-second scrapes and
evaluations, no group wait. Both write their alerts to the same real HTTP server.
"""

import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench import lines
from bench.daemon import rest, running, write_config
from bench.peers import PACKAGES, missing, stack
from bench.table import Row, faster, quantile, skipped, within

_ORG = re.compile(rb"lat-\d+")
RECEIVERS = """\
route: {{receiver: slack, group_by: [alertname, org_id], group_wait: 0s}}
receivers:
  - name: slack
    slack_configs:
      - channel: "#bench"
        api_url: "{url}"
        rate: {{per_second: 10000, burst: 10000}}
"""


class Sink:
    """A receiver of webhooks that notes when it first heard of which organisation."""

    def __init__(self) -> None:
        self.arrived: dict[str, float] = {}
        self.url = ""

    def note(self, body: bytes) -> None:
        at = time.perf_counter()
        for org in _ORG.findall(body):
            self.arrived.setdefault(org.decode(), at)


@contextmanager
def sink() -> Iterator[Sink]:
    """Run a real HTTP server for what Slack would get."""
    heard = Sink()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            heard.note(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heard.url = f"http://127.0.0.1:{server.server_address[1]}/services/T0/B0/bench"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def latencies(log: Path, heard: Sink, count: int, gap: float, timeout: float = 15.0) -> list[float]:
    """Write `count` lines, about `gap` seconds apart, and return how long each took to arrive."""
    pick = random.Random(7)
    written: dict[str, float] = {}
    with log.open("a") as out:
        for number in range(count):
            org = f"lat-{number}"
            line = lines.failure(datetime.now(UTC).replace(tzinfo=None), org, 3)
            written[org] = time.perf_counter()
            out.write(line)
            out.flush()
            rest(gap * (0.5 + pick.random()))
    deadline = time.perf_counter() + timeout
    while len(heard.arrived) < count and time.perf_counter() < deadline:
        rest(0.01)
    if lost := count - len(heard.arrived):
        raise SystemExit(f"{lost} of {count} alerts did not arrive")
    return [heard.arrived[org] - at for org, at in written.items()]


def sidecar_idle(folder: Path, count: int, gap: float = 0.45) -> list[float]:
    log = folder / "live.log"
    log.write_text("")
    with sink() as heard:
        config = write_config(folder, log, receivers=RECEIVERS.format(url=heard.url))
        with running(config):
            rest(1.0)
            return latencies(log, heard, count, gap)


def stack_idle(folder: Path, count: int) -> list[float]:
    log = folder / "live.log"
    log.write_text("")
    with sink() as heard, stack(folder, log, heard.url):
        return latencies(log, heard, count, 0.45)


def sidecar_behind(folder: Path, backlog: int, count: int) -> tuple[list[float], float]:
    """Return latencies of lines in a live log while another is caught up on, and for how long."""
    logs = folder / "logs"
    logs.mkdir()
    live, old = logs / "live.log", logs / "old.log"
    live.write_text("")
    lines.write_json(old, backlog)
    size = old.stat().st_size
    with sink() as heard:
        config = write_config(folder, logs / "*.log", receivers=RECEIVERS.format(url=heard.url))
        with running(config) as daemon:
            daemon.wait_read(1)
            begun = time.perf_counter()
            found = latencies(live, heard, count, 0.08)
            daemon.wait_read(size + live.stat().st_size)
            return found, time.perf_counter() - begun


def measure(folder: Path, count: int, backlog: int) -> list[Row]:
    folders = [folder / name for name in ("idle", "behind", "stack")]
    for one in folders:
        one.mkdir()
    name = "log line to Slack request, idle"
    ours = sidecar_idle(folders[0], count)
    behind, took = sidecar_behind(folders[1], backlog, max(10, backlog // 25_000))
    late = within(
        f"the same, catching up on {backlog:,} lines for {took:.1f} s: p99",
        [quantile(behind, 0.99) * 1000], 1000, 200, "ms",
    )  # fmt: skip
    if absent := missing(*PACKAGES):
        figures = ", ".join(f"{quantile(ours, q) * 1000:.1f} ms" for q in (0.5, 0.99))
        return [skipped(f"{name}: p50, p99 = {figures}", f"install {', '.join(absent)}"), late]
    theirs = stack_idle(folders[2], count)
    rows = []
    for label, share, must in (("p50", 0.5, 30), ("p99", 0.99, 20)):
        mine, other = quantile(ours, share), quantile(theirs, share)
        speeds = (f"{mine * 1000:.1f} ms", f"the stack {other * 1000:.0f} ms")
        rows.append(faster(f"{name}: {label}", *speeds, [other / mine], must=must, aim=100))
    return [*rows, late]
