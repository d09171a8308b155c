"""The running process: every part made, wired together and kept going.

The only module that knows every part. One TaskGroup: a task that crashes ends the process, since
a daemon that is half alive is worse than one that is restarted.
"""

import asyncio
import contextlib
import os
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import structlog

from sidecar import __version__
from sidecar.batch import LogStatus, ReadBatch
from sidecar.clock import Clock
from sidecar.config.reload import CannotTakeOver, Reloader, kept
from sidecar.config.settings import Config
from sidecar.config.sources import Webhook
from sidecar.core import Core, Step
from sidecar.daemon.control import Control
from sidecar.daemon.inbox import Inbox
from sidecar.daemon.lines import LineLog, is_debug
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.daemon.outbox import StoredOutbox
from sidecar.daemon.pacing import StateThread
from sidecar.daemon.restoring import core_of, once_there, open_store, other_host, restore
from sidecar.daemon.seat import Seat, Seen
from sidecar.daemon.selfwatch import Problem
from sidecar.daemon.steps import ReadSteps
from sidecar.daemon.telemetry import Telemetry
from sidecar.deliver.worker import Worker
from sidecar.directory.lookup import Lookup
from sidecar.fleet.courier import Courier
from sidecar.measure.exposition import Exposition
from sidecar.read.waker import Waker
from sidecar.render.renderer import Renderer
from sidecar.rows import SeriesRow
from sidecar.secret import printable
from sidecar.store.invariants import Ledger
from sidecar.store.schema import StoreShared, StoreUnavailable
from sidecar.store.store import Store
from sidecar.web.fault import StartError

if TYPE_CHECKING:  # needed by members of a fleet alone
    from sidecar.daemon.standby import StandBy

# Without a first step for so long, what usually waits for it begins: people want to know why.
FIRST_STEP_SECONDS = 1.0

_log = structlog.get_logger()


class Daemon:
    """The daemon, built and not yet running. The constructor opens the state file.

    With `shadow` all is decided and recorded, and nothing is sent. `on_step` is told of each
    committed step, `on_listen` the port, `on_config` each configuration that is taken over by a
    reload. Raises StoreError (a sentence for the user) when the state file cannot be used.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        shadow: bool = False,
        on_step: Callable[[Step], None] | None = None,
        on_listen: Callable[[int], None] | None = None,
        on_config: Callable[[Config], None] | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.telemetry = Telemetry(config, clock.now, shadow=shadow)
        self.exposition = Exposition(config.metrics)
        self._shadow = shadow
        self._on_step = on_step
        self._on_listen = on_listen
        self._on_config = on_config
        self._find_owner = Lookup(config.directory, clock.monotonic)
        self._stepped = asyncio.Event()
        self._stepped_at: float | None = None
        self._logs: list[LogStatus] = []
        self._store, self._set_aside = open_store(config, clock.now())
        self._thread = StateThread()
        self._alone: Seat | None = None  # of who reads and judges at once
        self._stand_by: StandBy | None = None  # of a member of a fleet
        self._other = ""  # the host that has come where this one was alone
        self._reloader = Reloader(
            config.path, os.environ, config.snapshot, kinds=config.kinds, clock=clock,
            install=self._install, report=self.telemetry.reloaded, looked=self._watch_config,
        )  # fmt: skip

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then drain and return; raises what ended a task otherwise."""
        if self._shadow:
            _log.warning("shadow", sends="nothing", records="everything")
        try:
            core = await once_there(
                lambda: self._thread(self._restore), self.config, self.telemetry, self.clock, stop
            )
            if core is None:
                return
            async with asyncio.TaskGroup() as group:
                self._pump = self._make_pump(core)
                if self._store.database.is_alone:
                    self._alone = self._make_seat(self._pump, self._store)
                    self.telemetry.seated(core)
                else:
                    self._stand_by = self._make_stand_by()
                self._start(group, stop)
            _log.info("stopped")
        finally:
            self._thread.close()
            self._store.close()
            if self._stand_by is not None:
                self._stand_by.close()
        if self._other:
            raise StoreShared(self._other)

    @property
    def _seat(self) -> Seat | None:
        """Where it is judged; None while another host does that."""
        return self._alone if self._stand_by is None else self._stand_by.seat

    def ask_reload(self) -> None:
        """Have the configuration read anew soon; called on the event loop."""
        self._reloader.ask()

    # Starting

    def _restore(self) -> Core:
        now = self.clock.now()
        start = restore(self.config, self._store, now, shadow=self._shadow, aside=self._set_aside)
        self._follower, self._ledger = start.follower, start.ledger
        series = self._store.load(SeriesRow)
        self.exposition.apply(series)
        self.telemetry.watch.restore(start.alerts, now)
        self.telemetry.watch.recall(series, start.core.drift)
        if start.damaged is not None:
            at, aside = start.damaged
            self.telemetry.watch.happened(Problem.STATE_DAMAGED, (), at, set_aside=aside)
        self.telemetry.interrupted(start.interrupted)
        self.telemetry.installed(start.core, self.config, now)
        self.telemetry.backlog = self._store.backlog()
        return start.core

    def _start(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Start every task; `stop` ends the pump, and only when it is done the others."""
        stopped = asyncio.Event()
        self._log_waker = _waker(self._follower.directories(), self._pump.wake, growing=True)
        self._config_waker = _waker((), self._reloader.hint, growing=False)

        async def read() -> None:
            with _started(self._log_waker):
                try:
                    await self._pump.run(stop)
                    await self._thread(self._say_goodbye)
                finally:
                    self._follower.close()
                    stopped.set()

        async def end_rest() -> None:
            await stop.wait()
            self._pump.wake()

        async def watch_config() -> None:
            with _started(self._config_waker):
                await self._reloader.run(stop)

        group.create_task(read(), name="read")
        group.create_task(end_rest(), name="end rest")
        group.create_task(watch_config(), name="reload")
        group.create_task(self._start_rest(group, stopped), name="start rest")
        group.create_task(self._watch_state(stop, stopped), name="watch state")

    async def _start_rest(self, group: asyncio.TaskGroup, stopped: asyncio.Event) -> None:
        """Start what the first step does without, so that the step need not wait for it."""
        # Imported now, not when first needed: what cannot be imported ends the start.
        await self.clock.wait(self._stepped, FIRST_STEP_SECONDS)
        inbox = Inbox(self._pump, self._store, self.clock)
        # First, or the first alert waits for the web server.
        if self._alone is not None:
            await self._alone.start(group, inbox, stopped)
        elif self._stand_by is not None:
            group.create_task(self._stand_by.run(group, inbox, stopped), name="judge")
        await asyncio.to_thread(import_module, "sidecar.web.server")
        from sidecar.daemon.heartbeat import Heartbeat  # noqa: PLC0415 - httpx, as above

        self._serve(group, stopped)
        beats = Heartbeat(lambda: self.config, self.clock, self._trouble)
        group.create_task(beats.run(stopped), name="heartbeat")
        self._take_webhooks(inbox, group, stopped)

    def _take_webhooks(self, inbox: Inbox, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Listen for webhooks where the configuration says; each address has its own paths."""
        from sidecar.provider.listener import Listener  # noqa: PLC0415 - see _start_rest
        from sidecar.web.server import serve  # noqa: PLC0415 - see _start_rest

        def hooks(address: tuple[str, int]) -> Mapping[str, Webhook]:
            return {hook.path: hook for hook in self.config.webhooks if hook.listen == address}

        def tls(address: tuple[str, int]) -> ssl.SSLContext | None:
            found = (hook.tls_server_config for hook in hooks(address).values())
            return next((one.context for one in found if one is not None), None)

        for address in dict.fromkeys(hook.listen for hook in self.config.webhooks):
            app = Listener(
                partial(hooks, address), inbox.post, self.clock.now, self.telemetry.webhook
            )
            started = partial(_webhooks_listening, address[0])
            key = "the `listen` of that source"
            serving = serve(app, address, stop, started, key=key, tls=partial(tls, address))
            group.create_task(serving, name="webhooks")

    def _make_seat(self, pump: Pump, store: Store) -> Seat:
        return Seat(
            pump, store, self._make_worker(pump, store),
            lambda: self.config, self.telemetry, self.clock, self._shadow,
        )  # fmt: skip

    def _make_stand_by(self) -> "StandBy":
        from sidecar.daemon.standby import StandBy  # noqa: PLC0415 - an extra, not needed alone

        return StandBy(
            config=lambda: self.config, clock=self.clock, telemetry=self.telemetry,
            store=self._store, reading=self._pump, seat_of=self._make_seat,
            show=self._show_judged, shadow=self._shadow,
        )  # fmt: skip

    def _say_goodbye(self) -> None:
        """Let nobody wait for this member of a fleet any more."""
        if isinstance(engine := self._pump.core.engine, Courier):
            with contextlib.suppress(StoreUnavailable):
                self._store.commit(engine.farewell())

    def _make_worker(self, pump: Pump, store: Store) -> Worker:
        return Worker(
            self.config.receivers,
            Renderer(self.config.templates, pump.core.redactor, self.config.origin),
            StoredOutbox(store, pump, self.clock, self.telemetry),
            kinds=self.config.kinds,
            clock=self.clock,
            report=self.telemetry.attempted,
            jitter=random.random,
            again=self.telemetry.sent_again,
            find_owner=self._find_owner,
        )

    def _make_pump(self, core: Core) -> Pump:
        pump = Pump(
            steps=ReadSteps(
                follower=self._follower,
                core=core,
                store=self._store,
                ledger=self._ledger,
                clock=self.clock,
                beside=self._thread.beside,
            ),
            clock=self.clock,
            in_thread=self._thread,
            publish=self._publish,
            watched=lambda: self._follower.watchable and self._log_waker.alive,
            commit_failed=self.telemetry.commit_failed,
            broken=self.telemetry.broken,
        )
        if is_debug():
            pump.tell_lines(LineLog(self.config, self.clock.monotonic))
        return pump

    def _publish(self, batch: ReadBatch, step: Step, took: float) -> None:
        """Show a committed step to the world: series, self metrics, deliveries."""
        core = self._pump.core
        self.exposition.apply(step.series, step.delta.gone)
        self.telemetry.stepped(batch, step, core, now=self.clock.now(), commit_seconds=took)
        if self._alone is not None:
            self._publish_judged(self._alone, step)
        elif (seat := self._seat) is not None and step.events:
            seat.pump.wake()
        self._logs = batch.logs
        if not self._stepped.is_set():
            self._say_started(len(batch.logs))
        self._log_waker.watch(() if self._pump.streams else self._follower.directories())
        self._stepped.set()
        self._stepped_at = self.clock.monotonic()
        if self._on_step is not None:
            self._on_step(step)
        if own := self.telemetry.own_events():
            core.note(own)
            self._pump.wake()

    def _show_judged(self, seat: Seat, step: Step) -> None:
        """Show what was judged for a fleet."""
        self.exposition.apply(step.series, step.delta.gone)
        self._publish_judged(seat, step)

    def _publish_judged(self, seat: Seat, step: Step) -> None:
        seat.worker.offer(step.outbox)
        self.telemetry.judged(step, seat.pump.core, self.clock.now())

    def _say_started(self, files: int) -> None:
        """Log once, after the first look, by what the daemon works and how many files it found."""
        config = self.config
        _log.info(
            "started", version=__version__, config=config.path, rules=len(config.rules),
            patterns=len(config.patterns), sources=[printable(one.path) for one in config.sources],
            files=files, state=self._store.database.place,
        )  # fmt: skip

    async def _install(self, loaded: Config) -> None:
        """Put a configuration to use between two steps; raises CannotTakeOver."""
        config, fixed = kept(self.config, loaded)
        for key in fixed:
            _log.warning("configuration_needs_restart", key=key)
        exposition = Exposition(config.metrics)
        build = partial(self._rebuilt, config, exposition)
        try:
            await self._pump.exchange(build, partial(self._installed, config, exposition))
            if self._stand_by is not None:
                await self._stand_by.install(config)
        except PumpStopped:
            raise CannotTakeOver("the sidecar is stopping") from None
        except StoreUnavailable as failure:
            raise CannotTakeOver(str(failure)) from failure

    def _rebuilt(self, config: Config, exposition: Exposition, before: Core) -> Core:
        now = self.clock.now()
        if self._alone is not None:
            self._store.hurry(now)  # what waits may have waited for this
        core = core_of(config, self._store, Ledger(), now, shadow=self._shadow)
        core.take_over(before)
        exposition.apply(self._store.load(SeriesRow))
        if config.sources != self.config.sources:
            self._follower.retarget(config.sources)
        return core

    def _installed(self, config: Config, exposition: Exposition, core: Core) -> None:
        self.config, self.exposition = config, exposition
        self._find_owner.use(config.directory)
        self.telemetry.installed(core, config, self.clock.now())
        if self._alone is not None:
            self._alone.reconfigure(config, core)
        if is_debug():
            self._pump.tell_lines(LineLog(config, self.clock.monotonic))
        if self._on_config is not None:
            self._on_config(config)

    def _watch_config(self, directories: Iterable[str]) -> None:
        self._config_waker.watch(directories)

    def _serve(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        from sidecar.web.access import is_loopback  # noqa: PLC0415 - see _start_rest
        from sidecar.web.server import WebState, build_app, serve  # noqa: PLC0415 - see _start_rest

        http = self.config.http
        control = Control(
            pump=self._pump,
            store=self._store,
            reloader=self._reloader,
            telemetry=self.telemetry,
            in_thread=self._pump.in_thread,
            clock=self.clock,
            config=lambda: self.config,
            logs=lambda: self._logs,
            seen=self._seen,
            seat=lambda: self._seat,
            hand_over=None if self._stand_by is None else self._stand_by.hand_over,
            shadow=self._shadow,
        )
        state = WebState(
            exposition=lambda openmetrics: self.exposition.render(
                openmetrics=openmetrics, created=self.config.http.created_series
            ),
            registry=self.telemetry.metrics.registry,
            ready=self.ready,
            api=control,
            loopback=is_loopback(http.listen[0]),
            token=lambda: self.config.http.token,
            metrics=http.metrics_listen is None,
            metrics_token=lambda: self.config.http.metrics_token,
        )
        if (at := http.metrics_listen) is not None:
            app = build_app(replace(state, api=None, loopback=False, metrics=True))
            serving = serve(app, at, stop, key="http.metrics_listen", tls=self._tls)
            group.create_task(serving, name="metrics")
        admin = build_app(replace(state, admin=True, metrics=True))
        group.create_task(self._admin(serve(admin, self.config.admin_socket, stop)), name="admin")
        serving = serve(build_app(state), http.listen, stop, self._listening, tls=self._tls)
        group.create_task(serving, name="web")

    @contextlib.asynccontextmanager
    async def _seen(self) -> AsyncIterator[Seen]:
        if self._stand_by is not None:
            async with self._stand_by.seen() as seen:
                yield seen
        elif self._alone is not None:
            yield self._alone.seen()

    async def _admin(self, serving: Awaitable[None]) -> None:
        """Serve the commands on this machine; without a socket they ask `http.listen`."""
        try:
            await serving
        except StartError as cannot:
            _log.warning("admin_socket_not_usable", error=str(cannot))

    def _tls(self) -> ssl.SSLContext | None:
        found = self.config.http.tls_server_config
        return None if found is None else found.context

    def _listening(self, port: int) -> None:
        said = {"off": self.config.off, "proxy": self.config.proxy}
        more = {name: text for name, text in said.items() if text}
        _log.info("listening", host=self.config.http.listen[0], port=port, **more)
        if self._on_listen is not None:
            self._on_listen(port)

    def ready(self) -> tuple[bool, str]:
        """Ready once the first step is committed; never a question of Slack or mail."""
        ready = self._stepped.is_set()
        return ready, "ready" if ready else "the first read is not finished"

    def _trouble(self) -> str:
        """Return what keeps alerts from being noticed or told, for the heartbeat."""
        from sidecar.daemon.heartbeat import trouble  # noqa: PLC0415 - see _start_rest

        at = self._stepped_at
        age = None if at is None else self.clock.monotonic() - at
        ages = {"reading": None if self._pump.stands_still else age}
        if self._seat is not None and not self._shadow:
            ages["delivery"] = self._seat.worker.age
        kinds = [str(problem["kind"]) for problem in self.telemetry.watch.problems()]
        return trouble(ages, kinds)

    def _attend(self) -> bool:
        """See to what is written, and of a fleet to how this one stands among the others."""
        deleted = self._store.database.attend()
        if self._stand_by is not None:
            self._stand_by.look_about()
        elif self.config.state_url is not None:
            self._other = other_host(self.config, self._store)
        return deleted

    async def _watch_state(self, stop: asyncio.Event, stopped: asyncio.Event) -> None:
        """See to it that what is written is there, and ours; else end, or say that it is not."""
        lost, database = False, self._store.database
        asked: asyncio.Future[bool] | None = None
        while not (self._other or await self.clock.wait(stopped, database.attend_seconds)):
            asked = asked or asyncio.ensure_future(self._pump.in_thread(self._attend))
            try:
                async with asyncio.timeout(database.patience):
                    deleted = await asyncio.shield(asked)
            except TimeoutError:
                why = f"{database.place} has not answered for {database.patience:.0f} s"
                self.telemetry.commit_failed(StoreUnavailable(why))
                lost = True
                continue
            except StoreUnavailable as failure:
                self.telemetry.commit_failed(failure)
                lost = True
            else:
                if deleted:
                    self.telemetry.state_deleted(self.config.state_path)
                    self._pump.wake()
                if lost:
                    self.telemetry.written()
                lost = False
                if self._other:
                    stop.set()
            asked = None


def _webhooks_listening(host: str, port: int) -> None:
    _log.info("webhooks_listening", host=host, port=port)


def _waker(directories: Iterable[str], wake: Callable[[], None], *, growing: bool) -> Waker:
    """Return a waker that calls `wake` on the present event loop."""
    loop = asyncio.get_running_loop()

    def from_thread() -> None:
        # A loop that has ended needs no waking.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(wake)

    return Waker(directories, from_thread, growing=growing)


@contextlib.contextmanager
def _started(waker: Waker) -> Iterator[None]:
    waker.start()
    try:
        yield
    finally:
        waker.stop()
