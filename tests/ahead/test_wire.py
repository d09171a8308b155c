"""Messages between the two processes: whole or not at all."""

import os
from collections.abc import Iterator

import msgspec
import pytest

from sidecar.ahead.second import Answer, Disconnected, Task, is_ready, receive, send
from sidecar.parse.event import LogFormat

TASK = Task(0, 10, LogFormat.CRI, 1 << 40, 1.5, [(("stripe", "invoice.paid", "paid"), True)])
decode = msgspec.msgpack.Decoder(Task).decode
Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe's two ends, to read and to write; a test may close the one to write."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0, closefd=False):
        yield reading, writing


def test_a_message_arrives_as_it_was_sent(pipe: Pipe) -> None:
    send(pipe[1], TASK)
    send(pipe[1], TASK)
    assert [receive(pipe[0], decode), receive(pipe[0], decode)] == [TASK, TASK]


def test_there_is_something_to_read_once_it_was_sent(pipe: Pipe) -> None:
    assert not is_ready(pipe[0])
    send(pipe[1], TASK)
    assert is_ready(pipe[0])


def test_the_other_sides_end_is_told(pipe: Pipe) -> None:
    os.close(pipe[1])
    with pytest.raises(Disconnected, match="ended"):
        receive(pipe[0], decode)


def test_an_end_in_the_middle_of_a_message_is_told(pipe: Pipe) -> None:
    os.write(pipe[1], b"\x09\0\0\0half")
    os.close(pipe[1])
    with pytest.raises(Disconnected, match="ended"):
        receive(pipe[0], decode)


def test_silence_is_told_after_a_while(pipe: Pipe) -> None:
    os.write(pipe[1], b"\x09\0\0\0half")
    with pytest.raises(Disconnected, match="no answer"):
        receive(pipe[0], decode, patience=0.01)


def test_what_nobody_understands_is_told(pipe: Pipe) -> None:
    send(pipe[1], Answer())
    with pytest.raises(Disconnected):
        receive(pipe[0], decode)


def test_writing_to_nobody_is_told() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(Disconnected), os.fdopen(writing, "wb", 0):
        send(writing, TASK)
