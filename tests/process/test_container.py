"""The image, really built and really run: read-only root, numeric user, mounted log."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from support.daemon import RULES, until
from support.sinks import SlackSink

ROOT = Path(__file__).parents[2]
BASE = os.environ.get("BASE_IMAGE", "localhost/python-base:bookworm")
IMAGE, NAME = "localhost/sidecar:test", f"sidecar-test-{os.getpid()}"
USER = 65532
HEALTHCHECK = ["sidecar", "healthcheck", "-c", "/etc/sidecar/sidecar.yaml"]
CONFIG = """\
sources: [{{path: /var/log/webhook/*.log, start_at: beginning}}]
rule_files: [/etc/sidecar/rules/*.rules.yaml]
pattern_files: [/etc/sidecar/rules/*.patterns.yaml]
state: {{path: /var/lib/sidecar/state.db}}
http: {{listen: "0.0.0.0:{port}"}}
stale_after: 3650d
route: {{receiver: slack, group_wait: 0s}}
receivers:
  - name: slack
    slack_configs: [{{channel: "#c", app_token: xoxb-test, app_url: "{slack}"}}]
"""
LINE = {
    "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe",
    "event_type": "invoice.payment_failed", "status": "payment_failure",
    "timestamp": "2026-11-02T08:00:00", "org_id": "org_in_a_container", "attempt_count": 3,
}  # fmt: skip


def podman(*words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    runc = shutil.which("runc") or "runc"
    return subprocess.run(
        ["podman", "--cgroup-manager=cgroupfs", "--runtime", runc, *words],
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def missing() -> str:
    """Return what keeps this machine from running the image, or nothing."""
    if shutil.which("podman") is None or shutil.which("runc") is None:
        return "install podman and runc to build and run the image"
    if os.geteuid() != 0:
        return "building the image in a chroot needs root"
    if podman("image", "exists", BASE).returncode != 0:
        return f"no image {BASE}; name another with BASE_IMAGE (any with python3, venv, pip)"
    return ""


@pytest.fixture(scope="module")
def image() -> str:
    if why := missing():
        assert os.environ.get("CI") != "true", why
        pytest.skip(why)
    built = podman(
        "build", "--format", "docker", "--isolation=chroot", "--pull=never", "--network=host",
        "--build-arg", f"BASE_IMAGE={BASE}", "-t", IMAGE, str(ROOT), timeout=900,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return IMAGE


@pytest.fixture
def port(image: str, tmp_path: Path, slack: SlackSink) -> Iterator[int]:
    """Run the container and give its port; its log lies in tmp_path / "log"."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    for folder in ("log", "state", "etc"):
        (tmp_path / folder).mkdir()
    os.chown(tmp_path / "state", USER, USER)
    (tmp_path / "etc" / "sidecar.yaml").write_text(CONFIG.format(port=number, slack=slack.url))
    shutil.copytree(RULES, tmp_path / "etc" / "rules")
    podman("rm", "-f", NAME)
    started = podman(
        "run", "-d", "--name", NAME, "--network=host", "--read-only", "--cap-drop=all",
        "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
        "-v", f"{tmp_path}/log:/var/log/webhook:ro", "-v", f"{tmp_path}/state:/var/lib/sidecar",
        "-v", f"{tmp_path}/etc:/etc/sidecar:ro", image,
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    try:
        until(healthy, "the container is healthy", timeout=60)
        yield number
    except AssertionError:
        print(podman("logs", NAME).stderr)  # noqa: T201 - pytest shows it with the failure
        raise
    finally:
        podman("rm", "-f", "-t", "5", NAME)


@pytest.fixture
def slack() -> Iterator[SlackSink]:
    with SlackSink() as sink:
        yield sink


def healthy() -> bool:
    return podman("exec", NAME, *HEALTHCHECK).returncode == 0


def test_it_tails_a_mounted_log_serves_metrics_and_delivers(
    port: int, tmp_path: Path, slack: SlackSink
) -> None:
    (tmp_path / "log" / "app.log").write_text(json.dumps(LINE) + "\n")
    until(lambda: len(slack.requests) == 1, "the Slack message", timeout=30)
    assert b"org_in_a_container" in slack.requests[0].body
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        metrics = answer.read().decode()
    wanted = 'event_type="invoice.payment_failed",status="payment_failure"} 1'
    assert any(line.endswith(wanted) for line in metrics.splitlines())
    ended = podman("exec", NAME, "sidecar", "resolve", "PaymentFailing", f"org_id={LINE['org_id']}")
    assert ended.stdout == f"resolved PaymentFailing for org_id={LINE['org_id']}\n", ended.stderr
    assert podman("exec", NAME, "sidecar", "alerts").stdout == "no alerts\n"
    inside = podman("exec", NAME, "id", "-u")
    assert inside.stdout.strip() == str(USER)
    stopped = podman("stop", "-t", "10", NAME)
    code = podman("inspect", "--format", "{{.State.ExitCode}}", NAME)
    assert (stopped.returncode, code.stdout.strip()) == (0, "0")


def test_the_image_carries_bytecode_a_healthcheck_and_no_root(image: str) -> None:
    found = json.loads(podman("image", "inspect", image).stdout)[0]
    assert found["Config"]["User"] == f"{USER}:{USER}"
    assert found["Healthcheck"]["Test"] == ["CMD", *HEALTHCHECK]
    look = "import sidecar.core, os; print(os.path.exists(sidecar.core.__cached__))"
    ran = podman("run", "--rm", "--network=host", "--entrypoint", "/opt/sidecar/bin/python",
                 "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
                 image, "-c", look)  # fmt: skip
    assert ran.stdout.strip() == "True", ran.stderr


def test_compose_s_host_and_sidecar_work_together(
    image: str, tmp_path: Path, slack: SlackSink
) -> None:
    """Both as compose.yaml has them, on a shared volume; the image's own configuration."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    shell, flag, script = services["webhooks"]["command"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    for folder in ("log", "state", "secrets"):
        (tmp_path / folder).mkdir()
    os.chown(tmp_path / "state", USER, USER)
    (tmp_path / "secrets" / "slack_webhook_url").write_text(slack.url)
    environment = {**services["sidecar"]["environment"], "SIDECAR_LISTEN": listen}
    told = {k: "" if v.startswith("$") else v for k, v in environment.items()}
    common = ("run", "-d", "--network=host", "--ulimit", "nofile=1024:1024",
              "--ulimit", "nproc=1024:1024")  # fmt: skip
    host = podman(
        *common, "--name", f"{NAME}-host", "-v", f"{tmp_path}/log:/var/log/webhook",
        BASE, shell, flag, script.replace("$$", "$").replace("sleep 10", "sleep 1"),
    )  # fmt: skip
    sidecar = podman(
        *common, "--name", f"{NAME}-sidecar", "--read-only", "--cap-drop=all",
        "-v", f"{tmp_path}/log:/var/log/webhook:ro", "-v", f"{tmp_path}/state:/var/lib/sidecar",
        "-v", f"{tmp_path}/secrets:/run/secrets:ro",
        *(word for name, value in told.items() for word in ("-e", f"{name}={value}")), image,
    )  # fmt: skip
    try:
        assert (host.returncode, sidecar.returncode) == (0, 0), host.stderr + sidecar.stderr
        until(lambda: len(slack.requests) > 0, "the first alert", timeout=60)
        assert b"PaymentFailing" in slack.requests[0].body
    except AssertionError:
        print(podman("logs", f"{NAME}-sidecar").stderr)  # noqa: T201 - shown with the failure
        raise
    finally:
        podman("rm", "-f", "-t", "2", f"{NAME}-host", f"{NAME}-sidecar")
