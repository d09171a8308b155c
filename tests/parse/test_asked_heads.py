"""Heads: decoders that know the labels of the log, and stamps read as everywhere else."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from sidecar.parse.asked import Head, Heads, seconds_of
from sidecar.parse.instants import instant
from sidecar.parse.objects import NOT_JSON

STAMP = "2026-11-02T08:01:16.000001"


def source(status: str = "paid", **changes: Any) -> bytes:
    fields = {"event_type": "invoice.paid", "status": status, "timestamp": STAMP, **changes}
    return json.dumps(fields).encode()


def statuses(heads: Iterable[Head]) -> list[str]:
    return [head.status for head in heads]


def test_a_label_seen_before_is_not_made_anew() -> None:
    heads = Heads(marked=False)
    heads.read([source(), source("open")])
    first, second = heads.read([source(), source()])
    assert first.status is second.status


def test_labels_that_are_new_are_read_beside_known_ones() -> None:
    heads = Heads(marked=False)
    for _ in range(2):
        assert statuses(heads.read([source(), source("open")])) == ["paid", "open"]
        assert statuses(heads.read([source("void"), source()])) == ["void", "paid"]
        found, _, odd = heads.read_singly([source("draft"), source("open"), b"{'status': 'x'}"])
        assert (statuses(found), odd) == (["draft", "open", ""], [2])


def test_a_log_of_endless_labels_is_read_and_not_learned() -> None:
    heads = Heads(marked=False)
    for first in range(0, 3000, 100):
        labels = [f"status {number}" for number in range(first, first + 100)]
        assert statuses(heads.read([source(label) for label in labels])) == labels
    first_again, second_again = heads.read([source("status 7"), source("status 7")])
    assert first_again.status is not second_again.status


@pytest.mark.parametrize("odd", [{"status": ""}, {"event_type": "x" * 1000}])
def test_labels_that_no_series_takes_are_read_all_the_same(odd: dict[str, str]) -> None:
    heads = Heads(marked=False)
    for _ in range(2):
        (head,) = heads.read([source(**odd)])
        assert getattr(head, next(iter(odd))) == next(iter(odd.values()))


def test_an_object_alone_on_its_line_has_to_say_that_it_is_an_event() -> None:
    heads = Heads(marked=True)
    assert statuses(heads.read([source(metric_type="WEBHOOK_METRIC")])) == ["paid"]
    for metric_type in ("OTHER", None):
        with pytest.raises(NOT_JSON):
            heads.read([source(metric_type=metric_type)])


digits = st.text("0123456789", max_size=10)
stamps = st.builds(
    "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format,
    st.integers(1969, 2100),
    st.integers(0, 13),
    st.integers(0, 32),
    st.sampled_from("Tt _"),
    st.integers(0, 25),
    st.integers(0, 60),
    st.integers(0, 61),
    st.builds(str.__add__, st.sampled_from([".", ",", ""]), digits),
    st.sampled_from(["", "Z", "z", "+00:00", "+02:00", "-0530", "+24:00", " Z", " UTC", "+2"]),
)


@given(stamps)
@example("2026-11-02T08:01:16.9999995")
@example("2026-11-02T08:01:16.1234564999")
@example("2026-11-02T08:01:16.123456500Z")
def test_a_stamp_that_a_head_takes_is_the_instant_it_is_elsewhere(stamp: str) -> None:
    try:
        (head,) = Heads(marked=False).read([source(timestamp=stamp)])
    except NOT_JSON:
        return
    seconds = seconds_of(head.timestamp)
    assert instant(stamp) == (seconds if seconds >= 0 else None)
