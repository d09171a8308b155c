"""An emoji on Slack's message acknowledges: a daemon, and a web server in Slack's place."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest

from sidecar.daemon.reactions import EVERY_SECONDS, SPACING_SECONDS
from support.daemon import DaemonProcess, running, until
from support.setup import append, configure, record, write_rule
from support.sinks import Answer, SlackSink
from support.slack_sink import Request

pytestmark = pytest.mark.process


class Workspace(SlackSink):
    """Slack's API with reactions: `reacted` names emoji and users; `reads` says how asking ends."""

    def __init__(self) -> None:
        super().__init__()
        self.reacted: list[tuple[str, list[str]]] = []
        self.reads: Answer | None = None

    def _accepted(self, request: Request) -> Answer:
        if request.path.endswith("/reactions.get"):
            reactions = [{"name": n, "users": u, "count": len(u)} for n, u in self.reacted]
            answer = {"ok": True, "channel": "C0", "message": {"reactions": reactions}}
            return self.reads or Answer(200, {}, json.dumps(answer))
        if request.path.endswith("/users.info"):
            user = {"id": "U7", "name": "ann", "profile": {"display_name": "Ann Lee"}}
            return Answer(200, {}, json.dumps({"ok": True, "user": user}))
        return super()._accepted(request)

    def calls(self, method: str) -> list[Request]:
        return [one for one in self.requests if one.path.endswith(method)]

    def asked(self) -> list[Request]:
        return self.calls("/reactions.get")


@pytest.fixture
def slack() -> Iterator[Workspace]:
    with Workspace() as workspace:
        yield workspace


def start(folder: Path, slack: Workspace) -> Path:
    url = f"http://127.0.0.1:{slack.port}/api/chat.postMessage"
    write_rule(folder, 1)
    (folder / "app.log").touch()
    entry = f'{{channel: "#c", app_token: xoxb-1, app_url: "{url}"}}'
    return configure(folder, f"slack_configs: [{entry}]")


def alerts(daemon: DaemonProcess) -> list[dict[str, object]]:
    answer = httpx.get(f"http://127.0.0.1:{daemon.port}/api/v1/alerts", trust_env=False)
    found: list[dict[str, object]] = answer.json()["alerts"]
    return found


def test_who_reacted_has_taken_it_and_the_message_says_so(tmp_path: Path, slack: Workspace) -> None:
    with running(start(tmp_path, slack)) as daemon:
        append(tmp_path / "app.log", record("failed"))
        until(lambda: bool(slack.asked()), "Slack is asked while something critical fires")
        first = slack.asked()[0]
        assert parse_qs(first.body.decode())["timestamp"][0].startswith("1700000000.")
        assert first.headers["content-type"] == "application/x-www-form-urlencoded"
        slack.reacted = [("tada", ["U1"]), ("eyes", ["U7", "U8"])]
        until(lambda: bool(alerts(daemon)[0]["acked"]), "the reaction acknowledges")
        (alert,) = alerts(daemon)
        assert isinstance(alert["acked"], dict)
        assert alert["acked"]["by"] == "Ann Lee"
        until(
            lambda: any(b"Acknowledged by Ann Lee" in r.body for r in slack.calls("chat.update")),
            "an edit",
        )
    asked = len(slack.asked())
    assert asked <= 10


def test_a_limit_and_a_token_that_must_not_ask_are_respected(
    tmp_path: Path, slack: Workspace
) -> None:
    slack.reads = Answer(200, {}, '{"ok": false, "error": "missing_scope"}')
    with running(start(tmp_path, slack)) as daemon:
        append(tmp_path / "app.log", record("failed"))
        until(lambda: any("reactions_cannot_be_read" in li for li in daemon.log), "it is said")
        append(tmp_path / "app.log", record("failed", "org_2"))
        until(lambda: len(slack.calls("postMessage")) == 2, "the next alert is told")
    assert len(slack.asked()) == 1


def test_slack_is_left_alone_for_as_long_as_it_asks(tmp_path: Path, slack: Workspace) -> None:
    limited = '{"ok": false, "error": "ratelimited"}'
    slack.reads = Answer(429, {"Retry-After": "3600"}, limited)
    with running(start(tmp_path, slack)):
        append(tmp_path / "app.log", record("failed"), record("failed", "org_2"))
        until(lambda: bool(slack.asked()), "it is asked")
        time_is_up = time.monotonic() + EVERY_SECONDS + 2 * SPACING_SECONDS
        until(lambda: time.monotonic() > time_is_up, "two more turns")
    assert len(slack.asked()) == 1
