"""Chunks of log bytes in, events out: every form of DESIGN section 3, one line at a time."""

from collections.abc import Callable, Iterator, Sequence

from sidecar.parse.blocks import LEAST, Claims, block_of, find_claims, read_objects
from sidecar.parse.collect import Collector
from sidecar.parse.event import Chunk, LogFormat, Parsed, RejectReason, Triple
from sidecar.parse.heads import Heads
from sidecar.parse.needles import Needles
from sidecar.parse.pattern import Pattern
from sidecar.parse.pieces import WRAPPINGS, Joiner, Line, may_be_wrapped, unwrap_all
from sidecar.parse.quick import MARKER_BYTES
from sidecar.parse.record import find_record
from sidecar.parse.repr import Unreadable
from sidecar.parse.textpatterns import TextPatterns

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

        `now` is the time of reading, in seconds since the epoch: the event time of last resort.
        `wanted` is asked at most once per triple; events of other triples are only tallied.
        `ordinary`: what `parse_ordinary` has found in the chunk already, if it did.
        """
        parsed = ordinary or self.parse_ordinary(chunk, now=now, wanted=wanted)
        if parsed is None or (self._joiner.has_open(chunk.log) and self._is_wrapped(chunk)):
            out = Collector(now, wanted)
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
        out = Collector(now, wanted)
        bare = unwrap_all(chunk.data, chunk.format)
        data = chunk.data if bare is None else bare
        lines = _lines(data) if data[:1] == b"{" else []
        block = read_objects(lines, self._objects, self._max_line)
        if block is not None and out.take_block(block):
            return out.finish(len(lines))
        claims = self._only_claims(data)
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
        for line in self._whole_lines(chunk):
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

    def _whole_lines(self, chunk: Chunk) -> Iterator[Line]:
        position = chunk.start
        for raw in chunk.data.split(b"\n"):
            line = self._joiner.unwrap(chunk, raw, position)
            if line is not None:
                yield line
            position += len(raw) + 1

    def _only_claims(self, data: bytes) -> Claims | None:
        """Return the lines with the marker where nothing else in `data` can be an event."""
        if self._patterns.every_line:
            return None
        return find_claims(data, self._max_line, self._strangers)

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
        claims = find_claims(data[begin:stop], self._max_line, self._markers)
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
        heads, odd = claims.heads(self._claims)
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
        text = _text(line.text).rstrip("\r")
        try:
            record = find_record(text) or self._patterns.find_record(text)
            if record is not None:
                out.add(record, line.stamp)
        except Unreadable as wrong:
            out.reject(wrong.reason, line.position, text)


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _count(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n") and data != b"")


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
