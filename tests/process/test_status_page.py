"""The status page and the API behind it, of a daemon that has read, told and rejected."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import time
from typing import Any, ClassVar

import httpx
import pytest

from support.chromium import BROWSER, look
from support.daemon import DaemonProcess, running, until
from support.setup import append, configure, record, slack_to, write_rule
from support.sinks import SlackSink

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
EXAMPLE = re.compile(r"^### `GET (\S+)`\n.*?^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = PAGE.read_text()
EXAMPLES = dict(EXAMPLE.findall(TEXT))
# What ends the alert that the others are about comes last.
TAKEN = sorted(
    re.findall(r"^\| `POST (\S+)` \| takes `(\{.*?\})`", TEXT, re.MULTILINE),
    key=lambda row: row[0].endswith("resolve"),
)
SHOWN = ("status", "alerts", "events", "notifications", "rules", "silences")
HOSTILE = "<script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    folder = tmp_path_factory.mktemp("page")
    write_rule(folder)
    with SlackSink() as slack:
        config = configure(folder, slack_to(slack.url))
        append(folder / "app.log", *(record("failed", org) for org in (HOSTILE, "org_7") * 2))
        with (folder / "app.log").open("a") as log:
            log.write("WEBHOOK_METRIC: {'event_type': <x>}\n")
        with running(config) as started:
            slack.wait_for(2)
            said = "/api/v1/notifications"
            until(lambda: '"sent"' in started.get(said), "the answer is written down")
            odd = '"odd_lines":[{'
            until(lambda: odd in started.get("/api/v1/events"), "the line is rejected")
            silence = {"matchers": ["org_id=org_9"], "ends_at": time() + 3600, "by": HOSTILE}
            made = httpx.post(url(started, "/api/v1/silences"), json=silence, trust_env=False)
            assert made.status_code == 200, made.text
            yield started


def url(daemon: DaemonProcess, path: str) -> str:
    return f"http://127.0.0.1:{daemon.port}{path}"


def shape(value: Any) -> Any:
    """Return what kinds of things a JSON value is made of; of a list its first element's."""
    match value:
        case dict():
            return {key: shape(one) for key, one in value.items()}
        case list():
            return [shape(value[0])] if value else []
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case _:
            return type(value).__name__


def same_shape(example: Any, answer: Any) -> bool:
    """Tell whether an answer has the keys of the example; null and empty lists may stand in."""
    if isinstance(example, dict) and isinstance(answer, dict):
        return example.keys() == answer.keys() and all(
            same_shape(example[key], answer[key]) for key in example
        )
    if isinstance(example, list) and isinstance(answer, list):
        return not (example and answer) or same_shape(example[0], answer[0])
    return None in (example, answer) or shape(example) == shape(answer)


def test_there_is_an_example_of_each_path() -> None:
    assert len(TAKEN) == TEXT.count("| `POST /api/v1/") == 6
    assert set(EXAMPLES) == {
        "/webhook-debug",
        *(f"/api/v1/{name}" for name in SHOWN),
    }


# Maps whose keys are those of the configuration or of an alert.
FREE = ("key", "labels", "annotations", "collected", "by_severity")


def without_free_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: {} if k in FREE else without_free_keys(v) for k, v in value.items()}
    return [without_free_keys(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_answer_is_like_its_example(daemon: DaemonProcess, path: str) -> None:
    answer = httpx.get(url(daemon, path), trust_env=False).json()
    example = json.loads(EXAMPLES[path])
    assert same_shape(without_free_keys(example), without_free_keys(answer)), answer


def test_webhook_debug_says_what_is_configured_and_tells_no_value(daemon: DaemonProcess) -> None:
    found = json.loads(daemon.get("/webhook-debug"))
    assert found["configured"]["slack"] is True
    assert found["configured"]["email"] is False
    assert found["configured"]["webhook_secret"] is None
    assert found["alerts"] == {"firing": 2, "pending": 0, "by_severity": {"critical": 2}}


def test_the_page_is_answered_under_its_policy(daemon: DaemonProcess) -> None:
    page = httpx.get(url(daemon, "/"), trust_env=False)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for text in ("Failing", "sent", "Rejected", "app.log", "failing.rules.yaml", "org_9"):
        assert text in page.text


def test_a_search_for_an_organisation_explains(daemon: DaemonProcess) -> None:
    found = httpx.get(url(daemon, "/?q=org_id%3Dorg_7"), trust_env=False).text
    assert "<h2>Why</h2>" in found
    assert "count() &gt;= 2" in found
    assert "first notification" in found
    assert "No rule knows anything of it" not in found
    assert "is not a matcher" in httpx.get(url(daemon, "/?q=%3Dx"), trust_env=False).text


def test_a_search_finds_the_message_too(daemon: DaemonProcess) -> None:
    found = httpx.get(url(daemon, "/?q=team+slack"), trust_env=False).text
    assert "No messages" not in found
    assert "No alerts with" in found


@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desk"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read(daemon: DaemonProcess, tmp_path: Path, width: int, *, dark: bool) -> None:
    need_chromium()
    page = httpx.get(url(daemon, "/"), trust_env=False).text
    looks = look(page, width, dark=dark, folder=tmp_path)
    assert looks == {"wide": width, "dark": dark, "faint": []}


def test_a_browser_runs_the_page_s_own_script_and_no_other(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    need_chromium()
    command = [
        BROWSER, "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
        "--enable-logging=stderr", "--v=0", "--virtual-time-budget=25000", "--dump-dom",
        url(daemon, "/"),
    ]  # fmt: skip
    before = daemon.samples()["sidecar_read_lines_total"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert before
    assert "<title>Webhook alert sidecar</title>" in done.stdout
    assert "&lt;script&gt;document.title" in done.stdout
    assert "Content Security Policy" not in done.stderr


class Pages(BaseHTTPRequestHandler):
    """Answers with one page after the other, the last of them for ever."""

    pages: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        policy, text = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-security-policy", policy)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


def test_an_open_page_renews_itself(daemon: DaemonProcess, tmp_path: Path) -> None:
    need_chromium()
    answer = httpx.get(url(daemon, "/"), trust_env=False)
    policy = answer.headers["content-security-policy"]
    Pages.pages = [(policy, answer.text), (policy, answer.text.replace("org_7", "org_of_later"))]
    assert "org_7" in answer.text
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        command = [
            BROWSER, "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=15000", "--dump-dom", f"http://127.0.0.1:{server.server_port}/",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        server.shutdown()
    assert "org_of_later" in done.stdout
    assert "org_7" not in done.stdout


@pytest.mark.parametrize(("path", "body"), TAKEN, ids=[path for path, _ in TAKEN])
def test_a_path_takes_what_its_example_shows(daemon: DaemonProcess, path: str, body: str) -> None:
    taken = json.loads(body.replace("\\|", "|").replace("PaymentFailing", "Failing"))
    made = httpx.get(url(daemon, "/api/v1/silences"), trust_env=False).json()["silences"]
    real = {"id": made[0]["id"], "ends_at": time() + 3600, "key": {"org_id": "org_7"}}
    if "matchers" in taken:
        real["matchers"] = [one.replace("org_1", "org_7") for one in taken["matchers"]]
    taken |= {name: value for name, value in real.items() if name in taken}
    answer = httpx.post(url(daemon, path), json=taken, trust_env=False)
    assert answer.status_code == 200, answer.text


def need_chromium() -> None:
    if shutil.which(BROWSER) is None:
        pytest.skip(f"install {BROWSER}")
