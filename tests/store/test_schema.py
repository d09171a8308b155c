"""The tables are what the row structs say, and an older file becomes a newer one."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.rows import Row
from sidecar.store import schema
from sidecar.store.schema import VERSION, migrate
from support.rows import ROW_TYPES

SQL_TYPE = {str: "TEXT", int: "INTEGER", bool: "INTEGER", float: "REAL", bytes: "BLOB"}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    yield connection
    connection.close()


def columns(db: sqlite3.Connection, table: str) -> list[tuple[str, str, bool]]:
    """Return (name, type, may be null) of each column; a key never is, and need not say so."""
    found = db.execute(f"PRAGMA table_info({table})")
    return [(name, kind, not (notnull or at)) for _, name, kind, notnull, _, at in found]


@pytest.mark.parametrize("row", ROW_TYPES, ids=lambda row: row.table)
def test_a_tables_columns_are_its_structs_fields(db: sqlite3.Connection, row: type[Row]) -> None:
    migrate(db, "state.db")
    fields = []
    for field in msgspec.structs.fields(row):
        optional = field.type == (float | None)
        fields.append((field.name, SQL_TYPE[float if optional else field.type], optional))
    assert columns(db, row.table) == fields


@pytest.mark.parametrize("row", ROW_TYPES, ids=lambda row: row.table)
def test_a_tables_key_is_its_structs_key(db: sqlite3.Connection, row: type[Row]) -> None:
    migrate(db, "state.db")
    keyed = [(at, name) for _, name, *_, at in db.execute(f"PRAGMA table_info({row.table})") if at]
    assert tuple(name for _, name in sorted(keyed)) == row.key


def test_every_table_of_the_design_is_there(db: sqlite3.Connection) -> None:
    migrate(db, "state.db")
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    assert tables == {row.table for row in ROW_TYPES}


def test_migrating_a_file_of_this_version_changes_nothing(db: sqlite3.Connection) -> None:
    migrate(db, "state.db")
    before = db.total_changes, db.execute("PRAGMA schema_version").fetchone()
    migrate(db, "state.db")
    assert (db.total_changes, db.execute("PRAGMA schema_version").fetchone()) == before


def test_a_file_of_version_1_keeps_its_rows_and_gets_the_journal(db: sqlite3.Connection) -> None:
    mark = f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 1;"
    db.executescript(f"{schema.MIGRATIONS[0]} {mark}")
    db.execute("INSERT INTO rule_state VALUES ('R', '[]', x'01')")
    migrate(db, "state.db")
    assert db.execute("SELECT * FROM rule_state").fetchall() == [("R", "[]", b"\x01")]
    assert db.execute("SELECT * FROM journal").fetchall() == []


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch, db: sqlite3.Connection) -> None:
    """Let the file be of this version, and the program of the next."""
    migrate(db, "state.db")
    db.execute("INSERT INTO meta VALUES ('kept', 'yes')")
    script = "ALTER TABLE meta ADD COLUMN note TEXT NOT NULL DEFAULT '-';"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, script))
    monkeypatch.setattr(schema, "VERSION", VERSION + 1)


@pytest.mark.usefixtures("next_version")
def test_an_older_file_is_brought_forward_with_its_rows(db: sqlite3.Connection) -> None:
    migrate(db, "state.db")
    assert db.execute("SELECT * FROM meta").fetchall() == [("kept", "yes", "-")]
    assert db.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)


@pytest.mark.usefixtures("next_version")
def test_a_migration_that_fails_leaves_the_version_it_found(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "ALTER TABLE meta ADD COLUMN note TEXT; INSERT INTO nowhere VALUES (1);"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], broken))
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, "state.db")
    db.rollback()
    assert [name for name, *_ in columns(db, "meta")] == ["name", "value"]
    assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
