"""Which file is a copy of which: told by how they begin, and by what of each is known."""

from collections.abc import Iterable, Iterator
from posixpath import dirname

from sidecar.batch import Left, LeftAlone, ReadBatch
from sidecar.read.content import ENOUGH, Content
from sidecar.read.files import LogFiles
from sidecar.read.fingerprint import BEGINNING, TAIL, Match, begins_like, beyond
from sidecar.read.log import Log, LogFile
from sidecar.read.scan import Sighting
from sidecar.rows import LEFT_ALONE, FileState


class Copies:
    """Finds the known log file that another file is a copy of."""

    def __init__(self, log_files: LogFiles) -> None:
        self._log_files = log_files

    def drop_copies(self, batch: ReadBatch) -> None:
        """Find out which new files begin as others do, before anything is read of them.

        Of new ones that are alike one that cannot be a copy is the original, else the longest,
        else the one that is as it was for longer.
        """
        new = [f for f in self._log_files.opened() if f.size and not (f.original or f.position)]
        new.sort(key=lambda file: (_may_be_copy(file), -file.size, file.mtime_ns))
        for file in new:
            if (content := file.content) is None:
                continue
            try:
                known = len(content.read_at(0, TAIL)) == TAIL
                twin = None
                if _may_be_copy(file):
                    twin = self.like(content, file.size, file, dirname(file.path))
                if twin:
                    self._share(file, content, *twin, batch)
                file.original = known
                if known and not twin:
                    self._log_files.add_beginning(file)
            except OSError as error:
                file.problem = batch.cannot("read", file.path, error)

    def _share(
        self, file: LogFile, content: Content, twin: LogFile, rest: int, batch: ReadBatch
    ) -> None:
        """Read of an open file only what it does not share with its twin."""
        if rest:
            file.pass_over(content, rest)
        else:
            file.leave_alone(content, FileState.COPY)
            file.close()
        shared = rest or file.size
        batch.events.append(LeftAlone(file.log.path, file.path, shared, Left.COPY, twin.path))

    def original_of(self, log: Log, seen: Sighting, content: Content) -> tuple[LogFile, int] | None:
        """Return the known log file that a rotated file of `log` is a copy of, if any.

        With it comes from where on it holds more than that, 0: nowhere. Of several that it begins
        as, be they of other logs of the folder, it is the one beyond which it holds least.
        """
        alike = [f for f in log.files if not _says_little(f) and _begins_so(f, content)]
        read = [known for known in alike if known.state not in LEFT_ALONE]
        unbegun = any(begins_as(f, content) for f in log.unplaced if not f.position)
        if alike and not read and not unbegun:
            return alike[0], 0
        twin = self.like(content, seen.size, None, dirname(log.path))
        if unbegun and twin and _is_copy(twin[0]):
            twin = None  # of one not begun, and this may be all there is of that
        near = dict.fromkeys((*read, *log.opened))
        return _least([*self._beyond(near, content, seen.size), *([twin] if twin else [])])

    def _beyond(
        self, many: Iterable[LogFile], content: Content, size: int
    ) -> Iterator[tuple[LogFile, int]]:
        """Yield those that `content` is a copy of, with where it holds more, 0: nowhere.

        It does so where that one is itself a copy, made earlier. Raises OSError.
        """
        for known in many:
            with self._log_files.lent(known) as original:
                if _begins_so(known, content):
                    yield known, _rest(known, original, content)
                elif original and is_beginning(content, size, original):
                    yield known, 0

    def is_undecided(self, log: Log, content: Content) -> bool:
        """Tell whether `content` may be a copy of a file of `log`, but cannot be told yet.

        Too little of it is written, or was, when its original was still whole. Raises OSError.
        """
        short = (file for file in log.files if file.match(content) is Match.SHORTER)
        return any(not content.complete or self._log_files.holds(f) is False for f in short)

    def like(
        self, content: Content, size: int, this: LogFile | None, folder: str
    ) -> tuple[LogFile, int] | None:
        """Return the log file in a folder that a file of `size` bytes begins as, but `this`.

        With it comes from where on the file holds more, 0: nowhere. Of several it is the one
        beyond which it holds least. Raises OSError when `content` cannot be read.
        """
        if len(begins := content.read_at(0, BEGINNING)) < TAIL:
            return None  # too little to say so
        others = (f for f in self._log_files.beginning(begins, folder) if f is not this)
        return _least(self._beyond((f for f in others if _may_be(f, content)), content, size))


def _may_be(known: LogFile, content: Content) -> bool:
    """Tell, without opening `known`, whether `content` may be a copy of it."""
    match = known.match(content)
    return match is Match.SAME or (match is Match.SHORTER and content.complete)


def _rest(known: LogFile, original: Content | None, content: Content) -> int:
    """Return from where on `content` holds more than the file that it begins as, 0: nowhere."""
    if known.state in LEFT_ALONE and known.position == ENOUGH:
        return 0  # of what is compressed no more is looked at
    if original is None:
        return known.position if content.read_at(known.position, 1) else 0
    size = 0 if original.compressed else original.stat().st_size
    rest = beyond(content.read_at, original.read_at, size, known.position)
    # Truncated since the look, it holds nothing that `content` could go on beyond.
    return rest if rest and known.compare(original).match is Match.SAME else 0


def _least(found: Iterable[tuple[LogFile, int]]) -> tuple[LogFile, int] | None:
    """Return the file beyond which least is held: nothing, or from the last byte on."""
    return min(found, key=lambda one: (_is_copy(one[0]), one[1] > 0, -one[1]), default=None)


def _says_little(known: LogFile) -> bool:
    """Tell whether so little of a file was left alone that any other may begin with that."""
    return known.state in LEFT_ALONE and known.position < TAIL


def _is_copy(known: LogFile) -> bool:
    return known.state is FileState.COPY


def _may_be_copy(new: LogFile) -> bool:
    """Tell whether a new file is the first of its log.

    A rotated file was looked at before it was taken up; and where a log had a file before,
    the next one may well begin alike.
    """
    others = any(f is not new and f.state not in LEFT_ALONE for f in new.log.files)
    return new.path == new.log.path and not others


def _begins_so(known: LogFile, content: Content) -> bool:
    """Tell whether `content` begins as what is known of a file, or as an open one not begun."""
    if known.match(content) is Match.SAME or known.marks.are_in(content.read_at):
        return True
    held = None if known.position else known.content
    return held is not None and begins_like(held.read_at, held.stat().st_size, content.read_at)


def is_beginning(content: Content, size: int, of: Content) -> bool:
    """Tell whether `content`, a file of `size` bytes, is how another begins; raises OSError."""
    if content.compressed:  # to unpack more of it takes a while
        first = content.read_at(0, BEGINNING)
        size = content.known_to(size) if of.read_at(0, len(first)) == first else 0
    return begins_like(content.read_at, size, of.read_at)


def begins_as(unbegun: LogFile, content: Content) -> bool:
    """Tell whether `content` begins as what was seen of a file not begun; raises OSError."""
    return unbegun.fingerprint().head_len >= TAIL and unbegun.compare(content).match is Match.SAME
