"""Needles: several texts found as if each had been looked for alone."""

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.needles import Needles, holds

texts = st.binary(min_size=1, max_size=4)


@given(st.lists(texts, max_size=6), st.binary(max_size=60))
def test_something_is_within_when_one_of_the_texts_is(needles: list[bytes], data: bytes) -> None:
    assert Needles(needles).within(data) == any(needle in data for needle in needles)


@given(st.lists(st.text("ab ", min_size=1, max_size=4), max_size=6), st.text("ab \n", max_size=60))
def test_every_line_with_one_of_the_texts_has_a_place(needles: list[str], data: str) -> None:
    places = Needles(needle.encode() for needle in needles).places(data.encode())
    found = {data.count("\n", 0, at) for at in places}
    lines = enumerate(data.split("\n"))
    assert found == {n for n, line in lines if any(needle in line for needle in needles)}
    assert places == sorted(places)


@given(st.binary(max_size=9), texts, st.binary(max_size=9), st.integers(0, 9000))
def test_a_text_is_held_when_in_says_so(before: bytes, text: bytes, after: bytes, far: int) -> None:
    data = before + b" " * far + after
    assert holds(data, text) == (text in data)
    assert holds(before + text + after, text)


@pytest.mark.parametrize("needles", [[], [b"one"], [b"one", b"two"]])
def test_most_chunks_hold_none(needles: list[bytes]) -> None:
    assert Needles(needles).places(b"three\n" * 1000) == []
