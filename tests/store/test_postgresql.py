"""The state in Debian's PostgreSQL: each transaction is made once, and by one sidecar."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from secrets import token_hex

import msgspec
import psycopg
import pytest

from sidecar.rows import STATE_ROWS, Delta, Gone, MetaRow, ReceivedRow, SeriesRow
from sidecar.secret import Secret
from sidecar.store.pgtables import JUDGE, LAYOUT
from sidecar.store.postgresql import _KEY_OF, PostgreSql, backup
from sidecar.store.schema import StoreError, StoreMoved, StoreUnavailable
from sidecar.store.store import Store
from support.daemon import until
from support.postgresql import PostgreSql as Server, old_server, pgbouncer, silent_server
from support.wire import Loss, through, wire_to

pytestmark = pytest.mark.process
ROW = MetaRow(name="a", value="b")


def database(url: str, lock_seconds: float = 5.0) -> PostgreSql:
    return PostgreSql(Secret(url), lock_seconds=lock_seconds)


def refused(url: str) -> str:
    """Return why the database cannot be used at all."""
    with closing(database(url, 0.0)) as ours, pytest.raises(StoreError) as caught:
        ours.attend()
    return str(caught.value)


def away(url: str) -> str:
    """Return why the database cannot be used for now."""
    with closing(database(url, 0.0)) as ours, pytest.raises(StoreUnavailable) as caught:
        ours.attend()
    return str(caught.value)


# Each transaction once: test_guard.py


def test_another_transaction_between_does_not_hide_what_is_to_be_repeated(server: Server) -> None:
    with wire_to(server.folder) as wire:
        store = Store(database(through(wire, server.fresh())))
        first = Delta(rows=[MetaRow(name="a", value="1")])
        store.commit(Delta(rows=[ROW]))
        wire.loses, wire.is_down = Loss.ANSWER, True
        with pytest.raises(StoreUnavailable):
            store.commit(first)
        wire.is_down = False
        store.commit(Delta(rows=[MetaRow(name="b", value="2")]))
        store.commit(Delta(rows=[MetaRow(name="a", value="3")]))
        store.commit(first)
        assert {row.name: row.value for row in store.load(MetaRow)} == {"a": "1", "b": "2"}
        store.close()


def test_what_cannot_be_written_leaves_nothing_of_its_transaction(server: Server) -> None:
    with closing(Store(database(server.fresh()))) as store:
        store.commit(Delta(rows=[ROW]))
        with pytest.raises(psycopg.DataError):
            store.database.write([("DELETE FROM meta", [()]), ("SELECT 1 / ?", [(0,)])])
        assert store.load(MetaRow) == [ROW]
        store.commit(Delta(rows=[MetaRow(name="c", value="d")]))


def test_a_key_may_be_longer_than_an_index_takes(server: Server) -> None:
    rows = [SeriesRow(name="m", labels=f"{n}" * 20_000, value="1", created=0.0) for n in (1, 2)]
    with closing(Store(database(server.fresh()))) as store:
        store.commit(Delta(rows=[*rows, *rows]))
        assert store.load(SeriesRow) == rows


# By one sidecar


HOLDS = """
import sys
from sidecar.secret import Secret
from sidecar.store.postgresql import PostgreSql
ours = PostgreSql(Secret(sys.argv[1]))
ours.attend()
print("holds", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(url: str) -> Iterator["subprocess.Popen[str]"]:
    """Give another process that has the state."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_sidecar_is_refused_with_the_first_ones_process_and_host(server: Server) -> None:
    url = server.fresh()
    with holding(url) as other:
        said = refused(url)
    assert f"is in use by another sidecar {other.pid} on " in said
    assert "stop that one, or give this one a `state.host`" in said


def test_one_that_was_killed_is_followed_at_once(server: Server) -> None:
    url = server.fresh()
    with holding(url) as other:
        other.kill()
        with closing(database(url)) as ours:
            ours.attend()


def test_sidecars_of_several_schemas_do_not_know_of_each_other(server: Server) -> None:
    with (
        closing(Store(database(server.fresh()))) as one,
        closing(Store(database(server.fresh()))) as two,
    ):
        one.commit(Delta(rows=[ROW]))
        assert two.load(MetaRow) == []


def test_a_session_that_is_frozen_ends_after_ten_seconds(server: Server) -> None:
    with closing(database(server.fresh())) as ours:
        assert ours.find("SHOW idle_session_timeout") == [("10s",)]
        assert ours.find("SHOW idle_in_transaction_session_timeout") == [("10s",)]
        assert ours.attend_seconds < 10


def test_a_copy_is_of_one_moment_or_none(server: Server, tmp_path: Path) -> None:
    url = server.fresh()
    with wire_to(server.folder) as wire, closing(Store(database(url))) as store:
        store.commit(Delta(rows=[ROW]))
        with closing(Store(PostgreSql(Secret(through(wire, url)), only_reads=True))) as copied:
            assert copied.load(MetaRow) == [ROW]
            store.commit(Delta(rows=[MetaRow(name="x", value="y")]))
            assert copied.load(MetaRow) == [ROW]
            wire.cut()
            with pytest.raises(StoreUnavailable):
                copied.load(MetaRow)
        assert backup(Secret(url), "a", str(tmp_path / "copy")) > 0
    with closing(Store.open(str(tmp_path / "copy"))) as file:
        assert [row.name for row in file.load(MetaRow)] == ["a", "x"]


# What is no good


def test_a_server_that_is_not_there_is_waited_for() -> None:
    sentence = away("postgresql://x@/billing?host=/nowhere")
    assert sentence.startswith("cannot use the database billing at /nowhere: connection")
    with silent_server() as url:
        assert "timeout" in away(f"{url}?connect_timeout=2")


def test_a_server_that_comes_back_is_used_again(server: Server) -> None:
    with closing(Store(database(server.fresh()))) as store:
        store.commit(Delta(rows=[ROW]))
        server.stop()
        with pytest.raises(StoreUnavailable, match="cannot use the database"):
            store.load(MetaRow)
        server.start()
        assert store.load(MetaRow) == [ROW]
        store.commit(Delta(rows=[MetaRow(name="a", value="c")]))


def test_no_sentence_holds_the_password(server: Server) -> None:
    server.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    said = away(server.url.replace("nobody@", "guarded:hunter2@"))
    assert 'password authentication failed for user "guarded"' in said
    assert "hunter2" not in said


def test_an_address_that_becomes_none_is_waited_for(server: Server) -> None:
    address = server.fresh()
    with closing(PostgreSql(Secret(address, lambda: address))) as ours:
        ours.attend()
        address = "postgresql://x:hunter2@/%zzhunter2"
        ours.close()
        with pytest.raises(StoreUnavailable, match="is no connection URI of libpq") as caught:
            ours.attend()
        assert "hunter2" not in str(caught.value)


def test_a_new_password_in_its_file_is_taken_by_the_next_connection(server: Server) -> None:
    server.execute("CREATE ROLE renewed LOGIN PASSWORD 'new'; CREATE SCHEMA AUTHORIZATION renewed")
    url = server.url.replace("nobody@", "renewed:{}@")
    with closing(PostgreSql(Secret(url.format("old"), lambda: url.format("new")))) as ours:
        ours.attend()


def test_a_role_that_may_make_no_tables_is_told_what_it_needs(server: Server) -> None:
    server.execute("CREATE ROLE reader LOGIN")
    server.execute("CREATE DATABASE bare")  # in which no other test has made tables
    said = refused(server.url.replace("nobody@", "reader@").replace("/postgres?", "/bare?"))
    assert "permission denied for schema public" in said
    assert said.endswith("CREATE SCHEMA reader AUTHORIZATION reader")


def test_a_role_with_a_schema_of_its_name_needs_nothing_more(server: Server) -> None:
    server.execute("CREATE ROLE sidecar LOGIN; CREATE SCHEMA sidecar AUTHORIZATION sidecar")
    with closing(Store(database(server.url.replace("nobody@", "sidecar@")))) as store:
        store.commit(Delta(rows=[ROW]))
        assert store.database.find("SELECT current_schema()") == [("sidecar",)]


def test_a_schema_that_is_not_there_is_named(server: Server) -> None:
    said = refused(f"{server.url}&options=-csearch_path%3Dnone")
    assert "no schema of the search_path exists" in said


def test_tables_that_are_not_ours_are_left_alone(server: Server) -> None:
    url = server.fresh()
    with psycopg.connect(url) as other:
        other.execute("CREATE TABLE rules (x int); CREATE TABLE orders (x int)")
    assert "has tables that are not the sidecar's (rules); give it a schema of its own" in refused(
        url
    )


def test_a_schema_of_a_newer_sidecar_is_refused(server: Server) -> None:
    url = server.fresh()
    database_once(url)
    change(url, "UPDATE sidecar_state SET version = version + 1")
    assert f"have schema version {LAYOUT + 1}, this sidecar knows up to {LAYOUT}" in refused(url)


def test_a_schema_of_an_older_sidecar_is_brought_forward_with_its_rows(server: Server) -> None:
    url = server.fresh()
    row = SeriesRow(name="m", labels="{}", value="1", created=0.0, touched=5.0)
    with closing(Store(database(url))) as store:
        store.commit(Delta(rows=[row]))
    change(url, "ALTER TABLE series DROP COLUMN touched; DROP TABLE received")
    change(url, "UPDATE sidecar_state SET version = version - 1")
    with closing(Store(database(url))) as store:
        assert [row.touched for row in store.load(SeriesRow)] == [0.0]
        store.commit(Delta(rows=[row]))
        assert len(store.everything()) == 1


def test_one_brings_the_schema_forward_while_the_others_wait(server: Server) -> None:
    url = server.fresh()
    database_once(url)
    change(url, "ALTER TABLE series DROP COLUMN touched; DROP TABLE received")
    change(url, "UPDATE sidecar_state SET version = version - 1")
    hosts = [PostgreSql(Secret(url), name) for name in "abcd"]
    with ExitStack() as stack, ThreadPoolExecutor(len(hosts)) as at_once:
        for host in hosts:
            stack.callback(host.close)
        assert list(at_once.map(PostgreSql.taken, hosts)) == [True] * len(hosts)
        assert hosts[0].find("SELECT version FROM sidecar_state") == [(LAYOUT,)]
        assert hosts[0].find("SELECT touched FROM series") == []


def test_tables_that_are_gone_are_no_passing_trouble(server: Server) -> None:
    url = server.fresh()
    with closing(Store(database(url))) as store:
        store.commit(Delta(rows=[ROW]))
        change(url, "DROP TABLE meta")
        with pytest.raises(StoreError, match=r"tables in .* are gone or changed"):
            store.commit(Delta(rows=[ROW]))


def test_a_server_that_only_reads_is_waited_for(server: Server) -> None:
    url = server.fresh()
    with closing(Store(database(url))) as store:
        store.commit(Delta(rows=[ROW]))
        store.database.find("SELECT set_config('default_transaction_read_only', 'on', false)")
        with pytest.raises(StoreUnavailable, match="read-only transaction"):
            store.commit(Delta(rows=[MetaRow(name="x", value="y")]))
        store.database.find("SELECT set_config('default_transaction_read_only', 'off', false)")
        store.commit(Delta(rows=[MetaRow(name="x", value="y")]))


def test_a_standby_is_named_as_one(server: Server) -> None:
    with server.standby() as standby:
        said = away(standby.url)
    assert "is a standby, which can only be read; name all servers in the URL" in said


def test_a_server_that_is_too_old_is_refused() -> None:
    with old_server() as url:
        assert refused(url) == "the database x at 127.0.0.1 is PostgreSQL 13; 14 is the oldest"


def test_too_many_connections_are_waited_for(server: Server) -> None:
    server.execute("CREATE ROLE crowd LOGIN CONNECTION LIMIT 1; CREATE SCHEMA AUTHORIZATION crowd")
    url = server.url.replace("nobody@", "crowd@")
    with psycopg.connect(url):
        assert "too many connections for role" in away(url)


def test_a_full_disk_is_waited_for_and_takes_the_same_once_it_has_room(server: Server) -> None:
    with small_disk(server) as (disk, url), closing(Store(database(url))) as store:
        store.commit(Delta(rows=[ROW]))
        much = Delta(rows=[MetaRow(name=f"k{n}", value=token_hex(4_000)) for n in range(2000)])
        with pytest.raises(StoreUnavailable, match="No space left on device"):
            store.commit(much)
        assert store.load(MetaRow) == [ROW]
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        store.commit(much)
        assert len(store.load(MetaRow)) == 2001


@contextmanager
def small_disk(server: Server) -> Iterator[tuple[str, str]]:
    """Give a disk with room for little more than a new database, and the URI of that."""
    if os.geteuid() != 0:
        pytest.skip("to mount a small disk needs root")
    disk = tempfile.mkdtemp(prefix="small-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], check=True)
    shutil.chown(disk, "nobody", "nogroup")
    server.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
    server.execute("CREATE DATABASE small TABLESPACE small")
    try:
        yield disk, server.url.replace("/postgres?", "/small?")
    finally:
        server.execute("DROP DATABASE small WITH (FORCE)")
        server.execute("DROP TABLESPACE small")
        subprocess.run(["umount", disk], check=True)
        Path(disk).rmdir()


def test_a_database_that_holds_no_unicode_is_refused(server: Server) -> None:
    server.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    said = refused(server.url.replace("/postgres?", "/latin?"))
    assert "has the encoding LATIN1; make one with UTF8" in said


def test_a_pooler_is_named_where_it_lends_out_each_transaction(server: Server) -> None:
    with pgbouncer(server, "transaction") as url:
        assert "is reached through a pooler in transaction mode" in refused(url)


def test_a_pooler_that_lends_out_sessions_will_do(server: Server) -> None:
    with pgbouncer(server, "session") as url, closing(Store(database(url))) as store:
        store.commit(Delta(rows=[ROW]))
        assert store.load(MetaRow) == [ROW]


def database_once(url: str) -> None:
    with closing(database(url)) as ours:
        ours.attend()


def change(url: str, statements: str) -> None:
    with psycopg.connect(url) as asking:
        asking.execute(statements.encode())


# Owners


def test_each_owner_sees_its_own_rows(server: Server) -> None:
    url = server.fresh()
    with (
        closing(Store(PostgreSql(Secret(url), "a"))) as a,
        closing(Store(PostgreSql(Secret(url), "b"))) as b,
        closing(Store(PostgreSql(Secret(url)))) as judge,
    ):
        for store, value in ((a, "1"), (b, "2"), (judge, "3")):
            store.commit(Delta(rows=[MetaRow(name="x", value=value)]))
        assert [store.load(MetaRow)[0].value for store in (a, b, judge)] == ["1", "2", "3"]
        b.commit(Delta(gone=[Gone(MetaRow, ("x",))]))
        assert [len(store.load(MetaRow)) for store in (a, b, judge)] == [1, 0, 1]


def test_one_that_is_alone_has_its_own_rows_and_those_that_are_judged(server: Server) -> None:
    url = server.fresh()
    own = [
        MetaRow(name="hash_key", value="ab"),
        SeriesRow(name="events", labels="{}", value="1", created=0.0),
    ]
    judged = [
        MetaRow(name="change", value="7"),
        SeriesRow(name="states", labels="{}", value="2", created=0.0),
    ]
    with closing(Store(alone := PostgreSql(Secret(url), "a"))) as store:
        assert not alone.is_alone
        assert alone.takes_all(frozenset({"states"}))
        assert alone.is_alone
        assert not database(url, 0.0).taken()
        store.commit(Delta(rows=[*own, *judged, MetaRow(name="gone", value="x")]))
        store.commit(Delta(gone=[Gone(MetaRow, ("gone",))]))
        found = [*store.load(MetaRow), *store.load(SeriesRow)]
        assert {row.name for row in found} == {"hash_key", "events", "change", "states"}
    for owner, rows in (("a", own), (JUDGE, judged)):
        with closing(Store(PostgreSql(Secret(url), owner))) as store:
            assert [*store.load(MetaRow), *store.load(SeriesRow)] == rows


def test_what_is_judged_elsewhere_is_not_taken(server: Server) -> None:
    url = server.fresh()
    with closing(database(url)) as judge, closing(PostgreSql(Secret(url), "a")) as host:
        judge.attend()
        assert not host.takes_all(frozenset())
        assert not host.is_alone
        host.write([("UPDATE meta SET value = 'x'", [()])])


def test_what_a_provider_told_two_hosts_at_once_counts_once(server: Server) -> None:
    url = server.fresh()
    row = ReceivedRow("stripe", "evt_1", 5.0)
    with (
        closing(Store(PostgreSql(Secret(url), "a"))) as a,
        closing(Store(PostgreSql(Secret(url), "b"))) as b,
    ):
        b.commit(Delta(rows=[ROW]))
        a.commit(Delta(rows=[row]))
        with pytest.raises(StoreMoved, match="another host has told"):
            b.commit(Delta(rows=[row, MetaRow(name="counted", value="1")]))
        assert [one.name for one in b.load(MetaRow)] == ["a"]
        assert b.received("stripe", "evt_1") == row
        b.commit(Delta(rows=[msgspec.structs.replace(row, told="open")]))
        assert a.open_events("stripe") != []


def test_what_nobody_has_is_free(server: Server) -> None:
    url = server.fresh()
    with closing(PostgreSql(Secret(url), "a")) as member:
        member.attend()
        assert member.is_free(JUDGE)
        with closing(PostgreSql(Secret(url), lock_seconds=0.0)) as judge:
            assert judge.taken()
            assert not member.is_free(JUDGE)
            with closing(PostgreSql(Secret(url), lock_seconds=0.0)) as other:
                assert not other.taken()
        until(lambda: member.is_free(JUDGE), "it is free again")


def test_who_is_frozen_in_the_midst_of_a_command_loses_what_it_has(server: Server) -> None:
    url = server.fresh()
    with (
        closing(PostgreSql(Secret(url), "a")) as member,
        closing(psycopg.connect(url)) as frozen,
    ):
        assert member.is_free(JUDGE)
        ((key,),) = member.find(_KEY_OF, (JUDGE,))
        frozen.pgconn.enter_pipeline_mode()
        frozen.pgconn.send_query_params(f"SELECT pg_advisory_lock({key})".encode(), None)
        frozen.pgconn.send_flush_request()
        frozen.pgconn.flush()  # and no sync: the server waits for more of it
        until(lambda: not member.is_free(JUDGE), "it has it")
        until(lambda: member.is_free(JUDGE), "it has it no more", 20.0)


def test_the_tables_of_one_that_was_alone_become_those_of_its_host(server: Server) -> None:
    url = server.fresh()
    rows = [
        MetaRow(name="hash_key", value="ab"),
        MetaRow(name="change", value="7"),
        MetaRow(name="spoke:/x.log", value="1"),
        SeriesRow(name="m", labels="{}", value="1", created=0.0),
    ]
    with closing(Store(PostgreSql(Secret(url)))) as store:
        store.commit(Delta(rows=[*rows]))
    for table in (row.table for row in STATE_ROWS):  # as they were before
        change(url, f"ALTER TABLE {table} DROP COLUMN owner, ADD PRIMARY KEY (row_key)")
    change(url, "DROP TABLE sidecar_guard, batches, beats, judged")
    change(
        url,
        "ALTER TABLE sidecar_state DROP COLUMN secret, ADD COLUMN step BIGINT DEFAULT 5,"
        " ADD COLUMN writer TEXT DEFAULT 'x'; UPDATE sidecar_state SET version = version - 1",
    )
    with closing(Store(PostgreSql(Secret(url), "a"))) as mine:
        assert {row.name for row in mine.load(MetaRow)} == {"hash_key", "spoke:/x.log"}
        assert len(mine.load(SeriesRow)) == 1
        assert mine.database.find("SELECT secret FROM sidecar_state") == [("ab",)]
        mine.commit(Delta(rows=[*rows]))
        assert len(mine.load(SeriesRow)) == 1
    with closing(Store(PostgreSql(Secret(url)))) as judge:
        assert [row.name for row in judge.load(MetaRow)] == ["change"]
