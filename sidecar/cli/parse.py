"""`sidecar parse`: what is read from each line of a log, or why nothing is."""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from sidecar.cli import CONFIG_FILES, default_config
from sidecar.cli.client import CANNOT
from sidecar.cli.configured import LOG_FILE, UnreadableLogError, read_chunks
from sidecar.cli.output import paint, say, say_faults
from sidecar.clock import SystemClock
from sidecar.config.load import check_config, unrouted
from sidecar.config.settings import Config
from sidecar.parse.container import form_of, unwrap_all
from sidecar.parse.event import Chunk, Event, LogFormat, Parsed
from sidecar.parse.parser import Parser
from sidecar.parse.prefix import Prefix
from sidecar.parse.repeats import REACH, earlier, may_repeat
from sidecar.parse.taking import READERS
from sidecar.receivers.base import rfc3339
from sidecar.redact import Redactor
from sidecar.syntax.files import environment
from sidecar.syntax.values import is_field

_LINE = re.compile(rb"[^\n]*\n|[^\n]+\Z")
EVENTS, REJECTS, FOREIGN, PIECES, IGNORED = "events", "rejects", "foreign", "pieces", "ignored"
OBSCURE = "not_understood"
OUTCOMES = (EVENTS, REJECTS, FOREIGN, OBSCURE, PIECES, IGNORED)
_COLOURS = {EVENTS: "green", REJECTS: "red", FOREIGN: "yellow", OBSCURE: "yellow"}


class Told(msgspec.Struct):
    """One line of a log. `container`: whose wrapping it has; `why`: of what is no event."""

    line: int
    position: int
    outcome: str
    container: str = ""
    why: str = ""
    field: str = ""
    pattern: str = ""
    events: list[dict[str, Any]] = []


class LineReader:
    """Reads lines one by one as the daemon does, and says what became of each."""

    def __init__(self, config: Config, now: float) -> None:
        """`now` is the wall clock, in epoch seconds."""
        self._parser = Parser(config.patterns)
        self._alone, self._bare = Parser(config.patterns), Parser()
        self._waiting: list[tuple[int, Chunk]] = []  # lines of which nothing was told yet
        # Patterns of structured lines are asked before those of sentences.
        ordered = sorted(config.patterns, key=lambda one: one.taking is None)
        self._each = [(one.name, Parser([one])) for one in ordered if not one.marker]
        self._redactor = Redactor(config.redact)
        self.drafts = Drafts(self._redactor.text)
        self._now = now
        self._lines = 0

    def read_all(self, chunks: Iterable[Chunk]) -> Iterator[Told]:
        for chunk in chunks:
            yield from self._read(chunk)
        for parsed in self._ended(self._parser):
            yield from self._known(parsed)

    def _read(self, chunk: Chunk) -> Iterator[Told]:
        """Yield what each line is, once that is known: of an object over lines, at its last."""
        position = chunk.start
        for line in _LINE.findall(chunk.data):
            self._lines += 1
            before = earlier(chunk, position - chunk.start) if may_repeat(line) else b""
            one = replace(chunk, data=line, start=position, before=before)
            self._waiting.append((self._lines, one))
            yield from self._known(self._parse(self._parser, one))
            position += len(line)

    def _known(self, parsed: Parsed) -> Iterator[Told]:
        known = self._waiting[: parsed.lines]
        self._waiting = self._waiting[parsed.lines :]
        if parsed.pieces < len(known) - 1:  # none of them belongs to another
            for number, chunk in known:
                each = [self._parse(self._alone, chunk), *self._ended(self._alone)]
                yield self._told(number, chunk, next(one for one in each if one.lines))
            return
        for number, chunk in known[:-1]:
            yield self._told(number, chunk, Parsed(pieces=1))
        for number, chunk in known[-1:]:
            yield self._told(number, chunk, parsed)

    def _ended(self, parser: Parser) -> list[Parsed]:
        ends = parser.end_open(self._now, lambda _: True, age=0.0)
        return [parsed for _, parsed in ends]

    def _told(self, number: int, chunk: Chunk, parsed: Parsed) -> Told:
        """Return what one line is, of which `parsed` says it."""
        form = None if chunk.format is LogFormat.PLAIN else form_of(chunk.data.rstrip(b"\n"))
        told = Told(number, chunk.start, IGNORED, form or "")
        if parsed.events:
            told.outcome = EVENTS
            told.events = [self._shown(event) for event in parsed.events]
            told.pattern = self._pattern_of(chunk, parsed.events[0])
        if parsed.rejects:
            told.outcome, told.why = REJECTS, parsed.rejects[0].reason.value
            told.field = parsed.rejects[0].field
        elif parsed.foreign:
            told.outcome, told.why = FOREIGN, parsed.foreign[0].reason.value
        elif parsed.obscure:
            told.outcome, told.why = OBSCURE, parsed.obscure[0].reason.words
        elif parsed.pieces and not parsed.events:
            told.outcome, told.why = PIECES, "a piece of a line or an object that goes on"
        elif not parsed.events:
            told.why = "no marker, and no pattern matches"
            bare = chunk.data if form is None else unwrap_all(chunk.data, form) or chunk.data
            self.drafts.see(bare.decode("utf-8", "replace").rstrip("\n"))
        return told

    def _parse(self, parser: Parser, chunk: Chunk) -> Parsed:
        return parser.parse(chunk, now=self._now, wanted=lambda _: True)

    def _pattern_of(self, chunk: Chunk, event: Event) -> str:
        """Return the name of the pattern that alone makes the same event; empty for a record."""
        if self._parse(self._bare, chunk).events:
            return ""
        for name, parser in self._each:
            found = self._parse(parser, chunk).events
            if found and found[0].triple == event.triple:
                return name
        return ""

    def _shown(self, event: Event) -> dict[str, Any]:
        return {"at": rfc3339(event.at), "fields": self._redactor.fields(event.fields)}


def _show(told: Told) -> None:
    word = paint(f"{told.outcome.removesuffix('s'):<7} ", _COLOURS.get(told.outcome))
    place = f"{told.line:>6}  "
    more = [f"wrapped by {told.container}"] if told.container else []
    more += [f"pattern {told.pattern}"] if told.pattern else []
    if told.why:
        why = f"{told.why}: {told.field}" if told.field else told.why
        say(place, word, "  ".join([why, *more]))
    for event in told.events:
        fields = (f"{name}={_text(value)}" for name, value in event["fields"].items())
        say(place, word, "  ".join([event["at"], *more, *fields]))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _summary(counts: Counter[str], whys: Counter[str]) -> Iterator[str]:
    yield f"{counts.total():,} lines"
    for outcome in OUTCOMES:
        yield f"{outcome:<14} {counts[outcome]:,}"
    for why, count in whys.most_common():
        yield f"  {why} {count:,}"
    if counts[IGNORED] == counts.total() > 0:
        yield "No line is an event; docs/first-rule.md shows how lines of your own become events."


def _say_draft(drafts: "Drafts") -> None:
    if (best := drafts.best()) is not None:
        count, text = best
        say("")
        say(f"A first pattern, for {count:,} of the lines that no pattern takes, to be looked over")
        say("and saved as first.patterns.yaml, a file of `pattern_files` (docs/formats.md):")
        say("")
        for line in text.splitlines():
            say(line)


def _patterns_of(path: str | None) -> Config:
    """Return the configuration; of one that is wrong, its patterns: nobody has to be told here.

    So its secrets need not be there, nor, if no `path` is named, the configuration itself.
    """
    if path is None and not Path(default_config()).is_file():
        return unrouted()
    checked = check_config(path or default_config(), environment(), placeholders=True)
    if checked.config is None:
        say_faults(checked.faults, err=True)
    return checked.config or unrouted(checked.rules, checked.metrics, checked.patterns)


def _stdin() -> Iterator[Chunk]:
    start, before = 0, b""
    while lines := sys.stdin.buffer.readlines(1 << 18):
        data = b"".join(lines)
        yield Chunk(0, "stdin", LogFormat.AUTO, data, start, before=before)
        start, before = start + len(data), data[-REACH:]


def _chunks(path: str, config: Config) -> Iterable[Chunk]:
    if path == "-":
        return _stdin()
    pinned = config.pinned(path)
    return (replace(chunk, **pinned) for chunk in read_chunks(path, 0))


@click.command()
@click.option(
    "-c",
    "--config",
    type=LOG_FILE,
    show_default=f"{' or '.join(CONFIG_FILES)}, or none",
    help="Whose patterns and sources are asked.",
)
@click.option("--only", type=click.Choice(OUTCOMES), help="Show only lines of this outcome.")
@click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.argument("log", default="-", metavar="[LOG|-]")
def parse(config: str | None, only: str | None, format_: str, log: str) -> None:
    """Say of each line of LOG, or of stdin, what is read from it, or why nothing is.

    An event is shown with its time, its fields (redacted) and the pattern that took it; a reject
    with its reason and the field that is missing or cannot be read. Where no line is an event, or
    with --only ignored, a first pattern is drafted from the names in lines of JSON or pairs.
    Faults of the configuration are told on stderr, and what could be read of it is used. Exits 0
    also where no line is an event, 2 if the log cannot be read.
    """
    reader = LineReader(whole := _patterns_of(config), SystemClock().now())
    counts, whys = Counter[str](), Counter[str]()
    try:
        for told in reader.read_all(_chunks(log, whole)):
            counts[told.outcome] += 1
            if told.why:
                whys[f"{told.why}: {told.field}" if told.field else told.why] += 1
            if only in (None, told.outcome):
                _show(told) if format_ == "text" else say(msgspec.json.encode(told).decode())
    except UnreadableLogError as wrong:
        say(f"sidecar: {wrong}", err=True)
        sys.exit(CANNOT)
    if format_ == "text":
        say("")
        for line in _summary(counts, whys):
            say(line)
        if only == IGNORED or not counts[EVENTS]:
            _say_draft(reader.drafts)


# --- a first pattern for structured lines that none takes, drafted from the names they have

_MESSAGES = ("msg", "message", "event", "@m")
# What the fields that every event has are usually called, the likeliest first.
_CALLED = {
    "event_type": ("event_type", "event_name", "event", "type", "action", "topic"),
    "status": ("status", "outcome", "result", "state", "level", "severity", "levelname"),
    "webhook_provider": ("webhook_provider", "provider", "vendor", "integration"),
    "timestamp": ("timestamp", "ts", "time", "@timestamp", "asctime", "datetime", "@t"),
}
_USUAL = {"level", "severity", "levelname", "logger", "name", "pid", "hostname", "v", "caller"}
_WEBHOOK = re.compile(r"hook|billing|payment|subscription|invoice", re.IGNORECASE)
_MOST_MESSAGES = 1000  # that are told apart
_MOST_NAMES = 200
_LONGEST = 100  # characters of a message that says the same each time
_MOST_FIELDS = 12
_DEPTH = 2


_Key = tuple[str, str, str]  # the form, the name of the message, the message


@dataclass
class _Alike:
    """Lines alike in form and message: how many, and the names that they have."""

    lines: int = 0
    names: dict[str, None] = field(default_factory=dict)


class Drafts:
    """Gathers lines that no pattern takes; those alike in form and message go together."""

    def __init__(self, shown: Callable[[str], str]) -> None:
        """`shown` returns a text without its secrets: a message that has one is not quoted."""
        self._shown = shown
        self._prefix = Prefix()
        self._seen: dict[_Key, _Alike] = {}

    def see(self, line: str) -> None:
        for form, read in READERS.items():
            if (held := read(line, self._prefix)) is not None and len(held[0]) > 1:
                self._note(form, held[0])
                return

    def _note(self, form: str, fields: Mapping[str, Any]) -> None:
        name = next((one for one in _MESSAGES if self._may_tell(one, fields.get(one))), "")
        paths, key = list(_paths(fields)), (form, name, fields[name] if name else "")
        if not paths or (key not in self._seen and len(self._seen) >= _MOST_MESSAGES):
            return
        alike = self._seen.setdefault(key, _Alike())
        alike.lines += 1
        alike.names.update(dict.fromkeys(paths[: _MOST_NAMES - len(alike.names)]))

    def _may_tell(self, name: str, text: Any) -> bool:
        """Return whether it is a message that says the same each time; `event` may be a type."""
        if not isinstance(text, str) or not 0 < len(text) <= _LONGEST or text.startswith("=~"):
            return False
        return self._shown(text) == text and (name != "event" or " " in text)

    def best(self) -> tuple[int, str] | None:
        """Return how many lines the likeliest draft takes, and it as YAML; None without any."""
        if not self._seen:
            return None
        key, alike = max(self._seen.items(), key=_likely)
        return alike.lines, "\n".join(_pattern(*key, [*alike.names]))


def _likely(seen: tuple[_Key, _Alike]) -> tuple[bool, int, int]:
    """Return by what one group of lines is likelier to be meant than another."""
    (_, _, text), alike = seen
    known = sum(_found(one, alike.names) != "" for one in ("event_type", "webhook_provider"))
    return bool(_WEBHOOK.search(" ".join((text, *alike.names)))), known, alike.lines


def _found(wanted: str, names: Collection[str], but: str = "") -> str:
    return next((one for one in _CALLED[wanted] if one in names and one != but), "")


def _paths(fields: Mapping[str, Any], before: str = "", depth: int = 1) -> Iterator[str]:
    """Yield the paths of plain values, at the top and in the objects there."""
    for name, value in fields.items():
        path = f"{before}{name}"
        if isinstance(value, Mapping) and depth < _DEPTH:
            yield from _paths(value, f"{path}.", depth + 1)
        elif isinstance(value, str | int | float) and (is_field(path) or path.startswith("@")):
            yield path


def _pattern(form: str, name: str, text: str, names: Sequence[str]) -> Iterator[str]:
    take = {called: path for called in _CALLED if (path := _found(called, names, name))}
    more = [one for one in names if one not in {*take.values(), *_USUAL, name} and is_field(one)]
    others = {path.replace(".", "_"): path for path in more}
    take = dict(islice((take | others | take).items(), _MOST_FIELDS))
    called = re.sub(r"\W+", "_", text.lower(), flags=re.ASCII).strip("_") or "drafted"
    where = {name: text} if name else {next(iter(take.values()), names[0]): "=~.+"}
    fields = {"event_type": called, "status": "seen"}
    fixed = {one: word for one, word in fields.items() if one not in take}
    yield "patterns:"
    yield f"  - name: {_scalar(called)}"
    yield f"    {form}:"
    yield f"      where: {_flow(where)}"
    yield f"      take: {_flow(take)}"
    if fixed:
        yield f"    fields: {_flow(fixed)}   # no name says it: write what it is"


def _flow(table: Mapping[str, str]) -> str:
    """Return a mapping on one line, quoted only where YAML needs it."""
    return f"{{{', '.join(f'{_scalar(name)}: {_scalar(text)}' for name, text in table.items())}}}"


_PLAIN = re.compile(r"[A-Za-z_][\w. -]*[\w]|[A-Za-z]", re.ASCII)
_OTHERWISE = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}  # what YAML makes of it


def _scalar(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _OTHERWISE
    return text if plain else json.dumps(text)
