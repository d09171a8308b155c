"""`sidecar drill`: one alert made to fire on purpose, all the way to the people."""

import sys

import click

from sidecar.cli import as_utf8
from sidecar.cli.client import PROBLEM, Client, options
from sidecar.cli.output import paint, say


@click.command()
@options
@click.argument("alert")
def drill(url: str | None, path: str | None, token_file: str | None, alert: str) -> None:
    """Make ALERT fire, by events that are made up, and end it at once.

    The running daemon judges them apart from all that really happens, and tells the receivers that
    the routes lead to, marked DRILL, but no organisation's owner. Each stage is shown with the
    seconds since the start and what the other side answers. Exits 0 if all have accepted, 1 if one
    has not.
    """
    found = Client(url, path, token_file).post("/api/v1/drill", {"alertname": as_utf8(alert)})
    for stage in found["stages"]:
        word = paint("ok  ", "green") if stage["ok"] else paint("FAIL", "red")
        say(word, f" {stage['seconds']:7.3f} s  {stage['stage']:<7} {stage['said']}")
    sys.exit(0 if found["ok"] else PROBLEM)
