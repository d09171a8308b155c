"""Which file names are rotated forms of which log's name; pure.

Known forms: logrotate's `app.log.1`, `app.log.1.gz` and `app.log-20240131`, its `dateext` with
`extension` and Java's `app-2024-01-31.log`, kubelet's `0.log.20240131-120000.gz`, Python's
`app.log.2024-01-31_12`, and `app.log.old`.
"""

import re
from functools import lru_cache

_SUFFIX = re.compile(r"(.+?)[._-](\d[\dTZ:._+-]*|old|prev|last|bak)(?:\.gz)?", re.DOTALL)
_DATE = r"(?:19|20)\d\d[-_.]?[01]\d[\dTZ:._+-]*"
_DATED_STEM = re.compile(rf"(.+?)[._-]({_DATE})(\.[A-Za-z]+)(?:\.\d+)?(?:\.gz)?", re.DOTALL)
_COUNTER_DIGITS = 4
OLDEST = (-(10**_COUNTER_DIGITS), "")
_BESIDE = (".swp", ".tmp", ".lock", ".pid", "~")


@lru_cache(maxsize=16_384)
def live_names(name: str) -> tuple[str, ...]:
    """Return the names of logs that a file called `name` may be a rotated generation of."""
    found = []
    if match := _SUFFIX.fullmatch(name):
        found.append(match[1])
    if match := _DATED_STEM.fullmatch(name):
        found.append(match[1] + match[3])
    return tuple(found)


def stem(live: str) -> str:
    """Return what every rotated form of `live` begins with."""
    head, _, _ = live.rpartition(".")
    return head or live


def may_be_moved(live: str, name: str) -> bool:
    """Tell whether `name` lies so near to `live` that its content is worth comparing."""
    return name != live and name.startswith(stem(live)) and not name.endswith(_BESIDE)


def age_rank(name: str) -> tuple[int, str]:
    """Return a sort key for files last written in the same instant: older names first.

    A counter grows with age (`.2` is older than `.1`), a date grows with youth, and a name
    without either is the youngest.
    """
    name = name.removesuffix(".gz")
    match = _SUFFIX.fullmatch(name) or _DATED_STEM.fullmatch(name)
    if match is None:
        return (1, "")
    if match[2].isdigit() and len(match[2]) < _COUNTER_DIGITS:
        return (-int(match[2]), "")
    return (0, match[2])
