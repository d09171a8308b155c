"""Where it is judged, and what lives on what is decided there: deliveries, drills, clearing up."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sidecar.clock import Clock
from sidecar.config.settings import Config
from sidecar.core import Core
from sidecar.daemon.inbox import Inbox
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.daemon.pacing import RETRY_COMMIT_SECONDS, InThread
from sidecar.daemon.telemetry import Telemetry
from sidecar.deliver.worker import Connections, Worker, connected, connections
from sidecar.render.renderer import Renderer
from sidecar.rows import BeatRow
from sidecar.store.schema import StoreUnavailable
from sidecar.store.store import Store

if TYPE_CHECKING:  # imported once the first step is made
    from sidecar.daemon.drill import Drills

PURGE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What is judged, for who looks at it: calls about it are made by `in_thread`.

    `fleet`: the names of this host and of the one that judges, and how hosts stand; None where the
    state is in a file.
    """

    core: Core
    store: Store
    in_thread: InThread
    fleet: dict[str, Any] | None = None


def fleet_of(host: str, judge: str, beats: Iterable[tuple[BeatRow, float]]) -> dict[str, Any]:
    """Return what is shown on `host` of a fleet; `beats`: each with its age in seconds."""
    hosts = [
        {"host": beat.host, "here": beat.here, "silent_seconds": round(age, 1),
         "caught_up": beat.caught_up, "read_to": beat.reached}
        for beat, age in sorted(beats, key=lambda one: one[0].host)
    ]  # fmt: skip
    return {"host": host, "judge": judge, "hosts": hosts}


@dataclass(slots=True)
class Seat:
    """The pump whose steps judge, its state and thread, and the worker that sends.

    Of a sidecar that is alone they are those that read, too. `config` returns that in force.
    """

    pump: Pump
    store: Store
    worker: Worker
    config: Callable[[], Config]
    telemetry: Telemetry
    clock: Clock
    shadow: bool
    drills: "Drills | None" = None

    async def start(self, group: asyncio.TaskGroup, inbox: Inbox, ended: asyncio.Event) -> None:
        """Start what lives until `ended` is set; imports are made now, not when first needed."""
        if not self.shadow:
            opening = await asyncio.to_thread(connections, self.config().kinds)
            group.create_task(self._deliver(opening, ended), name="deliver")
            group.create_task(self._watch_reactions(ended), name="reactions")
        from sidecar.daemon.drill import Drills  # noqa: PLC0415 - see above

        self.drills = Drills(
            config=self.config, worker=self.worker, pump=self.pump, store=self.store,
            in_thread=self.pump.in_thread, clock=self.clock, telemetry=self.telemetry,
            sends=not self.shadow,
        )  # fmt: skip
        group.create_task(self.drills.run(ended), name="drill")
        group.create_task(self.purge(ended), name="purge")
        self._ask_stripe(group, inbox, ended)

    def reconfigure(self, config: Config, core: Core) -> None:
        """Send as `config` says, what `core` decides."""
        renderer = Renderer(config.templates, core.redactor, config.origin)
        self.worker.reconfigure(config.receivers, renderer)
        self.telemetry.seated(core)

    def seen(self, fleet: dict[str, Any] | None = None) -> Seen:
        """Give what is judged here; without `fleet` this host is alone."""
        core, host = self.pump.core, self.config().host
        if host and fleet is None:
            beat = BeatRow(host, 0, core.rule_time, core.complete)
            fleet = fleet_of(host, host, [(beat, 0.0)])
        return Seen(core, self.store, self.pump.in_thread, fleet)

    @property
    def made_drills(self) -> "Drills":
        """Raises PumpStopped where there are none yet."""
        if self.drills is None:
            raise PumpStopped
        return self.drills

    async def _deliver(self, opening: Connections, ended: asyncio.Event) -> None:
        async with connected(opening) as senders:
            await asyncio.to_thread(self.worker.prepare)
            await self.worker.run(senders, ended)

    async def _watch_reactions(self, ended: asyncio.Event) -> None:
        from sidecar.daemon.reactions import Reactions  # noqa: PLC0415 - see `start`

        await Reactions(self.pump, self.pump.in_thread, self.config, self.clock).run(ended)

    def _ask_stripe(self, group: asyncio.TaskGroup, inbox: Inbox, ended: asyncio.Event) -> None:
        """Ask at each API that the configuration names; a reload changes how, not how many."""
        if not self.config().apis:
            return
        from sidecar.provider.api import Asker  # noqa: PLC0415 - see `start`

        for number in range(len(self.config().apis)):
            asker = Asker(
                partial(lambda at: self.config().apis[at], number),
                inbox, self.clock.now, self.telemetry.asked, lambda: self.config().http_config,
            )  # fmt: skip
            group.create_task(asker.run(partial(self.clock.wait, ended)), name="ask Stripe")

    async def purge(self, ended: asyncio.Event) -> None:
        """Move what waits in the log into the tables, and delete what is old, every hour."""
        seconds = PURGE_SECONDS
        while not await self.clock.wait(ended, seconds):
            try:
                while await self.pump.in_thread(self.store.fold):
                    pass  # a piece at a time, steps between
                await self.pump.in_thread(lambda: self.store.purge(self.clock.now()))
            except StoreUnavailable as failure:
                self.telemetry.commit_failed(failure)
                seconds = RETRY_COMMIT_SECONDS
            else:
                self.telemetry.written()
                seconds = PURGE_SECONDS
