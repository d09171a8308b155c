"""The bytes of one open file by position, as they are or decompressed, cut into whole lines.

Only `frame` knows what a line is. A line ends with a newline; a carriage return before that is
left to the parser.
"""

import bz2
import errno
import lzma
import os
import re
import socket
import zlib
from collections.abc import Callable
from stat import S_ISREG
from typing import Protocol

import msgspec

from sidecar.parse.event import MAX_LINE
from sidecar.parse.repeats import REACH

HOST_NAME = socket.gethostname()  # of the machine that reads
BOM = b"\xef\xbb\xbf"
_NULS = re.compile(rb"\0+")
_STEP = 1 << 17
_KNOWN = 64  # as many bytes of a compressed file are held against what is there later
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


# So much of a compressed file is looked at to know it again: to take all of it apart costs minutes.
ENOUGH = 1 << 18
# Bytes read at a time: each chunk has a fixed cost for the parser, and for each rule.
BLOCK = 1 << 20


def block_size(budget: int) -> int:
    """Return the bytes of each block that is read of a budget: BLOCK, or a half of it, a quarter...

    Budgets change from step to step. Blocks that do not can be foreseen from where one ends.
    """
    size = BLOCK
    while size > max(1, budget):
        size //= 2
    return size


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

    def known_to(self, size: int) -> int:
        """Return up to which position a file of `size` bytes on disk is looked at to know it."""
        ...

    def holds(self) -> bool:
        """Tell whether a compressed file was not written over since it was taken apart."""
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

    def known_to(self, size: int) -> int:
        return size

    def holds(self) -> bool:
        return True

    def stat(self) -> os.stat_result:
        return os.fstat(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class Decoder(Protocol):
    """Takes one compressed stream apart, piece by piece."""

    @property
    def eof(self) -> bool: ...
    @property
    def hungry(self) -> bool:
        """Tell whether it needs more of the file before it can give more."""
        ...

    def take(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        """Return about `most` bytes of content, and what of `data` is to be handed in again."""
        ...


class _Gzip:
    hungry = True

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(31)  # window bits for "with a gzip header"

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    def take(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        out = self._inflate.decompress(data, most)
        return out, self._inflate.unconsumed_tail or self._inflate.unused_data


class _Buffering:
    """The decoders of bz2 and lzma keep what they are handed and give it out bit by bit."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def hungry(self) -> bool:
        return self._inner.eof or self._inner.needs_input

    def take(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        out = self._inner.decompress(data, most)
        return out, self._inner.unused_data if self._inner.eof else b""


class _Zstd:
    """What it gives out at once has no bound but that of what it is handed: so that is little."""

    hungry = True
    _PIECE = 64  # at most 16 blocks of 128 KiB each, by RFC 8878

    def __init__(self) -> None:
        try:
            import zstandard  # noqa: PLC0415 - an extra, and most logs need none
        except ImportError:
            need = "it takes the package zstandard (pip install webhook-alert-sidecar[zstd])"
            raise OSError(errno.ENOTSUP, need) from None
        self._inner = zstandard.ZstdDecompressor().decompressobj()
        self._wrong = zstandard.ZstdError

    @property
    def eof(self) -> bool:
        return self._inner.eof

    def take(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        found, at = [], 0
        while at < len(data) and most > 0 and not self._inner.eof:
            try:
                found.append(self._inner.decompress(data[at : at + self._PIECE]))
            except self._wrong as error:
                raise ValueError(str(error)) from error
            at += self._PIECE
            most -= len(found[-1])
        unused = self._inner.unused_data if self._inner.eof else b""
        return b"".join(found), unused + data[at:]


class Form(msgspec.Struct, frozen=True):
    """A way of compressing: how its files are called and begin, and who takes them apart."""

    ending: str
    magic: bytes
    decoder: Callable[[], Decoder]


# RFC 1952; xz-file-format 2.1.1.1; bzip2's header with its first block; RFC 8878.
FORMS = (
    Form(".gz", b"\x1f\x8b", _Gzip),
    Form(".xz", b"\xfd7zXZ\0", lambda: _Buffering(lzma.LZMADecompressor(lzma.FORMAT_XZ))),
    Form(".bz2", b"BZh", lambda: _Buffering(bz2.BZ2Decompressor())),
    Form(".zst", b"\x28\xb5\x2f\xfd", _Zstd),
)
_LONGEST_MAGIC = 10
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")


class Compressed:
    """A compressed file by decompressed position; reading further back than REACH starts over.

    One that is still being written simply ends early, a damaged one at the damage. Raises OSError
    where nothing is installed that takes it apart.
    """

    compressed = True

    def __init__(self, fd: int, form: Form) -> None:
        self._fd = fd
        self.form = form
        self._buffer = b""
        self._rewind()

    @property
    def complete(self) -> bool:
        return self._damaged or (self._decoder.eof and not self._more_members())

    @property
    def unreadable(self) -> int:
        behind = self.stat().st_size - self._raw + len(self._rest)
        if self._damaged:
            return max(1, behind)
        # Zeros fill up a block; anything else another process wrote into the file.
        return behind if self._decoder.eof and self._rest.strip(b"\0") else 0

    @property
    def taken(self) -> int:
        """Return how many bytes of the file, as it lies on disk, are decompressed."""
        return self._raw - len(self._rest)

    def read_at(self, position: int, count: int) -> bytes:
        if position < self._base:
            self._rewind()
        while self._base + len(self._buffer) < position + count and self._fill():
            if (drop := min(position - REACH - self._base, len(self._buffer))) > 0:
                self._buffer = self._buffer[drop:]
                self._base += drop
        begin = position - self._base
        return self._buffer[begin : begin + count]

    def read_lines(self, position: int, count: int) -> bytes:
        return self.read_at(position, count)

    def known_to(self, size: int) -> int:
        del size  # as compressed
        return len(self.read_at(0, ENOUGH))

    def holds(self) -> bool:
        begins, ends = self._first, self._last
        return (
            os.pread(self._fd, len(begins), 0) == begins
            and os.pread(self._fd, len(ends), self._raw - len(ends)) == ends
        )

    def stat(self) -> os.stat_result:
        return os.fstat(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def _rewind(self) -> None:
        self._damaged = False
        self._raw = 0  # position in the compressed file
        self._first = self._last = b""  # what is there, and before that position
        self._rest = b""  # compressed bytes not yet taken
        self._base = 0  # decompressed position of the buffer
        self._buffer = b""
        self._decoder = self.form.decoder()

    def _fill(self) -> bool:
        """Decompress one more piece, about `_STEP` bytes; return False when there is none."""
        if self._damaged or (self._decoder.eof and not self._next_member()):
            return False
        self._top_up()
        try:
            out, rest = self._decoder.take(self._rest, _STEP)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
            self._damaged = True
            return False
        took = len(rest) < len(self._rest)
        self._rest = rest
        self._buffer += out
        return took or bool(out)

    def _next_member(self) -> bool:
        if self._more_members():
            self._decoder = self.form.decoder()
            return True
        return False

    def _more_members(self) -> bool:
        self._top_up()
        return self._rest.startswith(self.form.magic[:1])

    def _top_up(self) -> None:
        if not self._rest and self._decoder.hungry:
            self._rest = os.pread(self._fd, _STEP, self._raw)
            self._first = self._first or self._rest[:_KNOWN]
            self._last = (self._last + self._rest)[-_KNOWN:]
            self._raw += len(self._rest)


def open_content(path: str) -> Content:
    """Open `path` for reading; raises OSError, also when it is no regular file.

    Without O_NONBLOCK a pipe that matches the glob would block the reader for ever.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        form = _form_of(path, fd)
        return Plain(fd) if form is None else Compressed(fd, form)
    except OSError:
        os.close(fd)
        raise


def _form_of(path: str, fd: int) -> Form | None:
    if not S_ISREG(os.fstat(fd).st_mode):
        raise FileNotFoundError(path)
    named = next((form for form in FORMS if path.endswith(form.ending)), None)
    if named is not None:
        return named
    begins = os.pread(fd, _LONGEST_MAGIC, 0)
    found = next((form for form in FORMS if begins.startswith(form.magic)), None)
    # "BZh" is text as well.
    return None if found is FORMS[2] and not _BZIP2.match(begins) else found
