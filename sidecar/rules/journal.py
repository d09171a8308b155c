"""The journal: rows in which a step stores what came to wait, in columns, instead of key by key.

Read by rising `seq` the rows give what waits of each key, on top of its own row in `rule_state` if
it has one. A part of a row is what one step changed: entries that came, keys whose entries stand
there whole, in place of all before, and keys of which nothing is left. A key whose state was
written in a step needs no entry up to that step. Small steps extend the newest row. Once too many
entries are history, a round begins over all keys that wait, so many a step that no step pauses for
it: they are written anew, and at its end the rows of before go.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from zlib import crc32

import msgspec

from sidecar.rows import Delta, Gone, JournalRow, MetaRow
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.keys import Keys
from sidecar.rules.keystate import KeyState
from sidecar.rules.rule import Key
from sidecar.rules.verdict import Waited, coded, recoded
from sidecar.rules.waiting import LONGEST, Taken, Waiting

# Entries up to which the newest row is written anew with more: a quiet system has few rows, too.
_SMALL_ROW = 128
# Entries at which a round begins, beyond two a key and twice what the last one left; and how many
# keys of it a step looks at for each entry that it adds, or rather: how much of the work for them
# it does.
_SLACK = 20_000
_PACE = 2
# So many keys a round looks at at a time; of those of which no more is known than when they were
# resolved, so many cost what an entry does.
_SLICE, _BARE_COST = 64, 8
# About what it costs to wake a key and write its row, and that of its alert, in entries.
_WAKING, _WAKING_ALERT = 20, 100
_SHORT = 32  # runs of fewer events are not worth an object each
_MOST_KNOWN = 10_000  # different samples that are looked up while rows are read
# Raise it when the form changes; rows of another form are damaged ones, but for the one before.
_FORMER, _VERSION = 1, 2
_CHECKSUM = 4  # bytes
STEP = "step"  # the MetaRow that keeps the number of the last step


class Run(msgspec.Struct, array_like=True, gc=False):
    """Keys of events, and their times as doubles."""

    keys: list[Key]
    times: bytes


# In which step the row of a key was written, or what is newer than all before: by rule order.
Steps = dict[int, dict[Key, int]]


class Columns(msgspec.Struct, array_like=True, gc=False):
    """Entries of one rule: `runs` of the part, and for each `which` of the `samples` it has: of
    each event, or of all. A list is what bytes cannot tell.
    """

    rule: str
    runs: list[int]
    samples: list[Any]
    which: list[int | bytes | list[int]]
    gone: list[Key]
    whole: list[tuple[Key, Any]]


class Part(msgspec.Struct, array_like=True, gc=False):
    """What one step changed, by rule; rules that judge the same events share their runs."""

    step: int
    rules: list[Columns]
    runs: list[Run]

    @property
    def size(self) -> int:
        """Return how many entries that is."""
        lengths = [len(run.keys) for run in self.runs]
        return sum(
            sum(lengths[run] for run in one.runs) + len(one.gone) + len(one.whole)
            for one in self.rules
        )


class PackedRow(msgspec.Struct, array_like=True, gc=False):
    version: int
    parts: list[Part]


class _FormerColumns(msgspec.Struct, array_like=True, gc=False):
    """Those of the form before: each rule had the keys and times of its own."""

    rule: str
    keys: list[Key]
    times: bytes
    samples: list[Any]
    which: list[int]
    gone: list[Key]
    whole: list[tuple[Key, Any]]


class _FormerPart(msgspec.Struct, array_like=True, gc=False):
    step: int
    rules: list[_FormerColumns]

    def today(self) -> Part:
        runs = [Run(one.keys, one.times) for one in self.rules]
        return Part(self.step, [
            Columns(one.rule, [number], one.samples, [one.which], one.gone, one.whole)
            for number, one in enumerate(self.rules)
        ], runs)  # fmt: skip


class _FormerRow(msgspec.Struct, array_like=True, gc=False):
    version: int
    parts: list[_FormerPart]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PackedRow).decode
_decode_former = msgspec.msgpack.Decoder(_FormerRow).decode
_version_of = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw]).decode


def packed(seq: int, parts: list[Part]) -> JournalRow:
    body = _encode(PackedRow(_VERSION, parts))
    return JournalRow(seq=seq, packed=crc32(body).to_bytes(_CHECKSUM) + body)


def parts_of(row: JournalRow) -> list[Part]:
    """Return what a row holds. Raises ValueError where it is damaged or of another form."""
    body = row.packed[_CHECKSUM:]
    if crc32(body).to_bytes(_CHECKSUM) != row.packed[:_CHECKSUM]:
        raise ValueError("the checksum is wrong")
    version, _ = _version_of(body)
    if version == _FORMER:
        return [part.today() for part in _decode_former(body).parts]
    if version != _VERSION:
        raise ValueError(f"packed in form {version}, this is {_VERSION}")
    return _decode(body).parts


class _Runs:
    """The runs of a part, each once."""

    def __init__(self) -> None:
        self.all: list[Run] = []
        self._known: dict[tuple[int, int], tuple[int, Any]] = {}

    def add(self, keys: Sequence[Key], times: Sequence[float]) -> int:
        """Return the number of a run, which is kept until the part is made."""
        known = self._known.get((id(keys), id(times)))
        if known is None:
            known = self._known[id(keys), id(times)] = len(self.all), (keys, times)
            self.all.append(Run(list(keys), array("d", times).tobytes()))
        return known[0]


class Journal:
    """Writes the rows and reads them. `step` is the number of the step under way; `damaged` counts
    the rows that could not be read at the start.
    """

    def __init__(self, compiled_rules: Sequence[CompiledRule], keys: Keys) -> None:
        self.step = 1
        self.damaged = 0
        self._rules = compiled_rules
        self._keys = keys
        self._sizes: dict[int, int] = {}  # by row, in rising order: its entries
        self._newest: list[Part] = []  # the newest row's parts, while it may be extended
        self._round: Iterator[tuple[CompiledRule, list[Key]]] | None = None
        self._round_from = 0  # rows from here on hold all that the keys of before the round have
        self._left = 0  # the entries that the last round left
        self._whole: dict[int, set[Key]] = {}  # to be written so, by rule order
        self._changed: dict[int, list[Part]] = {}
        self._gone: list[int] = []
        self._stored: set[int] = set()
        self._steps: Steps = {}
        self._same: dict[tuple[int, bytes], tuple[Any, float]] = {}

    def look_back(self) -> None:
        """Go on with a round over all that waits, or begin one where too many entries are history.

        When it is over, the rows of before are.
        """
        waiting = self._keys.waiting
        kept = 2 * max(len(self._keys), self._left)
        if self._round is None and sum(self._sizes.values()) > _SLACK + kept:
            self._round = (one for rule in self._rules for one in self._slices(rule))
            self._round_from, self._newest = max(self._sizes) + 1, []
        if self._round is not None:
            credit = _PACE * sum(len(run.keys) for one in waiting for run in one.taken.runs)
            for compiled, keys in self._round:
                credit -= self._look_at(compiled, keys)
                if credit <= 0:
                    break
            else:
                self._round = None
                for seq in [seq for seq in self._sizes if seq < self._round_from]:
                    self._remove(seq)
                self._left = sum(self._sizes.values())

    def _slices(self, compiled: CompiledRule) -> Iterator[tuple[CompiledRule, list[Key]]]:
        """Yield what a round looks at, some keys of a rule at a time."""
        waiting = self._keys.waiting[compiled.order]
        for known in (waiting.floors, waiting.of):
            names = iter(list(known))
            while some := list(islice(names, _SLICE)):
                yield compiled, some

    def _look_at(self, compiled: CompiledRule, keys: list[Key]) -> int:
        """Write anew what waits of keys, or wake them; return about what that costs, in entries."""
        waiting = self._keys.waiting[compiled.order]
        floors, of = waiting.floors, waiting.of
        if bare := [key for key in keys if key in floors]:
            waiting.taken.runs.append(Waited.alike(bare, [floors[key] for key in bare], None))
        lengths = {key: len(of[key]) for key in keys if key in of}
        few = {key for key, length in lengths.items() if length <= LONGEST}
        self._whole.setdefault(compiled.order, set()).update(few)
        cost = 1 + len(bare) // _BARE_COST + sum(map(lengths.__getitem__, few)) // 2
        for key in [key for key in lengths if key not in few]:
            cost += lengths[key] + (_WAKING_ALERT if key in waiting.firing else _WAKING)
            self._keys.wake(compiled, key)
        return cost

    def rewrite(self, compiled: CompiledRule, key: Key) -> None:
        """Let this step write all that waits of `key`."""
        self._whole.setdefault(compiled.order, set()).add(key)

    def drain(self, delta: Delta, written: Sequence[tuple[KeyState, bool]]) -> None:
        """Add to `delta` what changes in the rows, in a step that wrote these states.

        Beside each: whether it lives on. Then nothing waits for it.
        """
        if any(waiting.of or waiting.floors for waiting in self._keys.waiting):
            self._add(self._part(written))
        else:
            for waiting in self._keys.waiting:
                waiting.taken = Taken([], [])
            for seq in list(self._sizes):
                self._remove(seq)
            self._round = None
        self._whole.clear()
        delta.rows += [packed(seq, parts) for seq, parts in self._changed.items()]
        self._stored.update(self._changed)
        delta.gone += [Gone(JournalRow, (seq,)) for seq in self._gone]
        if self._changed or written:
            delta.rows.append(MetaRow(name=STEP, value=str(self.step)))
            self.step += 1
        self._changed, self._gone = {}, []

    def _part(self, written: Sequence[tuple[KeyState, bool]]) -> Part:
        alive, ended = [[set[Key]() for _ in self._rules] for _ in range(2)]
        for state, lives in written:
            (alive if lives else ended)[state.compiled.order].add(state.key)
        runs = _Runs()
        each = zip(self._rules, alive, ended, strict=True)
        found = [self._columns(*one, runs) for one in each if self._has_changed(*one)]
        some = [one for one in found if one.runs or one.gone or one.whole]
        return Part(self.step, some, runs.all)

    def _has_changed(self, compiled: CompiledRule, alive: set[Key], ended: set[Key]) -> bool:
        """Return whether there may be something to write of a rule, as mostly there is not."""
        taken, whole = self._keys.waiting[compiled.order].taken, self._whole.get(compiled.order)
        return bool(alive or ended or whole or taken.runs or taken.gone)

    def _columns(
        self, compiled: CompiledRule, alive: set[Key], ended: set[Key], runs: _Runs
    ) -> Columns:
        """Return what the step changed of one rule; what was written otherwise is left out."""
        waiting = self._keys.waiting[compiled.order]
        taken, waiting.taken = waiting.taken, Taken([], [])
        without = alive | ended
        ended.update(taken.gone)
        of, floors = waiting.of, waiting.floors
        again = ended.union(self._whole.get(compiled.order, ()))
        whole = {key for key in again if key in of or key in floors}
        without |= whole
        numbers, samples, which = _entries(taken.runs, without, runs)
        return Columns(
            rule=compiled.rule.name,
            runs=numbers,
            samples=samples,
            which=which,
            gone=sorted(ended - whole) if self._sizes or numbers else [],
            whole=[
                (key, of[key][1:] if key in of else [floors[key], None]) for key in sorted(whole)
            ],
        )

    def _add(self, part: Part) -> None:
        if not part.rules:
            return
        newest = max(self._sizes, default=0)
        seq = newest if self._newest else newest + 1
        self._changed[seq] = self._newest = [*self._newest, part]
        self._note(seq, part)

    def _note(self, seq: int, part: Part) -> None:
        self._sizes[seq] = self._sizes.get(seq, 0) + part.size
        if self._sizes[seq] > _SMALL_ROW:
            self._newest = []

    def _remove(self, seq: int) -> None:
        del self._sizes[seq]
        self._changed.pop(seq, None)
        if seq in self._stored:
            self._gone.append(seq)
        if not self._sizes:
            self._newest = []

    def restore(
        self,
        rows: Iterable[JournalRow],
        kept: Mapping[str, CompiledRule],
        steps: Steps,
        last_step: int,
    ) -> None:
        """Let wait what the rows say of the rules `kept`; what they say of others goes.

        `steps`: in which step the row of a key with a state was written. A damaged row goes, and
        costs its own entries only.
        """
        self._steps = steps
        self.step = max((last_step, *(step for of in steps.values() for step in of.values()))) + 1
        read: list[Part] = []
        for row in sorted(rows, key=lambda row: row.seq):
            self._stored.add(row.seq)
            found = _read(row)
            self.damaged += found is None
            parts = [
                Part(one.step, [c for c in one.rules if c.rule in kept], one.runs)
                for one in found or ()
            ]
            parts = [part for part in parts if part.rules]
            if not parts:
                self._gone.append(row.seq)
                continue
            self._newest = parts
            for part in parts:
                self._note(row.seq, part)
            read += parts
            if parts != found:
                self._changed[row.seq] = parts
        self._replay_all(read, kept)
        self._steps, self._same = {}, {}

    def _replay_all(self, parts: Sequence[Part], kept: Mapping[str, CompiledRule]) -> None:
        """Let wait what the parts say, but not what a later one says anew, or is gone by it."""
        for part in parts:
            step = part.step
            self.step = max(self.step, step + 1)
            for columns in part.rules:
                steps = self._steps.setdefault(kept[columns.rule].order, {})
                known = steps.get
                for key in columns.gone:  # with what came of it in that step
                    if known(key, 0) < step:
                        steps[key] = step
                for key, _ in columns.whole:
                    if known(key, 0) < step - 1:
                        steps[key] = step - 1
        for part in parts:
            for columns in part.rules:
                self._replay(kept[columns.rule], part, columns)

    def _replay(self, compiled: CompiledRule, part: Part, columns: Columns) -> None:
        waiting, step = self._keys.waiting[compiled.order], part.step
        known = self._steps[compiled.order].get
        found = [self._known(waiting, samples) for samples in columns.samples]
        for number, which in zip(columns.runs, columns.which, strict=True):
            run = part.runs[number]
            times = array("d", run.times)
            if isinstance(which, int) or len(found) == 1:
                each = zip(run.keys, times, strict=False)
                entries = [(key, at) for key, at in each if known(key, 0) < step]
                waiting.put(entries, *found[which if isinstance(which, int) else 0])
                continue
            for key, at, one in zip(run.keys, times, which, strict=False):
                if known(key, 0) < step:
                    waiting.put(((key, at),), *found[one])
        for key in waiting.of.keys() & {*columns.gone, *(key for key, _ in columns.whole)}:
            waiting.end(key)  # what an earlier version stored elsewhere
        for key, entries in columns.whole:
            if known(key, 0) < step:
                for at, samples in zip(entries[::2], entries[1::2], strict=True):
                    waiting.put(((key, at),), *self._known(waiting, samples))

    def _known(self, waiting: Waiting, samples: Any) -> tuple[Any, float]:
        """Return the one object for samples that say the same, and what they cost."""
        alike = (id(waiting), _encode(samples))
        found = self._same.get(alike)
        if found is None:
            if len(self._same) >= _MOST_KNOWN:
                self._same.clear()
            found = self._same[alike] = samples, waiting.cost(samples)
        return found


def _entries(
    taken: Iterable[Waited], without: set[Key], runs: _Runs
) -> tuple[list[int], list[Any], list[int | bytes | list[int]]]:
    """Return the numbers of runs, the different samples, and which of them each run has."""
    numbers: list[int] = []
    places: dict[int, int] = {}
    table: list[Any] = []
    which: list[int | bytes | list[int]] = []
    for keys, times, codes, samples in _together(taken):
        for one in samples:
            if places.setdefault(id(one), len(table)) == len(table):
                table.append(one)
        mine = recoded(codes, [places[id(one)] for one in samples], len(table))
        if without and not without.isdisjoint(keys):
            rest = [n for n, key in enumerate(keys) if key not in without]
            keys, times = [keys[n] for n in rest], [times[n] for n in rest]  # noqa: PLW2901 - what is left
            mine = coded([mine[n] for n in rest], len(table))
        if keys:
            numbers.append(runs.add(keys, times))
            one_for_all = len(set(mine)) == 1
            which.append(mine[0] if one_for_all else mine if isinstance(mine, bytes) else [*mine])
    return numbers, table, which


def _together(taken: Iterable[Waited]) -> Iterator[Waited]:
    """Yield short runs that follow each other as one; long ones are shared as they are."""
    keys, times, codes, samples = list[Key](), list[float](), list[int](), list[Any]()
    for one in taken:
        if len(one.keys) < _SHORT:
            codes += [code + len(samples) for code in one.codes]
            keys += one.keys
            times += one.times
            samples += one.samples
            continue
        if keys:
            yield Waited(keys, times, codes, samples)
            keys, times, codes, samples = [], [], [], []
        yield one
    if keys:
        yield Waited(keys, times, codes, samples)


def _read(row: JournalRow) -> list[Part] | None:
    try:
        return parts_of(row)
    except (msgspec.MsgspecError, ValueError):
        return None
