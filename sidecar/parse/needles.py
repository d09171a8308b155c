"""Several texts looked for at once, in one pass over a chunk."""

from collections.abc import Iterable

from ahocorasick_rs import BytesAhoCorasick, MatchKind

# No text in UTF-8 has these bytes. With texts of one to three different first bytes the library
# looks for these bytes one by one, at a tenth of the speed where they are frequent.
_FILLERS = (b"\xfc" * 8, b"\xfd" * 8, b"\xfe" * 8)


class Needles:
    """Texts that most chunks do not hold, so that what counts is how fast none of them is found.

    With vector instructions 14 GB/s for a dozen together (the library's packed search, which only
    `LeftmostFirst` may use), where `bytes.find` takes 2 to 6 GB/s for each: 0.007 us for a line of
    90 bytes instead of 0.18. Bytes that are no UTF-8 may be found without being one of the texts.
    """

    def __init__(self, texts: Iterable[bytes]) -> None:
        needles = sorted(set(texts))
        if len(needles) > 1:
            needles += _FILLERS
        automaton = BytesAhoCorasick(needles, matchkind=MatchKind.LeftmostFirst)
        self._find = automaton.find_matches_as_indexes

    def places(self, data: bytes) -> list[int]:
        """Return where texts begin, in order; of texts that overlap, the first one's place."""
        return [begin for _which, begin, _end in self._find(data)]

    def within(self, data: bytes) -> bool:
        """Return whether `data` holds any of the texts."""
        return bool(self._find(data))
