"""A daemon whose Slack is dead: a mailbox is told instead, what follows, and that Slack is dead."""

import shutil
import signal
from pathlib import Path

import httpx

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
