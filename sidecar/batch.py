"""What one poll of the reader hands on."""

from errno import errorcode

import msgspec

from sidecar.parse.event import Chunk
from sidecar.rows import FileRow, Gone


class LogStatus(msgspec.Struct, frozen=True):
    """One open file: where reading stands in it, in bytes; `problem` is a sentence or empty.

    A compressed file has no known size before its end: `size` is then what was read of it.
    """

    log: str
    path: str
    position: int
    size: int
    lag_bytes: int
    state: str
    problem: str


class ReadBatch(msgspec.Struct):
    """Whole lines in the order to process them, and the positions to store with their effects.

    Read piece by piece (`Follower.read`), `chunks` stay empty, and all but `resume` and `gone` is
    to be looked at only afterwards.
    `rows` are the positions after `chunks`; `gone` are rows to forget. `resume` holds the bytes
    before the position that are needed once more to rebuild a Docker or CRI line. `caught_up`:
    every source is readable and read to its end; `lagging`: the logs that are not. `counts` says
    what happened, by kind and detail (log, rotation style or errno name); `problems` what cannot
    be read at present, a sentence each.
    """

    chunks: list[Chunk] = msgspec.field(default_factory=list)
    rows: list[FileRow] = msgspec.field(default_factory=list)
    gone: list[Gone] = msgspec.field(default_factory=list)
    resume: list[Chunk] = msgspec.field(default_factory=list)
    caught_up: bool = True
    lagging: frozenset[str] = frozenset()
    logs: list[LogStatus] = msgspec.field(default_factory=list)
    counts: dict[tuple[str, str], float] = msgspec.field(default_factory=dict)
    problems: list[str] = msgspec.field(default_factory=list)

    def count(self, kind: str, detail: str, amount: float = 1.0) -> None:
        if amount:
            key = (kind, detail)
            self.counts[key] = self.counts.get(key, 0.0) + amount

    def cannot(self, verb: str, path: str, error: OSError) -> str:
        """Count a failed look by the name of its error (EACCES, EIO); return the sentence."""
        self.count("scan_errors", errorcode.get(error.errno or 0, "unknown"))
        return f"cannot {verb} {path}: {error.strerror}; trying again"
