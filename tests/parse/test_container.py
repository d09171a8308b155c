"""Lines that container runtimes wrap and split, joined across streams, chunks and files."""

import json
from collections.abc import Callable

import pytest

from sidecar.parse.event import MAX_LINE, Parsed, RejectReason
from sidecar.parse.parser import Parser
from support.parse import NOW, chunk_of, everything

FIELDS = {"pad": "x" * 20_000, "event_type": "a", "status": "b"}
TEXT = f"WEBHOOK_METRIC: {FIELDS}"
CUT = 16 * 1024  # where Docker and containerd cut
STAMP = "2026-11-02T08:01:16.911048585Z"
AT = pytest.approx(1_793_606_476.911048585, abs=1e-6)


def docker(text: str, *, last: bool = True, stream: str = "stderr") -> str:
    log = text + "\n" if last else text
    return json.dumps({"log": log, "stream": stream, "time": STAMP}) + "\n"


def cri(text: str, *, last: bool = True, stream: str = "stderr") -> str:
    return f"{STAMP} {stream} {'F' if last else 'P'} {text}\n"


Wrap = Callable[..., str]
WRAPS = pytest.mark.parametrize("wrap", [docker, cri])


def read(parser: Parser, text: str, *, start: int = 0, file: int = 1, log: str = "a") -> Parsed:
    chunk = chunk_of(text, start=start, file=file, log=log)
    return parser.parse(chunk, now=NOW, wanted=everything)


@WRAPS
def test_a_wrapped_line_has_the_containers_stamp(wrap: Wrap) -> None:
    (event,) = read(Parser(), wrap(TEXT)).events
    assert event.at == AT


@pytest.mark.parametrize("tags", ["F", "F:more", "F:a:b"])
def test_cri_tags_may_carry_more_than_the_first(tags: str) -> None:
    assert len(read(Parser(), f"{STAMP} stdout {tags} {TEXT}\n").events) == 1


@WRAPS
@pytest.mark.parametrize("cut", [CUT, CUT + 1, len(TEXT) - 20, len(TEXT) - 1])
def test_pieces_are_joined_without_a_separator(wrap: Wrap, cut: int) -> None:
    parsed = read(Parser(), wrap(TEXT[:cut], last=False) + wrap(TEXT[cut:]))
    assert [event.fields["pad"] for event in parsed.events] == [FIELDS["pad"]]
    assert parsed.lines == 2


@WRAPS
def test_streams_are_joined_apart(wrap: Wrap) -> None:
    other = TEXT.replace("'b'", "'c'")
    parsed = read(
        Parser(),
        wrap(TEXT[:CUT], last=False)
        + wrap(other[: CUT + 9], last=False, stream="stdout")
        + wrap(TEXT[CUT:])
        + wrap(other[CUT + 9 :], stream="stdout"),
    )
    assert [event.status for event in parsed.events] == ["b", "c"]


@WRAPS
def test_logs_are_joined_apart(wrap: Wrap) -> None:
    parser = Parser()
    read(parser, wrap(TEXT[:CUT], last=False), log="a")
    assert read(parser, wrap(TEXT[CUT:]), log="b").events == []
    assert len(read(parser, wrap(TEXT[CUT:]), log="a").events) == 1


@WRAPS
def test_a_line_goes_on_in_the_next_file_of_its_log(wrap: Wrap) -> None:
    parser = Parser()
    read(parser, wrap(TEXT[:CUT], last=False), file=1, start=5000)
    assert len(read(parser, wrap(TEXT[CUT:]), file=2).events) == 1


@WRAPS
def test_an_unfinished_line_says_where_it_begins(wrap: Wrap) -> None:
    done, piece = wrap(TEXT), wrap(TEXT[:CUT], last=False)
    parsed = read(Parser(), done + piece + wrap("chatter", stream="stdout"), start=100)
    assert parsed.open_from == 100 + len(done)


@WRAPS
def test_finished_lines_leave_nothing_open(wrap: Wrap) -> None:
    assert read(Parser(), wrap(TEXT[:CUT], last=False) + wrap(TEXT[CUT:])).open_from is None


@WRAPS
def test_a_line_begun_in_an_earlier_file_is_open_from_the_start(wrap: Wrap) -> None:
    parser = Parser()
    read(parser, wrap(TEXT[:CUT], last=False), file=1, start=5000)
    assert read(parser, wrap("chatter", stream="stdout"), file=2, start=70).open_from == 0


@WRAPS
def test_a_line_open_in_one_log_is_not_open_in_another(wrap: Wrap) -> None:
    parser = Parser()
    read(parser, wrap(TEXT[:CUT], last=False), log="a")
    assert read(parser, wrap("chatter"), log="b").open_from is None


@WRAPS
def test_after_a_restart_the_open_bytes_rebuild_the_line_and_count_nothing(
    wrap: Wrap,
) -> None:
    first = wrap(TEXT) + wrap(TEXT[:CUT], last=False) + wrap(TEXT, stream="stdout")
    before = read(Parser(), first)
    assert before.open_from is not None
    parser = Parser()
    parser.resume(chunk_of(first[before.open_from :], start=before.open_from, log="a"))
    after = read(parser, wrap(TEXT[CUT:]), start=len(first))
    assert (len(before.events), len(after.events), after.open_from) == (2, 1, None)


@WRAPS
def test_a_dropped_log_has_no_unfinished_lines(wrap: Wrap) -> None:
    parser = Parser()
    read(parser, wrap(TEXT[:CUT], last=False))
    parser.drop("a")
    assert read(parser, wrap(TEXT[CUT:])).events == []


MUCH = "x" * (MAX_LINE * 9 // 10)


def too_long(parsed: list[Parsed]) -> list[int]:
    rejects = [reject for part in parsed for reject in part.rejects]
    assert {reject.reason for reject in rejects} <= {RejectReason.TOO_LONG}
    return [reject.position for reject in rejects]


@WRAPS
def test_an_over_long_line_is_rejected_once_and_skipped_to_its_end(wrap: Wrap) -> None:
    parser = Parser()
    piece = wrap(MUCH, last=False)
    parts = [read(parser, wrap(TEXT[:CUT], last=False), start=7)]
    parts += [read(parser, piece, start=500) for _ in range(5)]
    parts += [
        read(parser, wrap("end") + wrap("WEBHOOK_METRIC: {'event_type': 'a', 'status': 'b'}"))
    ]
    assert too_long(parts) == [7]
    assert len(parts[-1].events) == 1


@WRAPS
def test_an_over_long_line_without_the_marker_is_no_reject(wrap: Wrap) -> None:
    assert too_long([read(Parser(), wrap(MUCH, last=False) * 3 + wrap("x"))]) == []


@WRAPS
def test_a_marker_late_in_an_over_long_line_is_still_seen(wrap: Wrap) -> None:
    text = wrap(MUCH, last=False) * 3 + wrap(TEXT[:80])
    assert too_long([read(Parser(), text)]) == [0]


def test_an_over_long_plain_line_with_the_marker_is_rejected() -> None:
    parser = Parser()
    text = f"noise\nWEBHOOK_METRIC: { {**FIELDS, 'pad': 'x' * MAX_LINE} }\n"
    assert too_long([read(parser, text), read(parser, "x" * (MAX_LINE + 9) + "\n")]) == [6]


def test_an_over_long_object_among_objects_is_rejected() -> None:
    short = json.dumps({"metric_type": "WEBHOOK_METRIC", "event_type": "a", "status": "b"})
    text = f'{short}\n{short[:-1]}, "pad": "{"x" * MAX_LINE}"}}\n'
    parsed = read(Parser(), text)
    assert (len(parsed.events), too_long([parsed])) == (1, [len(short) + 1])


def test_a_structured_record_with_a_log_field_is_not_taken_for_dockers() -> None:
    line = json.dumps({"log": TEXT, "level": "info"}) + "\n"
    assert len(read(Parser(), line).events) == 1


@pytest.mark.parametrize("keys", [{}, {"time": STAMP}], ids=["two keys", "all of Docker's"])
def test_lines_of_other_collectors_lack_their_newline_and_are_whole(keys: dict[str, str]) -> None:
    """Fluent Bit's `stream` and `log` were pieces for ever: 9,000 lines and no event."""
    lines = (
        json.dumps({"stream": "stdout", "log": f"WEBHOOK_METRIC: {short}", **keys})
        for short in [{"event_type": "a", "status": "b"}] * 9000
    )
    parsed = read(Parser(), "".join(f"{line}\n" for line in lines))
    assert (len(parsed.events), parsed.open_from) == (9000, None)


def test_what_a_container_wrote_last_without_a_newline_is_a_line() -> None:
    """Killed and started again, it goes on in the same log."""
    fields = {"event_type": "a", "status": "b"}
    parsed = read(
        Parser(),
        docker(f"WEBHOOK_METRIC: {fields}", last=False)
        + docker(f"WEBHOOK_METRIC: {fields}")
        + docker(TEXT[:CUT], last=False)
        + docker(TEXT[CUT:], last=False)
        + docker(f"WEBHOOK_METRIC: {fields}"),
    )
    assert [event.status for event in parsed.events] == ["b"] * 4


def test_an_event_that_has_dockers_fields_is_an_event() -> None:
    fields = {"metric_type": "WEBHOOK_METRIC", "event_type": "a", "status": "b"}
    line = json.dumps({"log": "x", "stream": "stdout", **fields}) + "\n"
    assert len(read(Parser(), line).events) == 1
    assert len(read(Parser(), "noise\n" + line).events) == 1
