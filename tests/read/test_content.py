"""Reading compressed files by decompressed position."""

import bz2
import gzip
import lzma
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from sidecar.read.content import open_content

TEXT = b"".join(b"line %d\n" % n for n in range(50_000))
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstandard.compress,
}


@pytest.fixture(params=COMPRESS)
def zipped(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"a.{request.param}"
    path.write_bytes(COMPRESS[request.param](TEXT))
    return path


def test_it_is_known_by_how_it_begins_as_well(zipped: Path) -> None:
    content = open_content(str(zipped.rename(zipped.with_name("renamed"))))
    assert content.compressed
    assert content.read_at(0, 7) == TEXT[:7]
    content.close()


def test_a_text_that_begins_like_bzip2_is_a_text(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"BZh is no log line\n")
    content = open_content(str(path))
    assert not content.compressed
    content.close()


@pytest.mark.parametrize("position", [0, 7, 200_000, len(TEXT) - 3, len(TEXT), len(TEXT) + 9])
def test_any_position_can_be_read(zipped: Path, position: int) -> None:
    content = open_content(str(zipped))
    assert content.read_at(position, 100) == TEXT[position : position + 100]
    content.close()


def test_reading_backwards_starts_over(zipped: Path) -> None:
    content = open_content(str(zipped))
    content.read_at(300_000, 10)
    assert content.read_at(5, 10) == TEXT[5:15]
    content.close()


def test_one_that_is_still_being_written_ends_early_and_goes_on(zipped: Path) -> None:
    whole = zipped.read_bytes()
    zipped.write_bytes(whole[: len(whole) // 2])
    content = open_content(str(zipped))
    first = content.read_at(0, len(TEXT))
    assert TEXT.startswith(first)
    assert not content.complete
    zipped.write_bytes(whole)
    assert content.read_at(len(first), len(TEXT)) == TEXT[len(first) :]
    assert content.complete
    content.close()


@pytest.mark.parametrize(("behind", "unreadable"), [(b"\0" * 9, 0), (b"of another", 10)])
def test_what_follows_the_end_is_no_content(tmp_path: Path, behind: bytes, unreadable: int) -> None:
    path = tmp_path / "app.log.1.gz"
    path.write_bytes(gzip.compress(b"one\n") + behind)
    content = open_content(str(path))
    assert content.read_at(0, 100) == b"one\n"
    assert content.complete
    assert content.unreadable == unreadable
    content.close()


@pytest.mark.parametrize("kind", COMPRESS)
def test_several_members_are_one_stream(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(COMPRESS[kind](b"one\n") + COMPRESS[kind](b"two\n"))
    content = open_content(str(path))
    assert content.read_at(0, 100) == b"one\ntwo\n"
    assert content.complete
    content.close()


def test_a_damaged_one_ends_at_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    no_such_block = b"\x07"
    damaged = gzip.compress(b"two\n")[:10] + no_such_block + b"\0" * 50
    path.write_bytes(gzip.compress(b"one\n") + damaged)
    content = open_content(str(path))
    assert content.read_at(0, 100) == b"one\n"
    assert content.complete
    assert content.unreadable == len(damaged)
    content.close()


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_damaged_one_of_each_kind_says_so(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    whole = bytearray(COMPRESS[kind](TEXT))
    whole[6:60] = b"\xa5" * 54
    path.write_bytes(whole)
    content = open_content(str(path))
    assert content.read_at(0, 100) == b""
    assert content.complete
    assert content.unreadable
    content.close()


@pytest.mark.parametrize("kind", COMPRESS)
def test_much_in_little_is_taken_apart_piece_by_piece(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(COMPRESS[kind](b"\0" * (1 << 26)))
    content = open_content(str(path))
    tracemalloc.start()
    try:
        assert content.read_at(1 << 25, 3) == b"\0" * 3
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    content.close()
    assert most < 1 << 24  # xz looks back over 8 MiB of it


def test_a_pipe_is_not_opened_for_reading_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        open_content(str(tmp_path / "pipe"))
