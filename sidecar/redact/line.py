"""What of a log's line may be shown: all but what is hidden in its event's fields, and secrets."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

from sidecar.redact import REDACTED, Redactor

_LONGEST_LINE = 1000  # of what is kept as evidence
_MARGIN = 4096  # so that a secret at the cut is seen whole
_SHORTEST_HIDDEN = 4  # of a value that is looked for in the line
_NAME = re.compile(r"[\w.-]+")


def without_secrets(line: str, fields: Mapping[str, Any], redactor: Redactor) -> str:
    """Return the head of an event's line, with all hidden in it that is hidden in its `fields`.

    A value of fewer than four characters is left: it says nothing, and to hide each `=` of a line
    leaves nothing to read.
    """
    hidden = [
        text
        for text in set(_hidden(fields, redactor.fields(fields)))
        if len(text) >= _SHORTEST_HIDDEN
    ]
    quoted = _longest_first({way for text in hidden for way in _quoted(text)})
    bare = {*hidden, *(text[1:-1] for text in quoted)}
    line = _head(line, _longest_first(bare))
    # Shapes go before values: one may be what they know a secret by, such as `PASSWORD`. But what
    # is more than a name goes first where it is a whole text: shapes may take a part or decode it.
    for text in quoted:
        if not _NAME.fullmatch(text[1:-1]):
            line = line.replace(text, f"{text[0]}{REDACTED}{text[0]}")
    changed = {redactor.secrets(text) for text in bare if text in line}
    line = redactor.secrets(line)
    for text in _longest_first(bare | changed):
        line = line.replace(text, REDACTED)
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


def _quoted(text: str) -> tuple[str, str, str]:
    """Return `text` as a log may hold it: in JSON, with and without escapes, and Python's repr."""
    return json.dumps(text), json.dumps(text, ensure_ascii=False), repr(text)


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted(texts, key=len, reverse=True)


def _head(line: str, hidden: Iterable[str]) -> str:
    """Return the beginning of `line`, cut before what is `hidden` where that is across the cut."""
    end = _LONGEST_LINE + _MARGIN
    for text in hidden:
        at = line.find(text, max(0, end - len(text) + 1), end + len(text) - 1)
        if at >= 0:
            return line[:at] + REDACTED
    return line[:end]


def _hidden(value: Any, shown: Any) -> Iterator[str]:
    """Yield the texts and numbers in `value` of which `shown`, the same redacted, has nothing."""
    if isinstance(value, Mapping | list | tuple):
        whole = isinstance(shown, Mapping | list)
        for one, other in zip(_parts(value), _parts(shown) if whole else repeat(shown)):  # noqa: B905 - one is endless
            yield from _hidden(one, other)
    elif str(shown).startswith(REDACTED) and value not in (None, "") and value is not shown:
        yield str(value)


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else value
