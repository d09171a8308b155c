"""A customer's mail: a daemon, a log, a mail server and Slack, all of them real."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli import main
from sidecar.notify.cooldowns import MOST_A_DAY
from support.daemon import DaemonProcess, running, until
from support.setup import append, record
from support.sinks import SlackSink, SmtpSink

pytestmark = pytest.mark.process

RULES = """\
groups:
  - name: billing
    rules:
      - alert: PaymentFailing
        match: ['status="failed"']
        by: [org_id]
        condition: count() >= 1
        within: 30d
        resolve: {match: ['status="paid"']}
        labels: {severity: critical, kpi: payment_failure_count}
        annotations: {summary: 'Payment failed for {{ labels.org_id }}: {{ event.owner_email }}'}
      - alert: Delinquent
        match: ['status="past_due"']
        by: [org_id]
        condition: count() >= 1
        within: 30d
        labels: {severity: critical, kpi: subscription_status}
"""
CONFIG = """\
sources: [{{path: app.log, start_at: beginning}}]
rule_files: ["*.rules.yaml"]
state: {{path: state.db}}
http: {{listen: "127.0.0.1:0"}}
stale_after: 3650d
global: {{smtp_smarthost: "127.0.0.1:{smtp}", smtp_from: "billing@example.com",
  smtp_require_tls: false, slack_api_url: "{slack}"}}
{directory}
route:
  receiver: team
  group_by: [alertname, org_id]
  group_wait: 0s
  group_interval: 1s
  routes: [{{matchers: ['severity="critical"'], receiver: owner}}]
receivers:
  - {{name: team, slack_configs: [{{channel: '#team', rate: {rate}}}]}}
  - {{name: owner, fallback: team, email_configs: [{{to: '{{{{ owner_email }}}}', rate: {rate}}}]}}
"""


class Stage:
    def __init__(self, folder: Path, slack: SlackSink, mail: SmtpSink) -> None:
        self.folder, self.slack, self.mail = folder, slack, mail

    def configure(self, directory: str) -> None:
        (self.folder / "app.log").touch()
        (self.folder / "a.rules.yaml").write_text(RULES)
        text = CONFIG.format(
            slack=self.slack.url, smtp=self.mail.port, directory=directory,
            rate="{per_second: 1000, burst: 1000}",
        )  # fmt: skip
        (self.folder / "sidecar.yaml").write_text(text)

    @contextmanager
    def running(self) -> Iterator[DaemonProcess]:
        with running(self.folder / "sidecar.yaml") as daemon:
            yield daemon

    def log(self, status: str, org: str, **more: object) -> None:
        append(self.folder / "app.log", record(status, org, **more))

    def mailed(self) -> list[tuple[str, ...]]:
        return [mail.recipients for mail in self.mail.messages]

    def team_heard(self, *words: str) -> bool:
        bodies = [request.body.decode() for request in self.slack.requests]
        return any(all(word in body for word in words) for body in bodies)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(tmp_path, stack.enter_context(SlackSink()), stack.enter_context(SmtpSink()))


def test_by_a_file_that_is_read_anew_and_over_restarts(stage: Stage) -> None:
    owners = stage.folder / "owners.csv"
    owners.write_text("org_id,email,notify\norg_1,jane@example.com,\norg_2,joe@example.com,false\n")
    stage.configure("directory: {file: owners.csv}")
    with stage.running() as daemon:
        stage.log("failed", "org_1", attempt_count=3, amount_due=4900, currency="usd")
        until(lambda: stage.mailed() == [("jane@example.com",)], "the owner is mailed")
        stage.log("failed", "org_2")
        stage.log("failed", "org_3")
        until(lambda: stage.team_heard("org_3", "the directory does not know it"), "the team is")
        owners.write_text(owners.read_text() + "org_4,ann@example.com,true\n")
        until(
            lambda: daemon.samples()['sidecar_config_reloads_total{result="ok"}'] == 1, "a reload"
        )
        stage.log("failed", "org_4")
        until(lambda: ("ann@example.com",) in stage.mailed(), "the new line counts")
    with stage.running():
        stage.log("past_due", "org_1")
        until(lambda: stage.team_heard("org_1", "one mail a day"), "one a day, over a restart")
        stage.log("paid", "org_3")
        until(lambda: stage.team_heard("org_3", "RESOLVED"), "the team hears of the end")
    assert stage.mailed() == [("jane@example.com",), ("ann@example.com",)]
    assert not stage.team_heard("org_2")
    assert not stage.team_heard("jane")
    jane = stage.mail.messages[0]
    assert jane.subject == "Your payment did not go through"
    assert "A payment of 49.00 USD for your subscription did not go through." in jane.text
    words = str(jane)
    assert all(word not in words for word in ("critical", "attempt_count", "app.log", "webhook"))
    assert (jane.message["From"], jane.message["To"]) == ("billing@example.com", "jane@example.com")
    assert (jane.message["List-Id"], jane.message["Importance"]) == (None, None)


def test_by_the_event_whose_address_stands_nowhere_else(stage: Stage) -> None:
    stage.configure("")
    with stage.running() as daemon:
        stage.log("failed", "org_1", owner_email="jane@example.com")
        until(lambda: stage.mailed() == [("jane@example.com",)], "the owner is mailed")
        stage.log("failed", "org_2", owner_email="jane@example.com, joe@example.com")
        until(lambda: stage.team_heard("org_2", "not exactly one mailbox"), "the team is told")
        shown = daemon.get("/api/v1/alerts") + daemon.get("/api/v1/notifications")
    assert len(stage.mailed()) == 1
    for text in (shown, "".join(daemon.log), *(str(r.body) for r in stage.slack.requests)):
        assert "jane@" not in text
        assert "joe@" not in text


def test_a_mailbox_that_is_refused_is_the_teams_to_know(stage: Stage) -> None:
    stage.configure("")
    stage.mail.reply("RCPT", "550 5.1.1 no such mailbox")
    with stage.running():
        stage.log("failed", "org_1", owner_email="jane@example.com")
        until(lambda: stage.team_heard("org_1", "SMTP 550"), "the team is told")
    assert stage.mailed() == []
    assert not stage.team_heard("jane@")


def test_a_flood_is_a_hundred_mails_and_the_rest_for_the_team(stage: Stage) -> None:
    stage.configure("")
    with stage.running() as daemon:
        for n in range(MOST_A_DAY + 3):
            stage.log("failed", f"org_{n:03}", owner_email=f"o{n}@example.com")
        until(lambda: len(stage.mailed()) == MOST_A_DAY, "a hundred mails")
        until(lambda: stage.team_heard("100 mails a day"), "the team is told of the rest")
        until(lambda: daemon.samples()["sidecar_outbox_pending"] == 0, "all is told")
    named = {n for n in range(103) if stage.team_heard(f"org_{n:03}", "100 mails a day")}
    assert (len(stage.mailed()), len(named)) == (MOST_A_DAY, 3)


def test_no_customer_is_drilled_or_tested(stage: Stage) -> None:
    stage.configure("")
    config = str(stage.folder / "sidecar.yaml")
    with stage.running() as daemon:
        url = f"http://127.0.0.1:{daemon.port}"
        drilled = CliRunner().invoke(main, ["drill", "PaymentFailing", "--url", url])
        assert "none of them is drilled" in drilled.output
        tested = CliRunner().invoke(main, ["notify", "-c", config, "owner"])
        assert "owners of organisations get no test" in tested.stderr
    assert (stage.mailed(), stage.mail.said) == ([], [])
