"""Where each file's oldest unfinished Docker or CRI line begins, for the rows that go to disk.

The reader knows how far a file is read, the parser which lines are still in pieces; a row needs
both. Pieces may span a rotation: an older file stays noted until a newer file of its log has
nothing open any more.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from sidecar.parse.event import Chunk
from sidecar.rows import FileRow


class Positions:
    """Joins what the parser found unfinished with the reader's rows, step by step."""

    def __init__(self, stored: Iterable[FileRow] = ()) -> None:
        self._open = {row.id: row for row in stored if row.open_from < row.offset}
        self._found: dict[int, int | None] = {}
        self._finished: set[str] = set()

    def note(self, chunk: Chunk, open_from: int | None) -> None:
        """Take what parsing `chunk` left open: a position in its file, or None."""
        self._found[chunk.file] = open_from
        if open_from is None:
            self._finished.add(chunk.log)
        else:
            self._finished.discard(chunk.log)

    def place(self, rows: Iterable[FileRow]) -> list[FileRow]:
        """Return this step's `rows` with `open_from` set, and rows of files completed by it."""
        moved = {row.id: row for row in rows}
        done = {row.id: row for row in self._open.values() if row.log in self._finished} | {
            row.id: row for row in self._open.values() if row.id in moved
        }
        placed = [self._placed(row) for row in (done | moved).values()]
        self._open |= {row.id: row for row in placed if row.open_from < row.offset}
        for row in placed:
            if row.open_from == row.offset:
                self._open.pop(row.id, None)
        self._found.clear()
        self._finished.clear()
        return placed

    def _placed(self, row: FileRow) -> FileRow:
        noted = self._open.get(row.id)
        before = noted.open_from if noted and row.log not in self._finished else None
        start = self._found.get(row.id, before)
        return replace(row, open_from=row.offset if start is None else min(start, row.offset))
