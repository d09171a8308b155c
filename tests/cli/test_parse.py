"""`sidecar parse`: what becomes of each line, and why nothing of it does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sidecar.cli import main

PATTERNS = """\
patterns:
  - name: lost
    regex: 'order (?P<order>\\d+) is lost$'
    fields: {event_type: order, status: lost}
  - name: paddle
    json: {where: {msg: webhook failed}, take: {event_type: event, status: level}}
"""
RECORD = 'WEBHOOK_METRIC: {"event_type": "a", "status": "b", "token": "hunter2", "n": 7}'
GOES_ON = "a piece of a line or an object that goes on"
LINES = {
    f"2026-11-02 08:01:16 - INFO - {RECORD}": ("events", "", "", ""),
    "2026-11-02 08:01:16 - INFO - order 7 is lost": ("events", "", "", "lost"),
    '{"event": "past_due", "level": "error", "msg": "webhook failed"}': (
        "events",
        "",
        "",
        "paddle",
    ),
    'WEBHOOK_METRIC: {"event_type": "a"}': ("rejects", "missing_field", "status", ""),
    'WEBHOOK_METRIC: {"event_type": [], "status": "b"}': ("rejects", "bad_field", "event_type", ""),
    '{"event": "past_due", "msg": "webhook failed"}': ("rejects", "missing_field", "status", ""),
    'WEBHOOK_METRIC: {"event_type": "a", ': ("rejects", "truncated", "", ""),
    f"somebody typed {RECORD}": ("foreign", "before", "", ""),
    "WEBHOOK_METRIC comes here": (
        "not_understood",
        "the marker is only mentioned, and no pattern matches",
        "",
        "",
    ),
    "somebody says that order 7 is lost": ("ignored", "no marker, and no pattern matches", "", ""),
    "2026-11-02T08:01:16Z stdout P order 7": ("pieces", GOES_ON, "", ""),
    "2026-11-02T08:01:16Z stdout F  is lost": ("events", "", "", ""),
    "WEBHOOK_METRIC: {": ("pieces", GOES_ON, "", ""),
    '  "event_type": "a",': ("pieces", GOES_ON, "", ""),
    '  "status": "b"}': ("events", "", "", ""),
    "WEBHOOK_METRIC:": ("rejects", "no_object", "", ""),
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "a.patterns.yaml").write_text(PATTERNS)
    path = tmp_path / "sidecar.yaml"
    path.write_text(
        "sources: [{path: '*.log'}]\npattern_files: [a.patterns.yaml]\n"
        "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
    )
    return path


def parse(config: Path, *arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["parse", "-c", str(config), *arguments], input=stdin)


def told(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_line_is_accounted_for(config: Path) -> None:
    result = parse(config, "-", "--format", "json", stdin="".join(f"{one}\n" for one in LINES))
    keys = ("outcome", "why", "field", "pattern")
    assert [tuple(one[key] for key in keys) for one in told(result)] == list(LINES.values())
    assert [one["line"] for one in told(result)] == list(range(1, len(LINES) + 1))
    assert result.exit_code == 0


def test_an_event_is_shown_with_its_time_and_what_may_be_shown_of_its_fields(config: Path) -> None:
    (one,) = told(parse(config, "-", "--format", "json", stdin=next(iter(LINES))))
    (event,) = one["events"]
    assert event["at"] == "2026-11-02T08:01:16.000Z"
    assert (event["fields"]["n"], event["fields"]["event_type"]) == (7, "a")
    assert "hunter2" not in json.dumps(one)


def test_a_file_is_summed_up_and_one_outcome_shown_alone(config: Path) -> None:
    log = config.parent / "a.log"
    log.write_text("".join(f"{one}\n" for one in LINES))
    lines = parse(config, str(log), "--only", "rejects").stdout.splitlines()
    assert lines[:5] == [
        "     4  reject  missing_field: status",
        "     5  reject  bad_field: event_type",
        "     6  reject  missing_field: status",
        "     7  reject  truncated",
        "    16  reject  no_object",
    ]
    assert lines[6:13] == [
        "16 lines",
        "events         5",
        "rejects        5",
        "foreign        1",
        "not_understood 1",
        "pieces         3",
        "ignored        1",
    ]


@pytest.mark.parametrize(
    ("line", "container"),
    [
        (
            '{"log": "order 7 is lost\\n", "stream": "stdout", "time": "2026-11-02T08:00:00Z"}',
            "docker",
        ),
        ("2026-11-02T08:01:16Z stdout F order 7 is lost", "cri"),
        ("order 7 is lost", ""),
    ],
)
def test_a_containers_wrapping_is_named(config: Path, line: str, container: str) -> None:
    (one,) = told(parse(config, "--format", "json", stdin=line + "\n"))
    assert (one["outcome"], one["pattern"], one["container"]) == ("events", "lost", container)


def test_a_log_that_cannot_be_read_is_2(config: Path) -> None:
    result = parse(config, str(config.parent / "none.log"))
    assert (result.exit_code, "none.log cannot be read" in result.stderr) == (2, True)


def test_a_faulty_route_is_told_and_the_patterns_are_used(config: Path) -> None:
    config.write_text(config.read_text().replace("receiver: nobody", "receiver: somebody"))
    result = parse(config, "-", stdin="order 7 is lost\n")
    assert (result.exit_code, "somebody" in result.stderr) == (0, True)
    assert "pattern lost" in result.stdout


def test_without_any_configuration_records_are_read_and_a_log_without_them_is_told_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["parse"], input=next(iter(LINES)) + "\n")
    assert (result.exit_code, "event_type=a" in result.stdout) == (0, True)
    assert "first-rule" not in result.stdout
    result = CliRunner().invoke(main, ["parse"], input="order 7 is lost\n")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (
        0,
        "No line is an event; docs/first-rule.md shows how lines of your own become events.",
    )


def test_secrets_need_not_be_there(config: Path) -> None:
    lines = config.read_text().replace(
        "name: nobody", 'name: nobody, slack_configs: [{api_url: "${NOT_SET_HERE}"}]'
    )
    config.write_text(lines)
    result = parse(config, "-", stdin="order 7 is lost\n")
    assert (result.exit_code, "is not set" in result.stderr) == (0, False)
    assert "pattern lost" in result.stdout


TOLD = {"msg": "webhook failed", "provider": "paddle", "event": "past_due", "level": "error"}
AT = "2026-11-25T05:50:01Z"
NESTED = {**TOLD, "ts": AT, "customer": {"id": "c1"}}
ERROR = {"event_type": "past_due", "status": "error"}
LONG = "a sentence that says something else each time " * 3


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        pytest.param(
            json.dumps(NESTED),
            {**ERROR, "webhook_provider": "paddle", "customer_id": "c1", "timestamp": AT},
            id="JSON",
        ),
        pytest.param(
            f'level=error msg="hook: no" event=past_due n=1 time={AT}',
            {**ERROR, "n": "1", "timestamp": AT},
            id="pairs",
        ),
        pytest.param(
            json.dumps({"log": json.dumps(TOLD) + "\n", "stream": "stdout", "time": AT}),
            ERROR,
            id="of Docker",
        ),
        pytest.param(
            json.dumps({"@timestamp": AT, "message": "yes", "org": 1}),
            {"event_type": "yes", "status": "seen", "org": 1, "timestamp": AT},
            id="names that say little",
        ),
        pytest.param(
            json.dumps({"type": "t1", "result": "ok", "message": LONG}),
            {"event_type": "t1", "status": "ok"},
            id="messages that differ",
        ),
        pytest.param(
            json.dumps({"event": "invoice.paid", "state": "ok", "id": "in_1"}),
            {"event_type": "invoice.paid", "status": "ok", "id": "in_1"},
            id="a type and no message",
        ),
    ],
)
def test_the_pattern_that_is_drafted_of_lines_that_none_takes_takes_them(
    config: Path, line: str, fields: dict[str, Any]
) -> None:
    log = config.parent / "b.log"
    log.write_text(f'{{"level": "info", "msg": "listening"}}\n{line}\n{line}\n')
    (config.parent / "a.patterns.yaml").write_text("patterns: []\n")
    said = CliRunner().invoke(main, ["parse", "-c", str(config), str(log)]).output
    assert "A first pattern, for 2 of the lines that no pattern takes" in said
    (config.parent / "a.patterns.yaml").write_text(said[said.index("patterns:\n") :])
    result = CliRunner().invoke(main, ["parse", "-c", str(config), "--format", "json", str(log)])
    _, first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["outcome"], second["outcome"]) == ("events", "events")
    assert first["events"][0]["fields"].items() >= fields.items()


def test_no_pattern_is_drafted_where_lines_are_events_or_say_no_names(config: Path) -> None:
    log = config.parent / "b.log"
    log.write_text(f'{RECORD}\n{{"msg": "webhook", "a": 1}}\n')
    assert "A first pattern" not in CliRunner().invoke(main, ["parse", str(log)]).output
    ignored = CliRunner().invoke(main, ["parse", "--only", "ignored", str(log)]).output
    assert "A first pattern, for 1 of the lines" in ignored
    log.write_text('just a sentence\n{"a-b": 1, "c d": [2]}\n')
    assert "A first pattern" not in CliRunner().invoke(main, ["parse", str(log)]).output
    secret = "webhook token=sk_live_abcdefghijklmnop1234"
    log.write_text(json.dumps({"msg": secret, "event": "x"}) + "\n")
    assert "sk_live" not in CliRunner().invoke(main, ["parse", str(log)]).output


def test_a_line_that_repeats_another_shows_what_came_again(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text(
        "Nov  2 08:01:16 web app: WEBHOOK_METRIC: {'event_type': 'e', 'status': 's'}\n"
        "Nov  2 08:01:46 web last message repeated 2 times\n"
        "Nov  2 08:01:46 db last message repeated 2 times\n"
    )
    said = CliRunner().invoke(main, ["parse", str(log)]).output
    assert len(re.findall(r"^ +2  event   2026-11-02T08:01:46", said, re.MULTILINE)) == 2
    assert "3  not_understood it says that another line came again" in said
