"""Lines of Docker and Kubernetes: taken out of their wrapping, and joined where they were split.

Docker's json-file driver and the CRI format write each line with its stream and time, and cut a
long one into pieces. The pieces of one line may lie in two files, with a rotation in between;
so may the lines over which an object is printed (`sidecar.parse.spread`).
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import msgspec
from msgspec.structs import replace

from sidecar.parse.event import MAX_LINE, Chunk, LogFormat, Parsed
from sidecar.parse.instants import instant
from sidecar.parse.needles import Needles
from sidecar.parse.objects import MARKER_BYTES, NOT_JSON
from sidecar.parse.prefix import Prefix
from sidecar.parse.spread import Fit, Line, Spread, begun_by

# https://kubernetes.io/docs/concepts/cluster-administration/logging/ and the CRI log format:
# time, stream, tags (P: partial, F: full; more may follow a colon), content.
_CRI = re.compile(
    rb"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([PF])(?::\S*)?(?: |$)"
)
# The same in front of each of many lines, all of them whole.
_CRI_WHOLE = re.compile(
    rb"^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) std(?:out|err) F(?::\S*)?(?: |$)", re.MULTILINE
)
WRAPPINGS = (b'"log"', b" stdout ", b" stderr ")  # every line of Docker or CRI has one
_TRACES = Needles(WRAPPINGS)
# At which Docker cuts a line. What is shorter and lacks its newline is the last that a container
# wrote (https://github.com/moby/moby/blob/master/daemon/logger/copier.go), or another collector's.
_DOCKER_PIECE = 16 * 1024  # bytes
_SAMPLE = 1000  # bytes kept of a line that became too long


class _DockerLine(msgspec.Struct, forbid_unknown_fields=True):
    """One line of Docker's json-file driver; a long `log` without newline is a piece of a line.

    Other collectors write `log` and `stream` as well, among keys of their own, and whole lines.
    """

    log: str
    stream: str
    time: str
    attrs: Any = None


_decode = msgspec.json.Decoder(_DockerLine).decode
_STREAMS = ("stdout", "stderr", "")  # of a container; of lines that none has wrapped


@dataclass(slots=True)
class _Open:
    """A line whose last piece has not come yet. `since`: the last one came by then."""

    file: int
    position: int
    stamp: float | None
    stream: str
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    told: bool = False  # that it is too long
    since: float | None = None

    def joined(self) -> Line:
        return Line(b"".join(self.pieces), self.position, self.stamp, stream=self.stream)

    def stands(self, now: float) -> float:
        """Return since when no piece has come; the first time that this is asked, `now`."""
        self.since = now if self.since is None else min(self.since, now)
        return self.since

    def given_up(self) -> list[Line]:
        """Return what there is of it, unless it was too long and told."""
        return [] if self.told else [self.joined()]


def may_be_wrapped(data: bytes) -> bool:
    """Return whether any line of `data` could be Docker's or CRI's."""
    return _TRACES.within(data)


def is_mixed(data: bytes) -> bool:
    """Return whether lines of both streams may be in wrapped `data`."""
    return b"stdout" in data and b"stderr" in data


def unwrap_all(data: bytes, form: LogFormat) -> bytes | None:
    """Return the lines of `data` without their wrapping, if each is a whole line of one kind."""
    if not data.endswith(b"\n") or form is LogFormat.PLAIN:
        return None
    if form is not LogFormat.DOCKER and _CRI_WHOLE.match(data):
        bare, count = _CRI_WHOLE.subn(b"", data)
        return bare if count == data.count(b"\n") else None
    if form is not LogFormat.CRI and data[:1] == b"{" and b'"log"' in data[: data.find(b"\n")]:
        return _docker_lines(data)
    return None


def lines_of(chunk: Chunk, bare: bytes, begins: Sequence[int]) -> list[Line]:
    """Return the lines of `chunk`, all whole, whose texts begin at these places of `bare`.

    `bare` are the texts of all its lines, and the places rise.
    """
    raw, starts, joiner = chunk.data.split(b"\n"), _begins_of(chunk.data), Joiner()
    found, number, at = [], 0, 0
    for begin in begins:
        number, at = number + bare.count(b"\n", at, begin), begin
        position = chunk.start + starts[number]
        line = joiner.unwrap(chunk, raw[number], position)
        found.append(line or Line(raw[number], position))
    return found


class Lines:
    """The lines of a chunk, by the places of what was parsed of it; unwrapped once, when asked."""

    def __init__(self, chunk: Chunk, parsed: Parsed) -> None:
        self._chunk = chunk
        self._parsed = parsed

    def object_at(self, place: int) -> bytes:
        """Return the object that begins at one of the places of `Parsed.rows`."""
        begin = place - self._chunk.start
        end = self._bare.find(b"\n", begin)
        return self._bare[begin : len(self._bare) if end < 0 else end]

    def line_at(self, place: int) -> tuple[int, bytes] | None:
        """Return the line that holds one of `Parsed.places`: its position, and itself.

        The lines over which an object is printed are one, wherever the object began. None where
        another line began in a chunk before.
        """
        if (spread := self._parsed.spread.get(place)) is not None:
            return place, spread
        data, start = self._chunk.data, self._chunk.start
        at = place - start
        if self._bare is not data:  # each line there is one line here
            at = self._begins[1][bisect_right(self._begins[0], at) - 1]
        if not 0 <= at < len(data):
            return None
        begin = data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", begin)
        return start + begin, data[begin : len(data) if end < 0 else end]

    @cached_property
    def _bare(self) -> bytes:
        return (self._parsed.unwrapped and bare_lines(self._chunk)) or self._chunk.data

    @cached_property
    def _begins(self) -> tuple[list[int], list[int]]:
        """Where the lines begin without their wrapping, and with it."""
        return _begins_of(self._bare), _begins_of(self._chunk.data)


def _begins_of(data: bytes) -> list[int]:
    return list(accumulate((len(line) + 1 for line in data.split(b"\n")), initial=0))


def bare_lines(chunk: Chunk) -> bytes | None:
    """Return the lines of `chunk` without their wrapping, if all are whole lines of one kind."""
    try:
        return unwrap_all(chunk.data, chunk.format)
    except Exception:  # noqa: BLE001 - one of its lines; read singly, it is found
        return None


def journal_lines(data: bytes) -> list[tuple[int, bytes]]:
    """Return the lines of `journalctl -o json` whose message is a list of bytes, with their places.

    The journal writes a message so that holds colour codes. Here it is a text again.
    """
    if data[:1] != b"{" or _JOURNALS not in data[:_SAMPLE]:
        return []
    found, at = [], 0
    for line in data.split(b"\n"):
        read = _BYTES.sub(_text_of_bytes, line)
        if read is not line and MARKER_BYTES in read:
            found.append((at, read))
        at += len(line) + 1
    return found


_JOURNALS = b'"__REALTIME_TIMESTAMP"'
_BYTES = re.compile(rb'(?<="MESSAGE":)\s*\[([\d,\s]*)\]')


def _text_of_bytes(found: re.Match[bytes]) -> bytes:
    try:
        message = bytes(map(int, found[1].split(b",")))
    except ValueError:
        return found[0]
    return msgspec.json.encode(message.decode("utf-8", "replace"))


def form_of(line: bytes) -> LogFormat | None:
    """Return which container runtime has wrapped a line, None if none has."""
    if line[:1] == b"{" and b'"log"' in line and _docker_line(line) is not None:
        return LogFormat.DOCKER
    return LogFormat.CRI if _CRI.match(line) else None


class Joiner:
    """Holds what is unfinished of every log, per stream, across chunks and rotated files.

    `pieces` counts the lines that were added to one begun before. `resumed`: the file and place of
    a line that is known to be a piece, however short: versions before took those of Docker so.
    """

    def __init__(self) -> None:
        self.pieces = 0
        self.resumed: tuple[int, int] | None = None
        self.due: float | None = None  # when `end` should be called next
        self._open: dict[tuple[str, str], _Open] = {}
        self._spread: dict[tuple[str, str], Spread] = {}
        self._reached: dict[str, Chunk] = {}  # without data: where each log with such stands

    def take(self, chunk: Chunk, raw: bytes, position: int, prefix: Prefix) -> list[list[Line]]:
        """Return the lines that `raw` is or completes, or that it shows to be whole.

        Several together are those of one object; none: more has to come.
        """
        line = self.unwrap(chunk, raw, position)
        if line is None:
            return []
        return [[line]] if chunk.key else self._gather(chunk, line, prefix)

    def _gather(self, chunk: Chunk, line: Line, prefix: Prefix) -> list[list[Line]]:
        key = (chunk.log, line.stream)
        spread = self._spread.pop(key, None)
        broken: list[list[Line]] = []
        if spread is not None:
            fit = spread.take(line)
            if fit is Fit.ENDS:
                return [spread.lines]
            if fit is Fit.GOES_ON:
                self._spread[key] = spread
                return []
            broken = [[one] for one in spread.lines]
        begun = begun_by(line, chunk.file, prefix)
        if begun is None:
            return [*broken, [line]]
        self._spread[key] = begun
        return broken

    def unwrap(self, chunk: Chunk, line: bytes, position: int) -> Line | None:
        """Return the line that `line` is or ends out of its container, None where more comes."""
        if chunk.format is LogFormat.PLAIN:
            return Line(line, position)
        if chunk.format is not LogFormat.CRI and line[:1] == b"{" and b'"log"' in line:
            docker = _docker_line(line)
            if docker is not None:
                whole = docker.log.endswith("\n")
                text = (docker.log.rstrip("\r\n") if whole else docker.log).encode()
                short = len(text) < _DOCKER_PIECE and self.resumed != (chunk.file, position)
                last = whole or short
                piece = Line(text, position, instant(docker.time), stream=docker.stream)
                return self._join(chunk, piece, last=last)
        if chunk.format is not LogFormat.DOCKER:
            found = _CRI.match(line)
            if found is not None:
                at, stream = instant(found[1].decode()), found[2].decode()
                piece = Line(line[found.end() :], position, at, stream=stream)
                return self._join(chunk, piece, last=found[3] == b"F")
        return Line(line, position)

    def note(self, chunk: Chunk) -> int | None:
        """Return where the oldest unfinished line of the chunk's log begins in its file.

        A line begun in an earlier file of the log counts from this file's start.
        """
        opened = self._of(chunk.log)
        if not opened:
            self._reached.pop(chunk.log, None)
            return None
        end = chunk.start + len(chunk.data)
        self._reached[chunk.log] = replace(chunk, data=b"", start=end)
        return min(one.position if one.file == chunk.file else 0 for one in opened)

    def has_open(self, log: str) -> bool:
        """Return whether the log has an unfinished line or object."""
        return log in self._reached

    def is_spread(self, log: str) -> bool:
        """Return whether an object of the log goes on in its next lines, whatever these are."""
        return any((log, stream) in self._spread for stream in _STREAMS)

    def is_of(self, chunk: Chunk) -> bool:
        """Return whether all that is unfinished of the chunk's log began in the chunk's file."""
        return all(one.file == chunk.file for one in self._of(chunk.log))

    def waiting(self, log: str) -> int:
        """Return how many lines of the log were taken, and are neither given back nor pieces."""
        pieces = sum(isinstance(one, _Open) and not one.told for one in self._of(log))
        return pieces + sum(len(one.lines) for one in self._of(log) if isinstance(one, Spread))

    def end(
        self, now: float, age: float, busy: Collection[str]
    ) -> list[tuple[Chunk, int, list[Line]]]:
        """Give up what is unfinished in logs of which nothing came for `age` seconds.

        Returns of each such log a chunk without data at where it stands, how many lines had waited,
        and what they come to. The unfinished lines of a log end together: one place per file says
        where the oldest begins. Those that are `busy` have more to read first.
        """
        self.due, ended = None, []
        for log, chunk in [*self._reached.items()]:
            if log in busy:
                continue
            since = max(one.stands(now) for one in self._of(log))
            if now - since >= age:
                lines = [line for one in self._of(log) for line in one.given_up()]
                ended.append((chunk, self.waiting(log), lines))
                self.drop(log)
            else:
                self.due = min(since + age, self.due or since + age)
        return ended

    def drop(self, log: str) -> None:
        self._reached.pop(log, None)
        for stream in _STREAMS:
            self._open.pop((log, stream), None)
            self._spread.pop((log, stream), None)

    def _of(self, log: str) -> "list[_Open | Spread]":
        keys = [(log, stream) for stream in _STREAMS]
        found = [one for key in keys for one in (self._open.get(key), self._spread.get(key))]
        return [one for one in found if one is not None]

    def _join(self, chunk: Chunk, piece: Line, *, last: bool) -> Line | None:
        key = (chunk.log, piece.stream)
        begun = self._open.get(key)
        if begun is None:
            if last:
                return piece
            begun = self._open[key] = _Open(chunk.file, piece.position, piece.stamp, piece.stream)
        else:
            self.pieces += 1
        if last:
            del self._open[key]
        begun.since = None
        begun.size += len(piece.text)
        if begun.size > MAX_LINE:
            return self._overflow(begun, piece.text)
        begun.pieces.append(piece.text)
        return begun.joined() if last else None

    def _overflow(self, line: _Open, piece: bytes) -> Line | None:
        """Drop the line but for its head; say so once, as soon as the marker is seen in it."""
        text = b"".join(line.pieces) + piece
        line.pieces = [text[:_SAMPLE]]
        if line.told or MARKER_BYTES not in text:
            return None
        line.told = True
        return Line(line.pieces[0], line.position, line.stamp, too_long=True, stream=line.stream)


def _docker_line(line: bytes) -> _DockerLine | None:
    try:
        docker = _decode(line)
    except NOT_JSON:
        return None
    return docker if _is_dockers(docker) else None


def _docker_lines(data: bytes) -> bytes | None:
    lines = data.split(b"\n")[:-1]
    try:
        found = list(map(_decode, lines))
    except NOT_JSON:
        return None
    texts = [docker.log for docker in found if _is_dockers(docker) and docker.log.endswith("\n")]
    bare = "".join(texts).encode()
    # Were there newlines inside of texts, there would be more of them than texts.
    return bare if len(texts) == len(lines) == bare.count(b"\n") else None


def _is_dockers(docker: _DockerLine) -> bool:
    return docker.stream in _STREAMS[:2]
