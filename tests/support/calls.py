"""Counting calls, for tests that hold a cost where it is: a count is no matter of luck."""

import sys
from collections.abc import Callable


def calls(do: Callable[[], object]) -> int:
    """Return how many calls, of Python functions and of C ones, `do` makes."""
    count = 0

    def counted(_frame: object, what: str, _arg: object) -> None:
        nonlocal count
        count += what in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        do()
    finally:
        sys.setprofile(before)
    return count
