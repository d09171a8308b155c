"""A member of a fleet: it stands by until nobody judges, and then judges for all hosts."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from sidecar.batch import ReadBatch
from sidecar.clock import Clock
from sidecar.config.settings import Config
from sidecar.core import Core, Step
from sidecar.daemon.inbox import Inbox
from sidecar.daemon.judging import (
    JudgeSteps,
    as_judged,
    database_of,
    judged_by,
    judging_core,
    restore_judging,
)
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.daemon.orders import Answer, Order, Orders
from sidecar.daemon.pacing import Held, InThread, StateThread
from sidecar.daemon.restoring import Noted, clock_of, shared_secret
from sidecar.daemon.seat import Seat, Seen, fleet_of
from sidecar.daemon.selfwatch import WHERE_JUDGED, Problem, Subject, kind_of
from sidecar.daemon.telemetry import Telemetry
from sidecar.fleet.courier import Courier
from sidecar.fleet.docket import beats_of, unjudged
from sidecar.fleet.order import Host
from sidecar.rows import OrderRow, SeriesRow
from sidecar.rules.identity import digest_of
from sidecar.store.invariants import Ledger
from sidecar.store.pgtables import JUDGE
from sidecar.store.postgresql import PostgreSql
from sidecar.store.schema import StoreUnavailable
from sidecar.store.store import Store
from sidecar.web.fault import Refusal

LOOK_SECONDS = 0.4  # between two looks whether anybody judges
# So far hosts' clocks may differ before it is said.
CLOCK_SECONDS = 60.0
NOTICED_SECONDS = 60.0  # a deployment of all hosts takes less
MOST_UNJUDGED = 1 << 28  # bytes of a host, in the database
_ANSWER_SECONDS = 20.0  # who asks waits for thirty
_SEEN_SECONDS = 3.0  # so old may be what is shown of another's judging
_log = structlog.get_logger()


@dataclass(slots=True)
class _Ours:
    """What judges here."""

    seat: Seat
    steps: JudgeSteps
    thread: StateThread


class StandBy:
    """Takes the judge's seat when it is free. `store` and `in_thread` are those of the reading.

    `seat_of` makes a seat, `show` is told of each committed step that judged.
    """

    def __init__(
        self,
        *,
        config: Callable[[], Config],
        clock: Clock,
        telemetry: Telemetry,
        store: Store,
        reading: Pump,
        seat_of: Callable[[Pump, Store], Seat],
        show: Callable[[Seat, Step], None],
        shadow: bool,
    ) -> None:
        self._config = config
        self._clock = clock
        self._telemetry = telemetry
        self._store = store
        self._reading = reading
        self._in_thread: InThread = reading.in_thread
        self._seat_of = seat_of
        self._show = show
        self._shadow = shadow
        self._ours: _Ours | None = None
        self._looked_up: tuple[float, Core, str] | None = None
        self._looking = asyncio.Lock()
        self._held = Held()
        self._rules: tuple[Config, str] | None = None  # and their digest

    @property
    def seat(self) -> Seat | None:
        """What judges, if that is this one."""
        return None if self._ours is None else self._ours.seat

    @property
    def hosts(self) -> list[Host]:
        """How hosts stand, as this one knows if it judges."""
        return [] if self._ours is None else self._ours.steps.hosts

    async def run(self, group: asyncio.TaskGroup, inbox: Inbox, stopped: asyncio.Event) -> None:
        """Stand by until `stopped`; judge from when the seat is free, and until all is taken."""
        while not await self._clock.wait(stopped, LOOK_SECONDS):
            if self._config().judges and await self._is_free() and await self._sit_down():
                break
        if self._ours is None:
            return
        seat, ended = self._ours.seat, asyncio.Event()
        _log.info("judging", host=self._config().host)
        await seat.start(group, inbox, ended)
        waking = asyncio.create_task(self._wake_on(stopped, seat.pump))
        try:
            await seat.pump.run(stopped)
        finally:
            waking.cancel()
            ended.set()

    def look_about(self) -> None:
        """Note by how much this one's clock is off, and how much of it waits to be judged.

        On the thread that reads. With too much waiting it reads no more: the log is the queue.
        Raises StoreUnavailable.
        """
        engine, host = self._reading.core.engine, self._config().host
        ahead = self._clock.now() - clock_of(self._store)
        if isinstance(engine, Courier):
            engine.ahead = ahead
        if self._says("clock", holds=abs(ahead) > CLOCK_SECONDS):
            _log.warning("clock_off", ahead_seconds=round(ahead), of="the database's clock")
        self._look_at_judge()
        size = unjudged(self._store, host)
        self._reading.hold(held=size > MOST_UNJUDGED)
        if self._says("unjudged", holds=size > MOST_UNJUDGED):
            _log.warning("reading_waits", why="what was read is not judged yet", bytes=size)

    def _look_at_judge(self) -> None:
        """Say so if for a minute nobody judges, or who does has other rules."""
        database, ours = self._store.database, self._ours is not None
        free = not ours and isinstance(database, PostgreSql) and database.is_free(JUDGE)
        if self._says("nobody", holds=free, after=NOTICED_SECONDS):
            _log.warning("nobody_judges", waits="what rules need, in the database")
        theirs = "" if ours or free else judged_by(self._store)
        differ = theirs not in ("", self._digest())
        self._telemetry.metrics.rules_differ.set(differ)
        if self._says("rules", holds=differ, after=NOTICED_SECONDS):
            hint = "only events that rules here need are handed over; let all hosts have the same"
            _log.warning("rules_differ", of="the host that judges", hint=hint)

    def _digest(self) -> str:
        config = self._config()
        if self._rules is None or self._rules[0] is not config:
            self._rules = config, digest_of(config.rules)
        return self._rules[1]

    def _says(self, what: str, *, holds: bool, after: float = 0.0) -> bool:
        return self._held.says(what, self._clock.monotonic(), holds=holds, after=after)

    async def install(self, config: Config) -> None:
        """Judge by another configuration from now on, if it is this one that judges."""
        if self._ours is None:
            return
        seat = self._ours.seat
        series: list[SeriesRow] = []

        def build(before: Core) -> Core:
            now = self._clock.now()
            core = judging_core(config, shadow=self._shadow)
            seat.store.hurry(now)  # what waits may have waited for this
            core.restore(Noted(seat.store, Ledger(), shared_secret(seat.store)), now)
            core.take_over(before)
            series.extend(seat.store.load(SeriesRow))
            return core

        def installed(core: Core) -> None:
            seat.reconfigure(config, core)
            self._show(seat, Step(series=series))

        await seat.pump.exchange(build, installed)

    def close(self) -> None:
        """Let go of the seat; nothing else of it runs any more."""
        if self._ours is not None:
            self._ours.thread.close()
            self._ours.seat.store.close()

    async def _wake_on(self, stopped: asyncio.Event, pump: Pump) -> None:
        await stopped.wait()
        pump.wake()

    async def _is_free(self) -> bool:
        database = self._store.database
        try:
            return isinstance(database, PostgreSql) and await self._in_thread(
                lambda: database.is_free(JUDGE)
            )
        except StoreUnavailable:  # who reads says so
            return False

    async def _sit_down(self) -> bool:
        """Take the seat and up what is judged; return whether nobody was quicker."""
        database, thread = database_of(self._config()), StateThread()
        try:
            if await thread(database.taken):
                self._ours = await self._taken(Store(database), thread)
        except StoreUnavailable as failure:
            self._telemetry.commit_failed(failure)
        finally:
            if self._ours is None:
                thread.close()
                database.close()
        return self._ours is not None

    async def _taken(self, store: Store, thread: StateThread) -> _Ours:
        config, now = self._config(), self._clock.now()

        def steps() -> tuple[JudgeSteps, list[SeriesRow]]:
            core, ledger, freed = restore_judging(config, store, now, shadow=self._shadow)
            self._telemetry.interrupted(freed)
            self._telemetry.backlog = store.backlog()
            judging = JudgeSteps(
                core, store, ledger, self._clock, thread.beside,
                host=config.host, order=Orders(self._config, self._clock).answer,
            )  # fmt: skip
            return judging, store.load(SeriesRow)

        made, series = await thread(steps)
        pump = Pump(
            steps=made, clock=self._clock, in_thread=thread, publish=self._publish,
            watched=lambda: False, commit_failed=self._telemetry.commit_failed,
            broken=self._telemetry.broken,
        )  # fmt: skip
        seat = self._seat_of(pump, store)
        self._telemetry.seated(made.core)
        alerts = (one for one in made.core.engine.alerts() if kind_of(one) in WHERE_JUDGED)
        self._telemetry.watch.restore(alerts, now)
        self._show(seat, Step(series=series))
        return _Ours(seat, made, thread)

    def _publish(self, _batch: ReadBatch, step: Step, took: float) -> None:
        assert self._ours is not None  # noqa: S101 - it is its pump that publishes
        self._telemetry.committed(took)
        self._telemetry.metrics.rule_seconds.inc(step.seconds)
        self._show(self._ours.seat, step)
        now = self._clock.now()
        silent: dict[Subject, dict[str, str]]
        silent = {(h.name,): {"last_beat": _instant(now - h.age)} for h in self.hosts if h.silent}
        if self.hosts:  # else nobody has looked yet
            self._telemetry.watch.present(Problem.HOST_SILENT, silent, now)

    async def hand_over(self, order: Order) -> Answer:
        """Write an order down for whoever judges, and wait for the answer. Raises Refusal."""
        row = OrderRow(secrets.token_hex(8), self._clock.now(), msgspec.json.encode(order).decode())
        try:
            await self._reading.between_steps(lambda core: core.once.append(row))
            until = self._clock.monotonic() + _ANSWER_SECONDS
            while self._clock.monotonic() < until:
                if answer := await self._in_thread(lambda: _answer_to(self._store, row.id)):
                    return msgspec.json.decode(answer, type=Answer)
                await self._clock.wait(asyncio.Event(), LOOK_SECONDS / 2)
        except PumpStopped:
            raise Refusal(503, "the sidecar is stopping; ask again once it runs") from None
        except StoreUnavailable as failure:
            raise Refusal(503, str(failure)) from failure
        raise Refusal(504, "nobody judges at present; whoever does next carries it out")

    @asynccontextmanager
    async def seen(self) -> AsyncIterator[Seen]:
        """Give what is judged: as it is here, or as the database has it."""
        try:
            if self._ours is not None:
                yield self._ours.seat.seen(await self._told(self._config().host))
                return
            core, judge = await self._looked()
            with closing(database_of(self._config(), only_reads=True)) as database:
                fleet = await self._told(judge)
                yield Seen(core, Store(database), asyncio.to_thread, fleet)
        except StoreUnavailable as failure:
            raise Refusal(503, str(failure)) from failure

    async def _told(self, judge: str) -> dict[str, Any]:
        beats = await self._in_thread(lambda: beats_of(self._store))
        return fleet_of(self._config().host, judge, beats)

    async def _looked(self) -> tuple[Core, str]:
        """Return what is judged, and on which host."""
        async with self._looking:
            now = self._clock.now()
            if self._looked_up is None or abs(now - self._looked_up[0]) > _SEEN_SECONDS:
                found = await asyncio.to_thread(as_judged, self._config(), now)
                self._looked_up = now, *found
            return self._looked_up[1:]


def _answer_to(store: Store, id_: str) -> str:
    found = store.database.find("SELECT answer FROM orders WHERE id = ?", (id_,))
    return str(found[0][0]) if found else ""


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
