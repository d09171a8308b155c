"""A reload takes all of a new configuration or none of it, and loses and repeats nothing."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import until
from support.live import CONFIG, FAILING, WARNED, Stage, staged
from support.sinks import Answer

RELOAD_OK = "sidecar_config_last_reload_successful"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as stage:
        yield stage


class TestWhatAsksForIt:
    def test_a_new_rule_file_is_seen_and_judges_what_comes(self, stage: Stage) -> None:
        (stage.folder / "b.rules.yaml").write_text(WARNED)
        until(lambda: stage.reloads() == 1, "it reloads by itself")
        stage.log("warned")
        until(lambda: stage.told("Warned") == 1, "the new rule speaks")

    def test_sighup(self, stage: Stage) -> None:
        stage.daemon.process.send_signal(signal.SIGHUP)
        until(lambda: stage.reloads() == 1, "it reloads though nothing has changed")

    def test_http(self, stage: Stage) -> None:
        answer = stage.reload()
        assert (answer.status_code, answer.text) == (200, "reloaded\n")
        assert stage.reloads() == 1

    def test_a_configmap_swap_is_seen(self, tmp_path: Path) -> None:
        """Kubernetes writes a new directory and swaps the link `..data`; no file is touched."""
        mount = tmp_path / "mount"
        for version, rules in (("..v1", FAILING), ("..v2", FAILING + WARNED[8:])):
            (mount / version).mkdir(parents=True)
            (mount / version / "a.rules.yaml").write_text(rules)
        (mount / "..data").symlink_to("..v1")
        (mount / "a.rules.yaml").symlink_to("..data/a.rules.yaml")
        config = CONFIG.replace("*.rules.yaml", f"{mount}/*.rules.yaml")
        with staged(tmp_path, config=config) as stage:
            (mount / "..data_tmp").symlink_to("..v2")
            (mount / "..data_tmp").rename(mount / "..data")
            until(lambda: stage.reloads() == 1, "the swap is seen")
            stage.log("warned")
            until(lambda: stage.told("Warned") == 1, "the new rule speaks")

    def test_a_rotated_secret_file_is_used(self, stage: Stage) -> None:
        (stage.folder / "url").write_text(stage.slack.url + "/rotated")
        until(lambda: stage.reloads() == 1, "it reloads by itself")
        stage.log("failed")
        stage.log("failed")
        assert stage.slack.wait_for(1)[0].path.endswith("/rotated")


class TestAllOrNothing:
    def test_a_fault_keeps_the_old_one_running_and_is_said_everywhere(self, stage: Stage) -> None:
        rules = stage.folder / "a.rules.yaml"
        rules.write_text(FAILING.replace("count() >= 2", "cuont() >= 2") + "x: 1\n")
        answer = stage.reload()
        assert answer.status_code == 500
        assert "a.rules.yaml:9:20: error: " in answer.text
        assert "`x`" in answer.text
        assert stage.daemon.samples()[RELOAD_OK] == 0
        assert any("configuration_not_reloaded" in line for line in stage.daemon.log)
        stage.log("failed")
        stage.log("failed")
        until(lambda: stage.told("Failing") == 1, "the old rules still judge")

    def test_the_repaired_one_is_taken_over_by_itself(self, stage: Stage) -> None:
        rules = stage.folder / "a.rules.yaml"
        rules.write_text("groups: [")
        until(lambda: stage.reloads("failed") == 1, "the fault is seen")
        rules.write_text(FAILING)
        until(lambda: stage.reloads() == 1, "the repair is seen")
        assert stage.daemon.samples()[RELOAD_OK] == 1

    def test_the_answer_shows_no_secret(self, tmp_path: Path) -> None:
        config = CONFIG.replace("api_url_file: url", "api_url: https://hooks.example/T0/hunter2")
        with staged(tmp_path, config=config) as stage:
            path = stage.folder / "sidecar.yaml"
            path.write_text(path.read_text().replace("https://hooks", "ftp://hooks"))
            answer = stage.reload()
            assert answer.status_code == 500
            assert "sidecar.yaml:" in answer.text
            assert "hunter2" not in answer.text
            assert not [line for line in stage.daemon.log if "hunter2" in line]

    def test_what_needs_a_restart_is_said_and_left_as_it_is(self, stage: Stage) -> None:
        path = stage.folder / "sidecar.yaml"
        path.write_text(path.read_text().replace("state.db", "other.db").replace(":0", ":9"))
        assert stage.reload().status_code == 200
        said = [json.loads(line) for line in stage.daemon.log if "needs_restart" in line]
        assert {line["key"] for line in said} == {"state.path", "http.listen"}
        assert not (stage.folder / "other.db").exists()
        assert stage.daemon.samples()[RELOAD_OK] == 1


def unfinished(stage: Stage) -> float:
    """Return how many bytes of logs wait for their rest."""
    samples = stage.daemon.samples().items()
    return sum(value for name, value in samples if name.startswith("sidecar_log_unfinished_bytes"))


class TestWhatSurvives:
    def test_windows_counters_and_what_was_told(self, stage: Stage) -> None:
        stage.log("failed")
        stage.log("failed", "org_2")
        stage.log("failed", "org_2")
        until(lambda: stage.told("Failing", "org_2") == 1, "the first alert is told")
        assert stage.reload().status_code == 200
        assert stage.daemon.samples()["failures_total"] == 3
        stage.log("failed")
        until(lambda: stage.told("Failing", "org_1") == 1, "one before and one after make two")
        until(stage.settled, "all is delivered")
        assert stage.told("org_2") == 1
        samples = stage.daemon.samples()
        assert samples["failures_total"] == 4
        firing = 'sidecar_alerts{alertname="Failing",severity="critical",state="firing"}'
        assert samples[firing] == 2

    def test_what_the_sidecar_counts_of_itself(self, tmp_path: Path) -> None:
        amounts = "amounts_total, help: Sum., type: counter, value: amount, match: ['status=\"a\"']"
        rules = f"metrics: [{{name: {amounts}}}]\n"
        name = 'sidecar_bad_values_total{metric="amounts_total"}'
        with staged(tmp_path, rules=rules) as stage:
            for _ in range(2):
                stage.log("a", amount="much")
            until(lambda: stage.daemon.samples()[name] == 2, "both are refused")
            assert stage.reload().status_code == 200
            stage.log("a", amount="more")
            until(lambda: stage.daemon.samples()[name] == 3, "so is the third")

    def test_a_new_metric_is_there_at_0(self, stage: Stage) -> None:
        more = "metrics: [{name: new_total, help: New., type: counter, match: ['status=\"x\"']}]\n"
        (stage.folder / "b.rules.yaml").write_text(more)
        assert stage.reload().status_code == 200
        assert stage.daemon.samples()["new_total"] == 0

    def test_an_alert_whose_rule_went_is_closed_in_one_digest(self, stage: Stage) -> None:
        for org in ("org_1", "org_2"):
            stage.log("failed", org)
            stage.log("failed", org)
        until(lambda: stage.told("Failing") == 2, "both are told")
        (stage.folder / "a.rules.yaml").write_text(WARNED)
        assert stage.reload().status_code == 200
        until(lambda: stage.told("rule changed") == 1, "the digest is told")
        until(stage.settled, "all is delivered")
        assert stage.told("rule changed", "org_1", "org_2") == 1
        assert not [s for s in stage.daemon.samples() if "sidecar_alerts" in s and "Failing" in s]

    def test_a_docker_line_in_pieces(self, stage: Stage) -> None:
        text = json.dumps(
            {"metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe", "event_type": "e",
             "status": "failed", "note": "x" * 16_384, "org_id": "org_1"}
        )  # fmt: skip
        pieces = [
            json.dumps({"log": piece, "stream": "stdout", "time": "2026-11-02T08:00:00Z"}) + "\n"
            for piece in (text[:16_384], text[16_384:] + "\n")  # where Docker cuts
        ]
        path = stage.folder / "logs" / "docker.log"
        path.write_text(pieces[0])
        until(lambda: unfinished(stage) > 16_384, "the first is read")
        assert stage.reload().status_code == 200
        with path.open("a") as log:
            log.write(pieces[1])
        stage.counted(1)

    def test_a_message_on_its_way(self, stage: Stage) -> None:
        stage.slack.answers.append(Answer(status=503, body="down"))
        stage.log("failed")
        stage.log("failed")
        stage.slack.wait_for(1)
        assert stage.reload().status_code == 200
        until(stage.settled, "it is delivered", timeout=60)
        assert stage.told("Failing") == 2  # the refused attempt, and the one that was taken

    def test_lines_written_meanwhile_count_once(self, stage: Stage) -> None:
        done = threading.Event()
        written = 0

        def write() -> None:
            nonlocal written
            while not done.wait(0.001):
                stage.log("failed", f"org_{written}")
                written += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            answers = [stage.reload().status_code for _ in range(10)]
        finally:
            done.set()
            writer.join()
        assert answers == [200] * 10
        stage.counted(written)
        assert stage.daemon.samples()["failures_total"] == written


class TestSources:
    def test_a_new_source_is_read_and_the_old_one_goes_on(self, stage: Stage) -> None:
        (stage.folder / "more").mkdir()
        stage.log("failed")
        stage.log("failed", name="../more/b.log")
        stage.counted(1)
        path = stage.folder / "sidecar.yaml"
        second = f'{{path: "{stage.folder}/more/*.log"}}, '
        path.write_text(path.read_text().replace("sources: [", f"sources: [{second}"))
        assert stage.reload().status_code == 200
        stage.counted(2)
        stage.log("failed")
        stage.counted(3)

    def test_a_source_taken_away_and_given_back_goes_on_where_it_stopped(
        self, stage: Stage
    ) -> None:
        stage.log("failed")
        stage.counted(1)
        path = stage.folder / "sidecar.yaml"
        before = path.read_text()
        path.write_text(before.replace("/logs/", "/elsewhere/"))
        assert stage.reload().status_code == 200
        stage.log("failed")
        assert stage.reload().status_code == 200
        assert sum(stage.daemon.events().values()) == 1
        path.write_text(before)
        assert stage.reload().status_code == 200
        stage.counted(2)


def test_the_line_of_the_start_says_what_is_off(tmp_path: Path) -> None:
    off = "    webhook_configs: [{{url: '${{NOT_SET:-}}'}}]\n"
    with staged(tmp_path, config=CONFIG + off) as stage:
        line = next(line for line in stage.daemon.log if '"listening"' in line)
        assert json.loads(line)["off"] == "slack: webhook_configs"
