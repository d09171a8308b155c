"""How long a file has been unchanged, told by looks at it and by a clock that may jump.

One generation of a log: a file, how far it is read, and by what it is known again.

One log: its generations oldest first, read in that order.
"""

from collections.abc import Container, Generator, Iterator
from enum import StrEnum
from posixpath import basename

from sidecar.batch import LogStatus, ReadBatch
from sidecar.parse.event import Chunk, LogFormat
from sidecar.read.content import BOM, Content, Framed, frame
from sidecar.read.fingerprint import (
    HEAD,
    TAIL,
    Evidence,
    Fingerprint,
    Marks,
    Match,
    compare,
    fingerprint,
)
from sidecar.read.scan import OLDEST, Age, Place, Sighting, age_rank, errno_name
from sidecar.rows import FileRow

# The most that one look adds: an hour's jump of the clock must not make a busy file seem quiet.
_LONGEST_STEP = 15.0


class Stillness:
    """Looks and seconds since the last change that was seen."""

    def __init__(self) -> None:
        self.looks = 0
        self.seconds = 0.0
        self._looked_at = 0.0

    def begin(self, now: float) -> None:
        """Start counting anew at wall clock `now`."""
        self.looks, self.seconds, self._looked_at = 0, 0.0, now

    def look(self, now: float, *, changed: bool) -> None:
        """Take one look at wall clock `now`."""
        if changed:
            self.begin(now)
            return
        self.looks += 1
        self.seconds += min(max(0.0, now - self._looked_at), _LONGEST_STEP)
        self._looked_at = now


NOWHERE: Place = (0, 0)
# Read at a time. A chunk has a fixed cost in the parser: 128 KiB took 3 to 5 % longer in all.
BLOCK = 1 << 18
_LONGER = 1 << 11


class FileState(StrEnum):
    """Where a generation stands; stored in its row."""

    ACTIVE = "active"  # at its log's path
    ROTATED = "rotated"  # elsewhere, or unlinked; read until it is quiet
    DRAINED = "drained"  # read to its end and closed
    MISSING = "missing"  # not found, nothing has taken its place
    LOST = "lost"  # gone for good with bytes unread
    IGNORED = "ignored"  # compressed history from before the first start


FINISHED = (FileState.DRAINED, FileState.IGNORED)


class LogFile:
    """State of one file. Bytes of head and tail live in memory only; rows get their hashes."""

    def __init__(self, number: int, source: str, log: str, path: str, key: bytes) -> None:
        self.id = number
        self.source = source
        self.log = log
        self.path = path
        self.place = NOWHERE
        self.state = FileState.ACTIVE
        self.offset = self.open_from = 0
        self.skip = False
        self.size = self.mtime_ns = 0
        self.last_seen = 0.0
        self.content: Content | None = None
        self.sighted = False  # in the present look
        self.missed = 0  # looks one after another that did not find it
        self.doubted = False  # closed and out of sight for a while: its inode may be another's
        self.at_live = False  # at the path of a log, not under a rotated name
        self.cut = False  # truncated since it was last read
        self.cut_off = False  # lost its file to a truncation, and no copy of it is found yet
        self.behind = False  # more to read than the last budget allowed
        self.problem = ""
        self.still = Stillness()
        self.marks = Marks(key)
        self._key = key
        self._head = self._tail = self._glimpse = b""
        self._known: Fingerprint | None = None
        self._waits_at = (-1, 0)  # size and mtime at which only an unfinished line was left

    @classmethod
    def restored(cls, row: FileRow, key: bytes) -> "LogFile":
        """Return the generation that `row` describes, not opened yet."""
        self = cls(row.id, row.source, row.log, row.path, key)
        self.place = (row.dev, row.ino)
        self.state = FileState(row.state)
        self.offset, self.open_from, self.skip = row.offset, row.open_from, row.skip
        self.size, self.mtime_ns, self.last_seen = row.size, row.mtime_ns, row.last_seen
        self._known = Fingerprint(
            row.offset, row.head_len, row.head_hash, row.tail_len, row.tail_hash
        )
        return self

    def row(self, last_seen: float) -> FileRow:
        known = self.fingerprint()
        return FileRow(
            id=self.id, source=self.source, log=self.log, path=self.path,
            dev=self.place[0], ino=self.place[1],
            head_len=known.head_len, head_hash=known.head_hash,
            tail_len=known.tail_len, tail_hash=known.tail_hash,
            offset=self.offset, open_from=self.open_from, skip=self.skip,
            state=self.state.value, last_seen=last_seen,
            size=self.size, mtime_ns=self.mtime_ns,
        )  # fmt: skip

    def fingerprint(self) -> Fingerprint:
        """Return by what the file is known: what was read, or of a file not begun what was seen."""
        if self._known is None:
            head = self._head if self.offset else self._glimpse
            self._known = fingerprint(self._key, self.offset, head, self._tail)
        return self._known

    @property
    def age(self) -> Age:
        """Return a sort key among files of one log, oldest first.

        A name that is not in sight says nothing: the file then counts as older than any other
        that was written last in the same instant.
        """
        return (self.mtime_ns, age_rank(basename(self.path)) if self.sighted else OLDEST)

    @property
    def unread(self) -> int:
        """Return the bytes known to lie behind the position; 0 for a compressed file."""
        compressed = self.path.endswith(".gz") or (self.content and self.content.compressed)
        return 0 if compressed else max(0, self.size - self.offset)

    # -- finding and opening

    def sight(self, sighting: Sighting, now: float) -> None:
        """Note where the file is now."""
        self.path, self.sighted, self.last_seen = sighting.path, True, now
        self.missed = 0
        self.at_live = sighting.path == self.log or (bool(sighting.source) and sighting.is_live)

    def compare(self, content: Content) -> Evidence:
        """Tell whether `content` is this generation; raises OSError."""
        return compare(self.fingerprint(), content.read_at, self._key)

    def likeness(self, content: Content) -> Match | None:
        """Tell how `content` compares; None when nothing is known. Raises OSError.

        Of an open file that is not begun yet, all that it holds now is the measure.
        """
        known = self.fingerprint()
        if not self.offset and self.content is not None and not self.content.compressed:
            head = self.content.read_at(0, min(HEAD, self.size))
            last = max(0, self.size - TAIL)
            tail = self.content.read_at(last, self.size - last)
            known = fingerprint(self._key, self.size, head, tail)
        if not known.offset:
            return None
        return compare(known, content.read_at, self._key).likeness

    def attach(self, content: Content, evidence: Evidence, place: Place, now: float) -> None:
        """Go on in `content`, which was found to be this generation."""
        self.detach()
        self.content, self.place = content, place
        self._head, self._tail = evidence.head, evidence.tail
        self.cut = self.doubted = False
        if not self.offset:
            self._head, self._glimpse = b"", evidence.head
        self.still.begin(now)
        self._waits_at = (-1, 0)
        stat = content.stat()
        self.size, self.mtime_ns = stat.st_size, stat.st_mtime_ns
        self.state = FileState.ACTIVE if self.at_live else FileState.ROTATED

    def begin(self, content: Content, place: Place, offset: int, now: float) -> None:
        """Start in a new file at `offset`, the beginning of a line; raises OSError."""
        head = content.read_at(0, min(HEAD, offset)) if offset else b""
        tail = content.read_at(max(0, offset - TAIL), min(TAIL, offset)) if offset else b""
        self.offset = self.open_from = offset
        self._known = None
        self.attach(content, Evidence(Match.SAME, head, tail), place, now)
        self._see(content.read_at(0, HEAD) if not offset else b"")

    def is_unlinked(self) -> bool:
        return self.content is not None and self.content.stat().st_nlink == 0

    def retire_from_live(self, kind: str, batch: ReadBatch, now: float) -> None:
        """Note that this is no longer its log's live file; its quiet time begins now."""
        self.at_live = False
        if self.state is FileState.ACTIVE:
            batch.count("rotations", kind)
            self.state = FileState.ROTATED
            self.still.begin(now)

    def detach(self) -> None:
        """Close the file; head and tail live on as hashes."""
        if self.content is not None:
            self.fingerprint()
            self.content.close()
            self.content = None
            self.behind = False

    def close(self) -> None:
        """Close a file that is done with; if it has no name left, its inode is free to others."""
        if self.is_unlinked():
            self.place = NOWHERE
        self.detach()

    # -- reading

    def check(self, now: float) -> bool:
        """Look at the open file; return False when it no longer holds what was read."""
        content = self.content
        assert content is not None  # noqa: S101 - only open generations are checked
        stat = content.stat()
        changed = (stat.st_size, stat.st_mtime_ns) != (self.size, self.mtime_ns)
        # A file not begun is only known by its size and by the line that was unfinished.
        least = self.offset or self.size
        self.cut = not content.compressed and not (
            stat.st_size >= least
            and (self.offset or self._begins_as_seen(content))
            and self._tail_holds(content)
            and (not changed or content.read_at(0, len(self._head)) == self._head)
        )
        self.behind = False
        if self.cut:
            return False
        self.size, self.mtime_ns = stat.st_size, stat.st_mtime_ns
        self.still.look(now, changed=changed)
        return True

    def has_news(self) -> bool:
        """Tell whether reading may find more than last time."""
        content = self.content
        if content is None or self.cut or self._waits_at == (self.size, self.mtime_ns):
            return False
        return content.compressed or self.size > self.offset

    def read(self, budget: int, max_line: int, *, final: bool = False) -> tuple[Framed | None, int]:
        """Read on by one block; return its lines, if any, and the bytes passed.

        0 bytes: there is no whole line more. A block holds at most `budget` bytes, yet always at
        least one line. `final`: an unfinished last line counts as a line. Raises OSError.
        """
        content = self.content
        assert content is not None  # noqa: S101 - only open generations are read
        want = max(len(BOM), min(budget, max_line + 1, BLOCK))
        block = content.read_lines(self.offset, want)
        while len(block) == want <= max_line and b"\n" not in block:
            # Step by step: the last line of each batch comes here, and few lines are long.
            want = min(max(8 * want, _LONGER), max_line + 1)
            block = content.read_at(self.offset, want)
            block = block[: block.find(b"\n") + 1 or want]
        at_end = len(block) < want and not block.endswith(b"\n")
        # The data first, then the check: what was read before a truncation is then thrown away.
        if not content.compressed and not self._tail_holds(content):
            self.cut = True
            return None, 0
        framed = frame(
            block, self.offset, skip=self.skip, max_line=max_line, at_end=at_end, final=final
        )
        passed = framed.end - self.offset
        self._advance(block, passed, framed)
        if not passed:
            self._waits_at = (self.size, self.mtime_ns)
            self._see(block)
        return framed, passed

    def status(self) -> LogStatus:
        size = max(self.size, self.offset) if self.unread else self.offset
        return LogStatus(
            self.log, self.path, self.offset, size, self.unread, self.state.value, self.problem
        )

    def _see(self, block: bytes) -> None:
        """Remember how a file begins of which no line is finished yet.

        NUL bytes may be space that the writer fills later.
        """
        glimpse = b"" if self.offset else block[:HEAD].partition(b"\0")[0]
        if glimpse != self._glimpse:
            self._glimpse = glimpse
            self._known = None

    def _begins_as_seen(self, content: Content) -> bool:
        return content.read_at(0, len(self._glimpse)) == self._glimpse

    def _tail_holds(self, content: Content) -> bool:
        tail = self._tail
        return content.read_at(self.offset - len(tail), len(tail)) == tail

    def _advance(self, block: bytes, passed: int, framed: Framed) -> None:
        if passed:
            if self.offset:
                self.marks.note(self.offset, self._head, self._tail)
            if len(self._head) < HEAD:
                self._head += block[: min(passed, HEAD - len(self._head))]
            self._tail = (self._tail + block[max(0, passed - TAIL) : passed])[-TAIL:]
            self.offset = self.open_from = framed.end
            self._known = None
        self.skip = framed.skip


# A writer may hold a rotated file a little longer (logrotate's delaycompress is made for it).
QUIET_SECONDS = 30.0
# A file without a name and without a successor may be all that a running writer has (`rm` under
# its hands), or what a deleted container left behind; the space of those must come free.
ABANDONED_SECONDS = 3600.0
# How long an unfinished compressed file may keep younger files waiting, in polls.
PATIENCE_POLLS = 20


class Log:
    """The files that were, one after another, what `path` names."""

    def __init__(self, path: str, source: str, line_format: LogFormat) -> None:
        self.path = path
        self.source = source
        self.format = line_format
        self.generations: list[LogFile] = []
        self._history: dict[Place, Sighting] = {}  # rotated files that are not ours to read
        self._missed: set[Place] = set()  # those of them that the last look did not find
        self._back: set[Place] = set()  # and this one did
        # Of what age the youngest of them was at the first look; None: there was no such look.
        self.history_age: Age | None = None

    @property
    def opened(self) -> list[LogFile]:
        return [g for g in self.generations if g.content is not None]

    @property
    def unplaced(self) -> list[LogFile]:
        """Return the generations that have bytes to read, but no file was found to hold them."""
        return [
            g
            for g in self.generations
            if g.content is None and not g.sighted and g.state not in FINISHED
        ]

    @property
    def live(self) -> LogFile | None:
        """Return the generation at the log's path now."""
        return next(
            (g for g in reversed(self.generations) if g.sighted and g.path == self.path), None
        )

    @property
    def newest_rotated(self) -> LogFile | None:
        """Return the youngest generation read from that is not at the log's path any more."""
        return next((g for g in reversed(self.generations) if g.offset and not g.at_live), None)

    def leave_alone(self, seen: Sighting) -> None:
        """Note that a rotated file is history from before the first start, or a copy."""
        self._history[seen.place] = seen

    def leaves_alone(self, seen: Sighting) -> bool:
        """Tell whether that was noted of this file, and not of one whose inode it got."""
        noted = self._history.get(seen.place)
        if noted is None:
            return False
        untouched = (noted.size, noted.mtime_ns) == (seen.size, seen.mtime_ns)
        growing = noted.path == seen.path and noted.size <= seen.size
        if untouched or (growing and seen.place not in self._back):
            return True
        del self._history[seen.place]
        return False

    def keep_history(self, places: Container[Place]) -> None:
        """Forget what was noted of files that two looks did not find: their inodes go to others.

        One look may miss a file that is being renamed.
        """
        gone = {place for place in self._history if place not in places}
        for place in gone & self._missed:
            del self._history[place]
        self._back, self._missed = self._missed - gone, gone

    @property
    def read_up_to(self) -> Age | None:
        """Return the age of the youngest rotated file that is dealt with; None if unknown."""
        newest = self.newest_rotated
        return newest.age if newest else self.history_age

    @property
    def behind(self) -> bool:
        return any(g.behind for g in self.opened)

    def insert(self, new: LogFile) -> None:
        """Put a rotated generation found late into its place before the younger ones."""
        index = len(self.generations)
        while index and self.generations[index - 1].at_live:
            index -= 1
        self.generations.insert(index, new)

    def sort(self) -> None:
        """Bring restored generations into the order of their files; the live one is youngest."""
        self.generations.sort(key=lambda g: (g.at_live, g.mtime_ns))

    def read(self, batch: ReadBatch, budget: int, max_line: int) -> Generator[Chunk, None, int]:
        """Read generations in turn until `budget` is used; return the bytes passed."""
        used = 0
        for generation in self.opened:
            used += yield from self._read(generation, batch, budget - used, max_line)
            if generation.behind or self._holds_back(generation):
                break
        return used

    def _holds_back(self, generation: LogFile) -> bool:
        content = generation.content
        unfinished = content is not None and not generation.problem and not content.complete
        return unfinished and generation.still.looks < PATIENCE_POLLS

    def _read(
        self, generation: LogFile, batch: ReadBatch, budget: int, max_line: int
    ) -> Generator[Chunk, None, int]:
        used = 0
        while generation.has_news():
            if used >= budget:
                generation.behind = True
                return used
            passed = yield from self._take(generation, batch, budget - used, max_line)
            if not passed:
                break
            used += passed
        generation.behind = False
        return used

    def _take(
        self,
        generation: LogFile,
        batch: ReadBatch,
        budget: int,
        max_line: int,
        *,
        final: bool = False,
    ) -> Generator[Chunk, None, int]:
        """Read one block; return the bytes passed, 0 at the end or on an error."""
        try:
            framed, passed = generation.read(budget, max_line, final=final)
        except OSError as error:
            batch.count("scan_errors", errno_name(error))
            generation.problem = f"cannot read {generation.path}: {error.strerror}; trying again"
            return 0
        generation.problem = ""
        if framed:
            batch.count("overlong_lines", self.path, framed.overlong)
        if framed and framed.data:
            yield Chunk(generation.id, self.path, self.format, framed.data, framed.start)
        return passed

    def retire(self, batch: ReadBatch, max_line: int) -> Iterator[Chunk]:
        """Finish rotated files that are read to their end and quiet: last line, then close."""
        for generation in self.opened:
            if self._is_done(generation):
                while (yield from self._take(generation, batch, max_line, max_line, final=True)):
                    pass
                if self._may_close(generation) and generation.content is not None:
                    batch.count("bytes_lost", self.path, generation.content.unreadable)
                    generation.state = FileState.DRAINED
                    generation.close()
                    batch.count("files", "closed")

    def _is_done(self, generation: LogFile) -> bool:
        content = generation.content
        if content is None or generation.at_live or generation.behind or generation.cut:
            return False
        if generation.problem or generation.state is FileState.ACTIVE:
            return False
        quiet = generation.still.seconds >= QUIET_SECONDS
        return quiet or (content.compressed and content.complete)

    def _may_close(self, generation: LogFile) -> bool:
        # Without a successor the writer may still be at this file, wherever it went: the handle
        # is then the only way to it, unless its name is in sight.
        abandoned = generation.still.seconds >= ABANDONED_SECONDS
        return generation.sighted or generation is not self.generations[-1] or abandoned
