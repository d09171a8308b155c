"""The rows of key states and open alerts: written, and taken up by the engine that starts next.

They are MessagePack with a version, exact to the last bit. What still belongs to its rule lives on;
a firing alert whose rule changed or went is closed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from sidecar.rows import AlertRow, Delta, FloorsRow, Gone, JournalRow, RuleRow, RuleStateRow
from sidecar.rules.alert import Evidence, OpenAlert, Phase, Redact, outside
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.identity import former_signature, signature
from sidecar.rules.journal import Journal, Steps
from sidecar.rules.keys import Keys
from sidecar.rules.keystate import KeyState
from sidecar.rules.rule import Key
from sidecar.rules.windows import NEVER

# Raise it when the form changes; states of another form start empty.
_VERSION = 2


class PackedState(msgspec.Struct, array_like=True, frozen=True):
    """The window of one key. `step`: it holds all that the journal has of it up to that step."""

    version: int
    clock: float
    floor: float
    windows: list[Any] | None
    seen: list[tuple[bytes, float]]
    order: float | None = None  # not stored by earlier versions, no more than the next
    step: int = 0


class PackedAlert(msgspec.Struct, array_like=True, frozen=True):
    """One open alert; its events are JSON, which unlike MessagePack takes integers of any size."""

    version: int
    alert: OpenAlert
    event: str
    ended_by: str = "null"  # not stored by earlier versions


# Made once: at a start there are a hundred thousand to read.
_KEY = msgspec.json.Decoder(Key)
_STATE = msgspec.msgpack.Decoder(PackedState)


def by_key(key: Key) -> str:
    """Return the key as it stands in a row: a JSON array of texts."""
    return msgspec.json.encode(key).decode()


def key_of(text: str) -> Key:
    return _KEY.decode(text)


def state_row(state: KeyState, step: int) -> RuleStateRow:
    """Return the row of a key, written in `step` and holding all that came yet."""
    seen = list((state.seen or {}).items())
    packed = PackedState(_VERSION, state.clock, state.floor, _waits(state), seen, state.order, step)
    return RuleStateRow(
        rule=state.compiled.rule.name,
        by_key=by_key(state.key),
        packed=msgspec.msgpack.encode(packed),
    )


def _waits(state: KeyState) -> list[Any] | None:
    """Return the windows of a key as plain values."""
    return None if state.windows is None else [window.pack() for window in state.windows]


def load_state(state: KeyState, row: RuleStateRow) -> PackedState:
    """Fill an empty `state` from its row and return what that holds.

    Raises msgspec.MsgspecError or ValueError on damage.
    """
    packed = _STATE.decode(row.packed)
    _check(packed.version)
    state.clock, state.floor, state.order = packed.clock, packed.floor, packed.order
    if packed.windows is not None and not state.compiled.pairs:
        windows = state.compiled.fresh()
        for window, one in zip(windows, packed.windows, strict=True):
            window.load(one)
        state.windows = windows
    if packed.seen:
        state.seen = dict(packed.seen)
        state.compiled.ids += len(packed.seen)
        state.newest_id = max(at for _, at in packed.seen)
    return packed


def alert_row(state: KeyState, alert: OpenAlert, redact: Redact) -> AlertRow:
    events = (alert.redacted_event(redact), alert.ended_by)
    event, ended_by = (json.dumps(one, default=str) for one in events)
    bare = msgspec.structs.replace(alert, event={}, ended_by=None, evidence=None)
    evidence = "" if alert.evidence is None else msgspec.json.encode(alert.evidence).decode()
    due = state.alert_due(alert)
    return AlertRow(
        rule=state.compiled.rule.name,
        by_key=by_key(state.key),
        episode=alert.episode,
        state=outside(alert.phase).value,
        severity=alert.labels.get("severity", ""),
        since=alert.since,
        deadline=None if due == NEVER else due,
        change=alert.change,
        packed=msgspec.msgpack.encode(PackedAlert(_VERSION, bare, event, ended_by)),
        evidence=evidence,
    )


def load_alert(row: AlertRow) -> OpenAlert:
    """Return the alert in `row`; raises msgspec.MsgspecError or ValueError on damage."""
    packed = msgspec.msgpack.decode(row.packed, type=PackedAlert)
    _check(packed.version)
    if packed.alert.phase is Phase.INACTIVE:
        raise ValueError("an open alert cannot be inactive")
    packed.alert.event = json.loads(packed.event)
    packed.alert.ended_by = json.loads(packed.ended_by)
    if row.evidence:
        packed.alert.evidence = msgspec.json.decode(row.evidence, type=Evidence)
    return packed.alert


def _check(version: int) -> None:
    if version != _VERSION:
        raise ValueError(f"packed in form {version}, this is {_VERSION}")


class PackedFloors(msgspec.Struct, array_like=True, frozen=True):
    """What earlier versions stored, by rule: key, time of its last resolve, and a number.

    A key without one any more has NEVER.
    """

    version: int
    floors: list[tuple[str, list[tuple[Key, float, int]]]]


_DAMAGED = (msgspec.MsgspecError, ValueError, TypeError)


class Restored(msgspec.Struct):
    """`delta`: rows that no longer hold or are new. `closed`: firing alerts without their rule.

    `regraded`: those whose alert has another severity now, because its rule was edited.
    """

    delta: Delta = msgspec.field(default_factory=Delta)
    regraded: list[KeyState] = msgspec.field(default_factory=list)
    closed: list[tuple[str, Key, OpenAlert]] = msgspec.field(default_factory=list)


def restore(
    compiled_rules: Mapping[str, CompiledRule],
    keys: Keys,
    rules: Sequence[RuleRow],
    state: Sequence[RuleStateRow],
    alerts: Sequence[AlertRow],
    *,
    journal: Journal,
    journal_rows: Sequence[JournalRow],
    floors: Sequence[FloorsRow],
    last_step: int,
    now: float,
    recheck: bool,
) -> Restored:
    """Fill `keys` from the rows of rules that did not change; `now` is the wall clock.

    `recheck`: leave out keys that are not redacted as they are today.
    """
    out = Restored()
    kept = _keep_rules(compiled_rules, rules, out.delta, now)
    steps: Steps = {}
    for row in state:
        known = not recheck or _is_redacted(kept, row)
        if not known or not _restore_state(kept, keys, row, steps, journal):
            out.delta.gone.append(Gone(RuleStateRow, (row.rule, row.by_key)))
    for alert in alerts:
        if not _restore_alert(kept, keys, alert, out.regraded):
            out.delta.gone.append(Gone(AlertRow, (alert.rule, alert.by_key)))
            out.closed += _closing(alert)
    journal.restore(journal_rows, kept, steps, last_step)
    for floor in sorted(floors, key=lambda row: row.seq):
        _take_over(floor, kept, keys, journal)
        out.delta.gone.append(Gone(FloorsRow, (floor.seq,)))
    for compiled in compiled_rules.values():
        if recheck:
            keys.waiting[compiled.order].leave_out(compiled.is_unredacted)
        if compiled.absent and not compiled.by and keys.get(compiled, ()) is None:
            keys.create(compiled, (), compiled.since)
    keys.after_restoring()
    return out


def _take_over(
    row: FloorsRow, kept: Mapping[str, CompiledRule], keys: Keys, journal: Journal
) -> None:
    """Let wait what an earlier version stored of keys without a state."""
    try:
        found = msgspec.msgpack.decode(row.packed, type=PackedFloors)
    except _DAMAGED:
        return
    for name, floors in found.floors:
        compiled = kept.get(name)
        if compiled is None or found.version != 1:
            continue
        for key, at, _ in floors:
            if keys.find(compiled.order, key) is None:
                keys.waiting[compiled.order].end(key)
                if at < NEVER:
                    keys.waiting[compiled.order].put(((key, at),), None, 0.0)
                    journal.rewrite(compiled, key)


def _keep_rules(
    compiled_rules: Mapping[str, CompiledRule], rules: Sequence[RuleRow], delta: Delta, now: float
) -> dict[str, CompiledRule]:
    """Return the compiled_rules whose rows may be taken up, and give every compiled its `since`."""
    stored = {row.rule: row for row in rules}
    kept: dict[str, CompiledRule] = {}
    for name, compiled in compiled_rules.items():
        row, rule, mine = stored.pop(name, None), compiled.rule, signature(compiled.rule)
        known = row is not None and row.signature in (mine, former_signature(rule))
        begins = NEVER if rule.expect is not None and rule.expect.once_seen else now
        compiled.since = row.since if row is not None and known else begins
        if known:
            kept[name] = compiled
        if row is None or row.signature != mine:
            delta.rows.append(RuleRow(rule=name, signature=mine, since=compiled.since))
    delta.gone += [Gone(RuleRow, (name,)) for name in stored]
    return kept


def _is_redacted(kept: Mapping[str, CompiledRule], row: RuleStateRow) -> bool:
    """Return whether a row's key is as events make it today; an earlier version kept secrets."""
    compiled = kept.get(row.rule)
    try:
        key = key_of(row.by_key)
        return compiled is None or not compiled.is_unredacted(key)
    except _DAMAGED:
        return False


def _restore_state(
    kept: Mapping[str, CompiledRule],
    keys: Keys,
    row: RuleStateRow,
    steps: Steps,
    journal: Journal,
) -> bool:
    compiled = kept.get(row.rule)
    if compiled is None:
        return False
    try:
        key = key_of(row.by_key)
        empty = keys.new_state(compiled, key, compiled.since)
        packed = load_state(empty, row)
        steps.setdefault(compiled.order, {})[key] = packed.step
        if compiled.pairs and packed.windows:  # a half, as an earlier version stored it
            at, *begun = packed.windows
            samples = [*begun, packed.clock] if begun else None
            keys.waiting[compiled.order].put(((key, float(at)),), samples, 0.0)
            journal.rewrite(compiled, key)
            return False
    except _DAMAGED:
        return False
    empty.stored = True
    keys.add(empty)
    return True


def _restore_alert(
    kept: Mapping[str, CompiledRule], keys: Keys, row: AlertRow, regraded: list[KeyState]
) -> bool:
    compiled = kept.get(row.rule)
    state = _state_of(compiled, keys, row) if compiled else None
    if compiled is None or state is None:
        return False
    try:
        alert = load_alert(row)
    except _DAMAGED:
        return False
    if alert.steps != compiled.steps_digest:
        # Steps were edited: their places mean something else now. Reached ones are reached anew.
        alert.reached, alert.steps = (), compiled.steps_digest
    elif severity_of(compiled, alert) != alert.labels.get("severity", ""):
        regraded.append(state)
    state.alert, state.stored_alert = alert, True
    return True


def severity_of(compiled: CompiledRule, alert: OpenAlert) -> str:
    """Return the severity that an alert has by its rule and the steps it has reached."""
    steps = (step for place, step in enumerate(compiled.rule.escalate) if place in alert.reached)
    laid = [compiled.rule.labels, *(step.labels for step in steps)]
    own = alert.labels.get("severity", "") if "severity" in compiled.by_labels else ""
    return next((one["severity"] for one in reversed(laid) if "severity" in one), own)


def _state_of(compiled: CompiledRule, keys: Keys, row: AlertRow) -> KeyState | None:
    try:
        return keys.get(compiled, key_of(row.by_key))
    except _DAMAGED:
        return None


def _closing(row: AlertRow) -> Iterator[tuple[str, Key, OpenAlert]]:
    try:
        key, alert = key_of(row.by_key), load_alert(row)
    except _DAMAGED:
        return
    if alert.phase is not Phase.PENDING:
        yield row.rule, key, alert
