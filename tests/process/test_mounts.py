"""Files that are mounted by themselves, really mounted: what cannot be seen there is said."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from support.daemon import running, until
from support.setup import configure, write_rule

MOUNT = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


def mounted(what: Path, where: Path) -> list[str]:
    """Return a command that runs what follows it where the file `what` is mounted at `where`."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("to mount a file needs root, and util-linux")
    where.touch()
    return ["unshare", "-m", "sh", "-c", MOUNT, "sh", str(what), str(where)]


def test_check_warns_of_a_log_that_is_mounted_by_itself(tmp_path: Path) -> None:
    write_rule(tmp_path)
    host = tmp_path / "host.log"
    host.touch()
    config = configure(tmp_path)
    command = [*mounted(host, tmp_path / "app.log"), sys.executable, "-m", "sidecar"]
    found = subprocess.run(
        [*command, "check", "-c", str(config)], capture_output=True, text=True, check=False
    )
    assert (
        f"{config}:1:18: warning: {tmp_path}/app.log is mounted by itself: after its first "
        "rotation nothing is read; mount the folder that it lies in" in found.stdout
    )
    assert found.returncode == 0


def test_a_reload_of_a_file_that_was_replaced_under_its_mount_is_refused(tmp_path: Path) -> None:
    write_rule(tmp_path)
    config = configure(tmp_path)
    host, new = tmp_path / "host.yaml", tmp_path / "new.yaml"
    host.write_text(config.read_text())
    with running(config, inside=mounted(host, config)) as daemon:
        assert reloaded(daemon.port) == (200, "reloaded\n")
        new.write_text(host.read_text())
        new.replace(host)
        status, answer = reloaded(daemon.port)
        assert status == 500
        assert "it was replaced, and is mounted by itself" in answer
        failed = "sidecar_config_last_reload_successful"
        until(lambda: daemon.samples()[failed] == 0, "the metric tells")


def reloaded(port: int) -> tuple[int, str]:
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}/-/reload", method="POST"), timeout=10) as ok:
            return ok.status, ok.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()
