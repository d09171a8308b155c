"""A daemon with small rules of its own, a log to write to, and Slack's stand-in to look at."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from sidecar.clock import SystemClock
from support.daemon import DaemonProcess, running, until
from support.setup import append, record
from support.sinks import SlackSink

CONFIG = """\
sources: [{{path: "{folder}/logs/*.log", start_at: beginning}}]
rule_files: ["*.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:0"}}
stale_after: 3650d
route: {{receiver: slack, group_by: ["..."], group_wait: 0s, group_interval: 1s, cooldown: 1s}}
receivers:
  - name: slack
    slack_configs: [{{channel: "#c", api_url_file: url, rate: {{per_second: 100, burst: 100}}}}]
"""
FAILING = """\
metrics:
  - {name: failures_total, help: Failures., type: counter, match: ['status="failed"']}
groups:
  - name: g
    rules:
      - alert: Failing
        match: ['status="failed"']
        by: [org_id]
        condition: count() >= 2
        within: 30d
        labels: {severity: critical}
"""
WARNED = """\
groups:
  - name: w
    rules:
      - alert: Warned
        match: ['status="warned"']
        by: [org_id]
        condition: count() >= 1
        within: 30d
        labels: {severity: warning}
"""


class JumpingClock(SystemClock):
    """The machine's clock as somebody sets it; how long a wait takes is no matter of it."""

    def jump(self, seconds: float) -> None:
        self._shift += seconds


class Stage:
    """A folder with configuration and logs, and a daemon that works by it."""

    def __init__(self, folder: Path, daemon: DaemonProcess, slack: SlackSink) -> None:
        self.folder, self.daemon, self.slack = folder, daemon, slack

    def log(self, status: str, org: str = "org_1", *, name: str = "app.log", **more: Any) -> None:
        append(self.folder / "logs" / name, record(status, org, **more))

    def counted(self, events: int) -> None:
        until(lambda: sum(self.daemon.events().values()) == events, f"{events} events are counted")

    def told(self, *words: str) -> int:
        bodies = [request.body.decode() for request in self.slack.requests]
        return sum(all(word in body for word in words) for body in bodies)

    def settled(self) -> bool:
        return self.daemon.samples()["sidecar_outbox_pending"] == 0

    def reload(self) -> httpx.Response:
        url = f"http://127.0.0.1:{self.daemon.port}/-/reload"
        return httpx.post(url, trust_env=False, timeout=30)

    def reloads(self, result: str = "ok") -> float:
        return self.daemon.samples()[f'sidecar_config_reloads_total{{result="{result}"}}']


@contextmanager
def staged(
    folder: Path, *, config: str = CONFIG, rules: str = FAILING, inside: Sequence[str] = ()
) -> Iterator[Stage]:
    (folder / "logs").mkdir()
    (folder / "logs" / "app.log").touch()
    (folder / "a.rules.yaml").write_text(rules)
    with SlackSink() as slack:
        (folder / "url").write_text(slack.url)
        (folder / "sidecar.yaml").write_text(config.format(folder=folder))
        with running(folder / "sidecar.yaml", inside=inside) as daemon:
            yield Stage(folder, daemon, slack)
