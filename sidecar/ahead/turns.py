"""The port between the core and whoever parses chunks ahead of their turn."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from sidecar.parse.event import Chunk, Parsed

# What a chunk holds, if that can be told from it alone: `sidecar.parse.parser.parse_ordinary`.
ParseOrdinary = Callable[[Chunk], Parsed | None]


class Ahead(Protocol):
    """Yields each chunk, in order, with what it holds if that is known before its turn."""

    def __call__(
        self, chunks: Iterable[Chunk], parse: ParseOrdinary, now: float, /
    ) -> Iterator[tuple[Chunk, Parsed | None]]: ...


def in_turn(
    chunks: Iterable[Chunk], _parse: ParseOrdinary, _now: float, /
) -> Iterator[tuple[Chunk, Parsed | None]]:
    """Parse nothing ahead of its turn."""
    return ((chunk, None) for chunk in chunks)
