"""A first pattern for structured lines that none takes, drafted from the names they have."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sidecar.parse.prefix import Prefix
from sidecar.parse.taking import READERS
from sidecar.syntax.values import is_field

_MESSAGES = ("msg", "message", "event", "@m")
# What the fields that every event has are usually called, the likeliest first.
_CALLED = {
    "event_type": ("event_type", "event_name", "event", "type", "action", "topic"),
    "status": ("status", "outcome", "result", "state", "level", "severity", "levelname"),
    "webhook_provider": ("webhook_provider", "provider", "vendor", "integration"),
    "timestamp": ("timestamp", "ts", "time", "@timestamp", "asctime", "datetime", "@t"),
}
_USUAL = {"level", "severity", "levelname", "logger", "name", "pid", "hostname", "v", "caller"}
_WEBHOOK = re.compile(r"hook|billing|payment|subscription|invoice", re.IGNORECASE)
_MOST_MESSAGES = 1000  # that are told apart
_MOST_NAMES = 200
_LONGEST = 100  # characters of a message that says the same each time
_MOST_FIELDS = 12
_DEPTH = 2


_Key = tuple[str, str, str]  # the form, the name of the message, the message


@dataclass
class _Alike:
    """Lines alike in form and message: how many, and the names that they have."""

    lines: int = 0
    names: dict[str, None] = field(default_factory=dict)


class Drafts:
    """Gathers lines that no pattern takes; those alike in form and message go together."""

    def __init__(self, shown: Callable[[str], str]) -> None:
        """`shown` returns a text without its secrets: a message that has one is not quoted."""
        self._shown = shown
        self._prefix = Prefix()
        self._seen: dict[_Key, _Alike] = {}

    def see(self, line: str) -> None:
        for form, read in READERS.items():
            if (held := read(line, self._prefix)) is not None and len(held[0]) > 1:
                self._note(form, held[0])
                return

    def _note(self, form: str, fields: Mapping[str, Any]) -> None:
        name = next((one for one in _MESSAGES if self._may_tell(one, fields.get(one))), "")
        paths, key = list(_paths(fields)), (form, name, fields[name] if name else "")
        if not paths or (key not in self._seen and len(self._seen) >= _MOST_MESSAGES):
            return
        alike = self._seen.setdefault(key, _Alike())
        alike.lines += 1
        alike.names.update(dict.fromkeys(paths[: _MOST_NAMES - len(alike.names)]))

    def _may_tell(self, name: str, text: Any) -> bool:
        """Return whether it is a message that says the same each time; `event` may be a type."""
        if not isinstance(text, str) or not 0 < len(text) <= _LONGEST or text.startswith("=~"):
            return False
        return self._shown(text) == text and (name != "event" or " " in text)

    def best(self) -> tuple[int, str] | None:
        """Return how many lines the likeliest draft takes, and it as YAML; None without any."""
        if not self._seen:
            return None
        key, alike = max(self._seen.items(), key=_likely)
        return alike.lines, "\n".join(_pattern(*key, [*alike.names]))


def _likely(seen: tuple[_Key, _Alike]) -> tuple[bool, int, int]:
    """Return by what one group of lines is likelier to be meant than another."""
    (_, _, text), alike = seen
    known = sum(_found(one, alike.names) != "" for one in ("event_type", "webhook_provider"))
    return bool(_WEBHOOK.search(" ".join((text, *alike.names)))), known, alike.lines


def _found(wanted: str, names: Collection[str], but: str = "") -> str:
    return next((one for one in _CALLED[wanted] if one in names and one != but), "")


def _paths(fields: Mapping[str, Any], before: str = "", depth: int = 1) -> Iterator[str]:
    """Yield the paths of plain values, at the top and in the objects there."""
    for name, value in fields.items():
        path = f"{before}{name}"
        if isinstance(value, Mapping) and depth < _DEPTH:
            yield from _paths(value, f"{path}.", depth + 1)
        elif isinstance(value, str | int | float) and (is_field(path) or path.startswith("@")):
            yield path


def _pattern(form: str, name: str, text: str, names: Sequence[str]) -> Iterator[str]:
    take = {called: path for called in _CALLED if (path := _found(called, names, name))}
    more = [one for one in names if one not in {*take.values(), *_USUAL, name} and is_field(one)]
    others = {path.replace(".", "_"): path for path in more}
    take = dict(islice((take | others | take).items(), _MOST_FIELDS))
    called = re.sub(r"\W+", "_", text.lower(), flags=re.ASCII).strip("_") or "drafted"
    where = {name: text} if name else {next(iter(take.values()), names[0]): "=~.+"}
    fields = {"event_type": called, "status": "seen"}
    fixed = {one: word for one, word in fields.items() if one not in take}
    yield "patterns:"
    yield f"  - name: {_scalar(called)}"
    yield f"    {form}:"
    yield f"      where: {_flow(where)}"
    yield f"      take: {_flow(take)}"
    if fixed:
        yield f"    fields: {_flow(fixed)}   # no name says it: write what it is"


def _flow(table: Mapping[str, str]) -> str:
    """Return a mapping on one line, quoted only where YAML needs it."""
    return f"{{{', '.join(f'{_scalar(name)}: {_scalar(text)}' for name, text in table.items())}}}"


_PLAIN = re.compile(r"[A-Za-z_][\w. -]*[\w]|[A-Za-z]", re.ASCII)
_OTHERWISE = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}  # what YAML makes of it


def _scalar(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _OTHERWISE
    return text if plain else json.dumps(text)
