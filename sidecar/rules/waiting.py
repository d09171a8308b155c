"""Samples that changed no verdict, waiting until their key's windows have to be known.

Nearly every event leaves nothing behind but a sample, and nearly no key ever fires. What is known
by the rule's guard (`sidecar.rules.guard`) to leave every verdict as it is only waits here, a few
bytes each, and so do the `resolve`s of keys without an alert, and the samples by which an alert
goes on firing. Whatever could change a verdict wakes
the key first: what waits goes into its `KeyState` in the order of arrival, as if it had never
waited, and then the event takes its usual way.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from heapq import heapify, heappop, heappush
from itertools import islice
from operator import le
from typing import Any, NamedTuple

from sidecar.parse.event import Event
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.guard import Samples
from sidecar.rules.keystate import KeyState
from sidecar.rules.rule import Key
from sidecar.rules.verdict import Run, Verdict
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
    """What came to wait since the last step, in runs; and keys of which nothing is left."""

    runs: list[Run]
    gone: list[Key]


class _Outcome(Enum):
    """What becomes of an event: it waits, upholds an alert, is nothing, or needs a closer look."""

    WAITS = "waits"
    UPHOLDS = "upholds"
    VOID = "void"
    CLOSER = "closer"


class Waiting:
    """What waits of one rule's keys. `states`: its keys that have one; others wait alone.

    `floors`: when those were resolved of which nothing else is known. `of`: what waits of others.
    `wake` lets what waits of a key go into its state.
    """

    def __init__(
        self, compiled: CompiledRule, states: dict[Key, KeyState], wake: Callable[[Key], object]
    ) -> None:
        self.of: dict[Key, Entries] = {}
        self.floors: dict[Key, float] = {}
        self.alone = 0
        self.taken = Taken([], [])
        self.firing: dict[Key, Firing] = {}
        self._upholds = compiled.upholds
        self._states = states
        self.wake = wake
        self._guard = compiled.guard
        self._most = compiled.guard.room(None, 0.0)
        self._awake: set[Key] = set()
        self._newest_floor = LONG_AGO
        # (time, key) of keys that wait alone: none of them is over earlier.
        self._ends: list[tuple[float, Key]] = []
        # After its newest entry a key lasts so long; `exact`: and no longer.
        self._lasts = compiled.span
        self._exact = not compiled.coarse
        if compiled.coarse:
            self._lasts -= compiled.span / BUCKETS

    def take(
        self, run: Run, *, room: int, later: Callable[[int], Callable[[], Event]]
    ) -> list[int]:
        """Let what can wait do so; return the numbers of the others, whose keys are to be woken.

        `room`: so many keys more there may be. `later` returns what makes the event at a place.
        """
        if run.alone is not None and run.alone.samples is None and self._raise_floors(run, room):
            return []
        found: dict[_Outcome, list[int]] = {outcome: [] for outcome in _Outcome}
        get, most = self.of.get, self.alone + room
        for number, (key, at, verdict) in enumerate(
            zip(run.keys, run.times, run.verdicts, strict=True)
        ):
            entries = get(key)
            if entries is not None and entries[0] - verdict.cost >= 0:
                entries[0] -= verdict.cost
                entries.append(at)
                entries.append(verdict.samples)
            else:
                found[self._take_one(key, at, verdict, most)].append(number)
        for number in found[_Outcome.UPHOLDS]:
            key = run.keys[number]
            if key in self.firing:
                self.firing[key].event = later(run.places[number])
        self._note(run, {*found[_Outcome.CLOSER], *found[_Outcome.VOID]})
        self._awake.clear()
        return found[_Outcome.CLOSER]

    def _take_one(self, key: Key, at: float, verdict: Verdict, most: int) -> "_Outcome":
        """Let one event wait that needs more than room, or leave it, and wake its key."""
        samples, cost = verdict.samples, verdict.cost
        if samples is None and key in self.floors:
            return _Outcome.WAITS if self._raise_floor(key, at) else _Outcome.VOID
        entries = self.of.get(key) or self._begin(key, at, verdict, most)
        if entries is None:
            self._awake.add(key)
            return _Outcome.CLOSER
        upholds = bool(samples) and entries[0] < 0 and self._fires_on(key, at)
        if upholds or entries[0] - cost >= 0:
            entries[0] -= 0.0 if upholds else cost
            entries += (at, samples)
            return _Outcome.UPHOLDS if upholds else _Outcome.WAITS
        if samples is None and self._comes_last(key, entries, at):
            self._lay_bare(key, at)
            return _Outcome.WAITS
        self.wake(key)
        self._awake.add(key)
        return _Outcome.CLOSER

    def _raise_floors(self, run: Run, room: int) -> bool:
        """Take resolves of keys of which nothing else is known, if in order; else take none."""
        keys, times = run.keys, run.times
        if times[0] < self._newest_floor or not all(map(le, times, islice(times, 1, None))):
            return False
        if not (self.of.keys().isdisjoint(keys) and self._states.keys().isdisjoint(keys)):
            return False
        new = set(keys).difference(self.floors)
        if len(new) > room:
            return False
        for key in new:
            heappush(self._ends, (times[0] + self._lasts, key))
        self.alone += len(new)
        self.floors.update(zip(keys, times, strict=True))
        self._newest_floor = times[-1]
        self.taken.runs.append(run)
        return True

    def _raise_floor(self, key: Key, at: float) -> bool:
        """Take a resolve of a key of which no more is known; False: it is the older one."""
        if at < self.floors[key]:
            return False
        self.floors[key] = at
        self._newest_floor = max(self._newest_floor, at)
        return True

    def _begin(self, key: Key, at: float, verdict: Verdict, most: int) -> Entries | None:
        """Return the entries of a key that has none yet, None where the key has to be looked at."""
        if key in self._awake:
            return None
        floor = self.floors.pop(key, None)
        if floor is not None:
            entries = self.of[key] = [self._most, floor, None]
            return entries
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

    def _lay_bare(self, key: Key, at: float) -> None:
        """Let a resolve be all that waits of a key."""
        if key in self._states:
            self.of[key] = [self._most, at, None]
        else:
            self.of.pop(key, None)
            self.floors[key] = at
            self._newest_floor = max(self._newest_floor, at)

    def _note(self, run: Run, without: set[int]) -> None:
        if without:
            run = run.only([number for number in range(len(run.keys)) if number not in without])
        if run.keys:
            self.taken.runs.append(run)

    def put(self, key: Key, at: float, samples: Samples | None, cost: float) -> None:
        """Let an entry wait of which it is known that it may: it did so before."""
        state, alone = self._states.get(key), key not in self.of and key not in self.floors
        if alone and state is None:
            self.alone += 1
            heappush(self._ends, (at + self._lasts, key))
        if samples is None:
            self._lay_bare(key, at)
            return
        entries = self.of.get(key)
        if entries is None:
            floor = self.floors.pop(key, None)
            room = self._most if state is None else self._guard.room(state.windows, state.clock)
            entries = self.of[key] = [room] if floor is None else [room, floor, None]
        entries[0] -= cost
        entries += (at, samples)

    def entries(self, key: Key) -> Entries | None:
        """Return what waits of a key; None if nothing does."""
        floor = self.floors.get(key)
        return self.of.get(key) if floor is None else [self._most, floor, None]

    def newest(self, key: Key) -> float:
        """Return the time of the newest of what waits of a key."""
        floor = self.floors.get(key)
        return max(self.of[key][1::2]) if floor is None else floor

    def end(self, key: Key) -> Entries | None:
        """Return what waits of a key, which waits no longer; None if nothing does."""
        entries = self.entries(key)
        self.of.pop(key, None)
        self.floors.pop(key, None)
        if entries is not None and key not in self._states:
            self.alone -= 1
        return entries

    def room(self, key: Key) -> float:
        """Return what is left of the room of a key of which something waits."""
        return float(self.of[key][0]) if key in self.of else self._most

    def __iter__(self) -> Iterator[Key]:
        """Yield the keys of which something waits."""
        yield from self.floors
        yield from self.of

    def keys_alone(self) -> Iterator[Key]:
        """Yield the keys that wait without a state."""
        yield from self.floors
        yield from (key for key in self.of if key not in self._states)

    def leave_out(self, unfit: Callable[[Key], bool]) -> None:
        """Forget those that wait alone and are `unfit`."""
        for key in [key for key in self.keys_alone() if unfit(key)]:
            self.end(key)
            self.taken.gone.append(key)

    def next_end(self) -> float:
        """Return an instant before which no key that waits alone is over."""
        return self._ends[0][0] if self._ends else NEVER

    def expire(self, t: float) -> None:
        """Let those keys go that rule time `t` leaves behind."""
        while self.next_end() <= t:
            _, key = heappop(self._ends)
            entries = self.entries(key)
            if entries is None or key in self._states:
                continue  # its state has a deadline
            due = self._over(key)
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
        self._ends = [(self._over(key), key) for key in self.keys_alone()]
        heapify(self._ends)

    def _over(self, key: Key) -> float:
        return self.newest(key) + self._lasts


def pairs(entries: Entries) -> Iterable[tuple[float, Samples | None]]:
    """Return times and samples, in the order in which they came."""
    return zip(entries[1::2], entries[2::2], strict=True)
