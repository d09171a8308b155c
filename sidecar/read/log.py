"""A log and its log files: how far each is read, by what it is known again, when it is done with.

A log is what one path names over time; its log files are what lay there one after another. They
are read oldest first, so that lines come in the order in which they were written.
"""

from collections.abc import Generator, Iterator
from posixpath import realpath

from sidecar.batch import BytesLost, LogStatus, OverlongLines, ReadBatch, Rotated, Rotation
from sidecar.parse.event import MAX_LINE, Chunk, LogFormat
from sidecar.parse.repeats import needed_before
from sidecar.read.content import BLOCK, BOM, HOST_NAME, Content, Framed, block_size, frame
from sidecar.read.fingerprint import (
    BEGINNING,
    HEAD,
    TAIL,
    Evidence,
    Fingerprint,
    Marks,
    Match,
    compare,
    fingerprint,
)
from sidecar.read.names import COMPRESSED, Rank, age, is_older, oldest_first
from sidecar.read.scan import Inode, KnownLog, Sighting, Stillness
from sidecar.rows import FINISHED, LEFT_ALONE, FileRow, FileState

NO_INODE: Inode = (0, 0)
_LONGER = 1 << 11
# A writer may hold a rotated file a little longer (logrotate's delaycompress is made for it).
QUIET_SECONDS = 30.0
# A file without a name and without a successor may be all that a running writer has (`rm` under
# its hands), or what a deleted container left behind; the space of those must come free.
ABANDONED_SECONDS = 3600.0
# How long an unfinished compressed file may keep younger files waiting, in looks.
PATIENCE_LOOKS = 20


Stamp = tuple[int, Fingerprint | None, bool, FileState, str, Inode, str]


class LogFile:
    """State of one file. Bytes of head and tail live in memory only; rows get their hashes.

    `id` is never used again, `path` is where the file was last seen, `position` the beginning of
    the next line to read, in (decompressed) bytes.
    """

    def __init__(self, number: int, log: "Log", path: str, key: bytes) -> None:
        self.id = number
        self.log = log
        self.path = path
        self.place = path  # the same without links
        self.inode = NO_INODE
        self.state = FileState.ACTIVE
        self.position = self.open_from = 0
        self.skip = False
        self.size = self.mtime_ns = self.written_ns = 0
        self.last_seen = self.followed_since = 0.0  # by the wall clock
        self.content: Content | None = None
        self.sighted = False  # in the present look
        self.missed = 0  # looks one after another that did not find it
        self.looks = 0  # since it became known
        self.parked = False  # closed while quiet, to spare its handle
        self.original = False  # it was found to begin like no other file
        self.end_seen = False  # it was held open until it was gone
        self.first = b""  # how it begins, if that was asked for
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
        self._unread_since: tuple[int, float] | None = None  # size it had then, wall clock
        self._waits_at = (-1, 0)  # size and mtime at which only an unfinished line was left

    @classmethod
    def restored(cls, row: FileRow, log: "Log", key: bytes) -> "LogFile":
        """Return the log file that `row` describes, not opened yet."""
        self = cls(row.id, log, row.path, key)
        self.inode = (row.dev, row.ino)
        self.state = FileState(row.state)
        self.position, self.open_from, self.skip = row.offset, row.open_from, row.skip
        self.size, self.mtime_ns, self.last_seen = row.size, row.mtime_ns, row.last_seen
        self.written_ns, self.looks, self.followed_since = row.mtime_ns, 1, row.last_seen
        self.original = row.head_len >= TAIL
        self._known = Fingerprint(
            row.offset, row.head_len, row.head_hash, row.tail_len, row.tail_hash
        )
        return self

    def row(self) -> FileRow:
        known = self.fingerprint()
        return FileRow(
            id=self.id, source=self.log.source, log=self.log.path, path=self.place,
            dev=self.inode[0], ino=self.inode[1],
            head_len=known.head_len, head_hash=known.head_hash,
            tail_len=known.tail_len, tail_hash=known.tail_hash,
            offset=self.position, open_from=self.open_from, skip=self.skip,
            state=self.state.value, last_seen=self.last_seen,
            size=self.size, mtime_ns=self.mtime_ns,
        )  # fmt: skip

    @property
    def stamp(self) -> Stamp:
        """Return what is another one whenever the row says something else, but cheaper."""
        source = self.log.source
        return self.position, self._known, self.skip, self.state, self.place, self.inode, source

    def status(self, now: float) -> LogStatus:
        """Return where the file stands; lines that nobody has finished yet do not wait."""
        size = max(self.size, self.position) if self.unread else self.position
        if self._waits_at == (self.size, self.mtime_ns) or not self.unread:
            self._unread_since = None
        elif self._unread_since is None or self.position >= self._unread_since[0]:
            self._unread_since = (self.size, now)
        waiting = max(0.0, now - self._unread_since[1]) if self._unread_since else 0.0
        where = (self.log.path, self.path, self.position, size, self.unread)
        return LogStatus(*where, self.state.value, self.problem, waiting, self.content is not None)

    def fingerprint(self) -> Fingerprint:
        """Return by what the file is known: what was read, or of a file not begun what was seen."""
        if self._known is None:
            head = self._head if self.position else self._beginning
            self._known = fingerprint(self._key, self.position, head, self._tail)
        return self._known

    @property
    def is_out_of_sight(self) -> bool:
        """Tell whether no file on disk was found to be this, and nobody holds it."""
        return self.content is None and not self.sighted

    @property
    def unread(self) -> int:
        """Return the bytes known to lie behind the position; 0 for a compressed file."""
        compressed = self.path.endswith(COMPRESSED) or (self.content and self.content.compressed)
        return 0 if compressed else max(0, self.size - self.position)

    # -- finding and opening

    def sight(self, sighting: Sighting, now: float) -> None:
        """Note where the file is now."""
        if (sighting.path, sighting.inode) != (self.path, self.inode) or self.doubted:
            self.place = realpath(sighting.path)
            self.log.forget_places()
        self.path, self.sighted, self.last_seen = sighting.path, True, now
        self.followed_since = self.followed_since or now
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
        if not self.position and self.content is not None:
            size = self.content.known_to(self.size)
            last = max(0, size - TAIL)
            tail = self.content.read_at(last, size - last)
            known = fingerprint(self._key, size, self.content.read_at(0, min(HEAD, size)), tail)
        if not known.position:
            return None
        return compare(known, content.read_at, self._key).match

    def attach(self, content: Content, evidence: Evidence, inode: Inode, now: float) -> None:
        """Go on in `content`, which was found to be this file."""
        self.detach()
        self.content, self.inode = content, inode
        self.log.held[self] = None
        if len(evidence.head) >= TAIL:
            self.first = evidence.head[:BEGINNING]
        self.parked = self.end_seen = False
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
        self.attach(content, Evidence(Match.SAME), inode, now)
        if position:
            self.pass_over(content, position)
        else:
            self._remember_beginning(content.read_at(0, HEAD))

    def pass_over(self, content: Content, position: int) -> None:
        """Go on in the open file at `position` without reading what is before; raises OSError."""
        last = max(0, position - TAIL)
        self._head = content.read_at(0, min(HEAD, position))
        self._tail = content.read_at(last, position - last)
        self.position = self.open_from = position
        self.written_ns = self.mtime_ns
        self._known = None

    def settle_in(self, seen: Sighting) -> None:
        """Be the file that was seen, with nothing in it left to read."""
        self.inode, self.size, self.mtime_ns = seen.inode, seen.size, seen.mtime_ns
        self.doubted = False

    def leave_alone(self, content: Content, state: FileState) -> None:
        """Know all that `content` holds now without reading it; raises OSError."""
        stat = content.stat()
        self.inode = (stat.st_dev, stat.st_ino)
        self.size, self.mtime_ns = stat.st_size, stat.st_mtime_ns
        self.doubted = False
        self.position = self.open_from = known = content.known_to(stat.st_size)
        last = max(0, known - TAIL)
        head = content.read_at(0, min(HEAD, known))
        self._known = fingerprint(self._key, known, head, content.read_at(last, known - last))
        self.state = state

    @property
    def is_unread(self) -> bool:
        """Tell whether it is in sight with bytes in it that were not read."""
        grew = self.size > self.position  # first: it costs least, and mostly it did not
        return grew and self.sighted and self.state not in FINISHED and self.unread > 0

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
            self.log.held.pop(self, None)

    def park(self) -> None:
        """Close a file that may be opened again; what was not read of it waits."""
        waits = self.behind or self.has_more()
        self.detach()
        self.parked, self.behind = True, waits

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
        shorter = not content.compressed and stat.st_size < (self.position or self.size)
        self.truncated = shorter or not self._holds(content, head=changed)
        self.behind = False
        if self.truncated:
            return False
        self.size, self.mtime_ns = stat.st_size, stat.st_mtime_ns
        self.still.look(now, changed=changed)
        if changed and not self.position:
            self._remember_beginning(content.read_at(0, HEAD))
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
        # Not beyond what there was at the last look: of that there may be a copy that was not seen.
        end = MAX_LINE + 1 if content.compressed else self.size - self.position
        most = min(MAX_LINE + 1, end)
        want = min(max(len(BOM), budget), most, BLOCK)
        block = content.read_lines(self.position, want)
        while len(block) == want < most and b"\n" not in block:
            # Step by step: the last line of each batch comes here, and few lines are long.
            want = min(max(8 * want, _LONGER), most)
            block = content.read_at(self.position, want)
            block = block[: block.find(b"\n") + 1 or want]
        at_end = (len(block) < want or len(block) == end) and not block.endswith(b"\n")
        # The data first, then the check: what was read before a truncation is then thrown away.
        if not self._holds(content):
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

    def _holds(self, content: Content, *, head: bool = False) -> bool:
        """Tell whether what is before the position is as it was, also the `head` if asked for.

        One not begun is only known by the line that was unfinished.
        """
        if content.compressed:
            return content.holds()
        tail = self._tail if self.position else self._beginning
        return content.read_at(max(0, self.position - len(tail)), len(tail)) == tail and not (
            head and content.read_at(0, len(self._head)) != self._head
        )

    def _advance(self, block: bytes, passed: int, framed: Framed) -> None:
        if passed:
            if self.position:
                self.marks.note(self.position, self._head, self._tail)
            if len(self._head) < HEAD:
                self._head += block[: min(passed, HEAD - len(self._head))]
            self._tail = (self._tail + block[max(0, passed - TAIL) : passed])[-TAIL:]
            self.position = self.open_from = framed.end
            self.written_ns = self.mtime_ns
            self._known = None
        self.skip = framed.skip


class Log:
    """The files that were, one after another, what `path` names."""

    def __init__(self, path: str, source: str, held: "dict[LogFile, None]", number: int) -> None:
        self.path = path
        self.number = number  # in the order in which logs became known
        self.source = source
        self.held = held  # the open files of all logs
        self.format = LogFormat.AUTO
        self.prefix: str | None = None
        self.key, self.zone = b"", ""
        self.files: list[LogFile] = []
        self._known: KnownLog | None = None

    @property
    def opened(self) -> list[LogFile]:
        return [file for file in self.files if file.content is not None]

    @property
    def newest(self) -> LogFile | None:
        return next((f for f in reversed(self.files) if f.state not in LEFT_ALONE), None)

    @property
    def unplaced(self) -> list[LogFile]:
        """Return those out of sight that may have bytes to read."""
        return [f for f in self.files if f.is_out_of_sight and f.state not in FINISHED]

    @property
    def live(self) -> LogFile | None:
        """Return the log file at the log's path now."""
        found = (f for f in reversed(self.files) if f.sighted and f.path == self.path)
        return next(found, None)

    def known(self, *, configured: bool) -> KnownLog:
        """Return what to look for on disk: the log, and where its files were last."""
        source = self.source if configured else ""
        if self._known is None or self._known.source != source:
            places = {file.place for file in self.files} - {self.path}
            self._known = KnownLog(self.path, source, tuple(sorted(places)))
        return self._known

    def forget_places(self) -> None:
        """Note that a file of this log was found elsewhere, or is no longer known."""
        self._known = None

    def has_more(self) -> bool:
        return any(file.has_more() for file in self.opened)

    @property
    def behind(self) -> bool:
        return any(file.behind for file in self.files)

    def insert(self, new: LogFile) -> None:
        """Put a rotated file that is found late before the younger ones."""
        index, mine = len(self.files), age(self.path, new.path)
        while index and self._is_younger(self.files[index - 1], mine):
            index -= 1
        self.files.insert(index, new)

    def _is_younger(self, known: LogFile, than: Rank | None) -> bool:
        return known.at_live or (known.sighted and is_older(than, age(self.path, known.path)))

    def sort(self) -> None:
        """Bring restored log files into the order of their age; the live one is youngest."""
        away = sorted((f for f in self.files if not f.sighted), key=lambda f: f.mtime_ns)
        rotated = oldest_first((f for f in self.files if f.sighted and not f.at_live), self.path)
        self.files = [*away, *rotated, *(f for f in self.files if f.sighted and f.at_live)]

    def read(self, batch: ReadBatch, budget: int) -> Generator[Chunk, None, int]:
        """Read the log files in turn until `budget` is about used; return the bytes passed."""
        used, block = 0, block_size(budget)
        for file in self.opened:
            while file.has_more():
                if used >= max(1, budget - block // 2):
                    file.behind = True
                    return used
                passed = yield from self._read_block(file, batch, block)
                if not passed:
                    break
                used += passed
            file.behind = False
            if self._holds_back(file):
                for younger in self.opened:
                    younger.behind = younger.behind or younger.has_more()
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
        content = file.content
        before = needed_before(data, start, content.read_at) if content else b""
        return Chunk(*where, data, start, self.prefix, self.key, HOST_NAME, self.zone, before)

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
        return file.sighted or file is not self.newest or abandoned
