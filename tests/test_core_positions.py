"""Where unfinished lines begin, joined with the reader's rows."""

from msgspec.structs import replace

from sidecar.core import Positions
from sidecar.parse.event import Chunk, LogFormat
from sidecar.rows import FileRow


def row(file: int, offset: int, *, open_from: int | None = None, log: str = "app") -> FileRow:
    return FileRow(
        id=file, source="s", log=log, path=f"{log}.{file}", dev=1, ino=file, head_len=0,
        head_hash=b"", tail_len=0, tail_hash=b"", offset=offset,
        open_from=offset if open_from is None else open_from,
        skip=False, state="active", last_seen=0.0,
    )  # fmt: skip


def chunk(file: int, log: str = "app") -> Chunk:
    return Chunk(file=file, log=log, format=LogFormat.CRI, data=b"x\n", start=0)


def test_a_row_without_unfinished_lines_keeps_its_offset() -> None:
    positions = Positions()
    positions.note(chunk(1), None)
    assert positions.place([row(1, 100)]) == [row(1, 100)]


def test_a_row_shows_where_its_unfinished_line_begins() -> None:
    positions = Positions()
    positions.note(chunk(1), 40)
    assert positions.place([row(1, 100)]) == [row(1, 100, open_from=40)]


def test_it_is_remembered_while_no_new_bytes_of_the_file_come() -> None:
    positions = Positions()
    positions.note(chunk(1), 40)
    positions.place([row(1, 100)])
    assert positions.place([row(1, 100)]) == [row(1, 100, open_from=40)]


def test_the_end_of_the_line_in_the_next_file_of_the_log_closes_the_old_one() -> None:
    positions = Positions()
    positions.note(chunk(1), 40)
    positions.place([row(1, 100)])
    positions.note(chunk(2), None)
    assert positions.place([row(2, 10)]) == [row(1, 100), row(2, 10)]


def test_a_line_still_open_in_the_next_file_keeps_the_old_place() -> None:
    positions = Positions()
    positions.note(chunk(1), 40)
    positions.place([row(1, 100)])
    positions.note(chunk(2), 0)
    assert positions.place([row(2, 10)]) == [row(2, 10, open_from=0)]
    assert positions.place([row(1, 100)]) == [row(1, 100, open_from=40)]


def test_another_log_closes_nothing() -> None:
    positions = Positions()
    positions.note(chunk(1), 40)
    positions.place([row(1, 100)])
    positions.note(chunk(2, "other"), None)
    assert positions.place([row(2, 10, log="other")]) == [row(2, 10, log="other")]


def test_a_restart_knows_what_was_stored_as_unfinished() -> None:
    positions = Positions([row(1, 100, open_from=40)])
    positions.note(chunk(2), None)
    assert positions.place([row(2, 10)]) == [row(1, 100), row(2, 10)]


def test_an_unfinished_line_says_how_long_it_has_waited() -> None:
    positions = Positions()
    assert positions.waiting("app", 100.0) == (0, 0.0)
    positions.note(chunk(1), 40)
    positions.place([replace(row(1, 100), last_seen=10.0)])
    assert positions.waiting("app", 70.0) == (60, 60.0)
    positions.note(chunk(1), 40)
    positions.place([replace(row(1, 140), last_seen=50.0)])
    assert positions.waiting("app", 70.0) == (100, 60.0)
    assert positions.waiting("web", 70.0) == (0, 0.0)
    positions.note(chunk(1), 130)
    positions.place([replace(row(1, 150), last_seen=60.0)])
    assert positions.waiting("app", 70.0) == (20, 10.0)
    positions.note(chunk(1), None)
    positions.place([row(1, 170)])
    assert positions.waiting("app", 70.0) == (0, 0.0)
