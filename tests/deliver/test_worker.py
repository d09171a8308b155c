"""The worker: in order, one at a time per destination, and each outcome on record."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import httpx
import msgspec
import pytest

from sidecar.deliver.retry import Dead, Done, Repair, RetryAt
from sidecar.notify.model import Rate, Receiver
from sidecar.receivers.base import Failed, FailureKind, Sent, Verdict
from sidecar.receivers.email.config import EmailConfig
from sidecar.receivers.slack.config import SlackConfig
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.rows import OutboxRow
from support.delivery import FAST, URL, Bench, settle, team
from support.rows import outbox_row
from support.sinks import SmtpSink


def down(status: int = 503, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers)


async def test_what_is_offered_is_sent_at_once() -> None:
    async with Bench().running() as bench:
        bench.offer(outbox_row("a"))
        await settle()
        assert bench.slack.texts == ["a"]
        assert bench.outbox.of("sent") == ["a"]


async def test_offered_rows_are_claimed_already_and_cost_one_write() -> None:
    async with Bench().running() as bench:
        bench.offer(outbox_row("a"))
        await settle()
        assert [[row.id for row in rows] for rows in bench.outbox.saves] == [["a"]]


async def test_what_an_earlier_run_left_is_claimed_before_it_is_sent() -> None:
    async with Bench(outbox_row("a", claimed_at=None)).running() as bench:
        claim, outcome = bench.outbox.saves
        assert (claim[0].claimed_at, claim[0].outcome) == (1000.0, "")
        assert (outcome[0].claimed_at, outcome[0].outcome) == (None, "sent")


async def test_a_destination_is_told_in_order_one_at_a_time() -> None:
    bench = Bench()
    bench.slack.hold = asyncio.Event()
    async with bench.running():
        bench.offer(*(outbox_row(name) for name in "abc"))
        await settle()
        assert bench.slack.texts == ["a"]
        bench.slack.hold.set()
        await settle()
        assert bench.slack.texts == ["a", "b", "c"]


async def test_destinations_do_not_wait_for_each_other() -> None:
    bench = Bench()
    bench.slack.hold = asyncio.Event()
    async with bench.running():
        bench.offer(outbox_row("a"), outbox_row("b", destination="#other"))
        await settle()
        assert bench.slack.texts == ["a", "b"]
        bench.slack.hold.set()


async def test_what_is_offered_while_another_is_under_way_is_looked_at_anew() -> None:
    bench = Bench()
    bench.slack.hold, bench.outbox.hold = asyncio.Event(), asyncio.Event()
    async with bench.running():
        bench.outbox.hold.set()
        bench.offer(outbox_row("a"))
        await settle()
        bench.outbox.hold.clear()
        bench.offer(outbox_row("other", destination="#other", claimed_at=None))
        await settle()  # the worker looks into a slow table
        bench.offer(outbox_row("b"))
        bench.slack.hold.set()
        await settle()
        assert bench.outbox.of("sent") == ["a"]
        bench.outbox.hold.set()
        await settle()
    about_b = [row for rows in bench.outbox.saves for row in rows if row.id == "b"]
    assert [(row.claimed_at, row.outcome) for row in about_b] == [
        (None, ""), (1000.0, ""), (None, "sent"),
    ]  # fmt: skip


async def test_each_attempt_is_reported() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down()]
        bench.offer(outbox_row("a"))
        await bench.clock.advance(4.0)
        first, second = bench.attempts
        assert isinstance(first.outcome, Failed)
        assert first.step == RetryAt(1004.0)
        assert first.notification is not None
        assert (second.row.attempt, second.outcome, second.step) == (1, Sent(), Done())
        assert (second.started, second.after.outcome) == (1004.0, "sent")


async def test_a_retry_comes_at_its_time_and_not_before() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down()]
        bench.offer(outbox_row("a"))
        await bench.clock.advance(3.9)
        assert bench.slack.texts == ["a"]
        await bench.clock.advance(0.1)
        assert bench.slack.texts == ["a", "a"]


async def test_quick_retries_come_within_seconds() -> None:
    async with Bench(receivers={"team": team(quick_retries=1)}).running() as bench:
        bench.slack.answers = [down(), down()]
        bench.offer(outbox_row("a"))
        await bench.clock.advance(60.0)
        assert bench.slack.at == pytest.approx([1000.0, 1002.0, 1006.0], abs=0.01)


async def test_between_attempts_a_row_is_not_claimed() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down()]
        bench.offer(outbox_row("a"), outbox_row("b"))
        await settle()
        assert bench.outbox.claimed() == []


async def test_a_rate_limit_closes_the_destination_until_retry_after() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down(429, **{"Retry-After": "30"})]
        bench.offer(outbox_row("a"))
        await settle()
        bench.offer(outbox_row("b"), outbox_row("c", destination="#other"))
        await bench.clock.advance(29.9)
        assert bench.slack.texts == ["a", "c"]
        await bench.clock.advance(0.1)
        assert bench.slack.texts == ["a", "c", "a", "b"]


async def test_a_rate_limit_counts_no_attempt() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down(429, **{"Retry-After": "1"})]
        bench.offer(outbox_row("a"))
        await bench.clock.advance(5.0)
        assert bench.outbox.rows["a"].attempt == 1


async def test_a_rate_limit_that_outlives_a_message_still_closes_the_destination() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down(429, **{"Retry-After": "100"})]
        bench.offer(outbox_row("a", expires_at=1050.0), outbox_row("b", claimed_at=None))
        await bench.clock.advance(99.0)
        assert (bench.slack.texts, bench.outbox.of("expired")) == (["a"], ["a"])
        await bench.clock.advance(1.0)
        assert bench.slack.texts == ["a", "b"]


async def test_nobody_is_kept_silent_for_a_year_and_a_restart_keeps_to_what_was_asked() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down(429, **{"Retry-After": "31536000"})]
        bench.offer(outbox_row("a", expires_at=90_000.0))
        await bench.clock.advance(899.0)
        assert bench.slack.texts == ["a"]
        await bench.clock.advance(1.0)
        assert bench.slack.texts == ["a", "a"]
    again = Bench(outbox_row("b", claimed_at=None))
    again.outbox.asked = {("slack", "#alerts"): 60.0}
    async with again.running():
        await again.clock.advance(59.0)
        assert again.slack.texts == []
        await again.clock.advance(1.0)
        assert again.slack.texts == ["b"]


async def test_one_failure_holds_up_its_own_message_alone() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [httpx.ConnectError("down")]
        bench.offer(*(outbox_row(name) for name in "abc"))
        await bench.clock.advance(3.0)
        bench.offer(outbox_row("d", created=1003.0))
        await bench.clock.advance(30.0)
        assert bench.slack.texts == ["a", "b", "c", "d", "a"]


async def test_during_an_outage_one_attempt_at_a_time_knocks_at_first_soon_then_every_15_s() -> (
    None
):
    async with Bench().running() as bench:
        bench.slack.answers = [down() for _ in range(100)]
        bench.offer(*(outbox_row(f"n{n}") for n in range(30)))
        await bench.clock.advance(15 * 15)
        gaps = [after - before for before, after in pairwise(bench.slack.at)]
        assert gaps[:9] == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8])
        assert set(gaps[9:]) == {15.0}
        assert len(set(bench.slack.texts)) >= 5  # and not always with the same message


async def test_the_pauses_of_an_outage_stay_short_and_a_messages_own_grow() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down() for _ in range(4)]
        bench.offer(outbox_row("a"))
        await bench.clock.advance(1000.0)
        assert bench.slack.at == [1000.0, 1004.0, 1012.0, 1028.0, 1060.0]


async def test_a_message_that_always_fails_does_not_hold_up_the_next_for_ever() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down(), down()]
        bench.offer(outbox_row("bad"), outbox_row("good"))
        await bench.clock.advance(46.0)
        assert bench.slack.texts[:3] == ["bad", "good", "bad"]


async def test_a_success_ends_the_outage() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down(), httpx.Response(200, text="ok"), down()]
        bench.offer(outbox_row("a"))
        await bench.clock.advance(20.0)
        bench.offer(outbox_row("b"))
        await bench.clock.advance(15.0)
        assert bench.outbox.of("sent") == ["a", "b"]


async def test_a_failure_of_the_messages_own_lets_the_next_pass() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [httpx.Response(302)]
        bench.offer(outbox_row("a"), outbox_row("b"))
        await settle()
        assert bench.slack.texts == ["a", "b"]
        await bench.clock.advance(15.0)
        assert bench.slack.texts == ["a", "b", "a"]


async def test_a_refused_payload_goes_out_once_more_as_plain_text() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [httpx.Response(400, text="invalid_blocks")]
        bench.offer(outbox_row("a"), outbox_row("b"))
        await settle()
        assert bench.slack.texts == ["a", "plain a", "b"]
        assert bench.attempts[0].step == Repair()
        assert bench.attempts[1].fault == "a fault"


async def test_a_payload_refused_as_plain_text_too_waits_for_somebody() -> None:
    async with Bench().running() as bench:
        refused = httpx.Response(400, text="invalid_blocks")
        bench.slack.answers = [refused, refused]
        bench.offer(outbox_row("a"))
        await bench.clock.advance(3.0)
        assert bench.slack.texts == ["a", "plain a"]
        await bench.clock.advance(20.0)
        assert bench.slack.texts == ["a", "plain a", "plain a"]


async def test_a_destination_that_somebody_has_to_mend_is_tried_slowly() -> None:
    async with Bench().running() as bench:
        gone = httpx.Response(404, text="channel_not_found")
        bench.slack.answers = [gone] * 20
        bench.offer(outbox_row("a", expires_at=90_000.0), outbox_row("b", destination="#other"))
        await bench.clock.advance(1000.0)
        assert bench.outbox.rows["a"].detail == "destination: HTTP 404 channel_not_found"
        assert bench.slack.texts.count("a") == 10


async def test_what_waits_goes_out_at_once_with_another_configuration() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down(429, **{"Retry-After": "300"})]
        bench.offer(outbox_row("a"))
        await settle()
        row = bench.outbox.rows["a"]
        bench.outbox.rows["a"] = msgspec.structs.replace(row, next_at=bench.clock.now())
        bench.worker.reconfigure({"team": team()}, Renderer({}, Redactor()))
        await bench.clock.advance(1.0)
        assert bench.slack.texts == ["a", "a"]


async def test_a_message_past_its_time_dies_unsent() -> None:
    row = outbox_row("a", claimed_at=None, expires_at=1000.0, attempt=3, detail="connect: refused")
    async with Bench(row).running() as bench:
        assert (bench.slack.texts, bench.outbox.of("expired")) == ([], ["a"])
        outcome = bench.attempts[0].outcome
        assert isinstance(outcome, Failed)
        assert outcome.kind is FailureKind.EXPIRED


@pytest.mark.parametrize(
    "row",
    [
        outbox_row("a", receiver="gone"),
        outbox_row("a", destination="#gone"),
        outbox_row("a", integration="pager"),
        outbox_row("a", payload="{}"),
        outbox_row("a", payload="\ud800"),
    ],
    ids=["receiver", "channel", "integration", "not a notification", "no text"],
)
async def test_what_cannot_be_sent_any_more_dies_and_the_rest_goes_on(row: OutboxRow) -> None:
    async with Bench().running() as bench:
        bench.offer(row, outbox_row("b"))
        await settle()
        assert (bench.slack.texts, bench.outbox.of("dead")) == (["b"], ["a"])
        assert isinstance(bench.attempts[0].step, Dead)


async def test_a_channel_that_moved_in_the_list_is_told_by_its_own_configuration() -> None:
    moved = replace(team(), configs={"slack": team().configs["slack"][::-1]})
    async with Bench(receivers={"team": moved}).running() as bench:
        bench.offer(outbox_row("a", destination="#alerts"))
        await settle()
        assert bench.slack.paths == ["/hook/alerts"]


async def test_a_destination_is_paced_by_its_rate() -> None:
    slow = {"team": team(Rate(per_second=1.0, burst=2))}
    async with Bench(receivers=slow).running() as bench:
        bench.offer(*(outbox_row(name) for name in "abcd"))
        await bench.clock.advance(10.0)
        assert bench.slack.at == pytest.approx([1000.0, 1000.0, 1001.0, 1002.0])


async def test_pacing_one_destination_leaves_the_others_alone() -> None:
    slow = {"team": team(Rate(per_second=0.1, burst=1))}
    async with Bench(receivers=slow).running() as bench:
        bench.offer(*(outbox_row(n) for n in "ab"), outbox_row("c", destination="#other"))
        await settle()
        assert bench.slack.texts == ["a", "c"]


async def test_a_long_queue_waits_in_the_table_and_keeps_its_order() -> None:
    slow = {"team": team(Rate(per_second=10.0, burst=1))}
    names = [f"n{n:03d}" for n in range(180)]
    async with Bench(receivers=slow).running() as bench:
        bench.offer(*(outbox_row(name) for name in names))
        await settle()
        assert len(bench.outbox.claimed()) <= 1  # of no other a crash would leave a doubt
        await bench.clock.advance(60.0)
        assert bench.slack.texts == names


async def test_nothing_is_looked_for_more_often_than_needed() -> None:
    async with Bench().running() as bench:
        await bench.clock.advance(60.0)
        assert bench.outbox.looks == 13


async def test_what_another_hand_made_due_is_found() -> None:
    async with Bench().running() as bench:
        bench.outbox.rows["a"] = outbox_row("a", claimed_at=None)
        await bench.clock.advance(5.0)
        assert bench.slack.texts == ["a"]


async def test_a_clock_set_back_and_forth_ends_no_message() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [down() for _ in range(3)]
        bench.clock.offset = -7200.0
        bench.offer(outbox_row("a", created=-6200.0, next_at=-6200.0, expires_at=-2600.0))
        await bench.clock.advance(1.0)
        bench.clock.offset = 0.0
        await bench.clock.advance(60.0)
        assert bench.outbox.of("sent") == ["a"]


async def test_what_was_made_a_year_ahead_ends_when_it_was_to() -> None:
    year = 365 * 86_400.0
    ahead = outbox_row("a", created=year, next_at=year, expires_at=year + 3600.0, claimed_at=None)
    bench = Bench(msgspec.structs.replace(ahead, next_at=1000.0))
    bench.slack.answers = [down() for _ in range(1000)]
    async with bench.running():
        await bench.clock.advance(3300.0)
        assert bench.outbox.of("expired") == []
        await bench.clock.advance(300.0)
        assert bench.outbox.of("expired") == ["a"]


async def test_a_clock_set_back_does_not_stop_the_looking() -> None:
    async with Bench().running() as bench:
        bench.clock._now -= 600.0
        bench.outbox.rows["a"] = outbox_row("a", claimed_at=None, next_at=0.0)
        bench.offer(outbox_row("b", destination="#other"))
        await settle()
        assert sorted(bench.slack.texts) == ["a", "b"]


async def test_queues_of_the_past_are_dropped_once_there_are_many() -> None:
    names = [f"c{n:03d}" for n in range(300)]
    slow = {"team": team(Rate(per_second=0.1, burst=1), names)}
    async with Bench(receivers=slow).running() as bench:
        bench.offer(*(outbox_row(name, destination=f"#{name}") for name in names))
        await bench.clock.advance(5.0)
        assert len(bench.outbox.of("sent")) == 300
        assert len(bench.worker._queues) == 300  # their rates still have to be kept
        await bench.clock.advance(10.0)
        assert len(bench.worker._queues) <= 256


async def test_stopping_ends_what_is_under_way_and_frees_the_rest() -> None:
    bench = Bench()
    bench.slack.hold = asyncio.Event()
    async with bench.running():
        bench.offer(outbox_row("a"), outbox_row("b"))
        await settle()
        bench.stop.set()
        bench.offer(outbox_row("c"))
        await settle()
        bench.slack.hold.set()
    assert (bench.slack.texts, bench.outbox.of("sent")) == (["a"], ["a"])
    assert bench.outbox.claimed() == []
    assert bench.outbox.rows["b"].attempt == 0


async def test_stopping_cuts_off_what_takes_too_long_and_leaves_it_claimed() -> None:
    bench = Bench()
    bench.slack.hold = asyncio.Event()
    async with bench.running():
        bench.offer(outbox_row("a"), outbox_row("b"))
        await settle()
        bench.stop.set()
        await bench.clock.advance(10.0)
    assert bench.outbox.claimed() == ["a"]


async def test_stopping_does_not_wait_for_a_pace() -> None:
    slow = {"team": team(Rate(per_second=0.001, burst=1))}
    bench = Bench(receivers=slow)
    async with bench.running():
        bench.offer(outbox_row("a"), outbox_row("b"))
        await settle()
    assert (bench.outbox.of("sent"), bench.outbox.claimed()) == (["a"], [])


FAULTS = [
    RuntimeError(f"a bug with {URL}"),
    KeyError("pager"),
    RecursionError(),
    TypeError(URL),
    ExceptionGroup("several", [OverflowError(URL), OSError(5, URL)]),
    MemoryError(),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_what_a_sender_raises_is_the_failure_of_that_attempt(fault: Exception) -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [fault]
        bench.offer(outbox_row("a"), outbox_row("b"), outbox_row("c", destination="#other"))
        await settle()
        assert sorted(bench.outbox.of("sent")) == ["b", "c"]
        (failed,) = [a.outcome for a in bench.attempts if isinstance(a.outcome, Failed)]
        assert (failed.kind, failed.verdict) == (FailureKind.INTERNAL, Verdict.RETRY)
        assert failed.detail.startswith(f"unexpected {type(fault).__name__} in ")
        assert URL not in failed.detail
        await bench.clock.advance(15.0)
        assert sorted(bench.outbox.of("sent")) == ["a", "b", "c"]


async def test_what_a_renderer_raises_is_the_failure_of_that_attempt() -> None:
    bench = Bench()
    bench.words.fails = {"a": 2}
    async with bench.running():
        bench.offer(outbox_row("a"), outbox_row("b"))
        await settle()
        assert bench.outbox.of("sent") == ["b"]
        await bench.clock.advance(15.0 + 30.0)
        assert bench.outbox.of("sent") == ["a", "b"]
        assert [a.outcome.kind for a in bench.attempts if isinstance(a.outcome, Failed)] == [
            FailureKind.INTERNAL
        ] * 2


class Unable(SlackConfig):
    """Does not know whom it tells."""

    def destinations(self) -> tuple[str, ...]:
        raise LookupError(self.channel)


async def test_a_config_that_raises_fails_its_own_rows_alone() -> None:
    receivers = {
        "team": team(),
        "bad": Receiver(name="bad", configs={"slack": (Unable(channel="#x"),)}),
    }
    async with Bench(receivers=receivers).running() as bench:
        bench.offer(outbox_row("a", receiver="bad", destination="#x"), outbox_row("b"))
        await settle()
        assert bench.outbox.of("sent") == ["b"]
        outcome = bench.attempts[0].outcome
        assert isinstance(outcome, Failed)
        assert (outcome.kind, outcome.verdict) == (FailureKind.INTERNAL, Verdict.RETRY)


def on_call(port: int) -> dict[str, Receiver]:
    mail = EmailConfig(
        to=("on@call.test",),
        from_="a@b.test",
        smarthost=(("127.0.0.1", port),),
        require_tls=False,
        rate=FAST,
    )
    return {"team": Receiver(name="team", configs={**team().configs, "email": (mail,)})}


async def test_mail_goes_the_same_way() -> None:
    with SmtpSink() as sink:
        async with Bench(receivers=on_call(sink.port)).running() as bench:
            bench.offer(outbox_row("a", integration="email", destination="on@call.test"))
            (attempt,) = await bench.attempts_are(1)
            assert isinstance(attempt.outcome, Sent)
            assert bench.outbox.rows["a"].reference == "2.0.0 Ok: queued as SINK"
    assert [(mail.recipients, mail.subject) for mail in sink.messages] == [
        (("on@call.test",), "subject a")
    ]


async def test_an_address_that_is_none_dies_without_a_connection() -> None:
    with SmtpSink() as sink:
        (mail,) = on_call(sink.port)["team"].configs["email"]
        mail = replace(mail, to=("nobody",))
        receivers = {"team": Receiver(name="team", configs={"email": (mail,)})}
        async with Bench(receivers=receivers).running() as bench:
            bench.offer(outbox_row("a", integration="email", destination="nobody"))
            await settle()
            assert bench.outbox.of("dead") == ["a"]
    assert sink.said == []


async def test_who_is_out_of_reach_has_a_fallback_that_hears_why() -> None:
    receivers = {"team": replace(team(quick_retries=1), fallback="boss")}
    async with Bench(receivers=receivers).running() as bench:
        bench.slack.answers = [down(), down()]
        bench.offer(outbox_row("a"))
        await settle()
        assert (bench.outbox.fallen, bench.attempts[0].fell_back) == ([], False)
        await bench.clock.advance(2.0)
        assert bench.outbox.fallen == [("a", "HTTP 503")]
        assert [attempt.fell_back for attempt in bench.attempts] == [False, True]


async def test_without_a_fallback_nobody_is_told_instead() -> None:
    async with Bench().running() as bench:
        bench.slack.answers = [httpx.Response(404, text="channel_not_found")]
        bench.offer(outbox_row("a"))
        await settle()
        assert (bench.outbox.fallen, bench.attempts[0].fell_back) == ([], False)
