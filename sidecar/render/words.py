"""What values look like as text: instants, durations, numbers, amounts of money, links.

Filters of the same names are there for templates.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_SHOWN_UNITS = 2
_LAST_DATE = 1e11  # the year 5138
_LONG = 1e16  # beyond, a float no longer holds each whole number
_MOST_DIGITS = 12
_MOST_SIGNS = 40
# Begins a line of buttons in the text of a Slack message; no value can hold it.
BUTTONS = "\x1e"


def utc(at: float | None) -> str:
    """Return an instant as `2026-11-02 08:20:06 UTC`; one that no calendar holds as a number."""
    return local(at, "")


def local(at: float | None, zone: str) -> str:
    """Return an instant as it is in a named zone, `2026-11-02 09:20:06 CET`; no name: UTC."""
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, ZoneInfo(zone) if zone else UTC).strftime(
            "%Y-%m-%d %H:%M:%S %Z"
        )
    except (OverflowError, OSError, ValueError):
        return f"{at:.15g} s after 1970"


def slack_date(at: float | None) -> Markup:
    """Return an instant as Slack shows it in the zone of each reader (formatting reference)."""
    if at is None or not 0 <= at < _LAST_DATE:
        return Markup(utc(at))  # noqa: S704 - digits
    return Markup(f"<!date^{int(at)}^{{date_num}} {{time_secs}}|{utc(at)}>")  # noqa: S704 - same


def buttons(links: Iterable[Mapping[str, str]]) -> Markup:
    """Return links, each of a `text` and a `url`, as a line that Slack's message makes buttons."""
    pairs = [[str(link["text"]), str(link["url"])] for link in links]
    return Markup(BUTTONS + json.dumps(pairs)) if pairs else Markup()  # noqa: S704 - read as JSON


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
    """Return a value's text: null is empty, 3.0 is 3, true and false are lower case.

    A number is the shortest text that reads back as the same, up to 1e16 without an exponent.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _exact(value)
    return value if isinstance(value, str) else str(value)


def _exact(value: float) -> str:
    if value.is_integer() and abs(value) < _LONG:
        return str(int(value))
    text = repr(value)
    return f"{Decimal(text):f}" if "e-" in text and abs(value) > 1 / _LONG else text


def number(value: Any, digits: int | None = None) -> str:
    """Return a number in groups of thousands, `1,500,000`; `digits`: so many behind the point.

    What is no number is shown as it is.
    """
    amount = _decimal(value)
    if amount is None or abs(amount) >= _LONG or not 0 <= (digits or 0) <= _MOST_DIGITS:
        return plain(value)
    return f"{amount:,f}" if digits is None else f"{amount:,.{digits}f}"


# How many digits behind the point a currency's amounts have; all others 2. As in Stripe's API
# (docs.stripe.com/currencies), which is ISO 4217 but for ISK and UGX, that it counts in hundredths,
# and MGA, that it does not.
_MINOR_DIGITS = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF",
     "XOF", "XPF"), 0,
) | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)  # fmt: skip


def money(amount: Any, currency: Any) -> str:
    """Return an amount in a currency's minor unit as people write it: 4900, `usd`: `49.00 USD`.

    What is no number, or of no currency, is shown as it is.
    """
    code, minor = one_line(currency).upper(), _decimal(amount)
    if minor is None or abs(minor) >= _LONG or not code:
        return f"{plain(amount)} {code}".strip()
    digits = _MINOR_DIGITS.get(code, 2)
    return f"{minor.scaleb(-digits):,.{digits}f} {code}"


def _decimal(value: Any) -> Decimal | None:
    """Return a number, or a text that is one, exactly."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = Decimal(plain(value)[:_MOST_SIGNS])
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def one_line(text: Any) -> str:
    """Return a text with every run of white space as one blank: no header can be smuggled in."""
    return " ".join(plain(text).split())


def shorten(text: str, length: int) -> str:
    """Return `text` in at most `length` characters, the cut marked."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def pad(text: Any, width: int) -> str:
    """Return a text filled up with blanks to `width`, of at most 80."""
    return plain(text).ljust(min(width, 80))
