"""Several texts looked for at once, in one pass over a chunk.

What an ordinary event says about itself, decoded without making the same labels over and over.

Most lines of a log carry one of a few dozen labels. Once a decoder knows them it hands out the
text it has instead of making a new one for each line, which also has its hash already: with
counting, 0.42 us a line instead of 0.51.

Whole blocks of ordinary lines at once: the hot path, and the only place that is tuned for it.

A log in which something happens holds thousands of lines of one form. What is done here once a
block is done in C; what remains for each line is one decoder call. Whatever a block holds that
is not ordinary is given back, and read a line at a time as if this module were not there.

Processor time in microseconds a line, one core, chunks of 128 KiB, a twelfth of the events wanted
whole: JSON objects 0.81 (before: 1.26), one event in ten lines of noise 0.17 (0.37), reprs 1.86
(2.68); a JSON object that is only counted takes 0.63 (1.03).

| trick | before | after |
|---|---|---|
| texts of labels that a decoder knows, see `sidecar.parse.heads` | 0.51 | 0.42 |
| times decoded as such, not compared as texts | 0.22 | 0.03 |
| the newest of a triple looked for from the end, not noted line by line | 0.05 | 0.01 |
| noise searched once for all texts that matter, see `sidecar.parse.needles` | 0.18 | 0.007 |
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from itertools import accumulate, islice
from operator import attrgetter, itemgetter
from typing import Any, Literal

import msgspec
from ahocorasick_rs import BytesAhoCorasick, MatchKind

from sidecar.parse.event import (
    LONGEST_LABEL,
    STANDARD_FIELDS,
    UNKNOWN_PROVIDER,
    Event,
    Triple,
    seconds_of,
)
from sidecar.parse.objects import MARKER, MARKER_BYTES, NOT_JSON, QUOTES, read_whole
from sidecar.parse.prefix import Prefix
from sidecar.parse.record import bounded

# No text in UTF-8 has these bytes. With texts of one to three different first bytes the library
# looks for these bytes one by one, at a tenth of the speed where they are frequent.
_FILLERS = (b"\xfc" * 8, b"\xfd" * 8, b"\xfe" * 8)


class Needles:
    """Texts that most chunks do not hold, so that what counts is how fast none of them is found.

    With vector instructions 14 GB/s for a dozen together (the library's packed search, which only
    `LeftmostFirst` may use), where `bytes.find` takes 2 to 6 GB/s for each: 0.007 us for a line of
    90 bytes instead of 0.18. Bytes that are no UTF-8 may be found without being one of the texts.
    """

    def __init__(self, texts: Iterable[bytes]) -> None:
        needles = sorted(set(texts))
        if len(needles) > 1:
            needles += _FILLERS
        automaton = BytesAhoCorasick(needles, matchkind=MatchKind.LeftmostFirst)
        self._find = automaton.find_matches_as_indexes

    def places(self, data: bytes) -> list[int]:
        """Return where texts begin, in order; of texts that overlap, the first one's place."""
        return [begin for _which, begin, _end in self._find(data)]

    def within(self, data: bytes) -> bool:
        """Return whether `data` holds any of the texts."""
        return bool(self._find(data))


# Of each field. A log with more has no few dozen labels, and a decoder that knows few of them
# would only be asked in vain.
_MOST_LABELS = 200
_WORDS = ((b" None", b" null"), (b" True", b" true"), (b" False", b" false"))
_CALL = re.compile(rb' (?:Decimal|UUID)\("([^"]*)"\)')
# What replacing leaves behind in a label that held one of those, or began or ended within a call.
_TRACE = re.compile(r" null| true| false| \[$|^\]", re.MULTILINE)


class Head(msgspec.Struct, gc=False):
    """Labels and time. Stamps are RFC 3339, or the same without a zone, and nothing else."""

    webhook_provider: str
    event_type: str
    status: str
    timestamp: datetime


NO_HEAD = Head("", "", "", datetime.min)  # noqa: DTZ901 - never looked at
_Decode = Callable[[bytes], Head]


class Heads:
    """Decodes heads. With `marked`, only of objects that say they are a WEBHOOK_METRIC."""

    def __init__(self, *, marked: bool) -> None:
        self._marked = marked
        self._labels: dict[str, set[str]] = {name: {""} for name in STANDARD_FIELDS}
        self._any = _decoder(dict.fromkeys(STANDARD_FIELDS, str), marked=marked)
        self._known = self._decoder_of_known()

    def read(self, sources: Sequence[bytes]) -> list[Head]:
        """Return the head of each JSON object. Raises one of NOT_JSON where one has none."""
        try:
            return list(map(self._known, sources))
        except NOT_JSON:
            heads = list(map(self._any, sources))
        self._learn(heads)
        return heads

    def read_singly(self, sources: Sequence[bytes]) -> tuple[list[Head], list[int]]:
        """Return the head of each object, JSON or repr, and the places of those that have none.

        A call for each, so that an odd one costs only itself.
        """
        heads: list[Head] = []
        odd: list[int] = []
        new: list[Head] = []
        for source in sources:
            text = source.translate(QUOTES) if source[1:2] == b"'" else source
            try:
                heads.append(self._known(text))
            except NOT_JSON:
                head = self._among_words(text)
                if head is None:
                    odd.append(len(heads))
                else:
                    new.append(head)
                heads.append(head or NO_HEAD)
        self._learn(new)
        return heads, odd

    def _among_words(self, text: bytes) -> Head | None:
        """Return the head of a repr, JSON's quotes given, that holds None, True, UUID or Decimal.

        They are replaced wherever they stand, also inside of texts. A call becomes a list, which
        is no label; a label that shows a trace of being changed is not taken.
        """
        for word, plain in _WORDS:
            text = text.replace(word, plain)
        try:
            head = self._any(_CALL.sub(rb' ["\1"]', text))
        except NOT_JSON:
            return None
        labels = f"{head.webhook_provider}\n{head.event_type}\n{head.status}"
        return None if _TRACE.search(labels) else head

    def _learn(self, heads: Iterable[Head]) -> None:
        """Let the decoder know the labels of `heads`, unless they are too many."""
        if self._known is self._any:
            return  # there were too many
        before = sum(map(len, self._labels.values()))
        for head in heads:
            for name, known in self._labels.items():
                label = getattr(head, name)
                if len(label) <= LONGEST_LABEL:
                    known.add(label)
        if max(map(len, self._labels.values())) > _MOST_LABELS:
            self._known = self._any
        elif sum(map(len, self._labels.values())) > before:
            self._known = self._decoder_of_known()

    def _decoder_of_known(self) -> _Decode:
        types = {name: Literal[tuple(known)] for name, known in self._labels.items()}
        return _decoder(types, marked=self._marked)


def _decoder(labels: dict[str, Any], *, marked: bool) -> _Decode:
    """Return a decoder of heads whose labels have these types."""
    fields: list[Any] = [
        ("event_type", labels["event_type"]),
        ("status", labels["status"]),
        ("timestamp", datetime),
        ("webhook_provider", labels["webhook_provider"], UNKNOWN_PROVIDER),
    ]
    if marked:
        fields.insert(0, ("metric_type", Literal[MARKER]))
    head: type[Any] = msgspec.defstruct("Head", fields, gc=False)
    return msgspec.json.Decoder(head).decode


# Below so many events in a block the set-up costs more than it saves.
LEAST = 8
_UNBOUNDED = {int, dict, list}  # what `bounded` may have to cut
_CLAIM = MARKER_BYTES + b": "
_SHORT = 64  # bytes


class Block(msgspec.Struct, gc=False):
    """Ordinary events of neighbouring lines: labels, times and their objects' bytes."""

    triples: list[Triple]
    times: list[datetime]
    sources: Sequence[bytes]

    def tallies(self) -> dict[Triple, tuple[int, float]] | None:
        """Return how many events each triple has, and the newest one's instant.

        None where times with a zone stand beside some without, or one lies before 1970.
        """
        try:
            ordered = sorted(self.times)
        except TypeError:
            return None
        if seconds_of(ordered[0]) < 0:
            return None
        # The newest of a triple is its last one, and that is never far from the end.
        latest_first = self.triples[::-1]
        if ordered != self.times:
            latest_first = _by_time(self.triples, self.times)
        ordered.reverse()
        return {
            triple: (count, seconds_of(ordered[latest_first.index(triple)]))
            for triple, count in Counter(self.triples).items()
        }

    def events_of(self, triples: Collection[Triple]) -> list[Event]:
        """Return the events of `triples` whole. Raises one of NOT_JSON."""
        if not triples:
            return []
        return [
            Event(*triple, seconds_of(self.times[number]), _fields_of(self.sources[number]))
            for number, triple in enumerate(self.triples)
            if triple in triples
        ]


_decode_any = msgspec.json.Decoder(dict[str, Any]).decode
_triple = attrgetter("webhook_provider", "event_type", "status")
_time = attrgetter("timestamp")


def _fields_of(source: bytes) -> dict[str, Any]:
    fields = read_whole(source) if source[1:2] == b"'" else _decode_any(source)
    if not _UNBOUNDED.isdisjoint(map(type, fields.values())):
        bounded(fields)
    fields.setdefault("webhook_provider", UNKNOWN_PROVIDER)
    return fields


def _by_time(triples: Sequence[Triple], times: Sequence[datetime]) -> list[Triple]:
    """Return the triples by time, latest first."""
    in_time = sorted(zip(times, triples, strict=True), key=itemgetter(0), reverse=True)
    return [triple for _, triple in in_time]


def block_of(sources: Sequence[bytes], heads: Sequence[Head]) -> Block:
    return Block(list(map(_triple, heads)), list(map(_time, heads)), sources)


def read_objects(lines: Sequence[bytes], heads: Heads, max_line: int) -> Block | None:
    """Return the events of `lines`, if each is a JSON object and an ordinary event."""
    if len(lines) < LEAST or max(map(len, lines)) > max_line:
        return None
    try:
        return block_of(lines, heads.read(lines))
    except NOT_JSON:
        return None


class Claims(msgspec.Struct, gc=False):
    """The lines with the marker in `data`, where each is a prefix, the marker and an object."""

    data: bytes
    pieces: list[bytes]  # of the data between the markers
    objects: Sequence[bytes]

    def heads(self, heads: Heads) -> tuple[list[Head], list[int]]:
        """Return the head of each object, JSON or repr, and the places of those that have none."""
        if self.objects[0][1:2] != b"'":
            try:
                return heads.read(self.objects), []
            except NOT_JSON:
                pass
        return heads.read_singly(self.objects)

    def lines(self) -> list[tuple[int, int]]:
        """Return begin and end of each such line."""
        after = [len(piece) + len(_CLAIM) for piece in self.pieces]
        starts = islice(accumulate(after), len(self.objects))
        rfind = self.data.rfind
        return [
            (rfind(b"\n", 0, at) + 1, at + len(source))
            for at, source in zip(starts, self.objects, strict=True)
        ]


def find_claims(data: bytes, max_line: int, strangers: Needles, prefix: Prefix) -> Claims | None:
    """Return the lines of `data` that have the marker, if all are ordinary.

    None where one of the `strangers`, the marker among them, stands anywhere but in these lines'
    objects, a line has a prefix that may not stand before an event, or is too long.
    """
    pieces = data.split(_CLAIM)
    if len(pieces) <= LEAST or not data.endswith(b"\n"):
        return None
    parts = [piece.partition(b"\n") for piece in islice(pieces, 1, None)]
    # Between two objects: lines without the marker, and the prefix of the next one.
    objects, newlines, between = zip(*parts, strict=True)
    if b"" in newlines:
        return None
    rest = b"".join((pieces[0], *between))
    if strangers.within(rest):
        return None
    if not prefix.fit_all(_prefixes([pieces[0], *between[:-1]], len(rest))):
        return None
    if len(data) > max_line and max(map(len, objects)) + max(map(len, pieces)) > max_line:
        return None
    return Claims(data, pieces, objects)


def _prefixes(pieces: Sequence[bytes], size: int) -> set[bytes]:
    """Return what stands before each object in its line; some with whole lines before that.

    `size` is that of all pieces. Short ones are mostly the same, so that few are to be cut; to
    hash long ones would cost more than to cut them.
    """
    if size < _SHORT * len(pieces):
        return set(pieces)
    return {piece[piece.rfind(b"\n") + 1 :] for piece in pieces}
