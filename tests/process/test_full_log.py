"""Our own log cannot be written: its disk is full, or whoever read it is gone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.setup import configure, record, slack_to, write_rule
from support.sinks import SlackSink


def nobody_reads() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("kind", ["full disk", "no reader"])
def test_the_daemon_goes_on_without_its_log(tmp_path: Path, kind: str) -> None:
    write_rule(tmp_path, 1)
    log = tmp_path / "app.log"
    log.touch()
    stderr = os.open("/dev/full", os.O_WRONLY) if kind == "full disk" else nobody_reads()
    with SlackSink() as slack:
        config = configure(tmp_path, slack_to(slack.url))
        command = [sys.executable, "-m", "sidecar", "run", "-c", str(config)]
        with subprocess.Popen(command, stderr=stderr) as process:
            os.close(stderr)
            try:
                for number, org in enumerate(("org_1", "org_2"), 1):
                    with log.open("a") as file:
                        file.write(json.dumps(record("failed", org)) + "\n")
                    slack.wait_for(number, timeout=30)
                process.terminate()
                assert process.wait(timeout=20) == 0
            finally:
                process.kill()
