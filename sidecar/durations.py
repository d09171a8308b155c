"""Durations in Prometheus' notation: `90s`, `1h30m`, `3d`."""

import re

_UNITS = {
    "y": 31_536_000.0,
    "w": 604_800.0,
    "d": 86_400.0,
    "h": 3_600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 0.001,
}
_SHAPE = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?"
)


def parse_duration(text: str) -> float:
    """Return the seconds that `text` stands for; `0` needs no unit.

    Units in falling order, each at most once, as Prometheus' configuration has it. Raises
    ValueError with a sentence that shows a right example.
    """
    if text == "0":
        return 0.0
    found = _SHAPE.fullmatch(text) if text else None
    if found is None:
        raise ValueError(f"{text!r} is not a duration; write for example 90s, 1h30m or 3d")
    parts = zip(found.groups(), _UNITS.values(), strict=True)
    return sum(int(count) * unit for count, unit in parts if count)


def write_duration(seconds: float) -> str:
    """Return what `parse_duration` reads as so many seconds, in days at most: `30d`, `1h30m`."""
    rest = round(seconds * 1000)
    parts: list[str] = []
    for name in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, round(_UNITS[name] * 1000))
        parts += [f"{count}{name}"] if count else []
    return "".join(parts) or "0s"
