"""What waits to be judged, in a real database: taken once, in its order, whoever takes it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from sidecar.fleet.courier import Batch, Packed, Tallied, packed
from sidecar.fleet.docket import Docket, unjudged
from sidecar.fleet.order import GONE_SECONDS
from sidecar.rows import BatchRow, BeatRow, Delta, FileRow, JudgedRow, MetaRow
from sidecar.secret import Secret
from sidecar.store.postgresql import PostgreSql
from sidecar.store.store import Store
from support.postgresql import PostgreSql as Server

pytestmark = pytest.mark.process
NOW = 1_793_700_000.0
OLD = NOW - 10_000.0


class Fleet:
    def __init__(self, url: str, open_: Callable[[str], Store]) -> None:
        self.url = url
        self.judge = open_("")
        self.hosts = {name: open_(name) for name in "ab"}
        self.docket = Docket(self.judge)

    def write(self, host: str, step: int, *times: float, **beat: object) -> None:
        events = [Packed(("p", "t", "s"), OLD + at, {"n": at}) for at in times]
        rows = [BatchRow(host, step, packed(Batch(events, [Tallied(("p", "t", "u"), 1, OLD)])))]
        said = {"reached": OLD + max(times), "caught_up": True, **beat}
        self.hosts[host].commit(Delta(rows=[*rows, BeatRow(host, step, **said)]))  # type: ignore[arg-type]

    def take(self) -> list[float]:
        """Take what is next, and write that it is judged."""
        taken = self.docket.take(self.docket.look(NOW), NOW)
        self.judge.commit(taken.delta)
        return [event.fields["n"] for event in taken.events]

    def age(self, host: str, seconds: float) -> None:
        with psycopg.connect(self.url) as asking:
            asking.execute(
                "UPDATE sidecar_guard SET at = at - make_interval(secs => %s) WHERE name = %s",
                (seconds, host),
            )


@pytest.fixture
def fleet(server: Server) -> Iterator[Fleet]:
    url = server.fresh()
    with ExitStack() as stack:

        def opened(owner: str) -> Store:
            store = Store(PostgreSql(Secret(url), owner))
            store.commit(Delta(rows=[MetaRow(name="x", value="")]))
            stack.callback(store.close)
            return store

        yield Fleet(url, opened)


def test_events_of_all_hosts_are_taken_once_and_in_order(fleet: Fleet) -> None:
    fleet.write("a", 1, 1.0, 4.0)
    fleet.write("b", 1, 2.0, 3.0)
    assert fleet.take() == [1.0, 2.0, 3.0, 4.0]
    assert fleet.take() == []
    assert fleet.judge.load(BatchRow) == []
    fleet.write("a", 2, 5.0)
    assert fleet.take() == [5.0]


def test_who_judges_next_goes_on_within_a_batch(fleet: Fleet) -> None:
    fleet.write("a", 1, 1.0, 2.0, 30.0)
    fleet.write("b", 1, 10.0, caught_up=False)
    assert fleet.take() == [1.0, 2.0, 10.0]
    assert fleet.judge.load(JudgedRow)[0] == JudgedRow("a", 0, taken=2)
    fleet.docket = Docket(fleet.judge)
    fleet.write("b", 2, 20.0)
    assert fleet.take() == [20.0, 30.0]


def test_how_far_time_has_passed_is_what_is_judged_of_a_host(fleet: Fleet) -> None:
    fleet.write("a", 1, 1.0, 5.0)
    fleet.write("b", 1, 3.0, caught_up=False)
    (a, b) = fleet.docket.look(NOW)
    assert (a.judged, a.complete, b.judged, b.complete) == (None, False, None, False)
    assert fleet.take() == [1.0, 3.0]
    (a, b) = fleet.docket.look(NOW)
    assert (a.judged, a.complete) == (OLD + 1.0, False)
    assert (b.judged, b.complete) == (OLD + 3.0, False)


def test_a_damaged_batch_costs_its_own_events(fleet: Fleet) -> None:
    fleet.hosts["a"].commit(
        Delta(rows=[BatchRow("a", 1, b"x"), BeatRow("a", 1, OLD, caught_up=True)])
    )
    fleet.write("a", 2, 1.0)
    assert fleet.take() == [1.0]
    assert len(fleet.docket.damaged) == 1


def test_a_host_that_stopped_is_forgotten_and_may_begin_anew(fleet: Fleet) -> None:
    fleet.write("a", 1, 1.0, here=False)
    assert fleet.take() == [1.0]
    fleet.age("a", GONE_SECONDS)
    fleet.take()
    assert not fleet.judge.load(BeatRow)
    assert not fleet.judge.load(JudgedRow)
    fleet.write("a", 1, 2.0)  # its numbers begin anew
    assert fleet.take() == [2.0]


def test_how_much_of_a_host_waits_is_known(fleet: Fleet) -> None:
    assert unjudged(fleet.hosts["a"], "a") == 0
    fleet.write("a", 1, 1.0)
    assert unjudged(fleet.hosts["a"], "a") == len(fleet.judge.load(BatchRow)[0].packed)


def test_all_that_a_host_had_is_deleted_a_month_after_it_wrote_last(fleet: Fleet) -> None:
    fleet.write("a", 1, 1.0)
    fleet.age("a", 31 * 86_400.0)
    fleet.judge.purge(NOW)
    assert fleet.judge.database.find("SELECT name FROM sidecar_guard WHERE name <> ''") == [("b",)]
    assert fleet.judge.load(BeatRow) == []
    assert [len(fleet.hosts[name].load(MetaRow)) for name in "ab"] == [0, 1]
    assert fleet.hosts["b"].load(FileRow) == []
