"""How much of an answer over HTTP is looked at, in whatever way it is packed."""

import gzip
import tracemalloc
from collections.abc import Iterator, Mapping

import httpx
import pytest

from sidecar.receivers.base import Outcome, Sent
from sidecar.receivers.http import LONGEST_ANSWER, post
from support.sinks import Answer, SlackSink

MIB = 1 << 20


@pytest.fixture
def sink() -> Iterator[SlackSink]:
    with SlackSink() as sink:
        yield sink


async def read(sink: SlackSink, body: bytes, coding: str) -> bytes:
    """Return what is read of an answer."""
    seen = []

    def judge(_status: int, _headers: Mapping[str, str], body: bytes) -> Outcome:
        seen.append(body)
        return Sent()

    sink.answers.append(Answer(200, {"Content-Encoding": coding}, body))
    async with httpx.AsyncClient(trust_env=False) as client:
        await post(client, sink.url, b"{}", judge=judge)
    return seen[0]


async def test_nobody_is_asked_to_pack_his_answer_and_who_does_is_understood(
    sink: SlackSink,
) -> None:
    assert await read(sink, gzip.compress(b"ok"), "gzip") == b"ok"
    assert sink.requests[0].headers["accept-encoding"] == "identity"


async def test_an_answer_that_unpacks_to_much_costs_little(sink: SlackSink) -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    tracemalloc.start()
    assert await read(sink, bomb, "gzip") == bytes(LONGEST_ANSWER)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * MIB


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, gzip"])
async def test_what_cannot_be_unpacked_is_an_empty_answer(sink: SlackSink, coding: str) -> None:
    assert await read(sink, b"rubbish", coding) == b""


async def test_an_endless_answer_is_read_in_bounded_length(sink: SlackSink) -> None:
    assert await read(sink, bytes(MIB), "identity") == bytes(LONGEST_ANSWER)
