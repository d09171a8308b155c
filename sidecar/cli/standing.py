"""How one line of a log stands to every rule: each test of it, passed or not, with what it saw."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sidecar.cli.client import CANNOT, PROBLEM, end
from sidecar.cli.logfiles import UnreadableLogError, read_chunks
from sidecar.cli.output import paint, say
from sidecar.clock import SystemClock
from sidecar.config.lint import written
from sidecar.config.settings import Config
from sidecar.matchers import Matcher
from sidecar.parse.event import Chunk, Event, LogFormat, as_text, field_value
from sidecar.parse.parser import Parser
from sidecar.redact import Redactor
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.condition import test_of, worked_out
from sidecar.secret import printable

_NUMBERED = re.compile(r"(.+):(\d+)", re.DOTALL)


class Tried(NamedTuple):
    """One test, whether it is passed, and what it was given."""

    test: str
    passed: bool
    saw: str


def say_standing(config: Config, line: str) -> None:
    """Print how `line`, or line N of a file for `FILE:N`, stands to every rule.

    Ends the command where it is no event, or there is no such line.
    """
    now = SystemClock().now()
    data = _data_of(line)
    chunk = Chunk(file=1, log="", format=LogFormat.AUTO, data=data + b"\n", start=0)
    parsed = Parser(config.patterns).parse(chunk, now=now, wanted=lambda _: True)
    for event in parsed.events:
        _say_event(config, event)
    if not parsed.events:
        lines = (parsed.rejects, parsed.foreign, parsed.obscure)
        why = ", ".join(str(one.reason) for some in lines for one in some)
        end(f"the line is no event: {why or 'it says nothing that is one'}", PROBLEM)


def _data_of(line: str) -> bytes:
    found = _NUMBERED.fullmatch(line)
    if found is None or not Path(found[1]).is_file():
        return line.encode()
    number = int(found[2])
    try:
        for chunk in read_chunks(found[1], 1, lambda _: None):
            lines = chunk.data.splitlines()
            if 0 < number <= len(lines):
                return lines[number - 1]
            number -= len(lines)
    except UnreadableLogError as wrong:
        end(str(wrong), CANNOT)
    return end(f"{found[1]} has no line {found[2]}", CANNOT)


def _say_event(config: Config, event: Event) -> None:
    redactor = Redactor(config.redact)
    say(paint(printable(" ".join(event.triple)), bold=True))
    for place, rule in enumerate(one for one in config.rules if not one.about_us):
        compiled = CompiledRule(rule, place, redactor.labels)
        match = [_of_matcher(one, event) for one in rule.match]
        resolve = [_of_matcher(one, event) for one in rule.resolve or ()]
        matches = all(one.passed for one in match)
        resolves = rule.resolve is not None and all(one.passed for one in resolve)
        key = zip(compiled.by_labels, compiled.key_of(event), strict=True)
        about = " ".join(f"{name}={text}" for name, text in key) if matches or resolves else ""
        verdict = "ends it" if resolves else "matches" if matches else "does not match"
        say(paint(rule.name, bold=True), f": {verdict} {printable(about)}".rstrip())
        tests = resolve if resolves else match + (_of_condition(compiled, event) if matches else [])
        _say_tests(tests, redactor)


def _say_tests(tests: Sequence[Tried], redactor: Redactor) -> None:
    for one in tests:
        mark = paint("passed", "green") if one.passed else paint("failed", "red")
        say("  ", mark, f" {one.test}: {printable(redactor.text(one.saw)) or 'nothing'}")


def _of_matcher(matcher: Matcher, event: Event) -> Tried:
    names = [name for name in matcher.name.split(" ") if name[:1].isidentifier()]
    if len(names) == 1:
        saw = event.text(names[0])
    else:
        saw = " and ".join(as_text(field_value(event.fields, name)) or "nothing" for name in names)
    return Tried(str(matcher), matcher.matches(event.text(matcher.name)), saw)


def _of_condition(compiled: CompiledRule, event: Event) -> list[Tried]:
    """Return what each comparison comes to by this event alone."""
    if compiled.rule.expect is not None:
        return []
    windows = compiled.fresh()
    for place, value in compiled.samples(event):
        windows[place].add(event.at, value, event.at)
    return list(_comparisons(compiled, [window.shown(event.at) for window in windows]))


def _comparisons(compiled: CompiledRule, values: Sequence[float | str | None]) -> Iterator[Tried]:
    given = iter(values)
    for part in compiled.rule.condition.comparisons:
        mine = [next(given) for _ in part.aggregates]
        plain = iter([None if isinstance(value, str) else value for value in mine])
        left = mine[0] if part.alone is not None else worked_out(part.left, plain)
        right = None if part.right is None else worked_out(part.right, plain)
        saw = (f"{left:g}" if isinstance(left, float) else as_text(left)) or "nothing"
        saw += "" if right is None else f" against {right:g}"
        yield Tried(written(part), test_of(part)(left, right), f"{saw} by this event alone")
