"""`sidecar route`: the way through the tree, who is told, and what CI asks of it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli.render import route

RULES = Path(__file__).parents[1] / "config" / "faults" / "files" / "tiers.rules.yaml"
CONFIG = f"""\
sources: [{{path: app.log}}]
rule_files: [{RULES}]
route:
  receiver: team
  group_by: [alertname]
  routes:
    - {{matchers: ['severity="critical"'], receiver: pager, continue: true}}
    - {{matchers: ['severity=~"critical|error"'], receiver: errors, group_by: [org_id]}}
receivers:
  - {{name: team, slack_configs: [{{channel: "#team", api_url: "https://hooks.slack.com/x"}}]}}
  - {{name: pager, webhook_configs: [{{url: "http://pager.test/x"}}]}}
  - {{name: errors}}
"""


def ask(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    (folder / "sidecar.yaml").write_text(CONFIG)
    result = CliRunner().invoke(route, ["-c", str(folder / "sidecar.yaml"), *arguments])
    return result.exit_code, result.output.splitlines()


def test_the_way_and_every_receiver_are_shown(tmp_path: Path) -> None:
    assert ask(tmp_path, "severity=critical", "org_id=o") == (
        0,
        [
            "yes, every alert -> team",
            '  yes, severity="critical" -> pager, and on to the next',
            '  yes, severity=~"critical|error" -> errors',
            "told: pager (pager.test), grouped by nothing",
            "told: errors (nobody), grouped by org_id=o",
        ],
    )


def test_an_alert_brings_the_labels_of_its_rule(tmp_path: Path) -> None:
    code, lines = ask(tmp_path, "--alert", "Slow")
    assert (code, lines[-1]) == (0, "told: team (#team), grouped by alertname=Slow")
    code, lines = ask(tmp_path, "--alert", "Slow", "severity=error")
    assert lines[-1] == "told: errors (nobody), grouped by nothing"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("severity=critical", "--expect", "pager", "--expect", "errors"), 0, "told: errors"),
        (("severity=critical", "--expect", "errors,pager"), 0, "told: errors"),
        (
            ("severity=critical", "--expect", "pager"),
            1,
            "sidecar: expected pager, and told is pager, errors",
        ),
        (("severity",), 2, "'severity' is not LABEL=VALUE"),
        (("--alert", "Slwo"), 2, "no alert is called Slwo; did you mean `Slow`?"),
    ],
)
def test_what_is_expected_is_held_against_it(
    tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    found, lines = ask(tmp_path, *arguments)
    assert found == code
    assert sentence in lines[-1]
