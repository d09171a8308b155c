"""Patterns: plain text lines that become events."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
import re2
from hypothesis import given, strategies as st

from sidecar.parse.event import Parsed, RejectReason
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern, required_literal
from support.parse import NOW, agentops_patterns, chunk_of, everything, nothing

AT = 1_793_606_476.0
EVENT = "WEBHOOK_METRIC: {'event_type': 'a', 'status': 'b'}"


def pattern(regex: str, **fields: str) -> Pattern:
    return Pattern(name="p", regex=regex, fields={"event_type": "t", "status": "s", **fields})


def read(text: str | bytes, *patterns: Pattern) -> Parsed:
    return Parser(patterns).parse(chunk_of(text), now=NOW, wanted=everything)


def fields_of(line: str, *patterns: Pattern) -> Mapping[str, object]:
    (event,) = read(line + "\n", *patterns).events
    return event.fields


def test_named_groups_and_fixed_fields_make_the_event() -> None:
    fields = fields_of("order 7 lost", pattern(r"order (?P<order>\d+) lost", team="x"))
    assert fields == {
        "event_type": "t",
        "status": "s",
        "team": "x",
        "order": "7",
        "webhook_provider": "unknown",
    }


def test_a_named_group_wins_over_a_fixed_field() -> None:
    assert fields_of("state=late", pattern(r"state=(?P<status>\w+)"))["status"] == "late"


def test_a_group_that_matched_nothing_leaves_the_fixed_field() -> None:
    assert fields_of("state=", pattern(r"state=(?P<status>\w+)?"))["status"] == "s"


def test_a_fixed_field_is_put_together_of_named_groups() -> None:
    taken = pattern(r"took (?:(?P<s>\d+)\.(?P<ms>\d{3}) )?(?P<n>\d)", took="{s}{ms}", n="no. {n}")
    fields = fields_of("took 1.250 3", taken)
    assert (fields["took"], fields["n"]) == ("1250", "no. 3")
    assert fields.keys().isdisjoint({"s", "ms"})


def test_a_field_put_together_of_nothing_is_left_out() -> None:
    taken = pattern(r"took (?:(?P<s>\d+) )?x", took="{s}000")
    assert "took" not in fields_of("took x", taken)


def test_the_first_pattern_that_matches_makes_the_event() -> None:
    first, second = pattern("lost it", n="1"), pattern("lost", n="2")
    assert fields_of("lost it", first, second)["n"] == "1"
    assert fields_of("lost", first, second)["n"] == "2"


def test_a_pattern_is_anchored_to_its_line_only() -> None:
    parsed = read("not lost\nlost\nlost again\n", pattern("^lost$"))
    assert len(parsed.events) == 1


def test_a_carriage_return_is_not_part_of_the_line() -> None:
    assert len(read("lost\r\n", pattern("lost$")).events) == 1


def test_a_pattern_with_nothing_fixed_is_tried_on_every_line() -> None:
    parsed = read(f"a1\n\nb\n{EVENT}\nc2", pattern(r"^[a-z]\d$"))
    assert [event.event_type for event in parsed.events] == ["t", "a", "t"]


def test_events_of_markers_and_patterns_come_in_the_order_of_the_log() -> None:
    text = f"{EVENT}\nlost one\n{EVENT}\n{EVENT}\nlost two\nnoise\nfound\n{EVENT}\n"
    parsed = read(text, pattern("lost"), pattern("found"))
    assert [event.event_type for event in parsed.events] == list("ataatta")


def test_a_line_with_marker_and_match_is_the_markers_event_only() -> None:
    assert [event.event_type for event in read(f"lost {EVENT}\n", pattern("lost")).events] == ["a"]


def test_a_line_that_merely_mentions_the_marker_may_match() -> None:
    assert len(read("lost WEBHOOK_METRIC\n", pattern("lost")).events) == 1


def test_a_match_without_status_is_a_reject() -> None:
    parsed = read("lost\n", Pattern(name="p", regex="lost", fields={"event_type": "t"}))
    assert [reject.reason for reject in parsed.rejects] == [RejectReason.MISSING_FIELD]


def test_bytes_that_are_no_utf8_do_not_hide_a_match() -> None:
    assert len(read(b"caf\xe9 order lost\n", pattern("caf. order")).events) == 1


def test_unwanted_matches_are_tallied() -> None:
    parser = Parser([pattern("lost")])
    parsed = parser.parse(chunk_of("lost\nlost\n"), now=NOW, wanted=nothing)
    assert parsed.tallies[("unknown", "t", "s")].count == 2


def test_a_pattern_is_searched_in_unwrapped_container_lines() -> None:
    docker = {"log": "lost\n", "stream": "stdout", "time": "2026-11-02T08:01:16Z"}
    text = json.dumps(docker) + "\n2026-11-02T08:01:16Z stderr F lost\n"
    assert [event.at for event in read(text, pattern("^lost$")).events] == [AT, AT]


def test_in_a_structured_record_the_message_is_searched_and_the_record_gives_the_time() -> None:
    line = json.dumps({"timestamp": "2026-11-02T08:01:16Z", "event": 'lost "it"'})
    (event,) = read(line + "\n", pattern('^lost "it"$')).events
    assert event.at == AT


def test_the_lines_own_stamp_is_its_time() -> None:
    (event,) = read("2026-11-02 08:01:16 - INFO - lost\n", pattern("lost")).events
    assert event.at == AT


def test_a_regex_that_is_not_re2_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="not an RE2 pattern"):
        Parser([pattern("(?=ahead)")])


LITERALS = {
    r"Subscription updated for org (?P<org>\S+)": "Subscription updated for org ",
    r"(?:a|b)?Removed all licenses (?:x|y) ok": "Removed all licenses ",
    r"past \d+-day grace period\. Demoting": "-day grace period. Demoting",
    r"order+ lost": "order",
    r"[lm]ost[^]]order[\]]": "order",
    r"lost (?P<x>nested (deep)) words": " words",
    r"lostx*": "lost",
    r"lost{0,3} it": "los",
    'in "quotes" or not': " or not",
    "a café/bar it is": "bar it is",
    "": "",
    "abc": "",
    r"\d+": "",
    "order lost|order found": "",
    "(?i)order lost": "",
    r"(?P<x>order lost)": "",
    r"\Qorder lost\E": "",
    r"order lost\x41": "",
    "order lo(?i:st) it": "",
}


@pytest.mark.parametrize(("regex", "literal"), LITERALS.items(), ids=LITERALS)
def test_the_literal_a_match_must_contain(regex: str, literal: str) -> None:
    least = literal if len(literal) >= 4 else ""
    assert required_literal(regex) == least


PARTS = ["order ", "lost", "x*", "(?:up)?", "[ab]", r"\d", ".", "(a|b)", "e+", "l?", "z{0,2}"]


@given(st.lists(st.sampled_from(PARTS), max_size=6), st.text("order lostxupab1e.z", max_size=30))
def test_no_match_is_without_the_literal(parts: list[str], text: str) -> None:
    regex = "".join(parts)
    if re2.search(regex, text):
        assert required_literal(regex) in text


@pytest.mark.parametrize("loaded", agentops_patterns(), ids=lambda pattern: pattern.name)
def test_each_shipped_pattern_has_a_literal_that_spares_other_lines(loaded: Pattern) -> None:
    assert len(required_literal(loaded.regex)) > 12


def test_what_ends_a_message_beside_its_text_is_no_part_of_it() -> None:
    for tail in ("", " ", "\t ", "\x1b[0m", " \x1b[0m ", "\0"):
        assert len(read(f"lost it{tail}\n", pattern("lost it$")).events) == 1
    assert read("lost it.\n", pattern("lost it$")).events == []


def test_a_pattern_takes_fields_of_the_record_around_its_message() -> None:
    one = replace(pattern("lost", id="none"), record_fields=("id", "org", "gone", "status"))
    around = {"message": "lost", "id": "evt_1", "status": "late", "gone": None, "other": 1}
    fields = fields_of(json.dumps(around), one)
    assert {name: fields.get(name) for name in ("id", "status", "gone", "other")} == {
        "id": "evt_1", "status": "late", "gone": None, "other": None,
    }  # fmt: skip
    assert fields_of("lost", one)["id"] == "none"
