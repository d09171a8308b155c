"""The forms one line may have, and which lines without an event are rejects."""

import json

import pytest

from sidecar.parse.event import LONGEST_LABEL, ForeignReason, LogFormat, RejectReason
from support.parse import NOW, event_in, parse

FIELDS = {
    "metric_type": "WEBHOOK_METRIC",
    "webhook_provider": "stripe",
    "event_type": "invoice.paid",
    "status": "processed",
    "timestamp": "2026-11-02T08:01:16",
    "org": {"name": "it's"},
}
BARE = {name: value for name, value in FIELDS.items() if name != "metric_type"}
AT = 1_793_606_476.0
JSON, REPR = json.dumps(FIELDS), repr(FIELDS)

FORMS = {
    "object per line": JSON,
    "spaced object": json.dumps(FIELDS, separators=(" , ", " : ")).replace("{", "{ ", 1),
    "compact object": json.dumps(FIELDS, separators=(",", ":")),
    "indented by blanks": "  \t" + JSON,
    "repr per line": REPR,
    "marker and JSON": f"2026-11-02 08:01:16 INFO billing WEBHOOK_METRIC: {JSON}",
    "marker and repr": f"2026-11-02 08:01:16 - INFO - WEBHOOK_METRIC: {REPR}",
    "marker alone in front": f"WEBHOOK_METRIC: {REPR}",
    "no blank after the colon": f"WEBHOOK_METRIC:{JSON}",
    "many blanks": f"WEBHOOK_METRIC :   {JSON}",
    "coloured marker": f"\x1b[32mWEBHOOK_METRIC\x1b[0m: \x1b[1m{REPR}\x1b[0m",
    "prefix with braces": f"{{worker-1}} INFO WEBHOOK_METRIC: {REPR}",
    "prefix with an object": f'{{"request": 7}} WEBHOOK_METRIC: {REPR}',
    "object behind a prefix": f"web-1  | {JSON}",
    "repr behind a prefix": f"web-1  | {REPR}",
    "carriage return": f"WEBHOOK_METRIC: {REPR}\r",
    "colour reset behind": f"WEBHOOK_METRIC: {JSON}\x1b[0m",
    "in event": json.dumps({"event": f"WEBHOOK_METRIC: {REPR}", "level": "info"}),
    "in message": json.dumps({"message": f"WEBHOOK_METRIC: {JSON}"}),
    "in msg": json.dumps({"msg": JSON}),
    "in log": json.dumps({"log": f"2026-11-02 08:01:16 WEBHOOK_METRIC: {REPR}\n"}),
    "object as message": json.dumps({"message": FIELDS}),
    "record in a record": json.dumps({"log": json.dumps({"event": f"WEBHOOK_METRIC: {REPR}"})}),
    "structured behind a prefix": "web | " + json.dumps({"event": f"WEBHOOK_METRIC: {JSON}"}),
    "NaN in JSON": JSON[:-1] + ', "ratio": NaN}',
    "number beyond floats": JSON[:-1] + ', "ratio": 1e999}',
    "lone surrogate": JSON[:-1] + ', "name": "\\ud800"}',
    "byte order mark": "\ufeff" + JSON,
    "a blank for the colon": f"INFO WEBHOOK_METRIC {JSON}",
    "a tab for the colon": f"INFO\tapp/main.go:10\tWEBHOOK_METRIC\t{JSON}",
    "an arrow for the colon": f"INFO WEBHOOK_METRIC => {REPR}",
    "a dash for the colon": f"INFO WEBHOOK_METRIC - {REPR}",
    "a bar for the colon": f"INFO | WEBHOOK_METRIC | {REPR}",
    "monolog's": f"[2026-11-02 08:01:16] app.INFO: WEBHOOK_METRIC {JSON} []",
    "a blank for the colon in a record": json.dumps({"msg": f"WEBHOOK_METRIC {JSON}"}),
    "quoted JSON": f"INFO WEBHOOK_METRIC: {json.dumps(JSON)}",
    "quoted JSON behind a blank": f"INFO WEBHOOK_METRIC {json.dumps(JSON)}",
    "bytes": f"INFO WEBHOOK_METRIC: {JSON.encode()!r}",
    "a list of one": f"INFO WEBHOOK_METRIC: [{REPR}]",
    "an f-string's =": f"INFO WEBHOOK_METRIC: metric={REPR}",
    "an OrderedDict": f"INFO WEBHOOK_METRIC: OrderedDict({REPR})",
    "an old OrderedDict": f"INFO WEBHOOK_METRIC: OrderedDict({[*FIELDS.items()]!r})",
    "a mappingproxy": f"INFO WEBHOOK_METRIC: mappingproxy({REPR})",
    "a defaultdict": f"INFO WEBHOOK_METRIC: defaultdict(<class 'list'>, {REPR})",
    "a dataclass": "INFO WEBHOOK_METRIC: Metric("
    + ", ".join(f"{name}={value!r}" for name, value in FIELDS.items())
    + ")",
    "Stripe's object": f"INFO WEBHOOK_METRIC: <Event id=evt_1 at 0x7f3a> JSON: {JSON}",
    "Ruby's hash": "WEBHOOK_METRIC: " + JSON.replace('": ', '"=>'),
    "colours inside": f"INFO WEBHOOK_METRIC: {REPR}".replace("'status'", "\x1b[32m'status'\x1b[0m"),
    "erased to its end": f"\x1b[2K\x1b[1GINFO WEBHOOK_METRIC\x1b[K:\x1b[K {JSON}",
    "Google's payload": json.dumps({"insertId": "x", "jsonPayload": FIELDS}),
    "Google's message": json.dumps({"jsonPayload": {"message": f"WEBHOOK_METRIC: {REPR}"}}),
    "Google's text": json.dumps({"textPayload": f"INFO WEBHOOK_METRIC: {REPR}\n"}),
    "journald's": json.dumps({"PRIORITY": "6", "MESSAGE": f"INFO WEBHOOK_METRIC: {REPR}"}),
    "journald's bytes": json.dumps(
        {"__REALTIME_TIMESTAMP": "1", "MESSAGE": [*f"\x1b[0mWEBHOOK_METRIC: {REPR}".encode()]}
    ),
    "OpenTelemetry's": json.dumps({"severity_text": "INFO", "body": f"WEBHOOK_METRIC: {JSON}"}),
    "OpenTelemetry's file": json.dumps(
        {
            "resourceLogs": [
                {
                    "scopeLogs": [
                        {"logRecords": [{"body": {"stringValue": f"WEBHOOK_METRIC: {JSON}"}}]}
                    ]
                }
            ]
        }
    ),
    "CLEF": json.dumps({"@t": "2026-11-02T08:01:17Z", "@m": f"WEBHOOK_METRIC: {JSON}"}),
    "Rust's tracing": json.dumps(
        {"level": "INFO", "fields": {"message": "WEBHOOK_METRIC", **FIELDS}}
    ),
    "loguru's extra": json.dumps(
        {
            "text": "x",
            "record": {
                "exception": None,
                "message": "WEBHOOK_METRIC",
                "extra": FIELDS,
                "time": {"timestamp": 1},
            },
        }
    ),
    "an object beside the marker": json.dumps({"msg": "WEBHOOK_METRIC", "attributes": BARE}),
    "an object within an object": json.dumps({"msg": "WEBHOOK_METRIC", "a": {"b": {"c": BARE}}}),
    "a metric beside words": json.dumps({"msg": "webhook processed", "metric": FIELDS}),
    "a metric among pairs": f"ts=2026-11-02T08:01:17Z level=info metric={json.dumps(JSON)}",
    "leading NULs": "\0\0\0" + JSON,
}


@pytest.mark.parametrize("line", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_event(line: str) -> None:
    event = event_in(line)
    assert event.triple == ("stripe", "invoice.paid", "processed")
    assert event.at == AT
    assert event.text("org.name") == "it's"
    assert event.fields.items() >= BARE.items()


@pytest.mark.parametrize("name", ["event", "message", "msg", "log"])
def test_a_record_named_by_the_marker_has_the_other_keys_as_fields(name: str) -> None:
    event = event_in(json.dumps({**BARE, "level": "info", name: "WEBHOOK_METRIC"}))
    assert event.fields == {**BARE, "level": "info"}


def test_a_nested_record_keeps_to_its_own_fields() -> None:
    event = event_in(json.dumps({"level": "info", "event": f"WEBHOOK_METRIC: {REPR}"}))
    assert event.fields == FIELDS


def test_bytes_that_are_no_utf8_do_not_lose_the_event() -> None:
    event = event_in(JSON[:-1].encode() + b', "name": "caf\xe9"}')
    assert event.text("name") == "caf\ufffd"


def test_lines_whose_newlines_were_lost_all_count() -> None:
    assert (
        len(parse(f"{JSON}{JSON}\nWEBHOOK_METRIC: {REPR}INFO WEBHOOK_METRIC: {REPR}\n").events) == 4
    )


def test_a_last_line_without_newline_counts() -> None:
    parsed = parse(f"noise\n{JSON}")
    assert (len(parsed.events), parsed.lines) == (1, 2)


MENTIONS = {
    "start-up": "starting WEBHOOK_METRIC exporter",
    "with braces": "starting {exporter} for WEBHOOK_METRIC",
    "in a record": json.dumps({"event": "starting WEBHOOK_METRIC exporter"}),
    "in another field": json.dumps({"event": "note", "detail": f"WEBHOOK_METRIC: {JSON}"}),
    "in no object": "{WEBHOOK_METRIC}",
    "plural": "WEBHOOK_METRICS are on",
    "another type": json.dumps({"metric_type": "OTHER", "about": "WEBHOOK_METRIC"}),
}


@pytest.mark.parametrize("line", MENTIONS.values(), ids=MENTIONS)
def test_a_mere_mention_is_neither_event_nor_reject(line: str) -> None:
    parsed = parse(line + "\n")
    assert (parsed.events, parsed.rejects) == ([], [])


TOO_LONG = "p" * (LONGEST_LABEL + 1)
CLAIMS = {
    "words follow": ("WEBHOOK_METRIC: soon", RejectReason.NO_OBJECT),
    "code follows": ("WEBHOOK_METRIC: __import__('os')", RejectReason.NO_OBJECT),
    "a list": ("WEBHOOK_METRIC: [1]", RejectReason.NOT_AN_OBJECT),
    "a text": ('WEBHOOK_METRIC: "x"', RejectReason.NOT_AN_OBJECT),
    "a number": ("WEBHOOK_METRIC: 5", RejectReason.NOT_AN_OBJECT),
    "a set": ("WEBHOOK_METRIC: {'a'}", RejectReason.NOT_AN_OBJECT),
    "a deep list": ("WEBHOOK_METRIC: " + "[" * 100_000, RejectReason.NOT_AN_OBJECT),
    "cut repr": (f"WEBHOOK_METRIC: {REPR[:-30]}", RejectReason.TRUNCATED),
    "cut JSON": (JSON[:-30], RejectReason.TRUNCATED),
    "cut record": ('{"event": "WEBHOOK_METRIC", "status": "pro', RejectReason.TRUNCATED),
    "no comma": ("WEBHOOK_METRIC: {'a': 1 'b': 2}", RejectReason.MALFORMED),
    "empty object": ("WEBHOOK_METRIC: {}", RejectReason.MISSING_FIELD),
    "no status": (JSON.replace('"status"', '"state"'), RejectReason.MISSING_FIELD),
    "null status": (JSON.replace('"processed"', "null"), RejectReason.MISSING_FIELD),
    "empty event_type": (JSON.replace("invoice.paid", ""), RejectReason.MISSING_FIELD),
    "a list as status": (JSON.replace('"processed"', "[5]"), RejectReason.BAD_FIELD),
    "true as status": (JSON.replace('"processed"', "true"), RejectReason.BAD_FIELD),
    "an endless status": (
        JSON.replace("processed", TOO_LONG),
        RejectReason.BAD_FIELD,
    ),
    "a list as provider": (JSON.replace('"stripe"', "[]"), RejectReason.BAD_FIELD),
    "records without end": (
        json.dumps({"log": json.dumps({"log": json.dumps({"log": json.dumps({"log": JSON})})})}),
        RejectReason.TOO_DEEP,
    ),
}


@pytest.mark.parametrize(("line", "reason"), CLAIMS.values(), ids=CLAIMS)
def test_a_claim_that_cannot_be_read_is_rejected_by_name(line: str, reason: RejectReason) -> None:
    parsed = parse(line + "\n")
    assert parsed.events == []
    assert [reject.reason for reject in parsed.rejects] == [reason]


def test_the_longest_label_is_one_to_metrics_and_keys_as_well() -> None:
    longest = "p" * LONGEST_LABEL
    event = event_in(JSON.replace("processed", longest))
    assert event.status == event.text("status") == longest


def test_a_reject_says_where_and_shows_the_head_of_its_line() -> None:
    (reject,) = parse(b"noise\nWEBHOOK_METRIC: \xff" + b"x" * 9999 + b"\n").rejects
    assert reject.position == len("noise\n")
    assert reject.sample == "WEBHOOK_METRIC: \ufffd" + "x" * 4079


def test_a_missing_provider_is_unknown_also_among_the_fields() -> None:
    event = event_in('{"metric_type": "WEBHOOK_METRIC", "event_type": "a", "status": "b"}')
    assert event.provider == event.text("webhook_provider") == "unknown"


@pytest.mark.parametrize("provider", ["null", '""'])
def test_an_empty_provider_is_unknown(provider: str) -> None:
    assert event_in(JSON.replace('"stripe"', provider)).provider == "unknown"


UNTIMED = {name: value for name, value in FIELDS.items() if name != "timestamp"}
BRIEF = "WEBHOOK_METRIC: {'event_type': 'e', 'status': 's'}"
STAMPED = {
    "the line's stamp": f"2026-11-02 08:01:16 - INFO - WEBHOOK_METRIC: {UNTIMED}",
    "the stamp before an unreadable one": (
        f"2026-11-02 08:01:16 - INFO - WEBHOOK_METRIC: { {**UNTIMED, 'timestamp': 'soon'} }"
    ),
    "the record's timestamp": json.dumps(
        {"timestamp": "2026-11-02T08:01:16Z", "event": f"WEBHOOK_METRIC: {UNTIMED}"}
    ),
    "the record's time": json.dumps({"time": int(AT), "event": f"WEBHOOK_METRIC: {UNTIMED}"}),
    "the record's ts": json.dumps({"ts": AT * 1000, "msg": f"WEBHOOK_METRIC: {UNTIMED}"}),
    "its own ts": json.dumps({**UNTIMED, "ts": AT}),
    "ECS": json.dumps(
        {"@timestamp": "2026-11-02T08:01:16Z", "message": f"WEBHOOK_METRIC: {UNTIMED}"}
    ),
    "logfmt": f'level=info msg="{BRIEF}" time="2026-11-02 08:01:16"',
    "logfmt's, and no stranger's": (f'ua="x time=2020-01-01T00:00:00Z" ts={AT} msg="{BRIEF}"'),
    "a stamp behind the level": f"INFO [2026-11-02 08:01:16] app: WEBHOOK_METRIC: {UNTIMED}",
    "syslog's": f"<14>Nov  2 08:01:16 web-1 app[7]: WEBHOOK_METRIC: {UNTIMED}",
    "Go's": f"2026/11/02 08:01:16 WEBHOOK_METRIC: {UNTIMED}",
    "the record's, as a web server writes it": json.dumps(
        {"time": "02/Nov/2026:08:01:16 +0000", "msg": f"WEBHOOK_METRIC: {UNTIMED}"}
    ),
    "the container's": (
        f"2026-11-02T08:01:16Z stderr F 2020-01-01 00:00:00 WEBHOOK_METRIC: {UNTIMED}"
    ),
}


@pytest.mark.parametrize("line", STAMPED.values(), ids=STAMPED)
def test_without_its_own_time_an_event_has_the_time_around_it(line: str) -> None:
    assert event_in(line).at == AT


def test_without_any_time_an_event_has_the_time_of_reading() -> None:
    parsed = parse(json.dumps(UNTIMED))
    assert [event.at for event in parsed.events] == [NOW]
    assert parsed.bad_times == 0


UNREADABLE = {
    "a clock without a day": f"08:01:16 INFO WEBHOOK_METRIC: {UNTIMED}",
    "no such day": f"2026-02-30 08:01:16 - INFO - WEBHOOK_METRIC: {UNTIMED}",
    "its own": json.dumps({**UNTIMED, "timestamp": "soon"}),
    "its own, in the container": (
        f"2026-11-02T08:01:16Z stderr F WEBHOOK_METRIC: { {**UNTIMED, 'timestamp': 'soon'} }"
    ),
    "the record's": json.dumps({"time": "08:01", "msg": f"WEBHOOK_METRIC: {UNTIMED}"}),
    "logfmt's": f'time=soon msg="{BRIEF}"',
}


@pytest.mark.parametrize("line", UNREADABLE.values(), ids=UNREADABLE)
def test_a_stamp_that_cannot_be_read_is_counted(line: str) -> None:
    assert parse(line).bad_times == 1


def test_one_stamp_that_can_be_read_is_enough() -> None:
    record = {"ts": "08:01", "time": "2026-11-02T08:01:16Z", "msg": f"WEBHOOK_METRIC: {UNTIMED}"}
    parsed = parse(json.dumps(record))
    assert ([event.at for event in parsed.events], parsed.bad_times) == ([AT], 0)


@pytest.mark.parametrize("log_format", LogFormat)
def test_a_plain_event_is_read_whatever_format_is_pinned(log_format: LogFormat) -> None:
    assert event_in(JSON, log_format=log_format).at == AT


def test_a_pinned_plain_format_leaves_container_wrapping_alone() -> None:
    line = "2026-11-02T08:01:16Z stderr P WEBHOOK_METRIC: {'event_type': 'a', 'status': 'b'}\n"
    assert len(parse(line, log_format=LogFormat.PLAIN).events) == 1
    assert len(parse(line).events) == 0


FLAT = "webhook_provider=stripe event_type=invoice.paid status=200"
PAIRS = {
    "structlog's console": f"{{}} [info     ] WEBHOOK_METRIC       {FLAT}",
    "pydantic": (
        "WEBHOOK_METRIC: webhook_provider='stripe' event_type='invoice.paid' status='200'"
    ),
    "slog": f"time={{}} level=INFO msg=WEBHOOK_METRIC {FLAT}",
    "structlog's pairs": "event='WEBHOOK_METRIC' " + FLAT.replace("=i", "='i").replace("d ", "d' "),
    "logfmt": f"metric_type=WEBHOOK_METRIC {FLAT} event=WEBHOOK_METRIC level=info",
}


@pytest.mark.parametrize("line", PAIRS.values(), ids=PAIRS)
def test_pairs_are_a_record(line: str) -> None:
    event = event_in(line.format("2026-11-02T08:01:16Z"))
    assert event.triple == ("stripe", "invoice.paid", "200")
    assert event.at == (AT if "{}" in line else NOW)


PROCESS = "Nov  2 08:01:16 host app[12]: "


def test_a_repeated_line_weighs_what_syslog_says() -> None:
    parsed = parse(f"{PROCESS}message repeated 4 times: [ WEBHOOK_METRIC: {REPR}]\n")
    assert [event.at for event in parsed.events] == [AT] * 4
    assert (parsed.lines, parsed.event_lines) == (1, 1)
    assert len({id(event.fields) for event in parsed.events}) == 4


def test_a_line_repeated_beyond_reason_is_rejected() -> None:
    parsed = parse(f"{PROCESS}message repeated 99999 times: [ WEBHOOK_METRIC: {REPR}]\n")
    assert [one.reason for one in parsed.rejects] == [RejectReason.TOO_LONG]


TORN = {
    "an object, in a text": (f"{JSON[:70]}{JSON}", 1),
    "an object, behind a value": (JSON[: JSON.index(', "status')] + JSON, 1),
    "a line of text": (
        "INFO WEBHOOK_METRIC: "
        + REPR.partition(", 'status'")[0] + f"INFO WEBHOOK_METRIC: {REPR}", 1,
    ),
    "a line of text with a stamp, in a text": (
        f"INFO WEBHOOK_METRIC: {REPR[:70]}2026-11-02 08:01:16 - INFO - WEBHOOK_METRIC: {REPR}", 1,
    ),
    "a whole one before it": (f"{JSON}{JSON[:70]}", 1),
    "whole ones on both sides": (f"{JSON}{JSON[:70]}{JSON}", 2),
}  # fmt: skip


@pytest.mark.parametrize(("line", "events"), TORN.values(), ids=TORN)
def test_a_torn_record_costs_only_itself(line: str, events: int) -> None:
    parsed = parse(line + "\n")
    assert [event.status for event in parsed.events] == ["processed"] * events
    assert len(parsed.rejects) == 1


@pytest.mark.parametrize(
    "named",
    [
        *(f"WEBHOOK_METRIC{sign} " for sign in ",;~#*!/|"), "WEBHOOK_METRIC... ",
        "WEBHOOK_METRIC", "[WEBHOOK_METRIC] ", "(WEBHOOK_METRIC) ", "<WEBHOOK_METRIC>: ",
        '"WEBHOOK_METRIC": ', "\tWEBHOOK_METRIC\t",
    ],
)  # fmt: skip
@pytest.mark.parametrize("said", [JSON, REPR], ids=["JSON", "repr"])
def test_whatever_separates_marker_and_object(named: str, said: str) -> None:
    assert event_in(f"{PROCESS}{named}{said}").status == event_in(said).status


def test_a_longer_name_is_not_the_marker() -> None:
    parsed = parse("INFO WEBHOOK_METRICS_TOTAL=5\nINFO WEBHOOK_METRIC_ON(x=1)\n")
    assert parsed.events == []
    assert len(parsed.obscure) == 2


OTHER = '{"level": "info", "about": {"more": [1]}}'


@pytest.mark.parametrize(
    ("line", "events", "reason"),
    [
        (f"{JSON}{OTHER}", 1, []),
        (f"{OTHER}{JSON}", 1, []),
        (f"{JSON}{OTHER}{JSON}", 2, []),
        (f"{JSON}{OTHER[:20]}", 1, [RejectReason.TRUNCATED]),
        (f"{JSON}{OTHER[:20]}{JSON}", 2, [RejectReason.MALFORMED]),
        (f"{PROCESS}WEBHOOK_METRIC: {JSON}{OTHER}", 0, [ForeignReason.AFTER]),
    ],
)
def test_a_record_glued_to_another_writers(
    line: str, events: int, reason: list[RejectReason | ForeignReason]
) -> None:
    """Where something stands before the marker, what follows may be what quotes all of it."""
    parsed = parse(f"{line}\n")
    assert len(parsed.events) == events
    assert [one.reason for one in parsed.rejects] + [one.reason for one in parsed.foreign] == reason
