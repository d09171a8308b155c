"""A sidecar on another machine than its database, and the link between them is cut and healed."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from urllib.request import urlopen

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


def test_a_judge_whose_link_is_cut_is_followed_and_begins_anew_once_it_is_healed(
    tmp_path: Path,
) -> None:
    lines = [record("failed", f"org_{n}") for n in range(50)]
    with another_machine() as (link, there), postgresql() as server, ExitStack() as stack:
        server.stop()
        server.start(listen=OURS)
        far = host_of_fleet(tmp_path / "far", f"postgresql://nobody@{OURS}/postgres")
        near = host_of_fleet(tmp_path / "near", server.url)
        stack.enter_context(started(far, there))
        until(lambda: bool(said(far.parent, "listening")), "it runs")
        with started(near) as before:
            until(lambda: len(said(far.parent, "listening")) == 2, "it is no longer alone")
            until(lambda: bool(judged_by(far, near)), "one of them judges")
            before.terminate()
            assert before.wait(20) == 0
        until(lambda: bool(judged_by(far)), "it is the one behind the link")
        known = len(judged_by(near))
        stack.enter_context(started(near))
        until(lambda: len(said(near.parent, "listening")) == 2, "the other one stands by")
        append(far.parent / "app.log", *lines)
        append(near.parent / "app.log", *lines)
        until(lambda: counted(server) == 100, "all is counted")
        ip(f"link set {link} down")
        began = time.time()
        append(far.parent / "app.log", *lines)
        append(near.parent / "app.log", *lines)
        until(lambda: len(judged_by(near)) > known, "the other one judges")
        assert judged_by(near)[-1] - began < 12.0
        assert counted(server) == 150
        ip(f"link set {link} up")
        until(lambda: counted(server) == 200, "the first one reads on", 60.0)
        until(lambda: alerts_of(near) == {f"org_{n}": 4.0 for n in range(50)}, "each counts once")
        until(lambda: len(said(far.parent, "state_moved")) == 1, "it has begun anew")
        assert len(said(near.parent, "state_moved")) == 0


def host_of_fleet(folder: Path, url: str) -> Path:
    """Return the configuration of a host in a folder of its own."""
    folder.mkdir()
    (folder / "app.log").touch()
    write_rule(folder)
    config = configured(folder, "x", url)
    config.write_text(config.read_text().replace("x.url}", f"x.url}}, host: {folder.name}"))
    return config


def judged_by(*configs: Path) -> list[float]:
    """Return when one of these hosts began to judge for several."""
    lines = [line for config in configs for line in said(config.parent, "judging")]
    return [datetime.fromisoformat(str(line["timestamp"])).timestamp() for line in lines]


def alerts_of(config: Path) -> dict[str, float]:
    port = said(config.parent, "listening")[-1]["port"]
    with urlopen(f"http://127.0.0.1:{port}/api/v1/alerts", timeout=5) as answer:
        return {one["key"]["org_id"]: one["value"] for one in json.load(answer)["alerts"]}


def said(folder: Path, event: str) -> list[dict[str, object]]:
    lines = (folder / "said").read_text().splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in found if line["event"] == event]
