"""What the daemon does when the world is not as it should be."""

import json
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from support.daemon import RULES, DaemonProcess, running, until
from support.sinks import Answer, SlackSink

CONFIG = """\
sources: [{{path: "{folder}/logs/*.log", start_at: beginning}}]
rule_files: ["{rules}/*.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:{port}"}}
stale_after: 3650d
route: {{receiver: slack, group_wait: 0s}}
receivers:
  - name: slack
    slack_configs: [{{channel: "#c", api_url: "{slack}"}}]
"""
FAILED = {
    "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe",
    "event_type": "invoice.payment_failed", "status": "payment_failure",
    "timestamp": "2026-11-02T08:00:00", "org_id": "org_1", "attempt_count": 3,
}  # fmt: skip
NOWHERE = "http://127.0.0.1:9/services/x"


def configure(folder: Path, *, port: int = 0, slack: str = NOWHERE, logs: bool = True) -> Path:
    path = folder / "sidecar.yaml"
    path.write_text(CONFIG.format(folder=folder, rules=RULES, port=port, slack=slack))
    if logs:
        (folder / "logs").mkdir()
    return path


def run(config: Path) -> tuple[int, str]:
    """Run the daemon to its end, which has to come by itself; return exit code and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", "run", "-c", str(config)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def write(folder: Path, record: dict[str, object]) -> None:
    with (folder / "logs" / "app.log").open("a") as log:
        log.write(json.dumps(record) + "\n")


class TestCannotStart:
    def test_a_wrong_configuration_shows_every_fault_and_starts_nothing(
        self, tmp_path: Path
    ) -> None:
        config = configure(tmp_path)
        wrong = config.read_text().replace("group_wait: 0s", "group_wait: soon")
        config.write_text(wrong.replace("channel:", "chanel:"))
        code, said = run(config)
        lines = said.splitlines()
        assert code == 1
        assert all(line.startswith(f"{config}:") and ": error: " in line for line in lines)
        assert any("soon" in line for line in lines)
        assert any("chanel" in line for line in lines)
        assert not (tmp_path / "state.db").exists()

    def test_no_configuration_is_one_sentence(self, tmp_path: Path) -> None:
        code, said = run(tmp_path / "none.yaml")
        assert code == 2
        assert len(said.splitlines()) == 1
        assert "none.yaml" in said

    def test_a_taken_port_is_one_sentence(self, tmp_path: Path) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            code, said = run(configure(tmp_path, port=port))
        assert code == 2
        sentences = [line for line in said.splitlines() if line.startswith("sidecar: ")]
        assert len(sentences) == 1
        assert f"port {port}" in sentences[0]
        assert "Traceback" not in said

    def test_a_state_file_that_is_none_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "state.db").write_text("not a database, and long enough to be looked at\n" * 99)
        code, said = run(configure(tmp_path))
        assert (code, len(said.splitlines())) == (2, 1)
        assert "state.db" in said

    def test_a_state_file_of_a_newer_version_is_one_sentence(self, tmp_path: Path) -> None:
        config = configure(tmp_path)
        with running(config) as daemon:
            assert daemon.stop() == 0
        with sqlite3.connect(tmp_path / "state.db") as db:
            db.execute("PRAGMA user_version = 9999")
        db.close()
        code, said = run(config)
        assert (code, len(said.splitlines())) == (2, 1)
        assert "newer" in said

    def test_a_second_sidecar_on_one_state_file_is_refused(self, tmp_path: Path) -> None:
        config = configure(tmp_path)
        with running(config):
            code, said = run(config)
        assert (code, len(said.splitlines())) == (2, 1)


class TestGoesOn:
    def test_a_missing_log_directory_is_waited_for_and_said(self, tmp_path: Path) -> None:
        with running(configure(tmp_path, logs=False)) as daemon:
            until(lambda: said(daemon, "log_not_readable"), "it says so")
            assert daemon.get("/-/healthy") == "healthy\n"
            (tmp_path / "logs").mkdir()
            write(tmp_path, FAILED)
            until(lambda: sum(daemon.events().values()) == 1, "the line is counted")

    def test_slack_down_keeps_messages_and_goes_on_reading(self, tmp_path: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        down = f"http://127.0.0.1:{port}/services/x"
        with running(configure(tmp_path, slack=down)) as daemon:
            write(tmp_path, FAILED)
            until(lambda: said(daemon, "notification_failed"), "the log says so")
            write(tmp_path, {**FAILED, "org_id": "org_2", "attempt_count": 1})
            until(lambda: sum(daemon.events().values()) == 2, "reading goes on")
            samples = daemon.samples()
            failed = (
                "sidecar_notifications_failed_total"
                '{integration="slack",reason="connect",receiver="slack"}'
            )
            assert samples["sidecar_outbox_pending"] == 1
            assert samples[failed] >= 1
            assert daemon.get("/-/ready").strip() == "ready"
            assert not [line for line in daemon.log if "services/x" in line]

    def test_what_waited_goes_out_once_slack_is_back(self, tmp_path: Path) -> None:
        with SlackSink() as slack:
            config = configure(tmp_path, slack=slack.url)
            slack.answers.extend([Answer(status=503, body="down")] * 2)
            with running(config) as daemon:
                write(tmp_path, FAILED)
                until(lambda: len(slack.requests) >= 2, "it tries again", timeout=60)
                until(lambda: daemon.samples()["sidecar_outbox_pending"] == 0, "sent", timeout=60)
            bodies = [request.body for request in slack.requests]
        assert len(bodies) == 3
        assert b"org_1" in bodies[-1]


def said(daemon: DaemonProcess, event: str) -> bool:
    return any(f'"event": "{event}"' in line for line in list(daemon.log))


@pytest.mark.parametrize("word", ["-h", "--version"])
def test_the_command_answers_without_a_configuration(word: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", word], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
