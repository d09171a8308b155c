"""The outbox as the delivery worker sees it: rows of the store, looked at and claimed in turn."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sidecar.clock import Clock
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.daemon.pacing import RETRY_COMMIT_SECONDS
from sidecar.daemon.telemetry import Telemetry
from sidecar.deliver.waiting import Destination, Road, addressee
from sidecar.notify.model import Notification
from sidecar.rows import WITHDRAWN, Delta, OutboxRow
from sidecar.store.schema import StoreUnavailable
from sidecar.store.store import OutboxBacklog, Store

if TYPE_CHECKING:
    from sidecar.store.invariants import Broken


class StoredOutbox:
    """The outbox table as the delivery worker sees it: the store's, on the state thread.

    A disk that is full or busy is waited for. How a message ended is for `pump` to write, with
    what follows from it for who knows what.
    """

    def __init__(self, store: Store, pump: Pump, clock: Clock, telemetry: Telemetry) -> None:
        self._store = store
        self._pump = pump
        self._clock = clock
        self._telemetry = telemetry
        self._broken: list[Broken] = []

    async def claim(self, now: float, road: Road) -> list[OutboxRow]:
        if self._store.nothing_waits:  # what comes later is offered, which makes for a look
            self._telemetry.backlog = OutboxBacklog(0, None)
            return []
        while True:
            try:
                found = await self._pump.in_thread(lambda: self._claimed(now, road))
            except StoreUnavailable as failure:
                self._telemetry.commit_failed(failure)
                return []
            if found is None:
                await self._clock.wait(asyncio.Event(), RETRY_COMMIT_SECONDS)
                continue
            rows, void, written, self._telemetry.backlog = found
            self._tell_broken()
            if not written:  # it may have been made all the same: only one that succeeds settles it
                await self.save(rows)
            if not void:
                return rows
            await self._pump.end(void)
            if rows:
                return rows

    def _claimed(
        self, now: float, road: Road
    ) -> tuple[list[OutboxRow], list[OutboxRow], bool, OutboxBacklog] | None:
        """Look and write the claims in one turn on the state thread, where a step may be before.

        Return what `_due` does, whether the claims are on disk, and what is pending; None while a
        commit is in doubt, which would undo the claims if it is made once more.
        """
        if self._pump.in_doubt:
            return None
        backlog = self._store.backlog()
        rows, void = self._due(now, road)
        rows = self._checked(rows) if rows else []
        try:
            if rows:
                self._store.save_outbox(rows)
        except StoreUnavailable:
            return rows, void, False, backlog
        return rows, void, True, backlog

    def _due(self, now: float, road: Road) -> tuple[list[OutboxRow], list[OutboxRow]]:
        """Return what is to be sent, claimed and as it has to read now, and what is void by now."""
        rows: list[OutboxRow] = []
        void: list[OutboxRow] = []
        for head in self._store.queue.next(now):
            if not road.is_open(road.lane(head.to)):
                continue
            row = self._store.message(head.id)
            new = self._pump.core.notifier.renewed(row, now)
            if new is None or new.outcome:
                void.append(new or replace(row, outcome=WITHDRAWN))
            elif road.is_open(lane := road.lane(addressee(new))):  # it may have been renamed
                road = road.without(lane)
                rows.append(replace(new, claimed_at=now))
        return rows, void

    async def fall_back(self, row: OutboxRow, reason: str) -> None:
        now = self._clock.now()
        if not await self._pump.in_thread(lambda: self._pump.core.notifier.fallback.waits(row)):
            return  # a step would be for nothing
        with suppress(PumpStopped):
            await self._pump.between_steps(
                lambda core: core.notifier.fallback.take(row, reason, now)
            )

    async def standing(self, to: Destination, now: float) -> list[Notification]:
        return await self._pump.in_thread(lambda: self._pump.core.notifier.standing(to, now))

    async def pauses(self, now: float) -> Mapping[Destination, float]:
        try:
            return await self._pump.in_thread(lambda: self._store.pauses(now))
        except StoreUnavailable as failure:
            self._telemetry.commit_failed(failure)
            return {}

    async def save(self, rows: Sequence[OutboxRow]) -> None:
        if ended := [row for row in rows if row.outcome]:
            await self._pump.end(ended)
            rows = [row for row in rows if not row.outcome]
        while rows:
            try:
                self._telemetry.backlog = await self._pump.in_thread(lambda: self._saved(rows))
            except StoreUnavailable as failure:
                self._telemetry.commit_failed(failure)
                await self._clock.wait(asyncio.Event(), RETRY_COMMIT_SECONDS)
            else:
                self._telemetry.written()
                self._tell_broken()
                return

    def _saved(self, rows: Sequence[OutboxRow]) -> OutboxBacklog:
        self._store.save_outbox(self._checked(rows))
        return self._store.backlog()

    def _checked(self, rows: Sequence[OutboxRow]) -> list[OutboxRow]:
        """Return of `rows` what breaks no invariant."""
        delta = Delta(rows=[*rows])
        self._broken += self._pump.ledger.examined(delta)
        return [row for row in delta.rows if isinstance(row, OutboxRow)]

    def _tell_broken(self) -> None:
        if self._broken:
            found, self._broken = self._broken, []
            self._telemetry.broken(found)
