"""The built-in message: plain text that needs no template, for when one fails or Slack objects."""

from collections.abc import Iterator
from typing import Any

from sidecar.notify.wording import duration, plain, utc


def plain_title(view: dict[str, Any]) -> str:
    """Return the one-line headline of a notification's view."""
    who = f" {view['who']}" if view["who"] else ""
    return f"[{view['tag']}] {view['name']}{who} ({view['severity']})"


def plain_body(view: dict[str, Any]) -> str:
    """Return all there is to say, alert by alert."""
    return "\n".join(line for notice in view["notices"] for line in _lines(notice)) + _rest(view)


def _lines(notice: dict[str, Any]) -> Iterator[str]:
    yield f"{notice['name']} {notice['who']} ({notice['severity'] or 'no severity'})".strip()
    yield f"  {_when(notice)}"
    if notice["held"]:
        yield f"  Fired {notice['held']} more time(s), not told one by one."
    for name, text in notice["annotations"].items():
        yield f"  {name}: {text}"
    for name, value in notice["about"].items():
        yield f"  {name}: {plain(value)}"
    yield ""


def _when(notice: dict[str, Any]) -> str:
    text = f"{notice['status']}, since {utc(notice['since'])}"
    if notice["ended_at"] is not None:
        text += f", ended {utc(notice['ended_at'])} after {duration(notice['lasted'])}"
    if notice["escalated_to"]:
        text += f", now {notice['escalated_to']}"
    return text


def _rest(view: dict[str, Any]) -> str:
    more = f"\nand {view['more']} more alert(s)" if view["more"] else ""
    still = f"\n{view['still_firing']} more still firing" if view["still_firing"] else ""
    return more + still
