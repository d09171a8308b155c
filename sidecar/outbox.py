"""The outbox table as the delivery worker sees it: the store's, on the state thread."""

import asyncio
from collections.abc import Sequence

from sidecar.clock import Clock
from sidecar.pump import RETRY_COMMIT_SECONDS, InThread
from sidecar.rows import OutboxRow
from sidecar.store.fault import StoreUnavailable
from sidecar.store.store import Backlog, Store
from sidecar.telemetry import Telemetry


class StoredOutbox:
    """Looks and saves in the state file; a disk that is full or busy is waited for."""

    def __init__(
        self, store: Store, in_thread: InThread, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._in_thread = in_thread
        self._clock = clock
        self._telemetry = telemetry

    async def due(self, now: float, limit: int) -> list[OutboxRow]:
        try:
            return await self._in_thread(lambda: self._store.outbox_due(now, limit))
        except StoreUnavailable as failure:
            self._telemetry.commit_failed(failure)
            return []

    async def save(self, rows: Sequence[OutboxRow]) -> None:
        while True:
            try:
                self._telemetry.backlog = await self._in_thread(lambda: self._saved(rows))
            except StoreUnavailable as failure:
                self._telemetry.commit_failed(failure)
                await self._clock.wait(asyncio.Event(), RETRY_COMMIT_SECONDS)
            else:
                self._telemetry.written()
                return

    def _saved(self, rows: Sequence[OutboxRow]) -> Backlog:
        self._store.save_outbox(rows)
        return self._store.backlog()
