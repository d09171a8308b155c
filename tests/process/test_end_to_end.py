"""The daemon as a process, on the real host's logs, with a real Slack and a real mail server."""

import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sidecar.parse.parser import Parser
from support.daemon import RULES, SAMPLES, DaemonProcess, running, until
from support.parse import chunk_of, everything, patterns_of
from support.sinks import SlackSink, SmtpSink

FILES = ("agentops-host.log", "json-lines.log")
# Shortly after the last line of the samples. Beside the grace periods that ended by the days which
# the host had left, exactly the alerts of expected.json are due.
NOW = datetime(2026, 11, 4, 10, 30, tzinfo=UTC).timestamp()
SECRET = "sk_live_NotARealKey0123456789"
CONFIG = """\
sources: [{{path: "{folder}/*.log", start_at: beginning}}]
pattern_files: ["{rules}/*.patterns.yaml"]
rule_files: ["{rules}/*.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:0"}}
stale_after: 3650d
global:
  slack_app_token: xoxb-test
  slack_app_url: {slack}
  smtp_smarthost: 127.0.0.1:{smtp}
  smtp_from: sidecar@example.com
  smtp_require_tls: false
# A message an alert: what is told how often can then be counted by looking at the messages.
route:
  receiver: warning
  group_by: ["..."]
  group_wait: 0s
  routes:
    - {{matchers: ['severity="critical"'], receiver: critical}}
    - {{matchers: ['severity="error"'], receiver: error}}
    - {{matchers: ['severity="info"'], receiver: info}}
receivers:
  - name: critical
    slack_configs: [{{channel: "#critical", rate: {rate}}}]
    email_configs: [{{to: oncall@example.com, rate: {rate}}}]
  - {{name: error, slack_configs: [{{channel: "#error", rate: {rate}}}]}}
  - {{name: warning, slack_configs: [{{channel: "#warning", rate: {rate}}}]}}
  - {{name: info, slack_configs: [{{channel: "#info", rate: {rate}}}]}}
"""
Told = Counter[tuple[str, str, str]]


class Stage:
    """The daemon between its logs and the two sinks."""

    def __init__(
        self, folder: Path, daemon: DaemonProcess, slack: SlackSink, mail: SmtpSink
    ) -> None:
        self.folder, self.daemon, self.slack, self.mail = folder, daemon, slack, mail

    def texts(self) -> list[tuple[str, str]]:
        """Return (channel, whole text) of every Slack message so far."""
        payloads: list[dict[str, Any]] = [json.loads(r.body) for r in self.slack.requests]
        return [(p["channel"], json.dumps(p, ensure_ascii=False)) for p in payloads]

    def beginnings(self) -> list[tuple[str, str]]:
        """Return (channel, whole text) of the messages that were the first about an alert."""
        return [(c, t) for c, t in self.texts() if "all alerts resolved · " not in t]

    def told(self, alert: str, who: str, channel: str) -> int:
        return sum(c == channel and alert in t and who in t for c, t in self.beginnings())

    def settled(self) -> bool:
        return self.daemon.samples()["sidecar_outbox_pending"] == 0


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text())
    return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, expected: dict[str, Any]) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("daemon")
    for name in FILES:
        shutil.copy(SAMPLES / name, folder)
    with SlackSink() as slack, SmtpSink() as mail:
        config = folder / "sidecar.yaml"
        rate = "{per_second: 1000, burst: 1000}"
        config.write_text(
            CONFIG.format(folder=folder, rules=RULES, slack=slack.url, smtp=mail.port, rate=rate)
        )
        with running(config, shift=NOW - time.time()) as daemon:
            stage = Stage(folder, daemon, slack, mail)
            most = sum(counts(expected).values())
            until(lambda: sum(daemon.events().values()) >= most, "the samples are read")
            until(stage.settled, "every message is delivered")
            yield stage


def counts(expected: dict[str, Any]) -> dict[tuple[str, str, str], float]:
    """Return what /metrics has to show after the three files."""
    total: Counter[tuple[str, str, str]] = Counter()
    for name in FILES:
        for provider, event_type, status, count in expected[name]["by"]:
            total[provider, event_type, status] += count
    names = ("agentops.patterns.yaml", "access-log.patterns.yaml")
    parser = Parser([pattern for name in names for pattern in patterns_of(name)])
    for name in FILES:
        lines = (SAMPLES / name).read_bytes().splitlines(keepends=True)
        sentences = b"".join(line for line in lines if b"WEBHOOK_METRIC: {" not in line)
        if not name.startswith("json"):
            found = parser.parse(chunk_of(sentences), now=NOW, wanted=everything)
            total.update(event.triple for event in found.events)
    return {key: float(count) for key, count in total.items()}


def test_counters_equal_what_the_samples_hold(stage: Stage, expected: dict[str, Any]) -> None:
    assert stage.daemon.events() == counts(expected)


def due(expected: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (alert, who, channel) for every alert that the samples hold."""
    kinds = {
        "critical: third failed payment": ("PaymentFailing", "#critical"),
        "critical: grace period over": ("GracePeriodOver", "#critical"),
        "warning: subscription past_due or unpaid": ("SubscriptionDelinquent", "#warning"),
        "info: subscription ended": ("SubscriptionEnded", "#info"),
        "error: license sync failure": ("LicenseSyncFailure", "#error"),
    }
    for alerts in (expected["alerts"], expected["agentops-host.log"]["alerts"]):
        for kind, (alert, channel) in kinds.items():
            yield from ((alert, who, channel) for who in alerts.get(kind, []))


def test_every_alert_is_told_at_its_severity_and_once(
    stage: Stage, expected: dict[str, Any]
) -> None:
    told = {one: stage.told(*one) for one in due(expected)}
    assert {one: count for one, count in told.items() if count != 1} == {}


def test_processing_errors_are_told_by_event_type_and_error_type(
    stage: Stage, expected: dict[str, Any]
) -> None:
    for pair in expected["agentops-host.log"]["alerts"]["error: webhook processing error"]:
        event_type, error_type = pair.split("/")
        matching = [
            t for c, t in stage.beginnings()
            if c == "#error" and "WebhookProcessingError" in t
            and event_type in t and error_type in t
        ]  # fmt: skip
        assert len(matching) == 1, pair


def test_nobody_else_is_told_of_a_failing_payment(stage: Stage, expected: dict[str, Any]) -> None:
    """The host's own critical_payment_failure lines make no second alert."""
    failing = [t for c, t in stage.beginnings() if "PaymentFailing" in t]
    alerts = (expected["alerts"], expected["agentops-host.log"]["alerts"])
    assert len(failing) == sum(len(a["critical: third failed payment"]) for a in alerts)


def test_the_mail_to_on_call_carries_the_same_alerts(stage: Stage) -> None:
    critical = [t for c, t in stage.texts() if c == "#critical"]
    assert len(stage.mail.messages) == len(critical)


def test_no_secret_of_the_samples_leaves_or_is_stored(stage: Stage) -> None:
    everything = [
        *(text for _, text in stage.texts()),
        *(str(m) for m in stage.mail.messages),
        *stage.daemon.log,
        stage.daemon.get("/metrics"),
        *(
            path.read_bytes().decode("utf-8", "replace")
            for path in stage.folder.glob("state.db*")
            if path.is_file()
        ),
    ]
    assert not [text[:200] for text in everything if SECRET in text]


def test_a_fourth_failure_within_the_cooldown_sends_nothing(
    stage: Stage, expected: dict[str, Any]
) -> None:
    """The organisation's alert still fires: it fails again, and only the counter moves."""
    resolved = {
        json.loads(line)["org_id"]
        for line in (SAMPLES / "json-lines.log").read_text().splitlines()
        if "billing_period_paid" in line
    }
    third = expected["alerts"]["critical: third failed payment"]
    org = next(o for o in third if o not in resolved)
    before = len([t for _, t in stage.texts() if org in t])
    failed = {
        "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe",
        "event_type": "invoice.payment_failed", "status": "payment_failure",
        "timestamp": datetime.fromtimestamp(NOW, UTC).isoformat(), "attempt_count": 4,
    }  # fmt: skip
    # The second line makes an alert that must be told: once it is, the first had its chance.
    lines = [{**failed, "org_id": org}, {**failed, "org_id": "org_marker", "attempt_count": 3}]
    with (stage.folder / "json-lines.log").open("a") as log:
        log.writelines(json.dumps(line) + "\n" for line in lines)
    until(lambda: stage.told("PaymentFailing", "org_marker", "#critical") == 1, "the marker")
    until(stage.settled, "every message is delivered")
    assert len([t for _, t in stage.texts() if org in t]) == before


def test_the_series_pass_promtool(stage: Stage) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("install Debian's prometheus package for promtool")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=stage.daemon.get("/metrics"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_restart_tells_nothing_again_and_keeps_the_counters(stage: Stage) -> None:
    """Last in the file: it stops the daemon that the others share."""
    before, messages = stage.daemon.events(), len(stage.slack.requests)
    assert stage.daemon.stop() == 0
    with running(stage.folder / "sidecar.yaml", shift=NOW - time.time()) as again:
        assert again.events() == before
        until(lambda: again.samples()["sidecar_outbox_pending"] == 0, "nothing pending")
    assert len(stage.slack.requests) == messages
