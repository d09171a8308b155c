"""`--log-level debug` says what is made of each line, redacted, and only so many a second."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sidecar.daemon.lines import LINES_A_SECOND
from support.daemon import until
from support.setup import configure, record, write_rule

SECRET = "sk_live_" + "NotARealKey0123456789"
LINES = {
    json.dumps(record("failed", SECRET)): ("event", "failed"),
    "WEBHOOK_METRIC: {'event_type': <x>}": ("rejected", None),
    "nothing of interest": ("no event", None),
    "GET /?q=WEBHOOK_METRIC: {'event_type': 'a', 'status': 'b'}": ("foreign", None),
}


def said(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_it_says_what_is_made_of_each_line(tmp_path: Path) -> None:
    write_rule(tmp_path)
    (tmp_path / "app.log").write_text("".join(f"{line}\n" for line in LINES))
    command = [sys.executable, "-m", "sidecar", "run", "-c", str(configure(tmp_path))]
    log = tmp_path / "stderr"
    with (
        log.open("wb") as out,
        subprocess.Popen([*command, "--log-level", "debug"], stderr=out) as process,
    ):
        try:
            until(lambda: log.read_text().count('"event": "line"') == len(LINES), "all are said")
            with (tmp_path / "app.log").open("a") as app:
                app.write("flood\n" * 1000)
            until(lambda: '"line": "flood"' in log.read_text(), "the flood begins")
        finally:
            process.terminate()
    lines = [one for one in said(log) if one["event"] == "line"]
    assert SECRET not in log.read_text()
    found = [(one["read_as"], one.get("status")) for one in lines[: len(LINES)]]
    assert found == [*LINES.values()]
    assert len(lines) <= 3 * LINES_A_SECOND


def test_without_it_nothing_is_said_of_lines(tmp_path: Path) -> None:
    write_rule(tmp_path)
    (tmp_path / "app.log").write_text("".join(f"{line}\n" for line in LINES))
    command = [sys.executable, "-m", "sidecar", "run", "-c", str(configure(tmp_path))]
    log = tmp_path / "stderr"
    with log.open("wb") as out, subprocess.Popen(command, stderr=out) as process:
        try:
            until(lambda: "line_rejected" in log.read_text(), "they are read")
        finally:
            process.terminate()
    assert '"event": "line"' not in log.read_text()


def test_a_login_that_goes_over_the_network_in_the_clear_is_said_at_the_start(
    tmp_path: Path,
) -> None:
    write_rule(tmp_path)
    (tmp_path / "app.log").touch()
    mail = """{to: a@example.com, from: b@example.com, smarthost: "mail.example.com:587",
      auth_username: bot, auth_password: secret, require_tls: false}"""
    config = configure(tmp_path, f"email_configs: [{mail}]")
    log = tmp_path / "stderr"
    command = [sys.executable, "-m", "sidecar", "run", "-c", str(config)]
    with log.open("wb") as out, subprocess.Popen(command, stderr=out) as process:
        try:
            until(lambda: "configuration_doubtful" in log.read_text(), "it is said")
        finally:
            process.terminate()
    (doubt,) = [one["fault"] for one in said(log) if one["event"] == "configuration_doubtful"]
    assert "warning: the login goes to the mail server unencrypted" in doubt
