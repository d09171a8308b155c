"""The bytes of one open file by position, as they are or decompressed, cut into whole lines.

Only `frame` knows what a line is. A line ends with a newline; a carriage return before that is
left to the parser.
"""

import os
import re
import socket
import zlib
from stat import S_ISREG
from typing import Protocol

import msgspec

from sidecar.parse.event import MAX_LINE

HOST_NAME = socket.gethostname()  # of the machine that reads
BOM = b"\xef\xbb\xbf"
_NULS = re.compile(rb"\0+")
_GZIP_MAGIC = b"\x1f\x8b"
_STEP = 1 << 17
_GZIP = 31  # zlib's window bits for "with a gzip header"
_PEEK = 2048  # most lines are shorter


class Framed(msgspec.Struct, frozen=True):
    """What a block held: whole lines `data` at position `start`; all before `end` is done with.

    `skip`: `end` lies inside an over-long line, whose rest is to be skipped. `overlong` counts
    the lines given up in this block.
    """

    data: bytes
    start: int
    end: int
    skip: bool = False
    overlong: int = 0


def frame(block: bytes, start: int, *, skip: bool, at_end: bool, final: bool = False) -> Framed:
    """Return the whole lines of `block`, which begins at position `start` of its file.

    `skip`: the block begins inside an over-long line. `at_end`: nothing follows the block for
    now; `final`: nothing ever will, so an unfinished last line is a line. Runs of NUL bytes at
    the start of a line (a sparse file left by a writer without O_APPEND) and a UTF-8 byte order
    mark at position 0 are passed over. A line longer than MAX_LINE is given up.
    """
    first = len(BOM) if start == 0 and block.startswith(BOM) else 0
    if skip:
        newline = block.find(b"\n", first)
        if newline < 0:
            return Framed(b"", start, start + len(block), skip=not final)
        first = newline + 1
    nuls = _NULS.match(block, first)
    if nuls and nuls.end() == len(block) and at_end and not final:
        # A hole with nothing behind it may be preallocated space that the writer fills later.
        return Framed(b"", start + first, start + first)
    return _lines(block, nuls.end() if nuls else first, start, final=final)


def _lines(block: bytes, first: int, start: int, *, final: bool) -> Framed:
    newline = block.rfind(b"\n", first)
    if newline >= 0:
        # First for the one byte: a search for two stops at every newline.
        hole = block.find(b"\0", first, newline)
        hole = block.find(b"\n\0", first, newline) if hole >= 0 else hole
        end = (hole if hole >= 0 else newline) + 1
        return Framed(block[first:end], start + first, start + end)
    end = start + len(block)
    if len(block) - first > MAX_LINE:
        return Framed(b"", end, end, skip=not final, overlong=1)
    if final and first < len(block):
        return Framed(block[first:], start + first, end)
    return Framed(b"", start + first, start + first)


class Content(Protocol):
    """An open file. `complete` is False while a compressed file's end is still to be written."""

    @property
    def compressed(self) -> bool: ...
    @property
    def complete(self) -> bool: ...
    @property
    def unreadable(self) -> int:
        """Return the bytes behind a damage, as they lie on disk."""
        ...

    def read_at(self, position: int, count: int) -> bytes:
        """Return up to `count` bytes from `position`, fewer only where the file ends."""
        ...

    def read_lines(self, position: int, count: int) -> bytes:
        """Return the same, or fewer bytes that end with a line."""
        ...

    def stat(self) -> os.stat_result: ...
    def close(self) -> None: ...


class Plain:
    """A file as it is."""

    compressed = False
    complete = True
    unreadable = 0

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read_at(self, position: int, count: int) -> bytes:
        return os.pread(self._fd, count, position)

    def read_lines(self, position: int, count: int) -> bytes:
        """Look first where the last line ends, and read no further.

        To cut it off afterwards would copy the whole block into memory of its own.
        """
        if count > _PEEK:
            end = os.pread(self._fd, _PEEK, position + count - _PEEK).rfind(b"\n") + 1
            count -= _PEEK - end if end else 0
        return os.pread(self._fd, count, position)

    def stat(self) -> os.stat_result:
        return os.fstat(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class Gzipped:
    """A gzip file by decompressed position; reading backwards starts over.

    One that is still being written simply ends early, a damaged one at the damage.
    """

    compressed = True

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = b""
        self._rewind()

    @property
    def complete(self) -> bool:
        return self._damaged or (self._inflate.eof and not self._more_members())

    @property
    def unreadable(self) -> int:
        return max(1, self.stat().st_size - self._raw + len(self._rest)) if self._damaged else 0

    @property
    def taken(self) -> int:
        """Return how many bytes of the file, as it lies on disk, are decompressed."""
        return self._raw - len(self._rest)

    def read_at(self, position: int, count: int) -> bytes:
        if position < self._base:
            self._rewind()
        while self._base + len(self._buffer) < position + count and self._fill():
            if (drop := min(position - self._base, len(self._buffer))) > 0:
                self._buffer = self._buffer[drop:]
                self._base += drop
        begin = position - self._base
        return self._buffer[begin : begin + count]

    def read_lines(self, position: int, count: int) -> bytes:
        return self.read_at(position, count)

    def stat(self) -> os.stat_result:
        return os.fstat(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def _rewind(self) -> None:
        self._damaged = False
        self._raw = 0  # position in the compressed file
        self._rest = b""  # compressed bytes not yet taken
        self._base = 0  # decompressed position of the buffer
        self._buffer = b""
        self._inflate = zlib.decompressobj(_GZIP)

    def _fill(self) -> bool:
        """Decompress one more piece, at most `_STEP` bytes; return False when there is none."""
        if self._damaged or (self._inflate.eof and not self._next_member()):
            return False
        self._top_up()
        try:
            out = self._inflate.decompress(self._rest, _STEP)
        except zlib.error:
            self._damaged = True
            return False
        took = bool(self._rest)
        self._rest = self._inflate.unconsumed_tail or self._inflate.unused_data
        self._buffer += out
        return took or bool(out)

    def _next_member(self) -> bool:
        if self._more_members():
            self._inflate = zlib.decompressobj(_GZIP)
            return True
        return False

    def _more_members(self) -> bool:
        self._top_up()
        return self._rest.startswith(_GZIP_MAGIC[:1])

    def _top_up(self) -> None:
        if not self._rest:
            self._rest = os.pread(self._fd, _STEP, self._raw)
            self._raw += len(self._rest)


def open_content(path: str) -> Content:
    """Open `path` for reading; raises OSError, also when it is no regular file.

    Without O_NONBLOCK a pipe that matches the glob would block the reader for ever.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        zipped = _is_gzip(path, fd)
    except OSError:
        os.close(fd)
        raise
    return Gzipped(fd) if zipped else Plain(fd)


def _is_gzip(path: str, fd: int) -> bool:
    if not S_ISREG(os.fstat(fd).st_mode):
        raise FileNotFoundError(path)
    return path.endswith(".gz") or os.pread(fd, 2, 0) == _GZIP_MAGIC
