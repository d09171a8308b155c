"""The one way through: chunks of log bytes in; events, tallies, rejects and foreign lines out.

A chunk is unwrapped from its container, split into a block of alike lines and the odd ones, and
the odd ones are read singly. Whatever reading one line raises is that line's reject.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from sidecar.parse.asked import Asked
from sidecar.parse.block import Split, Splitter, count_lines, utf16_lines
from sidecar.parse.collector import Collector, text_of_line
from sidecar.parse.columns import Columns, set_own
from sidecar.parse.container import (
    WRAPPINGS,
    Joiner,
    Lines,
    bare_lines,
    is_mixed,
    journal_lines,
    lines_of,
    may_be_wrapped,
)
from sidecar.parse.event import (
    HOST,
    MAX_LINE,
    SOURCE,
    Chunk,
    Foreign,
    ForeignReason,
    LogFormat,
    Obscure,
    ObscureReason,
    Parsed,
    Reject,
    RejectReason,
    Triple,
    Wanted,
)
from sidecar.parse.needles import is_text
from sidecar.parse.objects import MARKER_BYTES, Unreadable
from sidecar.parse.patterns import Pattern, TextPatterns
from sidecar.parse.prefix import Prefix, is_signed, signed_only
from sidecar.parse.record import Record, find_records
from sidecar.parse.repeats import earlier, is_known, may_repeat, repeating_lines, weighed
from sidecar.parse.spread import (
    Line,
    Region,
    any_spread,
    joined,
    mixed_open,
    open_from,
    regions,
    without,
)

OPEN_SECONDS = 60.0  # that the rest of a line or an object may take to come
_MOST_READERS = 1000  # remembered; each set of fields that rules ask for has one
_UNFINISHED = (
    RejectReason.TRUNCATED,
    RejectReason.MALFORMED,
    RejectReason.NO_OBJECT,
    RejectReason.NOT_AN_OBJECT,
)
_SAMPLE = 1000  # bytes of a line over the limit that are looked at again
_Said = TypeVar("_Said", Reject, Foreign, Obscure)


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
        parsed, opened = None, self._joiner.has_open(chunk.log)
        if not (opened and self._goes_on(chunk)):
            parsed = alone or self.parse_alone(chunk, now=now, wanted=wanted)
        if parsed is None:
            begun = self._joiner.is_spread(chunk.log)
            data = None if begun or self._is_wrapped(chunk) else chunk.data
            parsed = self._parse_parts(chunk, self._collector(chunk, now, wanted, data))
            opened = True
        if opened:
            parsed.open_from = self._joiner.note(chunk)
        set_own(parsed, chunk)
        return parsed

    def end_open(
        self,
        now: float,
        wanted: Callable[[Triple], Wanted],
        busy: Collection[str] = (),
        age: float = OPEN_SECONDS,
    ) -> Iterator[tuple[Chunk, Parsed]]:
        """Yield what the lines and objects come to whose rest has not come for `age` seconds.

        Each with a chunk without data, which stands where its log is read to. Logs that are `busy`
        have more to read first. `now` and `wanted` as of `parse`.
        """
        for chunk, waited, lines in self._joiner.end(now, age, busy):
            out = self._collector(chunk, now, wanted)
            for line in lines:
                self._read_if(line, out)
            parsed = out.finish(waited)
            set_own(parsed, chunk)
            yield chunk, parsed

    @property
    def due(self) -> float | None:
        """When `end_open` should be called again, if nothing is read before."""
        return self._joiner.due

    def _goes_on(self, chunk: Chunk) -> bool:
        """Return whether `chunk` may hold more of what its log has left unfinished."""
        return self._joiner.is_spread(chunk.log) or self._is_wrapped(chunk)

    def parse_alone(
        self, chunk: Chunk, *, now: float, wanted: Callable[[Triple], Wanted]
    ) -> Parsed | None:
        """Return what `chunk` holds if that can be told without what was read before, else None.

        That is so of lines that no container has wrapped, and of whole wrapped lines, where the
        log has no unfinished one, and no object goes over lines.
        """
        bare = bare_lines(chunk)
        if chunk.key and bare is None and self._is_wrapped(chunk):
            return None
        prefix, whole = self._prefix_of(chunk), chunk.data if bare is None else bare
        if not chunk.key and self._ends_open(chunk, whole, prefix):
            return None
        if _needs_before(chunk, whole):
            return None
        data, refused = signed_only(whole, chunk.key)
        out = self._collector(chunk, now, wanted, data)
        may_be_wrapped = bare is None and chunk.format is not LogFormat.PLAIN
        split, spread = self._add_block(data, chunk, out, wrapped=may_be_wrapped), list[Region]()
        if split is None and bare is None and not chunk.key:
            spread = self._spread_in(data, out.prefix, wrapped=may_be_wrapped)
            data = without(data, spread)
            split = self._add_block(data, chunk, out, wrapped=may_be_wrapped) if spread else None
        if split is None or (bare is not None and may_repeat(data)):
            return None
        for begin, end in spread:
            self._read_singly(_part(chunk, begin, end), out)
        lines = {} if bare is None else _lines_apart(chunk, data, [*split.odd, *refused])
        for begin, line in refused:
            out.reject(ForeignReason.UNSIGNED, chunk.start + begin, text_of_line(line))
            out.end_line()
        self._add_odd(split, data, chunk, out, lines)
        parsed = out.finish(split.lines)
        parsed.unwrapped = bare is not None
        if lines:
            _move(parsed, chunk, lines)
        return parsed

    def _ends_open(self, chunk: Chunk, whole: bytes, prefix: Prefix) -> bool:
        if whole is not chunk.data and is_mixed(chunk.data):
            return mixed_open(whole)
        return open_from(whole, 0, prefix) < len(whole)

    def _add_block(
        self, data: bytes, chunk: Chunk, out: Collector, *, wrapped: bool
    ) -> Split | None:
        """Add all alike lines at once; the odd ones are left.

        None, with nothing added, where some may be wrapped or of an object over lines.
        """
        try:
            split = self._splitter.split(data, out.prefix, wrapped=wrapped)
        except Exception:  # noqa: BLE001 - one of its lines; read singly, it is found
            split = self._splitter.split_off_all(data, wrapped=wrapped)
        if split is None or self._is_spread(split, data, chunk, out):
            return None
        if split.block and not out.add_block(split.block, data, chunk.start):
            split = self._splitter.split_off_all(data, wrapped=wrapped)
            if split is None or self._is_spread(split, data, chunk, out):
                return None
        elif split.block and split.block.looked_for:
            self._splitter.look_for(split.block.looked_for)
        return split

    def _spread_in(self, data: bytes, prefix: Prefix, *, wrapped: bool) -> list[Region]:
        """Return the lines of objects over lines, if `data` has few, and all of them whole."""
        if self._patterns.every_line:
            return []
        split = self._splitter.split_off_all(data, wrapped=wrapped)
        return (regions(data, split.odd, prefix) or []) if split else []

    def _is_spread(self, split: Split, data: bytes, chunk: Chunk, out: Collector) -> bool:
        if chunk.key or not split.odd:
            return False
        return any_spread([data[begin:end] for begin, end in split.odd], out.prefix)

    def _add_odd(
        self,
        split: Split,
        data: bytes,
        chunk: Chunk,
        out: Collector,
        wrapped: Mapping[int, Line] = MappingProxyType({}),
    ) -> None:
        """Add the odd lines; those that are `wrapped`, by their places in `data`, have stamps."""
        stamps = {begin: line.stamp for begin, line in wrapped.items()} if wrapped else {}
        again = repeating_lines(data)
        odd = [(begin, data[begin:end]) for begin, end in split.odd]
        if odd:
            odd = self._add_stated([one for one in odd if one not in again], chunk, out, stamps)
        for begin, line in sorted(odd + again + journal_lines(data)):
            before = earlier(chunk, begin) if again else b""
            self._read(Line(line, chunk.start + begin, stamps.get(begin)), out, before)
        for begin, line in utf16_lines(data):
            out.obscure(ObscureReason.UTF16, chunk.start + begin, text_of_line(line))

    def _add_stated(
        self,
        odd: list[tuple[int, bytes]],
        chunk: Chunk,
        out: Collector,
        stamps: Mapping[int, float | None],
    ) -> list[tuple[int, bytes]]:
        """Add what sentences state in odd lines, many at once; return those that are left."""
        mine = [n for n, (_, line) in enumerate(odd) if MARKER_BYTES not in line]
        lines = [odd[n][1] for n in mine]
        if not lines or not is_text(b"\n".join(lines)) or max(map(len, lines)) > MAX_LINE:
            return odd
        try:
            found, left = self._patterns.state_all(lines, out.prefix)
        except Exception:  # noqa: BLE001 - one of its lines; read singly, it is found
            return odd
        places = [(chunk.start + odd[n][0], stamps.get(odd[n][0])) for n in mine]
        for stated in found:
            left += out.add_stated(stated, places)
        over = {*mine} - {mine[n] for n in left}
        return [one for n, one in enumerate(odd) if n not in over]

    def _parse_parts(self, chunk: Chunk, out: Collector) -> Parsed:
        """Return what `chunk` holds: of plain lines only those of unfinished objects singly."""
        waited, data = self._joiner.waiting(chunk.log), chunk.data
        end = 0
        if not chunk.key and self._joiner.is_of(chunk) and not self._is_wrapped(chunk):
            begin = self._end_begun(chunk, out)
            end = open_from(data, begin, out.prefix)
            between = _part(chunk, begin, end)
            split = None
            if begin < end and end - begin < len(data):  # else it was tried before
                split = self._add_block(between.data, between, out, wrapped=False)
            if split is None:
                end = begin
            else:
                self._add_odd(split, between.data, between, out)
        self._read_singly(_part(chunk, end, len(data)), out)
        return out.finish(count_lines(data) + waited - self._joiner.waiting(chunk.log))

    def _end_begun(self, chunk: Chunk, out: Collector) -> int:
        """Read the lines on which an object goes on that was begun before; return their end."""
        end, size = 0, len(chunk.data)
        while end < size and self._joiner.is_spread(chunk.log):
            begin, end = end, chunk.data.find(b"\n", end) + 1 or size
            self._read_singly(_part(chunk, begin, end), out)
        return end

    def _read_singly(self, chunk: Chunk, out: Collector) -> None:
        """Read line by line: containers' and those of objects over lines."""
        again = may_repeat(chunk.data)
        for lines in self._whole_lines(chunk, out):
            if len(lines) > 1:
                self._read_spread(lines, out)
            elif again and not chunk.key and repeating_lines(lines[0].text):
                self._read(lines[0], out, earlier(chunk, lines[0].position - chunk.start))
            elif chunk.key and not is_signed(lines[0].text, chunk.key):
                if MARKER_BYTES in lines[0].text:
                    text = text_of_line(lines[0].text)
                    out.reject(ForeignReason.UNSIGNED, lines[0].position, text)
                    out.end_line()
            else:
                self._read_if(lines[0], out)

    def _read_if(self, line: Line, out: Collector) -> None:
        if line.too_long or self._splitter.may_hold_event(line.text):
            self._read(line, out)

    def _read_spread(self, lines: list[Line], out: Collector) -> None:
        """Read an object over several lines; where it says nothing, each line by itself."""
        whole = joined(lines)
        if MARKER_BYTES in whole.text and not _is_torn(text_of_line(whole.text), out.prefix):
            self._read(whole, out)
            out.end_spread(whole.text, whole.position, len(lines) - 1)
        else:
            for line in lines:
                self._read_if(line, out)

    def columns_of(self, chunk: Chunk, parsed: Parsed) -> Columns:
        """Return the events that were found in `chunk`."""
        if parsed.rows is None:
            return Columns.of(parsed.events)
        fields = partial(self._patterns.fields_at, self._prefix_of(chunk))
        return Columns.of_rows(parsed.rows, Lines(chunk, parsed).object_at, fields)

    def resume(self, chunk: Chunk) -> None:
        """Read the bytes [open_from, offset) of a file once more, after a restart.

        Only the unfinished lines are kept: what completes inside was counted before.
        """
        self._joiner.resumed = chunk.file, chunk.start
        for _lines in self._whole_lines(chunk):
            pass
        self._joiner.note(chunk)

    def adopt_open_lines(self, before: "Parser") -> None:
        """Go on with the unfinished lines of another parser, which must not be used any more."""
        self._joiner = before._joiner  # noqa: SLF001 - its own kind

    def drop(self, log: str) -> None:
        """Drop the unfinished lines of a log that is gone."""
        self._joiner.drop(log)

    def _is_wrapped(self, chunk: Chunk) -> bool:
        return chunk.format is not LogFormat.PLAIN and may_be_wrapped(chunk.data)

    def _whole_lines(self, chunk: Chunk, out: Collector | None = None) -> Iterator[list[Line]]:
        position, prefix, pieces = chunk.start, self._prefix_of(chunk), self._joiner.pieces
        lines = chunk.data.split(b"\n")
        for raw in lines if lines[-1] else lines[:-1]:
            try:
                yield from self._joiner.take(chunk, raw, position, prefix)
            except Exception:  # noqa: BLE001 - as of a line that is not wrapped
                if out is not None:
                    out.reject(RejectReason.POISON, position, text_of_line(raw[:_SAMPLE]))
                    out.end_line()
            position += len(raw) + 1
        if out is not None:
            out.add_pieces(self._joiner.pieces - pieces)

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
        zone = ZoneInfo(chunk.zone) if chunk.zone else None
        return Collector(
            now, wanted, prefix, near, self._readers, data=data, given=given, zone=zone
        )

    def _prefix_of(self, chunk: Chunk) -> Prefix:
        prefix = self._prefixes.get(chunk.prefix)
        if prefix is None:
            prefix = self._prefixes[chunk.prefix] = Prefix(chunk.prefix)
        return prefix

    def _read(self, line: Line, out: Collector, before: bytes = b"") -> None:
        """Read one line with all care: its record, else what a pattern makes of it.

        `before` is what stands in front of it, if it may say that another line came again.
        """
        self._read_parts(line, out, before)
        out.end_line(line.text, line.position)

    def _read_parts(self, line: Line, out: Collector, before: bytes) -> None:
        if line.too_long or len(line.text) > MAX_LINE:
            if line.too_long or MARKER_BYTES in line.text:
                out.reject(RejectReason.TOO_LONG, line.position, text_of_line(line.text[:_SAMPLE]))
            return
        position = line.position
        if b"\r" not in line.text:
            if line.text:
                self._read_part(line, out, before)
            return
        for part in line.text.split(b"\r"):  # a carriage return begins a line anew
            if part:
                self._read_part(Line(part, position, line.stamp), out, before)
            position += len(part) + 1

    def _read_part(self, line: Line, out: Collector, before: bytes) -> None:
        text, position = text_of_line(line.text), line.position
        try:
            again, times = weighed(line.text, before, out.prefix)
            if again is None:
                out.obscure(ObscureReason.REPEATED, position, text)
                return
            if times > 1 or again is not line.text:
                text = text_of_line(again)
                out.end_spread(again, position, 0)
            self._add_records(text, times, line, out)
        except Unreadable as wrong:
            out.reject(wrong.reason, position, text, wrong.field)
        except Exception:  # noqa: BLE001 - whatever it is, it is this line's and not the process's
            out.reject(RejectReason.POISON, position, text)

    def _add_records(self, text: str, times: int, line: Line, out: Collector) -> None:
        for record in self._records(text, line.position, out):
            for turn in range(times):
                one = replace(record, fields={**record.fields}) if turn else record
                try:
                    out.add(one, line.stamp, line.position)
                except Unreadable as wrong:
                    out.reject(wrong.reason, line.position, text, wrong.field)

    def _records(self, text: str, position: int, out: Collector) -> list[Record]:
        try:
            if records := find_records(text, out.prefix):
                return list(map(self._patterns.renamed, records))
        except Unreadable as wrong:
            out.reject(wrong.reason, position, text)
            if not isinstance(wrong.reason, ForeignReason):
                return list(map(self._patterns.renamed, wrong.records))
        # Whatever a line quotes, its own sentence counts: else a stranger could silence it.
        record = self._patterns.find_record(text, out.prefix)
        return [] if record is None else [record]


def _lines_apart(chunk: Chunk, bare: bytes, odd: Sequence[tuple[int, Any]]) -> dict[int, Line]:
    """Return the wrapped lines of which more is asked than of their block, by places in `bare`."""
    begins = sorted({begin for begin, _ in (*odd, *journal_lines(bare), *utf16_lines(bare))})
    return dict(zip(begins, lines_of(chunk, bare, begins), strict=True)) if begins else {}


def _move(parsed: Parsed, chunk: Chunk, lines: Mapping[int, Line]) -> None:
    """Say of what is wrong with wrapped lines where these stand in the file."""
    begins = [*lines]

    def moved(one: _Said) -> _Said:
        at = one.position - chunk.start
        begin = begins[bisect_right(begins, at) - 1]
        return replace(one, position=lines[begin].position + at - begin)

    parsed.rejects = list(map(moved, parsed.rejects))
    parsed.foreign = list(map(moved, parsed.foreign))
    parsed.obscure = list(map(moved, parsed.obscure))


def _part(chunk: Chunk, begin: int, end: int) -> Chunk:
    before = earlier(chunk, begin) if begin else chunk.before
    return replace(chunk, data=chunk.data[begin:end], start=chunk.start + begin, before=before)


def _needs_before(chunk: Chunk, data: bytes) -> bool:
    """Return whether a line says that one came again which stood in front of the chunk."""
    if not chunk.start or chunk.before or chunk.key:
        return False
    return not all(is_known(line, data[:begin]) for begin, line in repeating_lines(data))


def _is_torn(text: str, prefix: Prefix) -> bool:
    """Return whether `text`, lines put together, is no record at all, or an unfinished one."""
    try:
        return not find_records(text, prefix)
    except Unreadable as wrong:
        return wrong.reason in _UNFINISHED
    except Exception:  # noqa: BLE001 - whoever reads it finds that as well
        return False
