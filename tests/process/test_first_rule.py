"""docs/first-rule.md: its files as they stand there, and its commands, lead to its message."""

import re
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner

from sidecar.cli import main
from support.daemon import running, until
from support.sinks import SlackSink

PAGE = (Path(__file__).parents[2] / "docs" / "first-rule.md").read_text()
_FILE = re.compile(
    r"`([a-z.]+\.(?:log|yaml))`[^`]*\n\n( *)```(?:json|yaml)\n(.*?)\n *```", re.DOTALL
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, _, text in _FILE.findall(PAGE):
        (tmp_path / name).write_text(dedent(text) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands() -> list[str]:
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [line.strip().removeprefix("sidecar ") for line in block.splitlines() if line.strip()]


def test_its_files_and_commands_lead_to_its_words_in_slack(folder: Path) -> None:
    (words,) = re.findall(r"> (.*)", PAGE)
    with SlackSink() as slack:
        (folder / "slack-url").write_text(slack.url)
        config = folder / "sidecar.yaml"
        config.write_text(config.read_text().replace(":9464", ":0"))
        said = [CliRunner().invoke(main, command.split()) for command in commands()]
        assert [result.exit_code for result in said] == [0, 0, 0], [one.output for one in said]
        parsed, checked, replayed = (result.output for result in said)
        assert "events         1" in parsed
        assert "ignored        1" in parsed
        assert checked.endswith("1 receiver: 1 warning\n")
        assert "no rule takes the sidecar's own events" in checked
        assert "WebhookFailed" in replayed
        with running(config) as daemon:
            until(lambda: bool(slack.requests), "Slack is told")
            assert words in slack.requests[0].body.decode()
            ignored = daemon.samples()["sidecar_ignored_lines_total"]
            assert (ignored, daemon.samples()["sidecar_event_lines_total"]) == (1, 1)
