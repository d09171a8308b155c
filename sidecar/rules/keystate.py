"""One rule and one key: its samples, its alert, and when it next has to be looked at.

A `KeyState` changes by an event that the rule matches, one that resolves, a deadline, or a person.
What follows is looked up in `alert.TABLE`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sidecar.parse.event import Event, as_number
from sidecar.parse.instants import instant
from sidecar.rules.alert import (
    ENDING,
    TABLE,
    OpenAlert,
    Phase,
    Told,
    TransitionKind,
    Trigger,
    id_of,
    told_by,
)
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.guard import Samples, Windows
from sidecar.rules.rule import End, Key
from sidecar.rules.transitions import TransitionLog
from sidecar.rules.windows import LONG_AGO, NEVER, is_earlier, second_after

# Event ids remembered for `dedup_by`, per key and over all keys of a rule.
MAX_IDS = 10_000
MAX_RULE_IDS = 500_000


def place_in_order(value: Any) -> float | None:
    """Return where a value of `order_by` stands: a number, else an instant, else None."""
    number = as_number(value)
    return instant(value) if number is None else number


# Instead of an aggregate's place: what an event told stands before its samples.
TOLD = -1


def split(what: Any) -> tuple[Told | None, Samples | None]:
    """Return what waited as what the event told, if that matters, and its samples."""
    if not what or what[0][0] != TOLD:
        return None, what
    identity, collected, digest = what[0][1]
    return Told(tuple(identity), tuple(collected), digest), what[1:]


class KeyState:
    """What a rule knows of one key.

    `clock` is the key's own time: its newest event or the latest change of its alert. It never
    moves back, so a late event is judged at `clock`. `floor`: samples up to it were dropped by a
    `resolve`, and those that come late, of an earlier second, are dropped as well. `order`: the
    greatest value of `order_by` yet. `due`: when passing time next matters; `room`: what samples
    may cost until then, without an alert; `scheduled`: the entry for it among the deadlines.
    `changed`: since the last drain; `stored`, `stored_alert`: whether the state file holds its
    rows. `counted`: as which state it is counted.
    """

    __slots__ = (
        "alert",
        "changed",
        "clock",
        "compiled",
        "counted",
        "due",
        "floor",
        "key",
        "newest_id",
        "order",
        "room",
        "scheduled",
        "seen",
        "stored",
        "stored_alert",
        "transition_log",
        "windows",
    )

    def __init__(self, compiled: CompiledRule, key: Key, transition_log: TransitionLog) -> None:
        self.compiled = compiled
        self.key = key
        self.transition_log = transition_log
        self.clock = LONG_AGO
        self.floor = LONG_AGO
        self.windows: Windows | None = None
        self.seen: dict[bytes, float] | None = None
        self.newest_id = LONG_AGO
        self.order: float | None = None
        self.alert: OpenAlert | None = None
        self.due = NEVER
        self.room = compiled.guard.room(None, LONG_AGO).left
        self.scheduled = NEVER
        self.counted: str | None = None
        self.changed = False
        self.stored = False
        self.stored_alert = False

    @property
    def waits_for_all(self) -> bool:
        """Whether time may judge it only once every log is read to its end."""
        return self.compiled.waits_for_all

    # What can come from outside: an event that matches, one that resolves, time, a person.

    def observe(self, event: Event, samples: Samples) -> None:
        """Process an event that the rule matches."""
        t = max(self.clock, event.at)
        self.advance(t)
        if is_earlier(event.at, self.floor) or self._is_overtaken(event):
            return
        if self._seen_before(event):
            return
        self.clock = t
        self._add(event.at, samples)
        before = 0 if self.alert is None else self.alert.times
        self._note_event(event)
        self.judge(t, event)
        if self.alert is not None and 0 < before < self.alert.times and self.alert.has_grown:
            name = self.compiled.rule.name
            self.transition_log.write(TransitionKind.GREW, name, self.key, self.alert, t)

    def resolve(self, event: Event) -> None:
        """Process an event that ends the alert and drops the samples up to its own time.

        Late, it leaves an alert alone that newer samples uphold.
        """
        late = is_earlier(event.at, self.clock)
        t = max(self.clock, event.at)
        self.advance(t)
        if self._is_overtaken(event) or self._is_of_another(event):
            return
        self.clock = t
        self.drop_samples(event.at)
        if late and (self.alert is None or self.holds(t)):
            self.judge(t, event)
        elif self.alert is not None:
            self.alert.note_end(event, self.compiled, self.transition_log.redact)
            self.trigger(Trigger.RESOLVE, t)

    def take(self, times: Sequence[float], samples: Samples) -> None:
        """Take events of the same samples by which no verdict changes, as is known."""
        self.changed = True
        self.clock = max(self.clock, *times)
        if is_earlier(min(times), self.floor):
            times = [at for at in times if not is_earlier(at, self.floor)]
        if samples and times:
            windows = self.windows = self.windows or self.compiled.fresh()
            for place, value in samples:
                windows[place].add_all(times, value, self.clock)

    def catch_up(self, waited: Iterable[tuple[float, Samples | None]], last: Event | None) -> None:
        """Take samples, or resolves (None), by which no verdict changes, as is known.

        `last` is the event of the last one, where an alert is open and that is still known.
        """
        many = 0
        for what, times in self._alike(waited):
            many += self._take_alike(what, times)
        if self.alert is not None and many:
            self.alert.note_waited(many, self.clock, last)
            self._measure(self.clock)

    def _alike(
        self, waited: Iterable[tuple[float, Samples | None]]
    ) -> Iterator[tuple[Samples | None, list[float]]]:
        """Yield what waited, each with the times of those alike: from one resolve to the next where
        the order makes no difference, else of those that follow each other.
        """
        alike: dict[Any, tuple[Samples, list[float]]] = {}
        for at, what in waited:
            place: Any = id(what)
            if place in alike:
                alike[place][1].append(at)
                continue
            if what is None or not self.compiled.any_order:
                yield from alike.values()
                alike = {}
            if what is None:
                yield None, [at]
                continue
            told, samples = split(what)
            if told is not None and not told.id and self.compiled.any_order:
                if self.alert is not None and not is_earlier(at, self.floor):
                    self.alert.note_told(told, self.compiled.rule)
                place = tuple(map(tuple, samples or ()))
                alike.setdefault(place, (samples or (), []))[1].append(at)
            else:
                alike[place] = what, [at]
        yield from alike.values()

    def _take_alike(self, what: Any, times: Sequence[float]) -> int:
        """Take resolves (None) or events of the same samples; return how many events counted."""
        told, samples = split(what)
        if samples is None:
            for at in times:
                self.clock = max(self.clock, at)
                self.drop_samples(at)
            return 0
        times = [at for at in times if not is_earlier(at, self.floor)]
        if told is not None:
            times = [at for at in times if not self._knows(told.id, at)]
        if times:
            self.take(times, samples)
            if self.alert is not None and told is not None:
                self.alert.note_told(told, self.compiled.rule)
        return len(times)

    def advance(self, t: float) -> None:
        """Let this key's own deadlines up to and including `t` happen, in order."""
        while self.due <= t:
            self.meet_deadline(self.due)

    def pass_quietly(self, t: float) -> bool:
        """Let deadlines up to `t` pass at which nothing happens; return whether all were such."""
        t = max(self.clock, t)
        while self.due <= t and not self.holds(self.due):
            self.due = self.due_after(self.due)
        return self.due > t

    def meet_deadline(self, t: float) -> None:
        """Let the deadline `t` happen; one that a reload put into the past happens now."""
        self.judge(t if self.alert is None else max(t, self.clock))
        self.due = self.due_after(t)

    def end(self, t: float) -> None:
        """End the alert by hand at `t` and drop what led to it."""
        t = max(self.clock, t)
        self.clock = t
        self.drop_samples(t)
        self.trigger(Trigger.RESOLVE, t)

    # What follows from it.

    def judge(self, t: float, event: Event | None = None, *, by_event: bool = False) -> None:
        """Bring the alert into the state that belongs to `t`.

        `event` says what caused it; with `by_event` it was one that was only counted.
        """
        if self.alert is None and not self.holds(t):
            return  # so it is with nearly every event
        if event is None:
            self._measure(t)
        self.trigger(self._trigger_at(t, by_event=by_event or event is not None), t, event)
        alert = self.alert
        pending = alert is not None and alert.phase is Phase.PENDING
        if alert is not None and pending and alert.fires_at(self.compiled) <= t:
            self.trigger(Trigger.FOR_OVER, t)
        if alert is not None and alert.phase in ENDING and self._keep_end(alert) <= t:
            self.trigger(Trigger.KEEP_OVER, t)
        if self.alert is not None:
            self._escalate(self.alert, t)

    def holds(self, t: float) -> bool:
        """Return whether the condition is true at `t`; without samples it never is."""
        windows = self.windows
        if windows is None or not self.compiled.holds(windows, t):
            return False
        return not self.compiled.true_when_empty or self.samples_gone_at() > t

    def _trigger_at(self, t: float, *, by_event: bool) -> Trigger:
        compiled, windows = self.compiled, self.windows
        if self.holds(t):
            return Trigger.HOLDS
        if compiled.latching:
            dropped = windows is not None and compiled.unconfirmed(windows, t)
            latched = self.alert is not None and self.alert.phase is Phase.LATCHED
            if by_event or (latched and not dropped and self.samples_gone_at() > t):
                return Trigger.DOUBTED
        unseen = not by_event if compiled.rule.ends is None else compiled.rule.ends is End.UNSEEN
        return Trigger.RUNS_OUT if unseen else Trigger.CLEARS

    def trigger(self, trigger: Trigger, t: float, event: Event | None = None) -> None:
        """Do what the table says of `trigger` in the phase of the alert."""
        before = Phase.INACTIVE if self.alert is None else self.alert.phase
        outcome = TABLE.get((before, trigger))
        if outcome is None:
            return
        after, kind = outcome
        self.clock = max(self.clock, t)
        self.changed = True
        self.transition_log.count_open(self.alert, -1)
        alert = self.alert or self._open(t, event)
        alert.phase = after
        alert.turned = t if after in ENDING else None
        if kind is not None:
            self.transition_log.write(kind, self.compiled.rule.name, self.key, alert, t)
        self.alert = None if after is Phase.INACTIVE else alert
        self.transition_log.count_open(self.alert, 1)

    def _open(self, t: float, event: Event | None) -> OpenAlert:
        alert = OpenAlert(
            Phase.INACTIVE, t, labels={}, annotations={}, steps=self.compiled.steps_digest
        )
        alert.lay_labels(self.compiled, self.key)
        if event is not None:
            self._keep(event, alert, upholds=True)
            alert.evidence = self.transition_log.line_of(event)
        if self.windows is not None:
            alert.value = self.compiled.value(self.windows, t)
        return alert

    def _measure(self, t: float) -> None:
        """Let the open alert's value be the one at `t`; of nothing it stays what it was."""
        if self.alert is not None:
            self.alert.value = self.value_at(t)

    def value_at(self, t: float) -> float | str | None:
        """Return what the condition measures at `t` of the key whose alert is open."""
        shown = None if self.windows is None else self.compiled.value(self.windows, t)
        return self.alert.value if shown is None and self.alert is not None else shown

    def _escalate(self, alert: OpenAlert, t: float) -> None:
        for due, place in sorted(alert.steps_ahead(self.compiled)):
            if due > t:
                return
            self._reach(alert, place, due, t)

    def _reach(self, alert: OpenAlert, place: int, due: float, t: float) -> None:
        """Lay a step over the alert; one that changes no label is told to nobody."""
        before = alert.labels
        self.transition_log.count_open(alert, -1)
        alert.reached = (*alert.reached, place)
        alert.lay_labels(self.compiled, self.key)
        self.transition_log.count_open(alert, 1)
        self.clock = max(self.clock, t)
        self.changed = True
        kind = TABLE[alert.phase, Trigger.STEP][1]
        if alert.labels != before and kind is not None:
            name = self.compiled.rule.name
            self.transition_log.write(kind, name, self.key, alert, t, before=before, due=due)

    # Samples and ids.

    def _add(self, at: float, samples: Samples) -> None:
        self.changed = True
        if not samples:
            return
        windows = self.windows = self.windows or self.compiled.fresh()
        for place, value in samples:
            windows[place].add(at, value, self.clock)

    def _note_event(self, event: Event) -> None:
        """Keep what an event that the rule matches says of the open alert."""
        if self.alert is None:
            return
        self._keep(event, self.alert, upholds=self.holds(self.clock))
        self._measure(self.clock)

    def _keep(self, event: Event, alert: OpenAlert, *, upholds: bool) -> None:
        """Let an event that the rule matches be the alert's last one, or the one that ends it."""
        rule, redact = self.compiled.rule, self.transition_log.redact
        if upholds:
            alert.note_event(event, self.compiled)
        else:
            alert.note_end(event, self.compiled, redact)
        if rule.same or rule.collect:
            alert.note_told(Told.of(list(map(event.text, told_by(rule))), self.compiled), rule)

    def _is_of_another(self, event: Event) -> bool:
        """Return whether the alert is about something else, too, than this end of something."""
        names, alert = self.compiled.rule.same, self.alert
        if not names or alert is None:
            return False
        self.changed = True
        return alert.stays_open(event, names)

    def _is_overtaken(self, event: Event) -> bool:
        """Return whether `order_by` knows a newer event than this one, and remember this one."""
        name = self.compiled.rule.order_by
        place = place_in_order(event.get(name)) if name else None
        if place is None:
            return False
        if self.order is not None and place < self.order:
            return True
        self.order, self.changed = place, True
        return False

    def _seen_before(self, event: Event) -> bool:
        """Return whether `dedup_by` knows this event already, and remember it.

        Only of events that count: one that ends an alert may have begun it, for what fails and is
        sent again until it succeeds keeps its id, and to end twice is to end once.
        """
        name = self.compiled.rule.dedup_by
        return name is not None and self._knows(id_of(event.text(name)), event.at)

    def has_seen(self, digest: bytes, t: float) -> bool:
        """Return whether an id is remembered at `t`."""
        return (self.seen or {}).get(digest, LONG_AGO) + self.compiled.span > t

    def _knows(self, digest: bytes, at: float) -> bool:
        """Return whether an event at `at` has an id that is known; if not, remember it."""
        t = max(self.clock, at)
        if not digest or self.has_seen(digest, t):
            return bool(digest)
        seen = self.seen = {} if self.seen is None else self.seen
        self.compiled.ids += seen.pop(digest, None) is None
        seen[digest] = at
        self.newest_id = max(self.newest_id, at)
        self._prune(seen, t)
        self.changed = True
        return False

    def _prune(self, seen: dict[bytes, float], t: float) -> None:
        while seen:
            first = next(iter(seen))
            room = len(seen) <= MAX_IDS and self.compiled.ids <= MAX_RULE_IDS
            if room and seen[first] + self.compiled.span > t:
                return
            del seen[first]
            self.compiled.ids -= 1

    def drop_samples(self, until: float) -> None:
        """Drop the samples up to `until`, also those still to come late."""
        self.changed = True
        self.floor = max(self.floor, until)
        for window in self.windows or ():
            window.drop_before(second_after(until))

    # Time.

    def due_after(self, t: float) -> float:
        """Return the first instant after `t` at which passing time can matter here.

        Until then there is `room`, which is found out as well.
        """
        alert, compiled = self.alert, self.compiled
        if alert is not None:
            return min(self._changes_after(t), self.alert_due(alert))
        self.room, due = compiled.guard.room(self.windows, t)
        if compiled.rule.hold is not None or (compiled.wakes and self.room < 0):
            due = self._changes_after(t)
        return due if due < NEVER or (gone := self.gone_at()) <= t else gone

    def _changes_after(self, t: float) -> float:
        return min((w.changes_after(t) for w in self.windows or ()), default=NEVER)

    def due_after_event(self) -> float:
        """Return the same for the time that the last event has brought."""
        return self.due_after(self.clock)

    def alert_due(self, alert: OpenAlert) -> float:
        """Return the next instant that the open alert itself waits for."""
        if alert.phase is Phase.PENDING:
            return alert.fires_at(self.compiled)
        steps = (due for due, _ in alert.steps_ahead(self.compiled))
        return min(self._keep_end(alert), min(steps, default=NEVER))

    def _keep_end(self, alert: OpenAlert) -> float:
        if alert.turned is None:
            return NEVER
        return alert.turned + self.compiled.rule.keep_firing_for

    def samples_gone_at(self) -> float:
        windows = self.windows
        if windows is None:
            return LONG_AGO
        if len(windows) == 1:  # nearly all; twice for every event
            return windows[0].gone_at()
        return max(w.gone_at() for w in windows)

    def gone_at(self) -> float:
        """Return when nothing remembered here can matter any more."""
        known = max(self.floor, self.newest_id) if self.order is None else self.clock
        memory = LONG_AGO if self.windows is None else self.clock + self.compiled.memory
        return max(self.samples_gone_at(), known + self.compiled.span, memory)

    def is_gone(self, t: float) -> bool:
        """Return whether nothing is left to remember at `t`, for which `due` was just found."""
        # What time can still change is there. To ask that first spares nearly all the reckoning.
        return self.due == NEVER and self.alert is None and self.gone_at() <= t

    def is_bare(self) -> bool:
        """Return whether `floor` is all there is to know of this key; no sample is newer."""
        return self.clock == self.floor and self.alert is None and not self.seen
