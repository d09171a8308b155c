"""What holds for all commands: near names, completion, a reader that goes away."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli import main


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("chekc", "did you mean check?"),
        ("alert", "did you mean alerts?"),
        ("frobnicate", "sidecar --help lists them"),
    ],
)
def test_a_command_that_is_nearly_one_is_named(written: str, hint: str) -> None:
    result = CliRunner().invoke(main, [written])
    assert result.exit_code == 2
    assert f"there is no command {written}; {hint}" in result.output


@pytest.mark.parametrize("command", [["init", "x"], ["silence", "add", "--for", "1h"]])
def test_a_question_that_nobody_can_answer_names_the_way_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, command, input="")
    assert result.exit_code == 2
    assert "a question stays open, for stdin is no terminal; --help has its option" in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_SIDECAR_COMPLETE" in result.output


def test_bash_completes_commands() -> None:
    script = (
        f'PATH={sys.prefix}/bin:$PATH; eval "$(sidecar completion bash)"; '
        "COMP_WORDS=(sidecar re); COMP_CWORD=1; _sidecar_completion sidecar; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert {"render", "replay", "resolve"} <= {*done.stdout.split()}, done.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    script = f"set -o pipefail; {sys.executable} -m sidecar schema config | head -1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "{\n"
