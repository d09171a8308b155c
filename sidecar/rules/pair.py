"""Rules with `expect`: pairs of events by a shared id, and the alert where one half is missing.

An id of which both halves came is forgotten, so that only open pairs take memory: a half is an
entry among what waits, and gets a state of its own only where it fires. Halves belong
together that are `within` apart, in any order; one whose other half comes later than that, and
before anybody was told, is paired as well. That a half is missing is judged like any absence:
only once every log is read to its end.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain, islice
from typing import Any, NamedTuple

from sidecar.parse.columns import Columns
from sidecar.parse.event import LONGEST_LABEL, Event, bounded
from sidecar.rules.alert import OpenAlert, Redact, Trigger
from sidecar.rules.compiled import DEFAULT_SPAN, CompiledRule
from sidecar.rules.guard import Samples
from sidecar.rules.keystate import KeyState
from sidecar.rules.rule import Key
from sidecar.rules.transitions import TransitionLog
from sidecar.rules.verdict import Run, Verdict, Waited
from sidecar.rules.waiting import SLACK, Entries, Waiting
from sidecar.rules.windows import LONG_AGO, NEVER

# What a text may have become by redaction, or by being cut, has one of these in it.
_CHANGED = re.compile(r"[~?]|\.\.\.")


class Begun(NamedTuple):
    """What waits of an event of `first`. `fields`: redacted, as JSON, which has large integers;
    nothing until it is their turn. `clock`: when the newest that came for it did.
    """

    provider: str
    event_type: str
    status: str
    fields: str = ""
    clock: float = LONG_AGO


class Halves(Waiting):
    """The open halves of one rule: the time of each, and what began it; None is one of `then`.

    The event of one is known in memory. The fields of some are stored in each step, oldest first.
    """

    def __init__(
        self,
        compiled: CompiledRule,
        states: dict[Key, KeyState],
        wake: Callable[[Key], object],
        max_keys: int,
        make_room: Callable[[], bool],
    ) -> None:
        super().__init__(compiled, states, wake, max_keys)
        self._make_room = make_room
        self._later: dict[Key, Callable[[], Event]] = {}
        self._unstored: dict[Key, None] = {}
        self._opened: dict[Key, bool] = {}  # in this step; whether it is stored otherwise
        self._dues: list[tuple[float, Key]] = []  # of `first`; the others have `_ends`
        self._changed: set[Key] = set()  # that may be of another text

    def pair_up(
        self, runs: Sequence[Run], columns: Columns, look: Callable[[int, Verdict], None]
    ) -> None:
        """Take events of a block: those whole among them leave nothing, a half that is left waits.

        Their keys are texts as logged. `look` at those of alerts.
        """
        whole = self._whole(runs, columns.times)
        left = sorted(
            (place, text, verdict)
            for run in runs
            for place, text, verdict in zip(run.places, run.keys, run.each(), strict=True)
            if text not in whole and text[0]
        )
        keys = self._kept([text for _, text, _ in left])
        for (place, _, verdict), key in zip(left, keys, strict=True):
            if key in self._states:
                look(place, verdict)
            else:
                self._meet(key, place, columns, resolves=verdict.resolves)

    def _kept(self, texts: Collection[Key]) -> Iterator[Key]:
        """Return the keys that texts become."""
        kept = self._compiled.labels(self._compiled.by[0]).of_all([text for (text,) in texts])
        return ((text if len(text) <= LONGEST_LABEL else bounded(text),) for text in kept)

    def _whole(self, runs: Sequence[Run], times: Sequence[float]) -> set[Key]:
        """Return the texts of which these are one half each, and nothing else is known."""
        first, then = dict[Key, int](), dict[Key, int]()
        for run in runs:
            if run.alone is not None:
                (then if run.alone.resolves else first).update(
                    zip(run.keys, run.places, strict=True)
                )
            else:
                for key, place, verdict in zip(run.keys, run.places, run.each(), strict=True):
                    (then if verdict.resolves else first)[key] = place
        whole = first.keys() & then.keys()
        if sum(len(run.keys) for run in runs) > len(first) + len(then):
            many = Counter(chain.from_iterable(run.keys for run in runs))
            whole = {key for key in whole if many[key] == 2}  # noqa: PLR2004 - of each one
        if max(times) - min(times) > self._compiled.span:
            span = self._compiled.span
            whole = {key for key in whole if times[then[key]] >= times[first[key]] - span}
        return whole - self._known(whole)

    def _known(self, texts: set[Key]) -> set[Key]:
        """Return those of which a half waits, or an alert is open."""
        of, states = self.of, self._states
        self._changed = {key for key in self._changed if key in of or key in states}
        if not self._changed:
            return (of.keys() & texts) | (states.keys() & texts)
        named = zip(texts, self._kept(texts), strict=True)
        return {text for text, key in named if key in of or key in states}

    def _meet(self, key: Key, place: int, columns: Columns, *, resolves: bool) -> None:
        """Let a half pair up with the one that waits, or wait itself."""
        at, known, span = columns.times[place], self.of.get(key), self._compiled.span
        _, was, begun = known or (0.0, LONG_AGO, None)
        if resolves:
            if begun is None:
                self._open(key, max(at, was), None)
            elif at >= was - span:
                self._close(key)
        elif known and begun is None and at <= was + span:
            self._close(key)
        elif begun is None or at < was:  # of several the earliest begins the pair
            clock = LONG_AGO if begun is None else max(begun.clock, was)
            self._open(key, at, Begun(*columns.triples[place], clock=clock), columns.later(place))
        elif at > max(begun.clock, was):
            self.of[key][2] = begun._replace(clock=at)
            self._opened.setdefault(key, True)

    def _open(
        self, key: Key, at: float, begun: Begun | None, later: Callable[[], Event] | None = None
    ) -> None:
        if key not in self.of and self.room_for_keys < 1 and not self._make_room():
            self._compiled.overflow += 1
            return
        self._opened.setdefault(key, key in self.of)
        self._set(key, at, begun)
        if later is not None:
            self._later[key], self._unstored[key] = later, None

    def _set(self, key: Key, at: float, begun: Begun | None) -> None:
        self.alone += key not in self.of
        self.of[key] = [0.0, at, begun]
        heappush(self._ends if begun is None else self._dues, (at + self._compiled.span, key))
        self.note(key)

    def note(self, key: Key) -> None:
        """Know a key by which another text than its own may be meant."""
        if _CHANGED.search(key[0]):
            self._changed.add(key)

    def _close(self, key: Key) -> None:
        """Forget a half; the journal is told where it knows of it."""
        stored = self._opened.get(key, True)
        self.end(key)
        if stored:
            self.taken.gone.append(key)

    def settle(self, redact: Redact, most: int) -> None:
        """Say what came to wait in this step, and make the fields of some fit to be stored.

        Those of earlier steps are first: while much is read, a half is closed by the next one.
        """
        quiet = len(self._opened) <= most
        turn = (key for key in self._unstored if quiet or key not in self._opened)
        for key in list(islice(turn, most)):
            del self._unstored[key]
            fields = json.dumps(redact(self._later[key]().fields), default=str)
            self.of[key][2] = self.of[key][2]._replace(fields=fields)
            self._opened.setdefault(key, True)
        if self._opened:
            keys, self._opened = list(self._opened), {}
            entries = [self.of[key] for key in keys]
            times, begun = [entry[1] for entry in entries], [entry[2] for entry in entries]
            self.taken.runs.append(Waited(keys, times, range(len(keys)), begun))

    def forget_taken(self) -> None:
        super().forget_taken()
        self._opened, self._unstored = {}, {}

    def event_of(self, key: Key) -> Event | None:
        """Return the event that a half waits for the end of."""
        later, begun = self._later.pop(key, None), self.of[key][2]
        if later is not None or begun is None:
            return later and later()
        name = self._compiled.by[0]
        fields = json.loads(begun.fields) if begun.fields else {name: key[0]}
        return Event(begun.provider, begun.event_type, begun.status, self.of[key][1], fields)

    def cost(self, samples: Samples | None) -> float:
        del samples
        return 0.0

    def put(self, entries: Iterable[tuple[Key, float]], samples: Any, cost: float) -> None:
        """Let halves wait as the journal has them."""
        del cost
        for key, at in entries:
            self._set(key, at, None if samples is None else Begun(*samples))

    def entries(self, key: Key) -> Entries | None:
        return self.of.get(key)

    def idle(self) -> Iterator[tuple[float, float, Key]]:
        yield from ((self.room(key), -float(self.of[key][1]), key) for key in self.keys_alone())

    def end(self, key: Key) -> Entries | None:
        for known in (self._later, self._unstored, self._opened):
            known.pop(key, None)
        entries = self.of.pop(key, None)
        self.alone -= entries is not None
        return entries

    def room(self, key: Key) -> float:
        """Return how near a half is to firing: those go first that never do."""
        _, at, begun = self.of[key]
        return NEVER if begun is None else float(at) + self._compiled.span

    def next_end(self, *, complete: bool) -> float:
        ends = (self._ends, self._dues) if complete else (self._ends,)
        return min(map(self._first, ends))

    def next_due(self) -> float:
        """Return when the first of `first` fires, unless its other half comes."""
        return self._first(self._dues)

    def _first(self, ends: list[tuple[float, Key]]) -> float:
        while ends and not self._is_valid(*ends[0], first=ends is self._dues):
            heappop(ends)
        return ends[0][0] if ends else NEVER

    def _is_valid(self, due: float, key: Key, *, first: bool) -> bool:
        known = self.of.get(key)
        if known is None or (known[2] is None) is first:
            return False
        return bool(known[1] + self._compiled.span == due)

    def expire(self, t: float, *, complete: bool) -> None:
        """Let go those of `then` that `t` leaves behind; if `complete`, those of `first` fire."""
        while self._first(self._ends) <= t:
            self._close(heappop(self._ends)[1])
        while complete and self._first(self._dues) <= t:
            self.wake(heappop(self._dues)[1])
        if len(self._ends) + len(self._dues) > 2 * self.alone + SLACK:
            self._throw_out()

    def _throw_out(self) -> None:
        self._ends, self._dues = [], []
        for key, (_, at, begun) in self.of.items():
            (self._ends if begun is None else self._dues).append((at + self._compiled.span, key))
        heapify(self._ends)
        heapify(self._dues)


class PairKey(KeyState):
    """The alert about one id. It ends with the other half, by hand, or 30 days after it fired, as
    no longer seen. `half`: what is to fire, an event and its time.
    """

    __slots__ = ("half",)

    def __init__(self, compiled: CompiledRule, key: Key, transition_log: TransitionLog) -> None:
        super().__init__(compiled, key, transition_log)
        self.half: tuple[float, Event] | None = None

    @property
    def waits_for_all(self) -> bool:
        return True

    def catch_up(self, waited: Iterable[tuple[float, Any]], last: Event | None) -> None:
        """Take a half that is due; `last` is its event."""
        for at, begun in waited:
            self.clock = max(at, begun.clock)
            self.half = None if last is None else (at, last)

    def observe(self, event: Event, samples: Samples) -> None:
        """Take an event of `first` more."""
        del samples
        self._take(event)
        if self.alert is not None:
            self._keep(event, self.alert, upholds=True)

    def resolve(self, event: Event) -> None:
        """Take an event of `then`; one from long before `first` is another one's."""
        self._take(event)
        if self.alert is not None and event.at >= self.alert.since - self.compiled.span:
            self.alert.note_end(event, self.compiled, self.transition_log.redact)
            self.trigger(Trigger.RESOLVE, self.clock)

    def _take(self, event: Event) -> None:
        self.changed = True
        self.clock = max(self.clock, event.at)

    def advance(self, t: float) -> None:
        """Do nothing: only a tick may judge."""

    def meet_deadline(self, t: float) -> None:
        half, alert, self.half = self.half, self.alert, None
        if alert is not None and self._forgotten_at(alert) <= t:
            self.trigger(Trigger.RUNS_OUT, t)
            self.trigger(Trigger.KEEP_OVER, t)
        elif alert is not None:
            self._escalate(alert, t)
        elif half is not None and self.compiled.since < NEVER:
            self._fire(half[0], t, half[1])
        self.due = self.due_after(t)

    def _fire(self, since: float, t: float, event: Event) -> None:
        self.trigger(Trigger.HOLDS, since, event)
        self.trigger(Trigger.FOR_OVER, t)
        if self.alert is not None:
            self._escalate(self.alert, t)

    def due_after(self, t: float) -> float:
        del t
        if self.alert is not None:
            return min(self.alert_due(self.alert), self._forgotten_at(self.alert))
        return NEVER if self.half is None else self.half[0] + self.compiled.span

    def _forgotten_at(self, alert: OpenAlert) -> float:
        return (alert.fired_at or self.clock) + max(DEFAULT_SPAN, self.compiled.span)

    def is_gone(self, t: float) -> bool:
        del t
        return self.alert is None and self.half is None
