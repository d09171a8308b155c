"""Each invariant of a commit: broken by hand, said by its name, and kept from getting worse."""

import math
from typing import NamedTuple

import msgspec
import pytest
from msgspec.structs import replace

from sidecar.notify.member import Member, Stage, pack
from sidecar.rows import (
    AlertRow,
    CooldownRow,
    Delta,
    FileRow,
    GroupRow,
    MemberRow,
    MetaRow,
    OutboxRow,
    Row,
    SeriesRow,
    ToldRow,
)
from sidecar.store.invariants import INVARIANTS, NAMES, Ledger
from support.notify import World

GROUP = "{}:{}@0/slack/#team"
NOW = 1_793_606_400.0


def file(offset: int, *, open_from: int | None = None) -> FileRow:
    return FileRow(
        id=1, source="*.log", log="app.log", path="app.log", dev=1, ino=1, head_len=0,
        head_hash=b"", tail_len=0, tail_hash=b"", offset=offset,
        open_from=offset if open_from is None else open_from, skip=False, state="active",
        last_seen=NOW,
    )  # fmt: skip


def count(value: str) -> SeriesRow:
    return SeriesRow(name="webhook_events_total", labels='{"status":"ok"}', value=value, created=0)


def alert(change: int) -> AlertRow:
    return AlertRow(
        rule="Late", by_key='["a"]', episode=1, state="firing", severity="error", since=NOW,
        deadline=None, change=change, packed=b"",
    )  # fmt: skip


def changes(number: int) -> MetaRow:
    return MetaRow(name="change", value=str(number))


def member(change: int, stage: Stage = Stage.FIRING) -> MemberRow:
    packed = pack(Member(alert=World().fire().alert, change=change, stage=stage))
    return MemberRow(group_id=GROUP, rule="Late", by_key='["a"]', change=change, packed=packed)


def group(sending: str = "") -> GroupRow:
    return GroupRow(
        id=GROUP, receiver="team", labels="{}", created=NOW, next_flush=None, sending=sending
    )


def told(at: float) -> ToldRow:
    return ToldRow(receiver="team", group_id=GROUP, change=1, at=at, reference="")


def message(name: str = "m1", **more: object) -> OutboxRow:
    row = OutboxRow(
        id=name, receiver="team", integration="slack", destination="#team", group_id=GROUP,
        created=NOW, attempt=0, claimed_at=NOW, next_at=NOW, expires_at=NOW + 1, outcome="",
        detail="", reference="", payload="{}",
    )  # fmt: skip
    return replace(row, **more)


def cooldown(until: float) -> CooldownRow:
    return CooldownRow(
        receiver="team", rule="Late", by_key='["a"]', severity="error", at=NOW, until=until
    )


class Case(NamedTuple):
    """What is stored, what a step would write, and what of that is written."""

    name: str
    stored: list[Row]
    step: list[Row]
    written: list[Row]
    read_to: dict[int, int] | None = None
    events: int | None = None


SENT = message(outcome="sent")
OPEN: list[Row] = [group("m1"), message()]
CASES = [
    Case("instants_are_numbers", OPEN, [message(next_at=math.nan)], []),
    Case("position_goes_back", [file(9)], [file(5)], []),
    Case("position_is_behind_a_count", [file(5)], [file(7)], [file(7)], {1: 9}),
    Case("position_is_behind_a_count", [file(5)], [], [], {1: 9}),
    Case("open_line_is_behind_the_position", [], [file(5, open_from=9)], [file(5)]),
    Case("count_goes_back", [count("7")], [count("6")], []),
    Case("events_are_counted_once", [count("7")], [count("9")], [count("9")], events=1),
    Case("change_number_goes_back", [changes(7)], [changes(6)], []),
    Case("change_number_is_noted", [changes(7)], [alert(8)], [alert(8)]),
    Case("member_is_of_an_alert", [group()], [member(1)], []),
    Case("member_has_a_group", [], [alert(1), changes(1), member(1)], [alert(1), changes(1)]),
    Case("told_is_of_a_group", [], [told(NOW)], []),
    Case("told_is_what_was_accepted", [group(), told(NOW)], [told(NOW + 9)], []),
    Case(
        "group_has_one_message_on_its_way",
        OPEN,
        [group("m2"), message("m2")],
        [group("m2"), message("m2", claimed_at=None)],
    ),
    Case("message_has_a_group", [], [group(), message()], [group()]),
    Case(
        "message_goes_where_its_group_tells",
        [],
        [group("m1"), message(destination="#other")],
        [group()],
    ),
    Case("message_is_claimed_once", OPEN, [message(claimed_at=NOW + 1)], []),
    Case("message_is_accepted_when_claimed", [message(claimed_at=None)], [SENT], [SENT]),
    Case("message_ends_once", [group(), message(), SENT], [SENT], []),
    Case("message_that_ended_stays_so", [group(), message(), SENT], [message()], []),
    Case("attempts_only_grow", [message(attempt=3)], [message(attempt=1)], [message(attempt=3)]),
    Case(
        "what_is_given_up_says_why",
        OPEN,
        [group(), message(outcome="dead")],
        [group(), message(outcome="dead")],
    ),
    Case("group_waits_for_a_message_there_is", [], [group("m9")], [group()]),
    Case("cooldown_ends_after_it_begins", [], [cooldown(NOW - 1)], []),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_broken_is_said_and_made_no_worse(case: Case) -> None:
    ledger, delta = Ledger(), Delta(rows=[*case.step])
    for row in case.stored:
        ledger.learn(Delta(rows=[row]))
    broken = ledger.examined(delta, case.read_to, case.events)
    assert case.name in {one.name for one in broken}
    assert all(one.sentence for one in broken)
    assert delta.rows == case.written


def test_every_invariant_is_broken_once() -> None:
    assert {case.name for case in CASES} == set(NAMES)
    assert all(check.__doc__ for check in INVARIANTS)


def test_a_life_in_which_all_holds_breaks_none() -> None:
    ledger = Ledger()
    new = member(1)
    steps: list[tuple[list[Row], dict[int, int], int | None]] = [
        (
            [file(9), count("2"), alert(1), changes(1), new, group("m1"), message()],
            {1: 9},
            2,
        ),
        ([message(claimed_at=None, attempt=1)], {}, None),
        ([message(claimed_at=NOW + 1, attempt=1)], {}, None),
        ([message(claimed_at=NOW + 2, attempt=2, plain=True)], {}, None),
        (
            [replace(SENT, attempt=2), group(), told(NOW), cooldown(NOW + 9), count("3"), file(12)],
            {1: 12},
            1,
        ),
        ([group("m2"), message("m2"), member(2, Stage.ENDED), changes(2)], {}, 0),
    ]
    for rows, read_to, events in steps:
        delta = Delta(rows=[*rows])
        assert ledger.examined(delta, read_to, events) == []
        assert delta.rows == rows


def test_a_member_of_an_ended_alert_may_be_all_that_is_left_of_it() -> None:
    stage = msgspec.msgpack.decode(member(1, Stage.ENDED).packed)["stage"]
    assert stage == Stage.ENDED.value
