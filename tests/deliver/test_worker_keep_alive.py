"""What fires is sent again to those who forget, in the place of a message and without a record."""

import asyncio
from typing import Any

import httpx

from sidecar.notify.model import Receiver
from sidecar.receivers.base import Failed, Outcome, Sent
from sidecar.receivers.slack.config import SlackConfig
from sidecar.secret import Secret
from sidecar.syntax.table import key, table
from sidecar.syntax.values import Positive
from support.delivery import FAST, URL, Bench, settle
from support.rows import notification, outbox_row

TO = ("slack", "#alerts")


@table
class Forgetful(SlackConfig):
    """A channel that takes for over what it does not hear of for long."""

    keep_alive: Positive = key("How often.", default=60.0)

    def again_after(self) -> float:
        return self.keep_alive


def bench(**more: Any) -> Bench:
    config = Forgetful(channel="#alerts", api_url=Secret(f"{URL}/alerts"), rate=FAST)
    receiver = Receiver(name="team", configs={"slack": (config,)}, quick_retries=0)
    return Bench(receivers={"team": receiver}, **more)


async def test_what_stands_is_sent_at_the_start_and_then_again_and_again() -> None:
    desk = bench()
    desk.outbox.stands = [notification("a"), notification("b"), notification("c", destination="#x")]
    async with desk.running():
        assert desk.slack.texts == ["a", "b"]
        await desk.clock.advance(59.0)
        assert desk.slack.texts == ["a", "b"]
        desk.outbox.stands.pop(0)
        await desk.clock.advance(1.0)
        assert desk.slack.texts == ["a", "b", "b"]
        await desk.clock.advance(600.0)
        assert desk.slack.texts == ["a", "b", *"b" * 11]
    assert desk.outbox.saves == []
    assert desk.attempts == []


async def test_those_who_remember_are_sent_nothing() -> None:
    desk = Bench()
    desk.outbox.stands = [notification("a")]
    async with desk.running():
        await desk.clock.advance(600.0)
        assert desk.slack.texts == []


async def test_no_message_is_overtaken_and_none_overtakes() -> None:
    desk = bench()
    desk.outbox.stands = [notification("stands")]
    desk.slack.hold = asyncio.Event()
    async with desk.running():
        assert desk.slack.texts == ["stands"]
        desk.offer(outbox_row("end"))
        await settle()
        assert desk.slack.texts == ["stands"]  # the end waits for it
        desk.outbox.stands = []
        desk.slack.hold.set()
        await settle()
        assert desk.slack.texts == ["stands", "end"]
        desk.slack.hold.clear()
        desk.outbox.stands = [notification("other")]
        desk.offer(outbox_row("news"))
        await settle()
        await desk.clock.advance(61.0)
        assert desk.slack.texts == ["stands", "end", "news"]  # and it for the news
        desk.slack.hold.set()
        await desk.clock.advance(0.0)
        assert desk.slack.texts == ["stands", "end", "news", "other"]


async def test_a_failure_ends_the_round_and_is_reported_and_the_next_round_comes() -> None:
    said: list[tuple[tuple[str, str], Outcome]] = []
    desk = bench(again=lambda to, outcome: said.append((to, outcome)))
    desk.outbox.stands = [notification("a"), notification("b")]
    desk.slack.answers.append(httpx.Response(503))
    async with desk.running():
        assert desk.slack.texts == ["a"]
        await desk.clock.advance(60.0)
        assert desk.slack.texts == ["a", "a", "b"]
    (first, second) = said
    assert first[0] == second[0] == TO
    assert isinstance(first[1], Failed)
    assert second[1] == Sent()
