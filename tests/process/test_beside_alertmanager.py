"""Beside Debian's Alertmanager: the same tree, alerts and silence, and the same groups told."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.daemon import until
from support.live import Stage, staged
from support.sinks import Answer, SlackSink
from support.slack_sink import Request

pytestmark = pytest.mark.process
PROGRAM = "prometheus-alertmanager"
# Written once for both; SINK is where each of them posts to.
TREE = """\
route:
  receiver: team
  group_by: [alertname]
  group_wait: 2s
  group_interval: 2s
  repeat_interval: 1h
  routes:
    - {matchers: ['severity="critical"'], receiver: log, group_by: ['...'], continue: true}
    - matchers: ['severity=~"critical|page"']
      receiver: pager
      group_by: [alertname, org_id]
    - {matchers: ['severity="info"'], receiver: team, mute_time_intervals: [always]}
inhibit_rules:
  - source_matchers: ['severity="critical"']
    target_matchers: ['severity="warning"']
    equal: [org_id]
time_intervals:
  - name: always
    time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]
receivers:
  - {name: team, webhook_configs: [{url: 'SINK'}]}
  - {name: pager, webhook_configs: [{url: 'SINK'}]}
  - {name: log, webhook_configs: [{url: 'SINK'}]}
"""
OURS = """\
sources: [{{path: "{folder}/logs/*.log", start_at: beginning}}]
rule_files: ["*.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:0"}}
stale_after: 3650d
"""
RULE = """\
      - alert: {name}
        match: ['status="{name}"']
        by: [org_id]
        condition: count() >= 1
        within: 30d
        resolve: {{match: ['status="{name} over"']}}
        labels: {{severity: {severity}}}
"""
SEVERITIES = {"Down": "critical", "Paged": "page", "Slow": "warning", "Noted": "info"}
FIRING = [
    ("Down", "org_1"), ("Slow", "org_1"), ("Slow", "org_2"), ("Slow", "org_3"), ("Paged", "org_2"),
    ("Paged", "org_3"), ("Noted", "org_2"), ("Down", "org_4"), ("Down", "org_5"),
]  # fmt: skip
SILENCED = "org_5"

Heard = tuple[str, str, str, tuple[str, ...]]


@pytest.fixture(autouse=True)
def _installed() -> None:
    if shutil.which(PROGRAM) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{PROGRAM} is missing")
        pytest.skip(f"install {PROGRAM}")


def heard(sink: SlackSink) -> set[Heard]:
    """Return receiver, status, the group's labels and its alerts, of each message."""
    return {
        (
            told["receiver"],
            told["status"],
            json.dumps(told["groupLabels"], sort_keys=True),
            tuple(sorted(_name(one) for one in told["alerts"])),
        )
        for told in (request.json for request in sink.requests)
    }


def _name(alert: dict[str, Any]) -> str:
    labels = alert["labels"]
    return f"{labels['alertname']} {labels['org_id']} {alert['status']}"


@contextmanager
def alertmanager(folder: Path, sink: SlackSink, tree: str = TREE) -> Iterator[str]:
    (folder / "alertmanager.yml").write_text(tree.replace("SINK", sink.url))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [PROGRAM, f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/am",
         "--cluster.listen-address=", f"--web.listen-address={url.removeprefix('http://')}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: _ready(url), "the Alertmanager answers")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _post(url: str, content: Any) -> None:
    httpx.post(url, json=content, trust_env=False).raise_for_status()


def feed_alertmanager(url: str) -> None:
    now = datetime.now(UTC)
    matcher = {"name": "org_id", "value": SILENCED, "isRegex": False, "isEqual": True}
    silence = {
        "matchers": [matcher], "startsAt": now.isoformat(), "createdBy": "ann", "comment": "x",
        "endsAt": (now + timedelta(hours=1)).isoformat(),
    }  # fmt: skip
    _post(f"{url}/api/v2/silences", silence)
    alerts = [
        {"labels": {"alertname": name, "org_id": org, "severity": SEVERITIES[name]}}
        for name, org in FIRING
    ]
    _post(f"{url}/api/v2/alerts", alerts)


def feed_ours(stage: Stage) -> None:
    url = f"http://127.0.0.1:{stage.daemon.port}"
    silence = {"matchers": [f"org_id={SILENCED}"], "ends_at": time.time() + 3600}
    _post(f"{url}/api/v1/silences", silence)
    for name, org in FIRING:
        stage.log(name, org)


def end_one(stage: Stage, url: str) -> None:
    """Let one of two slow ones end, for both."""
    stage.log("Slow over", "org_2")
    labels = {"alertname": "Slow", "org_id": "org_2", "severity": "warning"}
    _post(f"{url}/api/v2/alerts", [{"labels": labels, "endsAt": datetime.now(UTC).isoformat()}])


def test_the_same_receivers_are_told_the_same_groups(tmp_path: Path) -> None:
    rules = "groups:\n  - name: g\n    rules:\n" + "".join(
        RULE.format(name=name, severity=severity) for name, severity in SEVERITIES.items()
    )
    with SlackSink() as theirs, SlackSink() as sink:
        tree = TREE.replace("SINK", sink.url).replace("{", "{{").replace("}", "}}")
        with (
            alertmanager(tmp_path, theirs) as url,
            staged(tmp_path, config=OURS + tree, rules=rules) as stage,
        ):
            feed_ours(stage)
            feed_alertmanager(url)
            until(lambda: len(heard(theirs)) >= 7, "their receivers are told")
            until(lambda: heard(sink) == heard(theirs), "ours are told the same")
            time_is_up = time.monotonic() + 5.0
            until(lambda: time.monotonic() > time_is_up, "two more intervals")
            assert heard(sink) == heard(theirs)
            before = heard(sink)
            end_one(stage, url)
            until(lambda: heard(theirs) > before, "their team is told of the end")
            until(lambda: heard(sink) > before, "and ours")
            # The difference there is: they list all of the group, we what is new.
            group = ("team", '{"alertname": "Slow"}')
            assert [(h[0], h[2], h[1], h[3]) for h in heard(theirs) - before] == [
                (*group, "firing", ("Slow org_2 resolved", "Slow org_3 firing"))
            ]
            assert [(h[0], h[2], h[1], h[3]) for h in heard(sink) - before] == [
                (*group, "resolved", ("Slow org_2 resolved",))
            ]
    alerts = {alert for _, _, _, some in before for alert in some}
    assert alerts == {
        "Down org_1 firing", "Down org_4 firing", "Slow org_2 firing", "Slow org_3 firing",
        "Paged org_2 firing", "Paged org_3 firing",
    }  # fmt: skip


TIMED = """\
route: {receiver: team, group_by: [alertname], group_wait: 2s, group_interval: 4s,
  repeat_interval: 6s}
receivers: [{name: team, webhook_configs: [{url: 'SINK'}]}]
"""
NEAR = 1.5  # seconds by which a busy machine is late


class TimedSink(SlackSink):
    """Notes when each message came, and of whom it tells."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[tuple[float, list[str]]] = []

    def _accepted(self, request: Request) -> Answer:
        alerts = request.json["alerts"]
        orgs = sorted(one["labels"]["org_id"] for one in alerts if one["status"] == "firing")
        self.came.append((time.monotonic(), orgs))
        return super()._accepted(request)

    def after_first(self) -> list[tuple[float, list[str]]]:
        return [(at - self.came[0][0], orgs) for at, orgs in self.came]


def test_the_timers_run_alike_but_for_a_repeat_that_is_each_alerts_own(tmp_path: Path) -> None:
    rules = "groups:\n  - name: g\n    rules:\n" + RULE.format(name="Slow", severity="warning")
    with TimedSink() as theirs, TimedSink() as ours:
        tree = TIMED.replace("repeat_interval", "cooldown: 0s, repeat_interval")
        tree = tree.replace("SINK", ours.url).replace("{", "{{").replace("}", "}}")
        with (
            alertmanager(tmp_path, theirs, TIMED) as url,
            staged(tmp_path, config=OURS + tree, rules=rules) as stage,
        ):
            begun = time.monotonic()
            for org in ("org_1", "org_2"):
                stage.log("Slow", org)
                labels = {"alertname": "Slow", "org_id": org, "severity": "warning"}
                _post(f"{url}/api/v2/alerts", [{"labels": labels}])
                until(lambda: bool(theirs.came and ours.came), "both tell of the first")
            until(lambda: min(len(theirs.came), len(ours.came)) >= 3, "and repeat it")
            for sink in (theirs, ours):  # group_wait
                assert sink.came[0][0] - begun == pytest.approx(2.0, abs=NEAR)
                assert sink.came[0][1] == ["org_1"]
    them, us = theirs.after_first()[:3], ours.after_first()[:3]
    both = ["org_1", "org_2"]
    # Theirs lists all of the group; repeats count from its last message, to the next flush.
    assert [orgs for _, orgs in them] == [["org_1"], both, both]
    assert [at for at, _ in them] == pytest.approx([0.0, 4.0, 12.0], abs=NEAR)
    # Ours lists what is new or due by itself; `group_interval` is the least time between two.
    assert [orgs for _, orgs in us] == [["org_1"], ["org_2"], ["org_1"]]
    assert [at for at, _ in us] == pytest.approx([0.0, 4.0, 8.0], abs=NEAR)
