"""Reloading: when the configuration is read anew, and that it is taken over whole or not at all.

A change is seen by the contents of the files that were read last, right or wrong as they were.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

import msgspec

from sidecar.clock import Clock
from sidecar.config.load import check_config
from sidecar.config.settings import Config
from sidecar.receivers import KINDS
from sidecar.receivers.base import AnyKind
from sidecar.syntax.files import FileSnapshot

POLL_SECONDS = 2.0
# A change is acted on when two looks so far apart agree: an editor may be in the midst of saving.
UNCHANGED_SECONDS = 0.5


class CannotTakeOver(Exception):  # noqa: N818 - what `install` raises; the text is a sentence
    """The configuration is right and cannot be put to use for now."""


class Reloaded(msgspec.Struct, frozen=True):
    """How one reload ended at wall clock `at`: with `faults`, nothing of it was taken over."""

    at: float
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.faults


def kept(running: Config, loaded: Config) -> tuple[Config, list[str]]:
    """Return `loaded` with what only a restart can change as it is running, and these keys."""
    here, there = running.http, loaded.http
    fixed = {name: getattr(here, name) for name in ("listen", "metrics_listen", "admin_socket")}
    differing = ["state.path"] if running.state_path != loaded.state_path else []
    database = attrgetter("state_url", "host", "judges")
    differing += ["state.postgresql"] if database(running) != database(loaded) else []
    differing += [f"http.{name}" for name, own in fixed.items() if getattr(there, name) != own]
    if {hook.listen for hook in running.webhooks} != {hook.listen for hook in loaded.webhooks}:
        differing.append("sources: listen")
    if len(running.apis) != len(loaded.apis):
        differing.append("sources: stripe_api")
        loaded = replace(loaded, apis=running.apis)
    http = replace(there, **fixed)
    url, host, judges = database(running)
    path = running.state_path
    loaded = replace(loaded, state_path=path, state_url=url, host=host, judges=judges, http=http)
    return loaded, differing


class Reloader:
    """Reads the files when they change, or when asked, and hands the result to `install`.

    `snapshot` is what the files held when the running configuration was read. `install` puts one to
    use; it changes nothing if it raises CannotTakeOver, and is tried again. `report` is told how
    each reload ended, `looked` after each look in which directories a change may happen.
    """

    def __init__(
        self,
        path: str,
        environ: Mapping[str, str],
        snapshot: FileSnapshot,
        *,
        kinds: tuple[AnyKind, ...] = KINDS,
        clock: Clock,
        install: Callable[[Config], Awaitable[None]],
        report: Callable[[Reloaded], None],
        looked: Callable[[frozenset[str]], None] = lambda _directories: None,
    ) -> None:
        self._path = path
        self._environ = environ
        self._snapshot = snapshot
        self._kinds = kinds
        self._clock = clock
        self._install = install
        self._report = report
        self._looked = looked
        self._busy = asyncio.Lock()
        self._wake = asyncio.Event()
        self._asked = False
        self._refused = False  # for now, though the configuration is right
        self.last: Reloaded | None = None

    def ask(self) -> None:
        """Have the configuration read anew soon, changed or not; called on the event loop."""
        self._asked = True
        self._wake.set()

    def hint(self) -> None:
        """Have the files looked at soon; called on the event loop."""
        self._wake.set()

    async def reload(self) -> Reloaded:
        """Read the configuration and take it over; a fault leaves all as it is."""
        async with self._busy:
            try:
                done = await self._reload()
            except Exception as wrong:  # noqa: BLE001 - a mistake of ours costs this reload alone
                self._snapshot = await asyncio.to_thread(self._snapshot.again)
                done = self._ended([f"{self._path}: {type(wrong).__name__}: {wrong}"])
            self.last = done
            self._report(done)
            return done

    async def run(self, stop: asyncio.Event) -> None:
        """Look and listen until `stop` is set."""
        self._looked(self._snapshot.directories())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wake_on(stop))
            while not stop.is_set():
                if not self._asked:
                    await self._clock.wait(self._wake, POLL_SECONDS)
                self._wake.clear()
                if self._asked or await self._has_changed(stop):
                    self._asked = False
                    await self.reload()

    async def _has_changed(self, stop: asyncio.Event) -> bool:
        """Tell whether the files differ from what was last read, and stand still."""
        before: FileSnapshot | None = None
        while not await self._clock.wait(stop, UNCHANGED_SECONDS):
            now = await asyncio.to_thread(self._snapshot.again)
            self._looked(now.directories())
            differs = self._refused or self._snapshot.differs(now)
            if not differs or now == before:
                return differs
            before = now
        return False

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _reload(self) -> Reloaded:
        self._refused = False
        try:
            checked = await asyncio.to_thread(check_config, self._path, self._environ, self._kinds)
        except OSError as wrong:
            return self._ended([f"{self._path}: {wrong.strerror or wrong}"])
        self._snapshot = checked.snapshot
        self._looked(self._snapshot.directories())
        if checked.config is None:
            return self._ended(checked.errors)
        try:
            await self._install(checked.config)
        except CannotTakeOver as wrong:
            self._refused = True
            return self._ended([str(wrong)])
        return self._ended((), checked.faults)

    def _ended(self, faults: Sequence[object], warnings: Sequence[object] = ()) -> Reloaded:
        return Reloaded(self._clock.now(), tuple(map(str, faults)), tuple(map(str, warnings)))
