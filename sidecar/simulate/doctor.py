"""What a host's own log says of the host: what it prints, what can come of that, what to change."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from sidecar.parse.event import Chunk, Event
from sidecar.parse.instants import (
    QUARTER,
    offset_of,
    quarters_off,
    stamps_in,
    without_stamps,
    zones_for,
)
from sidecar.parse.objects import MARKER
from sidecar.parse.parser import Parser
from sidecar.parse.patterns import Pattern

_LINES = 20_000  # of one log are looked at; the rest is as they are
_CALL = re.compile(r'"POST (/[^\s"?]{1,80})[^"]*" [1-5]\d\d\b', re.ASCII)
_WEBHOOK = re.compile(r"hook|stripe|billing", re.IGNORECASE)
_MOST_PATHS = 100
_PAIR = re.compile(r"(?:^|\s)[\w.]+=\S", re.ASCII)  # logfmt
_MARKED = re.compile(rf"""{MARKER}[^{{}}]*\{{\s*\\?(['"]?)""")
_WRAPPINGS = {
    " in Docker's json-file": re.compile(r'\{.*"stream":\s*"std(?:out|err)"'),
    " in CRI format": re.compile(r"\S+ std(?:out|err) [PF]\b"),
}
_SHOWN = 3  # lines
_LEAST_MESSAGE = 10  # characters that two lines must end with
_AT_ONCE = 60.0  # seconds between a last line and the file's last change


class _DockerLine(msgspec.Struct):
    log: str


class LineFacts:
    """Gathers what whole lines say, whether they are events or not."""

    def __init__(self, patterns: Sequence[Pattern], now: float) -> None:
        """`now` is the wall clock, by which stamps without a year get one."""
        self.records = 0
        self.first: list[str] = []
        self.forms: Counter[str] = Counter()  # of events
        self.paths: Counter[str] = Counter()
        self.last_naive: float | None = None
        self._zone = ""  # of its source
        self._now = now
        self._apart: Counter[float] = Counter()
        self._looked_at = self._events = self._twins = 0
        self._before: tuple[str, Event] | None = None
        self._records, self._parser = Parser(), Parser(patterns)

    def see(self, chunk: Chunk) -> None:
        parsed = self._records.parse(chunk, now=self._now, wanted=lambda _: False)
        self.records += sum(tally.count for tally in parsed.tallies.values())
        self._zone, zone = chunk.zone, ZoneInfo(chunk.zone) if chunk.zone else None
        for raw in chunk.data.split(b"\n"):
            line = raw.decode("utf-8", "replace")
            stamps = stamps_in(line, self._now, zone)
            if stamps:
                self.last_naive = None if any(zoned for _, zoned in stamps) else stamps[-1][0]
            if line.strip() and self._looked_at < _LINES:
                self._looked_at += 1
                self._look_at(line, [at for at, _ in stamps])
                self._look_back(line, msgspec.structs.replace(chunk, data=raw))

    def _look_at(self, line: str, stamps: Sequence[float]) -> None:
        if len(self.first) < _SHOWN:
            self.first.append(line)
        found = _CALL.search(line)
        if found is not None and _WEBHOOK.search(found[1]) and len(self.paths) < _MOST_PATHS:
            self.paths[found[1]] += 1
        if len(stamps) > 1:
            self._apart[self._zones_off(abs(stamps[-1] - stamps[0]), self._now)] += 1

    def _look_back(self, line: str, chunk: Chunk) -> None:
        """Hold a line against the one before: two handlers write one message one after another."""
        found = self._parser.parse(chunk, now=self._now, wanted=lambda _: True).events
        self._events += len(found)
        self.forms.update(_form(line, event) for event in found)
        before, self._before = self._before, (_unwrapped(line), found[0]) if found else None
        if before is not None and self._before is not None and _is_twin(before, self._before):
            self._twins += 1
            self._before = None

    @property
    def twice(self) -> int:
        """How many events came twice, if that is how this log is written and no chance."""
        return self._twins if 4 * self._twins >= self._events else 0

    def hours_apart(self) -> float:
        """Return by how many hours most lines with two stamps contradict themselves."""
        apart, count = next(iter(self._apart.most_common(1)), (0.0, 0))
        return apart / 3600 if 2 * count > self._apart.total() else 0.0

    def zones(self, changed_at: float) -> list[str]:
        """Return which `timezone` would let the last stamp be of when a file changed."""
        offset = offset_of(self._zone, changed_at) + self.hours_off(changed_at) * 3600
        return zones_for(changed_at, offset)

    def hours_off(self, changed_at: float) -> float:
        """Return by how many hours the last stamp without a zone differs from a file's change."""
        if self.last_naive is None:
            return 0.0
        return self._zones_off(self.last_naive - changed_at, changed_at) / 3600

    def _zones_off(self, seconds: float, at: float) -> float:
        """Return `seconds` in full quarter hours if they may be of a time zone, else 0."""
        return (quarters_off(seconds, _AT_ONCE, at, self._zone) or 0) * QUARTER


def _form(line: str, event: Event) -> str:
    wrapping = next((name for name, shape in _WRAPPINGS.items() if shape.match(line)), "")
    marked = _MARKED.search(line)
    if event.event_type == "http.request":
        form = "access line"
    elif marked is not None:
        form = "Python dict" if marked[1] == "'" else "JSON behind the marker"
    elif MARKER in line or _unwrapped(line).endswith("}"):
        form = "JSON record"
    else:
        form = "pairs" if len(_PAIR.findall(line)) > 1 else "sentence"
    return form + wrapping


def _unwrapped(line: str) -> str:
    """Return what Docker's json-file has in `log`, whose time stands behind it."""
    try:
        return msgspec.json.decode(line, type=_DockerLine).log.rstrip()
    except msgspec.MsgspecError:
        return line


def _is_twin(one: tuple[str, Event], other: tuple[str, Event]) -> bool:
    """Tell whether two lines are one message, but for what loggers put in front of it."""
    (line, event), (next_line, next_event) = one, other
    if event.triple != next_event.triple or abs(event.at - next_event.at) >= 1:
        return False
    if "timestamp" in event.fields and event.fields == next_event.fields:
        return True
    pairs = zip(reversed(line), reversed(next_line), strict=False)
    behind = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    before, next_before = line[: len(line) - behind], next_line[: len(next_line) - behind]
    # What differs may be stamps and names, but no address or number.
    digits = [re.sub(r"\D", "", without_stamps(text)) for text in (before, next_before)]
    return behind >= _LEAST_MESSAGE and (digits[0] == digits[1] or "" in digits)


Verdict = Literal["fires", "could", "always", "never"]


class AlertSeen(msgspec.Struct, frozen=True):
    """A rule on this log. `events` matched, `fired` is how often it did; `why` it never can."""

    name: str
    place: str
    verdict: Verdict
    events: int
    fired: int = 0
    why: str = ""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What logs hold, rules held against them. Instants are RFC 3339; events count as parsed.

    `records` are WEBHOOK_METRIC events, `forms` how the events of the first lines are written.
    `undated` events had no time and took the clock's, `unreadable` ones a stamp that is none.
    `twice` came once more in the line behind, word for word.
    """

    logs: Sequence[str]
    lines: int
    events: int
    records: int
    first: str | None
    last: str | None
    forms: dict[str, int]
    types: dict[str, dict[str, int]]
    alerts: Sequence[AlertSeen]
    idle_metrics: dict[str, str]
    rejects: dict[str, int]
    undated: int
    unreadable: int
    ahead: int
    twice: int
    test_mode: int
    hours_apart: float
    hours_off: float
    zones: Sequence[str]
    webhook_paths: dict[str, int]
    first_lines: Sequence[str]
    to_change: Sequence[str] = ()

    def changes(self) -> Iterator[str]:
        """Yield what to change at the host or in the configuration, the gravest first."""
        if not self.events:
            yield (
                'No line is an event. Print lines with WEBHOOK_METRIC (README, "What the host '
                'must log"), or say by a pattern which of these lines are events '
                "(docs/first-rule.md)."
            )
        elif not self.records and any(form.startswith("sentence") for form in self.forms):
            yield (
                "This host prints no WEBHOOK_METRIC line, which says more than its sentences do: "
                "have it write such lines (docs/formats.md; AgentOps: docs/agentops.md)."
            )
        if self.rejects:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.rejects.items())
            yield f"Lines with WEBHOOK_METRIC cannot be read as events: {reasons}."
        if self.webhook_paths and "http.request" not in self.types:
            path = next(iter(self.webhook_paths))
            yield (
                f"Calls of {path} are logged and not read: write that path into "
                "rules/access-log.patterns.yaml."
            )
        if self.twice:
            yield (
                f"{counted(self.twice, 'event')} came twice in one instant, word for word: two "
                "handlers write one log, and all counts double. Remove one of them, or set "
                "`propagate = False` at the logger."
            )
        yield from self._clock_changes()
        if self.test_mode:
            events = counted(self.test_mode, "event")
            yield f"{events} of the provider's test mode (livemode: false): point it elsewhere."

    def _clock_changes(self) -> Iterator[str]:
        if self.hours_apart:
            yield (
                f"The stamps of one line are {self.hours_apart:g} h apart: one of them is "
                "local time without a zone. Log in UTC, or with the zone."
            )
        elif self.hours_off:
            side = "ahead of" if self.hours_off > 0 else "behind"
            yield (
                f"The last stamp is {abs(self.hours_off):g} h {side} the file's last change, and "
                f"states no zone. Write `timezone: {self.zones[0]}` (or another of that offset) to "
                "its source, or log in UTC, or with the zone."
            )
        if self.ahead:
            yield f"{counted(self.ahead, 'event')} dated ahead of the clock, and taken as of now."
        if self.unreadable:
            yield (
                f"{counted(self.unreadable, 'event')} with a stamp that cannot be read, taken as "
                "of another or of now: write ISO 8601 (docs/rules.md#time)."
            )
        if self.undated:
            yield (
                f"{counted(self.undated, 'event')} without any time, taken as of now: after an "
                "outage of the sidecar old ones look new. Put a stamp in front of each line."
            )


def counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
