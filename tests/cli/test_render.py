"""`sidecar render`: what each destination of a receiver would get, made up or out of a log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli import main
from support.daemon import until
from support.simulate import ENVIRON, ROOT, SAMPLES, T0, line

SHIPPED = ROOT / "sidecar.yaml"
CONFIG = """\
sources: [{path: nowhere.log}]
rule_files: [a.rules.yaml]
state: {path: state.db}
global: {slack_app_token: xoxb-test, smtp_smarthost: 'mail:25', smtp_from: a@example.com}
route: {receiver: team, routes: [{matchers: ['severity="critical"'], receiver: oncall}]}
receivers:
  - name: team
    slack_configs: [{channel: '#team'}]
    email_configs: [{to: b@example.com}]
  - name: oncall
    slack_configs: [{channel: '#oncall', title: '{{ name }} of {{ who }}'}]
    webhook_configs: [{url: 'http://hooks.example.com/secret', name: hooks}]
  - name: nobody
"""
RULES = """\
groups:
  - name: g
    rules:
      - alert: Fires
        match: ['event_type="x"']
        by: [org_id]
        condition: max(n) >= 3
        within: 1h
        labels: {severity: warning}
        collect: [event_id]
        annotations:
          summary: '{{ labels.org_id }}: {{ event.data.code }} {{ event.event_type }} {{ value }}'
          description: '{{ collected.event_id | join(", ") }}'
        escalate: [{after: 1h, labels: {severity: critical}}]
      - alert: State
        match: ['event_type="y"']
        condition: last(status) in [bad, worse]
        labels: {severity: warning}
        annotations: {summary: 'It is {{ value }}'}
        links: [{text: Customer, url: 'https://example.com/c/{{ event.customer }}'}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    (tmp_path / "a.rules.yaml").write_text(RULES)
    return tmp_path / "sidecar.yaml"


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["render", *map(str, args)], env=ENVIRON)


def test_a_made_up_alert_calls_what_a_log_would_say_by_its_name(config: Path) -> None:
    result = run("-c", config, "team")
    assert result.exit_code == 0, result.output
    slack, mail = result.stdout.split("email b@example.com\n")
    assert slack.startswith("slack #team\n:warning: [FIRING:1] Fires org_id-1 (warning)\n")
    assert "*org_id-1: code x 3*" in slack
    assert "event_id-1, event_id-2" in slack
    assert mail.startswith("[FIRING:1] Fires org_id-1 (warning)\n\n")
    assert "org_id-1: code x 3" in mail


def test_who_is_told_after_an_escalation_sees_it_so(config: Path) -> None:
    result = run("-c", config, "oncall")
    assert "Fires of org_id-1\n" in result.stdout
    assert "critical" in result.stdout
    assert '"version": "4"' in result.stdout
    assert "secret" not in result.output


def test_an_alert_can_be_named_and_a_state_has_one(config: Path) -> None:
    shown = run("-c", config, "team", "--alert", "State").stdout
    assert "It is bad" in shown
    assert "last(status) in [bad, worse]" in shown
    assert "https://example.com/c/customer" in shown


def test_external_labels_are_there(config: Path) -> None:
    title = "{{ notices[0].labels.env }} or {{ external_labels.env }}"
    text = CONFIG.replace("{{ name }} of {{ who }}", title)
    config.write_text(f"external_labels: {{env: prod}}\n{text}")
    assert "prod or prod\n" in run("-c", config, "oncall").stdout


def test_every_shipped_rule_can_be_looked_at() -> None:
    for name in ("critical", "error", "warning", "info"):
        result = run("-c", SHIPPED, name)
        assert result.exit_code == 0, result.output
        assert "slack #" in result.stdout


def test_json_is_what_is_posted(config: Path) -> None:
    result = run("-c", config, "team", "--format", "json")
    slack, end = json.JSONDecoder().raw_decode(result.stdout)
    assert slack["blocks"][0]["type"] == "header"
    mail = json.loads(result.stdout[end:])
    assert mail["subject"] == "[FIRING:1] Fires org_id-1 (warning)"


def test_html_is_the_mails(config: Path) -> None:
    result = run("-c", config, "team", "--format", "html")
    assert result.stdout.strip().startswith("<!DOCTYPE html>")


def test_a_sample_shows_what_its_log_raises(config: Path) -> None:
    log = config.parent / "app.log"
    events = [("one", 1), ("two", 5), ("three", 9)]
    log.write_bytes(b"".join(
        line(T0 + n, org_id=org, n=n, event_type="x", data={"code": f"c{n}"}) for org, n in events
    ))  # fmt: skip
    result = run("-c", config, "team", "--sample", log)
    assert result.exit_code == 0, result.output
    assert "two: c5 x 5" in result.stdout
    assert "told at 2026-11-02 08:00:35 UTC: first notification" in result.stderr
    nothing = run("-c", config, "team", "--sample", log, "--alert", "State")
    assert nothing.exit_code == 2
    assert nothing.stderr == "sidecar: the sample raises no message to team about State\n"


def test_a_shipped_sample_reaches_the_shipped_receiver() -> None:
    result = run("-c", SHIPPED, "warning", "--sample", SAMPLES / "agentops-host.log")
    assert "SubscriptionDelinquent" in result.stdout


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["taem"], 2, "no receiver is called taem; did you mean `team`?"),
        (["x1"], 2, "no receiver is called x1; there are nobody, oncall, team"),
        (["team", "--alert", "Fire"], 2, "no alert is called Fire; did you mean `Fires`?"),
        (["nobody"], 2, "nobody is told of no rule's alert; name one with --alert"),
        (["nobody", "--alert", "Fires"], 2, "nobody has nobody to tell"),
        (["oncall", "--open"], 2, "no message of this receiver has HTML to open"),
    ],
)
def test_what_is_not_there_is_said(config: Path, args: list[str], code: int, said: str) -> None:
    result = run("-c", config, *args)
    assert (result.exit_code, result.stderr) == (code, f"sidecar: {said}\n")


def test_a_template_that_fails_is_said_with_the_plain_text(config: Path) -> None:
    text = CONFIG.replace("{{ who }}", "{{ notices[0].event.never }}")
    config.write_text(text)
    result = run("-c", config, "oncall")
    assert result.exit_code == 1
    assert "a template fails: slack #oncall: slack.title.j2: 'dict object' has no" in result.stderr
    assert "Template fault" in result.stdout


def test_a_wrong_configuration_is_said_with_its_faults(config: Path) -> None:
    config.write_text(CONFIG.replace("{{ who }}", "{{ nope }}"))
    result = run("-c", config, "oncall")
    assert result.exit_code == 1
    assert "the template names `nope`, which does not exist" in result.stderr


@pytest.mark.process
def test_a_mail_opens_in_the_browser(config: Path, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "xdg-open"
    browser.write_text(f'#!/bin/sh\ncp "$1" {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", "render", "-c", config, "team", "--open"],
        env={**os.environ, **ENVIRON, "PATH": path, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    until(opened.exists, "the browser is given the file")
    assert Path(done.stdout.strip()).read_text() == opened.read_text()
    assert "<!DOCTYPE html>" in opened.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("render", "oncall", "--alert", "State"), 0, "slack #oncall"),
        (("route", "severity=critical"), 0, "told: oncall (#oncall, hooks)"),
        (("replay", "LOG"), 0, "first notification"),
        (("replay", "--against", "CONFIG", "LOG"), 0, "0 added, 0 removed, 0 changed"),
        (("notify", "oncall"), 1, "environment variable NOT_SET_HERE is not set"),
    ],
)
def test_what_sends_nothing_needs_no_secrets(
    config: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    text = CONFIG.replace("xoxb-test", '"${NOT_SET_HERE}"').replace("{{ who }}", "me")
    config.write_text(text.replace("url: 'http://hooks.example.com/secret'", "url_file: not/there"))
    log = config.parent / "app.log"
    log.write_bytes(line(T0, org_id="o", n=3) + line(T0 + 60, org_id="o", n=3))
    files = {"LOG": str(log), "CONFIG": str(config)}
    given = [files.get(one, one) for one in arguments]
    result = CliRunner().invoke(main, [given[0], "-c", str(config), *given[1:]])
    assert (result.exit_code, sentence in result.output) == (code, True), result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("render", "critical", "--alert", "PaymentFailing"), "slack #critical-alerts\n"),
        (("route", "severity=critical"), "told: critical (#critical-alerts)"),
        (("check", "--placeholders"), "4 receivers: fine"),
    ],
)
def test_what_expands_to_nothing_is_as_good_as_not_set(
    arguments: tuple[str, ...], sentence: str
) -> None:
    empty = dict.fromkeys((*ENVIRON, "SLACK_WEBHOOK_URL"))
    given = [arguments[0], "-c", str(SHIPPED), *arguments[1:]]
    result = CliRunner().invoke(main, given, env=empty)
    assert (result.exit_code, sentence in result.output) == (0, True), result.output


def test_of_webhooks_that_are_not_set_nobody_knows_whether_they_are_one(config: Path) -> None:
    entries = "slack_configs: [{api_url: '${NOT_A}'}, {api_url: '${NOT_B:-}'}]"
    text = CONFIG.replace("slack_app_token: xoxb-test, ", "")
    text = text.replace("slack_configs: [{channel: '#team'}]", entries)
    config.write_text(text.replace("{channel: '#oncall',", "{channel: '#o', api_url: '${NOT_C}',"))
    result = CliRunner().invoke(main, ["route", "-c", str(config), "severity=warning"])
    assert (result.exit_code, "told: team (" in result.output) == (0, True), result.output
