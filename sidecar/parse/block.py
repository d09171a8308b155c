"""Blocks: many alike lines of one chunk, read together by a few calls into C.

A log in which something happens holds thousands of lines of one form: JSON objects, or a logger's
prefix, the marker and an object. Such lines are read as one block, of which only labels and times
are decoded line by line. Every other line that may hold an event is *odd*: its place is handed
back, and it is read by itself (`sidecar.parse.record`) as if this module were not there.

What is done here in C costs a fraction of a microsecond a line; docs/benchmarks.md has the figures.
"""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain, count, islice, repeat
from typing import Any

import msgspec

from sidecar.parse.asked import Asked, Head, Heads, Singly, all_seconds_of, fields_of
from sidecar.parse.event import (
    MAX_LINE,
    OWN_PREFIX,
    Event,
    Kind,
    Rows,
    Triple,
    drop_own,
)
from sidecar.parse.needles import Needles, holds, is_text
from sidecar.parse.objects import MARKER_BYTES, NOT_JSON
from sidecar.parse.prefix import Prefix
from sidecar.parse.taking import Taken

# Below so many events in a block the set-up costs more than it saves.
LEAST = 2
_CLAIM = MARKER_BYTES + b": "
_UTF16 = MARKER_BYTES.decode().encode("utf-16-le")[:-1]  # of either byte order
_SHORT = 64  # bytes
_OBJECTS = (b'{"', b"{'")
_NO_LINE = b"\n\n"  # that no piece ends with and has it as its last line


class Block(msgspec.Struct, dict=True):
    """Events of alike lines: labels, times and their objects' bytes.

    `sources` are the objects as JSON, `more` the columns of fields that were decoded with the
    labels; None where no object has one. `places`, in the chunk's data, are there where other lines
    stand between these. Else each object stands behind one of `pieces`, with `gap` bytes in front
    of it, and `lead` more of the first. `whole`: `times` are instants, `more` are all fields, with
    UNSET where an event has none of that name, and there are no `sources`.
    `own_fields` counts the fields that `events_of` or `rows_of` dropped; `looked_for` are those
    that `rows_of` had to look for once more, and that most of the events are asked for. `oldest` is
    the earliest instant, as `tallies` found it.
    """

    triples: Sequence[Triple]
    times: Sequence[Any]
    sources: Sequence[bytes]
    more: Mapping[str, Sequence[Any] | None]
    places: Sequence[int] | None = None
    pieces: Sequence[bytes] = ()
    gap: int = 0
    lead: int = 0
    whole: bool = False
    own_fields: int = 0
    looked_for: Collection[str] = ()
    oldest: float = 0.0

    def tallies(self) -> dict[Triple, tuple[int, float]] | None:
        """Return how many events each triple has, and the newest one's instant.

        None where times with a zone stand beside some without, or one lies before 1970.
        """
        try:
            ordered = sorted(self.times)
        except TypeError:
            return None
        (self.oldest,) = self.seconds(ordered[:1])
        if self.oldest < 0:
            return None
        rises = ordered == self.times
        newest = [
            self.times[some[-1]] if rises else max(map(self.times.__getitem__, some))
            for some in self.kinds.values()
        ]
        each = zip(map(len, self.kinds.values()), self.seconds(newest), strict=True)
        return dict(zip(self.kinds, each, strict=True))

    @cached_property
    def kinds(self) -> dict[Triple, list[int]]:
        """The numbers of the events of each triple."""
        found: dict[Triple, list[int]] = defaultdict(list)
        deque(map(list.append, map(found.__getitem__, self.triples), count()), maxlen=0)
        return dict(found)

    def events_of(self, triples: Collection[Triple], start: int) -> list[tuple[int, Event]]:
        """Return the events of `triples` whole, each with its place in the file.

        `start` is where the data begins in it. Raises one of NOT_JSON.
        """
        if not triples:
            return []
        numbers = [n for n, triple in enumerate(self.triples) if triple in triples]
        times = self.seconds([self.times[n] for n in numbers])
        if self.whole:
            fields = list(map(self._whole_fields, numbers))
        else:
            fields = [self._fields(self.sources[n]) for n in numbers]
        each = zip(numbers, times, fields, strict=True)
        events = [Event(*self.triples[n], at, own) for n, at, own in each]
        return list(zip(self._places_of(numbers, start), events, strict=True))

    def rows_of(self, asked: Mapping[Triple, Asked], data: bytes, start: int) -> Rows:
        """Return the events of these triples as rows of what is asked. Raises one of NOT_JSON.

        `data`, which begins at `start` in the file, is what the block was read from.
        """
        mine = {triple: some for triple, some in self.kinds.items() if triple in asked}
        numbers: Sequence[int] = range(len(self.times))
        rows = mine
        if sum(map(len, mine.values())) < len(numbers):
            numbers = sorted(chain.from_iterable(mine.values()))
            row_of = {number: row for row, number in enumerate(numbers)}
            rows = {triple: [row_of[n] for n in some] for triple, some in mine.items()}
        if not self.whole and _may_have_own(data):
            for source in [self.sources[n] for n in numbers]:
                if b"\\" in source or _OWN in source:
                    self._fields(source)  # counts what is dropped
        kinds = [
            Kind(triple, rows[triple], self._asked_of(asked[triple], some))
            for triple, some in mine.items()
        ]
        if len(numbers) * 2 >= len(self.times):
            names = {name for triple in mine for name in asked[triple].sides}
            self.looked_for = names.difference(self.more)
        times = self.times if mine is rows else [self.times[n] for n in numbers]
        places = self._places_of(numbers, start)
        return Rows(times=self.seconds(times), places=places, kinds=kinds, taken=self.whole)

    def seconds(self, times: Sequence[Any]) -> list[float]:
        return list(times) if self.whole else all_seconds_of(times)

    def _asked_of(self, asked: Asked, some: Sequence[int]) -> dict[str, list[Any] | None]:
        if not self.whole and not self.more.keys() >= asked.sides:
            return asked.fields_of([self.sources[n] for n in some])
        columns = {name: self.more.get(name) for name in asked.sides}
        if len(some) < len(self.times):
            columns = {
                name: None if column is None else [column[n] for n in some]
                for name, column in columns.items()
            }
        return asked.of_columns(columns)

    def _whole_fields(self, number: int) -> dict[str, Any]:
        each = ((name, column[number]) for name, column in self.more.items() if column is not None)
        return {name: value for name, value in each if value is not msgspec.UNSET}

    def _fields(self, source: bytes) -> dict[str, Any]:
        fields = fields_of(source)
        if _OWN in source or b"\\" in source:  # as `_may_have_own` says
            self.own_fields += drop_own(fields)
        return fields

    def _places_of(self, numbers: Sequence[int], start: int) -> list[int]:
        if not numbers:
            return []
        places = self.places
        if places is None:
            first = start + self.lead
            sizes = map(self.gap.__add__, map(len, self.pieces))
            places, start = list(accumulate(sizes, initial=first))[1:], 0
        if start:
            places = list(map(start.__add__, places))
        return list(places) if len(numbers) == len(places) else [places[n] for n in numbers]


_OWN = OWN_PREFIX.encode()


def _may_have_own(data: bytes) -> bool:
    """Return whether objects in `data` may have a field that only the sidecar sets."""
    return b"\\" in data or holds(data, _OWN)  # a name may be escaped


def _block(
    sources: Sequence[bytes],
    heads: Heads,
    found: Sequence[Head],
    places: Sequence[int] | None = None,
    *,
    pieces: Sequence[bytes] = (),
    gap: int = 0,
    lead: int = 0,
) -> Block:
    """Return a block of `found`, one or more heads that `heads` has read."""
    providers, types, statuses, times, more = heads.columns(found)
    triples = list(zip(providers, types, statuses, strict=True))
    return Block(triples, list(times), sources, more, places, pieces, gap, lead)


Span = tuple[int, int]  # begin and end of a line in the data, without its newline


TakeAll = Callable[[Sequence[bytes], Prefix], Taken | None]


class Split(msgspec.Struct, gc=False):
    """The lines of some data that may hold events: those of a block, and the odd ones.

    `lines` is how many lines the data has.
    """

    block: Block | None
    odd: Sequence[Span]
    lines: int


class Splitter:
    """Splits data into a block and odd lines. Remembers which labels the log has."""

    def __init__(
        self,
        literals: Iterable[bytes],
        wrappings: tuple[bytes, ...],
        *,
        every_line: bool,
        alike: bool = True,
        take_all: TakeAll | None = None,
    ) -> None:
        """A line with one of `literals` may hold an event, with `every_line` any line.

        Without `alike` no lines are taken together. `take_all` gives the events that patterns
        take of lines without the marker.

        One of `wrappings` stands in each line that a container has wrapped.
        """
        texts = [MARKER_BYTES, *literals]
        self._bare, self._any = Needles(texts), Needles([*texts, *wrappings])
        self._wrappings = Needles(wrappings)
        self._every_line = every_line
        self._alike = alike and not every_line
        self._take_all = take_all
        self._objects, self._claims = Heads(marked=True), Heads(marked=False)

    def split(self, data: bytes, prefix: Prefix, *, wrapped: bool) -> Split | None:
        """Return the lines that may hold events; None where, with `wrapped`, one may be wrapped.

        Raises whatever a decoder raises on one of the lines.
        """
        if self._alike:
            block = self._objects_alone(data) if data[:1] == b"{" and prefix.fits("") else None
            if block is not None:
                return Split(block, [], len(block.sources))
            split = self._with_claims(data, prefix, wrapped=wrapped)
            if split is None and prefix.fits(""):
                split = self._taken_among(data, prefix, wrapped=wrapped)
                split = split or self._objects_among(data, wrapped=wrapped)
            if split is not None:
                return split
        return self.split_off_all(data, wrapped=wrapped)

    def split_off_all(self, data: bytes, *, wrapped: bool) -> Split | None:
        """Do the same without a block: every line that may hold an event is odd."""
        if wrapped and self._wrappings.within(data):
            return None
        if self._every_line:
            return Split(None, _all_spans(data), count_lines(data))
        return Split(None, spans_at(data, self._bare.places(data)), count_lines(data))

    def look_for(self, names: Collection[str]) -> None:
        """Decode these fields with the labels from now on."""
        self._objects.look_for(names)
        self._claims.look_for(names)

    def may_hold_event(self, line: bytes) -> bool:
        return self._every_line or self._bare.within(line)

    def _objects_alone(self, data: bytes) -> Block | None:
        """Return the events of `data` if each line is a JSON object and an ordinary event."""
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        if len(lines) < LEAST or max(map(len, lines)) > MAX_LINE:
            return None
        try:
            # The first stands behind nothing, each other one behind a line and its newline.
            heads = self._objects.read(lines)
            return _block(lines, self._objects, heads, pieces=[b"", *lines[:-1]], gap=1, lead=-1)
        except NOT_JSON:
            return None

    def _objects_among(self, data: bytes, *, wrapped: bool) -> Split | None:
        """Return a split whose block is of the lines that are an object and an ordinary event."""
        if data.count(b"\n{") < LEAST or (wrapped and self._wrappings.within(data)):
            return None
        odd: list[Span] = []
        mine: list[Span] = []
        for begin, end in spans_at(data, self._bare.places(data)):
            fits = data.startswith(_OBJECTS, begin) and end - begin <= MAX_LINE
            (mine if fits else odd).append((begin, end))
        sources = [data[begin:end] for begin, end in mine]
        heads, texts, headless = self._objects.read_singly(sources)
        odd = sorted(odd + [mine[n] for n in headless])
        left = set(headless)
        good = [n for n in range(len(mine)) if n not in left]
        if not good:
            return None
        places = [mine[n][0] for n in good]
        block = _block([texts[n] for n in good], self._objects, [heads[n] for n in good], places)
        return Split(block, odd, count_lines(data))

    def _taken_among(self, data: bytes, prefix: Prefix, *, wrapped: bool) -> Split | None:
        """Return a split whose block is of the lines of which patterns take an ordinary event.

        None where others may hold events as often.
        """
        if self._take_all is None or (wrapped and self._wrappings.within(data)):
            return None
        spans = spans_at(data, self._bare.places(data))
        lines = [data[begin:end] for begin, end in spans]
        mine: Sequence[int] = range(len(lines))
        if MARKER_BYTES in data or b"\r" in data:
            mine = [n for n in mine if MARKER_BYTES not in lines[n] and b"\r" not in lines[n]]
        if len(mine) < LEAST or len(mine) * 2 < len(lines) or not is_text(data):
            return None
        taken = self._take_all([lines[n] for n in mine], prefix)
        if taken is None or max(map(len, lines)) > MAX_LINE:
            return None
        numbers = [mine[n] for n in taken.numbers]
        left = set(numbers)
        odd = [span for n, span in enumerate(spans) if n not in left]
        places = [spans[n][0] for n in numbers]
        block = Block(taken.triples, taken.times, (), taken.fields, places, whole=True)
        return Split(block, odd, count_lines(data))

    def _with_claims(self, data: bytes, prefix: Prefix, *, wrapped: bool) -> Split | None:
        """Return a split whose block is of lines with a prefix, the marker and an object.

        None where that is not worth it, where such a line is too long, and where another line may
        be wrapped.
        """
        pieces = data.split(_CLAIM)
        if len(pieces) <= LEAST or not data.endswith(b"\n"):
            return None
        parts = [*chain.from_iterable(map(bytes.partition, islice(pieces, 1, None), repeat(b"\n")))]
        # Behind each object: lines without the marker, and the prefix of the next object.
        objects, newlines, behind = parts[::3], parts[1::3], parts[2::3]
        if len(data) > MAX_LINE and max(map(len, data.split(b"\n"))) > MAX_LINE:
            return None
        glued: list[int] = []  # two in one line
        if b"" in newlines:
            glued = [n for n, newline in enumerate(newlines) if not newline]
        between = [pieces[0], *behind]
        rest = b"\n".join(between)  # so that no text is found across two pieces
        strangers = (self._any if wrapped else self._bare).places(rest)
        if strangers and wrapped and self._wrappings.within(rest):
            return None
        misfits: list[int] = []
        if not prefix.fit_all(_prefixes(between[:-1], len(rest))):
            misfits = [n for n, piece in enumerate(between[:-1]) if not prefix.fit_all({piece})]
        if len(misfits) == len(objects):  # messages of records
            return None
        heads, texts, headless = self._heads(objects)
        odd = {*misfits, *headless, *glued, *(n + 1 for n in glued)}
        lines = rest.count(b"\n") - len(glued)  # there is one behind each other object, too
        if not strangers and not odd:
            whole = _block(texts, self._claims, heads, pieces=pieces[:-1], gap=len(_CLAIM))
            return Split(whole, [], lines)
        good, places, other = _Claims(data, pieces, objects).without(odd, between, strangers)
        block = None
        if good:
            mine = [heads[n] for n in good]
            block = _block([texts[n] for n in good], self._claims, mine, places)
        return Split(block, other, lines)

    def _heads(self, objects: list[bytes]) -> Singly:
        if objects[0][1:2] != b"'":
            try:
                return Singly(self._claims.read(objects), objects, [])
            except NOT_JSON:
                pass
        return self._claims.read_singly(objects)


class _Claims(msgspec.Struct, gc=False):
    """Lines with a prefix, the marker and an object; `pieces` is `data` without the markers."""

    data: bytes
    pieces: Sequence[bytes]
    objects: Sequence[bytes]

    def without(
        self, odd: set[int], between: Sequence[bytes], strangers: Iterable[int]
    ) -> tuple[list[int], list[int], list[Span]]:
        """Return all but the objects that are `odd`, their places, and all other lines.

        `strangers` are places in the joined pieces `between`, which stand around the objects.
        """
        after = [len(piece) + len(_CLAIM) for piece in self.pieces[:-1]]
        starts = list(accumulate(after))
        places = []
        ends = list(accumulate(len(piece) + 1 for piece in between))
        for stranger in strangers:
            number = bisect_right(ends, stranger)  # of the piece it stands in
            piece, offset = between[number], stranger - ends[number] + len(between[number]) + 1
            if number < len(starts) and offset > piece.rfind(b"\n"):
                odd.add(number)  # it stands in the line of the next object
            else:
                before = starts[number - 1] + len(self.objects[number - 1]) + 1 if number else 0
                places.append(before + offset)
        places += [starts[number] for number in odd]
        good = [number for number in range(len(starts)) if number not in odd]
        spans = spans_at(self.data, sorted(places))
        return good, [starts[number] for number in good], spans


def _prefixes(pieces: Sequence[bytes], size: int) -> set[bytes]:
    """Return what stands before each object in its line; some with whole lines before that.

    `size` is that of all pieces. Short ones are mostly the same, so that few are to be cut; of
    long ones mostly the last line is the same as before.
    """
    if size < _SHORT * len(pieces):
        return set(pieces)
    found: set[bytes] = set()
    last = _NO_LINE
    for piece in pieces:
        if not piece.endswith(last):
            begin = piece.rfind(b"\n")
            found.add(piece[begin + 1 :])
            last = piece[begin:] if begin >= 0 else _NO_LINE
    return found


def spans_at(data: bytes, places: Iterable[int]) -> list[Span]:
    """Return the lines in which `places` lie, which are in order, each once."""
    spans: list[Span] = []
    end = -1
    for place in places:
        if place > end:
            begin = data.rfind(b"\n", 0, place) + 1
            end = data.find(b"\n", place)
            end = len(data) if end < 0 else end
            spans.append((begin, end))
    return spans


def utf16_lines(data: bytes) -> list[tuple[int, bytes]]:
    """Return the lines that have the marker in UTF-16, with where they begin."""
    if b"\0" not in data:
        return []
    places, at = [], data.find(_UTF16)
    while at >= 0:
        places.append(at)
        at = data.find(_UTF16, at + 1)
    return [(begin, data[begin:end]) for begin, end in spans_at(data, places)]


def _all_spans(data: bytes) -> list[Span]:
    lines = data.split(b"\n")
    ends = accumulate(len(line) + 1 for line in lines)
    return [(end - 1 - len(line), end - 1) for line, end in zip(lines, ends, strict=True)]


def count_lines(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
