"""Taking up stored rows: what still belongs to its rule lives on, the rest is closed.

The front door of the rules: events and time in; changed rows and alert transitions out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from sidecar.parse.event import Event, Run, Triple
from sidecar.rows import AlertRow, Delta, FloorsRow, Gone, MetaRow, RuleRow, RuleStateRow
from sidecar.rules.alert import (
    Alert,
    OpenAlert,
    Phase,
    Redact,
    Transition,
    TransitionKind,
    TransitionLog,
)
from sidecar.rules.index import Index
from sidecar.rules.keys import Keys
from sidecar.rules.keystate import (
    AbsentKey,
    KeyState,
    alert_row,
    by_key,
    key_of,
    load_alert,
    load_state,
    state_row,
)
from sidecar.rules.program import CompiledRule
from sidecar.rules.rule import Key, Rule
from sidecar.rules.windows import NEVER

_DAMAGED = (msgspec.MsgspecError, ValueError, TypeError)


class Restored(msgspec.Struct):
    """`delta`: rows that no longer hold or are new. `closed`: firing alerts without their rule."""

    delta: Delta = msgspec.field(default_factory=Delta)
    closed: list[tuple[str, Key, OpenAlert]] = msgspec.field(default_factory=list)


def restore(
    programs: Mapping[str, CompiledRule],
    keys: Keys,
    rules: Sequence[RuleRow],
    state: Sequence[RuleStateRow],
    alerts: Sequence[AlertRow],
    *,
    floors: Sequence[FloorsRow],
    now: float,
) -> Restored:
    """Fill `keys` from the rows of rules that did not change; `now` is the wall clock."""
    out = Restored()
    kept = _keep_rules(programs, rules, out.delta, now)
    for row in state:
        if not _take_state(kept, keys, row):
            out.delta.gone.append(Gone(RuleStateRow, (row.rule, row.by_key)))
    for alert in alerts:
        if not _take_alert(kept, keys, alert):
            out.delta.gone.append(Gone(AlertRow, (alert.rule, alert.by_key)))
            out.closed += _closing(alert)
    keys.floors.restore(floors, kept)
    for program in programs.values():
        keys.end_doubled_floors(program)
        if program.absent and not program.by and keys.get(program, ()) is None:
            keys.begin(program, (), program.since)
    keys.after_restoring()
    return out


def _keep_rules(
    programs: Mapping[str, CompiledRule], rules: Sequence[RuleRow], delta: Delta, now: float
) -> dict[str, CompiledRule]:
    """Return the programs whose rows may be taken up, and give every program its `since`."""
    stored = {row.rule: row for row in rules}
    kept: dict[str, CompiledRule] = {}
    for name, program in programs.items():
        row, signature = stored.pop(name, None), program.rule.signature
        if row is not None and row.signature == signature:
            program.since = row.since
            kept[name] = program
        else:
            program.since = now
            delta.rows.append(RuleRow(rule=name, signature=signature, since=now))
    delta.gone += [Gone(RuleRow, (name,)) for name in stored]
    return kept


def _take_state(kept: Mapping[str, CompiledRule], keys: Keys, row: RuleStateRow) -> bool:
    program = kept.get(row.rule)
    if program is None:
        return False
    try:
        key = key_of(row.by_key)
        empty = keys.make(program, key, program.since)
        load_state(empty, row)
    except _DAMAGED:
        return False
    empty.stored = True
    keys.adopt(empty)
    return True


def _take_alert(kept: Mapping[str, CompiledRule], keys: Keys, row: AlertRow) -> bool:
    program = kept.get(row.rule)
    state = _state_of(program, keys, row) if program else None
    if program is None or state is None:
        return False
    try:
        alert = load_alert(row)
    except _DAMAGED:
        return False
    if alert.steps != program.steps_digest:
        # Steps were edited: their places mean something else now. Reached ones are reached anew.
        alert.reached, alert.steps = [], program.steps_digest
    state.alert, state.stored_alert = alert, True
    return True


def _state_of(program: CompiledRule, keys: Keys, row: AlertRow) -> KeyState | None:
    try:
        return keys.get(program, key_of(row.by_key))
    except _DAMAGED:
        return None


def _closing(row: AlertRow) -> Iterator[tuple[str, Key, OpenAlert]]:
    try:
        key, alert = key_of(row.by_key), load_alert(row)
    except _DAMAGED:
        return
    if alert.phase is not Phase.PENDING:
        yield row.rule, key, alert


MAX_KEYS = 100_000
CHANGE = "change"  # the MetaRow that keeps the last change number


class EngineDelta(msgspec.Struct):
    """What changed since the last drain: each row at most once, and the transitions in order."""

    delta: Delta
    transitions: list[Transition]


class Engine:
    """Evaluates `rules`. Call `restore` once before anything else, also with nothing to restore.

    `redact` makes an event's fields fit to be stored and told; `stale_after` in seconds: older
    events mark what they cause as stale. `max_keys`: keys a rule may track at a time; events of
    further keys are counted in `overflow`.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        redact: Redact,
        stale_after: float,
        max_keys: int = MAX_KEYS,
    ) -> None:
        self._programs = [CompiledRule(rule, order) for order, rule in enumerate(rules)]
        self._by_name = {program.rule.name: program for program in self._programs}
        self._index = Index(self._programs)
        self._journal = TransitionLog(redact)
        self._keys = Keys(self._programs, self._journal, max_keys)
        self._stale_after = stale_after
        self._delta = Delta()
        self._change_stored = 0
        for program in self._programs:
            self._journal.enlist(program)

    def restore(
        self,
        rules: Sequence[RuleRow],
        state: Sequence[RuleStateRow],
        alerts: Sequence[AlertRow],
        floors: Sequence[FloorsRow] = (),
        *,
        now: float,
        last_change: int = 0,
    ) -> None:
        """Take up what an earlier engine left in its rows, `now` being the wall clock.

        A rule with an unchanged signature keeps its state; another starts empty, and its firing
        alerts close. `last_change`: the value of MetaRow "change", 0 when there is none.
        """
        self._journal.begin(now=now, stale=False)
        self._journal.last_change = max([last_change, *(row.change for row in alerts)])
        self._change_stored = last_change
        found = restore(self._by_name, self._keys, rules, state, alerts, floors=floors, now=now)
        self._delta.extend(found.delta)
        for name, key, alert in found.closed:
            self._journal.write(TransitionKind.CLOSED, name, key, alert, now)
        for key_state in self._keys:
            self._journal.gauge_add(key_state.alert, 1)

    def wants(self, triple: Triple) -> bool:
        """Return whether some rule needs the events of `triple` whole; else tallies will do."""
        return self._index.wants(triple)

    def observe_all(self, runs: Iterable[Run], *, read_at: float) -> None:
        """Process events in their order, as `observe` does each.

        Those that only resolve, and a key that never failed, are through with one Python call.
        """
        for triple, run in runs:
            program = self._index.resolved(triple)
            for event in run if program is None else self._keys.floors.raised(program, run):
                self.observe(event, read_at=read_at)

    def observe(self, event: Event, *, read_at: float) -> None:
        """Process an event that was read at wall clock `read_at`."""
        journal = self._journal
        journal.begin(now=read_at, stale=read_at - event.at > self._stale_after)
        for program, _, resolves in self._index.concerned(event):
            state = self._resolve(program, event) if resolves else self._take(program, event)
            if state is not None:
                self._keys.after_event(state)

    def _take(self, program: CompiledRule, event: Event) -> KeyState | None:
        key = program.key_of(event)
        samples = program.samples(event)
        state = self._keys.get(program, key)
        if state is None:
            floor = self._keys.floors.get(program, key)
            if event.at <= floor if floor is not None else not samples:
                return None
            state = self._keys.begin(program, key, event.at)
        if state is not None:
            state.take(event, samples)
        return state

    def _resolve(self, program: CompiledRule, event: Event) -> KeyState | None:
        key = program.key_of(event)
        state = self._keys.get(program, key)
        if state is None and program.keeps_bare_keys:
            self._keys.forget(program, key, event.at)
            return None
        if state is None and not program.absent:
            # Remembered, so that a failure which arrives late does not count after all.
            state = self._keys.begin(program, key, event.at)
        if state is None:
            return None
        state.resolve(event)
        if program.keeps_bare_keys and state.is_bare():
            self._keys.lay_bare(state)
            return None
        return state

    def observe_tally(self, triple: Triple, count: int, last_at: float) -> None:
        """Process `count` events of a triple that no rule wants whole, the newest at `last_at`."""
        if count < 1:
            return
        event = Event(*triple, at=last_at, fields={})
        for program in self._index.tallied(triple):
            state = self._keys.get(program, ())
            if isinstance(state, AbsentKey):
                state.count(last_at, program.samples(event))
                self._keys.after_event(state)

    def tick(self, t: float, *, now: float, complete: bool) -> None:
        """Let the deadlines up to rule time `t` happen, in time order; `now` is the wall clock.

        Absence is judged only when `complete`: every source readable and read to its end. Where
        rule time itself lags more than `stale_after` behind, what happens is stale.
        """
        self._journal.begin(now=now, stale=now - t > self._stale_after)
        self._keys.floors.expire(t)
        while (due := self._keys.next_due(complete=complete)) <= t:
            state = self._keys.pop(complete=complete)
            if state is not None:
                state.run(due)
                self._keys.after_deadline(state, due)

    def next_deadline(self, *, complete: bool = True) -> float | None:
        """Return the rule time of the next thing to do; without `complete`, absences aside."""
        due = min(self._keys.next_due(complete=complete), self._keys.floors.next_due())
        return None if due == NEVER else due

    def end(self, name: str, key: Key, *, at: float, now: float) -> bool:
        """End a firing alert by hand at rule time `at`; return whether there was one."""
        program = self._by_name.get(name)
        state = self._keys.get(program, key) if program else None
        if state is None or state.alert is None:
            return False
        self._journal.begin(now=now, stale=False)
        state.end(at)
        self._keys.after_event(state)
        return True

    def drain(self) -> EngineDelta:
        """Return the rows changed and the transitions made since the last drain."""
        delta, self._delta = self._delta, Delta()
        for state, lives in self._keys.take_changed():
            self._write(state, delta, lives=lives)
        self._keys.floors.drain(delta)
        if self.last_change != self._change_stored:
            self._change_stored = self.last_change
            delta.rows.append(MetaRow(name=CHANGE, value=str(self.last_change)))
        return EngineDelta(delta, self._journal.take_transitions())

    def _write(self, state: KeyState, delta: Delta, *, lives: bool) -> None:
        place = (state.program.rule.name, by_key(state.key))
        if lives:
            delta.rows.append(state_row(state))
        elif state.stored:
            delta.gone.append(Gone(RuleStateRow, place))
        if state.alert is not None:
            delta.rows.append(alert_row(state, state.alert, self._journal.redact))
        elif state.stored_alert:
            delta.gone.append(Gone(AlertRow, place))
        state.stored, state.stored_alert = lives, state.alert is not None

    @property
    def eventful(self) -> bool:
        """Return whether there are transitions since the last drain."""
        return bool(self._journal.transitions)

    @property
    def last_change(self) -> int:
        """The greatest change number given out so far."""
        return self._journal.last_change

    @property
    def overflow(self) -> dict[str, int]:
        """Events not judged because their rule tracks as many keys as it may, by rule."""
        return {p.rule.name: p.overflow for p in self._programs if p.overflow}

    @property
    def not_numbers(self) -> dict[str, int]:
        """Values that were no number where a rule needs one, by rule."""
        return {p.rule.name: p.not_numbers for p in self._programs if p.not_numbers}

    @property
    def bad_instants(self) -> dict[str, int]:
        """Values that were no instant where an open alert's step escalates at one, by rule."""
        return {p.rule.name: p.bad_instants for p in self._programs if p.bad_instants}

    def take_states(self) -> dict[tuple[str, str], int]:
        """Return by how many keys each (alertname, state) of a `last()` rule grew since last time.

        The first call after `restore` gives the whole numbers, 0 for states that rules name.
        """
        return self._keys.census.take()

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Return how many alerts are open by (alertname, severity, state); 0 for known rules."""
        return dict(self._journal.gauge)

    def alerts(self) -> Iterator[Alert]:
        """Yield a snapshot of each pending and firing alert."""
        for state in self._keys:
            if state.alert is not None:
                yield state.alert.snapshot(state.program.rule.name, state.key, self._journal.redact)
