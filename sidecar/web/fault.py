"""What both sides of HTTP know without a web server: why it does not start, or does not do what it
is asked for, and how a unix socket is named.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


class StartError(Exception):
    """The listener cannot start; the text is one sentence for the user."""


class Refusal(Exception):  # noqa: N818 - an answer, not an accident
    """What was asked for cannot be done: an HTTP status and a sentence for the caller."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@contextmanager
def short_name(path: str) -> Iterator[str]:
    """Give a name of `path` that fits into a unix socket's address, 107 bytes (unix(7))."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)  # noqa: PTH120 - as text
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"  # noqa: PTH119 - the same
    finally:
        os.close(folder)
