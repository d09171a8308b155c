"""Taking up stored rows: what still belongs to its rule lives on, the rest is closed."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from sidecar.rows import AlertRow, Delta, FloorsRow, Gone, RuleRow, RuleStateRow
from sidecar.rules.keystate import KeyState
from sidecar.rules.openalert import OpenAlert
from sidecar.rules.packed import key_of, load_alert, load_state
from sidecar.rules.population import Population
from sidecar.rules.program import Program
from sidecar.rules.rule import Key
from sidecar.rules.states import Phase

_DAMAGED = (msgspec.MsgspecError, ValueError, TypeError)


class Restored(msgspec.Struct):
    """`delta`: rows that no longer hold or are new. `closed`: firing alerts without their rule."""

    delta: Delta = msgspec.field(default_factory=Delta)
    closed: list[tuple[str, Key, OpenAlert]] = msgspec.field(default_factory=list)


def restore(
    programs: Mapping[str, Program],
    keys: Population,
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
    programs: Mapping[str, Program], rules: Sequence[RuleRow], delta: Delta, now: float
) -> dict[str, Program]:
    """Return the programs whose rows may be taken up, and give every program its `since`."""
    stored = {row.rule: row for row in rules}
    kept: dict[str, Program] = {}
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


def _take_state(kept: Mapping[str, Program], keys: Population, row: RuleStateRow) -> bool:
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


def _take_alert(kept: Mapping[str, Program], keys: Population, row: AlertRow) -> bool:
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


def _state_of(program: Program, keys: Population, row: AlertRow) -> KeyState | None:
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
