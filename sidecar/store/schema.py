"""The tables of the state file, version by version."""

import sqlite3

from sidecar.store.fault import StoreError

# "SdcR" in the file's header: tells ours from any other SQLite file (sqlite.org, application_id).
APPLICATION_ID = 0x53646352

# A script per version, never edited once released: version N is what scripts 1..N made.
# Columns stand in the order of the structs in `sidecar.rows`; a test holds the two together.
# WITHOUT ROWID spares the second b-tree where rows are small; `outbox` and `audit` keep their
# rowid because it is their order of arrival.
MIGRATIONS = (
    """
    CREATE TABLE meta (
        name TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (name)
    ) WITHOUT ROWID;

    CREATE TABLE files (
        id INTEGER NOT NULL, source TEXT NOT NULL, log TEXT NOT NULL, path TEXT NOT NULL,
        dev INTEGER NOT NULL, ino INTEGER NOT NULL,
        head_len INTEGER NOT NULL, head_hash BLOB NOT NULL,
        tail_len INTEGER NOT NULL, tail_hash BLOB NOT NULL,
        offset INTEGER NOT NULL, open_from INTEGER NOT NULL, skip INTEGER NOT NULL,
        state TEXT NOT NULL, last_seen REAL NOT NULL,
        size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        PRIMARY KEY (id)
    ) WITHOUT ROWID;

    CREATE TABLE series (
        name TEXT NOT NULL, labels TEXT NOT NULL, value TEXT NOT NULL, created REAL NOT NULL,
        PRIMARY KEY (name, labels)
    ) WITHOUT ROWID;

    CREATE TABLE rules (
        rule TEXT NOT NULL, signature TEXT NOT NULL, since REAL NOT NULL,
        PRIMARY KEY (rule)
    ) WITHOUT ROWID;

    CREATE TABLE rule_state (
        rule TEXT NOT NULL, by_key TEXT NOT NULL, packed BLOB NOT NULL,
        PRIMARY KEY (rule, by_key)
    ) WITHOUT ROWID;

    CREATE TABLE alerts (
        rule TEXT NOT NULL, by_key TEXT NOT NULL, episode INTEGER NOT NULL, state TEXT NOT NULL,
        severity TEXT NOT NULL, since REAL NOT NULL, deadline REAL, change INTEGER NOT NULL,
        packed BLOB NOT NULL,
        PRIMARY KEY (rule, by_key)
    ) WITHOUT ROWID;

    CREATE TABLE groups (
        id TEXT NOT NULL, receiver TEXT NOT NULL, labels TEXT NOT NULL, created REAL NOT NULL,
        next_flush REAL, repeat_interval REAL NOT NULL,
        PRIMARY KEY (id)
    ) WITHOUT ROWID;

    CREATE TABLE members (
        group_id TEXT NOT NULL, rule TEXT NOT NULL, by_key TEXT NOT NULL,
        change INTEGER NOT NULL, packed BLOB NOT NULL,
        PRIMARY KEY (group_id, rule, by_key)
    ) WITHOUT ROWID;

    CREATE TABLE told (
        receiver TEXT NOT NULL, group_id TEXT NOT NULL, change INTEGER NOT NULL, at REAL NOT NULL,
        reference TEXT NOT NULL,
        PRIMARY KEY (receiver, group_id)
    ) WITHOUT ROWID;

    CREATE TABLE cooldowns (
        receiver TEXT NOT NULL, rule TEXT NOT NULL, by_key TEXT NOT NULL, severity TEXT NOT NULL,
        at REAL NOT NULL, until REAL NOT NULL,
        PRIMARY KEY (receiver, rule, by_key, severity)
    ) WITHOUT ROWID;

    CREATE TABLE outbox (
        id TEXT NOT NULL, receiver TEXT NOT NULL, integration TEXT NOT NULL,
        destination TEXT NOT NULL, group_id TEXT NOT NULL, created REAL NOT NULL,
        attempt INTEGER NOT NULL, claimed_at REAL, next_at REAL NOT NULL,
        expires_at REAL NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL,
        reference TEXT NOT NULL, payload TEXT NOT NULL, plain INTEGER NOT NULL,
        PRIMARY KEY (id)
    );
    CREATE INDEX outbox_open ON outbox (next_at, created) WHERE outcome = '';
    CREATE INDEX outbox_ended ON outbox (created) WHERE outcome <> '';

    CREATE TABLE silences (
        id TEXT NOT NULL, matchers TEXT NOT NULL, starts_at REAL NOT NULL, ends_at REAL NOT NULL,
        created_by TEXT NOT NULL, comment TEXT NOT NULL, created REAL NOT NULL,
        PRIMARY KEY (id)
    ) WITHOUT ROWID;

    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    CREATE INDEX audit_at ON audit (at);
    """,
    # Large rows, so with a rowid: they go to pages of their own.
    """
    CREATE TABLE floors (
        seq INTEGER NOT NULL, packed BLOB NOT NULL,
        PRIMARY KEY (seq)
    );
    """,
)
VERSION = len(MIGRATIONS)


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Bring the file to VERSION, each step whole or not at all.

    Raises StoreError for a file of a newer sidecar or of another program, sqlite3.Error.
    """
    version = _number(db, "user_version")
    _refuse_foreign(db, path, version)
    for step, script in enumerate(MIGRATIONS[version:], start=version + 1):
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {step};"
        db.executescript(f"BEGIN IMMEDIATE; {script} {marks} COMMIT;")


def _refuse_foreign(db: sqlite3.Connection, path: str, version: int) -> None:
    owner = _number(db, "application_id")
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and (owner or tables):
        raise StoreError(
            f"{path} is another program's SQLite file;"
            " let state.path name a file of the sidecar's own"
        )
    if version > VERSION:
        raise StoreError(
            f"the state file {path} has schema version {version}, this sidecar knows up to"
            f" {VERSION}; run the newer sidecar, or give this one its own state.path"
        )


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])
