"""`sidecar test`: cases that pass, cases that fail side by side, and faults of test files."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from sidecar.cli import main
from sidecar.ruletest.cases import load_tests
from support.config import load_rule_files
from support.simulate import ROOT

RULES = """\
groups:
  - name: g
    rules:
      - alert: Fires
        match: ['event_type="x"']
        by: [org]
        condition: max(n) >= 3
        within: 1h
        for: 5m
        labels: {severity: critical}
        annotations: {summary: '{{ labels.org }}: {{ value }}', description: long}
"""
CONFIG = """\
sources: [{path: nowhere.log}]
rule_files: [a.rules.yaml]
global: {slack_app_token: "${TOKEN}", smtp_smarthost: mail:25, smtp_from: s@example.com}
route: {receiver: team, group_wait: 0s, group_by: [org]}
receivers:
  - {name: team, slack_configs: [{channel: '#team'}], email_configs: [{to: a@example.com}]}
  - {name: other, slack_configs: [{channel: '#other'}]}
"""
HEAD = "rule_files: [a.rules.yaml]\ntests:\n"
ROUTED = "config: sidecar.yaml\nenvironment: {TOKEN: xoxb-test}\ntests:\n"
INPUT = """\
    start: 2026-11-02T08:00:00Z
    input_events:
      - {at: 1m, event_type: x, status: s, org: a, n: 3}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.rules.yaml").write_text(RULES)
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    return tmp_path


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["test", *map(str, args)], env={"COLUMNS": "100"})


def tried(folder: Path, text: str) -> Result:
    path = folder / "a.test.yaml"
    path.write_text(text)
    return run(path)


def case(expectations: str, inputs: str = INPUT, head: str = HEAD) -> str:
    return f"{head}  - name: a case\n{inputs}{expectations}"


def alerts(expected: str, at: str = "10m") -> str:
    return (
        "    alert_rule_test:\n"
        f"      - eval_time: {at}\n        alertname: Fires\n        exp_alerts: {expected}\n"
    )


def messages(expected: str, at: str = "10m", receiver: str = "team") -> str:
    return (
        "    notification_test:\n"
        f"      - eval_time: {at}\n        receiver: {receiver}\n"
        f"        exp_notifications: {expected}\n"
    )


FIRING = "{exp_labels: {org: a, severity: critical}}"
PASSING = {
    "labels": alerts(f"[{FIRING}]"),
    "alertname among the labels": alerts(
        "[{exp_labels: {alertname: Fires, org: a, severity: critical}}]"
    ),
    "one of two annotations": alerts(
        "[{exp_labels: {org: a, severity: critical}, exp_annotations: {summary: 'a: 3'}}]"
    ),
    "nothing yet": alerts("[]", at="30s"),
    "pending is not firing": alerts("[]", at="2m"),
    "pending where it is asked for": alerts(
        "[{exp_labels: {org: a, severity: critical}, exp_state: pending}]", at="2m"
    ),
    "the very instant": alerts(f"[{FIRING}]", at="6m"),
    "an absolute time": alerts(f"[{FIRING}]", at="2026-11-02T08:06:00Z"),
    "long after": alerts("[]", at="3d"),
}
FAILING = {
    "another label": alerts("[{exp_labels: {org: b, severity: critical}}]"),
    "a label too few": alerts("[{exp_labels: {org: a}}]"),
    "a label too many": alerts("[{exp_labels: {org: a, severity: critical, x: y}}]"),
    "another annotation": alerts(
        "[{exp_labels: {org: a, severity: critical}, exp_annotations: {summary: 'a: 4'}}]"
    ),
    "an annotation that is not there": alerts(
        "[{exp_labels: {org: a, severity: critical}, exp_annotations: {sumary: 'a: 3'}}]"
    ),
    "another state": alerts("[{exp_labels: {org: a, severity: critical}, exp_state: pending}]"),
    "one too many": alerts(f"[{FIRING}, {FIRING}]"),
    "none expected": alerts("[]"),
    "the instant before": alerts(f"[{FIRING}]", at="5m59s"),
}


@pytest.mark.parametrize("expectations", PASSING.values(), ids=PASSING)
def test_an_expectation_that_is_met_passes(folder: Path, expectations: str) -> None:
    result = tried(folder, case(expectations))
    assert (result.exit_code, result.output) == (0, "1 case: all passed\n")


@pytest.mark.parametrize("expectations", FAILING.values(), ids=FAILING)
def test_an_expectation_that_is_not_met_fails(folder: Path, expectations: str) -> None:
    result = tried(folder, case(expectations))
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "1 case: 1 failed")


TOLD = "{reason: first notification, late: false"
TOLD_PASSING = {
    "reason alone": f"[{TOLD}}}]",
    "nothing of it": "[{}]",
    "alerts": "[{alerts: [{labels: {org: a}, status: firing}]}]",
    "slack contains": "[{slack_text: '*a: 3*'}]",
    "mail contains": "[{email_text: 'a: 3'}]",
    "slack contains several": "[{slack_text: ['*a: 3*', Fires]}]",
    "mail subject": "[{mail_subject: '[FIRING:1] Fires a (critical)'}]",
}
TOLD_FAILING = {
    "another reason": "[{reason: repeat interval elapsed}]",
    "late": "[{late: true}]",
    "another alert": "[{alerts: [{labels: {org: b}}]}]",
    "another status": "[{alerts: [{labels: {org: a}, status: resolved}]}]",
    "no alerts": "[{alerts: []}]",
    "slack": "[{slack_text: 'a: 4'}]",
    "mail": "[{email_text: 'a: 4'}]",
    "slack whole": "[{slack_text: {equals: '*a: 3*'}}]",
    "subject in part": "[{mail_subject: Fires}]",
    "nobody told": "[]",
    "told twice": "[{}, {}]",
}


@pytest.mark.parametrize("expected", TOLD_PASSING.values(), ids=TOLD_PASSING)
def test_a_message_as_expected_passes(folder: Path, expected: str) -> None:
    result = tried(folder, case(messages(expected), head=ROUTED))
    assert (result.exit_code, result.output) == (0, "1 case: all passed\n")


@pytest.mark.parametrize("expected", TOLD_FAILING.values(), ids=TOLD_FAILING)
def test_a_message_otherwise_than_expected_fails(folder: Path, expected: str) -> None:
    assert tried(folder, case(messages(expected), head=ROUTED)).exit_code == 1


def test_messages_are_asked_for_only_once(folder: Path) -> None:
    twice = messages("[{}]") + messages("[]", at="20m").removeprefix("    notification_test:\n")
    assert tried(folder, case(twice, head=ROUTED)).exit_code == 0


def test_another_receiver_is_told_nothing(folder: Path) -> None:
    assert tried(folder, case(messages("[]", receiver="other"), head=ROUTED)).exit_code == 0


def test_a_failing_case_shows_both_sides(folder: Path) -> None:
    result = tried(folder, case(alerts("[{exp_labels: {org: b, severity: critical}}]")))
    assert result.output == (
        f"{folder}/a.test.yaml:8:9: FAIL a case: alert Fires at 2026-11-02 08:10:00 UTC\n"
        "  expected                                          got\n"
        "  1 alert                                           1 alert\n"
        "  firing                                            firing\n"
        f"  {'  org: b'.ljust(47)} |   org: a\n"
        f"  {'  severity: critical'.ljust(47)}     severity: critical\n"
        "  its inputs made 1 event\n"
        "\n"
        "1 case: 1 failed\n"
    )


SPACED = {
    "line breaks": ("'a: 3\\nb'", "a: 3 b"),
    "two blanks": ("'a:  3 b'", "a: 3 b"),
    "a blank at the end": ("'a: 3 b '", "a: 3 b"),
    "two blanks where the line is wrapped": (
        "'a word that is long  and b'",
        "a word that is long and b",
    ),
}


@pytest.mark.parametrize(("expected", "got"), SPACED.values(), ids=SPACED)
def test_a_difference_in_blanks_or_line_breaks_is_seen(
    folder: Path, expected: str, got: str
) -> None:
    rules = RULES.replace("{{ labels.org }}: {{ value }}", got)
    (folder / "a.rules.yaml").write_text(rules)
    wanted = expected.replace("'", '"')
    text = f"exp_alerts: [{{exp_labels: {{org: a}}, exp_annotations: {{summary: {wanted}}}}}]"
    path = folder / "a.test.yaml"
    path.write_text(
        f"{HEAD}  - name: c\n{INPUT}    alert_rule_test:\n"
        f"      - {{eval_time: 7m, alertname: Fires, {text}}}\n"
    )
    rows = run(path).output.splitlines()
    first = next(number for number, row in enumerate(rows) if "annotation" in row)
    shown = [row.partition("|") for row in rows[first:-3]]
    left, right = ("".join(row[side].strip() for row in shown) for side in (0, 2))
    assert left != right
    assert left.startswith(("'", '"'))
    assert right.replace("·", " ").endswith(f"annotation summary: {got}'")
    for form in ("github", "markdown", "junit"):
        assert left in run(path, "--format", form).output


def _cases(folder: Path) -> Path:
    path = folder / "a.test.yaml"
    test = "    alert_rule_test: [{eval_time: 7m, alertname: Fires, exp_alerts: []}]\n"
    path.write_text(HEAD + "".join(f"  - name: {name}\n{test}" for name in ("one", "two")))
    return path


@pytest.mark.parametrize("name", ["app.log.gz", "a.test.yaml.zst"])
def test_a_compressed_file_is_wrong_usage(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\x1f\x8b damaged")
    result = run(folder / name)
    assert result.exit_code == 2
    assert f"{name} holds no cases, which are YAML" in result.output


def test_one_case_is_run_by_its_name(folder: Path) -> None:
    path = _cases(folder)
    assert run(path, "--run", "two").output == "1 case: all passed\n"
    assert run(path, "--run", "t*").output == "1 case: all passed\n"
    result = run(path, "--run", "too")
    assert result.exit_code == 2
    assert "no case is called too; did you mean `two`?" in result.output


def test_a_fault_of_the_file_is_said_and_not_that_it_has_no_such_case(folder: Path) -> None:
    path = _cases(folder)
    path.write_text(path.read_text().replace("rule_files", "rule_fils"))
    for form in ("text", "github", "markdown", "junit"):
        result = run(path, "--run", "two", "--format", form)
        assert result.exit_code == 1
        assert "rule_fils" in result.output
        assert "no case" not in result.output


def test_ids_of_any_number_of_digits_are_told_apart(folder: Path) -> None:
    ids = (str(2**128 - 1), str(2**128 - 2), str(2**53 + 1), str(2**53))
    inputs = "".join(
        f"      - {{at: 1m, event_type: x, status: s, org: {one}, n: 3}}\n" for one in ids
    )
    alerts = "".join(
        f"          - {{exp_labels: {{org: '{one}', severity: critical}}}}\n" for one in sorted(ids)
    )
    asked = f"      - eval_time: 7m\n        alertname: Fires\n        exp_alerts:\n{alerts}"
    given = f"    input_events:\n{inputs}    alert_rule_test:\n{asked}"
    assert tried(folder, f"{HEAD}  - name: c\n{given}").output == "1 case: all passed\n"


def test_rules_without_a_case_fail_where_cases_are_required(folder: Path) -> None:
    path = _cases(folder)
    assert run(path, "--require-cases").exit_code == 0
    more = (
        "      - {alert: Untested, condition: count() >= 1, within: 1h, labels: {severity: info}}\n"
    )
    (folder / "a.rules.yaml").write_text(RULES + more)
    result = run(path, "--require-cases")
    assert result.exit_code == 1
    rules = folder / "a.rules.yaml"
    assert f"{rules}:12: FAIL no case asks about Untested" in result.output
    assert run(path).exit_code == 0


def _one_of_two(folder: Path) -> Path:
    path = folder / "a.test.yaml"
    test = "    alert_rule_test:\n      - {eval_time: 7m, alertname: Fires, exp_alerts: []}\n"
    path.write_text(f"{HEAD}  - name: quiet\n{test}  - name: loud\n{INPUT}{test}")
    return path


def test_a_failure_is_an_annotation_on_its_line(folder: Path) -> None:
    path = _one_of_two(folder)
    result = run(path, "--format", "github")
    (line,) = result.output.splitlines()
    assert result.exit_code == 1
    assert line.startswith(f"::error file={path},line=11,col=9::loud: alert Fires at ")
    assert "%0Aexpected:%0Ano alert%0Agot:%0A1 alert%0Afiring" in line


def test_failures_are_a_table_of_markdown(folder: Path) -> None:
    path = _one_of_two(folder)
    result = run(path, "--format", "markdown")
    head, _, row = result.output.splitlines()
    assert head == "| where | what |"
    assert row.startswith(f"| {path}:11 | **error** loud: alert Fires at ")
    assert "<br>got:<br>1 alert" in row
    assert run(path, "--run", "quiet", "--format", "markdown").output == "Nothing found.\n"


def test_cases_are_those_of_junit(folder: Path) -> None:
    path = _one_of_two(folder)
    suite = ET.fromstring(run(path, "--format", "junit").output)  # noqa: S314 - our own
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    quiet, loud = suite
    assert (quiet.get("classname"), quiet.get("name"), len(quiet)) == (str(path), "quiet", 0)
    assert (loud[0].get("message") or "").startswith("loud: alert Fires at ")
    assert "got:\n1 alert\n" in (loud[0].text or "")


def test_every_case_is_run_however_many_fail(folder: Path) -> None:
    text = case(alerts("[]"))
    second = case(alerts("[]")).removeprefix(HEAD).replace("a case", "another")
    third = case(alerts(f"[{FIRING}]")).removeprefix(HEAD).replace("a case", "third")
    result = tried(folder, text + second + third)
    assert result.output.count(": FAIL ") == 2
    assert result.output.splitlines()[-1] == "3 cases: 2 failed"


def test_a_line_with_the_marker_that_is_no_event_is_pointed_out(folder: Path) -> None:
    lines = "    input_lines: ['WEBHOOK_METRIC: {broken']\n"
    result = tried(folder, case(alerts(f"[{FIRING}]"), inputs=lines))
    assert (
        "  its inputs made 0 events\n  1 line with the marker made none: truncated\n"
        in result.output
    )


def test_what_should_be_a_time_and_is_none_is_said_even_where_the_case_passes(
    folder: Path,
) -> None:
    step = "        escalate: [{at: ends + 3d, labels: {severity: page}}]\n"
    (folder / "a.rules.yaml").write_text(RULES + step)
    inputs = (
        "    start: 2026-11-02T08:00:00Z\n    input_events:\n"
        "      - {at: 1m, event_type: x, status: s, org: a, n: 3, timestamp: today, ends: soon}\n"
    )
    result = tried(folder, case(alerts(f"[{FIRING}]"), inputs=inputs))
    assert result.exit_code == 0
    place = f"{folder / 'a.test.yaml'}:3:5: warning: a case: "
    assert result.output.splitlines() == [
        f"{place}the time of 1 of 1 events cannot be read",
        f"{place}alert Fires: `ends` is no instant in an event",
        "1 case: all passed",
    ]


def test_a_lines_own_time_wins_and_at_stands_in(folder: Path) -> None:
    head = 'WEBHOOK_METRIC: {"event_type": "x", "status": "s", "n": 3'
    stamp = '"timestamp": "2026-11-02T08:30:00Z"'
    inputs = (
        "    start: 2026-11-02T08:00:00Z\n    input_lines:\n"
        f"""      - {{at: 1h, line: '{head}, "org": "a"}}'}}\n"""
        f"""      - {{at: 1h, line: '{head}, "org": "b", {stamp}}}'}}\n"""
    )
    expected = "[{exp_labels: {org: b, severity: critical}}]"
    assert tried(folder, case(alerts(expected, at="40m"), inputs=inputs)).exit_code == 0
    both = (
        "[{exp_labels: {org: b, severity: critical}}, {exp_labels: {org: a, severity: critical}}]"
    )
    assert tried(folder, case(alerts(both, at="70m"), inputs=inputs)).exit_code == 0


def test_inputs_without_any_time_come_an_interval_apart(folder: Path) -> None:
    event = "{event_type: x, status: s, org: a, n: %d}"
    inputs = f"    interval: 20m\n    input_events: [{event % 1}, {event % 3}]\n"
    assert tried(folder, case(alerts("[]", at="24m"), inputs=inputs)).exit_code == 0
    assert tried(folder, case(alerts(f"[{FIRING}]", at="25m"), inputs=inputs)).exit_code == 0


def test_the_environment_of_the_shell_is_not_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "xoxb-shell")
    head = ROUTED.replace("environment: {TOKEN: xoxb-test}\n", "")
    result = tried(folder, case(messages("[{}]"), head=head))
    assert result.exit_code == 1
    assert (
        f"{folder}/sidecar.yaml:3:28: error: environment variable TOKEN is not set" in result.output
    )
    assert "`environment` of the test file" in result.output


FAULTS = {
    "no tests": ("rule_files: [a.rules.yaml]\n", ":1:1: error: `tests` is missing"),
    "no rules": ("tests: []\n", ":1:1: error: `rule_files` is missing"),
    "empty tests": ("rule_files: [a.rules.yaml]\ntests: []\n", ":2:8: error: `tests` is empty"),
    "nothing expected": (HEAD + "  - {name: a}\n", ":3:5: error: the test expects nothing"),
    "unknown alert": (
        case(alerts("[]").replace("Fires", "Firse")),
        ":9:20: error: there is no rule `Firse`; did you mean `Fires`?",
    ),
    "unknown receiver": (
        case(messages("[]", receiver="tema"), head=ROUTED),
        ":10:19: error: there is no receiver `tema`; did you mean `team`?",
    ),
    "messages without a configuration": (
        case(messages("[]")),
        ":7:5: error: `notification_test` needs receivers and routes",
    ),
    "unknown reason": (
        case(messages("[{reason: firts notification}]"), head=ROUTED),
        "did you mean `first notification`?",
    ),
    "unknown state": (
        case(alerts("[{exp_labels: {}, exp_state: resolved}]")),
        "error: `exp_state` must be firing or pending",
    ),
    "bad time": (case(alerts("[]", at="soon")), ":8:20: error: 'soon' is not a time"),
    "relative start": (
        case(alerts("[]"), inputs="    start: 5m\n"),
        ":4:12: error: `start` is an absolute time",
    ),
    "promtool's series": (
        case(alerts("[]"), inputs="    input_series: []\n"),
        ":4:5: error: unknown key `input_series`; write `input_lines` or `input_events`",
    ),
    "event without status": (
        case(alerts("[]"), inputs="    input_events: [{event_type: x}]\n"),
        ":4:20: error: `status` is missing",
    ),
    "line without text": (
        case(alerts("[]"), inputs="    input_lines: [{at: 5m}]\n"),
        ":4:19: error: `line` is missing",
    ),
    "two tests of one name": (
        case(alerts("[]")) + case(alerts("[]")).removeprefix(HEAD),
        "error: test `a case` is defined twice",
    ),
    "no such file": ("rule_files: [b.rules.yaml]\ntests: []\n", "b.rules.yaml does not exist"),
    "slack_text with a wrong key": (
        case(messages("[{slack_text: {contains: a}}]"), head=ROUTED),
        "unknown key `contains`; write the text",
    ),
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_a_test_file_is_shown_at_its_place(folder: Path, text: str, fault: str) -> None:
    result = tried(folder, text)
    assert result.exit_code == 1
    assert fault in result.output
    assert result.output.splitlines()[-1] == "0 cases: none run; 1 file not run"


def test_all_faults_of_a_file_are_shown_at_once(folder: Path) -> None:
    text = case(alerts("[]", at="soon").replace("Fires", "Firse"), inputs="    interval: often\n")
    assert tried(folder, text).output.count(": error: ") == 3


def test_faults_of_the_rules_are_shown_in_their_own_file(folder: Path) -> None:
    (folder / "a.rules.yaml").write_text(RULES.replace("max(n)", "most(n)"))
    result = tried(folder, case(alerts("[]")))
    assert f"{folder}/a.rules.yaml:7:" in result.output


def test_a_directory_is_searched_and_a_faulty_file_stops_no_other(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "bad.test.yaml").write_text("tests: 5\n")
    (folder / "good.test.yaml").write_text(case(alerts(f"[{FIRING}]")))
    result = run(folder)
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        1,
        "1 case: all passed; 1 file not run",
    )


def test_a_directory_without_tests_is_wrong_usage(tmp_path: Path) -> None:
    assert run(tmp_path).exit_code == 2


def test_every_shipped_rule_has_cases_in_which_it_fires_and_in_which_it_does_not() -> None:
    tests = [
        test
        for path in (ROOT / "rules").glob("*.test.yaml")
        for one in load_tests(str(path)).cases
        for test in one.alert_tests
    ]
    shipped = load_rule_files(str(p) for p in (ROOT / "rules").glob("*.rules.yaml"))
    names = {rule.name for rule in shipped.rules}
    assert {test.alertname for test in tests if test.expected} == names
    assert {test.alertname for test in tests if not test.expected} == names


def test_the_example_of_the_documentation_passes(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "testing.md").read_text()
    (example,) = re.findall(r"```yaml\n(rule_files:.*?)```", text, re.DOTALL)
    rules = tmp_path / "rules"
    rules.mkdir()
    for path in (ROOT / "rules").glob("*.yaml"):
        (rules / path.name).write_text(path.read_text())
    (tmp_path / "sidecar.yaml").write_text((ROOT / "sidecar.yaml").read_text())
    (rules / "a.test.yaml").write_text(example)
    result = run(rules / "a.test.yaml")
    assert result.output == "1 case: all passed\n"
