"""A log and its log files: how far each is read, by what it is known again, when it is done with.

A log is what one path names over time; its log files are what lay there one after another. They
are read oldest first, so that lines come in the order in which they were written.
"""

from collections.abc import Container, Generator, Iterator
from enum import StrEnum
from posixpath import basename

from sidecar.batch import BytesLost, LogStatus, OverlongLines, ReadBatch, Rotated, Rotation
from sidecar.parse.event import MAX_LINE, Chunk, LogFormat
from sidecar.read.content import BOM, HOST_NAME, Content, Framed, frame
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
from sidecar.read.scan import OLDEST, Age, Inode, Sighting, age_rank
from sidecar.rows import FileRow

NO_INODE: Inode = (0, 0)
# Bytes read at a time: each chunk has a fixed cost in the parser.
BLOCK = 1 << 18
_LONGER = 1 << 11
# The most that one look adds: an hour's jump of the clock must not make a busy file seem quiet.
_LONGEST_STEP = 15.0
# A writer may hold a rotated file a little longer (logrotate's delaycompress is made for it).
QUIET_SECONDS = 30.0
# A file without a name and without a successor may be all that a running writer has (`rm` under
# its hands), or what a deleted container left behind; the space of those must come free.
ABANDONED_SECONDS = 3600.0
# How long an unfinished compressed file may keep younger files waiting, in looks.
PATIENCE_LOOKS = 20


class Stillness:
    """For how many looks and seconds a file is unchanged, by a clock that may jump."""

    def __init__(self) -> None:
        self.looks = 0
        self.seconds = 0.0
        self._looked_at = 0.0

    def restart(self, now: float) -> None:
        """Count anew from wall clock `now`."""
        self.looks, self.seconds, self._looked_at = 0, 0.0, now

    def look(self, now: float, *, changed: bool) -> None:
        """Take one look at wall clock `now`."""
        if changed:
            self.restart(now)
            return
        self.looks += 1
        self.seconds += min(max(0.0, now - self._looked_at), _LONGEST_STEP)
        self._looked_at = now


class FileState(StrEnum):
    """Where a log file stands; stored in its row."""

    ACTIVE = "active"  # at its log's path
    ROTATED = "rotated"  # elsewhere, or unlinked; read until it is quiet
    DRAINED = "drained"  # read to its end and closed
    MISSING = "missing"  # not found, nothing has taken its place
    LOST = "lost"  # gone for good with bytes unread
    IGNORED = "ignored"  # compressed history from before the first start


FINISHED = (FileState.DRAINED, FileState.IGNORED)


class LogFile:
    """State of one file. Bytes of head and tail live in memory only; rows get their hashes.

    `id` is never used again, `path` is where the file was last seen, `position` the beginning of
    the next line to read, in (decompressed) bytes.
    """

    def __init__(self, number: int, log: "Log", path: str, key: bytes) -> None:
        self.id = number
        self.log = log
        self.path = path
        self.inode = NO_INODE
        self.state = FileState.ACTIVE
        self.position = self.open_from = 0
        self.skip = False
        self.size = self.mtime_ns = 0
        self.last_seen = 0.0
        self.content: Content | None = None
        self.sighted = False  # in the present look
        self.missed = 0  # looks one after another that did not find it
        self.doubted = False  # closed and out of sight for a while: its inode may be another's
        self.at_live = False  # at the path of a log, not under a rotated name
        self.truncated = False  # since it was last read
        self.lost_to_truncation = False  # and no copy of what it held is found yet
        self.behind = False  # more to read than the last budget allowed
        self.problem = ""
        self.still = Stillness()
        self.marks = Marks(key)
        self._key = key
        self._head = self._tail = self._beginning = b""
        self._known: Fingerprint | None = None
        self._waits_at = (-1, 0)  # size and mtime at which only an unfinished line was left

    @classmethod
    def restored(cls, row: FileRow, log: "Log", key: bytes) -> "LogFile":
        """Return the log file that `row` describes, not opened yet."""
        self = cls(row.id, log, row.path, key)
        self.inode = (row.dev, row.ino)
        self.state = FileState(row.state)
        self.position, self.open_from, self.skip = row.offset, row.open_from, row.skip
        self.size, self.mtime_ns, self.last_seen = row.size, row.mtime_ns, row.last_seen
        self._known = Fingerprint(
            row.offset, row.head_len, row.head_hash, row.tail_len, row.tail_hash
        )
        return self

    def row(self) -> FileRow:
        known = self.fingerprint()
        return FileRow(
            id=self.id, source=self.log.source, log=self.log.path, path=self.path,
            dev=self.inode[0], ino=self.inode[1],
            head_len=known.head_len, head_hash=known.head_hash,
            tail_len=known.tail_len, tail_hash=known.tail_hash,
            offset=self.position, open_from=self.open_from, skip=self.skip,
            state=self.state.value, last_seen=self.last_seen,
            size=self.size, mtime_ns=self.mtime_ns,
        )  # fmt: skip

    def status(self) -> LogStatus:
        size = max(self.size, self.position) if self.unread else self.position
        return LogStatus(
            self.log.path,
            self.path,
            self.position,
            size,
            self.unread,
            self.state.value,
            self.problem,
        )

    def fingerprint(self) -> Fingerprint:
        """Return by what the file is known: what was read, or of a file not begun what was seen."""
        if self._known is None:
            head = self._head if self.position else self._beginning
            self._known = fingerprint(self._key, self.position, head, self._tail)
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
        return 0 if compressed else max(0, self.size - self.position)

    # -- finding and opening

    def sight(self, sighting: Sighting, now: float) -> None:
        """Note where the file is now."""
        self.path, self.sighted, self.last_seen = sighting.path, True, now
        self.missed = 0
        self.at_live = sighting.path == self.log.path or (
            bool(sighting.source) and sighting.is_live
        )

    def compare(self, content: Content) -> Evidence:
        """Tell whether `content` is this file; raises OSError."""
        return compare(self.fingerprint(), content.read_at, self._key)

    def match(self, content: Content) -> Match | None:
        """Tell how `content` compares; None when nothing is known. Raises OSError.

        Of an open file that is not begun yet, all that it holds now is the measure.
        """
        known = self.fingerprint()
        if not self.position and self.content is not None and not self.content.compressed:
            head = self.content.read_at(0, min(HEAD, self.size))
            last = max(0, self.size - TAIL)
            tail = self.content.read_at(last, self.size - last)
            known = fingerprint(self._key, self.size, head, tail)
        if not known.position:
            return None
        return compare(known, content.read_at, self._key).match

    def attach(self, content: Content, evidence: Evidence, inode: Inode, now: float) -> None:
        """Go on in `content`, which was found to be this file."""
        self.detach()
        self.content, self.inode = content, inode
        self._head, self._tail = evidence.head, evidence.tail
        self.truncated = self.doubted = False
        if not self.position:
            self._head, self._beginning = b"", evidence.head
        self.still.restart(now)
        self._waits_at = (-1, 0)
        stat = content.stat()
        self.size, self.mtime_ns = stat.st_size, stat.st_mtime_ns
        self.state = FileState.ACTIVE if self.at_live else FileState.ROTATED

    def start_at(self, position: int, content: Content, inode: Inode, now: float) -> None:
        """Read a new file from `position`, the beginning of a line; raises OSError."""
        last = max(0, position - TAIL)
        head = content.read_at(0, min(HEAD, position))
        tail = content.read_at(last, position - last)
        self.position = self.open_from = position
        self._known = None
        self.attach(content, Evidence(Match.SAME, head, tail), inode, now)
        self._remember_beginning(content.read_at(0, HEAD) if not position else b"")

    def is_unlinked(self) -> bool:
        return self.content is not None and self.content.stat().st_nlink == 0

    def leave_live_path(self, how: Rotation, batch: ReadBatch, now: float) -> None:
        """Note that this is no longer its log's live file; its quiet time begins now."""
        self.at_live = False
        if self.state is FileState.ACTIVE:
            batch.events.append(Rotated(how))
            self.state = FileState.ROTATED
            self.still.restart(now)

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
            self.inode = NO_INODE
        self.detach()

    # -- reading

    def check(self, now: float) -> bool:
        """Look at the open file; return False when it no longer holds what was read."""
        content = self.content
        assert content is not None  # noqa: S101 - only open files are checked
        stat = content.stat()
        changed = (stat.st_size, stat.st_mtime_ns) != (self.size, self.mtime_ns)
        # A file not begun is only known by its size and by the line that was unfinished.
        least = self.position or self.size
        self.truncated = not content.compressed and not (
            stat.st_size >= least
            and (self.position or self._begins_as_seen(content))
            and self._tail_holds(content)
            and (not changed or content.read_at(0, len(self._head)) == self._head)
        )
        self.behind = False
        if self.truncated:
            return False
        self.size, self.mtime_ns = stat.st_size, stat.st_mtime_ns
        self.still.look(now, changed=changed)
        return True

    def has_more(self) -> bool:
        """Tell whether reading may find more than last time."""
        content = self.content
        if content is None or self.truncated or self._waits_at == (self.size, self.mtime_ns):
            return False
        return content.compressed or self.size > self.position

    def read(self, budget: int, *, final: bool = False) -> tuple[Framed | None, int]:
        """Read on by one block; return its lines, if any, and the bytes passed.

        0 bytes: there is no whole line more. A block holds at most `budget` bytes, yet always at
        least one line. `final`: an unfinished last line counts as a line. Raises OSError.
        """
        content = self.content
        assert content is not None  # noqa: S101 - only open files are read
        want = max(len(BOM), min(budget, MAX_LINE + 1, BLOCK))
        block = content.read_lines(self.position, want)
        while len(block) == want <= MAX_LINE and b"\n" not in block:
            # Step by step: the last line of each batch comes here, and few lines are long.
            want = min(max(8 * want, _LONGER), MAX_LINE + 1)
            block = content.read_at(self.position, want)
            block = block[: block.find(b"\n") + 1 or want]
        at_end = len(block) < want and not block.endswith(b"\n")
        # The data first, then the check: what was read before a truncation is then thrown away.
        if not content.compressed and not self._tail_holds(content):
            self.truncated = True
            return None, 0
        framed = frame(block, self.position, skip=self.skip, at_end=at_end, final=final)
        passed = framed.end - self.position
        self._advance(block, passed, framed)
        if not passed:
            self._waits_at = (self.size, self.mtime_ns)
            self._remember_beginning(block)
        return framed, passed

    def _remember_beginning(self, block: bytes) -> None:
        """Remember how a file begins of which no line is finished yet.

        NUL bytes may be space that the writer fills later.
        """
        beginning = b"" if self.position else block[:HEAD].partition(b"\0")[0]
        if beginning != self._beginning:
            self._beginning = beginning
            self._known = None

    def _begins_as_seen(self, content: Content) -> bool:
        return content.read_at(0, len(self._beginning)) == self._beginning

    def _tail_holds(self, content: Content) -> bool:
        tail = self._tail
        return content.read_at(self.position - len(tail), len(tail)) == tail

    def _advance(self, block: bytes, passed: int, framed: Framed) -> None:
        if passed:
            if self.position:
                self.marks.note(self.position, self._head, self._tail)
            if len(self._head) < HEAD:
                self._head += block[: min(passed, HEAD - len(self._head))]
            self._tail = (self._tail + block[max(0, passed - TAIL) : passed])[-TAIL:]
            self.position = self.open_from = framed.end
            self._known = None
        self.skip = framed.skip


class Log:
    """The files that were, one after another, what `path` names."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.source = source
        self.format = LogFormat.AUTO
        self.prefix: str | None = None
        self.key = b""
        self.files: list[LogFile] = []
        self._history: dict[Inode, Sighting] = {}  # rotated files that are not ours to read
        self._missed: set[Inode] = set()  # those of them that the last look did not find
        self._back: set[Inode] = set()  # and this one did
        # Of what age the youngest of them was at the first look; None: there was no such look.
        self.history_age: Age | None = None

    @property
    def opened(self) -> list[LogFile]:
        return [file for file in self.files if file.content is not None]

    @property
    def unplaced(self) -> list[LogFile]:
        """Return those that have bytes to read, but no file on disk was found to hold them."""
        return [
            file
            for file in self.files
            if file.content is None and not file.sighted and file.state not in FINISHED
        ]

    @property
    def live(self) -> LogFile | None:
        """Return the log file at the log's path now."""
        found = (f for f in reversed(self.files) if f.sighted and f.path == self.path)
        return next(found, None)

    @property
    def read_up_to(self) -> Age | None:
        """Return the age of the youngest rotated file that is dealt with; None if unknown."""
        rotated = (f for f in reversed(self.files) if f.position and not f.at_live)
        newest = next(rotated, None)
        return newest.age if newest else self.history_age

    def has_more(self) -> bool:
        return any(file.has_more() for file in self.opened)

    @property
    def behind(self) -> bool:
        return any(file.behind for file in self.opened)

    def leave_alone(self, seen: Sighting) -> None:
        """Note that a rotated file is history from before the first start, or a copy."""
        self._history[seen.inode] = seen

    def leaves_alone(self, seen: Sighting) -> bool:
        """Tell whether that was noted of this file, and not of one whose inode it got."""
        noted = self._history.get(seen.inode)
        if noted is None:
            return False
        untouched = (noted.size, noted.mtime_ns) == (seen.size, seen.mtime_ns)
        growing = noted.path == seen.path and noted.size <= seen.size
        if untouched or (growing and seen.inode not in self._back):
            return True
        del self._history[seen.inode]
        return False

    def keep_history(self, inodes: Container[Inode]) -> None:
        """Drop what was noted of files that two looks did not find: their inodes go to others.

        One look may miss a file that is being renamed.
        """
        gone = {inode for inode in self._history if inode not in inodes}
        for inode in gone & self._missed:
            del self._history[inode]
        self._back, self._missed = self._missed - gone, gone

    def insert(self, new: LogFile) -> None:
        """Put a rotated file that is found late before the younger ones."""
        index = len(self.files)
        while index and self.files[index - 1].at_live:
            index -= 1
        self.files.insert(index, new)

    def sort(self) -> None:
        """Bring restored log files into the order of their age; the live one is youngest."""
        self.files.sort(key=lambda file: (file.at_live, file.mtime_ns))

    def read(self, batch: ReadBatch, budget: int) -> Generator[Chunk, None, int]:
        """Read the log files in turn until `budget` is used; return the bytes passed."""
        used = 0
        for file in self.opened:
            while file.has_more():
                if used >= budget:
                    file.behind = True
                    return used
                passed = yield from self._read_block(file, batch, budget - used)
                if not passed:
                    break
                used += passed
            file.behind = False
            if self._holds_back(file):
                break
        return used

    def retire(self, batch: ReadBatch) -> Iterator[Chunk]:
        """Finish rotated files that are read to their end and quiet: last line, then close."""
        for file in self.opened:
            if self._is_done(file):
                while (yield from self._read_block(file, batch, MAX_LINE, final=True)):
                    pass
                if self._may_close(file) and file.content is not None:
                    if lost := file.content.unreadable:
                        batch.events.append(BytesLost(self.path, lost))
                    file.state = FileState.DRAINED
                    file.close()

    def _read_block(
        self, file: LogFile, batch: ReadBatch, budget: int, *, final: bool = False
    ) -> Generator[Chunk, None, int]:
        """Read one block; return the bytes passed, 0 at the end or on an error."""
        try:
            framed, passed = file.read(budget, final=final)
        except OSError as error:
            file.problem = batch.cannot("read", file.path, error)
            return 0
        file.problem = ""
        if framed and framed.overlong:
            batch.events.append(OverlongLines(self.path, framed.overlong))
        if framed and framed.data:
            yield self.chunk(file, framed.data, framed.start)
        return passed

    def chunk(self, file: LogFile, data: bytes, start: int) -> Chunk:
        where = (file.id, self.path, self.format)
        return Chunk(*where, data, start, self.prefix, self.key, HOST_NAME)

    def _holds_back(self, file: LogFile) -> bool:
        content = file.content
        unfinished = content is not None and not file.problem and not content.complete
        return unfinished and file.still.looks < PATIENCE_LOOKS

    def _is_done(self, file: LogFile) -> bool:
        content = file.content
        if content is None or file.at_live or file.behind or file.truncated:
            return False
        if file.problem or file.state is FileState.ACTIVE:
            return False
        quiet = file.still.seconds >= QUIET_SECONDS
        return quiet or (content.compressed and content.complete)

    def _may_close(self, file: LogFile) -> bool:
        # Without a successor the writer may still be at this file, wherever it went: the handle
        # is then the only way to it, unless its name is in sight.
        abandoned = file.still.seconds >= ABANDONED_SECONDS
        return file.sighted or file is not self.files[-1] or abandoned
