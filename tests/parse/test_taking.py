"""Patterns of structured lines: JSON objects and logfmt pairs whose fields have other names."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.event import Event, Fields, Parsed, Triple, Wanted, as_text
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern
from sidecar.parse.taking import Taking
from support.calls import calls
from support.parse import NOW, chunk_of, chunks_of_lines, event_in, everything

TAKES = {
    "event_type": "event",
    "status": "level",
    "webhook_provider": "provider",
    "timestamp": "ts",
    "org_id": "customer.id",
}
PADDLE = Pattern(
    name="paddle",
    json=Taking(where={"msg": ("webhook failed",)}, take=TAKES),
    map={"status": {"error": "processing_error"}},
)
LOGFMT = Pattern(
    name="logfmt",
    logfmt=Taking(
        where={"msg": ("webhook failed",)}, take={"event_type": "event", "org_id": "customer.id"}
    ),
    fields={"status": "failed"},
)
LINE: dict[str, Any] = {
    "ts": "2026-11-02T08:01:16Z",
    "level": "error",
    "msg": "webhook failed",
    "provider": "paddle",
    "event": "subscription.past_due",
    "customer": {"id": "ctm_1", "name": "Acme"},
}
AT = 1_793_606_476.0


def read(text: str, *patterns: Pattern) -> Parsed:
    return Parser(patterns).parse(chunk_of(text), now=NOW, wanted=everything)


def events(text: str, *patterns: Pattern) -> list[Event]:
    return read(text, *patterns).events


def asking(where: Mapping[str, tuple[str, ...]], **take: str) -> Pattern:
    fields = {"event_type": "t", "status": "s"}
    return Pattern(name="p", json=Taking(where=where, take=take), fields=fields)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("before", ["", "2026-11-02 08:00:00 - ERROR - "], ids=["bare", "behind"])
def test_an_object_is_an_event_in_any_order_of_its_keys(seed: int, before: str) -> None:
    keys = [*LINE]
    random.Random(seed).shuffle(keys)
    (event,) = events(before + json.dumps({key: LINE[key] for key in keys}) + "\n", PADDLE)
    assert event == Event(
        "paddle",
        "subscription.past_due",
        "processing_error",
        AT,
        {
            "webhook_provider": "paddle",
            "event_type": "subscription.past_due",
            "status": "processing_error",
            "timestamp": "2026-11-02T08:01:16Z",
            "org_id": "ctm_1",
        },
    )


def test_a_record_gives_its_time_though_nobody_takes_it() -> None:
    assert events(json.dumps(LINE) + "\n", asking({"level": ("error",)}))[0].at == AT


@pytest.mark.parametrize(
    ("where", "is_event"),
    [
        ({"level": ("error",)}, True),
        ({"level": ("warning", "error")}, True),
        ({"level": ("warning",)}, False),
        ({"level": ("error",), "msg": ("other",)}, False),
        ({"customer.id": ("=~ctm_.*",)}, True),
        ({"customer.id": ("=~ctm",)}, False),
        ({"customer.id": ("=~ org_.*", "ctm_1")}, True),
        ({"code": ("503",)}, True),
        ({"code": ("=~5..",)}, True),
        ({"again": ("true",)}, True),
        ({"user-id": ("7",)}, True),
        ({"@client": ("x",)}, True),
        ({"dotted.name": ("y",)}, True),
        ({"absent": ("x",)}, False),
        ({"absent": ("",)}, True),
        ({"customer": ("ctm_1",)}, False),
    ],
)
def test_all_of_where_must_hold(where: dict[str, tuple[str, ...]], *, is_event: bool) -> None:
    odd = {"code": 503, "again": True, "user-id": 7, "@client": "x", "dotted.name": "y"}
    assert len(events(json.dumps({**LINE, **odd}) + "\n", asking(where))) == is_event


def test_names_that_no_rule_can_write_are_taken_under_others() -> None:
    text = json.dumps({"msg": "webhook failed", "user-id": 7, "@client": {"a b": [1]}})
    taken = asking({"msg": ("webhook failed",)}, user="user-id", client="@client", none="nothing")
    (event,) = events(text + "\n", taken)
    assert (event.get("user"), event.get("client")) == (7, {"a b": [1]})
    assert "none" not in event.fields


def test_what_becomes_a_label_is_a_text() -> None:
    taken = replace(asking({"msg": ("webhook failed",)}, status="code"), fields={"event_type": "t"})
    (event,) = events('{"msg": "webhook failed", "code": 503}\n', taken)
    assert event.status == "503"


@pytest.mark.parametrize(
    "text",
    [
        f"a customer wrote {json.dumps(LINE)}",
        f"{json.dumps(LINE)} and more",
        json.dumps({"msg": json.dumps(LINE)}),
        json.dumps({"level": "info", "body": LINE}),
        json.dumps(LINE)[:-1],
        "webhook failed",
    ],
)
def test_an_object_that_a_line_quotes_is_no_event(text: str) -> None:
    assert events(text + "\n", PADDLE) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('level=error msg="webhook failed" event=a.b customer.id=7', ("a.b", "7")),
        ('INFO event=a.b customer.id="x \\"y\\"" msg="webhook failed"', ("a.b", 'x "y"')),
        ('msg="webhook failed" event=a.b customer.id=', ("a.b", "")),
        ('msg="webhook failed" event=a.b event=c.d', None),
        ('user="msg=\\"webhook failed\\" event=a.b"', None),
        ('note="webhook failed" event=a.b', None),
        ('somebody said msg="webhook failed" event=a.b', None),
        ('msg="webhook failed" event=a.b and more', None),
        ('msg="webhook failed event=a.b', None),
    ],
)
def test_pairs_are_an_event_where_the_line_is_nothing_else(
    text: str, found: tuple[str, str] | None
) -> None:
    made = [(event.event_type, event.text("org_id")) for event in events(text + "\n", LOGFMT)]
    assert made == ([] if found is None else [found])


def test_a_record_with_the_marker_keeps_its_own_fields() -> None:
    renamed = Pattern(name="p", json=Taking(take={"org_id": "user-id"}), marker=True)
    line = 'INFO - WEBHOOK_METRIC: {"event_type": "a", "status": "b", "user-id": 7}\n'
    (event, *more) = events(line * 20, renamed)
    assert (event.event_type, event.get("org_id"), event.get("user-id")) == ("a", 7, 7)
    assert more == [event] * 19


def test_a_record_with_the_marker_and_other_names_is_an_event() -> None:
    taking = Taking(where={"app": ("billing",)}, take={"event_type": "kind", "status": "outcome"})
    renamed = Pattern(name="p", json=taking, marker=True)
    line = '{"metric_type": "WEBHOOK_METRIC", "app": "%s", "kind": "a", "outcome": "b"}\n'
    parsed = read(line % "billing" + line % "other", renamed)
    assert [event.triple for event in parsed.events] == [("unknown", "a", "b")]
    assert [reject.reason.value for reject in parsed.rejects] == ["missing_field"]


def test_a_sentence_and_a_record_are_each_read_by_their_pattern() -> None:
    sentence = Pattern(name="s", regex="^it is lost$", fields={"event_type": "l", "status": "s"})
    text = f"it is lost\n{json.dumps(LINE)}\n{json.dumps({'msg': 'it is lost'})}\n"
    found = [event.event_type for event in events(text, sentence, PADDLE)]
    assert found == ["l", "subscription.past_due", "l"]


values = st.text(max_size=12) | st.integers() | st.booleans() | st.floats(allow_nan=False)


@given(
    record=st.dictionaries(
        st.sampled_from(["msg", "level", "a-b", "ä", "of.x"]), values, min_size=1
    ),
    ascii_only=st.booleans(),
    separators=st.sampled_from([(", ", ": "), (",", ":")]),
)
def test_no_line_is_passed_over_that_where_lets_through(
    record: dict[str, Any], *, ascii_only: bool, separators: tuple[str, str]
) -> None:
    line = json.dumps(record, ensure_ascii=ascii_only, separators=separators)
    text = line.encode("utf-8", "replace")
    read_back = event_in(b'WEBHOOK_METRIC: {"event_type": "t", "status": "s", ' + text[1:]).fields
    exact = {name: as_text(read_back[name]) for name in record}
    where = {name: (value,) for name, value in exact.items() if not value.startswith("=~")}
    (event,) = (
        Parser([asking(where)]).parse(chunk_of(text + b"\n"), now=NOW, wanted=everything).events
    )
    assert event.triple == ("unknown", "t", "s")


others = st.sampled_from(
    [
        json.dumps({"metric_type": "WEBHOOK_METRIC", "event_type": "x", "status": "y"}),
        'INFO - WEBHOOK_METRIC: {"event_type": "x", "status": "y"}',
        json.dumps(LINE),
        json.dumps({**LINE, "level": 5}),
        json.dumps({**LINE, "event": None}),
        'level=error msg="webhook failed" event=a.b customer.id=7',
        json.dumps({**LINE, "msg": "served"}),
        "noise",
    ]
)


@given(st.lists(others, min_size=9, max_size=40))
def test_taken_lines_between_blocks_are_what_they_are_by_themselves(texts: list[str]) -> None:
    data = ("\n".join(texts) + "\n").encode()
    together = Parser([PADDLE, LOGFMT]).parse(chunk_of(data), now=NOW, wanted=everything)
    parser = Parser([PADDLE, LOGFMT])
    single = [parser.parse(c, now=NOW, wanted=everything) for c in chunks_of_lines(data, [1])]
    assert together.events == [event for parsed in single for event in parsed.events]
    assert together.rejects == [reject for parsed in single for reject in parsed.rejects]


def asked_of(pattern: Pattern, **more: str) -> Taking:
    taking = pattern.taking
    assert taking is not None
    return replace(taking, take={**taking.take, **more})


TAKEN = replace(
    PADDLE,
    json=Taking(
        where={"msg": ("webhook failed", "=~failed .*")},
        take={**TAKES, "cost": "n", "who": "customer", "metric_type": "kind"},
    ),
    record_fields=("level",),
)
stamps = st.sampled_from(
    ["2026-11-02T08:01:16Z", "2026-11-02T08:01:16.123456789+02:00", "2026-11-02 08:01", "soon", "",
     1_793_606_476, 1_793_606_476_123, 1_793_606_476.25, 1_793_606_476_123_456_789, 1, True, None]
)  # fmt: skip
costs = st.sampled_from(
    [0.5, 1e16, 1e-7, 10**30, -0.0, True, None, "1", {"x": 1e300}, [0.1, "\x00"]]
)
records_of = st.fixed_dictionaries(
    {"msg": st.sampled_from(["webhook failed", "failed twice", "webhook failed, not"])},
    optional={
        "ts": stamps,
        "n": costs,
        "level": st.sampled_from(["error", "warn", 5, ""]),
        "event": st.sampled_from(["a.b", "c", 7, None]),
        "provider": st.sampled_from(["paddle", "", None, "sidecar", "x" * 300]),
        "customer": st.sampled_from([{"id": "é"}, {"id": 7}, {}, "olga"]),
        "kind": st.just("mine"),
        "sidecar_source": st.just("forged"),
    },
)
lines_of = st.one_of(
    st.builds(json.dumps, records_of, ensure_ascii=st.booleans()),
    st.builds(lambda one: json.dumps(one)[:-1], records_of),
    st.sampled_from(
        [
            json.dumps({**LINE, "msg": "WEBHOOK_METRIC"}),
            json.dumps({**LINE, "metric_type": "WEBHOOK_METRIC", "event_type": "x", "status": "y"}),
            json.dumps({"msg": "webhook failed", "metric_type": "WEBHOOK_METRIC"}).replace(
                "K_", "K\\u005f"
            ),
            json.dumps(LINE) + "\r",
            json.dumps(LINE).replace(", ", ",\r", 1),
            json.dumps(LINE) + " trailing",
            'level=error ts=2026-11-02T08:01:16Z msg="webhook failed" event=a.b customer.id=7',
            '2026-11-02 08:01:16 INFO msg="webhook failed" event=a.b',
        ]
    ),
)


@given(st.lists(lines_of | others, min_size=1, max_size=30))
def test_rows_of_what_patterns_take_are_what_each_line_is_by_itself(texts: list[str]) -> None:
    patterns = [TAKEN, replace(LOGFMT, logfmt=asked_of(LOGFMT, timestamp="ts"))]
    chunk = chunk_of(("\n".join(texts) + "\n").encode())
    for names in (("org_id", "cost", "who.id", "level"), ("timestamp",)):
        parser, alone = Parser(patterns), Parser(patterns)
        parsed = parser.parse(chunk, now=NOW, wanted=asking_for(names))
        singly = [
            alone.parse(c, now=NOW, wanted=everything) for c in chunks_of_lines(chunk.data, [1])
        ]
        expected = [event for one in singly for event in one.events]
        columns = parser.columns_of(chunk, parsed)
        made = [columns.event(number) for number in range(len(columns))]
        assert repr([_sorted(one) for one in made]) == repr([_sorted(one) for one in expected])
        for name in names:
            assert repr(columns.column(name)) == repr([event.get(name) for event in expected])
        assert parsed.rejects == [reject for one in singly for reject in one.rejects]
        assert parsed.places == [place for one in singly for place in one.places]
        counted = ("lines", "bad_times", "future", "own_fields")
        assert [getattr(parsed, n) for n in counted] == [
            sum(getattr(one, n) for one in singly) for n in counted
        ]


def asking_for(names: tuple[str, ...]) -> Callable[[Triple], Wanted]:
    return lambda _: Fields(names)


@pytest.mark.parametrize(
    ("pattern", "line", "most"),
    [
        (PADDLE, json.dumps(LINE), 30),
        (
            replace(LOGFMT, logfmt=asked_of(LOGFMT, timestamp="ts")),
            'ts=2026-11-02T08:01:16Z msg="webhook failed" event=a.b customer.id=7',
            50,
        ),
    ],
    ids=["json", "logfmt"],
)
def test_lines_taken_together_cost_few_calls(pattern: Pattern, line: str, most: int) -> None:
    def spent(lines: int) -> int:
        chunk = chunk_of(f"{line}\n" * lines)
        parser = Parser([pattern, replace(PADDLE, name="second"), replace(LOGFMT, name="third")])
        return calls(lambda: parser.parse(chunk, now=NOW, wanted=asking_for(("org_id", "n"))))

    assert (spent(300) - spent(100)) / 200 <= most


def _sorted(event: Event) -> tuple[Any, ...]:
    return (event.triple, event.at, sorted(event.fields.items()))
