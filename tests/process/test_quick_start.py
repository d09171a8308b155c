"""What holds the start short: what is imported when, in a process of its own; nothing is timed."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar import cli
from sidecar.clock import SystemClock
from sidecar.config.load import load_config
from sidecar.daemon.app import Daemon
from support.daemon import RULES
from support.setup import configure

SCRIPT = Path(__file__).parents[1] / "support" / "start_seen.py"
# What the daemon needs only to send and to answer: a quarter of its start.
LATE = {
    "httpx",
    "aiosmtplib",
    "uvicorn",
    "starlette",
    "sidecar.web.server",
    "anyio._backends._asyncio",  # which anyio loads when it is first used
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "app.log").write_text("nothing of interest\n")
    return configure(tmp_path, rules=RULES / "*.rules.yaml")


def seen_by(*arguments: str) -> Any:
    """Run Python and return the JSON it prints last."""
    done = subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True, timeout=60
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_first_step_waits_for_nothing_that_sends_or_answers(config: Path) -> None:
    seen = seen_by(str(SCRIPT), str(config))
    assert not LATE.intersection(seen["by_first_step"])
    # All of it is there soon after, without a message or a request: nothing can be missing at 3 am.
    assert set(seen["by_the_end"]) >= LATE
    assert seen["looks_for_garbage"] == 0
    assert seen["garbage_is_looked_for"]


@pytest.mark.parametrize(
    ("arguments", "spared"),
    [
        pytest.param(
            ["healthcheck", "-c", "sidecar.yaml"],
            {"asyncio", "jinja2", "sidecar.config.settings"},
            id="healthcheck of a configuration",
        ),
        pytest.param(["--help"], {"asyncio", "yaml", "jinja2", "msgspec", "structlog"}, id="help"),
        pytest.param(["healthcheck", "--help"], {"asyncio", "yaml", "jinja2"}, id="healthcheck"),
        pytest.param(["check", "--help"], {*LATE, "sidecar.simulate.simulation"}, id="check"),
        pytest.param(["run", "--help"], LATE, id="run"),
    ],
)
def test_a_command_imports_no_more_than_it_needs(arguments: list[str], spared: set[str]) -> None:
    look = (
        "import json, sys; from sidecar.cli import main;"
        " import contextlib\n"
        f"with contextlib.suppress(SystemExit): main({arguments!r}, standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    assert not spared.intersection(seen_by("-c", look))


def test_the_help_lists_every_command_in_whole_sentences() -> None:
    shown = CliRunner().invoke(cli.main, ["--help"]).output
    for name, text in cli._COMMANDS.items():
        assert CliRunner().invoke(cli.main, [name, "--help"]).exit_code == 0
        assert f"  {name}  " in shown
        assert text in shown


async def test_a_state_file_that_cannot_be_written_keeps_no_one_from_asking_why(
    config: Path,
) -> None:
    async def run(listening: asyncio.Event, stop: asyncio.Event) -> Daemon:
        daemon = Daemon(
            load_config(str(config), os.environ),
            clock=SystemClock(),
            on_listen=lambda _port: listening.set(),
        )
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(daemon.run(stop))
            await listening.wait()
            if other is not None:
                assert daemon.ready() == (False, "the first read is not finished")
                other.execute("ROLLBACK")
            stop.set()
        return daemon

    other: sqlite3.Connection | None = None
    await run(asyncio.Event(), asyncio.Event())  # a first start writes before it reads
    other = sqlite3.connect(config.parent / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    daemon = await run(asyncio.Event(), asyncio.Event())
    other.close()
    assert daemon.ready() == (True, "ready")
