"""The line that is kept with an alert: nothing hidden in the event's fields stands in it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.redact import REDACTED, Redactor
from sidecar.redact.redactor import RedactPolicy, without_secrets
from support.calls import calls

TABLE = Path(__file__).parent / "redact" / "secrets.jsonl"
SHAPES = [json.loads(line) for line in TABLE.read_text().splitlines()]
REDACTOR = Redactor(RedactPolicy(keys=("plate",)))
PLANTED = "Nevskij"


def as_json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False)


WRITERS: list[Callable[[dict[str, Any]], str]] = [repr, json.dumps, as_json]


def kept(fields: dict[str, Any], write: Callable[[dict[str, Any]], str] = json.dumps) -> str:
    return without_secrets(f"INFO - WEBHOOK_METRIC: {write(fields)}", fields, REDACTOR)


@pytest.mark.parametrize("token", ["=", "ok", ":", '"', "-", "PASS", "PASSWORD", "PGPASSWORD="])
def test_no_other_field_tears_the_shape_of_a_secret(token: str) -> None:
    for shape in SHAPES:
        for name in ("token", "plate"):
            assert shape["secret"] not in kept({"text": shape["text"], name: token}), shape["name"]


def test_a_short_value_leaves_the_line_readable() -> None:
    line = kept({"plate": "=", "text": "a=b", "url": "/x?y=z"})
    assert line.endswith('{"plate": "=", "text": "a=b", "url": "/x?y=z"}')


@pytest.mark.parametrize(
    "plate",
    [
        "7712",
        7712,
        "bob@example.com, Main Street 5 ",
        "next=%2Fa%3Fpassword%3Dx Main Street",
        "the password: x, Main Street",
        'Zoë "Z" Main\nStreet',
    ],
)
def test_a_hidden_value_is_hidden_whole(plate: Any) -> None:
    for write in WRITERS:
        line = kept({"a": 1, "plate": plate, "b": 2}, write)
        assert "Main" not in line
        assert "7712" not in line
        assert REDACTED in line


@pytest.mark.parametrize("length", [500, 4000, 5000, 5090, 9000])
def test_a_hidden_value_across_a_cut_is_hidden(length: int) -> None:
    plates = [letter * length for letter in "xyz"]
    line = kept({name: {"plate": plate} for name, plate in zip("abc", plates, strict=True)})
    assert not [letter for letter in "xyz" if letter * 4 in line]
    assert len(line) <= 1000


@st.composite
def torn(draw: st.DrawFn) -> str:
    """A piece of what stands before a secret of the table, by which its shape is known."""
    shape = draw(st.sampled_from(SHAPES))
    before = shape["text"].partition(shape["secret"])[0] or "="
    start = draw(st.integers(0, len(before) - 1))
    return str(before[start : start + draw(st.integers(1, 30))])


WORD = st.one_of(
    st.sampled_from(["=", "ok", "PASS", "a", '"', "'", "\\", ":", " ", "***", "REDACTED", "://"]),
    torn(),
)


@given(st.sampled_from(SHAPES), st.lists(WORD, min_size=5, max_size=5), st.sampled_from(WRITERS))
def test_no_planted_secret_stands_in_the_line_whatever_the_other_fields_are(
    shape: dict[str, str], words: list[str], write: Callable[[dict[str, Any]], str]
) -> None:
    token, password, *around = words
    plate = f"{around[0]} {around[1]} {PLANTED} {around[2]}"
    fields = {"token": token, "text": shape["text"], "n": {"password": password}, "plate": plate}
    line = kept(fields, write)
    assert shape["secret"] not in line
    assert PLANTED not in line


def test_a_line_with_nothing_hidden_is_searched_once() -> None:
    fields = {f"field_{n}": f"evt_{n:012x}" for n in range(20)}
    line = f"INFO - WEBHOOK_METRIC: {fields}"
    assert kept(fields, repr) == line
    assert calls(partial(without_secrets, line, fields, REDACTOR)) <= 30
