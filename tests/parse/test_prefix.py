"""What a host says is an event; what it quotes of a stranger is foreign, however it is dressed."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.event import ForeignReason, Parsed
from sidecar.parse.parser import Parser
from sidecar.parse.prefix import Prefix, is_furniture
from support.parse import NOW, SAMPLES, agentops_patterns, chunk_of, everything, parse

EVENT = "WEBHOOK_METRIC: {'event_type': 'x', 'status': 'forged'}"
KEYED = '{"metric_type": "WEBHOOK_METRIC", "event_type": "x", "status": "forged"}'
STAMP = "2026-11-20 08:07:00"
LOOSE = EVENT.replace(":", "", 1)
BEFORE, AFTER, FIELD = ForeignReason.BEFORE, ForeignReason.AFTER, ForeignReason.FIELD


def read(data: str | bytes, prefix: str | None = None) -> Parsed:
    chunk = chunk_of(data, prefix=prefix)
    return Parser(agentops_patterns()).parse(chunk, now=NOW, wanted=everything)


def test_a_strangers_header_is_no_event() -> None:
    parsed = read((SAMPLES / "forged-app.log").read_bytes())
    assert [event.text("org_id") for event in parsed.events] == ["org_real"]
    assert [line.reason for line in parsed.foreign] == [BEFORE] * 3
    assert parsed.rejects == []


def test_a_sentence_that_a_line_quotes_is_no_fact() -> None:
    parsed = read((SAMPLES / "forged-text.log").read_bytes())
    assert [(e.text("org_id"), e.status) for e in parsed.events] == [("org_7", "past_due")]


ACCESS = (
    '203.0.113.9 - {user} [20/Nov/2026:08:05:00 +0000] "GET {path} HTTP/1.1" 404 0 "{ref}" "{ua}"'
)


def access(**said: str) -> str:
    return ACCESS.format(**{"user": "-", "path": "/", "ref": "-", "ua": "curl/8", **said})


FORGED = {
    "user agent": (access(ua=EVENT), BEFORE),
    "user agent, an object": (access(ua=KEYED), BEFORE),
    "referer": (access(ref=EVENT), BEFORE),
    "path": (access(path=f"/{EVENT}"), BEFORE),
    "query": (access(path=f"/?q={EVENT}"), BEFORE),
    "basic auth user": (access(user=EVENT), AFTER),
    "user and agent together": (access(user=EVENT, ua=EVENT), AFTER),
    "a quote closed": (access(ua=f'" {EVENT}'), BEFORE),
    "a quote closed and imitated": (access(ua=f'" {STAMP} - INFO - {EVENT}'), BEFORE),
    "uvicorn's path": (f'INFO:     10.0.0.1:55 - "GET /{EVENT} HTTP/1.1" 404 Not Found', BEFORE),
    "behind uvicorn's line": (f'INFO:     10.0.0.1:55 - "GET / HTTP/1.1" 200 OK {EVENT}', BEFORE),
    "unquoted method": (f"INFO GET / 200 {EVENT}", BEFORE),
    "caddy": (
        json.dumps({"msg": "handled request", "request": {"headers": {"User-Agent": [EVENT]}}}),
        FIELD,
    ),
    "typed": (f"{STAMP} - WARNING - Unknown coupon code: {EVENT}", BEFORE),
    "typed, as an object": (f"{STAMP} - WARNING - Unknown coupon code: {KEYED}", BEFORE),
    "typed, one word before": (f"{STAMP} - WARNING - Rejected: {EVENT}", BEFORE),
    "typed, a header's name before": (f"{STAMP} - INFO - User-Agent: {EVENT}", BEFORE),
    "typed, small words": (f"{STAMP} - INFO - unknown code {EVENT}", BEFORE),
    "typed, in quotes": (f"{STAMP} - INFO - '{EVENT}'", BEFORE),
    "typed, in curly quotes": (f"{STAMP} - INFO - “{EVENT}", BEFORE),
    "typed, other letters": (f"{STAMP} - INFO - größe {EVENT}", BEFORE),
    "imitated furniture": (f"{STAMP} - WARNING - Unknown coupon: INFO {EVENT}", BEFORE),
    "an error's text": (f"{STAMP} - ERROR - Error: {EVENT}", BEFORE),
    "an exception's text": (f"ValueError: {EVENT}", BEFORE),
    "an exception's text, as an object": (f"app.errors.Declined.DeclinedError: {KEYED}", BEFORE),
    "an exception's text in Java": (f"java.lang.IllegalArgumentException: {EVENT}", BEFORE),
    "an exception's text in JavaScript": (f"Error: {EVENT}", BEFORE),
    "a warning's text": (f"UserWarning: {EVENT}", BEFORE),
    "a value": (f"INFO login user={EVENT}", BEFORE),
    "a value behind a blank": (f"INFO login user= {EVENT}", BEFORE),
    "a quoted value": (f'level=info msg="login" user="{EVENT}"', BEFORE),
    "a quoted value closed": (f'level=info msg="login" user="x" {EVENT}"', AFTER),
    "another message": (f'level=info msg="login" event="{EVENT}"', BEFORE),
    "a field behind structlog's message": (
        f"{STAMP} [info  ] contact    message={EVENT!r}",
        BEFORE,
    ),
    "another field": (json.dumps({"event": "login", "user": EVENT}), FIELD),
    "a field that others call the message": (
        json.dumps({"event": "contact form", "message": EVENT}),
        FIELD,
    ),
    "an exception's text by pino": (
        json.dumps({"level": 50, "err": {"type": "Error", "message": EVENT}, "msg": EVENT}),
        FIELD,
    ),
    "an exception's text by winston": (
        json.dumps({"level": "error", "message": EVENT, "stack": f"Error: {EVENT}\n  at x"}),
        FIELD,
    ),
    "a body": (json.dumps({"msg": "bad body", "body": json.loads(KEYED)}), FIELD),
    "a body as text": (json.dumps({"msg": "bad body", "body": KEYED}), FIELD),
    "words before it in the message": (json.dumps({"msg": f"Unknown code: {EVENT}"}), BEFORE),
    "furniture before it in the message": (json.dumps({"msg": f"10.0.0.1 {EVENT}"}), BEFORE),
    "words behind it in the message": (json.dumps({"msg": f"{EVENT} typed"}), AFTER),
    "a record in a record": (json.dumps({"log": json.dumps({"msg": "x", "u": EVENT})}), FIELD),
    "a line in a record": (json.dumps({"log": f"{STAMP} Unknown code: {EVENT}\n"}), BEFORE),
    "more text behind": (f"{STAMP} - INFO - {EVENT} was typed", AFTER),
    "a remark behind an object": (f"{KEYED} # done", AFTER),
    "another behind a blank": (f"{EVENT} {EVENT}", AFTER),
    "a repr before": (f"INFO {{'user': 'x'}}, said {{'a': 1}}: he {EVENT}", BEFORE),
    "a bracket left open": (f"INFO [x {EVENT}]", BEFORE),
    "glued to a word": (f"INFO x{EVENT}", BEFORE),
    "another writer's half line": (f"{STAMP} - INFO - doing{STAMP} - INFO - {EVENT}", BEFORE),
    "behind a carriage return, a sentence": (f"INFO fine\rHe typed: {EVENT}", BEFORE),
    "typed, without a colon": (f"{STAMP} - INFO - Unknown code: {LOOSE}", BEFORE),
    "words before it in the message, without a colon": (
        json.dumps({"msg": f"No: {LOOSE}"}),
        BEFORE,
    ),
    "a payload": (json.dumps({"msg": "form", "payload": json.loads(KEYED)}), FIELD),
    "a context": (json.dumps({"message": "form", "context": json.loads(KEYED)}), FIELD),
    "a metric in a body": (json.dumps({"msg": "x", "body": {"metric": json.loads(KEYED)}}), FIELD),
    "a body without a message": (json.dumps({"method": "POST", "body": EVENT}), FIELD),
    "a body as the record": (json.dumps({"method": "POST", "body": json.loads(KEYED)}), FIELD),
    "Google's message": (json.dumps({"jsonPayload": {"message": f"He says {EVENT}"}}), BEFORE),
    "another field of Google's": (json.dumps({"jsonPayload": {"message": "x", "u": EVENT}}), FIELD),
    "another field of loguru's": (
        json.dumps({"text": "x", "record": {"message": "x", "extra": json.loads(KEYED)}}),
        FIELD,
    ),
    "a repeated line": (access(ua=f"message repeated 4 times: [ {EVENT}]"), BEFORE),
    "a repeated sentence": (f"app: message repeated 4 times: [ He says {EVENT}]", BEFORE),
    "without an object": (f"INFO - Unknown coupon: {EVENT[:20]}", BEFORE),
}


@pytest.mark.parametrize(("line", "reason"), FORGED.values(), ids=FORGED)
def test_what_a_stranger_may_have_written_is_foreign_alone_and_among_the_hosts_own(
    line: str, reason: ForeignReason
) -> None:
    parsed = read(line + "\n")
    assert (parsed.events, parsed.rejects) == ([], [])
    assert [foreign.reason for foreign in parsed.foreign] == [reason]
    among = read(f"{HOSTS}{line}\n{HOSTS}")
    assert [event.status for event in among.events] == ["received"] * 40
    assert [(foreign.reason, foreign.position) for foreign in among.foreign] == [
        (reason, len(HOSTS) + (10 if "\r" in line else 0))
    ]


QUIET = {
    "a pair without quotes": "level=info user=Bob event=WEBHOOK_METRIC event_type=x status=forged",
    "a type without quotes": "level=info user=Bob metric_type=WEBHOOK_METRIC event_type=x status=s",
    "a metric without quotes": f"level=info user=Bob metric={json.dumps(KEYED)}",
    "a pair that comes twice": "event=WEBHOOK_METRIC user=Bob status=forged event_type=x status=s",
    "another message": "msg=login user=Bob event=WEBHOOK_METRIC event_type=x status=s",
}


@pytest.mark.parametrize("line", QUIET.values(), ids=QUIET)
def test_a_pair_that_a_stranger_may_have_written_makes_no_event(line: str) -> None:
    parsed = read(line + "\n")
    assert parsed.events == []
    assert len(parsed.obscure) + len(parsed.foreign) == 1


# A host's record that something cut, right behind what a stranger said.
CUT = {
    "a body": f'{{"metric_type": "WEBHOOK_METRIC", "event_type": "e", "body": {KEYED}',
    "a list": f'{{"metric_type": "WEBHOOK_METRIC", "event_type": "e", "bodies": [{KEYED}',
    "a second in a list": f'{{"metric_type": "WEBHOOK_METRIC", "bodies": [{{}}, {KEYED}',
    "an object's own words": f"WEBHOOK_METRIC: {{'event_type': 'e', 'by': <User x {EVENT}",
    "a record": f'{{"msg": "WEBHOOK_METRIC", "event_type": "e", "body": {KEYED}',
    "whole, with more behind": f"203.0.113.9 - {EVENT}WEBHOOK_METRIC: {{'a [20/Nov/2026:08:05:00]",
}


@pytest.mark.parametrize("line", CUT.values(), ids=CUT)
def test_a_strangers_words_at_the_end_of_a_cut_record_are_no_event(line: str) -> None:
    parsed = read(line + "\n")
    assert parsed.events == []
    assert len(parsed.rejects) == 1


@pytest.mark.parametrize(
    "said", [EVENT, KEYED, LOOSE, f"it's {EVENT}", f"it's {KEYED}", f'"{KEYED}']
)
@pytest.mark.parametrize("write", [repr, json.dumps, lambda value: json.dumps(json.dumps(value))])
def test_a_cut_anywhere_makes_no_event_of_what_a_stranger_said(
    said: str, write: Callable[[object], str]
) -> None:
    fields = {"event_type": "e", "status": "s", "name": said, "by": {"name": [said, said]}, "n": 1}
    whole = f"WEBHOOK_METRIC: {write(fields)}"
    for end in range(20, len(whole)):
        assert parse(whole[:end] + "\n").events == []


HOST = {"event_type": "e", "status": "received", "timestamp": "2026-11-20T08:07:00.000001"}
HOSTS = "".join(f"{STAMP} - INFO - WEBHOOK_METRIC: {HOST}\n" for _ in range(20))


UNPAID = "Org org_7 subscription is unpaid and past 3-day grace period. Demoting to free"
REMOVED = "Removed all licenses for org org_7 due to subscription cancellation"


@pytest.mark.parametrize("fact", [UNPAID, REMOVED])
@pytest.mark.parametrize(
    "line",
    [
        access(user="{}"),
        f"{STAMP} [{{}}] INFO - GET /",
        "[Mon Nov 02 08:00:00 2026] [cgi:error] [client 203.0.113.9:5] {}, referer: http://x/",
        f"{STAMP} - INFO - \u300c{{}}\u300d",
        f"{STAMP} - WARNING - {{}}: unknown coupon",
        "ValueError: {}",
        '{{"event": "contact form", "message": "{}"}}',
        '{{"msg": "contact form", "log": "{}"}}',
        '{{"level": "info", "text": "{}"}}',
    ],
)
def test_a_fact_in_a_strangers_mouth_is_none(line: str, fact: str) -> None:
    assert read(line.format(fact) + "\n").events == []


@pytest.mark.parametrize("fact", [UNPAID, REMOVED])
@pytest.mark.parametrize(
    "line",
    [
        "{}",
        f"{STAMP} - INFO - {{}}.",
        f"{STAMP},123 INFO [app.billing] {{}} \r",
        f"\x1b[33m{STAMP} - WARNING - {{}}\x1b[0m",
        '{{"event": "{}"}}',
        '{{"level": "info", "log": "INFO:billing:{}\\n"}}',
    ],
)
def test_a_fact_that_the_host_states_counts(line: str, fact: str) -> None:
    assert [event.text("org_id") for event in read(line.format(fact) + "\n").events] == ["org_7"]


def test_a_stranger_cannot_silence_a_fact_by_writing_the_marker_into_it() -> None:
    name = EVENT.replace(" ", "")
    sentence = f"Removed all licenses for org {name} due to subscription cancellation"
    parsed = read(f"{STAMP} - INFO - {sentence}\n")
    assert [event.text("org_id") for event in parsed.events] == [name]
    assert len(parsed.foreign) == 1


def test_a_marker_in_a_value_of_the_hosts_own_event_is_part_of_it() -> None:
    fields = {**HOST, "company": EVENT}
    for text in (
        f"{STAMP} - INFO - WEBHOOK_METRIC: {fields}\n",
        f"WEBHOOK_METRIC: {fields}\n" * 20,
    ):
        parsed = read(text)
        assert {event.text("company") for event in parsed.events} == {EVENT}
        assert parsed.foreign == []


def test_a_carriage_return_begins_a_line_anew() -> None:
    parsed = read(f" 10%|#  | 1/9\r{STAMP} - INFO - {EVENT}\r{EVENT}\r\n")
    assert len(parsed.events) == 2


FURNITURE = [
    "",
    f"{STAMP} - INFO - ",
    f"{STAMP},123 INFO billing ",
    "INFO:     ",
    "WARNING:app.web:",
    "WARNING:root:",
    "2026-11-25T05:50:00.003+00:00 app[web.1]: ",
    '<134>1 2026-11-25T05:50:00.123Z host app 12 ID1 [ex@32473 iut="3"] \ufeff',
    "Nov 25 05:50:00 host kernel: ",
    "Nov 25 05:50:00 host app[12]: ",
    "[2026-11-25 05:50:00,123: INFO/ForkPoolWorker-1] task{id=3}[a{b}]: ",
    "2026-11-25 05:57:35.096 | INFO     | __main__:<lambda>:35 - ",
    "2026-11-25T05:50:00.123Z  INFO 12 --- [myapp] [           main] c.e.app.Billing : ",
    "2026-11-25T05:50:00Z  INFO app::billing: ",
    "2026-11-25T05:50:00.123Z\tINFO\tapp/main.go:10\t",
    "I1125 05:50:00.123456   12 main.go:10] ",
    "\x1b[36mweb  | \x1b[0m\x1b[32mINFO\x1b[0m billing MainThread: ",
    "time=2026-11-25T05:50:00Z level=info req={abc} user={'id': 4} trace=\"a b\" ",
    "::1 2001:db8::1 10.0.0.1:80 ",
    "\0\0\ufffd ",
    "[2026-11-25 05:50:00,123] INFO in app: ",
    "[Nest] 12  - 11/25/2026, 5:50:00 AM     LOG [Billing] ",
    "0|web  | INFO billing: ",
    "I, [2026-11-25T05:50:00.123456 #12]  INFO -- : ",
    "[2026-11-25T05:50:00Z INFO  app::billing] ",
    "2026/11/25 05:50:00 main.go:10: ",
    "[2026-11-25 05:50:00 +0000] [12] [INFO] ",
    "05:50:00.123 [main] INFO  com.example.Billing - ",
]


@pytest.mark.parametrize("text", FURNITURE)
def test_what_loggers_put_in_front_is_furniture(text: str) -> None:
    assert Prefix().fits(text)
    parsed = read(f"{text}{EVENT}\n")
    assert (len(parsed.events), parsed.foreign) == (1, [])


def test_an_empty_context_behind_an_event_is_monologs() -> None:
    assert len(read(f"[{STAMP}] app.INFO: {EVENT} [] []\n").events) == 1


@given(st.text("ab1 -:|[]{}()<>'\"=./IN\x1b[0m\r", max_size=30), st.integers(0, 9))
def test_the_answer_does_not_depend_on_which_digits_there_are(text: str, digit: int) -> None:
    other = "".join(str(digit) if letter in "0123456789" else letter for letter in text)
    assert is_furniture(text) == is_furniture(other)


WORDS = ["Unknown", "coupon", "code:", "INFO", STAMP, "user=x", "[a]", "-", '"', "'"]


@given(st.lists(st.sampled_from(WORDS), max_size=8), st.sampled_from([" ", "  ", "\t"]))
def test_two_words_of_a_sentence_are_never_furniture(before: list[str], blank: str) -> None:
    assert not Prefix().fits(blank.join([*before, "coupon code: "]))


@pytest.mark.parametrize("length", [1001, 1 << 20])
def test_no_logger_writes_that_much(length: int) -> None:
    assert not Prefix().fits("- " * length)


def test_a_source_pins_exactly_what_may_stand_before_an_event() -> None:
    prefix = r"\[billing\] Event of \w+: "
    for text in (f"[billing] Event of today: {EVENT}\n", f"[billing] Event of today: {KEYED}\n"):
        assert len(read(text, prefix).events) == 1
        assert len(read(text * 20, prefix).events) == 20
    for line in (EVENT, KEYED, f"{STAMP} - INFO - {EVENT}", f"x [billing] Event of today: {EVENT}"):
        parsed = read(f"{line}\n", prefix)
        assert (parsed.events, len(parsed.foreign)) == ([], 1)
        assert len(read(f"{line}\n" * 20, prefix).foreign) == 20


def test_a_pinned_prefix_holds_for_the_message_of_a_record() -> None:
    line = json.dumps({"message": f"[billing] {EVENT}"}) + "\n"
    assert len(read(line, r"\[billing\] ").events) == 1
    assert len(read(line).foreign) == 1


def test_a_pinned_prefix_holds_for_sentences() -> None:
    sentence = "Removed all licenses for org org_7 due to subscription cancellation\n"
    assert len(read(f"He says {sentence}", "He says ").events) == 1
    assert read(sentence, "He says ").events == []


def test_a_pin_that_is_not_re2_is_refused() -> None:
    with pytest.raises(ValueError, match="not an RE2 pattern"):
        Prefix("(?=ahead)")
