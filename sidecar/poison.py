"""Finds the line that ends the process again and again, and passes it over.

While the daemon runs, a row in the state file says so, and a clean stop takes it away. A start
that finds it reads on in small slices and writes down before each that it is at one; a start that
finds such a slice unfinished reads it line by line, and writes down before each line which it is.
The line that ended the process three times is set aside. In ordinary running there is no row to
write and nothing to decide.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from sidecar.batch import ReadBatch
from sidecar.core import Core, Step
from sidecar.parse.event import Chunk, Reject, RejectReason
from sidecar.rows import Delta, Gone, MetaRow
from sidecar.slicing import MOST
from sidecar.store.fault import StoreUnavailable

# The most bytes a step reads, by how closely it looks; 1 is a single line.
BUDGETS = (MOST, 1 << 16, 1)
USUAL, SLICES, LINES = range(len(BUDGETS))
# The line is not the only thing that can end a process: three times is no accident.
TRIES = 3
A_SLICE = "slice"
_ROW = "running"


class Trial(msgspec.Struct, frozen=True):
    """How closely a run reads, for how many bytes more, and what it was at when it ended.

    `tries` counts how often a line, by file and position, was begun and never done with; of
    slices only that one was.
    """

    level: int = USUAL
    left: int = 0
    tries: Mapping[str, int] = msgspec.field(default_factory=dict)


def started(before: Trial | None) -> Trial:
    """Return the trial to start with; `before` is what an unclean end left, None a clean one."""
    if before is None:
        return Trial()
    if before.level == LINES:
        return Trial(LINES, BUDGETS[SLICES], before.tries)
    closer = LINES if before.tries else SLICES
    return Trial(closer, BUDGETS[closer - 1])


def condemned(trial: Trial, lines: Iterable[str]) -> set[str]:
    """Return those of `lines` that are not to be tried again."""
    return {line for line in lines if trial.tries.get(line, 0) >= TRIES}


def begun(trial: Trial, tried: Iterable[str]) -> Trial:
    """Return the trial with `tried` noted as being tried once more."""
    more = {what: trial.tries.get(what, 0) + 1 for what in tried}
    return msgspec.structs.replace(trial, tries={**trial.tries, **more})


def done(trial: Trial, tried: Iterable[str], taken: int, *, at_end: bool) -> Trial:
    """Return the trial after a step that tried this, took `taken` bytes and was committed.

    `at_end`: nothing was left unread, so what ended the process lies behind us.
    """
    left = trial.left - taken
    if at_end or left <= 0:
        return Trial()
    over = set(tried)
    return Trial(trial.level, left, {k: n for k, n in trial.tries.items() if k not in over})


class Commits(Protocol):
    """Where the row is written: `sidecar.store.store.Store`."""

    def commit(self, delta: Delta, /) -> None: ...


class Guard:
    """Keeps the trial of the present run, on the state thread, around each step."""

    def __init__(self, store: Commits) -> None:
        self._store = store
        self._trial = Trial()
        self._budget = BUDGETS[USUAL]
        self._tried: list[str] = []
        self._aside: list[Chunk] = []

    def begin(self, meta: Iterable[MetaRow]) -> Delta:
        """Take up what the last run left in `meta`; return what is to be written before reading."""
        found = next((row.value for row in meta if row.name == _ROW), None)
        self._trial = started(None if found is None else _decoded(found))
        # The first step looks about and reads nothing: what ends it is no line's fault.
        self._budget = 0 if self._trial.level == LINES else BUDGETS[self._trial.level]
        return Delta(rows=[self._row()])

    @property
    def budget(self) -> int:
        """Return how many bytes the next step is to read."""
        return self._budget

    @property
    def careful(self) -> bool:
        """Return whether what is read has to be taken one by one, because it may be deadly."""
        return self._trial.level != USUAL

    def before(self, chunks: Iterable[Chunk], core: Core) -> Iterable[Chunk]:
        """Return what the step is to take of `chunks`, once it is written down that it tries."""
        if self._trial.level == USUAL:
            return chunks
        found = list(chunks)
        if not found:
            return found
        if self._trial.level == SLICES:
            self._tried = [A_SLICE]
        else:
            self._tried = [_name(chunk) for chunk in found]
            found = self._set_aside(found, core)
        if found:
            self._trial = begun(self._trial, self._tried)
            with suppress(StoreUnavailable):  # then the step itself will wait for the disk
                self._store.commit(Delta(rows=[self._row()]))
        return found

    def _set_aside(self, chunks: Sequence[Chunk], core: Core) -> list[Chunk]:
        """Return `chunks` without those that are not to be tried again."""
        guilty = condemned(self._trial, self._tried)
        self._aside = [chunk for chunk in chunks if _name(chunk) in guilty]
        for chunk in self._aside:
            core.pass_over(chunk)
        return [chunk for chunk in chunks if _name(chunk) not in guilty]

    def after(self, batch: ReadBatch, step: Step) -> None:
        """Let the step's transaction say that its lines are done with."""
        if self._trial.level == USUAL:
            return
        step.rejects += [Reject(RejectReason.POISON, chunk.start, "") for chunk in self._aside]
        before, self._aside = self._trial, []
        if self._budget:  # and not the look about
            at_end = not batch.lagging
            self._trial = done(before, self._tried, step.bytes, at_end=at_end)
        self._budget = BUDGETS[self._trial.level]
        if self._trial != before:
            step.delta.rows.append(self._row())

    def ended(self) -> None:
        """Note that the run ends cleanly; if that cannot be written, the next start is careful."""
        with suppress(StoreUnavailable):
            self._store.commit(Delta(gone=[Gone(MetaRow, (_ROW,))]))

    def _row(self) -> MetaRow:
        return MetaRow(name=_ROW, value=msgspec.json.encode(self._trial).decode())


def _name(chunk: Chunk) -> str:
    return f"{chunk.file}:{chunk.start}"


def _decoded(text: str) -> Trial:
    try:
        return msgspec.json.decode(text, type=Trial)
    except msgspec.DecodeError:
        return Trial()
