"""`sidecar check --sample`: what a real log speaks against."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sidecar.cli.check import check
from sidecar.cli.parse import parse
from sidecar.cli.replay import replay
from support.config import write_config

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "samples"
EVENTS: list[dict[str, Any]] = [
    {"event_type": "invoice", "status": "failed", "org_id": "a", "amount": 5, "plan": None},
    {"event_type": "invoice", "status": "paid", "org_id": "b", "usage": {"tokens": "many"}},
]
RULE = """\
groups:
  - name: g
    rules:
      - alert: A
        labels: {severity: info}
        """


def run(*args: object) -> Result:
    return CliRunner().invoke(check, [str(arg) for arg in args])


def write_log(folder: Path, events: list[dict[str, Any]] = EVENTS) -> Path:
    path = folder / "app.log"
    stamp = {"timestamp": "2026-11-02T08:00:00Z"}
    path.write_text(
        "".join(f"WEBHOOK_METRIC: {json.dumps({**event, **stamp})}\n" for event in events)
    )
    return path


def warnings(tmp_path: Path, rules: str, events: list[dict[str, Any]] = EVENTS) -> list[str]:
    path = tmp_path / "a.rules.yaml"
    path.write_text(rules)
    result = run(path, "--sample", write_log(tmp_path, events))
    assert result.exit_code == 0, result.output
    begin = f"{path}:"
    lines = [line for line in result.output.splitlines() if line.startswith(begin)]
    return [line.removeprefix(begin) for line in lines]


def rule(*lines: str) -> str:
    return RULE + "\n        ".join(lines) + "\n"


CASES: list[Any] = [
    pytest.param(
        rule("match: [status=fialed]", "condition: count() > 1", "within: 1h"),
        'alert A: no event of the sample matches; no event has `status="fialed"`, '
        "did you mean `failed`?",
        id="a text that is in no event",
    ),
    pytest.param(
        rule("match: [state=failed]", "condition: count() > 1", "within: 1h"),
        "alert A: no event of the sample matches; no event has a field `state`, "
        "did you mean `status`?",
        id="a field that is in no event",
    ),
    pytest.param(
        rule("match: [status=failed]", "condition: max(amuont) > 1", "within: 1h"),
        "alert A: no event that matches has a field `amuont`; did you mean `amount`?",
        id="a field of the condition",
    ),
    pytest.param(
        rule("match: [status=failed]", "condition: max(usage.tokens) > 1", "within: 1h"),
        "alert A: no event that matches has a field `usage.tokens`",
        id="a field that only other events have",
    ),
    pytest.param(
        rule("match: [status=failed]", "by: [plan]", "condition: count() > 1", "within: 1h"),
        "alert A: no event that matches has a field `plan`",
        id="a field that is always null",
    ),
    pytest.param(
        rule("match: [status=paid]", "condition: sum(usage.tokens) > 1", "within: 1h"),
        "alert A: `usage.tokens` is no number in the events that match",
        id="numbers that are none",
    ),
    pytest.param(
        rule(
            "condition: count() > 1", "within: 1h", "annotations: {summary: '{{ event.amount }}'}"
        ),
        "alert A: annotation summary fails on an event of the sample; "
        "'dict object' has no attribute 'amount'",
        id="an annotation that some event fails",
    ),
    pytest.param(
        rule(
            "condition: count() > 1",
            "within: 1h",
            "escalate: [{at: amount + 3d, labels: {severity: critical}}]",
        ),
        "alert A: `amount` is no instant in 1 of 2 events; for example `5`",
        id="a deadline that is none",
    ),
    pytest.param(
        "metrics: [{name: a_total, help: A., match: [status=fialed]}]\n",
        'metric a_total: no event of the sample matches; no event has `status="fialed"`, '
        "did you mean `failed`?",
        id="a metric that counts nothing",
    ),
    pytest.param(
        "metrics: [{name: a, help: A., type: gauge, value: usage.tokens}]\n",
        "metric a: `usage.tokens` is no number in any of 2 events",
        id="a metric without values",
    ),
]


LIFE: list[dict[str, Any]] = [
    {"event_type": "charge", "status": "failed", "org_id": "a", "charge": "ch_1", "paid": False,
     "error": "read timeout\nat app.py"},
    {"event_type": "charge", "status": "paid", "org_id": "a", "charge": "ch_1", "paid": True},
    {"event_type": "charge", "status": "ended", "customer": "c"},
]  # fmt: skip
PARTS: list[Any] = [
    pytest.param(
        rule("condition: last(paid) == False"),
        "alert A: `paid` is never `False` in the sample; did you mean `false`?",
        id="a text of a condition as Python writes it",
    ),
    pytest.param(
        rule("condition: last(status) in [faild, lost]"),
        "alert A: `status` is never `faild` in the sample; did you mean `failed`?",
        id="a state that is misspelt",
    ),
    pytest.param(
        rule("condition: count(status=faled) > 1", "within: 1h"),
        'alert A: no event of the sample has `status="faled"`; did you mean `failed`?',
        id="a test inside the condition",
    ),
    pytest.param(
        rule("condition: count() > 1", "within: 1h", "resolve: {match: [status=payd]}"),
        'resolve of alert A: no event of the sample matches; no event has `status="payd"`, '
        "did you mean `paid`?",
        id="a test of resolve",
    ),
    pytest.param(
        rule(
            "match: [status=failed]",
            "by: [org_id]",
            "condition: count() > 1",
            "within: 1h",
            "resolve: {match: [status=ended]}",
        ),
        "alert A: no event that resolves has a field `org_id` of `by`, so that it ends no alert",
        id="an end without the key",
    ),
    pytest.param(
        rule("match: ['error=~\"timeout\"']", "condition: count() > 1", "within: 1h"),
        'alert A: no event of the sample matches; `error=~"timeout"` is about whole texts, and '
        'only parts are so; write `error=~".*timeout.*"`',
        id="a pattern that is meant to be found within",
    ),
    pytest.param(
        rule("match: ['error!~\"timeout\"']", "condition: count() > 1", "within: 1h"),
        'alert A: a pattern matches nothing; `error!~"timeout"` is about whole texts, and '
        'only parts are so; write `error!~".*timeout.*"`',
        id="the same with a pattern that is to keep out",
    ),
    pytest.param(
        rule("condition: last(status) == failed", "dedup_by: charge"),
        "alert A: `charge failed` and `charge paid` share one `charge`; the later one is ignored "
        "as a duplicate; name in `match` or `resolve` only one",
        id="a shared id",
    ),
    pytest.param(
        rule(
            "match: [status=failed]",
            "condition: count() >= 1",
            "within: 1h",
            "resolve: {match: [status=ended]}",
            "annotations: {resolved: '{% if ended_by %}{{ ended_by.amount }}{% endif %}'}",
        ),
        "alert A: annotation resolved fails on an event that ends the alert of the sample; "
        "'dict object' has no attribute 'amount'",
        id="an annotation that the end fails",
    ),
]


@pytest.mark.parametrize(("rules", "said"), PARTS)
def test_what_the_sample_speaks_against_in_any_part_of_a_rule(
    tmp_path: Path, rules: str, said: str
) -> None:
    assert [one.partition("warning: ")[2] for one in warnings(tmp_path, rules, LIFE)] == [said]


def test_a_rule_of_which_every_part_is_met_is_fine(tmp_path: Path) -> None:
    text = rule(
        'match: [\'error=~".*timeout.*|"\', status!=ended]', "by: [org_id]",
        "condition: last(paid) == false and count(status=failed) >= 1", "within: 1h",
        "resolve: {match: [status=paid]}", "dedup_by: charge",
        "annotations: {summary: '{{ event.charge }} {{ ended_by.charge | default(0) }}'}",
    )  # fmt: skip
    assert [one for one in warnings(tmp_path, text, LIFE) if "share one" not in one] == []


@pytest.mark.parametrize(("rules", "said"), CASES)
def test_what_the_sample_speaks_against(tmp_path: Path, rules: str, said: str) -> None:
    (found,) = warnings(tmp_path, rules)
    assert found.partition("warning: ")[2] == said


def test_the_warning_stands_at_the_rule(tmp_path: Path) -> None:
    (found,) = warnings(tmp_path, CASES[0].values[0])
    assert found.startswith("4:1: warning: ")


def test_what_the_sample_bears_out_is_fine(tmp_path: Path) -> None:
    text = rule(
        'match: [\'status=~"failed|paid"\', plan=""]',
        "by: [org_id]",
        "condition: max(amount) >= 3",
        "within: 1h",
        "annotations: {summary: '{{ value }} {{ event.amount | default(0) }}'}",
    )
    assert warnings(tmp_path, text) == []


def test_a_message_s_own_template_is_rendered_too(tmp_path: Path) -> None:
    slack = "{channel: '#team', title: '{{ notices[0].event.no_such_field }}'}"
    config = write_config(
        tmp_path, receivers=f"receivers: [{{name: team, slack_configs: [{slack}]}}]"
    )
    result = run("-c", config, "--sample", write_log(tmp_path))
    assert result.exit_code == 0
    said = (
        "warning: a template fails on what the sample raises; receiver team, slack: slack.title.j2"
    )
    assert f"{config}:1:1: {said}" in result.output


def test_a_gzipped_sample_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.rules.yaml").write_text(CASES[0].values[0])
    path = tmp_path / "app.log.1.gz"
    path.write_bytes(gzip.compress(write_log(tmp_path).read_bytes()))
    assert "did you mean `failed`?" in run(tmp_path, "--sample", path).output


def test_errors_come_before_the_sample(tmp_path: Path) -> None:
    (tmp_path / "a.rules.yaml").write_text(CASES[0].values[0] + "strange: 1\n")
    result = run(tmp_path, "--sample", write_log(tmp_path))
    assert result.exit_code == 1
    assert "sample" not in result.output


FORGED = (
    "INFO - Unknown code: WEBHOOK_METRIC: {'event_type': 'x', 'status': 's', 'email': 'a@b.ch'}\n"
)
QUOTED = (
    "warning: 1 line has WEBHOOK_METRIC where a stranger may write (before): no event; "
    "see docs/security.md; the first is "
)


def test_a_marker_where_a_stranger_may_write_is_shown_redacted(tmp_path: Path) -> None:
    log = write_log(tmp_path)
    with log.open("a") as file:
        file.write(FORGED)
    result = run("-c", write_config(tmp_path), "--sample", log)
    assert result.exit_code == 0
    assert QUOTED in result.output
    assert "a@b.ch" not in result.output


def test_what_is_not_understood_is_said_as_parse_says_it(tmp_path: Path) -> None:
    log = write_log(tmp_path)
    lines = [
        "INFO - WEBHOOK_METRIC of a@b.ch\n",
        "INFO - WEBHOOK_METRIC none yet\n",
        "INFO - WEBHOOK_METRIC: {'status': 's'}\n",
    ]
    with log.open("a") as file:
        file.writelines(lines)
    config = write_config(tmp_path)
    checked = run("-c", config, "--sample", log)
    assert checked.exit_code == 0
    said = CliRunner().invoke(parse, ["-c", config, str(log)]).output
    mentioned = "the marker is only mentioned, and no pattern matches"
    assert f"  {mentioned} 2\n" in said
    assert (
        f"warning: 2 lines have WEBHOOK_METRIC and cannot be understood: {mentioned}; "
        "see docs/formats.md; the first is 'INFO - WEBHOOK_METRIC of "
    ) in checked.output
    assert "a@b.ch" not in checked.output
    replayed = CliRunner().invoke(replay, ["-c", config, str(log)]).output
    assert f"not understood {mentioned} 2\n" in replayed
    assert "  missing_field: event_type 1\n" in said
    assert "missing_field: event_type 1\n" in replayed
    assert "missing_field: event_type 1" in " ".join(checked.output.split())


def test_a_sample_of_nothing_but_such_lines_says_so(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text(FORGED)
    result = run("-c", write_config(tmp_path), "--sample", log)
    assert result.exit_code == 1
    assert QUOTED in result.output


def test_a_prefix_that_the_source_pins_holds_for_the_sample(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text(FORGED)
    config = write_config(
        tmp_path, rest="sources: [{path: app.log, prefix: 'INFO - Unknown code: '}]"
    )
    assert "Unknown code" not in run("-c", config, "--sample", log).output


def test_a_sample_without_events_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.rules.yaml").write_text(CASES[0].values[0])
    result = run(tmp_path, "--sample", write_log(tmp_path, []))
    assert result.exit_code == 1
    assert "error: the sample holds no event" in result.output
