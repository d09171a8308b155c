"""Objects printed over several lines: which line begins one, and which goes on with it.

`json.dumps(…, indent=2)`, `pprint` and Node's `console.log` break an object into lines, and some
break the line between the marker and its object. What goes on is indented, or begins with the
bracket that closes; brackets and quotation marks are followed through. Everything else, and a line
that is an event by itself, ends the object early, and its lines are read one by one.
"""

import re
from collections.abc import Iterable
from enum import Enum

import msgspec

from sidecar.parse.needles import Needles
from sidecar.parse.objects import MARKER, MARKER_BYTES
from sidecar.parse.prefix import COLOUR, Prefix

MOST_LINES = 500  # of one object: an event of Stripe's API has some 200
MOST_BYTES = 1 << 16
_BREAKS = (b"{", b"[", b"(", b",", b":")  # what stands before a break inside of an object
_GOES_ON = (b" ", b"\t", b"}", b"]", b")")
_OPENS = (b"{", b"[")
_SHORT = 64  # bytes: blanks behind a marker that stands alone are fewer
_LAST = frozenset((*_BREAKS, b"\r", b" "))
_BLANK = frozenset((b" ", b"\t"))
_NEEDLES = Needles(
    sign + end for sign in (*_BREAKS[:-1], MARKER_BYTES + b":") for end in (b"\n", b"\r\n", b" \n")
)
_ALONE = re.compile(rf"{MARKER}\s*:\Z")
_SIGNS = re.compile(rb"[^\n]")
_FEW = 8
_CLOSES = {"{": "}", "[": "]", "(": ")"}
_TURN = re.compile(r"""\"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|["'{}\[\]()]""")
# A field of an object that goes over lines; its value is, or holds, the marker.
_FIELD = re.compile(rb"""[ \t][ \t,]*+(?:"\w+"|'\w+'|\w+)\s*:[^\n]*""" + MARKER_BYTES)


class Line(msgspec.Struct, frozen=True):
    """A whole line: its text, where it begins, its container's stamp and stream (None, empty).

    `too_long` marks the head of a line with the marker that went over the limit.
    """

    text: bytes
    position: int
    stamp: float | None = None
    too_long: bool = False
    stream: str = ""


class Fit(Enum):
    """What a line is to an object that is not finished."""

    GOES_ON = "goes on"
    ENDS = "ends"
    BREAKS = "breaks"  # it is no part of it


class Spread:
    """An object whose end has not come: its lines so far. `since`: the last came by then."""

    __slots__ = ("_prefix", "_size", "_waiting", "file", "lines", "since")

    def __init__(self, file: int, first: Line, waiting: "_Waiting", prefix: Prefix) -> None:
        self.file = file
        self.lines = [first]
        self.since: float | None = None
        self._size = len(first.text)
        self._waiting = waiting
        self._prefix = prefix

    @property
    def position(self) -> int:
        return self.lines[0].position

    def take(self, line: Line) -> Fit:
        """Take a line if it belongs to the object. Once one breaks it, none may follow."""
        self._size += len(line.text) + 1
        over = len(self.lines) >= MOST_LINES or self._size > MOST_BYTES or line.too_long
        if (
            over
            or not self._begins_well(line.text)
            or _is_event(line.text, self._prefix)
            or not _follow(_plain(line.text), self._waiting)
        ):
            return Fit.BREAKS
        self.lines.append(line)
        self.since = None
        return Fit.GOES_ON if self._waiting else Fit.ENDS

    def stands(self, now: float) -> float:
        """Return since when no line has come; the first time that this is asked, `now`."""
        self.since = now if self.since is None else min(self.since, now)
        return self.since

    def given_up(self) -> list[Line]:
        return self.lines

    def _begins_well(self, text: bytes) -> bool:
        if self._waiting:
            return text.startswith(_GOES_ON)
        return text.lstrip().startswith(_OPENS)


# The brackets that close what is open, and where each was opened in the first line.
_Waiting = list[tuple[str, int]]


def begun_by(line: Line, file: int, prefix: Prefix) -> Spread | None:
    """Return the object that `line` begins and does not end, if a host's line can be that."""
    raw = line.text.rstrip()
    if not raw.endswith(_BREAKS) or line.too_long or len(raw) > MOST_BYTES:
        return None
    text = _plain(raw)
    if (alone := _ALONE.search(text)) is not None:
        return Spread(file, line, [], prefix) if prefix.fits(text[: alone.start()]) else None
    waiting: _Waiting = []
    if not _follow(text, waiting) or not waiting:
        return None
    before, marker, _ = text[: waiting[0][1]].partition(MARKER)
    bare = raw[:1].isspace() or waiting[0][0] == ")"
    may_be = prefix.fits(before) and (marker or not bare)
    return Spread(file, line, waiting, prefix) if may_be else None


def joined(lines: list[Line]) -> Line:
    """Return the lines of an object as one, which has as many bytes."""
    first = lines[0]
    text = b" ".join(line.text.removesuffix(b"\r") for line in lines)
    return Line(text, first.position, first.stamp, stream=first.stream)


def any_spread(lines: Iterable[bytes], prefix: Prefix) -> bool:
    """Return whether any line is one of several over which an object may be printed."""
    near = [line for line in lines if line[-1:] in _LAST or line[:1] in _BLANK]
    return any(
        _FIELD.match(line) is not None or begun_by(Line(line, 0), 0, prefix) is not None
        for line in near
    )


Region = tuple[int, int]  # where lines begin and end, with the last one's newline


def regions(data: bytes, odd: Iterable[tuple[int, int]], prefix: Prefix) -> list[Region] | None:
    """Return the lines of the objects over lines that any of the `odd` lines is of.

    None where one is broken off or does not end, and where they are most of what is there.
    """
    found: list[Region] = []
    size = 0
    for begin, end in odd:
        least = found[-1][1] if found else 0
        if begin >= least and any_spread([data[begin:end]], prefix):
            region = _region(data, begin, least, prefix)
            size += 0 if region is None else region[1] - region[0]
            if region is None or (len(found) > _FEW and size * 2 > region[1]):
                return None
            found.append(region)
    return found


def _region(data: bytes, begin: int, least: int, prefix: Prefix) -> Region | None:
    for _ in range(MOST_LINES):
        if begin <= least or not data.startswith(_GOES_ON, begin):
            break
        begin = max(data.rfind(b"\n", least, begin - 1) + 1, least)
    end = data.find(b"\n", begin)
    begun = begun_by(Line(data[begin:end], 0), 0, prefix) if end >= 0 else None
    while begun is not None and (stop := data.find(b"\n", end + 1)) >= 0:
        fit = begun.take(Line(data[end + 1 : stop], 0))
        if fit is not Fit.GOES_ON:
            return (begin, stop + 1) if fit is Fit.ENDS else None
        end = stop
    return None


def without(data: bytes, found: Iterable[Region]) -> bytes:
    """Return `data` with these lines made to say nothing; all others stand where they stood."""
    parts, at = [], 0
    for begin, end in found:
        parts += [data[at:begin], _SIGNS.sub(b"x", data[begin:end])]
        at = end
    return b"".join([*parts, data[at:]])


def open_from(data: bytes, begin: int, prefix: Prefix) -> int:
    """Return where an object begins that may go on behind `data`, at its end without any.

    Nothing is unfinished at `begin`.
    """
    end = len(data)
    while (found := _last_open(data, begin, end, prefix)) is not None:
        end = found
    return end


def mixed_open(data: bytes) -> bool:
    """Return whether lines of two streams may end in an object that goes on."""
    return _NEEDLES.within(data[-MOST_BYTES:])


def _last_open(data: bytes, begin: int, end: int, prefix: Prefix) -> int | None:
    """Return where the last object begins that is not finished in data[begin:end]."""
    below = end
    for _ in range(MOST_LINES):
        start = max(data.rfind(b"\n", begin, max(below - 1, begin)) + 1, begin)
        line = data[start:below]
        begun = begun_by(Line(line, 0), 0, prefix)
        if begun is not None and _stays(begun, data[below:end]):
            return start
        alone = data[max(start - _SHORT, begin) : start].rstrip()
        below_marker = line.startswith(_OPENS) and alone.endswith(b":")
        if start <= begin or not (line.startswith(_GOES_ON) or below_marker):
            return None
        below = start
    return None


def _stays(begun: Spread, behind: bytes) -> bool:
    """Return whether an object goes on in all the lines behind its first."""
    lines = behind.removesuffix(b"\n").split(b"\n") if behind else []
    return all(begun.take(Line(line, 0)) is Fit.GOES_ON for line in lines)


def _is_event(raw: bytes, prefix: Prefix) -> bool:
    """Return whether a line holds the marker and all of its object, as among lines read at once."""
    if MARKER_BYTES not in raw:
        return False
    before, _, behind = _plain(raw).partition(MARKER)
    waiting: _Waiting = []
    whole = "{" in behind and _follow(behind, waiting) and not waiting
    return whole and prefix.fits(before)


def _plain(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return COLOUR.sub("", text) if "\x1b" in text else text


def _follow(text: str, waiting: _Waiting) -> bool:
    """Follow the brackets of `text` through; False where it cannot be a part of an object."""
    for turn in _TURN.finditer(text):
        sign = turn[0]
        if (closes := _CLOSES.get(sign)) is not None:
            waiting.append((closes, turn.start()))
        elif sign in ("}", "]", ")"):
            if not waiting or waiting.pop()[0] != sign:
                return False
        elif len(sign) == 1:  # a quotation mark whose end is missing
            return False
    return True
