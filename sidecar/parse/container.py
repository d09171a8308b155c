"""Lines of Docker and Kubernetes: taken out of their wrapping, and joined where they were split.

Docker's json-file driver and the CRI format write each line with its stream and time, and cut a
long one into pieces. The pieces of one line may lie in two files, with a rotation in between.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sidecar.parse.block import Needles
from sidecar.parse.event import MAX_LINE, Chunk, LogFormat
from sidecar.parse.instants import instant
from sidecar.parse.objects import MARKER_BYTES, NOT_JSON

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
_SAMPLE = 1000  # bytes kept of a line that became too long


class _DockerLine(msgspec.Struct, forbid_unknown_fields=True):
    """One line of Docker's json-file driver; a `log` without newline is a piece of a line.

    Other collectors write `log` and `stream` as well, among keys of their own, and whole lines.
    """

    log: str
    stream: str
    time: str
    attrs: Any = None


_decode = msgspec.json.Decoder(_DockerLine).decode
_STREAMS = ("stdout", "stderr")


class Line(msgspec.Struct, frozen=True):
    """A whole line: its text, where it begins, its container's stamp (None without one).

    `too_long` marks the head of a line with the marker that went over the limit.
    """

    text: bytes
    position: int
    stamp: float | None = None
    too_long: bool = False


@dataclass(slots=True)
class _Open:
    """A line whose last piece has not come yet."""

    file: int
    position: int
    stamp: float | None
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    told: bool = False  # that it is too long

    def joined(self) -> bytes:
        return b"".join(self.pieces)


def may_be_wrapped(data: bytes) -> bool:
    """Return whether any line of `data` could be Docker's or CRI's."""
    return _TRACES.within(data)


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


def source_of(chunk: Chunk, *, unwrapped: bool) -> Callable[[int], bytes]:
    """Return what gives the object that begins at one of the places of `Parsed.rows`."""
    data = (unwrapped and bare_lines(chunk)) or chunk.data

    def source(place: int) -> bytes:
        begin = place - chunk.start
        end = data.find(b"\n", begin)
        return data[begin : len(data) if end < 0 else end]

    return source


def line_at(chunk: Chunk, place: int, *, unwrapped: bool) -> tuple[int, bytes] | None:
    """Return the line of `chunk` that holds one of `Parsed.places`: its position, and itself.

    None where it begins in a chunk before.
    """
    data = chunk.data
    at = place - chunk.start
    if unwrapped and (bare := bare_lines(chunk)) is not None:
        number = bare.count(b"\n", 0, at)  # each line there is one line here
        at = sum(len(line) + 1 for line in data.split(b"\n")[:number])
    if not 0 <= at < len(data):
        return None
    begin = data.rfind(b"\n", 0, at) + 1
    end = data.find(b"\n", at)
    return chunk.start + begin, data[begin : len(data) if end < 0 else end].removesuffix(b"\r")


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
    """Holds the unfinished lines of every log, per stream, across chunks and rotated files."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], _Open] = {}

    def unwrap(self, chunk: Chunk, line: bytes, position: int) -> Line | None:
        """Return the line that `line` is or completes, or None while pieces are missing."""
        if chunk.format is LogFormat.PLAIN:
            return Line(line, position)
        if chunk.format is not LogFormat.CRI and line[:1] == b"{" and b'"log"' in line:
            docker = _docker_line(line)
            if docker is not None:
                last = docker.log.endswith("\n")
                text = docker.log.rstrip("\r\n") if last else docker.log
                piece = Line(text.encode(), position, instant(docker.time))
                return self._join(chunk, docker.stream, piece, last=last)
        if chunk.format is not LogFormat.DOCKER:
            found = _CRI.match(line)
            if found is not None:
                piece = Line(line[found.end() :], position, instant(found[1].decode()))
                return self._join(chunk, found[2].decode(), piece, last=found[3] == b"F")
        return Line(line, position)

    def open_from(self, chunk: Chunk) -> int | None:
        """Return where the oldest unfinished line of the chunk's log begins in its file.

        A line begun in an earlier file of the log counts from this file's start.
        """
        begun = [
            line.position if line.file == chunk.file else 0
            for (log, _stream), line in self._open.items()
            if log == chunk.log
        ]
        return min(begun, default=None)

    def has_open(self, log: str) -> bool:
        """Return whether the log has an unfinished line."""
        return any((log, stream) in self._open for stream in _STREAMS)

    def drop(self, log: str) -> None:
        for stream in _STREAMS:
            self._open.pop((log, stream), None)

    def _join(self, chunk: Chunk, stream: str, piece: Line, *, last: bool) -> Line | None:
        key = (chunk.log, stream)
        begun = self._open.get(key)
        if begun is None:
            if last:
                return piece
            begun = self._open[key] = _Open(chunk.file, piece.position, piece.stamp)
        if last:
            del self._open[key]
        begun.size += len(piece.text)
        if begun.size > MAX_LINE:
            return self._overflow(begun, piece.text)
        begun.pieces.append(piece.text)
        return Line(begun.joined(), begun.position, begun.stamp) if last else None

    def _overflow(self, line: _Open, piece: bytes) -> Line | None:
        """Drop the line but for its head; say so once, as soon as the marker is seen in it."""
        text = line.joined() + piece
        line.pieces = [text[:_SAMPLE]]
        if line.told or MARKER_BYTES not in text:
            return None
        line.told = True
        return Line(line.pieces[0], line.position, line.stamp, too_long=True)


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
    return docker.stream in _STREAMS
