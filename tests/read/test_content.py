"""Reading compressed files by decompressed position."""

import gzip
import os
from pathlib import Path

import pytest

from sidecar.read.content import open_content

TEXT = b"".join(b"line %d\n" % n for n in range(50_000))


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(TEXT))
    return path


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


def test_several_members_are_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
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


def test_a_pipe_is_not_opened_for_reading_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        open_content(str(tmp_path / "pipe"))
