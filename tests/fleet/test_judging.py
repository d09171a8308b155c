"""Judging for several hosts, in a real database: what did not happen on any of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from sidecar.config.load import load_config
from sidecar.core import NOTHING_STORED
from sidecar.daemon.judging import JudgeSteps, judging_core
from sidecar.fleet.courier import Batch, Packed, packed
from sidecar.rows import BatchRow, BeatRow, Delta
from sidecar.secret import Secret
from sidecar.store.invariants import Ledger
from sidecar.store.postgresql import PostgreSql
from sidecar.store.store import Store
from support.delivery import ManualClock
from support.postgresql import PostgreSql as Server
from support.setup import configure

pytestmark = pytest.mark.process
RULES = """\
groups:
  - name: g
    rules:
      - alert: NoWebhooks
        match: ['webhook_provider="stripe"']
        condition: count() < 1
        within: 1h
        labels: {severity: error}
"""
NOW = 1_793_700_000.0
HOUR = 3600.0


class Judging:
    """A judge of the hosts a and b, whose rows are written as they would write them."""

    def __init__(self, folder: Path, url: str, stack: ExitStack) -> None:
        (folder / "x.rules.yaml").write_text(RULES)
        self.url, self.clock = url, ManualClock(NOW)
        self.hosts = {
            name: stack.enter_context(closing(Store(PostgreSql(Secret(url), name))))
            for name in "ab"
        }
        store = stack.enter_context(closing(Store(PostgreSql(Secret(url)))))
        core = judging_core(load_config(str(configure(folder)), {}), shadow=True)
        core.restore(NOTHING_STORED, NOW)
        beside = stack.enter_context(ThreadPoolExecutor(1)).submit
        self.steps = JudgeSteps(
            core, store, Ledger(), self.clock, beside, host="a", order=lambda _said, _core: ""
        )

    def beat(self, host: str, reached: float, *, caught_up: bool, here: bool = True) -> None:
        beat = BeatRow(host, 0, reached, caught_up, here)
        self.hosts[host].commit(Delta(rows=[beat]))

    def read(self, host: str, at: float) -> None:
        """Hand over an event of that time, and be caught up."""
        event = Packed(("stripe", "invoice.paid", "ok"), at, {"webhook_provider": "stripe"})
        rows = [BatchRow(host, 1, packed(Batch([event], []))), BeatRow(host, 1, at, caught_up=True)]
        self.hosts[host].commit(Delta(rows=[*rows]))

    def at(self, seconds: float) -> list[str]:
        """Judge so long after the start; return what that changed."""
        self.clock.offset = seconds
        judged = self.steps.step(at_once=True).judged
        return [
            f"{one.kind.value} {one.alert.name}" for of in judged for one in of.step.transitions
        ]


@pytest.fixture
def judging(tmp_path: Path, server: Server) -> Iterator[Judging]:
    with ExitStack() as stack:
        yield Judging(tmp_path, server.fresh(), stack)


def catches_up(judging: Judging) -> None:
    judging.beat("b", NOW + 2 * HOUR, caught_up=True)


def stops(judging: Judging) -> None:
    judging.beat("b", NOW + 60, caught_up=False, here=False)


def is_silent(judging: Judging) -> None:
    with psycopg.connect(judging.url) as asking:
        asking.execute("UPDATE sidecar_guard SET at = at - interval '61 s' WHERE name = 'b'")


@pytest.mark.parametrize("ends", [catches_up, stops, is_silent])
def test_absence_is_judged_once_nobody_present_has_anything_unread(
    judging: Judging, ends: Callable[[Judging], None]
) -> None:
    judging.beat("a", NOW + 2 * HOUR, caught_up=True)
    judging.beat("b", NOW + 60, caught_up=False)
    assert judging.at(2 * HOUR) == []
    ends(judging)
    assert judging.at(2 * HOUR + 1) == ["fired NoWebhooks"]


def test_what_one_host_has_seen_is_absent_on_none(judging: Judging) -> None:
    judging.beat("a", NOW + 2 * HOUR, caught_up=True)
    judging.read("b", NOW + 1.5 * HOUR)
    assert judging.at(2 * HOUR) == []
    judging.beat("a", NOW + 3 * HOUR, caught_up=True)
    judging.beat("b", NOW + 3 * HOUR, caught_up=True)
    assert judging.at(3 * HOUR) == ["fired NoWebhooks"]
