"""The shipped samples: every form the sidecar promises to read, against their known truth."""

from collections import Counter

import pytest

from sidecar.parse.event import LogFormat, Parsed, RejectReason
from sidecar.parse.parser import Parser
from support.parse import (
    EXPECTED,
    NOW,
    SAMPLES,
    agentops_patterns,
    chunk_of,
    chunks_of_lines,
    counts,
    everything,
    expected_counts,
    nothing,
)

COUNTED = [name for name, truth in EXPECTED.items() if "by" in truth]
SPLITS = {"line by line": [1], "uneven": [3, 1, 7, 2], "hundreds": [100]}


def read(name: str, parser: Parser | None = None, form: LogFormat = LogFormat.AUTO) -> Parsed:
    chunk = chunk_of((SAMPLES / name).read_bytes(), log_format=form)
    return (parser or Parser()).parse(chunk, now=NOW, wanted=everything)


@pytest.mark.parametrize("name", COUNTED)
def test_events_equal_the_truth_when_all_are_wanted(name: str) -> None:
    parsed = read(name)
    assert counts([parsed]) == expected_counts(name)
    assert parsed.tallies == {}
    assert parsed.rejects == []


@pytest.mark.parametrize("name", COUNTED)
def test_tallies_equal_the_truth_when_none_is_wanted(name: str) -> None:
    data = (SAMPLES / name).read_bytes()
    parsed = Parser().parse(chunk_of(data), now=NOW, wanted=nothing)
    assert counts([parsed]) == expected_counts(name)
    assert parsed.events == []


@pytest.mark.parametrize("name", COUNTED)
def test_tallied_and_whole_events_agree_on_the_newest_time(name: str) -> None:
    data = (SAMPLES / name).read_bytes()
    tallied = Parser().parse(chunk_of(data), now=NOW, wanted=nothing)
    assert tallied.last_at == read(name).last_at == max(e.at for e in read(name).events)


@pytest.mark.parametrize("sizes", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("name", [*COUNTED, "hostile.log"])
def test_splitting_at_newlines_changes_nothing(name: str, sizes: list[int]) -> None:
    whole = read(name)
    parser = Parser()
    parts = [
        parser.parse(chunk, now=NOW, wanted=everything)
        for chunk in chunks_of_lines((SAMPLES / name).read_bytes(), sizes)
    ]
    assert repr([e for part in parts for e in part.events]) == repr(whole.events)
    assert [r for part in parts for r in part.rejects] == whole.rejects
    assert sum(part.lines for part in parts) == whole.lines


@pytest.mark.parametrize(
    ("name", "log_format"),
    [
        ("docker-json.log", LogFormat.DOCKER),
        ("cri.log", LogFormat.CRI),
        ("host-text.log", LogFormat.PLAIN),
        ("json-lines.log", LogFormat.PLAIN),
        ("structured.log", LogFormat.PLAIN),
    ],
)
def test_a_pinned_format_reads_its_own_sample(name: str, log_format: LogFormat) -> None:
    assert counts([read(name, form=log_format)]) == expected_counts(name)


def test_the_agentops_patterns_state_exactly_the_text_facts() -> None:
    parsed = read("agentops-host.log", Parser(agentops_patterns()))
    facts = [
        [event.event_type, event.status, event.text("org_id")]
        for event in parsed.events
        if "seat_quantity" in event.fields
    ]
    assert facts == EXPECTED["agentops-host.log"]["text_facts"]


def test_the_agentops_patterns_add_to_the_records_and_take_none_away() -> None:
    parsed = read("agentops-host.log", Parser(agentops_patterns()))
    added = counts([parsed]) - expected_counts("agentops-host.log")
    by_type = Counter[str]()
    for (_provider, event_type, _status), count in added.items():
        by_type[event_type] += count
    assert by_type == {
        "customer.subscription.updated": 36,
        "customer.subscription.grace_period": 11,
        "customer.subscription.grace_ended": 6,
        "customer.subscription.licenses_removed": 13,
        "invoice.created": 55,
        "invoice.payment_failed": 42,
        "unknown": 61,
    }


def test_the_grace_facts_name_the_organisations_whose_grace_is_over() -> None:
    parsed = read("agentops-host.log", Parser(agentops_patterns()))
    ended = {e.text("org_id") for e in parsed.events if e.event_type.endswith("grace_ended")}
    alerts = EXPECTED["agentops-host.log"]["alerts"]
    assert sorted(ended) == alerts["critical: grace period over"]


def test_the_odd_values_of_the_host_give_plain_fields() -> None:
    (event, *_) = [e for e in read("agentops-host.log").events if "plan" in e.fields]
    assert event.text("org_id") == "c08f8332-de0a-4ece-be4b-4b4a9b95bae8"
    assert event.text("plan") == "free"
    assert event.text("when") == "2026-11-02T08:17:48.209280"
    assert event.number("ratio") is None


def test_a_decimal_of_the_host_is_a_number() -> None:
    costs = [e.number("usage_costs.spans") for e in read("agentops-host.log").events]
    assert 1.5 in costs


def test_hostile_lines_give_exactly_the_good_events() -> None:
    events = read("hostile.log").events
    good = [e for e in events if e.text("timestamp") != "yesterday"]
    assert len(good) == EXPECTED["hostile.log"]["good_events"]


def test_the_unusable_attempt_counts_as_an_event_but_never_as_a_number() -> None:
    (event,) = [e for e in read("hostile.log").events if e.text("timestamp") == "yesterday"]
    assert event.triple == ("stripe", "invoice.payment_failed", "payment_failure")
    assert event.number("attempt_count") is None
    assert event.at == NOW


def test_hostile_lines_are_rejected_by_name() -> None:
    assert Counter(reject.reason for reject in read("hostile.log").rejects) == {
        RejectReason.TRUNCATED: 2,
        RejectReason.MISSING_FIELD: 5,
        RejectReason.NOT_AN_OBJECT: 3,
        RejectReason.NO_OBJECT: 1,
        RejectReason.BAD_FIELD: 1,
    }
