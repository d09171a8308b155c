"""A daemon whose Slack is dead: a mailbox is told instead, what follows, and that Slack is dead."""

import json
import shutil
import signal
from pathlib import Path

import httpx
import pytest

from support.daemon import RULES, running, until
from support.live import FAILING
from support.setup import append, record
from support.sinks import Answer, SlackSink, SmtpSink

CONFIG = """\
sources: [{{path: "{folder}/app.log", start_at: beginning}}]
rule_files: ["*.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:0"}}
stale_after: 3650d
global:
  smtp_smarthost: 127.0.0.1:{mail}
  smtp_from: s@example.com
  smtp_require_tls: false
route: {{receiver: slack, group_by: ["..."], group_wait: 0s, group_interval: 1s, cooldown: 1s}}
receivers:
  - name: slack
    fallback: mail
    slack_configs: [{{channel: "#c", api_url: "{slack}", rate: {{per_second: 100, burst: 100}}}}]
  - {{name: mail, email_configs: [{{to: a@example.com}}]}}
"""
NAMED = """\
sources: [{{path: "{folder}/app.log", start_at: beginning}}]
rule_files: ["*.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:0"}}
stale_after: 3650d
global: {{smtp_from: s@example.com, smtp_require_tls: false}}
route: {{receiver: first, group_by: ["..."], group_wait: 0s, group_interval: 1s, cooldown: 1s}}
receivers:
  - name: first
    fallback: other
    {dead}
  - {{name: other, slack_configs: [{{channel: other, api_url: "{url}", rate: {rate}}}]}}
"""


def test_a_revoked_token_is_no_silence(tmp_path: Path) -> None:
    shutil.copy(RULES / "sidecar.rules.yaml", tmp_path)
    (tmp_path / "a.rules.yaml").write_text(FAILING)
    log, config = tmp_path / "app.log", tmp_path / "sidecar.yaml"
    log.touch()
    with SlackSink() as slack, SmtpSink() as mail:
        slack.answers += [Answer(403, body="invalid_token")] * 100
        config.write_text(CONFIG.format(folder=tmp_path, mail=mail.port, slack=slack.url))

        def mailed(*words: str) -> int:
            texts = list(map(str, mail.messages))
            return sum(all(word in text for word in words) for text in texts)

        with running(config) as daemon:
            append(log, record("failed"), record("failed"))
            until(lambda: mailed("Failing", "FIRING") == 1, "the fallback hears it")
            assert mailed("told instead of somebody who cannot be told (slack #c: HTTP 403") == 1
            until(lambda: mailed("SidecarDestinationDead", "FIRING") == 1, "and who is dead")
            url = f"http://127.0.0.1:{daemon.port}/api/v1/alerts/resolve"
            asked = {"alertname": "Failing", "key": {"org_id": "org_1"}}
            httpx.post(url, json=asked, trust_env=False)
            until(lambda: mailed("Failing", "RESOLVED") == 1, "and the end")
            slack.answers.clear()
            daemon.process.send_signal(signal.SIGHUP)
            until(lambda: mailed("SidecarDestinationDead", "RESOLVED") == 1, "and of that as well")
        assert mailed("Failing", "FIRING") == 1
        assert mailed("SidecarDestinationDead", "FIRING") == 1


# Slack's API by a bot token, an incoming webhook, and a mailbox: what each says once it is dead.
REVOKED = Answer(body=json.dumps({"ok": False, "error": "token_revoked"}))
ARCHIVED = Answer(410, body="channel_is_archived")
LOGIN = "535 5.7.8 authentication failed"
BY_TOKEN = "slack_configs: [{{channel: dead, app_token: xoxb-1, app_url: '{url}', rate: {rate}}}]"
BY_WEBHOOK = "slack_configs: [{{channel: dead, api_url: '{url}', rate: {rate}}}]"
BY_MAIL = """email_configs:
      - {{to: dead@example.com, smarthost: '127.0.0.1:{mail}', auth_username: bot,
          auth_password: secret, rate: {rate}}}"""
RATE = "{per_second: 100, burst: 100}"


@pytest.mark.parametrize(
    ("how", "why", "named"),
    [
        (BY_TOKEN, "HTTP 200 token_revoked", "dead"),
        (BY_WEBHOOK, "HTTP 410 channel_is_archived", "dead"),
        (BY_MAIL, LOGIN, r"d\u2217\u2217\u2217@example.com"),
    ],
)
def test_who_is_dead_is_named_once_and_so_is_the_end(
    how: str, why: str, named: str, tmp_path: Path
) -> None:
    shutil.copy(RULES / "sidecar.rules.yaml", tmp_path)
    (tmp_path / "a.rules.yaml").write_text(FAILING)
    log, config = tmp_path / "app.log", tmp_path / "sidecar.yaml"
    log.touch()
    with SlackSink() as dead, SmtpSink(login=("bot", "secret")) as mailbox, SlackSink() as other:
        dead.answers += [REVOKED if "token" in how else ARCHIVED] * 100
        mailbox.reply("AUTH", *[LOGIN] * 100)
        receiver = how.format(url=dead.url, mail=mailbox.port, rate=RATE)
        config.write_text(NAMED.format(folder=tmp_path, dead=receiver, url=other.url, rate=RATE))

        def told(*words: str) -> int:
            bodies = [request.body.decode() for request in other.requests]
            return sum(all(word in body for word in words) for body in bodies)

        with running(config) as daemon:
            append(log, *[record("failed", org) for org in ("org_1", "org_2", "org_3") * 2])
            until(lambda: told("FIRING", "Failing org_") == 3, "another hears of all three")
            until(lambda: told("SidecarDestinationDead", "FIRING") == 1, "and who is dead")
            assert told("SidecarDestinationDead", named, why) == 1
            dead.answers.clear()
            mailbox.forget("AUTH")
            daemon.process.send_signal(signal.SIGHUP)
            append(log, record("failed", "org_4"), record("failed", "org_4"))
            until(lambda: told("SidecarDestinationDead", "RESOLVED") == 1, "and that it is over")
            until(lambda: daemon.samples()["sidecar_outbox_pending"] == 0, "all is delivered")
        assert told("SidecarDestinationDead", "FIRING") == 1
        assert told("SidecarDestinationDead", "RESOLVED") == 1
