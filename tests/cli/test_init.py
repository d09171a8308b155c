"""`sidecar init` writes what works: it is checked, tested and run as it stands."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli import main
from support.daemon import running, until
from support.setup import append, record
from support.sinks import SlackSink

ENVIRONMENT = {
    "SLACK_WEBHOOK_URL": "https://hooks.example.com/x",
    "ALERT_EMAIL": "ann@example.com",
    "SMTP_SMARTHOST": "mail.example.com:587",
}


def sidecar(*words: str, **more: str | None) -> tuple[int, str]:
    result = CliRunner(env=more).invoke(main, list(words), input="\n\n\n")
    return result.exit_code, result.output


@pytest.mark.parametrize("tell", ["slack", "mail", "both"])
def test_what_it_writes_is_right_short_and_tested(tmp_path: Path, tell: str) -> None:
    log = str(tmp_path / 'a "$log" \\.txt')
    wrote, said = sidecar("init", str(tmp_path), "--tell", tell, "--log", log, "--provider", "acme")
    assert wrote == 0
    assert "sidecar run -c" in said
    assert "sidecar parse YOUR.log" in said
    config = tmp_path / "sidecar.yaml"
    assert len(config.read_text().splitlines()) <= 10
    Path(log).touch()
    checked, found = sidecar("check", "-c", str(config), **ENVIRONMENT)
    assert (checked, found) == (
        0,
        "21 rules, 0 metrics, 0 patterns, 9 templates, 1 receiver: fine\n",
    )
    assert sidecar("test", str(tmp_path / "rules")) == (0, "1 case: all passed\n")


def test_what_goes_wrong_in_the_sidecar_itself_is_told_from_the_first_day(tmp_path: Path) -> None:
    assert sidecar("init", str(tmp_path))[0] == 0
    written = (tmp_path / "rules" / "sidecar.rules.yaml").read_text()
    shipped = Path(__file__).parents[2] / "rules" / "sidecar.rules.yaml"
    assert written == shipped.read_text().partition("\n")[2]
    routed = sidecar(
        "route",
        "-c",
        str(tmp_path / "sidecar.yaml"),
        "--alert",
        "SidecarLogUnreadable",
        **ENVIRONMENT,
    )
    assert (routed[0], "team" in routed[1]) == (0, True)


def test_it_asks_for_what_is_not_given(tmp_path: Path) -> None:
    code, said = sidecar("init", str(tmp_path))
    assert code == 0
    for question in ("Who is told", "The log to read", "Whose webhooks"):
        assert question in said
    assert "/var/log/webhook/*.log" in (tmp_path / "sidecar.yaml").read_text()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text("mine\n")
    code, said = sidecar("init", str(tmp_path))
    assert code == 2
    assert "sidecar.yaml is there already; nothing is written" in said
    assert [path.name for path in tmp_path.iterdir()] == ["sidecar.yaml"]


def test_a_provider_that_could_be_no_label_is_refused(tmp_path: Path) -> None:
    code, said = sidecar(
        "init", str(tmp_path), "--tell", "slack", "--log", "x", "--provider", "a'b"
    )
    assert code == 2
    assert "no provider's name" in said
    assert list(tmp_path.iterdir()) == []


def test_the_daemon_runs_on_it_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "app.log"
    log.touch()
    with SlackSink() as slack:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", slack.url)
        answers = ("--tell", "slack", "--log", str(log), "--provider", "stripe")
        assert sidecar("init", str(tmp_path), *answers)[0] == 0
        config = tmp_path / "sidecar.yaml"
        config.write_text(config.read_text().replace("127.0.0.1:9787", "127.0.0.1:0"))
        with running(config) as daemon:
            until(lambda: daemon.get("/-/ready") == "ready\n", "the first step")
            undated = {k: v for k, v in record("payment_failure").items() if k != "timestamp"}
            append(log, *[undated] * 3)
            slack.wait_for(1)
    assert b"Payment of org_1 failed 3 times." in slack.requests[0].body
