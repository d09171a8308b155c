"""`sidecar explain`: why something did or did not fire, and who was told or not."""

import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

from sidecar.cli import as_utf8, config_there
from sidecar.cli.client import CANNOT, PROBLEM, Client, end, options
from sidecar.cli.configured import UnreadableLogError, loaded, read_chunks
from sidecar.cli.output import by_word, paint, say
from sidecar.clock import SystemClock
from sidecar.config.lint import written
from sidecar.config.settings import Config
from sidecar.durations import parse_duration
from sidecar.matchers import Matcher
from sidecar.notify.audit import shown
from sidecar.parse.event import Chunk, Event, LogFormat, as_text, field_value
from sidecar.parse.parser import Parser
from sidecar.redact import Redactor
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.condition import test_of, worked_out
from sidecar.secret import printable

_DAY = 86_400.0


def _duration(_: click.Context, __: click.Parameter, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from wrong


@click.command()
@options
@click.argument("matchers", nargs=-1, metavar="MATCHER...")
@click.option("--since", default="2d", callback=_duration, show_default=True, help="How far back.")
@click.option(
    "--line", metavar="LINE|FILE:N", help="Show how this line of a log stands to each rule."
)
def explain(client: Client, matchers: tuple[str, ...], since: float, line: str | None) -> None:
    """Show how the rules stand to all that passes every MATCHER, such as org_id=org_1.

    And what happened to its alerts: fired, escalated, ended, for whom a message was made and what
    became of that, what was held back and why, who took it. With --line no daemon is asked: each
    test of each rule is shown, passed or failed, with the value that it saw.
    """
    if line is not None:
        say_standing(loaded(client.config or config_there(), placeholders=True), line)
        return
    if not matchers:
        raise click.UsageError("name a MATCHER such as org_id=org_1, or --line")
    asked = {"matchers": list(map(as_utf8, matchers)), "since": time.time() - since}
    found = client.post("/api/v1/explain", asked)
    about = " ".join(map(as_utf8, matchers))
    if not found["rules"]:
        say(f"No rule knows anything of {about}: no event of it counts, or it is too long ago.")
    for rule in found["rules"]:
        value = "no value" if rule["value"] is None else f"value {shown(rule['value'])}"
        state = by_word(rule["state"]) if rule["state"] else "no alert"
        say(
            _name(rule["alertname"], rule["key"]),
            ": ",
            state,
            f", {value}; fires at {rule['condition']}",
        )
    for kind in found.get("untaken", ()):
        at = datetime.fromtimestamp(kind["last"], UTC)
        times = "" if kind["count"] == 1 else f", {kind['count']} times"
        event = " ".join(filter(None, kind["event"]))
        say(f"{at:%Y-%m-%d %H:%M:%S} ", "seen", f" {event}{times}: no rule takes it")
    if not found["trail"]:
        days = f"{since / _DAY:g} days"
        say(f"Nothing happened to alerts of {about} in {days}.")
    for entry in found["trail"]:
        at = datetime.fromtimestamp(entry["at"], UTC)
        labels = {k: v for k, v in entry["labels"].items() if k not in ("alertname", "severity")}
        name = _name(entry["labels"].get("alertname", ""), labels)
        said = entry["detail"].partition("; message ")[0]
        say(f"{at:%Y-%m-%d %H:%M:%S} ", entry["kind"], f" {name}{': ' if said else ''}{said}")
        if message := entry.get("message"):
            say(paint(f"    {message}", dim=True))


def _name(alert: str, key: dict[str, Any]) -> str:
    return " ".join((alert, *(f"{name}={value}" for name, value in key.items() if value != "")))


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
        reasons = [
            *(one.words for one in parsed.rejects),
            *(one.reason.value for one in parsed.foreign),
            *(one.reason.words for one in parsed.obscure),
        ]
        why = ", ".join(reasons) or "it has no marker, and no pattern matches"
        end(f"the line is no event: {why}; `sidecar parse` says more", PROBLEM)


def _data_of(line: str) -> bytes:
    found = _NUMBERED.fullmatch(line)
    if found is None or not Path(found[1]).is_file():
        return line.encode()
    number = int(found[2])
    try:
        for chunk in read_chunks(found[1], 1):
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
