"""What the name of a file says: of which log it is a rotated form, and which of two is older.

A rotated file belongs to a log by its name: logrotate's `app.log.1`, `app.log.1.gz` and
`app.log-20240131`, `app.log.1.bak` by its `addextension`, its `dateext` with `extension` and
Java's `app-2024-01-31.log`, kubelet's `0.log.20240131-120000.gz`, Python's
`app.log.2024-01-31_12`, and `app.log.old`. logrotate's
`app.1.log`, by `extension .log`, says its age, but may as well be the name of another log.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from posixpath import basename
from typing import NamedTuple, Protocol, TypeVar

COMPRESSED = (".gz", ".xz", ".bz2", ".zst")
_ENDING = r"(?:\.(?:gz|xz|bz2|zst))?"
_ADDED = r"(?:\.(?:bak|old|rot|arch|archive|saved?))?"  # logrotate's `addextension`
_SUFFIX = re.compile(rf"(.+?)[._-](\d[\dTZ:._+-]*|old|prev|last|bak){_ADDED}{_ENDING}", re.DOTALL)
_DATE = r"(?:19|20)\d\d[-_.]?[01]\d[\dTZ:._+-]*"
_DATED_STEM = re.compile(rf"(.+?)[._-]({_DATE})(\.[A-Za-z]+)(?:\.\d+)?{_ENDING}", re.DOTALL)
_COUNTER_DIGITS = 4
_COUNTED_STEM = re.compile(
    rf"(.+)\.(\d{{1,{_COUNTER_DIGITS - 1}}})(\.[A-Za-z]+){_ENDING}", re.DOTALL
)
_BESIDE = (".swp", ".tmp", ".lock", ".pid", "~")
_DIGITS = re.compile(r"\d+")

Rank = tuple[str, tuple[int, ...]]  # the way of counting, and the place by it; youngest last


@lru_cache(maxsize=16_384)
def live_names(name: str) -> tuple[str, ...]:
    """Return the names of logs that a file called `name` may be a rotated form of."""
    found = []
    if match := _SUFFIX.fullmatch(name):
        found.append(match[1])
    if match := _DATED_STEM.fullmatch(name):
        found.append(match[1] + match[3])
    return tuple(found)


def stem(live: str) -> str:
    """Return what every rotated form of `live` begins with."""
    head, _, _ = live.rpartition(".")
    return head or live


def may_be_moved(live: str, name: str) -> bool:
    """Tell whether `name` lies so near to `live` that its content is worth comparing."""
    return name != live and name.startswith(stem(live)) and not name.endswith(_BESIDE)


@lru_cache(maxsize=16_384)
def rank(live: str, name: str) -> Rank | None:
    """Return how old the name says that a rotated form of `live` is; None if it does not say.

    Only ranks of one way of counting compare: a counter grows with age (`.2` is older than `.1`),
    a date with youth.
    """
    match = _SUFFIX.fullmatch(name)
    if match is not None and match[1] == live:
        said = match[2]
        if not said[0].isdigit():
            return None
        if said.isdigit() and len(said) < _COUNTER_DIGITS:
            return ("counter", (-int(said),))
        return ("date", _numbers(said))
    match = _DATED_STEM.fullmatch(name)
    if match is not None and match[1] + match[3] == live:
        return ("date", _numbers(match[2]))
    match = _COUNTED_STEM.fullmatch(name)
    if match is not None and match[1] + match[3] == live:
        return ("counter", (-int(match[2]),))
    return None


class Aged(Protocol):
    """A file of a log, by name and time."""

    @property
    def path(self) -> str: ...
    @property
    def mtime_ns(self) -> int: ...


_A = TypeVar("_A", bound=Aged)


def oldest_first(files: Iterable[_A], log: str) -> list[_A]:
    """Return rotated files of `log` in the order of their age.

    Their names tell it, or where these do not compare, the time of the last writing.
    """
    found = sorted(files, key=lambda file: file.mtime_ns)
    name = basename(log)
    ranks = {file.path: rank(name, basename(file.path)) for file in found}
    if len({one[0] for one in ranks.values() if one}) == 1 and None not in ranks.values():
        found.sort(key=lambda file: ranks[file.path] or ("", ()))
    return found


def age(log: str, path: str) -> Rank | None:
    """Return the rank of a rotated form of `log`, both given as paths."""
    return rank(basename(log), basename(path))


def is_older(one: Rank | None, other: Rank | None) -> bool:
    """Tell whether a name says an older file than another; not so where they do not compare."""
    return one is not None and other is not None and one[0] == other[0] and one < other


class Known(NamedTuple):
    """A file of a log that is known by its content.

    `ages` is what the names say under which that lies now, `begun` that something of it is known:
    else it may have been written, copied and emptied between two looks. `newest` is that it is at
    the log's path and was so before what is judged now came, `found` that all of it is where it
    is thought to be, `written_ns` when it was last written to while it was read, in nanoseconds
    since the epoch, None if it was not read or is still at the log's path.
    """

    ages: Sequence[Rank]
    begun: bool
    newest: bool
    found: bool
    written_ns: int | None


def is_history(seen: Aged, log: str, known: Sequence[Known], since_ns: int) -> bool:
    """Tell whether an unknown rotated file is older than all of `log` that is known.

    Its name says so, next to the names of what is known; the time of its last writing, which any
    tool sets as it likes, only where names do not compare, or only with what is not begun, or
    something known is not found: what is older than all that was read is history, or if nothing
    was, than `since_ns`.
    """
    mine = age(log, seen.path)
    if any(is_older(one, mine) for file in known for one in file.ages):
        return False
    begun = [file for file in known if file.begun]
    alike = mine is not None and any(one[0] == mine[0] for file in begun for one in file.ages)
    named = basename(log) in live_names(basename(seen.path)) and any(f.newest for f in begun)
    if (alike or named) and all(file.found for file in known):
        return True
    read = [f.written_ns for f in known if f.written_ns is not None]
    return seen.mtime_ns < max(read, default=since_ns)


def shape(name: str) -> str:
    """Return what the names of one series have in common: all but numbers and compression.

    Empty for a name without a number: nothing else is of its series.
    """
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    found = _DIGITS.sub("#", name)
    return found if found != name else ""


def plain_name(path: str) -> str:
    """Return the path without the ending that a compressor added."""
    for ending in COMPRESSED:
        if path.endswith(ending):
            return path.removesuffix(ending)
    return path


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, _DIGITS.findall(text)))
