"""In which order the events of several hosts are judged, and how far time has passed for rules."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from math import inf
from typing import TypeVar

import msgspec

SILENT_SECONDS = 60.0
# After so long nobody expects a host any more that never said that it stops, and one that did.
FORGOTTEN_SECONDS, GONE_SECONDS = 86_400.0, 3600.0
# So long the others' old events wait for those of a host that catches up.
WAIT_SECONDS = 300.0
# Events that are no older wait for nobody: somebody waits for what they tell.
LIVE_SECONDS = 60.0
_T = TypeVar("_T")


class Host(msgspec.Struct, frozen=True):
    """How one host stands. Times are those of events, ages in seconds.

    `age`: since it wrote last. `here`: it has not stopped in order. `judged`: up to there all of it
    is judged, `at_hand`: up to there all of it has come, None: nobody knows. `complete`: its logs
    are read to their ends, and all of that is judged. It has been `behind` for so long.
    """

    name: str
    age: float
    here: bool
    judged: float | None
    at_hand: float | None
    complete: bool
    behind: float = 0.0

    @property
    def present(self) -> bool:
        """Whether the others wait for it."""
        return self.here and self.age < SILENT_SECONDS

    @property
    def forgotten(self) -> bool:
        """Whether nobody asks any more how it stands; it may come back all the same."""
        return self.complete and self.age >= (FORGOTTEN_SECONDS if self.here else GONE_SECONDS)

    @property
    def silent(self) -> bool:
        """Whether nobody knows what became of it."""
        return self.here and SILENT_SECONDS <= self.age < FORGOTTEN_SECONDS


def held_from(hosts: Iterable[Host]) -> float:
    """Return the event time from which on old events wait for a host that is catching up."""
    waited_for = (h.at_hand for h in hosts if h.present and h.behind < WAIT_SECONDS)
    return min((at for at in waited_for if at is not None), default=inf)


def in_order(
    queues: Mapping[str, Iterable[_T]],
    at: Callable[[_T], float],
    *,
    until: float,
    live: float,
    most: int,
) -> list[tuple[str, _T]]:
    """Return what is to be judged next of several hosts, at `most` so many, in the order of time.

    The events of one host stay in their own order, whatever times they bear: one counts as late as
    any before it. Those after `until` stay, unless they are from `live` on.
    """
    rising = [_rising(host, queue, at, until, live) for host, queue in sorted(queues.items())]
    taken: list[tuple[str, _T]] = []
    for _, host, event in merge(*rising, key=lambda one: one[0]):
        if len(taken) == most:
            break
        taken.append((host, event))
    return taken


def _rising(
    host: str, events: Iterable[_T], at: Callable[[_T], float], until: float, live: float
) -> Iterator[tuple[float, str, _T]]:
    when = -inf
    for event in events:
        when = max(when, at(event))
        if until < when < live:
            return
        yield when, host, event
