"""Three hosts and one judge on Debian's PostgreSQL: killed, frozen, followed, without it."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import psycopg
import pytest

from sidecar.batch import ReadBatch
from sidecar.config.load import load_config
from sidecar.core import NOTHING_STORED, Core
from sidecar.parse.event import Chunk, LogFormat
from sidecar.rows import AMBIGUOUS
from support.crash import posted, told
from support.daemon import started, until
from support.postgresql import PostgreSql as Server
from support.setup import append, configure, record, slack_to
from support.sinks import SlackSink

if TYPE_CHECKING:
    from support.forks import Forked

pytestmark = pytest.mark.process
HOSTS = ("a", "b", "c")
LINES = int(os.environ.get("FLEET_LINES", "6000"))
KILLS = int(os.environ.get("KILLS", "10"))
RULES = """\
groups:
  - name: g
    rules:
      - alert: Failing
        match: ['status="failed"']
        resolve: {match: ['status="paid"']}
        by: [org_id]
        condition: count() >= 3
        within: 30d
        labels: {severity: critical}
        annotations: {summary: '{{ labels.org_id }} failed.'}
"""


class Member:
    """One host: its log, its configuration, and the daemon that runs there, if one does."""

    def __init__(self, folder: Path, name: str, slack: SlackSink) -> None:
        folder.mkdir()
        self.name, self.folder = name, folder
        self.log = folder / "app.log"
        self.log.touch()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        path = configure(
            folder, slack_to(slack.url), rules=folder.parent / "*.rules.yaml", port=self.port
        )
        database = f"{{postgresql: {{url_file: ../url}}, host: {name}}}"
        path.write_text(path.read_text().replace("{path: state.db}", database))
        self.config = path
        self.process: Forked | None = None

    def start(self) -> None:
        self.process = started(self.config, self.folder / "said")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def get(self, path: str) -> str:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as refused:
            return str(refused.read().decode())
        except OSError:
            return ""

    @property
    def judges(self) -> bool:
        return re.search(r"^sidecar_judging 1", self.get("/metrics"), re.MULTILINE) is not None

    def asked(self, *command: str) -> str:
        """Return what a command says that asks this member."""
        url = f"http://127.0.0.1:{self.port}"
        done = subprocess.run(
            [sys.executable, "-m", "sidecar", *command, "--url", url],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    def said(self, event: str) -> list[dict[str, Any]]:
        lines = (self.folder / "said").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]


class Fleet:
    """Three members on one schema, and what they are to come to."""

    def __init__(self, folder: Path, url: str, slack: SlackSink) -> None:
        self.url, self.slack, self.folder = url, slack, folder
        (folder / "url").write_text(url)
        (folder / "failing.rules.yaml").write_text(RULES)
        self.members = [Member(folder / name, name, slack) for name in HOSTS]
        self.lines: list[bytes] = []
        self.pick = random.Random(24)
        self._orgs: dict[str, int] = {}

    def write(self, number: int) -> None:
        """Append so many lines, each to the log of a host at random, in the order of time."""
        for _ in range(number):
            place = len(self.lines)
            org = f"org_{self.pick.randrange(max(10, LINES // 60))}"
            status = self.pick.choices(["fine", "failed", "paid"], [0.9, 0.07, 0.03])[0]
            at = datetime(2026, 11, 2, 8, tzinfo=UTC) + timedelta(seconds=place / 10)
            said = record(status, org, id=place, timestamp=at.isoformat())
            append(self.pick.choice(self.members).log, said)
            self.lines.append(json.dumps(said).encode() + b"\n")

    def counted(self) -> int:
        query = "SELECT sum(value::numeric) FROM series WHERE name = 'webhook_events_total'"
        return int(self.found(query)[0][0] or 0)

    def found(self, query: str) -> list[tuple[Any, ...]]:
        with suppress(psycopg.Error), psycopg.connect(self.url) as asking:
            return asking.execute(query.encode()).fetchall()
        return [(None,)]

    def is_up(self) -> bool:
        return all('"listening"' in (m.folder / "said").read_text() for m in self.members)

    def judged(self) -> bool:
        """Tell whether all is counted, and nothing waits to be judged."""
        return self.counted() == len(self.lines) and self.found("SELECT count(*) FROM batches") == [
            (0,)
        ]

    def messages(self) -> list[tuple[str, str]]:
        """Return organisation and detail of each message."""
        rows = self.found("SELECT payload, detail FROM outbox WHERE outcome <> 'withdrawn'")
        return [(told(payload), detail) for payload, detail in rows]

    def is_told(self) -> bool:
        return self.found("SELECT count(*) FROM outbox WHERE outcome = ''") == [(0,)]

    def alone(self) -> dict[str, float]:
        """Return what fires, with its value, where one sidecar reads the merged log."""
        path = configure(self.folder, rules="*.rules.yaml")
        core = Core(load_config(str(path), {}))
        now = time.time()
        core.restore(NOTHING_STORED, now)
        for place, line in enumerate(self.lines):
            chunk = Chunk(file=1, log="x", format=LogFormat.AUTO, data=line, start=place)
            core.step(ReadBatch(chunks=[chunk]), now)
        return {alert.key[0]: float(alert.value or 0) for alert in core.engine.alerts()}

    def alerts(self, member: Member) -> dict[str, float]:
        with suppress(ValueError, KeyError):
            found = json.loads(member.get("/api/v1/alerts"))["alerts"]
            return {one["key"]["org_id"]: one["value"] for one in found}
        return {}


@pytest.fixture
def fleet(tmp_path: Path, server: Server) -> Iterator[Fleet]:
    with SlackSink() as slack, ExitStack() as stack:
        fleet = Fleet(tmp_path, server.fresh(), slack)
        for member in fleet.members:
            stack.callback(member.kill)
        yield fleet


def test_whoever_is_killed_each_event_is_judged_once_as_if_one_had_read_all(
    fleet: Fleet, server: Server
) -> None:
    pick = fleet.pick
    for member in fleet.members:
        member.start()
    for _ in range(KILLS):
        fleet.write(LINES // KILLS)
        Event().wait(pick.uniform(0.5, 4.0))
        chance, member = pick.random(), pick.choice(fleet.members)
        if chance < 0.25:
            server.stop()
            server.start()
        elif chance < 0.35:
            member.signal(signal.SIGSTOP)
            Event().wait(pick.uniform(1.0, 12.0))  # from ten on its session is over
            member.signal(signal.SIGCONT)
        else:
            member.kill()
            member.start()
    until(fleet.judged, "all is counted and judged", 60.0)
    expected = fleet.alone()
    assert len(expected) > 5
    # Whoever judges, and whoever only shows what the database has.
    until(lambda: all(fleet.alerts(m) == expected for m in fleet.members), "all show it", 20.0)
    assert sum(member.judges for member in fleet.members) == 1


def judge_of(fleet: Fleet) -> Member:
    """Return the one that judges, once all that were started know of each other."""
    started = sum(member.process is not None for member in fleet.members)
    here = [(started,)] if started > 1 else [(0,), (None,)]
    until(lambda: fleet.found("SELECT count(*) FROM beats WHERE here")[0] in here, "all are here")
    until(lambda: any(member.judges for member in fleet.members), "one judges")
    return next(member for member in fleet.members if member.judges)


def takeover(fleet: Fleet, before: Member, began: float) -> float:
    """Return after how many seconds another one said that it judges."""
    others = [member for member in fleet.members if member is not before]

    def since() -> list[float]:
        said = (datetime.fromisoformat(str(line["timestamp"])).timestamp()
                for member in others for line in member.said("judging"))  # fmt: skip
        return [at - began for at in said if at > began]

    until(lambda: bool(since()), "another one judges", 30.0)
    return min(since())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_who_judges_and_ends_is_followed_at_once(fleet: Fleet, how: signal.Signals) -> None:
    for member in fleet.members:
        member.start()
    took = list[float]()
    while not took or (min(took) >= 1.0 and len(took) < 3):  # of a busy machine the least counts
        judge = judge_of(fleet)
        until(fleet.is_up, "all are up")
        fleet.write(500)
        began = time.time()
        judge.signal(how)
        took.append(takeover(fleet, judge, began))
        judge.kill()
        judge.start()
    assert min(took) < 1.0, took
    fleet.write(500)
    until(fleet.judged, "all is judged", 60.0)
    expected = fleet.alone()
    until(lambda: fleet.alerts(judge) == expected, "it shows what the other has judged", 10.0)


def test_one_that_is_frozen_is_followed_and_begins_anew_as_one_that_reads(fleet: Fleet) -> None:
    for member in fleet.members:
        member.start()
    frozen = judge_of(fleet)
    until(fleet.is_up, "all are up")
    began = time.time()
    frozen.signal(signal.SIGSTOP)
    fleet.write(500)
    assert takeover(fleet, frozen, began) < 12.0  # ten until its session is over
    other = judge_of(fleet)
    assert other is not frozen
    frozen.signal(signal.SIGCONT)
    until(lambda: len(frozen.said("state_moved")) == 1, "it has begun anew")
    until(fleet.judged, "all is judged", 60.0)
    assert other.judges
    assert not frozen.judges
    expected = fleet.alone()
    until(lambda: fleet.alerts(frozen) == expected, "it shows what the other has judged", 10.0)


def test_a_host_that_stops_is_not_waited_for_and_one_of_which_nothing_is_heard_is_told_of(
    fleet: Fleet,
) -> None:
    shipped = Path(__file__).parents[2] / "rules" / "sidecar.rules.yaml"
    (fleet.folder / "own.rules.yaml").write_text(shipped.read_text())
    for member in fleet.members:
        member.start()
    judge = judge_of(fleet)
    stopped, killed = (member for member in fleet.members if member is not judge)
    until(lambda: fleet.found("SELECT count(*) FROM beats WHERE here") == [(3,)], "all are here")
    stopped.signal(signal.SIGTERM)
    until(lambda: fleet.found("SELECT count(*) FROM beats WHERE here") == [(2,)], "one has gone")
    fall_silent(fleet, killed)
    until(lambda: '"SidecarHostSilent"' in judge.get("/api/v1/alerts"), "it is told of", 20.0)
    (alert,) = [
        one for one in json.loads(judge.get("/api/v1/alerts"))["alerts"]
        if one["alertname"] == "SidecarHostSilent"
    ]  # fmt: skip
    assert alert["key"] == {"host": killed.name}
    killed.start()
    until(lambda: '"SidecarHostSilent"' not in judge.get("/api/v1/alerts"), "it is back", 30.0)


def fall_silent(fleet: Fleet, member: Member) -> None:
    """Kill a member, a minute ago."""
    member.kill()
    with psycopg.connect(fleet.url) as asking:
        later = b"UPDATE sidecar_guard SET at = at - interval '1 min' WHERE name = %s"
        asking.execute(later, (member.name,))


def test_that_a_host_is_silent_ends_also_where_another_judges_when_it_is_back(
    fleet: Fleet,
) -> None:
    shipped = Path(__file__).parents[2] / "rules" / "sidecar.rules.yaml"
    (fleet.folder / "own.rules.yaml").write_text(shipped.read_text())
    for member in fleet.members[:2]:
        member.start()
    judge = judge_of(fleet)
    (silent,) = (member for member in fleet.members[:2] if member is not judge)
    fall_silent(fleet, silent)
    until(lambda: '"SidecarHostSilent"' in judge.get("/api/v1/alerts"), "it is told of", 20.0)
    judge.kill()
    silent.start()
    until(lambda: silent.judges, "it judges")
    until(lambda: '"SidecarHostSilent"' not in silent.get("/api/v1/alerts"), "it ends", 20.0)
    judge.start()
    until(lambda: '"fleet"' in judge.get("/api/v1/status"), "it is up", 20.0)
    assert "host_silent" not in judge.get("/api/v1/status")


def told_of(member: Member, judge: str) -> list[dict[str, Any]]:
    """Return how hosts stand as a member shows it, which also names who judges wherever asked."""
    assert f"\njudged on {judge}\n" in f"\n{member.asked('alerts')}"
    assert f"Judged on<b>{judge}</b>" in member.get("/")
    told = json.loads(member.get("/api/v1/status"))["fleet"]
    assert (told["host"], told["judge"]) == (member.name, judge)
    return list(told["hosts"])


def test_one_that_is_alone_judges_as_it_reads_until_another_comes(fleet: Fleet) -> None:
    one, other = fleet.members[:2]
    fleet.members[2:] = []
    one.start()
    judge_of(fleet)
    append(one.log, *[record("failed", "org_1", id=n) for n in range(3)])
    until(lambda: fleet.alerts(one) == {"org_1": 3.0}, "it fires", 20.0)
    (fact,) = told_of(one, "a")
    assert (fact["host"], fact["here"], fact["caught_up"]) == ("a", True, True)
    assert fact["read_to"] > time.time() - 60
    assert fleet.found("SELECT * FROM beats") == []
    assert fleet.found("SELECT step FROM judged") == []
    other.start()
    until(lambda: one.said("no_longer_alone") != [], "it sees the other one")
    assert one.said("no_longer_alone")[0]["other"] == "b"
    judge_of(fleet)
    append(other.log, record("failed", "org_1", id=4))
    until(lambda: fleet.alerts(one) == fleet.alerts(other) == {"org_1": 4.0}, "both know it", 20.0)
    other.signal(signal.SIGTERM)
    assert other.process is not None
    assert other.process.wait(20) == 0
    one.kill()
    one.start()
    append(one.log, record("paid", "org_1", id=5))
    until(lambda: one.judges, "it judges")
    until(lambda: fleet.alerts(one) == {}, "it is over", 20.0)
    assert len(fleet.slack.requests) == 1
    assert fleet.found("SELECT step FROM beats WHERE here") == []


def test_one_with_other_rules_than_the_judge_s_shows_so(fleet: Fleet) -> None:
    for member in fleet.members[:2]:
        member.start()
    judge = judge_of(fleet)
    (other,) = (member for member in fleet.members[:2] if member is not judge)
    differs = "sidecar_rules_differ "
    until(lambda: f"{differs}0.0" in other.get("/metrics"), "it has the same")
    (other.folder / "more.rules.yaml").write_text(RULES.replace("Failing", "Another"))
    other.config.write_text(
        other.config.read_text().replace("rule_files: [", "rule_files: [more.rules.yaml, ")
    )
    until(lambda: f"{differs}1.0" in other.get("/metrics"), "it has others", 20.0)
    assert f"{differs}0.0" in judge.get("/metrics")
    for shown in (judge, other):
        assert ("sidecar_alerts{" in shown.get("/metrics")) is (shown is judge)


def test_while_the_database_is_away_each_answers_by_a_sentence(
    fleet: Fleet, server: Server
) -> None:
    for member in fleet.members[:2]:
        member.start()
    judge_of(fleet)
    until(lambda: all('"fleet"' in m.get("/api/v1/status") for m in fleet.members[:2]), "both up")
    server.stop()
    try:
        for member in fleet.members[:2]:
            said = member.get("/api/v1/status")
            assert "the database postgres at" in said, said
            assert "sidecar_judging" in member.get("/metrics")
    finally:
        server.start()
    until(lambda: all('"fleet"' in m.get("/api/v1/status") for m in fleet.members[:2]), "again")


def test_a_second_host_moves_in_what_it_read_and_leaves_what_it_judged(fleet: Fleet) -> None:
    first, second = fleet.members[:2]
    fleet.members[2:] = []
    plain = second.folder / "plain.yaml"
    plain.write_text(re.sub(r"state: \{.*", "state: {path: state.db}", second.config.read_text()))
    moving, second.config = second.config, plain
    append(second.log, *[record("failed", "org_2", id=n) for n in range(3)])
    second.start()
    until(lambda: fleet.alerts(second) == {"org_2": 3.0}, "it fires there", 20.0)
    second.signal(signal.SIGTERM)
    assert second.process is not None
    second.process.wait(20)
    append(first.log, *[record("failed", "org_1", id=n) for n in range(3)])
    first.start()
    until(lambda: fleet.alerts(first) == {"org_1": 3.0}, "the first one fires", 20.0)
    moving.write_text(
        moving.read_text().replace("{postgresql:", f"{{path: {second.folder}/state.db, postgresql:")
    )
    second.config = moving
    append(second.log, *[record("failed", "org_1", id=n) for n in range(2)])
    second.start()
    judge_of(fleet)
    until(lambda: fleet.alerts(first) == {"org_1": 5.0}, "both are judged by one", 20.0)
    assert fleet.counted() == 8
    (said,) = second.said("state_moved_in")
    assert said["left"] == "alerts, since others are judged already"


def test_two_of_one_name_are_no_two_hosts(fleet: Fleet) -> None:
    one = fleet.members[0]
    one.start()
    judge_of(fleet)
    twin = Member(fleet.folder / "twin", "a", fleet.slack)
    twin.start()
    assert twin.process is not None
    assert twin.process.wait(40) == 2
    said = (twin.folder / "said").read_text()
    assert "the state of the host a in the database postgres at" in said
    assert "give this one a `state.host`" in said
    assert one.judges


def test_what_is_ordered_on_one_host_is_done_by_the_one_that_judges(fleet: Fleet) -> None:
    for member in fleet.members[:2]:
        member.start()
    judge = judge_of(fleet)
    (other,) = (member for member in fleet.members[:2] if member is not judge)
    append(other.log, *[record("failed", "org_1", id=n) for n in range(2)])
    append(judge.log, record("failed", "org_1", id=3))
    until(lambda: fleet.alerts(judge) == {"org_1": 3.0}, "it fires", 20.0)

    ordered = other.asked
    ordered("silence", "add", "--for", "1h", "alertname=Failing")
    assert [row[0] for row in fleet.found("SELECT matchers FROM silences")] == [
        '["alertname=\\"Failing\\""]'
    ]
    assert "no rule is called Faling; did you mean Failing?" in ordered(
        "resolve", "Faling", "org_id=org_1"
    )
    said = ordered("resolve", "Failing", "org_id=org_1")
    assert fleet.alerts(judge) == {}, said
    assert "no alert Failing is open for org_id=org_1" in ordered(
        "resolve", "Failing", "org_id=org_1"
    )
    until(lambda: fleet.alerts(other) == {}, "the other one shows it", 10.0)
    assert fleet.found("SELECT count(*) FROM orders WHERE answer = ''") == [(0,)]
    for member in (judge, other):
        shown = told_of(member, judge.name)
        assert [(one["host"], one["here"]) for one in shown] == [("a", True), ("b", True)]
    assert f"the sidecar on {judge.name} judges; ask that one" in ordered("drill", "Failing")


def test_what_a_lost_server_had_alone_is_read_and_judged_again(
    fleet: Fleet, server: Server
) -> None:
    """Its standby is promoted without what came last."""
    schema = fleet.url.partition("&")[2]
    with server.standby() as standby:
        (fleet.folder / "url").write_text(
            f"postgresql://nobody@/postgres?host={server.folder},{standby.folder}"
            f"&target_session_attrs=read-write&{schema}"
        )
        for member in fleet.members:
            member.start()
        fleet.write(1000)
        until(fleet.judged, "all is judged", 60.0)
        until(fleet.is_told, "all is told and noted")
        standby.until_level_with(server)
        standby.stop()
        before = posted(fleet.slack)
        fleet.write(1000)
        until(fleet.judged, "all is judged by the primary alone", 60.0)
        until(fleet.is_told, "all is told and noted")
        lost = posted(fleet.slack) - before
        assert lost
        server.stop()
        try:
            standby.start()
            standby.promote()
            fleet.url = f"{standby.url}&{schema}"
            fleet.write(100)
            until(fleet.judged, "all is judged again", 60.0)
            expected = fleet.alone()
            until(lambda: all(fleet.alerts(m) == expected for m in fleet.members), "equal", 20.0)
            assert all(len(member.said("state_moved")) == 1 for member in fleet.members)
            until(fleet.is_told, "all is told and noted")
            # Of what the lost server alone knew no attempt is known; of all else one is in doubt.
            twice = posted(fleet.slack) - Counter(org for org, _ in fleet.messages())
            doubted = {org for org, detail in fleet.messages() if detail.startswith(AMBIGUOUS)}
            assert twice.keys() <= lost.keys() | doubted
        finally:
            server.start()
