"""SidecarLag tells of what waits, wherever it waits, and of nothing else; by the real reader."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sidecar.config.load import load_config
from sidecar.core import Core
from sidecar.daemon.telemetry import Telemetry
from sidecar.rows import FileRow
from support.read import Reader, Writer, compress, rename

CONFIG = """\
sources: [{path: "*.log"}]
rule_files: [none.rules.yaml]
route: {receiver: nobody}
receivers: [{name: nobody}]
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that anybody may look into, unlike pytest's."""
    with TemporaryDirectory(prefix="sidecar-lag-") as name:
        Path(name).chmod(0o755)
        (Path(name) / "sidecar.yaml").write_text(CONFIG)
        (Path(name) / "none.rules.yaml").write_text("groups: []\n")
        yield Path(name)


class Daemon:
    """Reads the logs of a folder, and says of its lag what rules hear."""

    def __init__(self, folder: Path, *, from_beginning: bool = True) -> None:
        config = load_config(str(folder / "sidecar.yaml"), {})
        self.folder, self.why = folder, ""
        self.reader = Reader(folder / "*.log", from_beginning=from_beginning)
        self.core, self.telemetry = Core(config), Telemetry(config, lambda: self.reader.now)
        self.telemetry.installed(self.core, config, self.reader.now)

    def look(self, seconds: float = 1.0) -> dict[str, float] | None:
        """Look once, so many seconds later; return what is said of the lag, None for nothing."""
        batch = self.reader.poll(seconds=seconds)
        step = self.core.step(batch, self.reader.now)
        for row in step.delta.rows:
            if isinstance(row, FileRow):
                self.reader.rows[row.id] = row
        self.telemetry.stepped(batch, step, self.core, now=self.reader.now, commit_seconds=0.0)
        events = self.telemetry.watch.due_events(self.reader.now)
        said = [one for one in events if one.event_type == "sidecar.lag"]
        if not said:
            return None
        (one,) = said
        self.why = one.fields.get("why", "").replace(str(self.folder), "")
        return {"over": 1} if one.status == "ok" else {
            "bytes": one.fields["lag_bytes"], "seconds": one.fields["lag_seconds"]
        }  # fmt: skip

    def gauge(self, name: str) -> float | None:
        registry, (log,) = self.telemetry.metrics.registry, {s.log for s in self.reader.last.logs}
        return registry.get_sample_value(f"sidecar_log_{name}", {"log": log})

    def wait(self, seconds: float) -> list[dict[str, float]]:
        """Look every 20 seconds; return all that is said."""
        looks = (self.look(20) for _ in range(int(seconds / 20)))
        return [said for said in looks if said is not None]


@contextmanager
def somebody_else() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="run as root to give up and regain permission"
)


def piece(text: str) -> bytes:
    fields = {"log": text, "stream": "stdout", "time": "2023-11-14T22:13:20.1Z"}
    return json.dumps(fields).encode() + b"\n"


def test_of_a_log_that_is_read_to_its_end_nothing_is_said(folder: Path) -> None:
    writer, daemon = Writer(folder / "app.log"), Daemon(folder)
    writer.write(5)
    writer.raw(b"begun, ")
    assert daemon.wait(800) == []


def test_an_unfinished_piece_lags_until_it_is_given_up(folder: Path) -> None:
    writer, daemon = Writer(folder / "app.log"), Daemon(folder)
    writer.raw(piece("whole\n"))
    torn = piece("WEBHOOK_METRIC: {")
    writer.raw(torn)
    daemon.look()
    daemon.look(40)
    assert (daemon.gauge("lag_bytes"), daemon.gauge("lag_seconds")) == (len(torn), 40)
    assert daemon.wait(400) == []
    assert daemon.gauge("lag_bytes") == 0
    rejects = daemon.telemetry.metrics.registry.get_sample_value(
        "sidecar_rejects_total", {"reason": "truncated"}
    )
    assert rejects == 1


def test_of_younger_files_behind_one_that_is_being_compressed(folder: Path) -> None:
    writer, daemon = Writer(folder / "app.log"), Daemon(folder)
    writer.write(2)
    daemon.look()
    writer.write(5000)
    rename(writer.path)
    writer.reopen()
    zipped = compress(folder / "app.log.1")
    whole = zipped.read_bytes()
    new = sum(len(line) + 1 for line in writer.write(3))
    daemon.reader.restart()
    said = []
    for part in range(1, 25):  # it grows at each look, so that nobody gives up on it
        zipped.write_bytes(whole[: part * len(whole) // 40])
        if found := daemon.look(20):
            said.append(found)
    assert said[0]["bytes"] >= new
    assert 300 < said[0]["seconds"] <= 400
    assert daemon.why == "/app.log.1.gz is not read to its end"
    zipped.write_bytes(whole)
    assert daemon.wait(60)[-1] == {"over": 1}
    assert len(daemon.reader.lines) == len(writer.written)


@needs_root
def test_of_a_log_that_may_not_be_opened(folder: Path) -> None:
    writer, daemon = Writer(folder / "app.log"), Daemon(folder)
    writer.write(2)
    daemon.look()
    daemon.reader.restart()
    size = sum(len(line) + 1 for line in writer.write(2))
    writer.path.chmod(0)
    with somebody_else():
        said = daemon.wait(400)
    assert [one["bytes"] for one in said] == [size]
    assert daemon.why == "cannot read /app.log: Permission denied; trying again"
    writer.path.chmod(0o644)
    assert daemon.wait(20) == [{"over": 1}]


@needs_root
def test_of_an_older_generation_that_may_not_be_opened(folder: Path) -> None:
    writer, daemon = Writer(folder / "app.log"), Daemon(folder)
    writer.write(2)
    daemon.look()
    daemon.reader.restart()
    size = sum(len(line) + 1 for line in writer.write(20))
    rename(writer.path)
    (folder / "app.log.1").chmod(0)
    writer.reopen()
    writer.write(1)
    with somebody_else():
        said = daemon.wait(400)
    assert [one["bytes"] >= size for one in said] == [True]
    assert daemon.why == "cannot read /app.log.1: Permission denied; trying again"
    (folder / "app.log.1").chmod(0o644)
    assert {"over": 1} in daemon.wait(60)
    assert sorted(daemon.reader.lines) == sorted(writer.written)


@needs_root
def test_of_a_generation_that_nobody_ever_opened(folder: Path) -> None:
    writer, daemon = Writer(folder / "app.log"), Daemon(folder)
    writer.write(2)
    daemon.look()
    rename(writer.path)
    daemon.reader.restart()
    writer.reopen()
    size = sum(len(line) + 1 for line in writer.write(20))
    rename(writer.path)
    (folder / "app.log.1").chmod(0)
    writer.reopen()
    writer.write(1)
    with somebody_else():
        said = daemon.wait(400)
    assert [one["bytes"] >= size for one in said] == [True]


@needs_root
def test_of_what_was_there_at_the_first_start_and_is_not_read_nothing_is_said(folder: Path) -> None:
    writer = Writer(folder / "app.log")
    writer.write(20)
    daemon = Daemon(folder, from_beginning=False)
    writer.path.chmod(0)
    with somebody_else():
        assert daemon.wait(400) == []
        os.seteuid(0)
        size = sum(len(line) + 1 for line in writer.write(3))
        os.seteuid(65534)
        said = daemon.wait(400)
    assert [one["bytes"] for one in said] == [size]
    writer.path.chmod(0o644)
    assert daemon.wait(40) == [{"over": 1}]
    assert daemon.reader.lines == writer.written[20:]


@needs_root
def test_of_a_new_log_that_nobody_may_open(folder: Path) -> None:
    daemon = Daemon(folder)
    daemon.look()
    writer = Writer(folder / "app.log")
    size = sum(len(line) + 1 for line in writer.write(20))
    writer.path.chmod(0)
    with somebody_else():
        said = daemon.wait(400)
    assert [one["bytes"] for one in said] == [size]
