"""Debian's PostgreSQL, started for a test: as nobody, in a folder of its own, on a unix socket."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

BIN = Path("/usr/lib/postgresql/15/bin")
_USER = "nobody"  # it refuses to run as root


class PostgreSql:
    """A server that can be stopped and started; `url` is a connection URI of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"postgresql://{_USER}@/postgres?host={folder}"

    def start(self) -> None:
        options = f"-k {self._folder} -h '' -F -c shared_buffers=1MB -c max_connections=5"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", f"{self._folder}/log",
                  "-o", options, "start")  # fmt: skip

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    def make(self) -> None:
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", _USER, "--no-sync")

    def execute(self, statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statements.encode())

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        root = os.geteuid() == 0
        done = subprocess.run(
            [str(BIN / program), *arguments],
            user=_USER if root else None, group="nogroup" if root else None,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self._folder, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def postgresql() -> Iterator[PostgreSql]:
    """Give a running server; skip where there is none, unless this is the gate."""
    if not BIN.is_dir():
        _missing()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path is short
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, "nogroup")
    server = PostgreSql(folder)
    server.make()
    server.start()
    try:
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def silent_server() -> Iterator[str]:
    """Give the URI of what takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql://x@127.0.0.1:{server.getsockname()[1]}/x"


def _missing() -> NoReturn:
    what = "Debian's postgresql-15 is missing"
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)
