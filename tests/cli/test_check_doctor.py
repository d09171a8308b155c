"""`check --sample` as the doctor: what a host prints, what can come of it, what to change."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sidecar.cli.check import check

ROOT = Path(__file__).parents[2]
REAL = sorted((ROOT / "tests" / "samples" / "real-host").glob("*.log"))
ALERTS = {
    "Failing": ("status=failed", "count() >= 2"),
    "Storm": ("status=failed", "count() >= 9"),
    "Refund": ("status=refunded", "count() >= 1"),
    "Both": ("status=paid, org_id=a", "count() >= 1"),
    "Silence": ("status=alive", "count() < 1"),
}
ALERT = "{{alert: {}, match: [{}], condition: {}, within: 2h, labels: {{severity: info}}}}"
RULES = "groups:\n  - name: g\n    rules:\n" + "".join(
    f"      - {ALERT.format(name, *rest)}\n" for name, rest in ALERTS.items()
)
FAILED = "WEBHOOK_METRIC: {'event_type': 'invoice', 'status': 'failed', 'org_id': 'a'"
PAID = "WEBHOOK_METRIC: {'event_type': 'invoice', 'status': 'paid', 'org_id': 'b'"


def held(folder: Path, *lines: str, options: tuple[str, ...] = ()) -> Result:
    (folder / "a.rules.yaml").write_text(RULES)
    log = folder / "app.log"
    log.write_text("".join(f"{line}\n" for line in lines))
    os.utime(log, (0, 0))  # long after or before all stamps, as in a copy
    arguments = [str(folder), "--sample", str(log), *options]
    return CliRunner().invoke(check, arguments, env={"COLUMNS": "100"})


def sample(folder: Path, *lines: str) -> dict[str, Any]:
    result = held(folder, *lines, options=("--format", "json"))
    found: dict[str, Any] = json.loads(result.output)["sample"]
    return found


def change(folder: Path, *lines: str) -> str:
    """Return the one thing to change."""
    (found,) = sample(folder, *lines)["to_change"]
    return str(found)


def test_the_whole_report_is_one_screen_of_text(tmp_path: Path) -> None:
    result = held(
        tmp_path,
        f"2026-11-02 08:00:00 - INFO - {FAILED}}}",
        "2026-11-02 08:00:10 - INFO - something else",
        f"2026-11-02 08:01:00 - INFO - {FAILED}}}",
        f"2026-11-02 08:02:00 - INFO - {PAID}}}",
        f"2026-11-02 08:02:00 - INFO - {PAID.replace('paid', 'alive')}, 'livemode': False}}",
    )
    assert (
        result.output.replace(str(tmp_path), "")
        == """\
/app.log: 5 lines, 4 events
  written as Python dict 4
  from 2026-11-02T08:00:00.000Z to 2026-11-02T08:02:00.000Z
Events
  invoice  failed 2, paid 1, alive 1
Alerts
  fire on this log    Failing 1
  could: not enough   Storm (2 events), Silence (1 event)
  no line of this log can raise
    Refund  this host never prints `status="refunded"`
    Both    this host never prints `status="paid"` and `org_id="a"` together
To change
  1. 1 event of the provider's test mode (livemode: false): point it elsewhere.
5 rules, 0 metrics, 0 patterns, 0 templates, 0 receivers: fine
"""
    )


def test_what_waits_for_what_never_comes_fires_by_silence(tmp_path: Path) -> None:
    found = sample(tmp_path, f"2026-11-02 08:00:00 - INFO - {FAILED}}}")
    assert {one["name"]: one["verdict"] for one in found["alerts"]} == {
        "Failing": "could",
        "Storm": "could",
        "Refund": "never",
        "Both": "never",
        "Silence": "always",
    }


def test_json_holds_the_faults_as_well(tmp_path: Path) -> None:
    result = held(
        tmp_path, f"{FAILED.replace('failed', 'refundet')}}}", options=("--format", "json")
    )
    found = json.loads(result.output)
    (fault,) = found["faults"]
    assert fault["hint"].endswith("did you mean `refundet`?")
    assert found["sample"]["types"] == {"invoice": {"refundet": 1}}
    assert result.exit_code == 0


def test_json_without_a_sample_is_the_faults_alone(tmp_path: Path) -> None:
    (tmp_path / "a.rules.yaml").write_text(RULES + "strange: 1\n")
    result = CliRunner().invoke(check, [str(tmp_path), "--format", "json"])
    found = json.loads(result.output)
    assert [fault["message"] for fault in found["faults"]] == ["unknown key `strange`"]
    assert found["sample"] is None
    assert result.exit_code == 1


def test_two_handlers_are_seen(tmp_path: Path) -> None:
    lines = [f"{FAILED}, 'timestamp': '2026-11-02T08:0{n}:00Z'}}" for n in range(4)]
    both = [
        one
        for line in lines
        for one in (f"2026-11-02 08:00:00,1 - INFO - {line}", f"INFO:x:{line}")
    ]
    assert change(tmp_path, *both).startswith("4 events came twice in one instant, word for word")
    assert sample(tmp_path, *lines)["to_change"] == []


def test_two_handlers_are_seen_in_docker_s_wrapping(tmp_path: Path) -> None:
    said = (f"INFO: {FAILED}}}\n", f"2026-11-02 08:00:00 - {FAILED}}}\n")
    lines = [
        json.dumps({"log": log, "stream": "stdout", "time": f"2026-11-02T08:00:0{n}.{m}Z"})
        for n in range(3)
        for m, log in enumerate(said)
    ]
    assert sample(tmp_path, *lines)["twice"] == 3


def test_two_handlers_are_seen_in_records_with_their_own_time(tmp_path: Path) -> None:
    event = {"metric_type": "WEBHOOK_METRIC", "event_type": "invoice", "status": "failed"}
    stamped = {**event, "timestamp": "2026-11-02T08:00:00.123456"}
    lines = [json.dumps(stamped), json.dumps(stamped, indent=None, separators=(",", ":"))]
    assert sample(tmp_path, *lines)["twice"] == 1


def test_calls_one_after_another_are_no_two_handlers(tmp_path: Path) -> None:
    (tmp_path / "a.patterns.yaml").write_text(
        "patterns: [{name: a, regex: '\"POST /hook', fields: {event_type: call, status: 2xx}}]\n"
    )
    lines = [f'INFO:     127.0.0.1:4011{n} - "POST /hook HTTP/1.1" 200 OK' for n in range(4)]
    assert sample(tmp_path, *lines)["twice"] == 0


@pytest.mark.parametrize(
    ("line", "hours"),
    [
        (f"2026-11-02 09:00:00 - INFO - {FAILED}, 'timestamp': '2026-11-02T08:00:00.25'}}", 1),
        (f"2026-11-02 08:00:00 - INFO - {FAILED}, 'timestamp': '2026-11-02T08:00:00.25'}}", 0),
        (f"2026-11-02T08:00:00Z stdout F 2026-11-02 13:30:00 {FAILED}}}", 5.5),
        (f"2026-11-02 08:00:00 - INFO - {FAILED}, 'timestamp': '2026-11-01T03:12:40'}}", 0),
    ],
)
def test_a_stamp_in_local_time_beside_one_in_utc_is_seen(
    tmp_path: Path, line: str, hours: float
) -> None:
    found = sample(tmp_path, line, "2026-11-02 08:00:00 of no account", line)
    assert found["hours_apart"] == hours
    assert len(found["to_change"]) == (hours != 0)


@pytest.mark.parametrize(("written", "hours"), [(0, 0), (20, 0), (3600, -1), (-7190, 2), (4000, 0)])
def test_a_log_whose_last_stamp_is_hours_off_its_last_change_is_seen(
    tmp_path: Path, written: float, hours: float
) -> None:
    (tmp_path / "a.rules.yaml").write_text(RULES)
    log = tmp_path / "app.log"
    log.write_text(f"2026-11-02 08:00:00 - INFO - {FAILED}}}\n")
    os.utime(log, (0, 1_793_606_400 + written))
    result = CliRunner().invoke(check, [str(tmp_path), "--sample", str(log), "--format", "json"])
    assert json.loads(result.output)["sample"]["hours_off"] == hours


@pytest.mark.parametrize(
    ("zone", "hours", "said"),
    [
        ("", -5, "Write `timezone: America/New_York`"),
        ("Europe/Berlin", -6, "Write `timezone: America/New_York`"),
        ("America/New_York", 0, ""),
    ],
)
def test_the_zone_that_would_mend_it_is_named_and_mends_it(
    tmp_path: Path, zone: str, hours: float, said: str
) -> None:
    (tmp_path / "a.rules.yaml").write_text(RULES)
    log = tmp_path / "app.log"
    (tmp_path / "sidecar.yaml").write_text(
        f"sources: [{{path: app.log{zone and f', timezone: {zone}'}}}]\n"
        "rule_files: [a.rules.yaml]\nroute: {receiver: x}\nreceivers: [{name: x}]\n"
    )
    log.write_text(f"2026-11-02 03:00:00 - INFO - {FAILED}}}\n")
    os.utime(log, (0, 1_793_606_400))
    config = str(tmp_path / "sidecar.yaml")
    result = CliRunner().invoke(check, ["-c", config, "--sample", str(log), "--format", "json"])
    found = json.loads(result.output)["sample"]
    assert (found["hours_off"], found["zones"][:1]) == (hours, ["America/New_York"])
    assert (said in " ".join(found["to_change"])) is True
    assert len([one for one in found["to_change"] if "timezone" in one]) == bool(said)


def test_events_without_time_and_with_one_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    found = sample(
        tmp_path,
        f"{FAILED}}}",
        f"{FAILED}, 'timestamp': 'soon'}}",
        f"2026-11-02 08:00:00 {FAILED}}}",
    )
    assert (found["undated"], found["unreadable"], found["ahead"]) == (2, 1, 0)
    assert len(found["to_change"]) == 2


def test_what_is_dated_ahead_is_counted(tmp_path: Path) -> None:
    assert change(tmp_path, f"2096-11-02 08:00:00 {FAILED}}}").startswith("1 event dated ahead")


def test_calls_of_another_path_are_named(tmp_path: Path) -> None:
    call = '10.0.0.1 - - [02/Nov/2026:08:00:00 +0000] "POST /hooks/stripe HTTP/1.1" 200 2'
    said = change(tmp_path, f"2026-11-02 08:00:00 {FAILED}}}", call)
    assert said.startswith("Calls of /hooks/stripe are logged and not read")


def test_a_host_of_sentences_alone_is_told_of_the_records(tmp_path: Path) -> None:
    (tmp_path / "a.patterns.yaml").write_text(
        "patterns: [{name: a, regex: 'is unpaid$', fields: {event_type: sub, status: unpaid}}]\n"
    )
    assert "no WEBHOOK_METRIC line" in change(tmp_path, "2026-11-02 08:00:00 is unpaid")


def test_a_host_whose_own_json_or_pairs_are_read_has_nothing_to_change(tmp_path: Path) -> None:
    took = "{where: {msg: failed}, take: {event_type: event, status: level, timestamp: ts}}"
    (tmp_path / "a.patterns.yaml").write_text(
        f"patterns: [{{name: a, json: {took}}}, {{name: b, logfmt: {took}}}]\n"
    )
    found = sample(
        tmp_path,
        '{"ts": "2026-11-02T08:00:00Z", "msg": "failed", "event": "invoice", "level": "error"}',
        "ts=2026-11-02T08:01:00Z msg=failed event=invoice level=error",
    )
    assert found["forms"] == {"JSON record": 1, "pairs": 1}
    assert found["to_change"] == []


def test_a_log_of_nothing_shows_how_it_begins(tmp_path: Path) -> None:
    result = held(tmp_path, "hello", "", "key sk_live_" + "a1B2" * 6, "\x1b[31mred", "and more")
    assert result.exit_code == 1
    assert result.output.splitlines()[1:5] == [
        "  it begins: hello",
        "  it begins: key ***REDACTED***",
        "  it begins: \\u001b[31mred",
        "To change",
    ]


def test_the_forms_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.patterns.yaml").write_text(
        "patterns: [{name: a, regex: 'is unpaid$', fields: {event_type: sub, status: unpaid}}]\n"
    )
    event = '{"event_type": "invoice", "status": "failed"}'
    docker = {"log": f"{FAILED}}}\n", "stream": "stdout", "time": "2026-11-02T08:00:00Z"}
    found = sample(
        tmp_path,
        f"{FAILED}}}",
        f"INFO: WEBHOOK_METRIC: {event}",
        event.replace("{", '{"metric_type": "WEBHOOK_METRIC", '),
        "org_1 is unpaid",
        json.dumps(docker),
        f"2026-11-02T08:00:00Z stdout F WEBHOOK_METRIC: {event}",
    )
    assert found["forms"] == dict.fromkeys(
        [
            "Python dict",
            "JSON behind the marker",
            "JSON record",
            "sentence",
            "Python dict in Docker's json-file",
            "JSON behind the marker in CRI format",
        ],
        1,
    )


def test_rejects_are_named(tmp_path: Path) -> None:
    said = change(tmp_path, f"2026-11-02 08:00:00 {FAILED}}}", f"{FAILED}, ")
    assert said.startswith("Lines with WEBHOOK_METRIC cannot be read as events: ")


@pytest.mark.parametrize("log", REAL, ids=lambda path: path.stem)
def test_the_real_hosts_logs_take_one_screen(log: Path) -> None:
    arguments = [str(ROOT / "rules"), "--sample", str(log)]
    result = CliRunner().invoke(check, arguments, env={"COLUMNS": "120"})
    assert result.exit_code == 0
    report = [line for line in result.output.splitlines() if " warning: " not in line]
    assert len(report) < 60
    assert "LicenseSyncFailure" in result.output
