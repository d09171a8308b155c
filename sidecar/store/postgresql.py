"""The state in PostgreSQL: the same rows, in the tables of one schema, those of each owner apart.

An owner is a host, or the judge of all; a host that is alone is both. Each transaction begins with
the number of the owner's last one and the name of its writer. Who finds another number or name
there has been followed by another process, or by a server that lacks the last transactions; and
whether one was made whose answer was lost is seen by its number.
"""

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from sidecar.rows import STATE_ROWS, Delta
from sidecar.secret import Secret, printable
from sidecar.store.pgtables import (
    JUDGE,
    LAYOUT,
    Owner,
    counts_once,
    loaded,
    making,
    marked,
    purging,
    sharing,
    stored,
    table_of,
)
from sidecar.store.schema import (
    APPLICATION_ID,
    R,
    RowTable,
    Statement,
    StoreError,
    StoreMoved,
    StoreUnavailable,
    StoreUsedError,
    Values,
)
from sidecar.store.store import Store

OLDEST = 140_000  # the first that ends sessions which are idle (idle_session_timeout)
LOCK_SECONDS = 15.0
_OVER_SECONDS = 1.0  # in which a server notices that a session is over
_ASK_SECONDS = 0.1  # between two looks at a lock
_END_SECONDS = 2.0  # between two looks whether who has one is frozen
# A process that is frozen keeps its lock for as long as its session lasts: TCP finds nothing
# wrong, since its kernel answers. What is asked of the daemon every 3 s keeps the session alive.
_SESSION = (
    "SET idle_session_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '10s'",
    "SET lock_timeout = '10s'",
)
_CONNECTING = {
    "application_name": f"sidecar {os.getpid()} on {socket.gethostname()}"[:63],
    "connect_timeout": 5,
    # A link that is cut is found out after ten seconds, whether something was asked or not.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "client_encoding": "utf8",
}
_SECRETS = ("password", "sslpassword")
_Connection = psycopg.Connection[tuple[Any, ...]]
_T = TypeVar("_T")


class PostgreSql:
    """What `owner` has in the database at `url`, a connection URI of libpq or keywords and values.

    The first call connects; nothing is done before. One that has ended is made anew by the next
    call. At the first one the owner's rows are waited for `lock_seconds` while another process has
    them. With `only_reads` it is what was there at the first call, whoever has it. `secret` says,
    where the database is new, by what texts are to be digested; empty: by chance.
    """

    attend_seconds = 3.0
    patience: float | None = 20.0  # for a server that is frozen: its kernel still answers

    def __init__(
        self,
        url: Secret,
        owner: str = JUDGE,
        *,
        lock_seconds: float = LOCK_SECONDS,
        only_reads: bool = False,
        secret: Callable[[], str] = str,
    ) -> None:
        self._url = url
        self.owner = owner
        self._new_secret = secret
        self._states: frozenset[str] | None = None  # of who is alone: see `Owner`
        self._ended_at = 0.0  # when it was seen to last that no frozen process has a lock
        self._parts = _parts(url)
        self._lock_seconds = lock_seconds
        self._only_reads = only_reads
        self._connection: _Connection | None = None
        self._writer = ""  # empty until the state is ours
        # Whose rows are ours: the key of that lock, and the number of the last transaction.
        self._keys: dict[str, int] = {}
        self._left: dict[str, int] = {}
        self._doubt: Sequence[Statement] | None = None  # whether it was made is not known
        self._made: Sequence[Statement] | None = None  # it was, and its writer does not know yet

    @property
    def place(self) -> str:
        said = self._parts
        name = said.get("dbname") or said.get("user") or ""
        return printable(f"the database {name} at {said.get('host') or 'this machine'}")

    def table(self, row: type[R]) -> RowTable[R]:
        return table_of(row, Owner(self.owner, self._states))

    @property
    def is_alone(self) -> bool:
        """Whether what is judged is this host's as well."""
        return self._states is not None

    def takes_all(self, states: frozenset[str]) -> bool:
        """Take what is judged as well; return False where another process has it.

        `states`: the names of series that count what is judged.
        """

        def taken(connection: _Connection) -> bool:
            key = self._key_of(connection, JUDGE)
            if not connection.execute(_LOCK, (key,)).fetchall()[0][0]:
                return False
            self._take(connection, JUDGE, key)
            self._states = states
            return True

        return self._on_connection(taken)

    def find(self, query: str, values: Values = ()) -> list[tuple[Any, ...]]:
        def found(connection: _Connection) -> list[tuple[Any, ...]]:
            cursor = connection.execute(marked(query), stored(values))
            return list(map(loaded, cursor.fetchall()))

        return self._on_connection(found)

    def write(self, statements: Sequence[Statement]) -> None:
        self._on_connection(lambda connection: self._write(connection, statements))

    def begin(self, statements: Sequence[Statement]) -> Callable[[], None]:
        return partial(self.write, statements)  # nearly all of it is waiting for the server

    def _write(self, connection: _Connection, statements: Sequence[Statement]) -> None:
        made, self._made = self._made, None
        if made is not None and made == statements:
            return
        try:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute(_STEP, (self._writer, [*self._left], [*self._left.values()]))
                if cursor.rowcount != len(self._left):
                    raise StoreMoved(f"{self.place} was written by another process")
                for query, rows in statements:
                    cursor.executemany(marked(query), map(stored, rows))
                    if counts_once(query) and cursor.rowcount != len(rows):
                        raise StoreMoved(f"another host has told {self.place} the same meanwhile")
                self._doubt = statements
        except psycopg.Error:
            if self._doubt is not None:
                connection.close()  # the next one looks whether it was made
            raise
        self._left, self._doubt = {who: step + 1 for who, step in self._left.items()}, None

    def purging(self) -> Sequence[Statement]:
        return purging()

    def attend(self) -> bool:
        """Keep the session alive, and find out whether the database is there."""
        self.find("SELECT 1")
        return False

    def is_free(self, owner: str) -> bool:
        """Tell whether no process has what is that owner's; one that is frozen loses it."""
        key = self.find(_KEY_OF, (owner,))[0][0]
        if self.find(_FREE, (key, key))[0][0]:
            return True
        if time.monotonic() - self._ended_at > _END_SECONDS:
            self._ended_at = time.monotonic()
            self.find(_END_FROZEN, (key, key))
        return False

    def taken(self) -> bool:
        """Take what is the owner's; return False where another process has it, after the wait."""
        try:
            return not self.attend()
        except StoreUsedError:
            return False

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _on_connection(self, call: Callable[[_Connection], _T]) -> _T:
        """Make `call`; once more on a new connection if the present one turns out to be over."""
        known = self._connection
        try:
            return self._attempt(call)
        except StoreUnavailable:
            if known is None or not known.closed or self._only_reads:
                raise
        return self._attempt(call)

    def _attempt(self, call: Callable[[_Connection], _T]) -> _T:
        with self._failures():
            if self._connection is None or self._connection.closed:
                self._connection = self._connected()
            return call(self._connection)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise StoreError(
                f"the sidecar's tables in {self.place} are gone or changed ({self._said(error)});"
                " restore a backup, or start it with a schema of its own that is empty"
            ) from error
        except psycopg.Error as error:
            if not isinstance(error, _FOR_NOW):
                raise
            raise StoreUnavailable(f"cannot use {self.place}: {self._said(error)}") from error

    def _said(self, error: psycopg.Error) -> str:
        """Return the first line of what the server or the driver said, without passwords."""
        said = str(error).strip().partition("\n")[0]
        for secret in filter(None, map(self._parts.get, _SECRETS)):
            said = said.replace(secret, "***")
        return printable(said) or type(error).__name__

    def _connected(self) -> _Connection:
        connection = self._connect()
        try:
            if self._only_reads:
                connection.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            elif self._writer:
                self._resume(connection)
            else:
                self._begin(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> _Connection:
        with suppress(OSError):  # then the password of before is tried
            self._url.refresh()
        self._parts = _parts(self._url)
        said: dict[str, Any] = {**_CONNECTING, **self._parts}
        return psycopg.connect(**said, autocommit=True)

    def _begin(self, connection: _Connection) -> None:
        """Check what the database is, and take the state. Raises StoreError, StoreUnavailable."""
        self._refuse_old(connection)
        self._refuse_pooler(connection)
        schema = self._refuse_unfit(connection)
        for setting in _SESSION:
            connection.execute(setting.encode())
        try:
            with connection.transaction():
                connection.execute(_ALONE.encode())
                self._prepare(connection, schema)
            key = self._key_of(connection, self.owner)
            self._lock(connection, self.owner, key, self._lock_seconds)
            self._take(connection, self.owner, key)
        except psycopg.errors.InsufficientPrivilege as error:
            role = connection.info.user
            raise StoreError(
                f"{self.place}: {self._said(error)}; the role {role} must own the schema of the"
                f" sidecar's tables: CREATE SCHEMA {role} AUTHORIZATION {role}"
            ) from error

    def _key_of(self, connection: _Connection, owner: str) -> int:
        return int(connection.execute(marked(_KEY_OF), (owner,)).fetchall()[0][0])

    def _take(self, connection: _Connection, owner: str, key: int) -> None:
        """Be from now on who writes an owner's rows; the lock is ours."""
        writer = self._writer or secrets.token_hex(8)
        found = connection.execute(_TAKE, (owner, writer, writer)).fetchall()
        self._keys[owner], self._left[owner], self._writer = key, found[0][0], writer

    def _resume(self, connection: _Connection) -> None:
        """Go on with a new connection where the one before ended."""
        for setting in _SESSION:
            connection.execute(setting.encode())
        self._where(connection)  # who was followed need not wait for a lock
        for owner, key in self._keys.items():  # which ends what the session before was at
            self._lock(connection, owner, key, _OVER_SECONDS)
        steps = self._where(connection)
        if steps != self._left:
            self._left, self._made = steps, self._doubt
        self._doubt = None

    def _where(self, connection: _Connection) -> dict[str, int]:
        """Return the numbers of the last transaction. Raises StoreMoved where none of ours did."""
        found = connection.execute(_LEFT, ([*self._left],)).fetchall()
        steps = {who: step for who, step, writer in found if writer == self._writer}
        later = {who: step + 1 for who, step in self._left.items()}
        if steps == self._left or (steps == later and self._doubt is not None):
            return {who: steps[who] for who in self._left}
        at = ", ".join(str(step) for _, step, _ in found)
        left = ", ".join(map(str, self._left.values()))
        raise StoreMoved(f"{self.place} is at step {at}, and was left at {left}")

    def _lock(self, connection: _Connection, owner: str, key: int, seconds: float) -> None:
        """Take an owner's rows for as long as the session lasts."""
        until = time.monotonic() + seconds
        while not connection.execute(_LOCK, (key,)).fetchall()[0][0]:
            if time.monotonic() > until:
                self._refuse_used(connection, owner, key)
            Event().wait(_ASK_SECONDS)

    def _refuse_used(self, connection: _Connection, owner: str, key: int) -> None:
        found = connection.execute(_HOLDER, (key, key)).fetchall()
        holder = printable(found[0][0]) if found else "sidecar"
        whose = f"of the host {owner}" if owner else "to judge by"
        sentence = f"the state {whose} in {self.place} is in use by another {holder}"
        if self._writer:
            raise StoreUnavailable(sentence)
        hint = "stop that one, or give this one a `state.host`"
        raise StoreUsedError(f"{sentence}; {hint}")

    def _refuse_old(self, connection: _Connection) -> None:
        version = connection.info.server_version
        if version < OLDEST:
            raise StoreError(f"{self.place} is PostgreSQL {version // 10_000}; 14 is the oldest")

    def _refuse_pooler(self, connection: _Connection) -> None:
        """Find out by a second connection whether a pooler between lends each transaction out."""
        ours = _backend(connection)
        if ours == connection.info.backend_pid:
            return
        with self._connect() as other, other.transaction():
            if _backend(other) == ours or _backend(connection) != ours:
                raise StoreError(
                    f"{self.place} is reached through a pooler in transaction mode, which keeps no"
                    " lock and no session; let the URL name the server itself, or a pool in session"
                    " mode"
                )

    def _refuse_unfit(self, connection: _Connection) -> str:
        """Return the schema of our tables in a server that will do."""
        standby, encoding, schema = connection.execute(_WHAT.encode()).fetchall()[0]
        if standby:
            raise StoreUnavailable(
                f"{self.place} is a standby, which can only be read; name all servers in the URL,"
                " and target_session_attrs=read-write"
            )
        if encoding != "UTF8":
            raise StoreError(f"{self.place} has the encoding {encoding}; make one with UTF8")
        if schema is None:
            raise StoreError(
                f"no schema of the search_path exists in {self.place}; for one named as the role:"
                f" CREATE SCHEMA {connection.info.user} AUTHORIZATION {connection.info.user}"
            )
        return str(schema)

    def _prepare(self, connection: _Connection, schema: str) -> None:
        """Make the tables, or bring those of an older sidecar forward."""
        found = {name for (name,) in connection.execute(_TABLES.encode()).fetchall()}
        if "sidecar_state" in found:
            version = connection.execute(b"SELECT version FROM sidecar_state").fetchall()[0][0]
            if version > LAYOUT:
                raise StoreError(
                    f"the tables in {self.place} have schema version {version}, this sidecar knows"
                    f" up to {LAYOUT}; run the newer sidecar, or give this one another schema"
                )
            if version == LAYOUT:
                return
        elif strangers := found & {row.table for row in STATE_ROWS}:
            raise StoreError(
                f"the schema {schema} in {self.place} has tables that are not the sidecar's"
                f" ({', '.join(sorted(strangers))}); give it a schema of its own"
            )
        alone = "sidecar_state" in found and "sidecar_guard" not in found
        for statement in (*(sharing(self.owner) if alone else ()), *making()):
            connection.execute(statement.encode())
        secret = "" if "sidecar_state" in found else self._new_secret() or secrets.token_hex(32)
        connection.execute(_MARK, (secret,))


# What may pass, so that the same is tried again; anything else is a mistake of ours.
_FOR_NOW = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.InternalError,
    psycopg.errors.InsufficientPrivilege,
)
_STEP = (
    b"UPDATE sidecar_guard AS known SET step = known.step + 1, at = now() WHERE writer = %s"
    b" AND (name, step) IN (SELECT * FROM unnest(%s::text[], %s::bigint[]))"
)
_TAKE = (
    b"INSERT INTO sidecar_guard AS known VALUES (%s, 0, %s, now()) ON CONFLICT (name)"
    b" DO UPDATE SET step = known.step + 1, writer = %s, at = now() RETURNING step"
)
_LEFT = b"SELECT name, step, writer FROM sidecar_guard WHERE name = ANY(%s) ORDER BY name"
_MARK = (
    "INSERT INTO sidecar_state (one, version, secret)"  # noqa: S608 - a number of ours
    f" VALUES (true, {LAYOUT}, %s) ON CONFLICT (one) DO UPDATE SET version = {LAYOUT}"
).encode()
_WHAT = "SELECT pg_is_in_recovery(), current_setting('server_encoding'), current_schema()"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
_SCHEMA = "to_regnamespace(quote_ident(current_schema()))::oid"
# Locks are of the whole database. That of a schema, while its tables are made, has our number in
# its upper half and the schema's in its lower; those of owners are hashes of both.
_ALONE = f"SELECT pg_advisory_xact_lock({APPLICATION_ID << 32} + {_SCHEMA}::bigint)"
_KEY_OF = f"SELECT hashtextextended('sidecar ' || {_SCHEMA} || ' ' || ?, {APPLICATION_ID})"
_LOCK = b"SELECT pg_try_advisory_lock(%s)"
_FREE = (
    "SELECT CASE WHEN pg_try_advisory_lock_shared(?) THEN pg_advisory_unlock_shared(?)"
    " ELSE false END"
)
# A session that waits for its process in the midst of a command is not idle: no timeout ends it.
_END_FROZEN = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND classid::bigint = (? >> 32) & 4294967295"
    " AND objid::bigint = ? & 4294967295 AND objsubid = 1 AND datname = current_database()"
    " AND wait_event IN ('ClientRead', 'ClientWrite') AND query_start < now() - interval '10 s'"
)
_HOLDER = (
    b"SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)"
    b" WHERE locktype = 'advisory' AND granted AND classid::bigint = (%s >> 32) & 4294967295"
    b" AND objid::bigint = %s & 4294967295 AND objsubid = 1 AND datname = current_database()"
)


def backup(url: Secret, host: str, target: str) -> int:
    """Write what `host` has read and what is judged into a state file; return its bytes.

    It is of one moment, whatever daemons write meanwhile, and replaces `target`. Raises StoreError,
    StoreUnavailable.
    """
    part = f"{target}.part"
    with closing(PostgreSql(url, only_reads=True)) as database:
        rows = Store(database).everything()
        database.owner = host
        rows += Store(database).everything()  # its own facts after the judge's of the same names
    try:
        Path(part).unlink(missing_ok=True)
        with closing(Store.open(part)) as file:
            file.commit(Delta(rows=rows))
        Path(part).replace(target)
    except OSError as wrong:
        raise StoreError(f"{target} cannot be written: {wrong}") from wrong
    return Path(target).stat().st_size


def _parts(url: Secret) -> dict[str, str]:
    """Return what an address says by libpq's keywords. Raises StoreUnavailable."""
    try:
        return {name: str(said) for name, said in conninfo_to_dict(url.reveal()).items()}
    except psycopg.ProgrammingError:  # it quotes the address
        why = "what is to be the address of the state's database is no connection URI of libpq"
        raise StoreUnavailable(why) from None


def _backend(connection: _Connection) -> int:
    return int(connection.execute(b"SELECT pg_backend_pid()").fetchall()[0][0])
