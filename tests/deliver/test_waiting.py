"""Which message is next: topics take turns, and a storm about one alert holds up no other."""

from msgspec.structs import replace

from sidecar.deliver.waiting import Head, Road, Waiting, lanes
from sidecar.notify.model import Receiver
from sidecar.receivers.email.config import EmailConfig
from sidecar.receivers.slack.config import SlackConfig
from sidecar.rows import OutboxRow
from sidecar.secret import Secret
from support.rows import outbox_row

STORM, SPECIAL, MINOR = "critical Failing", "critical Special", "warning Slow"


def row(name: str, topic: str = STORM, **changes: object) -> OutboxRow:
    return outbox_row(name, topic=topic, **{"claimed_at": None, **changes})


def served(waiting: Waiting, rows: list[OutboxRow]) -> list[str]:
    """Send all there is, one after the other; return in which order."""
    by_id = {one.id: one for one in rows}
    order = []
    while found := waiting.next(1000.0):
        order.append(found[0].id)
        taken = by_id[found[0].id]
        waiting.note([replace(taken, claimed_at=1000.0)])
        waiting.note([replace(taken, outcome="sent")])
    return order


def test_a_storm_about_one_alert_holds_up_another_by_one_message() -> None:
    waiting = Waiting()
    storm = [row(f"s{number}") for number in range(100)]
    waiting.note(storm)
    waiting.note([replace(storm[0], claimed_at=1000.0)])
    waiting.note([replace(storm[0], outcome="sent")])
    special = row("special", SPECIAL)
    waiting.note([special])
    assert served(waiting, [*storm, special])[0] == "special"


def test_topics_take_turns_the_gravest_first() -> None:
    rows = [row("a"), row("b"), row("m", MINOR), row("n", MINOR), row("x", SPECIAL)]
    waiting = Waiting()
    waiting.note(rows)
    assert served(waiting, rows) == ["a", "x", "m", "b", "n"]


def test_who_waits_for_another_attempt_holds_up_none_behind_it() -> None:
    waiting = Waiting()
    waiting.note([row("later", next_at=1100.0), row("now")])
    assert [head.id for head in waiting.next(1000.0)] == ["now"]


def test_nothing_waits_longer_than_15_s_for_somebody_who_takes_other_messages() -> None:
    waiting = Waiting()
    waiting.note([row("later", next_at=1240.0), row("elsewhere", next_at=1240.0, destination="#b")])
    waiting.note([row("now")])
    waiting.note([row("now", outcome="dead")])
    assert waiting.next(1000.0) == waiting.next(1016.0) == []
    waiting.note([row("next")])
    waiting.note([row("next", outcome="sent")])
    assert waiting.next(1016.0) == waiting.next(1030.0) == []
    assert [head.id for head in waiting.next(1031.0)] == ["later"]


def test_what_was_put_off_before_the_clock_was_set_back_goes_at_once_to_who_takes_others() -> None:
    waiting = Waiting()
    waiting.note([row("later", next_at=9999.0), row("first")])
    waiting.note([row("first", outcome="sent")])
    assert [head.id for head in waiting.next(1000.0)] == ["later"]


def test_a_message_that_is_for_another_destination_now_waits_there() -> None:
    waiting = Waiting()
    waiting.note([row("a"), row("b")])
    waiting.note([row("a", destination="#renamed")])
    assert {head.to[2]: head.id for head in waiting.next(1000.0)} == {
        "#renamed": "a",
        "#alerts": "b",
    }


def test_what_has_ended_is_forgotten_with_its_turn() -> None:
    waiting = Waiting(map(Head.of, [row("a")]))
    assert (waiting.pending, waiting.oldest) == (1, 1000.0)
    waiting.note([row("a", outcome="sent")])
    assert (waiting.pending, waiting.oldest, waiting.next(1000.0)) == (0, None, [])


def slack(url: str, receiver: str) -> Receiver:
    config = SlackConfig(channel="#alerts", api_url=Secret(url))
    return Receiver(name=receiver, configs={"slack": (config,)})


def test_two_workspaces_with_a_channel_of_one_name_are_two_lanes_of_one_server() -> None:
    known = lanes([slack("https://hooks.test/T1", "team"), slack("https://hooks.test/T2", "ops")])
    one, other = known.values()
    assert one != other
    assert one.slots == other.slots == ("slack", "hooks.test")


def test_a_mailbox_behind_two_smarthosts_has_the_slots_of_each() -> None:
    receivers = [
        Receiver(
            name=host,
            configs={"email": (EmailConfig(to=("a@b.example",), smarthost=((host, 25),)),)},
        )
        for host in ("hangs", "well")
    ]
    known = lanes(receivers)
    hangs, well = (known[host, "email", "a@b.example"] for host in ("hangs", "well"))
    road = Road(known, frozenset([hangs]), {hangs.slots: 8}, {"email": 8})
    assert not road.is_open(hangs)
    assert road.is_open(well)
    assert not road.without(well).is_open(well)


def test_receivers_of_one_lane_take_turns() -> None:
    rows = [row("a"), row("b"), row("c"), row("x", receiver="ops")]
    waiting = Waiting()
    waiting.note(rows)
    assert served(waiting, rows) == ["a", "x", "b", "c"]
