"""Follows the files of all sources: where they are, what is new in them, what to store of it."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from sidecar.batch import ReadBatch
from sidecar.config.settings import Source
from sidecar.parse.event import Chunk
from sidecar.read.files import LogFiles
from sidecar.read.log import Log, LogFile
from sidecar.read.match import Adoption, Origin, Recogniser
from sidecar.read.scan import Look, Scanner, errno_name
from sidecar.read.stdin import LOG as STDIN, Stdin
from sidecar.rows import FileRow, Gone

FORGET_AFTER = 7 * 86_400.0
# A row that only says "still there" is written this often.
_SEEN_EVERY = 86_400.0


class Follower:
    """Reads the sources by polling; what it returns is read once and never again.

    `stored` are the rows of the last run, `hash_key` the secret under which heads and tails are
    hashed, `first_start` whether there was no run before, `since` when the first run began (wall
    clock), `next_id` the first free generation id, `max_line` the longest line in bytes. A batch
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
        max_line: int = 1 << 20,
        stdin_fd: int = 0,
    ) -> None:
        files = _files(sources)
        self._origin = Origin(
            files, key=hash_key, next_id=next_id, first_start=first_start, since=since,
            max_line=max_line,
        )  # fmt: skip
        self._max_line = max_line
        self._scanner = Scanner(files)
        self._files = LogFiles(files)
        self._recogniser = Recogniser(self._files, Adoption(self._files, self._origin))
        rows = sorted(stored, key=lambda row: row.id)
        self._files.restore(LogFile.restored(row, hash_key) for row in rows)
        self._written = {row.id: row for row in rows}
        self._resuming = {row.id for row in rows if row.open_from < row.offset}
        self._turn = 0
        self._stdin_fd = stdin_fd
        self._pipe: Stdin | None = None
        self._stdin: list[Stdin] = []
        self._all_seen = False  # in the last look
        self._open_stdin(sources)

    def retarget(self, sources: Sequence[Source]) -> None:
        """Follow other sources from the next poll on; to be called between two polls.

        Files that are still named stay open, with all that is known of them. Files that nobody
        names any more are closed; should they be named again, reading goes on where it stopped.
        Files of a new source are read from their beginning.
        """
        files = _files(sources)
        self._scanner = Scanner(files)
        self._files.retarget(files, self._scanner.look().sightings)
        self._open_stdin(sources)

    def _open_stdin(self, sources: Sequence[Source]) -> None:
        """Read the pipe if a source names it; it has one reader for good."""
        named = [source for source in sources if source.path == STDIN][:1]
        if named and self._pipe is None:
            number = self._origin.number()
            self._pipe = Stdin(number, named[0].format, self._max_line, self._stdin_fd)
        self._stdin = [self._pipe] if named and self._pipe else []

    def directories(self) -> frozenset[str]:
        """Return the directories worth watching, as of the last poll."""
        return self._scanner.directories() or self._scan_directories()

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
        look = self._scanner.look(self._files.known_logs())
        for name in look.errors:
            batch.count("scan_errors", name)
        batch.problems += look.problems
        self._all_seen = not look.problems
        self._check(batch, now)
        self._recogniser.recognise(look, batch, now)
        self._resume(batch)
        self._forget(look, batch, now)
        return batch

    def read(self, batch: ReadBatch, now: float, budget: int) -> Iterator[Chunk]:
        """Read on, about `budget` bytes over all; what `batch` says is true once this ends.

        Each chunk is read when it is asked for, and should be done with by then: its memory
        serves the next. Reading all before parsing took 0.5 ms a MiB, so 0.1: page faults.
        """
        yield from self._read(batch, budget)
        for log in self._files.logs.values():
            yield from log.retire(batch, self._max_line)
        self._report(batch, now)

    def close(self) -> None:
        """Close all files. What was not committed is read again by the next follower."""
        for generation in self._files.opened():
            generation.detach()

    def _scan_directories(self) -> frozenset[str]:
        self._scanner.look(self._files.known_logs())
        return self._scanner.directories()

    def _check(self, batch: ReadBatch, now: float) -> None:
        """Find files that were truncated since the last poll.

        A file that failed is opened anew where its name is in sight: a handle may be stale for
        good (NFS, a device that came back).
        """
        for generation in list(self._files.opened()):
            failed, generation.problem = generation.problem, ""
            if failed and generation.sighted:
                generation.detach()
                continue
            try:
                holds = generation.check(now)
            except OSError as error:
                batch.count("scan_errors", errno_name(error))
                generation.problem = (
                    f"cannot look at {generation.path}: {error.strerror}; trying again"
                )
                continue
            if not holds:
                self._files.cut(generation)

    def _resume(self, batch: ReadBatch) -> None:
        """Give the bytes of unfinished Docker and CRI lines once more, for restored files."""
        if not self._resuming:
            return
        for log in self._files.logs.values():
            for generation in log.opened:
                if generation.id in self._resuming:
                    self._resuming.remove(generation.id)
                    self._resume_one(log, generation, batch)

    def _resume_one(self, log: Log, generation: LogFile, batch: ReadBatch) -> None:
        start, end = generation.open_from, generation.offset
        if generation.content is None:
            return
        try:
            data = generation.content.read_at(start, end - start)
        except OSError as error:
            batch.count("scan_errors", errno_name(error))
            batch.problems.append(f"cannot read {generation.path}: {error.strerror}; trying again")
            generation.detach()  # or reading would go on behind them
            self._resuming.add(generation.id)
            return
        batch.resume.append(Chunk(generation.id, log.path, log.format, data, start))

    def _read(self, batch: ReadBatch, budget: int) -> Iterator[Chunk]:
        """Share the budget: equal parts first, then what is left in turn, pipes last."""
        logs = [log for log in self._files.logs.values() if log.opened]
        self._turn = (self._turn + 1) % max(1, len(logs))
        waiting = [log for log in logs[self._turn :] + logs[: self._turn] if _has_news(log)]
        left = budget
        while waiting and left > 0:
            share, turns = max(1, left // len(waiting)), 0
            while turns < len(waiting) and left > 0:
                left -= yield from waiting[turns].read(batch, min(share, left), self._max_line)
                turns += 1
            waiting = [log for log in waiting[:turns] if log.behind] + waiting[turns:]
        for log in waiting:
            for generation in log.opened:
                generation.behind = generation.behind or generation.has_news()
        for pipe in self._stdin:
            yield from pipe.read(batch, max(left, 1))

    def _forget(self, look: Look, batch: ReadBatch, now: float) -> None:
        """Drop generations whose file was not seen for a week; not while anything is hidden."""
        if look.blind:
            return
        for log in self._files.logs.values():
            for generation in list(log.generations):
                away = generation.content is None and not generation.sighted
                if away and now - generation.last_seen > FORGET_AFTER:
                    self._files.forget(generation)
                    if self._written.pop(generation.id, None):
                        batch.gone.append(Gone(FileRow, (generation.id,)))

    def _report(self, batch: ReadBatch, now: float) -> None:
        behind = set()
        for log in self._files.logs.values():
            for generation in log.generations:
                self._write(generation, batch, now)
            opened = log.opened
            batch.logs += [generation.status() for generation in opened]
            batch.problems += [g.problem for g in opened if g.problem]
            if log.behind:
                behind.add(log.path)
        for pipe in self._stdin:
            batch.logs.append(pipe.status())
            if pipe.behind:
                behind.add(STDIN)
        batch.lagging = frozenset(behind)
        batch.caught_up = not behind and not batch.problems

    def _write(self, generation: LogFile, batch: ReadBatch, now: float) -> None:
        """Put the row of `generation` into the batch if what it says has changed."""
        row = generation.row(generation.last_seen)
        before = self._written.get(row.id)
        if before is not None:
            same = replace(
                row, last_seen=before.last_seen, size=before.size, mtime_ns=before.mtime_ns
            )
            stale = generation.sighted and abs(now - before.last_seen) > _SEEN_EVERY
            if same == before and not stale:
                return
        self._written[row.id] = row
        batch.rows.append(row)


def _files(sources: Sequence[Source]) -> list[Source]:
    return [source for source in sources if source.path != STDIN]


def _has_news(log: Log) -> bool:
    return any(generation.has_news() for generation in log.opened)
