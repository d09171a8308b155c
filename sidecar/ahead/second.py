"""The second process, `python -m sidecar.ahead.second FD`, and what the two say to each other.

FD is the memory that it shares with the daemon: the bytes of logs lie there, so that a message
says only where. Messages are MessagePack with their length in front, over stdin and stdout. The
process ends with its input.
"""

import gc
import mmap
import os
import select
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec

from sidecar.clock import SystemClock, stopwatch
from sidecar.parse.event import Chunk, LogFormat, Parsed, Triple, Wanted
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern

_LENGTH = struct.Struct("<I")
_T = TypeVar("_T")


class Setup(msgspec.Struct, array_like=True):
    """The first thing said: what a parser is made of."""

    patterns: Sequence[Pattern]


class Task(msgspec.Struct, array_like=True):
    """Parse the shared bytes [begin, end), a chunk of this format and start, at `now`.

    `known` are triples not told before, and whether their events are wanted whole.
    """

    begin: int
    end: int
    format: LogFormat
    start: int
    now: float
    known: list[tuple[Triple, Wanted]]
    prefix: str | None = None
    key: bytes = b""
    zone: str = ""


class Answer(msgspec.Struct, array_like=True):
    """What the bytes of one task hold; None when the other side has to look itself.

    `unknown`: triples of which nobody has said yet whether they are wanted. `busy`: the seconds it
    took of a processor.
    """

    parsed: Parsed | None = None
    unknown: list[Triple] = []
    busy: float = 0.0


class Disconnected(Exception):  # noqa: N818 - a state, not an error
    """The other process has ended, hangs, or says what nobody understands."""


def send(fd: int, message: msgspec.Struct) -> None:
    """Write `message`. Raises Disconnected."""
    body = msgspec.msgpack.encode(message)
    left = memoryview(_LENGTH.pack(len(body)) + body)
    try:
        while left:
            left = left[os.write(fd, left) :]
    except OSError as error:
        raise Disconnected(str(error)) from error


def receive(fd: int, decode: Callable[[bytes], _T], *, patience: float | None = None) -> _T:
    """Read a message, waiting up to `patience` seconds for it, for ever without.

    Raises Disconnected.
    """
    until = None if patience is None else stopwatch() + patience
    (length,) = _LENGTH.unpack(_read(fd, _LENGTH.size, until))
    try:
        return decode(_read(fd, length, until))
    except msgspec.MsgspecError as error:
        raise Disconnected(str(error)) from error


def _read(fd: int, size: int, until: float | None) -> bytes:
    parts: list[bytes] = []
    while size:
        if until is not None and not is_ready(fd, max(0.0, until - stopwatch())):
            raise Disconnected("no answer")
        try:
            part = os.read(fd, size)
        except OSError as error:
            raise Disconnected(str(error)) from error
        if not part:
            raise Disconnected("it has ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def is_ready(fd: int, seconds: float = 0.0) -> bool:
    """Return whether there is something to read, or the end of it, within `seconds`."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


_IN, _OUT = 0, 1
_setup = msgspec.msgpack.Decoder(Setup).decode
_task = msgspec.msgpack.Decoder(Task).decode


class SecondParser:
    """Answers tasks; remembers which triples are wanted whole."""

    def __init__(self, setup: Setup) -> None:
        self._parser = Parser(setup.patterns)
        self._wanted: dict[Triple, Wanted] = {}

    def answer(self, task: Task, data: bytes) -> Answer:
        """Parse `data`, the bytes of `task`."""
        self._wanted.update(task.known)
        unknown: list[Triple] = []

        def wanted(triple: Triple) -> Wanted:
            known = self._wanted.get(triple)
            if known is None:
                unknown.append(triple)
            return known or False

        chunk = Chunk(0, "", task.format, data, task.start, task.prefix, task.key, zone=task.zone)
        parsed = self._parser.parse_alone(chunk, now=task.now, wanted=wanted)
        return Answer(unknown=unknown) if unknown else Answer(parsed)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the daemon
    shared, clock = mmap.mmap(int(sys.argv[1]), 0, access=mmap.ACCESS_READ), SystemClock()
    with suppress(Disconnected):  # the daemon has no more work, or is no more
        parser = SecondParser(receive(_IN, _setup))
        gc.freeze()
        gc.disable()  # nothing here goes in circles
        send(_OUT, Answer())  # ready
        while True:
            task = receive(_IN, _task)
            began = clock.busy()
            answer = parser.answer(task, shared[task.begin : task.end])
            answer.busy = clock.busy() - began
            _reply(answer)


def _reply(answer: Answer) -> None:
    try:
        send(_OUT, answer)
    except (UnicodeEncodeError, OverflowError, TypeError):  # what MessagePack cannot say
        send(_OUT, Answer())


if __name__ == "__main__":
    main()
