"""`run --shadow` decides and records; nobody is told, then or later."""

import sqlite3
from contextlib import closing
from pathlib import Path

from support.daemon import running, until
from support.live import CONFIG, FAILING, Stage
from support.sinks import SlackSink


def outcomes(folder: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(folder / "state.db")) as db:
        return db.execute("SELECT outcome, receiver FROM outbox").fetchall()


def prepared(folder: Path, slack: SlackSink) -> Path:
    (folder / "logs").mkdir()
    (folder / "a.rules.yaml").write_text(FAILING)
    (folder / "url").write_text(slack.url)
    (folder / "sidecar.yaml").write_text(CONFIG.format(folder=folder))
    return folder / "sidecar.yaml"


def test_a_shadow_counts_and_decides_and_nobody_is_told_then_or_later(tmp_path: Path) -> None:
    with SlackSink() as slack:
        config = prepared(tmp_path, slack)
        with running(config, shadow=True) as daemon:
            stage = Stage(tmp_path, daemon, slack)
            stage.log("failed")
            stage.log("failed")
            until(lambda: outcomes(tmp_path) == [("shadow", "slack")], "the message is recorded")
            samples = daemon.samples()
            assert samples["sidecar_shadow"] == 1
            assert samples["sidecar_outbox_pending"] == 0
            assert any('"shadow"' in line and "warning" in line for line in daemon.log)
            assert any("notification_withheld" in line for line in daemon.log)
            assert daemon.stop() == 0
        with running(config) as daemon:
            stage = Stage(tmp_path, daemon, slack)
            assert daemon.samples()["sidecar_shadow"] == 0
            # The next alert's message goes out: what came before it had its chance.
            stage.log("failed", "org_2")
            stage.log("failed", "org_2")
            until(lambda: stage.told("org_2") == 1, "the later alert is told")
            until(stage.settled, "that is noted")
            assert stage.told("org_1") == 0
        assert sorted(outcomes(tmp_path)) == [("sent", "slack"), ("shadow", "slack")]


def test_a_shadow_leaves_alone_what_an_ordinary_run_has_left(tmp_path: Path) -> None:
    with SlackSink() as slack:
        config = prepared(tmp_path, slack)
        address = slack.url
        (tmp_path / "url").write_text("http://127.0.0.1:9/nobody")
        with running(config) as daemon:
            stage = Stage(tmp_path, daemon, slack)
            stage.log("failed")
            stage.log("failed")
            until(lambda: any("notification_failed" in line for line in daemon.log), "it fails")
            assert daemon.stop() == 0
        with closing(sqlite3.connect(tmp_path / "state.db")) as db, db:
            db.execute("UPDATE outbox SET next_at = 0")
        (tmp_path / "url").write_text(address)
        with running(config, shadow=True) as daemon:
            stage = Stage(tmp_path, daemon, slack)
            stage.log("failed", "org_2")
            stage.log("failed", "org_2")
            until(lambda: ("shadow", "slack") in outcomes(tmp_path), "org_2 is decided on")
            assert daemon.stop() == 0
        assert slack.requests == []
        assert ("", "slack") in outcomes(tmp_path)
        with running(config) as daemon:
            stage = Stage(tmp_path, daemon, slack)
            until(lambda: stage.told("org_1") == 1, "what waited is told", timeout=60)
            assert stage.told("org_2") == 0
