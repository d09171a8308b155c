"""One generation of a log: a file, how far it is read, and by what it is known again."""

from enum import StrEnum
from posixpath import basename

from sidecar.batch import LogStatus, ReadBatch
from sidecar.read.content import Content
from sidecar.read.framing import BOM, Framed, frame
from sidecar.read.identity import (
    HEAD,
    TAIL,
    Evidence,
    Fingerprint,
    Likeness,
    compare,
    fingerprint,
)
from sidecar.read.marks import Marks
from sidecar.read.names import OLDEST, age_rank
from sidecar.read.scan import Age, Place, Sighting
from sidecar.read.stillness import Stillness
from sidecar.rows import FileRow

NOWHERE: Place = (0, 0)
# Read at a time. A chunk has a fixed cost in the parser: 128 KiB took 3 to 5 % longer in all.
BLOCK = 1 << 18
_LONGER = 1 << 11


class State(StrEnum):
    """Where a generation stands; stored in its row."""

    ACTIVE = "active"  # at its log's path
    ROTATED = "rotated"  # elsewhere, or unlinked; read until it is quiet
    DRAINED = "drained"  # read to its end and closed
    MISSING = "missing"  # not found, nothing has taken its place
    LOST = "lost"  # gone for good with bytes unread
    IGNORED = "ignored"  # compressed history from before the first start


FINISHED = (State.DRAINED, State.IGNORED)


class Generation:
    """State of one file. Bytes of head and tail live in memory only; rows get their hashes."""

    def __init__(self, number: int, source: str, log: str, path: str, key: bytes) -> None:
        self.id = number
        self.source = source
        self.log = log
        self.path = path
        self.place = NOWHERE
        self.state = State.ACTIVE
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
    def restored(cls, row: FileRow, key: bytes) -> "Generation":
        """Return the generation that `row` describes, not opened yet."""
        self = cls(row.id, row.source, row.log, row.path, key)
        self.place = (row.dev, row.ino)
        self.state = State(row.state)
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

    def likeness(self, content: Content) -> Likeness | None:
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
        self.state = State.ACTIVE if self.at_live else State.ROTATED

    def begin(self, content: Content, place: Place, offset: int, now: float) -> None:
        """Start in a new file at `offset`, the beginning of a line; raises OSError."""
        head = content.read_at(0, min(HEAD, offset)) if offset else b""
        tail = content.read_at(max(0, offset - TAIL), min(TAIL, offset)) if offset else b""
        self.offset = self.open_from = offset
        self._known = None
        self.attach(content, Evidence(Likeness.SAME, head, tail), place, now)
        self._see(content.read_at(0, HEAD) if not offset else b"")

    def is_unlinked(self) -> bool:
        return self.content is not None and self.content.stat().st_nlink == 0

    def retire_from_live(self, kind: str, batch: ReadBatch, now: float) -> None:
        """Note that this is no longer its log's live file; its quiet time begins now."""
        self.at_live = False
        if self.state is State.ACTIVE:
            batch.count("rotations", kind)
            self.state = State.ROTATED
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
