"""Events that no rule took, found anew in the logs when somebody asks for them.

Nothing is kept of them: it would cost each event something, and hold only a part of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sidecar.batch import LogStatus
from sidecar.config.settings import Config
from sidecar.matchers import Matcher
from sidecar.parse.event import Chunk, Event, LogFormat
from sidecar.parse.parser import Parser
from sidecar.rules.rule import Rule

# Of each log so many of its last bytes are looked at, and of these so many lines.
TAIL_BYTES = 16_777_216
MOST_LINES = 1000

Text = Callable[[str], str]


def untaken(
    config: Config,
    logs: Iterable[LogStatus],
    wanted: Sequence[Matcher],
    since: float,
    now: float,
    *,
    redact: Text,
) -> list[dict[str, Any]]:
    """Return the kinds of events since then that pass `wanted` and that no rule is about.

    Each with how many there were and when the last came. Lines are found by the texts that matchers
    with `=` ask for; without any, none are looked for. A log that cannot be read shows none.
    """
    needles = [one.value.encode() for one in wanted if one.op == "=" and one.value]
    if not needles:
        return []
    parser, found = Parser(config.patterns), dict[tuple[str, ...], tuple[int, float]]()
    for log in logs:
        for line in _lines(log.path, needles):
            chunk = Chunk(
                file=1, log=log.log, format=LogFormat.AUTO, data=line + b"\n", start=0,
                **config.pinned(log.path),
            )  # fmt: skip
            for event in parser.parse(chunk, now=now, wanted=lambda _: True).events:
                if event.at >= since and _pass(wanted, event) and not _taken(config.rules, event):
                    count, last = found.get(event.triple, (0, 0.0))
                    found[event.triple] = (count + 1, max(last, event.at))
    return [
        {"event": [*map(redact, triple)], "count": count, "last": last}
        for triple, (count, last) in sorted(found.items(), key=lambda one: one[1][1])
    ]


def _lines(path: str, needles: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the last lines of a log that hold all of these texts."""
    try:
        with Path(path).open("rb") as file:
            start = max(0, file.seek(0, 2) - TAIL_BYTES)
            file.seek(start)
            data = file.read(TAIL_BYTES)
    except (OSError, ValueError):
        return
    end, left = len(data), MOST_LINES
    while left and (at := data.rfind(needles[0], 0, end)) >= 0:
        begin = data.rfind(b"\n", 0, at) + 1
        stop = data.find(b"\n", at)
        line = data[begin : len(data) if stop < 0 else stop]
        if all(needle in line for needle in needles):
            left -= 1
            yield line
        end = begin


def _pass(matchers: Iterable[Matcher], event: Event) -> bool:
    return all(one.matches(event.text(one.name)) for one in matchers)


def _taken(rules: Iterable[Rule], event: Event) -> bool:
    """Tell whether a rule is about an event: it counts, ends an alert, or is half of a pair."""
    return any(_pass(tests, event) for rule in rules for tests in _tests(rule))


def _tests(rule: Rule) -> Iterator[Iterable[Matcher]]:
    if rule.expect is None:
        yield rule.match
    else:
        yield from (rule.expect.first, rule.expect.then)
    if rule.resolve is not None:
        yield rule.resolve
