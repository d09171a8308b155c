"""No line ends the process or costs another its event: all forms, damaged in all places.

`make examples` tries many more of them.
"""

import json
import re
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.event import LogFormat, RejectReason
from sidecar.parse.parser import Parser
from support.parse import agentops_patterns, chunk_of, parse, read_out

CALLED = [
    "Decimal", "decimal.Decimal", "UUID", "uuid.UUID", "set", "frozenset", "date", "datetime.date",
    "datetime", "datetime.datetime", "timedelta", "datetime.timedelta", "timezone",
    "datetime.timezone", "OrderedDict", "Opaque",
]  # fmt: skip
PLAIN = [
    "None", "True", "null", "nan", "-inf", "Infinity", "0", "-1", "1.5", "1e999", "9" * 30,
    "9" * 5000, "'a'", '"it\'s"', "'\\ud800'", "'\\'", "b'\\xff'", "''", "'1.5'", "'sNaN'",
    "'1e99999999999999999999'", "'2026-11-02T08:00:00.000001'", "'9999-12-31T23:59:59-23:59'",
    "'WEBHOOK_METRIC: {'", "<A.b: 1>", "<object at 0x7f>", "a.b",
]  # fmt: skip
NAMES = ["days", "seconds", "tzinfo", "fold", "key", "hours"]


def _nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    items = st.lists(inner, max_size=4)
    named = st.tuples(st.sampled_from(NAMES), inner).map("=".join)
    arguments = st.lists(inner | named, max_size=4).map(", ".join)
    pairs = st.lists(st.tuples(inner, inner).map(": ".join), max_size=3).map(", ".join)
    return st.one_of(
        st.tuples(st.sampled_from(CALLED), arguments).map(lambda c: f"{c[0]}({c[1]})"),
        items.map(lambda i: f"[{', '.join(i)}]"),
        items.map(lambda i: f"({', '.join(i)})"),
        items.map(lambda i: f"{{{', '.join(i)}}}"),
        pairs.map(lambda p: f"{{{p}}}"),
        inner.map(lambda i: f"<a: {i}>"),
    )


values = st.recursive(st.sampled_from(PLAIN), _nested, max_leaves=6)
stamps = st.none() | st.datetimes().map(lambda at: at.isoformat()) | st.integers() | st.floats()


@st.composite
def events(draw: st.DrawFn) -> str:
    """Return an event's object as JSON or repr, with one odd value in some field."""
    fields = {"metric_type": "WEBHOOK_METRIC", "event_type": "e", "status": "s"}
    whole: dict[str, Any] = {**fields, "timestamp": draw(stamps), "odd": "ODD"}
    text = draw(st.sampled_from([json.dumps, repr]))(whole)
    at = draw(st.sampled_from(["'ODD'", "'s'", "'e'", "'odd'"]))
    return text.replace(at, draw(values)).replace(at.replace("'", '"'), draw(values))


FORMS = [
    "{}",
    "WEBHOOK_METRIC: {}",
    "2026-11-02 08:01:16 - INFO - WEBHOOK_METRIC: {}",
    "\x1b[32mINFO\x1b[0m WEBHOOK_METRIC: {}\x1b[0m",
    "INFO user={'id': 4} WEBHOOK_METRIC: {}",
    "2026-11-02T08:01:16.000000001Z stderr F WEBHOOK_METRIC: {}",
    "2026-11-02T08:01:16.000000001Z stdout P WEBHOOK_METRIC: {}",
    'level=info event="WEBHOOK_METRIC: {}" at=1',
    "[{}, {}]",
    "INFO noise\rWEBHOOK_METRIC: {}",
    "Subscription updated for org {}: status=past_due",
    "Unknown coupon: WEBHOOK_METRIC: {}",
]
RECORDS = [
    {"event": "WEBHOOK_METRIC: {}", "level": "info"},
    {"message": "{}", "timestamp": "2026-11-02T08:01:16Z"},
    {"log": "2026-11-02 08:01:16 WEBHOOK_METRIC: {}\n", "stream": "stdout", "time": "x"},
    {"log": "WEBHOOK_METRIC: {}", "stream": "stderr", "time": "9999-12-31T23:59:59Z"},
    {"user": "WEBHOOK_METRIC: {}"},
]


def _in_record(record: dict[str, str], text: str) -> str:
    return json.dumps({key: value.replace("{}", text) for key, value in record.items()})


forms = st.one_of(
    st.builds(lambda form, text: form.replace("{}", text), st.sampled_from(FORMS), events()),
    st.builds(_in_record, st.sampled_from(RECORDS), events()),
)
DAMAGE = [
    b"'",
    b'"',
    b"{",
    b"}",
    b")",
    b"[",
    b"\\",
    b"\0",
    b"\r",
    b"\xff",
    b" ",
    b"WEBHOOK_METRIC: ",
]


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    line = draw(forms).encode("utf-8", "surrogatepass").replace(b"\n", b" ")
    for _ in range(draw(st.integers(0, 2))):
        begin = draw(st.integers(0, len(line)))
        end = draw(st.integers(begin, min(len(line), begin + 6)))
        line = line[:begin] + draw(st.sampled_from([b"", *DAMAGE])) + line[end:]
    return line


GOOD = b"INFO WEBHOOK_METRIC: {'event_type': 'e', 'status': 'untouched'}\n"


alike = st.builds(lambda line, count: [line] * count, lines(), st.integers(9, 20))


@given(odd=st.lists(lines(), min_size=1, max_size=12) | alike, form=st.sampled_from(LogFormat))
def test_whatever_a_line_holds_the_others_count(odd: list[bytes], form: LogFormat) -> None:
    data = GOOD * 9 + b"\n".join(odd) + b"\n" + GOOD * 9
    chunk = chunk_of(data, log_format=form)
    read = read_out(Parser(agentops_patterns()), [chunk])
    assert sum(one.lines for one in read) == 18 + len(odd)
    assert sum(event.status == "untouched" for one in read for event in one.events) == 18
    places = [line.position for one in read for line in one.rejects]
    places += [line.position for one in read for line in one.foreign]
    assert all(0 <= place < len(data) for place in places)


RAISING = ["Decimal(1.5)", "Decimal((0,(1,2),3))", "timezone()", "<a: Decimal(1.5)>"]


@pytest.mark.parametrize("value", RAISING)
def test_a_value_that_raises_is_a_reject_of_its_line(value: str) -> None:
    line = f"WEBHOOK_METRIC: {{'event_type': 'a', 'status': 'b', 'amount': {value}}}\n"
    for text in (line, line * 20):
        parsed = parse(GOOD.decode() + text + GOOD.decode())
        assert {reject.reason for reject in parsed.rejects} == {RejectReason.POISON}
        assert len(parsed.rejects) == len(re.findall("\n", text))
        assert [event.status for event in parsed.events] == ["untouched"] * 2
