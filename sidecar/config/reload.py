"""Reloading: when the configuration is read anew, and that it is taken over whole or not at all."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import msgspec

from sidecar.clock import Clock
from sidecar.config.faults import ConfigError
from sidecar.config.load import Loaded, load
from sidecar.config.model import Config
from sidecar.config.watch import WatchedFiles

POLL_SECONDS = 2.0
# A change is acted on when two looks so far apart agree: an editor may be in the midst of saving.
SETTLE_SECONDS = 0.5


class CannotTakeOver(Exception):  # noqa: N818 - what `take` raises; the text is a sentence
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
    fixed = {"state.path": "state_path", "http.listen": "listen"}
    differing = [k for k, name in fixed.items() if getattr(running, name) != getattr(loaded, name)]
    same = {name: getattr(running, name) for name in fixed.values()}
    return replace(loaded, **same), differing


class Reloader:
    """Reads the files when they change, or when asked, and hands the result to `take`.

    What the files hold when this is made counts as loaded. `take` puts a configuration to use; it
    changes nothing if it raises CannotTakeOver, and is tried again. `report` is told how each
    reload ended, `looked` after each look in which directories a change may happen.
    """

    def __init__(
        self,
        path: str,
        environ: Mapping[str, str],
        *,
        clock: Clock,
        take: Callable[[Config], Awaitable[None]],
        report: Callable[[Reloaded], None],
        looked: Callable[[frozenset[str]], None] = lambda _directories: None,
    ) -> None:
        self._path = path
        self._environ = environ
        self._clock = clock
        self._take = take
        self._report = report
        self._looked = looked
        self._files = WatchedFiles(path, environ)
        self._busy = asyncio.Lock()
        self._wake = asyncio.Event()
        self._asked = False
        self._tried: bytes | None = self._files.checksum()  # of what was last read
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
            # Before reading: what changes meanwhile is seen by the next look.
            self._tried = await self._look()
            done = self.last = await self._reload()
            self._report(done)
            return done

    async def run(self, stop: asyncio.Event) -> None:
        """Look and listen until `stop` is set."""
        self._looked(self._files.directories())
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
        before: bytes | None = None
        while not await self._clock.wait(stop, SETTLE_SECONDS):
            seen = await self._look()
            if seen in (self._tried, before):
                return seen != self._tried
            before = seen
        return False

    async def _look(self) -> bytes:
        def look() -> tuple[bytes, frozenset[str]]:
            return self._files.checksum(), self._files.directories()

        checksum, directories = await asyncio.to_thread(look)
        self._looked(directories)
        return checksum

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _reload(self) -> Reloaded:
        try:
            loaded: Loaded = await asyncio.to_thread(load, self._path, self._environ)
            await self._take(loaded.config)
        except ConfigError as wrong:
            return self._ended(wrong.faults)
        except OSError as wrong:
            return self._ended([f"{self._path}: {wrong.strerror or wrong}"])
        except CannotTakeOver as wrong:
            self._tried = None  # right as it is: to be tried again
            return self._ended([str(wrong)])
        return self._ended((), loaded.warnings)

    def _ended(self, faults: Sequence[object], warnings: Sequence[object] = ()) -> Reloaded:
        return Reloaded(self._clock.now(), tuple(map(str, faults)), tuple(map(str, warnings)))
