"""One rule and one key: its samples, its alert, and when it next wants to be looked at.

Absence: too few events in the window. Judged only on ticks, never by an event's own time.

Observation starts at the rule's load, the key's first event or the latest `resolve`, whichever is
last, and the alert fires `within` after that at the earliest: for `count() < 1` that is `within`
after the last event. It ends when enough events have come. A key that stays silent for 30 days
more is forgotten, and nobody is told: it is gone for good.

How key states and open alerts are stored: MessagePack, versioned, exact to the last bit.
"""

import hashlib
import json
from typing import Any

import msgspec

from sidecar.parse.event import Event
from sidecar.rows import AlertRow, RuleStateRow
from sidecar.rules.alert import (
    ENDING,
    TABLE,
    OpenAlert,
    Phase,
    Redact,
    TransitionLog,
    Trigger,
    outside,
)
from sidecar.rules.program import DEFAULT_SPAN, CompiledRule, Samples, Windows
from sidecar.rules.rule import Key
from sidecar.rules.windows import LONG_AGO, NEVER

# Event ids remembered for `dedup_by`, per key and over all keys of a rule.
MAX_IDS = 10_000
MAX_RULE_IDS = 500_000


class KeyState:
    """What a rule knows of one key.

    `clock` is the key's own time: its newest event or the latest change of its alert. It never
    moves back, so a late event is judged at `clock`. `floor`: samples up to it were forgotten by
    a `resolve`, and late ones stay forgotten. `due`: when passing time next matters;
    `scheduled`: the entry for it among the deadlines. `stored`: rows that the state file holds.
    `counted`: the state as which the census counts this key.
    """

    __slots__ = (
        "alert",
        "clock",
        "counted",
        "due",
        "floor",
        "journal",
        "key",
        "newest_id",
        "program",
        "scheduled",
        "seen",
        "stored",
        "stored_alert",
        "touched",
        "windows",
    )

    def __init__(self, program: CompiledRule, key: Key, journal: TransitionLog) -> None:
        self.program = program
        self.key = key
        self.journal = journal
        self.clock = LONG_AGO
        self.floor = LONG_AGO
        self.windows: Windows | None = None
        self.seen: dict[bytes, float] | None = None
        self.newest_id = LONG_AGO
        self.alert: OpenAlert | None = None
        self.due = NEVER
        self.scheduled = NEVER
        self.counted: str | None = None
        self.touched = False
        self.stored = False
        self.stored_alert = False

    # What can come from outside: an event that matches, one that resolves, time, a person.

    def take(self, event: Event, samples: Samples) -> None:
        """Process an event that the rule matches."""
        t = max(self.clock, event.at)
        self.advance(t)
        if event.at <= self.floor or self._seen_before(event):
            return
        self.clock = t
        self._add(event.at, samples)
        self._touch(event)
        self.settle(t, event)

    def resolve(self, event: Event) -> None:
        """Process an event that ends the alert and forgets all up to its own time.

        Late, it leaves an alert alone that newer samples uphold.
        """
        late = event.at < self.clock
        t = max(self.clock, event.at)
        self.advance(t)
        if self._seen_before(event):
            return
        self.clock = t
        self.forget(event.at)
        if late and (self.alert is None or self.holds(t)):
            self.settle(t, event)
        elif self.alert is not None:
            self.alert.touch(event, self.program)
            self.happen(Trigger.RESOLVE, t)

    def advance(self, t: float) -> None:
        """Let this key's own deadlines up to and including `t` happen, in order."""
        while self.due <= t:
            self.run(self.due)

    def run(self, t: float) -> None:
        """Let the deadline `t` happen; one that a reload put into the past happens now."""
        self.settle(t if self.alert is None else max(t, self.clock))
        self.due = self.due_after(t)

    def end(self, t: float) -> None:
        """End the alert by hand at `t` and forget what led to it."""
        t = max(self.clock, t)
        self.clock = t
        self.forget(t)
        self.happen(Trigger.RESOLVE, t)

    # What follows from it.

    def settle(self, t: float, event: Event | None = None) -> None:
        """Bring the alert into the state that belongs to `t`; `event` says what caused it."""
        if self.alert is None and not self.holds(t):
            return  # so it is with nearly every event
        self.happen(self._happening(t, by_event=event is not None), t, event)
        alert, rule = self.alert, self.program.rule
        if alert is not None and alert.phase is Phase.PENDING and alert.since + rule.for_ <= t:
            self.happen(Trigger.FOR_OVER, t)
        if alert is not None and alert.phase in ENDING and self._keep_end(alert) <= t:
            self.happen(Trigger.KEEP_OVER, t)
        if self.alert is not None:
            self._escalate(self.alert, t)

    def holds(self, t: float) -> bool:
        """Return whether the condition is true at `t`; without samples it never is."""
        windows = self.windows
        if windows is None or not self.program.holds(windows, t):
            return False
        return not self.program.true_when_empty or self.samples_gone_at() > t

    def _happening(self, t: float, *, by_event: bool) -> Trigger:
        program, windows = self.program, self.windows
        if self.holds(t):
            return Trigger.HOLDS
        if by_event:
            return Trigger.DOUBTED if program.latching else Trigger.CLEARS
        if windows is not None and program.unconfirmed(windows, t):
            # Nobody said that the state ended, so nobody is told so.
            return Trigger.RUNS_OUT
        if not program.latching:
            return Trigger.CLEARS
        latched = self.alert is not None and self.alert.phase is Phase.LATCHED
        return Trigger.DOUBTED if latched and self.samples_gone_at() > t else Trigger.RUNS_OUT

    def happen(self, happening: Trigger, t: float, event: Event | None = None) -> None:
        """Look `happening` up in the table and make it so."""
        before = Phase.INACTIVE if self.alert is None else self.alert.phase
        outcome = TABLE.get((before, happening))
        if outcome is None:
            return
        after, kind = outcome
        self.clock = max(self.clock, t)
        self.touched = True
        self.journal.gauge_add(self.alert, -1)
        alert = self.alert or self._open(t, event)
        alert.phase = after
        alert.turned = t if after in ENDING else None
        if kind is not None:
            self.journal.write(kind, self.program.rule.name, self.key, alert, t)
        self.alert = None if after is Phase.INACTIVE else alert
        self.journal.gauge_add(self.alert, 1)

    def _open(self, t: float, event: Event | None) -> OpenAlert:
        alert = OpenAlert(
            Phase.INACTIVE, t, labels={}, annotations={}, steps=self.program.steps_digest
        )
        alert.dress(self.program, self.key)
        if event is not None:
            alert.touch(event, self.program)
        if self.windows is not None:
            alert.value = self.program.value(self.windows, t)
        return alert

    def _escalate(self, alert: OpenAlert, t: float) -> None:
        for due, place in sorted(alert.steps_ahead(self.program)):
            if due > t:
                return
            self._reach(alert, place, due, t)

    def _reach(self, alert: OpenAlert, place: int, due: float, t: float) -> None:
        """Lay a step over the alert; one that changes no label is told to nobody."""
        before = alert.labels
        self.journal.gauge_add(alert, -1)
        alert.reached.append(place)
        alert.dress(self.program, self.key)
        self.journal.gauge_add(alert, 1)
        self.clock = max(self.clock, t)
        self.touched = True
        kind = TABLE[alert.phase, Trigger.STEP][1]
        if alert.labels != before and kind is not None:
            name = self.program.rule.name
            self.journal.write(kind, name, self.key, alert, t, before=before, due=due)

    # Samples and ids.

    def _add(self, at: float, samples: Samples) -> None:
        self.touched = True
        if not samples:
            return
        windows = self.windows = self.windows or self.program.fresh()
        for place, value in samples:
            windows[place].add(at, value, self.clock)

    def _touch(self, event: Event) -> None:
        if self.alert is None:
            return
        self.alert.touch(event, self.program)
        shown = None if self.windows is None else self.program.value(self.windows, self.clock)
        if shown is not None:
            self.alert.value = shown

    def _seen_before(self, event: Event) -> bool:
        """Return whether `dedup_by` knows this event already, and remember it."""
        name = self.program.rule.dedup_by
        text = event.text(name) if name else ""
        if not text:
            return False
        seen = self.seen = {} if self.seen is None else self.seen
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
        t = max(self.clock, event.at)
        if seen.get(digest, LONG_AGO) + self.program.span > t:
            return True
        self.program.ids += seen.pop(digest, None) is None
        seen[digest] = event.at
        self.newest_id = max(self.newest_id, event.at)
        self._prune(seen, t)
        self.touched = True
        return False

    def _prune(self, seen: dict[bytes, float], t: float) -> None:
        while seen:
            first = next(iter(seen))
            room = len(seen) <= MAX_IDS and self.program.ids <= MAX_RULE_IDS
            if room and seen[first] + self.program.span > t:
                return
            del seen[first]
            self.program.ids -= 1

    def forget(self, until: float) -> None:
        """Forget the samples up to `until`, also those still to come late."""
        self.touched = True
        self.floor = max(self.floor, until)
        for window in self.windows or ():
            window.forget(until)

    # Time.

    def due_after(self, t: float) -> float:
        """Return the first instant after `t` at which passing time can matter here."""
        alert = self.alert
        if alert is None and not self.program.wakes:
            return gone if (gone := self.gone_at()) > t else NEVER
        due = min((w.changes_after(t) for w in self.windows or ()), default=NEVER)
        if alert is None:
            return due if due < NEVER or (gone := self.gone_at()) <= t else gone
        return min(due, self.alert_due(alert))

    def alert_due(self, alert: OpenAlert) -> float:
        """Return the next instant that the open alert itself waits for."""
        if alert.phase is Phase.PENDING:
            return alert.since + self.program.rule.for_
        steps = (due for due, _ in alert.steps_ahead(self.program))
        return min(self._keep_end(alert), min(steps, default=NEVER))

    def _keep_end(self, alert: OpenAlert) -> float:
        if alert.turned is None:
            return NEVER
        return alert.turned + self.program.rule.keep_firing_for

    def samples_gone_at(self) -> float:
        windows = self.windows
        if windows is None:
            return LONG_AGO
        if len(windows) == 1:  # nearly all; twice for every event
            return windows[0].gone_at()
        return max(w.gone_at() for w in windows)

    def gone_at(self) -> float:
        """Return when nothing remembered here can matter any more."""
        return max(self.samples_gone_at(), max(self.floor, self.newest_id) + self.program.span)

    def is_gone(self, t: float) -> bool:
        """Return whether nothing is left to remember at `t`, for which `due` was just found."""
        # What time can still change is there. To ask that first spares nearly all the reckoning.
        return self.due == NEVER and self.alert is None and self.gone_at() <= t

    def is_bare(self) -> bool:
        """Return whether `floor` is all there is to know of this key; no sample is newer."""
        return self.clock == self.floor and self.alert is None and not self.seen


class AbsentKey(KeyState):
    """A key whose silence is the alert. Here `floor` is where observation starts."""

    __slots__ = ("over",)

    def __init__(
        self, program: CompiledRule, key: Key, journal: TransitionLog, start: float
    ) -> None:
        super().__init__(program, key, journal)
        self.floor = start
        self.windows = program.fresh()
        self.over = False  # resolved: forget the key

    def take(self, event: Event, samples: Samples) -> None:
        """Process an event: it can end an alert, never make one."""
        if not self._seen_before(event):
            self.count(event.at, samples, event)

    def count(self, at: float, samples: Samples, event: Event | None = None) -> None:
        """Count events at `at`, with or without the event itself."""
        self.clock = max(self.clock, at)
        self._add(at, samples)
        if event is not None:
            self._touch(event)
        if self.alert is not None and not self.holds(self.clock):
            self.settle(self.clock, event)

    def resolve(self, event: Event) -> None:
        """End the alert; a key that is named by fields is forgotten until it is seen again."""
        if self._seen_before(event):
            return
        if self.alert is not None:
            self.alert.touch(event, self.program)
        self.end(event.at)

    def end(self, t: float) -> None:
        super().end(t)
        self.over = bool(self.program.by)

    def advance(self, t: float) -> None:
        """Do nothing: only a tick that saw every source to its end may judge."""

    def settle(self, t: float, event: Event | None = None) -> None:
        if self._forgotten_at() > t:
            super().settle(t, event)
            return
        self.happen(Trigger.RUNS_OUT, t)
        self.happen(Trigger.KEEP_OVER, t)
        self.over = True

    def _forgotten_at(self) -> float:
        """Return when a key that fires and stays silent is given up."""
        alert = self.alert
        if alert is None or alert.phase is not Phase.FIRING or not self.program.by:
            return NEVER
        return (alert.fired_at or self.clock) + max(DEFAULT_SPAN, self.program.span)

    def holds(self, t: float) -> bool:
        windows = self.windows or ()
        return self._opens_at() <= t and self.program.holds(windows, t)

    def _opens_at(self) -> float:
        return self.floor + self.program.span

    def due_after(self, t: float) -> float:
        if self.alert is not None:
            return min(self.alert_due(self.alert), self._forgotten_at())
        # What was not judged while it lasted is history: a gap that is read later is no absence.
        due = max(self._opens_at(), t)
        while due < NEVER and not self.holds(due):
            due = min((w.changes_after(due) for w in self.windows or ()), default=NEVER)
        return due

    def is_gone(self, t: float) -> bool:  # noqa: ARG002 - it is over at any time
        return self.over and self.alert is None


# Raise it when the form changes; states of another form start empty.
_VERSION = 2


class PackedState(msgspec.Struct, array_like=True, frozen=True):
    """The window of one key."""

    version: int
    clock: float
    floor: float
    windows: list[Any] | None
    seen: list[tuple[bytes, float]]


class PackedAlert(msgspec.Struct, array_like=True, frozen=True):
    """One open alert; the event is JSON, which unlike MessagePack takes integers of any size."""

    version: int
    alert: OpenAlert
    event: str


# Made once: at a start there are a hundred thousand to read.
_KEY = msgspec.json.Decoder(Key)
_STATE = msgspec.msgpack.Decoder(PackedState)


def by_key(key: Key) -> str:
    """Return the key as it stands in a row: a JSON array of texts."""
    return msgspec.json.encode(key).decode()


def key_of(text: str) -> Key:
    return _KEY.decode(text)


def state_row(state: KeyState) -> RuleStateRow:
    windows = None if state.windows is None else [w.pack() for w in state.windows]
    seen = list((state.seen or {}).items())
    packed = PackedState(_VERSION, state.clock, state.floor, windows, seen)
    return RuleStateRow(
        rule=state.program.rule.name,
        by_key=by_key(state.key),
        packed=msgspec.msgpack.encode(packed),
    )


def load_state(state: KeyState, row: RuleStateRow) -> None:
    """Fill an empty `state` from its row; raises msgspec.MsgspecError or ValueError on damage."""
    packed = _STATE.decode(row.packed)
    _check(packed.version)
    state.clock, state.floor = packed.clock, packed.floor
    if packed.windows is not None:
        windows = state.program.fresh()
        for window, one in zip(windows, packed.windows, strict=True):
            window.load(one)
        state.windows = windows
    if packed.seen:
        state.seen = dict(packed.seen)
        state.program.ids += len(packed.seen)
        state.newest_id = max(at for _, at in packed.seen)


def alert_row(state: KeyState, alert: OpenAlert, redact: Redact) -> AlertRow:
    event = json.dumps(alert.seal(redact), default=str)
    bare = msgspec.structs.replace(alert, event={})
    due = state.alert_due(alert)
    return AlertRow(
        rule=state.program.rule.name,
        by_key=by_key(state.key),
        episode=alert.episode,
        state=outside(alert.phase).value,
        severity=alert.labels.get("severity", ""),
        since=alert.since,
        deadline=None if due == NEVER else due,
        change=alert.change,
        packed=msgspec.msgpack.encode(PackedAlert(_VERSION, bare, event)),
    )


def load_alert(row: AlertRow) -> OpenAlert:
    """Return the alert in `row`; raises msgspec.MsgspecError or ValueError on damage."""
    packed = msgspec.msgpack.decode(row.packed, type=PackedAlert)
    _check(packed.version)
    if packed.alert.phase is Phase.INACTIVE:
        raise ValueError("an open alert cannot be inactive")
    packed.alert.event = json.loads(packed.event)
    return packed.alert


def _check(version: int) -> None:
    if version != _VERSION:
        raise ValueError(f"packed in form {version}, this is {_VERSION}")
