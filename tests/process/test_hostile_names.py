"""Names of log files are text from outside: of any bytes but / and NUL."""

import json
import os
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from sidecar.cli.alerts import alerts, resolve
from support.daemon import until
from support.live import FAILING, Stage, staged
from support.measure import samples

pytestmark = pytest.mark.process
NAMES = {
    "no UTF-8": b"b\xff.log",
    "line break": b"a\nsidecar_up 0\n.log",
    "escape": b"e\x1b]0;owned\x07.log",
    "C1 control": "c\x9b31m.log".encode(),
    "bidi": "b\u202egol.log".encode(),
    "quotes": b'q"} 7 \\\\.log',
    "markup": b"<img src=x>&amp;.log",
    "template": b"{{ 7 * 7 }}${HOME}.log",
    "long": b"l" * 251 + b".log",
}
PAGES = (
    "/", "/metrics", "/-/healthy", "/-/ready", "/webhook-debug",
    *(f"/api/v1/{name}" for name in ("status", "alerts", "rules", "events", "notifications")),
)  # fmt: skip


def log_to(stage: Stage, name: bytes, org: str) -> None:
    line = {"metric_type": "WEBHOOK_METRIC", "event_type": "x", "status": "failed", "org_id": org}
    path = os.path.join(os.fsencode(stage.folder / "logs"), name)  # noqa: PTH118 - of bytes
    with open(path, "ab") as log:  # noqa: PTH123 - the same
        log.write(2 * (json.dumps(line).encode() + b"\n"))


def test_every_page_is_answered_whatever_files_are_called(tmp_path: Path) -> None:
    with staged(tmp_path, rules=FAILING) as stage:
        for name, path in NAMES.items():
            log_to(stage, path, name)
        until(lambda: all(stage.told(org) == 1 for org in NAMES), "each is told")
        root, config = f"http://127.0.0.1:{stage.daemon.port}", str(tmp_path / "sidecar.yaml")
        for page in PAGES:
            answer = httpx.get(root + page, trust_env=False)
            assert answer.status_code == 200, page
            assert_harmless(answer.content.decode(), page)
        accept = {"Accept": "application/openmetrics-text"}
        text = httpx.get(root + "/metrics", trust_env=False, headers=accept).text
        found = samples(text.removesuffix("# EOF\n"), openmetrics=True)
        logs = {dict(labels)["log"] for name, labels in found if name == "sidecar_log_size_bytes"}
        assert len(logs) == len(NAMES) + 1
        assert {path for path in logs if not path.isprintable()} == set()
        for form in ("table", "json"):
            listed = CliRunner().invoke(alerts, ["-c", config, "--format", form])
            assert listed.exit_code == 0
            assert {org for org in NAMES if org in listed.output} == set(NAMES)
            assert_harmless(listed.output, form)
        for org in NAMES:
            ended = CliRunner().invoke(resolve, ["-c", config, "Failing", f"org_id={org}"])
            assert ended.exit_code == 0, ended.output
        stage.log("failed")  # it goes on
        stage.counted(2 * len(NAMES) + 1)
    for line in stage.daemon.log:
        assert_harmless(line, "log")
        json.loads(line)


def assert_harmless(text: str, where: str) -> None:
    unseen = {c for c in text if not c.isprintable() and c != "\n"}
    assert unseen == set(), where
    assert "\nsidecar_up 0" not in text, where
