"""Loggers of many hosts: how many of three identical events each form of a line gives."""

import base64
import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from sidecar.parse.event import Parsed
from sidecar.parse.parser import Parser
from support.parse import NOW, SAMPLES, chunk_of, everything

# What is read of them, where that is less than what they say.
READ = {"utf16be": 0}
# Another writer's text stands before the marker.
FOREIGN = {"access_then", "stdout_prefixed_half"}


class Format(NamedTuple):
    name: str
    data: bytes
    events: int
    today: str


def _formats() -> Iterator[Format]:
    for line in (SAMPLES / "formats.jsonl").read_text().splitlines():
        one = json.loads(line)
        data = base64.b64decode(one["base64"]) if "base64" in one else one["text"].encode()
        yield Format(one["name"], data, one["events"], one["today"])


FORMATS = tuple(_formats())
EACH = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)


def read(data: bytes) -> Parsed:
    return Parser().parse(chunk_of(data), now=NOW, wanted=everything)


@EACH
def test_each_logger_gives_its_events(form: Format) -> None:
    parsed = read(form.data)
    assert len(parsed.events) == READ.get(form.name, form.events)
    assert {event.provider for event in parsed.events} <= {form.name, "unknown"}
    assert parsed.events or parsed.rejects or parsed.foreign or parsed.obscure
    told = parsed.event_lines + len(parsed.rejects) + len(parsed.foreign) + len(parsed.obscure)
    assert told + parsed.pieces + parsed.ignored == parsed.lines
    assert len(parsed.foreign) == (3 if form.name in FOREIGN else len(parsed.foreign))


def test_what_was_exact_is_exact() -> None:
    exact = {form.name for form in FORMATS if form.today == "exact"}
    assert not exact & READ.keys()
    assert len(exact) > 40


@EACH
def test_many_of_a_form_are_read_as_one_of_it(form: Format) -> None:
    """A block of alike lines is read at once; what it holds stays the same."""
    parsed, single = read(form.data * 8), read(form.data)
    if form.data.endswith(b"\n"):
        assert len(parsed.events) == 8 * len(single.events)
        assert len(parsed.rejects) == 8 * len(single.rejects)
        assert len(parsed.foreign) == 8 * len(single.foreign)
