"""Where reading of a file stood of late: by that a copy taken a little earlier is known."""

from collections import deque

from sidecar.read.identity import Likeness, ReadAt, compare, fingerprint

_KEPT = 512


class Marks:
    """The last positions passed, each with the bytes before it.

    Hashing is for when one is asked for: two hashes for each block read took 0.03 ms a MiB, and
    almost no file is ever compared.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._passed: deque[tuple[int, bytes, bytes]] = deque(maxlen=_KEPT)

    def note(self, offset: int, head: bytes, tail: bytes) -> None:
        """Note that reading passed `offset` of a file that begins and there ends like this."""
        self._passed.append((offset, head, tail))

    def are_in(self, read_at: ReadAt) -> bool:
        """Tell whether the file behind `read_at` is a copy of this one, taken at or after a mark.

        The newest mark that it is long enough for decides. Raises OSError.
        """
        for offset, head, tail in reversed(self._passed):
            mark = fingerprint(self._key, offset, head, tail)
            likeness = compare(mark, read_at, self._key).likeness
            if likeness is not Likeness.SHORTER:
                return likeness is Likeness.SAME
        return False
