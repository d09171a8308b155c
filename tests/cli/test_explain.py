"""`sidecar explain --line`: how one line of a log stands to every rule."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli import main
from support.config import write_config

RULES = """\
groups:
  - name: g
    rules:
      - alert: PaymentFailing
        match: ['event_type="invoice.payment_failed"', 'error!~".*test.*"', amount > limit]
        by: [org_id]
        condition: max(attempt_count) >= 3 and count(status=bad) / count() > 0.5 and
          count() > 3 * count() offset 1d - (1 - count())
        within: 1h
        resolve: {match: [status=paid]}
        labels: {severity: error}
      - alert: Stuck
        expect: {first: [status=bad], then: [status=done], by: id, within: 1m}
        labels: {severity: error}
"""
EVENT = {
    "event_type": "invoice.payment_failed", "status": "bad", "org_id": "acme",
    "attempt_count": 2, "amount": 5, "limit": 4, "password": "hunter2",
}  # fmt: skip


def explained(tmp_path: Path, line: str) -> Result:
    config = write_config(tmp_path)
    (tmp_path / "a.rules.yaml").write_text(RULES)
    return CliRunner().invoke(main, ["explain", "-c", str(config), "--line", line])


def line(**fields: object) -> str:
    return f"INFO - WEBHOOK_METRIC: {json.dumps({**EVENT, **fields})}"


def test_each_test_of_each_rule_is_shown_with_what_it_saw(tmp_path: Path) -> None:
    result = explained(tmp_path, line())
    assert result.exit_code == 0, result.output
    assert result.output == (
        "unknown invoice.payment_failed bad\n"
        "PaymentFailing: matches org_id=acme\n"
        '  passed event_type="invoice.payment_failed": invoice.payment_failed\n'
        '  passed error!~".*test.*": nothing\n'
        "  passed amount > limit: 5 and 4\n"
        "  failed max(attempt_count) >= 3: 2 by this event alone\n"
        '  passed count(status="bad") / count() > 0.5: 1 by this event alone\n'
        "  passed count() > 3 * count() offset 1d - (1 - count()): "
        "1 against 0 by this event alone\n"
        "Stuck: matches id=\n"
        '  passed status="bad": bad\n'
    )


def test_a_test_that_fails_and_an_end(tmp_path: Path) -> None:
    result = explained(tmp_path, line(limit=9))
    assert "PaymentFailing: does not match\n" in result.output
    assert "  failed amount > limit: 5 and 9\n" in result.output
    result = explained(tmp_path, line(status="paid"))
    assert 'PaymentFailing: ends it org_id=acme\n  passed status="paid": paid\n' in result.output


@pytest.mark.parametrize("name", ["app.log", "app.log.gz"])
def test_a_line_of_a_file_by_its_number(tmp_path: Path, name: str) -> None:
    data = f"plain\n{line(status='paid')}\n{line()}\n".encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert "unknown invoice.payment_failed bad\n" in explained(tmp_path, f"{path}:3").output
    assert "unknown invoice.payment_failed paid\n" in explained(tmp_path, f"{path}:2").output
    result = explained(tmp_path, f"{path}:4")
    assert (result.exit_code, "has no line 4" in result.output) == (2, True)
    assert explained(tmp_path, f"{path}:0").exit_code == 2


def test_a_line_that_is_no_event_says_why(tmp_path: Path) -> None:
    result = explained(tmp_path, "INFO - WEBHOOK_METRIC: {'event_type'")
    assert result.exit_code == 1
    assert "the line is no event: truncated" in result.output
    result = explained(tmp_path, "hello")
    assert "the line is no event: it has no marker, and no pattern matches" in result.output
    result = explained(tmp_path, "INFO - WEBHOOK_METRIC: {'event_type': 'x'}")
    assert "the line is no event: missing_field: status" in result.output


def test_secrets_need_not_be_there(tmp_path: Path) -> None:
    config = tmp_path / "sidecar.yaml"
    slack = 'api_url: "${NOT_SET_HERE}"'
    text = "sources: [{path: '*.log'}]\nrule_files: [a.rules.yaml]\n"
    config.write_text(f"{text}receivers: [{{name: a, slack_configs: [{{{slack}}}]}}]\n")
    (tmp_path / "a.rules.yaml").write_text(RULES)
    result = CliRunner().invoke(main, ["explain", "-c", str(config), "--line", line()])
    assert (result.exit_code, "PaymentFailing: matches" in result.output) == (0, True)


def test_nothing_to_explain_is_wrong_usage() -> None:
    result = CliRunner().invoke(main, ["explain"])
    assert result.exit_code == 2
    assert "name a MATCHER" in result.output
