"""How key states and open alerts are stored: MessagePack, versioned, exact to the last bit."""

import json
from typing import Any

import msgspec

from sidecar.rows import AlertRow, RuleStateRow
from sidecar.rules.keystate import KeyState
from sidecar.rules.openalert import OpenAlert, Redact
from sidecar.rules.rule import Key
from sidecar.rules.states import Phase, outside
from sidecar.rules.window import NEVER

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
