"""What every store does with rows, in SQLite and in PostgreSQL."""

import os
from collections.abc import Callable, Iterator

import msgspec
import pytest

from sidecar.rows import CooldownRow, Delta, FileRow, Gone, MetaRow, OutboxRow, Row, SeriesRow
from sidecar.store.store import OutboxBacklog, Store
from support.rows import ROW_TYPES, example, outbox_row

DAY = 86_400.0


@pytest.fixture
def store(opened: Callable[[], Store]) -> Iterator[Store]:
    store = opened()
    yield store
    store.close()


def meta(name: str, value: str = "v") -> MetaRow:
    return MetaRow(name=name, value=value)


@pytest.mark.parametrize("row", ROW_TYPES, ids=lambda row: row.table)
def test_every_kind_of_row_comes_back_as_it_was_after_a_restart(
    opened: Callable[[], Store], row: type[Row]
) -> None:
    written = [example(row, number) for number in (1, 2)]
    first = opened()
    first.commit(Delta(rows=list(written)))
    first.close()
    second = opened()
    assert second.load(row) == written
    second.close()


def test_a_row_replaces_the_one_with_its_key(store: Store) -> None:
    store.commit(Delta(rows=[meta("a", "old"), meta("b")]))
    store.commit(Delta(rows=[meta("a", "new")]))
    assert store.load(MetaRow) == [meta("a", "new"), meta("b")]


def test_of_two_rows_with_one_key_in_a_delta_the_later_wins(store: Store) -> None:
    store.commit(Delta(rows=[meta("a", "first"), meta("a", "second")]))
    assert store.load(MetaRow) == [meta("a", "second")]


def test_deletions_come_before_rows(store: Store) -> None:
    store.commit(Delta(rows=[meta("a"), meta("b")]))
    store.commit(Delta(rows=[meta("a", "again")], gone=[Gone(MetaRow, ("a",))]))
    assert store.load(MetaRow) == [meta("a", "again"), meta("b")]


def test_a_deletion_takes_the_whole_key(store: Store) -> None:
    one, two = (SeriesRow(name="m", labels=x, value="1", created=0.0) for x in ("{}", "{1}"))
    store.commit(Delta(rows=[one, two]))
    store.commit(Delta(gone=[Gone(SeriesRow, ("m", "{}"))]))
    assert store.load(SeriesRow) == [two]


def test_none_stays_none(store: Store) -> None:
    store.commit(Delta(rows=[outbox_row(claimed_at=None)]))
    assert store.load(OutboxRow)[0].claimed_at is None


def test_a_path_that_is_no_utf8_comes_back_as_it_was(store: Store) -> None:
    path = os.fsdecode(b"/var/log/caf\xe9.log")
    row = msgspec.structs.replace(example(FileRow), path=path, log="\ud800")
    store.commit(Delta(rows=[row]))
    assert store.load(FileRow) == [row]


def test_an_inode_beyond_63_bits_comes_back_as_it_was(store: Store) -> None:
    row = msgspec.structs.replace(example(FileRow), ino=2**64 - 1, dev=2**63)
    store.commit(Delta(rows=[row]))
    store.commit(Delta(rows=[row]))
    assert store.load(FileRow) == [row]


def test_a_key_that_is_no_unicode_can_be_deleted(store: Store) -> None:
    store.commit(Delta(rows=[meta("\udcff")]))
    store.commit(Delta(gone=[Gone(MetaRow, ("\udcff",))]))
    assert store.load(MetaRow) == []


def due(store: Store, now: float) -> list[str]:
    return [head.id for head in store.queue.next(now)]


def waiting(name: str, **changes: object) -> OutboxRow:
    return outbox_row(name, **{"claimed_at": None, **changes})


@pytest.mark.parametrize(
    "row",
    [
        waiting("n", next_at=1001.0),
        outbox_row("n", claimed_at=999.0),
        waiting("n", outcome="sent"),
        waiting("n", outcome="dead"),
    ],
    ids=["not yet", "claimed", "sent", "dead"],
)
def test_a_message_is_not_due(store: Store, row: OutboxRow) -> None:
    store.save_outbox([row])
    assert due(store, 1000.0) == []


def test_the_first_that_is_due_comes_for_each_destination(store: Store) -> None:
    rows = [
        waiting("later", next_at=1002.0),
        waiting("first", next_at=1001.0),
        waiting("second", next_at=1000.0),
        waiting("other", next_at=1000.5, destination="#other"),
        waiting("mail", next_at=1000.5, integration="email"),
    ]
    store.save_outbox(rows)
    assert due(store, 1001.0) == ["other", "mail", "first"]


def test_it_knows_without_asking_that_nothing_waits(store: Store) -> None:
    assert not store.nothing_waits  # it has not looked yet
    assert due(store, 1000.0) == []
    assert store.nothing_waits
    store.commit(Delta(rows=[waiting("first")]))
    assert not store.nothing_waits
    store.save_outbox([waiting("first", outcome="sent")])
    assert store.nothing_waits


def test_saving_a_message_again_keeps_its_place(store: Store) -> None:
    store.save_outbox([waiting("first"), waiting("second")])
    store.save_outbox([waiting("first", attempt=1)])
    assert due(store, 1000.0) == ["first"]


def test_what_waits_for_longer_than_anything_may_is_due(store: Store) -> None:
    store.save_outbox([waiting("a year", next_at=1000.0 + 365 * 86_400.0)])
    assert due(store, 1000.0) == ["a year"]


def test_a_new_configuration_lets_nothing_wait(store: Store) -> None:
    store.save_outbox([waiting("a", next_at=1300.0)])
    store.hurry(1000.0)
    assert due(store, 1000.0) == ["a"]


def test_it_is_known_how_long_a_destination_asked_to_be_left_alone(store: Store) -> None:
    limited = {"next_at": 1090.0, "detail": "rate_limited: HTTP 429"}
    rows = [waiting("a", **limited), waiting("b", next_at=1200.0, detail="connect: refused")]
    store.save_outbox(rows)
    assert store.pauses(1000.0) == {("slack", "#alerts"): 90.0}


def test_a_claim_found_at_start_is_freed_and_marked(store: Store) -> None:
    store.save_outbox([outbox_row("cut off"), waiting("waiting"), outbox_row("x", outcome="sent")])
    freed = store.release_claims()
    assert [(row.id, row.claimed_at, row.attempt) for row in freed] == [("cut off", None, 0)]
    assert freed[0].detail.startswith("ambiguous: ")
    assert due(store, 1000.0) == ["cut off"]


def test_the_backlog_counts_what_is_neither_sent_nor_dead(store: Store) -> None:
    assert store.backlog() == OutboxBacklog(0, None)
    rows = [outbox_row("b", created=3.0), waiting("a", created=5.0), waiting("c", outcome="dead")]
    store.save_outbox(rows)
    assert store.backlog() == OutboxBacklog(2, 3.0)


def test_messages_that_ended_over_a_week_ago_are_purged(store: Store) -> None:
    now = 30 * DAY
    old, young = now - 7 * DAY - 1, now - 7 * DAY + 1
    store.save_outbox(
        [
            waiting("sent long ago", created=old, outcome="sent"),
            waiting("dead long ago", created=old, outcome="dead"),
            waiting("open for long", created=old),
            waiting("sent", created=young, outcome="sent"),
        ]
    )
    store.purge(now)
    assert [row.id for row in store.load(OutboxRow)] == ["open for long", "sent"]


def test_cooldowns_are_purged_when_they_are_over(store: Store) -> None:
    over, running = (
        CooldownRow(receiver="r", rule="A", by_key=key, severity="info", at=0.0, until=until)
        for key, until in (("over", 100.0), ("running", 100.5))
    )
    store.commit(Delta(rows=[over, running]))
    store.purge(100.0)
    assert store.load(CooldownRow) == [running]
