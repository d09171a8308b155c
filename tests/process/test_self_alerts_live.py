"""The sidecar tells people what is wrong with itself: the daemon as a process."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.daemon import RULES, DaemonProcess, running, until
from support.live import CONFIG, FAILING, Stage
from support.sinks import Answer, SlackSink

OURS = str(RULES / "sidecar.rules.yaml")
TWO = """\
  - name: gone
    slack_configs: [{channel: "#gone", api_url_file: gone}]
"""


def prepare(folder: Path, slack: SlackSink, gone: str = "") -> Path:
    (folder / "logs").mkdir()
    (folder / "logs" / "app.log").touch()
    (folder / "a.rules.yaml").write_text(FAILING)
    (folder / "url").write_text(slack.url)
    (folder / "gone").write_text(gone or slack.url)
    config = CONFIG.replace('["*.rules.yaml"]', f'["*.rules.yaml", "{OURS}"]')
    route = (
        "route: {{receiver: slack, routes: [{{matchers: ['alertname=Failing'], receiver: gone}}],"
    )
    config = config.replace("route: {{receiver: slack,", route).format(folder=folder) + TWO
    (folder / "sidecar.yaml").write_text(config)
    return folder / "sidecar.yaml"


@contextmanager
def staged(folder: Path, gone: str = "") -> Iterator[Stage]:
    with SlackSink() as slack, running(prepare(folder, slack, gone)) as daemon:
        yield Stage(folder, daemon, slack)


def status(daemon: DaemonProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(daemon.get("/api/v1/status"))
    return found


def test_a_failed_reload_is_told_and_so_is_its_end(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        rules = tmp_path / "a.rules.yaml"
        rules.write_text("groups: [")
        assert stage.reload().status_code == 500
        until(lambda: stage.told("SidecarReloadFailed", "a.rules.yaml:") == 1, "it is told")
        found = status(stage.daemon)
        assert [problem["kind"] for problem in found["problems"]] == ["reload_failed"]
        assert found["config"]["last_reload"]["ok"] is False
        rules.write_text(FAILING)
        assert stage.reload().status_code == 200
        until(lambda: stage.told("SidecarReloadFailed", "RESOLVED") == 1, "its end is told")
        assert status(stage.daemon)["problems"] == []


def test_lines_that_hold_no_event_are_told_once_and_redacted(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        with (tmp_path / "logs" / "app.log").open("a") as log:
            log.write("WEBHOOK_METRIC: {'api_key': 'sk_live_NotARealKey0123456789', \n" * 100)
        until(lambda: stage.told("SidecarRejects") == 1, "it is told")
        until(stage.settled, "it is delivered")
        assert stage.told("SidecarRejects") == 1
        assert stage.told("NotARealKey") == 0
        assert all("NotARealKey" not in line for line in stage.daemon.log)


def test_a_dead_destination_is_told_elsewhere_and_ends_with_the_next_delivery(
    tmp_path: Path,
) -> None:
    with SlackSink() as dead:
        dead.answers.append(Answer(404, body="channel_is_archived"))
        with staged(tmp_path, gone=dead.url) as stage:
            stage.log("failed")
            stage.log("failed")
            until(lambda: stage.told("SidecarDestinationDead", "#gone") == 1, "it is told")
            stage.log("failed", "org_2")
            stage.log("failed", "org_2")
            until(lambda: stage.told("SidecarDestinationDead", "RESOLVED") == 1, "its end is told")


def test_a_restart_tells_nothing_again_and_ends_what_is_over(tmp_path: Path) -> None:
    with SlackSink() as slack:
        config = prepare(tmp_path, slack)
        with running(config) as daemon:
            stage = Stage(tmp_path, daemon, slack)
            (tmp_path / "a.rules.yaml").write_text("groups: [")
            stage.reload()
            until(lambda: stage.told("SidecarReloadFailed") == 1, "it is told")
            until(stage.settled, "it is noted")
            assert daemon.stop() == 0
        (tmp_path / "a.rules.yaml").write_text(FAILING)
        with running(config) as daemon:
            stage = Stage(tmp_path, daemon, slack)
            until(lambda: stage.told("SidecarReloadFailed") >= 2, "its end is told")
            until(stage.settled, "it is delivered")
            assert stage.told("SidecarReloadFailed", "RESOLVED") == 1
            assert stage.told("SidecarReloadFailed") == 2


def test_messages_cut_off_by_a_crash_count_as_ambiguous(tmp_path: Path) -> None:
    with SlackSink() as slack:
        config = prepare(tmp_path, slack)
        with running(config) as daemon:
            assert daemon.stop() == 0
        with closing(sqlite3.connect(tmp_path / "state.db")) as db, db:
            db.execute(
                "INSERT INTO outbox VALUES ('1', 'slack', 'slack', '#c', 'g', 1, 0, 2, 1, 9e9, '',"
                " '', '', '{}', 0, '')"
            )
        with running(config) as daemon:
            name = 'sidecar_notifications_ambiguous_total{integration="slack",receiver="slack"}'
            assert daemon.samples()[name] == 1
            assert any("notification_ambiguous" in line for line in daemon.log)


def damage(path: Path) -> None:
    """Overwrite all but the first page of the file, which says whose it is."""
    data = path.read_bytes()
    assert len(data) > 3 * 4096
    path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))


class TestDamagedState:
    @pytest.fixture
    def slack(self) -> Iterator[SlackSink]:
        with SlackSink() as slack:
            yield slack

    def test_it_is_kept_and_said_and_all_begins_anew(
        self, tmp_path: Path, slack: SlackSink
    ) -> None:
        config = prepare(tmp_path, slack)
        with running(config) as daemon:
            stage = Stage(tmp_path, daemon, slack)
            stage.log("failed")
            stage.counted(1)
            assert daemon.stop() == 0
        damage(tmp_path / "state.db")
        damaged = (tmp_path / "state.db").read_bytes()
        with running(config) as daemon:
            stage = Stage(tmp_path, daemon, slack)
            until(lambda: stage.told("SidecarStateDamaged", "state.db.damaged-") == 1, "told")
            assert any('"state_file_damaged"' in line for line in daemon.log)
            stage.log("failed")
            stage.counted(2)  # this source starts at the beginning
            (kept,) = (p for p in tmp_path.glob("state.db.damaged-*") if p.suffix != ".lock")
            assert kept.read_bytes() == damaged
            until(stage.settled, "all is delivered")
            assert daemon.stop() == 0
        with running(config) as daemon:
            stage = Stage(tmp_path, daemon, slack)
            assert sum(daemon.events().values()) == 2
            until(stage.settled, "nothing waits")
            assert stage.told("SidecarStateDamaged") == 1

    def test_by_default_reading_starts_at_the_end(self, tmp_path: Path, slack: SlackSink) -> None:
        config = prepare(tmp_path, slack)
        config.write_text(config.read_text().replace("start_at: beginning", "start_at: end"))
        with running(config) as daemon:
            assert daemon.stop() == 0
        damage(tmp_path / "state.db")
        with (tmp_path / "logs" / "app.log").open("a") as log:
            log.write("what is logged while it is away\n")
        with running(config) as daemon:
            stage = Stage(tmp_path, daemon, slack)
            until(lambda: daemon.samples()["sidecar_log_open_files"] == 1, "the log is open")
            stage.log("failed")
            stage.counted(1)
            assert daemon.samples()["sidecar_read_lines_total"] == 1
