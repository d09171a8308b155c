"""Samples that changed no verdict, waiting until their key's windows have to be known.

Nearly every event leaves nothing behind but a sample, and nearly no key ever fires. What is known
by the rule's guard (`sidecar.rules.guard`) to leave every verdict as it is only waits here, a few
bytes each, and so do the `resolve`s of keys without an alert, and the samples by which an alert
goes on firing. Whatever could change a verdict wakes
the key first: what waits goes into its `KeyState` in the order of arrival, as if it had never
waited, and then the event takes its usual way.
"""

from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from sidecar.parse.event import Event
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.guard import Samples
from sidecar.rules.keystate import KeyState
from sidecar.rules.rule import Key
from sidecar.rules.verdict import Verdict
from sidecar.rules.windows import BUCKETS, LONG_AGO, NEVER

# The room that is left, then times and samples by turns; None instead of samples: a resolve.
Entries = list[Any]
_SLACK = 1_000


class Firing:
    """An alert that fires on by what waits of its key, until `due` or so many events more.

    `clock`: none of them is earlier. `event` gives the last one; None: it is not known any more.
    """

    __slots__ = ("clock", "due", "event", "room")

    def __init__(self, room: int, clock: float, due: float) -> None:
        self.room = room
        self.clock = clock
        self.due = due
        self.event: Callable[[], Event] | None = None


class Taken(NamedTuple):
    """What came to wait since the last step, in columns; and keys of which nothing is left."""

    keys: list[Key]
    times: list[float]
    samples: list[Samples | None]
    gone: list[Key]


class Waiting:
    """What waits of one rule's keys. `states`: its keys that have one; others wait alone.

    `wake` lets what waits of a key go into its state.
    """

    def __init__(
        self, compiled: CompiledRule, states: dict[Key, KeyState], wake: Callable[[Key], object]
    ) -> None:
        self.of: dict[Key, Entries] = {}
        self.alone = 0
        self.taken = Taken([], [], [], [])
        self.firing: dict[Key, Firing] = {}
        self._upholds = compiled.upholds
        self._states = states
        self.wake = wake
        self._guard = compiled.guard
        self._most = compiled.guard.room(None, 0.0)
        self._awake: set[Key] = set()
        # (time, key) of keys that wait alone: none of them is over earlier.
        self._ends: list[tuple[float, Key]] = []
        # After its newest entry a key lasts so long; `exact`: and no longer.
        self._lasts = compiled.span
        self._exact = not compiled.coarse
        if compiled.coarse:
            self._lasts -= compiled.span / BUCKETS

    def take(
        self,
        keys: Sequence[Key],
        times: Sequence[float],
        verdicts: Sequence[Verdict],
        *,
        room: int,
        later: Callable[[int], Callable[[], Event]],
    ) -> list[int]:
        """Let what can wait do so; return the places of the others, whose keys are to be woken.

        `room`: so many keys more there may be. `later` returns what makes the event at a place.
        """
        others: list[int] = []
        void: list[int] = []
        upholding: dict[Key, int] = {}
        get, most = self.of.get, self.alone + room
        for place, (key, at, verdict) in enumerate(zip(keys, times, verdicts, strict=True)):
            entries = get(key) or self._begin(key, at, verdict, most)
            if entries is None:
                self._awake.add(key)
                others.append(place)
                continue
            left = entries[0] - verdict.cost
            if left >= 0:
                entries[0] = left
                entries.append(at)
                entries.append(verdict.samples)
            elif verdict.samples is None and _is_bare(entries) and at >= entries[1]:
                entries[1] = at  # so it is with nearly every payment
            elif verdict.samples and self._fires_on(key, at):
                entries.append(at)
                entries.append(verdict.samples)
                upholding[key] = place
            elif verdict.samples is None and self._comes_last(key, entries, at):
                entries[:] = self._most, at, None
            elif verdict.samples is None and self._is_void(key, entries):
                void.append(place)
            else:
                self.wake(key)
                self._awake.add(key)
                others.append(place)
        for key, place in upholding.items():
            if key in self.firing:
                self.firing[key].event = later(place)
        self._note(keys, times, verdicts, {*others, *void})
        self._awake.clear()
        return others

    def _begin(self, key: Key, at: float, verdict: Verdict, most: int) -> Entries | None:
        """Return the entries of a key that has none yet, None where the key has to be looked at."""
        if key in self._awake:
            return None
        state = self._states.get(key)
        if state is None:
            may_wait = verdict.samples is None or self._most - verdict.cost >= 0
            if self.alone >= most or not may_wait:
                return None
            self.alone += 1
            heappush(self._ends, (at + self._lasts, key))
            room = self._most
        else:
            room = self._guard.room(state.windows, state.clock)
            if state.alert is not None:
                room = -1.0
                left = state.alert.room if self._upholds else 0
                if not left:
                    return None
                self.firing[key] = Firing(left, state.clock, state.due)
            elif room < 0:
                return None
        entries = self.of[key] = [room]
        return entries

    def _fires_on(self, key: Key, at: float) -> bool:
        """Return whether a sample leaves an alert firing as it is, and let it count."""
        firing = self.firing.get(key)
        if firing is None or not firing.room or not firing.clock <= at < firing.due:
            return False
        firing.room -= 1
        firing.clock = at
        return True

    def _comes_last(self, key: Key, entries: Entries, at: float) -> bool:
        """Return whether nothing is known of the key that is newer; a resolve then leaves nothing.

        One that comes late, and an alert, need a closer look.
        """
        state = self._states.get(key)
        if state is not None and state.alert is not None:
            return False
        own = LONG_AGO if state is None else state.clock
        return at >= own and at >= max(entries[1::2], default=LONG_AGO)

    def _is_void(self, key: Key, entries: Entries) -> bool:
        """Return whether a late resolve is all the same, because a newer one is all there is."""
        return _is_bare(entries) and key not in self._states

    def _note(
        self,
        keys: Sequence[Key],
        times: Sequence[float],
        verdicts: Sequence[Verdict],
        without: set[int],
    ) -> None:
        samples: Sequence[Samples | None] = [verdict.samples for verdict in verdicts]
        if without:
            rest = [place for place in range(len(keys)) if place not in without]
            keys = [keys[place] for place in rest]
            times = [times[place] for place in rest]
            samples = [samples[place] for place in rest]
        taken = self.taken
        taken.keys.extend(keys)
        taken.times.extend(times)
        taken.samples.extend(samples)

    def put(self, key: Key, at: float, samples: Samples | None, cost: float) -> None:
        """Let an entry wait of which it is known that it may: it did so before."""
        entries = self.of.get(key)
        if entries is None:
            state = self._states.get(key)
            room = self._most if state is None else self._guard.room(state.windows, state.clock)
            entries = self.of[key] = [room]
            if state is None:
                self.alone += 1
                heappush(self._ends, (at + self._lasts, key))
        if samples is None:
            entries[:] = self._most, at, None
        else:
            entries[0] -= cost
            entries += (at, samples)

    def end(self, key: Key) -> Entries | None:
        """Return what waits of a key, which waits no longer; None if nothing does."""
        entries = self.of.pop(key, None)
        if entries is not None and key not in self._states:
            self.alone -= 1
        return entries

    def leave_out(self, unfit: Callable[[Key], bool]) -> None:
        """Forget those that wait alone and are `unfit`."""
        for key in [key for key in self.of if key not in self._states and unfit(key)]:
            self.end(key)
            self.taken.gone.append(key)

    def next_end(self) -> float:
        """Return an instant before which no key that waits alone is over."""
        return self._ends[0][0] if self._ends else NEVER

    def expire(self, t: float) -> None:
        """Let those keys go that rule time `t` leaves behind."""
        while self.next_end() <= t:
            _, key = heappop(self._ends)
            entries = self.of.get(key)
            if entries is None or key in self._states:
                continue  # its state has a deadline
            due = max(entries[1::2]) + self._lasts
            if due > t:
                heappush(self._ends, (due, key))
            elif self._exact:
                self.end(key)
                self.taken.gone.append(key)
            else:
                self.wake(key)
        if len(self._ends) > 2 * self.alone + _SLACK:
            self._throw_out()

    def _throw_out(self) -> None:
        """Keep one end of each key: one that wakes again and again leaves many behind."""
        self._ends = [
            (max(entries[1::2]) + self._lasts, key)
            for key, entries in self.of.items()
            if key not in self._states
        ]
        heapify(self._ends)


def _is_bare(entries: Entries) -> bool:
    """Return whether a resolve is all there is."""
    return len(entries) == 3 and entries[2] is None  # noqa: PLR2004 - room, time, None


def pairs(entries: Entries) -> Iterable[tuple[float, Samples | None]]:
    """Return times and samples, in the order in which they came."""
    return zip(entries[1::2], entries[2::2], strict=True)
