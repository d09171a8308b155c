"""`sidecar explain`: why something did or did not fire, and who was told or not."""

import time
from datetime import UTC, datetime
from typing import Any

import click

from sidecar.cli import as_utf8, config_there
from sidecar.cli.client import Client, options
from sidecar.cli.configured import loaded
from sidecar.cli.output import by_word, paint, say
from sidecar.durations import parse_duration
from sidecar.notify.audit import shown

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
def explain(  # noqa: PLR0917 - click passes them by name
    url: str | None, path: str | None, token_file: str | None, matchers: tuple[str, ...],
    since: float, line: str | None,
) -> None:  # fmt: skip
    """Show how the rules stand to all that passes every MATCHER, such as org_id=org_1.

    And what happened to its alerts: fired, escalated, ended, for whom a message was made and what
    became of that, what was held back and why, who took it. With --line no daemon is asked: each
    test of each rule is shown, passed or failed, with the value that it saw.
    """
    if line is not None:
        from sidecar.cli.standing import say_standing  # noqa: PLC0415 - imports the parser

        say_standing(loaded(path or config_there()), line)
        return
    if not matchers:
        raise click.UsageError("name a MATCHER such as org_id=org_1, or --line")
    asked = {"matchers": list(map(as_utf8, matchers)), "since": time.time() - since}
    found = Client(url, path, token_file).post("/api/v1/explain", asked)
    about = " ".join(map(as_utf8, matchers))
    if not found["rules"]:
        say(f"No rule knows anything of {about}: no event of it counts, or it is too long ago.")
    for rule in found["rules"]:
        value = "nothing" if rule["value"] is None else shown(rule["value"])
        state = by_word(rule["state"]) if rule["state"] else "no alert"
        say(_name(rule["alertname"], rule["key"]), ": ", state, f", {value}; {rule['condition']}")
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
