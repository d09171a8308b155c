"""The second process: `python -m sidecar.ahead.second FD` parses what it is given.

FD is the memory it shares with the daemon. It ends with its input.
"""

import gc
import mmap
import signal
import sys
from contextlib import suppress

import msgspec

from sidecar.ahead.wire import Answer, Gone, Setup, Task, receive, send
from sidecar.parse.event import Chunk, Triple
from sidecar.parse.parser import Parser

_IN, _OUT = 0, 1
_setup = msgspec.msgpack.Decoder(Setup).decode
_task = msgspec.msgpack.Decoder(Task).decode


class Worker:
    """Answers tasks; remembers which triples are wanted whole."""

    def __init__(self, setup: Setup) -> None:
        self._parser = Parser(setup.patterns)
        self._wanted: dict[Triple, bool] = {}

    def answer(self, task: Task, data: bytes) -> Answer:
        """Parse `data`, the bytes of `task`."""
        self._wanted.update(task.known)
        unknown: list[Triple] = []

        def wanted(triple: Triple) -> bool:
            known = self._wanted.get(triple)
            if known is None:
                unknown.append(triple)
            return bool(known)

        chunk = Chunk(0, "", task.format, data, task.start)
        parsed = self._parser.parse_ordinary(chunk, now=task.now, wanted=wanted)
        return Answer(unknown=unknown) if unknown else Answer(parsed)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the daemon
    shared = mmap.mmap(int(sys.argv[1]), 0, access=mmap.ACCESS_READ)
    with suppress(Gone):  # the daemon has no more work, or is no more
        worker = Worker(receive(_IN, _setup))
        gc.freeze()
        gc.disable()  # nothing here goes in circles
        send(_OUT, Answer())  # ready
        while True:
            task = receive(_IN, _task)
            _reply(worker.answer(task, shared[task.begin : task.end]))


def _reply(answer: Answer) -> None:
    try:
        send(_OUT, answer)
    except (UnicodeEncodeError, OverflowError, TypeError):  # what MessagePack cannot say
        send(_OUT, Answer())


if __name__ == "__main__":
    main()
