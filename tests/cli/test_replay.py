"""`sidecar replay`: what it prints, how it exits, and that it leaves everything alone."""

import gzip
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from sidecar.cli import main
from sidecar.cli.replay import _aside
from support.simulate import ENVIRON, ROOT, SAMPLES, T0, line

SHIPPED = ROOT / "sidecar.yaml"
JSON_LINES = SAMPLES / "json-lines.log"
KEYS = ["at", "alert", "labels", "state", "severity", "receiver", "reason", "late"]
CONFIG = """\
sources: [{path: nowhere.log}]
rule_files: [a.rules.yaml]
state: {path: state.db}
global: {slack_app_token: xoxb-test}
route: {receiver: team, group_wait: 0s, group_by: [org]}
receivers: [{name: team, slack_configs: [{channel: '#team'}]}]
"""
RULES = """\
groups:
  - name: g
    rules:
      - alert: Fires
        match: ['event_type="x"']
        by: [org]
        condition: max(n) >= 3
        within: 1h
        labels: {severity: critical}
        annotations: {summary: '{{ labels.org }}: {{ value }}'}
"""


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["replay", *map(str, args)], env=ENVIRON)


@cache
def shipped(*options: str) -> Result:
    """Replay the real host's log by the shipped configuration."""
    return run("-c", SHIPPED, *options, JSON_LINES)


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(text) for text in result.stdout.splitlines()]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return the folder of a small configuration with a log of three organisations."""
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    (tmp_path / "a.rules.yaml").write_text(RULES)
    lines = [line(T0 + n, org=org, n=n) for org, n in (("one", 1), ("two", 2), ("three", 3))]
    (tmp_path / "app.log").write_bytes(b"".join(lines))
    return tmp_path


def changed(folder: Path, old: str, new: str) -> Path:
    """Return a copy of the configuration whose rules say `new` for `old`."""
    other = folder / "changed"
    other.mkdir()
    assert old in RULES
    (other / "a.rules.yaml").write_text(RULES.replace(old, new))
    (other / "sidecar.yaml").write_text(CONFIG)
    return other / "sidecar.yaml"


def test_json_has_exactly_the_promised_keys() -> None:
    found = rows(shipped("--format", "json"))
    assert {tuple(row) for row in found} == {tuple(KEYS)}
    assert found[0] == {
        "at": "2026-11-02T08:04:11.382245Z",
        "alert": "SubscriptionDelinquent",
        "labels": {
            "alertname": "SubscriptionDelinquent",
            "kpi": "subscription_status",
            "org_id": "org_6fb2885f1272",
            "severity": "warning",
        },
        "state": "firing",
        "severity": "warning",
        "receiver": "warning",
        "reason": "first notification",
        "late": False,
    }


def test_json_keeps_the_summary_off_stdout() -> None:
    result = shipped("--format", "json")
    assert result.stderr.startswith("733 events in 733 lines, 2026-11-02 08:01:16 UTC to ")


def test_the_table_has_a_line_for_each_alert_and_the_summary() -> None:
    result = shipped()
    lines = result.stdout.splitlines()
    table, _, summary = result.stdout.partition("\n\n")
    assert len(table.splitlines()) == 1 + len(rows(shipped("--format", "json")))
    assert lines[1].split() == [
        "2026-11-02", "08:04:11", "warning", "firing", "warning", "first", "notification",
        "SubscriptionDelinquent", "org_id=org_6fb2885f1272", "kpi=subscription_status",
    ]  # fmt: skip
    assert "alerts      critical 15, error 7, warning 19, info 11\n" in summary
    assert "oncall@example.com 25" in summary


def test_a_receiver_with_a_long_name_shifts_no_column(small: Path) -> None:
    config = small / "sidecar.yaml"
    config.write_text(config.read_text().replace("team", "the-whole-billing-team"))
    head, row, *_ = run("-c", config, small / "app.log").stdout.splitlines()
    assert row[head.index("RECEIVER") : head.index("REASON")].strip() == "the-whole-billing-team"
    assert row[head.index("REASON") :].startswith("first notification  ")
    assert row[head.index("ALERT") :] == "Fires org=three"


def test_gzipped_logs_equal_plain_ones(small: Path) -> None:
    zipped = small / "app.log.1.gz"
    zipped.write_bytes(gzip.compress((small / "app.log").read_bytes()))
    plain = run("-c", small / "sidecar.yaml", small / "app.log")
    assert "Fires" in plain.output
    assert run("-c", small / "sidecar.yaml", zipped).output == plain.output


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: whole[:-1000], "ends too early: of the gzip file"),
        (lambda whole: whole[:-8] + bytes(8), "is damaged: of the gzip file"),
        (lambda whole: whole[:99] + bytes(99) + whole[198:], "is damaged: of the gzip file 0 by"),
        (lambda _: b"2026-11-02 plain text\n", "is no gzip file, as its name says"),
        (lambda _: b"", "ends too early: of the gzip file 0 bytes"),
    ],
    ids=["truncated", "damaged", "damaged early", "mislabelled", "empty"],
)
def test_a_damaged_gzip_file_is_said(
    small: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    data = b"".join(line(T0 + n, org=f"o{n}", n=3) for n in range(1000))
    (small / "app.log.gz").write_bytes(damage(gzip.compress(data)))
    ours = small / "sidecar.yaml"
    for options in ((), ("--against", ours)):
        result = run("-c", ours, *options, small / "app.log.gz")
        assert result.exit_code == 2
        assert said in result.stderr


def test_nothing_is_written_anywhere(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small)
    before = {path: path.stat() for path in small.rglob("*")}
    run("-c", small / "sidecar.yaml", "--against", small / "sidecar.yaml", small / "app.log")
    after = {path: path.stat() for path in small.rglob("*")}
    assert {p: (s.st_size, s.st_mtime_ns) for p, s in after.items()} == {
        p: (s.st_size, s.st_mtime_ns) for p, s in before.items()
    }


def test_a_state_file_that_is_there_is_left_alone(small: Path) -> None:
    state = small / "state.db"
    state.write_bytes(b"not even a database")
    assert run("-c", small / "sidecar.yaml", small / "app.log").exit_code == 0
    assert state.read_bytes() == b"not even a database"


def test_against_the_same_configuration_there_is_no_difference(small: Path) -> None:
    here = small / "sidecar.yaml"
    result = run("-c", here, "--against", here, small / "app.log")
    assert result.stdout.splitlines()[-1] == "difference  0 added, 0 removed, 0 changed"


def test_a_process_beside_that_ends_is_said() -> None:
    wait = _aside(lambda: os._exit(1))
    with pytest.raises(click.ClickException, match="replays --against has ended"):
        wait()


def test_against_lists_what_a_lower_threshold_adds(small: Path) -> None:
    lower = changed(small, ">= 3", ">= 2")
    result = run("-c", lower, "--against", small / "sidecar.yaml", small / "app.log")
    assert result.exit_code == 0
    lines = [text for text in result.stdout.splitlines() if text.startswith(("+", "-", "~"))]
    added, *changed_ = sorted(lines)
    assert all(text.startswith("~") for text in changed_)  # messages say at what a rule fires
    assert added.startswith("+ 2026-11-02 08:00:02  critical")
    assert added.endswith("Fires org=two")


def test_against_as_json_says_what_changed_and_what_it_was(small: Path) -> None:
    reworded = changed(small, "{{ labels.org }}: {{ value }}", "other words")
    result = run(
        "-c", reworded, "--against", small / "sidecar.yaml", "--format", "json", small / "app.log"
    )
    (row,) = rows(result)
    assert list(row) == ["change", "fields", *KEYS, "before"]
    assert (row["change"], row["fields"]) == ("changed", ["annotations"])
    assert row["before"] == {key: row[key] for key in KEYS}


def report(folder: Path, form: str, old: str = "max(n) >= 3", new: str = "max(n) == 2") -> Result:
    other = changed(folder, old, new)
    more = ("--against", folder / "sidecar.yaml", "--format", form, folder / "app.log")
    result = run("-c", other, *more)
    assert result.exit_code == 0, result.output
    return result


WOULD = "This change would have sent 1 message fewer and 1 more"


def test_against_as_annotations_stands_at_the_line_of_the_rule(small: Path) -> None:
    result = report(small, "github")
    assert result.stdout == (
        f"::notice::{WOULD} (critical: 1 fewer, 1 more) in these 2s.\n"
        f"::warning file={small}/changed/a.rules.yaml,line=4,col=1::"
        "alert Fires: 1 added, 1 removed; the first at 2026-11-02 08:00:02 UTC\n"
    )


def test_against_as_markdown_begins_with_what_would_have_been_sent(small: Path) -> None:
    said, _, *table = report(
        small, "markdown", "severity: critical", "severity: info"
    ).stdout.splitlines()
    assert said == "This change would have sent 0 messages fewer and 0 more in these 2s."
    assert table[2].endswith(
        "| **warning** alert Fires: 1 changed (severity); the first at 2026-11-02 08:00:03 UTC |"
    )


def test_against_as_junit_fails_the_rules_that_tell_otherwise(small: Path) -> None:
    more = RULES + RULES.partition("rules:\n")[2].replace("Fires", "Other").replace(">= 3", ">= 9")
    (small / "a.rules.yaml").write_text(more)
    suite = ET.fromstring(report(small, "junit").stdout)  # noqa: S314 - our own
    names = {case.get("name"): [part.tag for part in case] for case in suite}
    assert names == {"Other": [], "alert Fires: 1 added, 1 removed": ["failure"]}


def test_a_report_needs_something_to_hold_against(small: Path) -> None:
    result = run("-c", small / "sidecar.yaml", "--format", "github", small / "app.log")
    assert result.exit_code == 2
    assert "--format github reports what a change does: give --against" in result.stderr


def test_the_shipped_payment_rule_against_a_stricter_one(tmp_path: Path) -> None:
    shipped = (ROOT / "rules" / "billing.rules.yaml").read_text()
    (tmp_path / "rules").mkdir()
    (tmp_path / "sidecar.yaml").write_text(SHIPPED.read_text())
    for path in (ROOT / "rules").glob("*.yaml"):
        (tmp_path / "rules" / path.name).write_text(path.read_text())
    stricter = shipped.replace("max(attempt_count) >= 3", "max(attempt_count) >= 2")
    (tmp_path / "rules" / "billing.rules.yaml").write_text(stricter)
    result = run(
        "-c", tmp_path / "sidecar.yaml", "--against", SHIPPED, "--format", "json", JSON_LINES
    )
    differing = {row["labels"]["org_id"] for row in rows(result)}
    failed = [json.loads(text) for text in JSON_LINES.read_text().splitlines()]
    assert differing == {
        one["org_id"]
        for one in failed
        if one["status"] == "payment_failure" and one["attempt_count"] >= 2
    }


def test_until_and_since_bound_what_is_shown(small: Path) -> None:
    here, app = small / "sidecar.yaml", small / "app.log"
    shown = rows(run("-c", here, "--format", "json", "--until", "2026-11-02T10:00Z", app))
    assert [row["state"] for row in shown] == ["firing", "unseen"]
    late = rows(
        run("-c", here, "--format", "json", "--until", "2026-11-02T10:00Z",
            "--since", "2026-11-02T08:30:00", app)
    )  # fmt: skip
    assert [row["state"] for row in late] == ["unseen"]


def test_what_is_still_due_after_the_last_event_is_said(small: Path) -> None:
    slow = small / "slow.yaml"
    slow.write_text(CONFIG.replace("group_wait: 0s", "group_wait: 30s"))
    told = run("-c", slow, small / "app.log").output
    assert "messages    none\n" in told
    assert "still due   1 message due, the first 2026-11-02 08:00:33 UTC: see --until\n" in told
    waited = run("-c", slow, "--until", "2026-11-02T08:00:33Z", small / "app.log").output
    assert "messages    team 1 (#team 1)\n" in waited
    assert "still due" not in waited


def test_logs_without_events_are_said_to_have_none(small: Path) -> None:
    (small / "empty.log").write_text("nothing\nof interest\n")
    result = run("-c", small / "sidecar.yaml", small / "empty.log")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "no events in 2 lines")


def test_a_wrong_configuration_is_shown_with_all_its_faults(small: Path) -> None:
    (small / "a.rules.yaml").write_text(RULES.replace(">= 3", ">== 3"))
    result = run("-c", small / "sidecar.yaml", small / "app.log")
    assert result.exit_code == 1
    assert f"{small / 'a.rules.yaml'}:7:" in result.stderr


def test_a_time_that_is_none_is_wrong_usage(small: Path) -> None:
    result = run("-c", small / "sidecar.yaml", "--since", "yesterday", small / "app.log")
    assert result.exit_code == 2
    assert "'yesterday' is not a time" in result.stderr


def test_a_log_that_cannot_be_read_is_one_sentence(small: Path) -> None:
    pipe = small / "pipe.log"
    os.mkfifo(pipe)
    result = run("-c", small / "sidecar.yaml", pipe)
    assert result.exit_code == 2
    assert result.stderr == f"sidecar: {pipe} cannot be read: not a regular file\n"


def test_what_a_log_says_cannot_steer_the_terminal(small: Path) -> None:
    (small / "app.log").write_bytes(line(T0, org="\x1b[2Jgone\nnext", n=3))
    result = run("-c", small / "sidecar.yaml", small / "app.log")
    assert result.stdout.splitlines()[1].endswith("Fires org=\\u001b[2Jgone next")


def test_a_line_longer_than_a_block_is_read(small: Path) -> None:
    long = line(T0, org="long", n=3, filler="x" * 600_000)
    (small / "app.log").write_bytes(long + line(T0 + 1, org="next", n=3))
    result = rows(run("-c", small / "sidecar.yaml", "--format", "json", small / "app.log"))
    assert [row["labels"]["org"] for row in result] == ["long", "next"]


def test_a_last_line_without_newline_is_read(small: Path) -> None:
    (small / "app.log").write_bytes(line(T0, org="last", n=3).rstrip())
    result = rows(run("-c", small / "sidecar.yaml", "--format", "json", small / "app.log"))
    assert [row["labels"]["org"] for row in result] == ["last"]
