"""A real Alertmanager, told by the daemon: it receives, keeps alive, resolves, is told again."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.daemon import until
from support.live import FAILING, Stage, staged
from support.sinks import SlackSink

pytestmark = pytest.mark.process
PROGRAM = "prometheus-alertmanager"
TWICE_AS_LONG = 8  # rounds of a second; it lives for four
CONFIG = """\
sources: [{{path: "{folder}/logs/*.log", start_at: beginning}}]
rule_files: ["*.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:0"}}
stale_after: 3650d
route: {{receiver: am, group_by: ["..."], group_wait: 0s, group_interval: 1s, cooldown: 0s}}
receivers:
  - name: am
    alertmanager_configs:
      - {{urls: ["http://127.0.0.1:1", "http://127.0.0.1:PORT"], keep_alive: 1s}}
"""
RESOLVE = "        resolve: {match: ['status=\"paid\"']}\n"
PAGES = """\
route: {{receiver: sink, group_by: [alertname, org_id], group_wait: 0s, group_interval: 1s}}
receivers:
  - name: sink
    webhook_configs: [{{url: "{url}"}}]
"""


@pytest.fixture(autouse=True)
def _installed() -> None:
    if shutil.which(PROGRAM) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{PROGRAM} is missing")
        pytest.skip(f"install {PROGRAM}")


class Alertmanager:
    """An Alertmanager, running or not, and the sink that it tells."""

    def __init__(self, folder: Path, sink: SlackSink) -> None:
        self.sink = sink
        self.port = free_port()
        self._folder = folder
        (folder / "alertmanager.yml").write_text(PAGES.format(url=sink.url))
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [PROGRAM, f"--config.file={self._folder}/alertmanager.yml",
             f"--storage.path={self._folder}/am", "--cluster.listen-address=",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(self._ready, "the Alertmanager answers")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)

    def alerts(self) -> list[dict[str, Any]]:
        answer = httpx.get(f"http://127.0.0.1:{self.port}/api/v2/alerts", trust_env=False)
        found: list[dict[str, Any]] = answer.json()
        return found

    def told(self) -> list[str]:
        return [request.json["status"] for request in self.sink.requests]

    def _ready(self) -> bool:
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/-/ready", trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def am(tmp_path: Path) -> Iterator[Alertmanager]:
    with SlackSink() as sink:
        found = Alertmanager(tmp_path, sink)
        try:
            yield found
        finally:
            found.stop()


@contextmanager
def fired(folder: Path, am: Alertmanager, more: str = RESOLVE) -> Iterator[Stage]:
    """Run a daemon that has told the Alertmanager of one alert; `more` are keys of its rule."""
    rules = FAILING + more
    with staged(folder, config=CONFIG.replace("PORT", str(am.port)), rules=rules) as stage:
        stage.log("failed")
        stage.log("failed")
        until(lambda: len(am.alerts()) == 1, "the alert is there")
        yield stage


def test_it_receives_keeps_alive_and_resolves(tmp_path: Path, am: Alertmanager) -> None:
    with fired(tmp_path, am) as stage:
        (alert,) = am.alerts()
        assert alert["labels"] == {
            "alertname": "Failing",
            "org_id": "org_1",
            "severity": "critical",
        }
        until(lambda: am.told() == ["firing"], "its own receiver is told")
        seen = {alert["endsAt"]}

        def renewed() -> bool:
            seen.update(alert["endsAt"] for alert in am.alerts())
            return len(seen) > TWICE_AS_LONG

        until(renewed, "it lives twice as long as it was given")
        assert am.told() == ["firing"]
        assert messages(tmp_path) == 1  # nothing is recorded of what only keeps alive
        stage.log("paid")
        until(lambda: am.alerts() == [], "the alert is resolved")
        until(lambda: am.told() == ["firing", "resolved"], "its own receiver is told the end")
        until(lambda: messages(tmp_path) == 2, "the end is one message more")


def messages(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "state.db")) as db:
        (count,) = db.execute("SELECT count(*) FROM outbox").fetchone()
        return int(count)


def test_one_that_escalates_goes_on_under_its_new_labels_alone(
    tmp_path: Path, am: Alertmanager
) -> None:
    escalate = "        escalate: [{after: 1s, labels: {severity: page}}]\n"
    with fired(tmp_path, am, escalate) as stage:
        old = {"alertname": "Failing", "org_id": "org_1", "severity": "critical"}
        new = {**old, "severity": "page"}
        until(lambda: new in [alert["labels"] for alert in am.alerts()], "the new labels are there")
        until(lambda: [alert["labels"] for alert in am.alerts()] == [new], "the old ones are not")
        until(stage.settled, "all is delivered")


def test_an_alert_ends_there_when_the_sidecar_is_no_more(tmp_path: Path, am: Alertmanager) -> None:
    with fired(tmp_path, am) as stage:
        stage.daemon.stop(signal.SIGKILL)
        until(lambda: am.alerts() == [], "nobody keeps it alive")


def test_an_alertmanager_that_forgot_is_told_again(tmp_path: Path, am: Alertmanager) -> None:
    with fired(tmp_path, am) as stage:
        am.stop()
        until(lambda: "keep_alive_failed" in "".join(stage.daemon.log), "it is missed")
        am.start()
        until(lambda: len(am.alerts()) == 1, "the alert is there again")
        until(lambda: "keep_alive_again" in "".join(stage.daemon.log), "all is well")
        assert messages(tmp_path) == 1
