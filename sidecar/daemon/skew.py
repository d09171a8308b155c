"""Tells that the times in a log are off by a time zone, as where a host logs its local time.

What is read of a log that is read to its end was written just now: its newest time is then that of
the clock. Where it lies a multiple of 30 minutes off, read after read, that is a zone's offset.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.parse.instants import offset_of, zones_for

_HALF_HOUR = 1800.0
_NEAR = 60.0  # seconds; so late a line is written, or read, and so far off is a host's clock
_MOST = 28  # half hours; no zone is further from UTC than 14 hours
_READS, _LASTING = 3, 3.0  # that must agree, and seconds between the first and the last of them


class _Seen(msgspec.Struct):
    """What the last reads of a log agree on; `since` is when the first of them was."""

    half_hours: int
    since: float
    reads: int = 0


class Skews:
    """Holds, for each log, by how much its times are off. All times are wall clock, in seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._behind: frozenset[str] = frozenset()  # logs that were not read to their ends

    def follow(
        self, late: Mapping[str, tuple[float, str]], lagging: frozenset[str], now: float
    ) -> dict[str, dict[str, Any] | None]:
        """Note what a step at `now` read; return the logs of which something is sure.

        `late`: of each log by how many seconds the newest event lay behind the clock (ahead of it:
        negative), and the zone of its source. `lagging`: the logs that are not read to their ends
        now. Returned is what to say of times that are off, and None where they are right.
        """
        said: dict[str, dict[str, Any] | None] = {}
        for log, (seconds, zone) in late.items():
            half_hours = round(seconds / _HALF_HOUR)
            if log in self._behind or not self._note(log, seconds, half_hours, now):
                continue
            said[log] = _off(half_hours, zone, now) if half_hours else None
        self._behind = lagging
        return said

    def _note(self, log: str, seconds: float, half_hours: int, now: float) -> bool:
        """Return whether so many reads agree by now that it is sure."""
        fits = abs(seconds - half_hours * _HALF_HOUR) <= _NEAR and abs(half_hours) <= _MOST
        seen = self._seen.get(log)
        if seen is None or not fits or seen.half_hours != half_hours or now < seen.since:
            # The first read of a log may be of what is old.
            self._seen[log] = seen = _Seen(half_hours, now, -1 if seen is None else 0)
        seen.reads += fits
        lasting = seen.reads >= _READS and now - seen.since >= _LASTING
        return fits and (lasting or (half_hours == 0 and seen.reads > 0))


def _off(half_hours: int, zone: str, now: float) -> dict[str, Any]:
    hours = half_hours / 2
    return {
        "difference": f"{abs(hours):g} h {'behind' if hours > 0 else 'ahead of'} the clock",
        "timezone": " or ".join(zones_for(now, offset_of(zone, now) - half_hours * _HALF_HOUR)),
    }
