"""One log as a stream of events in the order of their times, parsed by the daemon's parser.

A log is nearly in order: a line may be written a moment after a younger one. Its events pass a
buffer of bounded size that sorts them; one that lies further back than the buffer reaches comes
out late, as it would have reached the daemon.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

import msgspec

from sidecar.matchers import all_match
from sidecar.parse.event import STANDARD_FIELDS, Chunk, Event, Parsed, RejectReason, Triple
from sidecar.parse.parser import Parser
from sidecar.rules.condition import is_absence
from sidecar.rules.rule import Rule
from sidecar.simulate.simulation import Item, Passed

BY_TIME = attrgetter("at")
_LONG_AGO = float("-inf")
_NEVER = float("inf")


class Reading(msgspec.Struct):
    """What was read so far. `future` events were dated far ahead of the wall clock."""

    lines: int = 0
    events: int = 0
    future: int = 0
    rejects: dict[RejectReason, int] = msgspec.field(default_factory=dict)


class Stream:
    """Parses the chunks of one log and puts what they hold in order.

    Events that no rule wants whole stay tallies, which is what makes a gigabyte affordable. A
    tally says only when its newest event was, which would hide a silence inside a chunk from
    absence rules: a chunk that is long enough for one is parsed once more, event by event.

    `wants` tells what rules need whole, `clock` is the wall clock: an event far ahead of it, or
    without any time, takes the time the log had reached. `size` events are held back for sorting.
    """

    def __init__(
        self,
        parser: Parser,
        rules: Sequence[Rule],
        wants: Callable[[Triple], bool],
        *,
        clock: float,
        until: float,
        size: int,
        reading: Reading,
    ) -> None:
        self._parser = parser
        self._wants = wants
        self._silences = [_Silence(rule) for rule in rules if is_absence(rule.condition)]
        self._clock = clock
        self._until = until
        self._size = size
        self._reading = reading
        self._closely = True  # parse the next chunk event by event
        self._unfinished = False  # a container line is open: the chunk cannot be parsed twice
        self._reached = _LONG_AGO

    def items(self, chunks: Iterator[Chunk]) -> Iterator[Item]:
        """Yield what `chunks` hold, in the order of time as far as the buffer reaches."""
        held: list[Item] = []
        beyond = 0  # events after `until` since the last one before it
        for chunk in chunks:
            items = self._take(chunk)
            if self._until != _NEVER:
                inside = [item for item in items if item.at <= self._until]
                beyond = 0 if inside else beyond + len(items)
                items = inside
            held += items
            self._reading.events += sum(map(_count, items))
            if len(held) > 2 * self._size:  # sorted seldom, so that it costs little
                held.sort(key=BY_TIME)
                yield from held[: -self._size]
                del held[: -self._size]
            if beyond > self._size:
                break
        held.sort(key=BY_TIME)
        yield from held

    def _take(self, chunk: Chunk) -> list[Item]:
        parsed, closely = self._parse(chunk)
        reading = self._reading
        reading.lines += parsed.lines
        reading.future += parsed.future
        for reject in parsed.rejects:
            reading.rejects[reject.reason] = reading.rejects.get(reject.reason, 0) + 1
        events = map(self._as_wanted, parsed.events) if closely else parsed.events
        items: list[Item] = [*events]
        items += [Passed(triple, t.count, t.last_at) for triple, t in parsed.tallies.items()]
        newest = parsed.last_at
        if newest is not None and newest < self._clock:
            self._reached = max(self._reached, newest)
            return items
        return self._dated(items)

    def _as_wanted(self, event: Event) -> Item:
        """Return what the daemon's rules would see of an event, however closely it was read."""
        triple = event.triple
        return event if self._wants(triple) else Passed(triple, 1, event.at)

    def _parse(self, chunk: Chunk) -> tuple[Parsed, bool]:
        """Parse a chunk; also return whether events came whole that no rule wants so."""
        closely = self._closely or self._unfinished
        parsed = self._parser.parse(
            chunk, now=self._clock, wanted=self._watches if closely else self._wants
        )
        last = (parsed.last_at or 0.0) > self._until
        if not self._unfinished and (last or (not closely and self._may_hide_silence(parsed))):
            self._parser.forget(chunk.log)
            parsed = self._parser.parse(
                chunk, now=self._clock, wanted=_everything if last else self._watches
            )
            closely = True
        self._unfinished = parsed.open_from is not None
        newest = _newest(parsed, closely=closely) if self._silences else {}
        sparse = [silence.pass_over(newest) for silence in self._silences]  # all have to hear it
        self._closely = any(sparse)
        return parsed, closely

    def _watches(self, triple: Triple) -> bool:
        return self._wants(triple) or any(s.concerns(triple) for s in self._silences)

    def _may_hide_silence(self, parsed: Parsed) -> bool:
        newest = _newest(parsed, closely=False) if self._silences else {}
        return any(silence.may_hide_in(newest) for silence in self._silences)

    def _dated(self, items: list[Item]) -> list[Item]:
        """Give those without a time, or with one to come, the time the log had reached."""
        if self._reached == _LONG_AGO:
            dated = [item.at for item in items if item.at < self._clock]
            self._reached = dated[0] if dated else self._clock
        out: list[Item] = []
        for item in items:
            if item.at >= self._clock:
                out.append(msgspec.structs.replace(item, at=self._reached))
            else:
                self._reached = max(self._reached, item.at)
                out.append(item)
        return out


class _Silence:
    """What one absence rule listens to in one log, and how far it has been heard."""

    def __init__(self, rule: Rule) -> None:
        self._match = [m for m in rule.match if m.name in STANDARD_FIELDS]
        self._within = rule.within or 0.0
        self._known: dict[Triple, bool] = {}
        self._heard = _LONG_AGO

    def concerns(self, triple: Triple) -> bool:
        known = self._known.get(triple)
        if known is None:
            texts = dict(zip(STANDARD_FIELDS, triple, strict=True))
            known = self._known[triple] = all_match(self._match, texts.__getitem__)
        return known

    def may_hide_in(self, newest: dict[Triple, float]) -> bool:
        """Return whether so much time passed that the rule could have fired in between.

        A deadline lies `within` after an event: where the newest event is nearer to what was
        heard before, none in between can matter.
        """
        at = self._newest(newest)
        return at is not None and at - self._heard >= self._within

    def pass_over(self, newest: dict[Triple, float]) -> bool:
        """Note what was heard; return whether the next chunk is better parsed closely."""
        at = self._newest(newest)
        if at is None:
            return False
        before, self._heard = self._heard, max(self._heard, at)
        return before != _LONG_AGO and at - before >= self._within / 2

    def _newest(self, newest: dict[Triple, float]) -> float | None:
        return max((at for triple, at in newest.items() if self.concerns(triple)), default=None)


def _newest(parsed: Parsed, *, closely: bool) -> dict[Triple, float]:
    """Return when each triple's newest event in the chunk was.

    Of what rules want whole anyway only if all was read `closely`: they miss nothing of it, and
    a silence that is taken for longer than it was costs no more than a second look.
    """
    newest = {triple: tally.last_at for triple, tally in parsed.tallies.items()}
    for event in parsed.events if closely else ():
        triple = event.triple
        newest[triple] = max(event.at, newest.get(triple, event.at))
    return newest


def _count(item: Item) -> int:
    return item.count if isinstance(item, Passed) else 1


def _everything(triple: Triple) -> bool:
    del triple
    return True
