"""Blocks of ordinary lines: read at once, they hold exactly what their lines hold one by one."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from sidecar.parse.event import LONGEST_LABEL, MAX_LINE, LogFormat, Parsed, Triple
from sidecar.parse.parser import Parser
from support.parse import (
    NOW,
    SAMPLES,
    agentops_patterns,
    chunk_of,
    chunks_of_lines,
    counts,
    everything,
    nothing,
)

PATTERNS = agentops_patterns()
Fields = dict[str, Any]


def fields(number: int = 0, **changes: Any) -> Fields:
    return {
        "metric_type": "WEBHOOK_METRIC",
        "webhook_provider": "stripe",
        "event_type": ("invoice.created", "invoice.paid")[number % 2],
        "status": ("received", "processed", "paid")[number % 3],
        "timestamp": f"2026-11-02T08:01:{number % 60:02}.{number * 7919 % 1_000_000:06}",
        "org_id": f"org_{number}",
        **changes,
    }


def as_object(event: Fields) -> str:
    return json.dumps(event)


def as_claim(event: Fields) -> str:
    return f"2026-11-02 08:01:16 - INFO - WEBHOOK_METRIC: {json.dumps(event)}"


def as_repr(event: Fields) -> str:
    return f"2026-11-02 08:01:16 - INFO - WEBHOOK_METRIC: {event}"


def as_cri(event: Fields) -> str:
    return f"2026-11-02T09:00:00.000000001Z stdout F {as_repr(event)}"


def as_docker(event: Fields) -> str:
    fields = {"log": as_object(event) + "\n", "stream": "stderr", "time": "2026-11-02T09:00:00Z"}
    return json.dumps(fields)


ALL_FORMS = [as_object, as_claim, as_repr, as_cri, as_docker]
FORMS = pytest.mark.parametrize("form", ALL_FORMS)
Form = Callable[[Fields], str]


def outcome(results: Sequence[Parsed]) -> tuple[Any, ...]:
    tallies: dict[Triple, float] = {}
    for parsed in results:
        for triple, tally in parsed.tallies.items():
            tallies[triple] = max(tallies.get(triple, 0.0), tally.last_at)
    return (
        [repr(event) for parsed in results for event in parsed.events],
        counts(results),
        tallies,
        [(reject.reason, reject.position) for parsed in results for reject in parsed.rejects],
        sum(parsed.lines for parsed in results),
        sum(parsed.future for parsed in results),
        sum(parsed.bad_times for parsed in results),
        max((parsed.last_at for parsed in results if parsed.last_at is not None), default=None),
    )


def some(triple: Triple) -> bool:
    return triple[2] == "processed"


def assert_one_by_one_is_the_same(text: str | bytes) -> Parsed:
    """Compare the block with its lines, whatever is wanted; return the block's outcome."""
    data = text.encode() if isinstance(text, str) else text
    parsed = Parsed()
    at_once, parser = Parser(PATTERNS), Parser(PATTERNS)
    for file, wanted in enumerate((everything, nothing, some)):
        parsed = at_once.parse(chunk_of(data, file=file), now=NOW, wanted=wanted)
        single = [parser.parse(c, now=NOW, wanted=wanted) for c in chunks_of_lines(data, [1], file)]
        assert outcome([parsed]) == outcome(single)
    return parsed


def block(form: Form, odd: str | None = None, size: int = 24) -> str:
    """Return ordinary lines of one form, with `odd` in their middle."""
    lines = [form(fields(number)) for number in range(size)]
    if odd is not None:
        lines.insert(size // 2, odd)
    return "\n".join(lines) + "\n"


@FORMS
def test_ordinary_lines(form: Form) -> None:
    parsed = assert_one_by_one_is_the_same(block(form))
    assert sum(counts([parsed]).values()) == 24


ODD_FIELDS: list[Fields] = [
    {"status": ""},
    {"status": None},
    {"status": "x" * (LONGEST_LABEL + 1)},
    {"status": 5},
    {"status": "a None b"},
    {"status": "[ True"},
    {"status": ")x"},
    {"status": "]x"},
    {"status": "x Decimal("},
    {"status": "it's"},
    {"status": 'a "quoted" one'},
    {"status": "\\"},
    {"status": "naïve"},
    {"status": "\ud800"},
    {"event_type": {"a": 1}},
    {"webhook_provider": None},
    {"webhook_provider": ""},
    {"metric_type": "OTHER"},
    {"timestamp": None},
    {"timestamp": NOW},
    {"timestamp": "yesterday"},
    {"timestamp": "2026-13-02T08:01:16.000001"},
    {"timestamp": "2026-11-02T08:01:16"},
    {"timestamp": "2026-11-02T08:01:16Z"},
    {"timestamp": "2026-11-02T08:01:16.5"},
    {"timestamp": "2026-11-02T08:01:16.123456+02:00"},
    {"timestamp": "2026-11-01T08:01:16.123456"},
    {"timestamp": "2028-11-02T08:01:16.123456"},
    {"note": None, "ok": True, "no": False},
    {"note": "status: None, True"},
    {"note": "WEBHOOK_METRIC: {"},
    {"note": "a WEBHOOK_METRIC here"},
    {"nested": {"status": "other", "deep": [{"a": None}]}},
    {"amount": 10**30},
    {"amount": float("nan")},
]


@pytest.mark.parametrize("odd", ODD_FIELDS, ids=repr)
def test_odd_fields_in_one_line(odd: Fields) -> None:
    for form in ALL_FORMS:
        assert_one_by_one_is_the_same(block(form, form(fields(5, **odd))))


ODD_LINES = [
    "",
    "noise",
    "{}",
    "{",
    "}",
    "\x00",
    "\r",
    '{"a": {"b": 1}',
    '{"log": "x", "stream": "stdout", "time": ""}',
    "WEBHOOK_METRIC",
    "WEBHOOK_METRIC: ",
    "WEBHOOK_METRIC: none",
    "WEBHOOK_METRIC: {'status'",
    as_object(fields(1)) + as_object(fields(2)),
    as_object(fields(1)).replace(", ", ",\n", 1) + as_object(fields(2)),
    as_claim(fields(1)) + "\r",
    as_claim(fields(1)) + " trailing",
    "{" + as_claim(fields(1)),
    as_claim(fields(1)) + " " + as_claim(fields(2)),
    "WEBHOOK_METRIC: {" + as_repr(fields(1)),
    as_repr(fields(1)).replace("'received'", "Decimal('1.5')"),
    as_repr(fields(1)).replace("'processed'", "UUID('abc')"),
    as_repr(fields(1, spans=None)).replace("'org_1'", "Decimal('1.50')"),
    as_repr(fields(1)).replace("'org_1'", "datetime.datetime(2026, 1, 1)"),
    as_repr(fields(1)).replace("'org_1'", "<PremStatus.free: 'free'>"),
    as_repr(fields(1)).replace("'org_1'", "['a')"),
    as_repr(fields(1)).replace("'org_1'", "Decimal('1'"),
    "Subscription updated for org X: status=past_due, seat_quantity=1, is_legacy=False",
    "2026-11-02T09:00:00Z stdout F Removed all licenses for org X due to subscription cancellation",
    "2026-11-02T09:00:00Z stdout F",
    "2026-11-02T09:00:00Z stdout P " + as_claim(fields(1))[:50],
    as_cri(fields(1)).replace(" F ", " P "),
    as_cri(fields(1, timestamp=None)),
    as_docker(fields(1, timestamp=None)),
    as_docker(fields(1)).replace("\\n", ""),
    as_docker(fields(1)).replace("stderr", "other"),
    as_docker(fields(1)).replace("\\n", "\\nnoise\\n"),
    as_docker(fields(1)).replace("\\n", "\\r\\n"),
]


@pytest.mark.parametrize("odd", ODD_LINES, ids=repr)
def test_an_odd_line_between(odd: str) -> None:
    for form in ALL_FORMS:
        assert_one_by_one_is_the_same(block(form, odd))


@FORMS
def test_times_that_go_back_and_forth(form: Form) -> None:
    lines = [form(fields(number * 37 % 60)) for number in range(60)]
    assert_one_by_one_is_the_same("\n".join(lines) + "\n")


@FORMS
@pytest.mark.parametrize("zone", ["Z", "+00:00", "+02:00"])
def test_times_with_a_zone(form: Form, zone: str) -> None:
    events = [fields(number) for number in range(20)]
    lines = [form({**event, "timestamp": event["timestamp"] + zone}) for event in events]
    assert_one_by_one_is_the_same("\n".join(lines) + "\n")


def test_a_line_over_the_limit_is_no_ordinary_one() -> None:
    text = block(as_object, as_object(fields(1, note="x" * MAX_LINE)))
    for form in (text, block(as_claim, as_claim(fields(1, note="x" * MAX_LINE)))):
        parsed = Parser().parse(chunk_of(form), now=NOW, wanted=nothing)
        assert [reject.reason.value for reject in parsed.rejects] == ["too_long"]
        assert sum(counts([parsed]).values()) == 24


lines = st.builds(
    lambda form, number, odd: form(fields(number, **odd)),
    st.shared(st.sampled_from(ALL_FORMS), key="form"),
    st.integers(0, 200),
    st.sampled_from([{}, {}, {}, *ODD_FIELDS]),
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    line = draw(lines)
    begin = draw(st.integers(0, len(line)))
    end = draw(st.integers(begin, min(len(line), begin + 8)))
    odd = st.sampled_from(["", "'", '"', "{", "}", ")", "]", "\\", " None", "\n", "WEBHOOK_METRIC"])
    return f"{line[:begin]}{draw(odd)}{line[end:]}"


@given(st.lists(lines | lines | lines | damaged() | st.sampled_from(ODD_LINES), min_size=8))
def test_blocks_and_lines_agree(texts: list[str]) -> None:
    assert_one_by_one_is_the_same(("\n".join(texts) + "\n").encode("utf-8", "surrogatepass"))


# Sentences that patterns read, records plain and odd, lines that only mention the marker, noise.
HOST = sorted({*(SAMPLES / "agentops-host.log").read_text().splitlines()})
MENTIONS = [
    "INFO - talking about WEBHOOK_METRIC without a payload",
    "INFO - talking about 'WEBHOOK_METRIC' and {}",
    "INFO - WEBHOOK_METRIC :none",
    "INFO - msg=WEBHOOK_METRIC",
    "INFO - No org found with subscription_id: None in WEBHOOK_METRIC",
]


@given(
    st.lists(
        st.sampled_from(HOST) | st.sampled_from(MENTIONS) | damaged() | st.sampled_from(ODD_LINES),
        min_size=16,
        max_size=60,
    ),
    st.sampled_from(["", "", "\x1b[0m", " ", "\r", " \u2028", "\xa0."]),
)
def test_sentences_mentions_and_odd_records_between_blocks(texts: list[str], end: str) -> None:
    texts[0] += end
    texts[-1] += end
    assert_one_by_one_is_the_same(("\n".join(texts) + "\n").encode("utf-8", "surrogatepass"))


OTHERS = [
    json.dumps({"level": "info", "msg": "served", "took": 12}),
    json.dumps({"msg": "WEBHOOK_METRIC", **fields(3)}),
    json.dumps({"msg": as_claim(fields(4)), "level": "info"}),
    repr(fields(5)),
    f"[{as_object(fields(6))}]",
    f"{as_object(fields(7))} {as_claim(fields(8))}",
]


@given(
    st.lists(
        st.builds(lambda number: as_object(fields(number)), st.integers(0, 200))
        | st.sampled_from(OTHERS)
        | st.sampled_from(MENTIONS)
        | damaged(),
        min_size=16,
        max_size=60,
    )
)
def test_objects_between_other_lines(texts: list[str]) -> None:
    assert_one_by_one_is_the_same(("\n".join(texts) + "\n").encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("form", [as_cri, as_docker])
def test_an_unfinished_line_before_ordinary_ones_is_not_passed_over(form: Form) -> None:
    begun = form(fields(1, pad="x" * 20_000)).replace(" F ", " P ").replace("\\n", "")
    data = f"{begun}\n{block(form)}"
    parser, whole = Parser(PATTERNS), Parser(PATTERNS)
    parts = chunks_of_lines(data.encode(), [1, 24])
    split = [parser.parse(chunk, now=NOW, wanted=everything) for chunk in parts]
    assert outcome(split) == outcome([whole.parse(chunk_of(data), now=NOW, wanted=everything)])
    assert split[0].open_from == 0
    assert split[1].open_from is None


@pytest.mark.parametrize(
    ("form", "log_format"), [(as_cri, LogFormat.DOCKER), (as_docker, LogFormat.CRI)]
)
def test_a_source_of_another_format_is_not_unwrapped(form: Form, log_format: LogFormat) -> None:
    data = block(form).encode()
    parser, single = Parser(PATTERNS), Parser(PATTERNS)
    together = parser.parse(chunk_of(data, log_format=log_format), now=NOW, wanted=nothing)
    lines = [
        msgspec.structs.replace(chunk, format=log_format) for chunk in chunks_of_lines(data, [1])
    ]
    one_by_one = [single.parse(line, now=NOW, wanted=nothing) for line in lines]
    assert outcome([together]) == outcome(one_by_one)
