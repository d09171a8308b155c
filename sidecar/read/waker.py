"""Wakes the reader early when something happens in a watched directory. A hint, never the truth.

inotify sees no remote writes, has limits, loses events when its queue overflows, and its thread
dies with the directory it watches (watchdog 6); polling finds all of that out by itself.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from watchdog.events import (
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

_R = TypeVar("_R")
# Not opened and not closed: reading a file must not wake its reader.
_EVENTS: list[type[FileSystemEvent]] = [FileCreatedEvent, FileDeletedEvent, FileMovedEvent]


class Waker:
    """Calls `wake`, from a thread of watchdog's, when a file in `directories` changes.

    With `growing`, each write to a file is a change, else only that a writer closes it: the state
    file may lie beside the configuration, and is written all the time. No method raises for what
    inotify cannot do: then nothing wakes, and the poll does the work.
    """

    def __init__(
        self, directories: Iterable[str], wake: Callable[[], None], *, growing: bool = True
    ) -> None:
        self._wanted = frozenset(directories)
        self._handler = _Handler(wake)
        self._events = [*_EVENTS, FileModifiedEvent if growing else FileClosedEvent]
        self._observer: BaseObserver | None = None
        self._watches: dict[str, ObservedWatch] = {}

    @property
    def alive(self) -> bool:
        """Tell whether every wanted directory is watched by a living thread."""
        return self._wanted <= self._living()

    def start(self) -> None:
        """Start watching."""
        self._observer = _quietly(Observer)
        if self._observer is not None:
            _quietly(self._observer.start)
        self.watch(self._wanted)

    def watch(self, directories: Iterable[str]) -> None:
        """Watch exactly `directories`; cheap when nothing has changed and no thread has died."""
        self._wanted = frozenset(directories)
        observer, living = self._observer, self._living()
        if observer is None or self._wanted == living == self._watches.keys():
            return
        for directory in self._watches.keys() - (self._wanted & living):
            watch = self._watches.pop(directory)
            _quietly(partial(observer.unschedule, watch))
        for directory in self._wanted - self._watches.keys():
            scheduled = _quietly(partial(self._schedule, observer, directory))
            if scheduled is not None:
                self._watches[directory] = scheduled

    def stop(self) -> None:
        """Stop watching and wait for watchdog's threads to end."""
        observer, self._observer = self._observer, None
        self._watches.clear()
        if observer is not None and observer.is_alive():
            _quietly(observer.stop)
            _quietly(observer.join)

    def _schedule(self, observer: BaseObserver, directory: str) -> ObservedWatch:
        return observer.schedule(self._handler, directory, event_filter=self._events)

    def _living(self) -> frozenset[str]:
        """Return the directories whose watching thread is alive."""
        observer = self._observer
        if observer is None or not observer.is_alive():
            return frozenset()
        paths = {emitter.watch.path for emitter in observer.emitters if emitter.is_alive()}
        return frozenset(str(path) for path in paths) & self._watches.keys()


class _Handler(FileSystemEventHandler):
    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        del event
        # The loop that is to be woken may be closed already.
        _quietly(self._wake)


def _quietly(call: Callable[[], _R]) -> _R | None:
    try:
        return call()
    except (OSError, RuntimeError, KeyError):
        return None
