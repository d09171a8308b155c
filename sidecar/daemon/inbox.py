"""Takes what the provider itself says into the core: each event once, with the step's transaction.

An event goes the way of one that was read in a log: counted, judged, redacted, committed. Its id is
committed with it, so that whoever tells of it once more, or after a crash, tells nothing new.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from sidecar.clock import Clock
from sidecar.config.sources import Webhook
from sidecar.core import Core
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.parse.event import Chunk, LogFormat, Parsed
from sidecar.provider.facts import Arrival, Told, Unavailable
from sidecar.rows import ReceivedRow
from sidecar.store.schema import StoreUnavailable
from sidecar.store.store import Store

_T = TypeVar("_T")
_NO_FILE = 0  # log files are numbered from 1
_MOST_KNOWN = 4096  # ids in memory; all others are looked for in the state file


class Inbox:
    """Where listeners and pollers hand in what they were told."""

    def __init__(self, pump: Pump, store: Store, clock: Clock) -> None:
        self._pump = pump
        self._store = store
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def take(self, arrivals: Sequence[Arrival]) -> int:
        """Count and judge what is new; return how many were, once all of it is committed.

        Raises Unavailable.
        """
        return await self._done(lambda core: self._taken(core, arrivals))

    async def post(self, hook: Webhook, told: Told) -> bool:
        """Take one webhook; return whether it is new. Raises Unavailable."""
        return bool(await self.take([Arrival(f"{hook.scheme}_webhook {told.provider}", told)]))

    async def open(self, source: str) -> Mapping[str, str]:
        """Return what is kept of each event of `source` that has not ended; raises Unavailable."""
        rows = await self._done(lambda _core: self._store.open_events(source))
        return {row.id: row.told for row in rows}

    async def _done(self, call: Callable[[Core], _T]) -> _T:
        if self._pump.stands_still:
            raise Unavailable
        try:
            return await self._pump.between_steps(call)
        except (PumpStopped, StoreUnavailable):
            raise Unavailable from None

    def _taken(self, core: Core, arrivals: Iterable[Arrival]) -> int:
        now = self._clock.now()
        try:
            new = [one for one in arrivals if self._is_new(one)]
            for one in new:
                self._hand_in(core, one, now)
        except BaseException:
            self._known.clear()  # it may say more than was handed in
            raise
        return len(new)

    def _hand_in(self, core: Core, one: Arrival, now: float) -> None:
        event = one.told.event(now)
        line = msgspec.json.encode(event.fields)
        # `sidecar_source` is then the provider's name; of a log it is a path, which is absolute.
        chunk = Chunk(_NO_FILE, one.told.provider, LogFormat.PLAIN, line, 0)
        core.take(chunk, now, Parsed(events=[event], places=[0], last_at=event.at))
        core.once.append(ReceivedRow(one.source, one.told.id, now, one.open))

    def _is_new(self, one: Arrival) -> bool:
        """Return whether nobody told of it yet, or otherwise than now; it is known from now."""
        key = (one.source, one.told.id)
        known = self._known.pop(key, None)
        if known is None and (row := self._store.received(*key)) is not None:
            known = row.told
        self._known[key] = one.open
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return known != one.open
