"""Reads the files a configuration names, and remembers what they held, so that changes are seen."""

import errno
import glob
import hashlib
import os
import re
from collections.abc import Mapping
from functools import partial
from os.path import normpath
from pathlib import Path

import msgspec

from sidecar.secret import Secret
from sidecar.syntax.faults import Faults, Place

_OCTAL = re.compile(r"\\([0-7]{3})")
REPLACED = (
    "it was replaced, and is mounted by itself, so that the new one is not seen here; "
    "restart, or mount its folder"
)


class FileSnapshot(msgspec.Struct, frozen=True):
    """What files held and globs matched at one look, by their names.

    Contents count, not times or inodes, so that a Kubernetes ConfigMap, whose files change by one
    swap of the link `..data`, is seen like any other.
    """

    files: dict[str, bytes | None] = {}  # a digest; None where the file could not be read
    globs: dict[str, list[str]] = {}

    def again(self) -> "FileSnapshot":
        """Return what the same files hold and the same globs match now. Raises nothing."""
        globs = {pattern: _matches(pattern) for pattern in self.globs}
        paths = {path for found in globs.values() for path in found}.union(self.files)
        return FileSnapshot({path: _digest(_content(path)) for path in sorted(paths)}, globs)

    def differs(self, now: "FileSnapshot") -> bool:
        """Tell whether anything that stands here is otherwise in `now`."""
        return self.globs != now.globs or any(
            digest != now.files.get(path) for path, digest in self.files.items()
        )

    def directories(self) -> frozenset[str]:
        """Return the directories in which the files stand."""
        return frozenset(str(Path(path).absolute().parent) for path in self.files)


class Files:
    """Reads texts, globs and secrets for one reading; what fails becomes a fault."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.snapshot = FileSnapshot()

    def text(self, path: str, place: Place | None = None) -> str | None:
        """Return a file's text, or None when it cannot be read or is not UTF-8 (reported).

        A fault of reading is reported at `place`, where the file was named, or at its own start.
        """
        try:
            data = self._read(path)
        except (OSError, ValueError) as wrong:
            self._faults.error(place or Place(path), f"{path} cannot be read: {_why(wrong)}")
            return None
        try:
            return data.decode().removeprefix("\ufeff")
        except UnicodeDecodeError as wrong:
            line = data.count(b"\n", 0, wrong.start) + 1
            column = len(data[data.rfind(b"\n", 0, wrong.start) + 1 : wrong.start].decode()) + 1
            self._faults.error(Place(path, line, column), "not UTF-8", "save the file as UTF-8")
            return None

    def matching(self, file: str, pattern: str) -> list[str]:
        """Return the files that `pattern` stands for beside `file`, sorted."""
        directory = "" if Path(file).parent == Path() else str(Path(file).parent)
        whole = str(Path(glob.escape(directory)) / pattern)
        found = self.snapshot.globs[whole] = _matches(whole)
        return found

    def secret(self, path: str, place: Place) -> Secret | None:
        """Return the secret that a file holds; it reads the file again on `refresh`."""
        try:
            value = _secret(self._read(path))
        except (OSError, ValueError) as wrong:
            hint = "write the secret into it, alone; `sidecar check --placeholders` needs none"
            self._faults.missing(place, f"secret file {path} cannot be read: {_why(wrong)}", hint)
            return None
        if not value:
            self._faults.error(place, f"secret file {path} is empty")
            return None
        return Secret(value, partial(read_secret, path))

    def _read(self, path: str) -> bytes:
        self.snapshot.files[path] = None
        data = read_bytes(path)
        self.snapshot.files[path] = _digest(data)
        return data


def mounted_alone(pattern: str, mountinfo: str) -> list[str]:
    """Return the files that `pattern` matches and that are mounted each by itself.

    `mountinfo` is what /proc/self/mountinfo holds: the fifth field of a line is where something is
    mounted, with blanks and backslashes as octal numbers (proc(5)).
    """
    points = (line.split(" ")[4] for line in mountinfo.splitlines())
    mounted = {_OCTAL.sub(lambda found: chr(int(found[1], 8)), point) for point in points}
    return [path for path in _matches(pattern) if path in mounted]


def mountinfo() -> str:
    """Return what is mounted where; nothing on a system that does not say."""
    return (_content("/proc/self/mountinfo") or b"").decode(errors="surrogateescape")


def absolute(file: str, path: str) -> str:
    """Return `path` as seen from the directory of `file`, the file that names it."""
    return normpath(Path(file).absolute().parent / path)


def absolute_glob(file: str, pattern: str) -> str:
    """Return `pattern` as an absolute glob; wildcards in the name of our directory are text."""
    return normpath(Path(glob.escape(str(Path(file).absolute().parent))) / pattern)


def read_secret(path: str) -> str:
    """Return a secret file's text without its last newline. Raises OSError."""
    return _secret(read_bytes(path))


def read_bytes(path: str) -> bytes:
    """Return what a file holds. Raises OSError, also for a file that was replaced under a mount.

    A file that is mounted by itself stays the one it was when the mount was made. An editor, `git`
    and `mv` put another in its place, which is not seen here: what is seen has no name any more.
    """
    with Path(path).open("rb") as file:
        data, found = file.read(), os.fstat(file.fileno())
    if found.st_nlink == 0 and os.path.samestat(found, Path(path).stat()):
        raise OSError(errno.ESTALE, REPLACED)
    return data


def environment() -> Mapping[str, str]:
    return os.environ


def _secret(data: bytes) -> str:
    text = data.decode(errors="surrogateescape")
    return text.removesuffix("\n").removesuffix("\r")


def _matches(pattern: str) -> list[str]:
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    return sorted(path for path in found if os.path.isfile(path))  # noqa: PTH113 - never raises


def _content(path: str) -> bytes | None:
    try:
        return read_bytes(path)
    except (OSError, ValueError):
        return None


def _digest(content: bytes | None) -> bytes | None:
    return None if content is None else hashlib.blake2b(content, digest_size=16).digest()


def _why(wrong: OSError | ValueError) -> str:
    return (wrong.strerror if isinstance(wrong, OSError) else None) or str(wrong)
