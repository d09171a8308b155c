"""Objects printed over several lines: put together across chunks, files, restarts and containers.

Whatever is torn, endless or somebody else's holds up no line and swallows none.
"""

import json
import pprint
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given, strategies as st

from sidecar.parse.event import (
    Chunk,
    Fields,
    ForeignReason,
    LogFormat,
    Parsed,
    RejectReason,
    Triple,
    Wanted,
)
from sidecar.parse.parser import OPEN_SECONDS, Parser
from sidecar.parse.spread import MOST_BYTES, MOST_LINES
from support.parse import NOW, chunk_of, chunks_of_lines, everything, read_out

FIELDS = {
    "attempt_count": 3,
    "event_type": "e",
    "metric_type": "WEBHOOK_METRIC",
    "nested": {"list": ["a", "}"], "of": {"it's": "x" * 50}},
    "status": "s",
}
INDENTED = json.dumps(FIELDS, indent=2)
STAMP = "2026-11-02 08:01:16,911 - app - INFO - "
NODE = """WEBHOOK_METRIC: {
  event_type: 'e',
  nested: {
    list: [ 'a', '}' ],
    of: { "it's": 'x' }
  },
  status: 's'
}"""
# A form, and what of its lines becomes an event.
PRINTED = {
    "json.dumps(indent=2)": INDENTED,
    "with tabs": json.dumps(FIELDS, indent="\t"),
    "by a logger": STAMP + INDENTED,
    "behind the marker": f"{STAMP}WEBHOOK_METRIC: {INDENTED}",
    "behind the marker without a colon": f"info: WEBHOOK_METRIC {INDENTED}",
    "below the marker": f"{STAMP}WEBHOOK_METRIC:\n{INDENTED}",
    "in one line below the marker": f"{STAMP}WEBHOOK_METRIC:\n{json.dumps(FIELDS)}",
    "pprint": pprint.pformat(FIELDS, width=40),
    "pprint behind the marker": "WEBHOOK_METRIC: " + pprint.pformat(FIELDS, width=40),
    "pprint that breaks a long text": pprint.pformat(
        {**FIELDS, "error": "a card that was declined " * 9}, width=60
    ),
    "a list": json.dumps([FIELDS], indent=2),
    "a record with the marker as its message": json.dumps(
        {"message": "WEBHOOK_METRIC", **{k: v for k, v in FIELDS.items() if k != "metric_type"}},
        indent=4,
    ),
    "a record with the event as its message": json.dumps(
        {"level": "info", "message": f"WEBHOOK_METRIC: {FIELDS}"}, indent=4
    ),
    "console.log": NODE,
    "with carriage returns": INDENTED.replace("\n", "\r\n"),
    "with a part that ends at the line's start": """{ 'nested': {
    'a': 1
}
  , 'event_type': 'e', 'status': 's', 'metric_type': 'WEBHOOK_METRIC'
}""",
    "in colours": INDENTED.replace('"e"', '\x1b[32m"e"\x1b[0m'),
}
EVENT = "WEBHOOK_METRIC: {'event_type': 'e', 'status': 'whole'}"
NOISE = "2026-11-02 08:01:16 - DEBUG - GET /health 200"
TRACE = 'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g({\nValueError: 1'


def docker(text: str, stream: str = "stdout") -> str:
    stamp = "2026-11-02T08:01:16.911048585Z"
    lines = ({"log": f"{line}\n", "stream": stream, "time": stamp} for line in text.split("\n"))
    return "\n".join(map(json.dumps, lines))


def cri(text: str, stream: str = "stdout") -> str:
    stamp = "2026-11-02T08:01:16.911048585Z"
    return "\n".join(f"{stamp} {stream} F {line}" for line in text.split("\n"))


def plain(text: str) -> str:
    return text


WRAPS = pytest.mark.parametrize("wrap", [plain, docker, cri])


def counted(read: Sequence[Parsed]) -> Counter[str]:
    """Return how many lines became what, and hold that against how many there were."""
    found = Counter(
        events=sum(one.event_lines for one in read),
        rejects=sum(len(one.rejects) for one in read),
        foreign=sum(len(one.foreign) for one in read),
        obscure=sum(len(one.obscure) for one in read),
        pieces=sum(one.pieces for one in read),
        ignored=sum(one.ignored for one in read),
    )
    assert found.total() == sum(one.lines for one in read)
    assert min(found.values()) >= 0
    return +found


def statuses(read: Sequence[Parsed]) -> list[str]:
    return [event.status for one in read for event in one.events]


def in_chunks(text: str, *sizes: int) -> list[Parsed]:
    return read_out(Parser(), chunks_of_lines(f"{text}\n".encode(), sizes))


@WRAPS
@pytest.mark.parametrize("printed", PRINTED.values(), ids=PRINTED)
def test_it_is_one_event_wherever_it_is_cut(printed: str, wrap: Callable[[str], str]) -> None:
    text = "\n".join(map(wrap, [NOISE, printed, NOISE, EVENT, printed, printed, TRACE]))
    lines = printed.count("\n") + 1
    whole = in_chunks(text, 10_000)
    assert statuses(whole) == ["s", "whole", "s", "s"]
    assert counted(whole) == {"events": 4, "pieces": 3 * (lines - 1), "ignored": 6}
    for size in range(1, lines + 2):
        cut = in_chunks(text, size)
        assert statuses(cut) == ["s", "whole", "s", "s"], size
        assert counted(cut) == counted(whole), size


@WRAPS
def test_its_fields_are_whole(wrap: Callable[[str], str]) -> None:
    (event,) = in_chunks(wrap(INDENTED), 3)[-1].events or in_chunks(wrap(INDENTED), 100)[0].events
    assert {name: event.fields[name] for name in FIELDS} == FIELDS


@pytest.mark.parametrize("wrap", [docker, cri])
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_two_streams_print_at_once(wrap: Callable[[str, str], str], size: int) -> None:
    out = wrap(INDENTED, "stdout").split("\n")
    err = wrap(INDENTED.replace('"s"', '"t"'), "stderr").split("\n")
    read = in_chunks("\n".join(line for pair in zip(out, err, strict=True) for line in pair), size)
    assert statuses(read) == ["s", "t"]
    assert counted(read) == {"events": 2, "pieces": len(out) + len(err) - 2}


@WRAPS
def test_a_restart_behind_any_line_counts_it_once(wrap: Callable[[str], str]) -> None:
    text = f"{EVENT}\n{INDENTED}\n{EVENT}"
    data = f"{wrap(text)}\n".encode()
    ends = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    for end in ends:
        before = Parser().parse(chunk_of(data[:end]), now=NOW, wanted=everything)
        parser = Parser()
        if before.open_from is not None:
            parser.resume(chunk_of(data[before.open_from : end], start=before.open_from))
        after = read_out(parser, [chunk_of(data[end:], start=end)])
        assert statuses([before, *after]) == ["whole", "s", "whole"]
        assert counted([before, *after]) == counted(in_chunks(data.decode()[:-1], 100))


def test_it_goes_on_in_the_next_file_of_its_log() -> None:
    head, tail = INDENTED[:60], INDENTED[60:]
    cut = head.rfind("\n") + 1
    parser = Parser()
    first = parser.parse(chunk_of(head[:cut], start=900), now=NOW, wanted=everything)
    assert (first.open_from, first.lines) == (900, 0)
    second = parser.parse(chunk_of(f"{head[cut:]}{tail}\n", file=2), now=NOW, wanted=everything)
    assert statuses([second]) == ["s"]
    assert second.open_from is None


HALVES = {
    "torn by an event": (f"{INDENTED[:70]}\n{EVENT}", ["whole"]),
    "torn by another that is whole": (
        f"WEBHOOK_METRIC: {{\n  'event_type': 'e',\n{INDENTED}",
        ["s"],
    ),
    "torn by an indented event": (f"{{\n  {EVENT}", ["whole"]),
    "torn in a string": ('WEBHOOK_METRIC: {\n  "event_type": "e\n  x"\n}\n' + EVENT, ["whole"]),
    "a bracket too many": (f"{{\n  ]\n}}\n{EVENT}", ["whole"]),
    "an empty line": (f"WEBHOOK_METRIC: {{\n\n  'event_type': 'e'\n}}\n{EVENT}", ["whole"]),
    "the marker, and another": (f"WEBHOOK_METRIC:\nWEBHOOK_METRIC:\n{EVENT}", ["whole"]),
    "two writers at once": (
        "\n".join(f"{line}\n{line}" for line in INDENTED.split("\n")) + f"\n{EVENT}",
        ["whole"],
    ),
    "words in it": (f"WEBHOOK_METRIC: {{\n  then he said\n}}\n{EVENT}", ["whole"]),
}


@WRAPS
@pytest.mark.parametrize(("text", "read"), HALVES.values(), ids=HALVES)
def test_half_of_one_swallows_no_line(
    text: str, read: list[str], wrap: Callable[[str], str]
) -> None:
    for size in (100, 1, 2, 3):
        found = in_chunks(wrap(text), size)
        assert statuses(found) == read
        marked = sum("WEBHOOK_METRIC" in line for line in text.split("\n"))
        told = counted(found)
        assert told.total() == text.count("\n") + 1
        assert marked <= told["events"] + told["rejects"] + told["foreign"] + told["obscure"] + (
            told["pieces"] if read == ["s"] else 0
        )


def test_one_that_lacks_a_field_is_rejected_by_name_once() -> None:
    read = in_chunks(INDENTED.replace("event_type", "kind"), 100)
    assert [(r.words, r.position) for one in read for r in one.rejects] == [
        ("missing_field: event_type", 0)
    ]
    assert counted(read) == {"rejects": 1, "pieces": INDENTED.count("\n")}


def test_what_a_stranger_sent_is_none() -> None:
    """The host says that it quotes it; what it prints without a word is its own."""
    read = in_chunks(f"INFO - request body from a stranger: {INDENTED}", 100)
    assert statuses(read) == []
    assert [line.reason for one in read for line in one.foreign] == [ForeignReason.BEFORE]


@pytest.mark.parametrize(
    "most",
    [
        "{\n" + '  "a": 1,\n' * MOST_LINES + INDENTED[2:],
        json.dumps({"pad": ["x" * 1000] * (MOST_BYTES // 1000), **FIELDS}, indent=2),
    ],
    ids=["lines", "bytes"],
)
def test_one_that_is_too_large_is_said(most: str) -> None:
    for size in (10_000, 7):
        found = in_chunks(f"{most}\n{EVENT}", size)
        assert statuses(found) == ["whole"]
        told = counted(found)
        assert told["foreign"] + told["obscure"] == 1
        assert told.total() == most.count("\n") + 2


def test_what_does_not_come_in_time_is_told_as_it_stands() -> None:
    parser = Parser()
    chunk = chunk_of(f"{EVENT}\nWEBHOOK_METRIC:\n", log="a")
    read = [parser.parse(chunk, now=NOW, wanted=everything)]
    assert list(parser.end_open(NOW, everything)) == []
    assert parser.due == NOW + OPEN_SECONDS
    assert list(parser.end_open(NOW + OPEN_SECONDS, everything, {"a"})) == []
    assert parser.due is None  # its log has more to read first
    ((stands, late),) = parser.end_open(NOW + OPEN_SECONDS, everything)
    assert (stands.file, stands.start, stands.data) == (1, len(chunk.data), b"")
    assert [one.reason for one in late.rejects] == [RejectReason.NO_OBJECT]
    assert late.open_from is None
    assert counted([*read, late]) == {"events": 1, "rejects": 1}
    assert list(parser.end_open(NOW + 2 * OPEN_SECONDS, everything)) == []
    rest = parser.parse(chunk_of("{'event_type': 'e'}\n"), now=NOW, wanted=everything)
    assert (rest.lines, rest.ignored) == (1, 1)


def test_each_line_that_comes_gives_the_next_one_time() -> None:
    parser, read = Parser(), []
    for number, line in enumerate(INDENTED.split("\n")):
        now = NOW + number * (OPEN_SECONDS - 1)
        read.append(parser.parse(chunk_of(f"{line}\n"), now=now, wanted=everything))
        assert list(parser.end_open(now, everything)) == []
    assert statuses(read) == ["s"]


@pytest.mark.parametrize("piece", ["docker", "cri"])
def test_pieces_whose_rest_does_not_come_are_told_as_they_stand(piece: str) -> None:
    """A container that was killed: the last piece may hold a whole record."""
    stamp = "2026-11-02T08:01:16.911048585Z"
    text = f"{EVENT[:-1]}, 'pad': '{'x' * 32_768}"[: 32_768 - 2] + "'}"
    parts = text[:16_384], text[16_384:]
    if piece == "docker":
        lines = [json.dumps({"log": part, "stream": "stdout", "time": stamp}) for part in parts]
    else:
        lines = [f"{stamp} stdout P {part}" for part in parts]
    read = in_chunks("\n".join(lines), 1)
    assert statuses(read) == ["whole"]
    assert counted(read) == {"pieces": 1, "events": 1}
    read = in_chunks(lines[0], 1)
    assert [one.reason for part in read for one in part.rejects] == [RejectReason.TRUNCATED]
    assert counted(read) == {"rejects": 1}


def test_a_source_that_signs_its_lines_prints_none() -> None:
    chunk = chunk_of(f"{INDENTED}\n")
    signed = type(chunk)(1, "", LogFormat.AUTO, chunk.data, 0, None, b"key")
    (read,) = read_out(Parser(), [signed])
    assert [line.reason for line in read.foreign] == [ForeignReason.UNSIGNED]


BLOCKS = [
    NOISE,
    EVENT,
    TRACE,
    INDENTED[:70],
    "",
    "  }",
    "}",
    "WEBHOOK_METRIC:\n{'event_type': [1\n, 2], 'status': 's'\n}",
    "{\n  WEBHOOK_METRIC: {\n    'event_type': 'e'\n  }",
    json.dumps({"level": "info", "req": {"id": 7, "path": ["/x", "y"]}}, indent=2),
    *PRINTED.values(),
    *(t for t, _ in HALVES.values()),
]


@example([HALVES["torn by an indented event"][0], "  }"], [1], plain)
@given(
    st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=8),
    st.lists(st.integers(1, 12), min_size=1, max_size=5),
    st.sampled_from([plain, docker, cri]),
)
def test_how_a_log_is_cut_into_chunks_changes_nothing(
    blocks: list[str], sizes: list[int], wrap: Callable[[str], str]
) -> None:
    text = "\n".join(map(wrap, blocks))
    assert counted(in_chunks(text, *sizes)) == counted(in_chunks(text, 10_000))
    assert statuses(in_chunks(text, *sizes)) == statuses(in_chunks(text, 10_000))


_EVENT = {"metric_type": "WEBHOOK_METRIC", "event_type": "e", "status": "s"}
_PRINTED = json.dumps({**_EVENT, "more": [1, {"a": "b"}]}, indent=2)
_PIECES = [
    f"2026-11-20 08:07:00 - INFO - WEBHOOK_METRIC: {_EVENT}",
    json.dumps(_EVENT),
    "GET /health 200",
    "  at a place in a trace",
    _PRINTED,
    f"INFO WEBHOOK_METRIC: {_PRINTED}",
    f"INFO WEBHOOK_METRIC:\n{_PRINTED}",
    json.dumps({"other": [1, 2]}, indent=2),
    "INFO begins {",
    f"He says {_PRINTED}",
    _PRINTED[:60],
    "WEBHOOK_METRIC: {'event_type': 'e', 'sta",
    "}",
]


@given(
    order=st.lists(st.sampled_from(range(len(_PIECES))), min_size=1, max_size=12),
    alike=st.integers(0, 12),
    rows=st.booleans(),
)
def test_objects_among_alike_lines_come_to_what_they_do_line_by_line(
    order: list[int], alike: int, *, rows: bool
) -> None:
    several = [0] * alike + order + [0] * alike
    data = "".join(f"{_PIECES[one]}\n" for one in several).encode()

    def wanted(_triple: Triple) -> Wanted:
        return Fields(("event_type",)) if rows else True

    whole = read_out_of([chunk_of(data)], wanted)
    single = read_out_of(chunks_of_lines(data, [1]), wanted)
    assert whole == single


def read_out_of(chunks: list[Chunk], wanted: Callable[[Triple], Wanted]) -> list[object]:
    parser = Parser()
    parsed = [(chunk, parser.parse(chunk, now=NOW, wanted=wanted)) for chunk in chunks]
    parsed += list(parser.end_open(NOW, wanted, age=0.0))
    places = [place for _, one in parsed for place in one.places]
    odd = [(str(found.reason), found.position) for _, one in parsed
           for kind in (one.rejects, one.foreign, one.obscure) for found in kind]  # fmt: skip
    each = [parser.columns_of(chunk, one) for chunk, one in parsed]
    events = [(one.event(number).triple, one.times[number]) for one in each
              for number in range(len(one))]  # fmt: skip
    sums = [sum(getattr(one, name) for _, one in parsed)
            for name in ("lines", "event_lines", "pieces", "ignored")]  # fmt: skip
    return [sorted(places), sorted(odd), events, sums]
