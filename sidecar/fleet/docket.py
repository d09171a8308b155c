"""What waits to be judged of all hosts, as the database has it."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import inf

from sidecar.fleet.courier import Batch, Packed, Tallied, unpacked
from sidecar.fleet.order import LIVE_SECONDS, Host, held_from, in_order
from sidecar.rows import BatchRow, BeatRow, Delta, Gone, JudgedRow, OrderRow
from sidecar.store.store import Store

MOST_EVENTS = 4096  # of one step
KEEP_ANSWERS = 600.0  # seconds
_BATCHES = 8  # of a host, at hand


@dataclass(slots=True)
class _Queue:
    """What is at hand of one host: its batches, each with its number and what is left of it."""

    step: int = 0  # the last batch that is judged whole
    taken: int = 0  # of the next one
    batches: deque[tuple[int, Batch]] = field(default_factory=deque)
    judged: float | None = None  # newest event time
    at_hand: float | None = None
    behind_since: float | None = None

    @property
    def loaded(self) -> int:
        return self.batches[-1][0] if self.batches else self.step

    def events(self) -> Iterator[Packed]:
        for number, (_, batch) in enumerate(self.batches):
            yield from islice(batch.events, 0 if number else self.taken, None)


class Docket:
    """Takes up batches in the order in which they are to be judged, and says how hosts stand.

    All of it is called on the thread of `store`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queues: dict[str, _Queue] = {}
        self.damaged: list[str] = []  # batches that cannot be read, a sentence each
        for row in store.load(JudgedRow):
            self._queues[row.host] = _Queue(row.step, row.taken)

    def look(self, now: float) -> list[Host]:
        """Take up what has come; return how hosts stand at wall clock `now`.

        Raises StoreUnavailable.
        """
        beats = beats_of(self._store)  # before the batches: these are no older
        self._load([beat.host for beat, _ in beats])
        return [self._stands(now, age, beat) for beat, age in beats]

    def orders(self, now: float) -> tuple[list[OrderRow], list[Gone]]:
        """Return what was ordered and has no answer, and what is to be forgotten of before."""
        rows = self._store.load(OrderRow)
        old = [row.id for row in rows if row.answer and now - row.at > KEEP_ANSWERS]
        return [row for row in rows if not row.answer], [Gone(OrderRow, (id_,)) for id_ in old]

    def _load(self, hosts: list[str]) -> None:
        short = [h for h in hosts if len(self._queue(h).batches) < _BATCHES]
        loaded = [self._queue(host).loaded for host in short]
        for host, step, data in self._store.database.find(_NEXT, (short, loaded)):
            queue = self._queue(host)
            queue.batches.append((step, batch := self._read(host, step, data)))
            times = [event.at for event in batch.events]
            queue.at_hand = max([*times, queue.at_hand or -inf])

    def _read(self, host: str, step: int, data: bytes) -> Batch:
        try:
            return unpacked(data)
        except ValueError as wrong:
            self.damaged.append(f"batch {step} of {host}: {wrong}")
            return Batch([], [])

    def _queue(self, host: str) -> _Queue:
        return self._queues.setdefault(host, _Queue())

    def _stands(self, now: float, age: float, beat: BeatRow) -> Host:
        queue = self._queue(beat.host)
        all_here = queue.loaded >= beat.step
        at_hand = (inf if beat.caught_up else beat.reached) if all_here else queue.at_hand
        queue.behind_since = None if at_hand == inf else queue.behind_since or now
        done = all_here and not queue.batches
        return Host(
            beat.host, age, beat.here,
            judged=beat.reached if done else queue.judged,
            at_hand=at_hand,
            complete=beat.caught_up and done,
            behind=now - (queue.behind_since or now),
        )  # fmt: skip

    def take(self, hosts: list[Host], now: float) -> "Taken":
        """Take what is to be judged next, given how hosts stand at wall clock `now`."""
        found = in_order(
            {name: queue.events() for name, queue in self._queues.items()},
            lambda event: event.at,
            until=held_from(hosts), live=now - LIVE_SECONDS, most=MOST_EVENTS,
        )  # fmt: skip
        taken = Taken([event for _, event in found])
        counts = Counter(host for host, _ in found)
        for host, event in found:
            queue = self._queues[host]
            queue.judged = max(event.at, queue.judged or event.at)
        for host, queue in self._queues.items():
            self._advance(host, queue, counts[host], taken)
        for host in (one.name for one in hosts if one.forgotten):
            del self._queues[host]
            taken.delta.gone += [Gone(BeatRow, (host,)), Gone(JudgedRow, (host,))]
        taken.left = frozenset(name for name, queue in self._queues.items() if queue.batches)
        return taken

    def _advance(self, host: str, queue: _Queue, events: int, taken: "Taken") -> None:
        queue.taken += events
        before = queue.step
        while queue.batches and queue.taken >= len(queue.batches[0][1].events):
            queue.step, batch = queue.batches.popleft()
            queue.taken -= len(batch.events)
            taken.tallies += batch.tallies
            taken.delta.gone.append(Gone(BatchRow, (host, queue.step)))
        if events or queue.step != before:
            taken.delta.rows.append(JudgedRow(host, queue.step, queue.taken))


@dataclass(slots=True)
class Taken:
    """What is judged in one step, and what is written of that; `left`: hosts with more at hand."""

    events: list[Packed]
    tallies: list[Tallied] = field(default_factory=list)
    delta: Delta = field(default_factory=Delta)
    left: frozenset[str] = frozenset()


def beats_of(store: Store) -> list[tuple[BeatRow, float]]:
    """Return how far each host has read, and how many seconds ago it wrote last.

    Raises StoreUnavailable.
    """
    return [(BeatRow(*beat), age) for *beat, age in store.database.find(_BEATS)]


def unjudged(store: Store, host: str) -> int:
    """Return how many bytes of a host wait to be judged. Raises StoreUnavailable."""
    query = "SELECT coalesce(sum(length(packed)), 0) FROM batches WHERE host = ?"
    return int(store.database.find(query, (host,))[0][0])


_BEATS = (
    "SELECT b.host, b.step, b.reached, b.caught_up, b.here,"
    " extract(epoch FROM clock_timestamp() - g.at)::float8"
    " FROM beats b JOIN sidecar_guard g ON g.name = b.host"
)
_NEXT = (
    "SELECT b.host, b.step, b.packed FROM unnest(?::text[], ?::bigint[]) AS u(h, s)"  # noqa: S608 - a number of ours
    " CROSS JOIN LATERAL (SELECT host, step, packed FROM batches WHERE host = u.h AND step > u.s"
    f" ORDER BY step LIMIT {_BATCHES}) AS b ORDER BY b.host, b.step"
)
