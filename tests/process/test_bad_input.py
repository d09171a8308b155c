"""What the daemon does when the world is not as it should be."""

import json
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import __version__
from sidecar.cli import main
from support.daemon import RULES, DaemonProcess, running, until
from support.forks import Forked
from support.setup import append, configure, record, slack_to
from support.sinks import Answer, SlackSink

NOWHERE = "http://127.0.0.1:9/services/x"


def prepare(folder: Path, slack: str = NOWHERE, *, port: int = 0, logs: bool = True) -> Path:
    if logs:
        (folder / "logs").mkdir()
    rules = RULES / "*.rules.yaml"
    return configure(folder, slack_to(slack), logs="logs/*.log", rules=rules, port=port)


def run(config: Path) -> tuple[int, str]:
    """Run the daemon to its end, which has to come by itself; return exit code and stderr."""
    process = Forked(_command, ["run", "-c", str(config)])
    with process.stderr as stderr:
        said = stderr.read().decode()
    return process.wait(timeout=30), said


def _command(*words: str) -> int:
    main(words)
    return 0


def fail(folder: Path, org: str = "org_1", times: int = 3) -> None:
    """Log that a payment failed for the so manieth time."""
    append(folder / "logs" / "app.log", record("payment_failure", org, attempt_count=times))


class TestCannotStart:
    def test_a_wrong_configuration_shows_every_fault_and_starts_nothing(
        self, tmp_path: Path
    ) -> None:
        config = prepare(tmp_path)
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
            code, said = run(prepare(tmp_path, port=port))
        assert code == 2
        sentences = [line for line in said.splitlines() if line.startswith("sidecar: ")]
        assert len(sentences) == 1
        assert f"port {port}" in sentences[0]
        assert "Traceback" not in said

    def test_a_state_file_that_is_none_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "state.db").write_text("not a database, and long enough to be looked at\n" * 99)
        code, said = run(prepare(tmp_path))
        assert (code, len(said.splitlines())) == (2, 1)
        assert "state.db" in said

    def test_a_state_file_of_a_newer_version_is_one_sentence(self, tmp_path: Path) -> None:
        config = prepare(tmp_path)
        with running(config) as daemon:
            assert daemon.stop() == 0
        with sqlite3.connect(tmp_path / "state.db") as db:
            db.execute("PRAGMA user_version = 9999")
        db.close()
        code, said = run(config)
        assert (code, len(said.splitlines())) == (2, 1)
        assert "newer" in said

    def test_a_second_sidecar_on_one_state_file_is_refused(self, tmp_path: Path) -> None:
        config = prepare(tmp_path)
        with running(config):
            code, said = run(config)
        assert (code, len(said.splitlines())) == (2, 1)


class TestGoesOn:
    def test_a_missing_log_directory_is_waited_for_and_said(self, tmp_path: Path) -> None:
        with running(prepare(tmp_path, logs=False)) as daemon:
            until(lambda: said(daemon, "log_not_readable"), "it says so")
            assert daemon.get("/-/healthy") == "healthy\n"
            (tmp_path / "logs").mkdir()
            fail(tmp_path)
            until(lambda: sum(daemon.events().values()) == 1, "the line is counted")
            until(lambda: said(daemon, "log_readable_again"), "it says that the log is there")
            assert daemon.stop() == 0
            (started,) = [json.loads(li) for li in daemon.log if '"event": "started"' in li]
            until(lambda: said(daemon, "stopped"), "it says that it ended")
        assert (started["version"], started["files"]) == (__version__, 0)
        assert started["config"].endswith("sidecar.yaml")
        assert started["state"] == str(tmp_path / "state.db")
        assert [str(tmp_path) in one for one in started["sources"]] == [True]
        assert started["rules"] > 0

    def test_slack_down_keeps_messages_and_goes_on_reading(self, tmp_path: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        down = f"http://127.0.0.1:{port}/services/x"
        with running(prepare(tmp_path, down)) as daemon:
            fail(tmp_path)
            until(lambda: said(daemon, "notification_failed"), "the log says so")
            fail(tmp_path, "org_2", 1)
            until(lambda: sum(daemon.events().values()) == 2, "reading goes on")
            samples = daemon.samples()
            failed = (
                "sidecar_notifications_failed_total"
                '{integration="slack",reason="connect",receiver="team"}'
            )
            assert samples["sidecar_outbox_pending"] == 1
            assert samples[failed] >= 1
            assert daemon.get("/-/ready").strip() == "ready"
            assert not [line for line in daemon.log if "services/x" in line]

    def test_what_waited_goes_out_once_slack_is_back(self, tmp_path: Path) -> None:
        with SlackSink() as slack:
            config = prepare(tmp_path, slack.url)
            slack.answers.append(Answer(status=503, body="down"))
            with running(config) as daemon:
                fail(tmp_path)
                until(lambda: said(daemon, "notification_failed"), "it is refused")
                assert daemon.stop() == 0
            # The clock of the next start saves waiting for when the next attempt is due.
            with running(config, shift=60) as daemon:
                until(lambda: daemon.samples()["sidecar_outbox_pending"] == 0, "sent")
            bodies = [request.body for request in slack.requests]
        assert len(bodies) == 2
        assert b"org_1" in bodies[-1]


def said(daemon: DaemonProcess, event: str) -> bool:
    return any(f'"event": "{event}"' in line for line in list(daemon.log))


@pytest.mark.parametrize("word", ["-h", "--version"])
def test_the_command_answers_without_a_configuration(word: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", word], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
