"""Fifty ends and one new critical alert in one flush, through the daemon to Slack and mail."""

import json
import re
from pathlib import Path

from support.daemon import running, until
from support.sinks import SlackSink, SmtpSink

CONFIG = """\
sources: [{{path: "{folder}/app.log", start_at: beginning}}]
rule_files: ["{folder}/failing.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:0"}}
stale_after: 3650d
global:
  smtp_smarthost: 127.0.0.1:{smtp}
  smtp_from: sidecar@example.com
  smtp_require_tls: false
# The interval is long enough for all 51 to be read before the group speaks again.
route:
  {{receiver: on-call, group_by: [alertname], group_wait: 1s, group_interval: 4s, cooldown: 0s}}
receivers:
  - name: on-call
    slack_configs: [{{channel: "#critical", api_url: "{slack}"}}]
    email_configs: [{{to: oncall@example.com}}]
"""
RULES = """\
groups:
  - name: g
    rules:
      - alert: Failing
        match: ['status="failed"']
        by: [org_id]
        condition: count() >= 1
        within: 30d
        resolve: {match: ['status="paid"']}
        labels: {severity: critical}
"""
ORGS = [f"org_{number:02}" for number in range(50)]


def line(status: str, org: str) -> str:
    record = {
        "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe", "event_type": "e",
        "status": status, "org_id": org, "timestamp": "2026-11-02T08:00:00",
    }  # fmt: skip
    return json.dumps(record) + "\n"


def named(text: str) -> set[str]:
    return set(re.findall(r"org_(?:new|\d+)", text))


def test_the_new_alert_is_told_and_no_end_is_lost(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("".join(line("failed", org) for org in ORGS))
    (tmp_path / "failing.rules.yaml").write_text(RULES)
    with SlackSink() as slack, SmtpSink() as mail:
        config = tmp_path / "sidecar.yaml"
        config.write_text(CONFIG.format(folder=tmp_path, slack=slack.url, smtp=mail.port))
        with running(config) as daemon:
            slack.wait_for(1)
            with log.open("a") as file:
                file.write("".join(line("paid", org) for org in ORGS) + line("failed", "org_new"))
            posts = slack.wait_for(3, timeout=30)
            mails = mail.wait_for(3, timeout=30)
            until(lambda: daemon.samples()["sidecar_outbox_pending"] == 0, "all is sent")

    _, flush, rest = [post.json for post in posts]
    assert flush["blocks"][0]["text"]["text"] == (
        ":rotating_light: [FIRING:1] Failing org_new (critical)"
    )
    assert flush["attachments"][0]["color"] == "#c8102e"
    assert "1 firing, 50 resolved" in json.dumps(flush)
    assert named(json.dumps(flush)) == {"org_new", *ORGS} - {max(ORGS)}
    assert rest["blocks"][0]["text"]["text"].startswith(":white_check_mark: [RESOLVED:1] Failing")

    assert [message.subject for message in mails[1:]] == [
        "[FIRING:1] Failing org_new (critical)",
        f"[RESOLVED:1] Failing {max(ORGS)} (critical)",
    ]
    assert "and 1 more, told in the next message" in mails[1].text
    assert named(mails[1].text) == {"org_new", *ORGS} - {max(ORGS)}
    assert named(mails[2].text) == {max(ORGS)}
