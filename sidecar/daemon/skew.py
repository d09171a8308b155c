"""Tells that the times in a log are off by a time zone, as where a host logs its local time.

What is read of a log that is read to its end was written just now: its newest time is then that of
the clock. Where it lies a multiple of 15 minutes off, as a zone does, read after read, that is a
zone's offset. Where several hosts write one log, those that are right hide the one that is not:
there the events are told apart by how far off they are.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.parse.event import Clock, Late
from sidecar.parse.instants import QUARTER, is_in_use, offset_of, quarters_off, zones_for

_NEAR = 60.0  # seconds; so late a line is written, or read, and so far off is a host's clock
_READS, _LASTING = 3, 3.0  # that must agree, and seconds between the first and the last of them
# The same of one of several hosts, and of its events the part that is just so far off: what is
# late for any other reason is so by this and that.
_SOME_READS, _SOME_LASTING, _EXACT = 5, QUARTER, 0.8
_LEAST = 5  # events, below which the part says nothing
_HOUR, _DAY = 3600.0, 86_400.0
# So many right ones in a row, and so many times as many as there were to each that is off, end it.
_IN_A_ROW, _TIMES = 10, 10


class _Seen(msgspec.Struct):
    """What the last reads of a log agree on; `since` is when the first of them was."""

    quarters: int | None
    since: float
    reads: int = 0


class _Some(msgspec.Struct):
    """Events of a log that are off by one zone; `right` are others between them, `then` since."""

    since: float
    last: float
    reads: int = 0
    right: int = 0
    then: int = 0
    clock: Clock = msgspec.field(default_factory=Clock)

    def see(self, clock: Clock, now: float) -> None:
        self.last = now
        self.reads += 1
        self.right, self.then = self.right + self.then, 0
        self.clock.add(clock.events, clock.exact)

    def is_over(self, now: float) -> bool:
        """Return whether these are late by this and that, as no zone is, or no longer come."""
        events = self.clock.events
        mixed = events >= _LEAST and self.clock.exact < _EXACT * events
        gone = self.then > _IN_A_ROW + _TIMES * (self.right + events) / events
        return mixed or gone or not self.last <= now < self.last + _DAY

    @property
    def is_sure(self) -> bool:
        lasting = self.last - self.since >= _SOME_LASTING and self.reads >= _SOME_READS
        return lasting and self.clock.exact >= _LEAST


class Skews:
    """Holds, for each log, by how much its times are off. All times are wall clock, in seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._some: dict[str, dict[int, _Some]] = {}
        self._zones: dict[str, str] = {}
        self._right_at: dict[str, float] = {}
        self._behind: frozenset[str] = frozenset()  # logs that were not read to their ends

    def follow(
        self, late: Mapping[str, Late], lagging: frozenset[str], now: float
    ) -> dict[str, dict[str, Any] | None]:
        """Note what a step at `now` read; return the logs of which something is sure.

        `late`: by how much the events of each log were off the clock. `lagging`: the logs that are
        not read to their ends now. Returned is what to say of times that are off, and None where
        they are right.
        """
        said: dict[str, dict[str, Any] | None] = {}
        for log, one in late.items():
            if log in self._behind:
                continue
            if self._zones.setdefault(log, one.zone) != one.zone:  # somebody mended it
                self._zones[log] = one.zone
                self._some.pop(log, None)
            sure = self._of_some(log, one, now)
            quarters = self._of_newest(log, one, now)
            if sure is not None:
                said[log] = _off(*sure, one.zone, now)
            elif quarters is not None:
                said[log] = _off(quarters, None, one.zone, now) if quarters else None
        self._behind = lagging
        return said

    def _of_newest(self, log: str, late: Late, now: float) -> int | None:
        """Return the quarter hours that so many reads agree on by now that it is sure, else None.

        Other events that are right say that not the whole log is off.
        """
        if late.seconds is None:
            return None
        right = 0 in late.clocks and late.clocks[0].exact
        quarters = 0 if right else quarters_off(-late.seconds, _NEAR, now, late.zone)
        seen = self._seen.get(log)
        if seen is None or quarters is None or seen.quarters != quarters or now < seen.since:
            # The first read of a log may be of what is old.
            self._seen[log] = seen = _Seen(quarters, now, -1 if seen is None else 0)
        seen.reads += quarters is not None
        if quarters == 0 and seen.reads > 0:
            self._right_at[log] = now
            return 0
        lasting = seen.reads >= _READS and now - seen.since >= _LASTING
        other = now - self._right_at.get(log, -_HOUR) < _HOUR
        return quarters if lasting and not other else None

    def _of_some(self, log: str, late: Late, now: float) -> tuple[int, _Some] | None:
        """Return the quarter hours by which events of the log are surely off, and which these are.

        None where none are.
        """
        if log not in self._seen:
            return None
        known = self._some.setdefault(log, {})
        base = offset_of(late.zone, now)
        for quarters, clock in late.clocks.items():
            if quarters == 0:
                for one in known.values():
                    one.then += clock.events
            elif is_in_use(now, base - quarters * QUARTER):
                known.setdefault(quarters, _Some(now, now)).see(clock, now)
        for quarters, one in [*known.items()]:
            if one.is_over(now):
                del known[quarters]
        sure = [(-quarters, one) for quarters, one in known.items() if one.is_sure]
        return max(sure, key=lambda found: found[1].clock.exact, default=None)


def _off(quarters: int, some: _Some | None, zone: str, now: float) -> dict[str, Any]:
    """Return what is said of times that are so many quarter hours ahead of the clock."""
    hours = quarters * QUARTER / 3600
    said = {
        "difference": f"{abs(hours):g} h {'behind' if hours < 0 else 'ahead of'} the clock",
        "timezone": " or ".join(zones_for(now, offset_of(zone, now) + quarters * QUARTER)),
    }
    if some is not None and some.right:
        said["some"] = f"{some.clock.events} of {some.clock.events + some.right}"
    return said
