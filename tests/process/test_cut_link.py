"""A sidecar on another machine than its database, and the link between them is cut and healed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from support.daemon import until
from support.postgresql import PostgreSql as Server, postgresql
from support.setup import append, configure, record, write_rule

DAEMON = str(Path(__file__).parents[1] / "support" / "daemon_at.py")
OURS, THEIRS = "10.77.0.1", "10.77.0.2"


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, stderr=subprocess.DEVNULL)


@contextmanager
def another_machine() -> Iterator[tuple[str, list[str]]]:
    """Give the end of a link here, and the words that run a command on a machine behind it."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("to make a network needs root, and iproute2")
    name = f"s{os.getpid()}"
    try:
        ip(f"netns add {name}")
        ip(f"link add {name}a type veth peer name {name}b netns {name}")
        ip(f"addr add {OURS}/24 dev {name}a")
        ip(f"link set {name}a up")
        ip(f"-n {name} addr add {THEIRS}/24 dev {name}b")
        ip(f"-n {name} link set {name}b up")
        ip(f"-n {name} link set lo up")
        yield f"{name}a", ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def started(config: Path, inside: Sequence[str] = ()) -> Iterator["subprocess.Popen[bytes]"]:
    with (config.parent / "said").open("ab") as said:
        process = subprocess.Popen([*inside, sys.executable, DAEMON, str(config), "0"], stderr=said)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def counted(server: Server) -> int:
    with psycopg.connect(server.url) as asking:
        query = "SELECT value FROM series WHERE name = 'webhook_events_total'"
        return sum(int(float(value)) for (value,) in asking.execute(query))


def configured(folder: Path, name: str, url: str) -> Path:
    plain = configure(folder)
    (folder / f"{name}.url").write_text(url)
    config = folder / f"{name}.yaml"
    state = f"{{postgresql: {{url_file: {name}.url}}}}"
    config.write_text(plain.read_text().replace("{path: state.db}", state))
    return config


def test_nothing_is_lost_or_counted_twice_by_a_link_that_is_cut_and_healed(tmp_path: Path) -> None:
    write_rule(tmp_path)
    lines = [record("fine", f"org_{n}") for n in range(500)]
    log = tmp_path / "app.log"
    append(log, *lines)
    with another_machine() as (link, there), postgresql() as server:
        server.stop()
        server.start(listen=OURS)
        far = configured(tmp_path, "far", f"postgresql://nobody@{OURS}/postgres")
        near = configured(tmp_path, "near", server.url)
        with started(far, there) as cut_off:
            until(lambda: bool(said(tmp_path, "listening")), "it runs")
            until(lambda: counted(server) == 500, "all is counted over the link")
            ip(f"link set {link} down")
            append(log, *lines)
            until(lambda: bool(said(tmp_path, "database_not_writable")), "it is noticed")
            ip(f"link set {link} up")
            until(lambda: counted(server) == 1000, "it goes on once the link is healed")
            ip(f"link set {link} down")
            append(log, *lines)
            with started(near) as follower:
                until(lambda: counted(server) == 1500, "another has followed", 15.0)
                follower.terminate()
                assert follower.wait(20) == 0
            ip(f"link set {link} up")
            append(log, *lines)
            until(lambda: counted(server) == 2000, "the first has begun anew, and goes on")
            assert cut_off.poll() is None
    assert len(said(tmp_path, "state_moved")) == 1


def said(folder: Path, event: str) -> list[dict[str, object]]:
    lines = (folder / "said").read_text().splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in found if line["event"] == event]
