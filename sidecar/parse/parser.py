"""The one way through: chunks of log bytes in; events, tallies, rejects and foreign lines out.

A chunk is unwrapped from its container, split into a block of alike lines and the odd ones, and
the odd ones are read singly. Whatever reading one line raises is that line's reject.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any

from msgspec.structs import replace

from sidecar.parse.asked import Asked
from sidecar.parse.block import Block, Split, Splitter, count_lines, utf16_lines
from sidecar.parse.columns import set_own, with_events
from sidecar.parse.container import WRAPPINGS, Joiner, Line, bare_lines, may_be_wrapped
from sidecar.parse.event import (
    HOST,
    LONGEST_LABEL,
    MAX_LINE,
    OWN_PROVIDER,
    SOURCE,
    STANDARD_FIELDS,
    UNKNOWN_PROVIDER,
    Chunk,
    Event,
    Foreign,
    ForeignReason,
    LogFormat,
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
from sidecar.parse.instants import instant
from sidecar.parse.objects import MARKER_BYTES, Unreadable, is_text
from sidecar.parse.patterns import Pattern, TextPatterns
from sidecar.parse.prefix import Prefix
from sidecar.parse.record import STAMP_NAMES, Record, find_records, mention
from sidecar.parse.signed import is_signed, signed_only

_MAX_SAMPLE = 4096  # long enough for every secret in it to be seen whole; cut once that is hidden
_AHEAD = 600.0  # seconds; beyond it, a clock is wrong or a unit misread


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
    ) -> None:
        self.prefix = prefix
        self._data = data
        self._given = given
        self._held: dict[str, bool] = {}
        self._now = now
        self._near = near
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
        self._in_order = True  # by that place, or as they were completed
        self._of_line = [0, 0]  # events, and what was said against it

    def add_block(self, block: Block, data: bytes, start: int) -> bool:
        """Add every event of `block`; False, with nothing added, when one needs a closer look.

        `data` holds it, and begins at `start` in the file.
        """
        try:
            found = block.tallies()
        except Exception:  # noqa: BLE001 - one of its lines; read singly, it is found
            return False
        if found is None or not all(_fits(triple) for triple in found):
            return False
        newest = max(newest for _, newest in found.values())
        if newest > self._latest:
            return False
        for triple in found:
            if triple not in self._tallies and triple not in self._whole:
                self._admit(triple)
        try:
            self._add_whole(block, self._whole & found.keys(), data, start)
        except Exception:  # noqa: BLE001 - same
            return False
        self._parsed.own_fields += block.own_fields
        self._parsed.event_lines += len(block.triples)
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
            rows.times = [min(at, self._now) for at in rows.times]
            self._rows = rows
            whole = whole - asked
        for place, event in block.events_of(whole, start):
            one = event if event.at <= self._now else replace(event, at=self._now)
            self._events.append((place, one))

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
            text = _text(line)
            self.obscure(mention(text), position, text)

    def add_piece(self) -> None:
        """Note a line that is a part of one that ends in another."""
        self._parsed.pieces += 1

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
            found = self._held[name] = name.encode() in self._data or b"\\" in self._data
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
        if unreadable and (at := instant(own, self._near)) is not None:
            return at
        if stamp is None:
            stamp, looks_like_one = self._surrounding(record)
            unreadable |= looks_like_one
        self._parsed.bad_times += unreadable
        return self._now if stamp is None else stamp

    def _surrounding(self, record: Record) -> tuple[float | None, bool]:
        """Do what `surrounding_instant` does; of a plain line's prefix it is worked out once."""
        if record.outer or not STAMP_NAMES.isdisjoint(record.fields):
            return record.surrounding_instant(self._near)
        found = self._stamps.get(record.before)
        if found is None:
            found = self._stamps[record.before] = record.surrounding_instant(self._near)
        return found

    def _not_ahead(self, at: float) -> float:
        """Return the event's time, but none that is still to come: other hosts' events would be
        taken for late ones.
        """
        self._parsed.future += at > self._latest
        return min(at, self._now)


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
    if not isinstance(value, str) or len(value) > LONGEST_LABEL:
        raise Unreadable(RejectReason.BAD_FIELD, name)
    return value


_MOST_READERS = 1000  # remembered; each set of fields that rules ask for has one
_SAMPLE = 1000  # bytes of a line over the limit that are looked at again


class Parser:
    """Reads chunks of any number of logs; remembers only their unfinished container lines."""

    def __init__(
        self,
        patterns: Sequence[Pattern] = (),
        *,
        near: float | None = None,
    ) -> None:
        """Stamps without a year take the one that is right at `near`; None: at the time of reading.

        Raises ValueError when a pattern's regex is not RE2.
        """
        self.patterns = tuple(patterns)
        self._readers = lru_cache(_MOST_READERS)(Asked)
        self._near = near
        self._patterns = TextPatterns(patterns)
        self._joiner = Joiner()
        self._prefixes: dict[str | None, Prefix] = {}
        self._splitter = Splitter(
            self._patterns.literals,
            WRAPPINGS,
            every_line=self._patterns.every_line,
            alike=not self._patterns.renames,
            take_all=self._patterns.take_all if self._patterns.takes_many else None,
        )

    def parse(
        self,
        chunk: Chunk,
        *,
        now: float,
        wanted: Callable[[Triple], Wanted],
        alone: Parsed | None = None,
    ) -> Parsed:
        """Return what `chunk` holds; never raises, whatever the bytes.

        An exception from one line is a reject of that line.

        `now` is the time of reading, in seconds since the epoch: the event time of last resort.
        `wanted` is asked at most once per triple; other events are only tallied.
        `alone`: what `parse_alone` has found in the chunk already, if it did.
        """
        parsed = alone or self.parse_alone(chunk, now=now, wanted=wanted)
        if parsed is None or (self._joiner.has_open(chunk.log) and self._is_wrapped(chunk)):
            parsed = self._parse_wrapped(chunk, self._collector(chunk, now, wanted))
        parsed.open_from = self._joiner.open_from(chunk)
        set_own(parsed, chunk)
        return parsed

    def parse_alone(
        self, chunk: Chunk, *, now: float, wanted: Callable[[Triple], Wanted]
    ) -> Parsed | None:
        """Return what `chunk` holds if that can be told without what was read before, else None.

        That is so of lines that no container has wrapped, and of whole wrapped lines with nothing
        odd among them, where the log has no unfinished one.
        """
        bare = bare_lines(chunk)
        if chunk.key and bare is None and self._is_wrapped(chunk):
            return None
        data, refused = signed_only(chunk.data if bare is None else bare, chunk.key)
        out = self._collector(chunk, now, wanted, data)
        may_be_wrapped = bare is None and chunk.format is not LogFormat.PLAIN
        split = self._add_block(data, chunk.start, out, wrapped=may_be_wrapped)
        # An odd line needs its place in the file and its container's stamp as well.
        if split is None or (split.odd and bare is not None):
            return None
        for begin, line in refused:
            out.reject(ForeignReason.UNSIGNED, chunk.start + begin, _text(line))
            out.end_line()
        for begin, end in split.odd:
            self._read(Line(data[begin:end], chunk.start + begin), out)
        for begin, line in utf16_lines(data):
            out.obscure(ObscureReason.UTF16, chunk.start + begin, _text(line))
        parsed = out.finish(split.lines)
        parsed.unwrapped = bare is not None
        return parsed

    def _add_block(self, data: bytes, start: int, out: Collector, *, wrapped: bool) -> Split | None:
        """Add all alike lines at once; the odd ones are left. None: some may be wrapped."""
        try:
            split = self._splitter.split(data, out.prefix, wrapped=wrapped)
        except Exception:  # noqa: BLE001 - one of its lines; read singly, it is found
            split = self._splitter.split_off_all(data, wrapped=wrapped)
        if split is not None and split.block and not out.add_block(split.block, data, start):
            split = self._splitter.split_off_all(data, wrapped=wrapped)
        elif split is not None and split.block and split.block.looked_for:
            self._splitter.look_for(split.block.looked_for)
        return split

    def _parse_wrapped(self, chunk: Chunk, out: Collector) -> Parsed:
        """Return what `chunk` holds, with lines in it that a container has wrapped."""
        for line in self._whole_lines(chunk, out):
            if chunk.key and not is_signed(line.text, chunk.key):
                if MARKER_BYTES in line.text:
                    out.reject(ForeignReason.UNSIGNED, line.position, _text(line.text))
                    out.end_line()
            elif line.too_long or self._splitter.may_hold_event(line.text):
                self._read(line, out)
        return out.finish(count_lines(chunk.data))

    def fields_of(self, chunk: Chunk) -> Callable[[bytes], dict[str, Any]]:
        """Return what reads the fields of an event at one of the places of `rows`."""
        return partial(self._patterns.fields_at, self._prefix_of(chunk))

    def resume(self, chunk: Chunk) -> None:
        """Read the bytes [open_from, offset) of a file once more, after a restart.

        Only the unfinished lines are kept: what completes inside was counted before.
        """
        if self._is_wrapped(chunk):
            for _line in self._whole_lines(chunk):
                pass

    def adopt_open_lines(self, before: "Parser") -> None:
        """Go on with the unfinished lines of another parser, which must not be used any more."""
        self._joiner = before._joiner  # noqa: SLF001 - its own kind

    def drop(self, log: str) -> None:
        """Drop the unfinished lines of a log that is gone."""
        self._joiner.drop(log)

    def _is_wrapped(self, chunk: Chunk) -> bool:
        return chunk.format is not LogFormat.PLAIN and may_be_wrapped(chunk.data)

    def _whole_lines(self, chunk: Chunk, out: Collector | None = None) -> Iterator[Line]:
        position = chunk.start
        for raw in chunk.data.split(b"\n"):
            try:
                line = self._joiner.unwrap(chunk, raw, position)
            except Exception:  # noqa: BLE001 - as of a line that is not wrapped
                line = None
                if out is not None:
                    out.reject(RejectReason.POISON, position, _text(raw[:_SAMPLE]))
                    out.end_line()
            else:
                if out is not None and line is None:
                    out.add_piece()
            if line is not None:
                yield line
            position += len(raw) + 1

    def _collector(
        self,
        chunk: Chunk,
        now: float,
        wanted: Callable[[Triple], Wanted],
        data: bytes | None = None,
    ) -> Collector:
        near = now if self._near is None else self._near
        given = self._patterns.given | {SOURCE, HOST}
        prefix = self._prefix_of(chunk)
        return Collector(now, wanted, prefix, near, self._readers, data=data, given=given)

    def _prefix_of(self, chunk: Chunk) -> Prefix:
        prefix = self._prefixes.get(chunk.prefix)
        if prefix is None:
            prefix = self._prefixes[chunk.prefix] = Prefix(chunk.prefix)
        return prefix

    def _read(self, line: Line, out: Collector) -> None:
        """Read one line with all care: its record, else what a pattern makes of it."""
        self._read_parts(line, out)
        out.end_line(line.text, line.position)

    def _read_parts(self, line: Line, out: Collector) -> None:
        if line.too_long or len(line.text) > MAX_LINE:
            if line.too_long or MARKER_BYTES in line.text:
                out.reject(RejectReason.TOO_LONG, line.position, _text(line.text[:_SAMPLE]))
            return
        position = line.position
        if b"\r" not in line.text:
            if line.text:
                self._read_part(_text(line.text), position, line.stamp, out)
            return
        for part in line.text.split(b"\r"):  # a carriage return begins a line anew
            if part:
                self._read_part(_text(part), position, line.stamp, out)
            position += len(part) + 1

    def _read_part(self, text: str, position: int, stamp: float | None, out: Collector) -> None:
        try:
            for record in self._records(text, position, out):
                try:
                    out.add(record, stamp, position)
                except Unreadable as wrong:
                    out.reject(wrong.reason, position, text, wrong.field)
        except Exception:  # noqa: BLE001 - whatever it is, it is this line's and not the process's
            out.reject(RejectReason.POISON, position, text)

    def _records(self, text: str, position: int, out: Collector) -> list[Record]:
        try:
            if records := find_records(text, out.prefix):
                return list(map(self._patterns.renamed, records))
        except Unreadable as wrong:
            out.reject(wrong.reason, position, text)
            if not isinstance(wrong.reason, ForeignReason):
                return []
        # Whatever a line quotes, its own sentence counts: else a stranger could silence it.
        record = self._patterns.find_record(text, out.prefix)
        return [] if record is None else [record]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
