"""The clock of a simulation: it stands still between events and stops at every deadline."""

from collections.abc import Iterable, Iterator

import msgspec

from sidecar.config.settings import Config
from sidecar.core import NOTHING_STORED, Core, Step
from sidecar.parse.event import Event
from sidecar.rules.alert import Alert

# Steps between two drains of what the rules changed, so that quiet histories cost no memory.
_DRAIN_EVERY = 10_000
_NEVER = float("inf")


class Moment(msgspec.Struct, frozen=True):
    """What the core did at the simulated instant `at`."""

    at: float
    step: Step


class Simulation:
    """A fresh core, nothing stored, whose clock is moved by events and by `until` alone.

    Events come in the order in which they are to be seen; one that is older than the clock is
    late, as it would be to the daemon. Between two events the clock stops at each deadline of
    rules and groups, so that whatever time brings about happens at its own instant. Events of
    one instant are judged together.
    """

    def __init__(self, config: Config) -> None:
        self.now = 0.0
        self.core = Core(config)

    def start(self, start: float) -> None:
        """Set the clock to `start`, in seconds since the epoch; to be called once, first."""
        self.now = start
        self.core.restore(NOTHING_STORED, start)
        self.core.pass_time(start)

    def run(self, events: Iterable[Event], until: float | None = None) -> Iterator[Moment]:
        """Take `events`, then let time pass up to and including `until`.

        Yields each moment in which something was decided.
        """
        engine, due, seen = self.core.engine, self._due(), 0
        for event in events:
            at = event.at
            if at > self.now:
                if engine.eventful or seen >= _DRAIN_EVERY:
                    yield from self._tell()
                    seen = 0
                    due = self._due()
                if due <= at or (engine.next_deadline() or _NEVER) <= at:
                    yield from self._advance(at)
                    due = self._due()
                self.now = at
            if engine.wants(event.triple):
                seen += 1
                engine.observe(event, read_at=self.now)
            else:  # as the daemon, which only counts such
                engine.observe_tally(event.triple, 1, at)
        yield from self._tell()
        if until is not None:
            yield from self._advance(until)
            self.now = max(self.now, until)

    def alerts(self) -> list[Alert]:
        """Return every alert that is pending or firing now."""
        return list(self.core.engine.alerts())

    def _due(self) -> float:
        """Return when the notifier wants to be woken; only settling changes that."""
        due = self.core.notifier.next_deadline()
        return _NEVER if due is None else due

    def _advance(self, to: float) -> Iterator[Moment]:
        """Let every deadline up to and including `to` happen at its own instant."""
        while (due := self.core.next_deadline()) is not None and due <= to:
            self.now = max(self.now, due)
            yield from self._tell()

    def _tell(self) -> Iterator[Moment]:
        step = self.core.pass_time(self.now)
        if step.transitions or step.decisions or step.outbox:
            yield Moment(self.now, step)
