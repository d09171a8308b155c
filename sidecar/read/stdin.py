"""Reads lines from a pipe. There is no position to return to: every line counts at most once."""

import os
import queue
import threading
from collections.abc import Iterator

from sidecar.batch import LogStatus, OverlongLines, ReadBatch
from sidecar.config.sources import Source
from sidecar.parse.event import MAX_LINE, Chunk
from sidecar.parse.repeats import REACH
from sidecar.read.content import HOST_NAME, frame

LOG = "-"
_BLOCK = 1 << 16
# Blocks held at most: then the pipe fills, and the writer waits.
_DEPTH = 16


class Stdin:
    """A thread that reads a file descriptor into a bounded queue, and the cutting into lines."""

    def __init__(self, number: int, source: Source, fd: int = 0) -> None:
        self._number = number
        self._source = source
        self._fd = fd
        self._blocks: queue.Queue[bytes] = queue.Queue(_DEPTH)
        self._buffer = self._before = b""
        self._position = 0
        self._skip = False
        self._ended = False
        self._problem = ""
        self._thread = threading.Thread(target=self._pump, name="stdin", daemon=True)
        self._thread.start()

    @property
    def behind(self) -> bool:
        return not self._blocks.empty()

    def read(self, batch: ReadBatch, budget: int) -> Iterator[Chunk]:
        """Return what has arrived, up to about `budget` bytes."""
        taken = 0
        while taken < budget and not self._ended:
            try:
                block = self._blocks.get_nowait()
            except queue.Empty:
                break
            self._ended = not block
            taken += len(block)
            yield from self._cut(block, batch)
        if self._problem:
            batch.problems.append(self._problem)

    def status(self) -> LogStatus:
        size = self._position + len(self._buffer)
        state = "drained" if self._ended else "active"
        lag = len(self._buffer) + self._blocks.qsize() * _BLOCK
        return LogStatus(LOG, LOG, self._position, size, lag, state, self._problem)

    def _cut(self, block: bytes, batch: ReadBatch) -> Iterator[Chunk]:
        self._buffer += block
        while self._buffer:
            piece = self._buffer[: MAX_LINE + 1]
            last = len(piece) == len(self._buffer)
            framed = frame(
                piece, self._position, skip=self._skip,
                at_end=last, final=last and self._ended,
            )  # fmt: skip
            passed = framed.end - self._position
            self._buffer, self._position = self._buffer[passed:], framed.end
            self._skip = framed.skip
            if framed.overlong:
                batch.events.append(OverlongLines(LOG, framed.overlong))
            if framed.data:
                source = self._source
                yield Chunk(
                    self._number, LOG, source.format, framed.data, framed.start, source.prefix,
                    source.key,
                    HOST_NAME, source.timezone, self._before,
                )  # fmt: skip
                self._before = framed.data[-REACH:]
            if not passed:
                return

    def _pump(self) -> None:
        """Read until the pipe ends; an empty block stands for its end."""
        try:
            while block := os.read(self._fd, _BLOCK):
                self._blocks.put(block)
        except OSError as error:
            self._problem = f"cannot read stdin: {error.strerror}"
        self._blocks.put(b"")
