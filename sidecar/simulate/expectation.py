"""Holds what a test expects against what there is: both sides as lines, equal when it is met."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from sidecar.rules.alert import AlertState
from sidecar.simulate.cases import ExpectedAlert, ExpectedMessage, ExpectedNotice
from sidecar.simulate.told import Message, Told

Sides = tuple[tuple[str, ...], tuple[str, ...]]
_ALERTNAME = "alertname"
_W = TypeVar("_W", ExpectedAlert, ExpectedNotice)


class Shown(msgspec.Struct, frozen=True):
    """An alert as it stands at an instant, its annotations rendered."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    state: AlertState


_G = TypeVar("_G", Shown, Told)


def alert_sides(expected: Sequence[ExpectedAlert], got: Sequence[Shown]) -> Sides:
    """Return both sides; of the annotations only those that are expected are shown."""
    pairs, surplus = _paired(expected, got)
    left, right = [_headline(len(expected), "alert")], [_headline(len(got), "alert")]
    for want, found in pairs:
        left += _alert_lines(want.state, want.labels, want.annotations)
        if found is not None:
            texts = {name: found.annotations.get(name, "(missing)") for name in want.annotations}
            right += _alert_lines(found.state, found.labels, texts)
    for extra in surplus:
        right += _alert_lines(extra.state, extra.labels, {})
    return tuple(left), tuple(right)


def message_sides(expected: Sequence[ExpectedMessage], got: Sequence[Message]) -> Sides:
    """Return both sides, message by message in their order, in what is expected of each."""
    left, right = [_headline(len(expected), "message")], [_headline(len(got), "message")]
    for place in range(max(len(expected), len(got))):
        want = expected[place] if place < len(expected) else None
        found = got[place] if place < len(got) else None
        if want is not None:
            left += _wanted_lines(want, place)
        if found is not None:
            right += _found_lines(found, want or _ANYTHING, place)
    return tuple(left), tuple(right)


_ANYTHING = ExpectedMessage(alerts=())


def _wanted_lines(want: ExpectedMessage, place: int) -> list[str]:
    lines = [f"message {place + 1}"]
    if want.reason is not None:
        lines.append(f"  reason: {want.reason.value}")
    if want.late is not None:
        lines.append(f"  late: {_flag(want.late)}")
    for notice in want.alerts or ():
        lines += _notice_lines(notice.labels, notice.status)
    if want.mail_subject is not None:
        lines.append(f"  mail_subject: {want.mail_subject}")
    lines += [f"  slack_text contains: {text}" for text in want.slack_contains]
    if want.slack_equals is not None:
        lines += ["  slack_text:", *_indented(want.slack_equals)]
    return lines


def _found_lines(found: Message, want: ExpectedMessage, place: int) -> list[str]:
    """Return the lines of a message that answer to those of `want`."""
    lines = [f"message {place + 1}"]
    if want.reason is not None or want is _ANYTHING:
        lines.append(f"  reason: {found.reason}")
    if want.late is not None:
        lines.append(f"  late: {_flag(found.late)}")
    if want.alerts is not None:
        lines += _told_lines(want.alerts, found.told)
    return lines + _subject_lines(found, want) + _slack_lines(found, want)


def _told_lines(wanted: Sequence[ExpectedNotice], told: Sequence[Told]) -> list[str]:
    lines: list[str] = []
    pairs, surplus = _paired(wanted, told)
    for want, found in pairs:
        if found is not None:
            labels = {name: found.labels.get(name, "(missing)") for name in want.labels}
            lines += _notice_lines(labels, found.state if want.status is not None else None)
    for extra in surplus:
        lines += _notice_lines(extra.labels, extra.state)
    return lines


def _slack_lines(found: Message, want: ExpectedMessage) -> list[str]:
    texts = [copy.text for copy in found.copies if copy.integration == "slack"]
    if want.slack_equals is not None:
        text = next((t for t in texts if t == want.slack_equals), texts[0] if texts else None)
        return ["  slack_text:", *_indented("(no Slack message)" if text is None else text)]
    missing = False
    lines: list[str] = []
    for part in want.slack_contains:
        if any(part in text for text in texts):
            lines.append(f"  slack_text contains: {part}")
        else:
            missing = True
    if missing:
        lines += ["  slack_text:", *_indented(texts[0] if texts else "(no Slack message)")]
    return lines


def _subject_lines(found: Message, want: ExpectedMessage) -> list[str]:
    if want.mail_subject is None:
        return []
    subjects = [copy.subject for copy in found.copies if copy.integration == "email"]
    if want.mail_subject in subjects:
        return [f"  mail_subject: {want.mail_subject}"]
    return [f"  mail_subject: {subjects[0] if subjects else '(no mail)'}"]


def _paired(wanted: Sequence[_W], got: Sequence[_G]) -> tuple[list[tuple[_W, _G | None]], list[_G]]:
    """Give each wanted one the most alike of those got that are left."""
    left = list(got)
    pairs: list[tuple[_W, _G | None]] = []
    for want in wanted:
        best = max(left, key=lambda one: _likeness(want.labels, one.labels), default=None)
        if best is not None:
            left.remove(best)
        pairs.append((want, best))
    return pairs, left


def _likeness(wanted: Mapping[str, str], got: Mapping[str, str]) -> int:
    return sum(got.get(name) == text for name, text in wanted.items())


def _headline(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}" if count else f"no {word}"


def _alert_lines(
    state: AlertState, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> list[str]:
    named = [f"  {name}: {text}" for name, text in sorted(labels.items()) if name != _ALERTNAME]
    texts = [f"  annotation {name}: {text}" for name, text in sorted(annotations.items())]
    return [state.value, *named, *texts]


def _notice_lines(labels: Mapping[str, str], status: str | None) -> list[str]:
    lines = ["  alert" if status is None else f"  alert {status}"]
    return lines + [f"    {name}: {text}" for name, text in sorted(labels.items())]


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]


def _flag(value: bool) -> str:  # noqa: FBT001 - a value to show
    return "true" if value else "false"
