"""What an alert about the sidecar says of a log stays true over a restart, until it is over."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar.batch import LogStatus, ReadBatch
from sidecar.config.load import load_config
from sidecar.daemon.restoring import open_store, restore
from sidecar.daemon.telemetry import Telemetry
from sidecar.parse.event import Chunk, LogFormat
from sidecar.rules.alert import TransitionKind
from sidecar.store.store import Store
from support.daemon import RULES
from support.notify import HOUR, MINUTE, T0

CONFIG = """\
sources: [{{path: /nowhere/app.log}}]
rule_files: ["{rules}/sidecar.rules.yaml", own.rules.yaml]
route: {{receiver: nobody}}
receivers: [{{name: nobody}}]
"""
OWN = """\
groups:
  - name: own
    rules:
      - alert: Failing
        match: ['event_type="failed"']
        condition: count() >= 1000
        within: 10m
        labels: {severity: warning}
"""
LOG = "/nowhere/app.log"


class Run:
    """A daemon's core and telemetry over a state file; `again` is another process on it."""

    def __init__(self, folder: Path) -> None:
        (folder / "sidecar.yaml").write_text(CONFIG.format(rules=RULES))
        (folder / "own.rules.yaml").write_text(OWN)
        self.config = load_config(str(folder / "sidecar.yaml"), {})
        self.store = Store.open(str(folder / "state.db"))
        self.again(T0)

    def again(self, now: float) -> None:
        start = restore(self.config, self.store, now, shadow=False, aside="")
        self.core, self.telemetry = start.core, Telemetry(self.config, lambda: now)
        self.telemetry.watch.restore(self.core.engine.alerts(), now)

    def read(self, now: float, text: str) -> list[tuple[str, TransitionKind]]:
        """Read lines, and let rules hear what the sidecar says of that; return what they say."""
        found = []
        for data in (text.encode(), b""):
            chunks = [Chunk(1, LOG, LogFormat.AUTO, data, 0)] if data else []
            batch = ReadBatch(chunks=chunks, logs=[LogStatus(LOG, LOG, 1, 1, 0, "active", "")])
            step = self.core.step(batch, now)
            self.store.commit(step.delta)
            self.telemetry.stepped(batch, step, self.core, now=now, commit_seconds=0.0)
            self.core.note(self.telemetry.watch.due_events(now))
            found += [(one.alert.name, one.kind) for one in step.transitions]
        return found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    made.store.close()


def line(event_type: str, at: float) -> str:
    return json.dumps({
        "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe", "event_type": event_type,
        "status": "s", "timestamp": at,
    }) + "\n"  # fmt: skip


def came_and_is_gone(run: Run) -> list[tuple[str, TransitionKind]]:
    """Let what a rule reads come each hour of a day, and then only something else for two."""
    found = [
        one for n in range(26) for one in run.read(T0 + n * HOUR, line("failed", T0 + n * HOUR))
    ]
    rest = [T0 + 25 * HOUR + n * MINUTE for n in range(120)]
    return found + run.read(rest[-1], "".join(line("paid", at) for at in rest))


def test_a_log_without_events_is_told_of_until_its_first_also_after_a_restart(run: Run) -> None:
    assert run.read(T0, "nothing\n" * 1000) == [("SidecarNoEvents", TransitionKind.FIRED)]
    for number in range(1, 4):
        run.again(T0 + number)
        assert run.read(T0 + number, "nothing\n") == []
    (alert,) = run.core.engine.alerts()
    assert alert.event["lines"] == 1000
    event = run.read(T0 + MINUTE, line("failed", T0))
    assert event == [("SidecarNoEvents", TransitionKind.RESOLVED)]


def test_what_comes_no_more_is_told_of_until_it_comes_also_after_a_restart(run: Run) -> None:
    assert came_and_is_gone(run) == [("SidecarDrift", TransitionKind.FIRED)]
    for hour in (28, 29, 30):
        run.again(T0 + hour * HOUR)
        assert run.read(T0 + hour * HOUR, line("paid", T0 + hour * HOUR)) == []
    again = run.read(T0 + 31 * HOUR, line("failed", T0 + 31 * HOUR))
    assert again == [("SidecarDrift", TransitionKind.RESOLVED)]


def test_what_came_no_more_for_a_week_is_given_up_also_after_a_restart(run: Run) -> None:
    came_and_is_gone(run)
    run.again(T0 + 28 * HOUR)
    days = [T0 + 27 * HOUR + day * 24 * HOUR for day in range(1, 8)]
    told = [run.read(day, line("paid", day)) for day in days]
    assert told == [[]] * 6 + [[("SidecarDrift", TransitionKind.RESOLVED)]]


def test_a_state_file_of_no_bytes_is_a_first_start_and_said(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    config = replace(run.config, state_path=str(path))
    with capture_logs() as logs:
        store, aside = open_store(config, T0)
    store.close()
    assert (aside, [one["event"] for one in logs]) == ("", ["state_file_empty"])


@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_one_that_was_in_use_is_damaged_and_its_log_is_kept(
    run: Run, tmp_path: Path, end: str
) -> None:
    path, log = tmp_path / "empty.db", tmp_path / f"empty.db{end}"
    path.touch()
    log.write_bytes(b"what was written last")
    config = replace(run.config, state_path=str(path))
    with capture_logs() as logs:
        store, aside = open_store(config, T0)
    store.close()
    assert [one["event"] for one in logs] == ["state_file_damaged"]
    assert Path(f"{aside}{end}").read_bytes() == b"what was written last"
