"""Docker's 16 KiB pieces, CRI's P/F pieces and objects over lines through rotation and restart.

Reader, parser, positions and state file together: a record in pieces counts once, wherever its
pieces lie and wherever the process ended.
"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidecar.clock import SystemClock
from sidecar.config.load import load_config
from sidecar.daemon.restoring import restore
from sidecar.store.store import Store
from support.crash import counted
from support.read import Writer, compress, copytruncate, rename
from support.setup import configure, record, write_rule

STAMP = "2026-11-02T08:01:16.911048585Z"
PIECE = 16 * 1024  # where Docker and containerd cut


def docker(text: str, stream: str) -> Iterator[str]:
    for part, last in pieces(text):
        yield json.dumps({"log": part + "\n" * last, "stream": stream, "time": STAMP}) + "\n"


def cri(text: str, stream: str) -> Iterator[str]:
    for part, last in pieces(text):
        yield f"{STAMP} {stream} {'F' if last else 'P'} {part}\n"


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE], start + PIECE >= len(text)


def indented(text: str, _stream: str) -> Iterator[str]:
    """Print a record over lines, as `json.dumps(…, indent=2)` does, without any container."""
    for line in json.dumps(json.loads(text.partition(": ")[2]), indent=2).splitlines():
        yield line + "\n"


def docker_indented(text: str, stream: str) -> Iterator[str]:
    for line in indented(text, stream):
        yield from docker(line.rstrip(), stream)


def cri_indented(text: str, stream: str) -> Iterator[str]:
    for line in indented(text, stream):
        yield from cri(line.rstrip(), stream)


WRAPS = pytest.mark.parametrize("wrap", [docker, cri, indented, docker_indented, cri_indented])


def in_three(status: str) -> str:
    """Return a record of three pieces."""
    return f"WEBHOOK_METRIC: {json.dumps(record(status, pad='x' * (2 * PIECE)))}"


class Sidecar:
    """The parts from the log to the state file, which can end without a word and start again."""

    def __init__(self, folder: Path) -> None:
        write_rule(folder)
        config = configure(folder)
        self.state = folder / "state.db"
        self._config = load_config(str(config), {})
        self._clock = SystemClock()
        self._start()

    def _start(self) -> None:
        self._store = Store.open(str(self.state))
        start = restore(self._config, self._store, self._clock.now(), shadow=False, aside="")
        self._core = start.core
        self._follower = start.follower

    def step(self, budget: int = 1 << 20) -> None:
        now = self._clock.now()
        self._store.commit(self._core.step(self._follower.poll(now, budget), now).delta)

    def crash(self) -> None:
        """End after a step that is not committed."""
        now = self._clock.now()
        self._core.step(self._follower.poll(now), now)
        self.restart()

    def restart(self) -> None:
        self.end()
        self._start()

    def end(self) -> None:
        self._follower.close()
        self._store.close()


Wrap = Callable[[str, str], Iterator[str]]
Rotate = Callable[[Writer], None]


def by_rename(writer: Writer) -> None:
    rename(writer.path, keep=30)  # as many as an object has lines
    writer.reopen()


def by_rename_and_gzip(writer: Writer) -> None:
    by_rename(writer)
    compress(writer.path.with_name("app.log.1"))


def by_copytruncate(writer: Writer) -> None:
    copytruncate(writer.path, keep=30)


def not_at_all(_writer: Writer) -> None:
    """Rotate nothing."""


def restarted_then_a_step(sidecar: Sidecar) -> None:
    sidecar.restart()
    sidecar.step()


ENDS = {
    "running": Sidecar.step,
    "restarted": Sidecar.restart,
    "crashed": Sidecar.crash,
    "restarted, then a step": restarted_then_a_step,
}


@contextmanager
def sidecar_in(folder: Path) -> Iterator[Sidecar]:
    sidecar = Sidecar(folder)
    try:
        yield sidecar
    finally:
        sidecar.end()


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("rotate", [not_at_all, by_rename, by_rename_and_gzip, by_copytruncate])
@WRAPS
def test_records_in_pieces_count_once(
    tmp_path: Path, wrap: Wrap, rotate: Rotate, ends: Callable[[Sidecar], None]
) -> None:
    """Two streams whose lines are interleaved; between any two lines something happens."""
    out, err = wrap(in_three("out"), "stdout"), wrap(in_three("err"), "stderr")
    lines = [line for pair in itertools.zip_longest(out, err) for line in pair if line]
    if wrap is indented:  # by one writer after another
        lines = [*wrap(in_three("out"), ""), *wrap(in_three("err"), "")]
    writer = Writer(tmp_path / "app.log")
    with sidecar_in(tmp_path) as sidecar:
        for line in lines:
            writer.raw(line.encode())
            sidecar.step()
            rotate(writer)
            ends(sidecar)
        sidecar.step()
        sidecar.step()
    assert counted(sidecar.state) == Counter(out=1, err=1)


@WRAPS
def test_a_step_for_each_line_and_a_restart_after_each_step(tmp_path: Path, wrap: Wrap) -> None:
    writer = Writer(tmp_path / "app.log")
    for status in ("a", "b"):
        for line in wrap(in_three(status), "stdout"):
            writer.raw(line.encode())
    with sidecar_in(tmp_path) as sidecar:
        for _ in range(30):
            sidecar.step(budget=1)
            sidecar.restart()
    assert counted(sidecar.state) == Counter(a=1, b=1)
