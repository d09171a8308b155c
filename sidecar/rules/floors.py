"""Floors of bare keys: those of which a rule knows only up to when a `resolve` forgot them.

Most resolves end nothing: an invoice paid by somebody who never failed to pay. Each must be
remembered all the same, for a failure that arrives late. Such a key has no `KeyState`, only a
`Floor`: 0.7 us an event where a state took 4. They are stored as a log, see `rules.floorlog`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet

from sidecar.parse.event import Event
from sidecar.rows import Delta, FloorsRow
from sidecar.rules.floorlog import ENDED, FRESH, STALE, ByRule, Floor, FloorLog
from sidecar.rules.program import Program
from sidecar.rules.rule import Key
from sidecar.rules.window import NEVER


class Floors:
    """By rule and bare key, the greatest time of a `resolve`.

    A floor ends when rule time passes it by the rule's span, or when the key gets a state.
    """

    def __init__(self, programs: Sequence[Program]) -> None:
        self._programs = programs
        self._of: list[dict[Key, Floor]] = [{} for _ in programs]
        self._log = FloorLog(programs, self._of)
        self._fresh: ByRule = {}  # changed since the log last took it
        self._due = NEVER  # none begun since then is over earlier

    def of(self, program: Program) -> AbstractSet[Key]:
        """Return the bare keys of a rule."""
        return self._of[program.order].keys()

    def get(self, program: Program, key: Key) -> float | None:
        floor = self._of[program.order].get(key)
        return None if floor is None else floor.at

    def set(self, program: Program, key: Key, at: float) -> None:
        """Let the floor of `key` be at `at` at least."""
        floor = self._of[program.order].get(key)
        if floor is None:
            floor = self._of[program.order][key] = Floor(key, at, FRESH)
            self._fresh.setdefault(program.order, []).append(floor)
            self._due = min(self._due, at + program.span)
        elif at > floor.at:
            self._change(program, floor, at)

    def end(self, program: Program, key: Key) -> float | None:
        """Take the floor of `key` away and return it; None if it has none."""
        floor = self._of[program.order].pop(key, None)
        if floor is None:
            return None
        at = floor.at
        self._change(program, floor, ENDED)
        return at

    def _change(self, program: Program, floor: Floor, at: float) -> None:
        floor.at = at
        if floor.seq != FRESH:
            floor.seq = FRESH
            self._fresh.setdefault(program.order, []).append(floor)

    def raised(self, program: Program, resolves: Iterable[Event]) -> Iterator[Event]:
        """Do what `set` does for keys that have a floor; yield, in its turn, each other event.

        No deadline is moved: the one of the lower floor stands, and is put off when it is met.
        """
        floors, key_of = self._of[program.order], program.key_of
        fresh = self._fresh.setdefault(program.order, [])
        for event in resolves:
            floor = floors.get(key_of(event))
            if floor is None:
                yield event
            elif event.at > floor.at:
                floor.at = event.at
                if floor.seq != FRESH:
                    floor.seq = FRESH
                    fresh.append(floor)

    def next_due(self) -> float:
        """Return an instant before which none is over."""
        return min(self._due, self._log.next_due())

    def expire(self, t: float) -> None:
        """End those that rule time `t` leaves behind."""
        self._hand_over()
        for order, key in self._log.expired(t):
            self.end(self._programs[order], key)

    def drain(self, delta: Delta) -> None:
        """Add to `delta` what changes in the state file."""
        self._hand_over()
        self._log.drain(delta)

    def _hand_over(self) -> None:
        fresh, self._fresh, self._due = self._fresh, {}, NEVER
        self._log.add(fresh)

    def restore(self, rows: Sequence[FloorsRow], kept: Mapping[str, Program]) -> None:
        """Take up the stored floors of the rules `kept`, by name; those of others are dropped."""
        for entries in self._log.restore(rows, kept):
            for order, some in entries.items():
                _replay(self._of[order], some)


def _replay(floors: dict[Key, Floor], entries: Sequence[Floor]) -> None:
    for floor in entries:
        before = floors.pop(floor.key, None)
        if before is not None:
            before.seq = STALE
        if floor.at != ENDED:
            floors[floor.key] = floor
