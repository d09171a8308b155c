"""The disk under the state file: real SQLite, and a fault or the end at any statement."""

import sqlite3
from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """The process is gone; nothing of it goes on."""


class Disk:
    """Counts what is asked of it over all lives; the world says which requests fail, and how."""

    def __init__(self, killed: Callable[[], None]) -> None:
        self._killed = killed
        self.statements = 0
        self.spared = 0  # so many more requests are answered before any trouble
        self.failing = 0  # then so many fail
        self.says_lost = 0  # and so many commits are made and reported as failed
        self.kill_in: int | None = None  # the process ends at this many requests from now
        self.dead = False

    def touch(self) -> None:
        """Take one request; raises what the disk answers."""
        if self.dead:
            raise Killed
        self.statements += 1
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in <= 0:
                self.kill_in, self.dead = None, True
                self._killed()
                raise Killed
        if self.spared > 0:
            self.spared -= 1
        elif self.failing > 0:
            self.failing -= 1
            raise _error("disk I/O error", sqlite3.SQLITE_IOERR)


class FaultyConnection:
    """What the store calls on a connection, with the faults of `disk` before each statement."""

    def __init__(self, db: sqlite3.Connection, disk: Disk, closed: Callable[[], None]) -> None:
        self._db = db
        self._disk = disk
        self._closed = closed

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        self._disk.touch()
        done = self._db.execute(statement, values)
        if statement == "COMMIT" and self._disk.says_lost > 0 and not self._disk.spared:
            self._disk.says_lost -= 1
            raise _error("disk I/O error after the commit", sqlite3.SQLITE_IOERR)
        return done

    def executemany(self, statement: str, values: Any) -> sqlite3.Cursor:
        self._disk.touch()
        return self._db.executemany(statement, values)

    def close(self) -> None:
        self._closed()


def _error(text: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error
