"""Lines that say how often another came again: syslog servers write them in place of alike lines.

rsyslog's hold that line once more (`message repeated 4 times: [ … ]`). Those of BSD, macOS and
sysklogd, and rsyslog's older ones (`last message repeated 4 times`), stand behind it: of several
hosts that send to one file, behind the last line of the same host.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from sidecar.parse.block import spans_at
from sidecar.parse.event import Chunk, RejectReason
from sidecar.parse.needles import Needles
from sidecar.parse.objects import Unreadable
from sidecar.parse.prefix import Prefix

REACH = 1 << 16  # bytes in front of a line in which the one that came again is looked for
_SIGN = b"message repeated "
_SIGNS = Needles([_SIGN])
_MOST_LINES = 500  # looked at for it
_MOST_TIMES = 1000
# Of a message that came again rsyslog writes so many bytes, and the blank before it is one of them.
_CUT = 799
_WHOLE = re.compile(rb"message repeated ([1-9]\d{0,8}) times: \[ ?(.*)\]\s*\Z", re.DOTALL)
_STAMP = rb"""(?P<stamp>(?:<\d+>)?(?:1\ )?
    (?:[A-Z][a-z][a-z]\ [ \d]\d\ [\d:]{8}|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)))"""
_STAMPED = re.compile(_STAMP, re.VERBOSE)
_HEADER = re.compile(
    _STAMP + rb"(?:\ (?P<host>[\w.:@-]+)(?:\ (?P<tag>[\w./-]+))?)?", re.VERBOSE | re.ASCII
)
# Behind the stamp: a host or none, a program or none, and in RFC 5424 what else it has.
_LAST = re.compile(
    _STAMP
    + rb""":?(?:\ (?P<host>(?!last\ |---)[\w.:@-]+)
        (?:\ (?P<tag>(?!last\ |---)[\w./-]+)(?:(?:\[\d+\])?:|\ \S+\ \S+\ -))?)?
        \ (?:---\ )?last\ message\ repeated\ (?P<times>[1-9]\d{0,8})\ times?(?:\ ---)?\s*\Z""",
    re.VERBOSE | re.ASCII,
)
_SERVERS = (None, b"-", b"syslogd", b"rsyslogd", b"syslog-ng")  # these speak for all programs
ReadAt = Callable[[int, int], bytes]


class Weighed(NamedTuple):
    """A line, and how many times it counts. `line` is None where nobody knows which came again."""

    line: bytes | None
    times: int = 1


def weighed(line: bytes, before: bytes, prefix: Prefix) -> Weighed:
    """Return the line that came again if `line` says so, with the time of `line`; else itself.

    `before` is what stands in front of it in its file. Raises Unreadable beyond a thousand times.
    """
    if _SIGN not in line:
        return Weighed(line)
    if (whole := _WHOLE.search(line)) is not None and prefix.fits_bytes(line[: whole.start()]):
        again: bytes | None = line[: whole.start()] + whole[2]
        if len(whole[2]) >= _CUT and (header := _HEADER.match(line)) is not None:
            last = _last(header, before)
            again = last if last is not None and whole[2] in last else again
        return Weighed(again, _times(whole[1]))
    if (found := _LAST.match(line)) is not None:
        return Weighed(_last(found, before), _times(found["times"]))
    return Weighed(line)


def may_repeat(data: bytes) -> bool:
    """Return whether any line of `data` may say that another came again."""
    return _SIGNS.within(data)


def repeating_lines(data: bytes) -> list[tuple[int, bytes]]:
    """Return the lines of a syslog server's log that say how often another came, with their places.

    That is the log of one if it begins with a syslog's stamp: others are not looked through.
    """
    if _STAMPED.match(data) is None:
        return []
    return [(begin, data[begin:end]) for begin, end in spans_at(data, _SIGNS.places(data))]


def is_known(line: bytes, before: bytes) -> bool:
    """Return whether what `line` says to have come again, if it does, is in `before`."""
    found = _LAST.match(line)
    return found is None or _last(found, before) is not None


def earlier(chunk: Chunk, begin: int) -> bytes:
    """Return what stands in front of a line of `chunk`, as far as that is looked at."""
    near = chunk.data[max(0, begin - REACH) : begin]
    return near if len(near) == REACH else (chunk.before + near)[-REACH:]


def needed_before(data: bytes, start: int, read_at: ReadAt) -> bytes:
    """Return what of a file in front of `data` is needed to read it: nothing but for such lines.

    `start` is where it begins, `read_at` returns so many bytes at a place. Where that raises
    OSError, nothing is at hand.
    """
    if start and repeating_lines(data):
        begin = max(0, start - REACH)
        with suppress(OSError):
            return read_at(begin, start - begin)
    return b""


def _times(digits: bytes) -> int:
    if int(digits) > _MOST_TIMES:
        raise Unreadable(RejectReason.TOO_LONG)
    return int(digits)


def _last(again: re.Match[bytes], before: bytes) -> bytes | None:
    """Return the last line of the same host and program with the time of the one `again`.

    None where it is not in `before`, and where a line without a header stands between.
    """
    host, tag = again["host"], again["tag"]
    for line in reversed(before.removesuffix(b"\n").rsplit(b"\n", _MOST_LINES)[-_MOST_LINES:]):
        header = _HEADER.match(line)
        if header is None:
            return None
        other = host is not None and header["host"] != host
        if other or (tag not in _SERVERS and header["tag"] != tag):
            continue
        if _LAST.match(line) is None and (_WHOLE.search(line) is None):
            return again["stamp"] + line[header.end("stamp") :]
    return None
