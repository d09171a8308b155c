"""Many hosts that beat and write a little, and one that judges them: what the database has of it.

`make hosts` plays 200, and says what they cost.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from sidecar.config.load import load_config
from sidecar.core import NOTHING_STORED
from sidecar.daemon.judging import JudgeSteps, judged_by, judging_core
from sidecar.daemon.restoring import clock_of
from sidecar.fleet.courier import BEAT_SECONDS, Batch, Packed, packed
from sidecar.fleet.docket import unjudged
from sidecar.rows import BatchRow, BeatRow, Delta
from sidecar.secret import Secret
from sidecar.store.invariants import Ledger
from sidecar.store.pgtables import JUDGE
from sidecar.store.postgresql import PostgreSql
from sidecar.store.store import Store
from support.delivery import ManualClock
from support.postgresql import PostgreSql as Server, postgresql
from support.setup import configure

pytestmark = pytest.mark.process
HOSTS = int(os.environ.get("FLEET_HOSTS", "50"))
ROUNDS = 5
OWN = 3  # connections: of who judges, and of who looks on
NOW = 1_793_700_000.0
RULES = """\
groups:
  - name: g
    rules:
      - alert: Failing
        match: ['status="failed"']
        by: [org_id]
        condition: count() >= 1
        within: 30d
        labels: {severity: error}
"""


class Host:
    """One that hands over an event and beats, and looks about as a member does."""

    def __init__(self, url: str, number: int) -> None:
        self.name, self._org = f"host-{number}", f"org_{number % 7}"
        self._database = PostgreSql(Secret(url), self.name)
        self._store = Store(self._database)
        self._step = 0

    def close(self) -> None:
        self._store.close()

    def beat(self, at: float) -> float:
        """Return the seconds that the commit took."""
        self._step += 1
        fields = {"status": "failed", "org_id": self._org}
        event = Packed(("stripe", "invoice.payment_failed", "failed"), at, fields)
        batch = BatchRow(self.name, self._step, packed(Batch([event], [])))
        beat = BeatRow(self.name, self._step, at, caught_up=True)
        began = time.perf_counter()
        self._store.commit(Delta(rows=[batch, beat]))
        return time.perf_counter() - began

    def look_about(self) -> None:
        clock_of(self._store)
        assert not self._database.is_free(JUDGE)
        judged_by(self._store)
        assert unjudged(self._store, self.name) == 0


@pytest.fixture
def server() -> Iterator[Server]:
    with postgresql(connections=HOSTS + OWN + 10) as server:
        yield server


def judge(folder: Path, url: str, clock: ManualClock, stack: ExitStack) -> JudgeSteps:
    (folder / "x.rules.yaml").write_text(RULES)
    store = stack.enter_context(closing(Store(PostgreSql(Secret(url)))))
    core = judging_core(load_config(str(configure(folder)), {}), shadow=True)
    core.restore(NOTHING_STORED, NOW)
    beside = stack.enter_context(ThreadPoolExecutor(1)).submit
    return JudgeSteps(
        core, store, Ledger(), clock, beside, host="host-0", order=lambda _said, _core: ""
    )


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_each_event_of_many_hosts_is_judged_once_and_the_database_carries_them(
    tmp_path: Path, server: Server
) -> None:
    url, clock = server.fresh(), ManualClock(NOW)
    with ExitStack() as stack:
        steps = judge(tmp_path, url, clock, stack)
        steps.step(at_once=True)
        hosts = [stack.enter_context(closing(Host(url, number))) for number in range(HOSTS)]
        threads = stack.enter_context(ThreadPoolExecutor(8))
        asking = stack.enter_context(psycopg.connect(url, autocommit=True))
        commits, looks, before = list[float](), list[float](), server.busy_seconds()
        for _ in range(ROUNDS):
            clock.offset += BEAT_SECONDS
            commits += threads.map(Host.beat, hosts, [clock.now()] * HOSTS)
            looks.append(timed(lambda: steps.step(at_once=True)))
            [*threads.map(Host.look_about, hosts)]
        busy = (server.busy_seconds() - before) / (ROUNDS * BEAT_SECONDS)
        query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        connections = asking.execute(query).fetchall()[0][0]
        assert asking.execute("SELECT count(*) FROM batches").fetchall() == [(0,)]
    judged = {alert.key[0]: alert.value for alert in steps.core.engine.alerts()}
    orgs = [number % 7 for number in range(HOSTS)]
    assert judged == {f"org_{org}": orgs.count(org) * ROUNDS for org in set(orgs)}
    assert connections == HOSTS + 2  # who judges, and who asks
    sys.stdout.write(
        f"{HOSTS} hosts: {connections - 1} connections, {busy:.2f} of a core of the database,"
        f" a commit {1000 * sorted(commits)[len(commits) // 2]:.1f} ms,"
        f" a look at all of them and their events {1000 * sorted(looks)[ROUNDS // 2]:.0f} ms\n"
    )
    assert busy < HOSTS / 200  # 200 of them need less than one core
