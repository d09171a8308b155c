"""The front door of the rules: events and time in; changed rows and alert transitions out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial

import msgspec

from sidecar.parse.columns import Columns
from sidecar.parse.event import STANDARD_FIELDS, Event, Triple
from sidecar.redact import LabelsOf, Redactor
from sidecar.rows import (
    AlertRow,
    Delta,
    FloorsRow,
    Gone,
    JournalRow,
    MetaRow,
    RuleRow,
    RuleStateRow,
)
from sidecar.rules.absence import AbsentKey, silence_of
from sidecar.rules.alert import (
    Alert,
    AlertState,
    LineOf,
    Redact,
    Transition,
    TransitionKind,
    outside,
)
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.guard import Samples
from sidecar.rules.identity import signature
from sidecar.rules.index import Index
from sidecar.rules.journal import Journal
from sidecar.rules.keys import Keys
from sidecar.rules.keystate import KeyState
from sidecar.rules.pair import Halves
from sidecar.rules.restore import alert_row, by_key, restore, state_row
from sidecar.rules.rule import Key, Rule
from sidecar.rules.transitions import TransitionLog, no_line
from sidecar.rules.verdict import Judge, Run, Verdict
from sidecar.rules.windows import LONG_AGO, NEVER

MAX_KEYS = 100_000
# Alerts that fire on and whose rows a step writes in their turn: each costs a redaction. With much
# to read there are better things to do.
_MOST_IN_TURN, _MOST_BEHIND = 25, 5
_Look = Callable[[int, Verdict], None]
CHANGE = "change"  # the MetaRow that keeps the last change number


class EngineDelta(msgspec.Struct):
    """What changed since the last drain: each row at most once, and the transitions in order."""

    delta: Delta
    transitions: list[Transition]


class Extent(msgspec.Struct, frozen=True):
    """How many keys a rule knows, the rule time of its next deadline, what it has cost.

    `seconds`: of judging since the start. `key_bytes`: what its earlier windows take of each key at
    most; 0 for a rule without `offset`.
    """

    keys: int = 0
    next_deadline: float | None = None
    seconds: float = 0.0
    key_bytes: int = 0


class Engine:
    """Evaluates `rules`. Call `restore` once before anything else, also with nothing to restore.

    `redact` makes an event's fields fit to be stored and told, `labels` a text that becomes a key
    or a state; matching sees both as they were logged. `stale_after` in seconds: older events mark
    what they cause as stale. `max_keys`: keys a rule may track at a time; for further ones those
    least near to firing are forgotten. `stopwatch` gives seconds, to know what rules cost.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        redact: Redact,
        labels: LabelsOf | None = None,
        stale_after: float,
        max_keys: int = MAX_KEYS,
        stopwatch: Callable[[], float] = float,
    ) -> None:
        labels = labels or Redactor().labels
        self._compiled_rules = [CompiledRule(r, order, labels) for order, r in enumerate(rules)]
        self._by_name = {compiled.rule.name: compiled for compiled in self._compiled_rules}
        self._index = Index(self._compiled_rules)
        self._transition_log = TransitionLog(redact)
        self._judge = Judge(self._index)
        self._keys = Keys(self._compiled_rules, self._transition_log, max_keys)
        self._journal = Journal(self._compiled_rules, self._keys)
        self._stale_after = stale_after
        self._stopwatch = stopwatch
        self._delta = Delta()
        self._change_stored = 0
        for compiled in self._compiled_rules:
            self._transition_log.enlist(compiled)

    def restore(
        self,
        rules: Sequence[RuleRow],
        state: Sequence[RuleStateRow],
        alerts: Sequence[AlertRow],
        journal: Sequence[JournalRow] = (),
        floors: Sequence[FloorsRow] = (),
        *,
        now: float,
        last_change: int = 0,
        last_step: int = 0,
        recheck: bool = False,
    ) -> None:
        """Take up what an earlier engine left in its rows, `now` being the wall clock.

        A rule with an unchanged signature keeps its state; another starts empty, and its firing
        alerts close. `last_change`, `last_step`: the values of MetaRow "change" and "step", 0 when
        there is none. `recheck`: another redaction stored the rows.
        """
        self._transition_log.start_step(now=now, stale=False)
        self._transition_log.last_change = max([last_change, *(row.change for row in alerts)])
        self._change_stored = last_change
        found = restore(
            self._by_name, self._keys, rules, state, alerts, journal=self._journal,
            journal_rows=journal, floors=floors, last_step=last_step, now=now, recheck=recheck,
        )  # fmt: skip
        self._delta.extend(found.delta)
        for name, key, alert in found.closed:
            self._transition_log.write(TransitionKind.CLOSED, name, key, alert, now)
        for regraded in found.regraded:
            self._regrade(regraded, now)
        for key_state in self._keys:
            self._transition_log.count_open(key_state.alert, 1)

    def _regrade(self, state: KeyState, now: float) -> None:
        """Give an open alert the labels that its rule has today; one that fires is routed anew."""
        if (alert := state.alert) is None:
            return
        before = alert.labels
        alert.lay_labels(state.compiled, state.key)
        state.changed = True
        if outside(alert.phase) is AlertState.FIRING:
            name = state.compiled.rule.name
            self._transition_log.write(
                TransitionKind.ESCALATED, name, state.key, alert, now, before=before
            )
        self._keys.after_event(state)

    def looks_at(self, triple: Triple) -> frozenset[str]:
        """Return the fields that say what events of `triple` are to rules, and those of keys."""
        keys = {name for one in self._index.rules_of(triple) for name in one.by}
        return self._index.looks_at(triple) | keys.difference(STANDARD_FIELDS)

    def wants(self, triple: Triple) -> bool:
        """Return whether some rule needs the events of `triple` whole; else tallies will do."""
        return self._index.wants(triple)

    def observe(self, event: Event, *, read_at: float) -> None:
        """Process an event that was read at wall clock `read_at`."""
        self.observe_all(Columns.of([event]), read_at=read_at)

    def observe_all(self, columns: Columns, *, read_at: float, line_of: LineOf = no_line) -> None:
        """Process events in their order, read at wall clock `read_at`; `line_of` knows their lines.

        What cannot change a verdict only comes to wait; every other event is looked at by itself.
        """
        log = self._transition_log
        log.line_of = line_of
        log.begin()
        look = partial(self._look_at, columns, read_at)
        found = self._judge.of(columns)
        begun = self._stopwatch()
        for compiled, runs in found.items():
            self._take(compiled, runs, columns, look)
            begun = self._note_cost(compiled, begun)
        log.put_in_order()
        log.line_of = no_line

    def _count_newest(self, compiled: CompiledRule, runs: Sequence[Run], columns: Columns) -> bool:
        """Let the newest event stand for all, if the rule lives on tallies and has no alert."""
        state = self._keys.get(compiled, ()) if compiled.tallied else None
        if not isinstance(state, AbsentKey) or state.alert is not None:
            return False
        newest, place = max(max(zip(run.times, run.places, strict=True)) for run in runs)
        event = Event(*columns.triples[place], at=newest, fields={})
        state.count(newest, compiled.samples(event))
        self._keys.after_event(state)
        return True

    def _note_first_end(self, compiled: CompiledRule, runs: Sequence[Run]) -> None:
        """Note the first end of all: what lacks one is judged from then on."""
        if compiled.since < NEVER:
            return
        run = self._judge.together(runs)
        each = zip(run.keys, run.times, run.each(), strict=True)
        at = next((at for key, at, verdict in each if verdict.resolves and any(key)), None)
        if at is not None:
            compiled.since = at
            mine = signature(compiled.rule)
            self._delta.rows.append(RuleRow(rule=compiled.rule.name, signature=mine, since=at))

    def _take(
        self, compiled: CompiledRule, runs: Sequence[Run], columns: Columns, look: _Look
    ) -> None:
        """Let one rule take the events that concern it."""
        compiled.last_match = max(compiled.last_match, *(run.last_match() for run in runs))
        waiting = self._keys.waiting[compiled.order]
        if isinstance(waiting, Halves):
            self._note_first_end(compiled, runs)
            waiting.pair_up(runs, columns, look)
            return
        if self._count_newest(compiled, runs, columns):
            return
        run = self._judge.together(runs)
        if taken := self._keys.take_at_once(run):
            run = run.only(range(taken, len(run.keys)))
        if run.keys:
            waiting.take(run, columns, look)

    def _note_cost(self, compiled: CompiledRule, begun: float) -> float:
        """Add to what a rule has cost since `begun`; return the time it is now."""
        now = self._stopwatch()
        compiled.seconds += now - begun
        return now

    def _look_at(self, columns: Columns, read_at: float, place: int, verdict: Verdict) -> None:
        """Judge one event by itself."""
        self._transition_log.place = (place, verdict.compiled.order)
        self._look(columns.event(place), verdict, read_at)

    def _look(self, event: Event, verdict: Verdict, read_at: float) -> None:
        stale = read_at - event.at > self._stale_after
        self._transition_log.start_step(now=read_at, stale=stale)
        compiled = verdict.compiled
        if verdict.resolves:
            state = self._resolve(compiled, event)
        else:
            state = self._match(compiled, event, verdict.samples or compiled.samples(event))
        if state is not None:
            self._keys.after_event(state)

    def _match(self, compiled: CompiledRule, event: Event, samples: Samples) -> KeyState | None:
        key = compiled.key_of(event)
        state = self._keys.get(compiled, key)
        if state is None:
            state = self._keys.create(compiled, key, event.at) if samples else None
        if state is not None:
            state.observe(event, samples)
        return state

    def _resolve(self, compiled: CompiledRule, event: Event) -> KeyState | None:
        key = compiled.key_of(event)
        state = self._keys.get(compiled, key)
        if state is None and not compiled.absent:
            # Remembered, so that a failure which arrives late does not count after all.
            state = self._keys.create(compiled, key, event.at)
        if state is None:
            return None
        state.resolve(event)
        if compiled.keeps_bare_keys and state.is_bare():
            self._keys.lay_bare(state)
            return None
        return state

    def observe_tally(self, triple: Triple, count: int, last_at: float) -> None:
        """Process `count` events of a triple that no rule wants whole, the newest at `last_at`."""
        if count < 1:
            return
        event = Event(*triple, at=last_at, fields={})
        for compiled in self._index.tallied(triple):
            state = self._keys.get(compiled, ())
            compiled.last_match = max(compiled.last_match, last_at)
            if isinstance(state, AbsentKey):
                state.count(last_at, compiled.samples(event))
                self._keys.after_event(state)

    def tick(self, t: float, *, now: float, complete: bool) -> None:
        """Let the deadlines up to rule time `t` happen, in time order; `now` is the wall clock.

        Absence is judged only when `complete`: every source readable and read to its end. Where
        rule time itself lags more than `stale_after` behind, what happens is stale.
        """
        self._transition_log.start_step(now=now, stale=now - t > self._stale_after)
        for waiting in self._keys.waiting:
            waiting.expire(t, complete=complete)
        begun = self._stopwatch()
        while (due := self._keys.next_due(complete=complete)) <= t:
            state = self._keys.pop(complete=complete)
            if state is not None:
                state.meet_deadline(due)
                self._keys.after_deadline(state, due)
                begun = self._note_cost(state.compiled, begun)

    def next_deadline(self, *, complete: bool = True) -> float | None:
        """Return the rule time of the next thing to do; without `complete`, absences aside."""
        ends = [waiting.next_end(complete=complete) for waiting in self._keys.waiting]
        due = min([self._keys.next_due(complete=complete), *ends])
        return None if due == NEVER else due

    @cached_property
    def least_silence(self) -> float:
        """Return how long events may be taken at once, in seconds, and hide no silence."""
        return min(map(silence_of, self._compiled_rules), default=NEVER)

    def next_silence(self) -> float:
        """Return the rule time at which a lack of events is judged next."""
        halves = [w.next_due() for w in self._keys.waiting if isinstance(w, Halves)]
        return min([self._keys.next_absence(), *halves])

    def end(self, name: str, key: Key, *, at: float, now: float, person: str = "") -> bool:
        """End a firing alert by hand at rule time `at`; return whether there was one.

        `person`: by whose hand, if that is known.
        """
        compiled = self._by_name.get(name)
        state = self._keys.get(compiled, compiled.kept(key)) if compiled else None
        if state is None or state.alert is None:
            return False
        self._transition_log.start_step(now=now, stale=False)
        self._transition_log.person = person
        state.end(at)
        self._transition_log.person = None
        self._keys.after_event(state)
        return True

    def drain(self, *, caught_up: bool = True, stored: bool = True) -> EngineDelta:
        """Return the rows changed and the transitions made since the last drain.

        `caught_up`: nothing is left to be read at once. Not to be `stored`: no rows are made.
        """
        delta, self._delta = self._delta, Delta()
        if not stored:
            self._keys.forget_changed()
            return EngineDelta(Delta(), self._transition_log.drain())
        self._keys.settle(_MOST_IN_TURN if caught_up else _MOST_BEHIND)
        self._journal.look_back()
        changed = list(self._keys.drain_changed())
        for state, lives in changed:
            self._write(state, delta, lives=lives)
        self._journal.drain(delta, changed)
        if self.last_change != self._change_stored:
            self._change_stored = self.last_change
            delta.rows.append(MetaRow(name=CHANGE, value=str(self.last_change)))
        return EngineDelta(delta, self._transition_log.drain())

    def _write(self, state: KeyState, delta: Delta, *, lives: bool) -> None:
        place = (state.compiled.rule.name, by_key(state.key))
        if lives:
            delta.rows.append(state_row(state, self._journal.step))
        elif state.stored:
            delta.gone.append(Gone(RuleStateRow, place))
        if state.alert is not None:
            delta.rows.append(alert_row(state, state.alert, self._transition_log.redact))
        elif state.stored_alert:
            delta.gone.append(Gone(AlertRow, place))
        state.stored, state.stored_alert = lives, state.alert is not None

    @property
    def eventful(self) -> bool:
        """Return whether there are transitions since the last drain."""
        return bool(self._transition_log.transitions)

    @property
    def last_change(self) -> int:
        """The greatest change number given out so far."""
        return self._transition_log.last_change

    @property
    def overflow(self) -> dict[str, int]:
        """Events not judged because their rule tracks as many keys as it may, by rule."""
        return {p.rule.name: p.overflow for p in self._compiled_rules if p.overflow}

    @property
    def forgotten(self) -> dict[str, int]:
        """Keys that were forgotten for others, because their rule tracks as many as it may."""
        return {p.rule.name: p.forgotten for p in self._compiled_rules if p.forgotten}

    @property
    def not_numbers(self) -> dict[str, int]:
        """Values that were no number where a rule needs one, by rule."""
        return {p.rule.name: p.not_numbers for p in self._compiled_rules if p.not_numbers}

    @property
    def bad_instants(self) -> dict[str, int]:
        """Values that were no instant where an open alert's step escalates at one, by rule."""
        return {p.rule.name: p.bad_instants for p in self._compiled_rules if p.bad_instants}

    @property
    def last_matches(self) -> dict[str, float]:
        """When the newest event was that a rule matched, by rule, since this engine began."""
        matched = (one for one in self._compiled_rules if one.last_match > LONG_AGO)
        return {one.rule.name: one.last_match for one in matched}

    def extents(self) -> dict[str, Extent]:
        """Return what each rule knows and costs."""
        return {
            one.rule.name: Extent(*self._keys.extent(one), one.seconds, one.shifted_bytes)
            for one in self._compiled_rules
        }

    @property
    def damaged_rows(self) -> int:
        """Rows of the journal that could not be read at the start; each costs its own entries."""
        return self._journal.damaged

    def drain_state_counts(self) -> dict[tuple[str, str], int]:
        """Return by how many keys each (alertname, state) of a `last()` rule grew since last time.

        The first call after `restore` gives the whole numbers, 0 for states that rules name.
        """
        return self._keys.state_counts.drain()

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Return how many alerts are open by (alertname, severity, state); 0 for known rules."""
        return dict(self._transition_log.open_alerts)

    def current(self, name: str, key: Key, t: float) -> Alert | None:
        """Return an open alert as it is at rule time `t`, its value measured then."""
        compiled = self._by_name.get(name)
        state = self._keys.get(compiled, key) if compiled else None
        if state is None or state.alert is None:
            return None
        alert = self._transition_log.snapshot(name, key, state.alert)
        return msgspec.structs.replace(alert, value=state.value_at(max(t, state.clock)))

    def standing(
        self, passes: Callable[[Mapping[str, str]], bool], t: float
    ) -> Iterator[tuple[Rule, Key, str, float | str | None]]:
        """Yield how rules stand at `t` for each key whose labels pass: alert's phase, and value.

        The phase is empty where there is no alert. Keys without values are none of anybody.
        """
        for compiled in self._compiled_rules:
            rule = compiled.rule
            for key in self._keys.names(compiled) if compiled.by_labels else ():
                labels = dict(zip(compiled.by_labels, key, strict=True))
                if passes({"alertname": rule.name, **rule.labels, **labels}):
                    state = self._keys.get(compiled, key)
                    phase = outside(state.alert.phase).value if state and state.alert else ""
                    value = state.value_at(max(t, state.clock)) if state else None
                    yield rule, key, phase, value

    def alerts(self) -> Iterator[Alert]:
        """Yield a snapshot of each pending and firing alert."""
        self._keys.wake_firing()
        for state in self._keys:
            if state.alert is not None:
                name = state.compiled.rule.name
                yield self._transition_log.snapshot(name, state.key, state.alert)

    def deadlines(self) -> dict[tuple[str, Key], float]:
        """Return the rule time at which time alone next changes an open alert, by rule and key."""
        self._keys.wake_firing()
        open_ = ((state, state.alert) for state in self._keys if state.alert is not None)
        due = {(one.compiled.rule.name, one.key): one.alert_due(alert) for one, alert in open_}
        return {ident: at for ident, at in due.items() if at != NEVER}
