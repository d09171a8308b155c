"""Counting calls, for tests that hold a cost where it is: a count is no matter of luck."""

import gc
import sys
from collections.abc import Callable


def calls(do: Callable[[], object]) -> int:
    """Return how many calls, of Python functions and of C ones, `do` makes.

    Without those of the garbage collector, to which other tests' tools listen.
    """
    count = 0

    def counted(_frame: object, what: str, _arg: object) -> None:
        nonlocal count
        count += what in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()
    sys.setprofile(counted)
    try:
        do()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count
