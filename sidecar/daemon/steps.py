"""What one step of the daemon is: read, judge and commit, on the state thread."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sidecar.ahead.backlog import Assistant, Backlog, processors
from sidecar.batch import ReadBatch
from sidecar.clock import Clock
from sidecar.core import Core, Step
from sidecar.daemon.pacing import Beside, CrashGuard, Slice, worth
from sidecar.parse.event import Chunk, Parsed
from sidecar.read.follower import Follower
from sidecar.rows import Delta, MetaRow
from sidecar.store.invariants import Broken, Ledger
from sidecar.store.schema import StoreUnavailable
from sidecar.store.store import Store

if TYPE_CHECKING:
    from concurrent.futures import Future

_T = TypeVar("_T")
# The seconds a commit took, 0 if there was nothing to write; or why it failed.
Written = float | StoreUnavailable


class Judged(NamedTuple):
    """A step that was judged, and what came of its commit."""

    read: ReadBatch
    step: Step
    written: Written


class Turn(NamedTuple):
    """What a call for a step comes to: steps whose commit is over, and what is left to be read.

    `behind`: a log is not read to its end. `more`: there is something to be read at once.
    """

    judged: list[Judged]
    behind: bool
    more: bool


class Steps(ABC):
    """Takes one step after another; every method is called on the state thread.

    While there is much to read, a step's commit is made durable beside the judging of the next
    one. Whatever else looks at the state waits for that first: see `call`.
    """

    def __init__(
        self, core: Core, store: Store, ledger: Ledger, clock: Clock, beside: Beside
    ) -> None:
        self.core = core
        self.ledger = ledger
        self.broken: list[Broken] = []
        self.stepped_at = 0.0  # wall clock
        self.look_seconds = 0.0  # what the last look at the disk took
        self.tell_line: Callable[[Chunk, float], None] | None = None
        self.held = False  # nothing is to be read for now
        self._store = store
        self._clock = clock
        self._beside = beside
        self._unwritten: dict[int, Delta] = {}
        self._under_way: tuple[ReadBatch, Step, Future[float]] | None = None
        self._judged: list[Judged] = []  # that nobody was told of

    def start(self) -> Delta:
        """Return what is to be written before the first step."""
        return Delta()

    @property
    def in_doubt(self) -> bool:
        """Tell whether something that was judged may not be written yet."""
        return bool(self._unwritten)

    @abstractmethod
    def step(self, *, quick: bool = False, at_once: bool = False) -> Turn:
        """Read, judge and commit, in one go: to change threads costs more than a small step.

        A `quick` one reads nothing. `at_once`: it is committed when this returns, as it always is
        when there is nothing more to read.
        """

    def _check(self, step: Step, events: int | None) -> None:
        """Take out of a step what would break an invariant; `events`: so many were counted."""
        found = self.ledger.examined(step.delta, step.read_to, events)
        out = {id(one.row) for one in found if one.row is not None}
        step.outbox = [row for row in step.outbox if id(row) not in out]
        self.broken += found

    def _commit(self, read: ReadBatch, step: Step) -> None:
        """Begin to commit a step, once the one before is; after one that failed it must wait."""
        self._settle()
        before = self._judged[-1].written if self._judged else 0.0
        if not step.delta and isinstance(before, float):
            self._judged.append(Judged(read, step, 0.0))
            return
        self._unwritten[id(step.delta)] = step.delta
        if isinstance(before, StoreUnavailable):
            self._judged.append(Judged(read, step, before))
            return
        started = self._clock.monotonic()
        try:
            seal = self._store.begin(step.delta)
        except StoreUnavailable as failure:
            self._judged.append(Judged(read, step, failure))
            return
        self._under_way = read, step, self._beside(partial(self._sealed, seal, started))

    def _sealed(self, seal: Callable[[], None], started: float) -> float:
        """Make a commit durable; return the seconds that it took. Called on a thread of its own."""
        seal()
        return self._clock.monotonic() - started

    def _settle(self) -> None:
        """Wait for the commit that is under way."""
        if self._under_way is None:
            return
        (read, step, sealed), self._under_way = self._under_way, None
        written: Written
        try:
            written = sealed.result()
        except StoreUnavailable as failure:
            written = failure
        else:
            self._done(step.delta)
        self._judged.append(Judged(read, step, written))

    def _done(self, delta: Delta) -> None:
        self._store.committed(delta)
        self._unwritten.pop(id(delta), None)

    def settled(self) -> list[Judged]:
        """Return what was judged and nobody was told of yet, once its commit is over."""
        self._settle()
        return self._untold()

    def _untold(self) -> list[Judged]:
        found, self._judged = self._judged, []
        return found

    def call(self, call: Callable[[], _T]) -> _T:
        """Make a call that looks at the state: nothing is under way meanwhile."""
        self._settle()
        return call()

    def write(self, delta: Delta) -> Written:
        if not delta:
            return 0.0
        started = self._clock.monotonic()
        self._unwritten[id(delta)] = delta
        try:
            self._store.begin(delta)()
        except StoreUnavailable as failure:
            return failure
        self._done(delta)
        return self._clock.monotonic() - started

    def rebuild(self, build: Callable[[Core], Core]) -> Core:
        """Go on with the core that `build` makes of the present one, unless that raises."""
        self.core = build(self.core)
        return self.core

    def end(self, *, clean: bool) -> None:
        """Take no more steps; `clean`: the last one left nothing undone."""
        del clean
        self._settle()


class ReadSteps(Steps):
    """The steps of a sidecar that reads logs."""

    def __init__(
        self,
        *,
        follower: Follower,
        core: Core,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        beside: Beside,
    ) -> None:
        super().__init__(core, store, ledger, clock, beside)
        self._follower = follower
        self._guard = CrashGuard(store)
        self._slice = Slice()
        self._backlog = Backlog(processors())
        self._unread = 0

    def start(self) -> Delta:
        return self._guard.start_run(self._store.load(MetaRow))

    def step(self, *, quick: bool = False, at_once: bool = False) -> Turn:
        if self._guard.careful:
            self._settle()
        now = self.stepped_at = self._clock.now()
        began = self._clock.monotonic()
        read = self._follower.look(now)
        started = taken = self._clock.monotonic()
        busy, parsing = self._clock.busy(), self._backlog.busy
        self.look_seconds = started - began
        self.core.resume(read.resume)
        for chunk, parsed in self._chunks(read, now, quick=quick):
            self.core.take(chunk, now, parsed)
            if self.tell_line is not None:
                self.tell_line(chunk, now)
            taken = self._clock.monotonic()
        listing = self._clock.monotonic() - taken  # the files, whatever was read of them
        step = self.core.finish(read, now)
        self._guard.after(read, step)
        step.seconds = self._clock.monotonic() - started
        unread = sum(log.lag_bytes for log in read.logs if log.held)
        busy = max(self._clock.busy() - busy - listing, self._backlog.busy - parsing)
        worked = worth(step.seconds - listing, busy)
        self._slice.took(step.bytes, worked, self.look_seconds + listing, unread)
        self._unread = 0 if self._guard.careful else unread
        self._check(step, step.events)
        behind = bool(read.lagging)
        # Rows without bytes: inside an over-long line, which is skipped in slices too.
        more = behind and bool(step.bytes or read.rows or quick)
        self._commit(read, step)
        if at_once or not more or self._guard.careful:
            self._settle()
        return Turn(self._untold(), behind, more)

    def rebuild(self, build: Callable[[Core], Core]) -> Core:
        core = super().rebuild(build)
        self._backlog.end()  # it knows the patterns and rules of before
        return core

    def end(self, *, clean: bool) -> None:
        super().end(clean=clean)
        self._backlog.end()
        if clean:
            self._guard.end_run()

    def _chunks(
        self, read: ReadBatch, now: float, *, quick: bool
    ) -> Iterator[tuple[Chunk, Parsed | None]]:
        """Yield what this step is to take, with what a second process has parsed of it."""
        none = (quick or self.held) and not self._guard.careful
        budget = 0 if none else min(self._guard.budget, self._slice.budget)
        chunks = self._guard.before(self._follower.read(read, now, budget), self.core)
        self._backlog.before(self._slice.seconds(self._unread), now, self._assistant)
        upcoming = self._follower.upcoming(budget)
        yield from self._backlog.ahead(chunks, self.core.parse_alone, now, upcoming)

    def _assistant(self) -> Assistant:
        parser = self.core.parser
        return Assistant(parser.patterns, self.core.wants)
