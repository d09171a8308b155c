"""The fingerprint by which a file is known again: what was read of it, as hashes.

An inode alone says nothing once its file is closed (it is reused at once on ext4), a path alone
nothing after a rotation, and equal heads are common (a header, two copies of one program). So a
fingerprint is the keyed hash of the first bytes together with that of the bytes before the
position. Only bytes already read count, so that an append changes neither. Decisions only: the
bytes come from the caller.
"""

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from hashlib import blake2b

import msgspec

HEAD = 1024
BEGINNING = 256  # by so many bytes files are told apart before one is opened
TAIL = 64
_DIGEST = 16
_KEPT = 512

ReadAt = Callable[[int, int], bytes]


class Fingerprint(msgspec.Struct, frozen=True):
    """What is remembered of a file up to `position`, in bytes."""

    position: int
    head_len: int
    head_hash: bytes
    tail_len: int
    tail_hash: bytes


class Match(StrEnum):
    """How a file compares with a fingerprint."""

    SAME = "same"  # it holds all that was read, up to the position
    SHORTER = "shorter"  # it ends before the position; what there is may or may not be equal
    DIFFERENT = "different"


class Evidence(msgspec.Struct, frozen=True):
    """A verdict, with the bytes it rests on."""

    match: Match
    head: bytes = b""
    tail: bytes = b""


def keyed(key: bytes, data: bytes) -> bytes:
    """Return the hash under which log bytes may be stored: without `key` it tells nothing."""
    return blake2b(data, key=key, digest_size=_DIGEST).digest()


def fingerprint(key: bytes, position: int, head: bytes, tail: bytes) -> Fingerprint:
    return Fingerprint(position, len(head), keyed(key, head), len(tail), keyed(key, tail))


def compare(known: Fingerprint, read_at: ReadAt, key: bytes) -> Evidence:
    """Return how the file behind `read_at(position, count)` compares with what is `known`."""
    head = read_at(0, known.head_len)
    if len(head) < known.head_len:
        return Evidence(Match.SHORTER)
    if keyed(key, head) != known.head_hash:
        return Evidence(Match.DIFFERENT)
    tail = read_at(known.position - known.tail_len, known.tail_len)
    if len(tail) < known.tail_len:
        return Evidence(Match.SHORTER)
    if keyed(key, tail) != known.tail_hash:
        return Evidence(Match.DIFFERENT)
    return Evidence(Match.SAME, head, tail)


def begins_like(read_at: ReadAt, size: int, other: ReadAt) -> bool:
    """Tell whether a file of `size` bytes begins and ends like the same stretch of another.

    That is a copy under way, or one taken before the other file grew.
    """
    head, last = min(HEAD, size), max(0, size - TAIL)
    return (
        size > 0
        and read_at(0, head) == other(0, head)
        and read_at(last, size - last) == other(last, size - last)
    )


def beyond(read_at: ReadAt, other: ReadAt, size: int, position: int) -> int:
    """Return from where on a file holds what one that it begins as does not, 0 if nothing.

    That one, of `size` bytes (0: not known), is read up to `position`.
    """
    if size and read_at(size, 1) and begins_like(other, size, read_at):
        return size
    more = read_at(position, TAIL)
    return position if more and other(position, len(more)) != more else 0


class Marks:
    """The last positions passed: a copy taken while its file was being read is known by one.

    They are hashed when one is asked for: almost no file is ever compared.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._passed: deque[tuple[int, bytes, bytes]] = deque(maxlen=_KEPT)

    def note(self, position: int, head: bytes, tail: bytes) -> None:
        """Note that reading passed `position` of a file that begins and there ends like this."""
        self._passed.append((position, head, tail))

    def shared(self, read_at: ReadAt) -> int:
        """Return the newest mark up to which the file behind `read_at` is a copy; 0 for none.

        A mark within the first kilobyte says nothing: many files begin alike. Raises OSError.
        """
        for position, head, tail in reversed(self._passed):
            if len(head) == HEAD:
                mark = fingerprint(self._key, position, head, tail)
                if compare(mark, read_at, self._key).match is Match.SAME:
                    return position
        return 0

    def are_in(self, read_at: ReadAt) -> bool:
        """Tell whether the file behind `read_at` is a copy of this one, taken at or after a mark.

        The newest mark that it is long enough for decides. Raises OSError.
        """
        for position, head, tail in reversed(self._passed):
            mark = fingerprint(self._key, position, head, tail)
            match = compare(mark, read_at, self._key).match
            if match is not Match.SHORTER:
                return match is Match.SAME
        return False
