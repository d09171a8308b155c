"""Which files a configuration is made of, and one checksum over them all: how a change is seen.

It reads `sidecar.yaml` leniently: a file that is wrong, or names what is not there yet, must be
watched all the more. Contents count, not times or inodes, so that a Kubernetes ConfigMap, whose
files change by one swap of the link `..data`, is seen like any other.

Reloading: when the configuration is read anew, and that it is taken over whole or not at all.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import yaml

from sidecar.clock import Clock
from sidecar.config.load import Loaded, load
from sidecar.config.settings import Config
from sidecar.syntax.faults import ConfigError
from sidecar.syntax.files import absolute, matching
from sidecar.syntax.tree import expand

_GLOBS = ("rule_files", "pattern_files", "template_files")
_NAMES_A_FILE = "_file"


class WatchedFiles:
    """The configuration at `path` with all files it names: rules, patterns, templates, secrets.

    `environ` fills the variables in their names.
    """

    def __init__(self, path: str, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._text: bytes | None = None
        self._globs: list[str] = []
        self._named: list[str] = []

    def checksum(self) -> bytes:
        """Return a digest of the names and contents of all files there are at this moment.

        A file that is missing or cannot be read counts as such. Raises nothing.
        """
        text = _content(self._path)
        if text != self._text:
            self._text = text
            self._read(text or b"")
        digest = hashlib.blake2b(text or b"", digest_size=16)
        for path in self._files():
            content = _content(path)
            name = path.encode("utf-8", "surrogateescape")
            digest.update(b"\0%d:%s\0" % (len(name), name))
            digest.update(b"-" if content is None else b"%d:" % len(content) + content)
        return digest.digest()

    def directories(self) -> frozenset[str]:
        """Return the directories in which a change may happen, as of the last checksum."""
        files = (self._path, *self._files())
        return frozenset(str(Path(path).absolute().parent) for path in files)

    def _files(self) -> list[str]:
        found = {path for pattern in self._globs for path in _matching(self._path, pattern)}
        return sorted(found.union(self._named))

    def _read(self, text: bytes) -> None:
        """Take the file names out of a new text; of one that is no YAML, the old ones hold."""
        try:
            tree = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            return
        if not isinstance(tree, dict):
            return
        lists = [tree[key] for key in _GLOBS if isinstance(tree.get(key), list)]
        self._globs = [name for values in lists for v in values for name in self._expanded(v)]
        self._named = [
            absolute(self._path, name)
            for value in _values_of_files(tree, set())
            for name in self._expanded(value)
        ]

    def _expanded(self, value: Any) -> Iterator[str]:
        if not isinstance(value, str):
            return
        try:
            name = expand(value, self._environ)
        except ValueError:
            return
        if name and "\0" not in name:
            yield name


def _values_of_files(node: Any, seen: set[int]) -> Iterator[Any]:
    """Yield the value of each key that ends in `_file`; aliases are followed once."""
    if not isinstance(node, dict | list) or id(node) in seen:
        return
    seen.add(id(node))
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(key, str) and key.endswith(_NAMES_A_FILE):
            yield value
        yield from _values_of_files(value, seen)


def _matching(path: str, pattern: str) -> list[str]:
    try:
        return matching(path, pattern)
    except OSError:
        return []


def _content(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError):
        return None


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
