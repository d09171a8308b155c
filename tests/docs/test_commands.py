"""Every `sidecar` command that the documents show is one that there is, with its options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sidecar.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "compose.yaml", *sorted((ROOT / "docs").rglob("*.md"))]
_SHELLS = ("", "sh", "console")
_INLINE = re.compile(r"`(sidecar [a-z][^`]*)`")
_CALL = re.compile(r"(?:^|[ (/])sidecar ((?:[a-z]+)(?: [^|&;#)\n]*)?)")
# What stands for something else, and is no word of a command.
_NOT_TAKEN = re.compile(r"…|\[[^\]]*\]|\\$|<[^>]*>|2>.*|>.*")


def code_of(page: Path) -> Iterator[str]:
    """Yield the lines of a page's blocks of commands, and what stands in backticks elsewhere."""
    language: str | None = None
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("```"):
            language = None if language is not None else line.strip().removeprefix("```")
        elif language is None:
            yield from _INLINE.findall(line.replace("\\|", "|"))
        elif language in _SHELLS:
            yield line.removeprefix("$ ").strip()


def calls(page: Path) -> list[str]:
    """Return the commands in a page's code, without the word `sidecar`."""
    return [found for line in code_of(page) for found in _CALL.findall(line)]


COMMANDS = sorted({(page.name, call) for page in PAGES for call in calls(page)})


def test_there_are_commands_to_look_at() -> None:
    names = {call.split()[0] for _, call in COMMANDS}
    assert {"run", "check", "init", "backup", "replay", "notify", "alerts"} <= names


@pytest.mark.parametrize(("page", "call"), COMMANDS, ids=lambda text: text)
def test_a_command_in_the_documents_is_understood(page: str, call: str) -> None:
    words = shlex.split(_NOT_TAKEN.sub("", call).replace("FORMAT", "text"))
    command: click.Command = main
    with click.Context(main, info_name="sidecar") as ctx:
        while isinstance(command, click.Group) and words:
            found = command.get_command(ctx, words[0])
            assert found is not None, f"{page}: there is no command {words[0]}"
            command, words = found, words[1:]
    options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    asked = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert asked <= options | {"--help", "-h"}, f"{page}: {call}"
