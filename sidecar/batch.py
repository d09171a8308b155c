"""What one poll of the reader hands on: chunks, positions, and what happened to the logs."""

from enum import StrEnum
from errno import errorcode

import msgspec

from sidecar.parse.event import Chunk
from sidecar.rows import FileRow, Gone
from sidecar.secret import printable


class LogStatus(msgspec.Struct, frozen=True):
    """One file: where reading stands in it, in bytes; `problem` is a sentence or empty.

    A compressed file has no known size before its end: `size` is then what was read of it. What
    could be read has waited for it for `waiting` seconds. `held`: it is open.
    """

    log: str
    path: str
    position: int
    size: int
    lag_bytes: int
    state: str
    problem: str
    waiting: float = 0.0
    held: bool = True


class Heard(msgspec.Struct):
    """What was read of a log since the start: times of reading are by the wall clock.

    `ever`: whether an event was read from it at any time, also before the start. `told`: of so many
    lines an alert that is open since before the start says that none was an event.
    """

    ever: bool = False
    told: int = 0
    lines: int = 0
    event_lines: int = 0
    first_line_at: float | None = None
    last_line_at: float | None = None
    last_event_at: float | None = None  # the newest event's own time

    def is_mute(self) -> bool:
        """Return whether it says so much, or for so long, that an event should have been in it."""
        grew = (self.last_line_at or 0.0) - (self.first_line_at or 0.0)
        mute = self.told or self.lines >= MUTE_LINES or grew >= MUTE_SECONDS
        return bool(mute) and not self.ever


# Of a log without a single event: from here on it is taken for one that nobody understands.
MUTE_LINES, MUTE_SECONDS = 1000, 3600.0


class Rotation(StrEnum):
    """How a log came to its next file; the label of a metric."""

    RENAME = "rename"
    COPYTRUNCATE = "copytruncate"
    REPLACE = "replace"
    DELETE = "delete"


class Rotated(msgspec.Struct, frozen=True):
    """A log went on in another file, or in the same one from its beginning."""

    how: Rotation


class Truncated(msgspec.Struct, frozen=True):
    """A file lost its content, and no copy of it was found."""


class BytesLost(msgspec.Struct, frozen=True):
    """So many bytes of `log` could not be read before they were gone."""

    log: str
    amount: int


class EndUnseen(msgspec.Struct, frozen=True):
    """The file that was read up to `position` is gone, and nobody saw how it ended.

    Nothing is known to be lost, and nothing is known not to be.
    """

    log: str
    path: str
    position: int


class Left(StrEnum):
    """Why a file is not read; the label of a metric."""

    HISTORY = "history"  # written before there was anybody to read it
    COPY = "copy"  # it begins as another file does


class LeftAlone(msgspec.Struct, frozen=True):
    """A file of `size` bytes on disk is not read; `like` is the path of what it is a copy of."""

    log: str
    path: str
    size: int
    why: Left
    like: str = ""


class OverlongLines(msgspec.Struct, frozen=True):
    """So many lines of `log` exceeded the longest line there may be; none of them was read."""

    log: str
    lines: int


class LookFailed(msgspec.Struct, frozen=True):
    """A file or folder could not be looked at; `error` is the name of the errno, like EACCES."""

    error: str


# Everything that can happen to a log between two polls: whoever counts it, counts each kind.
LogEvent = Rotated | Truncated | BytesLost | EndUnseen | LeftAlone | OverlongLines | LookFailed


class ReadBatch(msgspec.Struct):
    """Whole lines in the order to process them, and the positions to store with their effects.

    `rows` are the positions after `chunks`; `gone` are rows to forget, `forgotten` the logs of
    which nothing is known any more. `resume` holds the bytes
    before the position that are needed once more to rebuild a Docker or CRI line. `caught_up`:
    every source is readable and read to its end; `lagging`: the logs that are not. `events` says
    what happened to the logs, `problems` what cannot be read at present, a sentence each.

    `Follower.look` makes a batch, `Follower.read` yields its chunks one by one (then `chunks` stay
    empty): all but `resume`, `gone` and `forgotten` is complete once the last one was read.
    """

    chunks: list[Chunk] = msgspec.field(default_factory=list)
    rows: list[FileRow] = msgspec.field(default_factory=list)
    gone: list[Gone] = msgspec.field(default_factory=list)
    forgotten: list[str] = msgspec.field(default_factory=list)
    resume: list[Chunk] = msgspec.field(default_factory=list)
    caught_up: bool = True
    lagging: frozenset[str] = frozenset()
    logs: list[LogStatus] = msgspec.field(default_factory=list)
    events: list[LogEvent] = msgspec.field(default_factory=list)
    problems: list[str] = msgspec.field(default_factory=list)

    def cannot(self, verb: str, path: str, error: OSError) -> str:
        """Note a failed look; return the sentence."""
        self.events.append(LookFailed(errorcode.get(error.errno or 0, "unknown")))
        return f"cannot {verb} {printable(path)}: {error.strerror}; trying again"
