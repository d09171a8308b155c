"""`sidecar notify`: a marked message really sent, and the servers' answers in words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli import main
from sidecar.cli.render import WORDS
from sidecar.receivers.base import FailureKind
from support.sinks import Answer, SlackSink, SmtpSink

CONFIG = """\
sources: [{{path: nowhere.log}}]
rule_files: [a.rules.yaml]
state: {{path: state.db}}
global:
  slack_app_token: xoxb-hunter2
  slack_app_url: "{slack}"
  smtp_smarthost: "127.0.0.1:{smtp}"
  smtp_from: a@example.com
  smtp_require_tls: false
  pagerduty_url: "{slack}"
route: {{receiver: team}}
receivers:
  - name: team
    slack_configs: [{{channel: '#team'}}, {{channel: '#more'}}]
    email_configs: [{{to: b@example.com}}]
  - name: pager
    pagerduty_configs: [{{service: billing, routing_key: hunter2}}]
  - name: nobody
"""


@pytest.fixture
def slack() -> Iterator[SlackSink]:
    with SlackSink() as sink:
        yield sink


@pytest.fixture
def smtp() -> Iterator[SmtpSink]:
    with SmtpSink() as sink:
        yield sink


@pytest.fixture
def config(tmp_path: Path, slack: SlackSink, smtp: SmtpSink) -> Path:
    (tmp_path / "a.rules.yaml").write_text("groups: []\n")
    (tmp_path / "sidecar.yaml").write_text(CONFIG.format(slack=slack.url, smtp=smtp.port))
    return tmp_path / "sidecar.yaml"


def run(*args: object) -> Result:
    env = {"NO_PROXY": "*"}
    return CliRunner().invoke(main, ["notify", "-c", *map(str, args)], env=env)


def test_each_destination_gets_one_and_its_answer_is_said(
    config: Path, slack: SlackSink, smtp: SmtpSink
) -> None:
    result = run(config, "team")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "slack #team: accepted (C0/1700000000.000001)",
        "slack #more: accepted (C0/1700000000.000002)",
        "email b@example.com: accepted (2.0.0 Ok: queued as SINK)",
    ]
    assert [request.json["channel"] for request in slack.requests] == ["#team", "#more"]
    assert all(b"Test message: somebody ran" in request.body for request in slack.requests)
    (mail,) = smtp.messages
    assert "SidecarTest" in str(mail)
    assert not (config.parent / "state.db").exists()


def test_a_second_test_is_another_message(config: Path, smtp: SmtpSink) -> None:
    for _ in range(2):
        assert run(config, "team").exit_code == 0
    ids = [
        line for mail in smtp.messages for line in mail.raw.split(b"\r\n") if b"Message-ID" in line
    ]
    assert len(set(ids)) == 2


def test_a_refusal_is_said_in_words_and_the_others_are_told(config: Path, slack: SlackSink) -> None:
    slack.answers.append(Answer(200, {}, '{"ok": false, "error": "channel_not_found"}'))
    result = run(config, "team")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == (
        "slack #team: not accepted: it knows no such destination (HTTP 200 channel_not_found)"
    )
    assert "slack #more: accepted" in result.stdout
    assert "hunter2" not in result.output


def test_what_is_in_doubt_is_said(config: Path, slack: SlackSink) -> None:
    slack.answers.append(Answer(200, {}, "<html>"))
    result = run(config, "team")
    assert "slack #team: not accepted: it gives an answer that nobody here knows" in result.stdout
    assert "it may have arrived all the same" in result.stdout


def test_a_refused_payload_goes_once_more_as_plain_text(config: Path, slack: SlackSink) -> None:
    slack.answers.append(Answer(200, {}, '{"ok": false, "error": "invalid_blocks"}'))
    assert run(config, "team").exit_code == 0
    assert ["blocks" in request.json for request in slack.requests] == [True, False, True]


def test_nothing_stays_open_at_a_pager(config: Path, slack: SlackSink) -> None:
    assert run(config, "pager").exit_code == 0
    assert [request.json["event_action"] for request in slack.requests] == ["trigger", "resolve"]
    assert {request.json["payload"]["severity"] for request in slack.requests} == {"info"}


def test_who_is_not_there_is_said(config: Path) -> None:
    assert run(config, "taem").stderr == (
        "sidecar: no receiver is called taem; did you mean `team`?\n"
    )
    assert run(config, "nobody").stderr == "sidecar: nobody has nobody to tell\n"
    assert run(config, "nobody").exit_code == 2


def test_every_failure_has_its_words() -> None:
    assert WORDS.keys() == set(FailureKind)
