"""What commands work on: a configuration, and logs as whole lines in chunks, with progress."""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from sidecar.cli import CONFIG_FILES, config_there
from sidecar.cli.client import CANNOT, PROBLEM, end
from sidecar.cli.output import say_faults
from sidecar.config.load import check_config
from sidecar.config.settings import Config
from sidecar.parse.event import Chunk, LogFormat
from sidecar.parse.repeats import needed_before
from sidecar.read.content import HOST_NAME, Compressed, frame, open_content
from sidecar.syntax.faults import did_you_mean
from sidecar.syntax.files import environment

LOG_FILE = click.Path(exists=True, readable=True, dir_okay=False)


def config_option(says: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option `-c`, whose value is the argument `config`."""
    return click.option(
        "-c",
        "--config",
        type=LOG_FILE,
        default=config_there,
        show_default=" or ".join(CONFIG_FILES),
        help=says,
    )


def loaded(path: str, *, placeholders: bool = False) -> Config:
    """Return the configuration; one that is wrong ends the command with all its faults.

    With `placeholders` its secrets need not be there: nothing is sent.
    """
    checked = check_config(path, environment(), placeholders=placeholders)
    if checked.config is None:
        say_faults(checked.errors, err=True)
        sys.exit(PROBLEM)
    return checked.config


def named(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is a known one; another ends the command."""
    names = sorted(known)
    if name not in names:
        listed = f"there are {', '.join(names)}" if names else "there is none"
        end(f"no {kind} is called {name}; {did_you_mean(name, names, listed)}", CANNOT)
    return name


_BLOCK = 1 << 18
COMPRESSED = {".gz": "gzip", ".xz": "xz", ".bz2": "bzip2", ".zst": "zstd"}


class UnreadableLogError(Exception):
    """A log file that cannot be read; the text is one sentence for the user."""


def read_chunks(
    path: str, number: int, progress: Callable[[int], None] = lambda _: None
) -> Iterator[Chunk]:
    """Yield the whole lines of one file; `number` tells its chunks from other files'.

    `progress` hears how many bytes of the file, as it lies on disk, are read so far. Raises
    UnreadableLogError, also at the damage of a compressed file: half a history is not what was
    asked for.
    """
    try:
        yield from _chunks(path, number, progress)
    except FileNotFoundError as wrong:  # also what is there, but is a pipe or a directory
        why = "not a regular file" if wrong.strerror is None else wrong.strerror
        raise UnreadableLogError(f"{path} cannot be read: {why}") from wrong
    except OSError as wrong:
        raise UnreadableLogError(f"{path} cannot be read: {wrong.strerror or wrong}") from wrong


def _chunks(path: str, number: int, progress: Callable[[int], None]) -> Iterator[Chunk]:
    content = open_content(path)
    try:
        position, skip, want = 0, False, _BLOCK
        while block := content.read_at(position, want):
            at_end = len(block) < want
            framed = frame(block, position, skip=skip, at_end=at_end, final=at_end)
            # A line that is longer than the block is read again with more room.
            want = _BLOCK if framed.end > position else 2 * want
            position, skip = framed.end, framed.skip
            if framed.data:
                where = (number, path, LogFormat.AUTO, framed.data, framed.start)
                before = needed_before(framed.data, framed.start, content.read_at)
                yield Chunk(*where, host=HOST_NAME, before=before)
            progress(content.taken if isinstance(content, Compressed) else position)
        if isinstance(content, Compressed) and (content.unreadable or not content.complete):
            raise UnreadableLogError(_damage(path, position, content))
    finally:
        content.close()


def _damage(path: str, position: int, content: Compressed) -> str:
    kind = COMPRESSED[content.form.ending]
    with Path(path).open("rb") as file:
        is_one = file.read(len(content.form.magic)) == content.form.magic
    if content.unreadable and not is_one:
        return f"{path} is no {kind} file, as its name says; rename it, or {kind} it"
    where = "is damaged" if content.unreadable else "ends too early"
    return f"{path} {where}: of the {kind} file {position:,} bytes can be read; take a whole copy"
