"""How much the next step reads, and how long to rest after it.

`Slice` makes a step as large as it can be without anybody having to wait for it. `Rests` says when
to look again. After a crash `CrashGuard` has smaller and smaller pieces read, until it is known
which line ends the process, and has that one passed over.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol, TypeVar

import msgspec

from sidecar.batch import ReadBatch
from sidecar.clock import Clock
from sidecar.core import Core, Step
from sidecar.parse.event import Chunk, Reject, RejectReason
from sidecar.rows import Delta, Gone, MetaRow
from sidecar.store.schema import StoreUnavailable

LEAST, FIRST, MOST = 1 << 15, 1 << 16, 1 << 24  # bytes; they are not in memory all at once
# Short enough that nobody notices the wait, with the commit and on a busy machine.
TARGET_SECONDS = 0.025
# With so many bytes unread, whoever waits for a line waits for those: a step may be longer.
FAR_BEHIND = 1 << 23
FAR_SECONDS = 0.04
# So many times longer a step may last than it works: on a busy machine smaller ones wait as often.
MOST_WAITS = 4
RETRY_COMMIT_SECONDS = 1.0
_T = TypeVar("_T")


class InThread(Protocol):
    """Runs a call on the state thread, one at a time, and waits for it."""

    async def __call__(self, call: Callable[[], _T], /) -> _T: ...


class Beside(Protocol):
    """Makes a call beside what goes on, and in the end has what it returned or raised."""

    def __call__(self, call: Callable[[], _T], /) -> Future[_T]: ...


class StateThread:
    """The one thread on which files are read, rules judged and the state file written."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._second = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")

    async def __call__(self, call: Callable[[], _T], /) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def beside(self, call: Callable[[], _T], /) -> Future[_T]:
        """Make a call on a second thread, which makes commits durable."""
        return self._second.submit(call)

    def close(self) -> None:
        self._pool.shutdown()
        self._second.shutdown()


async def patient(in_thread: InThread, clock: Clock, call: Callable[[], _T]) -> _T:
    """Return what `call` reads of the state, as soon as that can be read."""
    while True:
        with suppress(StoreUnavailable):
            return await in_thread(call)
        await clock.wait(asyncio.Event(), RETRY_COMMIT_SECONDS)


def worth(seconds: float, busy: float) -> float:
    """Return how long a step counts that lasted for `seconds`, and had a processor for `busy`.

    Of two processes at work side by side, `busy` is the one's that worked longer.
    """
    return max(busy, seconds / MOST_WAITS)


class Slice:
    """The size of the next step, in bytes.

    Every step has its price however little it reads (a look at the disk, a durable commit, a
    change of thread), which wants large steps; a new line, a scrape and a stop wait for the step
    under way, which wants short ones. The cost of a byte varies a hundredfold with what the log
    holds, so the size follows from the time that the last steps took.
    """

    def __init__(self) -> None:
        self.budget = FIRST
        self._is_known = False  # by steps that took about as long as they should

    def seconds(self, unread: int) -> float:
        """Return about how long reading so many bytes takes; 0 as long as that is not known."""
        target = FAR_SECONDS if unread >= FAR_BEHIND else TARGET_SECONDS
        return unread / self.budget * target if self._is_known else 0.0

    def took(self, read: int, seconds: float, look: float = 0.0, unread: int = 0) -> None:
        """Learn from a step that read so many bytes in so many seconds, with `unread` bytes left.

        One that found less than half of what it might have read says nothing. `look`: what its look
        at all files took besides, at ten thousand more than a step should: then it reads for twice
        as long, or most of the time would go into looks.
        """
        if read * 2 < self.budget or seconds <= 0:
            return
        target = max(FAR_SECONDS if unread >= FAR_BEHIND else TARGET_SECONDS, 2 * look)
        fitting = read * target / seconds
        if seconds < 2 * target:
            # A processor is not equally fast from one step to the next: the size that would have
            # fitted a quick step may be too much for the next one.
            fitting = self.budget + (fitting - self.budget) / 4
        # No faster up than twofold: one step of empty lines must not be followed by a huge one.
        self._is_known = self._is_known or fitting <= self.budget * 2 or self.budget == MOST
        self.budget = int(min(max(fitting, LEAST), self.budget * 2, MOST))


# Field experience: as often as mtail.
POLL_SECONDS = 0.25
# Under a steady writer, steps are spaced so that a commit carries more than a line or two.
SPACING_SECONDS = 0.02
# Once nothing has come for CALM_SECONDS, polling only checks on the events; each poll wakes a
# processor for nothing.
SLOW_POLL_SECONDS = 1.0
CALM_SECONDS = 5.0
# So long they are not relied on after they missed something: a write to a network file system by
# another machine, or through a memory map.
DOUBT_SECONDS = 60.0
# An event goes through four threads: each costs more than the line it tells of. Where lines have
# followed each other so closely for so long, events say nothing anyway.
STREAM_GAP_SECONDS = 0.1
STREAM_SECONDS = 1.0
# Where lines stream and so many alerts change in a second, steps are spaced so that a commit
# carries dozens: each changes rows in a dozen tables, on pages that are written whole.
STORM_ALERTS = 25
STORM_SPACING_SECONDS = 0.25
# A look at ten thousand files takes its time: looks for nothing take a sixtieth of it all at most,
# those while lines stream a quarter.
IDLE_LOOKS, STREAM_LOOKS = 60.0, 3.0
LONGEST_REST = 10.0


def spacing(look: float) -> float:
    """Return how many seconds lie between steps at least, where a look takes `look` seconds."""
    return max(SPACING_SECONDS, STREAM_LOOKS * look)


class Rests:
    """How long to rest between two steps: polling is the truth, file system events make it early.

    It decides by what the last steps found. Times are seconds on a clock that never jumps.
    """

    def __init__(self, now: float) -> None:
        self._relied_on_from = now + CALM_SECONDS
        self._news_at = self._stream_since = now - STREAM_GAP_SECONDS - 1
        self._second, self._changed, self._storms_until = now, 0, now

    def stepped(self, now: float, *, news: bool, polled: bool, alerts: int = 0) -> None:
        """Take the end of a step.

        `news`: it read something. `polled`: it followed a rest that no event cut short. `alerts`:
        so many of them changed.
        """
        self._count(now, alerts)
        if not news:
            return
        missed = polled and not self.streams(now)
        calm_at = now + (DOUBT_SECONDS if missed else CALM_SECONDS)
        self._relied_on_from = max(self._relied_on_from, calm_at)
        if now - self._news_at > self._gap(now):
            self._stream_since = now
        self._news_at = now

    def _count(self, now: float, alerts: int) -> None:
        if now - self._second >= 1.0:
            self._second, self._changed = now, 0
        self._changed += alerts
        if self._changed >= STORM_ALERTS:
            self._storms_until = now + 1.0 + STORM_SPACING_SECONDS

    def _gap(self, now: float) -> float:
        """Return what may lie between two lines of a stream; a storm's are read seldom."""
        storms = now < self._storms_until
        return STREAM_GAP_SECONDS + (STORM_SPACING_SECONDS if storms else 0.0)

    def streams(self, now: float) -> bool:
        """Tell whether lines come so steadily that events are of no use."""
        steadily = self._news_at - self._stream_since >= STREAM_SECONDS
        return steadily and now - self._news_at <= self._gap(now)

    def seconds(self, now: float, *, watched: bool, look: float = 0.0) -> float:
        """Return how long to rest at most; `watched`: events would tell of all there may be.

        `look`: how many seconds the last look at the disk took.
        """
        if self.streams(now - SPACING_SECONDS):  # and once more when it has just ended
            storms = now < self._storms_until
            return max(spacing(look), STORM_SPACING_SECONDS if storms else 0.0)
        calm = watched and now >= self._relied_on_from
        least = SLOW_POLL_SECONDS if calm else POLL_SECONDS
        return max(least, min(IDLE_LOOKS * look, LONGEST_REST))


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


def trial_after(before: Trial | None) -> Trial:
    """Return the trial of a new run; `before` is what an unclean end left, None a clean one."""
    if before is None:
        return Trial()
    if before.level == LINES:
        return Trial(LINES, BUDGETS[SLICES], before.tries)
    closer = LINES if before.tries else SLICES
    return Trial(closer, BUDGETS[closer - 1])


def condemned(trial: Trial, lines: Iterable[str]) -> set[str]:
    """Return those of `lines` that are not to be tried again."""
    return {line for line in lines if trial.tries.get(line, 0) >= TRIES}


def with_try(trial: Trial, tried: Iterable[str]) -> Trial:
    """Return the trial with `tried` noted as being tried once more."""
    more = {what: trial.tries.get(what, 0) + 1 for what in tried}
    return msgspec.structs.replace(trial, tries={**trial.tries, **more})


def with_done(trial: Trial, tried: Iterable[str], taken: int, *, at_end: bool) -> Trial:
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


class CrashGuard:
    """Finds the line that ends the process again and again, and has it passed over.

    While the daemon runs, a row in the state file says so, and a clean stop takes it away. A
    start that finds it reads on in small slices and writes down before each that it is at one; a
    start that finds such a slice unfinished reads it line by line, and writes down before each
    line which it is. The line that ended the process three times is set aside. In ordinary running
    there is no row to write and nothing to decide. All of it is called on the state thread.
    """

    def __init__(self, store: Commits) -> None:
        self._store = store
        self._trial = Trial()
        self._budget = BUDGETS[USUAL]
        self._tried: list[str] = []
        self._aside: list[Chunk] = []

    def start_run(self, meta: Iterable[MetaRow]) -> Delta:
        """Go on from what the last run left in `meta`; return what to write before reading."""
        found = next((row.value for row in meta if row.name == _ROW), None)
        self._trial = trial_after(None if found is None else _decoded(found))
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
            self._trial = with_try(self._trial, self._tried)
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
            self._trial = with_done(before, self._tried, step.bytes, at_end=at_end)
        self._budget = BUDGETS[self._trial.level]
        if self._trial != before:
            step.delta.rows.append(self._row())

    def end_run(self) -> None:
        """Note that the run ends cleanly; if that cannot be written, the next start is careful."""
        with suppress(StoreUnavailable):
            self._store.commit(Delta(gone=[Gone(MetaRow, (_ROW,))]))

    def _row(self) -> MetaRow:
        return MetaRow(name=_ROW, value=msgspec.json.encode(self._trial).decode())


class Held:
    """What holds at present, and what of it was said."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._said = set[str]()

    def says(self, what: str, now: float, *, holds: bool, after: float = 0.0) -> bool:
        """Return, once, whether something has become so, and has been so for `after` seconds."""
        if not holds:
            self._since.pop(what, None)
            self._said.discard(what)
            return False
        if what in self._said or now - self._since.setdefault(what, now) < after:
            return False
        self._said.add(what)
        return True


def _name(chunk: Chunk) -> str:
    return f"{chunk.file}:{chunk.start}"


def _decoded(text: str) -> Trial:
    try:
        return msgspec.json.decode(text, type=Trial)
    except msgspec.DecodeError:
        return Trial()
