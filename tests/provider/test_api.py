"""Stripe is asked, over a real socket: what it could not deliver, page by page, and what fails."""

from collections.abc import Iterator, Mapping, Sequence

import pytest

from sidecar.config.sources import StripeApi
from sidecar.provider.api import ENDPOINT, EVENTS, HORIZON_SECONDS, VERSION, Asker
from sidecar.provider.facts import Arrival, NotAnswered, Trouble, Unavailable
from sidecar.receivers.http import client
from sidecar.secret import Secret
from support.stripe import StripeApiSink, event

NOW = 1_793_960_000.0
URL = "https://host.example/v4/stripe-webhook"
DAY = 86_400.0


class Notes:
    """What the core would have taken, and what it knows."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, str]] = {EVENTS: {}, ENDPOINT: {}}
        self.told: list[tuple[str, str]] = []
        self.failures: list[NotAnswered | None] = []
        self.shut = False

    async def open(self, source: str) -> Mapping[str, str]:
        return {id_: text for id_, text in self.kept[source].items() if text}

    async def take(self, arrivals: Sequence[Arrival]) -> int:
        if self.shut:
            raise Unavailable
        new = [one for one in arrivals if self.kept[one.source].get(one.told.id) != one.open]
        self.kept |= {one.source: {**self.kept[one.source], one.told.id: one.open} for one in new}
        for one in new:
            self.kept[one.source][one.told.id] = one.open
        self.told += [(one.told.id, one.told.status) for one in new]
        return len(new)


@pytest.fixture
def stripe() -> Iterator[StripeApiSink]:
    with StripeApiSink() as sink:
        sink.endpoints = [{"id": "we_1", "url": URL, "status": "enabled"}]
        yield sink


async def ask(
    sink: StripeApiSink, notes: Notes, now: float = NOW, key: str = StripeApiSink.KEY
) -> float:
    """Ask once at `now`; return in how many seconds to ask again."""
    config = StripeApi(api_key=Secret(key), url=sink.url, endpoint=URL)
    async with client() as http:
        return await Asker(lambda: config, notes, lambda: now, notes.failures.append).ask(http)


def lose(sink: StripeApiSink, *numbers: int, at: float = NOW - 3600) -> None:
    lost = [event(number, "invoice.paid", created=int(at) - number) for number in numbers]
    sink.undelivered |= {str(one["id"]): one for one in lost}


async def test_an_undelivered_event_is_told_once_and_once_more_when_it_was_delivered(
    stripe: StripeApiSink,
) -> None:
    notes = Notes()
    lose(stripe, 1, 2)
    assert await ask(stripe, notes) == 60.0
    await ask(stripe, notes)
    assert notes.told == [("evt_1", "undelivered"), ("evt_2", "undelivered")]
    del stripe.undelivered["evt_1"]
    await ask(stripe, notes)
    await ask(stripe, notes)
    assert notes.told[2:] == [("evt_1", "delivered")]


async def test_a_list_is_read_to_its_last_page(stripe: StripeApiSink) -> None:
    notes = Notes()
    lose(stripe, *range(1_050))
    await ask(stripe, notes)
    assert {id_ for id_, _ in notes.told} == {f"evt_{number}" for number in range(1_050)}
    assert len([path for path in stripe.asked if "/events" in path]) == 11
    assert stripe.versions == {VERSION}


async def test_an_event_on_its_way_is_not_lost(stripe: StripeApiSink) -> None:
    notes = Notes()
    lose(stripe, 1, at=NOW - 200)
    await ask(stripe, notes)
    assert notes.told == []
    await ask(stripe, notes, NOW + 200)
    assert notes.told == [("evt_1", "undelivered")]


async def test_nothing_is_said_of_what_is_too_old_to_be_listed(stripe: StripeApiSink) -> None:
    notes = Notes()
    lose(stripe, 1)
    await ask(stripe, notes)
    await ask(stripe, notes, NOW + HORIZON_SECONDS)
    assert notes.told == [("evt_1", "undelivered")]


async def test_an_outage_in_the_midst_of_a_list_says_nothing_of_what_it_hides(
    stripe: StripeApiSink,
) -> None:
    notes = Notes()
    lose(stripe, *range(250))
    await ask(stripe, notes)
    lose(stripe, 300)
    stripe.failures = [(500, {}, b"")]
    assert await ask(stripe, notes) == 60.0
    assert len(notes.told) == 250
    await ask(stripe, notes, NOW + 3600)
    assert notes.told[250:] == [("evt_300", "undelivered")]


FAILURES: dict[str, tuple[tuple[int, dict[str, str], bytes], Trouble, float]] = {
    "expired": ((401, {}, b"{}"), Trouble.KEY_REFUSED, 60.0),
    "forbidden": ((403, {}, b"{}"), Trouble.KEY_NOT_ALLOWED, 60.0),
    "too many": ((429, {"Retry-After": "120"}, b""), Trouble.RATE_LIMITED, 120.0),
    "far too many": ((429, {"Retry-After": "999999"}, b""), Trouble.RATE_LIMITED, 3600.0),
    "failing": ((503, {}, b"<html>"), Trouble.SERVER_ERROR, 60.0),
    "elsewhere": ((302, {"Location": "http://127.0.0.1:1/"}, b""), Trouble.BAD_ANSWER, 60.0),
    "no JSON": ((200, {}, b"<html>"), Trouble.BAD_ANSWER, 60.0),
    "no list": ((200, {}, b'{"data": 1}'), Trouble.BAD_ANSWER, 60.0),
    "no event": ((200, {}, b'{"data": [{"id": 1}]}'), Trouble.BAD_ANSWER, 60.0),
    "too deep": ((200, {}, b"[" * 100_000), Trouble.BAD_ANSWER, 60.0),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_what_fails_is_named_and_asked_again(case: str, stripe: StripeApiSink) -> None:
    answer, trouble, wait = FAILURES[case]
    notes = Notes()
    stripe.failures = [answer]
    assert await ask(stripe, notes) == wait
    (failure,) = notes.failures
    assert failure is not None
    assert failure.trouble == trouble
    assert "hunter2" not in f"{failure!r} {failure.__context__!r}"
    lose(stripe, 1)
    await ask(stripe, notes)
    assert notes.told == [("evt_1", "undelivered")]
    assert notes.failures[1:] == [None]


async def test_a_wrong_key_and_no_answer_are_told_apart(stripe: StripeApiSink) -> None:
    notes = Notes()
    await ask(stripe, notes, key="rk_wrong")
    stripe.url = "http://127.0.0.1:1"
    await ask(stripe, notes)
    assert [failure and failure.trouble for failure in notes.failures] == [
        Trouble.KEY_REFUSED, Trouble.NO_ANSWER,
    ]  # fmt: skip


async def test_what_cannot_be_committed_is_asked_for_again(stripe: StripeApiSink) -> None:
    notes = Notes()
    lose(stripe, 1)
    notes.shut = True
    assert await ask(stripe, notes) == 60.0
    notes.shut = False
    await ask(stripe, notes)
    assert notes.told == [("evt_1", "undelivered")]


async def test_an_endpoint_is_told_of_when_its_status_changes_and_daily_while_it_is_off(
    stripe: StripeApiSink,
) -> None:
    notes = Notes()
    await ask(stripe, notes)
    stripe.endpoints[0]["status"] = "disabled"
    for hours in (1, 2, 26):
        await ask(stripe, notes, NOW + hours * 3600)
    stripe.endpoints.append({"id": "we_2", "url": URL, "status": "enabled"})
    await ask(stripe, notes, NOW + 27 * 3600)
    stripe.endpoints.clear()
    await ask(stripe, notes, NOW + 28 * 3600)
    statuses = ["disabled", "disabled", "enabled", "missing"]
    assert notes.told == [(URL, status) for status in statuses]
