"""The floors of bare keys: those of which a rule knows only up to when a `resolve` dropped samples.

Most resolves end nothing: an invoice paid by somebody who never failed to pay. Each must be
remembered all the same, for a failure that arrives late. Such a key has no `KeyState`, only a
`Floor`, and a row in the state file is not its own: what a step changed is one row with an entry
for each key. Replayed by rising `seq`, the rows give the floors as they were; an entry can also say
that one ended. The oldest rows are cleaned once too many entries no longer hold: each step looks at
a few for each one it adds, so that the rows are bounded by living floors and no step pauses for it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet, Sized
from heapq import heappop, heappush

import msgspec

from sidecar.parse.event import Event
from sidecar.rows import Delta, FloorsRow, Gone
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.rule import Key
from sidecar.rules.windows import NEVER

# Instead of a floor: it ended. No event's time equals it.
ENDED = NEVER
# Instead of a row's `seq`: not in a row yet; replaced by a younger one before the last start.
FRESH = 0
STALE = -1
# Entries up to which the newest row is written anew with more: a quiet system has few rows, too.
_SMALL_ROW = 128
# Cleaning begins at so many entries beyond twice the living floors, and looks at so many for each
# one added. Then less than half of them hold, so that a round frees more than it takes.
_SLACK = 1_000
_PACE = 3
# Raise it when the form changes; rows of another form are dropped.
_VERSION = 1


class Floor(msgspec.Struct, array_like=True, gc=False):
    """A key's floor. Only the entry in the row `seq` still holds; those in others are history."""

    key: Key
    at: float
    seq: int


# By the order of their rule among the rules.
ByRule = dict[int, list[Floor]]


class PackedFloors(msgspec.Struct, array_like=True, frozen=True):
    """One row, by rule name."""

    version: int
    floors: list[tuple[str, list[Floor]]]


_ROW = msgspec.msgpack.Decoder(PackedFloors)


class Segment:
    """One row's entries. `due`: none of them that holds is over earlier."""

    __slots__ = ("due", "floors", "seq", "size", "stored")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.floors: ByRule = {}
        self.size = 0
        self.due = NEVER
        self.stored = False

    def add(self, floors: ByRule) -> None:
        for order, some in floors.items():
            held = [floor for floor in self.floors.get(order, ()) if floor.seq == self.seq]
            for floor in some:
                floor.seq = self.seq
            self.floors[order] = held + some
        self.size = _size(self.floors)

    def holding(self) -> ByRule:
        """Return the floors that stand in no younger segment."""
        seq = self.seq
        return {
            order: [floor for floor in some if floor.seq == seq and floor.at != ENDED]
            for order, some in self.floors.items()
        }


class FloorLog:
    """The segments, oldest first. `living`: all floors, by rule."""

    def __init__(self, compiled_rules: Sequence[CompiledRule], living: Sequence[Sized]) -> None:
        self._compiled_rules = compiled_rules
        self._living = living
        self._segments: OrderedDict[int, Segment] = OrderedDict()
        self._entries = 0
        self._due: list[tuple[float, int]] = []  # (due, seq), valid while that is its due
        self._changed: dict[int, Segment] = {}
        self._gone: list[int] = []
        self._added = 0  # entries since the last drain
        self._credit = 0  # old entries that may be looked at

    def add(self, floors: ByRule) -> None:
        """Append entries, which are fresh."""
        self._added += _size(floors)
        self._append(floors)

    def _append(self, floors: ByRule) -> None:
        size = _size(floors)
        if not size:
            return
        newest = next(reversed(self._segments.values()), None)
        if newest is None or newest.size + size > _SMALL_ROW:
            newest = self._new_segment(1 if newest is None else newest.seq + 1)
        self._put(newest, floors)

    def _new_segment(self, seq: int) -> Segment:
        segment = self._segments[seq] = Segment(seq)
        return segment

    def _put(self, segment: Segment, floors: ByRule) -> None:
        self._entries -= segment.size
        segment.add({order: some for order, some in floors.items() if some})
        self._entries += segment.size
        self._changed[segment.seq] = segment
        self._schedule(segment, min(segment.due, self._first_due(floors)))

    def _schedule(self, segment: Segment, due: float) -> None:
        if due == segment.due:
            return
        segment.due = due
        heappush(self._due, (due, segment.seq))
        if len(self._due) > 2 * len(self._segments) + _SLACK:  # those of segments that are gone
            self._due = sorted((one.due, one.seq) for one in self._segments.values())

    def _first_due(self, floors: ByRule) -> float:
        first = [
            min([floor.at for floor in some]) + self._compiled_rules[order].span
            for order, some in floors.items()
            if some
        ]
        return min(first, default=NEVER)

    def next_due(self) -> float:
        """Return an instant before which no floor is over."""
        while self._due:
            due, seq = self._due[0]
            segment = self._segments.get(seq)
            if segment is not None and segment.due == due:
                return due
            heappop(self._due)
        return NEVER

    def expired(self, t: float) -> list[tuple[int, Key]]:
        """Return the rule and key of each floor that is over at `t`; its owner ends it."""
        found: list[tuple[int, Key]] = []
        while self.next_due() <= t:
            segment = self._segments[heappop(self._due)[1]]
            ahead: ByRule = {}
            for order, some in segment.holding().items():
                last = self._compiled_rules[order].span
                found += [(order, floor.key) for floor in some if floor.at + last <= t]
                ahead[order] = [floor for floor in some if floor.at + last > t]
            segment.due = NEVER
            self._schedule(segment, self._first_due(ahead))
        return found

    def drain(self, delta: Delta) -> None:
        """Add to `delta` the rows that changed since the last drain."""
        if self._added:
            self._clean()
            self._added = 0
        for segment in self._changed.values():
            segment.stored = True
            delta.rows.append(self._row(segment))
        delta.gone += [Gone(FloorsRow, (seq,)) for seq in self._gone]
        self._changed, self._gone = {}, []

    def _clean(self) -> None:
        """Let the oldest segments go where too few entries hold, and append those that do.

        An entry that says that a floor ended is for the older segments: behind them it goes.
        """
        living = sum(map(len, self._living))
        if not living:
            for segment in list(self._segments.values()):
                self._remove(segment)
        most = 2 * living + _SLACK
        self._credit = self._credit + _PACE * self._added if self._entries > most else 0
        while self._entries > most:
            oldest = next(iter(self._segments.values()))
            if oldest.size > self._credit:
                return
            self._credit -= oldest.size
            self._remove(oldest)
            self._append(oldest.holding())

    def _remove(self, segment: Segment) -> None:
        del self._segments[segment.seq]
        self._entries -= segment.size
        self._changed.pop(segment.seq, None)
        if segment.stored:
            self._gone.append(segment.seq)

    def _row(self, segment: Segment) -> FloorsRow:
        named = [
            (self._compiled_rules[order].rule.name, some) for order, some in segment.floors.items()
        ]
        packed = msgspec.msgpack.encode(PackedFloors(_VERSION, named))
        return FloorsRow(seq=segment.seq, packed=packed)

    def restore(
        self, rows: Sequence[FloorsRow], kept: Mapping[str, CompiledRule]
    ) -> Iterator[ByRule]:
        """Take up stored rows; yield their entries, oldest first, of the rules `kept` only.

        Those of other rules go from the rows as well, or a rule that is changed to and fro would
        find them again.
        """
        for row in sorted(rows, key=lambda row: row.seq):
            found = _decoded(row)
            floors = {kept[name].order: some for name, some in found if name in kept}
            segment = self._new_segment(row.seq)
            segment.stored = True
            if not floors:
                self._remove(segment)
                continue
            self._put(segment, floors)
            if len(floors) == len(found):
                del self._changed[segment.seq]
            yield floors


def _size(floors: ByRule) -> int:
    return sum(map(len, floors.values()))


def _decoded(row: FloorsRow) -> list[tuple[str, list[Floor]]]:
    """Return a row's entries; none where it is damaged or of another form."""
    try:
        packed = _ROW.decode(row.packed)
    except (msgspec.MsgspecError, ValueError):
        return []
    return packed.floors if packed.version == _VERSION else []


class Floors:
    """By rule and bare key, the greatest time of a `resolve`.

    A floor ends when rule time passes it by the rule's span, or when the key gets a state.
    """

    def __init__(self, compiled_rules: Sequence[CompiledRule]) -> None:
        self._compiled_rules = compiled_rules
        self._of: list[dict[Key, Floor]] = [{} for _ in compiled_rules]
        self._log = FloorLog(compiled_rules, self._of)
        self._fresh: ByRule = {}  # changed since the log last took it
        self._due = NEVER  # none begun since then is over earlier

    def of(self, compiled: CompiledRule) -> AbstractSet[Key]:
        """Return the bare keys of a rule."""
        return self._of[compiled.order].keys()

    def get(self, compiled: CompiledRule, key: Key) -> float | None:
        floor = self._of[compiled.order].get(key)
        return None if floor is None else floor.at

    def set(self, compiled: CompiledRule, key: Key, at: float) -> None:
        """Let the floor of `key` be at `at` at least."""
        floor = self._of[compiled.order].get(key)
        if floor is None:
            floor = self._of[compiled.order][key] = Floor(key, at, FRESH)
            self._fresh.setdefault(compiled.order, []).append(floor)
            self._due = min(self._due, at + compiled.span)
        elif at > floor.at:
            self._change(compiled, floor, at)

    def end(self, compiled: CompiledRule, key: Key) -> float | None:
        """Take the floor of `key` away and return it; None if it has none."""
        floor = self._of[compiled.order].pop(key, None)
        if floor is None:
            return None
        at = floor.at
        self._change(compiled, floor, ENDED)
        return at

    def _change(self, compiled: CompiledRule, floor: Floor, at: float) -> None:
        floor.at = at
        if floor.seq != FRESH:
            floor.seq = FRESH
            self._fresh.setdefault(compiled.order, []).append(floor)

    def raised(self, compiled: CompiledRule, resolves: Iterable[Event]) -> Iterator[Event]:
        """Do what `set` does for keys that have a floor; yield, in its turn, each other event.

        No deadline is moved: the one of the lower floor stands, and is put off when it is met.
        """
        floors, key_of = self._of[compiled.order], compiled.key_of
        fresh = self._fresh.setdefault(compiled.order, [])
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
            self.end(self._compiled_rules[order], key)

    def drain(self, delta: Delta) -> None:
        """Add to `delta` what changes in the state file."""
        self._hand_over()
        self._log.drain(delta)

    def _hand_over(self) -> None:
        fresh, self._fresh, self._due = self._fresh, {}, NEVER
        self._log.add(fresh)

    def restore(self, rows: Sequence[FloorsRow], kept: Mapping[str, CompiledRule]) -> None:
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
