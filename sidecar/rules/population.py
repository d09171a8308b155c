"""All keys of all rules: found, begun within the cap, dropped, and remembered as changed."""

from collections.abc import Iterator, Sequence

from sidecar.rules.absence import AbsentKey
from sidecar.rules.census import Census
from sidecar.rules.deadlines import Deadlines
from sidecar.rules.keystate import KeyState
from sidecar.rules.program import Program
from sidecar.rules.rule import Key


class Population:
    """The key states. Absences wait in a queue of their own, since not every tick may judge."""

    def __init__(self, programs: Sequence[Program], max_keys: int) -> None:
        self._max_keys = max_keys
        self.census = Census(programs)
        self._keys: list[dict[Key, KeyState]] = [{} for _ in programs]
        self._changed: dict[tuple[int, Key], KeyState] = {}
        self._ordinary = Deadlines(self._find)
        self._absences = Deadlines(self._find)

    def get(self, program: Program, key: Key) -> KeyState | None:
        return self._keys[program.order].get(key)

    def begin(self, program: Program, key: Key, at: float) -> KeyState | None:
        """Return a new state for `key`, first seen at `at`; None when the rule has too many."""
        if len(self._keys[program.order]) >= self._max_keys:
            program.overflow += 1
            return None
        state = self.make(program, key, at)
        before = self._changed.get((program.order, key))
        if before is not None:
            state.stored, state.stored_alert = before.stored, before.stored_alert
        self.adopt(state)
        return state

    def make(self, program: Program, key: Key, at: float) -> KeyState:
        """Return an empty state of the kind the rule needs, not yet part of the population."""
        if program.absent:
            return AbsentKey(program, key, max(program.since, at))
        return KeyState(program, key)

    def adopt(self, state: KeyState) -> None:
        self._keys[state.program.order][state.key] = state

    def after_event(self, state: KeyState) -> None:
        """Note what an event changed in `state` and when it next wants to be looked at."""
        state.due = state.due_after(state.clock)
        self._settle(state, state.clock)

    def after_deadline(self, state: KeyState, t: float) -> None:
        self._settle(state, t)

    def _settle(self, state: KeyState, t: float) -> None:
        place = (state.program.order, state.key)
        gone = state.is_gone(t)
        self.census.note(state, t, lives=not gone)
        if gone:
            state.program.ids -= len(state.seen or ())
            del self._keys[place[0]][place[1]]
            self._changed[place] = state
            return
        if state.touched:
            state.touched = False
            self._changed[place] = state
        self._queue(state).schedule(state)

    def _queue(self, state: KeyState) -> Deadlines:
        return self._absences if state.program.absent else self._ordinary

    def _find(self, order: int, key: Key) -> KeyState | None:
        return self._keys[order].get(key)

    def next_due(self, *, complete: bool) -> float:
        """Return the earliest deadline; those of absences only when they can be judged."""
        first = self._ordinary.first()
        return min(first, self._absences.first()) if complete else first

    def pop(self, *, complete: bool) -> KeyState | None:
        """Take out the state whose deadline is `next_due`."""
        ordinary = self._ordinary.first()
        absences = self._absences if complete else None
        if absences is not None and absences.first() < ordinary:
            return absences.pop()
        return self._ordinary.pop()

    def take_changed(self) -> Iterator[tuple[KeyState, bool]]:
        """Yield each state that changed since the last call, and whether it still lives."""
        changed, self._changed = self._changed, {}
        for (order, key), state in changed.items():
            yield state, self._keys[order].get(key) is state

    def __iter__(self) -> Iterator[KeyState]:
        for keys in self._keys:
            yield from keys.values()
