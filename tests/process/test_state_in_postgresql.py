"""The daemon with its state in Debian's PostgreSQL: killed, frozen, without it, followed."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import urllib.error
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest

from support.crash import counted, posted, told
from support.daemon import started, until
from support.forks import Forked
from support.postgresql import PostgreSql as Server
from support.setup import append, configure, record, slack_to, write_rule
from support.sinks import SlackSink

PASSWORD = "hunter2-of-the-database"
KILLS = int(os.environ.get("KILLS", "12"))


class Life:
    """A folder with a log and a configuration; daemons that run by it, and what they have done."""

    def __init__(self, folder: Path, url: str, slack: SlackSink) -> None:
        self.url, self.slack, self.folder = url, slack, folder
        self.log = folder / "app.log"
        self.expected: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        write_rule(folder, 3)
        config = configure(folder, slack_to(slack.url), port=self.port)
        # The server trusts whoever comes; the password is there to be leaked and found.
        (folder / "url").write_text(url.replace("nobody@", f"nobody:{PASSWORD}@"))
        self.config = folder / "database.yaml"
        self.config.write_text(
            config.read_text().replace("{path: state.db}", "{postgresql: {url_file: url}}")
        )
        self.log.touch()

    def write(self, lines: int) -> None:
        """Append so many lines; of 50, three tell that an organisation failed."""
        first = self.expected.total()
        orgs = [n // 50 for n in range(first, first + lines)]
        statuses = [
            "failed" if n % 50 in (3, 7, 9) else "fine" for n in range(first, first + lines)
        ]
        append(
            self.log,
            *(record(s, f"org_{org}") for s, org in zip(statuses, orgs, strict=True)),
        )
        self.expected.update(statuses)
        failed = [f"org_{org}" for s, org in zip(statuses, orgs, strict=True) if s == "failed"]
        self.failed.update(failed)

    @property
    def due(self) -> set[str]:
        return {org for org, times in self.failed.items() if times == 3}

    def start(self, config: Path | None = None) -> Forked:
        return started(config or self.config, self.folder / "said")

    @contextmanager
    def running(self, config: Path | None = None) -> Iterator[Forked]:
        process = self.start(config)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def said(self, event: str) -> list[dict[str, object]]:
        lines = (self.folder / "said").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def counted(self) -> Counter[str]:
        """Return webhook_events_total by status as the database has it."""
        query = "SELECT labels, value FROM series WHERE name = 'webhook_events_total'"
        found: Counter[str] = Counter()
        for labels, value in self._found(query):
            found[json.loads(labels)["status"]] += int(float(value))
        return +found

    def messages(self) -> list[tuple[str, str, str]]:
        """Return organisation, outcome and detail of each message."""
        rows = self._found("SELECT payload, outcome, detail FROM outbox")
        return [(told(payload), outcome, detail) for payload, outcome, detail in rows]

    def _found(self, query: str) -> list[tuple[str, ...]]:
        with suppress(psycopg.errors.UndefinedTable), psycopg.connect(self.url) as asking:
            return asking.execute(query.encode()).fetchall()
        return []

    def is_done(self) -> bool:
        """Tell whether all is counted, and all messages are sent."""
        sent = [org for org, outcome, _ in self.messages() if outcome == "sent"]
        return self.counted() == self.expected and Counter(sent) == Counter(self.due)

    def check(self) -> None:
        """All is counted once and told once, or twice where nobody knows whether it arrived."""
        until(self.is_done, "all is counted and told", 60.0)
        by_slack, decided = posted(self.slack), self.messages()
        doubted = {org for org, _, detail in decided if detail.startswith("ambiguous: ")}
        assert Counter(org for org, _, _ in decided) == Counter(self.due)
        assert by_slack.keys() == self.due
        assert (by_slack - Counter(self.due)).keys() <= doubted

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError:
            return 0, ""

    def sample(self, name: str) -> float | None:
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return None if found is None else float(found[1])


@pytest.fixture
def life(tmp_path: Path, server: Server) -> Iterator[Life]:
    with SlackSink() as slack:
        yield (life := Life(tmp_path, server.fresh(), slack))
    assert PASSWORD not in (tmp_path / "said").read_text()
    assert not any(PASSWORD.encode() in request.body for request in life.slack.requests)


def test_all_counts_and_is_told_once_whoever_is_killed_and_when(life: Life, server: Server) -> None:
    pick = random.Random(24)
    daemon = life.start()
    try:
        for _ in range(KILLS):
            life.write(pick.randrange(50, 500))
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(pick.uniform(0.0, 1.5))
            assert daemon.poll() is None, (life.folder / "said").read_text()
            if pick.random() < 0.4:
                server.stop()
                server.start()
            else:
                daemon.kill()
                daemon.wait()
                daemon = life.start()
        life.check()
        assert daemon.poll() is None
    finally:
        daemon.kill()
        daemon.wait()


def test_while_the_database_is_away_reading_waits_and_who_asks_is_told(
    life: Life, server: Server
) -> None:
    life.write(100)
    with life.running() as daemon:
        until(life.is_done, "all is counted")
        assert life.sample("sidecar_commit_failing") == 0
        server.stop()
        life.write(100)
        life.log.rename(life.folder / "app.log.1")
        life.write(100)
        until(lambda: life.sample("sidecar_commit_failing") == 1, "it is noticed")
        assert life.get("/-/healthy")[0] == 200
        assert 'status="fine"} 94' in life.get("/metrics")[1]
        server.start()
        life.check()
        until(lambda: life.sample("sidecar_commit_failing") == 0, "it is over")
        assert daemon.poll() is None
    assert len(life.said("database_not_writable")) == 1
    assert len(life.said("database_writable_again")) == 1


def test_a_database_that_is_frozen_is_taken_for_away(life: Life, server: Server) -> None:
    life.write(100)
    with life.running() as daemon:
        until(life.is_done, "all is counted")
        until(lambda: life.sample("sidecar_commit_failing") == 0, "it shows so")
        with server.frozen():
            life.write(100)
            until(lambda: life.sample("sidecar_commit_failing") == 1, "it is noticed", 40.0)
        life.check()
        until(lambda: life.sample("sidecar_commit_failing") == 0, "it is over")
        assert daemon.poll() is None
    (said,) = life.said("database_not_writable")
    assert str(said["error"]).endswith(" has not answered for 20 s")


def test_a_database_that_is_away_at_the_start_is_waited_for(life: Life, server: Server) -> None:
    server.stop()
    life.write(100)
    with life.running() as daemon:
        until(lambda: life.get("/-/ready")[0] != 0, "it answers")
        assert life.get("/-/ready") == (503, "the database of the state cannot be used\n")
        assert life.get("/-/healthy")[0] == 200
        assert life.sample("sidecar_commit_failing") == 1
        assert "webhook_events_total" not in life.get("/metrics")[1]
        until(lambda: (life.sample("sidecar_commit_failures_total") or 0) > 2, "it is tried again")
        server.start()
        life.check()
        until(lambda: life.get("/-/ready")[0] == 200, "it is ready")
        shown = "".join(life.get(path)[1] for path in ("/", "/metrics", "/api/v1/status"))
        assert "webhook_events_total" in shown
        assert PASSWORD not in shown
        assert daemon.poll() is None
    (said,) = life.said("database_not_writable")
    assert "cannot use the database postgres at " in str(said["error"])


def test_one_that_waits_for_its_database_can_be_stopped(life: Life, server: Server) -> None:
    server.stop()
    try:
        with life.running() as daemon:
            until(lambda: life.get("/-/ready")[0] == 503, "it waits")
            daemon.terminate()
            assert daemon.wait(10) == 0
    finally:
        server.start()


def test_one_that_was_frozen_is_followed_and_begins_anew_by_itself(life: Life) -> None:
    other_port = life.folder / "other.yaml"
    other_port.write_text(life.config.read_text().replace(f":{life.port}", ":0"))
    life.write(500)
    with life.running() as frozen:
        until(life.is_done, "all is counted")
        frozen.send_signal(signal.SIGSTOP)
        life.write(500)
        with life.running(other_port) as other:
            until(life.is_done, "the other one has followed", 20.0)
            life.write(500)
            frozen.send_signal(signal.SIGCONT)
            assert frozen.wait(30) == 2
            life.check()
            assert other.poll() is None
    (moved,) = life.said("state_moved")
    assert moved["starts"] == "anew"
    assert "is in use by another sidecar " in (life.folder / "said").read_text()


def test_what_a_lost_server_had_alone_is_read_again(life: Life, server: Server) -> None:
    """Its standby is promoted without what came last."""
    with server.standby() as standby:
        schema = life.url.partition("&")[2]
        both = f"{server.folder},{standby.folder}"
        life.config.with_name("url").write_text(
            f"postgresql://nobody@/postgres?host={both}&target_session_attrs=read-write&{schema}"
        )
        life.write(500)
        with life.running() as daemon:
            until(life.is_done, "all is counted")
            standby.until_level_with(server)
            standby.stop()
            life.write(500)
            until(life.is_done, "all is counted by the primary alone")
            server.stop()
            try:
                standby.start()
                standby.promote()
                life.url = f"{standby.url}&{schema}"
                life.write(100)
                until(lambda: life.counted() == life.expected, "all is counted again", 60.0)
                until(lambda: bool(life.said("state_moved")), "it has begun anew")
                assert daemon.poll() is None
            finally:
                server.start()


def test_a_state_file_is_moved_in_once_and_out_again(life: Life) -> None:
    life.write(500)
    plain = life.folder / "sidecar.yaml"
    with life.running(plain):
        until(lambda: len(life.slack.requests) == 10, "all is told")
        until(lambda: life.sample("sidecar_outbox_pending") == 0, "and noted")
    moving = life.folder / "moving.yaml"
    moving.write_text(
        plain.read_text().replace("state.db}", "state.db, postgresql: {url_file: url}}")
    )
    with life.running(moving):
        until(life.is_done, "what was counted and told is in the database")
        life.write(100)
        until(life.is_done, "it goes on")
    with life.running(moving):
        life.write(100)
        life.check()
    assert len(life.said("state_moved_in")) == 1
    backup = [sys.executable, "-m", "sidecar", "backup", "-c", str(moving), str(plain.parent / "b")]
    subprocess.run(backup, check=True, stdout=subprocess.DEVNULL)
    assert counted(life.folder / "b") == life.expected
    (life.folder / "b").replace(life.folder / "state.db")
    with life.running(plain):
        life.write(100)
        until(lambda: life.sample("sidecar_outbox_pending") == 0, "it has begun")
        until(lambda: len(life.slack.requests) == len(life.due), "it goes on in the file")
