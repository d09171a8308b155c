"""The Prometheus rules about the sidecar, held to their own tests by Prometheus' promtool."""

import subprocess
from pathlib import Path

import yaml

from support.grafana import need

MIXIN = Path(__file__).parents[2] / "grafana" / "mixin"
RULES = yaml.safe_load((MIXIN / "sidecar.rules.yaml").read_text())["groups"][0]["rules"]
TESTS = yaml.safe_load((MIXIN / "sidecar.test.yaml").read_text())["tests"]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [need("promtool"), *arguments]
    return subprocess.run(command, cwd=MIXIN, capture_output=True, text=True, check=False)


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    found = promtool("check", "rules", "--lint=all", "--lint-fatal", "sidecar.rules.yaml")
    assert found.returncode == 0, found.stderr


def test_the_rules_pass_their_tests() -> None:
    found = promtool("test", "rules", "sidecar.test.yaml")
    assert found.returncode == 0, found.stderr


def test_each_alert_has_a_case_in_which_it_fires_and_a_moment_at_which_it_does_not() -> None:
    fires: dict[str, set[bool]] = {}
    for case in (case for test in TESTS for case in test["alert_rule_test"]):
        fires.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert fires == {rule["alert"]: {True, False} for rule in RULES}


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
