"""What may stand before an event in its line: a logger's furniture, or what the source pins.

A log holds what its host says and what it quotes: an access log repeats a stranger's header, a
warning what somebody typed. An event is only what the host says. What stands before it tells the
two apart: a logger writes stamps, levels, names and brackets there, and never a sentence. A host
that writes by `sidecar/host/webhook_metric.py` can prove it: with an HMAC in each line.
"""

import hmac
import re

from sidecar.matchers import compile_re2
from sidecar.parse.instants import ZONE_NAMES
from sidecar.parse.objects import MARKER_BYTES

_LONGEST = 1000  # characters of furniture
_MOST_SHAPES = 4096  # remembered
_MOST_NAMES = 4
_NO_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)

_QUOTED = r'(?:"(?:[^"\\]|\\.)*+"|' + r"'(?:[^'\\]|\\.)*+')"
_FREE = r"[^\[\](){}<>\"']"


def _bracketed(inside: str) -> str:
    return rf"(?:\[(?:{inside})*+\]|\((?:{inside})*+\)|\{{(?:{inside})*+\}}|<[^<>\"'\s]*+>)"


_BRACKETED = _bracketed(rf"{_FREE}|{_QUOTED}|{_bracketed(rf'{_FREE}|{_QUOTED}')}")
# What a syslog server puts in front (RFC 3164 and RFC 5424): the host's and the program's name.
# rsyslog's own format has a stamp as others write it; only a process's number tells it from words.
_SYSLOG = re.compile(
    rf"""(?:<\d+>)?[A-Z][a-z][a-z]\ [ \d]\d\ [\d:]+\ [\w.-]+\ [\w./-]+(?:\[\d+\])?:[ ]
       |\d{{4}}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)\ [\w.-]+\ [\w./-]+\[\d+\]:[ ]
       |<\d+>\d\ \S+\ \S+\ \S+\ \S+\ \S+\ (?:-|{_BRACKETED}+)""",
    re.VERBOSE | re.ASCII,
)
_ITEM = re.compile(
    rf"""(?P<pair>[A-Za-z_][\w.@-]*=(?:{_QUOTED}|{_BRACKETED}|[^\s"'`{{}}\[\]()<>|]+))
       |(?P<group>{_BRACKETED})
       |(?P<number>[+-]?\d[\w.:,/+-]*)
       |(?P<module>in\ [a-z_]\w*:)
       |(?P<name>[A-Za-z_][\w$.@/+-]*(?:::?[A-Za-z_<][\w$.@/+<>-]*)*)(?P<column>\s*\|)?
       |(?P<rule>[^\w"'`\[({{}}<=.?!&%$@\\/\r\n])""",
    re.VERBOSE | re.ASCII,
)
_LEVEL = re.compile(
    r"trace|debug|dbg|log|info|information|inf|notice|success|warn|warning|wrn|error|err|crit|critical"
    r"|fatal|ftl|severe|alert|emerg|emergency|panic|verbose|[a-z]",
    re.IGNORECASE,
)
_CALENDAR = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)|[AP]M|"
    + ZONE_NAMES
)
_PLAIN = re.compile(r"[a-z]+(?:-[a-z]+)*")
# A name that is no word of a sentence: app.web, worker_1, web-2, MainThread, app/main.go, a::b.
_MARKED = re.compile(r".*(?:[\d_$@+]|[A-Za-z][./][A-Za-z]|[a-z][A-Z]|::)", re.DOTALL)
COLOUR = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")  # and what else a terminal is told
_BLANK = re.compile(rf"(?:{COLOUR.pattern}|[\s\0\ufeff])*+")
# What was raised stands before its text, and that may be what somebody typed: `ValueError: …`.
_RAISED = re.compile(r".*(?:Error|Exception|Warning)", re.DOTALL)
# Letters and quotation marks beyond ASCII: no logger writes them of itself.
_FOREIGN_SIGN = re.compile(r"(?![\0-\x7f])[\w\u2018-\u201f\u2039\u203a\u00ab\u00bb]")
_GLUED = re.compile(r"[\w=/.@+]\Z")  # to what follows
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class Prefix:
    """Tells of a text whether it may stand before an event; remembers the answers."""

    def __init__(self, pinned: str | None = None) -> None:
        """`pinned` is RE2, to be matched as a whole. Raises ValueError when it is not."""
        self._pinned = None if pinned is None else compile_re2(pinned)
        self._known: dict[bytes, bool] = {}

    @property
    def is_pinned(self) -> bool:
        """Whether its source says what may stand before an event."""
        return self._pinned is not None

    def fits(self, text: str) -> bool:
        """Return whether an event may follow `text`, the beginning of its line."""
        if self._pinned is None and len(text) > _LONGEST:
            return False
        return self._fits(text.encode("utf-8", "replace"))

    def fits_bytes(self, raw: bytes) -> bool:
        """Do what `fits` does, for a text in UTF-8."""
        return self._fits(raw) if len(raw) <= _LONGEST else self.fits(raw.decode())

    def fits_pairs(self, text: str) -> bool:
        """Return whether the pairs of a record may follow `text`: a word would be its message."""
        return self._pinned is not None or is_furniture(text, words=0)

    def fits_message(self, text: str) -> bool:
        """Return whether an event may follow `text` in a record's message field."""
        return self.fits(text) if self._pinned is not None else _BLANK.fullmatch(text) is not None

    def fits_message_bytes(self, raw: bytes) -> bool:
        """Do what `fits_message` does, for a text in UTF-8."""
        return self.fits_message(raw.decode())

    def fit_all(self, pieces: set[bytes]) -> bool:
        """Return whether the last, unfinished line of each piece may stand before an event."""
        return all(self._fits(piece[piece.rfind(b"\n") + 1 :]) for piece in pieces)

    def _fits(self, raw: bytes) -> bool:
        shape = raw.translate(_NO_DIGITS) if self._pinned is None else raw
        known = self._known.get(shape)
        if known is None:
            if len(self._known) >= _MOST_SHAPES:
                self._known.clear()
            text = shape.decode("utf-8", "replace")
            known = is_furniture(text) if self._pinned is None else self._pins(text)
            self._known[shape] = known
        return known

    def _pins(self, text: str) -> bool:
        return self._pinned is not None and self._pinned.fullmatch(text) is not None


def is_furniture(text: str, *, words: int = 1) -> bool:
    """Return whether `text` is nothing but what loggers write before a message.

    That is: numbers (stamps, addresses, process ids), one level, up to four names of which so
    many `words` may be plain lower-case ones, brackets, `key=value`, colour codes, and punctuation
    between them. Other words, and anything in quotation marks but a value or inside of brackets,
    are not.
    The answer is the same for texts that differ only in their digits.
    """
    text = COLOUR.sub("", text)
    if len(text) > _LONGEST or _GLUED.search(text) or _FOREIGN_SIGN.search(text):
        return False
    header = _SYSLOG.match(text)
    at = 0 if header is None else header.end()
    levels = plain = names = 0
    while at < len(text):
        item = _ITEM.match(text, at)
        if item is None:
            return False
        at = item.end()
        name = item["name"]
        plain += item["module"] is not None  # Flask's own: `INFO in app: `
        if name is None or _CALENDAR.fullmatch(name):
            continue
        parts = [part.strip("<>-") for part in re.split(":+", name)]
        other = [part for part in parts if not _LEVEL.fullmatch(part) or _RAISED.fullmatch(part)]
        levels += len(other) < len(parts) and len(name) > 1
        names += bool(other)
        plain += len(other) == 1 and not item["column"] and bool(_PLAIN.fullmatch(other[0]))
        if not all(map(_is_name, other)):
            return False
    return levels <= 1 and plain <= words and names <= _MOST_NAMES


def _is_name(word: str) -> bool:
    if _DATE.search(word):  # the end of another line, glued to this one's stamp
        return False
    if _RAISED.fullmatch(word):
        return False
    return _PLAIN.fullmatch(word) is not None or _MARKED.match(word) is not None


# --- lines that carry an HMAC
#
# A line is a JSON object whose last field is `hmac`: the HMAC-SHA256, in hex, of all that stands
# before the comma in front of it.

_MARK = b', "hmac": "'
_END = b'"}'


def is_signed(line: bytes, key: bytes) -> bool:
    """Return whether `line`, out of its container, carries the right HMAC under `key`."""
    body, _, rest = line.rpartition(_MARK)
    return hmac.compare_digest(rest, hmac.digest(key, body, "sha256").hex().encode() + _END)


def signed_only(data: bytes, key: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return `data` with each other line blanked, so that all that is left stands where it stood.

    And those of the others that hold the marker, with where they begin. Without a key all stays.
    """
    if not key:
        return data, []
    kept, refused, at = [], [], 0
    for line in data.split(b"\n"):
        if line and not is_signed(line, key):
            if MARKER_BYTES in line:
                refused.append((at, line))
            kept.append(b" " * len(line))
        else:
            kept.append(line)
        at += len(line) + 1
    return b"\n".join(kept), refused
