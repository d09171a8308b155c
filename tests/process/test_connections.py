"""A daemon with few handles and many strangers."""

import contextlib
import json
import resource
import shutil
import socket
import ssl
from pathlib import Path

import httpx
import pytest

from support.arrivals import CERTIFICATE
from support.daemon import until
from support.live import CONFIG, FAILING, staged

pytestmark = pytest.mark.process


def test_400_idle_connections_and_few_handles_stop_neither_scrapes_nor_slack_nor_reading(
    tmp_path: Path,
) -> None:
    with staged(tmp_path, rules=FAILING) as stage, contextlib.ExitStack() as held:
        stage.log("failed", "org_1")
        stage.log("failed", "org_1")
        until(lambda: stage.told("org_1") == 1, "Slack is told: all is up")
        pid, address = stage.daemon.process.pid, ("127.0.0.1", stage.daemon.port)
        open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 30, open_now + 30))
        for _ in range(400):
            held.enter_context(socket.create_connection(address, timeout=5))
        stage.log("failed", "org_2")
        stage.log("failed", "org_2", name="another.log")
        stage.counted(4)
        until(lambda: stage.told("org_2") == 1, "Slack is told")
        assert stage.daemon.get("/-/healthy") == "healthy\n"
    said = [json.loads(line) for line in stage.daemon.log]
    assert [line["event"] for line in said if "address" in line] == ["accept_failed"]
    assert len("".join(stage.daemon.log)) < 10_000


def test_metrics_stand_elsewhere_ask_for_a_token_and_are_encrypted_by_a_certificate_that_is_renewed(
    tmp_path: Path,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    for name, source in (("tls.crt", CERTIFICATE), ("tls.key", CERTIFICATE.with_suffix(".key"))):
        shutil.copy(source, tmp_path / name)
    (tmp_path / "token").write_text("opensesame\n")
    section = f"""http:
  listen: "127.0.0.1:0"
  metrics_listen: "127.0.0.1:{port}"
  metrics_token_file: token
  tls_server_config: {{{{cert_file: tls.crt, key_file: tls.key}}}}
"""
    config = CONFIG.replace('http: {{listen: "127.0.0.1:0"}}\n', section)
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    with (
        staged(tmp_path, config=config) as stage,
        httpx.Client(verify=trusting, trust_env=False) as client,
    ):
        bearer = {"Authorization": "Bearer opensesame"}
        page = f"https://localhost:{port}/metrics"
        assert client.get(page).status_code == 401
        assert "sidecar_build_info" in client.get(page, headers=bearer).text
        assert client.get(f"https://localhost:{port}/-/healthy").text == "healthy\n"
        assert client.get(f"https://localhost:{port}/api/v1/status").status_code in (401, 403)
        there = f"https://localhost:{stage.daemon.port}"
        assert client.get(f"{there}/metrics", headers=bearer).status_code == 404
        assert client.get(f"{there}/api/v1/status").status_code == 200
        for name in ("crt", "key"):
            shutil.copy(CERTIFICATE.with_name(f"client.{name}"), tmp_path / f"tls.{name}")
        assert client.post(f"{there}/-/reload").text == "reloaded\n"
        with (
            httpx.Client(verify=trusting, trust_env=False) as anew,
            pytest.raises(httpx.ConnectError, match="certificate verify failed"),
        ):
            anew.get(page, headers=bearer)
