"""When a second process is worth it: while a long backlog and a second processor are there."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import structlog

from sidecar.parse.event import Chunk, Parsed

# A tenth of a second's work for one process, which is what it takes to start another.
LONG = 32 << 20  # bytes
REST_SECONDS = 5.0
_LEAST_PROCESSORS = 1.5
_QUOTA = Path("/sys/fs/cgroup/cpu.max")

# What a chunk holds, if that can be told from it alone.
ParseOrdinary = Callable[[Chunk, float], Parsed | None]

_log = structlog.get_logger()


def processors() -> float:
    """Return how many processors this process may use, by its affinity and its cgroup's quota.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    """
    available = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = _QUOTA.read_text().split()
        return min(available, int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return available


class Second(Protocol):
    """What parses ahead: `sidecar.ahead.assistant.Assistant`."""

    answered: int
    lost: str

    def ahead(
        self, chunks: Iterable[Chunk], parse: ParseOrdinary, now: float
    ) -> Iterator[tuple[Chunk, Parsed | None]]: ...
    def close(self) -> None: ...


class Backlog:
    """Starts an assistant while much is unread, and ends it when nothing has been for a while."""

    def __init__(self, available: float) -> None:
        """`available`: processors."""
        self._enough = available >= _LEAST_PROCESSORS
        self._assistant: Second | None = None
        self._long_at = 0.0

    def before(self, unread: int, now: float, start: Callable[[], Second]) -> None:
        """Decide anew before a step, with so many bytes `unread`; `now` is the wall clock."""
        if unread >= LONG:
            self._long_at = now
            if self._assistant is None and self._enough:
                self._start(start)
        elif self._assistant is not None and not 0 <= now - self._long_at < REST_SECONDS:
            self.end()

    def ahead(
        self, chunks: Iterable[Chunk], parse: ParseOrdinary, now: float
    ) -> Iterator[tuple[Chunk, Parsed | None]]:
        """Yield each chunk, in order, with what it holds if that was parsed ahead of its turn."""
        assistant = self._assistant
        if assistant is None:
            yield from ((chunk, None) for chunk in chunks)
            return
        yield from assistant.ahead(chunks, parse, now)
        if assistant.lost:
            _log.warning("second_parser_lost", reason=assistant.lost, goes_on="alone")
            self._enough = False
            self.end()

    def end(self) -> None:
        """End the assistant; another one knows other rules, if it comes to that."""
        if self._assistant is not None:
            _log.debug("second_parser_ended", chunks=self._assistant.answered)
            self._assistant.close()
            self._assistant = None

    def _start(self, start: Callable[[], Second]) -> None:
        try:
            self._assistant = start()
        except OSError as error:
            _log.warning("second_parser_not_started", error=str(error), goes_on="alone")
            self._enough = False
