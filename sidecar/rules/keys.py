"""All keys of all rules: found, created within the cap, dropped, and remembered as changed.

Beside them: when which key has to be looked at next, and how many keys of each rule about a state
are in which state.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from heapq import heapify, heappop, heappush, nlargest
from itertools import islice
from operator import itemgetter

from sidecar.rules.absence import AbsentKey
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.keystate import KeyState
from sidecar.rules.pair import Halves, PairKey
from sidecar.rules.rule import Key
from sidecar.rules.transitions import TransitionLog
from sidecar.rules.verdict import Run, Verdict
from sidecar.rules.waiting import Waiting, pairs
from sidecar.rules.windows import NEVER

# Ties are broken by rule order and key, so that a restart changes no order of events.
HeapEntry = tuple[float, int, Key]
# Entries beyond twice the valid ones at which those of states that are no more are thrown out.
_SLACK = 1_000
# Where a rule has no room, one key in so many is forgotten at a time.
_PART = 32
# So many events at least of one key are taken at once, and written as its state.
_MANY = 8
Find = Callable[[int, Key], KeyState | None]


class Deadlines:
    """A queue of key states by `due`. A key whose deadline moved later is put back when met."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._heap: list[HeapEntry] = []
        self._most = _SLACK

    def schedule(self, state: KeyState) -> None:
        """Make sure that `state` is met no later than its `due`."""
        if state.due < state.scheduled:
            state.scheduled = state.due
            heappush(self._heap, (state.due, state.compiled.order, state.key))
            if len(self._heap) > self._most:
                self._throw_out()

    def schedule_all(self, states: Iterable[KeyState]) -> None:
        """Do the same for states that were never scheduled: at a start, a hundred thousand."""
        for state in states:
            if state.due < NEVER:
                state.scheduled = state.due
                self._heap.append((state.due, state.compiled.order, state.key))
        self._put_in_order()

    def _throw_out(self) -> None:
        """Keep the valid entries only: a key that is bare again and again leaves many behind."""
        self._heap = [entry for entry in self._heap if self._is_valid(*entry)]
        self._put_in_order()

    def _put_in_order(self) -> None:
        heapify(self._heap)
        self._most = 2 * len(self._heap) + _SLACK

    def _is_valid(self, due: float, order: int, key: Key) -> bool:
        state = self._find(order, key)
        return state is not None and state.scheduled == due

    def first(self) -> float:
        """Return the earliest deadline, infinite when there is none."""
        while self._heap:
            due, order, key = self._heap[0]
            state = self._find(order, key)
            if state is not None and state.scheduled == due == state.due:
                return due
            heappop(self._heap)
            if state is not None and state.scheduled == due:
                state.scheduled = NEVER
                self.schedule(state)
        return NEVER

    def pop(self) -> KeyState | None:
        """Take out the state with the earliest deadline."""
        if self.first() == NEVER:
            return None
        _, order, key = heappop(self._heap)
        state = self._find(order, key)
        if state is not None:
            state.scheduled = NEVER
        return state


# (alert name, state)
NamedState = tuple[str, str]


class StateCounts:
    """Counts keys in and out of states; what the rules themselves name is there from the start."""

    def __init__(self, compiled_rules: Iterable[CompiledRule]) -> None:
        self._named = {
            (compiled.rule.name, s) for compiled in compiled_rules for s in compiled.states
        }
        self._moves: dict[NamedState, int] = dict.fromkeys(sorted(self._named), 0)

    def note(self, state: KeyState, t: float, *, lives: bool) -> None:
        """Look at a key that may have changed, at rule time `t`."""
        now = state.compiled.state(state.windows, t) if lives else None
        before = state.counted
        if now == before:
            return
        state.counted = now
        for text, by in ((before, -1), (now, 1)):
            if text is not None:
                self._move((state.compiled.rule.name, text), by)

    def _move(self, place: NamedState, by: int) -> None:
        moved = self._moves.get(place, 0) + by
        if moved or place in self._named:
            self._moves[place] = moved
        else:
            self._moves.pop(place, None)  # so that nobody has to ask: it grows with keys only

    def drain(self) -> dict[NamedState, int]:
        """Return by how many keys each state grew since the last call."""
        moves, self._moves = self._moves, {}
        self._named.clear()
        return moves


class Keys:
    """The key states, and by rule the samples of theirs that are `waiting`: whoever looks at a
    state gets one that has taken them. A key of which only little is known waits without a state.

    Absences wait in a queue of their own, since not every tick may judge.
    """

    def __init__(
        self, compiled_rules: Sequence[CompiledRule], transition_log: TransitionLog, max_keys: int
    ) -> None:
        self._transition_log = transition_log
        self._max_keys = max_keys
        self.state_counts = StateCounts(compiled_rules)
        self._keys: list[dict[Key, KeyState]] = [{} for _ in compiled_rules]
        self.waiting = [
            self._waiting(compiled, states)
            for compiled, states in zip(compiled_rules, self._keys, strict=True)
        ]
        self._changed: dict[tuple[int, Key], KeyState] = {}
        self._ordinary = Deadlines(self.find)
        self._absences = Deadlines(self.find)

    def _waiting(self, compiled: CompiledRule, states: dict[Key, KeyState]) -> Waiting:
        wake, most = partial(self.wake, compiled), self._max_keys
        if compiled.pairs:
            return Halves(compiled, states, wake, most, partial(self.make_room, compiled))
        return Waiting(compiled, states, wake, most)

    def get(self, compiled: CompiledRule, key: Key) -> KeyState | None:
        """Return the state of a key, which has taken all that waits; a half has none."""
        woken = None if compiled.pairs else self.wake(compiled, key)
        return woken or self._keys[compiled.order].get(key)

    def names(self, compiled: CompiledRule) -> list[Key]:
        """Return the keys of which anything is known."""
        return [*{**self._keys[compiled.order], **self.waiting[compiled.order].of}]

    def wake(self, compiled: CompiledRule, key: Key) -> KeyState | None:
        """Let what waits of a key go into its state and return that; None if nothing does."""
        waiting = self.waiting[compiled.order]
        if waiting.entries(key) is None:
            return None
        last, entries = waiting.event_of(key), waiting.end(key) or []
        state = self._keys[compiled.order].get(key) or self._begin(compiled, key, entries[1])
        state.catch_up(pairs(entries), last)
        self.after_event(state)
        return state

    def settle(self, most: int) -> None:
        """Let a step write what it may: of halves, and of keys whose alert fires on, some."""
        for waiting in self.waiting:
            if isinstance(waiting, Halves):
                waiting.settle(self._transition_log.redact, most)
        self.wake_firing(most)

    def wake_firing(self, most: int | None = None) -> None:
        """Wake keys whose alert fires on, those first that have waited for longest."""
        firing = ((w, key) for w in self.waiting for key in w.firing if len(w.of[key]) > 1)
        for waiting, key in list(islice(firing, most)):
            waiting.wake(key)

    def take_at_once(self, run: Run) -> int:
        """Let the state of a single key take events of a run while they change no verdict.

        Return how many were taken.
        """
        keys, verdicts = run.keys, run.verdicts
        if len(keys) < _MANY or any(not one.samples or one.named for one in verdicts):
            return 0
        compiled = verdicts[0].compiled
        if run.alone is None and not compiled.any_order:
            return 0
        if keys[0] != keys[-1] or keys.count(keys[0]) < len(keys):
            return 0
        state = self._keys[compiled.order].get(keys[0])
        if state is not None and state.alert is not None:
            return 0
        if state is None and _fitting(run, 0, compiled.guard.room(None, 0.0).left) < len(keys):
            return 0
        state = self.get(compiled, keys[0]) or self.create(compiled, keys[0], run.times[0])
        return 0 if state is None else self._take_at_once(state, run)

    def _take_at_once(self, state: KeyState, run: Run) -> int:
        taken, compiled, times = 0, state.compiled, run.times
        while taken < len(times) and state.pass_quietly(times[taken]):
            end = _fitting(run, taken, state.room)
            if compiled.room_ends:
                end = next((n for n in range(taken, end) if times[n] >= state.due), end)
            if end == taken:
                break
            for verdict, those in _alike(run, taken, end):
                state.take(those, verdict.samples or ())
            taken = end
            self.after_event(state)
        return taken

    def create(self, compiled: CompiledRule, key: Key, at: float) -> KeyState | None:
        """Return a new state for `key`, first seen at `at`.

        None when the rule has too many whose alert is pending or firing; the event that asks
        counts then.
        """
        if self.room(compiled) < 1 and not self.make_room(compiled):
            compiled.overflow += 1
            return None
        return self._begin(compiled, key, at)

    def make_room(self, compiled: CompiledRule) -> bool:
        """Forget a part of the keys, those least near to firing; return whether there were any.

        One whose alert is pending or firing is never forgotten. Of those that are equally far, the
        ones go that are known for longest. A part at a time, since to find them takes a look at
        all.
        """
        most = max(1, self._max_keys // _PART)
        for _, _, key in nlargest(most, self._idle(compiled), key=itemgetter(0, 1)):
            self._forget(compiled, key)
            compiled.forgotten += 1
        return self.room(compiled) > 0

    def _idle(self, compiled: CompiledRule) -> Iterator[tuple[float, float, Key]]:
        """Yield how far each key without an alert is from firing, since when, and the key."""
        yield from self.waiting[compiled.order].idle()
        for key, state in self._keys[compiled.order].items():
            if state.alert is None:
                yield self._room_of(compiled, state), -state.clock, key

    def _room_of(self, compiled: CompiledRule, state: KeyState) -> float:
        if compiled.absent:
            return state.due
        waiting = self.waiting[compiled.order]
        if state.key in waiting.of:
            return waiting.room(state.key)
        return state.room

    def _forget(self, compiled: CompiledRule, key: Key) -> None:
        waiting, state = self.waiting[compiled.order], self.find(compiled.order, key)
        waiting.end(key)
        if state is None:
            waiting.taken.gone.append(key)
            return
        self.state_counts.note(state, state.clock, lives=False)
        compiled.ids -= len(state.seen or ())
        self._drop(state)

    def room(self, compiled: CompiledRule) -> int:
        """Return how many keys more the rule may have."""
        return self.waiting[compiled.order].room_for_keys

    def _begin(self, compiled: CompiledRule, key: Key, at: float) -> KeyState:
        state = self.new_state(compiled, key, at)
        before = self._changed.get((compiled.order, key))
        if before is not None:
            state.stored, state.stored_alert = before.stored, before.stored_alert
        self.add(state)
        return state

    def lay_bare(self, state: KeyState) -> None:
        """Let only the last resolve of `state` live on."""
        self.state_counts.note(state, state.clock, lives=False)
        self._drop(state)
        self.waiting[state.compiled.order].put(((state.key, state.floor),), None, 0.0)

    def new_state(self, compiled: CompiledRule, key: Key, at: float) -> KeyState:
        """Return an empty state of the kind the rule needs, not yet part of the population."""
        if compiled.absent:
            return AbsentKey(compiled, key, self._transition_log, max(compiled.since, at))
        if compiled.pairs:
            return PairKey(compiled, key, self._transition_log)
        return KeyState(compiled, key, self._transition_log)

    def add(self, state: KeyState) -> None:
        self._keys[state.compiled.order][state.key] = state
        self.waiting[state.compiled.order].note(state.key)

    def after_event(self, state: KeyState) -> None:
        """Note what an event changed in `state` and when it next wants to be looked at."""
        state.due = state.due_after_event()
        if self._lives(state, state.clock):
            self._queue(state).schedule(state)

    def after_deadline(self, state: KeyState, t: float) -> None:
        if self._lives(state, t):
            self._queue(state).schedule(state)

    def after_restoring(self) -> None:
        """Do for every state what follows an event, but put their deadlines in order only once."""
        for states in self._keys:
            waiting = []
            for state in list(states.values()):
                state.due = state.due_after_event()
                if self._lives(state, state.clock):
                    waiting.append(state)
            if waiting:  # the keys of a rule all wait in one queue
                self._queue(waiting[0]).schedule_all(waiting)
            for state in waiting:
                if state.alert is not None:
                    self.wake(state.compiled, state.key)

    def _lives(self, state: KeyState, t: float) -> bool:
        """Note what changed in `state` by `t` and drop it if nothing is left to remember."""
        gone = state.is_gone(t)
        self.state_counts.note(state, t, lives=not gone)
        if gone:
            state.compiled.ids -= len(state.seen or ())
            self._drop(state)
            return False
        if state.changed:
            state.changed = False
            self._changed[state.compiled.order, state.key] = state
        return True

    def _drop(self, state: KeyState) -> None:
        del self._keys[state.compiled.order][state.key]
        self._changed[state.compiled.order, state.key] = state

    def _queue(self, state: KeyState) -> Deadlines:
        return self._absences if state.waits_for_all else self._ordinary

    def find(self, order: int, key: Key) -> KeyState | None:
        return self._keys[order].get(key)

    def next_due(self, *, complete: bool) -> float:
        """Return the earliest deadline; those of absences only when they can be judged."""
        first = self._ordinary.first()
        return min(first, self._absences.first()) if complete else first

    def next_absence(self) -> float:
        """Return the earliest deadline of an absence."""
        return self._absences.first()

    def pop(self, *, complete: bool) -> KeyState | None:
        """Take out the state whose deadline is `next_due`; None where it lies later by now."""
        state = self._pop(complete=complete)
        if state is None or self.wake(state.compiled, state.key) is None:
            return state
        return None  # what waited has put it off, or has it met again

    def _pop(self, *, complete: bool) -> KeyState | None:
        ordinary = self._ordinary.first()
        absences = self._absences if complete else None
        if absences is not None and absences.first() < ordinary:
            return absences.pop()
        return self._ordinary.pop()

    def drain_changed(self) -> Iterator[tuple[KeyState, bool]]:
        """Yield each state that changed since the last call, and whether it still lives.

        None of those has samples waiting, so that its row holds all that came yet.
        """
        for state in list(self._changed.values()):
            if self._keys[state.compiled.order].get(state.key) is state:
                self.wake(state.compiled, state.key)
        changed, self._changed = self._changed, {}
        for (order, key), state in changed.items():
            yield state, self._keys[order].get(key) is state

    def forget_changed(self) -> None:
        """Forget what changed since the last step, where nobody stores it."""
        self._changed.clear()
        for waiting in self.waiting:
            waiting.forget_taken()

    def extent(self, compiled: CompiledRule) -> tuple[int, float | None]:
        """Return how many keys a rule knows, and when the next of them has to be looked at."""
        states, alone = self._keys[compiled.order], self.waiting[compiled.order].alone
        due = min((state.due for state in states.values()), default=NEVER)
        if compiled.pairs:
            due = min(due, self.waiting[compiled.order].next_end(complete=True))
        return len(states) + alone, None if due == NEVER else due

    def __len__(self) -> int:
        """How many keys are known, whether they have a state or wait without one."""
        return sum(map(len, self._keys)) + sum(waiting.alone for waiting in self.waiting)

    def __iter__(self) -> Iterator[KeyState]:
        for keys in self._keys:
            yield from keys.values()


def _fitting(run: Run, begin: int, room: float) -> int:
    """Return the end of those events of a run, from `begin` on, that such room is enough for."""
    if run.alone is not None:
        cost = run.alone.cost * (len(run.keys) - begin)
        return len(run.keys) if run.alone.lowers or room - cost >= 0 else begin
    for number, code in enumerate(run.codes[begin:], begin):
        verdict = run.verdicts[code]
        room -= 0.0 if verdict.lowers else verdict.cost
        if not room >= 0:
            return number
    return len(run.keys)


def _alike(run: Run, begin: int, end: int) -> Iterable[tuple[Verdict, Sequence[float]]]:
    """Return each verdict of some events of a run, and the times of those it is of."""
    if run.alone is not None:
        return [(run.alone, run.times[begin:end])]
    found: dict[int, list[float]] = {}
    for at, code in zip(run.times[begin:end], run.codes[begin:end], strict=True):
        found.setdefault(code, []).append(at)
    return [(run.verdicts[code], times) for code, times in found.items()]
