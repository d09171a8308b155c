"""What syslog servers write in place of alike lines weighs what it says."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.event import Chunk, LogFormat, ObscureReason, Parsed, RejectReason
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern
from sidecar.parse.repeats import REACH, needed_before
from support.parse import NOW, chunks_of_lines, everything

EVENT = "WEBHOOK_METRIC: {'event_type': 'e', 'status': 's', 'org_id': 'o%d'}"
AT = 1_793_606_476.0  # 2026-11-02 08:01:16 UTC
STAMP = "Nov  2 08:01:16"
LATER = "Nov  2 08:01:46"
# The line that came again, and the one that says so.
FORMS = {
    "sysklogd, FreeBSD": ("{} web app[12]: ", "{} web last message repeated 3 times"),
    "syslogd's own name": ("{} web app[12]: ", "{} web syslogd: last message repeated 3 times"),
    "rsyslog, the short form": (
        "{} web app[12]: ",
        "{} web app[12]: last message repeated 3 times",
    ),
    "macOS": ("{} web app[12]: ", "{} web --- last message repeated 3 times ---"),
    "macOS without a host": ("{} web app[12]: ", "{}: --- last message repeated 3 times ---"),
    "a priority": ("<14>{} web app: ", "<14>{} web last message repeated 3 times"),
    "a carriage return": ("{} web app[12]: ", "{} web last message repeated 3 times\r"),
}
PATTERN = Pattern(
    name="lost",
    regex=r"order (?P<order>\d+) is lost$",
    fields={"event_type": "order", "status": "lost"},
)


def read(lines: Sequence[str], sizes: Sequence[int] = (1000,)) -> list[Parsed]:
    """Parse lines in chunks of so many, each as a reader of their file hands it on."""
    data = "".join(f"{line}\n" for line in lines).encode()
    parser = Parser([PATTERN])
    return [parser.parse(as_read(chunk, data), now=NOW, wanted=everything)
            for chunk in chunks_of_lines(data, sizes)]  # fmt: skip


def as_read(chunk: Chunk, file: bytes) -> Chunk:
    before = needed_before(chunk.data, chunk.start, lambda at, size: file[at : at + size])
    return Chunk(
        chunk.file, chunk.log, chunk.format, chunk.data, chunk.start, chunk.prefix, before=before
    )


def orgs(parsed: Sequence[Parsed]) -> list[str]:
    return [event.text("org_id") for one in parsed for event in one.events]


@pytest.mark.parametrize(("first", "again"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("size", [10, 1])
def test_the_last_message_weighs_what_it_is_repeated(first: str, again: str, size: int) -> None:
    lines = ["Nov  2 08:00:00 web app: up", first.format(STAMP) + EVENT % 1, again.format(LATER)]
    parsed = read(lines, [size])
    assert orgs(parsed) == ["o1"] * 4
    assert [event.at for one in parsed for event in one.events] == [AT] + [AT + 30] * 3
    assert [(one.lines, one.event_lines, one.ignored) for one in parsed][-1][1:] in ((1, 0), (2, 1))
    assert len({id(event.fields) for one in parsed for event in one.events}) == 4


@pytest.mark.parametrize("again", ["web - - - -", "web syslogd 12 - -", "web app[12]:"])
def test_stamps_of_rfc_5424_are_known(again: str) -> None:
    stamp, later = "<14>1 2026-11-02T08:01:16.5Z", "<14>1 2026-11-02T09:01:46.5+01:00"
    if again.endswith(":"):  # rsyslog's file format
        stamp, later = stamp[6:], later[6:]
    first = f"{stamp} {again if again.endswith(':') else 'web app 12 - -'} {EVENT % 1}"
    parsed = read([first, f"{later} {again} last message repeated 2 times"])
    assert [event.at for one in parsed for event in one.events] == [AT + 0.5] + [AT + 30.5] * 2


@pytest.mark.parametrize("size", [10, 2, 1])
def test_each_of_several_repeats_weighs(size: int) -> None:
    again = "{} web last message repeated {} times"
    lines = [f"{STAMP} web app: {EVENT % 1}", again.format(LATER, 2), again.format(LATER, 30)]
    lines += [f"{LATER} web app: {EVENT % 2}", again.format(LATER, 1).removesuffix("s")]
    assert orgs(read(lines, [size])) == ["o1"] * 33 + ["o2"] * 2


@pytest.mark.parametrize("size", [10, 1])
def test_of_several_hosts_the_one_is_meant_whose_name_it_has(size: int) -> None:
    hosts = {name: f"{STAMP} {name} app: {EVENT % number}" for number, name in enumerate("abc")}
    again = [f"{LATER} {name} last message repeated {times} times"
             for name, times in zip("bca", (2, 3, 4), strict=True)]  # fmt: skip
    assert sorted(orgs(read([*hosts.values(), *again], [size]))) == (
        ["o0"] * 5 + ["o1"] * 3 + ["o2"] * 4
    )


def test_of_several_programs_the_one_is_meant_that_is_named() -> None:
    lines = [f"{STAMP} web app[12]: {EVENT % 1}", f"{STAMP} web cron[3]: done",
             f"{LATER} web app[12]: last message repeated 2 times"]  # fmt: skip
    assert orgs(read(lines)) == ["o1"] * 3


@pytest.mark.parametrize("size", [10, 1])
def test_a_sentence_weighs_what_it_is_repeated(size: int) -> None:
    lines = [f"{STAMP} web app: order 7 is lost", f"{LATER} web last message repeated 4 times",
             f"{LATER} web app: message repeated 5 times: [ order 8 is lost]"]  # fmt: skip
    found = [event.text("order") for one in read(lines, [size]) for event in one.events]
    assert found == ["7"] * 5 + ["8"] * 5


def test_what_says_nothing_says_nothing_however_often() -> None:
    (parsed,) = read([f"{STAMP} web app: up", f"{LATER} web last message repeated 4 times"])
    assert (parsed.ignored, parsed.obscure, parsed.events) == (2, [], [])


def test_a_torn_line_is_rejected_each_time() -> None:
    lines = [f"{STAMP} web app: WEBHOOK_METRIC: {{'event_type': 'e', 'sta",
             f"{LATER} web last message repeated 4 times"]  # fmt: skip
    (parsed,) = read(lines)
    assert [one.reason for one in parsed.rejects] == [RejectReason.TRUNCATED] * 2
    assert not parsed.ignored


UNKNOWN = {
    "nothing before it": [],
    "another host alone": [f"{STAMP} db app: {EVENT % 1}"],
    "a message of several lines": [f"{STAMP} web app: {EVENT % 1}", "  and more"],
    "too far away": [f"{STAMP} web app: {EVENT % 1}", f"{STAMP} db app: {'x' * REACH}"],
}


@pytest.mark.parametrize("before", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("size", [10, 1])
def test_what_is_not_at_hand_is_said(before: list[str], size: int) -> None:
    again = f"{LATER} web last message repeated 4 times"
    last = read([*before, again], [size])[-1]
    assert [(one.reason, one.sample) for one in last.obscure] == [(ObscureReason.REPEATED, again)]
    assert last.event_lines + last.ignored + 1 == last.lines


def test_the_second_process_leaves_what_it_cannot_know() -> None:
    again = f"{LATER} web last message repeated 4 times\n".encode()
    ahead = Chunk(1, "", LogFormat.AUTO, again, start=100)
    assert Parser().parse_alone(ahead, now=NOW, wanted=everything) is None
    whole = Chunk(1, "", LogFormat.AUTO, f"{STAMP} web app: {EVENT % 1}\n".encode() + again, 100)
    parsed = Parser().parse_alone(whole, now=NOW, wanted=everything)
    assert parsed is not None
    assert len(parsed.events) == 5


def test_beyond_reason_it_is_rejected() -> None:
    lines = [f"{STAMP} web app: {EVENT % 1}", f"{LATER} web last message repeated 1001 times"]
    (parsed,) = read(lines)
    assert [one.reason for one in parsed.rejects] == [RejectReason.TOO_LONG]


def test_a_container_s_is_said() -> None:
    lines = [json.dumps({"log": f"{line}\n", "stream": "stdout", "time": "2026-11-02T08:01:16Z"})
             for line in (f"{STAMP} web app: {EVENT % 1}",
                          f"{LATER} web last message repeated 4 times")]  # fmt: skip
    (parsed,) = read(lines)
    assert (orgs([parsed]), len(parsed.obscure)) == (["o1"], 1)


def test_what_rsyslog_cut_is_looked_up() -> None:
    event = EVENT.replace("}", ", 'note': '%s'}") % (1, "x" * 900)
    lines = [f"{STAMP} web app: {event}",
             f"{LATER} web app: message repeated 2 times: [ {event[:799]}]"]  # fmt: skip
    assert orgs(read(lines)) == ["o1"] * 3


FORGED = (
    f"{LATER} web app: user said last message repeated 9 times",
    f"{LATER} web app: last message repeated 9 times by mallory",
    f"{LATER} web app[1]: coupon 'last message repeated 9 times'",
    "last message repeated 9 times",
)


@pytest.mark.parametrize("line", FORGED)
def test_a_quoted_repeat_weighs_nothing(line: str) -> None:
    (parsed,) = read([f"{STAMP} web app: {EVENT % 1}", line])
    assert (orgs([parsed]), parsed.ignored) == (["o1"], 1)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.booleans()), max_size=30),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_wherever_chunks_end_it_weighs_the_same(
    written: list[tuple[str, int, bool]], sizes: list[int]
) -> None:
    last: dict[str, list[str]] = {}
    lines, expected = [], []
    for number, (host, times, counts) in enumerate(written):
        if host in last and times:
            lines.append(f"{LATER} {host} last message repeated {times} times")
            expected += last[host] * times
        else:
            lines.append(f"{STAMP} {host} app: {EVENT % number if counts else 'nothing'}")
            last[host] = [f"o{number}"] if counts else []
            expected += last[host]
    parsed = read(lines, sizes)
    assert orgs(parsed) == expected
    assert not any(one.obscure or one.rejects for one in parsed)
