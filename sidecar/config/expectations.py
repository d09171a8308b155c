"""`alert_rule_test` and `notification_test` of a test file: what is expected when."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

from sidecar.config.faults import did_you_mean
from sidecar.config.inputs import read_when
from sidecar.config.nodes import Listing, Table
from sidecar.config.reader import Reader, read_table
from sidecar.notify.model import NoticeStatus, Reason
from sidecar.rules.alert import AlertState
from sidecar.simulate.cases import (
    AlertTest,
    ExpectedAlert,
    ExpectedMessage,
    ExpectedNotice,
    NotificationTest,
    When,
)

_E = TypeVar("_E", bound=StrEnum)
_START = When(0.0)
_STATES = (AlertState.FIRING, AlertState.PENDING)
_SILENT = (Reason.NOTHING_NEW, Reason.COOLDOWN, Reason.RESOLVED_NOT_SENT)


class Known(msgspec.Struct, frozen=True):
    """The names that expectations can be about."""

    alerts: frozenset[str]
    receivers: frozenset[str]


def read_alert_test(reader: Reader, known: Known) -> AlertTest:
    """Read one entry of `alert_rule_test`."""
    reader.require("eval_time", "alertname", "exp_alerts")
    test = AlertTest(
        place=_place(reader),
        when=read_when(reader, "eval_time") or _START,
        alertname=_name(reader, "alertname", "rule", known.alerts),
        expected=tuple(_alert(entry) for entry in reader.tables("exp_alerts")),
    )
    reader.close()
    return test


def _alert(reader: Reader) -> ExpectedAlert:
    reader.require("exp_labels")
    expected = ExpectedAlert(
        labels=_texts(reader, "exp_labels"),
        annotations=_texts(reader, "exp_annotations"),
        state=_choice(reader, "exp_state", _STATES) or AlertState.FIRING,
    )
    reader.close()
    return expected


def read_notification_test(reader: Reader, known: Known) -> NotificationTest:
    """Read one entry of `notification_test`."""
    reader.require("eval_time", "receiver", "exp_notifications")
    test = NotificationTest(
        place=_place(reader),
        when=read_when(reader, "eval_time") or _START,
        receiver=_name(reader, "receiver", "receiver", known.receivers),
        expected=tuple(_message(entry) for entry in reader.tables("exp_notifications")),
    )
    reader.close()
    return test


def _message(reader: Reader) -> ExpectedMessage:
    contains, equals = _slack_text(reader)
    expected = ExpectedMessage(
        reason=_choice(reader, "reason", [one for one in Reason if one not in _SILENT]),
        late=reader.flag("late", None),
        alerts=tuple(_notice(one) for one in reader.tables("alerts"))
        if reader.has("alerts")
        else None,
        slack_contains=contains,
        slack_equals=equals,
        mail_subject=reader.text("mail_subject", None),
    )
    reader.close()
    return expected


def _notice(reader: Reader) -> ExpectedNotice:
    reader.require("labels")
    expected = ExpectedNotice(
        labels=_texts(reader, "labels"), status=_choice(reader, "status", NoticeStatus)
    )
    reader.close()
    return expected


def _slack_text(reader: Reader) -> tuple[tuple[str, ...], str | None]:
    """Read a text or several that it must contain, or `equals: …`, all of it."""
    node = reader.node("slack_text")
    if isinstance(node, Listing):
        return tuple(scalar.text for scalar in reader.scalars("slack_text")), None
    if not isinstance(node, Table):
        text = reader.text("slack_text", None)
        return (() if text is None else (text,)), None
    inner = read_table(node, reader.faults)
    if inner is None:
        return (), None
    inner.require("equals")
    equals = inner.text("equals", None)
    inner.close({"contains": "write the text, or a list of texts, without `contains`"})
    return (), None if equals is None else equals.strip("\n")


def _texts(reader: Reader, key: str) -> Mapping[str, str]:
    return {name: scalar.text for name, scalar in reader.texts_by_name(key).items()}


def _name(reader: Reader, key: str, kind: str, known: frozenset[str]) -> str:
    scalar = reader.scalar(key)
    if scalar is None:
        return ""
    # Where there is none at all, that is the fault, and it is reported elsewhere.
    if known and scalar.text not in known:
        hint = did_you_mean(scalar.text, known, f"known: {', '.join(sorted(known))}")
        reader.faults.error(scalar.place, f"there is no {kind} `{scalar.text}`", hint)
    return scalar.text


def _choice(reader: Reader, key: str, choices: Iterable[_E]) -> _E | None:
    by_text: dict[str, _E] = {one.value: one for one in choices}
    text = reader.choice(key, by_text, None)
    return None if text is None else by_text[text]


def _place(reader: Reader) -> str:
    return f"{reader.place.file}:{reader.place.line}:{reader.place.column}"
