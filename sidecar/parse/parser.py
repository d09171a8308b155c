"""Turns what the lines of one chunk hold into events, tallies and rejects.

Chunks of log bytes in, events out: every form of an event that README.md names, line by line.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sidecar.parse.container import WRAPPINGS, Joiner, Line, may_be_wrapped, unwrap_all
from sidecar.parse.event import (
    LONGEST_LABEL,
    UNKNOWN_PROVIDER,
    Chunk,
    Event,
    Foreign,
    ForeignReason,
    LogFormat,
    Parsed,
    Reject,
    RejectReason,
    Tally,
    Triple,
    is_missing,
)
from sidecar.parse.fast import (
    LEAST,
    NO_HEAD,
    Block,
    Claims,
    Heads,
    Needles,
    block_of,
    find_claims,
    read_objects,
)
from sidecar.parse.objects import MARKER_BYTES, Unreadable
from sidecar.parse.patterns import Pattern, TextPatterns
from sidecar.parse.prefix import Prefix
from sidecar.parse.record import Record, find_records

_MAX_SAMPLE = 200
_AHEAD = 600.0  # seconds; beyond it, a clock is wrong or a unit misread


class Collector:
    """Gathers one chunk's outcome; `wanted` is asked once per triple."""

    def __init__(self, now: float, wanted: Callable[[Triple], bool], prefix: Prefix) -> None:
        self.prefix = prefix
        self._now = now
        self._latest = now + _AHEAD
        self._wanted = wanted
        self._parsed = Parsed()
        self._tallies: dict[Triple, Tally] = {}  # of the triples nobody wants whole
        self._whole: set[Triple] = set()

    def take_block(self, block: Block) -> bool:
        """Take every event of `block`; False, with nothing taken, when one needs a closer look."""
        try:
            found = block.tallies()
        except Exception:  # noqa: BLE001 - one of its lines; read singly, it is found
            return False
        if found is None or not all(_fits(triple) for triple in found):
            return False
        if max(newest for _, newest in found.values()) > self._latest:
            return False
        for triple in found:
            if triple not in self._tallies and triple not in self._whole:
                self._admit(triple)
        try:
            self._parsed.events += block.events_of(self._whole & found.keys())
        except Exception:  # noqa: BLE001 - same
            return False
        for triple, (count, newest) in found.items():
            if triple not in self._whole:
                tally = self._tallies[triple]
                tally.count += count
                tally.last_at = max(tally.last_at, newest)
        return True

    def add(self, record: Record, stamp: float | None) -> None:
        """Take a record as an event; `stamp` is its container's. Raises Unreadable."""
        fields = record.fields
        triple = (_provider(fields), _label(fields, "event_type"), _label(fields, "status"))
        tally = self._tallies.get(triple)
        if tally is None and triple not in self._whole:
            tally = self._admit(triple)
        at = self._at(record, stamp)
        if tally is None:
            self._event(triple, at, fields)
        else:
            self._tally(tally, at)

    def reject(self, reason: RejectReason | ForeignReason, position: int, text: str) -> None:
        sample = text[:_MAX_SAMPLE]
        if isinstance(reason, ForeignReason):
            self._parsed.foreign.append(Foreign(reason, position, sample))
        else:
            self._parsed.rejects.append(Reject(reason, position, sample))

    def finish(self, lines: int) -> Parsed:
        parsed = self._parsed
        parsed.lines = lines
        parsed.tallies = {triple: tally for triple, tally in self._tallies.items() if tally.count}
        newest = [tally.last_at for tally in parsed.tallies.values()]
        newest += [event.at for event in parsed.events]
        parsed.last_at = max(newest, default=None)
        return parsed

    def _admit(self, triple: Triple) -> Tally | None:
        if self._wanted(triple):
            self._whole.add(triple)
            return None
        return self._tallies.setdefault(triple, Tally())

    def _tally(self, tally: Tally, at: float) -> None:
        if at > self._latest:
            at = self._settled(at)
        tally.count += 1
        if at > tally.last_at:  # noqa: PLR1730 - max() costs three times as much here
            tally.last_at = at

    def _event(self, triple: Triple, at: float, fields: dict[str, Any]) -> None:
        self._parsed.events.append(Event(*triple, self._settled(at), fields))

    def _at(self, record: Record, stamp: float | None) -> float:
        at = record.stated_instant()
        if at is None:
            self._parsed.bad_times += not is_missing(record.fields.get("timestamp"))
            at = record.surrounding_instant() if stamp is None else stamp
        return self._now if at is None else at

    def _settled(self, at: float) -> float:
        if at > self._latest:
            self._parsed.future += 1
            return self._now
        return at


def _fits(triple: Triple) -> bool:
    return all(0 < len(text) <= LONGEST_LABEL for text in triple)


def _provider(fields: dict[str, Any]) -> str:
    """Return the provider, filling it in where it is missing, null or empty."""
    if is_missing(fields.get("webhook_provider")):
        fields["webhook_provider"] = UNKNOWN_PROVIDER
    return _label(fields, "webhook_provider")


def _label(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if is_missing(value):
        raise Unreadable(RejectReason.MISSING_FIELD)
    if not isinstance(value, str) or len(value) > LONGEST_LABEL:
        raise Unreadable(RejectReason.BAD_FIELD)
    return value


_SAMPLE = 1000  # bytes of a line over the limit that are looked at again


class Parser:
    """Reads chunks of any number of logs; remembers only their unfinished container lines."""

    def __init__(self, patterns: Sequence[Pattern] = (), *, max_line: int = 1 << 20) -> None:
        """`max_line` is in bytes. Raises ValueError when a pattern's regex is not RE2."""
        self.patterns = tuple(patterns)
        self._patterns = TextPatterns(patterns)
        self._joiner = Joiner(max_line)
        self._max_line = max_line
        self._objects, self._claims = Heads(marked=True), Heads(marked=False)
        self._markers = Needles([MARKER_BYTES])
        self._prefixes: dict[str | None, Prefix] = {}
        self._strangers = Needles([MARKER_BYTES, *WRAPPINGS, *self._patterns.literals])

    def parse(
        self,
        chunk: Chunk,
        *,
        now: float,
        wanted: Callable[[Triple], bool],
        ordinary: Parsed | None = None,
    ) -> Parsed:
        """Return what `chunk` holds; never raises, whatever the bytes.

        An exception from one line is a reject of that line.

        `now` is the time of reading, in seconds since the epoch: the event time of last resort.
        `wanted` is asked at most once per triple; events of other triples are only tallied.
        `ordinary`: what `parse_ordinary` has found in the chunk already, if it did.
        """
        parsed = ordinary or self.parse_ordinary(chunk, now=now, wanted=wanted)
        if parsed is None or (self._joiner.has_open(chunk.log) and self._is_wrapped(chunk)):
            out = Collector(now, wanted, self._prefix_of(chunk))
            self._read_lines(chunk, out)
            parsed = out.finish(_count(chunk.data))
        parsed.open_from = self._joiner.open_from(chunk)
        return parsed

    def parse_ordinary(
        self, chunk: Chunk, *, now: float, wanted: Callable[[Triple], bool]
    ) -> Parsed | None:
        """Return what `chunk` holds if that can be told without what was read before, else None.

        That is so of JSON objects alone, and of lines of which only the marker's can be events;
        also in whole lines of a container, where the log has no unfinished one.
        """
        try:
            return self._parse_blocks(chunk, now, wanted)
        except Exception:  # noqa: BLE001 - one of its lines; read singly, it is found
            return None

    def _parse_blocks(
        self, chunk: Chunk, now: float, wanted: Callable[[Triple], bool]
    ) -> Parsed | None:
        out = Collector(now, wanted, self._prefix_of(chunk))
        bare = unwrap_all(chunk.data, chunk.format)
        data = chunk.data if bare is None else bare
        lines = _lines(data) if data[:1] == b"{" and out.prefix.fits("") else []
        block = read_objects(lines, self._objects, self._max_line)
        if block is not None and out.take_block(block):
            return out.finish(len(lines))
        claims = self._only_claims(data, out.prefix)
        if claims is None:
            return None
        if bare is None:
            self._take_claims(claims, chunk.start, out)
            return out.finish(_count(data))
        # A line that needs care needs its place in the file and its container's stamp as well.
        heads, odd = claims.heads(self._claims)
        taken = not odd and out.take_block(block_of(claims.objects, heads))
        return out.finish(_count(data)) if taken else None

    def _read_lines(self, chunk: Chunk, out: Collector) -> None:
        if not self._is_wrapped(chunk):
            self._scan(chunk.data, chunk.start, out)
            return
        for line in self._whole_lines(chunk, out):
            if MARKER_BYTES in line.text or line.too_long or self._patterns.suspects(line.text):
                self._read(line, out)

    def resume(self, chunk: Chunk) -> None:
        """Read the bytes [open_from, offset) of a file once more, after a restart.

        Only the unfinished lines are kept: what completes inside was counted before.
        """
        if self._is_wrapped(chunk):
            for _line in self._whole_lines(chunk):
                pass

    def take_over(self, before: "Parser") -> None:
        """Go on with the unfinished lines of another parser, which must not be used any more."""
        self._joiner = before._joiner  # noqa: SLF001 - its own kind

    def forget(self, log: str) -> None:
        """Drop the unfinished lines of a log that is gone."""
        self._joiner.forget(log)

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
            if line is not None:
                yield line
            position += len(raw) + 1

    def _prefix_of(self, chunk: Chunk) -> Prefix:
        prefix = self._prefixes.get(chunk.prefix)
        if prefix is None:
            prefix = self._prefixes[chunk.prefix] = Prefix(chunk.prefix)
        return prefix

    def _only_claims(self, data: bytes, prefix: Prefix) -> Claims | None:
        """Return the lines with the marker where nothing else in `data` can be an event."""
        if self._patterns.every_line:
            return None
        return find_claims(data, self._max_line, self._strangers, prefix)

    def _scan(self, data: bytes, start: int, out: Collector) -> None:
        """Read unwrapped lines: only those with the marker or a pattern's text are looked at."""
        done = 0
        for begin, end in self._patterns.candidates(data):
            self._scan_marked(data, done, begin, start, out)
            self._read(Line(data[begin:end], start + begin), out)
            done = end + 1
        self._scan_marked(data, done, len(data), start, out)

    def _scan_marked(self, data: bytes, begin: int, stop: int, start: int, out: Collector) -> None:
        """Read the lines with the marker in data[begin:stop], which holds whole lines.

        Lines without the marker are passed over by one search in C (10 million a second).
        """
        claims = find_claims(data[begin:stop], self._max_line, self._markers, out.prefix)
        if claims is not None:
            self._take_claims(claims, start + begin, out)
            return
        find, rfind = data.find, data.rfind
        while (marker := find(MARKER_BYTES, begin, stop)) >= 0:
            begin = rfind(b"\n", begin, marker) + 1 or begin
            end = find(b"\n", marker, stop)
            if end < 0:
                end = stop
            self._read(Line(data[begin:end], start + begin), out)
            begin = end + 1

    def _take_claims(self, claims: Claims, start: int, out: Collector) -> None:
        """Read ordinary lines with the marker, as blocks between those that need care."""
        try:
            heads, odd = claims.heads(self._claims)
        except Exception:  # noqa: BLE001 - one of its lines; read singly, it is found
            heads, odd = [NO_HEAD] * len(claims.objects), list(range(len(claims.objects)))
        if not odd and out.take_block(block_of(claims.objects, heads)):
            return
        lines = claims.lines()
        first = 0
        for end in [*odd, len(heads)]:
            block = block_of(claims.objects[first:end], heads[first:end])
            taken = end - first >= LEAST and out.take_block(block)
            for begin, stop in lines[end if taken else first : end + 1]:
                self._read(Line(claims.data[begin:stop], start + begin), out)
            first = end + 1

    def _read(self, line: Line, out: Collector) -> None:
        """Read one line with all care: its record, else what a pattern makes of it."""
        if line.too_long or len(line.text) > self._max_line:
            if line.too_long or MARKER_BYTES in line.text:
                out.reject(RejectReason.TOO_LONG, line.position, _text(line.text[:_SAMPLE]))
            return
        position = line.position
        for part in line.text.split(b"\r"):  # a carriage return begins a line anew
            if part:
                self._read_part(_text(part), position, line.stamp, out)
            position += len(part) + 1

    def _read_part(self, text: str, position: int, stamp: float | None, out: Collector) -> None:
        try:
            for record in self._records(text, position, out):
                try:
                    out.add(record, stamp)
                except Unreadable as wrong:
                    out.reject(wrong.reason, position, text)
        except Exception:  # noqa: BLE001 - whatever it is, it is this line's and not the process's
            out.reject(RejectReason.POISON, position, text)

    def _records(self, text: str, position: int, out: Collector) -> list[Record]:
        try:
            if records := find_records(text, out.prefix):
                return records
        except Unreadable as wrong:
            out.reject(wrong.reason, position, text)
            if not isinstance(wrong.reason, ForeignReason):
                return []
        # Whatever a line quotes, its own sentence counts: else a stranger could silence it.
        record = self._patterns.find_record(text, out.prefix)
        return [] if record is None else [record]


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _count(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n") and data != b"")


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
