"""A log that grows and says nothing that is understood is told of, until its first event."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.batch import LogStatus, ReadBatch
from sidecar.config.load import load_config
from sidecar.core import Core
from sidecar.daemon.telemetry import Telemetry
from sidecar.parse.event import Chunk, LogFormat
from sidecar.rows import MetaRow
from sidecar.store.store import Store

NOW = 1_795_600_000.0
CONFIG = """\
sources: [{path: app.log}]
rule_files: [none.rules.yaml]
route: {receiver: nobody}
receivers: [{name: nobody}]
"""
EVENT = 'WEBHOOK_METRIC: {"event_type": "a", "status": "b"}\n'


class Log:
    """A log of which lines are read, and what is told of it."""

    def __init__(self, folder: Path) -> None:
        (folder / "sidecar.yaml").write_text(CONFIG)
        (folder / "none.rules.yaml").write_text("groups: []\n")
        self.config = load_config(str(folder / "sidecar.yaml"), {})
        self.core, self.telemetry = Core(self.config), Telemetry(self.config, lambda: NOW)
        self.store = Store.open(str(folder / "state.db"))
        self.core.restore(self.store, NOW)

    def read(self, text: str, now: float) -> list[tuple[str, str]]:
        chunk = Chunk(1, "app.log", LogFormat.AUTO, text.encode(), 0)
        batch = ReadBatch(
            chunks=[chunk], logs=[LogStatus("app.log", "app.log", 1, 1, 0, "active", "")]
        )
        step = self.core.step(batch, now)
        self.store.commit(step.delta)
        self.telemetry.stepped(batch, step, self.core, now=now, commit_seconds=0.0)
        return [(one.event_type, one.status) for one in self.telemetry.watch.due_events(now)]

    def restart(self) -> None:
        """Begin anew with what was written."""
        self.core, self.telemetry = Core(self.config), Telemetry(self.config, lambda: NOW)
        self.core.restore(self.store, NOW)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path)
    yield made
    made.store.close()


def test_a_thousand_lines_without_an_event_are_a_problem_until_the_first(log: Log) -> None:
    assert log.read("nothing\n" * 999, NOW) == []
    assert log.read("nothing\n", NOW + 1) == [("sidecar.no_events", "problem")]
    assert log.read(EVENT, NOW + 2) == [("sidecar.no_events", "ok")]
    assert log.read("nothing\n" * 5000, NOW + 3) == []


def test_an_hour_of_growth_without_an_event_is_one(log: Log) -> None:
    assert log.read("nothing\n", NOW) == []
    assert log.read("", NOW + 7200) == []
    assert log.read("nothing\n", NOW + 7201) == [("sidecar.no_events", "problem")]


def test_a_log_that_ever_spoke_may_be_quiet_also_after_a_restart(log: Log) -> None:
    log.read(EVENT, NOW)
    log.restart()
    assert log.read("nothing\n" * 5000, NOW + 1) == []


def test_what_was_heard_is_known(log: Log) -> None:
    log.read(EVENT + "nothing\n", NOW)
    heard = log.core.heard["app.log"]
    assert (heard.lines, heard.event_lines) == (2, 1)
    assert (heard.first_line_at, heard.last_line_at, heard.last_event_at) == (NOW, NOW, NOW)


def test_of_a_log_that_is_no_more_nothing_stays(log: Log) -> None:
    log.read(EVENT, NOW)
    assert any("app.log" in row.name for row in log.store.load(MetaRow))
    log.store.commit(log.core.step(ReadBatch(forgotten=["app.log", "never heard of"]), NOW).delta)
    assert not any("app.log" in row.name for row in log.store.load(MetaRow))
    assert log.core.heard == {}
