"""What must hold at every commit: named checks over the rows about to be written.

A check that finds its invariant broken says so, and how to make it no worse: a row is left out of
the transaction (what is in the state file stays, nothing is sent for it), or another row stands in
its place, or nothing can be done here and it is only said. Pure: no clock, no I/O.
"""

import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from sidecar.rows import (
    DEAD,
    EXPIRED,
    SENT,
    WITHDRAWN,
    AlertRow,
    CooldownRow,
    Delta,
    FileRow,
    Gone,
    GroupRow,
    MemberRow,
    MetaRow,
    OutboxRow,
    Row,
    SeriesRow,
    ToldRow,
)

_COUNTED = "webhook_events_total"
_CHANGE = "change"
_NOWHERE = "@0//"
_ENDS = (SENT, DEAD, EXPIRED, WITHDRAWN)
_KEEP_ENDED = 1000
_INSTANTS: dict[type[Row], Callable[[Any], tuple[float | None, ...]]] = {
    AlertRow: attrgetter("since", "deadline"),
    CooldownRow: attrgetter("at", "until"),
    GroupRow: attrgetter("created", "next_flush"),
    OutboxRow: attrgetter("created", "next_at", "expires_at"),
    ToldRow: attrgetter("at", "change"),
}
_R = TypeVar("_R", bound=Row)


class Broken(NamedTuple):
    """A broken invariant: its name, a sentence, the row that shows it, and what to write for it.

    `row` is left out and `instead` written; without a row it is only said.
    """

    name: str
    sentence: str
    row: Row | None = None
    instead: Row | None = None


Found = tuple[str, Row | None, Row | None]


class Ledger:
    """What earlier commits said, as far as the checks need it. It starts from the stored rows."""

    def __init__(self) -> None:
        self.positions: dict[int, int] = {}
        self.counts: dict[str, float] = {}
        self.change = 0
        self.told_at = -math.inf
        self.groups: dict[str, str] = {}
        self.messages: dict[str, OutboxRow] = {}
        self.ended: OrderedDict[str, None] = OrderedDict()  # the last messages that ended

    def learn(self, delta: Delta) -> None:
        """Take it that this is written."""
        for gone in delta.gone:
            if found := _FORGET.get(gone.row):
                found(self, gone)
        for row in delta.rows:
            if learn := _LEARN.get(type(row)):
                learn(self, row)

    def examined(
        self, delta: Delta, read_to: Mapping[int, int] | None = None, events: int | None = None
    ) -> list[Broken]:
        """Check `delta`, take out of it what must not be written, and remember the rest.

        `read_to`: up to where each file was counted; `events`: how many events were.
        """
        if not (delta or read_to or events):
            return []
        broken: list[Broken] = []
        change = Change(delta, read_to or {}, events)
        for check in INVARIANTS:
            found = [Broken(check.__name__, *one) for one in check(change, self)]
            if found:
                broken += found
                _mend(delta, found)
                change = Change(delta, read_to or {}, events)
        self.learn(delta)
        return broken


class Change:
    """A delta by table, with what the step says of itself."""

    __slots__ = ("_rows", "ended", "events", "gone", "groups", "opened", "read_to")

    def __init__(self, delta: Delta, read_to: Mapping[int, int], events: int | None) -> None:
        self._rows: defaultdict[type[Row], list[Any]] = defaultdict(list)
        for row in delta.rows:
            self._rows[type(row)].append(row)
        messages: list[OutboxRow] = self._rows.get(OutboxRow, [])
        self.opened = {row.id for row in messages if not row.outcome}
        self.ended = {row.id for row in messages if row.outcome}
        self.groups = {row.id for row in self._rows.get(GroupRow, ())}
        self.gone = {(gone.row, gone.key) for gone in delta.gone if gone.row is GroupRow}
        self.read_to = read_to
        self.events = events

    def of(self, row: type[_R]) -> list[_R]:
        return self._rows.get(row, [])


def _mend(delta: Delta, broken: Iterable[Broken]) -> None:
    out = {id(one.row): one.instead for one in broken if one.row is not None}
    rows = [(row, out.get(id(row), row)) for row in delta.rows]
    delta.rows = [new for _, new in rows if new is not None]


# Reading and counting


def position_goes_back(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out: lines behind the position would count twice."""
    for row in change.of(FileRow):
        if row.offset < (known := ledger.positions.get(row.id, 0)):
            yield f"{row.path} goes back from byte {known} to {row.offset}", row, None


def position_is_behind_a_count(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Said: after a restart these lines would count again."""
    offsets = {row.id: row.offset for row in change.of(FileRow)}
    for file, end in change.read_to.items():
        stands = offsets.get(file, ledger.positions.get(file))
        if stands is not None and stands < end:
            yield f"file {file} is counted up to byte {end} and stands at {stands}", None, None


def open_line_is_behind_the_position(change: Change, _: Ledger) -> Iterator[Found]:
    """Written as if no line were open: a line may begin nowhere that is not read yet."""
    for row in change.of(FileRow):
        if row.open_from > row.offset:
            sentence = f"{row.path} has a line open from {row.open_from} and stands at {row.offset}"
            yield sentence, row, replace(row, open_from=row.offset)


def count_goes_back(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out: a counter that falls reads as a restart from 0."""
    for row in change.of(SeriesRow):
        if row.name == _COUNTED and float(row.value) < ledger.counts.get(row.labels, 0.0):
            yield f"{row.labels} goes back from {ledger.counts[row.labels]}", row, None


def events_are_counted_once(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Said: the counter is written as it is."""
    if change.events is None:
        return
    rows = [row for row in change.of(SeriesRow) if row.name == _COUNTED]
    counted = sum(float(row.value) - ledger.counts.get(row.labels, 0.0) for row in rows)
    if counted != change.events:
        yield f"{change.events} events were read and {counted:g} counted", None, None


# Judging


def change_number_goes_back(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out: a number given twice makes one of two changes look told."""
    for row in change.of(MetaRow):
        if row.name == _CHANGE and int(row.value) < ledger.change:
            yield f"from {ledger.change} to {row.value}", row, None


def change_number_is_noted(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Said: after a restart the number would be given once more."""
    noted = [int(row.value) for row in change.of(MetaRow) if row.name == _CHANGE]
    newest = max([ledger.change, *noted])
    for row in change.of(AlertRow):
        if row.change > newest:
            yield f"{row.rule} {row.by_key} has change {row.change}, after {newest}", None, None


# Telling


def member_is_of_an_alert(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out: nobody could ever end it."""
    alerts = {(row.rule, row.by_key) for row in change.of(AlertRow)}
    for row in change.of(MemberRow):
        # What was numbered before has only moved; what has ended needs no row of an alert.
        new = row.change > ledger.change and (row.rule, row.by_key) not in alerts
        if new and msgspec.msgpack.decode(row.packed).get("stage") != "ended":
            yield f"{row.rule} {row.by_key} in {row.group_id} is no alert", row, None


def member_has_a_group(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out: no group would ever tell it."""
    for row in change.of(MemberRow):
        if row.group_id not in change.groups and row.group_id not in ledger.groups:
            yield f"{row.rule} {row.by_key} is in {row.group_id}, which is not there", row, None


def told_is_of_a_group(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out."""
    for row in change.of(ToldRow):
        if row.group_id not in change.groups and row.group_id not in ledger.groups:
            yield f"{row.group_id} was told and is not there", row, None


def told_is_what_was_accepted(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out: after a restart it is told again, rather than never."""
    given_up = (DEAD, EXPIRED, WITHDRAWN)
    if any(row.outcome and row.outcome not in given_up for row in change.of(OutboxRow)):
        return
    for row in change.of(ToldRow):
        if row.at > ledger.told_at and not row.group_id.endswith(_NOWHERE):
            yield f"{row.group_id} was told at {row.at}, when nothing was accepted", row, None


def group_has_one_message_on_its_way(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Written as waiting: it must not overtake the one before.

    One that its group does not wait for is void: that group was made anew.
    """
    for row in _new_messages(change, ledger):
        before = (
            "" if (GroupRow, (row.group_id,)) in change.gone else ledger.groups.get(row.group_id)
        )
        on_way = ledger.messages.get(before or "")
        if on_way and on_way.receiver == row.receiver and on_way.id not in change.ended:
            sentence = f"{row.group_id} has {before} on its way, and now {row.id}"
            yield sentence, row, replace(row, claimed_at=None)


def message_has_a_group(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out, and not sent: nobody would hear how it ended."""
    waiting = {row.sending for row in change.of(GroupRow)}
    for row in _new_messages(change, ledger):
        if row.id not in waiting:
            yield f"no group waits for {row.id} to {row.destination}", row, None


def message_goes_where_its_group_tells(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out, and not sent."""
    for row in _new_messages(change, ledger):
        if not row.group_id.endswith(f"/{row.integration}/{row.destination}"):
            yield f"{row.id} of {row.group_id} goes to {row.destination}", row, None


def message_is_claimed_once(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out, and not sent: an attempt is under way."""
    for row in change.of(OutboxRow):
        known = ledger.messages.get(row.id)
        if row.outcome or known is None or None in (known.claimed_at, row.claimed_at):
            continue
        same_attempt = (row.attempt, row.plain) == (known.attempt, known.plain)
        if same_attempt and row.claimed_at != known.claimed_at:
            yield f"{row.id} is claimed since {known.claimed_at}, and again", row, None


def message_is_accepted_when_claimed(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Said: it was sent."""
    for row in change.of(OutboxRow):
        known = ledger.messages.get(row.id)
        if row.outcome == SENT and known is not None and known.claimed_at is None:
            yield f"{row.id} was accepted, and nobody had claimed it", None, None


def message_ends_once(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out: what it told is noted already."""
    for row in change.of(OutboxRow):
        if row.outcome in _ENDS and row.id not in ledger.messages:
            yield f"{row.id} ends as {row.outcome}, and was not on its way", row, None


def message_that_ended_stays_so(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Left out, and not sent again."""
    for row in change.of(OutboxRow):
        if not row.outcome and row.id in ledger.ended:
            yield f"{row.id} has ended and waits again", row, None


def attempts_only_grow(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Written with the greater number: it would be tried for ever."""
    for row in change.of(OutboxRow):
        known = ledger.messages.get(row.id)
        if known is not None and row.attempt < known.attempt:
            sentence = f"{row.id} had {known.attempt} attempts and has {row.attempt}"
            yield sentence, row, replace(row, attempt=known.attempt)


def what_is_given_up_says_why(change: Change, _: Ledger) -> Iterator[Found]:
    """Said."""
    for row in change.of(OutboxRow):
        if row.outcome in (DEAD, EXPIRED) and not row.detail:
            yield f"{row.id} is {row.outcome}, for no reason", None, None


def group_waits_for_a_message_there_is(change: Change, ledger: Ledger) -> Iterator[Found]:
    """Written as waiting for none: it would never speak again."""
    for row in change.of(GroupRow):
        there = row.sending in change.opened or row.sending in ledger.messages
        if row.sending and (row.sending in change.ended or not there):
            sentence = f"{row.id} waits for {row.sending}, which is not on its way"
            yield sentence, row, replace(row, sending="")


# Values


def instants_are_numbers(change: Change, _: Ledger) -> Iterator[Found]:
    """Left out: SQLite takes none of these, and the whole step would fail."""
    for kind, instants in _INSTANTS.items():
        for row in change.of(kind):
            for instant in instants(row):
                if instant is not None and not math.isfinite(instant):
                    yield f"{kind.table} has a row with the instant {instant}", row, None
                    break


def cooldown_ends_after_it_begins(change: Change, _: Ledger) -> Iterator[Found]:
    """Left out: one that never ends would mute its alert."""
    for row in change.of(CooldownRow):
        if row.until < row.at:
            yield f"of {row.rule} {row.by_key} begins {row.at} and ends {row.until}", row, None


# In this order: what is left out is no longer there for the next one.
INVARIANTS: tuple[Callable[[Change, Ledger], Iterator[Found]], ...] = (
    instants_are_numbers,
    position_goes_back,
    position_is_behind_a_count,
    open_line_is_behind_the_position,
    count_goes_back,
    events_are_counted_once,
    change_number_goes_back,
    change_number_is_noted,
    member_is_of_an_alert,
    member_has_a_group,
    told_is_of_a_group,
    told_is_what_was_accepted,
    group_has_one_message_on_its_way,
    message_has_a_group,
    message_goes_where_its_group_tells,
    message_is_claimed_once,
    message_is_accepted_when_claimed,
    message_ends_once,
    message_that_ended_stays_so,
    attempts_only_grow,
    what_is_given_up_says_why,
    group_waits_for_a_message_there_is,
    cooldown_ends_after_it_begins,
)
NAMES = tuple(check.__name__ for check in INVARIANTS)


def _new_messages(change: Change, ledger: Ledger) -> Iterator[OutboxRow]:
    for row in change.of(OutboxRow):
        if not row.outcome and row.id not in ledger.messages and row.id not in ledger.ended:
            yield row


# Remembering


def _message(ledger: Ledger, row: OutboxRow) -> None:
    if not row.outcome:
        ledger.messages[row.id] = replace(row, payload="")
        return
    ledger.messages.pop(row.id, None)
    ledger.ended[row.id] = None
    while len(ledger.ended) > _KEEP_ENDED:
        ledger.ended.popitem(last=False)


def _series(ledger: Ledger, row: SeriesRow) -> None:
    if row.name == _COUNTED:
        ledger.counts[row.labels] = float(row.value)


def _meta(ledger: Ledger, row: MetaRow) -> None:
    if row.name == _CHANGE:
        ledger.change = int(row.value)


def _told(ledger: Ledger, row: ToldRow) -> None:
    ledger.told_at = max(ledger.told_at, row.at)


_LEARN: dict[type[Row], Callable[[Ledger, Any], None]] = {
    FileRow: lambda ledger, row: ledger.positions.__setitem__(row.id, row.offset),
    SeriesRow: _series,
    MetaRow: _meta,
    GroupRow: lambda ledger, row: ledger.groups.__setitem__(row.id, row.sending),
    ToldRow: _told,
    OutboxRow: _message,
}
_FORGET: dict[type[Row], Callable[[Ledger, Gone], object]] = {
    FileRow: lambda ledger, gone: ledger.positions.pop(int(gone.key[0]), None),
    GroupRow: lambda ledger, gone: ledger.groups.pop(str(gone.key[0]), None),
}
