"""Proof that a dashboard and the exposition fit: a real Prometheus scrapes, every query is asked.

`running_prometheus` scrapes a target, `check_dashboard` asks what Grafana would ask and returns
what is wrong; both know nothing of how the target came to be.
"""

import contextlib
import json
import math
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

SCRAPE_SECONDS = 0.2
PATIENCE_SECONDS = 30.0
STEP_SECONDS = 1
SPAN_SECONDS = 60
_LABEL_VALUES = re.compile(r"label_values\((?:(?P<metric>.+),\s*)?(?P<label>\w+)\)")
_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
# What Grafana would put in for its own variables on a dashboard of one minute.
GLOBALS = {"__rate_interval": "1m", "__interval": "15s", "__range": "1m", "__range_s": "60"}


class Query(NamedTuple):
    """One expression of a dashboard, still with variables; `place` is the panel's title."""

    place: str
    expr: str


def need(tool: str) -> str:
    """Return the path of one of Prometheus' programs; skip the test, in CI fail it, if missing."""
    found = shutil.which(tool)
    if found is not None:
        return found
    missing = f"{tool} is not installed; install Debian's package prometheus"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def load_dashboard(path: Path) -> dict[str, Any]:
    loaded = json.loads(path.read_text())
    assert isinstance(loaded, dict)
    return loaded


def panels_of(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all panels that show something, also those inside a collapsed row."""
    panels = [p for top in dashboard["panels"] for p in (top, *top.get("panels", ()))]
    return [panel for panel in panels if panel["type"] != "row"]


def queries_of(dashboard: Mapping[str, Any]) -> list[Query]:
    return [
        Query(panel["title"], target["expr"])
        for panel in panels_of(dashboard)
        for target in panel["targets"]
    ]


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with its variables replaced; raises KeyError for one that nobody defines."""
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], text)


def check_dashboard(path: Path, prometheus_url: str) -> list[str]:
    """Ask Prometheus all that the dashboard would; return a sentence for each thing amiss.

    Every variable must have values; every query must parse and give at least one point that is a
    number, both with all variables at "All" and with each at the values it offers.
    """
    dashboard = load_dashboard(path)
    with httpx.Client(base_url=prometheus_url, timeout=10.0, trust_env=False) as client:
        variables = [v for v in dashboard["templating"]["list"] if v["type"] == "query"]
        every, chosen, problems = dict(GLOBALS), dict(GLOBALS), list[str]()
        for variable in variables:
            name = variable["name"]
            found, problem = _values(client, variable["definition"], chosen)
            problems += [f"variable {name}: {problem}"] if problem else []
            every[name], chosen[name] = variable["allValue"], "|".join(map(_escaped, found))
        for query in queries_of(dashboard):
            for how, values in (("All", every), ("chosen", chosen)):
                problem = _answer(client, interpolate(query.expr, values))
                problems += [f"{query.place} ({how}): {problem}"] if problem else []
    return problems


def _values(
    client: httpx.Client, definition: str, values: Mapping[str, str]
) -> tuple[list[str], str]:
    """Return what a query variable offers, and what is wrong with it."""
    found = _LABEL_VALUES.fullmatch(definition)
    if found is None:
        return [], f"{definition} is not label_values(metric, label)"
    match = {"match[]": interpolate(found["metric"], values)} if found["metric"] else {}
    answer = client.get(f"/api/v1/label/{found['label']}/values", params=match).json()
    if answer["status"] != "success":
        return [], str(answer["error"])
    offered = [str(value) for value in answer["data"]]
    return offered, "" if offered else "offers nothing"


def _escaped(value: str) -> str:
    """Return a variable's value as Grafana writes it into `=~"…"`: for RE2, inside a string."""
    return re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", value)


def _answer(client: httpx.Client, expr: str) -> str:
    """Return what is wrong with the answer to one query, or nothing."""
    parsed = client.get("/api/v1/format_query", params={"query": expr}).json()
    if parsed["status"] != "success":
        return f"{parsed['error']} in {expr}"
    end = server_time(client)
    asked = {"start": end - SPAN_SECONDS, "end": end, "step": STEP_SECONDS}
    answer = client.get("/api/v1/query_range", params={"query": expr, **asked}).json()
    if answer["status"] != "success":
        return f"{answer['error']} in {expr}"
    points = [float(value) for series in answer["data"]["result"] for _, value in series["values"]]
    return "" if any(not math.isnan(point) for point in points) else f"no point from {expr}"


def server_time(client: httpx.Client) -> float:
    return float(instant(client, "time()"))


def instant(client: httpx.Client, expr: str) -> float:
    """Return the value of a query now, summed over its series; 0 for none."""
    data = client.get("/api/v1/query", params={"query": expr}).json()["data"]
    if data["resultType"] == "scalar":
        return float(data["result"][1])
    return sum(float(series["value"][1]) for series in data["result"])


def until(holds: Callable[[], bool], what: str) -> None:
    """Return once `holds`; fails, naming `what`, after a bounded number of tries.

    Prometheus tells nobody when it has scraped, it can only be asked: so this waits a moment
    between two questions, on an event that nobody sets.
    """
    never, pause = threading.Event(), 0.05
    for _ in range(round(PATIENCE_SECONDS / pause)):
        if holds():
            return
        never.wait(pause)
    pytest.fail(f"waited {PATIENCE_SECONDS:.0f} s in vain for {what}")


def wait_for_scrapes(prometheus_url: str, count: int = 3, *, since: bool = False) -> None:
    """Return once every target was scraped successfully so many times, or so often `since` now."""
    with httpx.Client(base_url=prometheus_url, timeout=10.0, trust_env=False) as client:
        scraped = "min(sum_over_time(up[5m]))"
        count += round(instant(client, scraped)) if since else 0
        until(lambda: instant(client, scraped) >= count, f"scrape number {count}")


@contextlib.contextmanager
def running_prometheus(
    directory: Path, target: str, *, scrape_seconds: float = SCRAPE_SECONDS
) -> Iterator[str]:
    """Run a real Prometheus that scrapes `target` (host:port) as job `sidecar`; gives its URL."""
    prometheus = need("prometheus")
    config = directory / "prometheus.yml"
    every = f"{round(scrape_seconds * 1000)}ms"
    config.write_text(
        f"global: {{scrape_interval: {every}, scrape_timeout: {every}}}\n"
        f"scrape_configs: [{{job_name: sidecar, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    address = f"127.0.0.1:{_free_port()}"
    command = [
        prometheus,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    log = directory / "prometheus.log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            until(lambda: _is_ready(process, address, log), "Prometheus to be ready")
            yield f"http://{address}"
        finally:
            process.terminate()


def _is_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> bool:
    if process.poll() is not None:
        pytest.fail(f"Prometheus ended with {process.returncode}: {log.read_text()}")
    try:
        answer = httpx.get(f"http://{address}/-/ready", timeout=1.0, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK


def _free_port() -> int:
    """Return a port that was free a moment ago: Prometheus cannot say which one it took itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
