"""Debian's PostgreSQL, started for a test: as nobody, in a folder of its own, on a unix socket."""

import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from support.daemon import until

BIN = Path("/usr/lib/postgresql/15/bin")
_USER = "nobody"  # it refuses to run as root


class PostgreSql:
    """A server that can be stopped and started; `url` is a connection URI of it."""

    def __init__(self, folder: Path, *, durable: bool = False, connections: int = 20) -> None:
        self._durable, self._connections = durable, connections
        self.folder = folder
        self._schemas = 0
        self.url = f"postgresql://{_USER}@/postgres?host={folder}"

    def start(self, listen: str = "") -> None:
        sync = "" if self._durable else "-F -c shared_buffers=1MB"
        options = f"-k {self.folder} -h '{listen}' {sync} -c max_connections={self._connections}"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", f"{self.folder}/log",
                  "-o", options, "start")  # fmt: skip

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let all its processes stand still; nobody who is connected to it notices."""
        group = self._processes()
        for process in group:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in reversed(group):
                os.kill(process, signal.SIGCONT)

    def busy_seconds(self) -> float:
        """Return the processor time that the processes which run at present have had."""
        stats = (Path(f"/proc/{one}/stat").read_text() for one in self._processes())
        ticks = (map(int, stat.rpartition(")")[2].split()[11:13]) for stat in stats)
        return sum(map(sum, ticks)) / os.sysconf("SC_CLK_TCK")

    def _processes(self) -> list[int]:
        leader = int((self._data / "postmaster.pid").read_text().split()[0])
        found = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        return [leader, *map(int, found)]

    def make(self) -> None:
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", _USER, "--no-sync")
        guarded = "local all guarded,renewed scram-sha-256\n"
        hba = self._data / "pg_hba.conf"
        hba.write_text(f"{guarded}host all all 10.77.0.0/24 trust\n{hba.read_text()}")

    @contextmanager
    def standby(self) -> Iterator["PostgreSql"]:
        """Give a server that only repeats what this one does."""
        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        _give_away(folder)
        standby = PostgreSql(folder)
        self._run(
            "pg_basebackup",
            "-D",
            f"{folder}/data",
            "-R",
            "-c",
            "fast",
            "--no-sync",
            "-h",
            str(self.folder),
            "-U",
            _USER,
        )
        standby.start()
        try:
            yield standby
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                standby.stop()
            shutil.rmtree(folder, ignore_errors=True)

    def until_level_with(self, primary: "PostgreSql") -> None:
        """Return once it has all that `primary` had at the call."""
        with psycopg.connect(primary.url) as asked, psycopg.connect(self.url) as asking:
            written = asked.execute("SELECT pg_current_wal_flush_lsn()").fetchall()[0][0]
            query = b"SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            until(lambda: bool(asking.execute(query, (written,)).fetchall()[0][0]), "it is level")

    def promote(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "promote")

    def fresh(self) -> str:
        """Return the URI of a schema of its own, which is empty."""
        self._schemas += 1
        self.execute(f"CREATE SCHEMA s{self._schemas}")
        return f"{self.url}&options=-csearch_path%3Ds{self._schemas}"

    def execute(self, statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statements.encode())

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        root = os.geteuid() == 0
        done = subprocess.run(
            [str(BIN / program), *arguments],
            user=_USER if root else None, group="nogroup" if root else None,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self.folder, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def postgresql(*, durable: bool = False, connections: int = 20) -> Iterator[PostgreSql]:
    """Give a running server; skip where there is none, unless this is the gate.

    One that is not `durable` loses what it wrote with the machine, not with its end.
    """
    if not BIN.is_dir():
        _missing()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path is short
    _give_away(folder)
    server = PostgreSql(folder, durable=durable, connections=connections)
    server.make()
    server.start()
    try:
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _give_away(folder: Path) -> None:
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, "nogroup")


@contextmanager
def pgbouncer(server: PostgreSql, mode: str) -> Iterator[str]:
    """Give the URI of `server` behind Debian's pgbouncer, which lends out `mode`s of a session."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        _missing("pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="pb-"))
    (folder / "users").write_text(f'"{_USER}" ""\n')
    (folder / "ini").write_text(
        f"[databases]\npostgres = host={server.folder} dbname=postgres\n[pgbouncer]\n"
        f"pool_mode = {mode}\nauth_type = trust\nauth_file = {folder}/users\n"
        f"listen_addr =\nlisten_port = 5432\nunix_socket_dir = {folder}\n"
    )
    _give_away(folder)
    root = os.geteuid() == 0
    with subprocess.Popen(
        [program, "-q", f"{folder}/ini"], user=_USER if root else None, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until((folder / ".s.PGSQL.5432").exists, "pgbouncer listens")
            yield f"postgresql://{_USER}@/postgres?host={folder}"
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def old_server() -> Iterator[str]:
    """Give the URI of what lets anybody in as version 13 does, and ends with the first question."""
    hello = b"".join(
        kind + struct.pack("!I", len(body) + 4) + body
        for kind, body in (
            (b"R", struct.pack("!I", 0)),  # let in
            (b"S", b"server_version\x0013.16\0"),
            (b"S", b"client_encoding\0UTF8\0"),
            (b"K", struct.pack("!II", 1, 1)),
            (b"Z", b"I"),  # ready
        )
    )

    def serve() -> None:
        client, _ = server.accept()
        with client:
            client.recv(8)  # asks for encryption
            client.sendall(b"N")
            client.recv(4096)
            client.sendall(hello)
            client.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"postgresql://x@127.0.0.1:{server.getsockname()[1]}/x?gssencmode=disable"
        thread.join()


@contextmanager
def silent_server() -> Iterator[str]:
    """Give the URI of what takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql://x@127.0.0.1:{server.getsockname()[1]}/x"


def _missing(package: str = "postgresql-15") -> NoReturn:
    what = f"Debian's {package} is missing"
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)
