"""The rules' place in a member that reads: what they need of its events goes to whoever judges."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import is_not
from typing import Any, NamedTuple

import msgspec

from sidecar.parse.columns import Columns
from sidecar.parse.event import HOST, STANDARD_FIELDS, Event, Kind, Triple, as_text, field_value
from sidecar.redact import LabelsOf
from sidecar.redact.shapes import well_formed
from sidecar.rows import BatchRow, BeatRow, Delta
from sidecar.rules.alert import Evidence, LineOf, Redact
from sidecar.rules.engine import Engine, EngineDelta
from sidecar.rules.rule import Rule
from sidecar.rules.transitions import no_line

BEAT_SECONDS = 2.0
_NEAR = 5.0  # seconds, by which clocks may differ
_LEVEL = 1  # of zlib: events are so much alike that more effort saves little


class Packed(NamedTuple):
    """An event as it is handed over, redacted, and its line: file, place there and text."""

    triple: Triple
    at: float
    fields: dict[str, Any]
    line: tuple[str, int, str] | None = None

    @property
    def event(self) -> Event:
        return Event(*self.triple, self.at, self.fields)

    @property
    def evidence(self) -> Evidence | None:
        return None if self.line is None else Evidence(*self.line)


class Tallied(NamedTuple):
    """So many events of a triple, the newest at `last_at`: rules need no more of them."""

    triple: Triple
    number: int
    last_at: float


class Batch(NamedTuple):
    """What rules need of one step of a host."""

    events: list[Packed]
    tallies: list[Tallied]


def packed(batch: Batch) -> bytes:
    try:
        encoded = msgspec.msgpack.encode(batch)
    except UnicodeEncodeError:  # half a surrogate in a name, or in a standard field
        encoded = msgspec.msgpack.encode(_formed(msgspec.to_builtins(batch)))
    return zlib.compress(encoded, _LEVEL)


def unpacked(data: bytes) -> Batch:
    """Raises ValueError for what is damaged."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(data), type=Batch)
    except (zlib.error, msgspec.MsgspecError) as wrong:
        raise ValueError(str(wrong)) from wrong


def _formed(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, Mapping):
        return {well_formed(str(name)): _formed(one) for name, one in value.items()}
    return list(map(_formed, value)) if isinstance(value, list | tuple) else value


class Courier(Engine):
    """Takes events as an engine does, and hands on those that concern rules; it has no alerts.

    `host` is this member's name, `before` how far it had come. Matching sees there what is handed
    on: fields are redacted, and those by which rules tell keys apart have a digest where they are.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        redact: Redact,
        labels: LabelsOf,
        host: str,
        before: BeatRow | None,
        **more: Any,
    ) -> None:
        super().__init__(rules, redact=redact, labels=labels, **more)
        self._redact, self._labels, self._host = redact, labels, host
        self._beat = before or BeatRow(host, 0, None, caught_up=False)
        self._beaten = 0.0  # wall clock of the last beat
        self._now = 0.0
        self._reached: float | None = None
        self.ahead = 0.0  # of the database's clock, by so many seconds
        self._names: dict[Triple, list[str]] = {}
        self._events: list[Packed] = []
        self._tallies: dict[Triple, Tallied] = {}

    def restore(self, *_rows: Any, **_more: Any) -> None:
        """Take up nothing: there is no state of rules here."""

    def observe_all(self, columns: Columns, *, read_at: float, line_of: LineOf = no_line) -> None:
        del read_at
        wanted = set[int]()
        for compiled, runs in self._judge.of(columns).items():
            for run in runs:
                if compiled.tallied and run.places:
                    triple = columns.triples[run.places[0]]
                    self.observe_tally(triple, len(run.places), max(run.times))
                else:
                    wanted.update(run.places)
        self._events += (self._packed(columns.event(place), line_of) for place in sorted(wanted))

    def observe_tally(self, triple: Triple, count: int, last_at: float) -> None:
        if any(self._index.tallied(triple)):
            known = self._tallies.get(triple, Tallied(triple, 0, last_at))
            newest = max(known.last_at, last_at)
            self._tallies[triple] = Tallied(triple, known.number + count, newest)

    def tick(self, t: float, *, now: float, complete: bool) -> None:
        """Note up to which time this member has read."""
        del complete
        self._reached, self._now = t, now

    def next_deadline(self, *, complete: bool = True) -> float | None:
        """Return when the next beat is due."""
        del complete
        return self._beaten + BEAT_SECONDS

    def drain(self, *, caught_up: bool = True, stored: bool = True) -> EngineDelta:
        """Return what is to be handed on, and a beat where one is due."""
        del stored
        batch, self._events, self._tallies = (
            Batch(self._events, [*self._tallies.values()]), [], {},
        )  # fmt: skip
        delta = Delta()
        step = self._beat.step
        if batch.events or batch.tallies:
            step += 1
            delta.rows.append(BatchRow(self._host, step, packed(batch)))
        reached = self._reached
        if reached is not None and caught_up and abs(self.ahead) > _NEAR:
            reached -= self.ahead
        beat = BeatRow(self._host, step, reached, caught_up)
        due = abs(self._now - self._beaten) >= BEAT_SECONDS
        if delta or due or (caught_up, beat.here) != (self._beat.caught_up, self._beat.here):
            self._beat, self._beaten = beat, self._now
            delta.rows.append(beat)
        return EngineDelta(delta, [])

    def farewell(self) -> Delta:
        """Return what says that this member stops in order."""
        return Delta(rows=[msgspec.structs.replace(self._beat, here=False)])

    def drain_state_counts(self) -> dict[tuple[str, str], int]:
        return {}

    def counts(self) -> dict[tuple[str, str, str], int]:
        return {}

    def _packed(self, event: Event, line_of: LineOf) -> Packed:
        fields = self._redact(event.fields)
        if fields != event.fields:
            fields.update(self._told_apart(event, fields))
        fields[HOST] = self._host
        line, place = line_of(event), None
        if line is not None:
            place = msgspec.structs.astuple(_of_host(self._host, line))
        return Packed(event.triple, event.at, fields, place)

    def _told_apart(self, event: Event, shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield the fields that rules look at and redaction changed, as labels: two stay two."""
        for name in self._named(event.triple):
            text = as_text(field_value(event.fields, name))
            if text != as_text(field_value(shown, name)):
                yield name, self._labels(name)[text]

    def _named(self, triple: Triple) -> Iterable[str]:
        if triple not in self._names:
            if len(self._names) >= _MOST_TRIPLES:
                self._names.clear()
            self._names[triple] = [name for name in self.looks_at(triple) if " " not in name]
        return self._names[triple]


_MOST_TRIPLES = 10_000  # remembered


def _of_host(host: str, line: Evidence) -> Evidence:
    """Return a line whose file is told by its host as well."""
    return msgspec.structs.replace(line, file=f"{host}:{line.file}")


class Alone(Engine):
    """The rules of a host that is alone: they see of events what those of several hosts see.

    Else an alert would end, or begin, by another host's coming.
    """

    def __init__(self, rules: Sequence[Rule], *, labels: LabelsOf, host: str, **more: Any) -> None:
        super().__init__(rules, labels=labels, **more)
        self._labels, self._host = labels, host

    def observe_all(self, columns: Columns, *, read_at: float, line_of: LineOf = no_line) -> None:
        def later(number: int) -> Callable[[], Event]:
            made = columns.later(number)
            return lambda: self._hidden(made())

        kinds = [self._shown(columns, kind) for kind in columns.kinds]
        shown = columns
        if any(map(is_not, kinds, columns.kinds)):
            shown = Columns(kinds, columns.times, later, columns.own)

        def line(event: Event) -> Evidence | None:
            number = shown.number_of(event)
            found = None if number is None else line_of(columns.event(number))
            return found and _of_host(self._host, found)

        super().observe_all(shown, read_at=read_at, line_of=line)

    def _shown(self, columns: Columns, kind: Kind) -> Kind:
        """Return a kind with what is hidden in its fields as labels; itself if nothing is."""
        changed: dict[str, list[Any] | None] = {}
        for name in self._asked(kind.triple):
            values = None if name in columns.own else columns.values(kind, name)
            if values is not None and (labels := self._as_labels(name, values)) != values:
                changed[name] = labels
        return Kind(kind.triple, kind.numbers, {**kind.fields, **changed}) if changed else kind

    def _as_labels(self, name: str, values: Sequence[Any]) -> list[Any]:
        kept = self._labels(name)
        if set(map(type, values)) == {str}:
            return kept.of_all(values)
        texts = map(as_text, values)
        return [
            v if kept[text] == text else kept[text] for v, text in zip(values, texts, strict=True)
        ]

    def _hidden(self, event: Event) -> Event:
        names = self._asked(event.triple)
        values = {name: event.get(name) for name in names}
        shown = {name: self._as_labels(name, [value])[0] for name, value in values.items()}
        changed = {name: value for name, value in shown.items() if value != values[name]}
        return msgspec.structs.replace(event, fields={**event.fields, **changed})

    def _asked(self, triple: Triple) -> Iterator[str]:
        names = self.looks_at(triple).difference(STANDARD_FIELDS)
        return (name for name in names if " " not in name)
