"""The daemon's side of the second process: when it is started, and who parses which chunk.

It is worth its start while a long backlog and a second processor are there. Chunks are handed to
it as far as it has room, and come back in their order.
"""

import mmap
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from sidecar.ahead.second import Answer, Disconnected, Setup, Task, is_ready, receive, send
from sidecar.parse.event import Chunk, Parsed, Triple, Wanted
from sidecar.parse.patterns import Pattern

# Of work for one process; it takes a tenth of a second of a processor's time to start another.
LONG_SECONDS = 0.5
REST_SECONDS = 5.0
_LEAST_PROCESSORS = 1.5
_QUOTA = Path("/sys/fs/cgroup/cpu.max")

# What a chunk holds, if that can be told from it alone.
ParseAlone = Callable[[Chunk, float], Parsed | None]

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


class ParsesAhead(Protocol):
    """What a Backlog needs of an Assistant."""

    answered: int
    busy: float
    lost: str

    def ahead(
        self, chunks: Iterable[Chunk], parse: ParseAlone, now: float, upcoming: Iterable[Chunk] = ()
    ) -> Iterator[tuple[Chunk, Parsed | None]]: ...
    def close(self) -> None: ...


class Backlog:
    """Starts an assistant while much is unread, and ends it when nothing has been for a while."""

    def __init__(self, available: float) -> None:
        """`available`: processors."""
        self._enough = available >= _LEAST_PROCESSORS
        self._assistant: ParsesAhead | None = None
        self._long_at = 0.0

    @property
    def busy(self) -> float:
        """Return the seconds that the assistant has had of a processor."""
        return 0.0 if self._assistant is None else self._assistant.busy

    def before(self, unread: float, now: float, start: Callable[[], ParsesAhead]) -> None:
        """Decide anew before a step, `unread` taking so many seconds; `now` is the wall clock."""
        if unread >= LONG_SECONDS:
            self._long_at = now
            if self._assistant is None and self._enough:
                self._start(start)
        elif self._assistant is not None and not 0 <= now - self._long_at < REST_SECONDS:
            self.end()

    def ahead(
        self, chunks: Iterable[Chunk], parse: ParseAlone, now: float, upcoming: Iterable[Chunk] = ()
    ) -> Iterator[tuple[Chunk, Parsed | None]]:
        """Yield each chunk, in order, with what it holds if that was parsed ahead of its turn.

        `upcoming`: what will probably come next time.
        """
        assistant = self._assistant
        if assistant is None:
            yield from ((chunk, None) for chunk in chunks)
            return
        yield from assistant.ahead(chunks, parse, now, upcoming)
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

    def _start(self, start: Callable[[], ParsesAhead]) -> None:
        try:
            self._assistant = start()
        except OSError as error:
            _log.warning("second_parser_not_started", error=str(error), goes_on="alone")
            self._enough = False


# Chunks that the second process has at a time: enough for it to work on while a step ends.
_SLOTS = 4
_SLOT = 1 << 20  # bytes; a larger chunk is parsed here
# Chunks read ahead of one whose answer has not come; more would be memory for nothing.
_MOST_WAITING = 6
# What was parsed so many seconds ago may say another thing of a stamp that lies ahead.
_FRESH = 1.0
_PATIENCE = 10.0  # seconds for a chunk, which takes milliseconds

_answer = msgspec.msgpack.Decoder(Answer).decode


class _Waiting(msgspec.Struct):
    """A chunk whose turn has not come, since when. `given`: the second process has it."""

    chunk: Chunk
    since: float
    given: bool
    parsed: Parsed | None = None


class Assistant:
    """A second process, started. `wanted` says of which triples events are wanted whole.

    `answered` counts the chunks it has parsed, which took it `busy` seconds of a processor; `lost`
    says why it is of no use any more, and is empty while it is.
    """

    def __init__(
        self,
        patterns: Sequence[Pattern],
        wanted: Callable[[Triple], Wanted],
        *,
        most_triples: int = 10_000,
    ) -> None:
        """A log with more triples than so many is nothing to tell another process of.

        Raises OSError when it cannot be started.
        """
        self._most_triples = most_triples
        self._wanted = wanted
        self._told: set[Triple] = set()
        self._news: list[tuple[Triple, Wanted]] = []
        self._waiting: deque[_Waiting] = deque()
        self._foreseen: deque[_Waiting] = deque()
        self._at_work: deque[_Waiting] = deque()
        self._slot = 0
        self._ready = False
        self.answered, self.busy = 0, 0.0
        self.lost = ""
        memory = os.memfd_create("sidecar-chunks")
        try:
            os.ftruncate(memory, _SLOTS * _SLOT)
            self._shared = mmap.mmap(memory, _SLOTS * _SLOT)
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "sidecar.ahead.second", str(memory)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(memory,), bufsize=0,
            )  # fmt: skip
        finally:
            os.close(memory)
        tasks, answers = self._process.stdin, self._process.stdout
        assert tasks is not None  # noqa: S101 - a pipe, as asked for
        assert answers is not None  # noqa: S101 - same
        self._tasks, self._answers = tasks.fileno(), answers.fileno()
        try:
            send(self._tasks, Setup(patterns))
        except Disconnected as wrong:
            self.lost = str(wrong)

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """End the second process, whatever it is at."""
        self._process.kill()
        self._process.communicate()
        self._shared.close()

    def ahead(
        self, chunks: Iterable[Chunk], parse: ParseAlone, now: float, upcoming: Iterable[Chunk] = ()
    ) -> Iterator[tuple[Chunk, Parsed | None]]:
        """Yield each chunk, in order, with what it holds if that can be told from it alone.

        `parse` tells that here, of chunks for which the second process has no room. `now` is the
        wall clock. `upcoming`: what the next call will probably be given first, so that the second
        process has work until then; where it is not, its answers are thrown away.
        """
        for chunk in chunks:
            one = self._foreseen_as(chunk, now)
            if one is None:
                self._collect()
                yield from self._in_turn(parse, now, most=_MOST_WAITING)
                one = self._given(chunk, now)
                one = one or _Waiting(chunk, now, given=False, parsed=parse(chunk, now))
            self._waiting.append(one)
        ahead = iter(upcoming)
        self._foresee(ahead, now)
        while self._waiting:
            yield from self._in_turn(parse, now, most=len(self._waiting) - 1)
            self._foresee(ahead, now)

    def _foreseen_as(self, chunk: Chunk, now: float) -> _Waiting | None:
        """Return what was foreseen as `chunk`; another chunk means that nothing was."""
        if not self._foreseen:
            return None
        one = self._foreseen.popleft()
        if 0 <= now - one.since < _FRESH and one.chunk == chunk:
            return one
        self._foreseen.clear()
        return None

    def _foresee(self, upcoming: Iterator[Chunk], now: float) -> None:
        """Give the second process of what is to come as much as it has room for."""
        while self._has_room() and (chunk := next(upcoming, None)) is not None:
            if any(one.chunk == chunk for one in self._foreseen):
                continue
            if (one := self._given(chunk, now)) is None:
                return
            self._foreseen.append(one)

    def _in_turn(
        self, parse: ParseAlone, now: float, most: int
    ) -> Iterator[tuple[Chunk, Parsed | None]]:
        """Yield what is at hand; wait for answers until only `most` chunks are left waiting."""
        while self._waiting:
            first = self._waiting[0]
            if first.given:
                if len(self._waiting) <= most:
                    return
                self._collect(_PATIENCE)
                if first.given:  # lost
                    first.given, first.parsed = False, parse(first.chunk, now)
            self._waiting.popleft()
            yield first.chunk, first.parsed

    def _has_room(self) -> bool:
        return not self.lost and self._ready and len(self._at_work) < _SLOTS

    def _given(self, chunk: Chunk, now: float) -> _Waiting | None:
        """Give the second process a chunk, if it has room."""
        if not self._has_room() or len(chunk.data) > _SLOT:
            return None
        begin = self._slot * _SLOT
        end = begin + len(chunk.data)
        self._shared[begin:end] = chunk.data
        self._slot = (self._slot + 1) % _SLOTS
        pinned = chunk.prefix, chunk.key, chunk.zone
        task = Task(begin, end, chunk.format, chunk.start, now, self._news, *pinned)
        self._news = []
        try:
            send(self._tasks, task)
        except Disconnected as wrong:
            self.lost = str(wrong)
            return None
        one = _Waiting(chunk, now, given=True)
        self._at_work.append(one)
        return one

    def _collect(self, patience: float = 0.0) -> None:
        """Receive what answers there are; with `patience`, wait so many seconds for the first."""
        try:
            while not self.lost and is_ready(self._answers, patience):
                answer = receive(self._answers, _answer, patience=_PATIENCE)
                patience = 0.0
                if self._ready:
                    self._put_back(answer)
                self._ready = True
        except Disconnected as wrong:
            self.lost = str(wrong)
        if patience:
            self.lost = self.lost or "no answer"

    def _put_back(self, answer: Answer) -> None:
        self.answered += 1
        self.busy += answer.busy
        one = self._at_work.popleft()
        one.given, one.parsed = False, answer.parsed
        self._news += [(triple, self._wanted(triple)) for triple in answer.unknown]
        self._told.update(answer.unknown)
        if len(self._told) > self._most_triples:
            self.lost = "too many event types"
