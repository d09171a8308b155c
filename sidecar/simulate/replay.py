"""One replay: a history driven through the core, message by message."""

from collections.abc import Iterator, Sequence
from itertools import chain

from sidecar.config.model import Config
from sidecar.simulate.history import History, Log, Reading
from sidecar.simulate.simulation import Simulation
from sidecar.simulate.summary import Summary
from sidecar.simulate.told import Message, Press

# A message lists a bounded number of alerts; a replay has a line for every one that it told.
EVERY_ALERT = 1_000_000


class Replay:
    """What `config` would have told of the history in `logs`; nothing is sent or kept.

    `clock` is the wall clock, against which impossible times are recognised. What lies before
    `since` is read and judged, because windows and alerts reach back, but not shown. After the
    last event time stands still, unless `until` lets it run on; later events are left out.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: float,
        since: float | None = None,
        until: float | None = None,
    ) -> None:
        self.summary = Summary()
        self.reading = Reading()
        self.first_at: float | None = None
        self.last_at: float | None = None
        self._config = config
        self._clock = clock
        self._since = since
        self._until = until
        self._press = Press(config)

    def messages(self, logs: Sequence[Log]) -> Iterator[Message]:
        """Yield each message in the order of time; `summary` and `reading` follow along."""
        simulation = Simulation(self._config, most=EVERY_ALERT)
        history = History(self._config.patterns, clock=self._clock, until=self._until)
        self.reading = history.reading
        events = history.events(logs)
        first = next(events, None)
        if first is None:
            return
        self.first_at = self.last_at = first.at
        simulation.begin(first.at)
        for moment in simulation.run(chain((first,), events), self._until):
            if self._since is not None and moment.at < self._since:
                continue
            messages = list(self._press.messages(moment))
            self.summary.add(moment, messages)
            yield from messages
        self.last_at = simulation.now
