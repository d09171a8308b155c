"""The front door of the pure part: takes log bytes, returns the rows to write; no I/O, no clock.

A step takes what the reader found, chunk by chunk (nothing, on a tick): parses, counts and judges
it. Its end lets time pass and decides who is told. All that has to be written in one transaction
comes out as a delta, with what may be published once that is committed:

    core = Core(config)
    core.restore(store, now)
    core.resume(read.resume)
    for chunk in chunks:
        core.take(chunk, now)
    step = core.finish(read, now)
    store.commit(step.delta)
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from sidecar.batch import Heard, ReadBatch
from sidecar.config.settings import Config
from sidecar.measure.meter import Meter
from sidecar.notify.audit import AUDIT, Trail
from sidecar.notify.cooldowns import OWNERS
from sidecar.notify.decide import GroupDecision
from sidecar.notify.group import mails_owner
from sidecar.notify.message import UNTOLD
from sidecar.notify.mutes import Mutes
from sidecar.notify.notifier import Notifier
from sidecar.parse.columns import Columns
from sidecar.parse.container import Lines
from sidecar.parse.event import (
    Chunk,
    Event,
    Fields,
    Foreign,
    Late,
    Obscure,
    Parsed,
    Reject,
    Tally,
    Triple,
    Wanted,
)
from sidecar.parse.parser import Parser
from sidecar.redact import Redactor, without_secrets
from sidecar.rows import (
    AlertRow,
    CooldownRow,
    Delta,
    FileRow,
    FloorsRow,
    Gone,
    GroupRow,
    JournalRow,
    MemberRow,
    MetaRow,
    OutboxRow,
    Row,
    RuleRow,
    RuleStateRow,
    SeriesRow,
    SilenceRow,
    ToldRow,
)
from sidecar.rules.alert import Alert, Evidence, LineOf, Transition
from sidecar.rules.drift import Drift
from sidecar.rules.engine import Engine
from sidecar.rules.rule import Key
from sidecar.secret import printable

# The outcome of a message that was decided on and recorded, and is never sent.
SHADOW = "shadow"
REDACTION = "redaction"  # the MetaRow that names what the rows of keys were redacted by
SPOKE = "spoke:"  # and a log: the MetaRow that an event was ever read from it
HASH_KEY = "hash_key"  # the MetaRow with the secret, in hex, under which texts are digested
_MOST_TRIPLES = 10_000  # remembered
_SUMMED = (
    "lines", "event_lines", "pieces", "ignored", "future", "bad_times", "undated", "own_fields",
)  # fmt: skip
_R = TypeVar("_R", bound=Row)
_Sampled = TypeVar("_Sampled", Reject, Foreign, Obscure)


class Stored(Protocol):
    """Where `restore` gets the rows of the state file."""

    def load(self, row: type[_R], /) -> list[_R]: ...


class _NothingStored:
    def load(self, row: type[_R], /) -> list[_R]:
        del row
        return []


# A state file that was never written.
NOTHING_STORED: Stored = _NothingStored()


class Step(msgspec.Struct):
    """What one step did: `delta` to commit; then, once committed, the rest to publish.

    `outbox` is to be sent, `withheld` was recorded and is not (shadow mode). `read_to`: up to which
    byte each file (by id) is counted. `late`: by how much each log's events were off the clock.
    `seconds`: the time the step took, filled in by who has a clock.
    """

    delta: Delta = msgspec.field(default_factory=Delta)
    series: list[SeriesRow] = msgspec.field(default_factory=list)
    outbox: list[OutboxRow] = msgspec.field(default_factory=list)
    withheld: list[OutboxRow] = msgspec.field(default_factory=list)
    transitions: list[Transition] = msgspec.field(default_factory=list)
    decisions: list[GroupDecision] = msgspec.field(default_factory=list)
    rejects: list[Reject] = msgspec.field(default_factory=list)  # samples are redacted
    foreign: list[Foreign] = msgspec.field(default_factory=list)  # same
    obscure: list[Obscure] = msgspec.field(default_factory=list)  # same
    lines: int = 0
    event_lines: int = 0
    pieces: int = 0
    ignored: int = 0
    bytes: int = 0
    events: int = 0
    future: int = 0
    bad_times: int = 0
    undated: int = 0
    own_fields: int = 0
    late: dict[str, Late] = msgspec.field(default_factory=dict)
    read_to: dict[int, int] = msgspec.field(default_factory=dict)
    seconds: float = 0.0


class Core:
    """Parser, meter, rule engine and notifier in the order in which an event meets them.

    With `shadow` every message is decided on and recorded as ended, so that nobody sends it.
    `engine` makes what takes the events.
    """

    def __init__(
        self, config: Config, *, shadow: bool = False, stopwatch: Callable[[], float] = float,
        engine: Callable[..., Engine] = Engine,
    ) -> None:  # fmt: skip
        named = config.directory is None and any(map(mails_owner, config.receivers.values()))
        self.redactor = Redactor(config.redact, keeps_owner=named)
        self.meter = Meter(
            config.metrics,
            named=[rule.match for rule in config.rules if not rule.about_us]
            + [m.match for m in config.metrics],
            providers=config.providers(),
            labels=self.redactor.labels,
            retention=config.series_retention,
        )
        self.engine = engine(
            config.judged,
            redact=self.redactor.kept,
            labels=self.redactor.labels,
            stale_after=config.stale_after,
            stopwatch=stopwatch,
        )
        self.drift = Drift(config.judged, [one.match for one in config.metrics if one.match])
        self.parser = Parser(config.patterns)
        mutes = Mutes(config.inhibit_rules, config.time_intervals)
        self._trail = Trail(self.redactor)
        self.notifier = Notifier(
            config.route, config.receivers, self.redactor, self._current,
            mutes=mutes, trail=self._trail,
        )  # fmt: skip
        self.positions = Positions()
        self.once: list[Row] = []  # rows that go with the next step, and only with that
        self.complete = False  # the last batch left nothing unread
        self.reached: dict[str, float] = {}  # log -> newest event time read from it
        self.heard: dict[str, Heard] = {}  # log -> what was read of it
        self._shadow, self._host = shadow, config.host
        self._step = Step()  # under way
        self._tallies: dict[Triple, Tally] = {}
        self._wanted: dict[Triple, Wanted] = {}
        self._noted: list[Event] = []
        self._ends: list[OutboxRow] = []
        self.rule_time: float | None = None  # where time stands for rules; None before the start

    def restore(self, stored: Stored, now: float) -> None:
        """Go on where the state file ends; `now` (wall clock) dates what starts today."""
        meta = {row.name: row.value for row in stored.load(MetaRow)}
        self.redactor.digest_key = bytes.fromhex(meta.get(HASH_KEY, ""))
        self.meter.restore(stored.load(SeriesRow))
        self.meter.precreate(now)
        self.engine.restore(
            stored.load(RuleRow),
            stored.load(RuleStateRow),
            stored.load(AlertRow),
            stored.load(JournalRow),
            stored.load(FloorsRow),
            now=now,
            last_change=int(meta.get("change", "0")),
            last_step=int(meta.get("step", "0")),
            recheck=meta.get(REDACTION) != self.redactor.fingerprint,
        )
        self.once.append(MetaRow(name=REDACTION, value=self.redactor.fingerprint))
        self.heard = {n.removeprefix(SPOKE): Heard(ever=True) for n in meta if n.startswith(SPOKE)}
        self.notifier.restore(
            stored.load(GroupRow), stored.load(MemberRow), stored.load(ToldRow),
            stored.load(CooldownRow), now,
            untold=meta.get(UNTOLD, "{}"), owners=meta.get(OWNERS, "{}"),
            silences=stored.load(SilenceRow), alerts=self.engine.alerts(),
        )  # fmt: skip
        self._trail.restore(meta.get(AUDIT, "0"))
        self.positions = Positions(stored.load(FileRow))

    def take_over(self, before: "Core") -> None:
        """Go on where another core stopped between two steps: what no row of the state file says.

        Those are the unfinished container lines, how far each log has come, and what was noted.
        """
        self.parser.adopt_open_lines(before.parser)
        self.drift.take_over(before.drift)
        self.complete, self.reached = before.complete, before.reached
        self.heard = before.heard
        self._noted, self._ends = before._noted, before._ends  # noqa: SLF001 - same
        self.once, self.rule_time = [*before.once, *self.once], before.rule_time

    def note(self, events: Sequence[Event]) -> None:
        """Let the next step judge events about the sidecar itself; they count in no series."""
        self._noted += events

    def note_ends(self, rows: Iterable[OutboxRow]) -> None:
        """Let the next step write that these messages ended, and what follows for who knows what.

        They go with the step, because what a message told stands in rows that steps write.
        """
        self._ends += rows

    def _current(self, ident: tuple[str, Key]) -> Alert | None:
        """Return an open alert as it is now, for what is told of it."""
        return self.engine.current(*ident, self.rule_time or 0.0)

    def end(self, name: str, key: Key, now: float, person: str = "") -> bool:
        """End an alert by hand at wall clock `now`; return whether there was one to end."""
        return self.engine.end(name, key, at=now, now=now, person=person)

    def step(self, read: ReadBatch, now: float) -> Step:
        """Take and finish a whole read (without chunks: a tick) at wall clock `now`."""
        self.resume(read.resume)
        for chunk in read.chunks:
            self.take(chunk, now)
        return self.finish(read, now)

    def resume(self, chunks: Iterable[Chunk]) -> None:
        """Rebuild lines that were unfinished at the last stop; what was counted stays so."""
        for chunk in chunks:
            self.parser.resume(replace(chunk, host=self._host or chunk.host))

    def take(self, chunk: Chunk, now: float, alone: Parsed | None = None) -> None:
        """Parse, count and judge one chunk; `alone`: what was parsed of it beforehand."""
        chunk = replace(chunk, host=self._host or chunk.host)
        parsed = self.parser.parse(chunk, now=now, wanted=self.wants, alone=alone)
        self._judge(chunk, parsed, now)

    def finish(self, read: ReadBatch, now: float) -> Step:
        """Let time pass and people be told; return all that the chunks taken since come to."""
        for chunk, parsed in self.parser.end_open(now, self.wants, read.lagging):
            self._judge(chunk, parsed, now)
        step, self._step = self._step, Step()
        tallies, self._tallies = self._tallies, {}
        for triple, tally in tallies.items():
            self.meter.add_tally(triple, tally.count, now)
            self.engine.observe_tally(triple, tally.count, tally.last_at)
            step.events += tally.count
        for event in self._noted:
            self.engine.observe(event, read_at=now)
        self._noted.clear()
        self._tick(read, now)
        self.meter.add_states(self.engine.drain_state_counts(), now)
        step.series = self.meter.drain(now)
        step.delta = Delta(
            rows=[*self.positions.place(read.rows), *step.series, *self.once],
            gone=[*read.gone, *self._forget(read.forgotten), *self.meter.drain_gone()],
        )
        self.once = []
        self._tell(step, now, caught_up=read.caught_up)
        return step

    def pass_time(self, now: float) -> Step:
        """Judge what the engine has seen, on a clock that stands at `now`, as replays do.

        Nothing is counted, placed or stored, and nothing is ever left unread.
        """
        self.complete, self.rule_time = True, now
        self.engine.tick(now, now=now, complete=True)
        step = Step()
        self._tell(step, now, caught_up=True, at_once=True)
        return step

    def take_ends(self, now: float) -> Delta:
        """Return the rows for what `note_ends` was given, for when there is no step any more."""
        delta = Delta(rows=[*self._take_ends(now)])
        delta.extend(self.notifier.drain().delta)
        delta.rows += self._trail.drain()
        return delta

    def _tell(self, step: Step, now: float, *, caught_up: bool, at_once: bool = False) -> None:
        """Let the notifier decide about what the rules brought up, and the ends of its messages.

        `at_once`: each message counts as accepted as soon as it is decided on.
        """
        step.delta.rows += self._take_ends(now)
        judged = self.engine.drain(caught_up=caught_up, stored=not at_once)
        self._trail.record(judged.transitions, judged.delta.rows, now)
        self.notifier.add(judged.transitions, now)
        self.notifier.flush(now, caught_up=caught_up, at_once=at_once or self._shadow)
        told = self.notifier.drain()
        step.transitions, step.decisions = judged.transitions, told.decisions
        step.delta.extend(judged.delta)
        step.delta.extend(told.delta)
        step.delta.rows += self._trail.drain()
        if self._shadow:
            step.withheld = [replace(row, outcome=SHADOW, claimed_at=None) for row in told.outbox]
        else:
            step.outbox = told.outbox
        step.delta.rows += [*step.outbox, *step.withheld]

    def _take_ends(self, now: float) -> list[OutboxRow]:
        ends, self._ends = self._ends, []
        for row in ends:
            self.notifier.end(row, now)
        return ends

    def pass_over(self, chunk: Chunk) -> None:
        """Leave a chunk unread for good, and with it what was unfinished in its log."""
        self.parser.drop(chunk.log)
        self.positions.note(chunk, None)

    def next_deadline(self) -> float | None:
        """Return the wall clock at which the next step is due even if nothing is read."""
        of_rules = self.engine.next_deadline(complete=self.complete)
        due = (of_rules, self.notifier.next_deadline(), self.parser.due)
        return min((at for at in due if at is not None), default=None)

    def lag_seconds(self, log: str, now: float) -> float:
        """Return how far behind `now` the newest event read from `log` lies, 0 if none was."""
        return max(0.0, now - self.reached.get(log, now))

    def wants(self, triple: Triple) -> Wanted:
        """Return whether a metric or a rule needs this triple's events, and which fields."""
        found = self._wanted.get(triple)
        if found is None:
            if len(self._wanted) >= _MOST_TRIPLES:
                self._wanted.clear()
            found = self._wanted[triple] = self._wants(triple)
        return found

    def _wants(self, triple: Triple) -> Wanted:
        needs = self.engine.wants(triple) or self.meter.wants(triple)
        if not needs:
            return False
        asking = (self.engine, self.meter, self.drift)
        names = frozenset[str]().union(*(one.looks_at(triple) for one in asking))
        return Fields(tuple(sorted(names)), needs if isinstance(needs, tuple) else ())

    def parse_alone(self, chunk: Chunk, now: float) -> Parsed | None:
        """Return what `chunk` holds if that can be told from it alone, else None."""
        return self.parser.parse_alone(chunk, now=now, wanted=self.wants)

    def _judge(self, chunk: Chunk, parsed: Parsed, now: float) -> None:
        """Count and judge what one chunk holds; what is only tallied is added up for the step.

        Dozens of chunks hold the same few triples: to count each once a step is cheaper.
        """
        step, tallies = self._step, self._tallies
        for triple, tally in parsed.tallies.items():
            total = tallies.setdefault(triple, tally)
            if total is not tally:
                total.count += tally.count
                total.last_at = max(total.last_at, tally.last_at)
        columns = self.parser.columns_of(chunk, parsed)
        self.meter.add_all(columns, now)
        self.drift.note(columns, parsed.tallies)
        line_of = self._line_of(chunk, parsed, columns)
        self.engine.observe_all(columns, read_at=now, line_of=line_of)
        if parsed.last_at is not None:
            self.reached[chunk.log] = max(parsed.last_at, self.reached.get(chunk.log, 0.0))
        self._hear(chunk.log, parsed, now)
        if (late := parsed.late(now, chunk.zone)) is not None:
            step.late[chunk.log] = late
        for name in _SUMMED:
            setattr(step, name, getattr(step, name) + getattr(parsed, name))
        step.events += len(columns)
        step.bytes += len(chunk.data)
        step.read_to[chunk.file] = chunk.start + len(chunk.data)
        step.rejects += [self._redacted(reject) for reject in parsed.rejects]
        step.foreign += [self._redacted(foreign) for foreign in parsed.foreign]
        step.obscure += [self._redacted(obscure) for obscure in parsed.obscure]
        self.positions.note(chunk, parsed.open_from)

    def _hear(self, log: str, parsed: Parsed, now: float) -> None:
        """Note what was read of a log; that an event ever was, also for the next start."""
        heard = self.heard.setdefault(log, Heard())
        heard.lines += parsed.lines
        heard.event_lines += parsed.event_lines
        if parsed.lines:
            heard.last_line_at = now
            heard.first_line_at = heard.first_line_at or now
        if parsed.last_at is not None:
            heard.last_event_at = max(parsed.last_at, heard.last_event_at or 0.0)
            if not heard.ever:
                heard.ever = True
                self.once.append(MetaRow(name=SPOKE + log, value=str(now)))

    def _forget(self, logs: Sequence[str]) -> list[Gone]:
        """Drop what was heard of logs that are no more."""
        heard = [log for log in logs if self.heard.pop(log, None)]
        return [Gone(MetaRow, (SPOKE + log,)) for log in heard]

    def _line_of(self, chunk: Chunk, parsed: Parsed, columns: Columns) -> LineOf:
        """Return what finds the line of each of the events; little is done until it is asked."""
        lines = Lines(chunk, parsed)

        def line_of(event: Event) -> Evidence | None:
            number = columns.number_of(event)
            place = -1 if number is None else parsed.places[number]
            found = lines.line_at(place)
            if found is None:
                return None
            offset, line = found
            shown = without_secrets(line.decode(errors="replace"), event.fields, self.redactor)
            return Evidence(printable(chunk.log), offset, shown)

        return line_of

    def _tick(self, batch: ReadBatch, now: float) -> None:
        """Let rule time pass: the wall clock when no log lags, else what the slowest one reached.

        A log that lags and has shown no event yet could hold any time: then nothing may expire.
        One that is missing or cannot be read holds up no deadline, only the verdict on absence.
        """
        self.complete = batch.caught_up
        if not batch.lagging:
            self.rule_time = now
            self.engine.tick(now, now=now, complete=batch.caught_up)
            return
        known = [self.reached[log] for log in batch.lagging if log in self.reached]
        if len(known) == len(batch.lagging):
            self.rule_time = min(now, *known)
            self.engine.tick(self.rule_time, now=now, complete=batch.caught_up)

    def _redacted(self, line: _Sampled) -> _Sampled:
        return replace(line, sample=self.redactor.sample(line.sample))


class Positions:
    """Where each file's oldest unfinished Docker or CRI line begins, for the rows of files.

    The reader knows how far a file is read, the parser which lines are still in pieces; a row
    needs both. Pieces may span a rotation: an older file stays noted until a newer file of its
    log has nothing open any more.
    """

    def __init__(self, stored: Iterable[FileRow] = ()) -> None:
        self._open = {row.id: row for row in stored if row.open_from < row.offset}
        self._found: dict[int, int | None] = {}
        self._finished: set[str] = set()

    def note(self, chunk: Chunk, open_from: int | None) -> None:
        """Note what parsing `chunk` left open: a position in its file, or None."""
        self._found[chunk.file] = open_from
        if open_from is None:
            self._finished.add(chunk.log)
        else:
            self._finished.discard(chunk.log)

    def place(self, rows: Iterable[FileRow]) -> list[FileRow]:
        """Return this step's `rows` with `open_from` set, and rows of files completed by it."""
        moved = {row.id: row for row in rows}
        done = {row.id: row for row in self._open.values() if row.log in self._finished} | {
            row.id: row for row in self._open.values() if row.id in moved
        }
        placed = [self._placed(row) for row in (done | moved).values()]
        for row in placed:
            noted = self._open.pop(row.id, row)
            if row.open_from < row.offset:
                # The time of the row that first said so.
                since = noted.last_seen if noted.open_from == row.open_from else row.last_seen
                self._open[row.id] = replace(row, last_seen=since)
        self._found.clear()
        self._finished.clear()
        return placed

    def waiting(self, log: str, now: float) -> tuple[int, float]:
        """Return how many bytes of `log` are in unfinished lines, and for how many seconds."""
        rows = [row for row in self._open.values() if row.log == log]
        size = sum(row.offset - row.open_from for row in rows)
        return size, max((now - row.last_seen for row in rows), default=0.0)

    def _placed(self, row: FileRow) -> FileRow:
        noted = self._open.get(row.id)
        before = noted.open_from if noted and row.log not in self._finished else None
        start = self._found.get(row.id, before)
        return replace(row, open_from=row.offset if start is None else min(start, row.offset))
