"""How long a daemon takes to stop: less than Docker waits before it kills, whatever hangs."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from support.daemon import DaemonProcess
from support.live import CONFIG, staged
from support.sinks import Answer, Ending

pytestmark = pytest.mark.process
LONGEST = 8.0
MAIL = """\
    email_configs:
      - {{{{to: a@example.com, from: b@example.com, require_tls: false, smarthost: "{}:{}"}}}}
"""
MOUNT = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
OWNER = """\
    email_configs:
      - to: '{{{{{{{{ owner_email }}}}}}}}'
        from: b@example.com
        require_tls: false
        smarthost: 127.0.0.1:1
    fallback: nobody
  - name: nobody
directory: {{{{postgresql: {{{{url: "postgresql://u:p@{}:{}/db",
  query: 'SELECT email FROM orgs WHERE id = %(org_id)s'}}}}}}}}
"""


def seconds_to_stop(daemon: DaemonProcess) -> float:
    began = time.monotonic()
    assert daemon.stop() == 0
    return time.monotonic() - began


def test_a_slack_and_a_mail_server_that_hang_do_not_hold_up_the_stop(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        config = CONFIG + MAIL.format(*silent.getsockname())
        with staged(tmp_path, config=config) as stage:
            stage.slack.answers.append(Answer(ending=Ending.HANG))
            stage.log("failed")
            stage.log("failed")
            stage.slack.wait_for(1)
            with silent.accept()[0]:
                assert seconds_to_stop(stage.daemon) < LONGEST


def test_a_heartbeat_a_scrape_and_a_drill_that_hang_do_not_hold_up_the_stop(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as hanging:
        silent.settimeout(30)
        beat = "heartbeat: {{{{url: 'http://{}:{}/', interval: 1s}}}}\n"
        with staged(tmp_path, config=CONFIG + beat.format(*silent.getsockname())) as stage:
            hanging.enter_context(silent.accept()[0])
            web = ("127.0.0.1", stage.daemon.port)
            half = hanging.enter_context(socket.create_connection(web))
            half.sendall(b"GET /metrics HTTP/1.1\r\n")
            stage.slack.answers.append(Answer(ending=Ending.HANG))
            command = ("-m", "sidecar", "drill", "-c", str(tmp_path / "sidecar.yaml"), "Failing")
            drill = subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL)
            stage.slack.wait_for(1)
            assert seconds_to_stop(stage.daemon) < LONGEST
            assert drill.wait(timeout=30) != 0


def test_a_state_file_that_cannot_be_written_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        stage.log("failed")
        stage.counted(1)
        with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            stage.log("failed")
            assert seconds_to_stop(stage.daemon) < LONGEST
        said = [json.loads(line)["event"] for line in stage.daemon.log]
        assert "state_file_not_writable" in said
        assert said[-1] == "stop_cut_off"


def test_a_database_of_owners_that_never_answers_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        config = CONFIG + OWNER.format(*silent.getsockname())
        with staged(tmp_path, config=config) as stage:
            stage.log("failed")
            stage.log("failed")
            with silent.accept()[0]:
                assert seconds_to_stop(stage.daemon) < LONGEST


def test_a_name_server_that_never_answers_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("to have a name server of one's own needs root, and util-linux")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.53", 53))
        silent.settimeout(30)
        names = tmp_path / "resolv.conf"
        names.write_text("nameserver 127.0.0.53\noptions timeout:30 attempts:5\n")
        inside = ["unshare", "-m", "sh", "-c", MOUNT, "sh", str(names), "/etc/resolv.conf"]
        config = CONFIG + MAIL.format("mail.example.com", 587)
        with staged(tmp_path, config=config, inside=inside) as stage:
            stage.log("failed")
            stage.log("failed")
            assert b"mail" in silent.recv(512)
            assert seconds_to_stop(stage.daemon) < LONGEST
