"""What reading costs, counted in calls and bytes of memory, which are no matter of luck."""

import tracemalloc
from collections import deque
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

import pytest

from sidecar.batch import ReadBatch
from sidecar.read.content import BLOCK, open_content
from support.calls import calls
from support.read import Reader, Writer

MIB = 1 << 20
LINE = b"x" * 234 + b"\n"


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Return a reader of 8 MiB of lines that has looked at the disk before."""
    reader = Reader(tmp_path / "*.log")
    reader.poll()
    (tmp_path / "app.log").write_bytes(LINE * (8 * MIB // len(LINE)))
    return reader


def read(reader: Reader, budget: int) -> ReadBatch:
    """Read a batch piece by piece, keeping none."""
    batch = reader.follower.look(reader.now)
    deque(reader.follower.read(batch, reader.now, budget), maxlen=0)
    return batch


def test_a_mebibyte_takes_few_calls(reader: Reader) -> None:
    read(reader, 1)
    few = calls(lambda: read(reader, MIB))
    many = calls(lambda: read(reader, 5 * MIB))
    assert (many - few) / 4 < 150


def test_a_batch_is_never_in_memory_as_a_whole(reader: Reader) -> None:
    read(reader, 1)
    tracemalloc.start()
    try:
        read(reader, 6 * MIB)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1.5 * BLOCK  # the block at hand, and no copy of it


def test_a_poll_that_finds_nothing_takes_few_calls(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "*.log")
    Writer(tmp_path / "app.log").write(2)
    for _ in range(3):
        reader.poll()
    assert calls(lambda: read(reader, MIB)) < 260


def test_what_a_batch_says_is_complete_once_it_is_read(reader: Reader) -> None:
    batch = reader.follower.look(reader.now)
    assert not batch.rows
    for _ in reader.follower.read(batch, reader.now, MIB):
        assert not batch.rows
    (row,) = batch.rows
    assert MIB - BLOCK // 2 < row.offset < MIB + len(LINE)
    assert batch.lagging


@pytest.mark.parametrize("length", [1, 100, 2047, 2048, 2049, 5000, 300_000])
def test_lines_longer_than_what_is_looked_at_first_are_read_whole(
    tmp_path: Path, length: int
) -> None:
    lines = [str(number).encode().zfill(length) for number in range(1_000_000 // length % 2000 + 3)]
    (tmp_path / "app.log").write_bytes(b"".join(line + b"\n" for line in lines) + b"unfinished")
    reader = Reader(tmp_path / "*.log")
    while not reader.poll(budget=700_000).caught_up:
        pass
    assert b"".join(chunk.data for chunk in reader.chunks).split(b"\n") == [*lines, b""]


@pytest.mark.parametrize("count", [1, 2047, 2048, 2049, 9000, 9999, 20_000])
def test_reading_lines_ends_with_a_line_or_with_the_file(tmp_path: Path, count: int) -> None:
    text = LINE * 40 + b"unfinished"
    path = tmp_path / "app.log"
    path.write_bytes(text)
    content = open_content(str(path))
    found = content.read_lines(3, count)
    content.close()
    assert text[3:].startswith(found)
    assert found.endswith(b"\n") or len(found) in (count, len(text) - 3)
    assert count < 2049 or len(found) > min(count, len(text) - 3) - len(LINE)


def test_a_look_at_many_files_takes_a_few_calls_for_each(tmp_path: Path) -> None:
    def reader_of(count: int) -> Reader:
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"pod-{number}.log").write_bytes(LINE)
        reader = Reader(folder / "*.log", from_beginning=False)
        for _ in range(2):
            reader.poll()
        return reader

    few, many = reader_of(100), reader_of(400)
    each = (calls(lambda: read(many, MIB)) - calls(lambda: read(few, MIB))) / 300
    assert each < 130


def grow(folder: Path, numbers: range, lines: int) -> None:
    """Let files grow by lines of their own: what begins as another does is a copy."""
    for number in numbers:
        with (folder / f"pod-{number}.log").open("ab") as log:
            log.write((b"%03d" % number + LINE[3:]) * lines)


def test_of_many_files_that_grow_each_is_read_on_at_once_and_not_line_by_line(
    tmp_path: Path,
) -> None:
    reader = Reader(tmp_path / "*.log")
    reader.poll()
    grow(tmp_path, range(400), 3)
    polls = 1
    while reader.poll(budget=1 << 16).lagging:
        polls += 1
    assert polls < 400 * 3 * len(LINE) / (1 << 16) + 2
    assert len(reader.lines) == 400 * 3
    assert len(reader.chunks) <= 400 + 2 * polls  # a budget ends about where it ends


def test_who_waits_longest_is_read_next_however_the_others_grow(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "*.log")
    reader.poll()
    grow(tmp_path, range(40), 1)
    for _ in range(40):
        reader.poll(budget=1 << 10)
        grow(tmp_path, range(10), 5)
    assert len({chunk.log for chunk in reader.chunks}) == 40


def test_files_that_begin_alike_are_not_each_held_against_all_others(tmp_path: Path) -> None:
    """Hosts begin each line with the same words; only what comes behind them tells logs apart."""

    def cost(count: int) -> int:
        folder = tmp_path / str(count)
        folder.mkdir()
        begin = (
            b'{"metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe", "event_type": "a",'
        )
        for number in range(count):
            line = begin + b'"invoice.paid", "org_id": "org-%d"}\n' % number
            (folder / f"pod-{number}.log").write_bytes(line * 2)
        reader = Reader(folder / "*.log")
        return calls(lambda: [read(reader, MIB) for _ in range(5)])

    soft, hard = getrlimit(RLIMIT_NOFILE)
    held = len(list(Path("/proc/self/fd").iterdir()))
    setrlimit(RLIMIT_NOFILE, (2 * (held + 100), hard))  # so that most are closed while others come
    try:
        few, many = cost(80), cost(400)
    finally:
        setrlimit(RLIMIT_NOFILE, (soft, hard))
    assert many < 9 * few


def test_no_more_files_are_held_open_than_there_are_handles_for(tmp_path: Path) -> None:
    soft, hard = getrlimit(RLIMIT_NOFILE)
    for number in range(300):
        (tmp_path / f"pod-{number}.log").write_bytes(LINE)
    (tmp_path / "pod-0.log.1").write_bytes(b"history\n")
    reader = Reader(tmp_path / "*.log", from_beginning=False)
    held = len(list(Path("/proc/self/fd").iterdir()))
    setrlimit(RLIMIT_NOFILE, (2 * (held + 40), hard))
    try:
        reader.poll()
        assert len(reader.last.logs) <= held + 40
        for turn in range(3):
            for number in range(300):
                with (tmp_path / f"pod-{number}.log").open("ab") as log:
                    log.write(b"turn %d of %d\n" % (turn, number))
            while not reader.poll(budget=MIB).caught_up:
                pass
    finally:
        setrlimit(RLIMIT_NOFILE, (soft, hard))
    assert sorted(reader.lines) == sorted(f"turn {t} of {n}" for t in range(3) for n in range(300))
    assert not reader.last.problems
