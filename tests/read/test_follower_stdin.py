"""Lines from a pipe."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sidecar.config.sources import Source
from sidecar.parse.event import MAX_LINE
from sidecar.read.follower import Follower


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    os.close(ends[0])


def poll_until(follower: Follower, lines: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < lines:
        for chunk in follower.poll(0.0).chunks:
            assert chunk.log == "-"
            found += chunk.data.splitlines()
    return found


def follow(fd: int) -> Follower:
    return Follower([Source(path="-")], [], hash_key=b"k", first_start=True, next_id=1, stdin_fd=fd)


def test_lines_come_whole_and_the_last_one_at_the_end(pipe: tuple[int, int]) -> None:
    follower = follow(pipe[0])
    os.write(pipe[1], b"one\ntw")
    assert poll_until(follower, 1) == [b"one"]
    os.write(pipe[1], b"o\nthree")
    os.close(pipe[1])
    assert poll_until(follower, 2) == [b"two", b"three"]


def test_an_over_long_line_is_skipped(pipe: tuple[int, int]) -> None:
    follower = follow(pipe[0])

    def write() -> None:  # more than a pipe holds
        with os.fdopen(pipe[1], "wb") as into:
            into.write(b"x" * (MAX_LINE * 5 // 2) + b"\nend\n")

    with ThreadPoolExecutor(1) as writer:
        writer.submit(write)
        assert poll_until(follower, 1) == [b"end"]
