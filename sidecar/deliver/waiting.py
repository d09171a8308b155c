"""The messages that wait, without what they say: which of them is next for each destination.

It is what the table of the outbox holds, kept in memory so that to look costs no reading of it.
Pure: rows and time are arguments.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from sidecar.deliver.retry import LONGEST_PAUSE, LONGEST_WAIT
from sidecar.notify.model import Rate, Receiver, severity_rank
from sidecar.rows import SENT, OutboxRow

Destination = tuple[str, str]  # the kind's name, and whom
Addressee = tuple[str, str, str]  # the receiver's name, the kind's, and whom


class Lane(NamedTuple):
    """Those who are told one message at a time: by what kind, through which account, who."""

    kind: str
    server: str
    login: str
    name: str

    @property
    def slots(self) -> tuple[str, str]:
        """Whose attempts under way are counted together."""
        return (self.kind, self.server)


def lanes(receivers: Iterable[Receiver]) -> dict[Addressee, Lane]:
    """Return the lane of each whom a receiver tells; the first of its entries for a name counts."""
    found: dict[Addressee, Lane] = {}
    for receiver in receivers:
        for kind, configs in receiver.configs.items():
            for config in configs:
                with suppress(Exception):  # an unreadable secret: told when it is sent to
                    for name in config.destinations():
                        lane = Lane(kind, *config.account(), name)
                        found.setdefault((receiver.name, kind, name), lane)
    return found


@dataclass(frozen=True, slots=True)
class Road:
    """Where messages may go now: not to a `busy` lane; each server takes so many as it has room.

    A lane that is not in `known` has no configuration.
    """

    known: Mapping[Addressee, Lane]
    busy: frozenset[Lane]
    under_way: Mapping[tuple[str, str], int]
    at_once: Mapping[str, int]

    def lane(self, to: Addressee) -> Lane:
        return self.known.get(to) or Lane(to[1], "", "", to[2])

    def room(self, lane: Lane) -> int:
        return self.at_once.get(lane.kind, 1) - self.under_way.get(lane.slots, 0)

    def is_open(self, lane: Lane) -> bool:
        return lane not in self.busy and self.room(lane) > 0

    def without(self, lane: Lane) -> "Road":
        """Return it once a message goes to `lane`."""
        under_way = {**self.under_way, lane.slots: self.under_way.get(lane.slots, 0) + 1}
        return replace(self, busy=self.busy | {lane}, under_way=under_way)


class Head(NamedTuple):
    """What of a message says when it is sent. `topic`: what it is about, as in its row."""

    id: str
    to: Addressee
    topic: str
    created: float
    next_at: float
    claimed: bool

    @classmethod
    def of(cls, row: OutboxRow) -> "Head":
        return cls(
            row.id, addressee(row), row.topic, row.created, row.next_at, row.claimed_at is not None
        )

    def due(self, now: float) -> bool:
        """Say whether it may be sent at `now`.

        What would wait longer than anything may was put off before the clock was set back.
        """
        return not self.claimed and not now < self.next_at <= now + LONGEST_WAIT


@dataclass(slots=True)
class _Line:
    """What waits for somebody, by topic; and at which turn each topic was last served.

    `put_off`: what has failed. `works`: a message was accepted since the last look.
    """

    topics: dict[str, dict[str, None]] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    put_off: set[str] = field(default_factory=set)
    works: bool = False


def addressee(row: OutboxRow) -> Addressee:
    return (row.receiver, row.integration, row.destination)


class Waiting:
    """The messages that have not ended, by addressee and topic, in the order of their arrival.

    The topics of each take turns, and so do the addressees: thousands of messages about one alert,
    or to one receiver, hold up no other.
    """

    def __init__(self, heads: Iterable[Head] = ()) -> None:
        self._heads: dict[str, Head] = {}
        self._lines: dict[Addressee, _Line] = {}
        self._turn = 0
        for head in heads:
            self._put(head)

    @property
    def pending(self) -> int:
        return len(self._heads)

    @property
    def oldest(self) -> float | None:
        """When the message that came first was made, None if none waits."""
        first = next(iter(self._heads.values()), None)
        return None if first is None else first.created

    def note(self, rows: Iterable[OutboxRow]) -> None:
        """Take it that these rows are written."""
        for row in rows:
            before, head = self._heads.get(row.id), Head.of(row)
            if before is not None and (row.outcome or before[1:3] != head[1:3]):
                self._lines[before.to].works |= row.outcome == SENT
                self._drop(before)
            if not row.outcome:
                self._put(head)

    def hurry(self, now: float) -> None:
        """Let none wait longer than until `now`."""
        for id_, head in self._heads.items():
            self._heads[id_] = head._replace(next_at=min(head.next_at, now))

    def next(self, now: float) -> list[Head]:
        """Return for each addressee the next message that is due, in the order of their turns.

        What was served longest ago comes first, then the gravest, then who came first.
        """
        found: list[tuple[tuple[int, int, float], Head]] = []
        for line in self._lines.values():
            self._bring_forward(line, now)
            heads = [head for ids in line.topics.values() for head in self._first_due(ids, now)]
            if heads:
                head = min(heads, key=partial(_order, line.turns))
                served = max(line.turns.values(), default=0)
                found.append(((served, -_gravity(head), head.next_at), head))
        return [head for _, head in sorted(found, key=itemgetter(0))]

    def _bring_forward(self, line: _Line, now: float) -> None:
        """Let nothing wait longer than LONGEST_PAUSE for somebody who takes other messages."""
        for id_ in line.put_off if line.works else ():
            head = self._heads[id_]
            latest = now if head.due(now) else now + LONGEST_PAUSE
            self._heads[id_] = head._replace(next_at=min(head.next_at, latest))
        line.works = False

    def _first_due(self, ids: Iterable[str], now: float) -> Iterable[Head]:
        heads = map(self._heads.__getitem__, ids)
        return islice((head for head in heads if head.due(now)), 1)

    def _put(self, head: Head) -> None:
        self._heads[head.id] = head
        line = self._lines.setdefault(head.to, _Line())
        line.topics.setdefault(head.topic, {})[head.id] = None
        if head.next_at > head.created:
            line.put_off.add(head.id)
        if head.claimed:
            self._turn += 1
            line.turns[head.topic] = self._turn

    def _drop(self, head: Head) -> None:
        del self._heads[head.id]
        self._lines[head.to].put_off.discard(head.id)
        topics = self._lines[head.to].topics
        del topics[head.topic][head.id]
        if not topics[head.topic]:
            del topics[head.topic]
        if not topics:
            del self._lines[head.to]


def _order(turns: Mapping[str, int], head: Head) -> tuple[int, int]:
    return (turns.get(head.topic, 0), -_gravity(head))


def _gravity(head: Head) -> int:
    return severity_rank(head.topic.partition(" ")[0])


# --- when the next may go to a destination, by a clock that never jumps

_ROUNDING = 1e-6


class Bucket:
    """A token bucket with one token at first: to start again must not give a new burst."""

    __slots__ = ("_at", "_spent")

    def __init__(self, started: float) -> None:
        self._spent: float | None = None
        self._at = started

    def seconds(self, now: float, rate: Rate) -> float:
        """Return how long it is until there is a token, 0.0 when there is one."""
        # Waking a rounding error too early must not cost another wait.
        missing = self._refilled(now, rate) + 1.0 - max(1, rate.burst)
        return missing / rate.per_second if missing > _ROUNDING else 0.0

    def spend(self, now: float, rate: Rate) -> None:
        """Spend a token, be there one or not."""
        self._spent = self._refilled(now, rate) + 1.0
        self._at = now

    def full(self, now: float, rate: Rate) -> bool:
        """Say whether all tokens are back."""
        return self._refilled(now, rate) == 0.0

    def _refilled(self, now: float, rate: Rate) -> float:
        """Return how many tokens are spent at `now`."""
        spent = max(1, rate.burst) - 1.0 if self._spent is None else self._spent
        return max(0.0, spent - (now - self._at) * rate.per_second)


class SendQueue:
    """The queue of one destination: one message at a time, at its rate, paused after an outage.

    What is queued waits in the outbox table; here is only what says when the next one may go.
    """

    def __init__(self, started: float) -> None:
        self.bucket = Bucket(started)
        self.rate = Rate()
        self.failures = 0
        self.worked_at = -math.inf  # when it last took a message
        self.opens_at = 0.0

    def seconds(self, now: float) -> float:
        """Return how long it is until the next message may go."""
        return max(self.opens_at - now, self.bucket.seconds(now, self.rate), 0.0)

    def idle(self, now: float) -> bool:
        """Say whether there is nothing to remember at `now`."""
        return now >= self.opens_at and self.bucket.full(now, self.rate)
