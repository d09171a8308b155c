"""Samples that changed no verdict, waiting until their key's windows have to be known.

Nearly every event leaves nothing behind but a sample, and nearly no key ever fires. What is known
by the rule's guard (`sidecar.rules.guard`) to leave every verdict as it is only waits here, a few
bytes each, and so do the `resolve`s of keys without an alert, and the samples by which an alert
goes on firing. Whatever could change a verdict wakes
the key first: what waits goes into its `KeyState` in the order of arrival, as if it had never
waited, and then the event takes its usual way.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import Enum
from heapq import heapify, heappop, heappush, heapreplace
from itertools import islice
from operator import le
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.parse.columns import Columns
from sidecar.rules.alert import Told, id_of, told_by
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.firsts import Firsts
from sidecar.rules.guard import Samples
from sidecar.rules.keystate import TOLD, KeyState, split
from sidecar.rules.rule import Key
from sidecar.rules.verdict import Run, Verdict, Waited
from sidecar.rules.windows import BUCKETS, LONG_AGO, NEVER, Last, is_earlier

if TYPE_CHECKING:
    from sidecar.parse.event import Event

# The room that is left, then times and samples by turns; None instead of samples: a resolve.
Entries = list[Any]
SLACK = 1_000
# More entries than these go into the windows of a state, which take less; and if its alert fires,
# which costs a row of the state, and one of the alert with its redacted event.
LONGEST, _LONGEST_FIRING = 65, 257
_ONE = 3  # so long are the entries of a key of which one sample waits
_MOST_TOLD = 1_000  # remembered


class Firing:
    """An alert that fires on by what waits of its key, until `due` or so many events more.

    `event` gives the last one; None: it is not known any more.
    `ids`: of those events.
    """

    __slots__ = ("due", "event", "ids", "room")

    def __init__(self, room: int, due: float) -> None:
        self.room = room
        self.due = due
        self.event: Callable[[], Event] | None = None
        self.ids: set[bytes] = set()


class Taken(NamedTuple):
    """What came to wait since the last step, and keys of which nothing is left."""

    runs: list[Waited]
    gone: list[Key]


class Outcome(Enum):
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
        self,
        compiled: CompiledRule,
        states: dict[Key, KeyState],
        wake: Callable[[Key], object],
        max_keys: int,
    ) -> None:
        self.of: dict[Key, Entries] = {}
        self.floors: dict[Key, float] = {}
        self.alone = 0
        self.taken = Taken([], [])
        self.firing: dict[Key, Firing] = {}
        self._told: dict[tuple[Any, ...], tuple[Samples, Told, Samples]] = {}
        self._told_by = told_by(compiled.rule)
        self._compiled = compiled
        self._max_keys = max_keys
        self._states = states
        self.wake = wake
        self._guard = compiled.guard
        self._most = compiled.guard.room(None, 0.0).left
        self._newest = self._newest_floor = LONG_AGO  # of all, and of floors
        # (time, key) of keys that wait alone: none of them is over earlier.
        self._ends: list[tuple[float, Key]] = []
        # After its newest entry a key lasts so long, or at least so long.
        self._lasts = compiled.span
        self._gone_at = compiled.gone_at
        if compiled.coarse:
            self._lasts -= compiled.span / BUCKETS

    @property
    def room_for_keys(self) -> int:
        """How many keys more the rule may have."""
        return self._max_keys - len(self._states) - self.alone

    def take(self, run: Run, columns: Columns, look: Callable[[int, Verdict], None]) -> None:
        """Let what can wait do so; `look` closely at the others, by their places, once awake."""
        if run.alone is not None and run.alone.samples is None and self._raise_floors(run):
            return
        newest = max(run.times)  # of a list, not of as many arguments
        self._newest = max(self._newest, newest)
        get, states = self.of.get, self._states
        any_state, any_time = not self._compiled.counts_states, not self._compiled.room_ends
        apart: dict[int, Samples] = {}
        without: set[int] = set()
        upheld: dict[Key, int] = {}
        told_of = [(one.samples, one.cost, one.named) for one in run.verdicts]
        each = zip(run.keys, run.times, map(told_of.__getitem__, run.codes), strict=True)
        for number, (key, at, (samples, cost, named)) in enumerate(each):
            entries = get(key)
            if (
                entries
                and not named
                and (left := entries[0] - cost) >= 0
                and (any_state or samples is entries[-1])
                and (any_time or key not in states)
            ):
                entries[0] = left
                entries += (at, samples)
                if len(entries) > LONGEST:
                    self.wake(key)
                continue
            place, verdict = run.places[number], run.verdicts[run.codes[number]]
            outcome, told = self._take_one(key, at, verdict, columns, place)
            if told is not None:
                apart[number] = told
            if outcome is Outcome.UPHOLDS:
                upheld[key] = place
            elif outcome is not Outcome.WAITS:
                without.add(number)
            if outcome is Outcome.CLOSER:
                self._note_last(key, upheld, columns)
                self.wake(key)
                look(place, verdict)
        for key in list(upheld):
            self._note_last(key, upheld, columns)
        self._note(run, apart, without)

    def _note_last(self, key: Key, upheld: dict[Key, int], columns: Columns) -> None:
        """Let an alert know the last event of a block that upheld it, if one did."""
        place = upheld.pop(key, None)
        if place is not None and key in self.firing:
            self.firing[key].event = columns.later(place)

    def _take_one(
        self, key: Key, at: float, verdict: Verdict, columns: Columns, place: int
    ) -> tuple[Outcome, Samples | None]:
        """Let an event wait if it can; return what becomes of it, and what waits of it if that is
        more than its samples.
        """
        samples, state = verdict.samples, self._states.get(key)
        if state is not None and state.alert is not None:
            if not samples:
                return Outcome.CLOSER, None
            return self._uphold(key, at, samples, state, columns, place)
        if samples is None:
            return self._resolve(key, at, verdict, state), None
        known = state is not None or key in self.floors or key in self.of
        if not known and not verdict.cost and not samples:
            return Outcome.VOID, None
        if self._compiled.remembers and self._is_news(samples, state):
            return Outcome.CLOSER, None
        room = self._room_of(key, verdict, state)
        if room is None or (state is not None and self._compiled.room_ends and at >= state.due):
            return Outcome.CLOSER, None
        left = self._left(room, at, verdict, state)
        if left is None:
            return Outcome.CLOSER, None
        told = None
        if verdict.named:
            digest = id_of(columns.text(place, self._compiled.rule.dedup_by or ""))
            samples = told = [(TOLD, Told((), (), digest)), *samples]
        self._append(key, at, samples, left)
        if len(self.of[key]) > LONGEST:
            self.wake(key)
        return Outcome.WAITS, told

    def _left(
        self, room: float, at: float, verdict: Verdict, state: KeyState | None
    ) -> float | None:
        """Return the room that is left once samples wait; None: they may not."""
        if (left := room - verdict.cost) >= 0:
            return left
        if verdict.lowers and state is not None:
            return room
        if room >= 0 and self._compiled.remembers and _repeats(state, at, verdict.samples or ()):
            return 0.0  # only more of the same can wait behind it
        return None

    def _is_news(self, samples: Samples, state: KeyState | None) -> bool:
        """Return whether the state of a key, which remembers, has to know a sample at once."""
        return state is None or not self._compiled.leaves(state.counted, samples)

    def _resolve(self, key: Key, at: float, verdict: Verdict, state: KeyState | None) -> Outcome:
        """Let a resolve wait of a key without an alert."""
        floor = self.floors.get(key)
        if floor is not None:
            return self._raise_floor(key, at, floor)
        if self._compiled.remembers and state is not None:
            return Outcome.CLOSER
        room = self._room_of(key, verdict, state)
        if room is None or room < 0 or not self._comes_last(key, at):
            return Outcome.CLOSER
        self._lay_bare(key, at)
        return Outcome.WAITS

    def _room_of(self, key: Key, verdict: Verdict, state: KeyState | None) -> float | None:
        """Return the room that a key without an alert has; None: there may be no such key."""
        if key in self.of:
            return float(self.of[key][0])
        if state is not None:
            return state.room
        if key in self.floors:
            return self._most
        may_wait = verdict.samples is None or self._most - verdict.cost >= 0
        return self._most if may_wait and self.room_for_keys > 0 else None

    def _append(self, key: Key, at: float, samples: Samples, room: float) -> None:
        entries = self.of.get(key)
        if entries is None:
            floor = self.floors.pop(key, None)
            if floor is None and key not in self._states:
                self._add_alone(key, at)
            entries = self.of[key] = [room] if floor is None else [room, floor, None]
        entries[0] = room
        entries += (at, samples)

    def _add_alone(self, key: Key, at: float) -> None:
        self.alone += 1
        heappush(self._ends, (at + self._lasts, key))

    def _uphold(  # noqa: PLR0917 - once for each event of a storm
        self,
        key: Key,
        at: float,
        samples: Samples,
        state: KeyState,
        columns: Columns,
        place: int,
    ) -> tuple[Outcome, Samples | None]:
        """Let a sample wait that leaves an alert firing as it is."""
        compiled, firing = self._compiled, self.firing.get(key)
        if firing is None:
            room = state.alert.room if state.alert and compiled.upholds else 0
            firing = Firing(room, state.due)
        full = not firing.room or len(self.of.get(key, ())) > _LONGEST_FIRING
        if full or at >= firing.due or is_earlier(at, state.floor):
            return Outcome.CLOSER, None
        if compiled.tells:
            told, samples = self._with_told(samples, columns.texts(place, self._told_by))
            if told.id:
                if told.id in firing.ids or state.has_seen(told.id, at):
                    return Outcome.CLOSER, None
                firing.ids.add(told.id)
        firing.room -= 1
        self.firing[key] = firing
        self._append(key, at, samples, -1.0)
        return Outcome.UPHOLDS, samples if compiled.tells else None

    def _with_told(self, samples: Samples, texts: list[str]) -> tuple[Told, Samples]:
        """Return what an event tells, and its samples with that: the same for those alike."""
        if self._compiled.rule.dedup_by and texts[-1]:
            told = Told.of(texts, self._compiled)
            return told, [(TOLD, told), *samples]
        alike = (id(samples), *texts)
        known = self._told.get(alike)
        if known is None or known[0] is not samples:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            told = Told.of(texts, self._compiled)
            known = self._told[alike] = (samples, told, [(TOLD, told), *samples])
        return known[1:]

    def _raise_floors(self, run: Run) -> bool:
        """Take resolves of keys of which nothing else is known, if in order; else take none."""
        keys, times = run.keys, run.times
        if times[0] < self._newest_floor or not all(map(le, times, islice(times, 1, None))):
            return False
        if not (self.of.keys().isdisjoint(keys) and self._states.keys().isdisjoint(keys)):
            return False
        new = set(keys).difference(self.floors)
        if len(new) > self.room_for_keys:
            return False
        for key in new:
            self._add_alone(key, times[0])
        self.floors.update(zip(keys, times, strict=True))
        self._newest_floor = times[-1]
        self.taken.runs.append(Waited.alike(keys, times, None))
        return True

    def _raise_floor(self, key: Key, at: float, floor: float) -> Outcome:
        """Take a resolve of a key of which no more is known than an earlier or a later one."""
        if at < floor:
            return Outcome.VOID
        self.floors[key] = at
        self._newest_floor = max(self._newest_floor, at)
        return Outcome.WAITS

    def _comes_last(self, key: Key, at: float) -> bool:
        """Return whether nothing is known of the key that is newer; a resolve then leaves nothing.

        One that comes late, and ids, which outlive it, need a closer look.
        """
        state, entries = self._states.get(key), self.of.get(key, ())
        own = LONG_AGO if state is None else state.clock
        if at < own or at < max(entries[1::2], default=LONG_AGO):
            return False
        return not (self._compiled.rule.dedup_by and any(split(one)[0] for one in entries[2::2]))

    def _lay_bare(self, key: Key, at: float) -> None:
        """Let a resolve be all that waits of a key."""
        if key in self._states:
            self.of[key] = [self._most, at, None]
            return
        if self.of.pop(key, None) is None and key not in self.floors:
            self._add_alone(key, at)
        self.floors[key] = at
        self._newest_floor = max(self._newest_floor, at)

    def _note(self, run: Run, apart: Mapping[int, Samples], without: Collection[int]) -> None:
        """Note what came to wait, some `apart` with more than their samples: all but `without`."""
        keys, times, codes = run.keys, run.times, run.codes
        samples = [verdict.samples for verdict in run.verdicts]
        if apart:
            codes = list(codes)
            for number, one in apart.items():
                codes[number] = len(samples)
                samples.append(one)
        if without:
            rest = [number for number in range(len(keys)) if number not in without]
            keys, times = [keys[number] for number in rest], [times[number] for number in rest]
            codes = [codes[number] for number in rest]
        if keys:
            self.taken.runs.append(Waited(keys, times, codes, samples))

    def forget_taken(self) -> None:
        """Forget what came to wait since the last step, where nobody stores it."""
        self.taken = Taken([], [])

    def put(
        self, entries: Iterable[tuple[Key, float]], samples: Samples | None, cost: float
    ) -> None:
        """Let entries wait of which it is known that they may: they did so before."""
        of, floors, states, ends = self.of, self.floors, self._states, self._ends
        fresh = self._most - cost if self._most - cost >= 0 else self._most
        for key, at in entries:
            self._newest = max(self._newest, at)
            if samples is None:
                self._lay_bare(key, at)
            elif key in of or key in floors or key in states:
                state = states.get(key)
                known = (None, at) if state is None else (state.windows, state.clock)
                room = of[key][0] if key in of else self._guard.room(*known).left
                self._append(key, at, samples, room - cost if room - cost >= 0 else room)
            else:
                of[key] = [fresh, at, samples]
                heappush(ends, (at + self._lasts, key))
                self.alone += 1

    def cost(self, samples: Samples | None) -> float:
        """Return what it costs to put such an entry."""
        return 0.0 if samples is None else self._guard.cost(samples)

    def event_of(self, key: Key) -> "Event | None":
        """Return the last event of a key that fires on, if that is known, which waits no longer."""
        firing = self.firing.pop(key, None)
        return firing.event() if firing and firing.event else None

    def note(self, key: Key) -> None:
        """Know that a key has a state."""

    def entries(self, key: Key) -> Entries | None:
        """Return what waits of a key; None if nothing does."""
        floor = self.floors.get(key)
        return self.of.get(key) if floor is None else [self._most, floor, None]

    def end(self, key: Key) -> Entries | None:
        """Return what waits of a key, which waits no longer; None if nothing does."""
        entries = self.entries(key)
        self.of.pop(key, None)
        self.floors.pop(key, None)
        if entries is not None and key not in self._states:
            self.alone -= 1
        return entries

    def room(self, key: Key) -> float:
        """Return what is left of the room of a key of which a sample waits."""
        return float(self.of[key][0])

    def __iter__(self) -> Iterator[Key]:
        """Yield the keys of which something waits."""
        yield from self.floors
        yield from self.of

    def keys_alone(self) -> Iterator[Key]:
        """Yield the keys that wait without a state."""
        yield from self.floors
        yield from (key for key in self.of if key not in self._states)

    def idle(self) -> Iterator[tuple[float, float, Key]]:
        """Yield of each key that waits alone its room, the time of its newest negated, and it."""
        yield from ((self._most, -at, key) for key, at in self.floors.items())
        for key, entries in self.of.items():
            if key not in self._states:
                newest = entries[1] if len(entries) == _ONE else max(entries[1::2])
                yield float(entries[0]), -newest, key

    def leave_out(self, unfit: Callable[[Key], bool]) -> None:
        """Forget those that wait alone and are `unfit`."""
        for key in [key for key in self.keys_alone() if unfit(key)]:
            self.end(key)
            self.taken.gone.append(key)

    def next_end(self, *, complete: bool) -> float:
        """Return an instant before which no key that waits alone is over; `complete`: of a tick."""
        del complete
        return self._ends[0][0] if self._ends else NEVER

    def expire(self, t: float, *, complete: bool) -> None:
        """Let those keys go that rule time `t` leaves behind; `complete` as for a tick."""
        del complete
        if not (self.of or self.floors or self._ends):
            return
        if not self._states and max(self._newest, self._newest_floor) + self._compiled.span <= t:
            self.taken.gone.extend(self)
            self.of.clear()
            self.floors.clear()
            self._ends, self.alone = [], 0
        ends, of, floors = self._ends, self.of, self.floors
        while ends and ends[0][0] <= t:
            key = ends[0][1]
            if key in self._states or not (key in of or key in floors):
                heappop(ends)  # its state has a deadline
            elif (due := self._over(key)) > t:
                heapreplace(ends, (due, key))
            else:
                heappop(ends)
                if self._gone_at is None and self._compiled.coarse:
                    self.wake(key)
                else:
                    self.end(key)
                    self.taken.gone.append(key)
        if len(self._ends) > 2 * self.alone + SLACK:
            self._throw_out()

    def _throw_out(self) -> None:
        """Keep one end of each key: one that wakes again and again leaves many behind."""
        self._ends = [(self._over(key), key) for key in self.keys_alone()]
        heapify(self._ends)

    def _over(self, key: Key) -> float:
        """Return when a key that waits alone is over; where only its windows know, not later."""
        floor = self.floors.get(key)
        if self._gone_at is None:
            return (max(self.of[key][1::2]) if floor is None else floor) + self._lasts
        if floor is not None:
            return floor + self._compiled.span
        (at, samples), *others = pairs(self.of[key])
        first = at + self._compiled.span if samples is None else self._gone_at(at)
        return max([first, *(self._gone_at(at) for at, _ in others)])


def _repeats(state: KeyState | None, at: float, samples: Samples) -> bool:
    """Return whether a key's windows know all of it, so that the samples change none."""
    windows = None if state is None else state.windows
    if windows is None or not samples:  # without any there is more to an event
        return False
    return all(
        isinstance(window := windows[place], Last | Firsts) and window.repeats(at, value)
        for place, value in samples
    )


def pairs(entries: Entries) -> Iterable[tuple[float, Samples | None]]:
    """Return times and samples, in the order in which they came."""
    return zip(entries[1::2], entries[2::2], strict=True)
