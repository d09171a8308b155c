"""Takes what the provider itself says into the core: each event once, with the step's transaction.

An event goes the way of one that was read in a log: counted, judged, redacted, committed. Its id is
committed with it, so that whoever tells of it once more, or after a crash, tells nothing new.
"""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from sidecar.clock import Clock
from sidecar.config.sources import Webhook
from sidecar.core import Core
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.daemon.telemetry import Telemetry
from sidecar.parse.event import Chunk, LogFormat, Parsed
from sidecar.provider.facts import Told
from sidecar.provider.listener import Unavailable
from sidecar.rows import ReceivedRow
from sidecar.store.schema import StoreUnavailable
from sidecar.store.store import Store

_NO_FILE = 0  # log files are numbered from 1
_MOST_KNOWN = 4096  # ids in memory; all others are looked for in the state file


class Arrival(msgspec.Struct, frozen=True):
    """An event and which `source` tells of it; `open`: what to keep of it until its end is told."""

    source: str
    told: Told
    open: str = ""


class Inbox:
    """Where listeners and pollers hand in what they were told."""

    def __init__(self, pump: Pump, store: Store, clock: Clock, telemetry: Telemetry) -> None:
        self._pump = pump
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._known: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def take(self, arrivals: Iterable[Arrival]) -> int:
        """Count and judge what is new; return how many were, once all of it is committed.

        Raises PumpStopped, StoreUnavailable; then they are to be told of again.
        """
        given = list(arrivals)
        return await self._pump.between_steps(lambda core: self._taken(core, given))

    async def post(self, hook: Webhook, told: Told) -> bool:
        """Take one webhook; return whether it is new. Raises Unavailable."""
        source = f"{hook.scheme}_webhook {hook.provider_name}"
        try:
            if not self._telemetry.stands_still:
                return bool(await self.take([Arrival(source, told)]))
        except (PumpStopped, StoreUnavailable):
            pass
        raise Unavailable

    def _taken(self, core: Core, arrivals: Iterable[Arrival]) -> int:
        now = self._clock.now()
        new = [one for one in arrivals if self._is_new(one)]
        for one in new:
            event = one.told.event(now)
            line = msgspec.json.encode(event.fields)
            chunk = Chunk(_NO_FILE, one.told.provider, LogFormat.PLAIN, line, 0)
            # `sidecar_source` is then the provider's name, as of a log its path: that is absolute.
            core.take(chunk, now, Parsed(events=[event], places=[0], last_at=event.at))
            core.once.append(ReceivedRow(one.source, one.told.id, now, one.open))
        return len(new)

    def _is_new(self, one: Arrival) -> bool:
        """Return whether nobody told of it yet, or it ends what was open; it is known from now."""
        key = (one.source, one.told.id)
        known = self._known.pop(key, None)
        if known is None and (row := self._store.received(*key)) is not None:
            known = row.told
        new = known is None or (known != "" and one.open == "")
        self._known[key] = one.open if new or known is None else known
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return new
