"""How many keys of each `last()` rule are in which state, as changes since one last asked."""

from collections.abc import Iterable

from sidecar.rules.keystate import KeyState
from sidecar.rules.program import Program

# (alert name, state)
Place = tuple[str, str]


class Census:
    """Counts keys in and out of states; what the rules themselves name is there from the start."""

    def __init__(self, programs: Iterable[Program]) -> None:
        self._named = {(program.rule.name, s) for program in programs for s in program.states}
        self._moves: dict[Place, int] = dict.fromkeys(sorted(self._named), 0)

    def note(self, state: KeyState, t: float, *, lives: bool) -> None:
        """Look at a key that may have changed, at rule time `t`."""
        now = state.program.state(state.windows, t) if lives else None
        before = state.counted
        if now == before:
            return
        state.counted = now
        for text, by in ((before, -1), (now, 1)):
            if text is not None:
                self._move((state.program.rule.name, text), by)

    def _move(self, place: Place, by: int) -> None:
        moved = self._moves.get(place, 0) + by
        if moved or place in self._named:
            self._moves[place] = moved
        else:
            self._moves.pop(place, None)  # so that nobody has to ask: it grows with keys only

    def take(self) -> dict[Place, int]:
        """Return by how many keys each state grew since the last call."""
        moves, self._moves = self._moves, {}
        self._named.clear()
        return moves
