"""A daemon with few handles and many strangers."""

import contextlib
import json
import resource
import socket
from pathlib import Path

import pytest

from support.daemon import until
from support.live import FAILING, staged

pytestmark = pytest.mark.process


def test_400_idle_connections_and_few_handles_stop_neither_scrapes_nor_slack_nor_reading(
    tmp_path: Path,
) -> None:
    with staged(tmp_path, rules=FAILING) as stage, contextlib.ExitStack() as held:
        stage.log("failed", "org_1")
        stage.log("failed", "org_1")
        until(lambda: stage.told("org_1") == 1, "Slack is told: all is up")
        pid, address = stage.daemon.process.pid, ("127.0.0.1", stage.daemon.port)
        open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 30, open_now + 30))
        for _ in range(400):
            held.enter_context(socket.create_connection(address, timeout=5))
        stage.log("failed", "org_2")
        stage.log("failed", "org_2", name="another.log")
        stage.counted(4)
        until(lambda: stage.told("org_2") == 1, "Slack is told")
        assert stage.daemon.get("/-/healthy") == "healthy\n"
    said = [json.loads(line) for line in stage.daemon.log]
    assert [line["event"] for line in said if "address" in line] == ["accept_failed"]
    assert len("".join(stage.daemon.log)) < 10_000
