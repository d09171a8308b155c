"""The messages that wait, without what they say: which of them is next for each destination.

It is what the table of the outbox holds, kept in memory so that to look costs no reading of it.
Pure: rows and time are arguments.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

from sidecar.deliver.retry import LONGEST_WAIT
from sidecar.notify.model import severity_rank
from sidecar.rows import OutboxRow

Destination = tuple[str, str]  # the kind's name, and whom


class Head(NamedTuple):
    """What of a message says when it is sent. `topic`: what it is about, as in its row."""

    id: str
    to: Destination
    topic: str
    created: float
    next_at: float
    claimed: bool

    @classmethod
    def of(cls, row: OutboxRow) -> "Head":
        to = (row.integration, row.destination)
        return cls(row.id, to, row.topic, row.created, row.next_at, row.claimed_at is not None)

    def due(self, now: float) -> bool:
        """Say whether it may be sent at `now`.

        What would wait longer than anything may was put off before the clock was set back.
        """
        return not self.claimed and not now < self.next_at <= now + LONGEST_WAIT


@dataclass(slots=True)
class _Line:
    """What waits for one destination, by topic; and at which turn each topic was last served."""

    topics: dict[str, dict[str, None]] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)


class Waiting:
    """The messages that have not ended, by destination and topic, in the order of their arrival.

    The topics of a destination take turns: thousands of messages about one alert hold up no other.
    """

    def __init__(self, heads: Iterable[Head] = ()) -> None:
        self._heads: dict[str, Head] = {}
        self._lines: dict[Destination, _Line] = {}
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
                self._drop(before)
            if not row.outcome:
                self._put(head)

    def hurry(self, now: float) -> None:
        """Let none wait longer than until `now`."""
        for id_, head in self._heads.items():
            self._heads[id_] = head._replace(next_at=min(head.next_at, now))

    def next(self, now: float) -> list[Head]:
        """Return for each destination its next message that is due, who waits longest first.

        Whose topic was served longest ago comes first, then the gravest, then who came first.
        """
        found = []
        for line in self._lines.values():
            heads = [head for ids in line.topics.values() for head in self._first_due(ids, now)]
            found += sorted(heads, key=partial(_order, line.turns))[:1]
        return sorted(found, key=lambda head: (head.next_at, head.created))

    def _first_due(self, ids: Iterable[str], now: float) -> Iterable[Head]:
        heads = map(self._heads.__getitem__, ids)
        return islice((head for head in heads if head.due(now)), 1)

    def _put(self, head: Head) -> None:
        self._heads[head.id] = head
        line = self._lines.setdefault(head.to, _Line())
        line.topics.setdefault(head.topic, {})[head.id] = None
        if head.claimed:
            self._turn += 1
            line.turns[head.topic] = self._turn

    def _drop(self, head: Head) -> None:
        del self._heads[head.id]
        topics = self._lines[head.to].topics
        del topics[head.topic][head.id]
        if not topics[head.topic]:
            del topics[head.topic]
        if not topics:
            del self._lines[head.to]


def _order(turns: Mapping[str, int], head: Head) -> tuple[int, int]:
    return (turns.get(head.topic, 0), -severity_rank(head.topic.partition(" ")[0]))
