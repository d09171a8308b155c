"""When which key wants to be looked at: a heap with lazy deletion, one valid entry a key."""

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush

from sidecar.rules.keystate import KeyState
from sidecar.rules.rule import Key
from sidecar.rules.window import NEVER

# Ties are broken by rule order and key, so that a restart changes no order of events.
Entry = tuple[float, int, Key]
# Entries beyond twice the valid ones at which those of states that are no more are thrown out.
_SLACK = 1_000
Find = Callable[[int, Key], KeyState | None]


class Deadlines:
    """A queue of key states by `due`. A key whose deadline moved later is put back when met."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._heap: list[Entry] = []
        self._most = _SLACK

    def schedule(self, state: KeyState) -> None:
        """Make sure that `state` is met no later than its `due`."""
        if state.due < state.scheduled:
            state.scheduled = state.due
            heappush(self._heap, (state.due, state.program.order, state.key))
            if len(self._heap) > self._most:
                self._throw_out()

    def schedule_all(self, states: Iterable[KeyState]) -> None:
        """Do the same for states that were never scheduled: at a start, a hundred thousand."""
        for state in states:
            if state.due < NEVER:
                state.scheduled = state.due
                self._heap.append((state.due, state.program.order, state.key))
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
