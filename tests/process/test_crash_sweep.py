"""kill -9 at every boundary of the step: each line and each alert once, whatever was cut off.

Only a message that was under way may be told twice: nobody can know whether it had arrived.
"""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.crash import SMALL, Boundary, Life, counted, in_doubt, messages, posted, run, told
from support.sinks import SlackSink, SmtpSink

CONFIG = """\
sources: [{{path: "{folder}/app.log", start_at: beginning}}]
rule_files: ["{folder}/failing.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:0"}}
global: {{smtp_smarthost: "127.0.0.1:{smtp}", smtp_from: s@example.com, smtp_require_tls: false}}
route: {{receiver: both, group_wait: 0s, group_by: ["..."]}}
receivers:
  - name: both
    slack_configs: [{{channel: "#c", api_url: "{slack}", rate: {rate}}}]
    email_configs: [{{to: a@example.com, rate: {rate}}}]
"""
RULES = """\
groups:
  - name: g
    rules:
      - alert: Failing
        match: ['status="failed"']
        by: [org_id]
        condition: count() >= 3
        within: 30d
        labels: {severity: critical}
        annotations: {summary: 'three failures of {{ labels.org_id }}.'}
"""
# Organisations with an even number fail three times, the others only twice.
ORGANISATIONS = 16
DUE = {f"org_{number}" for number in range(0, ORGANISATIONS, 2)}
# The process dies with a message accepted and no record of that: it is told again.
TOLD_AGAIN = {
    Boundary.AFTER_ANSWER,
    Boundary.BEFORE_OUTCOME,
    Boundary.OUTCOME_INSERTED,
    Boundary.OUTCOME_COMMIT,
}
# What a first step with nothing to count comes by.
WITHOUT_LINES = {
    Boundary.BEFORE_READING,
    Boundary.BEFORE_TRANSACTION,
    Boundary.TRANSACTION_BEGUN,
    Boundary.BEFORE_COMMIT,
}
KILLED = -signal.SIGKILL


def lines() -> Iterator[dict[str, str]]:
    """Yield a log in which every step of the reader brings some alert closer."""
    at = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=5)
    for turn in range(3):
        for number in range(ORGANISATIONS):
            status = "failed" if turn < 2 or number % 2 == 0 else "fine"
            yield {
                "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe",
                "event_type": "invoice.payment_failed", "status": status,
                "timestamp": (at := at + timedelta(seconds=1)).isoformat(),
                "org_id": f"org_{number}",
            }  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "failing.rules.yaml").write_text(RULES)
    (tmp_path / "app.log").write_text("".join(json.dumps(line) + "\n" for line in lines()))
    return tmp_path / "sidecar.yaml"


@pytest.mark.parametrize("boundary", Boundary)
def test_killed_at(boundary: Boundary, config: Path) -> None:
    state = config.parent / "state.db"
    doubted: set[str] = set()
    with SlackSink() as slack, SmtpSink() as mail:
        rate = "{per_second: 1000, burst: 1000}"
        config.write_text(
            CONFIG.format(folder=config.parent, slack=slack.url, smtp=mail.port, rate=rate)
        )
        for nth in (1, 3):
            assert run(Life(config, boundary=boundary, nth=nth, budget=SMALL)) == KILLED
            doubted |= in_doubt(state)
        assert run(Life(config)) == 0
        by_slack = posted(slack)
        mailed = Counter(told(str(received)) for received in mail.messages)
        ids = {(told(str(m)), str(m.message["Message-ID"])) for m in mail.messages}
    assert counted(state) == Counter(line["status"] for line in lines())
    assert by_slack.keys() == mailed.keys() == DUE
    assert messages(state) == Counter((how, who) for how in ("slack", "email") for who in DUE)
    assert len(ids) == len(DUE)
    again = (by_slack - Counter(DUE)) + (mailed - Counter(DUE))
    assert again.keys() <= doubted
    assert 2 * (boundary in TOLD_AGAIN) <= again.total() <= 2 * 2


@pytest.mark.parametrize("boundary", sorted(WITHOUT_LINES))
def test_a_first_start_that_is_cut_off_is_followed_by_a_first_start(
    boundary: Boundary, config: Path
) -> None:
    text = CONFIG.format(folder=config.parent, slack="http://127.0.0.1:9/", smtp=9, rate="{}")
    # Else the history that this passes over would be told as if it were new.
    config.write_text(text.replace("start_at: beginning", "start_at: end"))
    assert run(Life(config, boundary=boundary)) == KILLED
    assert run(Life(config)) == 0
    assert not counted(config.parent / "state.db")
