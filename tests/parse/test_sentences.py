"""Sentences of many lines are what each line states by itself."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from hypothesis import example, given, strategies as st

from sidecar.parse.container import Lines
from sidecar.parse.event import Chunk, Parsed
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern, TextPatterns
from sidecar.parse.prefix import Prefix
from sidecar.parse.record import Record
from sidecar.parse.taking import Taking
from support.parse import NOW, SAMPLES, agentops_patterns, chunk_of, everything

FIXED = {"event_type": "job", "status": "finished"}
ASKED = Taking(where={"msg": ("was paid",)}, take={"event_type": "kind"})
PATTERNS = [
    *agentops_patterns(),
    Pattern(name="whole", regex="job (?P<job>\\d+) is done$", fields=FIXED),
    # What comes later is asked only where nothing before it has matched.
    Pattern(
        name="part", regex="job (?P<job>\\S+) is (?P<status>\\w+)", fields={"event_type": "job"}
    ),
    Pattern(
        name="composed",
        regex="(?:(?P<kind>\\w+) of )?user (?P<user>\\S+) came",
        fields={"event_type": "{kind}.{user}", "status": "came"},
        map={"status": {"came": "here"}},
    ),
    Pattern(name="dated", regex="(?P<timestamp>[\\d: -]+) was its time$", fields=FIXED),
    Pattern(name="taken", json=ASKED, fields=FIXED),
]
MESSAGES = [
    "job 7 is done", "job 7 is done and job 8 is done", "job 8 is late", "a job 8 is done",
    "login of user ada came", "user ada came", "user  came", "job 7 is done job 9 is done",
    "2026-11-02 08:04:45 was its time", "long ago was its time", "Nov  2 08:04:45 job 7 is done",
    '{"msg": "was paid", "kind": "x"}', 'see {"msg": "was paid"} of user ada came',
    "\x1b[31mjob 7 is done\x1b[0m", "job 7 is done \r job 8 is done", "job \xa0 is done\xa0",
    '"job 7 is done"', "job 7 is done\0", '{"message": "2026-11-02 08:04:45 was its time"}',
    "was its time", "user \u2717 came", "{job 7 is done",
    "talking about WEBHOOK_METRIC without a payload", "user ada came: WEBHOOK_METRIC", "",
]  # fmt: skip
BEFORE = ["", "2026-11-02 08:04:45 - INFO - ", "[app] ", "2026-11-02 08:04:45,123 ERROR ", "as "]
SAMPLE = (SAMPLES / "agentops-host.log").read_text().splitlines()
CLAIM = next(line for line in SAMPLE if "WEBHOOK_METRIC" in line)
LINES = ["".join(parts) for parts in product(BEFORE, MESSAGES, ["", " ", "\x1b[0m", "."])]
lines = st.sampled_from(LINES) | st.sampled_from(SAMPLE)


def told(record: Record | None) -> Any:
    return record and (record.fields, record.before, record.outer)


def together(patterns: TextPatterns, raw: Sequence[bytes], prefix: Prefix) -> list[Any]:
    """Return what many lines state; those that are left to be read singly, singly."""
    stated, odd = patterns.state_all(raw, prefix)
    found: list[Any] = [None] * len(raw)
    for one in stated:
        for number, before, own in zip(*one, strict=True):
            assert found[number] is None
            found[number] = (own, before, {})
    for number in odd:
        assert found[number] is None
        found[number] = told(patterns.find_record(raw[number].decode(), prefix))
    return found


@example(LINES)
@given(st.lists(lines, max_size=40))
def test_many_lines_state_what_each_of_them_does(texts: list[str]) -> None:
    patterns, prefix = TextPatterns(PATTERNS), Prefix()
    singly = [told(patterns.find_record(text, prefix)) for text in texts]
    assert together(patterns, [text.encode() for text in texts], prefix) == singly


def outcome(chunk: Chunk, parsed: Parsed) -> tuple[Any, ...]:
    told = [parsed.rejects, parsed.foreign, parsed.obscure]
    counts = [parsed.event_lines, parsed.bad_times, parsed.undated, parsed.future]
    mine = Lines(chunk, parsed)
    return parsed.events, list(map(mine.line_at, parsed.places)), told, counts


@example(LINES, b"")
@example([CLAIM] * 8, b"")
@given(st.lists(lines, max_size=40), st.sampled_from([b"", b"job \xe9 is late"]))
def test_a_chunk_holds_what_its_lines_hold_read_singly(texts: list[str], last: bytes) -> None:
    data = "\n".join(texts).encode() + b"\n" + last
    parser = Parser(PATTERNS)
    plain = chunk_of(data)
    whole = parser.parse(plain, now=NOW, wanted=everything)
    # A chunk with a wrapped line is read line by line.
    wrapped = chunk_of(data + b"\n2026-11-02T08:04:45.1Z stdout F x")
    singly = parser.parse(wrapped, now=NOW, wanted=everything)
    assert outcome(plain, whole) == outcome(wrapped, singly)


def test_a_line_that_cannot_be_an_event_is_its_own_reject_among_sentences() -> None:
    long = "user " + "x" * 300 + " came"
    text = "\n".join(["job 7 is done", f"login of {long}", "job 8 is late"])
    parsed = Parser(PATTERNS).parse(chunk_of(text), now=NOW, wanted=everything)
    assert [event.status for event in parsed.events] == ["finished", "late"]
    assert [reject.field for reject in parsed.rejects] == ["event_type"]
    assert (parsed.event_lines, parsed.ignored) == (2, 0)
