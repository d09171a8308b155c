"""How values read in a message: instants, durations, numbers; also the filters of templates."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_SHOWN_UNITS = 2


def utc(at: float | None) -> str:
    """Return an instant as `2026-11-02 08:20:06 UTC`; one that no calendar holds as a number."""
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return f"{at:.15g} s after 1970"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: `3d 4h`, `1h 5m`, `12s`."""
    rest = max(0, round(seconds))
    parts: list[str] = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
        if len(parts) == _SHOWN_UNITS:
            break
    return " ".join(parts) or "0s"


def plain(value: Any) -> str:
    """Return a value's text: null is empty, 3.0 is 3, true and false are lower case."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.12g}"
    return value if isinstance(value, str) else str(value)


def one_line(text: Any) -> str:
    """Return a text with every run of white space as one blank: no header can be smuggled in."""
    return " ".join(plain(text).split())


def shorten(text: str, length: int) -> str:
    """Return `text` in at most `length` characters, the cut marked."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def pad(text: Any, width: int) -> str:
    """Return a text filled up with blanks to `width`, of at most 80."""
    return plain(text).ljust(min(width, 80))


FILTERS: dict[str, Callable[..., Any]] = {
    "utc": utc,
    "duration": duration,
    "plain": plain,
    "one_line": one_line,
    "pad": pad,
}
