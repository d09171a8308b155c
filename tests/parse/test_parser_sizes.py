"""Lines made to be expensive: each costs time in proportion to its length, and ends with a name.

Any of these would run for minutes, or exhaust the stack, in a reader that backtracks, recurses
or starts over; none is timed here.
"""

import pytest

from sidecar.parse.event import RejectReason
from support.parse import parse

SIZE = 300_000
OPEN = "WEBHOOK_METRIC: {'event_type': 'a', 'status': 'b', 'n': "
JSON = '{"metric_type": "WEBHOOK_METRIC", "event_type": "a", "status": "b", "n": '

EVENTS = {
    "digits in a number": OPEN + "9" * SIZE + "}",
    "digits before a letter": OPEN + "9" * SIZE + "x}",
    "digits in the timestamp": OPEN + "1, 'timestamp': '" + "9" * SIZE + "x'}",
    "a long word": OPEN + "a" * SIZE + "}",
    "blanks": OPEN + "nan," + " " * SIZE + "}",
    "surrogates": OPEN + "'" + "\\ud800" * 50_000 + "'}",
    "nested lists": OPEN + "[" * 5_000 + "]" * 5_000 + "}",
    "nested JSON lists": JSON + "[" * 5_000 + "]" * 5_000 + "}",
    "nested JSON lists within the decoder's stack": JSON + "[" * 200 + "]" * 200 + "}",
}


@pytest.mark.parametrize("line", EVENTS.values(), ids=EVENTS)
def test_an_event_stays_an_event_however_large_its_odd_field(line: str) -> None:
    parsed = parse(line + "\n")
    assert (len(parsed.events), parsed.rejects) == (1, [])


REJECTS = {
    "escaped quotes without end": (OPEN + "x" + "\\'" * SIZE + "}", RejectReason.TRUNCATED),
    "a text without end": (OPEN + "'" + "\\'" * SIZE + "}", RejectReason.TRUNCATED),
    "calls in calls": (OPEN + "Decimal(" * SIZE + ")" * SIZE + "}", RejectReason.TOO_LONG),
    "enums in enums": (OPEN + "<A.b: " * 60_000 + ">" * 60_000 + "}", RejectReason.TOO_LONG),
    "lists in lists": (OPEN + "[" * SIZE + "]" * SIZE + "}", RejectReason.TOO_LONG),
    "lists in JSON lists": (JSON + "[" * SIZE + "]" * SIZE + "}", RejectReason.TOO_LONG),
    "values": (OPEN + "nan, 'l': [" + "1, " * SIZE + "]}", RejectReason.TOO_LONG),
    "objects": ('{"a":1}' * SIZE + OPEN, RejectReason.TOO_LONG),
    "claims": ("WEBHOOK_METRIC: " * 30_000, RejectReason.NO_OBJECT),
}


@pytest.mark.parametrize(("line", "reason"), REJECTS.values(), ids=REJECTS)
def test_what_is_too_much_is_rejected_by_name(line: str, reason: RejectReason) -> None:
    parsed = parse(line + "\n")
    assert [reject.reason for reject in parsed.rejects] == [reason]


FOREIGN = {
    "braces": "{" * SIZE,
    "a prefix of open brackets": "[({" * 300,
    "a prefix of quotes": "a='" * 300,
    "a prefix of pairs": "a=b" * 300,
    "a prefix of dashes in names": "a-" * 490,
    "objects before it": '{"a":1}' * 140,
}


@pytest.mark.parametrize("before", FOREIGN.values(), ids=FOREIGN)
def test_a_large_prefix_is_foreign(before: str) -> None:
    parsed = parse(f'{before} "WEBHOOK_METRIC: {{}}\n')
    assert (parsed.events, parsed.rejects, len(parsed.foreign)) == ([], [], 1)


MENTIONS = {
    "markers": "WEBHOOK_METRIC " * 20_000,
    "blanks after the marker": "WEBHOOK_METRIC" + " " * SIZE,
    "colours after the marker": "WEBHOOK_METRIC" + "\x1b[0m" * SIZE,
    "backslashes after a key": '{"metric_type' + "\\" * SIZE + "WEBHOOK_METRIC",
}


@pytest.mark.parametrize("line", MENTIONS.values(), ids=MENTIONS)
def test_a_large_mention_is_a_mention(line: str) -> None:
    parsed = parse(line[:1_000_000] + "\n")
    assert (parsed.events, parsed.rejects) == ([], [])
