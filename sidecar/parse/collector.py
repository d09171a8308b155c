"""Gathers what the lines of one chunk come to: events, tallies, and what became of each line."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from sidecar.parse.asked import Asked
from sidecar.parse.block import Block
from sidecar.parse.columns import with_events
from sidecar.parse.event import (
    EXACT,
    LONGEST_LABEL,
    OWN_PROVIDER,
    STANDARD_FIELDS,
    UNKNOWN_PROVIDER,
    Clock,
    Event,
    Foreign,
    ForeignReason,
    Obscure,
    ObscureReason,
    Parsed,
    Reject,
    RejectReason,
    Rows,
    Tally,
    Triple,
    Wanted,
    drop_own,
    is_missing,
)
from sidecar.parse.instants import QUARTER, instant
from sidecar.parse.needles import holds, is_text
from sidecar.parse.objects import MARKER_BYTES, Unreadable
from sidecar.parse.prefix import Prefix
from sidecar.parse.record import STAMP_NAMES, Record, mention
from sidecar.parse.sentences import Stated

_MAX_SAMPLE = 4096  # long enough for every secret in it to be seen whole; cut once that is hidden
_NEAR = 60.0  # seconds; so late a line is written, or read, and so far off is a host's clock
# Of times that differ by less none is off by a zone, and others are not.
_ONE_CLOCK = QUARTER - _NEAR
_MOST_TIMES = 200  # of a chunk that are told apart
_AHEAD = 5.0  # seconds; beyond it, a clock or a zone is wrong or a unit misread


class Collector:
    """Gathers one chunk's outcome; `wanted` is asked once per triple.

    `near` is by which stamps without a year get one. `readers` gives what takes the
    fields of some names. `data`: all that its events are read of, None where that is not known;
    `given`: the fields that patterns set, whatever names it holds.
    """

    def __init__(
        self,
        now: float,
        wanted: Callable[[Triple], Wanted],
        prefix: Prefix,
        near: float,
        readers: Callable[[tuple[str, ...]], Asked],
        *,
        data: bytes | None,
        given: Collection[str],
        zone: ZoneInfo | None = None,
    ) -> None:
        self.prefix = prefix
        self._data = data
        self._given = given
        self._held: dict[str, bool] = {}
        self._now = now
        self._near = near
        self._zone = zone
        self._readers = readers
        self._rows = Rows()
        self._latest = now + _AHEAD
        self._wanted = wanted
        self._parsed = Parsed()
        self._stamps: dict[str, tuple[float | None, bool]] = {}  # of the prefixes of plain lines
        self._tallies: dict[Triple, Tally] = {}  # of the triples nobody wants whole
        self._whole: set[Triple] = set()
        self._asked: dict[Triple, tuple[str, ...]] = {}  # of those in `_whole` wanted as rows
        self._events: list[tuple[int, Event]] = []  # with the places of their lines
        self._times: list[float] = []  # of events that have one, before those ahead are taken back
        self._in_order = True  # by that place, or as they were completed
        self._of_line = [0, 0]  # events, and what was said against it

    def add_block(self, block: Block, data: bytes, start: int) -> bool:
        """Add every event of `block`; False, with nothing added, when one needs a closer look.

        `data` holds it, and begins at `start` in the file.
        """
        try:
            if self._zone is not None:
                block.times = [_zoned(at, self._zone) for at in block.times]
            found = block.tallies()
        except Exception:  # noqa: BLE001 - one of its lines; read singly, it is found
            return False
        if found is None or not all(_fits(triple) for triple in found):
            return False
        for triple in found:
            if triple not in self._tallies and triple not in self._whole:
                self._admit(triple)
        try:
            self._add_whole(block, self._whole & found.keys(), data, start)
        except Exception:  # noqa: BLE001 - same
            return False
        newest = max(newest for _, newest in found.values())
        if newest > self._latest:
            self._parsed.future += sum(at > self._latest for at in block.seconds(block.times))
        self._parsed.ahead = max(self._parsed.ahead, newest - self._now)
        number = len(block.triples)
        self._note_clocks(
            newest, block.oldest, number, lambda: block.seconds(block.times[-_MOST_TIMES:])
        )
        self._parsed.own_fields += block.own_fields
        self._parsed.event_lines += number
        self._in_order = block.places is None
        for triple, (count, latest) in found.items():
            if triple not in self._whole:
                tally = self._tallies[triple]
                tally.count += count
                tally.last_at = max(tally.last_at, min(latest, self._now))
        return True

    def _add_whole(self, block: Block, whole: set[Triple], data: bytes, start: int) -> None:
        asked = whole & self._asked.keys()
        if asked and is_text(data):
            readers = {triple: self._readers(self._asked[triple]) for triple in asked}
            rows = block.rows_of(readers, data, start)
            if rows.times and max(rows.times) > self._now:
                rows.times = [min(at, self._now) for at in rows.times]
            self._rows = rows
            whole = whole - asked
        for place, event in block.events_of(whole, start):
            one = event if event.at <= self._now else replace(event, at=self._now)
            self._events.append((place, one))

    def _note_clocks(
        self, newest: float, oldest: float, number: int, times: Callable[[], Sequence[float]]
    ) -> None:
        """Note by how much so many events are off; one by one where they may be of two clocks."""
        if abs(_off(self._now - newest)[1]) > _NEAR:
            return
        one = newest - oldest < _ONE_CLOCK
        for at in (newest,) if one else times():
            quarters, rest = _off(self._now - at)
            events = number if one else 1
            clock = self._parsed.clocks.setdefault(quarters, Clock())
            clock.add(events, events if abs(rest) <= EXACT else 0)

    def add(self, record: Record, stamp: float | None, position: int) -> None:
        """Add a record as an event; `stamp` is its container's. Raises Unreadable."""
        fields = record.fields
        self._parsed.own_fields += drop_own(fields)
        found: Any = tuple(map(fields.get, STANDARD_FIELDS))
        triple: Triple = found if self._is_known(found) else _triple(fields)
        tally = self._tallies.get(triple)
        if tally is None and triple not in self._whole:
            tally = self._admit(triple)
        at = self._at(record, stamp)
        if tally is None:
            self._events.append((position, Event(*triple, self._not_ahead(at), fields)))
        else:
            self._count(tally, at)
        self._of_line[0] += 1

    def add_stated(self, stated: Stated, places: Sequence[tuple[int, float | None]]) -> list[int]:
        """Add what sentences state in lines at these places, with containers' stamps, by number.

        Return the numbers of those that need a closer look; nothing of them was added.
        """
        odd = []
        for number, before, fields in zip(*stated, strict=True):
            try:
                place, stamp = places[number]
                self.add(Record(fields, before), stamp, place)
            except Exception:  # noqa: BLE001 - it is this line's; read singly, it is found
                odd.append(number)
            else:
                self.end_line()
        self._in_order = False
        return odd

    def _is_known(self, triple: Triple) -> bool:
        """Return whether an event of the triple came before: then it is a right one."""
        try:
            return triple in self._whole or triple in self._tallies
        except TypeError:  # one of its fields is a list or an object
            return False

    def reject(
        self, reason: RejectReason | ForeignReason, position: int, text: str, field: str = ""
    ) -> None:
        """Say what is wrong with a line; of several things, the first."""
        self._of_line[1] += 1
        if self._of_line[1] > 1:
            return
        sample = text[:_MAX_SAMPLE]
        if isinstance(reason, ForeignReason):
            self._parsed.foreign.append(Foreign(reason, position, sample))
        else:
            self._parsed.rejects.append(Reject(reason, position, sample, field))

    def obscure(self, reason: ObscureReason, position: int, text: str) -> None:
        self._parsed.obscure.append(Obscure(reason, position, text[:_MAX_SAMPLE]))

    def end_line(self, line: bytes = b"", position: int = 0) -> None:
        """Note that all was said of a line: with the marker and without any word, it is obscure."""
        events, wrong = self._of_line
        self._of_line = [0, 0]
        if wrong:
            return
        if events:
            self._parsed.event_lines += 1
        elif MARKER_BYTES in line:
            text = text_of_line(line)
            self.obscure(mention(text), position, text)

    def end_spread(self, line: bytes, position: int, pieces: int) -> None:
        """Note that a line was an object printed over it and so many more `pieces`."""
        self._parsed.spread[position] = line
        self._in_order = False
        self.add_pieces(pieces)

    def add_pieces(self, number: int) -> None:
        """Note lines that are a part of one that ends in another."""
        self._parsed.pieces += number

    def finish(self, lines: int) -> Parsed:
        parsed = self._parsed
        parsed.lines = lines
        if not self._in_order:
            self._events.sort(key=itemgetter(0))
        parsed.places = [place for place, _ in self._events]
        parsed.events = [event for _, event in self._events]
        parsed.tallies = {triple: tally for triple, tally in self._tallies.items() if tally.count}
        newest = [tally.last_at for tally in parsed.tallies.values()]
        newest += [event.at for event in parsed.events] + self._rows.times
        parsed.last_at = max(newest, default=None)
        if times := self._times:
            self._note_clocks(max(times), min(times), len(times), lambda: times[-_MOST_TIMES:])
        if self._rows.times:
            parsed.rows = with_events(self._rows, self._events, self._asked)
            parsed.places, parsed.events = parsed.rows.places, []
        return parsed

    def _admit(self, triple: Triple) -> Tally | None:
        wanted = self._wanted(triple)
        if not wanted or (wanted is not True and not self._may_hold_any(wanted.needs)):
            return self._tallies.setdefault(triple, Tally())
        self._whole.add(triple)
        if wanted is not True:
            self._asked[triple] = wanted.names
        return None

    def _may_hold_any(self, names: Sequence[str]) -> bool:
        return not names or any(map(self._may_hold, names))

    def _may_hold(self, name: str) -> bool:
        """Return whether an event may hold a field: a plain search; an escape could hide any."""
        if self._data is None or name in self._given:
            return True
        found = self._held.get(name)
        if found is None:
            found = b"\\" in self._data or holds(self._data, name.encode())
            self._held[name] = found
        return found

    def _count(self, tally: Tally, at: float) -> None:
        if at > self._now:
            at = self._not_ahead(at)
        tally.count += 1
        if at > tally.last_at:  # noqa: PLR1730 - max() costs three times as much here
            tally.last_at = at

    def _at(self, record: Record, stamp: float | None) -> float:
        own = record.fields.get("timestamp")
        unreadable = not is_missing(own)
        if unreadable and (at := instant(own, self._near, self._zone)) is not None:
            self._times.append(at)
            return at
        if stamp is None:
            stamp, looks_like_one = self._surrounding(record)
            unreadable |= looks_like_one
        self._parsed.bad_times += unreadable
        if stamp is None:
            self._parsed.undated += 1
            return self._now
        self._times.append(stamp)
        return stamp

    def _surrounding(self, record: Record) -> tuple[float | None, bool]:
        """Do what `surrounding_instant` does; of a plain line's prefix it is worked out once."""
        if record.outer or not STAMP_NAMES.isdisjoint(record.fields):
            return record.surrounding_instant(self._near, self._zone)
        found = self._stamps.get(record.before)
        if found is None:
            found = self._stamps[record.before] = record.surrounding_instant(self._near, self._zone)
        return found

    def _not_ahead(self, at: float) -> float:
        """Return the event's time, but none that is still to come: other hosts' events would be
        taken for late ones.
        """
        if at <= self._now:
            return at
        self._parsed.future += at > self._latest
        self._parsed.ahead = max(self._parsed.ahead, at - self._now)
        return self._now


def _off(late: float) -> tuple[int, float]:
    """Return the quarter hours nearest to `late` seconds, and what is left."""
    quarters = round(late / QUARTER)
    return quarters, late - quarters * QUARTER


def _zoned(at: datetime, zone: ZoneInfo) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=zone)


def _fits(triple: Triple) -> bool:
    return triple[0] != OWN_PROVIDER and all(0 < len(text) <= LONGEST_LABEL for text in triple)


def _triple(fields: dict[str, Any]) -> Triple:
    return (_provider(fields), _label(fields, "event_type"), _label(fields, "status"))


def _provider(fields: dict[str, Any]) -> str:
    """Return the provider, filling it in where it is missing, null or empty."""
    if is_missing(fields.get("webhook_provider")):
        fields["webhook_provider"] = UNKNOWN_PROVIDER
    provider = _label(fields, "webhook_provider")
    if provider == OWN_PROVIDER:
        raise Unreadable(RejectReason.OWN_PROVIDER)
    return provider


def _label(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if is_missing(value):
        raise Unreadable(RejectReason.MISSING_FIELD, name)
    if type(value) is int:  # an HTTP code as a status
        value = fields[name] = str(value)
    if not isinstance(value, str) or len(value) > LONGEST_LABEL:
        raise Unreadable(RejectReason.BAD_FIELD, name)
    return value


def text_of_line(line: bytes) -> str:
    return line.decode("utf-8", "replace")
