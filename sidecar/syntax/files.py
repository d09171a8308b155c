"""The files a configuration names: text, globs, secrets; what fails becomes a fault."""

import glob
import os
from collections.abc import Mapping
from functools import partial
from os.path import normpath
from pathlib import Path

from sidecar.secret import Secret
from sidecar.syntax.faults import Faults, Place


def read_text(path: str, faults: Faults, place: Place | None = None) -> str | None:
    """Return a file's text, or None when it cannot be read or is not UTF-8 (reported).

    A fault of reading is reported at `place`, where the file was named, or at its own start.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as wrong:
        faults.error(place or Place(path), f"{path} cannot be read: {_why(wrong)}")
        return None
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as wrong:
        line = data.count(b"\n", 0, wrong.start) + 1
        column = len(data[data.rfind(b"\n", 0, wrong.start) + 1 : wrong.start].decode()) + 1
        faults.error(Place(path, line, column), "not UTF-8", "save the file as UTF-8")
        return None


def absolute(file: str, path: str) -> str:
    """Return `path` as seen from the directory of `file`, the file that names it."""
    return normpath(Path(file).absolute().parent / path)


def absolute_glob(file: str, pattern: str) -> str:
    """Return `pattern` as an absolute glob; wildcards in the name of our directory are text."""
    return normpath(Path(glob.escape(str(Path(file).absolute().parent))) / pattern)


def matching(file: str, pattern: str) -> list[str]:
    """Return the files that `pattern` stands for beside `file`, sorted."""
    directory = "" if Path(file).parent == Path() else str(Path(file).parent)
    whole = str(Path(glob.escape(directory)) / pattern)
    found = glob.glob(whole, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    return sorted(path for path in found if Path(path).is_file())


def read_secret(path: str) -> str:
    """Return a secret file's text without its last newline. Raises OSError."""
    text = Path(path).read_bytes().decode(errors="surrogateescape")
    return text.removesuffix("\n").removesuffix("\r")


def secret_file(path: str, faults: Faults, place: Place) -> Secret | None:
    """Return the secret that a file holds; it reads the file again on `refresh`."""
    try:
        value = read_secret(path)
    except (OSError, ValueError) as wrong:
        faults.error(place, f"secret file {path} cannot be read: {_why(wrong)}")
        return None
    if not value:
        faults.error(place, f"secret file {path} is empty")
        return None
    return Secret(value, partial(read_secret, path))


def environment() -> Mapping[str, str]:
    return os.environ


def _why(wrong: OSError | ValueError) -> str:
    return (wrong.strerror if isinstance(wrong, OSError) else None) or str(wrong)
