"""What /metrics says of the logs: how far each is read, and what happened to them."""

import json
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
from structlog.testing import capture_logs

from sidecar.batch import (
    BytesLost,
    EndUnseen,
    Left,
    LeftAlone,
    LogEvent,
    LogStatus,
    LookFailed,
    OverlongLines,
    ReadBatch,
    Rotated,
    Rotation,
    Truncated,
)
from sidecar.config.load import load_config
from sidecar.core import NOTHING_STORED, Core
from sidecar.daemon.telemetry import LAG_SECONDS, Telemetry
from sidecar.fleet.courier import Courier
from sidecar.parse.parser import OPEN_SECONDS
from sidecar.receivers.base import Failed, FailureKind, Sent, Verdict
from sidecar.web.metrics import render_registry
from support.read import Reader
from support.setup import write_rule

NOW = 1_793_788_200.0
TRUNCATED = {"reason": "truncated"}
CONFIG = """\
sources: [{path: "app.log", start_at: beginning}]
rule_files: ["none.rules.yaml"]
state: {path: "state.db"}
route: {receiver: nobody}
receivers: [{name: nobody}]
"""


def line(seconds_ago: float) -> str:
    at = datetime.fromtimestamp(NOW - seconds_ago, UTC).isoformat()
    record = {
        "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe",
        "event_type": "invoice.created", "status": "received", "timestamp": at,
    }  # fmt: skip
    return json.dumps(record) + "\n"


def test_position_size_and_lag_in_bytes_and_seconds(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    (tmp_path / "none.rules.yaml").write_text("groups: []\n")
    config = load_config(str(tmp_path / "sidecar.yaml"), {})
    log = tmp_path / "app.log"
    log.write_text(line(7200) + line(60) + line(0))
    reader, core, telemetry = Reader(log), Core(config), Telemetry(config, lambda: NOW)
    telemetry.installed(core, config, NOW)
    size, first = log.stat().st_size, len(line(7200))
    seen = []
    for _ in range(3):
        batch = reader.poll(budget=1)
        step = core.step(batch, NOW)
        telemetry.stepped(batch, step, core, now=NOW, commit_seconds=0.0)
        registry, labels = telemetry.metrics.registry, {"log": str(log)}
        names = ("position_bytes", "size_bytes", "lag_bytes", "lag_seconds")
        found = [registry.get_sample_value(f"sidecar_log_{name}", labels) for name in names]
        seen.append((*found, registry.get_sample_value("sidecar_catching_up")))
    second = first + len(line(60))
    assert seen == [
        (first, size, size - first, 7200, 1),
        (second, size, size - second, 60, 1),
        (size, size, 0, 0, 0),
    ]


def test_a_line_whose_rest_does_not_come_is_shown_and_ends_by_time(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    (tmp_path / "none.rules.yaml").write_text("groups: []\n")
    config = load_config(str(tmp_path / "sidecar.yaml"), {})
    log, time = tmp_path / "app.log", [NOW]
    half = "INFO - WEBHOOK_METRIC: {\n  'event_type': 'x',\n"
    piece = "2026-11-01T00:00:00Z stderr P WEBHOOK_METRIC: {\n"
    reader, core, telemetry = Reader(log), Core(config), Telemetry(config, lambda: time[0])
    telemetry.installed(core, config, NOW)
    value = telemetry.metrics.registry.get_sample_value

    def step(now: float) -> tuple[float | None, float | None, float | None]:
        time[0] = now
        batch = reader.poll()
        telemetry.stepped(batch, core.step(batch, now), core, now=now, commit_seconds=0.0)
        waiting = value("sidecar_log_unfinished_bytes", {"log": str(log)})
        return waiting, value("sidecar_read_lines_total"), value("sidecar_rejects_total", TRUNCATED)

    for text in (half, piece):
        log.write_text(text)
        reader, core = Reader(log), Core(config)
        lines, rejects = (
            value("sidecar_read_lines_total"),
            value("sidecar_rejects_total", TRUNCATED),
        )
        assert step(NOW) == (len(text), lines, rejects)
        assert core.next_deadline() == NOW + OPEN_SECONDS
        assert step(NOW + OPEN_SECONDS - 1)[0] == len(text)
        assert lines is not None
        assert rejects is not None
        assert step(NOW + OPEN_SECONDS) == (0, lines + text.count("\n"), rejects + 1)
        assert core.next_deadline() is None


RULES = """\
groups:
  - name: g
    rules:
      - alert: A
        condition: last(status) == received
        labels: {severity: info}
        escalate: [{at: ends + 3d, labels: {severity: critical}}]
"""


def test_times_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    (tmp_path / "none.rules.yaml").write_text(RULES)
    config = load_config(str(tmp_path / "sidecar.yaml"), {})
    log = tmp_path / "app.log"
    good, bad = (
        line(60).replace("}", ', "ends": "soon"}'),
        line(0).replace(': "2026', ': "late 2026'),
    )
    log.write_text(good + bad)
    reader, core, telemetry = Reader(log), Core(config), Telemetry(config, lambda: NOW)
    telemetry.installed(core, config, NOW)
    core.restore(NOTHING_STORED, NOW)
    batch = reader.poll()
    step = core.step(batch, NOW)
    telemetry.stepped(batch, step, core, now=NOW, commit_seconds=0.0)
    telemetry.judged(step, core, NOW)
    value = telemetry.metrics.registry.get_sample_value
    assert value("sidecar_bad_timestamps_total") == 1
    assert value("sidecar_rule_bad_instants_total", {"alertname": "A"}) == 1


def test_kinds_of_events_that_nothing_names_are_told_once_a_day(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    (tmp_path / "none.rules.yaml").write_text(RULES)
    config = load_config(str(tmp_path / "sidecar.yaml"), {})
    log = tmp_path / "app.log"
    time = [NOW]
    reader, core, telemetry = Reader(log), Core(config), Telemetry(config, lambda: time[0])
    core.restore(NOTHING_STORED, NOW)
    told = []
    for hours, status in ((1, "odd"), (2, "odd"), (24, "even"), (47, "s"), (48, "odd"), (72, "s")):
        time[0] = now = NOW + hours * 3600.0
        with log.open("a") as file:
            file.write(f"INFO - WEBHOOK_METRIC: {{'event_type': 'x', 'status': '{status}'}}\n")
        batch = reader.poll()
        telemetry.stepped(batch, core.step(batch, now), core, now=now, commit_seconds=0.0)
        told += [
            (hours, e.fields["kinds"]) for e in telemetry.own_events() if e.status == "problem"
        ]
    assert told == [(24, "unknown x even, unknown x odd"), (47, "unknown x s")]


def test_a_log_whose_name_is_not_utf8_has_its_labels_and_fails_no_scrape(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    (tmp_path / "none.rules.yaml").write_text("groups: []\n")
    config = load_config(str(tmp_path / "sidecar.yaml"), {})
    log = tmp_path / os.fsdecode(b"app\xff.log")
    log.write_text(line(0))
    reader, core, telemetry = Reader(log), Core(config), Telemetry(config, lambda: NOW)
    batch = reader.poll()
    telemetry.stepped(batch, core.step(batch, NOW), core, now=NOW, commit_seconds=0.0)
    text = render_registry(telemetry.metrics.registry, openmetrics=False)
    assert 'app\\\\udcff.log"} 0.0' in text


EVENTS = [
    (Rotated(Rotation.COPYTRUNCATE), "log_rotations", {"kind": "copytruncate"}, 1),
    (Truncated(), "log_truncations", {}, 1),
    (BytesLost("a.log", 88), "bytes_lost", {}, 88),
    (EndUnseen("a.log", "a.log.1", 88), "log_ends_unseen", {}, 1),
    (LeftAlone("a.log", "b.log", 7, Left.COPY), "log_left_alone_bytes", {"reason": "copy"}, 7),
    (OverlongLines("a.log", 3), "log_overlong_lines", {}, 3),
    (OverlongLines("a.log", 3), "rejects", {"reason": "too_long"}, 3),
    (LookFailed("EACCES"), "log_scan_errors", {}, 1),
]


@pytest.mark.parametrize(("event", "name", "labels", "amount"), EVENTS)
def test_what_happens_to_a_log_is_counted(
    tmp_path: Path, event: LogEvent, name: str, labels: dict[str, str], amount: float
) -> None:
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    (tmp_path / "none.rules.yaml").write_text("groups: []\n")
    config = load_config(str(tmp_path / "sidecar.yaml"), {})
    core, telemetry = Core(config), Telemetry(config, lambda: NOW)
    for times in (1, 2):
        batch = ReadBatch(events=[event])
        telemetry.stepped(batch, core.step(batch, NOW), core, now=NOW, commit_seconds=0.0)
        value = telemetry.metrics.registry.get_sample_value(f"sidecar_{name}_total", labels)
        assert value == times * amount


def test_no_event_of_ours_carries_what_a_file_is_called_as_it_is(tmp_path: Path) -> None:
    hostile = os.fsdecode(b"a\xff\x1b[2J\n.log")
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    (tmp_path / "none.rules.yaml").write_text("groups: []\n")
    config = load_config(str(tmp_path / "sidecar.yaml"), {})
    core, telemetry = Core(config), Telemetry(config, lambda: NOW)
    happened: list[LogEvent] = [
        BytesLost(hostile, 88),
        EndUnseen(hostile, hostile, 9),
        OverlongLines(hostile, 3),
    ]
    batch = ReadBatch(
        events=happened,
        logs=[LogStatus(hostile, hostile, 1, 9, 8, "active", "")],
        lagging=frozenset({hostile}),
    )
    batch.problems.append(batch.cannot("read", hostile, PermissionError(13, "Permission denied")))
    core.reached[hostile] = NOW - 2 * LAG_SECONDS
    found = []
    for now in (NOW, NOW + 600):
        telemetry.stepped(batch, core.step(batch, now), core, now=now, commit_seconds=0.0)
        found += telemetry.watch.due_events(now)
    assert {event.event_type for event in found} == {
        "sidecar.bytes_lost", "sidecar.log_end_unseen", "sidecar.rejects", "sidecar.lag",
        "sidecar.log_unreadable",
    }  # fmt: skip
    for event in found:
        for value in event.fields.values():
            assert str(value).isprintable(), event.event_type


def test_every_kind_of_event_is_among_these() -> None:
    assert {type(event) for event, *_ in EVENTS} == set(get_args(LogEvent))


def test_a_destination_that_cannot_be_sent_again_what_fires_is_logged_once(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    (tmp_path / "none.rules.yaml").write_text("groups: []\n")
    telemetry = Telemetry(load_config(str(tmp_path / "sidecar.yaml"), {}), lambda: NOW)
    down = Failed(FailureKind.CONNECT, Verdict.RETRY, "am-1: connection refused")
    with capture_logs() as logged:
        for outcome in (Sent(), down, down, Sent(), Sent()):
            telemetry.sent_again(("alertmanager", "am"), outcome)
    where = {"integration": "alertmanager", "destination": "am"}
    failed = {"detail": "am-1: connection refused", "log_level": "warning", **where}
    assert logged == [
        {"event": "keep_alive_failed", **failed},
        {"event": "keep_alive_again", "log_level": "info", **where},
    ]


def test_alerts_are_those_of_the_one_that_judges(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(CONFIG.replace("none.rules", "failing.rules"))
    write_rule(tmp_path)
    config = load_config(str(tmp_path / "sidecar.yaml"), {})
    telemetry = Telemetry(config, lambda: NOW)
    reading = Core(config, engine=partial(Courier, host="a", before=None))
    telemetry.installed(reading, config, NOW)
    assert "sidecar_alerts{" not in render_registry(telemetry.metrics.registry, openmetrics=False)
    (judging := Core(config)).restore(NOTHING_STORED, NOW)
    telemetry.seated(judging)
    labels = {"alertname": "Failing", "severity": "critical", "state": "firing"}
    assert telemetry.metrics.registry.get_sample_value("sidecar_alerts", labels) == 0
