"""The drill of a running daemon: all the way to the people, and nothing of it stays."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli import main
from support.daemon import RULES, DaemonProcess, running, until
from support.live import FAILING
from support.sinks import Answer, Ending, SlackSink, SmtpSink
from support.state import rows_in

CONFIG = """\
sources: [{{path: "{folder}/app.log", start_at: beginning}}]
rule_files: ["*.rules.yaml"]
state: {{path: "{folder}/state.db"}}
http: {{listen: "127.0.0.1:0"}}
{drill}
global:
  smtp_smarthost: 127.0.0.1:{mail}
  smtp_from: s@example.com
  smtp_require_tls: false
  http_config: {{proxy_from_environment: false}}
route: {{receiver: all, group_by: ["..."], group_wait: 0s}}
receivers:
  - name: all
    slack_configs: [{{channel: "#c", api_url: "{slack}", rate: {{per_second: 100, burst: 100}}}}]
    email_configs: [{{to: a@example.com}}]
"""
DAY = 86_400.0


@dataclass
class Stage:
    folder: Path
    slack: SlackSink
    mail: SmtpSink

    @contextmanager
    def daemon(self, shift: float = 0.0) -> Iterator[DaemonProcess]:
        with running(self.folder / "sidecar.yaml", shift=shift) as daemon:
            yield daemon

    def drill(self) -> tuple[int, str]:
        arguments = ["drill", "-c", str(self.folder / "sidecar.yaml"), "Failing"]
        done = CliRunner().invoke(main, arguments)
        return done.exit_code, done.output

    @contextmanager
    def asked(self) -> Iterator[subprocess.Popen[bytes]]:
        """Ask for a drill and go on."""
        command = ("-m", "sidecar", "drill", "-c", str(self.folder / "sidecar.yaml"), "Failing")
        quiet = subprocess.DEVNULL
        with subprocess.Popen([sys.executable, *command], stdout=quiet, stderr=quiet) as process:
            yield process

    def slacked(self, *words: str) -> int:
        bodies = [request.body.decode() for request in self.slack.requests]
        return sum(all(word in body for word in words) for body in bodies)

    def mailed(self, *words: str) -> int:
        return sum(all(word in str(mail) for word in words) for mail in self.mail.messages)

    def stored(self) -> dict[str, int]:
        """Return how many rows there are of what a drill must leave no trace in."""
        tables = ("alerts", "series", "outbox", "groups", "cooldowns", "rule_state")
        found = rows_in(self.folder / "state.db")
        return {name: len(found[name]) for name in tables if found}


@contextmanager
def staged(folder: Path, drill: str = "") -> Iterator[Stage]:
    shutil.copy(RULES / "sidecar.rules.yaml", folder)
    (folder / "a.rules.yaml").write_text(FAILING)
    (folder / "app.log").touch()
    with ExitStack() as stack:
        slack, mail = stack.enter_context(SlackSink()), stack.enter_context(SmtpSink())
        text = CONFIG.format(folder=folder, mail=mail.port, slack=slack.url, drill=drill)
        (folder / "sidecar.yaml").write_text(text)
        yield Stage(folder, slack, mail)


def test_the_whole_route_is_gone_within_five_seconds_and_nothing_stays(tmp_path: Path) -> None:
    with staged(tmp_path) as stage, stage.daemon() as daemon:
        until(lambda: stage.stored() != {}, "it runs")
        before, samples = stage.stored(), daemon.samples()
        begun = time.monotonic()
        code, said = stage.drill()
        assert time.monotonic() - begun < 5.0
        assert code == 0, said
        words = [line.split()[3] for line in said.splitlines()]
        assert words == [
            "event",
            "parse",
            "judge",
            "route",
            "render",
            "render",
            *["send"] * 2,
            *["end"] * 2,
        ]
        assert "accepted (2.0.0 Ok: queued as SINK)" in said
        assert (stage.slacked("DRILL Failing", "FIRING"), stage.slacked("RESOLVED")) == (1, 1)
        assert (stage.mailed("DRILL Failing", "FIRING"), stage.mailed("RESOLVED")) == (1, 1)
        assert stage.stored() == before
        after = daemon.samples()
        names = ("webhook_", "failures_total", "sidecar_alerts", "sidecar_notifications_")
        assert {k: v for k, v in after.items() if k.startswith(names)} == {
            k: v for k, v in samples.items() if k.startswith(names)
        }
        assert '"alerts":[]' in daemon.get("/api/v1/alerts")


def test_what_a_server_refuses_is_shown(tmp_path: Path) -> None:
    with staged(tmp_path) as stage, stage.daemon():
        stage.slack.answers += [Answer(403, body="invalid_token")] * 2
        code, said = stage.drill()
    assert code == 1
    assert "send    all slack #c: auth: HTTP 403 invalid_token" in said
    assert "send    all email a@example.com: accepted" in said


HANG = Answer(ending=Ending.HANG)


@pytest.mark.parametrize(
    ("answers", "asked"),
    [((HANG,), 1), ((Answer(), HANG), 2)],
    ids=["while it tells that it fires", "while it tells that it ended"],
)
def test_killed_in_the_middle_the_next_start_tells_the_end(
    tmp_path: Path, answers: tuple[Answer, ...], asked: int
) -> None:
    with staged(tmp_path, "drill: {alert: Failing, every: 7d}") as stage:
        stage.slack.answers += answers
        with stage.daemon() as daemon:
            stage.slack.wait_for(asked)
            until(lambda: stage.mailed("DRILL Failing", "FIRING") == 1, "the mail is there")
            daemon.stop(signal.SIGKILL)
        with stage.daemon() as daemon:
            until(lambda: stage.slacked("DRILL Failing", "RESOLVED") >= asked, "the end is told")
            until(lambda: stage.slacked("SidecarDrillFailed", "FIRING") == 1, "and that it failed")
            assert stage.slacked("DRILL Failing", "FIRING") == 1
            assert [n for n in daemon.events() if "invoice" in n[1]] == []


@contextmanager
def cannot_write(folder: Path) -> Iterator[None]:
    """Hold the state file: what the daemon would write waits."""
    with closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as other:
        until(lambda: _locked(other), "the state file is held")
        yield
        other.execute("ROLLBACK")


def _locked(db: sqlite3.Connection) -> bool:
    with suppress(sqlite3.OperationalError):
        db.execute("BEGIN IMMEDIATE")
    return db.in_transaction


def test_killed_before_it_is_on_record_nobody_ever_hears_of_it(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        with stage.daemon() as daemon:
            until(lambda: stage.stored() != {}, "it runs")
            with cannot_write(tmp_path), stage.asked() as drill:
                until(lambda: "state_file_not_writable" in "".join(daemon.log), "it would write")
                daemon.stop(signal.SIGKILL)
                assert drill.wait(timeout=30) != 0
        with stage.daemon() as daemon:
            daemon.get("/metrics")
            assert daemon.stop() == 0
        assert (stage.slacked("DRILL"), stage.mailed("DRILL")) == (0, 0)


def test_killed_when_all_is_told_the_end_may_come_twice_and_nothing_else(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        stage.slack.answers.append(HANG)  # holds the drill up until the state file is held
        with stage.daemon() as daemon, stage.asked() as drill:
            stage.slack.wait_for(1)
            with cannot_write(tmp_path):
                until(lambda: stage.mailed("RESOLVED") == 1, "the end is told", timeout=60.0)
                daemon.stop(signal.SIGKILL)
                assert drill.wait(timeout=30) != 0
        with stage.daemon() as daemon:
            until(lambda: stage.mailed("RESOLVED") == 2, "the end is told again")
            assert daemon.stop() == 0
        assert (stage.slacked("FIRING"), stage.mailed("FIRING")) == (1, 1)


def test_a_drill_comes_by_itself_at_its_time(tmp_path: Path) -> None:
    with staged(tmp_path, "drill: {alert: Failing, every: 7d}") as stage:
        with stage.daemon():
            until(lambda: stage.mailed("DRILL Failing", "RESOLVED") == 1, "the first one is made")
        with stage.daemon(shift=6 * DAY):
            assert stage.drill()[0] == 0
        with stage.daemon(shift=14 * DAY):
            until(lambda: stage.mailed("DRILL Failing", "RESOLVED") == 3, "the next one is due")
            until(lambda: stage.mailed("SidecarDrillFailed", "missed") >= 1, "it was missed")


def test_in_a_time_when_nobody_is_told_it_says_so_and_none_has_failed(tmp_path: Path) -> None:
    always = "{name: always, time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]}"
    with staged(
        tmp_path, f"time_intervals: [{always}]\ndrill: {{alert: Failing, every: 7d}}"
    ) as st:
        config = st.folder / "sidecar.yaml"
        route = "routes: [{matchers: ['alertname=\"Failing\"'], mute_time_intervals: [always]}]"
        config.write_text(
            config.read_text().replace("group_wait: 0s}", f"group_wait: 0s, {route}}}")
        )
        with st.daemon():
            code, said = st.drill()
            assert code == 0, said
            assert "nobody is told now: muted at this time always, for all #c" in said
        assert st.slack.requests == []
