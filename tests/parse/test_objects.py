"""The exact reader of Python reprs, and its agreement with the quick path."""

import datetime as dt
import decimal
import enum
import json
import math
import uuid
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.asked import Asked, fields_of
from sidecar.parse.event import ForeignReason, RejectReason, as_number
from sidecar.parse.objects import MAX_DEPTH, NOT_JSON, Unreadable, read_object
from sidecar.parse.values import read_whole

texts = st.text() | st.text(alphabet="'\"\\{}[],: \nNoneTrueFalse\x00é\U0001f600")
scalars = (
    texts
    | st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=6)


class Plan(enum.Enum):
    FREE = "free"
    ODD = "it's > {odd}"
    PAID = 2


class Opaque:
    def __repr__(self) -> str:
        return "Opaque(a=[1, 'x)'], b={2: <c>})"


def value_of(text: str) -> Any:
    fields, end = read_object("{'v': " + text + "}")
    assert end == len(text) + 7
    return fields["v"]


def reason_of(text: str) -> RejectReason | ForeignReason:
    with pytest.raises(Unreadable) as caught:
        read_object(text)
    return caught.value.reason


@given(objects)
def test_the_repr_of_plain_values_reads_back_as_the_values(fields: dict[str, Any]) -> None:
    text = repr(fields)
    assert read_object(text) == (fields, len(text))


@given(objects)
def test_json_reads_back_as_the_values(fields: dict[str, Any]) -> None:
    text = json.dumps(fields)
    assert read_object(text) == (fields, len(text))


@given(objects)
def test_the_quick_path_agrees_or_declines(fields: dict[str, Any]) -> None:
    text = repr(fields)
    try:
        quick = read_whole(text.encode())
    except NOT_JSON:
        return
    assert quick == fields


calls = st.sampled_from(
    [
        "Decimal(",
        "Decimal('1.50')",
        "UUID('x')",
        "MyDecimal('1')",
        "Decimal('NaN')",
        ")",
        "1",
        "[",
        "]",
    ]
)
decimals = st.decimals(-(10**6), 10**6, allow_nan=False) | st.decimals()


@given(st.dictionaries(calls, calls | st.uuids() | decimals | st.none(), max_size=5))
def test_the_quick_path_agrees_about_calls_or_declines(fields: dict[str, Any]) -> None:
    text = repr(fields)
    try:
        quick = read_whole(text.encode())
    except NOT_JSON:
        return
    exact, _end = read_object(text)
    assert repr(quick) == repr(exact)


@given(st.dictionaries(st.sampled_from(["a", "Nobody", "True North"]), st.none() | st.booleans()))
def test_the_quick_path_takes_words_in_structure_and_leaves_them_in_texts(
    fields: dict[str, Any],
) -> None:
    assert read_whole(repr(fields).encode()) == fields


signs = st.text(st.sampled_from("'\"\\\1\0a1 ,:{}()"), max_size=6) | st.just(" Decimal('1')")
texts = signs | st.sampled_from(["it's", 'a "quoted" one', "None", "can't", 'x": "y'])


@given(st.dictionaries(texts, texts | st.none() | decimals, min_size=1, max_size=4), st.data())
def test_the_quick_path_agrees_about_quotes_also_torn_ones_or_declines(
    fields: dict[str, Any], data: st.DataObject
) -> None:
    text = repr(fields)
    begin = data.draw(st.integers(2, len(text) - 1))
    end = begin + data.draw(st.integers(0, 2))
    for written in (text, text[:begin] + data.draw(signs) + text[end:]):
        try:
            quick = read_whole(written.encode())
        except NOT_JSON:
            continue
        exact, end = read_object(written)
        assert (repr(quick), written[end:].strip()) == (repr(exact), "")


def test_the_quick_path_takes_texts_in_either_quotes() -> None:
    fields = {"a": "it's", "b": 'a "quoted" one', "it's c": None, "d": decimal.Decimal("1.5")}
    assert read_whole(repr(fields).encode()) == fields


TZ = dt.timezone
ODD: dict[str, tuple[Any, Any]] = {
    "decimal": (decimal.Decimal("1.50"), 1.5),
    "whole decimal": (decimal.Decimal(12), 12),
    "uuid": (uuid.UUID(int=7), str(uuid.UUID(int=7))),
    "naive datetime": (
        dt.datetime(2026, 11, 2, 8, 17, 48, 209280),  # noqa: DTZ001 - what hosts log
        "2026-11-02T08:17:48.209280",
    ),
    "utc datetime": (
        dt.datetime(2026, 11, 2, 8, 17, tzinfo=dt.UTC),
        "2026-11-02T08:17:00+00:00",
    ),
    "offset datetime": (
        dt.datetime(2026, 11, 2, 8, tzinfo=TZ(dt.timedelta(hours=-5, minutes=-30))),
        "2026-11-02T08:00:00-05:30",
    ),
    "date": (dt.date(2026, 11, 2), "2026-11-02"),
    "timedelta": (dt.timedelta(days=1, seconds=5), 86405.0),
    "enum": (Plan.FREE, "free"),
    "enum of odd text": (Plan.ODD, "it's > {odd}"),
    "enum of a number": (Plan.PAID, 2),
    "tuple": ((1, (2,), ()), [1, [2], []]),
    "set": ({5}, [5]),
    "empty set": (set(), []),
    "frozenset": (frozenset({5}), [5]),
    "empty frozenset": (frozenset(), []),
    "bytes": (b"caf\xc3\xa9'\xff", "café'\ufffd"),
    "opaque call": (Opaque(), repr(Opaque())),
    "complex": (1 + 2j, "1+2j"),
    "class": (int, "<class 'int'>"),
    "ellipsis": (..., "Ellipsis"),
    "integer beyond 64 bits": (10**30, "1" + "0" * 30),
    "integer beyond floats": (10**350, "1" + "0" * 350),
    "infinity": (-math.inf, -math.inf),
    "keys that are no texts": (
        {1: "a", None: "b", (1, 2): "c"},
        {"1": "a", "None": "b", "[1, 2]": "c"},
    ),
}


@pytest.mark.parametrize(("value", "plain"), ODD.values(), ids=ODD)
def test_odd_values_give_their_plain_value_or_their_text(value: Any, plain: Any) -> None:
    assert value_of(repr(value)) == plain


WRITTEN: dict[str, Any] = {
    "1.5": 1.5,
    "49.90": 49.9,
    "1e-07": 1e-07,  # as Python writes it
    "1e5": "1e5",
    "12E5": "12E5",
    "340282366920938463463374607431768211455": "340282366920938463463374607431768211455",
    "-9223372036854775809": "-9223372036854775809",
    "18446744073709551615": 18446744073709551615,
    "0.12345678901234567": 0.12345678901234567,
    "0.1234567890123456712": "0.1234567890123456712",
}


@pytest.mark.parametrize(("text", "value"), WRITTEN.items(), ids=WRITTEN)
def test_a_number_that_would_lose_something_as_one_stays_text(text: str, value: Any) -> None:
    asked = Asked(["a"]).fields_of([f'{{"a": {text}}}'.encode()])
    by_json = fields_of(f'{{"a": {text}}}'.encode())["a"]
    by_repr = fields_of(f"{{'a': {text}}}".encode())["a"]
    assert [value_of(text), by_json, by_repr, *(asked["a"] or ())] == [value] * 4
    assert as_number(value) == float(text)


def test_nan_stays_a_float() -> None:
    assert math.isnan(value_of("nan"))


TEXTS = {
    "zoned by name only": "datetime.datetime(2026, 1, 2, tzinfo=ZoneInfo(key='Europe/Berlin'))",
    "impossible date": "datetime.date(2026, 2, 30)",
    "decimal of words": "Decimal('many')",
    "decimal of endless digits": "Decimal('" + "9" * 401 + "')",
    "call upon a call": "__import__('os').system('true')",
    "nested angles": "<Response [<Status 200>]>",
    "bare word": "undefined_thing",
    "address": "<object object at 0x7f24662c4900>",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_has_no_plain_value_is_kept_as_its_text(text: str) -> None:
    assert value_of(text) == text


ZONES = ["datetime.timezone.utc", "<UTC>", "tzutc()", "TzInfo(UTC)", "zoneinfo.ZoneInfo(key='UTC')"]


@pytest.mark.parametrize("zone", ZONES)
def test_utc_is_known_by_all_its_reprs(zone: str) -> None:
    text = f"datetime.datetime(2026, 1, 2, 3, 4, tzinfo={zone})"
    assert value_of(text) == "2026-01-02T03:04:00+00:00"


def test_nothing_is_ever_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    assert value_of("print('evaluated')") == "print('evaluated')"
    assert capsys.readouterr().out == ""


def test_the_end_is_where_the_object_ends() -> None:
    text = "x {'a': {'b': \"it's\"}} and {more}"
    assert read_object(text, 2) == ({"a": {"b": "it's"}}, text.index(" and"))


def test_a_json_pair_of_surrogates_is_one_character() -> None:
    assert value_of('"\\ud83d\\ude00"') == "😀"


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert value_of('"a\\ud800b"') == "a\ufffdb"


BROKEN = {
    "nothing": ("", RejectReason.TRUNCATED),
    "brace": ("{", RejectReason.TRUNCATED),
    "in a key": ("{'a", RejectReason.TRUNCATED),
    "after a key": ("{'a'", RejectReason.TRUNCATED),
    "after a colon": ("{'a': ", RejectReason.TRUNCATED),
    "in a text": ("{'a': 'b", RejectReason.TRUNCATED),
    "in a number": ("{'a': 1", RejectReason.TRUNCATED),
    "after an entry": ("{'a': 1,", RejectReason.TRUNCATED),
    "in a call": ("{'a': Decimal('1'", RejectReason.TRUNCATED),
    "in an angle": ("{'a': <Plan.FREE: 'free'", RejectReason.TRUNCATED),
    "in an inner list": ("{'a': [1, 2", RejectReason.TRUNCATED),
    "no colon": ("{'a' 1}", RejectReason.MALFORMED),
    "no value": ("{'a': }", RejectReason.MALFORMED),
    "no comma": ("{'a': 1 'b': 2}", RejectReason.MALFORMED),
    "only a comma": ("{,}", RejectReason.MALFORMED),
    "wrong bracket": ("{'a': [1}", RejectReason.MALFORMED),
    "set and dict at once": ("{'a': 1, 'b'}", RejectReason.MALFORMED),
    "a list": ("['a']", RejectReason.NOT_AN_OBJECT),
    "a set": ("{'a'}", RejectReason.NOT_AN_OBJECT),
    "a text": ("'a'", RejectReason.NOT_AN_OBJECT),
    "endlessly many values": ("{'a': [" + "1," * 100_001 + "]}", RejectReason.TOO_LONG),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_refused_with_its_reason(text: str, reason: RejectReason) -> None:
    assert reason_of(text) is reason


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("[", "]"), ("{'a': ", "}"), ("(", ",)"), ("Decimal(", ")"), ("<A.b: ", ">")],
    ids=["lists", "dicts", "tuples", "calls", "enums"],
)
def test_depth_is_bounded_and_what_lies_deeper_is_text(opening: str, closing: str) -> None:
    for depth in (MAX_DEPTH, MAX_DEPTH + 1, 5_000):
        fields, _end = read_object("{'v': " + opening * depth + "1" + closing * depth + "}")
        assert isinstance(json.dumps(fields), str)


def test_an_unfinished_nest_is_truncated_however_deep() -> None:
    assert reason_of("{'a': " * 10_000) is RejectReason.TRUNCATED


@given(objects, st.data())
def test_a_repr_cut_short_is_refused(fields: dict[str, Any], data: st.DataObject) -> None:
    text = repr(fields)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    assert reason_of(cut) in {RejectReason.TRUNCATED, RejectReason.MALFORMED}
