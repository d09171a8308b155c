"""The front door of reading: follows the log files of all sources, poll by poll."""

import os
import queue
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter

from msgspec.structs import replace

from sidecar.batch import LogStatus, OverlongLines, ReadBatch
from sidecar.config.sources import Source
from sidecar.parse.event import MAX_LINE, Chunk
from sidecar.parse.repeats import REACH
from sidecar.read.adopt import Adoption, NewLogFiles
from sidecar.read.content import HOST_NAME, block_size, frame
from sidecar.read.copies import Copies
from sidecar.read.files import LogFiles
from sidecar.read.log import Log, LogFile, Stamp
from sidecar.read.match import Recogniser
from sidecar.read.scan import Look, Scanner
from sidecar.rows import FileRow, Gone

# A file that is out of sight for so long is forgotten, row and all.
KEEP_UNSEEN_SECONDS = 7 * 86_400.0
# A row that only says "still there" is written this often.
_SEEN_EVERY = 86_400.0
# Of thousands of logs that grow, a few after another are read on, not a line of each.
_LEAST_SHARE = 1 << 14
_number = attrgetter("number")


class Follower:
    """Reads the sources by polling; what it returns is read once and never again.

    `stored` are the rows of the last run, `hash_key` the secret under which heads and tails are
    hashed, `first_start` whether there was no run before, `since` when the first run began (wall
    clock), `next_id` the first free id of a log file. A batch
    must be committed before the next poll.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        stored: Sequence[FileRow],
        *,
        hash_key: bytes,
        first_start: bool,
        next_id: int,
        since: float | None = None,
        stdin_fd: int = 0,
    ) -> None:
        on_disk = _on_disk(sources)
        self._new = NewLogFiles(
            on_disk, key=hash_key, next_id=next_id, first_start=first_start, since=since
        )
        self._scanner = Scanner(on_disk)
        self._log_files = LogFiles(on_disk)
        copies = Copies(self._log_files)
        adoption = Adoption(self._log_files, self._new, copies)
        self._recogniser = Recogniser(self._log_files, copies, adoption)
        rows = sorted(stored, key=lambda row: row.id)
        self._log_files.restore(rows, hash_key)
        self._written = {row.id: row for row in rows}
        self._said: dict[int, Stamp] = {}  # by what each file's last row is known
        self._resuming = {row.id for row in rows if row.open_from < row.offset}
        self._turn = -1  # the log that was read last, by its number
        self._stdin_fd = stdin_fd
        self._pipe: Stdin | None = None
        self._stdin: list[Stdin] = []
        self._all_seen = False  # in the last look
        self._open_stdin(sources)

    def retarget(self, sources: Sequence[Source]) -> None:
        """Follow other sources from the next poll on; to be called between two polls.

        Files that are still named stay open, with all that is known of them. Files that nobody
        names any more are closed; should they be named again, reading goes on where it stopped.
        Files of a new source are read from their beginning, unless it says `start_at: end`.
        """
        on_disk = _on_disk(sources)
        self._scanner = Scanner(on_disk)
        seen = self._scanner.look(ReadBatch()).sightings
        at_end = {source.path for source in on_disk if source.from_beginning is False}
        self._new.pass_over(at_end, self._log_files.new_of(at_end, seen))
        self._log_files.retarget(on_disk, seen)
        self._open_stdin(sources)

    def _open_stdin(self, sources: Sequence[Source]) -> None:
        """Read the pipe if a source names it; it has one reader for good."""
        named = [source for source in sources if source.path == STDIN][:1]
        if named and self._pipe is None:
            number = self._new.number()
            self._pipe = Stdin(number, named[0], self._stdin_fd)
        self._stdin = [self._pipe] if named and self._pipe else []

    def directories(self) -> frozenset[str]:
        """Return the directories worth watching, as of the last poll."""
        if not self._scanner.directories():
            self._scanner.look(ReadBatch(), self._log_files.known_logs())
        return self._scanner.directories()

    @property
    def watchable(self) -> bool:
        """Tell whether all there may be to read shows in these; not so of a pipe."""
        return self._all_seen and not self._stdin

    def poll(self, now: float, budget: int = 1 << 20) -> ReadBatch:
        """Look at the disk and read on, about `budget` bytes over all; `now` is the wall clock."""
        batch = self.look(now)
        batch.chunks = list(self.read(batch, now, budget))
        return batch

    def look(self, now: float) -> ReadBatch:
        """Look at the disk; return a batch that `read` has to complete."""
        batch = ReadBatch()
        self._check(batch, now)  # first: what grows from here on may be in no copy that is seen
        look = self._scanner.look(batch, self._log_files.known_logs())
        self._all_seen = not batch.problems
        self._recogniser.recognise(look, now)
        self._resume(batch)
        self._drop_unseen(look, batch, now)
        return batch

    def read(self, batch: ReadBatch, now: float, budget: int) -> Iterator[Chunk]:
        """Read on, about `budget` bytes over all; what `batch` says is true once this ends.

        Each chunk is read when it is asked for, and should be done with by then: its memory
        serves the next.
        """
        yield from self._read(batch, budget)
        for log in self._log_files.open_logs():
            yield from log.retire(batch)
        self._log_files.make_room()
        self._report(batch, now)

    def close(self) -> None:
        """Close all files. What was not committed is read again by the next follower."""
        for file in self._log_files.opened():
            file.detach()

    def _check(self, batch: ReadBatch, now: float) -> None:
        """Find files that were truncated since the last poll.

        A file that failed is opened anew where its name is in sight: a handle may be stale for
        good (NFS, a device that came back).
        """
        for file in self._log_files.opened():
            failed, file.problem = file.problem, ""
            if failed and file.sighted:
                file.detach()
                continue
            try:
                holds = file.check(now)
            except OSError as error:
                file.problem = batch.cannot("look at", file.path, error)
                continue
            if not holds:
                self._log_files.close_truncated(file)

    def _resume(self, batch: ReadBatch) -> None:
        """Give the bytes of unfinished Docker and CRI lines once more, for restored files."""
        if not self._resuming:
            return
        for file in self._log_files.opened():
            if file.id in self._resuming:
                self._resume_one(file, batch)

    def _resume_one(self, file: LogFile, batch: ReadBatch) -> None:
        if file.content is None:
            return
        start, end = file.open_from, file.position
        try:
            data = file.content.read_at(start, end - start)
        except OSError as error:
            batch.problems.append(batch.cannot("read", file.path, error))
            file.detach()  # or reading would go on behind them
            return
        self._resuming.remove(file.id)
        batch.resume.append(file.log.chunk(file, data, start))

    def _read(self, batch: ReadBatch, budget: int) -> Iterator[Chunk]:
        """Share the budget: equal parts first, then what is left in turn, pipes last."""
        waiting, left = self._in_turn(), budget
        while waiting and left > block_size(budget) // 2:
            share, turns, more = max(_LEAST_SHARE, left // len(waiting)), 0, []
            while turns < len(waiting) and left > 0:
                log = waiting[turns]
                left -= (used := (yield from log.read(batch, min(share, left))))
                turns, self._turn = turns + 1, log.number
                if used and log.behind:
                    more.append(log)
            waiting = more + waiting[turns:]
        for log in waiting:
            for file in log.opened:
                file.behind = file.behind or file.has_more()
        for pipe in self._stdin:
            yield from pipe.read(batch, max(left, 1))

    def _in_turn(self) -> list[Log]:
        """Return the logs with more to read, the one after the last that was read first."""
        logs = [log for log in self._log_files.open_logs() if log.has_more()]
        after = bisect_right(logs, self._turn, key=_number)
        return logs[after:] + logs[:after]

    def upcoming(self, budget: int) -> Iterator[Chunk]:
        """Yield what the next `read` will probably yield first, reading on and changing nothing.

        It may turn out otherwise: a file may grow, end or be replaced until then.
        """
        waiting = self._in_turn()
        for log in waiting:
            yield from _upcoming(log, min(budget, max(_LEAST_SHARE, budget // len(waiting))))

    def _drop_unseen(self, look: Look, batch: ReadBatch, now: float) -> None:
        """Drop log files that were not seen for a week; not while anything is hidden."""
        for file in self._log_files.every() if not look.hidden else ():
            away = file.content is None and not file.sighted
            if away and now - file.last_seen > KEEP_UNSEEN_SECONDS:
                self._log_files.remove(file)
        for number in self._log_files.removed:
            self._said.pop(number, None)
        gone, self._log_files.removed = self._log_files.removed, []
        batch.gone += [Gone(FileRow, (n,)) for n in gone if self._written.pop(n, None)]
        batch.forgotten = self._log_files.forget_logs() if gone else []

    def _report(self, batch: ReadBatch, now: float) -> None:
        every, opened = self._log_files.every(), self._log_files.opened()
        for file in every:
            self._write(file, batch, now)
        unread = [f for f in every if f.content is None and f.is_unread]
        batch.logs += [file.status(now) for file in (*unread, *opened)]
        batch.problems += [file.problem for file in opened if file.problem]
        behind = {file.log.path for file in every if file.behind}
        for pipe in self._stdin:
            batch.logs.append(pipe.status())
            if pipe.behind:
                behind.add(STDIN)
        batch.lagging = frozenset(behind)
        batch.caught_up = not behind and not batch.problems

    def _write(self, file: LogFile, batch: ReadBatch, now: float) -> None:
        """Put the row of `file` into the batch if what it says has changed."""
        before, says = self._written.get(file.id), file.stamp
        recent = before is not None and abs(now - before.last_seen) <= _SEEN_EVERY
        if recent and self._said.get(file.id) == says:
            return
        row = file.row()
        self._said[file.id] = file.stamp
        if before is not None:
            same = replace(
                row, last_seen=before.last_seen, size=before.size, mtime_ns=before.mtime_ns
            )
            if same == before and (recent or not file.sighted):
                return
        self._written[row.id] = row
        batch.rows.append(row)


def _on_disk(sources: Sequence[Source]) -> list[Source]:
    return [source for source in sources if source.path != STDIN]


def _upcoming(log: Log, budget: int) -> Iterator[Chunk]:
    """Yield what `log` would give of such a budget, as it lies on the disk now."""
    file = next((file for file in log.opened if file.has_more()), None)
    if file is None or file.content is None or file.content.compressed or file.skip:
        return
    block, position = block_size(budget), file.position
    until = position + max(1, budget - block // 2)
    while position < min(until, file.size):
        try:
            data = file.content.read_lines(position, min(block, file.size - position))
        except OSError:
            return
        data = data[: data.rfind(b"\n") + 1]
        if not data:
            return
        yield log.chunk(file, data, position)
        position += len(data)


# --- lines from a pipe, with no position to return to: each counts at most once

STDIN = "-"
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
        return LogStatus(STDIN, STDIN, self._position, size, lag, state, self._problem)

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
                batch.events.append(OverlongLines(STDIN, framed.overlong))
            if framed.data:
                source = self._source
                yield Chunk(
                    self._number, STDIN, source.format, framed.data, framed.start, source.prefix,
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
